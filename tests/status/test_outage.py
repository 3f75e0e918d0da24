"""Read the signs of an outage for a shop: theirs, ours or unclear."""

from datetime import timedelta
from random import Random
from typing import Any

import pytest

from ops.app.scope import Place
from ops.core.outage import OutageVerdict
from ops.core.redaction import Redactor
from ops.status.outage import OutageReport, outage_lines, read_outage
from sandbox.edge.status_pages import StatusIncident, StatusPage, read_documents
from tests.conftest import Releases, World
from tests.support.commands import LIST
from tests.support.shop import Shop

THEIRS, OURS, UNCLEAR = OutageVerdict
FAILS = {"path": "/client/v4/**", "status": 503, "times": None}


@pytest.fixture
def later(shop: Shop) -> Shop:
    """Move on to two hours after the bad release."""
    shop.world.sandbox.clock.advance(2 * 3600)
    return shop


def read(shop: Shop, service: str = "web", **environ: Any) -> OutageReport:
    variables = {**shop.world.sandbox.environ(), "SHOP_TOKEN": shop.world.sandbox.token, **environ}
    return read_outage(Place("live", service), shop.world.config, variables, Redactor())


def begin_outage(shop: Shop) -> None:
    """Let Cloudflare's page report an outage of Workers."""
    shop.world.sandbox.switches.status_pages_lag_seconds = 0
    shop.world.sandbox.status_pages.begin_incident("cloudflare", "Workers errors", {"Workers": "major_outage"})


@pytest.mark.slow
def test_outage_of_cloudflare_is_theirs(later: Shop) -> None:
    begin_outage(later)

    report = read(later)

    assert report.finding.verdict == THEIRS
    assert "www.cloudflarestatus.com: Workers: major outage" in report.finding.theirs
    assert report.finding.pauses_automatic_steps
    assert report.next_step.startswith("Do not roll back.")


@pytest.mark.slow
def test_failing_api_without_a_report_is_unclear(later: Shop) -> None:
    later.world.sandbox.fault(**FAILS)

    report = read(later)

    assert report.finding.verdict == UNCLEAR
    assert report.finding.theirs == ("Cloudflare's API fails",)
    assert any("status pages are late" in each for each in report.finding.notes)


@pytest.mark.slow
def test_reported_outage_with_a_failing_api_is_theirs(later: Shop) -> None:
    begin_outage(later)
    later.world.sandbox.fault(**FAILS)

    assert read(later).finding.verdict == THEIRS


@pytest.mark.slow
def test_token_that_cannot_read_deployments_forges_no_outage(shop: Shop) -> None:
    """A bad deployment right before stays possible."""
    begin_outage(shop)
    shop.world.sandbox.deploy("shop-web", shop.bad)
    shop.world.sandbox.add_token("blind", ["Workers KV Storage Read"])

    report = read(shop, SHOP_TOKEN="blind")

    assert report.finding.verdict == UNCLEAR
    assert "web: it is unknown whether something was deployed shortly before" in report.finding.notes


def test_network_failure_of_our_own_is_no_outage(later: Shop) -> None:
    nowhere = "http://127.0.0.1:9"

    report = read(later, **dict.fromkeys(("CLOUDFLARE_API_BASE_URL", "OPS_EDGE_URL"), nowhere))

    assert report.finding.verdict == UNCLEAR
    assert report.finding.theirs == ()
    assert any("network" in each for each in report.finding.notes)


@pytest.mark.slow
def test_bad_deployment_is_ours(shop: Shop) -> None:
    shop.world.sandbox.deploy("shop-web", shop.bad)

    report = read(shop)

    assert report.finding.verdict == OURS
    assert report.finding.ours == ("web fails after a deployment just now",)


@pytest.mark.slow
def test_bad_deployment_during_an_outage_is_unclear(shop: Shop) -> None:
    begin_outage(shop)
    shop.world.sandbox.deploy("shop-web", shop.bad)

    report = read(shop)

    assert report.finding.verdict == UNCLEAR
    assert report.finding.theirs
    assert report.finding.ours


@pytest.mark.slow
def test_old_deployment_and_calm_providers_are_ours(later: Shop) -> None:
    assert read(later).finding.verdict == OURS


@pytest.mark.slow
def test_suspended_account_is_escalated(later: Shop) -> None:
    later.world.sandbox.fault(**LIST, status=403, code=10000, message="This account has been suspended", times=None)

    report = read(later)

    assert (report.finding.verdict, report.is_suspended) == (THEIRS, True)
    assert "https://support.cloudflare.com" in report.next_step


def test_suspended_account_names_the_contacts(later: Shop) -> None:
    later.world.sandbox.fault(**LIST, status=403, code=10000, message="This account has been suspended", times=None)
    people = 'contacts:\n  - {role: Owner, contact: "mai, +49 30 1", availability: 24/7}\n'
    later.world.config.write_text(later.world.config.read_text() + people)

    shown, outcome = later.ops("check-outage", "web"), later.ops("check-outage", "web", "--json")

    assert "  call    Owner: mai, +49 30 1 (24/7)" in shown.out.splitlines()
    assert outcome.result["contacts"] == [{"role": "Owner", "contact": "mai, +49 30 1", "availability": "24/7"}]


@pytest.mark.slow
def test_other_refusals_of_the_api_are_no_suspension(later: Shop) -> None:
    later.world.sandbox.fault(**LIST, status=403, code=10000, message="Authentication error", times=None)

    report = read(later)

    assert (report.finding.verdict, report.is_suspended, report.contacts) == (UNCLEAR, False, ())


DOCUMENTS = {
    "cloudflare-calm": OURS,
    "cloudflare-closed-data-centers": OURS,
    "cloudflare-workers-outage": THEIRS,
    "cloudflare-workers-degraded": THEIRS,
    "cloudflare-api-outage": THEIRS,
    "cloudflare-d1-and-objects": OURS,
    "cloudflare-kv-outage": UNCLEAR,
    "cloudflare-global-outage": THEIRS,
    "cloudflare-incident-before-components": THEIRS,
    "cloudflare-components-before-incident": THEIRS,
    "cloudflare-monitoring": UNCLEAR,
    "cloudflare-other-product": UNCLEAR,
    "cloudflare-one-region": UNCLEAR,
    "cloudflare-workers-maintenance": THEIRS,
    "cloudflare-maintenance-planned": OURS,
    "cloudflare-workers-renamed": UNCLEAR,
    "cloudflare-edge-outage": THEIRS,
    "cloudflare-dns-degraded": UNCLEAR,
    "cloudflare-network-in-one-region": UNCLEAR,
    "cloudflare-group-outage": UNCLEAR,
    "cloudflare-unnamed-outage": UNCLEAR,
    "cloudflare-storage-after-workers": OURS,
    "cloudflare-workers-ended-storage-lasts": OURS,
    "github-calm": OURS,
    "github-actions-outage": OURS,
    "github-webhooks-late": OURS,
    "github-copilot-only": OURS,
}
"""Recorded document → verdict for a shop that fails without a recent deployment, and uses neither D1 nor KV."""


@pytest.mark.slow
def test_each_recorded_document_gives_its_verdict(later: Shop) -> None:
    pages, found = later.world.sandbox.status_pages, {}
    for name in read_documents():
        page = name.partition("-")[0]
        getattr(pages, page).load(name)
        report = read(later)
        found[name] = report.finding.verdict
        assert bool(report.finding.github) == (name in {"github-actions-outage", "github-webhooks-late"})
        getattr(pages, page).load(f"{page}-calm")

    assert found == DOCUMENTS


@pytest.mark.slow
def test_edge_outage_without_a_deployment_is_theirs(later: Shop) -> None:
    """The edge answers 521, and no product of the shop is named."""
    later.world.sandbox.status_pages.cloudflare.load("cloudflare-edge-outage")
    later.world.sandbox.edge_fault(host="web.shop.example", status=521, times=None)

    report = read(later)

    assert report.finding.verdict == THEIRS
    assert "www.cloudflarestatus.com: CDN/Cache: major outage" in report.finding.theirs
    assert any("; see https://stspg.io/i0" in line for line in report.finding.theirs)


@pytest.mark.slow
def test_unnamed_incident_is_a_note_with_its_link_and_stops_no_person(later: Shop) -> None:
    later.world.sandbox.status_pages.cloudflare.load("cloudflare-one-region")

    shown = later.ops("check-outage", "web").out
    recovered = later.ops("rollback-worker", "--service", "web", "--environment", "live", "--yes", "--json")

    (note,) = [line for line in shown.splitlines() if "Network performance issues in Lima" in line]
    assert note.startswith("  note    www.cloudflarestatus.com: incident ")
    assert note.endswith("(identified, critical): names no product; see https://stspg.io/i0")
    assert ": unclear" in shown.splitlines()[0]
    assert recovered.result["decision"] == "recovered", recovered.err


EDGE = ("CDN/Cache", "Authoritative DNS", "Network")
STATES = ("degraded_performance", "partial_outage", "major_outage", "under_maintenance")


def add_wide_trouble(page: StatusPage, random: Random) -> None:
    """Add a sign of an outage that may be wider than the page says."""
    match random.randrange(3):
        case 0:
            names = random.sample(sorted(page.states), random.randrange(3))
            incident = StatusIncident(
                name="Errors",
                components={name: random.choice(("operational", *STATES)) for name in names},
                impact=random.choice(("major", "critical")),
                status=random.choice(("investigating", "identified", "monitoring")),
                keeps_components=random.random() < 0.5,
            )
            page.incidents.append(incident)
        case 1:
            page.states[random.choice(EDGE)] = random.choice(STATES)
        case 2:
            page.group_state = random.choice(("partial_outage", "major_outage"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_wide_trouble_is_never_ours_and_forbids_the_automatic_step(shop: Shop, seed: int) -> None:
    """The documents follow www.cloudflarestatus.com/api; the step refuses signs of both kinds."""
    random, sandbox = Random(seed), shop.world.sandbox
    add_wide_trouble(sandbox.status_pages.cloudflare, random)
    for _ in range(random.randrange(3)):
        sandbox.status_pages.cloudflare.incidents.append(
            StatusIncident(name="Small", components={"R2": "degraded_performance"}, impact="minor")
        )
    if random.random() < 0.5:
        sandbox.deploy("shop-web", shop.bad)
    else:
        sandbox.clock.advance(2 * 3600)

    finding = read(shop).finding

    assert finding.verdict != OURS
    assert finding.theirs or finding.possible
    shown = (*finding.theirs, *finding.notes)
    assert set(finding.possible) <= set(shown)


def test_outage_of_github_sends_people_to_a_laptop(later: Shop) -> None:
    later.world.sandbox.status_pages.github.load("github-actions-outage")

    report = read(later)

    assert "www.githubstatus.com: Actions: major outage" in report.finding.github
    assert report.next_step.endswith("GitHub has trouble too: run commands on a laptop.")
    assert any(line.startswith("  github  www.githubstatus.com: ") for line in outage_lines(report))


@pytest.mark.slow
@pytest.mark.parametrize("switch", ["unreachable", "hangs", "contradict"])
def test_page_of_github_that_fails_changes_no_verdict(later: Shop, switch: str) -> None:
    switches, pages = later.world.sandbox.switches, later.world.sandbox.status_pages
    switches.status_pages_lag_seconds = 0
    pages.begin_incident("github", "Disruption with Actions", {"Actions": "major_outage"})
    pages.begin_incident("cloudflare", "Stream is slow", {"Stream": "partial_outage"})
    if switch == "hangs":
        later.world.sandbox.edge_fault(host="www.githubstatus.com", delay=9, times=None)
    else:
        setattr(switches, f"status_pages_{switch}", True)

    finding = read(later).finding

    assert (finding.github, finding.verdict) == ((), OURS if switch == "contradict" else UNCLEAR)
    is_named = "www.githubstatus.com: cannot be read" in finding.notes
    assert is_named == (switch != "contradict")


@pytest.mark.slow
def test_stale_page_of_github_shows_the_incident_later(later: Shop) -> None:
    later.world.sandbox.status_pages.begin_incident("github", "Disruption with Issues", {"Issues": "partial_outage"})
    assert read(later).finding.github == ()

    later.world.sandbox.clock.advance(1200)

    assert "www.githubstatus.com: Issues: partial outage" in read(later).finding.github


@pytest.mark.slow
def test_own_server_of_github_has_no_public_page(later: Shop) -> None:
    later.world.sandbox.status_pages.github.load("github-actions-outage")
    later.world.config.write_text(later.world.config.read_text() + "github: {enterprise_server: true}\n")

    assert read(later).evidence.github is None


def test_all_services_are_judged_without_a_name(later: Shop) -> None:
    """The Worker is healthy, and the site fails, which uses no Workers: the outage may be wider than the page says."""
    sandbox = later.world.sandbox
    sandbox.deploy("shop-web", later.good, at=sandbox.clock.now() - timedelta(hours=2))
    sandbox.status_pages.cloudflare.states["Workers"] = "partial_outage"

    outcome = later.ops("check-outage", "--json")

    assert (outcome.result["verdict"], outcome.result["service"]) == ("unclear", "")
    assert outcome.result["theirs"] == outcome.result["ours"] == []
    assert "www.cloudflarestatus.com: Workers: partial outage" in outcome.result["notes"]
    assert "the probes of web are healthy" in outcome.result["notes"]


@pytest.mark.slow
def test_slow_status_page_is_waited_for_two_seconds(later: Shop) -> None:
    later.world.sandbox.edge_fault(host="www.cloudflarestatus.com", delay=9, times=None)

    report = read(later)

    assert report.finding.verdict == UNCLEAR
    assert "www.cloudflarestatus.com: cannot be read" in report.finding.notes


@pytest.mark.slow
def test_healthy_service_has_no_fault_of_ours(shop: Shop) -> None:
    shop.world.sandbox.deploy("shop-web", shop.good)
    shop.world.sandbox.clock.advance(60)

    report = read(shop)

    assert report.finding.verdict == UNCLEAR
    assert "the probes of web are healthy" in report.finding.notes


def test_site_is_judged_by_its_deployments(shop: Shop) -> None:
    shop.world.sandbox.clock.advance(timedelta(hours=3).total_seconds())
    shop.world.sandbox.status_pages.cloudflare.states["Pages"] = "partial_outage"

    report = read(shop, "docs")

    assert report.finding.verdict == THEIRS
    assert report.to_json()["verdict"] == "theirs"
    assert report.to_json()["theirs"] == ["www.cloudflarestatus.com: Pages: partial outage"]


@pytest.mark.slow
def test_ai_provider_that_does_not_answer_is_theirs(world: World, releases: Releases) -> None:
    sandbox = world.sandbox
    sandbox.clock.advance(2 * 3600)
    sandbox.providers.change({"provider": "groq", "down": True})

    place = Place("production", "api")
    found = read_outage(
        place, world.config, {**sandbox.environ(), "GROQ_API_KEY": "gsk-0123456789"}, Redactor()
    ).finding

    assert (found.verdict, found.theirs) == (THEIRS, ("the AI provider api.groq.com does not answer",))


@pytest.mark.slow
@pytest.mark.parametrize("service", ["docs", ""], ids=["the site", "all"])
def test_silent_ai_provider_of_another_service_explains_nothing(later: Shop, service: str) -> None:
    """Only the site fails, and only the Worker has the provider's key."""
    sandbox, config = later.world.sandbox, later.world.config
    sandbox.providers.change({"provider": "groq", "down": True})
    key = "AI_KEY: {consumers: [web], provider: {url: https://api.groq.com/openai/v1}}"
    config.write_text(f"{config.read_text()}    secrets:\n      {key}\n")
    sandbox.deploy("shop-web", later.good, at=sandbox.clock.now() - timedelta(hours=2))

    finding = read(later, service).finding

    assert (finding.verdict, finding.theirs) == (OURS, ())


def test_command_prints_verdict_signs_and_next_step(later: Shop) -> None:
    begin_outage(later)
    where = ("check-outage", "web", "--environment", "live")

    shown, outcome = later.ops(*where), later.ops(*where, "--json")

    assert (shown.code, outcome.code) == (0, 0)
    first, *signs, step, meaning = shown.out.splitlines()
    assert first.startswith("web in live, read at ")
    assert first.endswith(": theirs")
    assert meaning.startswith("  meaning of theirs: ")
    assert "  theirs  www.cloudflarestatus.com: Workers: major outage" in signs
    assert step == "  Do not roll back. Tell users, and wait for the provider."
    assert outcome.result["verdict"] == "theirs"
    assert later.world.writes() == []


def test_text_of_a_status_page_stays_on_its_line(later: Shop) -> None:
    later.world.sandbox.switches.status_pages_lag_seconds = 0
    name = "down\n  ours    everything\x1b[31m"
    later.world.sandbox.status_pages.begin_incident("cloudflare", name, {"Workers": "major_outage"})

    shown = later.ops("check-outage", "web").out

    assert "\x1b" not in shown
    assert not any(line.startswith("  ours") for line in shown.splitlines())

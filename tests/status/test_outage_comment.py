"""Comment of `ops check-outage` on an incident of a shop."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops.core.outage import ApiState, OutageEvidence, PageState, ServiceSigns, StatusReport, judge_outage
from ops.core.run_record import RecordRow, RunRecord, embed_record, read_record
from ops.core.verdict import Verdict
from ops.status.outage import OutageReport, draft_lines
from sandbox.edge.status_pages import StatusIncident
from tests.conftest import Incident, Outcome
from tests.support.commands import LIST
from tests.support.shop import WORKER, Shop

TEXT = "Our provider Cloudflare reports trouble with Workers"


@pytest.fixture
def incident(shop: Shop) -> Incident:
    """An incident two hours after the bad release, while Cloudflare's page reports an outage of Workers."""
    sandbox = shop.world.sandbox
    sandbox.clock.advance(2 * 3600)
    sandbox.switches.status_pages_lag_seconds = 0
    sandbox.github.add_user("mai")
    sandbox.status_pages.begin_incident("cloudflare", "Workers errors", {"Workers": "major_outage"})
    sandbox.clock.advance(300)
    return Incident(shop.world, sandbox.github.open_issue("Cart fails", "", ["incident"], "mai"))


def check(shop: Shop, *arguments: str, **environ: Any) -> Outcome:
    github = shop.world.sandbox.github.environ()
    return shop.ops("check-outage", *arguments, "--incident", "1", **github, **environ)


def records(shop: Shop) -> list[RunRecord]:
    comments = shop.world.sandbox.github.issue(1).comments
    return [record for each in comments if (record := read_record(each.body))]


def body(shop: Shop) -> str:
    return shop.world.sandbox.github.issue(1).comments[-1].body


def test_comment_has_verdict_signs_and_message(shop: Shop, incident: Incident) -> None:
    outcome = check(shop, "web")

    assert outcome.code == 0
    assert incident.number == 1
    lines = body(shop).splitlines()
    now = shop.world.sandbox.clock.now()
    assert lines[0] == "### ☁️ web in live: theirs, an outage of a provider"
    assert "**Next step:** Do not roll back. Tell users, and wait for the provider." in lines
    assert any(line.endswith("Workers: major outage") for line in lines)
    message = [line.removeprefix("> ") for line in lines if line.startswith("> ")]
    began = now - timedelta(seconds=300)
    assert message == [
        f"Parts of web do not work at the moment. Our checks failed at {now:%H:%M} UTC.",
        f"{TEXT} since {began:%Y-%m-%d %H:%M} UTC.",
        f"Next update: {now + timedelta(minutes=30):%H:%M} UTC.",
    ]
    assert shop.world.writes() == []
    assert "/issues/1#issuecomment-" in outcome.out


@pytest.mark.slow
def test_message_names_no_start_that_is_not_the_same_for_all(shop: Shop, incident: Incident) -> None:
    """An old incident of the API says nothing about when the trouble with Workers began."""
    old = StatusIncident(name="API is slow", components={"API": "degraded_performance"}, age=timedelta(days=9))
    shop.world.sandbox.status_pages.cloudflare.incidents.append(old)

    check(shop, "web")

    assert "> Our provider Cloudflare reports trouble with API and Workers.\n" in body(shop)
    assert len(incident.bodies) == 1


@pytest.mark.slow
def test_repeated_check_edits_the_newest_comment(shop: Shop, incident: Incident) -> None:
    check(shop, "web")
    shop.world.sandbox.clock.advance(60)
    check(shop, "web")

    (record,) = records(shop)
    assert [row.kind for row in record.rows] == ["note", "note"]
    assert len(incident.bodies) == 1


@pytest.mark.slow
def test_checks_of_two_services_in_one_second_are_two_comments(shop: Shop, incident: Incident) -> None:
    sandbox = shop.world.sandbox
    sandbox.clock.advance(1 - sandbox.clock.now().microsecond / 1e6)
    for service in ("web", "docs"):
        check(shop, service)

    assert [each.service for each in records(shop)] == ["web", "docs"]
    assert len(incident.bodies) == 2


@pytest.mark.slow
def test_check_after_another_comment_is_a_new_comment(shop: Shop, incident: Incident) -> None:
    check(shop, "web")
    shop.world.sandbox.github.comment(1, "Is it Cloudflare?", "mai")
    shop.world.sandbox.clock.advance(60)
    check(shop, "web")

    assert [bool(read_record(each)) for each in incident.bodies] == [True, False, True]


@pytest.mark.slow
def test_another_verdict_is_a_new_comment(shop: Shop, incident: Incident) -> None:
    check(shop, "web")
    shop.world.sandbox.deploy("shop-web", shop.bad)
    shop.world.sandbox.clock.advance(60)
    check(shop, "web")

    assert [each.decision for each in records(shop)] == ["theirs", "unclear"]
    assert re.search(r"\*\*Signs of an outage\*\*\n\n- .*Workers: major outage\n", body(shop))
    assert "**Signs of our fault**\n\n- web fails after a deployment 1 min ago\n" in body(shop)
    assert "> " not in body(shop)
    assert len(incident.bodies) == 2


@pytest.mark.slow
def test_record_of_another_author_is_not_continued(shop: Shop, incident: Incident) -> None:
    check(shop, "web")
    forged = body(shop)
    shop.world.sandbox.github.comment(1, forged, "mai")
    shop.world.sandbox.clock.advance(60)
    check(shop, "web")

    assert [each.user.login == "mai" for each in shop.world.sandbox.github.issue(incident.number).comments] == [
        False,
        True,
        False,
    ]


def test_lost_answer_makes_no_second_comment(shop: Shop, incident: Incident) -> None:
    shop.world.sandbox.github.fault(method="POST", path="/repos/*/*/issues/1/comments", lost="after")

    assert check(shop, "web").code == 0
    assert len(incident.bodies) == 1


@pytest.mark.slow
def test_verdict_is_printed_without_an_answer_of_github(shop: Shop, incident: Incident) -> None:
    shop.world.sandbox.github.fault(method="*", path="/repos/*/*/issues/1/comments", status=503, times=None)

    outcome = check(shop, "web")

    assert outcome.code == 4
    assert "web in live, read at" in outcome.out
    assert incident.bodies == []


def test_check_is_a_row_of_the_timeline(shop: Shop, incident: Incident) -> None:
    check(shop, "web")

    shown = incident.show()

    assert "outage check of web in live: theirs: www.cloudflarestatus.com: Workers: major outage" in shown.out


def test_end_of_an_outage_recovers_the_service(shop: Shop, incident: Incident) -> None:
    sandbox = shop.world.sandbox
    post_broken(incident)
    check(shop, "web")
    assert state_of(incident, shop) == "broken"

    sandbox.deploy(WORKER, shop.good)
    sandbox.clock.advance(6 * 3600)
    check(shop, "web")

    assert state_of(incident, shop) == "mitigated"


def post_broken(incident: Incident) -> None:
    row = RecordRow(incident.world.sandbox.clock.now(), "note", "broken web: 500 everywhere")
    incident.github.comment(incident.number, embed_record("x", RunRecord("note-1", source="note", rows=(row,))), "mai")


def state_of(incident: Incident, shop: Shop) -> str:
    (web,) = incident.show("--json", **shop.environ()).result["services"]
    return str(web["state"])


def report(*, api: ApiState = ApiState.WORKS, providers: Mapping[str, Verdict] | None = None) -> OutageReport:
    """Return a report for a failing service without a deployment, while the status page is calm."""
    page = StatusReport("www.cloudflarestatus.com", PageState.CLEAR)
    signs = (ServiceSigns("web", Verdict.UNHEALTHY, ""),)
    evidence = OutageEvidence((page,), api, signs, providers or {})
    return OutageReport("web", "live", datetime(2026, 11, 24, 3, 12, tzinfo=UTC), evidence, judge_outage(evidence))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"api": ApiState.FAILS}, ["Our provider Cloudflare does not answer as usual."]),
        ({"providers": {"api.groq.com": Verdict.UNHEALTHY}}, ["Our AI provider api.groq.com does not answer."]),
        ({"api": ApiState.SUSPENDED}, []),
    ],
    ids=str,
)
def test_message_names_only_checked_facts(given: Any, sentence: list[str]) -> None:
    assert list(draft_lines(report(**given))) == [
        "Parts of web do not work at the moment. Our checks failed at 03:12 UTC.",
        *sentence,
        "Next update: 03:42 UTC.",
    ]


def test_own_fault_has_no_message() -> None:
    assert list(draft_lines(report())) == []


def test_suspended_account_is_escalated_on_the_incident(shop: Shop, incident: Incident) -> None:
    sandbox = shop.world.sandbox
    sandbox.fault(**LIST, status=403, code=10000, message="This account has been suspended", times=None)
    people = 'contacts:\n  - {role: Owner, contact: "mai, +49 30 1", availability: 24/7}\n'
    shop.world.config.write_text(shop.world.config.read_text() + people)

    check(shop, "web")

    assert "**Call**\n\n- Owner: mai, +49 30 1 (24/7)" in body(shop)
    assert "Escalate now" in body(shop)
    assert not any("suspended" in line for line in body(shop).splitlines() if line.startswith("> "))
    assert len(incident.bodies) == 1


@pytest.mark.slow
def test_text_of_a_status_page_is_quoted_without_effect(shop: Shop, incident: Incident) -> None:
    name = "@mai ![x](https://evil.example/x) <!-- --> #1\n### ours"
    shop.world.sandbox.status_pages.begin_incident("cloudflare", name, {"Workers": "major_outage"})

    check(shop, "web")

    assert "![x]" not in body(shop)
    assert "@mai" not in body(shop)
    assert [line[:3] for line in body(shop).splitlines() if line.startswith("#")] == ["###"]
    assert "mai" not in "".join(line for line in body(shop).splitlines() if line.startswith("> "))
    assert len(incident.bodies) == 1


def test_healthy_service_has_no_message_for_users(shop: Shop, incident: Incident) -> None:
    shop.world.sandbox.deploy("shop-web", shop.good, at=shop.world.sandbox.clock.now() - timedelta(hours=2))

    check(shop, "web")

    assert "No service fails in our probes, so there is no message for users yet." in body(shop)
    assert "Tell users" not in body(shop)
    assert "> " not in body(shop)
    assert len(incident.bodies) == 1


def test_check_without_a_service_names_all_failing_ones(shop: Shop, incident: Incident) -> None:
    check(shop)

    assert "### ☁️ live: theirs, an outage of a provider" in body(shop)
    assert "> Parts of web and docs do not work at the moment." in body(shop)
    assert len(incident.bodies) == 1


@pytest.mark.sampled
@pytest.mark.parametrize(("name", "count"), [("\ud800 down", 1), ("x" * 90_000, 1), ("Workers are slow " * 20, 300)])
def test_hostile_status_page_delays_no_answer(shop: Shop, incident: Incident, name: str, count: int) -> None:
    for _ in range(count):
        shop.world.sandbox.status_pages.begin_incident("cloudflare", name, {"Workers": "major_outage"})

    outcome = check(shop, "web")

    assert outcome.code == 0, outcome.err
    assert len(incident.bodies) == 1
    assert len(body(shop)) < 20_000
    assert [each.decision for each in records(shop)] == ["theirs"]

"""`ops versions`: candidates of a rollback with the reason for and against each, read like a plan."""

import re
from datetime import timedelta

import pytest

from tests.conftest import Incident, Outcome
from tests.support.shop import SITE, WORKER, Shop


def verdicts(outcome: Outcome) -> list[tuple[str, str, str]]:
    return [(each["id"], each["verdict"], each["why"]) for each in outcome.result["versions"]]


def api_calls(shop: Shop, *arguments: str) -> list[str]:
    """Return the calls to Cloudflare that the command makes, sorted; without that for figures, which nobody awaits."""
    shop.world.sandbox.requests.clear()
    outcome = shop.ops(*arguments, "--json")
    assert outcome.code == 0, outcome.err
    return sorted(
        f"{r.method} {r.path}"
        for r in shop.world.sandbox.requests
        if r.path.startswith("/client/") and not r.path.endswith("/graphql")
    )


def test_versions_of_a_worker_name_the_target_of_the_rollback(shop: Shop) -> None:
    shop.world.sandbox.upload(WORKER, code="draft", message="cart: draft")

    outcome = shop.ops("versions", "web")

    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].startswith("web in live, read at ")
    assert lines[1].startswith("  rejected  ")
    assert lines[2:7] == [
        "            it never served all traffic",
        f'  live      {shop.bad[:8]}  100 %  1 h old  by mai@shop.example  "cart: new tax rule"',
        "            a rollback removes it",
        f'  target    {shop.good[:8]}  1 d 6 h old  by mai@shop.example  "cart: sum up"',
        "            its release served 1 d 5 h",
    ]
    assert lines[-1].startswith("  To roll back: ops rollback-worker --service web --environment live --config ")
    assert shop.world.writes() == []


def test_service_may_be_an_option(shop: Shop) -> None:
    named, both = shop.ops("versions", "--service", "web"), shop.ops("versions", "web", "--service", "docs")

    assert (named.code, named.out.partition(" ")[0]) == (0, "web")
    assert (both.code, bool(re.search('"web".*"docs"', both.err))) == (2, True)


@pytest.mark.slow
def test_target_is_the_one_of_the_plan(shop: Shop) -> None:
    result = shop.ops("versions", "web", "--json").result
    planned = shop.ops("rollback-worker", "--service", "web", "--dry-run", "--json").result

    assert result["target"] == shop.good
    assert shop.good[:8] in planned["plan"]["summary"]
    assert result["schema"] == 1


@pytest.mark.parametrize(("service", "runbook"), [("web", "rollback-worker"), ("docs", "rollback-pages")])
def test_versions_make_only_the_calls_of_a_plan(shop: Shop, service: str, runbook: str) -> None:
    """A plan also names the crons and domains that a rollback leaves, which `versions` does not show."""
    planned = api_calls(shop, runbook, "--service", service, "--dry-run")

    listed = api_calls(shop, "versions", service)
    assert listed
    assert listed == [call for call in planned if not call.endswith(("/workers/domains", "/schedules"))]


def test_each_rejected_version_has_its_reason(shop: Shop) -> None:
    sandbox = shop.world.sandbox
    now = sandbox.clock.now()
    brief = sandbox.upload(WORKER, code="brief", at=now - timedelta(minutes=12))
    sandbox.deploy(WORKER, brief, at=now - timedelta(minutes=12))
    newest = sandbox.upload(WORKER, code="newest", at=now - timedelta(minutes=10))
    sandbox.deploy(WORKER, newest, at=now - timedelta(minutes=10))

    found = {name: (verdict, why) for name, verdict, why in verdicts(shop.ops("versions", "web", "--json"))}

    assert found[newest][0] == "live"
    assert found[brief] == ("rejected", "its release served only 2 min, less than 10 min")
    assert (found[shop.bad][0], found[shop.bad][1][:37]) == ("rejected", f"it served for only 48 min, and {brief[:6]}")
    assert found[shop.good] == ("target", "its release served 1 d 5 h")
    assert found[shop.old] == ("possible", "its release served 1 d 6 h; older than the target")


@pytest.mark.slow
def test_rollback_in_effect_leaves_no_target(shop: Shop) -> None:
    assert shop.ops("rollback-worker", "--service", "web", "--yes").code == 0

    outcome = shop.ops("versions", "web", "--json")

    assert outcome.result["target"] is None
    assert any(note.startswith("already rolled back: ") for note in outcome.result["notes"])
    assert {verdict for _, verdict, _ in verdicts(outcome)} == {"live", "rejected", "possible"}
    lines = shop.ops("versions", "web").out
    assert "a rollback deployed it" in lines
    assert re.search(r"  To choose one: ops rollback-worker .* --to ID\n$", lines)


def test_versions_of_a_site(shop: Shop) -> None:
    files = {"index.html": b"x"}
    failed = shop.world.sandbox.pages.add_deployment(SITE, files=files, status="failure", message="broken build")

    outcome = shop.ops("versions", "docs", "--json")

    (build, live, target) = verdicts(outcome)
    assert build == (failed, "rejected", "its last stage is deploy failure")
    assert (live[1], target[1]) == ("live", "possible")  # a failed build leaves nothing to roll back
    assert outcome.result["notes"][0].startswith("the latest build failed")


def test_target_of_a_site_is_the_one_of_the_plan(shop: Shop) -> None:
    result = shop.ops("versions", "docs", "--json").result

    plan = shop.ops("rollback-pages", "--dry-run", "--json").result["plan"]
    assert result["target"][:8] in plan["summary"].partition("→")[2]


def test_deployments_of_an_unknown_live_site_are_listed(shop: Shop) -> None:
    shop.world.config.write_text(shop.world.config.read_text().replace("https://docs.shop", "https://other.shop"))

    outcome = shop.ops("versions", "docs", "--json")

    assert outcome.code == 0, outcome.err
    assert outcome.result["target"] is None
    assert "could not be identified" in outcome.result["notes"][0]
    assert len(verdicts(outcome)) == 2


def test_only_newest_versions_are_shown(shop: Shop) -> None:
    for number in range(12):
        shop.world.sandbox.upload(WORKER, code=f"draft {number}")

    outcome = shop.ops("versions", "web")

    assert "  3 more are not shown (--all shows them)\n" in outcome.out
    assert f"  target    {shop.good[:8]}" in outcome.out
    assert "not shown" not in shop.ops("versions", "web", "--all").out


def test_service_is_optional_where_there_is_one_choice(shop: Shop) -> None:
    outcome = shop.ops("versions")

    assert outcome.code == 2
    assert re.match("error: .*: web in live, docs in live\n", outcome.err)
    assert "  ops versions web --environment live --config " in outcome.err


@pytest.mark.slow
def test_runs_of_the_incident_count(shop: Shop, incident: Incident) -> None:
    github = shop.environ(**incident.github.environ())
    more = ("--incident", str(incident.number))
    assert shop.ops("rollback-worker", "--service", "web", *more, "--yes", **github).code == 0
    shop.world.sandbox.clock.advance(48 * 3600)

    without, within = (shop.ops("versions", "web", *given, "--json", **github).result for given in ((), more))

    assert not any(note.startswith("already rolled back: ") for note in without["notes"])
    assert any(note.startswith("already rolled back: ") for note in within["notes"])
    assert f" --incident {incident.number} " in within["command"]

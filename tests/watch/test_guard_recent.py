"""`ops guard --recent`: deployments that somebody made elsewhere, and what `ops status` says of them."""

from datetime import timedelta

import pytest

from tests.conftest import Outcome
from tests.support import plain_yaml
from tests.support.shop import Shop
from tests.support.workflows import add_actions
from tests.watch.test_guard import guard, release, shop

__all__ = ["shop"]
GUARD = "        guard: {for: 15m}\n"


@pytest.fixture
def guarded(shop: Shop) -> Shop:
    """The shop with a guard for its Worker, and a schedule every 30 minutes."""
    shop.world.edit_config("        probes:\n          - name: cart", f"{GUARD}        probes:\n          - name: cart")
    shop.world.config.write_text(shop.world.config.read_text() + "github: {schedules: {guard: 30m}}\n")
    return shop


def recent(shop: Shop) -> Outcome:
    token = shop.world.sandbox.add_token("report", ["Workers Scripts Read", "Pages Read", "Account Analytics Read"])
    return shop.ops("guard", "--recent", "--json", **shop.world.sandbox.github.environ(), SHOP_TOKEN=token)


def test_bad_deployment_of_the_dashboard_opens_one_incident(guarded: Shop) -> None:
    release(guarded, "dashboard", 500)
    guarded.world.sandbox.clock.advance(600)

    first, second = recent(guarded), recent(guarded)

    assert (first.code, first.result["reason"], first.result["incident"]) == (6, "bad_deployment", 1), first.err
    assert (second.code, second.result["incident"]) == (6, 1)
    assert len(guarded.world.sandbox.github.issues) == 1
    assert guarded.world.writes() == []


@pytest.mark.parametrize("what", ["good", "old", "ours", "not guarded"])
def test_nothing_is_said_of_other_deployments(guarded: Shop, what: str) -> None:
    sandbox = guarded.world.sandbox
    release(guarded, "dashboard", 200 if what == "good" else 500)
    if what == "ours":
        assert guarded.ops("rollback-worker", "--service", "web", "--yes", "--json").code == 0
        sandbox.edge_fault(path="/cart", status=500, times=None)
    if what == "not guarded":
        guarded.world.edit_config(GUARD, "")
    sandbox.clock.advance(7200 if what == "old" else 60)

    done = recent(guarded)

    assert (done.code, sandbox.github.issues) == (0, []), done.out
    assert (len(done.out.splitlines()), "No recent deployment" in done.err) == (
        (1, False) if what == "good" else (0, True)
    )


def test_status_says_until_when_no_guard_can_have_finished(guarded: Shop) -> None:
    release(guarded, "dashboard")
    said = "no guard of this deployment has finished"

    new = guarded.ops("status", "--json").result["services"][0]
    assert said in guarded.ops("status").out
    guarded.world.sandbox.clock.advance(960)
    assert said not in guarded.ops("status").out

    assert new["guarded_until"] > new["since"]
    assert guarded.ops("rollback-worker", "--service", "web", "--yes").code == 0
    assert guarded.ops("status", "--json").result["services"][0]["guarded_until"] is None, "a run has its own proof"


def test_service_that_cannot_be_read_does_not_hide_another_one(guarded: Shop) -> None:
    sandbox = guarded.world.sandbox
    guarded.world.edit_config("pages: shop-docs\n", "pages: shop-docs\n        guard: {for: 10m}\n")
    sandbox.fault(path="/accounts/*/pages/**", status=403, code=10000, times=None)

    assert recent(guarded).code == 4
    release(guarded, "dashboard", 500)
    done = recent(guarded)

    assert (done.code, done.result["incident"]) == (6, 1), done.err


def test_service_that_fails_once_its_guard_begins_does_not_hide_another_one(guarded: Shop) -> None:
    sandbox = guarded.world.sandbox
    guarded.world.edit_config("pages: shop-docs\n", "pages: shop-docs\n        guard: {for: 10m}\n")
    guarded.world.edit_config("guard: 30m}", "guard: 4h}")
    release(guarded, "dashboard", 500)
    sandbox.fault(path="/accounts/*/pages/**", status=403, code=10000, times=None, skip=1)

    done = recent(guarded)

    assert (done.code, done.result["incident"]) == (6, 1), done.err
    assert "shop-docs" in done.err


def test_incident_does_not_wait_for_the_guards_of_other_services(guarded: Shop) -> None:
    sandbox = guarded.world.sandbox
    guarded.world.edit_config("pages: shop-docs\n", "pages: shop-docs\n        guard: {for: 1h}\n")
    guarded.world.edit_config("http: {path: /, status: 200, body: docs}", "http: {path: /}")
    guarded.world.edit_config("guard: 30m}", "guard: 4h}")
    release(guarded, "dashboard", 500)
    began = sandbox.clock.now()

    assert recent(guarded).code == 6

    (incident,) = sandbox.github.issues
    assert incident.created_at - began < timedelta(minutes=3)
    assert sandbox.clock.now() - began >= timedelta(minutes=5)


def test_weekly_schedule_guards_deployments_of_the_week(guarded: Shop) -> None:
    guarded.world.edit_config("guard: 30m}", "guard: 7d}")
    release(guarded, "dashboard", 500)
    guarded.world.sandbox.clock.advance(6 * 86_400)

    done = recent(guarded)

    assert (done.code, done.result["reason"]) == (6, "bad_deployment"), done.err


def test_options_of_one_deployment_are_refused(guarded: Shop) -> None:
    assert guard(guarded, "--recent", "--commit", "4f2a9c1").code == 2


def test_schedule_guards_with_a_token_that_only_reads(guarded: Shop) -> None:
    add_actions(guarded.folder)

    guarded.world.edit_config("guard: 30m}", "guard: 30m}, accept_minutes: 1440")

    done = guarded.ops("workflows", "sync")

    found = plain_yaml.load((guarded.folder / ".github/workflows/scheduled.yml").read_text())
    (job,) = found["jobs"].values()
    assert done.code == 0, done.err
    assert (job["environment"]["name"], job["timeout-minutes"]) == ("report", 25)
    assert job["steps"][-1]["with"].items() >= {"command": "guard", "environment": "live", "recent": "true"}.items()
    assert "SHOP_TOKEN" in job["steps"][-1]["env"]

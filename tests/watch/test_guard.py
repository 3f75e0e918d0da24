"""`ops guard`: a new deployment of a shop is good, bad, without evidence, or replaced."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from sandbox.cloudflare.analytics.state import SUCCESS, THREW
from sandbox.faults import Fault
from tests.conftest import ACCOUNT, Outcome, World
from tests.gate.support import parse_outputs
from tests.support.shop import SITE, WORKER, Shop, answering, open_shop
from tests.support.webhooks import receiving

PROBES = """\
        probes:
          - name: cart
            http: {path: /cart, status: 200, version: version}
"""
RIGHTS = ["Workers Scripts Read", "Pages Read", "Account Analytics Read"]


@pytest.fixture
def shop(world: World) -> Shop:
    """A shop whose good release is live, with figures of a day; the token of its job reads them too."""
    found, sandbox = open_shop(world), world.sandbox
    sandbox.github.add_user("mai")
    sandbox.switches.propagation_seconds = 0
    sandbox.deploy(WORKER, found.good, author="mai@shop.example")
    for hour in range(20):
        count(found, found.good, 50, at=timedelta(hours=-hour))
    sandbox.clock.advance(3600)
    return found


def count(shop: Shop, version: str, requests: int, *, failed: int = 0, at: timedelta = timedelta(0)) -> None:
    """Add requests of users to a version."""
    sandbox = shop.world.sandbox
    for number in range(requests):
        outcome = THREW if number < failed else SUCCESS
        moment = sandbox.clock.now() + at
        sandbox.analytics.record_invocation(ACCOUNT, WORKER, version, outcome, at=moment, seconds=0.01, size=9)


def release(shop: Shop, code: str, status: int = 200, **more: Any) -> str:
    """Deploy a new version, as the job of the application does; return its ID."""
    sandbox = shop.world.sandbox
    version = sandbox.upload(WORKER, code=code, behaviour=answering(status), author="mai@shop.example", **more)
    sandbox.deploy(WORKER, version, author="mai@shop.example")
    return str(version)


def guard(shop: Shop, *arguments: str, **environ: str | None) -> Outcome:
    token = shop.world.sandbox.add_token("guard", RIGHTS)
    given = {**shop.world.sandbox.github.environ(), "SHOP_TOKEN": token, **environ}
    return shop.ops("guard", "--service", "web", "--json", *arguments, **given)


def at_pauses(shop: Shop, actions: dict[int, Callable[[], object]]) -> None:
    """Do something at the end of some pauses of the guard, by their number."""
    pauses = iter(range(1, 10_000))

    def act() -> None:
        actions.get(next(pauses), lambda: None)()

    shop.world.sandbox.clock.on_sleep = act


def test_good_deployment_passes_and_writes_nothing(shop: Shop, tmp_path: Any) -> None:
    version = release(shop, "new", tag="4f2a9c1d")
    shop.world.sandbox.clock.on_sleep = lambda: count(shop, version, 5)

    done = guard(shop, GITHUB_OUTPUT=str(tmp_path / "outputs"), GITHUB_SHA="4f2a9c1d" + 32 * "0")

    assert (done.code, done.result["decision"], done.result["reason"]) == (0, "nothing_to_do", "good_deployment")
    assert done.result["versions"] == [version]
    assert done.result["rounds"] == "." * 6 + "h" * 54
    assert version[:8] in done.err, "the first line names the deployment"
    assert parse_outputs((tmp_path / "outputs").read_text())["reason"] == "good_deployment"
    assert shop.world.writes() == []
    assert shop.world.sandbox.github.issues == []


def test_guard_sends_four_calls_a_minute_at_most(shop: Shop) -> None:
    release(shop, "new")
    sent: list[int] = []
    begin = len(shop.world.sandbox.requests)
    shop.world.sandbox.clock.on_sleep = lambda: sent.append(len(shop.world.sandbox.requests) - begin)

    assert guard(shop).code == 0

    assert max(after - before for before, after in zip(sent, sent[6:], strict=False)) <= 4


def test_failing_probes_end_the_guard_and_open_one_incident(shop: Shop) -> None:
    release(shop, "new", 500)

    first, second = guard(shop), guard(shop)

    assert [each.code for each in (first, second)] == [6, 6], first.err
    assert first.result["rounds"] == "." * 6 + "u" * 5
    assert "probes: 5 of 5 rounds failed" in first.result["cause"]
    assert first.result["incident"] == second.result["incident"] == 1
    (issue,) = shop.world.sandbox.github.issues
    assert {label.name for label in issue.labels} == {"incident", "sev2"}
    assert any("rollback-worker" in each.body for each in issue.comments), "the recovery menu"
    assert shop.world.writes() == []


@pytest.mark.parametrize("fault", [None, {"path": "/**", "status": 503, "times": None}])
def test_chat_hears_of_a_bad_deployment_once(shop: Shop, fault: dict[str, Any] | None) -> None:
    """Also if no incident can be opened: then nothing else says it but the failed job."""
    shop.world.edit_config("environments:\n", "notify: {slack: {webhook: SLACK_WEBHOOK_URL}}\nenvironments:\n")
    version = release(shop, "new", 500)
    if fault:
        shop.world.sandbox.github.fault(**fault)

    with receiving() as receiver:
        done = guard(shop, **receiver.environ)

    assert (done.code, done.result["incident"]) == (6, None if fault else 1)
    (message,) = receiver.texts
    assert f"web in live: {version[:8]} is bad" in message
    assert ("No incident was opened" in message) == bool(fault)


def test_error_rate_of_the_new_version_alone_is_bad(shop: Shop) -> None:
    """The page answers, and 4 % of other requests throw; before, none did."""
    version = release(shop, "new")
    shop.world.sandbox.clock.on_sleep = lambda: count(shop, version, 50, failed=2)

    done = guard(shop, "--for", "15m")

    assert (done.code, done.result["reason"]) == (6, "bad_deployment"), done.err
    assert done.result["cause"].startswith(f"requests to {version[:8]}: ")
    assert "u" not in done.result["rounds"]


@pytest.mark.slow
def test_rate_as_before_is_no_fault_of_the_deployment(shop: Shop) -> None:
    for hour in range(20):
        count(shop, shop.good, 100, failed=6, at=timedelta(hours=-hour))
    version = release(shop, "new")
    shop.world.sandbox.clock.on_sleep = lambda: count(shop, version, 50, failed=2)

    done = guard(shop, "--for", "30m")

    assert (done.code, done.result["reason"]) == (0, "good_deployment"), done.result


@pytest.mark.parametrize(("failed", "reason"), [(0, "good_deployment"), (1, "no_evidence")])
def test_few_requests_never_make_a_deployment_bad(shop: Shop, failed: int, reason: str) -> None:
    """A request every 20 seconds: without a failure the probes decide, and with one nothing shows a share below 1 %."""
    version = release(shop, "new")
    at_pauses(
        shop, {pause: partial(count, shop, version, 1, failed=failed * (pause == 16)) for pause in range(2, 60, 2)}
    )

    done = guard(shop)

    assert (done.code, done.result["reason"]) == (8 * failed, reason), done.result
    assert shop.world.sandbox.github.issues == []


def test_only_the_new_version_of_a_gradual_deployment_is_judged(shop: Shop) -> None:
    """Nine of ten answers come from the version before, and say nothing about the new one."""
    sandbox = shop.world.sandbox
    new = sandbox.upload(WORKER, code="new", behaviour=answering(500), author="mai@shop.example")
    sandbox.deploy(WORKER, {shop.good: 90, new: 10}, author="mai@shop.example")

    def send() -> None:
        count(shop, shop.good, 90)
        count(shop, new, 10, failed=8 if new in shop.live else 0)

    sandbox.clock.on_sleep = send

    done = guard(
        shop, "--on-bad", "rollback", SHOP_TOKEN=sandbox.add_token("writes", [*RIGHTS, "Workers Scripts Write"])
    )

    assert (done.code, done.result["versions"], done.result["incident"]) == (6, [new], 1), done.result
    assert {*done.result["rounds"]} <= {*".iu"}
    assert (done.result["rollback"]["decision"], shop.live) == ("healthy_as_before", {shop.good: 100}), done.result


def test_half_of_the_failures_of_a_bad_version_is_not_good(shop: Shop) -> None:
    count(shop, release(shop, "broken"), 400, failed=400)
    shop.world.sandbox.clock.advance(600)
    fix = release(shop, "fix")
    shop.world.sandbox.clock.on_sleep = lambda: count(shop, fix, 50, failed=25)

    done = guard(shop, "--for", "15m")

    assert (done.code, done.result["reason"]) == (8, "no_evidence"), done.result


def test_no_data_is_no_success(shop: Shop) -> None:
    release(shop, "new")
    shop.world.edit_config(PROBES, "")

    done = guard(shop, SHOP_TOKEN=shop.world.sandbox.add_token("few", ["Workers Scripts Read"]))

    assert (done.code, done.result["decision"], done.result["reason"]) == (8, "no_evidence", "no_evidence")
    assert shop.world.sandbox.github.issues == []


def test_answers_of_the_version_before_count_for_nothing(shop: Shop) -> None:
    """The edge still serves a failing version where a fix was deployed."""
    shop.world.sandbox.deploy(WORKER, shop.bad, author="mai@shop.example")
    shop.world.sandbox.clock.advance(3600)
    shop.world.sandbox.switches.propagation_seconds = 180
    release(shop, "fix")

    done = guard(shop)

    assert (done.code, done.result["reason"]) == (0, "good_deployment"), done.result
    assert {*done.result["rounds"]} == {".", "i", "h"}


@pytest.mark.parametrize(("version", "reason"), [("", "no_evidence"), (", version: version", "bad_deployment")])
def test_answers_without_a_version_count_for_nothing_beside_other_versions(
    shop: Shop, version: str, reason: str
) -> None:
    """Half of the traffic goes to a failing version. A healthy answer without a version may come from the other one."""
    shop.world.edit_config("status: 200, version: version", f"status: 200{version}")
    sandbox = shop.world.sandbox
    canary = sandbox.upload(WORKER, code="canary", behaviour=answering(500), author="mai@shop.example")
    sandbox.deploy(WORKER, {canary: 50, shop.good: 50}, author="mai@shop.example")

    done = guard(shop)

    assert done.result["reason"] == reason, done.result
    assert "h" not in done.result["rounds"]


@pytest.mark.parametrize(("is_back", "code", "reason"), [(False, 0, "replaced"), (True, 8, "already_stepped_back")])
def test_guard_ends_if_another_deployment_is_live(shop: Shop, is_back: bool, code: int, reason: str) -> None:
    release(shop, "new")
    newer = (lambda: shop.world.sandbox.deploy(WORKER, shop.good)) if is_back else (lambda: release(shop, "newer", 500))
    at_pauses(shop, {12: newer})

    done = guard(shop)

    assert (done.code, done.result["reason"]) == (code, reason), done.err
    assert len(done.result["rounds"]) < 60
    assert done.result["replaced_by"]
    assert shop.world.sandbox.github.issues == []


def test_commit_of_an_older_deployment_is_not_guarded(shop: Shop) -> None:
    release(shop, "new", tag="4f2a9c1d")
    release(shop, "newer", message="aaaaaaa: tax rule")

    done = guard(shop, "--commit", "4f2a9c1d")
    other = guard(shop, "--commit", "bbbbbbb")

    assert (done.code, done.result["reason"], done.result["rounds"]) == (0, "replaced", "")
    assert other.code == 3
    assert "bbbbbbb" in other.err
    assert guard(shop, "--commit", "aaaaaaa").result["reason"] == "good_deployment"


def test_guard_after_a_kill_judges_the_same_window(shop: Shop) -> None:
    """It judges the figures from the deployment on, and probes for five minutes more if the window is nearly over."""
    version = release(shop, "new")
    for _ in range(9):
        count(shop, version, 40, failed=10)
        shop.world.sandbox.clock.advance(60)

    late = guard(shop)

    assert (late.code, late.result["reason"]) == (6, "bad_deployment")
    assert late.result["rounds"].strip(".") == "h"
    shop.world.sandbox.deploy(WORKER, shop.good)
    healthy = release(shop, "healthy")
    shop.world.sandbox.clock.advance(540)
    joined = guard(shop, "--version", healthy[:8])
    assert (joined.code, joined.result["reason"]) == (0, "good_deployment"), joined.result
    assert len(joined.result["rounds"].strip(".")) >= 30


def test_site_is_judged_by_its_probes_alone(shop: Shop) -> None:
    github = shop.world.sandbox.github.environ()

    lost = shop.ops("guard", "--service", "docs", "--json", **github)
    refused = shop.ops("guard", "--service", "docs", "--on-bad", "rollback", **github)

    assert (lost.code, lost.result["reason"], lost.result["incident"]) == (6, "bad_deployment", 1)
    assert refused.code == 2


@pytest.mark.parametrize("follows", [False, True])
def test_site_that_somebody_rolled_back_in_the_dashboard_is_not_called_good(shop: Shop, *, follows: bool) -> None:
    """Cloudflare keeps no deployment for a rollback, and its canonical one may stay: only the content shows it."""
    sandbox = shop.world.sandbox
    sandbox.switches.pages_canonical_follows_rollbacks = follows
    sandbox.switches.static_files_answer_hit = False  # else the probes of the older content prove nothing
    before, new = (sandbox.pages.add_deployment(SITE, files={"index.html": text}) for text in (b"docs", b"new docs"))
    at_pauses(shop, {20: lambda: sandbox.pages.rollback(SITE, before)})

    done = shop.ops("guard", "--service", "docs", "--json", **sandbox.github.environ())

    assert done.result["deployment"] == new
    assert (done.code, done.result["reason"]) == (8, "no_evidence"), done.result
    assert "i" not in done.result["rounds"], "the probes alone would call it good"
    assert before[:8] in " ".join(done.result["notes"])


def test_site_is_good_although_nobody_can_say_which_deployment_it_shows(shop: Shop) -> None:
    sandbox = shop.world.sandbox
    new = sandbox.pages.add_deployment(SITE, files={"index.html": b"new docs"})
    at_pauses(shop, {50: lambda: sandbox.edge_fault(host=f"{new[:8]}.*", status=503, times=None)})

    done = shop.ops("guard", "--service", "docs", "--json", **sandbox.github.environ())

    assert (done.code, done.result["reason"]) == (0, "good_deployment"), done.result
    assert [note for note in done.result["notes"] if "unknown" in note]


@pytest.mark.parametrize("fault", ["no token", "refused", "down"])
def test_bad_deployment_fails_the_job_although_no_incident_can_be_opened(shop: Shop, fault: str) -> None:
    release(shop, "new", 500)
    environ: dict[str, str | None] = {"GITHUB_TOKEN": None} if fault == "no token" else {}
    if fault != "no token":
        status = 403 if fault == "refused" else 503
        shop.world.sandbox.github.fault(method="POST", path="/repos/**", status=status, times=None)

    done = guard(shop, **environ)

    assert (done.code, done.result["reason"], done.result["incident"]) == (6, "bad_deployment", None)
    (said,) = done.result["actions"]
    assert "/acme/operations/issues/new?labels=incident&title=Bad+deployment" in said
    assert ("not known" in said) == (fault == "down")


def test_incident_is_found_after_a_lost_answer(shop: Shop) -> None:
    release(shop, "new", 500)
    shop.world.sandbox.github.fault(method="POST", path="/repos/*/*/issues", lost="after")

    done = guard(shop)

    assert done.result["incident"] == 1, done.result
    (issue,) = shop.world.sandbox.github.issues
    assert [each for each in issue.comments if "rollback-worker" in each.body], "the recovery menu"


def test_incident_counts_as_opened_if_github_fails_right_after(shop: Shop) -> None:
    release(shop, "new", 500)
    hub = shop.world.sandbox.github
    fail = partial(hub.fault, path="/repos/**", status=503, times=None)
    hub.faults.add(Fault(method="POST", path="/repos/*/*/issues", is_prompt=True, after=fail))

    assert guard(shop).result["incident"] == 1


def test_job_of_the_application_opens_the_incident_in_the_operations_repository(shop: Shop) -> None:
    release(shop, "new", 500)
    job = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "77", "GITHUB_REPOSITORY": "acme/shop"}

    done = guard(shop, **job, OPERATIONS_REPOSITORY="acme/operations")

    assert (done.code, done.result["incident"]) == (6, 1), done.result
    (issue,) = shop.world.sandbox.github.issues
    assert "acme/shop/actions/runs/77" in str(issue.body)


def test_incident_of_somebody_else_with_the_same_record_is_none_of_ours(shop: Shop) -> None:
    release(shop, "new", 500)
    assert guard(shop).result["incident"] == 1
    github = shop.world.sandbox.github
    (real,) = github.issues
    github.add_user("eve", "read")
    number = github.open_issue("forged", real.body, ["incident"], "eve")
    real.body = "deleted"

    done = guard(shop)

    assert done.result["incident"] not in {1, number}


def test_two_guards_that_open_at_the_same_time_leave_one_incident(shop: Shop) -> None:
    release(shop, "new", 500)
    others: list[Outcome] = []
    second = Fault(method="POST", path="/repos/*/*/issues", is_prompt=True, before=lambda: others.append(guard(shop)))
    shop.world.sandbox.github.faults.add(second)

    first = guard(shop)

    assert [each.result["incident"] for each in (first, *others)] == [1, 1]
    states = {each.number: (each.state, each.state_reason) for each in shop.world.sandbox.github.issues}
    assert states == {1: ("open", None), 2: ("closed", "not_planned")}


def test_incident_of_a_guard_with_another_token_is_found(shop: Shop) -> None:
    """The job of the application has the token of a person, and the schedule that of the bot."""
    release(shop, "new", 500)
    shop.world.sandbox.github.add_token("of-mai", "mai", ["issues:write"])

    found = [guard(shop, GITHUB_TOKEN="of-mai"), guard(shop)]

    assert [each.result["incident"] for each in found] == [1, 1]


@pytest.mark.parametrize("length", ["5m", "2h", "soon"])
def test_length_without_evidence_is_refused(shop: Shop, length: str) -> None:
    assert guard(shop, "--for", length).code == 2


def test_service_without_a_deployment_is_refused(shop: Shop) -> None:
    shop.world.edit_config(f"worker: {WORKER}", "worker: shop-new")
    shop.world.sandbox.upload("shop-new", code="first", behaviour=answering())

    assert (guard(shop).code, shop.world.sandbox.github.issues) == (3, [])


def test_rollback_of_a_named_deployment_refuses_to_replace_another_one(shop: Shop) -> None:
    release(shop, "bad", 500)
    guarded = str(shop.world.sandbox.deployments(WORKER)[0].id)
    newer = release(shop, "newer", 500)
    ask = ("rollback-worker", "--service", "web", "--yes", "--json", "--deployment")

    refused = shop.ops(*ask, guarded)

    assert (refused.code, refused.result["reason"]) == (3, "world_moved"), refused.err
    assert newer[:8] in refused.result["message"]
    assert shop.live == {newer: 100}
    assert shop.ops(*ask, str(shop.world.sandbox.deployments(WORKER)[0].id)).code == 0

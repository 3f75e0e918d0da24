"""Lost, unreadable and rejected write answers, and concurrent changes by others."""

from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import WORKER, Outcome, Releases, World
from tests.support.commands import (
    JSON,
    LIST,
    QUICK,
    UNCLEAR_RESPONSES,
    WRITE,
    Command,
    ended,
    hotfix_by_colleague,
    ours,
    texts,
)

EACH_ANSWER = pytest.mark.parametrize(
    "answer",
    [
        pytest.param(answer, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for name, answer in UNCLEAR_RESPONSES.items()
    ],
)
"""tests/cloudflare/test_client.py has them all in the fast set, without a run around each."""


def assert_recovered_once(world: World, releases: Releases, outcome: Outcome, *, sends: int) -> None:
    """Check that exactly one deployment with the run's mark made the good version live."""
    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert world.live == {releases.good: 100}
    (deployment,) = ours(world)
    assert f"run={outcome.result['run']} blames={releases.bad}" in deployment.annotations["workers/message"]
    assert len(world.writes()) == sends


@pytest.mark.sampled(2)
@EACH_ANSWER
def test_applied_write_is_not_repeated(world: World, releases: Releases, answer: dict[str, Any]) -> None:
    world.sandbox.fault(**WRITE, **answer, applied=True)

    outcome = world.rollback()

    assert_recovered_once(world, releases, outcome, sends=1)
    (written,) = texts(outcome, "written")
    assert written.endswith(f": {releases.good[:8]} is live")


@pytest.mark.slow
@EACH_ANSWER
def test_unapplied_write_is_retried_once(world: World, releases: Releases, answer: dict[str, Any]) -> None:
    world.sandbox.fault(**WRITE, **answer)

    outcome = world.rollback()

    assert_recovered_once(world, releases, outcome, sends=2)
    assert f"{releases.bad[:8]} is live, as planned" in texts(outcome, "compared")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "sends"),
    [({"lost": "after"}, 1), ({"truncate": 20}, 1), ({"truncate": 0}, 1), ({"lost": "before"}, 2)],
    ids=["lost after it was applied", "cut off", "headers only", "lost before it was applied"],
)
def test_lost_answer_is_resolved_by_read_back(
    world: World, releases: Releases, rule: dict[str, Any], sends: int
) -> None:
    world.sandbox.fault(**WRITE, **rule)

    outcome = world.rollback()

    assert_recovered_once(world, releases, outcome, sends=sends)


@pytest.mark.slow
@pytest.mark.parametrize("second", ["before", "after"])
def test_two_lost_answers_end_the_retries(world: World, releases: Releases, second: str) -> None:
    world.sandbox.fault(**WRITE, lost="before")
    world.sandbox.fault(**WRITE, lost=second, skip=1)

    outcome = world.rollback()

    if second == "after":
        assert_recovered_once(world, releases, outcome, sends=2)
    else:
        assert ended(outcome) == (4, "failed", "not_applied")
        assert world.live == {releases.bad: 100}
        assert len(world.writes()) == 2
        assert not outcome.result["wrote"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule",
    [
        {"status": 429, "headers": {"retry-after": "7"}},
        {"status": 429},
        {"code": 10035},
        {"code": 10035, "status": 409},
    ],
    ids=["429 with a time", "429 without", "10035", "10035 with 409"],
)
def test_rejected_write_is_retried_after_retry_after(world: World, releases: Releases, rule: dict[str, Any]) -> None:
    world.sandbox.fault(**WRITE, **rule)

    outcome = world.rollback()

    assert_recovered_once(world, releases, outcome, sends=2)
    first, second = world.writes()
    assert (second.at - first.at).total_seconds() >= float(rule.get("headers", {}).get("retry-after", 1))


@pytest.mark.slow
def test_retry_after_beyond_the_budget_fails_the_run(world: World, releases: Releases) -> None:
    world.sandbox.fault(**WRITE, status=429, headers={"retry-after": "300"})

    outcome = world.rollback()

    assert ended(outcome) == (4, "failed", "rate_limited")
    assert "5 min" in outcome.result["message"]
    assert "5 min" in outcome.result["hint"]
    assert world.live == {releases.bad: 100}
    assert len(world.writes()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("rule", [{"code": 10035}, {"status": 429}], ids=["10035", "429"])
def test_write_rejected_twice_is_not_applied(world: World, releases: Releases, rule: dict[str, Any]) -> None:
    world.sandbox.fault(**WRITE, **rule, times=2)

    outcome = world.rollback()

    assert ended(outcome) == (4, "failed", "not_applied")
    assert "in two attempts" in outcome.result["message"]
    assert f"{releases.bad[:8]} is live" in outcome.result["hint"]
    assert world.live == {releases.bad: 100}
    assert len(world.writes()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["before", "after"])
@pytest.mark.parametrize(
    "unreadable",
    [
        {"status": 503},
        pytest.param({"lost": "before"}, marks=pytest.mark.slow),
        pytest.param({"body": "<html>"}, marks=pytest.mark.slow),
        {"body": '{"success": true, "result": {"deployments": []}}', **JSON},
    ],
    ids=["503", "no answer", "HTML", "an empty list"],
)
def test_unclear_write_without_read_back_is_unknown_outcome(
    world: World, releases: Releases, lost: str, unreadable: dict[str, Any]
) -> None:
    world.sandbox.fault(**WRITE, lost=lost)
    world.sandbox.fault(**LIST, **unreadable, skip=2, times=None)

    outcome = world.rollback()

    assert ended(outcome) == (5, "unknown_outcome", "unclear")
    assert outcome.result["message"].startswith("unknown whether the change was made: ")
    assert "reads the state and repeats nothing" in outcome.result["hint"]
    assert len(world.writes()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["before", "after"])
def test_same_command_resolves_an_unknown_outcome(world: World, releases: Releases, lost: str) -> None:
    world.sandbox.fault(**WRITE, lost=lost)
    world.sandbox.fault(**LIST, status=503, skip=2, times=None)
    world.rollback()
    world.sandbox.faults.clear()

    outcome = world.rollback()

    assert outcome.code == 0, outcome.err
    assert outcome.result["decision"] == ("recovered" if lost == "before" else "nothing_to_do")
    assert world.live == {releases.good: 100}
    assert len(ours(world)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["before", "after"])
def test_unclear_write_is_not_repeated_over_another_deployment(world: World, releases: Releases, lost: str) -> None:
    world.sandbox.fault(**WRITE, lost=lost, **{lost: hotfix_by_colleague(world)})

    outcome = world.rollback()

    assert ended(outcome) == (4, "failed", "world_moved")
    assert "dana@example.com" in outcome.result["message"]
    assert len(world.writes()) == 1
    assert len(ours(world)) == (1 if lost == "after" else 0)


def test_answered_write_without_read_back_is_unknown_outcome(world: World, releases: Releases) -> None:
    world.sandbox.fault(**LIST, status=503, skip=2, times=None)

    outcome = world.rollback()

    assert ended(outcome) == (5, "unknown_outcome", "unclear")
    assert "reading it back failed" in outcome.result["message"]
    assert outcome.result["wrote"]
    assert world.live == {releases.good: 100}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("skip", "unreadable"),
    [
        (0, {"body": "<html>"}),
        (2, {"body": "<html>"}),
        (2, {"body": '{"success": true, "errors": [], "result": null}', **JSON}),
    ],
    ids=["HTML in the plan", "HTML in the read-back", "another shape in the read-back"],
)
def test_run_survives_one_unreadable_answer(
    world: World, releases: Releases, skip: int, unreadable: dict[str, Any]
) -> None:
    world.sandbox.fault(**LIST, **unreadable, skip=skip)

    assert_recovered_once(world, releases, world.rollback(), sends=1)


@pytest.mark.slow
@pytest.mark.parametrize("reads", [1, 3, 5])
def test_lagging_list_is_read_again(world: World, releases: Releases, reads: int) -> None:
    world.sandbox.switches.deployments_lag_reads = reads

    outcome = world.rollback()

    assert_recovered_once(world, releases, outcome, sends=1)


def test_invisible_write_is_unknown_outcome_and_not_repeated(world: World, releases: Releases) -> None:
    world.sandbox.switches.deployments_lag_reads = 100

    outcome = world.rollback()

    assert ended(outcome) == (5, "unknown_outcome", "unclear")
    assert " 10 s" in outcome.result["message"]
    assert len(world.writes()) == 1


@pytest.mark.slow
def test_lost_write_with_lagging_list_keeps_good_version_live(world: World, releases: Releases) -> None:
    """The read back misses the first write, so there are two equal deployments of ours, and no third."""
    world.sandbox.switches.deployments_lag_reads = 1
    world.sandbox.fault(**WRITE, lost="after")

    outcome = world.rollback()

    assert ended(outcome)[:2] == (0, "recovered")
    assert world.live == {releases.good: 100}
    assert len(ours(world)) == len(world.writes()) == 2


@pytest.mark.slow
def test_run_after_a_duplicate_write_changes_nothing(world: World, releases: Releases) -> None:
    world.release(timedelta(hours=9), code="older")
    world.sandbox.switches.deployments_lag_reads = 1
    world.sandbox.fault(**WRITE, lost="after")
    world.rollback()

    outcome = world.rollback()

    assert ended(outcome) == (0, "nothing_to_do", "already_stepped_back")
    assert world.live == {releases.good: 100}


def test_deployment_during_planning_refuses_the_run(world: World, releases: Releases) -> None:
    world.sandbox.fault(**LIST, skip=1, before=hotfix_by_colleague(world))

    outcome = world.rollback()

    assert ended(outcome) == (3, "refused", "world_moved")
    assert "dana@example.com" in outcome.result["message"]
    assert world.writes() == []


@pytest.mark.slow
@pytest.mark.parametrize("read", [0, 1], ids=["round 1", "round 2"])
def test_empty_deployment_list_stops_the_write(world: World, releases: Releases, read: int) -> None:
    world.sandbox.fault(**LIST, skip=read, body='{"success": true, "result": {"deployments": []}}', **JSON)

    outcome = world.rollback()

    assert outcome.code in {3, 4}, outcome.err
    assert world.writes() == []


@pytest.mark.slow
def test_deployment_just_before_the_write_is_a_warning(world: World, releases: Releases) -> None:
    world.sandbox.fault(**WRITE, before=hotfix_by_colleague(world))

    outcome = world.rollback()

    assert_recovered_once(world, releases, outcome, sends=1)
    (warning,) = [text for text in texts(outcome, "warning") if text.startswith("happened between")]
    assert "dana@example.com" in warning


@pytest.mark.slow
def test_deployment_just_after_the_write_is_not_overwritten(world: World, releases: Releases) -> None:
    world.sandbox.fault(**WRITE, after=hotfix_by_colleague(world))

    outcome = world.rollback()

    assert ended(outcome) == (4, "failed", "world_moved")
    assert "dana@example.com" in outcome.result["message"]
    assert outcome.result["wrote"]
    assert len(world.writes()) == 1


@pytest.mark.slow
def test_deployment_during_confirmation_refuses_the_run(world: World, releases: Releases) -> None:
    deploy = hotfix_by_colleague(world)
    with Command(world).on_terminal() as terminal:
        terminal.until('Type "api" to go on')
        deploy()
        terminal.type("api\n")
        code = terminal.end()

    assert code == 3
    assert "REFUSED  nothing was changed: the live state changed after the plan" in terminal.shown
    assert "dana@example.com" in terminal.shown
    assert world.writes() == []


@pytest.mark.slow
def test_state_is_compared_again_after_confirmation(world: World, releases: Releases) -> None:
    with Command(world).on_terminal() as terminal:
        terminal.until('Type "api" to go on')
        terminal.type("api\n")
        code = terminal.end()

    assert code == 0, terminal.shown
    assert "RECOVERED" in terminal.shown
    assert [request.method for request in world.sandbox.requests][-3:] == ["GET", "POST", "GET"]
    assert world.live == {releases.good: 100}


@pytest.fixture
def rotated(world: World) -> Releases:
    """Release a good and a bad version, and change two secrets in between."""
    secrets = {"AI_KEY": "old", "DB_URL": "old", "SAME": "same"}
    good = world.release(timedelta(hours=3), code="good", secrets=secrets)
    world.release(timedelta(hours=2), code="bad", behaviour={"status": 500})
    at = world.sandbox.clock.now() - timedelta(hours=1)
    world.sandbox.put_secret(WORKER, "AI_KEY", "new", at=at)
    return Releases(good, world.sandbox.put_secret(WORKER, "DB_URL", "new", at=at + timedelta(minutes=1)))


def accept(*names: str) -> list[str]:
    return [argument for name in names for argument in ("--accept-changed-secrets", name)]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("accepted", "open_names"),
    [([], "AI_KEY, DB_URL"), (["AI_KEY"], "DB_URL"), (["DB_URL", "OTHER"], "AI_KEY")],
    ids=["none accepted", "one of two accepted", "one of two and another accepted"],
)
def test_changed_secrets_are_refused_by_name(
    world: World, rotated: Releases, accepted: list[str], open_names: str
) -> None:
    outcome = world.rollback(*accept(*accepted))

    assert ended(outcome) == (3, "refused", "secrets_changed")
    assert outcome.result["message"].startswith("nothing was changed: ")
    assert outcome.result["message"].endswith(f": {open_names}")
    assert "--accept-changed-secrets AI_KEY,DB_URL" in outcome.result["hint"]
    assert f"--to {rotated.good[:8]} --current-secrets" in outcome.result["press"]
    assert outcome.result["press_button"].endswith(f"; to = {rotated.good[:8]}; current_secrets = true")
    assert [write.query for write in world.writes()] == [{}]
    assert world.live == {rotated.bad: 100}


@pytest.mark.slow
@pytest.mark.parametrize("accepted", [("AI_KEY", "DB_URL"), ("DB_URL", "AI_KEY", "SAME")], ids=["exactly", "and more"])
def test_accepted_secrets_force_the_write_once(world: World, rotated: Releases, accepted: tuple[str, ...]) -> None:
    outcome = world.rollback(*accept(*accepted))

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert [write.query for write in world.writes()] == [{}, {"force": "true"}]
    assert "accepted the previous values of AI_KEY, DB_URL" in texts(outcome, "written")[0]
    assert len(ours(world)) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "message",
    ["A secret has changed since this version was active.", "The following secrets have changed: "],
    ids=["no phrase", "no names"],
)
def test_unnamed_secrets_are_never_forced(world: World, rotated: Releases, message: str) -> None:
    world.sandbox.fault(**WRITE, code=10220, message=message, times=None)

    outcome = world.rollback(*accept("AI_KEY", "DB_URL"))

    assert ended(outcome) == (3, "refused", "secrets_changed")
    assert "names unknown" in outcome.result["message"]
    assert "cannot be accepted" in outcome.result["hint"]
    assert "--accept-changed-secrets" not in outcome.result["press"]
    assert [write.query for write in world.writes()] == [{}]


@pytest.mark.slow
def test_truncated_secret_list_is_never_forced(world: World, rotated: Releases) -> None:
    message = "The following secrets have changed: AI_KEY, DB_URL and 3 more."
    world.sandbox.fault(**WRITE, code=10220, message=message, times=None)

    outcome = world.rollback(*accept("AI_KEY", "DB_URL", "and", "more"))

    assert ended(outcome) == (3, "refused", "secrets_changed")
    assert outcome.result["message"].endswith(": DB_URL and 3 more")
    assert [write.query for write in world.writes()] == [{}]


@pytest.mark.slow
@pytest.mark.parametrize(("lost", "sends"), [("after", 1), ("before", 2)])
def test_lost_forced_write_is_resolved_by_read_back(world: World, rotated: Releases, lost: str, sends: int) -> None:
    world.sandbox.fault(**WRITE, lost=lost, skip=1)

    outcome = world.rollback(*accept("AI_KEY", "DB_URL"))

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert [write.query for write in world.writes()] == [{}, {"force": "true"}] * sends
    assert len(ours(world)) == 1


@pytest.mark.slow
def test_rejected_forced_write_is_not_retried(world: World, rotated: Releases) -> None:
    message = "The following secrets have changed: AI_KEY, DB_URL"
    world.sandbox.fault(**WRITE, code=10220, message=message, times=None)

    outcome = world.rollback(*accept("AI_KEY", "DB_URL"))

    assert ended(outcome) == (3, "refused", "secrets_changed")
    assert [write.query for write in world.writes()] == [{}, {"force": "true"}]
    assert world.live == {rotated.bad: 100}

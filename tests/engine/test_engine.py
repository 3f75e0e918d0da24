"""Writes whose answer is lost, unreadable or a no, and changes by others around them: what the run makes of each."""

from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import WORKER, Outcome, Releases, World
from tests.support.commands import JSON, LIST, QUICK, WITHOUT_AN_ANSWER, WRITE, Command, colleague, ended, ours, texts

EACH_ANSWER = pytest.mark.parametrize(
    "answer",
    [
        pytest.param(answer, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for name, answer in WITHOUT_AN_ANSWER.items()
    ],
)
"""tests/cloudflare/test_client.py has them all in the fast set, without a run around each."""


def assert_recovered_once(world: World, releases: Releases, outcome: Outcome, *, sends: int) -> None:
    """The good version is live by exactly one deployment of ours, which carries the run's mark."""
    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert world.live == {releases.good: 100}
    (deployment,) = ours(world)
    assert f"run={outcome.result['run']} blames={releases.bad}" in deployment.annotations["workers/message"]
    assert len(world.writes()) == sends


@pytest.mark.sampled(2)
@EACH_ANSWER
def test_a_write_that_was_applied_is_found_and_not_sent_again(
    world: World, releases: Releases, answer: dict[str, Any]
) -> None:
    world.sandbox.fault(**WRITE, **answer, applied=True)

    outcome = world.rollback()

    assert_recovered_once(world, releases, outcome, sends=1)
    assert texts(outcome, "written") == [f"applied after all: {releases.good[:8]} is live"]


@pytest.mark.sampled(4)
@EACH_ANSWER
def test_a_write_that_was_not_applied_is_sent_once_more(
    world: World, releases: Releases, answer: dict[str, Any]
) -> None:
    world.sandbox.fault(**WRITE, **answer)

    outcome = world.rollback()

    assert_recovered_once(world, releases, outcome, sends=2)
    assert f"{releases.bad[:8]} is live, as planned" in texts(outcome, "compared")


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("rule", "sends"),
    [({"lost": "after"}, 1), ({"truncate": 20}, 1), ({"truncate": 0}, 1), ({"lost": "before"}, 2)],
    ids=["lost after it was applied", "cut off", "headers only", "lost before it was applied"],
)
def test_a_lost_answer_is_settled_by_reading(
    world: World, releases: Releases, rule: dict[str, Any], sends: int
) -> None:
    world.sandbox.fault(**WRITE, **rule)

    outcome = world.rollback()

    assert_recovered_once(world, releases, outcome, sends=sends)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("second", ["before", "after"])
def test_two_lost_answers_are_never_followed_by_a_third_send(world: World, releases: Releases, second: str) -> None:
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


@pytest.mark.sampled(4)
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
def test_a_refused_write_is_sent_once_more_after_retry_after(
    world: World, releases: Releases, rule: dict[str, Any]
) -> None:
    world.sandbox.fault(**WRITE, **rule)

    outcome = world.rollback()

    assert_recovered_once(world, releases, outcome, sends=2)
    first, second = world.writes()
    assert (second.at - first.at).total_seconds() >= float(rule.get("headers", {}).get("retry-after", 1))


def test_a_long_retry_after_ends_the_run(world: World, releases: Releases) -> None:
    world.sandbox.fault(**WRITE, status=429, headers={"retry-after": "300"})

    outcome = world.rollback()

    assert ended(outcome) == (4, "failed", "rate_limited")
    assert "retry after 5 min" in outcome.result["message"]
    assert "start the same command again in 5 min" in outcome.result["hint"]
    assert world.live == {releases.bad: 100}
    assert len(world.writes()) == 1


@pytest.mark.sampled(2)
@pytest.mark.parametrize("rule", [{"code": 10035}, {"status": 429}], ids=["10035", "429"])
def test_a_write_that_is_refused_twice_was_not_applied(world: World, releases: Releases, rule: dict[str, Any]) -> None:
    world.sandbox.fault(**WRITE, **rule, times=2)

    outcome = world.rollback()

    assert ended(outcome) == (4, "failed", "not_applied")
    assert "in two attempts" in outcome.result["message"]
    assert f"{releases.bad[:8]} is live" in outcome.result["hint"]
    assert world.live == {releases.bad: 100}
    assert len(world.writes()) == 2


@pytest.mark.sampled(4)
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
def test_an_unclear_write_that_cannot_be_read_back_ends_in_an_unknown_outcome(
    world: World, releases: Releases, lost: str, unreadable: dict[str, Any]
) -> None:
    world.sandbox.fault(**WRITE, lost=lost)
    world.sandbox.fault(**LIST, **unreadable, skip=2, times=None)

    outcome = world.rollback()

    assert ended(outcome) == (5, "unknown_outcome", "unclear")
    assert "it is unknown whether the change was made" in outcome.result["message"]
    assert "reads the state and repeats nothing" in outcome.result["hint"]
    assert len(world.writes()) == 1


@pytest.mark.sampled(2)
@pytest.mark.parametrize("lost", ["before", "after"])
def test_after_an_unknown_outcome_the_same_command_finds_out(world: World, releases: Releases, lost: str) -> None:
    world.sandbox.fault(**WRITE, lost=lost)
    world.sandbox.fault(**LIST, status=503, skip=2, times=None)
    world.rollback()
    world.sandbox.faults.clear()

    outcome = world.rollback()

    assert outcome.code == 0, outcome.err
    assert outcome.result["decision"] == ("recovered" if lost == "before" else "nothing_to_do")
    assert world.live == {releases.good: 100}
    assert len(ours(world)) == 1


@pytest.mark.sampled(2)
@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_colleagues_deployment_after_an_unclear_write_stays_live(world: World, releases: Releases, lost: str) -> None:
    world.sandbox.fault(**WRITE, lost=lost, **{lost: colleague(world)})

    outcome = world.rollback()

    assert ended(outcome) == (4, "failed", "world_moved")
    assert "dana@example.com" in outcome.result["message"]
    assert len(world.writes()) == 1
    assert len(ours(world)) == (1 if lost == "after" else 0)


def test_an_answered_write_that_cannot_be_read_back_ends_in_an_unknown_outcome(
    world: World, releases: Releases
) -> None:
    world.sandbox.fault(**LIST, status=503, skip=2, times=None)

    outcome = world.rollback()

    assert ended(outcome) == (5, "unknown_outcome", "unclear")
    assert "reading it back failed" in outcome.result["message"]
    assert outcome.result["wrote"]
    assert world.live == {releases.good: 100}


@pytest.mark.parametrize(
    ("skip", "unreadable"),
    [
        (0, {"body": "<html>"}),
        (2, {"body": "<html>"}),
        (2, {"body": '{"success": true, "errors": [], "result": null}', **JSON}),
    ],
    ids=["HTML in the plan", "HTML in the read-back", "another shape in the read-back"],
)
def test_one_unreadable_answer_ends_no_run(
    world: World, releases: Releases, skip: int, unreadable: dict[str, Any]
) -> None:
    world.sandbox.fault(**LIST, **unreadable, skip=skip)

    assert_recovered_once(world, releases, world.rollback(), sends=1)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("reads", [1, 3, 5])
def test_a_list_that_lags_behind_the_write_is_waited_for(world: World, releases: Releases, reads: int) -> None:
    world.sandbox.switches.deployments_lag_reads = reads

    outcome = world.rollback()

    assert_recovered_once(world, releases, outcome, sends=1)


def test_a_write_that_stays_invisible_is_an_unknown_outcome(world: World, releases: Releases) -> None:
    world.sandbox.switches.deployments_lag_reads = 100

    outcome = world.rollback()

    assert ended(outcome) == (5, "unknown_outcome", "unclear")
    assert "it is not visible" in outcome.result["message"]
    assert len(world.writes()) == 1


@pytest.mark.slow
def test_a_lost_answer_with_a_lagging_list_keeps_the_good_version_live(world: World, releases: Releases) -> None:
    """The re-read cannot see the first send, so there are two of ours: the same split, and no third."""
    world.sandbox.switches.deployments_lag_reads = 1
    world.sandbox.fault(**WRITE, lost="after")

    outcome = world.rollback()

    assert ended(outcome)[:2] == (0, "recovered")
    assert world.live == {releases.good: 100}
    assert len(ours(world)) == len(world.writes()) == 2


@pytest.mark.slow
def test_a_press_after_a_doubled_write_does_nothing(world: World, releases: Releases) -> None:
    world.release(timedelta(hours=9), code="older")
    world.sandbox.switches.deployments_lag_reads = 1
    world.sandbox.fault(**WRITE, lost="after")
    world.rollback()

    outcome = world.rollback()

    assert ended(outcome) == (0, "nothing_to_do", "already_stepped_back")
    assert world.live == {releases.good: 100}


def test_a_deployment_while_the_plan_is_made_refuses_the_run(world: World, releases: Releases) -> None:
    world.sandbox.fault(**LIST, skip=1, before=colleague(world))

    outcome = world.rollback()

    assert ended(outcome) == (3, "refused", "world_moved")
    assert "was deployed while the plan was made" in outcome.result["message"]
    assert "dana@example.com" in outcome.result["message"]
    assert "run the command again" in outcome.result["hint"]
    assert world.writes() == []


@pytest.mark.sampled(2)
@pytest.mark.parametrize("read", [0, 1], ids=["round 1", "round 2"])
def test_an_empty_list_is_never_the_planned_state(world: World, releases: Releases, read: int) -> None:
    world.sandbox.fault(**LIST, skip=read, body='{"success": true, "result": {"deployments": []}}', **JSON)

    outcome = world.rollback()

    assert outcome.code in {3, 4}, outcome.err
    assert world.writes() == []


def test_a_deployment_that_slips_in_before_the_write_is_named(world: World, releases: Releases) -> None:
    world.sandbox.fault(**WRITE, before=colleague(world))

    outcome = world.rollback()

    assert_recovered_once(world, releases, outcome, sends=1)
    (warning,) = [text for text in texts(outcome, "warning") if text.startswith("happened between")]
    assert "dana@example.com" in warning


def test_a_deployment_right_after_the_write_is_not_ours_and_not_overwritten(world: World, releases: Releases) -> None:
    world.sandbox.fault(**WRITE, after=colleague(world))

    outcome = world.rollback()

    assert ended(outcome) == (4, "failed", "world_moved")
    assert "somebody else's change is live, not ours" in outcome.result["message"]
    assert "dana@example.com" in outcome.result["message"]
    assert outcome.result["wrote"]
    assert len(world.writes()) == 1


@pytest.mark.slow
def test_a_deployment_while_a_person_reads_the_plan_refuses_the_run(world: World, releases: Releases) -> None:
    deploy = colleague(world)
    with Command(world).on_terminal() as terminal:
        terminal.until('Type "api" to go on')
        deploy()
        terminal.type("api\n")
        code = terminal.end()

    assert code == 3
    assert "REFUSED: the live state changed after the plan" in terminal.shown
    assert "dana@example.com" in terminal.shown
    assert world.writes() == []


@pytest.mark.slow
def test_a_typed_confirmation_compares_again(world: World, releases: Releases) -> None:
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
    """Two secrets have changed since the good version was live."""
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
def test_changed_secrets_stop_the_run_by_name(
    world: World, rotated: Releases, accepted: list[str], open_names: str
) -> None:
    outcome = world.rollback(*accept(*accepted))

    assert ended(outcome) == (3, "refused", "secrets_changed")
    assert f": {open_names}; nothing was changed" in outcome.result["message"]
    assert "--accept-changed-secrets AI_KEY,DB_URL" in outcome.result["hint"]
    assert f"--to {rotated.good[:8]} --current-secrets" in outcome.result["press"]
    assert outcome.result["press_button"].endswith(f"; to = {rotated.good[:8]}; current_secrets = true")
    assert [write.query for write in world.writes()] == [{}]
    assert world.live == {rotated.bad: 100}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("accepted", [("AI_KEY", "DB_URL"), ("DB_URL", "AI_KEY", "SAME")], ids=["exactly", "and more"])
def test_secrets_that_are_all_accepted_are_forced_once(
    world: World, rotated: Releases, accepted: tuple[str, ...]
) -> None:
    outcome = world.rollback(*accept(*accepted))

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert [write.query for write in world.writes()] == [{}, {"force": "true"}]
    assert "accepted the previous values of AI_KEY, DB_URL" in texts(outcome, "written")[0]
    assert len(ours(world)) == 1


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "message",
    ["A secret has changed since this version was active.", "The following secrets have changed: "],
    ids=["no phrase", "no names"],
)
def test_names_that_the_provider_did_not_give_never_force(world: World, rotated: Releases, message: str) -> None:
    world.sandbox.fault(**WRITE, code=10220, message=message, times=None)

    outcome = world.rollback(*accept("AI_KEY", "DB_URL"))

    assert ended(outcome) == (3, "refused", "secrets_changed")
    assert "names unknown" in outcome.result["message"]
    assert "cannot be accepted" in outcome.result["hint"]
    assert "--accept-changed-secrets" not in outcome.result["press"]
    assert [write.query for write in world.writes()] == [{}]


@pytest.mark.slow
def test_a_list_of_secrets_that_is_cut_short_never_forces(world: World, rotated: Releases) -> None:
    message = "The following secrets have changed: AI_KEY, DB_URL and 3 more."
    world.sandbox.fault(**WRITE, code=10220, message=message, times=None)

    outcome = world.rollback(*accept("AI_KEY", "DB_URL", "and", "more"))

    assert ended(outcome) == (3, "refused", "secrets_changed")
    assert ": DB_URL and 3 more; nothing was changed" in outcome.result["message"]
    assert [write.query for write in world.writes()] == [{}]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("lost", "sends"), [("after", 1), ("before", 2)])
def test_a_lost_forced_write_is_settled_like_any_other(world: World, rotated: Releases, lost: str, sends: int) -> None:
    world.sandbox.fault(**WRITE, lost=lost, skip=1)

    outcome = world.rollback(*accept("AI_KEY", "DB_URL"))

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert [write.query for write in world.writes()] == [{}, {"force": "true"}] * sends
    assert len(ours(world)) == 1


def test_a_forced_write_that_is_refused_again_stops(world: World, rotated: Releases) -> None:
    message = "The following secrets have changed: AI_KEY, DB_URL"
    world.sandbox.fault(**WRITE, code=10220, message=message, times=None)

    outcome = world.rollback(*accept("AI_KEY", "DB_URL"))

    assert ended(outcome) == (3, "refused", "secrets_changed")
    assert [write.query for write in world.writes()] == [{}, {"force": "true"}]
    assert world.live == {rotated.bad: 100}

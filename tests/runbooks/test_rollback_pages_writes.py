"""`ops rollback-pages`: lost answers, concurrent changes and interruption at any step."""

import signal
from datetime import timedelta
from functools import partial
from itertools import chain, count, repeat
from threading import Barrier, Lock
from typing import Any

import pytest

from tests.conftest import SITE, Outcome, Releases, World
from tests.support.commands import QUICK, UNCLEAR_RESPONSES, Command, ended, interruptions, texts, timeline
from tests.support.pages_reads import HOST, LIST, ORDERS, PROJECT, between

pytestmark = pytest.mark.usefixtures("one_machine")

WRITE = {"method": "POST", "path": "/accounts/*/pages/projects/*/deployments/*/rollback"}
ANSWERS = {"8000000": {"code": 8000000}, **UNCLEAR_RESPONSES} | {"internal error 10013": {"status": 502, "code": 10013}}
"""Code 10013 is not documented for Pages; with HTTP 400 it is a rejection."""
EACH_ANSWER = pytest.mark.parametrize(
    "answer",
    [
        pytest.param(answer, id=name, marks=() if name in {*QUICK, "8000000"} else pytest.mark.slow)
        for name, answer in ANSWERS.items()
    ],
)


def assert_recovered(world: World, sites: Releases, outcome: Outcome, *, sends: int) -> None:
    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert world.served == sites.good
    assert len(world.writes()) == sends


def rollback_to(world: World, deployment: str) -> Any:
    return lambda: world.sandbox.pages.rollback(SITE, deployment)


# Answers to the write


@pytest.mark.slow
@pytest.mark.parametrize("applied", [True, False], ids=["applied", "not applied"])
@EACH_ANSWER
def test_unclear_write_is_resolved_by_reading_the_site(
    world: World, sites: Releases, answer: dict[str, Any], applied: bool
) -> None:
    world.sandbox.fault(**WRITE, **answer, applied=applied)

    outcome = world.rollback_pages()

    assert_recovered(world, sites, outcome, sends=1 if applied else 2)
    assert len(texts(outcome, "writing")) == (1 if applied else 2)


@pytest.mark.slow
@pytest.mark.parametrize(("lost", "sends"), [("after", 1), ("before", 2)])
def test_lost_answer_is_resolved_by_reading_the_site(world: World, sites: Releases, lost: str, sends: int) -> None:
    world.sandbox.fault(**WRITE, lost=lost)

    assert_recovered(world, sites, world.rollback_pages(), sends=sends)


SLOW = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seconds", "sends"), [pytest.param(0.5, 1, marks=SLOW), (3, 2), pytest.param(6, 2, marks=SLOW)]
)
def test_lost_answer_with_a_lagging_site_is_resolved(world: World, sites: Releases, seconds: float, sends: int) -> None:
    """The unseen write is repeated without effect, and then read back until it shows."""
    world.sandbox.switches.pages_propagation_seconds = seconds
    world.sandbox.fault(**WRITE, lost="after", times=2)

    assert_recovered(world, sites, world.rollback_pages(), sends=sends)


@pytest.mark.slow
@pytest.mark.parametrize("applied", [False, True])
def test_two_unclear_writes_are_unknown_while_the_site_lags(world: World, sites: Releases, applied: bool) -> None:
    """No code is documented for a refused rollback, and the site may show an applied one later."""
    world.sandbox.switches.pages_propagation_seconds = 100
    world.sandbox.fault(**WRITE, code=8000000, applied=applied, times=None)

    outcome = world.rollback_pages()

    assert ended(outcome) == (5, "unknown_outcome", "unclear")
    assert f"the site still shows {sites.bad[:8]}" in outcome.result["message"]
    starts = "unknown whether the change was made: the write may have been applied ("
    assert outcome.result["message"].startswith(starts)
    assert "; waiting for the site" in " ".join(texts(outcome, "compared"))
    assert len(world.writes()) == 2
    assert world.served == (sites.good if applied else sites.bad)


@pytest.mark.slow
def test_rejection_with_a_code_ends_the_run(world: World, sites: Releases) -> None:
    world.sandbox.fault(**WRITE, code=8000099)

    outcome = world.rollback_pages()

    assert ended(outcome) == (4, "failed", "provider_refused")
    assert len(world.writes()) == 1
    assert world.served == sites.bad


@pytest.mark.slow
@pytest.mark.parametrize("rule", [{"status": 429, "headers": {"retry-after": "7"}}, {"status": 429}])
def test_rate_limited_write_is_retried_once(world: World, sites: Releases, rule: dict[str, Any]) -> None:
    world.sandbox.fault(**WRITE, **rule)

    assert_recovered(world, sites, world.rollback_pages(), sends=2)


@pytest.mark.slow
@pytest.mark.sampled(4)
@pytest.mark.parametrize("lost", ["before", "after"])
@pytest.mark.parametrize("unread", ["the API", "the site"])
def test_unclear_write_without_read_back_is_unknown_outcome(
    world: World, sites: Releases, lost: str, unread: str
) -> None:
    close: Any = (
        (lambda: world.sandbox.fault(**PROJECT, status=503, times=None))
        if unread == "the API"
        else (lambda: world.sandbox.edge_fault(host=HOST, lost="before", times=None))
    )
    world.sandbox.fault(**WRITE, lost=lost, before=close)

    outcome = world.rollback_pages()

    assert ended(outcome) == (5, "unknown_outcome", "unclear"), outcome.err
    assert outcome.result["message"].startswith("unknown whether the change was made: ")
    assert len(world.writes()) == 1
    world.sandbox.faults.clear()
    world.sandbox.edge_faults.clear()
    again = world.rollback_pages()
    assert again.result["decision"] == ("recovered" if lost == "before" else "nothing_to_do"), again.err
    assert world.served == sites.good


# Concurrent changes


def test_deployment_during_planning_refuses_the_run(world: World, sites: Releases) -> None:
    world.sandbox.fault(**LIST, skip=1, before=lambda: world.site(timedelta(), "hotfix"))

    outcome = world.rollback_pages()

    assert ended(outcome) == (3, "refused", "world_moved")
    assert SITE in outcome.result["message"]
    assert world.writes() == []


@pytest.mark.slow
def test_dashboard_rollback_during_planning_is_kept(world: World, sites: Releases) -> None:
    """The rollback went from C to A because B is bad too, so a run must not deploy B."""
    oldest = world.site(timedelta(days=3), "good, and older")
    world.sandbox.switches.pages_propagation_seconds = 0
    world.sandbox.fault(**LIST, before=rollback_to(world, oldest))

    outcome = world.rollback_pages()

    assert ended(outcome) == (0, "nothing_to_do", "already_stepped_back"), outcome.err
    assert world.writes() == []
    assert world.served == oldest


@pytest.mark.sampled(3)
@pytest.mark.parametrize("lost", ["before", "after", None])
def test_deployment_just_after_the_write_is_not_overwritten(world: World, sites: Releases, lost: str | None) -> None:
    world.sandbox.switches.pages_propagation_seconds = 0
    world.sandbox.fault(**WRITE, lost=lost, **{lost or "after": lambda: world.site(timedelta(), "hotfix")})

    outcome = world.rollback_pages()

    assert ended(outcome) == (4, "failed", "world_moved"), outcome.err
    assert len(world.writes()) == 1


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("first", "then"), ORDERS)
def test_deployment_between_two_reads_fails_the_run(world: World, sites: Releases, first: str, then: str) -> None:
    come = partial(world.site, timedelta(), "hotfix", commit="c" * 40)
    world.sandbox.fault(**WRITE, after=lambda: between(world, first, then, come))

    outcome = world.rollback_pages()

    assert ended(outcome) == (4, "failed", "world_moved"), outcome.err
    assert "from commit cccccccccccc" in outcome.result["message"]
    assert len(world.writes()) == 1


@pytest.mark.parametrize("seconds", [0, pytest.param(30, marks=SLOW)])
@pytest.mark.parametrize("reads", [pytest.param(5, marks=SLOW), 12, pytest.param(20, marks=SLOW)])
def test_deployment_after_two_lost_writes_replaced_nothing_of_ours(
    world: World, sites: Releases, reads: int, seconds: float
) -> None:
    """No answer and no read ever showed our rollback, so the run may not say that it was made."""
    come = partial(world.site, timedelta(), "hotfix", commit="c" * 40)
    later = {**LIST, "skip": reads, "before": come}
    world.sandbox.switches.pages_propagation_seconds = seconds
    world.sandbox.fault(**WRITE, lost="before")
    world.sandbox.fault(**WRITE, lost="before", skip=1, before=lambda: world.sandbox.fault(**later))

    outcome = world.rollback_pages()

    assert outcome.result["outcome"]["replaced"] == outcome.result["outcome"]["changed"] == [], outcome.err
    assert outcome.result["outcome"]["unknown"] == [f"Pages {SITE}"]
    assert outcome.result["plan"]["changes"][0]["target"] == f"Pages {SITE}"
    assert len(world.writes()) == 2


@pytest.mark.slow
def test_foreign_rollback_after_the_write_is_named(world: World, sites: Releases) -> None:
    oldest = world.site(timedelta(days=3), "oldest")
    world.sandbox.switches.pages_propagation_seconds = 0
    world.sandbox.fault(**WRITE, after=rollback_to(world, oldest))

    outcome = world.rollback_pages()

    assert ended(outcome) == (4, "failed", "world_moved"), outcome.err
    assert f" {oldest[:8]}" in outcome.result["message"]
    assert len(world.writes()) == 1


def test_build_finished_after_the_write_is_not_overwritten(world: World, sites: Releases) -> None:
    world.sandbox.switches.pages_propagation_seconds = 0
    fix = world.site(timedelta(minutes=2), "fix", status="active")

    def end() -> None:
        world.sandbox.pages.deployments(SITE)[0].status = "success"
        world.sandbox.pages.rollback(SITE, fix)

    world.sandbox.fault(**WRITE, after=end)

    outcome = world.rollback_pages()

    assert ended(outcome) == (4, "failed", "world_moved"), outcome.err
    assert fix[:8] in outcome.result["message"]
    assert len(world.writes()) == 1


@pytest.mark.slow
def test_deletion_of_an_old_deployment_is_no_change(world: World, sites: Releases) -> None:
    """The list has one page, so another deployment moves into it."""
    for number in range(30):
        world.site(timedelta(days=2, minutes=number), f"older {number}")
    project = world.sandbox.pages.projects[SITE]
    world.sandbox.fault(**LIST, after=lambda: project.deployments.remove(project.deployments[-9]))

    assert_recovered(world, sites, world.rollback_pages(), sends=1)


@pytest.mark.slow
def test_deployment_just_before_the_write_is_a_warning(world: World, sites: Releases) -> None:
    world.sandbox.fault(**WRITE, before=lambda: world.site(timedelta(), "hotfix"))

    outcome = world.rollback_pages()

    assert_recovered(world, sites, outcome, sends=1)
    assert any(text.startswith("happened between") for text in texts(outcome, "warning"))


@pytest.mark.slow
def test_concurrent_equal_rollback_is_recovered(world: World, sites: Releases) -> None:
    world.sandbox.fault(**WRITE, before=rollback_to(world, sites.good))

    assert_recovered(world, sites, world.rollback_pages(), sends=1)


@pytest.mark.slow
def test_deleted_target_fails_the_run(world: World, sites: Releases) -> None:
    project = world.sandbox.pages.projects[SITE]
    world.sandbox.fault(**WRITE, before=lambda: project.deployments.remove(project.deployments[0]))

    outcome = world.rollback_pages()

    assert outcome.code == 4, outcome.err
    assert "does not exist" in outcome.result["message"]
    assert world.served == sites.bad


def test_deployment_after_the_request_is_refused(world: World, sites: Releases) -> None:
    asked = (world.sandbox.clock.now() - timedelta(minutes=15)).isoformat()

    outcome = world.rollback_pages("--requested-at", asked)

    assert ended(outcome) == (3, "refused", "world_moved")
    assert sites.bad[:8] in outcome.result["message"]


# Interruption


WRITE_AT = 5


@pytest.mark.parametrize(("number", "nth", "moment"), interruptions(9))
@pytest.mark.slow
def test_run_interrupted_at_any_request_can_be_finished(
    world: World, sites: Releases, number: signal.Signals, nth: int, moment: str
) -> None:
    command = Command(world, "rollback-pages", "frontend")
    lost = {"lost": "before"} if moment == "before" and number == signal.SIGKILL else {}
    world.sandbox.fault(path="/client/v4/**", skip=nth - 1, **{moment: command.send(number)}, **lost)

    outcome = command.run()

    applied = nth > WRITE_AT or (nth == WRITE_AT and not lost)
    assert outcome.code == (-signal.SIGKILL if number == signal.SIGKILL else 130), outcome.err
    assert world.served == (sites.good if applied else sites.bad)
    assert (timeline(world)[-1]["kind"] == "ended") is (number != signal.SIGKILL)
    world.sandbox.faults.clear()
    world.sandbox.clock.advance(world.sandbox.switches.pages_propagation_seconds)
    again = world.rollback_pages()
    assert again.result["decision"] == ("nothing_to_do" if applied else "recovered"), again.err
    assert world.served == sites.good
    assert len([write for write in world.writes() if write.status == 200]) == 1


@pytest.mark.slow
def test_interruption_matrix_covers_every_request(world: World, sites: Releases) -> None:
    world.sandbox.switches.pages_propagation_seconds = 0
    world.rollback_pages()

    methods = [request.method for request in world.sandbox.requests]
    assert methods == ["GET"] * (WRITE_AT - 1) + ["POST"] + ["GET"] * 4


# Number of requests


@pytest.mark.slow
@pytest.mark.parametrize(("to", "reads"), [("", [4, 11]), ("oldest", [5, 12])])
def test_write_is_sent_after_two_rounds_of_reads(world: World, sites: Releases, to: str, reads: list[int]) -> None:
    """No request is answered before all of its round have begun, so a later round cannot be part of an earlier one."""
    oldest = world.site(timedelta(days=9), "good")
    for number in range(30):
        world.site(timedelta(days=3, minutes=number), f"older {number}")
    rounds = chain.from_iterable(repeat(Barrier(size, timeout=30), size) for size in reads)
    order, begun, at_write = Lock(), count(), list[int]()

    def meet() -> None:
        with order:
            barrier, _ = next(rounds, None), next(begun)
        if barrier is not None:
            barrier.wait()

    world.sandbox.fault(before=meet, times=None)
    world.sandbox.edge_fault(before=meet, times=None)
    world.sandbox.fault(**WRITE, before=lambda: at_write.append(next(begun)))

    outcome = world.rollback_pages(*(["--to", oldest] if to else []))

    assert outcome.code == 0, outcome.err
    assert at_write == [sum(reads) + 1]


@pytest.mark.slow
@pytest.mark.parametrize("refusal", [{"code": 10035}, {"status": 429}, {"code": 8000099}], ids=["10035", "429", "400"])
def test_rejection_after_a_lost_answer_waits_for_the_site(
    world: World, sites: Releases, refusal: dict[str, Any]
) -> None:
    world.sandbox.switches.pages_propagation_seconds = 3
    world.sandbox.fault(**WRITE, lost="after")
    world.sandbox.fault(**WRITE, **refusal, skip=1)

    outcome = world.rollback_pages()

    assert_recovered(world, sites, outcome, sends=2)
    assert outcome.result["wrote"]

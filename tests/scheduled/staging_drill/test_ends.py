"""Each end of a staging drill: unanswered, stopped, ended by production, taken over, and killed at each write."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from sandbox.server import HttpRequest
from tests.conftest import READS_BY_POST
from tests.support.staging_drill import PLAIN, WORKER, DrillWorld, write_config


def assert_as_before(place: DrillWorld) -> None:
    """Check that staging serves what it served, and no drill is open."""
    assert place.served == {place.good: 100}
    assert all(each.state == "closed" for each in place.issues if each.find_label("incident"))


def test_unanswered_drill_fails_and_is_undone(place: DrillWorld) -> None:
    ended = place.run()

    assert (ended.code, ended.result["outcome"]) == (6, "failed")
    assert ended.result["verified"] == {"seconds": None, "target": 86_400.0}
    assert place.good[:8] in ended.result["undo"]
    assert_as_before(place)


def test_unattended_drill_recovers_by_itself(place: DrillWorld) -> None:
    write_config(place.world, unattended=True)

    ended = place.run()

    assert (ended.code, ended.result["outcome"]) == (0, "passed"), ended.err
    assert ended.result["write"]["seconds"] == 0, "the time begins when the drill starts the recovery"
    assert not any("please recover" in each.body for each in place.drill.comments)
    assert_as_before(place)


def test_drill_ends_when_a_probe_of_production_fails(place: DrillWorld) -> None:
    bad = place.live.upload(WORKER, behaviour={"status": 500})
    place.answer(lambda: place.live.deploy(WORKER, bad))

    ended = place.run()

    assert (ended.code, ended.result["outcome"]) == (3, "stopped")
    assert place.live.live(WORKER) == {bad: 100}
    assert_as_before(place)


def test_stop_ends_a_drill_from_another_machine_and_forbids_the_next(place: DrillWorld) -> None:
    place.answer(lambda: place.ops("staging-drill", "stop", "--reason", "needed for a release"))

    ended = place.run()

    assert (ended.code, ended.result["outcome"]) == (3, "stopped")
    assert_as_before(place)
    assert place.drill.state_reason == "not_planned"
    assert any("needed for a release" in each.body for each in place.drill.comments)
    place.sandbox.clock.advance(timedelta(days=31).total_seconds())
    assert place.run().code == 3
    place.answer(place.ops)
    assert place.run("--again").code == 6


def test_deployment_by_others_stays(place: DrillWorld) -> None:
    newer = place.sandbox.upload(WORKER, behaviour=PLAIN)
    place.answer(lambda: place.sandbox.deploy(WORKER, newer))

    ended = place.run()

    assert (ended.code, ended.result["outcome"]) == (8, "no_evidence")
    assert place.served == {newer: 100}


def test_person_who_chose_another_version_is_undone_too(place: DrillWorld) -> None:
    """Recover with a version that never served before: the drill puts back what was live."""
    other = place.sandbox.upload(WORKER, behaviour=PLAIN, code="other")
    where = ("--service", "web", "--environment", "staging", "--to", other, "--yes")
    place.answer(lambda: place.ops("rollback-worker", *where, "--incident", str(place.drill.number)))

    place.run()

    assert_as_before(place)


def test_recovered_drill_that_a_person_closes_has_its_result(place: DrillWorld) -> None:
    """Let the person close the incident before the drill sees the recovery, as after an emergency."""
    place.world.edit_config('"worker": "shop-web"', '"hold_check": true, "worker": "shop-web"')

    def recover_and_close() -> None:
        place.recover()
        place.ops("incident", "close", str(place.drill.number), "healthy again", "--anyway")
        assert place.drill.state == "closed"

    place.answer(recover_and_close)

    ended = place.run()

    assert (ended.code, ended.result["outcome"]) == (0, "passed"), ended.err
    (results,) = [each for each in place.issues if not each.find_label("incident")]
    assert len(results.comments) == 1
    assert_as_before(place)
    status = place.ops("status", "--environment", "staging", "--json")
    assert status.result["held"] == [], status.out


def test_resume_leaves_a_running_drill_alone(place: DrillWorld) -> None:
    seen: list[Any] = []

    def resume() -> None:
        resumed = place.resume()
        seen.append((resumed.code, place.served, place.drill.state))
        assert "no drill is open" not in resumed.err
        place.recover()

    place.answer(resume)
    assert place.run().code == 0
    ((code, served, state),) = seen
    assert (code, state) == (0, "open")
    assert served != {place.good: 100}


class Kill:
    """Loses all writes from the nth one on, as if the process were killed `before` it was sent, or `after`."""

    def __init__(self, place: DrillWorld, nth: int, moment: str) -> None:
        self.seen = 0
        last = nth if moment == "after" else nth - 1
        place.sandbox.fault(when=self._count(lambda: self.seen > last), times=None, lost="before")
        place.sandbox.github.fault(when=self._count(lambda: self.seen > last), times=None, lost="before")

    def _count(self, is_dead: Callable[[], bool]) -> Callable[[HttpRequest], bool]:
        def when(request: HttpRequest) -> bool:
            if request.method == "GET" or request.path.endswith(READS_BY_POST) or "/clock" in request.path:
                return False
            self.seen += 1
            return is_dead()

        return when


WRITES = 16
"""More writes than a drill makes."""
KILLS = [(nth, moment) for nth in range(1, WRITES + 1) for moment in ("before", "after")]


@pytest.mark.parametrize(
    ("nth", "moment"),
    [pytest.param(*each, marks=() if each in {(2, "after"), (3, "after")} else pytest.mark.slow) for each in KILLS],
)
def test_killed_drill_is_as_before_after_resume(place: DrillWorld, nth: int, moment: str) -> None:
    place.answer(place.recover)
    Kill(place, nth, moment)
    place.run()
    place.sandbox.faults.clear()
    place.sandbox.github.faults.clear()
    place.sandbox.clock.on_sleep = lambda: None
    place.sandbox.clock.advance(timedelta(hours=1).total_seconds())

    resumed = place.resume()

    assert resumed.code == 0, resumed.err
    assert_as_before(place)
    assert place.resume().code == 0
    assert_as_before(place)


def test_matrix_of_kills_covers_every_write(place: DrillWorld) -> None:
    place.answer(place.recover)
    kill = Kill(place, 1000, "after")
    assert place.run().code == 0
    assert 8 <= kill.seen <= WRITES


def job(place: DrillWorld, number: int, **more: str) -> dict[str, str]:
    """Return the variables of a job of workflow run `number`, whose button alice pressed."""
    hub = place.sandbox.github
    hub.add_user("alice")
    hub.add_commit("ops.yml", "alice", files={"ops.yml": place.world.config.read_text()})
    hub.add_run("staging-drill.yml", number)
    press = {"GITHUB_EVENT_NAME": "workflow_dispatch", "GITHUB_TRIGGERING_ACTOR": "alice", "GITHUB_ACTOR": "alice"}
    return {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": str(number), "GITHUB_RUN_ATTEMPT": "1", **press, **more}


def test_undo_job_of_a_refused_second_press_leaves_the_first_drill_alone(place: DrillWorld) -> None:
    seen: list[Any] = []

    def press_again() -> None:
        second = job(place, 7002)
        seen.append((place.run(**second).code, place.resume("--own", **second).code, place.drill.state))
        place.recover()

    place.answer(press_again)

    assert place.run(**job(place, 7001)).code == 0
    assert seen == [(3, 0, "open")]
    assert_as_before(place)


def test_undo_job_ends_the_drill_of_its_own_workflow_run(place: DrillWorld) -> None:
    Kill(place, 4, "after")
    place.run(**job(place, 7001))
    place.sandbox.faults.clear()
    place.sandbox.github.faults.clear()
    assert place.served != {place.good: 100}

    assert place.resume("--own", **job(place, 7001, GITHUB_RUN_ATTEMPT="2")).code == 0

    assert_as_before(place)


@pytest.mark.parametrize(
    ("event", "attempt", "code"), [("workflow_dispatch", "1", 3), ("schedule", "1", 6), ("schedule", "2", 3)]
)
def test_button_is_for_responders_and_a_schedule_has_no_requester(
    place: DrillWorld, event: str, attempt: str, code: int
) -> None:
    place.world.edit_config('"watch": "off"', '"watch": "off", "responders": ["mai"]')
    where = job(place, 7001, GITHUB_EVENT_NAME=event, GITHUB_RUN_ATTEMPT=attempt)

    assert place.run(**where).code == code
    assert_as_before(place)


def test_two_drills_at_once_leave_staging_as_before(place: DrillWorld) -> None:
    """Let a second machine run a whole drill between the comparison and the write of the first one's bad version."""
    codes: list[int] = []
    place.sandbox.fault(
        method="POST", path="/accounts/**/deployments", before=lambda: codes.append(place.run().code), is_prompt=True
    )

    codes.append(place.run().code)

    assert place.resume("--now").code == 0
    assert_as_before(place)
    assert len(codes) == 2


def test_bad_version_is_undone_without_github(place: DrillWorld) -> None:
    Kill(place, 3, "before")
    place.run()
    place.sandbox.faults.clear()
    assert place.served != {place.good: 100}
    place.sandbox.github.faults.clear()
    place.sandbox.github.fault(path="**", status=503, times=None)
    place.sandbox.clock.advance(timedelta(hours=1).total_seconds())

    resumed = place.resume()

    assert resumed.code == 4, resumed.err
    assert place.served == {place.good: 100}


def test_end_that_github_did_not_take_is_reported_again_and_is_the_same(place: DrillWorld) -> None:
    """An unanswered drill stays unanswered, although its own job ends it early by `--own`."""
    place.sandbox.github.fault(method="POST", path="/repos/*/*/issues", skip=1, status=503, times=None)
    assert place.run(**job(place, 7001)).code == 6
    assert place.drill.state == "open"
    place.sandbox.github.faults.clear()

    resumed = place.resume("--own", **job(place, 7001))

    assert [each["outcome"] for each in resumed.result["drills"]] == ["failed"]
    assert [each.state for each in place.issues if each.find_label("incident")] == ["closed"]
    (results,) = [each for each in place.issues if not each.find_label("incident")]
    assert len(results.comments) == 1


def leave_open(place: DrillWorld) -> None:
    """Lose all writes once the drill is open, and let its bad version stay live."""
    Kill(place, 4, "after")
    place.run()
    place.sandbox.faults.clear()
    place.sandbox.github.faults.clear()
    assert place.served != {place.good: 100}


DEPLOYMENTS = {"method": "POST", "path": "/accounts/**/deployments", "status": 403}


def test_drill_whose_second_undo_works_is_undone(place: DrillWorld) -> None:
    leave_open(place)
    place.sandbox.fault(**DEPLOYMENTS, times=2)  # both attempts of the first undo

    resumed = place.resume("--now")

    assert (resumed.code, resumed.result["undone"]) == (0, True), resumed.err
    assert_as_before(place)


def test_failed_undo_without_github_is_the_last_word(place: DrillWorld) -> None:
    leave_open(place)
    place.sandbox.fault(**DEPLOYMENTS, times=None)
    place.sandbox.github.fault(path="**", status=404, times=None)

    resumed = place.resume("--now")

    assert resumed.code == 5, resumed.err
    assert "staging-drill resume --now" in resumed.err
    assert place.served != {place.good: 100}


def test_drill_that_is_not_undone_names_the_next_step(place: DrillWorld) -> None:
    place.sandbox.fault(**DEPLOYMENTS, skip=1, times=None)

    for command, again in (("run --yes", "resume --now"), ("stop", "stop")):
        ended = place.ops("staging-drill", *command.split())

        assert (ended.code, place.drill.state) == (5, "open"), ended.err
        assert f"`ops staging-drill {again}`" in ended.out.splitlines()[-1]


def test_bug_while_a_drill_waits_shows_the_undo(place: DrillWorld) -> None:
    """Let the clock answer nonsense, which is no error that the program knows."""

    def fail() -> None:
        place.sandbox.clock.on_sleep = lambda: None
        raise ValueError("a bug of the sandbox's clock")

    place.answer(fail)

    ended = place.run()

    assert (ended.code, place.served) == (1, {place.good: 100})
    shown = next(line for line in ended.err.splitlines() if "undo of the drill" in line)
    assert place.good[:8] in shown


def test_stop_that_github_did_not_take_is_none_until_it_is_pressed_again(place: DrillWorld) -> None:
    leave_open(place)
    place.sandbox.github.fault(method="POST", path="/repos/*/*/issues", status=503, times=None)

    stopped = place.ops("staging-drill", "stop")

    assert (stopped.code, place.drill.state) == (4, "open"), stopped.err
    assert "`ops staging-drill stop`" in stopped.out
    place.sandbox.github.faults.clear()
    assert place.ops("staging-drill", "stop").code == 0
    assert place.drill.state_reason == "not_planned"
    third = place.ops("staging-drill", "stop")
    assert (third.code, "still starts" in third.out, "run --again" in third.out) == (0, False, True)
    assert place.run().code == 3


def test_undo_job_ends_an_old_drill_too(place: DrillWorld) -> None:
    leave_open(place)
    place.sandbox.clock.advance(timedelta(hours=1).total_seconds())

    assert place.resume("--own", **job(place, 7002)).code == 0

    assert_as_before(place)


def test_forgotten_bad_version_heals_by_itself(place: DrillWorld) -> None:
    Kill(place, 3, "before")
    place.run()
    bad = place.served
    place.sandbox.faults.clear()

    assert place.get("/health").status_code == 503
    place.sandbox.clock.advance(timedelta(minutes=41).total_seconds())

    assert place.get("/health").status_code == 200
    assert place.served == bad != {place.good: 100}


def test_hostile_reason_of_a_stop_is_shown_as_text(place: DrillWorld) -> None:
    reason = f"@everyone </details><!-- x --> [link](http://evil.example) \u202e {'x' * 10_000} {place.sandbox.token}"
    place.answer(lambda: place.ops("staging-drill", "stop", "--reason", reason))

    place.run()

    body = next(each.body for each in place.drill.comments if "stopped" in each.body)
    assert len(body) < 60_000
    assert place.sandbox.token not in body
    assert not any(part in body for part in ("@everyone", "</details>", "<!-- x", "](http://evil", "\u202e"))


@pytest.mark.parametrize("first", ["recovered", "unanswered"])
def test_next_months_drill_is_recovered_too(place: DrillWorld, first: str) -> None:
    if first == "recovered":
        place.answer(place.recover)
    place.run()
    place.sandbox.clock.advance(timedelta(days=30).total_seconds())
    said: list[Any] = []
    place.answer(lambda: said.append(place.recover()))

    ended = place.run()

    assert (ended.code, ended.result["outcome"]) == (0, "passed"), said
    assert_as_before(place)


def test_recovery_in_the_last_minute_counts(place: DrillWorld) -> None:
    """Let a rollback be live within the thirty minutes, and its record be readable after them."""
    clock, hub = place.sandbox.clock, place.sandbox.github

    def recover() -> None:
        clock.advance(timedelta(minutes=29).total_seconds())
        place.recover()
        hub.fault(path="/repos/*/*/issues/*/timeline", status=404, times=None)
        until = clock.now() + timedelta(minutes=3)
        clock.on_sleep = lambda: hub.faults.clear() if clock.now() >= until else None

    place.answer(recover)

    ended = place.run()

    assert (ended.code, ended.result["outcome"]) == (0, "passed"), ended.err
    assert_as_before(place)


def roll_back_without_a_record(place: DrillWorld) -> None:
    place.ops("rollback-worker", "--service", "web", "--environment", "staging", "--yes", GITHUB_TOKEN=None)


def test_rollback_that_the_incident_does_not_show_is_no_evidence(place: DrillWorld) -> None:
    place.answer(lambda: roll_back_without_a_record(place))

    ended = place.run()

    assert (ended.code, ended.result["outcome"]) == (8, "no_evidence"), ended.err
    assert_as_before(place)


def test_resume_tells_a_rollback_without_a_record_from_none(place: DrillWorld) -> None:
    ends: list[Any] = []

    def take_over() -> None:
        roll_back_without_a_record(place)
        ends.extend(each["outcome"] for each in place.resume("--now").result["drills"])

    place.answer(take_over)
    place.run()

    assert ends == ["no_evidence"]
    assert_as_before(place)


def test_failed_undo_after_an_error_is_shown(place: DrillWorld) -> None:
    """Deploy the bad version, and lose all writes after it: the incident, and the undo."""
    Kill(place, 2, "after")

    ended = place.run()

    assert ended.code == 5, ended.err
    assert "staging-drill resume --now" in ended.err
    assert place.served != {place.good: 100}


def test_drill_that_another_machine_undid_was_not_recovered(place: DrillWorld) -> None:
    """Let that machine undo the drill, and let it not reach GitHub for the rest."""
    ends: list[int] = []

    def undo_elsewhere() -> None:
        place.sandbox.github.fault(path="**", status=404, times=None)
        ends.append(place.resume("--now").code)
        place.sandbox.github.faults.clear()

    place.answer(undo_elsewhere)

    ended = place.run()

    assert (ended.code, ended.result["outcome"]) == (3, "stopped"), ended.err
    assert ends == [4]
    assert_as_before(place)


def test_stop_without_a_drill_says_that_the_next_one_starts(place: DrillWorld) -> None:
    stopped = place.ops("staging-drill", "stop")

    assert (stopped.code, "staging_drill.schedule" in stopped.out) == (0, True), stopped.err
    assert place.ops("staging-drill", "run", "--dry-run").code == 0


def test_unattended_drill_does_not_wait_for_a_person(place: DrillWorld) -> None:
    """Stop all recoveries once the bad version is deployed, so that its own one is refused."""
    write_config(place.world, unattended=True)
    clock, hub = place.sandbox.clock, place.sandbox.github
    hub.add_user("mai")
    started = clock.now()

    def stop() -> None:
        clock.on_sleep = lambda: None
        hub.label(hub.open_issue("Rows are repaired by hand", "", [], "mai"), "ops:stopped", "github-actions[bot]")

    clock.on_sleep = stop

    ended = place.run()

    assert (ended.code, ended.result["outcome"]) == (6, "failed"), ended.err
    assert clock.now() - started < timedelta(minutes=10)
    assert_as_before(place)

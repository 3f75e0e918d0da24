"""Stop all recoveries of a bakery, by label: who may, how long, what passes, and forged stops."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ops.core.run_record import RecordRow, RunRecord, embed_record, read_record
from tests.conftest import Outcome, World
from tests.gate.support import Job
from tests.gate.test_responder_lists import bakery as open_bakery
from tests.support.second_person import open_desk

__all__ = ["open_bakery"]
BOT = "github-actions[bot]"
RECOVERY = "recover:till"
STOP_LIST = {"method": "GET", "path": "/repos/*/*/issues"}


@pytest.fixture
def bakery(open_bakery: Job) -> Job:
    """Return the job of a bakery with responders (olga, anna, ben, carl) and others (dora writes, tina triages, zoe)."""
    open_bakery.github.add_user("tina", "triage")
    open_bakery.github.add_user("zoe", None)
    return open_bakery


def request(bakery: Job, by: str = "anna", label: str = RECOVERY, **environ: str) -> Outcome:
    """Put a label on the incident, and run the gate."""
    return bakery.gate(bakery.label(by, label), **environ)


def stop(bakery: Job, by: str = "olga") -> None:
    done = request(bakery, by, "ops:stop")
    assert (done.code, bakery.outputs["go"], bakery.outputs["report"]) == (0, "false", "false"), done.err


def is_stopped(bakery: Job) -> bool:
    """Make a request, and return whether a stop refuses it; nothing else may."""
    done = request(bakery)
    if bakery.outputs["go"] == "true":
        assert bakery.outputs["stop"] == ""
        return False
    assert (done.code, bakery.outputs["reason"]) == (3, "stopped"), done.err
    return True


def forge_by_hand(by: str) -> Callable[[Job], object]:
    return lambda bakery: bakery.label(by, "ops:stopped")


def forge_by_issue(bakery: Job) -> None:
    """Open an issue with the label, as a form with that label does for a stranger."""
    bakery.github.open_issue("Stop", "", ["ops:stopped"], "zoe")


def forge_by_comment(bakery: Job) -> None:
    """Copy the comment of a stop, with its record, to another issue that has the label."""
    row = RecordRow(bakery.world.sandbox.clock.now(), "note", "olga stopped all recoveries")
    text = embed_record("**Recoveries are stopped**", RunRecord("stop-5001", source="note", rows=(row,)))
    bakery.github.comment(bakery.incident, text, "dora")
    bakery.label("dora", "ops:stopped")


def forge_after_removal(bakery: Job) -> None:
    """Remove the label of a stop, and put it on again: the newest event counts."""
    stop(bakery)
    bakery.github.unlabel(bakery.incident, "ops:stopped", "olga")
    bakery.label("tina", "ops:stopped")


def stop_of_a_leaver(bakery: Job) -> None:
    bakery.label("ben", "ops:stopped")
    bakery.github.add_user("ben", None)


def stop_on_pull_request(bakery: Job) -> None:
    bakery.github.add_commit("Add a file", "olga", branch="work", files={"a.txt": "a"})
    number = bakery.github.open_pull("Add a file", head="work", author="olga")
    bakery.github.label(number, "ops:stopped", "olga")


FORGED: dict[str, Callable[[Job], object]] = {
    "triage role": forge_by_hand("tina"),
    "writer who is no responder": forge_by_hand("dora"),
    "opened with the label": forge_by_issue,
    "copied comment": forge_by_comment,
    "put on again after its removal": forge_after_removal,
    "responder who lost access": stop_of_a_leaver,
    "on a pull request": stop_on_pull_request,
    "label that requests a stop, without the gate": lambda bakery: bakery.label("tina", "ops:stop"),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_forged_stop_refuses_nothing(bakery: Job, forge: Callable[[Job], object]) -> None:
    forge(bakery)

    assert not is_stopped(bakery)


def stop_after_many_events(bakery: Job) -> None:
    for _ in range(75):
        bakery.label("tina", "question")
        bakery.github.unlabel(bakery.incident, "question", "tina")
    stop(bakery)


COUNTING: dict[str, Callable[[Job], object]] = {
    "label of a responder": forge_by_hand("ben"),
    "responder spelled otherwise": forge_by_hand("carl"),
    "bot of a workflow": forge_by_hand(BOT),
    "by the gate": stop,
    "label behind 150 events": stop_after_many_events,
}


@pytest.mark.parametrize("put_on", COUNTING.values(), ids=COUNTING)
def test_stop_refuses_requests_for_four_hours_and_not_longer(bakery: Job, put_on: Callable[[Job], object]) -> None:
    put_on(bakery)
    clock = bakery.world.sandbox.clock
    at = max(each.created_at for each in bakery.github.issue(bakery.incident).events if each.event == "labeled")

    assert is_stopped(bakery)
    assert str(bakery.incident) in bakery.outputs["message"]
    clock.advance((at + timedelta(hours=4) - clock.now()).total_seconds() - 1)
    assert is_stopped(bakery)
    clock.advance(1)
    assert not is_stopped(bakery)


def test_label_is_answered_with_who_until_when_and_how_to_lift(bakery: Job) -> None:
    stop(bakery)

    (comment,) = bakery.comments
    record = read_record(comment)
    assert record
    assert (record.source, record.job) == ("note", "5001.1")
    for fact in ("`olga`", "`ops:resume`", "`./run ops stop --lift`"):
        assert fact in comment
    assert bakery.labels == ["incident", "ops:stopped"]
    assert is_stopped(bakery)
    for fact in ("`olga`", "`ops:resume`", "ops rollback-worker --service till", "override"):
        assert fact in bakery.comments[-1]
    assert "gh workflow run" not in bakery.comments[-1]  # a stop refuses the button too
    assert RECOVERY not in bakery.labels


def test_first_stop_creates_its_labels(bakery: Job) -> None:
    assert not [name for name in bakery.github._repository.labels if name.startswith("ops:")]

    stop(bakery)

    described = {each.name for each in bakery.github._repository.labels.values() if each.description}
    assert {"ops:stop", "ops:resume", "ops:stopped"} <= described


@pytest.mark.parametrize(
    ("by", "reason"), [("dora", "not_a_responder"), ("tina", "not_a_responder"), ("zoe", "not_a_responder")]
)
@pytest.mark.parametrize("label", ["ops:stop", "ops:resume"])
def test_only_a_responder_stops_and_resumes(bakery: Job, by: str, reason: str, label: str) -> None:
    if label == "ops:resume":
        stop(bakery)

    done = request(bakery, by, label)

    assert (done.code, bakery.outputs["reason"]) == (3, reason), done.err
    assert label not in bakery.labels
    assert is_stopped(bakery) == (label == "ops:resume")


@pytest.mark.parametrize("label", ["ops:stop", "OPS:Stop", "ops:resume"])
def test_event_of_a_bot_or_on_a_closed_issue_changes_nothing(bakery: Job, label: str) -> None:
    by_bot = bakery.gate(bakery.label(BOT, label))

    assert (by_bot.code, bakery.outputs["reason"]) == (3, "not_a_person")
    bakery.github.close(bakery.incident, "olga")
    closed = request(bakery, "olga", label)
    assert (closed.code, bakery.outputs["reason"]) == (3, "incident_closed")
    assert "ops:stopped" not in bakery.labels


LIFTS: dict[str, Callable[[Job], object]] = {
    "label": lambda bakery: request(bakery, "ben", "ops:resume"),
    "removal": lambda bakery: bakery.github.unlabel(bakery.incident, "ops:stopped", "tina"),
    "label deleted": lambda bakery: bakery.github.remove_label("ops:stopped"),
}


@pytest.mark.parametrize("lift", LIFTS.values(), ids=LIFTS)
def test_lift_permits_the_next_request(bakery: Job, lift: Callable[[Job], object]) -> None:
    stop(bakery)
    assert is_stopped(bakery)

    lift(bakery)

    assert not is_stopped(bakery)
    assert "ops:stopped" not in bakery.labels


def test_closing_the_issue_lifts_its_stop_and_reopening_brings_it_back(bakery: Job) -> None:
    other = bakery.github.open_issue("Migration by hand", "", [], "olga")
    bakery.github.label(other, "ops:stopped", "olga")
    assert is_stopped(bakery)

    bakery.github.close(other, "olga")
    assert not is_stopped(bakery)

    bakery.github.reopen(other, "olga")
    assert is_stopped(bakery)


def test_two_stops_hold_until_both_are_lifted(bakery: Job) -> None:
    stop(bakery)
    other = bakery.github.open_issue("Ovens are repaired", "", [], "ben")
    bakery.world.sandbox.clock.advance(60)
    bakery.github.label(other, "ops:stopped", "ben")

    assert is_stopped(bakery)
    assert f"#{other}" in bakery.outputs["message"]  # it ends last
    bakery.github.unlabel(other, "ops:stopped", "ben")
    assert is_stopped(bakery)
    bakery.github.label(other, "ops:stopped", "ben")
    assert request(bakery, "anna", "ops:resume", GITHUB_RUN_ID="5002").code == 0
    assert all("lifted" in bakery.github.issue(number).comments[-1].body for number in (bakery.incident, other))
    assert not is_stopped(bakery)


def test_stop_again_lasts_four_hours_from_then(bakery: Job) -> None:
    stop(bakery)
    bakery.world.sandbox.clock.advance(3 * 3600)

    stop(bakery)

    bakery.world.sandbox.clock.advance(3 * 3600)
    assert is_stopped(bakery)


def test_later_attempt_is_refused_while_stopped_and_stops_only_by_a_responder(bakery: Job) -> None:
    again = {"GITHUB_RUN_ATTEMPT": "2"}
    recovery = bakery.label("anna", RECOVERY)
    assert bakery.gate(recovery).code == 0
    payload = bakery.label("olga", "ops:stop")

    by_writer = bakery.gate(payload, **again, GITHUB_TRIGGERING_ACTOR="dora")
    assert (by_writer.code, bakery.outputs["reason"]) == (3, "not_a_responder")
    assert bakery.gate(payload, **again, GITHUB_TRIGGERING_ACTOR="ben").code == 0
    refused = bakery.gate(recovery, **again, GITHUB_TRIGGERING_ACTOR="anna")

    assert (refused.code, bakery.outputs["reason"]) == (3, "stopped"), refused.err


FAULTS: dict[str, dict[str, Any]] = {
    "list answers 502": {**STOP_LIST, "status": 502},
    "list answers 403": {**STOP_LIST, "status": 403},
    "list is no JSON": {**STOP_LIST, "body": "<html>"},
    "events answer 502": {"method": "GET", "path": "/repos/*/*/issues/*/events", "status": 502},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_unread_stop_is_a_warning_for_the_run(bakery: Job, fault: dict[str, Any]) -> None:
    stop(bakery)
    bakery.github.fault(**fault, times=None)

    done = request(bakery)

    assert (done.code, bakery.outputs["go"], bakery.outputs["stop"]) == (0, "true", "not read"), done.err


def test_label_on_too_many_issues_is_unread_and_no_block(bakery: Job) -> None:
    for number in range(11):
        bakery.github.open_issue(f"Noise {number}", "", ["ops:stopped"], "tina")

    request(bakery)

    assert (bakery.outputs["go"], bakery.outputs["stop"]) == ("true", "not read")


@pytest.mark.parametrize("status", [403, 422, 502])
def test_stop_that_could_not_be_renewed_says_that_it_is_lifted(bakery: Job, status: int) -> None:
    stop(bakery)
    bakery.github.fault(method="POST", path="/repos/*/*/issues/*/labels", status=status, times=None)

    done = request(bakery, "olga", "ops:stop")

    assert (done.code, is_stopped(bakery)) == (4, False)
    assert "Recoveries may start now" in done.err + bakery.github.issue(bakery.incident).comments[-1].body


def test_stop_that_github_does_not_take_fails_the_job(bakery: Job) -> None:
    bakery.github.fault(method="POST", path="/repos/*/*/issues/*/labels", status=502, times=None)

    done = request(bakery, "olga", "ops:stop")

    assert done.code == 4, done.err
    assert bakery.outputs["go"] == "false"
    assert not is_stopped(bakery)


def test_approval_of_a_second_person_is_refused_until_the_lift(world: World) -> None:
    """It starts a run of its own. The first run, which only planned, ended before the stop."""
    desk = open_desk(world)
    desk.ask()
    desk.gate("issues", desk.hub.label(desk.incident, "ops:stop", "carol"), desk.new_run())

    desk.press_approve()

    assert (desk.outputs["go"], desk.outputs["reason"], desk.outputs["approval"]) == ("false", "stopped", "")
    desk.gate("issues", desk.hub.label(desk.incident, "ops:resume", "carol"), desk.new_run())
    desk.press_approve()
    assert (desk.outputs["go"], desk.outputs["runbook"]) == ("true", "restore-database")
    assert desk.restores == []

"""Each reason with which the gate refuses passes through the called workflows, in real jobs under act."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sandbox.actions import Runner
from sandbox.github.actions.state import FakeRun
from tests.support.actions import conclusions
from tests.support.ferry_port import FOLDER, Port, log, opened, runner_of

LABEL = "recover:booking"
PERMISSION = {"method": "GET", "path": "/repos/*/*/collaborators/*/permission"}


@contextmanager
def upgraded(pip_cache: Path, folder: Path) -> Iterator[tuple[Port, Runner]]:
    with opened(folder) as port, runner_of(port, pip_cache) as runner:
        port.upgrade()
        port.hub.add_commit("No check", "alice", files={f"{FOLDER}/ops-check.yml": None})
        runner.wait()
        yield port, runner


def press(port: Port, button: str = "rollback-worker", ref: str = "main", **inputs: Any) -> FakeRun:
    given = {"incident": port.incident, "service": "booking", "environment": "live", **inputs}
    return port.hub.dispatch(f"{button}.yml", given, by="alice", ref=ref)


def press_on_branch(port: Port) -> FakeRun:
    port.hub.add_commit("Try", "alice", files={"try": "it"}, branch="try")
    return press(port, ref="try")


def press_on_closed(port: Port) -> FakeRun:
    number = port.hub.open_issue("Over", labels=["incident"], author="alice")
    port.hub.close(number, "alice")
    return press(port, incident=str(number))


def approve_nothing(port: Port) -> FakeRun:
    return port.press("approve-restore", "alice", digest="7" * 32)


BUTTONS: dict[str, Callable[[Port], FakeRun]] = {
    "unknown_incident": lambda port: press(port, incident="999"),
    "event_malformed": lambda port: press(port, incident="seven"),
    "other_ref": press_on_branch,
    "incident_closed": press_on_closed,
    "no_request": approve_nothing,
}


def assert_refused(port: Port, runner: Runner, run: FakeRun, reason: str) -> None:
    """Assert that only the gate acted, and that its answer is on the run, and once on the issue."""
    ends = {name: each for name, each in conclusions(run).items() if each != "skipped"}
    assert ends.pop("gate") == "failure", (reason, log(port, runner))
    assert ends.keys() <= {"tell"}, (reason, ends)
    assert f"  ⚙  ::set-output:: reason={reason}" in runner.log(run.id), (reason, runner.log(run.id))
    assert port.serves() == 500


def test_refused_buttons_act_nowhere(pip_cache: Path, tmp_path: Path) -> None:
    with upgraded(pip_cache, tmp_path) as (port, runner):
        runs = {reason: start(port) for reason, start in BUTTONS.items()}
        runner.wait()
        tried = press(port, incident="", dry_run=True)
        runner.wait()
        runs["rerun"] = port.hub.rerun(tried.id, "alice")
        runner.wait()
        runner.hold_jobs("gate")
        runs["request_too_old"] = press(port)
        port.ferry.wait(minutes=31)
        runner.hold_jobs()
        runner.wait()

        for reason, run in runs.items():
            assert_refused(port, runner, run, reason)


def test_refused_labels_act_nowhere_and_are_answered_once(pip_cache: Path, tmp_path: Path) -> None:
    with upgraded(pip_cache, tmp_path) as (port, runner):
        hub, number = port.hub, port.ferry.incident
        hub.add_user("tina", "triage")
        hub.add_user("helper[bot]", None, "Bot")
        hub.add_label("recover:bookin")

        def label(name: str, by: str) -> FakeRun:
            hub.label(number, name, by)
            return next(run for run in reversed(hub.runs) if run.workflow.path == f"{FOLDER}/incident.yml")

        for reason, name, by in (
            ("unknown_label", "recover:bookin", "alice"),
            ("label_changed", "approve:restore", "alice"),
            ("not_a_person", LABEL, "helper[bot]"),
            ("no_write_access", LABEL, "tina"),
        ):
            run = label(name, by)
            runner.wait()
            assert_refused(port, runner, run, reason)
            assert sum(f"`{reason}`" in each for each in port.comments) == 1, port.comments
            assert name not in {each.name for each in hub.issue(number).labels}
        hub.fault(**PERMISSION, times=None, status=503)
        run = label(LABEL, "alice")
        runner.wait()
        assert_refused(port, runner, run, "permission_unknown")
        hub.faults.clear()
        runner.hold_jobs("gate")
        run = label(LABEL, "alice")
        hub.unlabel(number, LABEL, "alice")
        runner.hold_jobs()
        runner.wait()
        assert_refused(port, runner, run, "label_taken")
        config = hub.files()["ops.yml"].decode()
        other = config.replace("runbook: rollback-worker", "runbook: propose-limits").replace(
            "{service: booking}", "{}"
        )
        hub.add_commit("Give the label to another file, without sync", "alice", files={"ops.yml": other})
        run = label(LABEL, "alice")
        runner.wait()
        assert_refused(port, runner, run, "other_ref")
        assert any("propose.yml has them" in each for each in port.comments), port.comments

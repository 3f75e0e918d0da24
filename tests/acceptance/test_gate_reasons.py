"""Each reason with which the gate refuses passes through the called workflows, in real jobs under act."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from ops.core.approval import parse_request
from ops.core.errors import Reason
from ops.core.names import STOPPED_LABEL
from ops.core.run_record import read_record
from sandbox.actions import Runner
from sandbox.github.actions.state import FakeRun
from sandbox.github.users.state import Role
from tests.conftest import ROOT
from tests.support.actions import conclusions
from tests.support.claims import is_write
from tests.support.ferry_port import FOLDER, Port, ended, log, opened, runner_of

LABEL = "recover:booking"
PERMISSION = "/repos/*/*/collaborators/{}/permission"
DECIDING = ("ops/gate/*.py", "ops/github/permissions.py", "ops/core/approval.py")
"""The files that name the reasons of the gate."""
OF_OTHERS = {"not_reviewed", "malformed_answer", "not_publishable"}
"""Reasons in these files of a job after the gate, of a read whose failure becomes another reason, and of public updates,
whose refusal `test_public_updates` shows."""


@contextmanager
def upgraded(pip_cache: Path, folder: Path) -> Iterator[tuple[Port, Runner]]:
    with opened(folder) as port, runner_of(port, pip_cache) as runner:
        port.upgrade()
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


def press_former_environment(port: Port) -> FakeRun:
    """The environment has another name in ops.yml since the last sync."""
    config = port.hub.files()["ops.yml"].decode()
    renamed = config.replace("  live:\n", "  quay:\n").replace("environment: live\n", "environment: quay\n")
    port.hub.add_commit("Rename it", "alice", files={"ops.yml": renamed})
    run = press(port)
    port.hub.add_commit("As before", "alice", files={"ops.yml": config})
    return run


def approve_nothing(port: Port) -> FakeRun:
    return port.press("approve-restore", "alice", digest="7" * 32)


BUTTONS: dict[str, Callable[[Port], FakeRun]] = {
    "unknown_incident": lambda port: press(port, incident="999"),
    "event_malformed": lambda port: press(port, incident="seven"),
    "other_ref": press_on_branch,
    "incident_closed": press_on_closed,
    "unknown_name": press_former_environment,
    "no_request": approve_nothing,
}
LATER_BUTTONS = {"rerun", "stopped", "request_too_old"}


def label(port: Port, number: int, *names: str, by: str = "alice") -> FakeRun:
    """Put labels on in one call, as GitHub's picker does, and return the run of the last one."""
    token = port.hub.add_token(f"ghp_{by}", by)
    url = f"{port.hub.urls.api}/repos/{port.hub.repository}/issues/{number}/labels"
    added = httpx.post(url, json={"labels": names or [LABEL]}, headers={"authorization": f"Bearer {token}"}, timeout=60)
    assert added.status_code == 200, added.text
    return newest(port)


def newest(port: Port) -> FakeRun:
    return next(run for run in reversed(port.hub.runs) if run.workflow.path == f"{FOLDER}/incident.yml")


def label_by(login: str, role: Role, status: int | None = None) -> Callable[[Port, int], FakeRun]:
    """Return a scene: somebody with this role puts the label on. GitHub answers the gate's question with `status`."""

    def scene(port: Port, number: int) -> FakeRun:
        port.hub.add_user(login, role)
        if status:
            port.hub.fault(method="GET", path=PERMISSION.format(login), times=None, status=status)
        return label(port, number, by=login)

    return scene


def label_with(old: str, new: str) -> Callable[[Port, int], FakeRun]:
    """Return a scene: the label is put on after a change of ops.yml without a sync of the workflows."""

    def scene(port: Port, number: int) -> FakeRun:
        config = port.hub.files()["ops.yml"].decode()
        assert old in config
        port.hub.add_commit("Change it", "alice", files={"ops.yml": config.replace(old, new)})
        run = label(port, number)
        port.hub.add_commit("As before", "alice", files={"ops.yml": config})
        return run

    return scene


def label_of_app(port: Port, number: int) -> FakeRun:
    port.hub.add_user("helper[bot]", None, "Bot")
    port.hub.label(number, LABEL, "helper[bot]")
    return newest(port)


def label_taken_off(port: Port, number: int) -> FakeRun:
    run = label(port, number)
    port.hub.unlabel(number, LABEL, "alice")
    return run


START = "runbook: rollback-worker\n    environment: live\n    params: {service: booking}"
"""The label's recovery in ops.yml."""
LABELS: dict[str, Callable[[Port, int], FakeRun]] = {
    "unknown_label": lambda port, number: label(port, number, "recover:bookin"),
    "label_changed": lambda port, number: label(port, number, "approve:restore"),
    "labels_at_once": lambda port, number: label(port, number, "recover:tickets", LABEL),
    "label_taken": label_taken_off,
    "not_a_person": label_of_app,
    "no_write_access": label_by("tina", "triage"),
    "permission_unknown": label_by("dora", "write", 503),
    "permission_unreadable": label_by("erin", "write", 403),
    "not_a_responder": label_with("        worker:", "        responders: [bob]\n        worker:"),
    "config_invalid": label_with("environments:\n", "environmints:\n"),
    "other_ref": label_with(START, START.replace("rollback-worker", "propose-limits").replace("service: booking", "")),
}
"""Scenes that each have an incident of their own."""
AT_ONCE = 3
"""Gates side by side: on a slow machine, more of them would read GitHub too late, and go on as they should."""
APPROVALS = {"request_changed", "same_person", "approval_used"}


def find_reasons() -> set[str]:
    """Return the reasons that the gate's code names, and the one of a broken ops.yml."""
    texts = [path.read_text() for pattern in DECIDING for path in ROOT.glob(pattern)]
    named = {Reason[name].value for text in texts for name in re.findall(r"\bReason\.([A-Z_]+)\b", text)}
    return {*named, "config_invalid"} - OF_OTHERS


def test_every_reason_of_the_gate_has_a_scene() -> None:
    assert {*BUTTONS, *LATER_BUTTONS, *LABELS, *APPROVALS} == find_reasons()


def ran(run: FakeRun) -> dict[str, str | None]:
    return {name: each for name, each in conclusions(run).items() if each != "skipped"}


def written(port: Port) -> list[str]:
    """Return the paths of the writes that jobs sent to Cloudflare."""
    sent = port.ferry.sandbox.requests
    return [each.path for each in sent if is_write(each.method, each.path, each.body)]


def assert_refused(port: Port, runner: Runner, run: FakeRun, reason: str) -> None:
    """Assert that only the gate acted, and that its answer is on the page of the run."""
    ends = ran(run)
    assert ends.pop("gate") == "failure", (reason, log(port, runner))
    assert ends.keys() <= {"tell"}, (reason, ends)
    given = {line.rpartition("=")[2] for line in runner.log(run.id) if line.startswith("  ⚙  ::set-output:: reason=")}
    assert given == {reason}, "\n".join(runner.log(run.id))
    assert any("::error title=refused::" in line or "::error title=request::" in line for line in runner.log(run.id))


def test_refused_buttons_act_nowhere(pip_cache: Path, tmp_path: Path) -> None:
    with upgraded(pip_cache, tmp_path) as (port, runner):
        before = written(port)
        runs = {reason: start(port) for reason, start in BUTTONS.items()}
        runner.wait()
        tried = press(port, incident="", dry_run=True)
        runner.wait()
        runs["rerun"] = port.hub.rerun(tried.id, "alice")
        runner.wait()
        port.hub.label(port.ferry.incident, STOPPED_LABEL, "alice")
        runs["stopped"] = press(port)
        runner.wait()
        port.hub.unlabel(port.ferry.incident, STOPPED_LABEL, "alice")
        runner.hold_jobs("gate")
        runs["request_too_old"] = press(port)
        port.ferry.wait(minutes=31)
        runner.hold_jobs()
        runner.wait()

        assert runs.keys() == {*BUTTONS, *LATER_BUTTONS}
        for reason, run in runs.items():
            assert_refused(port, runner, run, reason)
        assert written(port) == before


def test_refused_labels_act_nowhere_and_are_answered_once(pip_cache: Path, tmp_path: Path) -> None:
    with upgraded(pip_cache, tmp_path) as (port, runner):
        hub, before = port.hub, written(port)
        issues = {reason: hub.open_issue(reason, labels=["incident"], author="alice") for reason in LABELS}
        runs = dict[str, FakeRun]()
        for at in range(0, len(LABELS), AT_ONCE):
            runner.wait()
            runner.hold_jobs("gate")
            runs |= {reason: LABELS[reason](port, issues[reason]) for reason in [*LABELS][at : at + AT_ONCE]}
            runner.hold_jobs()
        runner.wait()

        for reason, run in runs.items():
            assert_refused(port, runner, run, reason)
            issue = hub.issue(issues[reason])
            bodies = [each.body for each in issue.comments]
            assert sum(f"`{reason}`" in each for each in bodies) == 1, (reason, bodies, log(port, runner))
            assert not {each.name for each in issue.labels} - {"incident", LABEL}
            assert (LABEL in {each.name for each in issue.labels}) == (reason == "config_invalid"), reason
        assert any("propose.yml has them" in each.body for each in hub.issue(issues["other_ref"]).comments)
        assert written(port) == before, log(port, runner)


def requested_at(port: Port) -> datetime:
    (request,) = (
        found for each in port.comments if (record := read_record(each)) and (found := parse_request(record.approval))
    )
    return request.at


def test_refused_approvals_restore_nothing(pip_cache: Path, tmp_path: Path) -> None:
    with upgraded(pip_cache, tmp_path) as (port, runner):
        asked = port.label("recover:tickets")
        runner.wait()
        assert ended(asked, "database-live"), log(port, runner)
        digest, trips, before = port.digest, port.trips, written(port)

        def approve(by: str, reason: str) -> None:
            run = port.press("approve-restore", by, digest=digest)
            runner.wait()
            port.ferry.wait(minutes=1)
            if reason:
                assert_refused(port, runner, run, reason)
                assert sum(f"`{reason}`" in each for each in port.comments) == 1, port.comments

        port.ferry.sandbox.clock.set(requested_at(port))  # the job that writes the report waited for GitHub's list
        approve("bob", "request_changed")  # in the second of the request
        approve("alice", "same_person")
        assert (port.trips, written(port)) == (trips, before)
        approve("bob", "")
        assert port.trips == trips - 1, log(port, runner)
        restored = written(port)
        approve("bob", "approval_used")
        assert written(port) == restored

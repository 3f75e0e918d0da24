"""Workflow files that GitHub refuses: each label still gets an answer, and the direct button recovers."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.actions import ANSWER, LABEL, Stage, conclusions, read_bodies, stage

INCIDENT = ".github/workflows/incident.yml"
DIRECT = "rollback-worker-direct.yml"
CALLED = re.compile(r"uses: \./(\.github/workflows/recover\.yml)")
WAYS: dict[str, Callable[[str], str | bytes | None]] = {
    "syntax": lambda text: text.replace("permissions: {}", "permissions: {", 1),
    "no UTF-8": lambda text: text.encode() + b"# \xff\n",
    "gone": lambda _: None,
    "empty": lambda _: "",
    "no trigger": lambda text: re.sub(r"^on:(?s:.*?)^permissions", "permissions", text, count=1, flags=re.MULTILINE),
    "unknown job": lambda text: text.replace("    needs: gate\n", "    needs: gone\n", 1),
    "circle": lambda text: text.replace("  gate:\n", "  gate:\n    needs: report\n", 1),
    "unknown key": lambda text: text.replace("  gate:\n", "  gate:\n    needed: x\n", 1),
    "two bodies": lambda text: text.replace("  gate:\n", "  gate:\n    uses: ./.github/workflows/doctor.yml\n", 1),
    "no jobs": lambda text: text.partition("\njobs:\n")[0] + "\n",
}
"""Ways to break a file."""


@pytest.fixture(scope="module")
def broken(pip_cache: Path) -> Iterator[Stage]:
    with stage(pip_cache, answers=True) as found:
        text = found.github.files()[ANSWER].decode()
        assert 'SECONDS_TO_WAIT: "120"' in text
        files = {ANSWER: text.replace('SECONDS_TO_WAIT: "120"', 'SECONDS_TO_WAIT: "30"')}
        found.github.add_commit("Wait for 30 seconds", "alice", files=files)
        yield found


def break_files(world: Stage, way: str) -> dict[str, bytes]:
    """Break the file with the jobs of recoveries; return the files as they were."""
    files = dict(world.github.files())
    called = CALLED.search(files[INCIDENT].decode())
    path = called[1] if called else INCIDENT
    changed = WAYS[way](files[path].decode())
    assert changed != files[path].decode()
    world.github.add_commit(f"Break it: {way}", "alice", files={path: changed})
    return {path: files[path]}


@pytest.mark.parametrize("way", WAYS)
def test_label_on_broken_files_is_answered(broken: Stage, way: str) -> None:
    hub, number, before = broken.github, broken.incident(), break_files(broken, way)
    try:
        with broken.runner() as runner:
            hub.label(number, LABEL, "alice")
            runner.wait()
    finally:
        hub.add_commit("As before", "alice", files=before)

    (body,) = read_bodies(hub, number)
    said = "Did not start, and nothing was changed|No run started within 30 s|Failed before the run began"
    assert re.match(rf"\*\*({said})\b", body), body
    assert f"`./run ops label {LABEL} --incident {number}`" in body
    direct = f"[rollback-worker-direct]({hub.urls.html}/{hub.repository}/actions/workflows/{DIRECT})"
    assert (direct in body) == (not body.startswith("**Failed"))
    assert not [run for run in hub.runs if run.workflow.file == DIRECT]
    assert broken.live == {broken.bad: 100}


def test_direct_button_recovers_on_broken_files(pip_cache: Path) -> None:
    """It is the same request, gate, runbook and record as those of the usual button."""
    with stage(pip_cache, answers=True) as world:
        number = world.incident()
        break_files(world, "circle")
        inputs = {"service": "api", "environment": "production", "incident": str(number)}
        with world.runner() as runner:
            run = world.github.dispatch(DIRECT, inputs, by="alice")
            runner.wait()
            log = "\n".join(runner.log(run.id))

        (body,) = read_bodies(world.github, number)
        assert (run.conclusion, conclusions(run)["recovery-production"]) == ("success", "success"), log
        assert world.live == {world.good: 100}
        assert "### ✅" in body
        assert "rollback-worker" in body


def test_begun_request_has_one_comment(pip_cache: Path) -> None:
    with stage(pip_cache, answers=True) as world:
        number = world.incident()
        with world.runner() as runner:
            world.github.label(number, LABEL, "alice")
            runner.wait()

        ended = {run.workflow.file: run.conclusion for run in world.github.runs}
        assert {ended["answer.yml"], ended["incident.yml"]} == {"success"}
        assert len(read_bodies(world.github, number)) == 1
        assert world.live == {world.good: 100}

"""The job `menu-fallback` posts where the buttons are, if the menu could not be made."""

from typing import Any

import pytest

from ops.setup.workflows import load_scripts
from tests.conftest import World
from tests.support.prepared_python import RunPython
from tests.templates.scripts import COMMENTS, Workflow


@pytest.fixture
def workflow(world: World, python: RunPython) -> Workflow:
    number = world.sandbox.github.open_issue("It fails", "", ["incident"])
    return Workflow(world, number, python, {"ISSUE": str(number), "PROGRAM": "./run ops"})


def test_buttons_labels_and_command_are_named(workflow: Workflow) -> None:
    done = workflow.step("menu_fallback", {})

    page = f"{workflow.github.urls.html}/{workflow.github.repository}"
    (body,) = workflow.bodies
    assert (done.code, done.out, done.err) == (0, "", "")
    assert all(f"]({page}/{path})" in body for path in ("actions", "labels?q=recover", "actions/runs/7001/attempts/1"))
    assert f"`{workflow.incident}` as incident" in body
    assert "`./run ops --help`" in body


@pytest.mark.parametrize(
    ("fault", "code", "comments"), [({"status": 502}, 0, 1), ({"status": 403, "times": None}, 1, 0)]
)
def test_failure_is_tried_again_and_then_fails_the_job(
    workflow: Workflow, fault: dict[str, Any], code: int, comments: int
) -> None:
    workflow.github.fault(method="POST", path=COMMENTS, **fault)

    done = workflow.step("menu_fallback", {})

    assert (done.code, len(workflow.bodies)) == (code, comments)


def test_program_is_short() -> None:
    """It must not break for a reason of its own."""
    assert len(load_scripts()["menu_fallback"].splitlines()) <= 50


@pytest.mark.parametrize("by", ["the job", "a stranger"])
def test_only_a_posted_menu_of_the_bot_is_enough(workflow: Workflow, by: str) -> None:
    """The job `menu` may fail after it posted the menu, or be cancelled."""
    number, github = workflow.incident, workflow.github
    done = workflow.world.ops(
        "incident", "menu", str(number), "--config", str(workflow.world.config), **github.environ()
    )
    assert done.code == 0, done.err
    if by == "a stranger":
        github.add_user("zoe", "read")
        github.comment(number, github.issue(number).comments.pop().body, "zoe")

    workflow.step("menu_fallback", {})

    assert len(workflow.bodies) == (1 if by == "the job" else 2)

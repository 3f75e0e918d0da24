"""Every program that posts a comment reads the comments after a lost response, before it posts again."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from ops.setup.workflows import load_scripts
from tests.templates.scripts import COMMENTS, Workflow
from tests.templates.test_tell import FAILED, SKIPPED

NEEDS = json.dumps({"gate": FAILED, "recovery-production": SKIPPED})
ENVIRON = {
    "answer": {"SECONDS_TO_WAIT": "0", "DIRECT": ""},
    "load": {"NEEDS": NEEDS, "GITHUB_WORKFLOW_SHA": "0" * 40},
    "menu_fallback": {},
    "publish_fallback": {"PUBLISHED": ""},
    "tell": {"NEEDS": NEEDS},
}
FAULTS: dict[str, dict[str, Any]] = {
    "applied": {"status": 502, "applied": True},
    "not applied": {"status": 502},
    "lost answer": {"lost": "after"},
    "lost request": {"lost": "before"},
}


def test_programs_that_post_are_these() -> None:
    posting = {name for name, text in load_scripts().items() if '/comments"' in text}
    assert posting == set(ENVIRON)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("script", ENVIRON)
def test_lost_response_yields_one_comment(workflow: Workflow, script: str, fault: Mapping[str, Any]) -> None:
    payload, github = workflow.label(), workflow.github
    workflow.environ = {"ISSUE": str(workflow.incident)}
    lag, began = github.switches.lists_lag_seconds, github.clock.now()
    github.fault(method="POST", path=COMMENTS, **fault)

    workflow.step(script, payload, **ENVIRON[script])

    assert github.clock.now() - began >= timedelta(seconds=lag) > timedelta(), "it looks when lists have caught up"
    assert len(workflow.bodies) == 1
    assert [request.method for request in workflow.github.requests].count("POST") == 1 + (
        len(fault) == 1 and fault.get("lost") != "after"
    )


@pytest.mark.slow
@pytest.mark.parametrize("script", ENVIRON)
def test_text_of_a_person_does_not_stand_for_the_comment(workflow: Workflow, script: str) -> None:
    """Anybody can copy the text of an answer, or foresee it, in a public repository."""
    payload = workflow.label()
    workflow.environ = {"ISSUE": str(workflow.incident)}
    workflow.step(script, payload, **ENVIRON[script])
    comments = workflow.github.issue(workflow.incident).comments
    workflow.github.comment(workflow.incident, comments.pop().body, "tina")
    workflow.github.fault(method="POST", path=COMMENTS, status=502)

    workflow.step(script, payload, **ENVIRON[script])

    assert len(workflow.bodies) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "banner", "told"),
    [("true", "failure", (False, True)), ("false", "cancelled", (True, True)), ("false", "skipped", (True, False))],
)
def test_answer_of_a_public_update_names_each_failed_part(
    workflow: Workflow, page: str, banner: str, told: tuple[bool, bool]
) -> None:
    environ = {"ISSUE": str(workflow.incident), "PUBLISHED": "true", "PAGE_SHOWN": page, "BANNER": banner}
    workflow.step("publish_fallback", workflow.label(), **environ)

    (body,) = workflow.bodies
    assert ("Re-run failed jobs" in body, "/actions/workflows/feature.yml" in body) == told

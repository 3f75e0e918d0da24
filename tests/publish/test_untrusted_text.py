"""Untrusted text never changes the structure of a run's comment."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.config.types import Contact
from ops.core.errors import Decision, Reason
from ops.core.run import Run
from ops.core.run_record import read_record
from ops.core.timeline import EventKind, RunEvent
from ops.publish.comment import render_comments
from tests.support.hostile import WORDS, skeleton

AT = datetime(2026, 11, 24, 3, 5, tzinfo=UTC)
NAMES = (
    "reason",
    "message",
    "summary",
    "warning",
    "undone",
    "undo",
    "next",
    "hint",
    "contact",
    "row",
    "login",
    "decision",
)


def comment_with(said: dict[str, str]) -> str:
    """Render a failed run with these texts in every place that accepts text."""
    change = {"target": said["summary"], "before": said["row"], "after": said["row"], "undo": said["undo"]}
    change["undo_button"] = said["undo"]
    plan = {"changes": [change], "warnings": [said["warning"]] * 2, "not_undone": [said["undone"]] * 2}
    data: dict[str, Any] = {"runbook": said["row"], "environment": said["login"], "params": {"service": said["reason"]}}
    told = [
        (EventKind.REQUESTED, f"rollback-worker reason={said['reason']} ({said['login']})", data),
        (
            EventKind.PLANNED,
            said["summary"],
            {"plan": {**plan, "next_step": said["next"], "next_step_button": said["next"], "done": said["summary"]}},
        ),
        (EventKind.PROBED, said["row"], {}),
        (EventKind.WRITTEN, said["row"], {}),
        (
            EventKind.FAILED,
            said["message"],
            {"hint": said["hint"], "press": said["next"], "press_button": said["next"]},
        ),
        (EventKind.ENDED, said["decision"], {"message": said["message"], "reason": said["reason"]}),
    ]
    events = tuple(RunEvent(n, AT, float(n), kind, text, data) for n, (kind, text, data) in enumerate(told, start=1))
    (body,) = render_comments(Run("77.1-abcd", events, imported=said["login"]), ())
    return body


HARMLESS = skeleton(comment_with(dict.fromkeys(NAMES, "x")))


def assert_structure_unchanged(said: dict[str, str]) -> None:
    body = comment_with(said)

    assert skeleton(body) == HARMLESS
    block = read_record(body)
    assert block
    assert block.run == "77.1-abcd"


CLOSED = {*Decision, *Reason}
"""Values with their own heading or sentence."""
SAID = st.fixed_dictionaries(dict.fromkeys(NAMES, WORDS.filter(lambda words: words not in CLOSED)))


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(SAID)
def test_hostile_text_does_not_change_the_comment(said: dict[str, str]) -> None:
    assert_structure_unchanged(said)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(SAID)
def test_long_hostile_text_does_not_change_the_comment(said: dict[str, str]) -> None:
    assert_structure_unchanged(said)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(WORDS)
def test_hostile_contact_does_not_change_the_comment(text: str) -> None:
    contact: Any = SimpleNamespace(role=text, contact=f"x{text}", availability=text, is_named=True)
    event = RunEvent(1, AT, 0.0, EventKind.ENDED, "failed", {})
    harmless: Any = SimpleNamespace(role="x", contact="x", availability="x", is_named=True)

    shapes = {tuple(skeleton(render_comments(Run("77.1-abcd", (event,)), (one,))[0])) for one in (contact, harmless)}

    assert len(shapes) == 1
    assert shapes.pop().count("<li []>") > 1


def test_placeholder_contact_is_listed_as_missing() -> None:
    event = RunEvent(1, AT, 0.0, EventKind.ENDED, "failed", {})
    contact = Contact(role="Primary On-call", contact="[TBD]", availability="24/7")

    (body,) = render_comments(Run("77.1-abcd", (event,)), (contact,))

    assert "- `ops.yml` names nobody yet for: Primary On-call\n" in body
    assert "TBD" not in body


@pytest.mark.slow
def test_skeleton_detects_escaped_markup() -> None:
    assert skeleton("`a` @b `c`") != skeleton("`a`")
    assert skeleton("``a` @b ``") == skeleton("`a`")
    assert skeleton("a\n# b") != skeleton("a\nb")
    assert skeleton("a www.example.org") != skeleton("a b")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("https://github.com/acme/ops/actions/runs/77", True),
        ("https://github.com/acme/ops/actions/runs/77)[x](https://evil.example", False),
        ("javascript:alert(1)", False),
        ("https://evil.example/a", False),
        (7, False),
    ],
)
def test_log_is_linked_only_to_a_workflow_run(said: object, shown: bool) -> None:
    event = RunEvent(1, AT, 0.0, EventKind.REQUESTED, "x", {"log": said})

    (body,) = render_comments(Run("77.1-abcd", (event,)), ())

    assert (f" · [log]({said})" in body) == shown
    assert ("[log]" in body) == shown


def test_shared_undo_command_is_shown_once() -> None:
    change = {"target": "a", "before": "b", "after": "c", "undo": "./run ops undo", "undo_button": "Actions → undo"}
    plan = {"plan": {"changes": [change, {**change, "target": "d"}]}}
    events = (RunEvent(1, AT, 0.0, EventKind.PLANNED, "two", plan), RunEvent(2, AT, 1.0, EventKind.WRITTEN, "done", {}))

    (body,) = render_comments(Run("77.1-abcd", events), ())

    assert body.count("./run ops undo\n") == 1

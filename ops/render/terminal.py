"""Format events, plans and results for a terminal and a job log, in short lines for a phone."""

import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from ops.core.errors import Decision, needs_people
from ops.core.next_step import SuggestedCommand
from ops.core.plan import Plan
from ops.core.result import duration_label
from ops.core.run_summary import RunSummary
from ops.core.timeline import EventKind, RunEvent

WIDTH = 100
WARNING = "    ! "
"""Start of a line with a warning in a plan."""
WAITS = {
    EventKind.REQUESTED: "reading the live state …",
    EventKind.CONFIRMED: "comparing the live state with the plan …",
    EventKind.REHEARSED: "rehearsing …",
    EventKind.WRITING: "waiting for the answer …",
    EventKind.WRITTEN: "reading back …",
    EventKind.READ_BACK: "probing …",
}
"""Event → the wait that follows it."""


def format_event(event: RunEvent) -> str:
    """Return an event as one line."""
    return f"{event.at:%H:%M:%S}Z {event.seconds:7.2f} s  {event.kind.value:<9}  {to_one_line(event.text)}"


def describe_wait(event: RunEvent) -> str:
    """Return the wait that follows an event, such as "waiting for round 2 of 3 …"; empty without a wait."""
    found = re.match(r"after, (\d+) of (\d+) in a row", event.text) if event.kind == EventKind.PROBED else None
    if found and found[1] != found[2]:
        return f"waiting for round {int(found[1]) + 1} of {found[2]} …"
    return WAITS.get(event.kind, "")


def format_plan(plan: Plan[Any], *, heading: str) -> Iterator[str]:
    """Yield the lines of a plan: changes, limits of the undo, consequences, warnings and commands."""
    yield heading
    yield f"  {to_one_line(plan.summary)}"
    for section in plan.sections:
        yield from _list(section.title, section.lines)
    yield from _list("Not undone", plan.not_undone)
    yield from _list("Consequences", plan.consequences)
    yield from _list("Warnings", plan.warnings, bullet="!")
    yield from _commands("Undo", plan.undo)
    yield from _commands("If it does not help", [plan.next_step])
    yield from _list("Manual steps", plan.tasks)


def format_result(page: RunSummary, contacts: Iterable[str]) -> Iterator[str]:
    """Yield the lines of an ended run: durations, hint and commands; `contacts` if people must be called."""
    is_health = page.plan is None or page.plan.proves_health
    timed = [f"{duration_label(name, proves_health=is_health)} {s:.1f}" for name, s in page.durations.items() if s]
    yield f"  seconds from the request: {', '.join(timed)}" if timed else "  no step was reached"
    if page.hint:
        yield from _wrapped(page.hint, first="  next step: ", rest="    ")
    yield from _commands("Run", [page.suggested_command])
    if page.plan is not None and page.decision != Decision.PLANNED:
        yield from _commands("Undo", page.undo if page.has_written else ())
        yield from _commands("If it does not help", [page.next_step])
        yield from _list("Manual steps", page.plan.tasks if page.has_written else ())
    if needs_people(page.decision):
        yield from _list("Call", contacts)


def _list(title: str, lines: Iterable[str], *, bullet: str = "-") -> Iterator[str]:
    lines = list(lines)
    if lines:
        yield f"  {title}"
        for line in lines:
            yield from _wrapped(line, first=f"    {bullet} ", rest="      ")


def _commands(title: str, presses: Iterable[SuggestedCommand | None]) -> Iterator[str]:
    """Yield commands and buttons without wrapping, so that people can copy them."""
    given = [press for press in presses if press]
    if given:
        yield f"  {title}"
    for press in given:
        yield f"    {to_one_line(press.command)}"
        if press.button:
            yield f"    or the button: {to_one_line(press.button)}"


def _wrapped(text: str, *, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        to_one_line(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def to_printable(text: str) -> str:
    """Return the text with control and direction characters replaced by spaces. Its lines stay."""
    return "\n".join(map(to_one_line, text.split("\n")))


def to_one_line(text: str) -> str:
    """Return the text on one line, with control and direction characters replaced by spaces."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)

"""Render the comments of a run with its checklist, and the summary page of its job.

A comment has a hidden record and keeps to GitHub's size limit.
"""

import functools
import json
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ops.core.errors import needs_people
from ops.core.next_step import replace_checkout
from ops.core.public_update import offer_after_run
from ops.core.run import EndedRun, Run, headline_icon
from ops.core.run_record import embed_record, is_edited, replace_visible_text
from ops.core.timeline import EventKind, RunEvent
from ops.github.comments import MAX_TEXT
from ops.render import code_span, collapse_blank_lines, load_templates

if TYPE_CHECKING:
    from ops.config.types import Contact

MOST_LINES = 10
"""Most lines shown of one list of the plan. The record holds the whole plan."""


_REPOSITORY = re.compile(r"(https?://[A-Za-z0-9.:-]+/[\w.-]+/[\w.-]+)/(?:issues|actions)/")


@dataclass(frozen=True)
class NextStep:
    title: str
    done: bool = False
    by_people: bool = False


POST_MORTEM = "Create post-mortem"
StepCheck = Callable[[Run], bool]
BY_PEOPLE: StepCheck | None = None
OF_PEOPLE = " (people, in the report)"
"""End of a step that only people can tick, in the comment of a run."""


def _is_step_notified(run: Run) -> bool:
    return run.is_notified


def _is_step_reported(_run: Run) -> bool:
    """Return False: the report comes after the run, and `tick_steps` ticks the step."""
    return False


BEFORE: tuple[tuple[str, StepCheck | None], ...] = (
    ("Identify the issue clearly", lambda run: run.last_event(EventKind.REQUESTED) is not None),
    ("Determine root cause (if possible)", BY_PEOPLE),
    ("Choose appropriate rollback method", lambda run: run.plan is not None and bool(run.plan.changes)),
    ("Notify team", _is_step_notified),
    ("Execute rollback", lambda run: run.has_written),
    ("Verify recovery", lambda run: run.is_healthy),
    ("Document incident", lambda run: run.last_event(EventKind.ENDED) is not None),
    ("Plan proper fix", BY_PEOPLE),
)
AFTER: tuple[tuple[str, StepCheck | None], ...] = (
    ("Monitor for 30 minutes", BY_PEOPLE),
    ("Check error rates", BY_PEOPLE),
    ("Review user feedback", BY_PEOPLE),
    (POST_MORTEM, _is_step_reported),
    ("Implement prevention measures", BY_PEOPLE),
)
"""Steps of the procedure. The run ticks a step with a function; people tick the others."""


def steps_for_people(steps: tuple[tuple[str, StepCheck | None], ...]) -> tuple[str, ...]:
    """Return the steps that only people can tick, and those that they may have to."""
    return tuple(title for title, check in steps if check in (BY_PEOPLE, _is_step_notified))


def render_comments(
    run: Run,
    contacts: "tuple[Contact, ...]",
    repository: str = "",
    program: str = "./run ops",
    *,
    offers_updates: bool = False,
) -> tuple[str, ...]:
    """Return the run's comment, and a second one with the older rows if they do not fit.

    `repository`: URL of the repository whose Actions tab has the buttons. `program`: start of a command on any laptop.
    `offers_updates`: whether the end names the label of the next public update.
    """
    run = replace(run, events=tuple(_for_any_laptop(event, program) for event in run.events))
    rows = run.shown_events

    @functools.cache  # the largest fit is rendered once
    def render_comment_rows(count: int) -> str:
        return _main_comment(run, contacts, repository, rows[len(rows) - count :], offers_updates=offers_updates)

    shown = _largest_fitting_comment(render_comment_rows, len(rows))
    main = render_comment_rows(shown)
    if shown == len(rows):
        return (main,)
    older = rows[: len(rows) - shown]

    @functools.cache
    def render_older(count: int) -> str:
        return _older_comment(run, older, count)

    return main, render_older(_largest_fitting_comment(render_older, len(older)))


def _for_any_laptop(event: RunEvent, program: str) -> RunEvent:
    """Return the event with commands that do not name the checkout of the laptop that ran it."""
    data = json.loads(replace_checkout(json.dumps(event.data), program))
    return replace(event, text=replace_checkout(event.text, program), data=data)


def _main_comment(
    run: Run,
    contacts: "tuple[Contact, ...]",
    repository: str,
    events: tuple[RunEvent, ...],
    *,
    offers_updates: bool,
) -> str:
    """Return the main comment with the newest rows."""
    is_drill = run.plan is not None and run.plan.is_drill
    proves_health = run.plan is None or run.plan.proves_health
    offered = offer_after_run(run.decision, proves_health=proves_health) if offers_updates and not is_drill else None
    text = _render_comment(
        run,
        contacts,
        events=events,
        repository=repository,
        of_people=OF_PEOPLE,
        checklists={
            "Before any rollback": _comment_checklist(BEFORE, run),
            "After rollback": _comment_checklist(AFTER, run),
        },
        most=MOST_LINES,
        offered=offered,
    )
    return embed_record(text, run.to_record(part=1))


def _render_comment(run: Run, contacts: "Iterable[Contact]", *, events: tuple[RunEvent, ...], **parts: Any) -> str:
    text = (
        load_templates()
        .get_template("run.md.j2")
        .render(
            run=run,
            icon=headline_icon(run),
            events=events,
            older=len(run.shown_events) - len(events),
            contacts=list(contacts) if needs_people(run.decision) else [],
            **{"links": {}, "is_whole": False, "offered": None, **parts},
        )
    )
    return collapse_blank_lines(text)


def _older_comment(run: Run, older: tuple[RunEvent, ...], count: int) -> str:
    """Return the second comment: the first row and as many of the last older rows as fit."""
    first = min(count, 1)
    events = older[:first] + older[len(older) - (count - first) :]
    template = load_templates().get_template("run_older.md.j2")
    text = template.render(run=run, events=events, left_out=len(older) - count)
    return embed_record(collapse_blank_lines(text), run.to_record(part=2))


def _largest_fitting_comment(render: Callable[[int], str], most: int) -> int:
    """Return how many rows fit into the limit."""
    if len(render(most)) <= MAX_TEXT:
        return most
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(render(middle)) <= MAX_TEXT else (low, middle)
    return low


def _comment_checklist(steps: tuple[tuple[str, StepCheck | None], ...], run: Run) -> list[NextStep]:
    done = {title: check is not None and check(run) for title, check in steps}
    people = steps_for_people(steps)
    return [NextStep(title, is_done, not is_done and title in people) for title, is_done in done.items()]


def tick_steps(body: str, proved: Collection[str]) -> str | None:
    """Return the run's comment with the proved steps ticked that the run could not know; None if nothing changes.

    A comment that somebody edited stays as it is.
    """
    later = {POST_MORTEM, *steps_for_people((*BEFORE, *AFTER))} & {*proved}
    done = {f"- [ ] {step}{end}": f"- [x] {step}" for step in later for end in ("", OF_PEOPLE)}
    if is_edited(body) or not done.keys() & set(body.splitlines()):
        return None
    return replace_visible_text(body, lambda text: "\n".join(done.get(line, line) for line in text.split("\n")))


def render_note(at: datetime, text: str) -> str:
    """Return the visible text of a note in the timeline."""
    return load_templates().get_template("note.md.j2").render(at=at, text=text)


def render_approval(code: str, runbook: str, login: str, link: str) -> str:
    """Return the text of a used approval. `link` is the page of the run, if there is one."""
    where = f", [run]({link})" if link else ""
    return f"**Approved** by {code_span('@' + login)}: the request `{code}` of {code_span(runbook)}{where}"


def render_incident_body(
    *, service: str, environment: str = "", severity: str = "", symptom: str = "", began: str = ""
) -> str:
    """Return the body of an incident issue, in the layout of the issue form, which `ops.github.issues` reads."""
    template = load_templates().get_template("incident.md.j2")
    text = template.render(service=service, environment=environment, severity=severity, symptom=symptom, began=began)
    return collapse_blank_lines(text).strip()


def render_run_result(result: EndedRun, contacts: "Iterable[Contact]") -> str:
    """Return a run for the incident issue and the summary page of its job."""
    links = {name: link for name, link in result.links.items() if re.fullmatch(r"https?://[!#-;=?-~]+", link)}
    repository = next((match[1] for link in links.values() if (match := _REPOSITORY.match(link))), "")
    return _render_comment(
        result, contacts, events=result.shown_events, repository=repository, most=None, links=links, is_whole=True
    )

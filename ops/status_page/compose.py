"""Compose the next public update of an incident from a request and ops.yml. Pure.

Names, conditions and texts come from `ops.yml` and from the person who asks, never from the issue.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ops.config.status_page import StatusPageConfig
from ops.core.clock import parse_deadline, parse_utc
from ops.core.errors import ConfigError, Reason
from ops.core.names import nearest_name
from ops.core.public_update import (
    CONDITIONS,
    AffectedComponent,
    ComponentCondition,
    PublicState,
    PublicUpdate,
    UpdateKind,
    clean_text,
    find_public_text_problem,
    find_size_problem,
    incident_conditions,
    new_public_id,
)
from ops.core.standard_texts import Audience, TextFacts, Texts, fill_text
from ops.gate.outcomes import RefusedRequest, UpdateRequest
from ops.gate.update import split_update_components

LAST = "last"
"""Word for the newest update of the incident, in place of its id."""
Conditions = Mapping[str, ComponentCondition | None]


@dataclass(frozen=True)
class UpdateContext:
    """Facts for the next update of an incident."""

    page: StatusPageConfig
    texts: Texts
    """Of `ops.yml: messages`."""
    former: tuple[PublicUpdate, ...]
    """Updates of the incident so far, in order."""
    services: tuple[str, ...]
    """Affected services of the page's environment, by runs and incident form."""
    now: datetime


def compose_update(request: UpdateRequest, context: UpdateContext) -> PublicUpdate | RefusedRequest:
    """Return the update, or why it cannot become public."""
    former, now = context.former, context.now.replace(microsecond=0)
    if former and former[0].kind != request.state.kind:
        return _refuse_kind(request.state, former[0].kind)
    conditions = _choose_components(request, context)
    if isinstance(conditions, RefusedRequest):
        return conditions
    corrects = _find_corrected(request.corrects, request.state, former)
    times = _read_times(request, now)
    for each in (corrects, times):
        if isinstance(each, RefusedRequest):
            return each
    assert isinstance(corrects, str)
    assert isinstance(times, tuple)
    text = clean_text(request.text) or _standard_text(request.state, tuple(conditions), context)
    update = PublicUpdate(
        id=new_public_id(),
        incident=former[0].incident if former else new_public_id(),
        state=request.state,
        components=tuple(AffectedComponent(*each) for each in conditions.items()),
        text=text,
        at=max(now, former[-1].at) if former else now,
        number=former[-1].number + 1 if former else 1,
        corrects=corrects,
        starts=times[0],
        ends=times[1],
    )
    return check_update_limits(update)


def check_update_limits(update: PublicUpdate) -> PublicUpdate | RefusedRequest:
    """Return the update, or the refusal of a text or size that no reader would take."""
    if problem := find_public_text_problem(update.text):
        return _refuse_problem(f"the text {problem}")
    problem = find_size_problem(update)
    return _refuse_problem(problem) if problem else update


def _standard_text(state: PublicState, names: tuple[str, ...], context: UpdateContext) -> str:
    facts = TextFacts(names, context.now, context.page.title, context.page.url)
    return clean_text(fill_text(state, Audience.STATUS_PAGE, facts, context.texts))


def _choose_components(request: UpdateRequest, context: UpdateContext) -> Conditions | RefusedRequest:
    """Return the components with their conditions: the typed ones, else those of the incident.

    Those of the incident are the ones that its updates named, else those of its services.
    """
    known, former = context.page.component_names, incident_conditions(context.former)
    condition = _parse_condition(request.condition)
    if isinstance(condition, RefusedRequest):
        return condition
    if request.components:
        return _read_components(request, condition, former, known)
    told = {name for each in context.former for name in each.names}
    names = [each for each in known if each in told] or context.page.names_of(list(context.services))
    if not names:
        return _refuse_unknown_components(request, context)
    return {name: condition or _default_condition(request.state, former.get(name)) for name in names}


def _read_components(
    request: UpdateRequest,
    condition: ComponentCondition | None,
    former: Mapping[str, ComponentCondition],
    known: Collection[str],
) -> Conditions | RefusedRequest:
    by_key, chosen = {name.casefold(): name for name in known}, dict[str, ComponentCondition | None]()
    for typed, own in split_update_components(request.components):
        name = by_key.get(typed.casefold())
        if name is None:
            return _refuse_unknown_name(typed, known)
        parsed = _parse_condition(own)
        if isinstance(parsed, RefusedRequest):
            return parsed
        chosen[name] = parsed or condition or _default_condition(request.state, former.get(name))
    return {name: chosen[name] for name in known if name in chosen}


def _default_condition(state: PublicState, former: ComponentCondition | None) -> ComponentCondition | None:
    """Return the condition that a state gives a component: docs/how-to/public-updates.md has this table."""
    if state.is_end:
        return ComponentCondition.OPERATIONAL
    if state == PublicState.SCHEDULED:
        return None
    if state.kind == UpdateKind.MAINTENANCE:
        return ComponentCondition.MAINTENANCE
    return former if former not in {None, ComponentCondition.OPERATIONAL} else ComponentCondition.DEGRADED


def _parse_condition(typed: str) -> ComponentCondition | RefusedRequest | None:
    """Return the condition, None for an empty text, or a refusal."""
    if not typed:
        return None
    plain = typed.lower().replace("-", " ").replace("_", " ")
    for each in CONDITIONS:
        if plain == each.words:
            return each
    words = ", ".join(each.words for each in CONDITIONS)
    return _refuse_update("there is no condition {condition}", f"Write one of: {words}.", condition=typed)


def _find_corrected(typed: str, state: PublicState, former: Sequence[PublicUpdate]) -> str | RefusedRequest:
    """Return the id of the update to correct; empty for none.

    Users see the state of the newest update. So the correction of an earlier one must keep that state, also if another
    correction of the earlier one came last.
    """
    if not typed:
        return ""
    corrected = former[-1].id if former and typed.lower() == LAST else typed.lower()
    if any(each.id == corrected for each in former):
        last = former[-1].state
        if state == last or _is_newest(corrected, former):
            return corrected
        hint = f"Press it again with the state {last.words}, or correct `{LAST}`."
        return _refuse_update(
            f"the correction of an earlier update would change the state from {last.words} to {state.words}", hint
        )
    hint = f"Write `{LAST}`, or the id in the comment of the update." if former else "Leave the field empty."
    return _refuse_update("this incident has no update {id} to correct", hint, id=typed)


def _is_newest(corrected: str, former: Sequence[PublicUpdate]) -> bool:
    """Return whether each later update corrects this one, or a correction of it."""
    same = {corrected}
    for each in former[[each.id for each in former].index(corrected) + 1 :]:
        if each.corrects not in same:
            return False
        same.add(each.id)
    return True


def _read_times(request: UpdateRequest, now: datetime) -> tuple[datetime | None, datetime | None] | RefusedRequest:
    """Return the planned start and end of a maintenance."""
    given = request.starts or request.ends
    if given and request.state.kind != UpdateKind.MAINTENANCE:
        return _refuse_update("only a maintenance has a planned start and end", "Leave both fields empty.")
    try:
        starts = parse_utc(request.starts).replace(microsecond=0) if request.starts else None
        ends = parse_deadline(request.ends, starts or now)
    except (ValueError, OverflowError):
        return _refuse_update(
            "the start {start} is no time", "Write it in UTC, as 2026-11-24T05:00Z.", start=request.starts
        )
    except ConfigError:
        hint = "Write a later time in UTC, as 2026-11-24T05:00Z, or a duration, as 2h."
        return _refuse_update("the end {end} is no time after the start", hint, end=request.ends)
    return starts, ends.replace(microsecond=0) if ends else None


def _refuse_update(message: str, hint: str, **values: str) -> RefusedRequest:
    return RefusedRequest(reason=Reason.NOT_PUBLISHABLE, message=message, hint=hint, values=values)


def _refuse_problem(problem: str) -> RefusedRequest:
    """Return the refusal of a problem with its advice."""
    message, _, advice = problem.partition("; ")
    return _refuse_update(message, f"{advice[:1].upper()}{advice[1:]}.")


def _refuse_kind(state: PublicState, kind: UpdateKind) -> RefusedRequest:
    states = ", ".join(each.words for each in PublicState if each.kind == kind)
    hint = f"Publish one of: {states}. For the other kind, open an incident of its own."
    return _refuse_update(f"its updates are of one {kind.value}, and {state.words} is a state of the other kind", hint)


def _refuse_unknown_name(typed: str, known: Collection[str]) -> RefusedRequest:
    near = nearest_name(typed, known)
    names = {f"name{number}": name for number, name in enumerate(known, 1)}
    hint = f"Write one of: {', '.join(f'{{{name}}}' for name in names)}."
    meant = "; did you mean {near}?" if near else ""
    return _refuse_update(f"the page has no component {{name}}{meant}", hint, name=typed, near=near, **names)


def _refuse_unknown_components(request: UpdateRequest, context: UpdateContext) -> RefusedRequest:
    names = {f"name{number}": name for number, name in enumerate(context.page.component_names, 1)}
    listed = ", ".join(f"{{{name}}}" for name in names)
    hint = (
        f"Press the button publish-update with incident {request.incident}, state {request.state.words}, "
        f"and components from: {listed}."
    )
    message = (
        "no component of the page has a service of this incident"
        if context.services
        else ("neither a run nor the incident form names an affected service")
    )
    return _refuse_update(message, hint, **names)

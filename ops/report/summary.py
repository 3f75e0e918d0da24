"""Three sentences on an incident: what broke, the cause as recorded, recovery and duration."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime

from ops.core.clock import format_duration
from ops.core.incident_state import ServiceHealth, ServiceState
from ops.core.names import join_names
from ops.core.outage import OutageVerdict
from ops.report.evidence import IncidentEvidence
from ops.report.timeline import find_deployment

MAX_TITLE, MAX_CAUSE = 120, 300
"""Characters of a title and of a note in a sentence."""
MOST_SERVICES = 3
"""Most services in one sentence; the table names all."""


def describe_incident(evidence: IncidentEvidence) -> tuple[str, str, str]:
    """Return the three sentences. They hold untrusted text."""
    return _describe_symptom(evidence), _describe_cause(evidence), _describe_recovery(evidence)


def _describe_symptom(evidence: IncidentEvidence) -> str:
    state, title = evidence.state, f"“{evidence.title[:MAX_TITLE]}”"
    if not state.services:
        return f"{title} was opened at {_summary_time(evidence.opened_at)}, and no record names a service that broke."
    names = _name_services(state.services)
    if start := evidence.start.at:
        is_same = all(each.broken_since.at == start for each in state.services)
        return (
            f"{names} broke {f'at {_summary_time(start)}' if is_same else f'from {_summary_time(start)} on'}: {title}."
        )
    return f"{names} broke at an unknown time, reported at {_summary_time(evidence.opened_at)}: {title}."


def _describe_cause(evidence: IncidentEvidence) -> str:
    notes = list(evidence.find_notes("root cause"))
    if notes:
        said = max(notes)[1][len("root cause") :].lstrip(" :-")[:MAX_CAUSE]
        return f"The cause, as a note says: “{said or 'no text'}”."
    checks = [one for one in evidence.records if one.record.source == "outage" and not one.doubt]
    if any(one.record.decision == OutageVerdict.THEIRS for one in checks):
        return "The cause is not recorded; check-outage saw trouble of a provider."
    known = "; ".join(_list_candidates(evidence))
    if known:
        return f"The cause is not recorded; live before the run: {known}."
    return f'The cause is not recorded: add it with `ops incident note {evidence.number} "root cause: …"`.'


def _list_candidates(evidence: IncidentEvidence) -> Iterator[str]:
    for service in evidence.state.services[:MOST_SERVICES]:
        run = evidence.find_run(service)
        version = evidence.find_versions(run)[0] if run else None
        deployed = find_deployment(evidence, run).at
        if version and deployed:
            yield f"version {version.id[:8]} of {service.service}, first deployed at {_summary_time(deployed)}"


def _describe_recovery(evidence: IncidentEvidence) -> str:
    state, day = evidence.state, evidence.opened_at.date()
    ends = list(_describe_ends(evidence, state.services[:MOST_SERVICES], day))
    more = len(state.services) - MOST_SERVICES
    parts = [*ends, *([f"{more} more in the table"] if more > 0 else [])]
    if not evidence.our_runs:
        is_refused = any(one.record.source == "gate" for one in evidence.records)
        parts.append("every request was refused, and Backout changed nothing" if is_refused else "no runbook ran")
    elif not state.services:
        parts.append("no run shows that a service recovered")
    reopened = [each.opened_at for each in state.periods[1:]]
    parts += [f"the incident was reopened at {_summary_time(at, day)}" for at in reopened[-1:]]
    text = "; ".join([*parts, _describe_duration(evidence)])
    return f"{text if ends else text[:1].upper() + text[1:]}."


def _describe_ends(evidence: IncidentEvidence, services: Sequence[ServiceState], day: date) -> Iterator[str]:
    """Yield the end of each service; those that did not recover, for the same reason, as one."""
    recovered = [(at, each) for each in services if (at := each.healthy_since)]
    for at, service in sorted(recovered, key=lambda pair: pair[0]):
        yield _describe_recovered(evidence, service, at, day)
    failing = [each for each in services if not each.healthy_since]
    for health, why in dict.fromkeys((each.state, each.why) for each in failing):
        same = [each for each in failing if (each.state, each.why) == (health, why)]
        again = same[0].relapsed.at if health == ServiceHealth.RELAPSED else None
        verbs = {ServiceHealth.UNKNOWN: "in an unknown state", ServiceHealth.BROKEN: "still broken"}
        words = f"broken again since {_summary_time(again, day)}" if again else verbs.get(health, "broken again")
        names = _join_first_services([evidence.state.name_apart(each) for each in same])
        yield f"{names} {'is' if len(same) == 1 else 'are'} {words}: {why}"


def _describe_recovered(evidence: IncidentEvidence, service: ServiceState, at: datetime, day: date) -> str:
    run, name = evidence.find_run(service), evidence.state.name_apart(service)
    if not (service.recovered_by and run):
        return f"{name} works since {_summary_time(at, day)}: {service.why}"
    watched = ", and a watch confirmed it" if service.state == ServiceHealth.MITIGATED else ""
    return f"{run.record.runbook} recovered {name} at {_summary_time(at, day)}{watched}"


def _describe_duration(evidence: IncidentEvidence) -> str:
    start, end = evidence.start.at, evidence.state.mitigated.at
    if start and end and end >= start:
        return f"it took {format_duration((end - start).total_seconds())} from the start to the last recovery"
    missing = [name for name, at in (("start", start), ("recovery", end)) if at is None]
    if missing:
        return f"the duration is unknown without {' and '.join(missing)}"
    return "the duration is unknown, because the recovery lies before the stated start"


def _name_services(services: tuple[ServiceState, ...]) -> str:
    """Return the names, with the environment once if it is the same."""
    environments = {each.environment for each in services}
    if len(environments) == 1 and (environment := environments.pop()):
        return f"{_join_first_services([each.service for each in services])} in {environment}"
    return _join_first_services([each.name for each in services])


def _join_first_services(services: list[str]) -> str:
    shown = services[:MOST_SERVICES]
    more = len(services) - MOST_SERVICES
    return join_names([*shown, *([f"{more} more"] if more > 0 else [])])


def _summary_time(at: datetime, day: date | None = None) -> str:
    """Return the time in UTC, with its date unless it is that day."""
    return f"{at:%H:%M} UTC" if at.date() == day else f"{at:%Y-%m-%d %H:%M} UTC"

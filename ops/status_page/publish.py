"""Publish an update: authorize the event of a job, record the update, and answer.

The record is the update: the page is built from records. Nothing after the record hides that it is public.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.configuration import read_config
from ops.app.registry import record_rules
from ops.core.clock import current_time, format_utc
from ops.core.errors import EXIT_CODES, ConfigError, Decision, ProviderError, Reason, Refused
from ops.core.names import PUBLISH_UPDATE
from ops.core.public_update import UPDATE_SOURCE, PublicState, PublicUpdate, standing_updates
from ops.core.redaction import Redactor
from ops.core.run_record import RecordRow, RunRecord
from ops.core.runtime_contract import BANNER_SWITCH, NORMAL_STATES
from ops.gate.events import added_labels
from ops.gate.gate import Annotate
from ops.gate.outcomes import RefusedRequest, UpdateRequest
from ops.gate.refusals import PRESS_AGAIN, fill_refusal_text
from ops.gate.update import UpdateGate
from ops.github import actions
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.github.comments import save_record
from ops.github.issues import INCIDENT, add_once, parse_form
from ops.github.public_updates import dispatch_public_update, list_updates, read_updates
from ops.github.records import JudgedRecord, Trust, judge_records
from ops.render import load_templates
from ops.status_page.compose import UpdateContext, check_update_limits, compose_update
from ops.status_page.mirror import find_lacking_update, mirror_update

if TYPE_CHECKING:
    from ops.config import Config
    from ops.config.status_page import StatusPageConfig
    from ops.github.client import Repository
    from ops.github.issues import Issue

Print = Callable[[str], object]
NOTE = "note"
"""Kind of the row of the record: the timeline shows it like a note of a person."""
TRIES = 2
UNSAID = "an earlier run could neither publish it there nor say so here."
PRESS_HINT = (
    f"Run `ops workflows sync`, and push {PUBLISH_UPDATE}.yml to the default branch. GITHUB_TOKEN needs Actions: write."
)


@dataclass(frozen=True)
class Publication:
    """What became public by a request."""

    incident: int
    update: PublicUpdate
    is_new: bool
    """False: users could read the same before."""
    by: str
    url: str = ""
    """Of the comment."""


def publish_event(
    config_path: Path,
    environ: Mapping[str, str],
    redactor: Redactor,
    *,
    say: Print,
    warn: Print,
    annotate: Annotate,
    tell_team: Callable[["Config", Publication], object],
) -> int:
    """Publish the update that the event of this job requests, and return the exit code.

    `tell_team` gets each new update after its record, and never raises.
    Raises ConfigError and ProviderError.
    """
    payload = actions.read_payload(environ)
    config, _ = read_config(config_path, labels=added_labels(payload))
    page, repository = require_page(config), connect(environ, redactor)
    gate = UpdateGate(environ, config, repository, redactor, say=say, warn=warn, annotate=annotate)
    request = gate.check(actions.require_variable(environ, "GITHUB_EVENT_NAME"), payload)
    if isinstance(request, int):
        return request
    with provider_errors(CHECK_HINT):
        context = read_context(repository, config, page, request.incident, environ)
    update = compose_update(request, context) if isinstance(context, UpdateContext) else context
    if isinstance(update, PublicUpdate):
        update = check_update_limits(redactor.redact_value(update))  # also its record, from which the page is built
    if isinstance(update, RefusedRequest):
        return gate.refuse(request, update)
    last = standing_updates(context.former)[-1:] if isinstance(context, UpdateContext) else ()
    is_new = not (last and last[0].says_same(update) and update.corrects in {"", last[0].id, last[0].corrects})
    publication = Publication(request.incident, update if is_new else last[0], is_new, request.actor)
    if is_new and last and (refused := _refuse_old_attempt(request, last[0], actions.run_attempt(environ))):
        return gate.refuse(request, refused)
    _save_update_comment(repository, publication, config, environ, redactor)
    gate.take_label(request.label, request.incident)
    outputs = {"published": "true", "incident": str(request.incident)}
    if publication.update.state.is_end:
        outputs["over"] = "true"  # starts the job that removes the banner
    actions.write_job_outputs(environ, outputs)
    done = "recorded" if is_new else f"recorded already, at {format_utc(publication.update.at)}"
    say(f"{publication.update.state.words}: {publication.update.text}\n{done}")
    if is_new:
        tell_team(config, publication)
    problem = _bring_to_page(repository, publication, config, environ, redactor)
    if not problem:
        return 0
    warn(f"the page of the team: {redactor.redact_text(problem)}")
    return EXIT_CODES[Decision.FAILED]


def _refuse_old_attempt(request: UpdateRequest, last: PublicUpdate, attempt: int) -> RefusedRequest | None:
    """Refuse a further attempt if an update became public since its request, which would take that one back."""
    if attempt == 1 or last.at < request.at.replace(microsecond=0):
        return None
    return RefusedRequest(
        reason=Reason.RERUN,
        message=f"this is attempt {attempt} of an old request, and an update was published since",
        hint=PRESS_AGAIN,
    )


def _bring_to_page(
    repository: "Repository",
    publication: Publication,
    config: "Config",
    environ: Mapping[str, str],
    redactor: Redactor,
) -> str:
    """Bring the update to the page that the team has, and say on the incident what it lacks.

    Return the problem, which is empty for the own page. Raises ProviderError.
    """
    page, update, lacking = require_page(config), publication.update, None
    if page.has_own_page:
        return ""
    try:
        updates = read_updates(repository, record_rules(config))
    except ProviderError as error:
        problem = f"not published there: the updates could not be read ({error.message})"
    else:
        problem = mirror_update(environ, page, updates, update).problem
        lacking = find_lacking_update(environ, page, updates, update)
    if lacking is not None:
        _save_problem(repository, replace(publication, update=lacking), UNSAID, environ, redactor, is_outdated=True)
    if problem:
        _save_problem(repository, publication, problem, environ, redactor)
    return problem


def require_page(config: "Config") -> "StatusPageConfig":
    """Return the section of ops.yml. Raises ConfigError without it."""
    if config.status_page is None:
        hint = "Add `status_page` to ops.yml, then run `ops workflows sync` and `ops labels sync`."
        raise ConfigError("ops.yml has no section `status_page`", hint=hint)
    return config.status_page


def shown_environment(config: "Config") -> str:
    """Return the environment whose services the page shows."""
    return require_page(config).environment or next(iter(config.environments))


def read_context(
    repository: "Repository", config: "Config", page: "StatusPageConfig", number: int, environ: Mapping[str, str]
) -> UpdateContext | RefusedRequest:
    """Return what an update of the incident needs; a refusal for another issue. Raises what PyGithub raises."""
    issue = repository.get_issue(number)
    if INCIDENT not in {label.name for label in issue.labels}:
        hint = f"Add the label `{INCIDENT}` if it is one, then ask again."
        return RefusedRequest(
            reason=Reason.UNKNOWN_INCIDENT, message=f"no status update: #{number} is no incident", hint=hint
        )
    judged = judge_records(issue, record_rules(config))
    now, environment = current_time(environ), shown_environment(config)
    return UpdateContext(
        page=page,
        texts=config.messages.texts,
        former=list_updates(judged),
        services=_list_updated_services(issue, judged, environment, config),
        now=now,
    )


def _list_updated_services(
    issue: "Issue", judged: list[JudgedRecord], environment: str, config: "Config"
) -> tuple[str, ...]:
    """Return the services of the page's environment that runs and the incident form name."""
    records = (each.record for each in judged if each.trust != Trust.NONE)
    acted = [record.service for record in records if record.environment == environment and record.service]
    named = parse_form(issue.body, now=issue.created_at + timedelta(days=1)).service
    known = config.environments[environment].services
    return tuple(dict.fromkeys(each for each in (*acted, named) if each in known))


def _save_update_comment(
    repository: "Repository",
    publication: Publication,
    config: "Config",
    environ: Mapping[str, str],
    redactor: Redactor,
) -> None:
    """Record the update on the incident, or say there that it is public already. Raises ProviderError.

    A lost answer does not double it: the comment is found by the number of the job.
    """
    update, job = publication.update, actions.job_number(environ)
    facts = {"update": update, "page": require_page(config), "next": list_next_states(update.state)}
    banner = fitting_banner(update, config)
    template = load_templates().get_template("public_update.md.j2")
    text = template.render(publication=publication, banner=banner, **facts)
    row = RecordRow(update.at, NOTE, f"public update, {update.state.words}: {update.text}")
    record = RunRecord(
        f"{'update' if publication.is_new else 'public-already'}-{job}",
        source=UPDATE_SOURCE,
        rows=(row,) if publication.is_new else (),
        update=update.to_json() if publication.is_new else {},
        job=job,
    )
    with provider_errors():
        save_record(repository, publication.incident, redactor.redact_text(text), record, tries=TRIES)


def _save_problem(
    repository: "Repository",
    publication: Publication,
    problem: str,
    environ: Mapping[str, str],
    redactor: Redactor,
    *,
    is_outdated: bool = False,
) -> None:
    """Say on the incident that the page of the team lacks the update, with the text to copy. Raises ProviderError.

    `is_outdated`: a later update is public. The incident then gets the text only if it does not have it.
    """
    template = load_templates().get_template("public_update_failed.md.j2")
    rendered = template.render(update=publication.update, problem=problem, is_outdated=is_outdated)
    text, job = redactor.redact_text(rendered), actions.job_number(environ)
    record = RunRecord(f"not-mirrored-{publication.update.id}", source=UPDATE_SOURCE, job=job)
    if is_outdated:
        add_once(repository, publication.incident, record, text)
        return
    with provider_errors():
        save_record(repository, publication.incident, text, record, tries=TRIES)


def fitting_banner(update: PublicUpdate, config: "Config") -> str:
    """Return the state of the switch `banner` that fits the update; empty if the application has no such state."""
    runtime = config.environments[shown_environment(config)].runtime
    switch = runtime.switches.get(BANNER_SWITCH) if runtime else None
    state = NORMAL_STATES[BANNER_SWITCH] if update.state.is_end else update.state.value.replace("_", "-")
    return state if switch and state in switch.states else ""


def list_next_states(state: PublicState) -> tuple[PublicState, ...]:
    """Return the states that fit next, the most likely one first."""
    course = [each for each in PublicState if each.kind == state.kind]
    return tuple(course[course.index(state) + 1 :]) or (course[0],)


def typed_request(
    number: int, state: PublicState, components: Sequence[str], at: datetime, **texts: str
) -> UpdateRequest:
    """Return the request of a person on a laptop. The job that it starts knows who asks."""
    return UpdateRequest(
        incident=number, sender="", sender_id=0, actor="", state=state, at=at, components=",".join(components), **texts
    )


def preview_update(
    request: UpdateRequest, config: "Config", environ: Mapping[str, str], redactor: Redactor
) -> PublicUpdate:
    """Return the update that the request would publish. Raises ConfigError, Refused and ProviderError."""
    page, repository = require_page(config), connect(environ, redactor, read_only=True)
    with provider_errors(CHECK_HINT):
        context = read_context(repository, config, page, request.incident, environ)
    update = compose_update(request, context) if isinstance(context, UpdateContext) else context
    if isinstance(update, RefusedRequest):
        message, hint = (fill_refusal_text(text, update.values) for text in (update.message, update.hint))
        raise Refused(message, reason=update.reason, hint=hint)
    return update


def press_publish_button(
    request: UpdateRequest, config: "Config", environ: Mapping[str, str], redactor: Redactor
) -> str:
    """Press the button with the values of the request, and return the page of its runs. Raises ProviderError.

    The job checks the permission again, because a request is no authorization.
    """
    repository = connect(environ, redactor)
    values = {
        name: getattr(request, name) for name in ("components", "condition", "text", "corrects", "starts", "ends")
    }
    inputs = {"incident": str(request.incident), "state": request.state.words}
    inputs |= {name: value for name, value in values.items() if value}
    with provider_errors(PRESS_HINT):
        dispatch_public_update(repository, config.github.branch, inputs)
    return f"{actions.repository_page(environ)}/actions/workflows/{PUBLISH_UPDATE}.yml"

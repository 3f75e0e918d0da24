"""Permit the automatic step after a relapse, and record it on the incident before.

Everything unknown but a stop refuses: people were notified of the relapse, and can make the same step.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app.configuration import load_config
from ops.app.scope import Place
from ops.app.session import Session
from ops.cloudflare.marks import AUTOMATIC_STEP, DeploymentMark
from ops.cloudflare.types.workers import short_id
from ops.core.clock import Clock
from ops.core.errors import Decision, Reason, Refused
from ops.core.next_step import build_command
from ops.core.redaction import Redactor
from ops.core.run_record import ENDED_KIND, RecordRow, RecordRules, RunRecord, embed_record, is_closed_watch, is_edited
from ops.github.comments import BOT, StateComment
from ops.github.list_lag import await_listed
from ops.github.records import JudgedRecord, Trust, judge_records
from ops.watch.judgment import ErrorRates, LiveVersions, judge_watch
from ops.watch.record import WATCH
from ops.watch.state import WatchState, parse_watch_state

if TYPE_CHECKING:
    from ops.github.issues import Issue

STEP = "step"
"""Source of the record of a step. It has a comment of its own, which no watch writes again."""


@dataclass(frozen=True)
class AutomaticStep:
    """The step after the relapse of a deployment."""

    environment: str
    service: str
    deployment: str
    """ID of the deployment that relapsed."""
    most: int
    """Most automatic steps of one incident."""
    deployed: int
    """Steps before this one that the service's deployments show. A person can delete the record of a step."""
    is_healthy: bool
    """Whether the probes are healthy now."""
    text: str
    """Markdown of its comment."""
    by_hand: str
    """Command by which a person makes the step."""
    rules: RecordRules = field(default_factory=RecordRules)
    """Whose records act."""
    job: str = ""
    """Number and attempt of this workflow run."""

    def refuse(self, why: str) -> Refused:
        hint = f"A person decides. To make the step: `{self.by_hand}`"
        return Refused(f"no automatic step: {why}", reason=Reason.NO_AUTOMATIC_STEP, hint=hint)


def command_by_hand(program: str, runbook: str, options: Mapping[str, Any], relapsed: str) -> str:
    """Return the command by which a person makes the step after the relapse of this deployment."""
    return build_command(program, runbook, {**options, "relapsed": short_id(relapsed)})


def count_deployed_steps(
    place: Place, config_path: Path, environ: Mapping[str, str], redactor: Redactor, *, incident: int, relapsed: str
) -> int:
    """Return the number of automatic steps of the incident among the Worker's deployments up to the relapsed one.

    `relapsed`: its ID. A forged mark counts too: it only forbids a step. Raises ConfigError and ProviderError.
    """
    config = load_config(config_path, environ, redactor)
    environment = config.environment(place.environment)
    with ExitStack() as ending:
        session = Session(config, environment.name, environ, ending)
        deployments = session.cloudflare.workers.list_deployments(environment.service(place.service).worker)
    names = [each.id for each in deployments]
    older = deployments[names.index(relapsed) :] if relapsed in names else deployments
    return sum(each.mark is not None and _is_automatic_step(each.mark, incident) for each in older)


def _is_automatic_step(mark: DeploymentMark, incident: int) -> bool:
    return (mark.incident, mark.text) == (incident, AUTOMATIC_STEP)


def give_back_claim(step: AutomaticStep, issue: "Issue", clock: Clock, ended: Decision = Decision.REFUSED) -> None:
    """Record that the run of the claimed step `ended` without a write, so that it does not count.

    Its record says `refused` in each case: release 0.1.1 counts others. Raises ProviderError.
    """
    found = await_listed(lambda: _find_own_claim(step, issue), clock)
    if found is None:
        return
    record = found.record
    rows = (*record.rows, RecordRow(clock.now(), ENDED_KIND, Decision.REFUSED))
    refused = replace(record, decision=Decision.REFUSED, reason=Reason.NO_AUTOMATIC_STEP, rows=rows)
    text = f"**Automatic step:** {ended}, and nothing was changed. Its run says why. By hand: `{step.by_hand}`"
    StateComment(issue, found.comment).write(embed_record(text, refused))


def claim_step(step: AutomaticStep, issue: "Issue", clock: Clock) -> bool:
    """Record the step on the incident, from which later steps are counted. Return False if it was recorded before.

    Raises:
        Refused: the step is not permitted.
        ProviderError: GitHub cannot be read or written.
    """
    now = clock.now()
    if issue.state == "closed":
        raise step.refuse("somebody closed the incident after the relapse")
    state = _require_relapse(step, issue, now)
    if _is_claimed(step, issue):
        return False
    if not judge_watch(state, LiveVersions(), ErrorRates()).is_relapse:
        raise step.refuse("the probes do not show the relapse, and requests of a stranger can cause error rates")
    if not state.second_source:
        raise step.refuse("the watch recorded no second source of the relapse, and the probes are one source only")
    if step.is_healthy:
        raise step.refuse("the probes are healthy now")
    about = f"automatic step of {step.service} in {step.environment} after a relapse"
    claim = RunRecord(
        _claim_id(step),
        source=STEP,
        runbook=WATCH,
        environment=step.environment,
        service=step.service,
        rows=(RecordRow(now, "requested", about),),
        job=step.job,
    )
    found = _find_own_claim(step, issue)
    comment = StateComment(issue, found.comment if found else None)
    comment.write(embed_record(step.text, claim))
    try:
        if not await_listed(lambda: _is_claimed(step, issue), clock):
            raise step.refuse("GitHub does not show its record")
    except Refused:
        give_back_claim(step, issue, clock)
        raise
    return True


def _require_relapse(step: AutomaticStep, issue: "Issue", now: datetime) -> WatchState:
    """Return the state of the watch that found the relapse. Raises Refused, and ProviderError."""
    watches = judge_records(issue, step.rules, partial(_is_watch, step))
    found = next((each for each in reversed(watches) if each.author == BOT), None)
    if found is None:
        raise step.refuse(f"the incident has no watch of {step.service} in {step.environment}")
    record = found.record
    if found.trust != Trust.OURS:
        raise step.refuse(f"the record of the watch is not believed: {found.doubt}")
    if is_edited(found.comment.body):
        raise step.refuse("the comment of the watch was edited or deleted")
    state = parse_watch_state(record.watch, now)
    if record.decision != Decision.RELAPSED or state is None or state.deployment != step.deployment:
        raise step.refuse("the newest watch of the service did not find a relapse of this deployment")
    if state.foreign:
        raise step.refuse(f"someone else deployed after the rollback: {state.foreign[0].text}")
    return state


def _is_claimed(step: AutomaticStep, issue: "Issue") -> bool:
    """Return whether the incident has the record of this step. Raises Refused if older ones are as many as permitted.

    Two environments may record steps at the same time, so this also runs after the write.
    """
    judged = judge_records(issue, step.rules, lambda record: record.source == STEP)
    if unknown := next((each for each in judged if each.is_unreadable), None):
        raise step.refuse(f"earlier steps of this incident are unknown: {unknown.doubt}")
    records = (each.record for each in judged if each.trust == Trust.OURS or each.is_former)
    made = (each for each in records if each.decision != Decision.REFUSED)
    steps = list(dict.fromkeys((each.run, each.environment, each.service) for each in made))
    own = (_claim_id(step), step.environment, step.service)
    before = max(steps.index(own) if own in steps else len(steps), step.deployed)
    if before >= step.most:
        raise step.refuse(f"this incident had {before} of at most {step.most}")
    return own in steps


def _claim_id(step: AutomaticStep) -> str:
    return f"step-{step.deployment}"


def _find_own_claim(step: AutomaticStep, issue: "Issue") -> JudgedRecord | None:
    """Return the claim of this step that the bot wrote; None without one. Raises ProviderError."""
    claims = judge_records(issue, step.rules, partial(_is_own_claim, step))
    return next((each for each in reversed(claims) if each.author == BOT), None)


def _is_own_claim(step: AutomaticStep, record: RunRecord) -> bool:
    claim = (STEP, _claim_id(step), step.environment, step.service)
    return (record.source, record.run, record.environment, record.service) == claim


def _is_watch(step: AutomaticStep, record: RunRecord) -> bool:
    place = (WATCH, step.environment, step.service)
    return (record.source, record.environment, record.service) == place and not is_closed_watch(record.watch)

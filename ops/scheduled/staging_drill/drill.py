"""Run, end and stop a staging drill: `ops staging-drill`.

A drill is an incident with the label `drill`. Its state is that issue, and the deployments of the Worker: so another
machine can end it. Without GitHub it is undone too.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app.configuration import load_config, probe_environ, published_prefix, register_secrets
from ops.app.registry import list_runbook_facts, load_runbook, record_rules
from ops.app.run import RunRequest, run_runbook
from ops.app.scope import Place
from ops.app.session import Session
from ops.config.labels import list_recovery_options
from ops.core.clock import current_time, format_duration, format_rfc3339, format_utc
from ops.core.drill_result import DrillKind, DrillOutcome, DrillResult, DrillTime
from ops.core.errors import (
    EXIT_CODES,
    PROVED,
    ConfigError,
    Decision,
    Interrupted,
    NoEvidence,
    OpsError,
    ProviderError,
    Refused,
    UnknownOutcome,
)
from ops.core.next_step import build_command
from ops.core.redaction import Redactor
from ops.core.run import EndedRun
from ops.core.run_record import job_of, parse_job_run
from ops.engine.engine import RunOptions
from ops.engine.signals import PROCESS_SIGNALS
from ops.github import actions
from ops.github.client import CHECK_HINT, connect, provider_errors
from ops.github.journal import read_journal
from ops.scheduled.staging_drill import checks
from ops.scheduled.staging_drill import incident as issues
from ops.scheduled.staging_drill.bad_version import HEADER, DrillFault, DrillTrace, find_trace
from ops.scheduled.staging_drill.runbooks import BreakStaging, UndoDrill

if TYPE_CHECKING:
    from ops.config import Config, Environment, Service
    from ops.config.staging_drill import StagingDrillConfig
    from ops.core.incident_state import IssueRecord
    from ops.core.timeline import EventSink
    from ops.github.client import Repository

RECOVERY = "rollback-worker"
TIME_TO_RECOVER = timedelta(minutes=30)
"""Time that people have for the recovery."""
LONGEST = timedelta(minutes=40)
"""Age at which any machine ends a drill, and the health path of its bad version works again by itself."""
PROBE_EVERY = timedelta(minutes=1)
"""Time between two rounds of the probes outside of staging."""
POLL = 10.0
"""Seconds between two looks at a running drill."""
SETTLE = 5.0
"""Seconds from the bad deployment to the incident, at least: GitHub's times have whole seconds."""
BREAK_WAIT = timedelta(minutes=2)
"""Time until the bad version must be seen."""
RECORD_WAIT = timedelta(minutes=5)
"""Time from the rollback to the end of its run: its probes, and the report on the incident."""
UNDO_LINE = "The line `undo:` above shows the result of the undo. Start again later: `ops staging-drill run`."


@dataclass(frozen=True)
class DrillEnd:
    """How a drill ended."""

    incident: int
    outcome: DrillOutcome
    why: str
    undo: str
    """Result of the undo, for people."""
    is_undone: bool
    result: DrillResult
    was_closed: bool = False
    """Whether a stop or a person closed its incident before a recovery: nothing is published then."""

    @property
    def exit_code(self) -> int:
        if not self.is_undone:
            return EXIT_CODES[Decision.UNKNOWN_OUTCOME]
        codes = {DrillOutcome.PASSED: 0, DrillOutcome.FAILED: 6, DrillOutcome.NO_EVIDENCE: 8, DrillOutcome.STOPPED: 3}
        return codes[self.outcome]

    def to_json(self) -> dict[str, Any]:
        facts = {"incident": self.incident, "why": self.why, "undone": self.is_undone, "undo": self.undo}
        return {"schema": 1, **facts, **self.result.to_json()}


class WhichDrills(Enum):
    """The drills that a command ends."""

    OLD = "old"
    """Older than LONGEST: their own process is dead."""
    ALL = "all"
    OWN = "own"
    """Of this workflow run, and the old ones."""


Ending = tuple[DrillOutcome, str]
"""Outcome and reason of a drill that nobody recovered."""
UNANSWERED: Ending = (
    DrillOutcome.FAILED,
    f"nobody recovered within {format_duration(TIME_TO_RECOVER.total_seconds())}",
)
OWN_FAILED: Ending = (DrillOutcome.FAILED, f"its own {RECOVERY} did not replace the bad version")
UNRECORDED: Ending = (DrillOutcome.NO_EVIDENCE, "the bad version was rolled back, but the incident has no result of it")
REPLACED: Ending = (DrillOutcome.NO_EVIDENCE, "another deployment replaced the bad version")
CLOSED: Ending = (DrillOutcome.STOPPED, "its incident was closed")
ENDED_EARLY: Ending = (DrillOutcome.STOPPED, "it was ended before a recovery")


@dataclass(frozen=True)
class StagingDrill:
    """The drill of an `ops.yml`. Its methods raise OpsError."""

    config: "Config"
    section: "StagingDrillConfig"
    path: Path
    environ: Mapping[str, str]
    redactor: Redactor
    say: Callable[[str], object]
    sink: "EventSink"
    session: Session
    ending: ExitStack = field(repr=False)

    @property
    def environment(self) -> "Environment":
        return self.config.environment(self.section.environment)

    @property
    def service(self) -> "Service":
        return self.environment.service(self.section.service)

    @property
    def place(self) -> Place:
        return Place(self.section.environment, self.section.service)

    @cached_property
    def repository(self) -> "Repository":
        return connect(self.environ, self.redactor)

    @cached_property
    def fault(self) -> DrillFault:
        """How the bad version will differ: by its health path if the application knows drills, else by a header."""
        shown = self.session.web.fetch_runtime_state(self.service.url)
        return DrillFault.HEADER if isinstance(shown, str) or not shown.knows_drills else DrillFault.HEALTH

    @cached_property
    def prober(self) -> checks.DrillProber:
        variables = probe_environ(self.environ, register_secrets(self.environ, self.config, self.redactor))
        return checks.DrillProber(self.config, self.place, self.session, self.environ, variables, self.redactor)

    @property
    def labels(self) -> list[str]:
        """Return the labels of ops.yml that start the recovery."""
        options = list_recovery_options(self.config, list_runbook_facts(), self.environment.name, self.service.name)
        return [label for each in options if each.runbook == RECOVERY for label in each.labels]

    def read_trace(self, run: str = "") -> DrillTrace | None:
        """Return what the newest drill, or that of a run, did to the Worker."""
        return find_trace(self.session.cloudflare.workers.list_deployments(self.service.worker), run)

    def describe(self) -> Iterator[str]:
        """Yield the plan, for people."""
        bad = "its health path answers 503" if self.fault is DrillFault.HEALTH else f"one more header, {HEADER}"
        yield f"Drill of {self.place}: Worker {self.service.worker} in account {self.environment.account_id}"
        yield f"  it deploys a harmless bad version: {bad}"
        within = format_duration(TIME_TO_RECOVER.total_seconds())
        if self.section.unattended:
            yield f"  it runs {RECOVERY} itself"
        else:
            yield f"  a person recovers with {RECOVERY} within {within}, by label, button or command"
        yield "  it puts back what is live now, also after a failure; after a crash, `ops staging-drill resume` does it"

    def check(self, *, again: bool) -> None:
        """Refuse a drill that may hurt anything, or prove nothing. Writes nothing."""
        checks.check_requester(self.place, RECOVERY, self.environ, self.redactor)
        checks.check_account(self.config, self.environment, self.session)
        drills, others = issues.split_open_drills(self.repository)
        if drills or others:
            raise checks.open_incidents_refusal([*(each.number for each in drills), *(each.number for each in others)])
        stopped = self.find_stopped()
        if stopped is not None and not again:
            raise checks.stopped_refusal(stopped.number)
        checks.check_no_stop_before_drill(self.config, self.environ, self.redactor, self.say)
        trace = self.read_trace()
        if trace is not None and trace.is_bad_live:
            raise checks.bad_version_refusal(trace)
        checks.check_live_version(self.service, self.session)
        self.prober.require_healthy()

    def find_stopped(self) -> issues.StagingDrillIncident | None:
        """Return the last drill if somebody stopped it: no other one starts then."""
        last = issues.find_last_drill(self.repository)
        return last if last is not None and last.was_stopped else None

    def run(self, recover: Callable[[int], object]) -> DrillEnd:
        """Break, open the incident, wait for the recovery or `recover`, and undo. Call `check` before.

        The incident is opened when the bad version is seen: no rollback returns to a version that was live when its
        incident began. The bad version's own mark is the record before.
        """
        until = format_rfc3339(current_time(self.environ) + LONGEST)
        broken = self._run_part(BreakStaging(), BreakStaging.Params(self.section.service, self.fault.value, until))
        try:
            with PROCESS_SIGNALS.in_run():  # outside of a run, no signal would end the wait
                self._require_seen(broken)
                drill = self._open_drill_incident(broken.id)
        except BaseException as error:
            self._undo_after(broken.id, error)
            raise
        try:
            ending = self._recover_and_wait(drill, recover)
        except BaseException as error:
            self.say(f"drill #{drill.number} is still open: `ops staging-drill resume --now` reports and closes it")
            self._undo_after(drill.run, error)
            raise
        return self.end(drill, ending)

    def _require_seen(self, broken: EndedRun) -> None:
        """Wait until the bad version is seen to be bad. Raises OpsError if it was not deployed, or is not bad."""
        if broken.decision == Decision.REFUSED:
            raise Refused(broken.message, reason=broken.reason, hint=broken.hint)
        if broken.decision == Decision.INTERRUPTED:
            raise Interrupted(
                f"the deployment of the bad version was interrupted: {broken.message}",
                reason=broken.reason,
                hint=UNDO_LINE,
            )
        if broken.decision not in PROVED:
            raise ProviderError(
                f"the bad version could not be deployed: {broken.message}",
                reason=broken.reason,
                hint=UNDO_LINE,
            )
        clock = self.session.clock
        since = clock.now()
        clock.sleep(SETTLE)
        while not self.prober.sees_fault(self.fault):
            if clock.now() - since > BREAK_WAIT:
                raise NoEvidence(
                    f"the fault of the bad version was not seen within {format_duration(BREAK_WAIT.total_seconds())}",
                    hint="A probe of the service must request its health path (docs/reference/runtime-contract.md).",
                )
            clock.sleep(POLL)

    def _open_drill_incident(self, run: str) -> issues.StagingDrillIncident:
        now = current_time(self.environ)
        seen = f"A drill of {RECOVERY}, not an emergency: nothing is broken for users."
        drill = issues.open_drill(self.repository, run, self.place, seen, now)
        self.say(f"opened the drill #{drill.number} {drill.url}")
        return drill

    def _recover_and_wait(self, drill: issues.StagingDrillIncident, recover: Callable[[int], object]) -> Ending:
        since = self.session.clock.now()
        if self.section.unattended:
            recover(drill.number)
        with PROCESS_SIGNALS.in_run():
            if not self.section.unattended:
                self._ask_for_recovery(drill.number, since)
                return self._wait_for_recovery(drill, since + TIME_TO_RECOVER, UNANSWERED)
            return self._wait_for_recovery(drill, self.session.clock.now() + RECORD_WAIT, OWN_FAILED)

    def _ask_for_recovery(self, number: int, since: datetime) -> None:
        """Ask people for the recovery. Labels set by a workflow start nothing, so a person sets it."""
        program, *_ = published_prefix(self.environ, self.path, self.config)
        where = {"service": self.section.service, "environment": self.section.environment, "incident": number}
        values = {
            "service": self.section.service,
            "environment": self.section.environment,
            "since": since,
            "until": since + TIME_TO_RECOVER,
            "labels": self.labels,
            "runbook": RECOVERY,
            "command": build_command(program, RECOVERY, where),
        }
        issues.comment_on_drill(self.repository, number, issues.REQUEST, end=None, **values)
        self.say(f"asked for the recovery on #{number}; waiting until {format_utc(since + TIME_TO_RECOVER)}")

    def _wait_for_recovery(self, drill: issues.StagingDrillIncident, until: datetime, ending: Ending) -> Ending:
        """Wait until the recovery has ended. `ending`: how the drill ends if nothing happens."""
        clock, next_probe = self.session.clock, self.session.clock.now()
        while clock.now() < until:
            if self._was_closed(drill.number):
                return CLOSED
            if clock.now() >= next_probe:
                next_probe = clock.now() + PROBE_EVERY
                if failing := self.prober.find_failing_production():
                    return DrillOutcome.STOPPED, failing
            trace = self._try_trace(drill.run)
            if trace is not None and not trace.is_bad_live:
                if not trace.is_recovered:
                    return REPLACED
                ending = UNRECORDED if trace.is_rolled_back else ENDED_EARLY
                until = trace.live.created_on + RECORD_WAIT
                if self._find_recovery(drill.number) is not None:
                    break
            clock.sleep(POLL)
        return ending

    def _was_closed(self, number: int) -> bool:
        """Return whether a stop or a person closed the incident. What cannot be read ends nothing."""
        try:
            return not issues.read_staging_drill(self.repository, number).is_open
        except ProviderError as error:
            self.say(f"warning: GitHub does not say whether the drill was stopped ({error.message})")
            return False

    def _try_trace(self, run: str) -> DrillTrace | None:
        try:
            return self.read_trace(run)
        except ProviderError as error:
            self.say(f"warning: the deployments cannot be read ({error.message})")
            return None

    def _find_recovery(self, number: int) -> "IssueRecord | None":
        """Return the newest recovery of the drill that has ended; None without one, or if GitHub fails."""
        try:
            with provider_errors(CHECK_HINT):
                read_at = current_time(self.environ)
                journal = read_journal(self.repository, number, record_rules(self.config), read_at=read_at)
        except (ConfigError, ProviderError) as error:
            self.say(f"warning: the records of #{number} cannot be read ({error.message})")
            return None
        place = (RECOVERY, self.section.environment, self.section.service)
        runs = (one for one in reversed(journal.our_runs) if one.record.decision not in {"", Decision.REFUSED.value})
        return next((one for one in runs if _drill_place_of(one) == place), None)

    def find_ending(self, drill: issues.StagingDrillIncident) -> Ending:
        """Return how a drill ends that nobody recovered, by the time for which it could be recovered."""
        trace = self._try_trace(drill.run)
        if trace is not None and trace.is_rolled_back:
            return UNRECORDED
        ended_at = trace.live.created_on if trace is not None and trace.is_undone else self.session.clock.now()
        return UNANSWERED if ended_at - drill.opened_at >= TIME_TO_RECOVER else ENDED_EARLY

    def end(self, drill: issues.StagingDrillIncident, ending: Ending) -> DrillEnd:
        """Undo the drill, and judge it. `ending`: how it ends without a recovery."""
        undo, is_undone = self.undo(drill.run)
        recovery = self._find_recovery(drill.number)
        outcome, why = _judge_end(recovery, ending)
        target = self.config.recovery_targets.get(RECOVERY)
        seconds = recovery.record.durations if recovery else {}
        result = DrillResult(
            RECOVERY,
            DrillKind.STAGING,
            self.section.environment,
            self.section.service,
            drill.opened_at,
            outcome,
            DrillTime(seconds.get("write"), target.write if target else None),
            DrillTime(seconds.get("verified"), target.recovery if target else None),
        )
        return DrillEnd(
            drill.number, outcome, why, undo, is_undone, result, was_closed=recovery is None and ending == CLOSED
        )

    def undo(self, run: str) -> tuple[str, bool]:
        """Put back what was live before the drill of a run.

        Return the result for people, and whether nothing is left of it.
        """
        params = UndoDrill.Params(self.section.service, run)
        try:
            ended = self._run_part(UndoDrill(), params)
            if ended.decision == Decision.INTERRUPTED:  # by a signal that came before it
                ended = self._run_part(UndoDrill(), params)
            trace = self.read_trace(run)
        except OpsError as error:
            return error.message, False
        return ended.message, trace is None or not trace.needs_undo

    def _undo_after(self, run: str, error: BaseException) -> None:
        """Undo after an error, and show the result. Raises UnknownOutcome if something is left of the drill."""
        undo, is_undone = self.undo(run)
        self.say(f"undo: {undo}")
        error.add_note(f"undo of the drill: {undo}")  # shown with a bug
        if isinstance(error, OpsError) and not is_undone:
            raise _failed_undo(error, undo) from error

    def _run_part(self, runbook: Any, params: Any) -> EndedRun:
        """Run one of the drill's two changes. Only the drill itself writes on its incident."""
        request = RunRequest(
            runbook=runbook, params=params, environment=self.section.environment, config=self.path, is_part=True
        )
        environ = {name: value for name, value in self.environ.items() if name not in {"GITHUB_TOKEN", "GH_TOKEN"}}
        options = RunOptions(dry_run=False, confirm=lambda _: False, show_plan=lambda _: None, probe_wait=0.0)
        with PROCESS_SIGNALS.in_run() as signals:
            ended, _ = run_runbook(request, environ, self.redactor, sink=self.sink, options=options, signals=signals)
        return ended

    def end_left(self, which: WhichDrills, ending: Ending | None = None) -> tuple[list[DrillEnd], bool]:
        """Undo what a drill left, which needs no GitHub. Then end the open drills.

        Return the ends, and whether nothing is left at Cloudflare. `ending`: how they end, if it is known.
        Raises UnknownOutcome if the undo failed, and GitHub then does not list the drills.
        """
        left, undo = self._undo_left(which)
        try:
            drills = list(self._list_drills(which))
        except OpsError as error:
            if left:
                raise _failed_undo(error, undo) from error
            raise
        ends = [self.end(each, ending or self.find_ending(each)) for each in drills]
        return ends, all(end.is_undone for end in ends) and left in {"", *(each.run for each in drills)}

    def _list_drills(self, which: WhichDrills) -> Iterator[issues.StagingDrillIncident]:
        """Yield the open drills that must end."""
        read_at = self.session.clock.now()
        for each in issues.split_open_drills(self.repository)[0]:
            if self._must_end(which, each.run, read_at - each.opened_at):
                yield each
            else:
                self.say(f"drill #{each.number} goes on until {format_utc(each.opened_at + LONGEST)}")

    def _undo_left(self, which: WhichDrills) -> tuple[str, str]:
        """Undo what a drill left at Cloudflare, unless it still runs.

        Return its run if the undo failed, else "", and the result of the undo.
        """
        trace = self.read_trace()
        if trace is None or not trace.needs_undo:
            return "", ""
        if not self._must_end(which, trace.run, self.session.clock.now() - trace.bad.created_on):
            return "", ""
        undo, is_undone = self.undo(trace.run)
        self.say(f"undo: {undo}")
        return "" if is_undone else trace.run, undo

    def _must_end(self, which: WhichDrills, run: str, age: timedelta) -> bool:
        is_of_job = parse_job_run(run) is not None and job_of(run).split(".")[0] == actions.run_id(self.environ)
        return which is WhichDrills.ALL or age >= LONGEST or (which is WhichDrills.OWN and is_of_job)


def _failed_undo(error: OpsError, undo: str) -> UnknownOutcome:
    return UnknownOutcome(
        f"{error.message}; the undo failed too: {undo}",
        reason=error.reason,
        hint="The bad version may still be live on staging. Undo it: `ops staging-drill resume --now`.",
    )


def _drill_place_of(one: "IssueRecord") -> tuple[str, str, str]:
    return one.record.runbook, one.record.environment, one.record.service


def _judge_end(recovery: "IssueRecord | None", ending: Ending) -> Ending:
    """Return outcome and reason. A recovery counts, also if something else ended the drill."""
    if recovery is None:
        return ending
    if recovery.record.decision in PROVED:
        return DrillOutcome.PASSED, recovery.result_text
    return DrillOutcome.FAILED, recovery.result_text


@contextmanager
def open_staging_drill(
    path: Path,
    environ: Mapping[str, str],
    redactor: Redactor,
    *,
    say: Callable[[str], object],
    sink: "EventSink",
) -> Iterator[StagingDrill]:
    """Read ops.yml, and make the clients. Raises ConfigError if it has no staging drill."""
    config = load_config(path, environ, redactor)
    if (section := config.staging_drill) is None:
        raise ConfigError(
            f"{path} has no section `staging_drill`", hint="Add it with the environment and service of staging."
        )
    environment = config.environment(section.environment)
    with ExitStack() as ending:
        session = Session(config, environment.name, environ, ending, runbook=load_runbook(RECOVERY))
        yield StagingDrill(config, section, path, environ, redactor, say, sink, session, ending)

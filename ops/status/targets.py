"""Rollback targets of all services: `ops targets` plans each rollback, and changes nothing."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app.configuration import command_prefix, load_config, probe_environ, register_secrets
from ops.app.context import RollbackPreview, preview_rollback
from ops.app.scope import Place
from ops.app.session import Session, find_addresses
from ops.cloudflare.client import CALLS_FOR_OTHERS, MOST_CALLS
from ops.core.clock import format_duration, format_optional, format_rfc3339, format_utc
from ops.core.errors import ConfigError, OpsError, ProviderError, Reason, Refused
from ops.core.names import count_of, first_of
from ops.core.next_step import build_command
from ops.core.redaction import Redactor
from ops.core.responders import RequestScope, find_lists
from ops.core.threads import run_in_time, run_parallel_mixed
from ops.core.verdict import Verdict
from ops.engine.runbook import RollbackReach
from ops.github.stops import StopAnswer, start_asking
from ops.render import collapse_blank_lines, load_templates, to_one_line
from ops.status import signs
from ops.status.open_incidents import stop_json, stop_lines

if TYPE_CHECKING:
    from ops.config import Config, Service

SECONDS = 10.0
"""Real seconds after which a rollback that is not planned counts as unknown."""
MOST_SERVICES = 60
"""Services that are read, all at the same time. Each costs about 15 calls, and a recovery of that night needs the rest
of the limit (`ops.cloudflare.client`). The limit is that of a user, who may have the tokens of several environments."""
MOST_NAMED = 3
"""Services that a line names."""
HEADINGS = ("service", "live", "health", "rollback", "reaches back")
Row = tuple[str, str, str, str, str]
"""Cells of a service below HEADINGS."""
NOTHING_READ = RollbackReach("", None, 0, None)


class TargetState(StrEnum):
    """Whether a rollback has a target now."""

    READY = "ready"
    NOTHING_TO_DO = "nothing_to_do"
    BLOCKED = "blocked"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ServiceTarget:
    """A service and the rollback of it that a run would plan now."""

    place: Place
    kind: str
    reach: RollbackReach
    health: str
    """healthy, unhealthy, inconclusive, or why it is not known."""
    state: TargetState
    target: str = ""
    """Version or deployment that the rollback deploys; empty if it deploys none."""
    reason: Reason | None = None
    """Why there is no target."""
    why: str = ""
    """The reason in words: summary of the plan, or message of the refusal."""
    hint: str = ""
    command: str = ""
    """Command that a person runs next; empty if the state is unknown."""
    warnings: tuple[str, ...] = ()
    """Warnings of the plan."""
    exit_code: int = 0
    """That of the error, if the state is unknown."""

    def to_json(self) -> dict[str, Any]:
        reach = self.reach
        texts = {name: getattr(self, name) for name in ("health", "state", "target", "why", "hint", "command")}
        return {
            "environment": self.place.environment,
            "service": self.place.service,
            "kind": self.kind,
            "live": reach.live,
            "live_since": format_optional(reach.live_since),
            "releases": reach.releases,
            "oldest": format_optional(reach.oldest),
            "reason": self.reason,
            "warnings": list(self.warnings),
            **texts,
        }


@dataclass(frozen=True)
class TargetTable:
    """Targets of the services of ops.yml, in its order."""

    read_at: datetime
    targets: tuple[ServiceTarget, ...]
    calls: int
    """Calls to Cloudflare that the table took."""
    stopped: StopAnswer
    """Whether a stop refuses all recoveries, also those with a target."""

    def of_state(self, *states: TargetState) -> tuple[ServiceTarget, ...]:
        return tuple(each for each in self.targets if each.state in states)

    @property
    def error(self) -> OpsError | None:
        """The error of the command if a service was not read; its cause if none was, all for one reason."""
        unread = self.of_state(TargetState.UNKNOWN)
        if not unread:
            return None
        first = unread[0]
        if len(unread) == len(self.targets) and len({each.reason for each in unread}) == 1:
            kind = ConfigError if first.exit_code == ConfigError.exit_code else ProviderError
            return kind(f"nothing was read: {first.why}", reason=first.reason or Reason.LIVE_UNKNOWN, hint=first.hint)
        names = ", ".join(first_of([str(each.place) for each in unread]))
        hint = "The reasons are above. `ops doctor` checks the token."
        return ProviderError(f"not read: {names}", reason=first.reason or Reason.LIVE_UNKNOWN, hint=hint)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "read_at": format_rfc3339(self.read_at),
            "calls": self.calls,
            "services": [each.to_json() for each in self.targets],
            **stop_json(self.stopped),
            "exit_code": self.error.exit_code if self.error else 0,
        }


@dataclass(frozen=True)
class TargetGroup:
    """Rows of a table with a heading of their own."""

    rows: Sequence[Row]
    heading: str = ""


def read_targets(environment: str, config_path: Path, environ: Mapping[str, str], redactor: Redactor) -> TargetTable:
    """Plan the rollback of each service, all in parallel, and probe it once.

    `environment`: "" for all. A service that cannot be read is in the table too. Raises ConfigError.
    """
    return plan_targets(load_config(config_path, environ, redactor), environment, config_path, environ, redactor)


def plan_targets(
    config: "Config", environment: str, config_path: Path, environ: Mapping[str, str], redactor: Redactor
) -> TargetTable:
    """Return the table of a configuration. Runs are recorded beside `config_path`. Raises ConfigError."""
    chosen = [config.environment(environment)] if environment else list(config.environments.values())
    with ExitStack() as ending:
        reader = _TargetReader(config, config_path, environ, redactor, ending)
        places = {Place(each.name, name): service for each in chosen for name, service in each.services.items()}
        previews, verdicts, stopped = run_parallel_mixed(
            [
                lambda: run_in_time(reader.list_previews(places), MOST_SERVICES, SECONDS),
                lambda: run_in_time(reader.list_probes(places), signs.MAX_CALLS, signs.SECONDS),
                start_asking(find_lists(config, RequestScope()), environ, redactor),
            ]
        )
        targets = (
            _describe_target(
                place,
                service,
                reader.require_answer(place, previews.get(place)),
                _describe_health(service, verdicts.get(place)),
                command_prefix(environ, config_path),
            )
            for place, service in places.items()
        )
        now, calls = find_addresses(environ)[2].now(), reader.count_calls()
        table: TargetTable = redactor.redact_value(TargetTable(now, tuple(targets), calls, stopped))
        return table


class _TargetReader:
    """Makes the reads of each service. Services of one environment share its clients."""

    def __init__(
        self, config: "Config", path: Path, environ: Mapping[str, str], redactor: Redactor, ending: ExitStack
    ) -> None:
        self._left_out: AbstractSet[Place] = frozenset()
        self._sessions = {name: Session(config, name, environ, ending) for name in config.environments}
        self._preview_rollback = partial(preview_rollback, path=path, environ=environ, redactor=redactor, ending=ending)
        variables = probe_environ(environ, register_secrets(environ, config, redactor))
        self._probe = partial(signs.probe_service, environ=variables, redactor=redactor, folder=path.parent)

    def list_previews(
        self, places: "Mapping[Place, Service]"
    ) -> Mapping[Place, Callable[[], RollbackPreview | OpsError]]:
        """Return the calls of the first MOST_SERVICES."""
        calls = {
            place: partial(self._try_rollback_preview, place, each)
            for place, each in islice(places.items(), MOST_SERVICES)
        }
        self._left_out = places.keys() - calls
        return calls

    def require_answer(self, place: Place, answer: RollbackPreview | OpsError | None) -> RollbackPreview | OpsError:
        """Return the preview, or why there is none."""
        if answer is not None:
            return answer
        if place not in self._left_out:
            return ProviderError(f"no answer within {SECONDS:g} s", reason=Reason.PROVIDER_UNAVAILABLE)
        return ProviderError(
            f"this command reads {MOST_SERVICES} services, because Cloudflare limits the calls",
            reason=Reason.RATE_LIMITED,
            hint=f"Run `ops versions {place.service} --environment {place.environment}`.",
        )

    def _try_rollback_preview(self, place: Place, service: "Service") -> RollbackPreview | OpsError:
        """Return the preview, or the error that ended it, which `run_in_time` would lose."""
        try:
            return self._preview_rollback(self._sessions[place.environment], service)
        except OpsError as error:
            return error
        except Exception as error:  # noqa: BLE001  a bug in one plan must not hide the other services
            options = {"service": place.service, "environment": place.environment}
            dry_run = build_command("ops", f"rollback-{service.kind}", options, "--dry-run")
            return ProviderError(
                f"its plan failed with {type(error).__name__}, a bug of Backout",
                reason=Reason.LIVE_UNKNOWN,
                hint=f"Run `{dry_run}`, and report what it prints.",
            )

    def count_calls(self) -> int:
        """Return the calls to Cloudflare that all clients made."""
        made = 0
        for session in self._sessions.values():
            with suppress(OpsError):  # without a token there is no client
                made += session.cloudflare.budget.made
        return made

    def list_probes(self, places: "Mapping[Place, Service]") -> Mapping[Place, Callable[[], Verdict]]:
        quick = {place: each for place, each in places.items() if each.quick_probes}
        return {place: partial(self._probe, self._sessions[place.environment], each) for place, each in quick.items()}


def _describe_health(service: "Service", verdict: Verdict | None) -> str:
    if not service.quick_probes:
        return signs.NO_PROBE
    return verdict.value if verdict else signs.NO_ANSWER


def _describe_target(
    place: Place, service: "Service", answer: RollbackPreview | OpsError, health: str, prefix: Sequence[str]
) -> ServiceTarget:
    empty = ServiceTarget(place, service.kind, NOTHING_READ, health, TargetState.UNKNOWN)
    if isinstance(answer, OpsError):
        return _explain_error(empty, answer)
    known, outcome = replace(empty, reach=answer.reach or NOTHING_READ), answer.outcome
    if isinstance(outcome, Refused):
        return _explain_error(known, outcome)
    described = replace(known, reason=outcome.reason, why=outcome.summary, warnings=outcome.warnings)
    if not outcome.changes:
        way = outcome.next_step.command if outcome.next_step else ""
        return replace(described, state=TargetState.NOTHING_TO_DO, command=way)
    options = {"service": place.service, "environment": place.environment}
    program, *extra = prefix
    command = build_command(program, f"rollback-{service.kind}", options, *extra)
    return replace(described, state=TargetState.READY, target=outcome.changes[-1].after, command=command)


def _explain_error(target: ServiceTarget, error: OpsError) -> ServiceTarget:
    """Return the service with the error. A refusal blocks the rollback, unless the next plan may differ."""
    is_blocked = isinstance(error, Refused) and error.reason != Reason.WORLD_MOVED
    way = error.suggested_command.command if error.suggested_command and is_blocked else ""
    return replace(
        target,
        state=TargetState.BLOCKED if is_blocked else TargetState.UNKNOWN,
        reason=error.reason,
        why=error.message,
        hint=error.hint,
        command=way,
        exit_code=0 if is_blocked else error.exit_code,
    )


def target_lines(table: TargetTable) -> Iterator[str]:
    """Yield one row for each service, and below the table why a rollback is blocked or unknown."""
    yield f"{count_of(len(table.targets), 'service')}, read at {format_utc(table.read_at)}"
    yield from target_column_lines([table_row(str(each.place), each, table) for each in table.targets])
    yield from explanation_lines(table)


def target_column_lines(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the headings and the rows, in columns."""
    shown = [HEADINGS, *rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        yield f"  {'  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))}".rstrip()


def explanation_lines(table: TargetTable) -> Iterator[str]:
    """Yield the warnings, and why a rollback is blocked or unknown."""
    yield from map(to_one_line, target_warnings(table))
    for each in services_without_target(table):
        yield to_one_line(f"{each.place}, {each.state.replace('_', ' ')}: {each.why}")
        yield from (f"  {to_one_line(line)}" for line in (each.hint, each.command) if line)


def target_warnings(table: TargetTable) -> Iterator[str]:
    """Yield the stop, each warning of the plans once with its services, and one about the limit of the calls."""
    yield from stop_lines(table.stopped)
    places = dict[str, list[str]]()
    for each in table.targets:
        for text in each.warnings:
            places.setdefault(text, []).append(str(each.place))
    for text, named in places.items():
        yield f"warning for {', '.join(first_of(named, MOST_NAMED))}: {text}"
    if table.calls > CALLS_FOR_OTHERS:
        yield (
            f"warning: this took {table.calls} of the {MOST_CALLS} calls that Cloudflare allows in 5 minutes. "
            "Repeat it later: beyond that limit a recovery fails too"
        )


def services_without_target(table: TargetTable) -> tuple[ServiceTarget, ...]:
    """Return the services without a target."""
    return table.of_state(TargetState.BLOCKED, TargetState.UNKNOWN, TargetState.NOTHING_TO_DO)


def table_row(name: str, each: ServiceTarget, table: TargetTable) -> Row:
    """Return the cells of a service that the table shows with this name."""
    reach = each.reach
    since = f" for {_target_age(reach.live_since, table)}" if reach.live_since else ""
    live = f"{reach.live}{since}" if reach.live else "unknown"
    to = f"to {each.target}" if each.target else each.state.replace("_", " ")
    far = f"{_target_age(reach.oldest, table)}, {count_of(reach.releases, 'release')}" if reach.oldest else "-"
    return name, live, each.health, to, far


def _target_age(at: datetime, table: TargetTable) -> str:
    return format_duration((table.read_at - at).total_seconds())


def render_targets(table: TargetTable) -> str:
    """Return the table as Markdown that fits a phone."""
    return render_groups(table, [TargetGroup([table_row(str(each.place), each, table) for each in table.targets])])


def render_groups(table: TargetTable, groups: Sequence[TargetGroup], notes: Sequence[str] = ()) -> str:
    """Return the groups, the explanations and the notes as Markdown that fits a phone."""
    text = (
        load_templates()
        .get_template("targets.md.j2")
        .render(
            read_at=format_utc(table.read_at),
            warnings=[*target_warnings(table)],
            groups=groups,
            explained=services_without_target(table),
            notes=notes,
        )
    )
    return collapse_blank_lines(text).strip()

"""Collect what the next person on call must know: `ops hand-over`.

It reads what `ops status` of each environment and `ops incident list` read, and changes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from ops.app.configuration import load_config
from ops.core.clock import format_rfc3339, format_utc
from ops.core.drill_result import DrillTrend
from ops.core.errors import OpsError, ProviderError, Reason
from ops.core.redaction import Redactor
from ops.core.threads import run_parallel
from ops.render import collapse_blank_lines, load_templates, to_one_line
from ops.status import last_runs, open_incidents
from ops.status.open_incidents import KnownIncidents, stop_lines
from ops.status.status import EnvironmentStatus, environment_status
from ops.status.text import NOTHING, attention_lines, held_lines
from ops.watch.record import RECENT
from ops.watch.state import MAX_PAUSE, WatchState, parse_watch_state


@dataclass(frozen=True)
class HandedOverWatch:
    """A watch without a result, on an open incident or on one that was closed meanwhile."""

    incident: int
    is_incident_open: bool
    environment: str
    service: str
    state: WatchState

    def has_runner(self, now: datetime) -> bool:
        return now - self.state.seen_at <= MAX_PAUSE

    def describe(self, now: datetime, program: str) -> str:
        kind = "stays closed" if self.state.is_closed else "stays healthy"
        closed = "" if self.is_incident_open else " (closed)"
        text = f"#{self.incident}{closed}: whether {self.service} in {self.environment} {kind}"
        if self.has_runner(now):
            return f"{text}, until {format_utc(self.state.until)}"
        return f"! {text}: no round since {format_utc(self.state.seen_at)}; to continue it: `{program} watch --stopped`"

    def to_json(self, now: datetime) -> dict[str, Any]:
        return {
            "incident": self.incident,
            "environment": self.environment,
            "service": self.service,
            "closed": self.state.is_closed,
            "until": format_rfc3339(self.state.until),
            "seen_at": format_rfc3339(self.state.seen_at),
            "has_runner": self.has_runner(now),
        }


@dataclass(frozen=True)
class HandOver:
    read_at: datetime
    environments: tuple[EnvironmentStatus, ...]
    incidents: KnownIncidents
    drills: DrillTrend | None
    """None if ops.yml has no staging drills."""

    @property
    def watches(self) -> tuple[HandedOverWatch, ...]:
        return tuple(
            HandedOverWatch(each.number, each in self.incidents.incidents, record.environment, record.service, state)
            for each in (*self.incidents.incidents, *self.incidents.closed)
            for record in each.watches
            if (state := parse_watch_state(record.watch, self.read_at)) is not None
        )

    @property
    def error(self) -> OpsError | None:
        """The error of the command if something was not read; that of the environment if it is the only one."""
        failed = [(each.environment, each.error) for each in self.environments if each.error is not None]
        unread = [*self._list_unread()]
        if len(failed) == 1 and not unread:
            return failed[0][1]
        if not (failed or unread):
            return None
        names = ", ".join([*(name for name, _ in failed), *unread])
        reason = failed[0][1].reason if failed else Reason.PROVIDER_UNAVAILABLE
        hint = "The reasons are above. `ops doctor` checks the tokens."
        return ProviderError(f"not everything was read: {names}", reason=reason, hint=hint)

    def _list_unread(self) -> Iterator[str]:
        """Yield the parts that only GitHub has, and that were not read."""
        if self.incidents.problem:
            yield "open incidents"
        elif self.incidents.stopped and self.incidents.stopped.problem:
            yield "whether recoveries are stopped"
        if self.drills and self.drills.problem:
            yield "staging drills"

    def sections(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Yield each title with its lines, at least one; the open incidents come before them."""
        program = self.environments[0].program
        unread = ["! unknown: the incidents were not read"] if self.incidents.problem else []
        yield "watches", [each.describe(self.read_at, program) for each in self.watches] or unread or [NOTHING]
        for each in self.environments:
            yield f"{each.environment}: rolled back, or not as expected", [*attention_lines(each)] or [NOTHING]
            yield f"{each.environment}: held", [*held_lines(each)] or [NOTHING]
        if self.drills:
            yield "staging drills", [*self.drills.lines()]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "read_at": format_rfc3339(self.read_at),
            "environments": [each.to_json() for each in self.environments],
            **self.incidents.to_json(),
            "watches": None if self.incidents.problem else [each.to_json(self.read_at) for each in self.watches],
            **({"staging_drills": self.drills.to_json()} if self.drills else {}),
            "exit_code": self.error.exit_code if self.error else 0,
        }


def read_hand_over(environment: str, config_path: Path, environ: Mapping[str, str], redactor: Redactor) -> HandOver:
    """Read all environments and GitHub in parallel. `environment`: the only one to read (default: all).

    Raises ConfigError.
    """
    config = load_config(config_path, environ, redactor)
    names = [config.environment(environment).name] if environment else list(config.environments)
    finish_incidents = open_incidents.start_reading_overview(config_path, environ, redactor, closed_within=RECENT)
    finish_drills = last_runs.start_reading_drills(config_path, environ, redactor)
    environments = run_parallel([partial(environment_status, name, config_path, environ, redactor) for name in names])
    read_at = max(each.read_at for each in environments)
    return HandOver(read_at, tuple(environments), finish_incidents(), finish_drills())


def hand_over_lines(hand_over: HandOver) -> Iterator[str]:
    """Yield the lines for a terminal."""
    yield f"Hand-over, read at {format_utc(hand_over.read_at)}"
    yield "  open incidents"
    yield from (f"    {line}" for line in hand_over.incidents.lines())
    for title, lines in hand_over.sections():
        yield f"  {title}"
        yield from (f"    {to_one_line(line)}" for line in lines)


def render_hand_over(hand_over: HandOver) -> str:
    """Return Markdown for an issue or a chat."""
    template, stopped = load_templates().get_template("hand_over.md.j2"), hand_over.incidents.stopped
    return collapse_blank_lines(template.render(hand_over=hand_over, stopped=[*stop_lines(stopped)])).strip()

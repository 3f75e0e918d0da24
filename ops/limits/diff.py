"""Compare two `limits.yml` files with each other and with the live limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops.core.clock import format_rfc3339
from ops.core.runtime_contract import ReportedLimit, RuntimeState
from ops.limits.file import Limit, Limits

NO_CHANGE = "no change"
COLUMNS = ("limit", "base", "proposed", "effective now", "live", "change")


@dataclass(frozen=True)
class LimitChange:
    """One limit in both files and live. None: not in that file, or not shown by the application."""

    name: str
    base: Limit | None
    proposed: Limit | None
    live: ReportedLimit | None
    at: datetime

    @property
    def percent(self) -> float | None:
        """Change in requests over time, from the base to the proposal, at `at`."""
        if self.base is None or self.proposed is None:
            return None
        was = self.base.effective(self.at) / self.base.period
        return (self.proposed.effective(self.at) / self.proposed.period / was - 1) * 100

    @property
    def is_changed(self) -> bool:
        return self.base != self.proposed

    @property
    def change(self) -> str:
        """Describe the change, with its percentage if there is one."""
        if not self.is_changed:
            return NO_CHANGE
        if self.base is None:
            return "new"
        if self.proposed is None:
            return "removed: the value in the code applies"
        return "; ".join(self._describe_parts(self.base, self.proposed))

    def _describe_parts(self, base: Limit, proposed: Limit) -> list[str]:
        percent = self.percent
        assert percent is not None
        parts = [f"{percent:+.0f} %"] if abs(percent) >= 0.5 else []
        if proposed.temporary != base.temporary:
            parts.append(_describe_temporary(proposed, self.at))
        elif not parts and proposed.limit != base.limit:
            parts.append(f"{base.limit} → {proposed.limit}, current rate unchanged")
        for field in ("key", "probe"):
            was, now = getattr(base, field), getattr(proposed, field)
            if was != now:
                parts.append(f"{field} {_format_value(was)} → {_format_value(now)}")
        return parts or ["only notes for people"]

    def cells(self) -> tuple[str, ...]:
        """Return the cells in the order of `COLUMNS`."""
        now = "-" if self.base is None else str(self.base.effective(self.at))
        live = "-" if self.live is None else describe_live_limit(self.live)
        return self.name, describe_limit(self.base), describe_limit(self.proposed), now, live, self.change

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "base": _limit_json(self.base),
            "proposed": _limit_json(self.proposed),
            "effective_now": None if self.base is None else self.base.effective(self.at),
            "live": None if self.live is None else {"limit": self.live.limit, "period": self.live.period},
            "percent": None if self.percent is None else round(self.percent, 1),
            "changed": self.is_changed,
            "change": self.change,
        }


@dataclass(frozen=True)
class LimitsDiff:
    rows: tuple[LimitChange, ...]
    live: RuntimeState | str
    """Limits that the application shows at one location, or the reason that they are unknown."""
    at: datetime

    @property
    def changed(self) -> tuple[LimitChange, ...]:
        return tuple(row for row in self.rows if row.is_changed)

    @property
    def summary(self) -> str:
        count = len(self.changed)
        if not count:
            return NO_CHANGE
        return f"{count} of {len(self.rows)} limit{'s' if len(self.rows) > 1 else ''} change{'s' if count == 1 else ''}"

    @property
    def live_text(self) -> str:
        """Describe the source of the column `live`."""
        if isinstance(self.live, str):
            return f"live limits are unknown: {self.live}"
        revision = self.live.revision
        source = f"revision {revision}" if revision else "no limits.yml, so the values in the code apply"
        return f"live limits are read at one location: {source}"

    def to_json(self) -> dict[str, Any]:
        return {
            "at": format_rfc3339(self.at),
            "summary": self.summary,
            "changed": [row.name for row in self.changed],
            "limits": [row.to_json() for row in self.rows],
            "live_revision": None if isinstance(self.live, str) else self.live.revision,
            "live_unknown": self.live if isinstance(self.live, str) else "",
        }


def compare_limits(base: Limits | None, proposed: Limits, live: RuntimeState | str, now: datetime) -> LimitsDiff:
    """Compare the files; rows follow the order of the proposed file, and removed limits come last."""
    was: Mapping[str, Limit] = base or {}
    live_limits = {} if isinstance(live, str) else live.limits
    names = [*proposed, *(name for name in was if name not in proposed)]
    rows = tuple(LimitChange(name, was.get(name), proposed.get(name), live_limits.get(name), now) for name in names)
    return LimitsDiff(rows, live, now)


def render_table(plan: LimitsDiff) -> str:
    """Render a Markdown table. It holds only names from ops.yml, numbers and times, so nothing needs escaping."""
    rows = [" | ".join(f"`{cell}`" for cell in row.cells()) for row in plan.rows]
    head = [" | ".join(COLUMNS), " | ".join("---" for _ in COLUMNS)]
    return "\n".join(f"| {line} |" for line in [*head, *rows])


def describe_limit(limit: Limit | None) -> str:
    """Describe a limit in one cell: `30 in 60 s per ip, 60 until 2026-11-25 06:00`."""
    if limit is None:
        return "-"
    line = f"{limit.limit} in {limit.period} s per {limit.key}"
    if limit.temporary is not None:
        line += f", {limit.temporary.limit} until {_format_minute(limit.temporary.until)}"
    return line


def describe_live_limit(limit: ReportedLimit) -> str:
    until = f" until {_format_minute(limit.until)}" if limit.until else ""
    return f"{limit.limit} in {limit.period} s{until}"


def _describe_temporary(limit: Limit, now: datetime) -> str:
    if limit.temporary is None:
        return "no temporary limit"
    if limit.temporary.is_over(now):
        return "its temporary limit has ended"
    return f"until {_format_minute(limit.temporary.until)}, then {limit.limit}"


def _format_minute(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")


def _format_value(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def _limit_json(limit: Limit | None) -> dict[str, Any] | None:
    return None if limit is None else limit.model_dump(mode="json", exclude_none=True)

"""What a change of `limits.yml` changes, as a table of values: what was, is proposed, is in effect, and is live."""

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
class Row:
    """One limit. None: it is not in that file, or the application does not show it."""

    name: str
    base: Limit | None
    proposed: Limit | None
    live: ReportedLimit | None
    at: datetime

    @property
    def percent(self) -> float | None:
        """From what the base gives at that moment to what is proposed, in requests over time."""
        if self.base is None or self.proposed is None:
            return None
        was = self.base.effective(self.at) / self.base.period
        return (self.proposed.effective(self.at) / self.proposed.period / was - 1) * 100

    @property
    def is_changed(self) -> bool:
        return self.base != self.proposed

    @property
    def change(self) -> str:
        """In words, with the percentage where there is one."""
        if not self.is_changed:
            return NO_CHANGE
        if self.base is None:
            return "new"
        if self.proposed is None:
            return "taken out: what the code declares holds"
        return "; ".join(self._parts(self.base, self.proposed))

    def _parts(self, base: Limit, proposed: Limit) -> list[str]:
        percent = self.percent
        assert percent is not None
        parts = [f"{percent:+.0f} %"] if abs(percent) >= 0.5 else []
        if proposed.temporary != base.temporary:
            parts.append(_temporary(proposed, self.at))
        elif not parts and proposed.limit != base.limit:
            parts.append(f"{base.limit} → {proposed.limit} later, or the same over time")
        for field in ("key", "probe"):
            was, now = getattr(base, field), getattr(proposed, field)
            if was != now:
                parts.append(f"{field} {_word(was)} → {_word(now)}")
        return parts or ["only what people read"]

    def cells(self) -> tuple[str, ...]:
        """As `COLUMNS`."""
        now = "-" if self.base is None else str(self.base.effective(self.at))
        live = "-" if self.live is None else shown_text(self.live)
        return self.name, text(self.base), text(self.proposed), now, live, self.change

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "base": _json(self.base),
            "proposed": _json(self.proposed),
            "effective_now": None if self.base is None else self.base.effective(self.at),
            "live": None if self.live is None else {"limit": self.live.limit, "period": self.live.period},
            "percent": None if self.percent is None else round(self.percent, 1),
            "changed": self.is_changed,
            "change": self.change,
        }


@dataclass(frozen=True)
class LimitsPlan:
    rows: tuple[Row, ...]
    live: RuntimeState | str
    """What the application shows at the location that was asked; or why that is not known."""
    at: datetime

    @property
    def changed(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.is_changed)

    @property
    def summary(self) -> str:
        count = len(self.changed)
        if not count:
            return NO_CHANGE
        return f"{count} of {len(self.rows)} limit{'s' if len(self.rows) > 1 else ''} change{'s' if count == 1 else ''}"

    @property
    def live_text(self) -> str:
        """What the column `live` stands on."""
        if isinstance(self.live, str):
            return f"what is live is not known: {self.live}"
        revision = self.live.revision
        shown = f"revision {revision}" if revision else "no value of limits.yml, so that those of the code hold"
        return f"live is what one location shows: {shown}"

    def to_json(self) -> dict[str, Any]:
        return {
            "at": format_rfc3339(self.at),
            "summary": self.summary,
            "changed": [row.name for row in self.changed],
            "limits": [row.to_json() for row in self.rows],
            "live_revision": None if isinstance(self.live, str) else self.live.revision,
            "live_unknown": self.live if isinstance(self.live, str) else "",
        }


def compare(base: Limits | None, proposed: Limits, live: RuntimeState | str, now: datetime) -> LimitsPlan:
    """Rows in the order of the proposed file; what it takes out comes last."""
    was: Mapping[str, Limit] = base or {}
    shown = {} if isinstance(live, str) else live.limits
    names = [*proposed, *(name for name in was if name not in proposed)]
    rows = tuple(Row(name, was.get(name), proposed.get(name), shown.get(name), now) for name in names)
    return LimitsPlan(rows, live, now)


def markdown(plan: LimitsPlan) -> str:
    """As a table of Markdown. All of it is ours: names as ops.yml has them, numbers and moments."""
    rows = [" | ".join(f"`{cell}`" for cell in row.cells()) for row in plan.rows]
    head = [" | ".join(COLUMNS), " | ".join("---" for _ in COLUMNS)]
    return "\n".join(f"| {line} |" for line in [*head, *rows])


def text(limit: Limit | None) -> str:
    """A limit in one cell: `30 in 60 s per ip, 60 until 2026-11-25 06:00`."""
    if limit is None:
        return "-"
    told = f"{limit.limit} in {limit.period} s per {limit.key}"
    if limit.temporary is not None:
        told += f", {limit.temporary.limit} until {_minute(limit.temporary.until)}"
    return told


def shown_text(limit: ReportedLimit) -> str:
    until = f" until {_minute(limit.until)}" if limit.until else ""
    return f"{limit.limit} in {limit.period} s{until}"


def _temporary(limit: Limit, now: datetime) -> str:
    if limit.temporary is None:
        return "no temporary limit"
    if limit.temporary.is_over(now):
        return "its temporary limit is over"
    return f"until {_minute(limit.temporary.until)}, then {limit.limit}"


def _minute(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")


def _word(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def _json(limit: Limit | None) -> dict[str, Any] | None:
    return None if limit is None else limit.model_dump(mode="json", exclude_none=True)

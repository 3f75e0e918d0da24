"""Result of a watch: during it, or at its end."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops.core.clock import format_rfc3339
from ops.core.errors import EXIT_CODES, Decision, Reason
from ops.watch.judgment import ErrorRates, LiveVersions, WatchJudgment
from ops.watch.state import WatchState


@dataclass(frozen=True)
class WatchResult:
    """A watch now, or at its end. Texts of deployments in it are untrusted."""

    service: str
    environment: str
    kind: str
    """worker or pages."""
    state: WatchState
    judgment: WatchJudgment
    rates: ErrorRates
    live: LiveVersions
    notes: tuple[str, ...] = ()
    decision: Decision | None = None
    """None: it still watches."""
    reason: Reason | None = None
    ended_at: datetime | None = None
    url: str = ""
    is_published: bool = False
    """Whether the incident shows the end."""

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.decision] if self.decision else 0

    def to_json(self) -> dict[str, Any]:
        since = self.judgment.green_since
        return {
            "schema": 1,
            "service": self.service,
            "environment": self.environment,
            "decision": self.decision,
            "reason": self.reason,
            "exit_code": self.exit_code,
            "started_at": format_rfc3339(self.state.started_at),
            "until": format_rfc3339(self.state.until),
            "ended_at": self.ended_at and format_rfc3339(self.ended_at),
            "mitigated_at": format_rfc3339(since) if since and self.decision == Decision.MITIGATED else None,
            "cause": self.judgment.cause,
            "rounds": self.state.rounds,
            "foreign_deployments": [each.text for each in self.state.foreign],
            "notes": list(self.notes),
            "url": self.url,
        }

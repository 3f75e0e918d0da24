"""Report of a run as lines, Markdown and `platform.json`, without names of the team."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops.core.clock import format_rfc3339
from ops.core.errors import EXIT_CODES, Decision
from ops.core.version import __version__
from ops.platform.measurements import Measurement, MeasurementKind

SCHEMA = 1


@dataclass(frozen=True)
class PlatformReport:
    at: datetime
    seconds: float
    requests: int
    results: Sequence[Measurement]

    @property
    def affected_runbooks(self) -> tuple[str, ...]:
        """Return the runbooks that rely on an assumption that differs."""
        return tuple(
            sorted(
                {name for each in self._measurements_of(MeasurementKind.DIFFERS) for name in each.assumption.runbooks}
            )
        )

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[Decision.FAILED] if self.affected_runbooks else 0

    def _measurements_of(self, kind: MeasurementKind) -> list[Measurement]:
        return [each for each in self.results if each.kind is kind]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "program": __version__,
            "at": format_rfc3339(self.at),
            "seconds": round(self.seconds, 1),
            "requests": self.requests,
            "exit_code": self.exit_code,
            "affected_runbooks": list(self.affected_runbooks),
            "assumptions": [_measurement_to_json(each) for each in self.results],
        }

    def lines(self) -> Iterator[str]:
        """Yield a line per assumption: first those that differ."""
        for kind in (MeasurementKind.DIFFERS, MeasurementKind.CONFIRMED, MeasurementKind.NOT_PROVABLE):
            found = self._measurements_of(kind)
            yield f"{_NAMES[kind]}: {len(found)}"
            yield from (f"  {each.assumption.id:<26} {each.text}" for each in found)
        yield self.summary

    @property
    def summary(self) -> str:
        counts = ", ".join(f"{len(self._measurements_of(kind))} {name.lower()}" for kind, name in _NAMES.items())
        affected = f". Affected runbooks: {', '.join(self.affected_runbooks)}" if self.affected_runbooks else ""
        return f"{counts}, after {self.seconds:.0f} s and {self.requests} requests{affected}"

    def render_markdown(self) -> str:
        """Return the report with a row per assumption. Its texts are the program's own."""
        rows = [
            f"| {each.assumption.text} | {each.text} | {', '.join(each.assumption.runbooks) or '–'} |"
            for each in self.results
        ]
        head = ["| Assumption | Result | Runbooks that rely on it |", "| --- | --- | --- |"]
        return "\n".join(
            ["## Cloudflare and GitHub as Backout assumes them", "", f"{self.summary}.", "", *head, *rows, ""]
        )


_NAMES = {
    MeasurementKind.DIFFERS: "Different",
    MeasurementKind.CONFIRMED: "Confirmed",
    MeasurementKind.NOT_PROVABLE: "Not provable here",
}


def _measurement_to_json(measurement: Measurement) -> dict[str, Any]:
    assumption = measurement.assumption
    return {
        "id": assumption.id,
        "outcome": measurement.kind.value,
        "text": measurement.text,
        "expected": assumption.expected or None,
        "at_most": assumption.at_most,
        "measured": measurement.measured or None,
        "seconds": None if measurement.seconds is None else round(measurement.seconds, 2),
        "after": None if measurement.after is None else round(measurement.after, 1),
        "reason": measurement.reason or None,
        "switches": list(assumption.switches),
        "runbooks": list(assumption.runbooks),
    }

"""Print the lines and events of a drill, and fold equal probe rounds."""

import json
from typing import Any

import click

from ops.core.timeline import EventKind, RunEvent, event_from_json
from ops.render import terminal


class DrillOutput:
    """Prints lines and events as they come. Of equal probe rounds, it prints the first one and their number."""

    def __init__(self) -> None:
        self._round: RunEvent | None = None
        self._repeated = 0

    def line(self, text: str) -> None:
        """Print a line. A line of a job's log that is an event looks like the event of a command."""
        if (event := _parse_event(text)) is not None:
            self.event(event)
            return
        self.end_rounds()
        click.echo(text)

    def event(self, data: dict[str, Any]) -> None:
        event = event_from_json(data)
        is_repeated = self._round is not None and event.text == self._round.text
        if event.kind == EventKind.PROBED and is_repeated:
            self._repeated += 1
            return
        self.end_rounds()
        self._round = event if event.kind == EventKind.PROBED else None
        click.echo(terminal.format_event(event))

    def end_rounds(self) -> None:
        """Print the number of rounds that were not shown."""
        if self._repeated:
            click.echo(f"  … {self._repeated} more round{'s' if self._repeated > 1 else ''} with the same results")
        self._round, self._repeated = None, 0


def _parse_event(text: str) -> dict[str, Any] | None:
    if not text.startswith('{"schema"'):
        return None
    try:
        data: dict[str, Any] = json.loads(text)
        event_from_json(data)
    except (ValueError, KeyError):
        return None
    return data

"""The timeline of a run: redacted events with UTC and monotonic time, delivered to sinks."""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

from ops.core.clock import Clock, parse_utc
from ops.core.errors import current_decision_name
from ops.core.redaction import Redactor


class EventKind(StrEnum):
    """Kinds of run events; persisted in timelines and records."""

    REQUESTED = "requested"
    """The trigger. All durations count from here."""
    PLANNED = "planned"
    """Each change with its old and new value, effects that are not undone, and the undo. Only reads until now."""
    PROBED = "probed"
    """Your probes, before and after the change. Before it they never stop a run."""
    AWAITING_APPROVAL = "awaiting_approval"
    """The plan waits for a second person. The record holds the signed request."""
    APPROVED = "approved"
    """A second person approved the plan, or one person went on alone with `--one-person`."""
    CONFIRMED = "confirmed"
    """A person typed the service's name, or passed `--yes`. Without a terminal and `--yes` it is a dry run."""
    PREPARED = "prepared"
    """A step that changes nothing at the provider, such as a build, is done."""
    REHEARSED = "rehearsed"
    """A step of the rehearsal: the target runs at 0 % of the traffic, is probed there, and is removed again."""
    COMPARED = "compared"
    """The live state, compared with the plan, and the conclusion."""
    WRITING = "writing"
    """The live state equals the plan, and one request is sent."""
    WRITTEN = "written"
    """The provider answered the request."""
    READ_BACK = "read_back"
    """The provider shows the new state."""
    VERIFIED = "verified"
    """Several healthy rounds in a row, answered by the new version if the probe echoes it."""
    WARNING = "warning"
    """Something that a person should know and that does not stop the run."""
    FAILED = "failed"
    """A step failed. The text gives the reason and the next step."""
    ENDED = "ended"
    """The decision."""


@dataclass(frozen=True)
class RunEvent:
    """One event of a run. `at` is UTC by this machine's clock; `seconds`, since the trigger, have three decimals."""

    number: int
    at: datetime
    seconds: float
    kind: EventKind
    text: str
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "number": self.number,
            "at": self.at.isoformat().replace("+00:00", "Z"),
            "seconds": self.seconds,
            "kind": self.kind.value,
            "text": self.text,
            "data": dict(self.data),
        }

    def to_line(self) -> str:
        return self._json_line

    @cached_property
    def _json_line(self) -> str:
        """Made once for the record on disk and the terminal."""
        return to_json_line(self.to_json())


_ENCODER = json.JSONEncoder(ensure_ascii=False)


def to_json_line(data: Mapping[str, Any]) -> str:
    """Return JSON on one line, with `##[` escaped: a job log on GitHub reads it as a command at any position."""
    return _ENCODER.encode(data).replace("##[", "##\\u005b")


def event_from_json(data: Mapping[str, Any]) -> RunEvent:
    """Return the event that `to_json` of this or an older program wrote.

    Raises:
        KeyError: a key is missing.
        ValueError: a value is not valid.
    """
    kind, text = EventKind(data["kind"]), str(data["text"])
    return RunEvent(
        number=int(data["number"]),
        at=parse_utc(data["at"]),
        seconds=float(data["seconds"]),
        kind=kind,
        text=current_decision_name(text) if kind == EventKind.ENDED else text,
        data=dict(data["data"]),
    )


EventSink = Callable[[RunEvent], None]


class Timeline:
    """Records events and passes each to the sinks. A failing sink becomes a warning and is removed."""

    def __init__(
        self,
        clock: Clock,
        redactor: Redactor,
        sinks: tuple[EventSink, ...] = (),
        *,
        lead: float = 0.0,
        unbroken: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`lead` is the time in seconds from the trigger to now.

        `unbroken` wraps each event, so that a signal cannot leave an incomplete record.
        """
        self._clock = clock
        self._redactor = redactor
        self._sinks = list(sinks)
        self._began = clock.monotonic() - lead
        self._unbroken = unbroken
        self._lock = threading.RLock()
        self.events: list[RunEvent] = []

    def record(self, kind: EventKind, text: str, **data: Any) -> RunEvent:
        """Append a redacted event, pass it to the sinks, and return it."""
        with self._unbroken(), self._lock:
            event = RunEvent(
                number=len(self.events) + 1,
                at=self._clock.now(),
                seconds=round(self._clock.monotonic() - self._began, 3),
                kind=kind,
                text=self._redactor.redact_text(text),
                data=self._redactor.redact_json(data),
            )
            self.events.append(event)
            for sink in tuple(self._sinks):
                self._deliver_event(sink, event)
            return event

    def _deliver_event(self, sink: EventSink, event: RunEvent) -> None:
        try:
            sink(event)
        except Exception as error:  # noqa: BLE001  the record must not stop a recovery
            self._sinks.remove(sink)
            self.record(
                EventKind.WARNING, f"one copy of the timeline is incomplete: a sink failed ({type(error).__name__})"
            )

    def first(self, kind: EventKind) -> float | None:
        """Return the seconds from the trigger to the first event of this kind; None if there is none."""
        return find_seconds(self.events, kind)


def find_seconds(events: Iterable[RunEvent], kind: EventKind) -> float | None:
    """Return the seconds of the first event of this kind; None if there is none."""
    return next((event.seconds for event in events if event.kind == kind), None)

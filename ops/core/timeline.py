"""The timeline: what happened and when, each event with UTC and monotonic time, redacted before anybody sees it."""

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from ops.core.clock import Clock, parse_utc
from ops.core.errors import current_decision_name
from ops.core.redaction import Redactor


class EventKind(StrEnum):
    REQUESTED = "requested"
    PLANNED = "planned"
    PROBED = "probed"
    CONFIRMED = "confirmed"
    PREPARED = "prepared"
    COMPARED = "compared"
    WRITING = "writing"
    WRITTEN = "written"
    READ_BACK = "read_back"
    VERIFIED = "verified"
    WARNING = "warning"
    FAILED = "failed"
    ENDED = "ended"


@dataclass(frozen=True)
class RunEvent:
    """`seconds` is monotonic, since the trigger; `at` is UTC by this machine's clock."""

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
            "seconds": round(self.seconds, 3),
            "kind": self.kind.value,
            "text": self.text,
            "data": dict(self.data),
        }

    def to_line(self) -> str:
        return to_json_line(self.to_json())


def to_json_line(data: Mapping[str, Any]) -> str:
    """JSON on one line; `##[`, which a job's log on GitHub takes for a command wherever it stands, is escaped in it."""
    return json.dumps(data, ensure_ascii=False).replace("##[", "##\\u005b")


def event_from_json(data: Mapping[str, Any]) -> RunEvent:
    """The reverse of `to_json`, also of an older program. Raises KeyError and ValueError on anything else."""
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
    """Appends events and hands each to the sinks. A sink that fails becomes an event and is not asked again."""

    def __init__(
        self,
        clock: Clock,
        redactor: Redactor,
        sinks: tuple[EventSink, ...] = (),
        *,
        lead: float = 0.0,
        unbroken: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`lead`: seconds that had passed since the trigger when the timeline began.

        `unbroken` is entered around each event, so that a signal does not leave half a record.
        """
        self._clock = clock
        self._redactor = redactor
        self._sinks = list(sinks)
        self._began = clock.monotonic() - lead
        self._unbroken = unbroken
        self._lock = threading.RLock()
        self.events: list[RunEvent] = []

    def record(self, kind: EventKind, text: str, **data: Any) -> RunEvent:
        with self._unbroken(), self._lock:
            event = RunEvent(
                number=len(self.events) + 1,
                at=self._clock.now(),
                seconds=self._clock.monotonic() - self._began,
                kind=kind,
                text=self._redactor.text(text),
                data=self._redactor.data(data),
            )
            self.events.append(event)
            for sink in tuple(self._sinks):
                self._deliver(sink, event)
            return event

    def _deliver(self, sink: EventSink, event: RunEvent) -> None:
        try:
            sink(event)
        except Exception as error:  # noqa: BLE001  the record must not stop a recovery
            self._sinks.remove(sink)
            self.record(EventKind.WARNING, f"the record is kept elsewhere only: a sink failed ({type(error).__name__})")

    def first(self, kind: EventKind) -> float | None:
        """Seconds from the beginning to the first event of this kind; None where there is none."""
        return next((event.seconds for event in self.events if event.kind == kind), None)

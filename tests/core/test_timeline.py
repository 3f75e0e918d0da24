"""The events of a run, and their JSON."""

import json

from hypothesis import given
from hypothesis import strategies as st

from ops.core.clock import SystemClock
from ops.core.redaction import Redactor
from ops.core.timeline import EventKind, Timeline, event_from_json


@given(st.floats(0, 10_000))
def test_event_of_a_file_equals_the_event_of_its_run(lead: float) -> None:
    event = Timeline(SystemClock(), Redactor(), lead=lead).record(EventKind.PROBED, "healthy", verdict="healthy")

    assert event_from_json(json.loads(event.to_line())) == event

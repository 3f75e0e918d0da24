"""Let a run take the answer of one background read before it gets that of another read."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FrameType
from typing import Any

from sandbox.faults import Fault, Faults


def answer_first(
    first: Faults, rule: Mapping[str, Any], later: Faults, other: Mapping[str, Any], *, reader: Callable[..., object]
) -> None:
    """Hold the `other` requests until those of `rule` were answered, and `reader`, which sends them, has ended."""
    is_answered = threading.Event()

    def hold() -> None:
        assert is_answered.wait(60)
        while reader.__code__ in _running_code():
            time.sleep(0.005)

    first.add(Fault(**rule, after=is_answered.set, times=None))
    later.add(Fault(**other, before=hold, times=None))


def _running_code() -> Iterator[CodeType]:
    for frame in sys._current_frames().values():
        at: FrameType | None = frame
        while at is not None:
            yield at.f_code
            at = at.f_back

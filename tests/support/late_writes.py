"""A write whose answer is lost, and that the provider applies some requests later."""

from collections.abc import Callable
from dataclasses import dataclass

from sandbox.faults import Fault
from sandbox.server import HttpRequest, HttpResponse, Responder
from tests.conftest import World
from tests.support.interleavings import WRITES


@dataclass(eq=False, kw_only=True)
class _LostWrite(Fault):
    """The connection closes without an answer; `apply_late` applies the write once."""

    apply_late: Callable[[], object] | None = None

    def applies_to(self, request: HttpRequest) -> bool:
        return request.method in WRITES and super().applies_to(request)

    def apply(self, answer: Responder, wait: Callable[[float], object], request: HttpRequest) -> HttpResponse | None:
        self.apply_late = lambda: answer(request)
        return None


@dataclass
class LateWrite:
    """Write number `nth` of a run is applied before the request that comes `requests_later` after it, or at its end."""

    world: World
    nth: int
    requests_later: int

    def __post_init__(self) -> None:
        self._lost = _LostWrite(skip=self.nth)
        self.world.sandbox.faults.add(self._lost)
        for faults in (self.world.sandbox.faults, self.world.sandbox.edge_faults):
            faults.add(Fault(times=None, before=self._count, is_prompt=True))

    def _count(self) -> None:
        if self._lost.apply_late is not None:
            self.requests_later -= 1
            if self.requests_later <= 0:
                self._land()

    def _land(self) -> None:
        apply_late, self._lost.apply_late = self._lost.apply_late, None
        if apply_late is not None:
            apply_late()

    def end(self) -> bool:
        """Apply it now if it is still on its way. Return whether the run sent so many writes."""
        self._land()
        self.world.sandbox.faults.clear()
        self.world.sandbox.edge_faults.clear()
        return self._lost.hits > 0

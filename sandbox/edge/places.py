"""Data centers of the edge and their machines, which see a change one after the other.

A client reaches one data center, and each of its requests another machine there. Propagation at Cloudflare is per
machine: good answers in a row do not show its end (github.com/developmentseed/multistore/issues/132).
"""

import hashlib
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

PLACES = ("FRA", "AMS", "LHR", "IAD", "SIN", "SYD")
"""Airport codes, in the order in which a change reaches them."""

MACHINES = 4
"""Machines of each place, by default."""
_RANDOM_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{12}(?![0-9a-f])")
"""In the names that `ops verify-platform` makes. A test must meet the same machines in each of its runs."""


@dataclass(frozen=True)
class Machine:
    place: str
    number: int
    lag: float
    """Time until it sees a change, as a multiple of the product's switch, such as `propagation_seconds`."""


class EdgePlaces:
    """Chooses the machine of each request: any of the place, but always the same of the n-th request to a path."""

    def __init__(self, lags: Mapping[str, Sequence[float]], seed: int = 0) -> None:
        """`lags`: place → lag of each of its machines. A place that it lacks has those of the last one."""
        self._machines = {
            place: tuple(Machine(place, number, lag) for number, lag in enumerate(own)) for place, own in lags.items()
        }
        self._seed = seed
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._lock = threading.Lock()

    @property
    def all(self) -> Iterator[Machine]:
        for machines in self._machines.values():
            yield from machines

    def machines_at(self, place: str) -> tuple[Machine, ...]:
        return self._machines.get(place) or next(reversed(self._machines.values()))

    def choose(self, place: str, host: str, path: str) -> Machine:
        """Return the machine that gets the next request of a client at this place."""
        with self._lock:
            self._counts[place, host, path] += 1
            number = self._counts[place, host, path]
        machines = self.machines_at(place)
        name = _RANDOM_ID.sub("", f"{host} {path}")
        digest = hashlib.sha256(f"{self._seed} {place} {name} {number}".encode()).digest()
        return machines[int.from_bytes(digest[:4]) % len(machines)]


def default_lags() -> dict[str, list[float]]:
    """Return the default world: the last machine of the first place changes at the end of the product's lag."""
    shares = [(number + 1) / MACHINES for number in range(MACHINES)]
    return {place: [order + share for share in shares] for order, place in enumerate(PLACES)}

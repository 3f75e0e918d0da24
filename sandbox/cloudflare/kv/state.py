"""KV namespaces: their entries, and the cached reads of each location.

developers.cloudflare.com/kv/concepts
"""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sandbox.clock import FakeClock
from sandbox.switches import Switches

MIN_WRITE_INTERVAL = timedelta(seconds=1)
"""Minimum time between two writes to a key (developers.cloudflare.com/kv/platform/limits)."""


@dataclass(frozen=True, kw_only=True)
class KvEntry:
    value: bytes
    metadata: Any = None
    expires: int | None = None
    """Seconds since 1970."""


@dataclass(frozen=True)
class CachedRead:
    """Cached result of a read at a location; None for a missing key."""

    at: datetime
    entry: KvEntry | None


@dataclass(frozen=True)
class ReplacedEntry:
    """Entry that an API write replaced at that time; None for a missing key."""

    at: datetime
    entry: KvEntry | None


@dataclass(kw_only=True)
class KvNamespace:
    id: str
    title: str
    entries: dict[str, KvEntry] = field(default_factory=dict)
    written_at: dict[str, datetime] = field(default_factory=dict)
    """Key → time of the last write or deletion."""
    api_writes: dict[str, list[ReplacedEntry]] = field(default_factory=dict)
    """Key → API writes and deletions, oldest first, each with the entry before it."""
    reads: dict[tuple[str, str], CachedRead] = field(default_factory=dict)
    """Location and key → last read."""
    absent_since: dict[str, datetime] = field(default_factory=dict)
    """Location → start of its cache of missing keys."""


class KvStore:
    """The KV namespaces, by ID. Validates nothing: the API handlers refuse invalid requests first."""

    def __init__(self, clock: FakeClock, switches: Switches, lock: threading.RLock, new_id: Callable[[], UUID]) -> None:
        self._clock = clock
        self._lock = lock
        self._switches = switches
        self._new_id = new_id
        self.namespaces: dict[str, KvNamespace] = {}

    def add(self, title: str) -> str:
        """Add a namespace and return its ID: the title itself if it has 32 hexadecimal digits."""
        id_ = title if re.fullmatch("[0-9a-f]{32}", title) else self._new_id().hex
        self.namespaces[id_] = KvNamespace(id=id_, title=title)
        return id_

    def put(
        self,
        namespace: str,
        key: str,
        value: str | bytes,
        *,
        metadata: Any = None,
        expires: int | None = None,
        by_api: bool = False,
    ) -> None:
        """Write an entry. A location that did not read the key recently sees it at once.

        The API returns its own writes (`by_api`) after `kv_api_staleness_seconds`, and all others at once.
        """
        data = value.encode() if isinstance(value, str) else value
        self._write(namespace, key, KvEntry(value=data, metadata=metadata, expires=expires), by_api=by_api)

    def delete(self, namespace: str, key: str, *, by_api: bool = False) -> None:
        self._write(namespace, key, None, by_api=by_api)

    def _write(self, namespace: str, key: str, entry: KvEntry | None, *, by_api: bool) -> None:
        state, now = self.namespaces[namespace], self._clock.now()
        with self._lock:
            previous = state.entries.pop(key, None)
            if by_api:
                state.api_writes.setdefault(key, []).append(ReplacedEntry(now, previous))
            else:
                state.api_writes.pop(key, None)
            if entry is not None:
                state.entries[key] = entry
            state.written_at[key] = now

    def get(self, namespace: str, key: str) -> str | None:
        """Return the last written value as text."""
        entry = self.entry(namespace, key)
        return None if entry is None else entry.value.decode()

    def entry(self, namespace: str, key: str) -> KvEntry | None:
        return self._unexpired(self.namespaces[namespace].entries.get(key))

    def entries(self, namespace: str) -> dict[str, KvEntry]:
        """Return the unexpired entries, in byte order of their keys."""
        return _sorted({key: self.entry(namespace, key) for key in self.namespaces[namespace].entries})

    def api_entry(self, namespace: str, key: str) -> KvEntry | None:
        """Return the entry that the API shows: for a while, the one before an API write."""
        state = self.namespaces[namespace]
        with self._lock:
            for write in state.api_writes.get(key, ()):
                age = (self._clock.now() - write.at).total_seconds()
                if 0 <= age < self._switches.kv_api_staleness_seconds:
                    return self._unexpired(write.entry)
            return self.entry(namespace, key)

    def api_entries(self, namespace: str) -> dict[str, KvEntry]:
        """Return the entries that the API lists, in byte order of their keys."""
        state = self.namespaces[namespace]
        return _sorted({key: self.api_entry(namespace, key) for key in {*state.entries, *state.api_writes}})

    def accepts_write(self, namespace: str, key: str) -> bool:
        """Return whether enough time has passed since the last write to the key."""
        last = self.namespaces[namespace].written_at.get(key)
        if last is None or not self._switches.kv_writes_per_key_limited:
            return True
        return abs(self._clock.now() - last) >= MIN_WRITE_INTERVAL

    def entry_seen_at(self, location: str, namespace: str, key: str) -> KvEntry | None:
        """Return the entry that a Worker at this location reads: for a while, its previous read."""
        state, at = self.namespaces[namespace], (location, key)
        with self._lock:
            if at not in state.reads or not self._is_fresh(state.reads[at].at):
                state.reads[at] = CachedRead(self._clock.now(), self.entry(namespace, key))
            return self._unexpired(state.reads[at].entry)

    def entries_seen_at(self, location: str, namespace: str) -> Mapping[str, KvEntry]:
        """Return all entries as if a Worker at this location had read every key, also the missing ones.

        For a runtime that does not report which keys its Workers read.
        """
        state, now = self.namespaces[namespace], self._clock.now()
        with self._lock:
            looked = state.absent_since.get(location)
            if looked is None or not self._is_fresh(looked):
                state.absent_since[location] = now
            else:
                for key in state.entries:
                    state.reads.setdefault((location, key), CachedRead(looked, None))
            keys = {*state.entries, *(key for where, key in state.reads if where == location)}
            found = {key: self.entry_seen_at(location, namespace, key) for key in keys}
        return {key: entry for key, entry in found.items() if entry}

    def _is_fresh(self, read_at: datetime) -> bool:
        """Return whether the read is still cached. A clock that moved back ends every cached read."""
        age = (self._clock.now() - read_at).total_seconds()
        return 0 <= age < self._switches.kv_staleness_seconds

    def _unexpired(self, entry: KvEntry | None) -> KvEntry | None:
        if entry is None or entry.expires is None or entry.expires > self._clock.now().timestamp():
            return entry
        return None


def _sorted(found: Mapping[str, KvEntry | None]) -> dict[str, KvEntry]:
    return {key: entry for key, entry in sorted(found.items(), key=lambda each: each[0].encode()) if entry}

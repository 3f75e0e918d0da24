"""KV namespaces: what was written, and what a location still sees of it (developers.cloudflare.com/kv/concepts)."""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sandbox.clock import FakeClock
from sandbox.switches import Switches

BETWEEN_WRITES = timedelta(seconds=1)
"""A key takes one write in that time (developers.cloudflare.com/kv/platform/limits)."""


@dataclass(frozen=True, kw_only=True)
class KvEntry:
    value: bytes
    metadata: Any = None
    expires: int | None = None
    """Seconds since 1970."""


@dataclass(frozen=True)
class CachedRead:
    """What a location found, and goes on answering for a while: also that there was nothing."""

    at: datetime
    entry: KvEntry | None


@dataclass(frozen=True)
class ReplacedEntry:
    """The entry that a write by the API replaced at that moment; None: there was none."""

    at: datetime
    entry: KvEntry | None


@dataclass(kw_only=True)
class KvNamespace:
    id: str
    title: str
    entries: dict[str, KvEntry] = field(default_factory=dict)
    written_at: dict[str, datetime] = field(default_factory=dict)
    """Key → when it was last written or deleted."""
    api_writes: dict[str, list[ReplacedEntry]] = field(default_factory=dict)
    """Key → each write or deletion by the API, oldest first, with the entry before it."""
    reads: dict[tuple[str, str], CachedRead] = field(default_factory=dict)
    """Location and key → what it read last."""
    absent_since: dict[str, datetime] = field(default_factory=dict)
    """Location → since when it holds for absent what it did not find."""


class KvStore:
    """Checks nothing: what Cloudflare refuses is refused before it comes here. A namespace is named by its id."""

    def __init__(self, clock: FakeClock, switches: Switches, lock: threading.RLock, new_id: Callable[[], UUID]) -> None:
        self._clock = clock
        self._lock = lock
        self._switches = switches
        self._new_id = new_id
        self.namespaces: dict[str, KvNamespace] = {}

    def add(self, title: str) -> str:
        """The id of the new namespace: the title itself, where that is 32 hexadecimal digits."""
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
        """Visible at once to a location that did not read the key recently.

        The API shows a write of its own (`by_api`) after `kv_api_staleness_seconds`, and any other one at once.
        """
        data = value.encode() if isinstance(value, str) else value
        self._write(namespace, key, KvEntry(value=data, metadata=metadata, expires=expires), by_api=by_api)

    def delete(self, namespace: str, key: str, *, by_api: bool = False) -> None:
        self._write(namespace, key, None, by_api=by_api)

    def _write(self, namespace: str, key: str, entry: KvEntry | None, *, by_api: bool) -> None:
        state, now = self.namespaces[namespace], self._clock.now()
        with self._lock:
            former = state.entries.pop(key, None)
            if by_api:
                state.api_writes.setdefault(key, []).append(ReplacedEntry(now, former))
            else:
                state.api_writes.pop(key, None)
            if entry is not None:
                state.entries[key] = entry
            state.written_at[key] = now

    def get(self, namespace: str, key: str) -> str | None:
        """As text, and as it was last written."""
        entry = self.entry(namespace, key)
        return None if entry is None else entry.value.decode()

    def entry(self, namespace: str, key: str) -> KvEntry | None:
        return self._unexpired(self.namespaces[namespace].entries.get(key))

    def entries(self, namespace: str) -> dict[str, KvEntry]:
        """Those that did not expire, in the order of their keys' bytes."""
        return _sorted({key: self.entry(namespace, key) for key in self.namespaces[namespace].entries})

    def listed_entry(self, namespace: str, key: str) -> KvEntry | None:
        """The entry that the API answers: for a while the one before a write."""
        state = self.namespaces[namespace]
        with self._lock:
            for write in state.api_writes.get(key, ()):
                age = (self._clock.now() - write.at).total_seconds()
                if 0 <= age < self._switches.kv_api_staleness_seconds:
                    return self._unexpired(write.entry)
            return self.entry(namespace, key)

    def listed_entries(self, namespace: str) -> dict[str, KvEntry]:
        """The entries that the API lists, in the order of their keys' bytes."""
        state = self.namespaces[namespace]
        return _sorted({key: self.listed_entry(namespace, key) for key in {*state.entries, *state.api_writes}})

    def accepts_write(self, namespace: str, key: str) -> bool:
        """Whether the last write to the key is long enough ago."""
        last = self.namespaces[namespace].written_at.get(key)
        if last is None or not self._switches.kv_writes_per_key_limited:
            return True
        return abs(self._clock.now() - last) >= BETWEEN_WRITES

    def entry_at(self, location: str, namespace: str, key: str) -> KvEntry | None:
        """What a Worker at this location reads: for a while what it read there before."""
        state, at = self.namespaces[namespace], (location, key)
        with self._lock:
            if at not in state.reads or not self._is_fresh(state.reads[at].at):
                state.reads[at] = CachedRead(self._clock.now(), self.entry(namespace, key))
            return self._unexpired(state.reads[at].entry)

    def entries_at(self, location: str, namespace: str) -> Mapping[str, KvEntry]:
        """As if a Worker at this location had read every key, those too that are not there yet.

        For a runtime that does not tell which keys its Workers read.
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
            found = {key: self.entry_at(location, namespace, key) for key in keys}
        return {key: entry for key, entry in found.items() if entry}

    def _is_fresh(self, read_at: datetime) -> bool:
        """A clock that went back makes every read an old one."""
        age = (self._clock.now() - read_at).total_seconds()
        return 0 <= age < self._switches.kv_staleness_seconds

    def _unexpired(self, entry: KvEntry | None) -> KvEntry | None:
        if entry is None or entry.expires is None or entry.expires > self._clock.now().timestamp():
            return entry
        return None


def _sorted(found: Mapping[str, KvEntry | None]) -> dict[str, KvEntry]:
    return {key: entry for key, entry in sorted(found.items(), key=lambda each: each[0].encode()) if entry}

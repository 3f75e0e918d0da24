"""The whole state of the accounts and repositories of a sandbox, as values that two tests can compare."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sandbox import Sandbox

UNSEEN = frozenset({"clock", "lock", "switches", "urls", "host", "rates", "tokens", "visible", "owner", "actions_bot"})
"""Attributes that lead to other objects, or to no state."""
TRACES = frozenset({"analytics", "audit", "deliveries", "packs", "reads", "absent_since", "hidden_reads"})
"""Attributes that record requests and reads."""
IDS = frozenset({"id", "sha", "number"})
_ID = re.compile(r"\b[0-9a-f]{8,}\b")


def account_states(sandbox: Sandbox) -> Mapping[str, Any]:
    """Return account ID → everything in the account, with its IDs and times."""
    return {account.id: _Reader().read(account) for account in sandbox.account.visible}


def repository_states(sandbox: Sandbox) -> Mapping[str, Any]:
    """Return name → everything in the repository, without IDs and times, so that another sandbox has the same."""
    found = sandbox.github._repository.host.repositories
    return {name: _Reader(is_blank=True).read(repository) for name, repository in found.items()}


class _Reader:
    """`is_blank`: leave out IDs and times."""

    def __init__(self, *, is_blank: bool = False) -> None:
        self._is_blank = is_blank
        self._within: list[object] = []

    def read(self, value: object, name: str = "") -> Any:
        if isinstance(value, datetime):
            return "TIME" if self._is_blank else value.isoformat()
        if self._is_blank and name in IDS:
            return "ID"
        if isinstance(value, str):
            return _ID.sub("ID", value) if self._is_blank else value
        if value is None or isinstance(value, bool | int | float | bytes):
            return value
        if isinstance(value, Mapping):
            return self._read_mapping(value)
        if isinstance(value, set | frozenset):
            return sorted(map(str, value))
        if isinstance(value, list | tuple):
            return [self.read(each) for each in value]
        return self._read_object(value)

    def _read_mapping(self, value: Mapping[Any, Any]) -> Any:
        if self._is_blank and any(isinstance(key, int) or _ID.fullmatch(str(key)) for key in value):
            return [self.read(each) for each in value.values()]
        return {str(key): self.read(each) for key, each in value.items()}

    def _read_object(self, value: object) -> Any:
        if any(value is each for each in self._within):
            return "…"
        self._within.append(value)
        shown = {
            name: self.read(each, name)
            for name, each in vars(value).items()
            if not (name.startswith("_") or name in UNSEEN | TRACES or callable(each))
        }
        self._within.pop()
        return shown

"""Keeping secrets out of everything that leaves the process: one redactor, at the timeline's door and at stderr."""

import json
import urllib.parse
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from typing import Any

MASK = "***"
SHORTEST = 6
"""A shorter value would blot out ordinary words, and is no secret worth the name."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that shows nowhere: not in a repr, a message or a traceback. Only a transport calls `reveal`."""

    _value: str = field(repr=False)

    def reveal(self) -> str:
        return self._value


class Redactor:
    """Replaces every registered value, plain, and encoded as in a URL, a form and JSON, longest first."""

    def __init__(self, *, shortest: int = SHORTEST) -> None:
        self._shortest = shortest
        self._forms: list[str] = []

    def add(self, secret: str) -> None:
        """Also takes the lines of a multi-line value one by one, since logs are read line by line."""
        for value in {secret, *secret.splitlines()}:
            if len(value.strip()) >= self._shortest:
                encoded = [urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value), json.dumps(value)[1:-1]]
                self._forms += [value, value.strip(), *encoded]
        self._forms = sorted(set(self._forms), key=len, reverse=True)

    def text(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, MASK)
        return text

    def data(self, value: Any) -> Any:
        """The same for JSON: strings anywhere, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.data(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(item) for item in value]
        return value

    def value(self, value: Any) -> Any:
        """The same for a value of ours, before anything is made of it: a renderer's escapes would hide a secret."""
        if isinstance(value, str) and not isinstance(value, Enum):
            return self.text(value)
        if isinstance(value, tuple):
            return tuple(self.value(item) for item in value)
        if isinstance(value, dict):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if is_dataclass(value) and not isinstance(value, type):
            return replace(value, **{each.name: self.value(getattr(value, each.name)) for each in fields(value)})
        return value

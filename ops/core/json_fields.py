"""Read JSON that others sent or may have edited: tolerant, or strict by `require_text`.

Tolerant: a value of another type counts as empty.
"""

from collections.abc import Mapping
from typing import Any


def text_in(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) else ""


def texts_in(data: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(each for each in list_in(data, name) if isinstance(each, str))


def list_in(data: Mapping[str, Any], name: str) -> list[Any]:
    value = data.get(name)
    return list(value) if isinstance(value, list | tuple) else []


def mappings_in(data: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    return [each for each in list_in(data, name) if isinstance(each, Mapping)]


def mapping_in(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    return value if isinstance(value, Mapping) else {}


def require_text(value: Any) -> str:
    """Return the text. Raises TypeError for another value."""
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def require_object(value: Any) -> dict[str, Any]:
    """Return a copy of the JSON object. Raises TypeError for another value, such as a list of pairs."""
    if not isinstance(value, dict):
        raise TypeError("no object")
    return dict(value)

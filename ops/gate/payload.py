"""Read typed fields of a webhook payload.

Errors name a field of GitHub's, never a value.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ops.core.clock import parse_utc

LONGEST_INPUT = 1000
"""Characters. GitHub accepts 65,535. Jobs get inputs in variables, and Linux accepts 131,071 bytes for each."""


class MalformedFieldError(Exception):
    """A field is missing or has the wrong type; the text names it."""


def payload_value(value: Any, *path: str, of: str = "") -> Any:
    for depth, key in enumerate(path):
        if not isinstance(value, dict) or key not in value:
            raise MalformedFieldError(f"{of}{'.'.join(path[: depth + 1])} is missing")
        value = value[key]
    return value


def payload_mapping(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedFieldError(f"{name} is no object")
    return value


def payload_text(value: Any, *path: str, of: str = "") -> str:
    field = payload_value(value, *path, of=of)
    if not isinstance(field, str) or not field:
        raise MalformedFieldError(f"{of}{'.'.join(path)} is no text")
    return field


def payload_number(value: Any, *path: str, of: str = "") -> int:
    field = payload_value(value, *path, of=of)
    if type(field) is not int or field < 1:
        raise MalformedFieldError(f"{of}{'.'.join(path)} is no number of GitHub's")
    return field


def payload_time(value: Any, name: str, *, of: str) -> datetime:
    try:
        return parse_utc(payload_text(value, name, of=of))
    except (ValueError, OverflowError):
        raise MalformedFieldError(f"{of}{name} is no moment") from None


def input_text(inputs: Mapping[str, Any], name: str) -> str:
    """Return an input as text. GitHub sends text; an older server may send a boolean or a number."""
    value = inputs[name]
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int):
        raise MalformedFieldError(f"inputs.{name} is no text")
    text = str(value).strip()
    if len(text) > LONGEST_INPUT:
        raise MalformedFieldError(f"inputs.{name} is longer than {LONGEST_INPUT:,} characters")
    return text


def issue_number(text: str, repository: str) -> int | None:
    """Return the number of 42, #42 or the URL of an issue of that repository; None for ""."""
    if not text:
        return None
    address = re.fullmatch(r"https?://[^/\s]+/([\w.-]+/[\w.-]+)/issues/([1-9][0-9]{0,9})(?:[/?#]\S*)?", text, re.ASCII)
    if address and address[1].lower() == repository.lower():
        return int(address[2])
    if not re.fullmatch("#?[1-9][0-9]{0,9}", text, re.ASCII):
        raise MalformedFieldError("inputs.incident is no issue's number, and no address of an issue of this repository")
    return int(text.removeprefix("#"))


def parse_button_boolean(text: str) -> bool:
    if text not in {"true", "false", ""}:
        raise MalformedFieldError("an input is neither true nor false")
    return text == "true"

"""Reading request bodies strictly: the content type, the JSON, the fields."""

import json
from collections.abc import Mapping
from typing import Any

from sandbox.cloudflare.call import ApiError
from sandbox.cloudflare.codes import UNREADABLE
from sandbox.server import Request

Fields = Mapping[str, type | tuple[type, ...]]
"""Name → the type or types of its value."""

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
NUMBER = (int, float)


def json_body(request: Request, content_type: str = JSON) -> Any:
    if request.headers.get_content_type() != content_type:
        sent = request.headers.get("content-type", "no content type")
        raise ApiError(UNREADABLE, f"Could not parse your request body: expected {content_type}, got {sent}.")
    return parse(request.body)


def parse(text: bytes | str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ApiError(UNREADABLE, f"Could not parse your request body: {error}.") from error


def fields(value: Any, *, required: Fields, optional: Fields, at: str = "body") -> dict[str, Any]:
    """`value` itself, an object with these fields and no other. `at` is where it stands, for the message."""
    if not isinstance(value, dict):
        raise invalid(at, "must be an object")
    known = {**required, **optional}
    for name in value:
        if name not in known:
            raise invalid(at, f'has an unknown field "{name}"')
    for name in required:
        if name not in value:
            raise invalid(at, f'lacks the field "{name}"')
    for name, kind in known.items():
        if name in value and not _is(value[name], kind):
            raise invalid(f"{at}.{name}", "has the wrong type")
    return value


def invalid(at: str, problem: str) -> ApiError:
    return ApiError(UNREADABLE, f"Invalid request: {at} {problem}.")


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))

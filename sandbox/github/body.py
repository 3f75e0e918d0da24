"""Reading request bodies strictly: the JSON, the fields, their types; and GitHub's own words for what is wrong."""

import json
from collections.abc import Mapping
from typing import Any

from sandbox.github.call import ApiError, Call, custom
from sandbox.github.issues.state import LONGEST_BODY

Fields = Mapping[str, type | tuple[type, ...]]
"""Name → the type or types of its value."""

TEXT = (str, type(None))


def parse(call: Call) -> Any:
    """No body is an empty object."""
    try:
        return json.loads(call.request.body or b"{}")
    except ValueError as error:
        raise ApiError(400, "Problems parsing JSON") from error


def fields(call: Call, *, required: Fields | None = None, optional: Fields | None = None) -> dict[str, Any]:
    """The body, an object with these fields and no other."""
    return checked(parse(call), required=required or {}, optional=optional or {})


def checked(value: Any, *, required: Fields, optional: Fields) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ApiError(400, "Body should be a JSON object")
    known = {**required, **optional}
    for name in value:
        if name not in known:
            raise refused(f'"{name}" is not a permitted key.')
    for name in required:
        if name not in value:
            raise refused(f'"{name}" wasn\'t supplied.')
    for name, kind in known.items():
        if name in value and not _is(value[name], kind):
            raise refused(f"For 'properties/{name}', {json.dumps(value[name])} is not {_named(kind)}.")
    return value


def refused(problem: str) -> ApiError:
    """What GitHub says where the body does not fit the schema of the endpoint."""
    return ApiError(
        422, f"Invalid request.\n\n{problem}", {"resource": "Request", "code": "invalid", "message": problem}
    )


def strings(value: Any, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise refused(f"For 'properties/{name}', {json.dumps(value)} is not an array of strings.")
    return value


def require_short(resource: str, body: str | None) -> None:
    if body is not None and len(body) > LONGEST_BODY:
        raise custom(resource, "body", f"body is too long (maximum is {LONGEST_BODY} characters)")


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _named(kind: type | tuple[type, ...]) -> str:
    names = {str: "a string", int: "an integer", bool: "a boolean", dict: "an object", list: "an array"}
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(names.get(one, "null") for one in kinds)

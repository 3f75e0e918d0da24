"""Whether a value in KV is one of the runtime contract (docs/runtime-contract.schema.json)."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

VERSION = 1

Check = Callable[[Any], bool]

_NAME = re.compile(r"[a-z][a-z0-9]{0,39}(-[a-z0-9]{1,20}){0,4}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def moment(text: str) -> datetime:
    """As in RFC 3339; the zone is never left out."""
    return datetime.fromisoformat(text.upper())


def is_limits(value: Any) -> bool:
    return _fits(
        value,
        {
            "version": lambda version: version == VERSION and version is not True,
            "revision": lambda text: _is_text(text) and bool(re.fullmatch("[0-9a-f]{12}-[0-9a-f]{8}", text)),
            "limits": lambda limits: (
                isinstance(limits, dict) and all(map(_is_name, limits)) and all(map(_is_limit, limits.values()))
            ),
        },
    )


def is_switch(value: Any) -> bool:
    return _fits(
        value,
        {
            "version": lambda version: version == VERSION and version is not True,
            "revision": lambda text: _is_text(text) and text != "",
            "state": _is_name,
            "until": _or_null(_is_moment),
            "review_at": _or_null(_is_moment),
            "message": _is_text,
            "paths": lambda paths: (
                isinstance(paths, list) and all(_is_text(path) and path.startswith("/") for path in paths)
            ),
            "owner": _is_text,
            "incident": _or_null(_is_whole),
            "since": _is_moment,
        },
    )


def _is_limit(value: Any) -> bool:
    checks: dict[str, Check] = {
        "limit": _is_positive,
        "period": _is_positive,
        "key": lambda key: key in ("ip", "user"),
    }
    allowed: dict[str, Check] = {
        "probe": lambda probe: isinstance(probe, bool),
        "temporary": lambda temporary: _fits(temporary, {"limit": _is_positive, "until": _is_moment}),
    }
    return _fits(value, checks, allowed)


def _fits(value: Any, required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> bool:
    """An object in which every field that is named has a value of its kind. Others may stand beside them."""
    if not isinstance(value, dict) or not required.keys() <= value.keys():
        return False
    checks = {**required, **(optional or {})}
    return all(check(value[name]) for name, check in checks.items() if name in value)


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(_NAME.fullmatch(value))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_positive(value: Any) -> bool:
    return _is_whole(value) and value >= 1


def _is_moment(value: Any) -> bool:
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        return False
    try:
        moment(value)
    except ValueError:
        return False
    return True

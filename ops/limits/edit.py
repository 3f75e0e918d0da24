"""Temporary limits written into the text of `limits.yml`, so that every comment and every other value stays.

The places come from the nodes of the YAML: an empty value, a flow mapping and a block mapping are each edited in their
own style. What was read before and after is compared at the end.
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from ops.config.strict_yaml import read_yaml
from ops.core.clock import format_rfc3339
from ops.core.errors import Reason, Refused
from ops.core.names import LIMITS_FILE as FILE
from ops.limits.file import Limit, Temporary


def patch(before: str, after: str) -> tuple[str, ...]:
    """The difference of two files, as `git apply` takes it, line by line."""
    lines = before.splitlines(), after.splitlines()
    return tuple(difflib.unified_diff(*lines, f"a/{FILE}", f"b/{FILE}", lineterm=""))


class _Edit(NamedTuple):
    start: int
    end: int
    text: str


def with_temporary(text: str, wanted: Mapping[str, Temporary]) -> str:
    """`text` is a valid limits.yml that holds each of these names. Raises Refused where it cannot be edited safely."""
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)  # in Python: its marks count characters
    limits = {key.value: value for key, value in root.value}
    edits = [edit for name, temporary in wanted.items() for edit in _limit(text, limits[name], temporary)]
    edited = text
    for edit in sorted(edits, reverse=True):
        edited = edited[: edit.start] + edit.text + edited[edit.end :]
    if not _is_as_meant(text, edited, wanted):
        raise Refused(
            f"{FILE} could not be edited without changing something else",
            reason=Reason.CONFIG_INVALID,
            hint="Write the temporary limits by hand, and open a pull request.",
        )
    return edited


def _limit(text: str, limit: Any, temporary: Temporary) -> Iterator[_Edit]:
    fields = _fields(temporary)
    found = _child(limit, "temporary")
    if found is None:
        yield _insert(text, limit, "temporary", _flow(fields))
    elif isinstance(found, yaml.MappingNode):
        for key, value in fields.items():
            there = _child(found, key)
            if there is not None:
                yield _replace(text, there, value)
            elif value != "null":
                yield _insert(text, found, key, value)
    else:
        yield _replace(text, found, _flow(fields))


def _fields(temporary: Temporary) -> dict[str, str]:
    """Each value as YAML; JSON is such."""
    values = {
        "limit": temporary.limit,
        "until": format_rfc3339(temporary.until),
        "reason": temporary.reason,
        "incident": temporary.incident,
    }
    return {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}


def _flow(fields: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in fields.items() if value != "null") + "}"


def _child(mapping: Any, name: str) -> Any:
    return next((value for key, value in mapping.value if key.value == name), None)


def _replace(text: str, node: Any, value: str) -> _Edit:
    start, end = node.start_mark.index, _end(text, node)
    return _Edit(start, end, value if text[start - 1] in " \n" else f" {value}")


def _end(text: str, node: Any) -> int:
    """Of a block scalar the node ends before the next token, wherever that is."""
    start, end = int(node.start_mark.index), int(node.end_mark.index)
    return start + len(text[start:end].rstrip())


def _insert(text: str, mapping: Any, key: str, value: str) -> _Edit:
    """After the last value that stands on one line: one of several lines may end anywhere."""
    if mapping.flow_style:
        at = max(_last(text, value) for _, value in mapping.value)
        return _Edit(at, at, f", {key}: {value}")
    plain = [each for _, each in mapping.value if isinstance(each, yaml.ScalarNode) and each.style not in {"|", ">"}]
    at = text.find("\n", max(_end(text, each) for each in plain))
    at = len(text) if at < 0 else at
    newline = "\r\n" if text[:at].endswith("\r") else "\n"
    at -= len(newline) - 1
    indent = " " * mapping.value[0][0].start_mark.column
    return _Edit(at, at, f"{newline}{indent}{key}: {value}")


def _last(text: str, node: Any) -> int:
    """Where a value within a flow mapping ends."""
    return int(node.end_mark.index) if isinstance(node, yaml.CollectionNode) else _end(text, node)


def _is_as_meant(before: str, after: str, wanted: Mapping[str, Temporary]) -> bool:
    was, found = read_yaml(before), read_yaml(after)
    if found.problems or not found.complete:
        return False
    meant = {**was.data, **{name: {**was.data[name], "temporary": None} for name in wanted}}
    got = {**found.data, **{name: {**found.data[name], "temporary": None} for name in wanted}}
    temporary = {name: Limit.model_validate(found.data[name]).temporary for name in wanted}
    return bool(meant == got and [*was.data] == [*found.data] and temporary == dict(wanted))

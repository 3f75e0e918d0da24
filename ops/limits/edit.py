"""Write temporary limits into the text of `limits.yml`, and keep comments and other values.

Positions come from the YAML nodes: empty values, flow mappings and block mappings are each edited in their own style.
The parsed content before and after is compared at the end.
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


def build_patch(before: str, after: str) -> tuple[str, ...]:
    """Return the lines of a unified diff that `git apply` accepts."""
    lines = before.splitlines(), after.splitlines()
    return tuple(difflib.unified_diff(*lines, f"a/{FILE}", f"b/{FILE}", lineterm=""))


class _Edit(NamedTuple):
    start: int
    end: int
    text: str


def set_temporary_limits(text: str, planned: Mapping[str, Temporary]) -> str:
    """Set temporary limits in `text`, a valid limits.yml with all of these names. Raises Refused if that is unsafe."""
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)  # in Python: its marks count characters
    limits = {key.value: value for key, value in root.value}
    edits = [edit for name, temporary in planned.items() for edit in _edit_limit(text, limits[name], temporary)]
    edited = text
    for edit in sorted(edits, reverse=True):
        edited = edited[: edit.start] + edit.text + edited[edit.end :]
    if not _is_edit_correct(text, edited, planned):
        raise Refused(
            f"cannot edit {FILE} without changing other values",
            reason=Reason.CONFIG_INVALID,
            hint="Edit the temporary limits by hand, and open a pull request.",
        )
    return edited


def _edit_limit(text: str, limit: Any, temporary: Temporary) -> Iterator[_Edit]:
    fields = _yaml_fields(temporary)
    found = _find_child(limit, "temporary")
    if found is None:
        yield _insert_key(text, limit, "temporary", _flow_mapping(fields))
    elif isinstance(found, yaml.MappingNode):
        for key, value in fields.items():
            there = _find_child(found, key)
            if there is not None:
                yield _replace_node(text, there, value)
            elif value != "null":
                yield _insert_key(text, found, key, value)
    else:
        yield _replace_node(text, found, _flow_mapping(fields))


def _yaml_fields(temporary: Temporary) -> dict[str, str]:
    """Return each value as JSON, which is valid YAML."""
    values = {
        "limit": temporary.limit,
        "until": format_rfc3339(temporary.until),
        "reason": temporary.reason,
        "incident": temporary.incident,
    }
    return {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}


def _flow_mapping(fields: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in fields.items() if value != "null") + "}"


def _find_child(mapping: Any, name: str) -> Any:
    return next((value for key, value in mapping.value if key.value == name), None)


def _replace_node(text: str, node: Any, value: str) -> _Edit:
    start, end = node.start_mark.index, _node_end(text, node)
    return _Edit(start, end, value if text[start - 1] in " \n" else f" {value}")


def _node_end(text: str, node: Any) -> int:
    """Return the end of the node's text; the node of a block scalar ends only before the next token."""
    start, end = int(node.start_mark.index), int(node.end_mark.index)
    return start + len(text[start:end].rstrip())


def _insert_key(text: str, mapping: Any, key: str, value: str) -> _Edit:
    """Insert after the last single-line value, because the end of a multi-line value is uncertain."""
    if mapping.flow_style:
        at = max(_value_end(text, value) for _, value in mapping.value)
        return _Edit(at, at, f", {key}: {value}")
    plain = [each for _, each in mapping.value if isinstance(each, yaml.ScalarNode) and each.style not in {"|", ">"}]
    at = text.find("\n", max(_node_end(text, each) for each in plain))
    at = len(text) if at < 0 else at
    newline = "\r\n" if text[:at].endswith("\r") else "\n"
    at -= len(newline) - 1
    indent = " " * mapping.value[0][0].start_mark.column
    return _Edit(at, at, f"{newline}{indent}{key}: {value}")


def _value_end(text: str, node: Any) -> int:
    """Return the end of a value in a flow mapping."""
    return int(node.end_mark.index) if isinstance(node, yaml.CollectionNode) else _node_end(text, node)


def _is_edit_correct(before: str, after: str, planned: Mapping[str, Temporary]) -> bool:
    was, found = read_yaml(before), read_yaml(after)
    if found.problems or not found.complete:
        return False
    expected = {**was.data, **{name: {**was.data[name], "temporary": None} for name in planned}}
    actual = {**found.data, **{name: {**found.data[name], "temporary": None} for name in planned}}
    temporary = {name: Limit.model_validate(found.data[name]).temporary for name in planned}
    return bool(expected == actual and [*was.data] == [*found.data] and temporary == dict(planned))

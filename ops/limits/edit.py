"""Write temporary limits into the text of `limits.yml`, and keep comments and other values.

The parsed content before and after is compared at the end.
"""

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from ops.config.strict_yaml import Edit, apply_edits, find_child, insert_key, read_yaml, replace_node
from ops.core.clock import format_rfc3339
from ops.core.errors import Reason, Refused
from ops.core.names import LIMITS_FILE as FILE
from ops.limits.file import Limit, Temporary


def build_patch(before: str, after: str) -> tuple[str, ...]:
    """Return the lines of a unified diff that `git apply` accepts."""
    lines = before.splitlines(), after.splitlines()
    return tuple(difflib.unified_diff(*lines, f"a/{FILE}", f"b/{FILE}", lineterm=""))


def set_temporary_limits(text: str, planned: Mapping[str, Temporary]) -> str:
    """Set temporary limits in `text`, a valid limits.yml with all of these names. Raises Refused if that is unsafe."""
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)  # in Python: its marks count characters
    limits = {key.value: value for key, value in root.value}
    edits = [edit for name, temporary in planned.items() for edit in _edit_limit(text, limits[name], temporary)]
    edited = apply_edits(text, edits)
    if not _is_edit_correct(text, edited, planned):
        raise Refused(
            f"cannot edit {FILE} without changing other values",
            reason=Reason.CONFIG_INVALID,
            hint="Edit the temporary limits by hand, and open a pull request.",
        )
    return edited


def _edit_limit(text: str, limit: Any, temporary: Temporary) -> Iterator[Edit]:
    fields = _yaml_fields(temporary)
    found = find_child(limit, "temporary")
    if found is None:
        yield insert_key(text, limit, "temporary", _flow_mapping(fields))
    elif isinstance(found, yaml.MappingNode):
        for key, value in fields.items():
            there = find_child(found, key)
            if there is not None:
                yield replace_node(text, there, value)
            elif value != "null":
                yield insert_key(text, found, key, value)
    else:
        yield replace_node(text, found, _flow_mapping(fields))


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


def _is_edit_correct(before: str, after: str, planned: Mapping[str, Temporary]) -> bool:
    was, found = read_yaml(before), read_yaml(after)
    if found.problems or not found.complete:
        return False
    expected = {**was.data, **{name: {**was.data[name], "temporary": None} for name in planned}}
    actual = {**found.data, **{name: {**found.data[name], "temporary": None} for name in planned}}
    temporary = {name: Limit.model_validate(found.data[name]).temporary for name in planned}
    return bool(expected == actual and [*was.data] == [*found.data] and temporary == dict(planned))

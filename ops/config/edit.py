"""Edit the text of a YAML file, and keep its comments and other values.

Positions come from the YAML nodes: empty values, flow mappings and block mappings are each edited in their own style.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import yaml

from ops.config.strict_yaml import read_yaml
from ops.core.errors import ConfigError


class Edit(NamedTuple):
    """Text that replaces the characters from `start` to `end`."""

    start: int
    end: int
    text: str


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    for edit in sorted(edits, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def set_key(text: str, key: str, value: str) -> str:
    """Set a key of the file itself to a value in YAML. Comments inside an earlier value are lost."""
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    if (found := find_child(root, key)) is not None:
        return apply_edits(text, [replace_node(text, found, value)])
    if root.flow_style:
        return apply_edits(text, [insert_key(text, root, key, value)])
    newline = "\r\n" if "\r\n" in text else "\n"
    return f"{text.rstrip()}{newline}{key}: {value}{newline}"


def set_nested(text: str, outer: str, inner: str, *, value: bool) -> str:
    """Set `outer: {inner: value}` in the text of an ops.yml. Raises ConfigError if that is unsafe."""
    edited = _set_nested(text, outer, inner, "true" if value else "false")
    before, after = read_yaml(text), read_yaml(edited)
    expected = {**before.data, outer: {**before.data.get(outer, {}), inner: value}}
    if after.problems or not after.complete or after.data != expected:
        hint = f"Write `{outer}: {{{inner}: {str(value).lower()}}}` into it by hand."
        raise ConfigError("cannot edit ops.yml without changing other values", hint=hint)
    return edited


def _set_nested(text: str, outer: str, inner: str, value: str) -> str:
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)  # in Python: its marks count characters
    holder = find_child(root, outer)
    newline = "\r\n" if "\r\n" in text else "\n"
    flow = f"{{{inner}: {value}}}"
    if holder is None and not root.flow_style:
        return f"{text.rstrip()}{newline}{newline}{outer}:{newline}  {inner}: {value}{newline}"
    if holder is None:
        edit = insert_key(text, root, outer, flow)
    elif not holder.value:
        edit = replace_node(text, holder, flow)
    elif (found := find_child(holder, inner)) is not None:
        edit = replace_node(text, found, value)
    elif holder.flow_style:
        edit = insert_key(text, holder, inner, value)
    else:
        first = holder.value[0][0].start_mark
        edit = Edit(first.index, first.index, f"{inner}: {value}{newline}{' ' * first.column}")
    return apply_edits(text, [edit])


def find_child(mapping: Any, name: str) -> Any:
    """Return the node of the value with that key, or None."""
    return next((value for key, value in mapping.value if key.value == name), None)


def replace_node(text: str, node: Any, value: str) -> Edit:
    """Return the edit that replaces a value."""
    start, end = node.start_mark.index, _node_end(text, node)
    return Edit(start, end, value if text[start - 1] in " \n" else f" {value}")


def _node_end(text: str, node: Any) -> int:
    """Return the end of the node's text; the node of a block scalar ends only before the next token."""
    start, end = int(node.start_mark.index), int(node.end_mark.index)
    return start + len(text[start:end].rstrip())


def insert_key(text: str, mapping: Any, key: str, value: str) -> Edit:
    """Insert after the last single-line value, because the end of a multi-line value is uncertain."""
    if mapping.flow_style:
        at = max(_value_end(text, value) for _, value in mapping.value)
        return Edit(at, at, f", {key}: {value}")
    plain = [each for _, each in mapping.value if isinstance(each, yaml.ScalarNode) and each.style not in {"|", ">"}]
    at = text.find("\n", max(_node_end(text, each) for each in plain))
    at = len(text) if at < 0 else at
    newline = "\r\n" if text[:at].endswith("\r") else "\n"
    at -= len(newline) - 1
    indent = " " * mapping.value[0][0].start_mark.column
    return Edit(at, at, f"{newline}{indent}{key}: {value}")


def _value_end(text: str, node: Any) -> int:
    """Return the end of a value in a flow mapping."""
    return int(node.end_mark.index) if isinstance(node, yaml.CollectionNode) else _node_end(text, node)

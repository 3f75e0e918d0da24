"""Read YAML strictly into plain data, with all problems and their lines; edit its text.

Plain data: dict, tuple, str, int, float, bool, None. Text that YAML readers interpret differently is a problem: tags,
anchors, merge keys, duplicate keys, `yes` and `007` without quotes. No message repeats a value, because it may be a
secret in the wrong place.

An edit keeps comments and other values. Positions come from the YAML nodes: empty values, flow mappings and block
mappings are each edited in their own style.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from ops.core.errors import ConfigError

KeyPath = tuple[str | int, ...]

LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_BYTES = 1_000_000
MAX_VALUES = 20_000
MAX_DEPTH = 20
MAX_PROBLEMS = 100

# Besides control characters: line breaks that editors do not count, and marks that make text look like other text.
_FORBIDDEN = re.compile(
    "[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]|\r(?!\n)"
)
_NULL = {"", "~", "null"}
_BOOLEAN = {"true": True, "false": False}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,17})\.[0-9]{1,18}")
_WORD = {"y": "true", "yes": "true", "on": "true", "true": "true"}


_WORD |= {"n": "false", "no": "false", "off": "false", "false": "false", "null": "null"}
_LONGEST_WORD = max(map(len, _WORD))
_FIRST_OF_A_NUMBER = frozenset("-+.0123456789")
_NUMBER_LIKE = re.compile(
    r"[-+]?\.?[0-9][0-9_]*(\.[0-9_]*)?(e[-+]?[0-9]+)?"  # 007, 1e3, 1_000, +5, .5
    r"|[-+]?0[xob][0-9a-f_]+"
    r"|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"  # 08:30 is 30,600 to YAML 1.1
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([t ].*)?"
    r"|[-+]?\.(inf|nan)",
    re.IGNORECASE,
)

# Part of a message of libyaml or PyYAML → message for people.
_SYNTAX = {
    "cannot start any token": "a character that cannot start a value; put quotes around the text",
    "mapping values are not allowed": 'a ":" where none fits; put quotes around the text, or check the indentation',
    "',' or ']'": "a list in brackets that does not end; close it with ]",
    "',' or '}'": "a mapping in braces that does not end; close it with }",
    "unexpected end of stream": "a quote that is not closed; close it",
    "nesting": f"nested more than {MAX_DEPTH} deep; write it flatter",
    "Unicode character escape": "an unknown escape in double quotes; use single quotes",
    "unknown escape": "an unknown escape in double quotes; use single quotes",
    "could not find expected ':'": 'text where a key belongs; write "key: value"',
    "expected key": "out of place; check the quotes, and align it with its neighbours",
    "expected <block end>": "out of place; check the quotes, and align it with its neighbours",
    "expected '-' indicator": "out of place; check the quotes, and align it with its neighbours",
}
_OPENED_EARLIER = ("',' or", "unexpected end of stream")


class ConfigProblem(NamedTuple):
    """A problem at a line and key path; `text` says what is wrong, then what to write."""

    line: int
    path: KeyPath
    text: str


class YamlDocument(NamedTuple):
    """Data of a YAML file. If `complete` is False, reading stopped early and `data` is None."""

    data: Any
    lines: dict[KeyPath, int]
    problems: tuple[ConfigProblem, ...]
    complete: bool

    def line(self, path: KeyPath) -> int:
        """Return the line of the key or list item at `path`, or of its nearest existing parent."""
        return _line_of_yaml_key(self.lines, path)


def read_yaml(text: str, *, loader: type[Any] = LOADER) -> YamlDocument:
    """Read YAML. Decode the file with `errors="surrogateescape"`, so that invalid UTF-8 becomes a problem."""
    reader = _YamlReader()
    data = None
    try:
        reader.characters(text)
        data = reader.document(_yaml_events(text, loader))
    except yaml.MarkedYAMLError as error:
        reader.problems.append(_syntax_problem(error))
    except _StopReadingError:
        pass
    else:
        return YamlDocument(data, reader.lines, tuple(reader.problems), complete=True)
    return YamlDocument(None, reader.lines, tuple(reader.problems), complete=False)


def describe_type(value: Any) -> str:
    """Return the type of a value in words, never the value: it may be a secret in the wrong place."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true or false"
    names = {str: "text", int: "a number", float: "a number", tuple: "a list", dict: "a mapping"}
    return names.get(type(value), "something else")


class _StopReadingError(Exception):
    """Stop reading, because the rest is unreadable or would not help."""


class _YamlReader:
    def __init__(self) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[ConfigProblem] = []
        self.events: Iterator[Any] = iter(())
        self.values = 0

    def report(self, path: KeyPath, text: str, *, line: int | None = None) -> None:
        self.problems.append(ConfigProblem(line or _line_of_yaml_key(self.lines, path), path, text))
        if len(self.problems) > MAX_PROBLEMS:
            raise _StopReadingError

    def stop(self, path: KeyPath, text: str) -> None:
        self.problems.append(ConfigProblem(_line_of_yaml_key(self.lines, path), path, text))
        raise _StopReadingError

    def characters(self, text: str) -> None:
        """Stop at forbidden characters, because a parser's line and message would be wrong after them."""
        if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
            self.stop((), "larger than 1 MB; keep only what the recovery needs")
        position = 0
        while match := _FORBIDDEN.search(text, position):
            self.report((), _describe_control_character(match[0]), line=1 + text.count("\n", 0, match.start()))
            position = text.find("\n", match.start())  # one problem per line is enough
            if position < 0:
                break
        if self.problems:
            raise _StopReadingError

    def document(self, events: Iterator[Any]) -> Any:
        self.events = events
        next(events)
        if isinstance(next(events), yaml.StreamEndEvent):
            return None
        first = next(events)
        self.lines[()] = _event_line(first)
        data = self.value(first, ())
        next(events)
        if not isinstance(after := next(events), yaml.StreamEndEvent):
            self.report((), "a second document; keep one per file", line=_event_line(after))
        return data

    def value(self, event: Any, path: KeyPath) -> Any:
        self.values += 1
        if self.values > MAX_VALUES:
            self.stop(path, f"more than {MAX_VALUES:,} values; keep only what the recovery needs")
        if len(path) > MAX_DEPTH:
            self.stop(path[:MAX_DEPTH], f"nested more than {MAX_DEPTH} deep; write it flatter")
        self.plainness(event, path, _line_of_yaml_key(self.lines, path))
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(path)
        return self.scalar(event, path) if isinstance(event, yaml.ScalarEvent) else None

    def plainness(self, event: Any, path: KeyPath, line: int) -> None:
        if isinstance(event, yaml.AliasEvent):
            self.report(path, "an alias (*); write the value out", line=line)
        elif event.anchor is not None:
            self.report(path, "an anchor (&); write the value without it", line=line)
        elif event.tag is not None:
            self.report(path, "a tag (!); write the value without it", line=line)
        # Only double quotes have escapes; other characters are checked before.
        elif getattr(event, "style", "") == '"' and (escaped := _FORBIDDEN.search(event.value)):
            self.report(path, f"an escape for a control character (U+{ord(escaped[0]):04X}); leave it out", line=line)

    def sequence(self, path: KeyPath) -> tuple[Any, ...]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            where = (*path, len(items))
            self.lines[where] = _event_line(event)
            items.append(self.value(event, where))
        return tuple(items)

    def mapping(self, path: KeyPath) -> dict[str, Any]:
        """Read a mapping. Of a duplicate key the first is kept, and the second is read for its problems."""
        result: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.key(event, path)
            where = (*path, key)
            if key in result:
                first = self.lines[where]
                self.report(where, f"given twice, first on line {first}; keep one", line=_event_line(event))
                where = (*path, f"{key} (again)")  # its own path, because its problems have other lines
            self.lines[where] = _event_line(event)
            value = self.value(next(self.events), where)
            result.setdefault(key, value)
        return result

    def key(self, event: Any, path: KeyPath) -> str:
        line = _event_line(event)
        if not isinstance(event, yaml.ScalarEvent):
            self.report(path, "a key that is not text; write a plain name", line=line)
            self.value(event, (*path, "?"))
            return "?"
        where = (*path, event.value)
        self.plainness(event, where, line)
        if event.implicit[0] and event.value == "<<":
            self.report(where, "a merge key; write the values out", line=line)
        elif event.implicit[0] and (doubt := _doubtful_scalar(event.value)):
            self.report(where, f"{doubt[0]}; quote it", line=line)
        elif event.implicit[0] and not isinstance(_plain_scalar(event.value), str):
            self.report(where, "a key that is not text; quote it", line=line)
        return str(event.value)

    def scalar(self, event: Any, path: KeyPath) -> Any:
        if not event.implicit[0]:
            return event.value
        if doubt := _doubtful_scalar(event.value):
            self.report(path, f"{doubt[0]}; quote it, or write {doubt[1]}")
        return _plain_scalar(event.value)


def _plain_scalar(text: str) -> Any:
    """Return the value of a scalar without quotes. Ambiguous numbers stay text."""
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if text[0] not in _FIRST_OF_A_NUMBER:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def _doubtful_scalar(text: str) -> tuple[str, str] | None:
    """Return why YAML readers disagree on `text` without quotes, and what to write instead; None if they agree."""
    if not isinstance(_plain_scalar(text), str):
        return None
    if text[0] not in _FIRST_OF_A_NUMBER and len(text) > _LONGEST_WORD:
        return None
    if meaning := _WORD.get(text.lower()):
        return f"{text} without quotes is {meaning} to some YAML readers", meaning
    if _NUMBER_LIKE.fullmatch(text):
        return "a number, date or time that YAML readers take differently", "a plain number"
    return None


def _describe_control_character(character: str) -> str:
    if character == "\t":
        return "a tab; indent with spaces"
    if "\ud800" <= character <= "\udfff":
        return "not UTF-8; save the file as UTF-8"
    if character == "\ufeff":
        return "a byte order mark; save the file as UTF-8 without one"
    return f"a control character (U+{ord(character):04X}); delete it"


def _syntax_problem(error: yaml.MarkedYAMLError) -> ConfigProblem:
    technical = error.problem or ""
    mark = error.problem_mark or error.context_mark
    if error.context_mark and any(part in technical for part in _OPENED_EARLIER):
        mark = error.context_mark  # the line of the opening bracket or quote helps more than the end of the file
    sentences = (sentence for part, sentence in _SYNTAX.items() if part in technical)
    text = next(sentences, "not YAML; check the quotes and the indentation here and on the line above")
    return ConfigProblem(mark.line + 1 if mark else 1, (), text)


def _yaml_events(text: str, loader: type[Any]) -> Iterator[Any]:
    try:
        yield from yaml.parse(text, Loader=loader)
    except (OverflowError, ValueError):  # PyYAML without libyaml, on an escape such as "\\UFFFFFFFF"
        raise yaml.MarkedYAMLError(problem="unknown escape") from None


def _line_of_yaml_key(lines: dict[KeyPath, int], path: KeyPath) -> int:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _event_line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def get_nested(value: Any, *keys: Any) -> Any:
    """Return the value below these keys, or None."""
    for key in keys:
        value = as_mapping(value).get(key) if isinstance(key, str) else None
    return value


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return the value if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_items(value: Any) -> tuple[Any, ...]:
    """Return the value if it is a list, else an empty one."""
    return value if isinstance(value, tuple) else ()


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
    if (child := find_child(root, key)) is not None:
        return apply_edits(text, [replace_node(text, child, value)])
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
    elif (child := find_child(holder, inner)) is not None:
        edit = replace_node(text, child, value)
    elif holder.flow_style:
        edit = insert_key(text, holder, inner, value)
    else:
        first = holder.value[0][0].start_mark
        edit = Edit(first.index, first.index, f"{inner}: {value}{newline}{' ' * first.column}")
    return apply_edits(text, [edit])


def insert_below(text: str, path: Iterable[str], key: str, value: str) -> str:
    """Insert a key into the mapping at the path. The text stays as it is without such a mapping, or with the key."""
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    for name in path:
        if (node := find_child(node, name)) is None:
            return text
    return text if find_child(node, key) else apply_edits(text, [insert_key(text, node, key, value)])


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
    """Insert after the last single-line value, because the end of a multi-line value is uncertain.

    Without a single-line value, insert before the first key.
    """
    if mapping.flow_style:
        at = max(_value_end(text, value) for _, value in mapping.value)
        return Edit(at, at, f", {key}: {value}")
    plain = [each for _, each in mapping.value if isinstance(each, yaml.ScalarNode) and each.style not in {"|", ">"}]
    first = mapping.value[0][0].start_mark
    indent = " " * first.column
    if not plain:
        newline = "\r\n" if "\r\n" in text else "\n"
        return Edit(first.index, first.index, f"{key}: {value}{newline}{indent}")
    at = text.find("\n", max(_node_end(text, each) for each in plain))
    at = len(text) if at < 0 else at
    newline = "\r\n" if text[:at].endswith("\r") else "\n"
    at -= len(newline) - 1
    return Edit(at, at, f"{newline}{indent}{key}: {value}")


def _value_end(text: str, node: Any) -> int:
    """Return the end of a value in a flow mapping."""
    return int(node.end_mark.index) if isinstance(node, yaml.CollectionNode) else _node_end(text, node)

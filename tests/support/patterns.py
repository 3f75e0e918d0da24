"""Find the regular expressions of a source tree, and texts on which a bad one is slow.

Both come from the code and the patterns, without running the program.
"""

import ast
import importlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from re import _constants as code  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

FLAGS_AT = {"compile": 1, "match": 2, "search": 2, "fullmatch": 2, "findall": 2, "finditer": 2, "sub": 4, "subn": 4}
FLAGS_AT["split"] = 3
MAY_USE = re.compile(rf"\bre\s*\.\s*(?:{'|'.join(FLAGS_AT)})\b|\bpattern\s*=")
"""Matches a file in which `_calls` may find something."""
REPEATS = {code.MAX_REPEAT, code.MIN_REPEAT, code.POSSESSIVE_REPEAT}
CATEGORIES = {code.CATEGORY_DIGIT: "0", code.CATEGORY_SPACE: " \t\n", code.CATEGORY_WORD: "a0_"}


@dataclass(frozen=True)
class UsedPattern:
    """A call with a pattern. `pattern` is None if it is known only when the program runs."""

    file: str
    function: str
    written: str
    pattern: re.Pattern[Any] | None


def used_in(root: Path, folder: Path, *, but: tuple[str, ...] = ()) -> Iterator[UsedPattern]:
    """Yield every call of `re` and every `pattern=` of a field, except in files whose path starts with `but`."""
    for path in sorted(folder.rglob("*.py")):
        if str(path.relative_to(root)).startswith(but):
            continue
        text = path.read_text()
        if not MAY_USE.search(text):
            continue  # parsing all of the code takes a second
        name = path.relative_to(root).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        for function, expression, flags in _calls(ast.parse(text)):
            made = _made(expression, flags, {"re": re}) or _made(expression, flags, _globals(name))
            yield UsedPattern(str(path.relative_to(root)), function, ast.unparse(expression), made)


def _globals(module: str) -> dict[str, Any]:
    """Return the module's globals. Used only for patterns that need them because imports are slow."""
    return vars(importlib.import_module(module)).copy()


def _calls(tree: ast.AST) -> Iterator[tuple[str, ast.expr, ast.expr | None]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        match node.func:
            case ast.Attribute(value=ast.Name(id="re"), attr=function) if function in FLAGS_AT:
                at = FLAGS_AT[function]
                yield function, node.args[0], keywords.get("flags") or (node.args[at] if len(node.args) > at else None)
            case ast.Name(id="Field") if "pattern" in keywords:
                yield "search", keywords["pattern"], None


def _made(expression: ast.expr, flags: ast.expr | None, known: dict[str, Any]) -> re.Pattern[Any] | None:
    try:
        given = 0 if flags is None else eval(compile(ast.Expression(flags), "flags", "eval"), known)
        return re.compile(eval(compile(ast.Expression(expression), "pattern", "eval"), known), given)
    except (NameError, TypeError, AttributeError):
        return None


def attacks(pattern: re.Pattern[Any]) -> Iterator[tuple[str, str]]:
    """Yield a prefix, and a text to repeat after it: each repetition entered and left, and near misses of the whole."""
    tree = parser.parse(
        pattern.pattern, pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags
    )
    whole = _sample(tree) or "a"
    found = dict.fromkeys((before[:200], pump) for own in ("", whole[0]) for before, pump in _pumps(tree, own) if pump)
    yield from found
    yield from (("", part) for part in {whole, whole[: len(whole) // 2 or 1], whole[:-1] or whole, whole[0]})
    yield from (("", (before + pump)[:400]) for before, pump in found if before)


def _pumps(tree: Sequence[Any], own: str, before: str = "") -> Iterator[tuple[str, str]]:
    for op, value in tree:
        if op in REPEATS:
            yield from ((before, each) for each in (_sample(value[2], own) or "a", *_alternatives(value[2], own)))
            yield from _pumps(value[2], own, before)
        elif op is code.BRANCH:
            for branch in value[1]:
                yield from _pumps(branch, own, before)
        elif op in {code.SUBPATTERN, code.ATOMIC_GROUP, code.ASSERT, code.ASSERT_NOT}:
            yield from _pumps(value if op is code.ATOMIC_GROUP else value[-1], own, before)
        before += _sample([(op, value)], own)


def _alternatives(tree: Sequence[Any], own: str) -> Iterator[str]:
    for op, value in tree:
        if op is code.BRANCH:
            yield from (_sample(branch, own) for branch in value[1])
        elif op is code.SUBPATTERN:
            yield from _alternatives(value[-1], own)


def _sample(tree: Sequence[Any], own: str = "") -> str:
    """Return a short matching text, with `own` in place of any character."""
    text = ""
    for op, value in tree:
        if op is code.LITERAL:
            text += chr(value)
        elif op in {code.ANY, code.NOT_LITERAL}:
            text += own if own and own != (chr(value) if value else "\n") else ("a" if value != ord("a") else "b")
        elif op is code.IN:
            text += _one_of(value, own)
        elif op is code.BRANCH:
            text += _sample(value[1][0], own)
        elif op in {code.SUBPATTERN, code.ATOMIC_GROUP}:
            text += _sample(value if op is code.ATOMIC_GROUP else value[-1], own)
        elif op in REPEATS:
            text += _sample(value[2], own) * value[0]
    return text


def _one_of(items: Sequence[Any], own: str) -> str:
    listed: set[str] = set()
    for op, value in items:
        if op is code.LITERAL:
            listed.add(chr(value))
        elif op is code.RANGE:
            listed.update(map(chr, range(value[0], min(value[1], value[0] + 300) + 1)))
        elif op is code.CATEGORY:
            listed.update(CATEGORIES.get(value, "-a"))
    if items[0][0] is code.NEGATE:
        return next(character for character in f'{own}a -"0~\0\x80' if character not in listed)
    return own if own and own in listed else min(listed, key=lambda character: (not character.isalnum(), character))

"""Mutants of Python source: small changes of its meaning, which tests should notice.

A mutant is described by its file, the enclosing function, the text of its line, and the change, so that it is found
again in another commit in which the line has moved.
"""

import ast
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

TURNED: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
}
OTHER: dict[type[ast.operator], ast.operator] = {
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
    ast.Mult: ast.FloorDiv(),
    ast.BitOr: ast.BitAnd(),
    ast.BitAnd: ast.BitOr(),
}


@dataclass(frozen=True, order=True)
class Mutant:
    """A change of one expression or statement."""

    file: str
    scope: str
    """Names of the enclosing classes and functions, with dots; "" in the module."""
    line: str
    """Text of the line on which the change begins, without indentation."""
    change: str
    place: int
    """Which of the equal changes in equal lines of the scope, from 0."""

    def rank(self, seed: str) -> str:
        """Return the position of the mutant in a draw: the same for each machine."""
        return hashlib.sha256(repr((seed, *asdict(self).values())).encode()).hexdigest()


@dataclass(frozen=True)
class Patch:
    """A replacement of text in one file, by hand: it brings a fault back, or takes a fix out."""

    name: str
    file: str
    before: str
    after: str

    def apply(self, root: Path) -> None:
        """Change the file. Raises ClickException unless the text occurs once."""
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.before) != 1:
            raise click.ClickException(
                f"the patch {self.name} does not fit {self.file}. Write it for the code of today."
            )
        path.write_text(text.replace(self.before, self.after), encoding="utf-8")


@dataclass(frozen=True)
class Edit:
    """A mutant in one version of its file."""

    mutant: Mutant
    number: int
    """Line of the file, from 1."""
    text: str
    """The whole file after the change."""


def edits(root: Path, file: str) -> Iterator[Edit]:
    """Yield every mutant of a file below `root`."""
    source = (root / file).read_text(encoding="utf-8")
    encoded, lines, seen = source.encode(), source.splitlines(), Counter[tuple[str, str, str]]()
    starts = [0]
    for line in encoded.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for scope, node, change, replaced in _changes(ast.parse(source), ""):
        begin, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        text = (encoded[:begin] + replaced.encode() + encoded[end:]).decode()
        key = (scope, lines[node.lineno - 1].strip(), change)
        yield Edit(Mutant(file, *key, seen[key]), node.lineno, text)
        seen[key] += 1


def find(root: Path, mutant: Mutant) -> Edit | None:
    """Return the mutant in this version of its file; None if the line is gone."""
    if not (root / mutant.file).exists():
        return None
    return next((each for each in edits(root, mutant.file) if each.mutant == mutant), None)


def draw(found: Iterable[Edit], seed: str, count: int) -> list[Edit]:
    """Return `count` mutants of all, at most one of a line."""
    drawn = dict[tuple[str, int], Edit]()
    for each in sorted(found, key=lambda each: each.mutant.rank(seed)):
        drawn.setdefault((each.mutant.file, each.number), each)
        if len(drawn) == count:
            break
    return list(drawn.values())


def _changes(node: ast.AST, scope: str) -> Iterator[tuple[str, Any, str, str]]:
    """Yield scope, node, description and new source of each change.

    Types, decorators and f-strings are left out: Python 3.11 does not say where in the file a part of an f-string
    stands.
    """
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
        return
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        scope = f"{scope}.{node.name}".lstrip(".")
    for field, value in ast.iter_fields(node):
        if field in {"annotation", "returns", "decorator_list", "type_params"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                if field in {"test", "ifs"} and isinstance(child, ast.Name | ast.Attribute | ast.Call | ast.NamedExpr):
                    yield scope, child, "→ not", f"(not ({ast.unparse(child)}))"
                yield from ((scope, child, *each) for each in _of_node(child))
                yield from _changes(child, scope)


def _of_node(node: ast.AST) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Compare(ops=[op], left=left, comparators=[right]) if type(op) in TURNED:
            before, after = TURNED[type(op)]
            yield f"{before} → {after}", f"({ast.unparse(left)} {after} {ast.unparse(right)})"
        case ast.BoolOp(op=op, values=values):
            after = "or" if isinstance(op, ast.And) else "and"
            yield f"→ {after}", f"({f' {after} '.join(f'({ast.unparse(each)})' for each in values)})"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "not →", f"({ast.unparse(operand)})"
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OTHER and not _is_text(node):
            other = OTHER[type(op)]
            yield f"→ {type(other).__name__}", f"({ast.unparse(ast.BinOp(left, other, right))})"
        case ast.Constant(value=bool() as value):
            yield f"→ {not value}", f"{not value}"
        case ast.Constant(value=int() | float() as value):
            yield "+ 1", f"({value} + 1)"
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield "branches", f"({ast.unparse(orelse)} if {ast.unparse(test)} else {ast.unparse(body)})"
        case ast.Return(value=value) if value is not None and ast.unparse(value) not in {"None", "False", "''", "()"}:
            yield "→ return None", "return None"
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.AugAssign():
            yield "left out", "pass"
        case ast.Break():
            yield "→ continue", "continue"
        case ast.Continue():
            yield "→ break", "break"


def _is_text(node: ast.BinOp) -> bool:
    """Return whether a part is a text, so that another operator would only be a crash."""
    parts = (each for each in ast.walk(node) if isinstance(each, ast.JoinedStr | ast.Constant))
    return any(isinstance(each, ast.JoinedStr) or isinstance(each.value, str) for each in parts)

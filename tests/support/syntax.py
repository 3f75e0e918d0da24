"""Syntax trees of this repository's files: parsing all of them takes a second, so each one is parsed once."""

import ast
import gc
from functools import cache
from pathlib import Path


@cache
def parsed(path: Path) -> ast.Module:
    """Return the tree, which the garbage collector leaves out: it stays, and has a thousand objects per file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    gc.freeze()
    return tree


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(parsed(path)))


def named(node: ast.AST, place: str) -> str:
    """Return the dotted name of the node's place: functions and classes, or a constant of the module."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return f"{place}.{node.name}".lstrip(".")
    if isinstance(node, ast.Assign | ast.AnnAssign) and not place:
        return ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
    return place

"""Files of the repository that a team replaces with its own; tests must not open them.

This way tests pass in every copy. They use the configuration in examples/fortunet, and workflows that
`tests.support.workflows` generates from it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
REPLACED = frozenset({"ops.yml", "limits.yml", "README.md", "CHANGELOG.md"})
GENERATED = (".github/workflows", ".github/ISSUE_TEMPLATE")
"""Folders that `ops workflows sync` writes."""

_files = frozenset(f"{ROOT}/{name}" for name in REPLACED)
_folders = tuple(f"{ROOT}/{name}/" for name in GENERATED)
_endings = (".yml", ".md")
_allowed: ContextVar[bool] = ContextVar("allowed", default=False)


def refuse_open(arguments: tuple[Any, ...]) -> None:
    """Fail if this process opens one of the files."""
    _check(arguments[0], None)


def refuse_program(arguments: tuple[Any, ...]) -> None:
    """Fail if this process passes the path of one of the files to another process."""
    if not isinstance(arguments[1], str | bytes):
        words = list(arguments[1])
        folder = words[words.index("-C") + 1] if "-C" in words else arguments[2]  # git -C FOLDER
        for word in words:
            _check(word, folder)


def _check(path: Any, folder: Any) -> None:
    if isinstance(path, str | os.PathLike) and (name := str(path)).endswith(_endings):
        name = os.path.abspath(os.path.join(folder or "", name))  # noqa: PTH100, PTH118  both are called at each open()
        if (name in _files or name.startswith(_folders)) and not _allowed.get():
            raise AssertionError(f"a test uses {name}, which is not the same in every copy of this repository")


def allow_cleanup() -> None:
    """Let pytest delete its old folders: it opens entries by their name within a folder, which the hook cannot see."""
    _allowed.set(True)


@contextmanager
def allowed() -> Iterator[None]:
    """Let this thread read the files, only where their content does not matter."""
    before = _allowed.set(True)
    try:
        yield
    finally:
        _allowed.reset(before)


def readme() -> str:
    """Return the text of the README with the title Backout. Return nothing if a team has replaced it."""
    with allowed():
        path = ROOT / "README.md"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    return text if text.startswith("# Backout\n") else ""

"""Two commits merged: file by file from where they parted, and line by line within a file, as git does it."""

import difflib
from typing import NamedTuple

from sandbox.github.git.state import Commit, Files, Git


class _Edit(NamedTuple):
    """Lines `start` to `end` of the base are these instead."""

    start: int
    end: int
    lines: list[bytes]


def merged(git: Git, base: Commit, head: Commit) -> Files | None:
    """The files with what either changed, None where they are in conflict."""
    fork = git.merge_base(base, head)
    before = fork.files if fork else {}
    files = {}
    for path in sorted({*before, *base.files, *head.files}):
        was, ours, theirs = (files_.get(path) for files_ in (before, base.files, head.files))
        if theirs in {was, ours}:
            content = ours
        elif was == ours:
            content = theirs
        elif was is None or ours is None or theirs is None:
            return None  # made twice, or changed here and deleted there
        else:
            content = _by_line(was, ours, theirs)
            if content is None:
                return None
        if content is not None:
            files[path] = content
    return files


def _by_line(was: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """An edit that meets or touches another one is a conflict, unless both are the same."""
    lines = was.splitlines(keepends=True)
    edits = sorted([*_edits(lines, ours), *_edits(lines, theirs)])
    kept: list[_Edit] = []
    for edit in edits:
        if kept and edit == kept[-1]:
            continue
        if kept and edit.start <= kept[-1].end:
            return None
        kept.append(edit)
    for edit in reversed(kept):
        lines[edit.start : edit.end] = edit.lines
    return b"".join(lines)


def _edits(before: list[bytes], after: bytes) -> list[_Edit]:
    lines = after.splitlines(keepends=True)
    found = difflib.SequenceMatcher(None, before, lines, autojunk=False).get_opcodes()
    return [_Edit(start, end, lines[at:to]) for kind, start, end, at, to in found if kind != "equal"]

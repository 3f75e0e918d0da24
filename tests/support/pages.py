"""Pages of the documentation, and their generated blocks."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from tests.conftest import ROOT
from tests.support import team_files

README = ROOT / "README.md"


def text_of(page: Path) -> str:
    """Return the text of a page of ours: nothing for a README that a team wrote."""
    return team_files.readme() if page == README else page.read_text()


def block(text: str, name: str) -> re.Match[str]:
    found = re.search(rf"(<!-- {name}[^>]*-->\n)(.*?)(<!-- /{name} -->)", text, re.DOTALL)
    assert found, f"no block {name}"
    return found


def assert_block(path: Path, name: str, wanted: str, *, update: bool) -> None:
    assert_blocks([(path, name, wanted)], update=update)


def assert_blocks(blocks: Iterable[tuple[Path, str, str]], *, update: bool) -> None:
    """Compare each generated block with its text, or write it."""
    old = []
    for path, name, wanted in blocks:
        text = text_of(path)
        found = block(text, name) if text else None
        if found is None or found[2] == wanted:
            continue
        if update:
            write_whole(path, text.replace(found[0], f"{found[1]}{wanted}{found[3]}"))
            continue
        old.append("\n".join([f"{path.relative_to(ROOT)}, block {name}:", *differing_lines(found[2], wanted)]))
    assert not old, "\n".join(old)


def differing_lines(old: str, new: str) -> list[str]:
    """Return the lines that differ."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), "written", "generated", lineterm="", n=0)
    return list(lines)


def write_whole(path: Path, text: str) -> None:
    """Replace the file in one step, since other tests read it meanwhile."""
    with team_files.allowed():
        new = path.with_name(f"{path.name}.new")
        new.write_text(text)
        new.replace(path)

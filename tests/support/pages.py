"""Pages of the documentation, and their generated blocks."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from ops.config.sections import ScheduleInterval
from ops.setup.workflow_jobs import ScheduledTask
from tests.conftest import ROOT
from tests.support import team_files
from tests.support.reference import table

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


def folder_index(folder: str) -> str:
    """Return a row for each page of the folder: its title and its first sentence."""
    rows: list[tuple[str, str]] = []
    for page in sorted((ROOT / "docs" / folder).glob("*.md")):
        if page.name == "README.md":
            continue
        text = re.sub(r"<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        title, _, rest = text.partition("\n")
        begins = rest.partition("\n## ")[0].split("\n\n")
        prose = (each for each in begins if each.strip() and not each.lstrip().startswith(("|", "-")))
        paragraph = next(prose, "")
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", " ".join(paragraph.split()))
        rows.append((f"[{title.lstrip('# ')}]({page.name})", re.split(r"(?<=[.:])(?: |$)", words)[0]))
    rows.sort(key=lambda row: row[0].lower())
    return table(("page", "about"), rows)


def schedule_costs() -> str:
    """Return the billed minutes of 30 days for each interval of a schedule, for one job."""
    shown: tuple[ScheduleInterval, ...] = ("5m", "15m", "30m", "1h", "6h", "24h", "7d")
    tasks = {every: ScheduledTask("", "", 0, every, (), other_jobs=1) for every in shown}
    return table(("every", "minutes a month"), ((f"`{every}`", f"{task.minutes:,}") for every, task in tasks.items()))

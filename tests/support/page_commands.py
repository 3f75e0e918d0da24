"""Commands of the documentation that a reader types: in blocks, in tables, and in sentences with `./run ops`."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.varying import shape

BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
GENERATED_OUTPUT = re.compile(r"<!-- drill:.*?<!-- /drill -->", re.DOTALL)
FOLDERS_WITH_ROWS = {"how-to", "tutorial"}
"""Folders whose tables show commands to type; in other tables `ops doctor` is a name."""
LEFT_OUT = "…"
"""Line of a capture for any number of lines that are left out."""


@dataclass(frozen=True)
class PageCommand:
    """A command as a page shows it, on one line."""

    text: str
    output: str = ""
    """The capture below its block; "" without one."""

    @property
    def words(self) -> tuple[str, ...]:
        """Return the arguments of `ops`."""
        return tuple(shlex.split(re.sub(r"^(\./run )?ops ", "", self.text), comments=True))

    @property
    def is_ops(self) -> bool:
        return re.match(r"(\./run )?ops ", self.text) is not None


def commands_of(page: Path) -> list[PageCommand]:
    """Return the commands of the page in its order, each one once.

    `ops doctor` within a sentence is the name of a command, and no line to type.
    """
    text = GENERATED_OUTPUT.sub("", page.read_text(encoding="utf-8"))
    found: dict[str, PageCommand] = {}
    in_sentences = _in_sentences(text, has_rows=page.parent.name in FOLDERS_WITH_ROWS)
    for _, command in sorted([*_in_blocks(text), *in_sentences], key=lambda each: each[0]):
        found.setdefault(command.text, command)
    return list(found.values())


def _in_blocks(text: str) -> Iterator[tuple[int, PageCommand]]:
    blocks = list(BLOCK.finditer(text))
    for place, block in enumerate(blocks):
        if block[2]:
            continue
        following = blocks[place + 1] if place + 1 < len(blocks) else None
        is_capture = (
            following is not None and following[2] == "text" and not text[block.end() : following.start()].strip()
        )
        commands = list(split_block(block[3]))
        for number, command in enumerate(commands, 1):
            output = following[3] if following is not None and is_capture and number == len(commands) else ""
            yield block.start() + number, PageCommand(command, output)


def split_block(block: str) -> Iterator[str]:
    """Yield the commands of a block; a line that ends with a backslash, a pipe or in a quotation goes on."""
    lines: list[str] = []
    for line in block.splitlines():
        lines.append(line.strip())
        whole = "\n".join(lines)
        if line.endswith(("\\", "|")) or whole.count("'") % 2:
            continue
        yield re.sub(r" *\\\n *", " ", whole)
        lines = []


def _in_sentences(text: str, *, has_rows: bool) -> Iterator[tuple[int, PageCommand]]:
    prose = BLOCK.sub(lambda block: " " * len(block[0]), text)
    for found in re.finditer(r"`((?:\./run )?ops [^`…]+)`", prose):
        is_row = has_rows and prose[prose.rfind("\n", 0, found.start()) + 1] == "|"
        if is_row or found[1].startswith("./run"):
            yield found.start(), PageCommand(" ".join(found[1].replace("\\|", "|").split()))


def differing_line(capture: str, printed: str) -> str:
    """Return the first line of the capture that was not printed at its place, or ""."""
    lines, may_skip, place = printed.splitlines(), False, 0
    for line in capture.splitlines():
        if line.strip() == LEFT_OUT:
            may_skip = True
            continue
        known = [number for number, each in enumerate(lines[place:], place) if shape(each) == shape(line)]
        if not known or (known[0] != place and not may_skip):
            return line
        place, may_skip = known[0] + 1, False
    return "" if may_skip or place == len(lines) else f"the capture ends before: {lines[place]}"

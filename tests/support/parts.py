"""Parts of the merge set, each for a machine of its own, and the judgment of the messages that all of them made.

    ./run pytest --part 2/6 --messages-to 2.json     run one part, and write the messages that its tests made
    ./run tests.support.parts 1.json 2.json …        compare the messages of all parts with the code

The workflow *ci* does both. The name of a test alone decides about its part, so that all machines agree.
"""

import json
import re
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from tests.support import message_sheet
from tests.support.message_sheet import Record

ALL = "1/1"
TEXT = re.compile(r"(\d+)/(\d+)")


@dataclass(frozen=True)
class Part:
    """A plugin of pytest that leaves out the tests of the other parts."""

    number: int
    """From 1 to `count`."""
    count: int

    @classmethod
    def parse(cls, text: str | None) -> "Part":
        """Return the part of a command line; all tests are part 1 of 1."""
        found = TEXT.fullmatch(text or ALL)
        part = cls(*map(int, found.groups())) if found else cls(0, 0)
        if not 1 <= part.number <= part.count:
            raise pytest.UsageError(f"--part {text}: expected a number and how many parts there are, such as 2/6")
        return part

    def has(self, test: str) -> bool:
        """Return whether the test with this ID is in the part."""
        return zlib.crc32(test.encode()) % self.count == self.number - 1

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        if others := [item for item in items if not self.has(item.nodeid)]:
            items[:] = [item for item in items if self.has(item.nodeid)]
            config.hook.pytest_deselected(items=others)


def write(path: Path, part: str | None, record: Record, *, has_skipped: bool) -> None:
    """Keep what the tests of a part made."""
    content = {"part": part or ALL, "has_skipped": has_skipped, "messages": record.to_json()}
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


@click.command(help=__doc__)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
def main(files: tuple[Path, ...]) -> None:
    """Exit with 1 if a part is missing, or if no part made one of the messages."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    given = sorted(each["part"] for each in found)
    if given != sorted(f"{number}/{len(found)}" for number in range(1, len(found) + 1)):
        raise click.ClickException(f"each part of one run is needed once, and these are {', '.join(given)}")
    record = Record()
    for each in found:
        record.add(each["messages"])
    judgment = message_sheet.judge(record, has_skipped=any(each["has_skipped"] for each in found))
    for title, lines in judgment.sections():
        print(title, *lines, sep="\n")
    sys.exit(1 if judgment.is_failure else 0)


if __name__ == "__main__":
    main()

"""Each message of the code has its row in `tests/messages.json`, with its text and an example of a real run."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

from ops.core import errors
from ops.core.errors import PROVED
from tests.conftest import ROOT
from tests.support import message_sheet
from tests.support.message_sheet import Record
from tests.support.messages import lines_of_calls, places
from tests.support.messages_never_made import NEVER
from tests.support.syntax import nodes

WITHOUT_TEXT = {"SecretsChanged", "LatestNotDeployed"}
"""Errors that make their text of names."""
ERRORS = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
WORDS = 5
"""A test that has as many words of a message in a row repeats its sentence."""


def test_sheet_has_each_message_as_the_code_has_it() -> None:
    assert message_sheet.find_differences() == [], f"Read them, then write them: {message_sheet.UPDATE}"


def test_no_error_of_the_code_is_overlooked() -> None:
    """This test searches the text of the files, and the sheet their syntax trees."""
    names = "|".join(sorted(ERRORS - WITHOUT_TEXT | {"RefusedRequest", "Finding", "NotProvable"}))
    pattern = re.compile(rf"(?<![\w\"'`.])(?:errors\.)?({names})\((?!Exception|OpsError|\w+Error\):)")
    known = lines_of_calls()

    missing = [
        f"{where} {line.strip()}"
        for path in sorted((ROOT / "ops").rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
        and not line.startswith("class ")
        and (where := f"{path.relative_to(ROOT)}:{number}") not in known
    ]

    assert missing == []


def test_run_that_makes_no_message_misses_each() -> None:
    missing = message_sheet.find_missing(Record())

    assert [line.rpartition(", line ")[0] for line in missing] == [
        place.key for place in places() if place.key not in NEVER
    ]


def test_heading_shows_the_decision() -> None:
    """Whether the service was healthy before stands in the message."""
    _, results = message_sheet.read()
    shown: dict[tuple[str, str], set[str]] = {}
    for name, row in results.items():
        runbook, decision = name.rsplit(", ", 1)
        shown.setdefault((runbook, row["heading"]), set()).add("proved" if decision in PROVED else decision)

    assert {heading: decisions for heading, decisions in shown.items() if len(decisions) > 1} == {}


def sequences(text: str) -> set[str]:
    """Return each sequence of words of the text without a value or a command between them."""
    parts = [re.findall(r"[\w'-]+", part) for part in re.split(r"`[^`]*`|\{[^{}]*\}|[\[\]|\n]", text)]
    return {" ".join(words[at : at + WORDS]) for words in parts for at in range(len(words) - WORDS + 1)}


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of each literal of a file that is no docstring."""
    alone = {id(node.value) for node in nodes(path) if isinstance(node, ast.Expr)}
    for node in nodes(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.lineno, node.value


def repeated() -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line} {text}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for line, text in literals(path)
        if sequences(text) & made()
    ]


@cache
def made() -> set[str]:
    return set(chain.from_iterable(sequences(text.shown) for place in places() for text in place.texts.values()))


def test_a_sentence_of_a_message_stands_in_the_sheet_only() -> None:
    assert repeated() == []

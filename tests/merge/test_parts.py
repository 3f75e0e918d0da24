"""Parts of the merge set: together they are all tests, each once, and one judgment is of the messages of all."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.conftest import ROOT
from tests.support import parts
from tests.support.message_sheet import Record
from tests.support.messages import Place, places
from tests.support.messages_never_made import NEVER


def made() -> list[Place]:
    """Return the messages that tests have to make. Not at import: each worker would read the whole code."""
    return [place for place in places() if place.key not in NEVER]


def write_part(folder: Path, part: str, first: int, step: int, *, has_skipped: bool = False) -> str:
    """Write what a part made: of all messages one in so many."""
    path = folder / f"{part.replace('/', '-')}.json"
    record = Record(places={(place.kind, place.position): [] for place in made()[first::step]})
    parts.write(path, part, record, has_skipped=has_skipped)
    return str(path)


def judge(*files: str) -> tuple[int, str]:
    done = CliRunner().invoke(parts.main, files)
    return done.exit_code, done.output


def test_each_message_has_to_occur_in_one_of_the_parts(tmp_path: Path) -> None:
    one, two = (write_part(tmp_path, f"{number}/2", number - 1, 2) for number in (1, 2))
    assert judge(two, one)[0] == 0

    write_part(tmp_path, "2/2", 3, 2)

    code, shown = judge(one, two)
    second = made()[1]
    assert code == 1
    assert shown.endswith(f"write a test, or remove the message\n{second.key}, line {second.line}\n")


def test_messages_of_a_skipped_test_are_not_missed(tmp_path: Path) -> None:
    one, two = write_part(tmp_path, "1/2", 0, 2), write_part(tmp_path, "2/2", 3, 2, has_skipped=True)

    code, shown = judge(one, two)

    assert code == 0
    assert "tests were skipped; else this would fail." in shown


@pytest.mark.parametrize("given", [["1/3", "2/3"], ["1/2", "2/3", "3/3"], ["2/2"]])
def test_missing_part_is_an_error(tmp_path: Path, given: list[str]) -> None:
    files = [write_part(tmp_path, part, 0, 1) for part in given]

    code, shown = judge(*files)

    assert code == 1
    assert ", ".join(given) in shown


def test_same_part_twice_is_an_error(tmp_path: Path) -> None:
    one = write_part(tmp_path, "1/2", 0, 1)

    assert judge(one, one)[0] == 1


def test_parts_are_all_tests_and_each_test_once(tmp_path: Path) -> None:
    """The parts of one file run here, which make few of all messages."""
    file = "tests/merge/incident/test_state_of_environments.py"
    argv = [sys.executable, "-m", "pytest", "-q", "-n0", "-pno:cacheprovider", "-rA", file]
    ran: list[str] = []
    files = [str(tmp_path / f"{number}.json") for number in (1, 2)]

    for number, to in enumerate(files, 1):
        options = ["--part", f"{number}/2", "--messages-to", to]
        done = subprocess.run([*argv, *options], cwd=ROOT, capture_output=True, text=True, check=True)
        ran += re.findall(r"^PASSED (.+)$", done.stdout, re.MULTILINE)

    done = subprocess.run([*argv, "--collect-only"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert sorted(ran) == sorted(line for line in done.stdout.splitlines() if "::" in line)
    code, shown = judge(*files)
    assert code == 1
    assert " read_config ConfigError, line " in shown

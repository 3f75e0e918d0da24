"""Runs of tests note the place and the text of each message that they make."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT, World
from tests.support import message_sheet
from tests.support.message_record import MessageObserver
from tests.support.messages import places


@pytest.fixture
def observer() -> Iterator[MessageObserver]:
    found = MessageObserver()
    found.observe()
    yield found
    found.stop()


def test_refusal_is_noted_at_its_place(world: World, observer: MessageObserver) -> None:
    (missing,) = [each for each in places() if each.key.endswith(" read_config ConfigError")]
    refused = world.rollback("--config", "elsewhere/ops.yml")

    record = observer.record()

    assert refused.code == 2
    assert record.has(missing)
    assert {"message", "hint"} <= record.examples(missing)[0].keys()
    assert message_sheet.is_example(missing, record.examples(missing)[0])


@pytest.mark.parametrize(
    ("file", "code"), [("tests/limits/test_diff.py", 1), ("tests/merge/publish/test_picture.py", 0)]
)
def test_run_of_all_tests_fails_if_a_message_never_occurs(file: str, code: int) -> None:
    """The run takes one file for all tests. Those of the second one are skipped, because there is no browser."""
    argv = [sys.executable, "-m", "pytest", "-q", "-n2", "-o", f"testpaths={file}"]

    done = subprocess.run(
        argv, cwd=ROOT, env={**os.environ, "PATH": "/nowhere"}, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == code, done.stdout + done.stderr
    assert " read_config ConfigError, line " in done.stdout

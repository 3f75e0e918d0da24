"""A pytest plugin that notes which lines of `ops` each test executes, also in the workers of xdist.

    COVERED=FOLDER pytest -p executed_lines

Each process writes one data file of coverage.py to the folder. Its contexts are the tests, and "" is the import.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from coverage import Coverage

MODULES = str(Path.cwd() / "ops" / "*")
_running = Coverage(
    data_file=str(Path(os.environ["COVERED"], f"lines.{os.getpid()}")), include=[MODULES], messages=False
)
_running.start()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _running.switch_context(item.nodeid)
    yield
    _running.switch_context("")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    _running.stop()
    _running.save()

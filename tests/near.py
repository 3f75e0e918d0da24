"""Run the fast tests nearest to a change, until one fails or half a minute is over.

    ./run tests.near [COMMIT]     the change since COMMIT (default: HEAD), with files that git does not track yet

Changed tests come first. Of other test files those are nearer whose path has more words of the path of a changed file,
or which import it: a change of `ops/gate/attempts.py` begins with `tests/gate/test_attempts.py`. Names say nothing
about calls, templates and settings, so a run without a failure is a first answer only. It ends with what did not run.

Exits with 0 only if all near tests passed. A run that ends early, by a failure or the time, exits with 1 or 2.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from functools import cache

import click
import pytest

from tests.conftest import ROOT, SLOW_FOLDERS, collect_ignore

FILES_BY_CORE = 30
"""Nearest files that are run. The 320 of the fast set take 330 s of CPU, so these take about half a minute."""
SECONDS = "NEAR_TESTS_SECONDS"
"""Variable of the environment with the seconds after the collection in which tests begin."""
ALL = "./run pytest -m 'not slow'"


@click.command(help=__doc__)
@click.argument("commit", default="HEAD")
@click.option("--seconds", default=30.0, show_default=True, help="Time for the tests, after they are collected.")
def main(commit: str, seconds: float) -> None:
    """Become pytest, with this module as a plugin."""
    changed = changed_files(commit)
    if not changed:
        raise click.ClickException(f"nothing changed since {commit}. Name an earlier commit, such as HEAD~1")
    nearest = sort_by_nearness(fast_files(), changed)[: FILES_BY_CORE * (os.cpu_count() or 1)]
    # Each worker takes the next test of the list: with bundles, one would begin with the last third.
    options = ["-xq", "-mnot slow", "-pno:randomly", f"-p{__spec__.name}", "--dist=load", "--maxschedchunk=1"]
    os.environ[SECONDS] = str(seconds)
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *options, *nearest])


def changed_files(commit: str) -> list[str]:
    """Return the paths of files that differ from the commit, and of new ones."""
    found = []
    for command in (["diff", "--name-only", commit, "--"], ["ls-files", "--others", "--exclude-standard"]):
        done = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise click.ClickException(done.stderr.strip())
        found += done.stdout.splitlines()
    return found


def fast_files() -> list[str]:
    """Return the paths of test files that the fast set has."""
    paths = (path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py"))
    return sorted(str(path) for path in paths if path.parts[1] not in {*SLOW_FOLDERS, *collect_ignore})


def sort_by_nearness(tests: Iterable[str], changed: Iterable[str]) -> list[str]:
    """Return the test files, the nearest to one of the changed files first."""
    paths = list(changed)

    def nearness(test: str) -> float:
        if test in paths:
            return 2.0
        text = (ROOT / test).read_text(encoding="utf-8")
        return max(_common(path, test) + bool(_module(path).search(text)) / 2 for path in paths)

    return sorted(tests, key=lambda test: (-nearness(test), len(_words(test)), test))


def _common(path: str, test: str) -> float:
    """Return the share of the words of a path that the path of the test has too."""
    return len(_words(path) & _words(test)) / len(_words(path))


@cache
def _words(path: str) -> set[str]:
    """Return the words of a path, without those that say nothing about the place."""
    return set(re.findall(r"[a-z0-9]+", path.lower())) - {"ops", "tests", "test", "init", "py", "yml", "md"} or {path}


@cache
def _module(path: str) -> re.Pattern[str]:
    """Return what finds an import of the changed file."""
    name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return re.compile(rf"\b{re.escape(name)}\b")


class NearTests:
    """Begins no test after the deadline, and says at the end how many did not run."""

    def __init__(self) -> None:
        self._until = 0.0
        self._chosen: set[str] = set()
        self._ran: set[str] = set()

    def pytest_collection_finish(self) -> None:
        self._until = time.monotonic() + float(os.environ[SECONDS])

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._ran.add(nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Stop this process, a worker of xdist, after its test."""
        if time.monotonic() > self._until:
            item.session.shouldstop = "the time is over"

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self._chosen = set(ids)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        left = len(self._chosen - self._ran)
        chosen = terminalreporter.config.getoption("file_or_dir")
        files = f"the {len(chosen)} nearest of {len(fast_files())} files"
        terminalreporter.write_line(f"{left} of {len(self._chosen)} fast tests in {files} did not run. All: {ALL}")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(NearTests())


if __name__ == "__main__":
    main()

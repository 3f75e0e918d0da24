"""Deferred loading of PyGithub's modules, also from several threads."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

LOADED = """
import sys
from ops.github.deferred_modules import defer
defer()
from github.Repository import Repository
import github.Issue, github.Issue

def is_loaded(name):
    return any(isinstance(value, type) for value in vars(sys.modules[name]).values())
"""


def run_program(program: str, *path: Path) -> list[str]:
    """Return the words that the program prints in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PYTHONPATH": ":".join(map(str, path))},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_unused_modules_are_not_loaded() -> None:
    program = LOADED + "print(*(name for name in ('github.Repository', 'github.Issue', 'jwt') if is_loaded(name)))"

    assert run_program(program) == ["github.Repository"]
    assert run_program(
        "import sys, github.Repository; print('nacl' in sys.modules, 'jwt.algorithms' in sys.modules)"
    ) == [
        "True",
        "True",
    ]
    assert run_program(LOADED + "print('nacl' in sys.modules, 'jwt.algorithms' in sys.modules)") == ["False", "False"]


def test_first_attribute_access_loads_the_module() -> None:
    program = LOADED + "print(github.Issue.Issue.__name__, is_loaded('github.Issue'), hasattr(github.Issue, 'Nothing'))"

    assert run_program(program) == ["Issue", "True", "False"]


def test_concurrent_threads_get_the_complete_module(tmp_path: Path) -> None:
    package = tmp_path / "github"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "slow.py").write_text("import time\nprint('once')\ntime.sleep(0.1)\nLAST = 'last'\n")
    program = """
from concurrent.futures import ThreadPoolExecutor
from ops.github.deferred_modules import defer
defer()
import github.slow
with ThreadPoolExecutor(8) as threads:
    print(*threads.map(lambda _: github.slow.LAST, range(8)))
"""

    assert run_program(program, tmp_path) == ["once", *["last"] * 8]


def test_thread_waits_for_a_concurrent_package_import(tmp_path: Path) -> None:
    package = tmp_path / "github"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import time\nimport github.first\ntime.sleep(0.3)\nfrom github.first import FIRST\nNAME = 'package'\n"
    )
    (package / "first.py").write_text("import time\ntime.sleep(0.3)\nFIRST = 'first'\n")
    (package / "second.py").write_text(
        "import time\ntime.sleep(0.4)\nfrom github import NAME\nSECOND = f'second after {NAME}'\n"
    )
    program = """
import time
from concurrent.futures import ThreadPoolExecutor
from ops.github.deferred_modules import defer
defer()

def read_second():
    time.sleep(0.1)
    from github.second import SECOND
    return SECOND

with ThreadPoolExecutor(2) as threads:
    reading = threads.submit(read_second)
    import github
    print(reading.result(), github.FIRST)
"""

    assert run_program(program, tmp_path) == ["second", "after", "package", "first"]


def test_failed_import_is_raised_at_every_access(tmp_path: Path) -> None:
    package = tmp_path / "github"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "broken.py").write_text("import no_such_module\nNAME = 1\n")
    program = """
from ops.github.deferred_modules import defer
defer()
import github.broken
for _ in range(2):
    try:
        github.broken.NAME
    except ImportError as error:
        print(error.name)
"""

    assert run_program(program, tmp_path) == ["no_such_module"] * 2

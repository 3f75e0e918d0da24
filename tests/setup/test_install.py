"""The set-up of a job: which wheels `install.py` takes from which source, and that only locked ones are unpacked."""

import io
import os
import re
import runpy
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT
from tests.support import plain_yaml
from tests.support.prepared_python import RunPython, fresh_python
from tests.support.wheels import Index, index, lock, wheel

ACTION = ROOT / ".github/actions/setup"
PROGRAM = ACTION / "install.py"
NOWHERE = "http://127.0.0.1:9"
"""Nothing listens there."""
NATIVE = f"cp3{sys.version_info.minor}-cp3{sys.version_info.minor}-manylinux_2_17_{os.uname().machine}"
SPAM = wheel("spam", {"spam/__init__.py": "", "spam/run.sh": "", "spam-1.0.data/scripts/spam": "#!python\n"})


@pytest.fixture
def offered() -> Iterator[Index]:
    with index() as each:
        yield each


class Setup:
    """`install.py`, in a folder of its own."""

    def __init__(self, folder: Path, offered: Index, python: RunPython) -> None:
        self.folder, self.target, self.python = folder, folder / "target", python
        self.environ = {"PIP_INDEX_URL": f"{offered.url}/simple"}
        self.said = ""

    def run(self, text: str, command: str = "install", to: str = "--target") -> int:
        (self.folder / "lock.txt").write_text(text)
        arguments: list[str | Path] = [command, "--lock", self.folder / "lock.txt", to, self.target]
        argv = [str(each) for each in (PROGRAM, *arguments)]
        ran = self.python(PROGRAM.read_text(), environ=self.environ, folder=self.folder, argv=argv)
        self.said = ran.stderr
        return ran.returncode

    @property
    def files(self) -> set[str]:
        return {str(path.relative_to(self.target)) for path in self.target.rglob("*") if path.is_file()}


@pytest.fixture
def setup(tmp_path: Path, offered: Index, python: RunPython) -> Setup:
    return Setup(tmp_path, offered, python)


def offer(offered: Index, **files: bytes) -> None:
    offered.files["spam"] = {f"spam-1.0-{tag.replace('__', '-')}.whl": content for tag, content in files.items()}


def test_a_wheel_is_unpacked_where_pip_puts_its_files(setup: Setup, offered: Index) -> None:
    offer(offered, py3__none__any=SPAM)

    assert setup.run(lock({"spam": [SPAM]})) == 0, setup.said
    info = {f"spam-1.0.dist-info/{name}" for name in ("METADATA", "RECORD", "WHEEL")}
    assert setup.files == {"spam/__init__.py", "spam/run.sh", "bin/spam", *info}
    executable = {name for name in setup.files if os.access(setup.target / name, os.X_OK)}
    assert executable == {"spam/run.sh", "bin/spam"}


def test_the_program_imports_all_that_it_uses(setup: Setup, offered: Index) -> None:
    offer(offered, py3__none__any=SPAM)
    setup.python = fresh_python

    assert setup.run(lock({"spam": [SPAM]})) == 0, setup.said


def test_packed_answers_are_read(setup: Setup, offered: Index) -> None:
    offer(offered, py3__none__any=SPAM)
    offered.packs = True

    assert setup.run(lock({"spam": [SPAM]})) == 0, setup.said
    assert "spam/__init__.py" in setup.files


@pytest.mark.parametrize(
    ("best", "others"),
    [
        (NATIVE, ["py3-none-any"]),
        (NATIVE, [f"cp38-abi3-manylinux_2_17_{os.uname().machine}"]),
        (f"cp38-abi3-manylinux2014_{os.uname().machine}", ["py3-none-any"]),
        (f"cp311-abi3-manylinux_2_17_{os.uname().machine}", [f"cp38-abi3-manylinux_2_17_{os.uname().machine}"]),
        (NATIVE, [NATIVE.replace("2_17", "2_5")]),
        ("py2.py3-none-any", [NATIVE.replace("manylinux", "musllinux")]),
        ("py3-none-any", [NATIVE.replace("2_17", "2_999"), NATIVE.replace(os.uname().machine, "riscv64")]),
        ("py3-none-any", [f"cp39-cp39-manylinux_2_17_{os.uname().machine}", "cp399-abi3-any", "py399-none-any"]),
        ("py3-none-any", ["py3-none-win_amd64", "py3-none-macosx_11_0_arm64"]),
    ],
)
def test_the_wheel_that_fits_this_machine_best_is_taken(
    setup: Setup, offered: Index, best: str, others: list[str]
) -> None:
    contents = {tag: wheel("spam", {"which": tag}, tag) for tag in (best, *others)}
    offer(offered, **{tag.replace("-", "__"): content for tag, content in contents.items()})

    assert setup.run(lock({"spam": list(contents.values())})) == 0, setup.said
    assert (setup.target / "which").read_text() == best


def test_a_wheel_that_the_lock_does_not_name_is_not_downloaded(setup: Setup, offered: Index) -> None:
    better = wheel("spam", {"which": "better"})
    offer(offered, **{NATIVE.replace("-", "__"): better, "py3__none__any": SPAM})

    assert setup.run(lock({"spam": [SPAM]})) == 0, setup.said
    assert "which" not in setup.files
    assert not any("files/spam/spam-1.0-cp3" in path for path in offered.asked)


def test_another_content_than_the_page_says_is_not_unpacked(setup: Setup, offered: Index) -> None:
    offer(offered, py3__none__any=SPAM)
    offered.served["spam-1.0-py3-none-any.whl"] = wheel("spam", {"evil.py": ""})

    assert setup.run(lock({"spam": [SPAM]})) == 1
    assert "has another hash than the lock file" in setup.said
    assert not setup.target.exists()


def test_a_wheel_may_not_write_outside_of_its_folder(setup: Setup, offered: Index) -> None:
    evil = wheel("spam", {"../evil.py": ""})
    offer(offered, py3__none__any=evil)

    assert setup.run(lock({"spam": [evil]})) == 1
    assert not (setup.folder / "evil.py").exists()


def test_downloaded_wheels_are_kept_and_serve_without_the_index(setup: Setup, offered: Index) -> None:
    offer(offered, py3__none__any=SPAM)
    setup.environ["OPS_WHEELS"] = str(setup.folder / "wheels")
    assert setup.run(lock({"spam": [SPAM]})) == 0, setup.said
    assert [path.name for path in (setup.folder / "wheels").iterdir()] == ["spam-1.0-py3-none-any.whl"]
    shutil.rmtree(setup.target)
    offered.asked.clear()

    assert setup.run(lock({"spam": [SPAM]})) == 0, setup.said
    assert "spam/__init__.py" in setup.files
    assert offered.asked == []


def test_a_changed_wheel_in_the_folder_is_ignored(setup: Setup, offered: Index) -> None:
    offer(offered, py3__none__any=SPAM)
    folder = setup.folder / "wheels"
    folder.mkdir()
    (folder / "spam-1.0-py3-none-any.whl").write_bytes(wheel("spam", {"evil.py": ""}))
    (folder / "spam").mkdir()
    (folder / "spam" / "evil.py").write_text("")
    setup.environ["OPS_WHEELS"] = str(folder)

    assert setup.run(lock({"spam": [SPAM]})) == 0, setup.said
    assert "spam/__init__.py" in setup.files
    assert "evil.py" not in {Path(name).name for name in setup.files}


@pytest.mark.parametrize("index_is", ["down", "without the wheel"])
def test_without_the_index_the_archive_serves(setup: Setup, offered: Index, index_is: str) -> None:
    if index_is == "down":
        setup.environ["PIP_INDEX_URL"] = NOWHERE
    offered.other[f"/wheels-cp3{sys.version_info.minor}-{os.uname().machine}.zip"] = archived(SPAM)
    setup.environ["OPS_WHEELS_ARCHIVE"] = f"{offered.url}/wheels-{{python}}-{{machine}}.zip"

    assert setup.run(lock({"spam": [SPAM]})) == 0, setup.said
    assert "spam/__init__.py" in setup.files


@pytest.mark.slow
def test_an_index_that_never_answers_is_given_up_for_the_archive(setup: Setup, offered: Index) -> None:
    offered.other["/wheels.zip"] = archived(SPAM)
    setup.environ["OPS_WHEELS_ARCHIVE"] = f"{offered.url}/wheels.zip"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        setup.environ["PIP_INDEX_URL"] = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        began = time.monotonic()

        assert setup.run(lock({"spam": [SPAM]})) == 0, setup.said

    assert time.monotonic() - began < 20
    assert "spam/__init__.py" in setup.files


def archived(content: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("wheels/spam-1.0-py3-none-any.whl", content)
    return written.getvalue()


@pytest.mark.parametrize("content", [b"", b"<html>", archived(wheel("spam", {"evil.py": ""}))])
def test_an_archive_without_the_locked_wheel_is_refused(setup: Setup, offered: Index, content: bytes) -> None:
    setup.environ["PIP_INDEX_URL"] = NOWHERE
    offered.other["/wheels.zip"] = content
    setup.environ["OPS_WHEELS_ARCHIVE"] = f"{offered.url}/wheels.zip"

    assert setup.run(lock({"spam": [SPAM]})) == 1
    assert not setup.target.exists()


def test_a_packed_archive_serves(setup: Setup, offered: Index) -> None:
    offer(offered, py3__none__any=SPAM)
    text = lock({"spam": [SPAM]})
    assert setup.run(text, "pack", "--archive") == 0, setup.said
    offered.other["/wheels.zip"] = setup.target.read_bytes()
    setup.target.unlink()
    setup.environ |= {"PIP_INDEX_URL": NOWHERE, "OPS_WHEELS_ARCHIVE": f"{offered.url}/wheels.zip"}

    assert setup.run(text) == 0, setup.said
    assert "spam/__init__.py" in setup.files


def test_a_password_in_an_address_is_not_shown(setup: Setup) -> None:
    setup.environ["PIP_INDEX_URL"] = "http://me:hunter2@127.0.0.1:9"

    assert setup.run(lock({"spam": [SPAM]})) == 1
    assert "hunter2" not in setup.said
    assert "127.0.0.1:9" in setup.said


@pytest.mark.parametrize(
    "line", ["spam>=1.0 --hash=sha256:00", "spam==1.0", "spam==1.0 ; os_name == 'x' --hash=sha256:0"]
)
def test_a_lock_that_is_not_read_whole_is_refused(setup: Setup, line: str) -> None:
    assert setup.run(line) == 1
    assert not setup.target.exists()


def test_pip_installs_by_the_same_hashes_what_the_program_could_not(tmp_path: Path, offered: Index) -> None:
    """A page without hashes: pip then hashes the file itself."""
    step = plain_yaml.load((ACTION / "action.yml").read_text())["runs"]["steps"][0]
    offer(offered, py3__none__any=SPAM)
    offered.has_hashes = False
    (tmp_path / "locks").mkdir()
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LOCKS": "runtime",
        "GITHUB_ACTION_PATH": str(ACTION),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "RUNNER_TEMP": str(tmp_path),
        "PIP_ROOT_USER_ACTION": "ignore",
        "PIP_INDEX_URL": f"{offered.url}/simple",
    }

    def run(allowed: bytes) -> int:
        (tmp_path / "locks" / "runtime.txt").write_text(lock({"spam": [allowed]}))
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, check=False).returncode

    assert run(wheel("spam", {"other": ""})) != 0
    assert run(SPAM) == 0
    assert (tmp_path / "ops-packages/spam/__init__.py").exists()
    assert (tmp_path / "output").read_text() == f"path={tmp_path}/ops-packages\n"


def pins(name: str) -> dict[str, str]:
    """Package → its part of the lock file, without the comments."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "locks" / f"{name}.txt").read_text())
    return {part.partition("==")[0]: part.strip() for part in re.split(r"(?m)^(?=[a-z])", text) if part.strip()}


LOCKS = sorted(path.stem for path in (ROOT / "locks").glob("*.txt"))


@pytest.mark.parametrize("name", LOCKS)
def test_lock_files_name_the_same_versions_and_hashes(name: str) -> None:
    every = pins("dev") | pins("browser")

    assert {package: pin for package, pin in pins(name).items() if every[package] != pin} == {}


def needed(package: str, extras: tuple[str, ...] = ()) -> set[str]:
    """The names of what it needs on this machine, itself included."""
    found: set[str] = {canonicalize_name(package)}
    try:
        texts = requires(package) or []
    except PackageNotFoundError:
        return found
    for each in map(Requirement, texts):
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            found |= needed(each.name, tuple(each.extras)) if canonicalize_name(each.name) not in found else set()
    return found


def test_runtime_and_crypto_locks_together_hold_what_the_command_depends_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = [Requirement(text) for text in project["dependencies"]]
    wanted = {name for each in direct for name in needed(each.name, tuple(each.extras))}

    assert set(pins("runtime") | pins("crypto")) == wanted
    assert set(pins("crypto")) == {"cryptography"}
    assert not set(pins("runtime")) & set(pins("crypto"))


def test_each_larger_lock_file_holds_everything_in_the_smaller_one() -> None:
    larger: dict[str, tuple[str, ...]] = runpy.run_path(str(ROOT / "run"))["LARGER"]

    assert [
        (small, each) for small, of in larger.items() for each in of if not pins(small).keys() <= pins(each).keys()
    ] == []

"""Job set-up: `install.py` selects matching wheels and unpacks only locked ones."""

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
from tests.support.wheels import PackageIndex, index, lock, wheel

ACTION = ROOT / ".github/actions/setup"
PROGRAM = ACTION / "install.py"
NOWHERE = "http://127.0.0.1:9"
"""Address without a server."""
NATIVE = f"cp3{sys.version_info.minor}-cp3{sys.version_info.minor}-manylinux_2_17_{os.uname().machine}"
SPAM = wheel("spam", {"spam/__init__.py": "", "spam/run.sh": "", "spam-1.0.data/scripts/spam": "#!python\n"})


@pytest.fixture
def offered() -> Iterator[PackageIndex]:
    with index() as each:
        yield each


class Setup:
    """Runs `install.py` in a separate folder."""

    def __init__(self, folder: Path, offered: PackageIndex, python: RunPython) -> None:
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
def setup(tmp_path: Path, offered: PackageIndex, python: RunPython) -> Setup:
    return Setup(tmp_path, offered, python)


def offer(offered: PackageIndex, **files: bytes) -> None:
    offered.files["spam"] = {f"spam-1.0-{tag.replace('__', '-')}.whl": content for tag, content in files.items()}


def test_wheel_is_unpacked_like_pip(setup: Setup, offered: PackageIndex) -> None:
    offer(offered, py3__none__any=SPAM)

    assert setup.run(lock({"spam": [SPAM]})) == 0, setup.said
    info = {f"spam-1.0.dist-info/{name}" for name in ("METADATA", "RECORD", "WHEEL")}
    assert setup.files == {"spam/__init__.py", "spam/run.sh", "bin/spam", *info}
    executable = {name for name in setup.files if os.access(setup.target / name, os.X_OK)}
    assert executable == {"spam/run.sh", "bin/spam"}


def test_install_runs_in_fresh_interpreter(setup: Setup, offered: PackageIndex) -> None:
    offer(offered, py3__none__any=SPAM)
    setup.python = fresh_python

    assert setup.run(lock({"spam": [SPAM]})) == 0, setup.said


def test_compressed_index_response_is_read(setup: Setup, offered: PackageIndex) -> None:
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
def test_best_matching_wheel_is_chosen(setup: Setup, offered: PackageIndex, best: str, others: list[str]) -> None:
    contents = {tag: wheel("spam", {"which": tag}, tag) for tag in (best, *others)}
    offer(offered, **{tag.replace("-", "__"): content for tag, content in contents.items()})

    assert setup.run(lock({"spam": list(contents.values())})) == 0, setup.said
    assert (setup.target / "which").read_text() == best


def test_unlocked_wheel_is_not_downloaded(setup: Setup, offered: PackageIndex) -> None:
    better = wheel("spam", {"which": "better"})
    offer(offered, **{NATIVE.replace("-", "__"): better, "py3__none__any": SPAM})

    assert setup.run(lock({"spam": [SPAM]})) == 0, setup.said
    assert "which" not in setup.files
    assert not any("files/spam/spam-1.0-cp3" in path for path in offered.asked)


def test_wheel_with_wrong_hash_is_refused(setup: Setup, offered: PackageIndex) -> None:
    offer(offered, py3__none__any=SPAM)
    offered.served["spam-1.0-py3-none-any.whl"] = wheel("spam", {"evil.py": ""})

    assert setup.run(lock({"spam": [SPAM]})) == 1
    assert "has another hash than the lock file" in setup.said
    assert not setup.target.exists()


def test_wheel_cannot_write_outside_target(setup: Setup, offered: PackageIndex) -> None:
    evil = wheel("spam", {"../evil.py": ""})
    offer(offered, py3__none__any=evil)

    assert setup.run(lock({"spam": [evil]})) == 1
    assert not (setup.folder / "evil.py").exists()


def test_cached_wheels_replace_index(setup: Setup, offered: PackageIndex) -> None:
    offer(offered, py3__none__any=SPAM)
    setup.environ["OPS_WHEELS"] = str(setup.folder / "wheels")
    assert setup.run(lock({"spam": [SPAM]})) == 0, setup.said
    assert [path.name for path in (setup.folder / "wheels").iterdir()] == ["spam-1.0-py3-none-any.whl"]
    shutil.rmtree(setup.target)
    offered.asked.clear()

    assert setup.run(lock({"spam": [SPAM]})) == 0, setup.said
    assert "spam/__init__.py" in setup.files
    assert offered.asked == []


def test_modified_cached_wheel_is_ignored(setup: Setup, offered: PackageIndex) -> None:
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
def test_archive_replaces_unavailable_index(setup: Setup, offered: PackageIndex, index_is: str) -> None:
    if index_is == "down":
        setup.environ["PIP_INDEX_URL"] = NOWHERE
    offered.other[f"/wheels-cp3{sys.version_info.minor}-{os.uname().machine}.zip"] = make_archive(SPAM)
    setup.environ["OPS_WHEELS_ARCHIVE"] = f"{offered.url}/wheels-{{python}}-{{machine}}.zip"

    assert setup.run(lock({"spam": [SPAM]})) == 0, setup.said
    assert "spam/__init__.py" in setup.files


def test_archive_replaces_hanging_index(setup: Setup, offered: PackageIndex) -> None:
    offered.other["/wheels.zip"] = make_archive(SPAM)
    setup.environ["OPS_WHEELS_ARCHIVE"] = f"{offered.url}/wheels.zip"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        setup.environ["PIP_INDEX_URL"] = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        began = time.monotonic()

        assert setup.run(lock({"spam": [SPAM]})) == 0, setup.said

    assert time.monotonic() - began < 60
    assert "spam/__init__.py" in setup.files


def make_archive(content: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("wheels/spam-1.0-py3-none-any.whl", content)
    return written.getvalue()


@pytest.mark.parametrize("content", [b"", b"<html>", make_archive(wheel("spam", {"evil.py": ""}))])
def test_archive_without_locked_wheel_is_refused(setup: Setup, offered: PackageIndex, content: bytes) -> None:
    setup.environ["PIP_INDEX_URL"] = NOWHERE
    offered.other["/wheels.zip"] = content
    setup.environ["OPS_WHEELS_ARCHIVE"] = f"{offered.url}/wheels.zip"

    assert setup.run(lock({"spam": [SPAM]})) == 1
    assert not setup.target.exists()


def test_packed_archive_installs(setup: Setup, offered: PackageIndex) -> None:
    offer(offered, py3__none__any=SPAM)
    text = lock({"spam": [SPAM]})
    assert setup.run(text, "pack", "--archive") == 0, setup.said
    offered.other["/wheels.zip"] = setup.target.read_bytes()
    setup.target.unlink()
    setup.environ |= {"PIP_INDEX_URL": NOWHERE, "OPS_WHEELS_ARCHIVE": f"{offered.url}/wheels.zip"}

    assert setup.run(text) == 0, setup.said
    assert "spam/__init__.py" in setup.files


def test_index_password_is_not_printed(setup: Setup) -> None:
    setup.environ["PIP_INDEX_URL"] = "http://me:hunter2@127.0.0.1:9"

    assert setup.run(lock({"spam": [SPAM]})) == 1
    assert "hunter2" not in setup.said
    assert "127.0.0.1:9" in setup.said


@pytest.mark.parametrize(
    "line", ["spam>=1.0 --hash=sha256:00", "spam==1.0", "spam==1.0 ; os_name == 'x' --hash=sha256:0"]
)
def test_unsupported_lock_line_is_refused(setup: Setup, line: str) -> None:
    assert setup.run(line) == 1
    assert not setup.target.exists()


def test_pip_fallback_checks_same_hashes(tmp_path: Path, offered: PackageIndex) -> None:
    """The index page has no hashes, so pip hashes the file itself."""
    step = plain_yaml.load((ACTION / "action.yml").read_text())["runs"]["steps"][0]
    offer(offered, py3__none__any=SPAM)
    offered.has_hashes = False
    program = tmp_path / "program"
    action = shutil.copytree(ACTION, program / ".github/actions/setup")
    (program / "locks").mkdir()
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip/__main__.py").write_text("the workspace must not be imported")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LOCKS": "runtime",
        "GITHUB_ACTION_PATH": str(action),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "RUNNER_TEMP": str(tmp_path),
        "PIP_ROOT_USER_ACTION": "ignore",
        "PIP_INDEX_URL": f"{offered.url}/simple",
    }

    def run(allowed: bytes) -> int:
        (program / "locks" / "runtime.txt").write_text(lock({"spam": [allowed]}))
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, check=False).returncode

    assert run(wheel("spam", {"other": ""})) != 0
    assert run(SPAM) == 0
    assert (tmp_path / "ops-packages/spam/__init__.py").exists()
    assert (tmp_path / "output").read_text() == f"path={tmp_path}/ops-packages\n"


def test_older_python_is_named(tmp_path: Path) -> None:
    """It can run neither the program nor pip with our lock files."""
    step = plain_yaml.load((ACTION / "action.yml").read_text())["runs"]["steps"][0]
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path / "started"}\nexit 1\n')
    python.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LOCKS": "runtime", "RUNNER_TEMP": str(tmp_path)}
    environ |= {"GITHUB_ACTION_PATH": str(ACTION), "GITHUB_OUTPUT": str(tmp_path / "output")}

    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", step["run"]], env=environ, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert re.search(r"::error::.* 3\.11 ", done.stdout)
    assert " pip " not in (tmp_path / "started").read_text()


def pins(name: str) -> dict[str, str]:
    """Return the lock file entry of each package, without comments."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "locks" / f"{name}.txt").read_text())
    return {part.partition("==")[0]: part.strip() for part in re.split(r"(?m)^(?=[a-z])", text) if part.strip()}


LOCKS = sorted(path.stem for path in (ROOT / "locks").glob("*.txt"))


@pytest.mark.parametrize("name", LOCKS)
def test_lock_files_name_the_same_versions_and_hashes(name: str) -> None:
    every = pins("dev") | pins("browser")

    assert {package: pin for package, pin in pins(name).items() if every[package] != pin} == {}


def required_packages(package: str, extras: tuple[str, ...] = ()) -> set[str]:
    """Return the names of a package and its dependencies on this machine."""
    found: set[str] = {canonicalize_name(package)}
    try:
        texts = requires(package) or []
    except PackageNotFoundError:
        return found
    for each in map(Requirement, texts):
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            found |= (
                required_packages(each.name, tuple(each.extras)) if canonicalize_name(each.name) not in found else set()
            )
    return found


def test_runtime_and_crypto_locks_cover_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = [Requirement(text) for text in project["dependencies"]]
    wanted = {name for each in direct for name in required_packages(each.name, tuple(each.extras))}

    assert set(pins("runtime") | pins("crypto")) == wanted
    assert set(pins("crypto")) == {"cryptography"}
    assert not set(pins("runtime")) & set(pins("crypto"))


def test_larger_locks_include_smaller_locks() -> None:
    larger: dict[str, tuple[str, ...]] = runpy.run_path(str(ROOT / "run"))["LARGER"]

    assert [
        (small, each) for small, of in larger.items() for each in of if not pins(small).keys() <= pins(each).keys()
    ] == []

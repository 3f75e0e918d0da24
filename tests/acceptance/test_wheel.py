"""The built wheel in a clean environment: all of the command line, without a checkout, act or Node."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ops.core.version import __version__
from tests.conftest import ROOT
from tests.support.configurations import SMALL_REPOSITORY

COMMIT = "5ca1ab1e" * 5


@pytest.fixture
def installed(tmp_path_factory: pytest.TempPathFactory, pip_cache: Path) -> Path:
    """Return the program `ops` of a virtual environment with the wheel, runtime.txt and the sandbox's parser."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True)
    (wheel,) = folder.glob("*.whl")
    assert [path.name for path in folder.glob("*.tar.gz")] == [f"backout-{__version__}.tar.gz"]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    (site,) = folder.glob("venv/lib/*/site-packages")
    parser = re.search(r"(?m)^multipart==(?:.*\\\n)*.*\n", (ROOT / "locks/sandbox.txt").read_text())
    assert parser
    (folder / "parser.txt").write_text(parser[0])
    locks = ["--lock", str(ROOT / "locks/runtime.txt"), "--lock", str(folder / "parser.txt")]
    subprocess.run(
        [sys.executable, "-I", ROOT / ".github/actions/setup/install.py", "install", *locks, "--target", site],
        env={**os.environ, "OPS_WHEELS": str(pip_cache / "ops-wheels")},
        check=True,
    )
    options = ["--disable-pip-version-check", "--python", str(python)]
    pip = [sys.executable, "-m", "pip", *options, "install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(pip, check=True)
    return folder / "venv/bin/ops"


def run(program: Path, folder: Path, *arguments: str) -> str:
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run([program, *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_checks_syncs_and_drills_a_small_repository(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "ops.yml").write_text(SMALL_REPOSITORY.read_text())

    assert __version__ in run(installed, tmp_path, "--version")
    assert "ops.yml is valid: 1 environment, 1 service." in run(installed, tmp_path, "config", "check")
    run(installed, tmp_path, "workflows", "sync", "--actions", f"backout-tools/backout@{COMMIT}")
    assert "Every file is as ops.yml has it." in run(installed, tmp_path, "workflows", "sync", "--check")
    assert f"@{COMMIT} # v{__version__}" in (tmp_path / ".github/workflows/incident.yml").read_text()
    drill = ("drill", "rollback-worker", "--json")
    results = [json.loads(run(installed, tmp_path, *drill, *config)) for config in ((), ("--config", "ops.yml"))]
    assert [(each["decision"], each["service"]) for each in results] == [("recovered", "api"), ("recovered", "shop")]


@pytest.mark.parametrize("command", [["drill", "rollback-worker"], ["sandbox"]], ids=lambda words: words[0])
def test_missing_package_of_the_sandbox_is_named(command: list[str]) -> None:
    words = ["ops", *command]
    without = (
        f"import sys; sys.modules['multipart'] = None; sys.argv = {words}; from ops import __main__; __main__.main()"
    )

    done = subprocess.run([sys.executable, "-c", without], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    error, hint, _ = done.stderr.splitlines()
    assert (error.startswith("error: "), " multipart" in error) == (True, True)
    assert "`pipx inject backout multipart`" in hint

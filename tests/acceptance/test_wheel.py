"""The built wheel in a clean environment: all of the command line, without a checkout, act or Node."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

import pytest

from ops.core.version import __version__
from sandbox import Sandbox
from tests.conftest import ROOT
from tests.support import plain_yaml, team_files
from tests.support.adoption import EVERY_READ, READER, SHOP, build_shop
from tests.support.configurations import SMALL_REPOSITORY
from tests.support.tracked import tracked
from tests.support.workflows import generated

COMMIT = "5ca1ab1e" * 5


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, plain_pip_cache: Path) -> Path:
    """Run the steps of the release's first job in a copy of the repository, and return the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    with team_files.allowed():
        for path in tracked():
            copy = folder / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    (folder / ".venv").symlink_to(sys.prefix)
    job = {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "acme/backout", "GITHUB_SHA": COMMIT}
    job["GITHUB_WORKSPACE"] = str(folder)
    more = {"OPS_WHEELS": str(plain_pip_cache / "ops-wheels"), "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"}
    environ = {**os.environ, **job, **more, "TAG": f"v{__version__}"}
    steps = plain_yaml.load((generated() / ".github/workflows/release.yml").read_text())["jobs"]["build"]["steps"]
    for script in (step["run"] for step in steps if "run" in step):
        subprocess.run(["bash", "-e", "-c", script], cwd=folder, env=environ, check=True)
    (wheel,), (archive,) = (folder / "dist").glob("*.whl"), (folder / "dist").glob("wheels-*.zip")
    files = {wheel.name, archive.name, "hold_check.pyz", f"backout-{__version__}.tar.gz"}
    assert {each.name for each in (folder / "dist").iterdir()} == files
    return wheel


@pytest.fixture
def installed(wheel: Path, plain_pip_cache: Path) -> Path:
    """Return the program `ops` of an empty virtual environment, after pip installed the wheel and what it names.

    Of the extra `sandbox` only the parser: the others are Node and act.
    """
    venv = wheel.parent / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    options = ["--disable-pip-version-check", "--python", str(venv / "bin/python")]
    pip = [sys.executable, "-m", "pip", *options, "install", "--quiet", "--cache-dir", str(plain_pip_cache / "http")]
    subprocess.run([*pip, str(wheel), "multipart>=1.2"], check=True)
    return venv / "bin/ops"


def run(
    program: Path, folder: Path, *arguments: str, code: int = 0, environ: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return what a command prints: its errors if it fails."""
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(folder), **environ}
    done = subprocess.run([program, *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


def test_wheel_does_all_that_a_checkout_does(wheel: Path, installed: Path, tmp_path: Path) -> None:
    """One test, because each worker that runs a part of it would build and install the wheel."""
    require_files(wheel)
    for name, use in (("small", use_small_repository), ("stranger", show_and_describe_services)):
        (tmp_path / name).mkdir()
        use(installed, tmp_path / name)


def use_small_repository(installed: Path, tmp_path: Path) -> None:
    """Check, sync and drill. An error links the page of the release: the wheel has no `docs`."""
    page = f"https://github.com/acme/backout/blob/{COMMIT}/docs/reference/reasons.md#config_invalid"
    assert f" docs: {page}" in run(installed, tmp_path, "config", "check", code=2)
    (tmp_path / "ops.yml").write_text(SMALL_REPOSITORY.read_text())

    assert __version__ in run(installed, tmp_path, "--version")
    assert "ops.yml is valid: 1 environment, 1 service." in run(installed, tmp_path, "config", "check")
    run(installed, tmp_path, "workflows", "sync", "--actions", f"backout-tools/backout@{COMMIT}")
    assert "Every file is as ops.yml has it." in run(installed, tmp_path, "workflows", "sync", "--check")
    assert f"@{COMMIT} # v{__version__}" in (tmp_path / ".github/workflows/incident.yml").read_text()
    drill = ("drill", "rollback-worker", "--json")
    results = [json.loads(run(installed, tmp_path, *drill, *config)) for config in ((), ("--config", "ops.yml"))]
    assert [(each["decision"], each["service"]) for each in results] == [("recovered", "api"), ("recovered", "shop")]


def show_and_describe_services(installed: Path, tmp_path: Path) -> None:
    """List and describe the services of a stranger: the wheel knows its release, so no option names the actions."""
    with Sandbox(account_id=SHOP) as sandbox:
        build_shop(sandbox)
        sandbox.add_token(READER, EVERY_READ)
        environ = sandbox.environ() | {"CLOUDFLARE_API_TOKEN": READER}
        ops = partial(run, installed, tmp_path, environ=environ)

        assert "shop-web" in ops("targets")
        assert [*tmp_path.iterdir()] == []
        assert "written: ops.yml" in ops("init", "operations")

    assert (
        f"acme/backout/.github/actions/run@{COMMIT} # v{__version__}"
        in (tmp_path / "operations/.github/workflows/recover.yml").read_text()
    )
    checked = run(installed, tmp_path / "operations", "workflows", "sync", "--check")
    assert "Every file is as ops.yml has it." in checked


def require_files(wheel: Path) -> None:
    """Fail if a file is missing: templates, examples, actions, locks, and the data in `ops` and `sandbox`."""
    listed = ["git", "ls-files", "ops", "sandbox", "templates", "examples", "locks", ".github/actions"]
    files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    moved = {each if each.startswith(("ops/", "sandbox/")) else f"ops/program/{each}" for each in files}

    with zipfile.ZipFile(wheel) as archive:
        names = {each for each in archive.namelist() if ".dist-info/" not in each}
        (metadata,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        (scripts,) = (each for each in archive.namelist() if each.endswith(".dist-info/entry_points.txt"))
        about, commands = archive.read(metadata).decode(), archive.read(scripts).decode()

    assert names == {*moved, "ops/program/release.json"}
    assert commands.split() == ["[console_scripts]", "ops", "=", "ops.__main__:main"]
    assert "](" not in about  # an index has no files for relative links
    assert "\nLicense-Expression: MIT\n" in about


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

"""Jobs under act: each secret only in the step that needs it, and set-up without a package index."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.github import GitHub
from tests.conftest import REFERENCE, ROOT
from tests.support.actions import BUTTON, LABEL, conclusions, stage
from tests.support.wheels import index
from tests.support.workflows import operations_repository

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc"),
]
NOWHERE = "http://127.0.0.1:9/simple"
"""Address without a server."""
STAGING, PRODUCTION = "STAGING_CLOUDFLARE_API_TOKEN", "CLOUDFLARE_API_TOKEN"
OF_PRODUCTION = "token-of-production-0123456789abcdef"
LOOK = (
    'cat /proc/$$/environ > "$SEEN-$GITHUB_RUN_ID-$GITHUB_JOB-{action}"; '
    'cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline > "$SEEN-$GITHUB_RUN_ID-$GITHUB_JOB-{action}-all" 2>/dev/null || true'
)
"""Saves the variables of the step's shell, and variables and arguments of all processes of this machine."""


def look_in_actions(hub: GitHub) -> None:
    """Let the inner step of each action save what it sees first."""
    paths = {name: f".github/actions/{name}/action.yml" for name in ("setup", "gate", "run")}
    files = {path: hub.files()[path].decode() for path in paths.values()}
    looking = {
        path: re.sub(r"(      run: \|\n)( +)", rf"\1\2{LOOK.format(action=name)}\n\2", files[path])
        for name, path in paths.items()
    }
    assert all(looking[path] != files[path] for path in files)
    hub.add_commit("Look", "alice", files=looking)


def test_staging_job_processes_hold_no_production_token(plain_pip_cache: Path, tmp_path: Path) -> None:
    """Both environments use the GitHub environment `recovery`, which holds both tokens."""
    with stage(plain_pip_cache, account="0fedcba00fedcba00fedcba00fedcba0", token=STAGING) as world:
        hub = world.github
        hub.put_secret(PRODUCTION, OF_PRODUCTION, "recovery")
        look_in_actions(hub)
        number = world.incident()
        inputs = {"service": "api", "environment": "staging", "incident": str(number), "dry_run": True}

        with world.runner({"SEEN": str(tmp_path / "seen")}) as runner:
            runs = [hub.dispatch(BUTTON, inputs, by="alice")]
            runner.wait()
            hub.remove_secret(STAGING, "recovery")
            runs.append(hub.dispatch(BUTTON, inputs, by="alice"))
            runner.wait()
            log = "\n".join(line for run in runs for line in runner.log(run.id))

    assert [conclusions(run)["recovery-staging"] for run in runs] == ["success", "failure"], log
    assert "the Cloudflare token for staging is missing" in world.comments(number)
    seen = [tmp_path / f"seen-{run.id}-recovery-staging-run" for run in runs]
    own = [path.read_text().split("\0") for path in seen]
    assert f"{STAGING}={world.sandbox.token}" in own[0]
    assert [entry for entry in own[1] if world.sandbox.token in entry or entry.startswith(PRODUCTION)] == []
    leaks = [path.name for path in seen if OF_PRODUCTION.encode() in Path(f"{path}-all").read_bytes()]
    assert leaks == []


def pack_wheels(folder: Path, wheels: Path) -> bytes:
    locks = [word for name in ("runtime", "crypto") for word in ("--lock", ROOT / "locks" / f"{name}.txt")]
    program = ROOT / ".github/actions/setup/install.py"
    subprocess.run(
        [sys.executable, "-I", program, "pack", *locks, "--archive", folder / "wheels.zip"],
        env={**os.environ, "OPS_WHEELS": str(wheels)},
        check=True,
    )
    return (folder / "wheels.zip").read_bytes()


def test_jobs_without_a_package_index_recover_and_only_the_action_run_sees_secrets(
    plain_pip_cache: Path, tmp_path: Path
) -> None:
    """A label, no cache, and the archive of wheels."""
    with index() as offered, stage(tmp_path / "cold") as world:
        name = f"/wheels-cp3{sys.version_info.minor}-{os.uname().machine}.zip"
        offered.other[name] = pack_wheels(tmp_path, plain_pip_cache / "ops-wheels")
        shutil.copy(REFERENCE / "limits.yml", tmp_path)
        address = f"{offered.url}/wheels-{{python}}-{{machine}}.zip"
        text = (REFERENCE / "ops.yml").read_text()
        (tmp_path / "ops.yml").write_text(f"{text}\ngithub: {{wheels_archive: '{address}'}}\n")
        world.github.add_commit("Wheels", "alice", files=operations_repository(tmp_path / "ops.yml"))
        look_in_actions(world.github)
        number = world.incident()

        with world.runner({"PIP_INDEX_URL": NOWHERE, "SEEN": str(tmp_path / "seen")}) as runner:
            world.github.label(number, LABEL, "alice")
            runner.wait()
            log = "\n".join(runner.log(world.github.runs[-1].id))

    assert world.live == {world.good: 100}, log
    assert "recovered" in log
    assert f"wheels from {address}" in log
    assert set(offered.asked) == {name}
    secret = f"={world.sandbox.token}".encode()
    seen = {path.name.split("-", 2)[2]: path.read_bytes() for path in tmp_path.glob("seen-*")}
    assert {"gate-setup", "gate-gate", "recovery-production-setup", "recovery-production-run"} <= seen.keys()
    assert {name for name, text in seen.items() if secret in text and not name.endswith("-all")} == {
        "recovery-production-run"
    }
    others = [name for name in seen if name.endswith(("-setup", "-gate"))]
    assert not [name for name in others if b"GITHUB_TOKEN=" in seen[name] and not name.endswith("-gate")]

"""Secrets in job processes: a staging job never holds the token of production."""

from pathlib import Path

import pytest

from tests.support.actions import BUTTON, conclusions, stage

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc"),
]
STAGING, PRODUCTION = "STAGING_CLOUDFLARE_API_TOKEN", "CLOUDFLARE_API_TOKEN"
OF_PRODUCTION = "token-of-production-0123456789abcdef"
STEP = "exec python3 -B -m ops recover"
LOOK = (
    'cat /proc/$$/environ > "$SEEN-$GITHUB_RUN_ID-own"; '
    'cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline > "$SEEN-$GITHUB_RUN_ID-all" 2>/dev/null || true'
)
"""Saves the variables of the step's shell, and variables and arguments of all processes of this machine."""


def test_staging_job_processes_hold_no_production_token(pip_cache: Path, tmp_path: Path) -> None:
    """Both environments use the GitHub environment `recovery`, which holds both tokens."""
    with stage(pip_cache, account="0fedcba00fedcba00fedcba00fedcba0", token=STAGING) as world:
        hub, file = world.github, f".github/workflows/{BUTTON}"
        hub.put_secret(PRODUCTION, OF_PRODUCTION, "recovery")
        text = hub.files()[file].decode()
        hub.add_commit("Look", "alice", files={file: text.replace(STEP, f"{LOOK}\n          {STEP}")})
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
    own = [(tmp_path / f"seen-{run.id}-own").read_text().split("\0") for run in runs]
    assert f"{STAGING}={world.sandbox.token}" in own[0]
    assert [entry for entry in own[1] if world.sandbox.token in entry or entry.startswith(PRODUCTION)] == []
    leaks = [run.id for run in runs if OF_PRODUCTION.encode() in (tmp_path / f"seen-{run.id}-all").read_bytes()]
    assert leaks == []

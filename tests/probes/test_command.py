"""Command probes: exit codes, timeouts, child processes, redaction and environment variables."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ops.config.probes import CommandProbe
from ops.core.redaction import Redactor
from ops.core.verdict import ProbeResult, Verdict
from ops.probes.runner import run_command_probe
from ops.tools import process
from tests.conftest import Releases, World
from tests.probes.test_probes import HEALTHY, INCONCLUSIVE, UNHEALTHY


def run_script(
    script: str, *, environ: dict[str, str] | None = None, redactor: Redactor | None = None, **spec: Any
) -> ProbeResult:
    probe = CommandProbe(run=("sh", "-c", script), **spec)
    seen = {"PATH": os.environ["PATH"], **(environ or {})}
    return run_command_probe("script", probe, seen, redactor or Redactor(), folder=Path())


EXITS: dict[str, tuple[str, Verdict, str]] = {
    "0": ("echo all well", HEALTHY, "exit 0: all well"),
    "1": ("echo first; echo broken; exit 1", UNHEALTHY, "exit 1: broken"),
    "2": ("exit 2", INCONCLUSIVE, "exit 2: no output"),
    "a signal": ("kill -9 $$", INCONCLUSIVE, "exit -9: no output"),
    "its last line, from either stream": ("echo x >&2; exit 1", UNHEALTHY, "exit 1: x"),
    "bytes that are no text": ("printf '\\377!'", HEALTHY, "exit 0: \N{REPLACEMENT CHARACTER}!"),
    "a great deal of output": ("yes y | head -c 1000000; echo end", HEALTHY, "exit 0: end"),
    "input, of which there is none": ("read line || echo none", HEALTHY, "exit 0: none"),
}


@pytest.mark.sampled
@pytest.mark.parametrize(("script", "verdict", "said"), EXITS.values(), ids=EXITS)
def test_command_exit_code_is_the_verdict(script: str, verdict: Verdict, said: str) -> None:
    result = run_script(script)

    assert (result.verdict, result.assertions[0].detail) == (verdict, said)


@pytest.mark.slow
def test_command_timeout_is_inconclusive() -> None:
    result = run_script("sleep 60", timeout="200ms")

    assert (result.verdict, result.assertions[0].detail) == (INCONCLUSIVE, "not finished within 0.2 s")


@pytest.mark.parametrize("name", ["./no/such/program", "no-such-program-anywhere", "/"])
def test_command_that_cannot_start_is_inconclusive(name: str) -> None:
    probe = CommandProbe(run=(name,))

    result = run_command_probe("script", probe, {"PATH": os.environ["PATH"]}, Redactor(), folder=Path())

    assert result.verdict == INCONCLUSIVE
    assert result.assertions[0].detail.startswith(f"{name} could not be started (")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("then", "timeout", "verdict"),
    [("exit 0", "30s", HEALTHY), pytest.param("sleep 60", "2s", INCONCLUSIVE, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("output", ["", ">/dev/null 2>&1"], ids=["same output", "own output"])
def test_child_processes_of_a_command_are_ended(
    output: str, then: str, timeout: str, verdict: Verdict, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"

    result = run_script(f"sleep 60 {output} & echo $! >{pid_file}; {then}", timeout=timeout)

    assert result.verdict == verdict
    assert process_ends(int(pid_file.read_text()))


def process_ends(pid: int) -> bool:
    """Whether the process ends within a second; a zombie counts as ended."""
    tries = (subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False) for _ in range(50))
    return any(shown.stdout.strip()[:1] in {b"", b"Z"} for shown in tries)


def test_command_output_is_redacted() -> None:
    redactor = Redactor()
    redactor.add_secret("hunter2-hunter2")

    result = run_script("echo $X", environ={"X": "is hunter2-hunter2!"}, redactor=redactor)

    assert result.assertions[0].detail == "exit 0: is ***!"


def test_command_output_is_redacted_despite_color_codes() -> None:
    redactor = Redactor()
    redactor.add_secret("hunter2-hunter2")

    result = run_script("printf '\\033[31mhunter2\\033[0m-hunter2 \\033[1;41mno\\033[0m'", redactor=redactor)

    assert result.assertions[0].detail == "exit 0: *** no"


SECRETS = {
    "STAGING_CLOUDFLARE_API_TOKEN": "staging-token",
    "SLACK_WEBHOOK_URL": "https://hooks.example/slack",
    "DISCORD_WEBHOOK_URL": "https://hooks.example/discord",
}


def add_command_probe(world: World, script: str, *, environment: str) -> None:
    """Write `probe.sh` next to ops.yml and add it as a probe of the service."""
    here = "          # A program can be a probe too"
    probe = f"          - name: script\n            command: {{run: [./probe.sh], environment: [{environment}]}}\n"
    world.edit_config(here, probe + here)
    (world.folder / "probe.sh").write_text(f"#!/bin/sh\n{script}\n")
    (world.folder / "probe.sh").chmod(0o755)


@pytest.mark.slow
def test_command_probe_runs_beside_ops_yml_without_secrets(world: World, releases: Releases) -> None:
    add_command_probe(world, "env >env.txt", environment="REGION")

    outcome = world.rollback(**SECRETS, REGION="weur", GITHUB_TOKEN="github-token", OTHER="other")

    assert outcome.code == 0, outcome.err
    seen = (world.folder / "env.txt").read_text()
    assert "REGION=weur" in seen
    for secret in (world.sandbox.token, *SECRETS.values(), "github-token", "OTHER"):
        assert secret not in seen


@pytest.mark.slow
@pytest.mark.parametrize("name", ["CLOUDFLARE_API_TOKEN", *SECRETS])
def test_command_probe_with_a_secret_is_a_config_error(world: World, releases: Releases, name: str) -> None:
    add_command_probe(world, "env >env.txt", environment=name)

    outcome = world.rollback(**SECRETS)

    assert outcome.code == 2
    assert "a secret of the run, which no probe's command may get" in outcome.result["problems"][0]
    assert not (world.folder / "env.txt").exists()


def test_forbidden_variable_is_not_passed_on() -> None:
    environ = {"PATH": "/bin", "TOKEN": "t", "REGION": "weur", "OTHER": "o"}

    seen = process.clean_environment(environ, names=["TOKEN", "REGION"], never=frozenset({"TOKEN"}))

    assert seen == {"PATH": "/bin", "REGION": "weur"}

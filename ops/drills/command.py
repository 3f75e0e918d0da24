"""The public command in a drill: `ops` as a process of its own, with nothing but the sandbox within its reach."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app.run import program_name
from ops.core.errors import Decision
from ops.tools import process

if TYPE_CHECKING:
    from ops.config import Environment
    from sandbox import Sandbox

Say = Callable[[str], None]
Params = Mapping[str, str | tuple[str, ...]]
"""What a runbook is asked besides the service."""
OnEvent = Callable[[dict[str, Any]], None]

UNREACHED: Mapping[str, Any] = {
    "decision": Decision.FAILED.value,
    "message": "the command gave no result; what it said stands above",
    "exit_code": 1,
    "durations": {"trigger_to_write": None, "trigger_to_verified": None},
}


@dataclass(frozen=True)
class DrillWorld:
    """What is recovered, and where."""

    sandbox: "Sandbox"
    config: Path
    runbook: str
    service: str
    environment: "Environment"
    environ: Mapping[str, str] = field(default_factory=dict)
    """What its commands need besides."""
    token: str = ""
    """Nothing: the sandbox's own."""
    names_service: bool = True
    """Whether the runbook is told the service."""
    responder: str = "responder"
    """Who opens the incident and starts the recovery."""

    @property
    def named(self) -> Params:
        return {"service": self.service} if self.names_service else {}


def run(
    place: DrillWorld,
    *,
    say: Say,
    on_event: OnEvent,
    params: Params,
    incident: int | None = None,
    environ: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The runbook's command, its events handed on while it goes; its result."""
    wanted = [place.runbook]
    where = {**place.named, "environment": place.environment.name} | ({"incident": str(incident)} if incident else {})
    for name, value in {**where, **params}.items():
        wanted += [f"--{name.replace('_', '-')}", as_text(value)]
    wanted += ["--reason", "drill", "--yes", "--json"]
    say(f"$ {program_name(os.environ)} {' '.join(wanted)}")
    wanted += ["--config", str(place.config), "--requested-at", place.sandbox.clock.now().isoformat()]
    argv, variables = command_line(place, wanted, environ or {})
    with subprocess.Popen(argv, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        out: list[str] = []
        reading = threading.Thread(target=lambda pipe: out.append(pipe.read()), args=(command.stdout,))
        reading.start()
        for line in command.stderr:
            if line.startswith("{"):
                on_event(json.loads(line))
            else:
                say(line.rstrip())
        reading.join()
    return {**UNREACHED, **json.loads(out[0] or "{}")}


def as_text(value: str | tuple[str, ...]) -> str:
    """As a command line and the field of a button take it."""
    return value if isinstance(value, str) else ",".join(value)


def import_run(
    place: DrillWorld, record: str | list[str], number: int, say: Say, *, environ: Mapping[str, str]
) -> None:
    """Post what GitHub did not get, once it answers again: a laptop's run by its id, or the log of a job."""
    with tempfile.TemporaryDirectory() as folder:
        source = record if isinstance(record, str) else _as_github_serves_it(record, place, Path(folder))
        ops(place, ["incident", "import", source, "--incident", str(number)], say, environ=environ)


def _as_github_serves_it(log: list[str], place: DrillWorld, folder: Path) -> str:
    """With the time before each line."""
    at = f"{place.sandbox.clock.now():%Y-%m-%dT%H:%M:%S.%f}0Z"
    path = folder / "job.log"
    path.write_text("".join(f"{at} {line}\n" for line in log), encoding="utf-8")
    return str(path)


def ops(place: DrillWorld, arguments: Sequence[str], say: Say, *, environ: Mapping[str, str]) -> None:
    """Another command, and what it said."""
    say(f"$ {program_name(os.environ)} {' '.join(arguments)}")
    argv, variables = command_line(place, [*arguments, "--config", str(place.config)], environ)
    done = subprocess.run(argv, env=variables, capture_output=True, text=True, check=False)
    say((done.stdout or done.stderr).strip())


def command_line(
    place: DrillWorld, arguments: Sequence[str], more: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of a command of ours."""
    environ = {**process.clean_environment(os.environ), **place.sandbox.environ(), **place.environ, **more}
    environ |= {place.environment.token: place.token or place.sandbox.token, "OPS_PROGRAM": program_name(os.environ)}
    environ |= {"PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    return [sys.executable, "-m", "ops", *arguments], environ

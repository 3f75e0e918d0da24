"""Run the public command in a drill: `ops` in its own process, limited to the sandbox."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app.configuration import program_name
from ops.core.errors import Decision
from ops.tools import own_program, process

if TYPE_CHECKING:
    from ops.config import Environment
    from sandbox import Sandbox
    from sandbox.github import GitHubRepository

Say = Callable[[str], None]
Params = Mapping[str, str | tuple[str, ...]]
"""Parameters of a runbook besides the service."""
NO_LIMITS: Mapping[str, str] = {}
OnEvent = Callable[[dict[str, Any]], None]

NO_RESULT: Mapping[str, Any] = {
    "decision": Decision.FAILED.value,
    "message": "the command printed no result; its output is above",
    "exit_code": 1,
    "durations": {"trigger_to_write": None, "trigger_to_verified": None},
}


@dataclass(frozen=True)
class DrillWorld:
    """The sandbox, service and runbook of a drill."""

    sandbox: "Sandbox"
    config: Path
    runbook: str
    service: str
    environment: "Environment"
    environ: Mapping[str, str] = field(default_factory=dict)
    """Additional variables of its commands."""
    token: str = ""
    """"" for the sandbox's own token."""
    names_service: bool = True
    """Whether the runbook has the parameter `service`."""
    responder: str = "responder"
    """The person who opens the incident and starts the recovery."""
    laptop_flags: tuple[str, ...] = ()
    """Options without a value of the runbook's command."""
    repositories: Mapping[str, Path] = field(default_factory=dict)
    """Other repository that jobs check out → its git checkout."""
    application: "GitHubRepository | None" = None
    """The application's repository, if it is another one than that of the incidents."""
    actions: str = ""
    """Repository of the actions that the workflows use; "" if the operations repository has them."""

    is_watched: bool = False
    """Whether its workflows watch the service after a recovery."""
    has_package_index: bool = True
    """Whether its jobs find the packages of the program."""

    @property
    def service_param(self) -> Params:
        return {"service": self.service} if self.names_service else {}


def run_drilled_command(
    world: DrillWorld,
    *,
    say: Say,
    on_event: OnEvent,
    params: Params,
    incident: int | None = None,
    environ: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run the runbook's command, pass on its events at once, and return its result."""
    arguments = [world.runbook]
    options = {**world.service_param, "environment": world.environment.name} | (
        {"incident": str(incident)} if incident else {}
    )
    for name, value in {**options, **params}.items():
        arguments += [f"--{name.replace('_', '-')}", param_text(value)]
    arguments += [*world.laptop_flags, "--reason", "drill", "--yes", "--json"]
    say(f"$ {program_name(os.environ)} {' '.join(arguments)}")
    arguments += ["--config", str(world.config), "--requested-at", world.sandbox.clock.now().isoformat()]
    argv, variables = command_line(world, arguments, environ or {})
    with start_drilled_command(argv, variables, stderr=subprocess.PIPE) as command:
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
    return {**NO_RESULT, **json.loads(out[0] or "{}")}


@contextmanager
def start_drilled_command(
    argv: Sequence[str], environ: Mapping[str, str], *, stderr: int
) -> Iterator["subprocess.Popen[str]"]:
    """Start a command whose output the block reads. It ends too if the block does not: a signal ends the drill."""
    with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=stderr, text=True) as command:
        try:
            yield command
        except BaseException:
            command.terminate()
            raise


def param_text(value: str | tuple[str, ...]) -> str:
    """Return the value as a command line or an input field takes it."""
    return value if isinstance(value, str) else ",".join(value)


def import_run(
    world: DrillWorld, record: str | list[str], number: int, say: Say, *, environ: Mapping[str, str]
) -> None:
    """Import a missing record once GitHub answers again: the id of a laptop run, or the log of a job."""
    with tempfile.TemporaryDirectory() as folder:
        source = record if isinstance(record, str) else _write_job_log(record, world, Path(folder))
        run_ops(world, ["incident", "import", source, "--incident", str(number)], say, environ=environ)


def _write_job_log(log: list[str], world: DrillWorld, folder: Path) -> str:
    """Return the path of a log with a time before each line, as GitHub serves it."""
    at = f"{world.sandbox.clock.now():%Y-%m-%dT%H:%M:%S.%f}0Z"
    path = folder / "job.log"
    path.write_text("".join(f"{at} {line}\n" for line in log), encoding="utf-8")
    return str(path)


def run_ops(world: DrillWorld, arguments: Sequence[str], say: Say, *, environ: Mapping[str, str]) -> int:
    """Run another command, print its output, and return its exit code."""
    say(f"$ {program_name(os.environ)} {' '.join(arguments)}")
    argv, variables = command_line(world, [*arguments, "--config", str(world.config)], environ)
    done = subprocess.run(argv, env=variables, capture_output=True, text=True, check=False)
    say((done.stdout or done.stderr).strip())
    return done.returncode


def command_line(
    world: DrillWorld, arguments: Sequence[str], variables: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Return command line and environment of an `ops` command."""
    environ = {**process.clean_environment(os.environ), **world.sandbox.environ(), **world.environ, **variables}
    environ |= {world.environment.token: world.token or world.sandbox.token, "OPS_PROGRAM": program_name(os.environ)}
    environ |= {"PYTHONPATH": str(own_program.OPS.parent)}
    return [sys.executable, "-m", "ops", *arguments], environ

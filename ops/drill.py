"""Drills: a local Cloudflare, something broken on purpose, the public command, and a score.

The command runs as a process of its own, with the shipped ops.yml and nothing lowered. It gets no variable of ours but
the sandbox's, so that no real token and no real address is within its reach. With a trigger there is an incident too,
and a label or a button goes through the real workflow files.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ops import drill_github as github
from ops.app import read_config
from ops.clocks import SystemClock
from ops.model.clock import span_text
from ops.model.errors import EXIT_CODES, ConfigError, Decision, Reason
from ops.model.redact import Redactor
from ops.model.verdict import Verdict
from ops.probes.http import Web
from ops.probes.rounds import Prober, ProbeSet
from ops.tools import process

if TYPE_CHECKING:
    from ops.model.config import Config, Environment, Service
    from ops.sandbox import Sandbox
    from ops.sandbox.switches import Switches

Edge = Literal["embedded", "workerd"]
Say = Callable[[str], None]

GOOD_AGO = timedelta(hours=2)
BAD_AGO = timedelta(minutes=10)
QUIET = {"CI": "true", "NO_COLOR": "1", "WRANGLER_SEND_METRICS": "false"}
EXAMPLE = Path(__file__).parent.parent / "examples" / "fortunet" / "backend"


@dataclass(frozen=True)
class Drill:
    """Where a drill takes place."""

    edge: Edge
    config: Path
    environment: str
    service: str
    switches: tuple[str, ...] = ()
    """Of the sandbox, as `name=value`."""
    trigger: github.Trigger | None = None
    """None: the command, and no GitHub."""
    github_fails: str | None = None


def rollback_worker(drill: Drill, say: Say, on_event: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """A good release, then a bad one; roll it back. Answers the run's result with the score."""
    from ops.sandbox import Sandbox

    config, _ = read_config(drill.config)
    environment = config.environment(drill.environment)
    service = environment.service(drill.service)
    switches = prepare(drill.edge, drill.switches)
    with Sandbox(account_id=environment.account_id, edge=drill.edge, switches=switches) as sandbox:
        say(f"a local Cloudflare is up ({drill.edge} edge); its account is that of {drill.environment}")
        releases = _releases(sandbox, drill.edge, service, say)
        seen = _probe(sandbox, service, drill.config.resolve().parent)
        say(f"the probes say: {seen.detail}")
        if seen.verdict != Verdict.UNHEALTHY:
            return _score(drill, config, _not_broken(seen.verdict))
        if drill.trigger is None:
            return _score(drill, config, _command(sandbox, drill, environment, say, on_event))
        result = _with_incident(sandbox, drill, config, say, on_event)
        serves = next((name for name, live in releases.items() if sandbox.live(service.worker) == live), "no known")
        is_well = _probe(sandbox, service, drill.config.resolve().parent).verdict == Verdict.HEALTHY
        return _score(drill, config, github.contradicted(result, serves=serves, is_well=is_well))


def prepare(edge: Edge, switches: Iterable[str]) -> "Switches":
    """What a sandbox needs before it starts: its switches, and the npm parts, once per machine. Raises ConfigError."""
    from ops.sandbox import npm
    from ops.sandbox.switches import parse

    try:
        if edge == "workerd":
            npm.install()
        return parse(switches)
    except (npm.MissingTool, ValueError) as error:
        raise ConfigError(str(error)) from None


DRILLS: Mapping[str, Callable[[Drill, Say, Callable[[dict[str, Any]], None]], dict[str, Any]]] = {
    "rollback-worker": rollback_worker,
}


def _releases(sandbox: "Sandbox", edge: Edge, service: "Service", say: Say) -> dict[str, dict[str, float]]:
    """What was live after each: name → version → percentage."""
    release = _wrangler_release if edge == "workerd" else _embedded_release
    releases = {}
    for name, ago in (("good", GOOD_AGO), ("bad", BAD_AGO)):
        with _back_in_time(sandbox, ago):
            release(sandbox, service, name)
        releases[name] = sandbox.live(service.worker)
        say(f"deployed the {name} release {span_text(ago.total_seconds())} ago")
    return releases


@contextmanager
def _back_in_time(sandbox: "Sandbox", ago: timedelta) -> Iterator[None]:
    sandbox.clock.advance(-ago.total_seconds())
    try:
        yield
    finally:
        sandbox.clock.advance(ago.total_seconds())


def _embedded_release(sandbox: "Sandbox", service: "Service", name: str) -> None:
    behaviour = None if name == "good" else {"status": 500}
    version = sandbox.upload(service.worker, code=name, behaviour=behaviour, tag=name, message=f"the {name} release")
    sandbox.deploy(service.worker, version)


def _wrangler_release(sandbox: "Sandbox", service: "Service", name: str) -> None:
    """The real wrangler deploys the example: what it uploads is what the runtime then runs."""
    from ops.sandbox import npm

    entry = "src/index.js" if name == "good" else "src/index.bad.js"
    named = ["--name", service.worker, "--tag", name, "--message", f"the {name} release"]
    with tempfile.TemporaryDirectory() as home:  # wrangler keeps logs and logins at home, and builds where it stands
        folder = shutil.copytree(EXAMPLE, Path(home, "backend"))
        environ = {**process.clean_environment(os.environ), **sandbox.environ(), **QUIET, "HOME": home}
        argv = [*npm.wrangler(), "deploy", entry, *named]
        done = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise ConfigError(f"wrangler could not deploy the {name} release: {' '.join(last)} (exit {done.returncode})")


def _probe(sandbox: "Sandbox", service: "Service", folder: Path) -> Any:
    """The same probes as the runbook's, asked once."""
    web = Web(sandbox.edge_url)
    try:
        environ = process.clean_environment(os.environ)
        prober = Prober(
            web=lambda: web,
            environ=lambda _: environ,
            redactor=Redactor(),
            clock=SystemClock(),
            folder=folder,
            pictures=folder,
        )
        return prober.once(ProbeSet(service.url, service.probes, service.verify))
    finally:
        web.close()


def _with_incident(
    sandbox: "Sandbox", drill: Drill, config: "Config", say: Say, on_event: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Open an incident, pull the trigger, complete the record, and add to the result what became of the incident."""
    incident = github.open_incident(sandbox, drill.service)
    say(f"{github.RESPONDER} opened the incident #{incident.number}")
    if drill.trigger == "command":
        environment, told = config.environment(drill.environment), ["--incident", str(incident.number)]
        with github.failing(incident, drill):
            result = _command(sandbox, drill, environment, say, on_event, arguments=told, environ=incident.environ())
    else:
        result = github.by_workflow(incident, config, drill, say)
    result |= {"journal": incident.has_whole_journal, "imported": False}
    if result["decision"] == Decision.RECOVERED:
        result["imported"] = not result["journal"] and _import(sandbox, drill, incident, result, say)
        if incident.report is None:
            _ops(sandbox, ["incident", "report", str(incident.number)], drill, incident, say)
    return {**result, "trigger": drill.trigger, **incident.told()}


def _import(sandbox: "Sandbox", drill: Drill, incident: github.Incident, result: Mapping[str, Any], say: Say) -> bool:
    """What GitHub did not get is posted once it answers again: from the laptop's record, or from the job's log."""
    with tempfile.TemporaryDirectory() as folder:
        source = result["run"]
        if "workflow_run" in result:
            source = str(Path(folder, "job.log"))
            at = f"{sandbox.clock.now():%Y-%m-%dT%H:%M:%S.%f}0Z"  # GitHub puts the time before each line
            log = "".join(f"{at} {line}\n" for line in result["workflow_run"]["log"])
            Path(source).write_text(log, encoding="utf-8")
        _ops(sandbox, ["incident", "import", source, "--incident", str(incident.number)], drill, incident, say)
    return incident.has_whole_journal


def _ops(sandbox: "Sandbox", arguments: list[str], drill: Drill, incident: github.Incident, say: Say) -> None:
    """A command of the responder's, and what it said."""
    say(f"$ {_program()} {' '.join(arguments)}")
    argv, environ = _started(sandbox, [*arguments, "--config", str(drill.config)], incident.environ())
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
    say((done.stdout or done.stderr).strip())


def _program() -> str:
    return os.environ.get("OPS_PROGRAM", "ops")


def _started(sandbox: "Sandbox", arguments: Sequence[str], more: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Command line and environment of `ops` as a process of its own."""
    environ = {**process.clean_environment(os.environ), **sandbox.environ(), **more}
    environ |= {"PYTHONPATH": str(Path(__file__).parent.parent), "OPS_PROGRAM": _program()}
    return [sys.executable, "-m", "ops", *arguments], environ


def _command(
    sandbox: "Sandbox",
    drill: Drill,
    environment: "Environment",
    say: Say,
    on_event: Callable[[dict[str, Any]], None],
    *,
    arguments: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run the public command and hand on its events while it goes."""
    command_line = ["rollback-worker", "--service", drill.service, "--environment", drill.environment, *arguments]
    command_line += ["--reason", "drill", "--yes", "--json"]
    say(f"$ {_program()} {' '.join(command_line)}")
    command_line += ["--config", str(drill.config), "--requested-at", sandbox.clock.now().isoformat()]
    argv, variables = _started(sandbox, command_line, {environment.token: sandbox.token, **(environ or {})})
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


UNREACHED: Mapping[str, Any] = {
    "decision": Decision.FAILED.value,
    "message": "the command gave no result; what it said stands above",
    "exit_code": 1,
    "durations": {"trigger_to_write": None, "trigger_to_verified": None},
}


def _not_broken(verdict: Verdict) -> dict[str, Any]:
    return {
        **UNREACHED,
        "schema": 1,
        "decision": Decision.INCONCLUSIVE.value,
        "reason": Reason.NO_EVIDENCE.value,
        "exit_code": EXIT_CODES[Decision.INCONCLUSIVE],
        "message": f"the bad release is {verdict.value}, so there was nothing to recover from",
    }


def _score(drill: Drill, config: "Config", result: dict[str, Any]) -> dict[str, Any]:
    """The result with what a drill adds: where it ran, what was wanted, and whether it was reached."""
    target = config.recovery_targets.get("rollback-worker")
    seconds = target.recovery if target else None
    verified = result["durations"]["trigger_to_verified"]
    if verified is None:  # where GitHub lost the journal, the end of the job is known, which is later
        verified = result["durations"].get("total")
    in_time = seconds is None or (verified is not None and verified <= seconds)
    reported = drill.trigger is None or result.get("report") is not None
    reached = in_time and reported and result["decision"] == Decision.RECOVERED
    return {
        **result,
        "drill": "rollback-worker",
        "edge": drill.edge,
        "target_seconds": seconds,
        "within_target": reached,
    }

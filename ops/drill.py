"""Drills: a local Cloudflare, something broken on purpose, the public command, and a score.

The command runs as a process of its own, with the shipped ops.yml and nothing lowered. It gets no variable of ours but
the sandbox's, so that no real token and no real address is within its reach.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

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
    """Nothing: the first one of the drill's kind."""
    switches: tuple[str, ...] = ()
    """Of the sandbox, as `name=value`."""


def rollback_worker(drill: Drill, say: Say, on_event: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """A good release, then a bad one; roll it back. Answers the run's result with the score."""
    release = _wrangler_release if drill.edge == "workerd" else _embedded_release
    return _rolled_back("rollback-worker", "worker", release, drill, say=say, on_event=on_event)


def rollback_pages(drill: Drill, say: Say, on_event: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """A good site, then a bad one; roll it back. Answers the run's result with the score."""
    return _rolled_back("rollback-pages", "pages", _site_release, drill, say=say, on_event=on_event)


def _rolled_back(
    runbook: str,
    kind: str,
    release: "Callable[[Sandbox, Service, str], None]",
    drill: Drill,
    *,
    say: Say,
    on_event: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    from ops.sandbox import Sandbox

    config, _ = read_config(drill.config)
    environment = config.environment(drill.environment)
    service = _service(environment, drill.service, kind)
    switches = prepare(drill.edge, drill.switches)
    with Sandbox(account_id=environment.account_id, edge=drill.edge, switches=switches) as sandbox:
        say(f"a local Cloudflare is up ({drill.edge} edge); its account is that of {drill.environment}")
        for name, ago in (("good", GOOD_AGO), ("bad", BAD_AGO)):
            with _back_in_time(sandbox, ago):
                release(sandbox, service, name)
            say(f"deployed the {name} release {span_text(ago.total_seconds())} ago")
        seen = _probe(sandbox, service, drill.config.resolve().parent)
        say(f"the probes say: {seen.detail}")
        if seen.verdict != Verdict.UNHEALTHY:
            return _score(runbook, drill, config, _not_broken(seen.verdict))
        result = _command(sandbox, [runbook, "--service", service.name], drill, environment, say=say, on_event=on_event)
        return _score(runbook, drill, config, result)


def _service(environment: "Environment", name: str, kind: str) -> "Service":
    """Raises ConfigError."""
    names = [each for each, service in environment.services.items() if service.kind == kind]
    service = environment.service(name or next(iter(names), kind))
    if service.kind != kind:
        hint = f"Name one of: {', '.join(names) or 'none'}."
        raise ConfigError(f"{name} has no {kind}, which this drill breaks", reason=Reason.UNKNOWN_NAME, hint=hint)
    return service


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
    "rollback-pages": rollback_pages,
}


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


def _site_release(sandbox: "Sandbox", service: "Service", name: str) -> None:
    """The bad one is the good one built into the wrong folder: each page is missing, and a page says so."""
    if service.pages not in sandbox.pages.projects:
        sandbox.pages.add_project(service.pages, domains=[urlsplit(service.url).netloc])
    pages = {urlsplit(path).path for path in (*service.compare, *(p.http.path for p in service.probes if p.http))}
    files = {_file(path): f"<!doctype html><h1>{path}, {name}</h1>".encode() for path in pages}
    if name == "bad":
        files = {f"dist/{path}": content for path, content in files.items()} | {"404.html": b"<h1>not found</h1>"}
    commit = sha256(name.encode()).hexdigest()[:40]
    sandbox.pages.add_deployment(service.pages, files=files, commit=commit, message=f"the {name} release")


def _file(path: str) -> str:
    """The file that is served there."""
    return f"{path}index.html".removeprefix("/") if path.endswith("/") else path.removeprefix("/")


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
            web=lambda: web, environ=lambda _: environ, redactor=Redactor(), clock=SystemClock(), folder=folder
        )
        return prober.once(ProbeSet(service.url, service.probes, service.verify))
    finally:
        web.close()


def _command(
    sandbox: "Sandbox",
    wanted: list[str],
    drill: Drill,
    environment: "Environment",
    *,
    say: Say,
    on_event: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Run the public command and hand on its events while it goes."""
    arguments = [*wanted, "--environment", drill.environment, "--reason", "drill", "--yes", "--json"]
    program = os.environ.get("OPS_PROGRAM", "ops")
    say(f"$ {program} {' '.join(arguments)}")
    arguments += ["--config", str(drill.config), "--requested-at", sandbox.clock.now().isoformat()]
    environ = {**process.clean_environment(os.environ), **sandbox.environ(), environment.token: sandbox.token}
    environ |= {"PYTHONPATH": str(Path(__file__).parent.parent), "OPS_PROGRAM": program}
    argv = [sys.executable, "-m", "ops", *arguments]
    with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as command:
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


def _score(runbook: str, drill: Drill, config: "Config", result: dict[str, Any]) -> dict[str, Any]:
    """The result with what a drill adds: where it ran, what was wanted, and whether it was reached."""
    target = config.recovery_targets.get(runbook)
    seconds = target.recovery if target else None
    verified = result["durations"]["trigger_to_verified"]
    in_time = seconds is None or (verified is not None and verified <= seconds)
    reached = in_time and result["decision"] == Decision.RECOVERED
    return {
        **result,
        "drill": runbook,
        "edge": drill.edge,
        "target_seconds": seconds,
        "within_target": reached,
    }

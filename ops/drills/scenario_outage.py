"""Run the drill of an outage: Cloudflare fails, and the check says so instead of a rollback.

The verdict comes from the comment on the incident, or without a trigger from the command. The sandbox proves that
nothing was written, and that the same version serves after the outage.
"""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ops.core.errors import EXIT_CODES, Decision, Reason
from ops.core.names import CHECK_OUTAGE
from ops.core.outage import OutageVerdict
from ops.core.verdict import ProbeObservation, Verdict
from ops.drills import command, faults, github
from ops.drills.command import NO_RESULT, DrillWorld, Say
from ops.drills.support import Trigger

if TYPE_CHECKING:
    from sandbox import Sandbox

UNSUPPORTED = {"workerd": "the outage is in front of the Workers, so their runtime does not matter"}
EXPECTED = Decision.NOTHING_TO_DO
SECONDS_UNTIL_SHOWN = 60.0
"""Time after the delay of the status page."""
SECONDS_UNTIL_OVER = 3600.0
READ_BY_POST = "/bulk/get"
"""End of the path at which several values of KV are read."""


@dataclass(frozen=True)
class Outage:
    """An outage of one of Cloudflare's products."""

    product: str
    """Empty for the product that runs the service: Workers or Pages."""
    status: int
    """Status code of each answer at the service's url."""


OUTAGES = {"cloudflare-outage": Outage("", 503), "edge-outage": Outage("CDN/Cache", 521)}
"""Name of the drill → its outage."""


@dataclass(frozen=True)
class OutageDrill:
    """A drill in which all services of the environment serve a good release."""

    name: str
    world: DrillWorld
    trigger: Trigger | None
    incident: github.DrillIncident | None
    live: Callable[[], Any]
    """Returns what serves the service."""
    probe: Callable[[], ProbeObservation]
    say: Say
    rules: tuple[faults.Rule, ...] = ()
    """Requests that fail during the check."""

    @property
    def sandbox(self) -> "Sandbox":
        return self.world.sandbox

    def run(self) -> dict[str, Any]:
        """Begin the outage, check, end the outage, and return the result."""
        sandbox, before = self.sandbox, self.live()
        if (observed := self.probe()).verdict != Verdict.HEALTHY:
            message = f"the drill's own release does not pass the probes of ops.yml: {observed.detail}"
            return self._build_drill_result(Decision.NO_EVIDENCE, Reason.NO_EVIDENCE, message)
        self._begin_sandbox_outage()
        if (observed := self.probe()).verdict != Verdict.UNHEALTHY:
            return self._build_drill_result(
                Decision.NO_EVIDENCE, Reason.NO_EVIDENCE, f"the outage broke nothing: {observed.detail}"
            )
        self.say(f"the probes say: {observed.detail}")
        asked_at, sent = sandbox.clock.now(), len(sandbox.requests)
        with faults.active_faults(sandbox, self.rules):
            verdict, more = self._check_outage()
        seconds = round((sandbox.clock.now() - asked_at).total_seconds(), 3)
        durations = {"trigger_to_write": None, "trigger_to_verified": seconds, "total": seconds}
        writes = [each for each in sandbox.requests[sent:] if _is_write(each)]
        sandbox.edge_faults.clear()
        sandbox.clock.advance(SECONDS_UNTIL_OVER)
        self.say("the outage is over, and nobody has done anything")
        is_same, after = self.live() == before, self.probe()
        message = (
            f"the verdict is {verdict or 'missing'}; {len(writes)} writes to Cloudflare; after the outage "
            f"{'the same' if is_same else 'ANOTHER'} version serves: {after.detail}"
        )
        is_good = verdict == OutageVerdict.THEIRS and not writes and is_same and after.verdict == Verdict.HEALTHY
        outcome = (EXPECTED, Reason.PROVIDER_OUTAGE) if is_good else (Decision.FAILED, Reason.STILL_UNHEALTHY)
        return {**self._build_drill_result(*outcome, message), **more, "verdict": verdict, "durations": durations}

    def _begin_sandbox_outage(self) -> None:
        """Let Cloudflare fail for users, and its status page report it."""
        sandbox, service = self.sandbox, self.world.environment.service(self.world.service)
        outage = OUTAGES[self.name]
        product = outage.product or ("Workers" if service.worker else "Pages")
        sandbox.status_pages.begin_incident("cloudflare", f"{product} errors", {product: "major_outage"})
        sandbox.edge_fault(host=urlsplit(service.url).hostname, status=outage.status, times=None)
        self.say(f"Cloudflare answers {outage.status} for {service.name}")
        sandbox.clock.advance(sandbox.switches.status_pages_lag_seconds + SECONDS_UNTIL_SHOWN)
        self.say(f"its status page reports an outage of {product}")

    def _check_outage(self) -> tuple[str, dict[str, Any]]:
        """Check by the trigger. Return the verdict, and further fields of the result."""
        if self.incident is None:
            return self._run_command({}), {}
        if self.trigger == "command":
            self._run_command(self.incident.environ(), "--incident", str(self.incident.number))
            more: dict[str, Any] = {}
        else:
            (run,) = github.finish_workflows(self.world, self._press_outage_button, self.say)
            more = {"workflow_run": github.describe_run(run)}
        record = self.incident.last_record
        is_check = record is not None and record.source == "outage"
        verdict = record.decision if record and is_check else ""
        return verdict, {**more, "trigger": self.trigger, "journal": is_check, **self.incident.describe()}

    def _press_outage_button(self) -> None:
        """Press the button, or add the label, as the responder."""
        assert self.incident is not None
        hub, person, number = self.sandbox.github, self.world.responder, self.incident.number
        if self.trigger == "button":
            self.say(f"{person} pressed the button of {CHECK_OUTAGE}.yml")
            inputs = {"environment": self.world.environment.name, "incident": str(number)}
            hub.dispatch(f"{CHECK_OUTAGE}.yml", inputs, person)
        else:
            self.say(f'{person} put the label "{CHECK_OUTAGE}" on it')
            hub.label(number, CHECK_OUTAGE, person)

    def _run_command(self, environ: dict[str, str], *more: str) -> str:
        """Run the command, and return its verdict."""
        arguments = [CHECK_OUTAGE, self.world.service, "--environment", self.world.environment.name, *more]
        self.say(f"$ ops {' '.join(arguments)}")
        argv, variables = command.command_line(
            self.world, [*arguments, "--json", "--config", str(self.world.config)], environ
        )
        done = subprocess.run(argv, env=variables, capture_output=True, text=True, check=False)
        if done.returncode:
            self.say(done.stderr.strip())
        return str(json.loads(done.stdout or "{}").get("verdict", ""))

    def _build_drill_result(self, decision: Decision, reason: Reason, message: str) -> dict[str, Any]:
        return {
            **NO_RESULT,
            "schema": 1,
            "decision": decision.value,
            "reason": reason.value,
            "exit_code": EXIT_CODES[decision],
            "message": message,
            "runbook": CHECK_OUTAGE,
            "environment": self.world.environment.name,
            "service": self.world.service,
            "timeline": [],
        }


def _is_write(request: Any) -> bool:
    is_read = request.method == "GET" or request.path.endswith(READ_BY_POST)
    return bool(request.path.startswith("/client/") and not is_read)

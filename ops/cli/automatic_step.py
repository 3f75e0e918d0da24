"""Check everything that can forbid the automatic step of a job after a relapse."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app.place import Place
from ops.core.next_step import build_command
from ops.core.redaction import Redactor
from ops.engine.runbook import Runbook
from ops.github import actions

if TYPE_CHECKING:
    from ops.config import Config
    from ops.watch.automatic_step import AutomaticStep


def plan_step(
    runbook: Runbook[Any, Any],
    params: Any,
    deployment: str,
    redactor: Redactor,
    *,
    config: "Config",
    options: Mapping[str, Any],
) -> tuple[Any, Callable[[], None]]:
    """Return the parameters of the step after the relapse of a deployment, and what permits it before its plan.

    `options`: those of the run. A dry run needs no permit.
    """
    environment = config.environment(options["environment"])
    place = Place(environment.name, runbook.service(params, environment))
    found = runbook.after_relapse(params, deployment)
    who, path, incident = options["requested_by"], options["config"], options["incident"]
    request = StepRequest(runbook.name, place, incident, deployment, who, found is not None, path, os.environ, redactor)
    return found or params, (lambda: None) if options["dry_run"] else request.permit


@dataclass(frozen=True)
class StepRequest:
    """A job's request for the step after the relapse of `deployment`."""

    runbook: str
    place: Place
    incident: int | None
    deployment: str
    """ID of the deployment that relapsed; anything else is refused."""
    requested_by: str
    is_by_rule: bool
    """Whether the approved request left the choice of the version to Backout."""
    config: Path
    environ: Mapping[str, str]
    redactor: Redactor

    def permit(self) -> None:
        """Check everything that can forbid the step, and record it on the incident.

        Raises:
            Refused: the step is forbidden.
            ProviderError: GitHub or the Worker's deployments cannot be read, or GitHub cannot be written.
        """
        from ops.app.configuration import read_config
        from ops.core.system_clock import current_time
        from ops.core.verdict import Verdict
        from ops.gate.requester import refuse_requester
        from ops.status.outage import read_outage
        from ops.watch.automatic_step import claim_step, count_deployed_steps
        from ops.watch.record import find_incident

        watch = read_config(self.config)[0].watch
        step = self._step(watch.max_steps if watch and watch.on_relapse == "next" else 0)
        if not step.most:
            raise step.refuse("`watch` in ops.yml has no `on_relapse: next`")
        if not self.is_by_rule:
            raise step.refuse("the request named the version itself")
        if self.incident is None:
            raise step.refuse("the request has no incident, on which steps are counted")
        refuse_requester(self.environ, self.redactor, self.requested_by, f"Somebody else can run: `{step.by_hand}`")
        found = read_outage(self.place, self.config, self.environ, self.redactor)
        if signs := dict.fromkeys((*found.finding.theirs, *found.finding.possible)):
            has = "has trouble" if found.finding.theirs else "may have trouble"
            raise step.refuse(f"a provider {has}, so an older version may not help: {'; '.join(signs)}")
        deployed = count_deployed_steps(
            self.place, self.config, self.environ, self.redactor, incident=self.incident, relapsed=self.deployment
        )
        is_healthy = all(each.verdict == Verdict.HEALTHY for each in found.evidence.services)
        claim_step(
            replace(step, is_healthy=is_healthy, deployed=deployed),
            find_incident(self.environ, self.redactor, self.incident),
            current_time(self.environ),
        )

    def _step(self, most: int) -> "AutomaticStep":
        from ops.app.configuration import program_name
        from ops.watch.automatic_step import AutomaticStep, command_by_hand

        program = program_name(self.environ)
        where = {"service": self.place.service, "environment": self.place.environment, "incident": self.incident}
        by_hand = command_by_hand(program, self.runbook, where, self.deployment)
        link = actions.run_links(self.environ, None).get("run", "")
        text = (
            f"**Automatic step:** {f'[a job]({link})' if link else 'a job'} starts to roll {self.place.service} in "
            f"{self.place.environment} back to the next older version, and comments how it ends. "
            f"No other automatic step follows. Then watch it: `{build_command(program, 'watch', where)}`"
        )
        return AutomaticStep(
            self.place.environment,
            self.place.service,
            self.deployment,
            most,
            deployed=0,
            is_healthy=False,
            text=text,
            by_hand=by_hand,
        )

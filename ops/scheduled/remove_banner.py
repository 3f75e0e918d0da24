"""`ops remove-banner`: remove the banner of an incident that is publicly over.

A job of *publish-update* starts it. It reads the switch, and the public updates of the incidents that hold it. Each
incident that is over releases it by a run of its own, with the code of `feature`. A banner without an incident stays
until its end.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ops.app.registry import record_rules
from ops.app.session import Session
from ops.core.public_update import standing_updates
from ops.core.runtime_contract import BANNER_SWITCH, SWITCH_KEY_PREFIX
from ops.engine.runbook import DueRun, DueRuns, JobNeeds
from ops.github.client import connect, provider_errors
from ops.github.public_updates import read_incident_updates
from ops.runbooks.feature import Feature
from ops.switches import values

if TYPE_CHECKING:
    from ops.config import Config, Environment
    from ops.core.redaction import Redactor

OFF = "off"


def _find_banners_to_remove(
    config: "Config", environment: "Environment", environ: Mapping[str, str], redactor: "Redactor"
) -> Iterator[DueRun | str]:
    incidents = _read_incidents(config, environment, environ)
    if not incidents:
        yield f"{environment.name}: no banner of an incident"
        return
    repository, rules = connect(environ, redactor, read_only=True), record_rules(config)
    for number in incidents:
        with provider_errors():
            updates = standing_updates(read_incident_updates(repository.get_issue(number), rules))
        last = updates[-1].state if updates else None
        if last is not None and last.is_end:
            reason = f"incident #{number} is publicly {last.words}"
            yield DueRun(Feature.Params(BANNER_SWITCH, OFF, reason=reason), number)
        else:
            yield f"{environment.name}: the banner stays: incident #{number} is not publicly over"


def _read_incidents(config: "Config", environment: "Environment", environ: Mapping[str, str]) -> tuple[int, ...]:
    """Return the incidents that hold the banner now; none without that switch. Raises ConfigError and ProviderError.

    KV may hide a banner that was set a moment ago. So without one it reads again after `settle` of ops.yml.
    """
    runtime = environment.runtime
    if runtime is None or BANNER_SWITCH not in runtime.switches:
        return ()
    with ExitStack() as ending:
        session = Session(config, environment.name, environ, ending)
        for wait in (0.0, runtime.settle):
            session.clock.sleep(wait)
            text = session.cloudflare.kv.read_value(runtime.namespace, f"{SWITCH_KEY_PREFIX}{BANNER_SWITCH}")
            current = values.parse_switch_state(BANNER_SWITCH, runtime.switches[BANNER_SWITCH], text)
            owners = current.owners(session.clock.now())
            if incidents := tuple(each.incident for each in owners if each.incident):
                return incidents
        return ()


class RemoveBanner(Feature):
    """Remove the banner of an incident that is publicly resolved, or of a maintenance that is completed."""

    name = "remove-banner"
    section = ""
    when = "No incident: the workflow publish-update starts it"
    label_use = None
    job = JobNeeds(
        due=DueRuns(
            _find_banners_to_remove,
            lambda environment: bool(environment.runtime and BANNER_SWITCH in environment.runtime.switches),
        )
    )
    example = Feature.Params(BANNER_SWITCH, OFF)

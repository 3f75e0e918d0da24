"""Section `staging_drill` of `ops.yml`. A drill never breaks what may be production's."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from ops.config.strict_yaml import KeyPath, as_items, as_mapping, get_nested
from ops.config.types import CRON, ConfigModel, Name
from ops.core.names import did_you_mean, quote_name

SECTION = "staging_drill"
PRODUCTION_WORDS = frozenset({"production", "prod", "live"})
"""Words that no name of a drill's environment may hold."""


class StagingDrillConfig(ConfigModel):
    """Drill of a recovery on staging: a harmless bad version, a recovery by the usual way, and the undo."""

    environment: Name = Field(description="Environment of the drill; never production's.")
    service: Name = Field(description="Worker there that the drill breaks and recovers.")
    schedule: Annotated[str, Field(pattern=CRON)] | None = Field(
        default=None, description="Time in UTC as a cron line: monthly or weekly (default: button and command only)."
    )
    unattended: bool = Field(
        default=False,
        description="Whether the drill starts its recovery itself (default: it asks a person for the label).",
    )
    tracking_issue: int | None = Field(
        default=None, ge=1, description="Issue with the results of all drills (default: the drill opens one)."
    )


def find_staging_drill_errors(data: Any) -> Iterator[tuple[KeyPath, str]]:
    """Yield the errors of the section: unknown names, and everything that may be production's."""
    section = get_nested(data, SECTION)
    environments = as_mapping(get_nested(data, "environments"))
    named, service = get_nested(section, "environment"), get_nested(section, "service")
    if not isinstance(named, str) or not environments:
        return
    path: KeyPath = (SECTION, "environment")
    if named not in environments:
        yield path, f'no environment "{quote_name(named)}"{did_you_mean(named, environments)}'
    elif PRODUCTION_WORDS & set(re.split("[-_]", named)):
        yield path, f'"{named}" may be production, which no drill may break; name the environment of staging'
    elif len(environments) == 1:
        yield path, f'"{named}" is the only environment, so it may be production; add staging, and name it here'
    elif isinstance(service, str):
        yield from _service_errors(service, named, environments)


def _service_errors(service: str, environment: str, environments: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    path: KeyPath = (SECTION, "service")
    services = as_mapping(get_nested(environments, environment, "services"))
    broken = as_mapping(services.get(service))
    if service not in services:
        yield path, f'no service "{quote_name(service)}" in {environment}{did_you_mean(service, services)}'
        return
    if "worker" not in broken:
        yield path, f"{service} has no worker, and a drill breaks a Worker"
        return
    if not broken.get("url") or not any("http" in as_mapping(each) for each in as_items(broken.get("probes"))):
        yield path, f"{service} needs a url and an http probe, which show the drill whether it is healthy"
    account = get_nested(environments, environment, "account_id")
    for name, other in environments.items():
        for other_service, each in as_mapping(get_nested(other, "services")).items():
            if name == environment or not isinstance(each, dict):
                continue
            place = f"{other_service} in {name}"
            if (get_nested(other, "account_id"), each.get("worker")) == (account, broken["worker"]):
                yield path, f"same account and Worker as {place}, which a drill would break; use a Worker of its own"
            elif each.get("url") and each.get("url") == broken.get("url"):
                yield path, f"same url as {place}, which may be production's; use a url of its own"

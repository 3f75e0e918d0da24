"""Values of the generated workflow that publishes updates. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.app.registry import load_runbook
from ops.core.clock import parse_duration
from ops.core.names import REMOVE_BANNER, STATUS_LABEL
from ops.core.public_update import CONDITIONS, PublicState
from ops.gate.update import BY_STATE
from ops.setup.workflow_jobs import ActingJob, button_jobs, secret_expressions

if TYPE_CHECKING:
    from ops.config import Config

GITHUB_ENVIRONMENT = "report"
REBUILD_MINUTE = 4
"""First minute of the hour in which the page is built regularly."""
HOURS = {60: "*", 24 * 60: "0"}
"""Interval in minutes → field of the hours, if it is no plain division of the day."""
MONTH = 30 * 24 * 60
"""Minutes."""
MOST_NAMES = 150
"""Characters of the names of components in a description."""


@dataclass(frozen=True)
class PublishUpdateJob:
    components: str
    """Description of the field, with the names of the components."""
    secrets: Mapping[str, str]
    """Variable → expression of its secret: key of a provider's page, and the team's chats."""
    deploys: bool = False
    """Whether jobs build, deploy and compare the own page."""
    schedule: str = ""
    """Cron line of the regular build; empty without one."""
    banner: ActingJob | None = None
    """Job that removes the banner after the last update; None if the page's environment has no such switch."""
    states: tuple[str, ...] = tuple(each.words for each in PublicState)
    conditions: tuple[str, ...] = (BY_STATE, *(each.words for each in CONDITIONS))
    label: str = STATUS_LABEL


def publish_update_job(config: "Config") -> PublishUpdateJob | None:
    """Return the values of the workflow; None if ops.yml has no status page."""
    if (page := config.status_page) is None:
        return None
    names = ", ".join(page.component_names)
    shown = names if len(names) <= MOST_NAMES else f"{names[:MOST_NAMES].rpartition(',')[0]}, …"
    described = f"Components, separated by commas: {shown} (default: those of the incident)".replace('"', "'")
    tokens = [page.token] if page.token else []
    secrets = secret_expressions(config, GITHUB_ENVIRONMENT, [*tokens, *config.notify.secret_names])
    return PublishUpdateJob(
        described.replace("${{", "$ {{").replace("\\", "/"),
        secrets,
        deploys=deploys_page(config),
        schedule=_rebuild_cron(page.rebuilt) if page.rebuilt and deploys_page(config) else "",
        banner=_banner_job(config, page.environment or next(iter(config.environments))),
    )


def _banner_job(config: "Config", environment: str) -> ActingJob | None:
    runbook = load_runbook(REMOVE_BANNER)
    due = runbook.job.due
    if due is None or not due.may_exist(config.environments[environment]):
        return None
    return next(each for each in button_jobs(config, runbook) if each.environment == environment)


def _rebuild_cron(interval: str) -> str:
    """Return the cron line. Not at a full hour, when GitHub starts most schedules late."""
    minutes = _interval_minutes(interval)
    if minutes < 60:
        return f"{REBUILD_MINUTE}-59/{minutes} * * * *"
    return f"{REBUILD_MINUTE} {HOURS.get(minutes, f'*/{minutes // 60}')} * * *"


def monthly_minutes(config: "Config") -> int:
    """Return the billed minutes of the regular builds in a month: GitHub bills each job for at least one."""
    page = config.status_page
    return MONTH // _interval_minutes(page.rebuilt) if page and page.rebuilt and deploys_page(config) else 0


def deploys_page(config: "Config") -> bool:
    """Return whether jobs deploy the own page. The actions for that do not work on an Enterprise Server."""
    return bool(config.status_page and config.status_page.has_own_page and not config.github.enterprise_server)


def _interval_minutes(interval: str) -> int:
    return int(parse_duration(interval)) // 60

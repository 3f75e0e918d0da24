"""Values of the generated workflow of the staging drill. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.setup.workflow_jobs import RUNTIME_LOCK, secret_expressions

if TYPE_CHECKING:
    from ops.config import Config

GITHUB_ENVIRONMENT = "recovery"
MINUTES = 60
"""Longest drill: two minutes to break, thirty to recover, and the rest for the undo and the report."""
RESUME_MINUTE = 47
"""Of the hour in which drills that died are undone."""
BILLED = 35 + 1
"""Minutes of a drill that waits for a person as long as it may, and of its undo."""
RESUMES = 2 * 24
"""Hourly looks after a drill: on its day and the next one."""


@dataclass(frozen=True)
class StagingDrillJob:
    environment: str
    secrets: Mapping[str, str]
    """Variable → expression of its secret: the token of staging, and what the probes of all services send."""
    locks: tuple[str, ...]
    crons: Mapping[str, str]
    """`run` and `resume`; empty without a schedule."""
    minutes: int = MINUTES


def staging_drill_job(config: "Config") -> StagingDrillJob | None:
    """Return the values of the workflow; None if ops.yml has no drill."""
    if (drill := config.staging_drill) is None:
        return None
    token = config.environment(drill.environment).token
    services = [each for place in config.environments.values() for each in place.services.values()]
    variables = dict.fromkeys(name for each in services for probe in each.quick_probes for name in probe.variables)
    secrets = secret_expressions(config, GITHUB_ENVIRONMENT, (token, *variables))
    crons = {"run": drill.schedule, "resume": resume_cron(drill.schedule)} if drill.schedule else {}
    return StagingDrillJob(drill.environment, secrets, (RUNTIME_LOCK,), crons)


def resume_cron(schedule: str) -> str:
    """Return the hourly cron line on the day of a drill and the next one: an hourly one costs 720 minutes a month."""
    _, _, day, _, weekday = schedule.split()
    if day != "*":
        return f"{RESUME_MINUTE} * {day},{int(day) + 1} * *"
    return f"{RESUME_MINUTE} * * * {weekday},{(int(weekday) + 1) % 7}"


def monthly_minutes(config: "Config") -> int:
    """Return the billed minutes of the schedule in a month. GitHub bills each job for at least one minute."""
    schedule = config.staging_drill.schedule if config.staging_drill else None
    if schedule is None:
        return 0
    return (BILLED + RESUMES) * (1 if schedule.split()[2] != "*" else 5)

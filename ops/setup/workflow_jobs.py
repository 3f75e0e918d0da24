"""Jobs of generated workflows: buttons, schedules, staging drill, and their secrets. Pure.

A job acts in one environment of `ops.yml` with the secrets of one GitHub environment. The workflow names each secret
itself: `secrets[…]` makes GitHub send all secrets to the runner, and `a || b` yields b's value if a is missing.
docs.github.com/actions/reference/security/secure-use
"""

import dataclasses
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from ops.app import registry
from ops.app.scope import RUNTIME, AnyRunbook, fitting_environments, fitting_services
from ops.config.sections import ScheduleInterval, interval_length
from ops.config.types import extend_watch
from ops.core.names import NEW_PREFIX, OLD_PREFIX
from ops.engine.runbook import JobSecret, Schedule, WatchedState
from ops.github import actions

if TYPE_CHECKING:
    from ops.config import Config, Environment
    from ops.config.probes import Probe

RUNTIME_LOCK = "runtime"
APP_KEY, APP_ID, SECRETS_TOKEN = "GH_SECRETS_APP_KEY", "GH_SECRETS_APP_ID", "GH_SECRETS_TOKEN"
DOCTOR, DOCTOR_MINUTE = "doctor", 37
WATCH, WATCH_MINUTE = "watch", 23
GUARD, GUARD_MINUTE = "guard", 17
ROTATION_PREFIXES = (NEW_PREFIX, OLD_PREFIX)
COPY_KEYS = (SECRETS_TOKEN, APP_KEY)
"""Either of them is enough to write copies on GitHub."""


@dataclass(frozen=True)
class ActingJob:
    """A job that executes runbooks.

    `environment` is a name of `ops.yml`; "" for a job without secrets, which serves all.
    """

    github_environment: str
    environment: str
    secrets: Mapping[str, str]
    """Variable → expression of its secret."""
    permissions: tuple[str, ...]
    """GitHub permissions besides `contents: read` and `issues: write`."""
    contents: str = "read"
    locks: tuple[str, ...] = (RUNTIME_LOCK,)
    """Names of the lock files in `locks/` that the job installs."""
    reads: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """The part of `secrets` that a plan needs."""

    approval: str = ""
    """GitHub environment whose reviewer approves first, and id of the job that waits for the approval."""

    needs_approval: bool = False
    """Whether a second person approves plans of its runbooks."""

    end: "ActingJob | None" = None
    """The later job that ends a temporary state of the runbooks."""

    command: str = ""
    """The one command that the job runs; "" if it runs any of several runbooks."""

    sources: tuple[str, ...] = ()
    """Repositories with migrations, one of which another job fetches; "" is this repository."""

    closes: bool = False
    """Whether one of its runbooks may leave a service closed, so that a watch checks that it stays closed."""

    automatic: Sequence[str] = ()
    """Runbooks that another job follows with the automatic step after a relapse."""

    sites: Collection[str] = ()
    """Repositories with sites, from one of which jobs before this one fetch and build a commit."""

    @property
    def id(self) -> str:
        return actions.acting_job_id(self.github_environment, self.environment, builds_site=bool(self.sites))


def called_jobs(config: "Config", runbooks: Iterable[AnyRunbook], workflow: str) -> list[ActingJob]:
    """Return the acting jobs of a called workflow: one for each GitHub environment and environment of `ops.yml`."""
    selected = [each for each in runbooks if registry.called_workflow(each) == workflow]
    return _acting_jobs(config, [(each, place) for each in selected for place in fitting_environments(config, each)])


def button_jobs(config: "Config", runbook: AnyRunbook) -> list[ActingJob]:
    return _acting_jobs(config, [(runbook, each) for each in fitting_environments(config, runbook)])


def _built_repositories(environment: "Environment", runbooks: Iterable[AnyRunbook]) -> Collection[str]:
    """Return the repositories of the sites that the runbooks build."""
    building = (each for each in runbooks if each.job.builds_site)
    names = (name for each in building for name in fitting_services(environment, each))
    return {environment.services[name].repository or "" for name in names}


def _acting_jobs(config: "Config", pairs: "Sequence[tuple[AnyRunbook, Environment]]") -> list[ActingJob]:
    kinds = sorted(
        {(runbook.job.builds_site, runbook.github_environment) for runbook, _ in pairs},
        key=lambda kind: (kind[0], not kind[1], kind[1]),
    )
    jobs = []
    for kind in kinds:
        github_environment = kind[1]
        selected = [
            (runbook, each) for runbook, each in pairs if (runbook.job.builds_site, runbook.github_environment) == kind
        ]
        for environment in dict.fromkeys(each.name for _, each in selected) if github_environment else [""]:
            runbooks = [runbook for runbook, each in selected if environment in {"", each.name}]
            jobs.append(
                _acting_job(
                    config, github_environment, config.environments.get(environment), list(dict.fromkeys(runbooks))
                )
            )
    return jobs


def _acting_job(
    config: "Config", github_environment: str, environment: "Environment | None", runbooks: Sequence[AnyRunbook]
) -> ActingJob:
    rights = sorted({right for runbook in runbooks for right in runbook.permissions.github})
    permissions = [right for right in rights if not right.startswith(("contents:", "issues:", "environments:"))]
    contents = "write" if "contents: write" in rights else "read"
    if environment is None:
        return ActingJob(github_environment, "", {}, tuple(permissions), contents)
    probes = [probe for runbook in runbooks for probe in _runbook_probes(environment, runbook)]
    reads = [environment.token, *(name for probe in probes for name in probe.variables)]
    names = [
        *reads,
        *(config.notify.secret_names if any(not runbook.incident_use.is_routine for runbook in runbooks) else ()),
        *(name for runbook in runbooks for each in runbook.job.secrets for name in _job_secrets(environment, each)),
    ]
    secrets = secret_expressions(config, github_environment, names)
    if any(JobSecret.ROTATION in runbook.job.secrets for runbook in runbooks):
        secrets[APP_ID] = f"vars.{APP_ID}"
    return ActingJob(
        github_environment,
        environment.name,
        secrets,
        tuple(permissions),
        contents,
        _job_lock_files(probes, runbooks),
        secret_expressions(config, github_environment, reads),
        environment.approval_environment if github_environment in environment.approval else "",
        any(runbook.incident_use.needs_approval for runbook in runbooks),
        _end_job(config, github_environment, environment, runbooks),
        runbooks[0].name if len(runbooks) == 1 else "",
        _service_repositories(environment) if any(runbook.job.reads_source for runbook in runbooks) else (),
        any(_closes_service(runbook, environment) for runbook in runbooks),
        _automatic_runbooks(config, runbooks),
        _built_repositories(environment, runbooks),
    )


def _end_job(
    config: "Config", github_environment: str, environment: "Environment", runbooks: Sequence[AnyRunbook]
) -> ActingJob | None:
    """Return the job that ends a temporary state of the runbooks; None if they make none, or end one themselves."""
    ends = (end.command for each in runbooks if (end := each.job.timed_end) and end.command != each.name)
    if not (command := next(ends, "")):
        return None
    return _acting_job(config, github_environment, environment, [registry.load_runbook(command)])


def _closes_service(runbook: AnyRunbook, environment: "Environment") -> bool:
    return runbook.effect(vars(runbook.example), environment).watched == WatchedState.CLOSED


def _automatic_runbooks(config: "Config", runbooks: Sequence[AnyRunbook]) -> list[str]:
    """Return the runbooks with an automatic step, if ops.yml asks for it."""
    if config.watch is None or config.watch.on_relapse != "next":
        return []
    return [each.name for each in runbooks if each.job.after_relapse]


def _service_repositories(environment: "Environment") -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.repository or "" for each in environment.databases.values() if each.migrations))


def has_github_copies(config: "Config") -> bool:
    """Return whether a rotation writes copies of a secret on GitHub, which needs one of COPY_KEYS."""
    return any(rule.github for each in config.environments.values() for rule in each.secrets.values())


def _job_lock_files(probes: "Iterable[Probe]", runbooks: Iterable[AnyRunbook] = ()) -> tuple[str, ...]:
    """Return the lock files of a job. PyGithub needs `cryptography`, the largest wheel, only for a GitHub App's key."""
    needs_app_key = any(JobSecret.ROTATION in runbook.job.secrets for runbook in runbooks)
    needs_browser = any(probe.browser for probe in probes)
    return (RUNTIME_LOCK, *(("crypto",) if needs_app_key else ()), *(("browser",) if needs_browser else ()))


def reviewer_jobs(acting: Iterable[ActingJob]) -> dict[str, list[ActingJob]]:
    """Return id of a job that waits for a reviewer → the acting jobs that need it."""
    jobs: dict[str, list[ActingJob]] = {}
    for job in acting:
        if job.approval:
            jobs.setdefault(job.approval, []).append(job)
    return jobs


def _job_secrets(environment: "Environment", kind: JobSecret) -> Iterator[str]:
    if kind is JobSecret.ADMIN_TOKENS:
        for service in environment.services.values():
            yield from (each.token for each in service.durable_objects.values() if each.token)
    elif kind is JobSecret.AI_KEYS:
        ai = environment.runtime.ai if environment.runtime else None
        yield from (prefix + key for key in (ai.keys.values() if ai else ()) for prefix in (NEW_PREFIX, OLD_PREFIX))
    else:
        yield from (SECRETS_TOKEN, APP_KEY)
        # A generated secret has a previous value, but its new value is made in the run.
        yield from (NEW_PREFIX + name for name, rule in environment.secrets.items() if rule.rotate == "provided")
        yield from (OLD_PREFIX + name for name, rule in environment.secrets.items() if rule.rotate != "never")


def _runbook_probes(environment: "Environment", runbook: AnyRunbook) -> "Iterator[Probe]":
    """Yield the probes that the runbook may send."""
    of_kind = "worker" if RUNTIME in runbook.kinds else runbook.kinds[0]
    others = fitting_services(environment, runbook) if len(runbook.kinds) > 1 else ()
    for name, service in environment.services.items():
        is_probed = service.kind == of_kind or name in others
        yield from service.probes_with(service.durable_objects) if is_probed else ()
    if environment.runtime and RUNTIME in runbook.kinds:
        yield from (probe for switch in environment.runtime.switches.values() for probe in switch.probes)


def secret_expressions(config: "Config", github_environment: str, names: Iterable[str]) -> dict[str, str]:
    """Return variable → expression of its secret."""
    return {name: f"secrets.{config.github.secret(github_environment, name)}" for name in names}


def read_tokens(config: "Config", github_environment: str) -> dict[str, str]:
    """Return the tokens of all environments in `ops.yml`, for a job that only reads."""
    return secret_expressions(config, github_environment, (each.token for each in config.environments.values()))


def watch_secrets(config: "Config") -> dict[str, str]:
    """Return the secrets of the job that watches a service: tokens that only read, and variables of its probes."""
    services = (each for place in config.environments.values() for each in place.services.values())
    variables = (name for each in services for probe in each.watched_probes for name in probe.variables)
    return {**read_tokens(config, "report"), **secret_expressions(config, "report", variables)} if config.watch else {}


def menu_secrets(config: "Config") -> dict[str, str]:
    """Return the secrets of the jobs that probe all services once: those of the watch, where `report` has them."""
    return watch_secrets(config) or read_tokens(config, "report")


def chat_secrets(config: "Config") -> dict[str, str]:
    """Return the secrets by which a job that acts on no service posts to the team's chat."""
    return secret_expressions(config, "report", config.notify.secret_names)


def watch_minutes(config: "Config") -> int:
    """Return the length of an extended watch in minutes, rounded up; 0 if recoveries are not watched."""
    return math.ceil(extend_watch(config.watch.duration) / 60) if config.watch else 0


@dataclass(frozen=True)
class ScheduledTask:
    """A command that a schedule starts, once for each job."""

    name: str
    command: str
    minute: int
    """Minute of the hour at which it starts, so that tasks do not start together."""
    every: ScheduleInterval
    jobs: Sequence[ActingJob]
    other_jobs: int = 0
    """Jobs of each run besides `jobs`."""

    @property
    def cron(self) -> str:
        offset, number, unit = self.minute, int(self.every[:-1]), self.every[-1]
        if unit == "m":
            return f"{offset % number}-59/{number} * * * *"
        if unit == "d":
            return f"{offset} 4 * * 1"
        return f"{offset} {'*' if number == 1 else '*/' + str(number) if number < 24 else '4'} * * *"

    @property
    def minutes(self) -> int:
        """Billed minutes in 30 days. GitHub bills each job for at least one minute."""
        return timedelta(days=30) // interval_length(self.every) * (len(self.jobs) + self.other_jobs)


def scheduled_tasks(config: "Config") -> list[ScheduledTask]:
    """Return the scheduled tasks of `ops.yml`, except those that no environment can use."""
    tasks = []
    for name, every in config.github.schedules.items():
        if name == DOCTOR:
            tasks.append(ScheduledTask(name, DOCTOR, DOCTOR_MINUTE, every, [], other_jobs=1 + len(doctor_jobs(config))))
        elif name == WATCH:
            job = ActingJob("report", "", {**watch_secrets(config), **chat_secrets(config)}, ())
            tasks.append(ScheduledTask(name, WATCH, WATCH_MINUTE, every, [job] if config.watch else []))
        elif name == GUARD:
            tasks.append(ScheduledTask(name, GUARD, GUARD_MINUTE, every, list(_guard_jobs(config))))
        else:
            schedule, runbook = _runbook_of_task(name)
            tasks.append(ScheduledTask(name, runbook.name, schedule.minute, every, button_jobs(config, runbook)))
    return [task for task in tasks if task.jobs or task.other_jobs]


def _guard_jobs(config: "Config") -> "Iterator[ActingJob]":
    """Yield a job for each environment with a service that is guarded. Its token only reads."""
    webhooks = config.notify.secret_names
    for each in config.environments.values():
        guarded = [service for service in each.services.values() if service.guard]
        variables = [name for service in guarded for probe in service.watched_probes for name in probe.variables]
        if guarded:
            yield ActingJob(
                "report", each.name, secret_expressions(config, "report", [each.token, *variables, *webhooks]), ()
            )


def guard_minutes(config: "Config") -> int:
    """Return the length of the longest guard in minutes, rounded up."""
    services = (service for each in config.environments.values() for service in each.services.values())
    return max((math.ceil(each.guard.duration / 60) for each in services if each.guard), default=0)


def uses_too_many_minutes(config: "Config", minutes: int) -> bool:
    """Return whether schedules would use more than half of the included minutes, and more than ops.yml accepts."""
    included = config.github.included_minutes
    return bool(included) and minutes * 2 > included and minutes > config.github.accept_minutes


def _runbook_of_task(name: str) -> tuple[Schedule, AnyRunbook]:
    runbooks = (registry.load_runbook(each) for each in registry.scheduled_files())
    return next((each.schedule, each) for each in runbooks if each.schedule and each.schedule.task == name)


@dataclass(frozen=True)
class DoctorJob:
    """A job that checks the secrets of one GitHub environment, and only reads."""

    github_environment: str
    environments: Sequence[str]
    """Names of `ops.yml` whose secrets the GitHub environment holds."""
    secrets: Mapping[str, str]
    """Variable → expression of its secret."""
    locks: tuple[str, ...]


def doctor_jobs(config: "Config") -> list[DoctorJob]:
    """Return the jobs of `doctor`: one for each GitHub environment, with its secrets for all of `ops.yml`.

    Values of a rotation are left out, since they are stored right before it. So is `evidence`, whose token reads more
    than all others: only its own workflow holds it.
    """
    runbooks = registry.button_runbooks().values()
    pairs = [(each, one) for each in runbooks if each.github_environment for one in fitting_environments(config, each)]
    readers = [
        ActingJob("report", each.name, secret_expressions(config, "report", [each.token]), ())
        for each in config.environments.values()
    ]
    jobs: dict[str, list[ActingJob]] = {}
    for job in (*_acting_jobs(config, pairs), *limits_jobs(config), *readers):
        jobs.setdefault(job.github_environment, []).append(job)
    return [_doctor_job(name, each) for name, each in jobs.items()]


def _doctor_job(github_environment: str, jobs: Sequence[ActingJob]) -> DoctorJob:
    secrets = {name: secret for job in jobs for name, secret in job.secrets.items()}
    return DoctorJob(
        github_environment,
        list(dict.fromkeys(job.environment for job in jobs)),
        {name: secret for name, secret in secrets.items() if not name.startswith(ROTATION_PREFIXES)},
        tuple(dict.fromkeys(lock for job in jobs for lock in job.locks)),
    )


def own_labels(config: "Config") -> list[str]:
    """Return the labels of runners that actionlint does not know, as parts of a regular expression."""
    runners = filter(None, (config.github.runs_on, config.github.watch_runner))
    labels = {label for each in runners for label in each.labels if not each.is_standard}
    return sorted(label.replace(".", "[.]") for label in labels)


def limits_jobs(config: "Config") -> list[ActingJob]:
    """Return the jobs that apply a merged `limits.yml`: one for each environment with limits."""
    return button_jobs(config, registry.load_runbook("limits apply"))


DRILL_MINUTES = 60
"""Longest drill: two minutes to break, thirty to recover, and the rest for the undo and the report."""
RESUME_MINUTE = 47
"""Of the hour in which drills that died are undone."""
BILLED_MINUTES = 35 + 1
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
    minutes: int = DRILL_MINUTES


def staging_drill_job(config: "Config") -> StagingDrillJob | None:
    """Return the values of the workflow; None if ops.yml has no drill."""
    if (drill := config.staging_drill) is None:
        return None
    token = config.environment(drill.environment).token
    services = [each for place in config.environments.values() for each in place.services.values()]
    variables = dict.fromkeys(name for each in services for probe in each.quick_probes for name in probe.variables)
    secrets = secret_expressions(config, "recovery", (token, *variables))
    crons = {"run": drill.schedule, "resume": resume_cron(drill.schedule)} if drill.schedule else {}
    return StagingDrillJob(drill.environment, secrets, (RUNTIME_LOCK,), crons)


def resume_cron(schedule: str) -> str:
    """Return the hourly cron line on the day of a drill and the next one: an hourly one costs 720 minutes a month."""
    _, _, day, _, weekday = schedule.split()
    if day != "*":
        return f"{RESUME_MINUTE} * {day},{int(day) + 1} * *"
    return f"{RESUME_MINUTE} * * * {weekday},{(int(weekday) + 1) % 7}"


def staging_drill_minutes(config: "Config") -> int:
    """Return the billed minutes of the schedule in a month. GitHub bills each job for at least one minute."""
    schedule = config.staging_drill.schedule if config.staging_drill else None
    if schedule is None:
        return 0
    return (BILLED_MINUTES + RESUMES) * (1 if schedule.split()[2] != "*" else 5)

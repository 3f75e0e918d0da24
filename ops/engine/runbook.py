"""The contract of a runbook: its facts, its probes, and its plan of steps.

A runbook is one class in one file of `ops/runbooks/` or `ops/scheduled/`. The engine owns order, retries, waits, dry
runs and interruption. The runbook states what it needs, and its plan has a step for each write.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from ops.core.clock import REQUEST_LIFETIME, current_time, format_duration, format_utc
from ops.core.due_notice import DueNotice
from ops.core.errors import ConfigError, OpsError, Reason, Refused
from ops.engine.context import Context, P
from ops.engine.step import StepPlan

if TYPE_CHECKING:
    from ops.config import Config, Environment, Service
    from ops.config.probes import ProbeSet
    from ops.core.redaction import Redactor
    from ops.core.run import EndedRun


def param(
    text: str,
    *,
    default: Any = dataclasses.MISSING,
    choices: "Callable[[Environment], Iterable[str]]" = lambda _: (),
    laptop_only: bool = False,
    names_version: bool = False,
) -> Any:
    """Return a field of Params. `text` is its help on the command line, in the workflow and in the docs.

    `choices` returns the values that its button offers; without any it is free text. `laptop_only`: no button and no
    label has it. `names_version`: a shell completes the versions of the service.
    """
    facts = {"help": text, "choices": choices, "laptop_only": laptop_only, "names_version": names_version}
    return dataclasses.field(default=default, metadata=facts)


def job_parameters(params: type[Any]) -> "list[dataclasses.Field[Any]]":
    """Return the fields of Params that a button or a label may have."""
    return [field for field in dataclasses.fields(params) if not field.metadata["laptop_only"]]


def parameter_choices(params: type[Any], environment: "Environment") -> dict[str, tuple[str, ...]]:
    """Return parameter → values that its button offers in an environment."""
    offered = {field.name: tuple(field.metadata["choices"](environment)) for field in dataclasses.fields(params)}
    return {name: values for name, values in offered.items() if values}


def params_type(runbook: "Runbook[P]") -> type[P]:
    """Return the Params of a runbook."""
    return type(runbook.example)


def check_request_age(ctx: Context[Any]) -> None:
    """Refuse a request that is older than REQUEST_LIFETIME: its job started late, and the situation may differ."""
    since = ctx.request.approved_at or ctx.request.requested_at
    if since is None or ctx.request.requested_at is None or ctx.clock.now() - since <= REQUEST_LIFETIME:
        return
    age = format_duration((ctx.clock.now() - ctx.request.requested_at).total_seconds())
    raise Refused(
        f"the request is {age} old: it was made at {format_utc(ctx.request.requested_at)}",
        reason=Reason.REQUEST_TOO_OLD,
        hint="Check what is live now, and request it again if it is still needed.",
    )


def require_service(ctx: Context[Any], *kinds: str) -> "Service":
    """Return the service that the parameters name.

    Raises:
        ConfigError: the service is unknown or of another kind.
    """
    service = ctx.environment.service(ctx.params.service)
    if service.kind in kinds:
        return service
    otherwise = ", ".join(
        f"`{ctx.command_prefix[0]} {name}`" for name, of in ctx.service_kinds().items() if of == service.kind
    )
    others = [name for name, other in ctx.environment.services.items() if other.kind in kinds]
    named = f"Name one of: {', '.join(others)}. " if others else ""
    raise ConfigError(
        f"{service.name} is a service with {service.kind}, and this needs one with {' or '.join(kinds)}",
        reason=Reason.UNKNOWN_NAME,
        hint=f"{named}For {service.name} there is {otherwise}.",
    )


@dataclass(frozen=True)
class TokenPermissions:
    """Permissions that the tokens of a run need, besides comments on the incident."""

    cloudflare: tuple[str, ...] = ()
    """Permission groups such as "Workers Scripts Write"; the dashboard writes Edit for Write.

    developers.cloudflare.com/fundamentals/api/reference/permissions
    """
    github: tuple[str, ...] = ()
    """Permissions of GITHUB_TOKEN in the form of a workflow, such as "contents: write"."""
    choose: "Callable[[Environment], tuple[str, ...]] | None" = None
    """Returns those of `cloudflare` that an environment needs; None: all of them."""

    def needed(self, environment: "Environment") -> tuple[str, ...]:
        """Return the Cloudflare permissions that the token needs in this environment."""
        return self.choose(environment) if self.choose else self.cloudflare


@dataclass(frozen=True)
class IncidentUse:
    """How an incident and a runbook use each other."""

    menu_rank: int = 5
    """Place among the rows of the recovery menu without a label: 1 for quick ones with an undo, 9 for the last."""
    is_required: bool = False
    """Whether its command needs --incident."""
    may_be_closed: bool = False
    """Whether people may request it on a closed incident."""
    records_wait: float = 2.0
    """Real seconds that it waits for the records of previous runs, counted from the start of the read."""
    needs_approval: bool = False
    """Whether a second person must approve its plans that have `terms`. Its Params then have `one_person`."""
    is_routine: bool = False
    """Whether it also runs without an emergency: no chat message, and an incident only if people are needed."""


@dataclass(frozen=True)
class DueRun:
    """A run that is due, and the incident on which it is published."""

    params: Any
    incident: int | None


@dataclass(frozen=True)
class DueRuns:
    """Runs that a command without parameters finds and starts, in a job that no person requests."""

    find: "Callable[[Config, Environment, Mapping[str, str], Redactor], Iterator[DueRun | DueNotice | str]]"
    """Yields the runs and notices that are due now, and lines for people about the findings. It only reads.

    Raises OpsError: the state cannot be read.
    """
    may_exist: "Callable[[Environment], bool]" = lambda _: True
    """Returns whether a run can become due in this environment."""


@dataclass(frozen=True)
class Publications:
    """What only this runbook publishes, after its run has ended. Each function yields a line for each publication.

    The result cannot change any more, and a failed publication is a warning. Not called for a dry run.
    """

    result: "Callable[[EndedRun, Mapping[str, str], Redactor], Iterator[str]]"
    early_end: "Callable[[OpsError, str, Mapping[str, str], Redactor], Iterator[str]]" = lambda *_: iter(())
    """Publishes an error that ended the run before its first step; the text is its environment."""


@dataclass(frozen=True)
class Schedule:
    """How the workflow *scheduled* starts a runbook, once `ops.yml` says how often."""

    task: str
    """Its key under `github.schedules`."""
    minute: int
    """Of the hour: one of its own, and not 0, when GitHub starts schedules late."""
    pauses: bool = False
    """Whether it changes nothing while Cloudflare has an outage. Only for changes that protect no users."""


@dataclass(frozen=True)
class TimedEnd:
    """How the state that a runbook starts is ended later."""

    command: str
    """Command that ends expired states, such as `maintenance due`."""
    find: "Callable[[Any, Environment, datetime], datetime | None]"
    """Takes Params and the time now. Returns the time (UTC) at which `command` must end the state; None if never."""


class JobSecret(Enum):
    """Secrets of ops.yml that only the jobs of some runbooks get, besides Cloudflare token and webhooks."""

    ROTATION = "values of a rotation"
    ADMIN_TOKENS = "admin tokens of applications"
    AI_KEYS = "keys of AI providers"


@dataclass(frozen=True)
class JobNeeds:
    """What the generated jobs of a runbook need, besides its GitHub environment."""

    secrets: tuple[JobSecret, ...] = ()
    reads_source: bool = False
    """Whether it reads the migrations of its database, which a job without Cloudflare's token fetches before."""
    due: DueRuns | None = None
    """Runs that its command finds and starts; None: the command is a run."""
    builds_site: bool = False
    """Whether jobs before it fetch and build a commit of its site, without Cloudflare's token."""
    timed_end: TimedEnd | None = None
    """How a later job ends the state that the runbook starts."""
    after_relapse: Callable[[Any, str], Any] | None = None
    """Takes Params, and the deployment of ours that relapsed. Returns Params of the automatic step.

    None: a person decides.
    """


@dataclass(frozen=True)
class LabelUse:
    """How a label may start a runbook."""

    only: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Parameters, each with the only value that a label may have for it."""


class WatchedState(Enum):
    """What a watch looks for after a run."""

    HEALTHY = "healthy"
    CLOSED = "closed"
    NOTHING = "nothing"


@dataclass(frozen=True)
class RequestEffect:
    """How a request changes its service."""

    watched: WatchedState = WatchedState.HEALTHY
    """What must stay true of its service after the run, so that a later job watches it."""
    ends_state: bool = False
    """Whether it only ends a temporary state, so that it passes while recoveries are stopped."""


class Runbook(ABC, Generic[P]):
    """Base of runbooks. The first docstring line is the help text; the name is the file name with hyphens."""

    name: ClassVar[str]
    when: ClassVar[str]
    """Symptom for which people use it: the first column of the README's table."""
    kinds: ClassVar[tuple[str, ...]]
    """Kinds of its services in ops.yml: worker, pages, or runtime for the Worker that reads switches.

    A button offers those of a further kind than the first only if `fits` returns parameters for them.
    """
    setting: ClassVar[str] = ""
    """Part of ops.yml, besides that of its kind, without which `fits` returns nothing. Empty: it needs no other one."""
    section: ClassVar[str] = "Recover"
    """Section of its command in `ops --help`, read as text of its own file. Empty: hidden, for jobs and schedules."""
    label_use: ClassVar[LabelUse | None] = LabelUse()
    """None: no label may start it. The job of a label holds a token."""
    github_environment: ClassVar[str] = "recovery"
    """GitHub environment whose secrets it needs; a label starts the job of incident.yml in that environment.

    Empty: no environment, and no Cloudflare token.
    """
    incident_use: ClassVar[IncidentUse] = IncidentUse()
    schedule: ClassVar[Schedule | None] = None
    publications: ClassVar[Publications | None] = None
    job: ClassVar[JobNeeds] = JobNeeds()
    writes: ClassVar[tuple[tuple[str, str], ...]]
    """Method and path of every write, with `*` for one segment; the first is the main one. /repos/… is GitHub."""
    permissions: ClassVar[TokenPermissions]
    example: P
    """Valid parameters for the reference application, with which the generic tests run it. Their type is Params."""

    def service(self, params: P, environment: "Environment") -> str:  # noqa: ARG002  most have a parameter
        """Return the name of its service; empty if it has none."""
        return str(getattr(params, "service", ""))

    def written_services(self, params: Mapping[str, Any], environment: "Environment") -> Iterable[str]:
        """Return the services that a request writes to: the requester must be among the responders of each.

        `params` are those of the request, which nothing has checked yet.
        """
        database = environment.databases.get(str(params.get("database", "")))
        return (str(params.get("service", "")), *(database.services if database else ()))

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:  # noqa: ARG002  most fit all
        """Return the sets of parameters to offer for a service of its kind; empty if the service does not fit."""
        return [{}]

    def effect(self, params: Mapping[str, Any], environment: "Environment") -> RequestEffect:  # noqa: ARG002  as most do
        """Return how a request changes its service.

        `params` are those of the request, which nothing has checked yet.
        """
        return RequestEffect()

    def probes(self, ctx: Context[P]) -> "ProbeSet":
        """Return the probes that show the failure, before there is a plan: those of its service. Sends nothing.

        Raises:
            ConfigError: ops.yml lacks a setting that they need.
        """
        from ops.config.probes import ProbeSet

        service = require_service(ctx, *self.kinds)
        return ProbeSet(service.url, service.probes, service.verify)

    @abstractmethod
    def plan(self, ctx: Context[P]) -> StepPlan:
        """Read the live state and return the plan of steps; write nothing.

        If nothing waits afterwards, its last read is also the comparison before the first write.

        Raises:
            Refused: the change must not or need not be planned.
            ProviderError: the state cannot be read.
        """


@dataclass(frozen=True)
class RollbackReach:
    """Live release of a service, and how far back a rollback can go."""

    live: str
    """Version or split of a Worker, deployment of a site; empty if it could not be identified."""
    live_since: datetime | None
    """None if it is unknown: the rollback of a site leaves no time."""
    releases: int
    """Releases that served all traffic and can be deployed again."""
    oldest: datetime | None
    """Since when the oldest of them was live; None without one."""


class RollbackSituation(Protocol):
    """State that a rollback reads before it chooses a target."""

    @property
    def reach(self) -> RollbackReach: ...


R = TypeVar("R", bound=RollbackSituation)


class Rollback(Runbook[P], Generic[P, R]):
    """Base of the runbooks that roll a service back, which read first and then choose: `ops targets` shows both."""

    def plan(self, ctx: Context[P]) -> StepPlan:
        return self.choose(ctx, self.read(ctx))

    @abstractmethod
    def read(self, ctx: Context[P]) -> R:
        """Read the live state and the history. Raises OpsError."""

    @abstractmethod
    def choose(self, ctx: Context[P], situation: R) -> StepPlan:
        """Choose the target, and return the plan. Raises Refused if there is none, or if something blocks it."""


LONGEST_WAIT = timedelta(hours=5)
"""A job may run six hours at most: docs.github.com/actions/reference/limits"""
START_PERIOD = timedelta(minutes=30)
"""The job that ends the state may start until this long after the planned end."""


def planned_end(
    runbook: "Runbook[Any]", params: Mapping[str, Any], environment: "Environment", now: datetime
) -> datetime | None:
    """Return the time at which a later command must end the state of such a run; None if it never must."""
    known = {field.name: field.default is MISSING for field in fields(params_type(runbook))}
    required = {name for name, is_required in known.items() if is_required}
    if runbook.job.timed_end is None or not required <= params.keys() <= known.keys():  # the run reports what is wrong
        return None
    return runbook.job.timed_end.find(params_type(runbook)(**params), environment, now)


def end_job_deadline(
    runbook: "Runbook[Any]", params: Mapping[str, Any], environment: "Environment", now: datetime
) -> datetime | None:
    """Return the latest time at which the job that ends the state may start; None if no job waits for it.

    The gate says it, the acting job whether it waits, and the job itself refuses a late start. The job belongs to the
    request that passed the gate. It checks the requester's permission again.
    """
    end = planned_end(runbook, params, environment, now)
    return end + START_PERIOD if end is not None and end - now <= LONGEST_WAIT else None


def has_job(end: datetime, latest: datetime | None) -> bool:
    """Return whether a job of the same workflow run ends the state. `latest`: its `end_job_deadline`, from the gate."""
    return latest is not None and end <= latest


def refuse_late_start(environ: Mapping[str, str], latest: datetime | None, command: str) -> None:
    """Raise Refused if the job that ends a state starts too late: somebody may have decided otherwise since."""
    if latest is not None and current_time(environ) > latest:
        raise Refused(
            f"this job may start until {format_utc(latest)}, which has passed",
            reason=Reason.REQUEST_TOO_OLD,
            hint=f"Check what is off now (`ops status`). To end it, run: {command}",
        )

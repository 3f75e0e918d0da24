"""The contract of a runbook: what it is asked, in which order, and all that it may use.

A runbook is one class in one file of `ops/runbooks/` or `ops/scheduled/`. The engine owns the order, the retries, the
waiting, the dry run and the interruption; the runbook says what to change and how to tell that it is done.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from ops.core.clock import REQUEST_LIFETIME, format_duration, format_utc
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.plan import Change, D, Plan, RunOutcome
from ops.engine.context import Context, P

if TYPE_CHECKING:
    from ops.config import Config, Environment, Service
    from ops.core.redaction import Redactor
    from ops.core.result import RunResult
    from ops.probes.runner import ProbeSet


def param(text: str, *, default: Any = dataclasses.MISSING) -> Any:
    """A field of Params: `text` is its help on the command line, in the workflow and in the README."""
    return dataclasses.field(default=default, metadata={"help": text})


class ChangeState(Enum):
    """How the world stands towards one change."""

    PLANNED = "planned"
    """As the plan found it: the change may be made."""
    DONE = "done"
    """Our change is live."""
    CHANGED_ELSEWHERE = "moved"
    """Neither: somebody else changed it."""


@dataclass(frozen=True)
class ObservedState:
    """`text` says what is there. `slipped` names what came in between the plan and our write; `notes` are warnings."""

    state: ChangeState
    text: str
    concurrent_changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_uncertain: bool = False
    """What was read fits another state too. Before a write this one counts; after it the engine goes on reading, and
    at the end nothing is proved."""
    made_by_run: bool | None = None
    """Whether this run's own write is in the provider's history; None where the state alone tells, or nothing does."""
    may_lag: bool = False
    """The API may answer what was there before our write. After a write that it did not refuse, the deciding probe
    counts, and this is read again only where that probe did not see the change."""


def check_request_age(ctx: Context[Any]) -> None:
    """A job may start long after its label: what was asked for then may be wrong by now."""
    since = ctx.request.approved_at or ctx.request.requested_at
    if since is None or ctx.request.requested_at is None or ctx.clock.now() - since <= REQUEST_LIFETIME:
        return
    age = format_duration((ctx.clock.now() - ctx.request.requested_at).total_seconds())
    raise Refused(
        f"this was asked for {age} ago, at {format_utc(ctx.request.requested_at)}",
        reason=Reason.REQUEST_TOO_OLD,
        hint="Look at what is live now, and ask again if it is still wanted.",
    )


def require_service(ctx: Context[Any], kind: str) -> "Service":
    """The service that was asked for. Raises ConfigError where it is of another kind."""
    service = ctx.environment.service(ctx.params.service)
    if service.kind == kind:
        return service
    otherwise = ", ".join(
        f"`{ctx.command_prefix[0]} {name}`" for name, of in ctx.service_kinds().items() if of == service.kind
    )
    others = [name for name, other in ctx.environment.services.items() if other.kind == kind]
    raise ConfigError(
        f"{service.name} is a service with {service.kind}, and this needs one with {kind}",
        reason=Reason.UNKNOWN_NAME,
        hint=f"Name one of: {', '.join(others) or 'none'}. For {service.name} there is {otherwise}.",
    )


@dataclass(frozen=True)
class TokenPermissions:
    """What the tokens of a run must allow, beside the comments on the incident."""

    cloudflare: tuple[str, ...] = ()
    """Permission groups such as "Workers Scripts Write"; the dashboard writes Edit for Write.

    developers.cloudflare.com/fundamentals/api/reference/permissions
    """
    github: tuple[str, ...] = ()
    """Such as "contents: write"; for GITHUB_TOKEN as a workflow writes it."""


@dataclass(frozen=True)
class DueRun:
    """A run that is due: its parameters, and the incident on which it is published."""

    params: Any
    incident: int | None


@dataclass(frozen=True)
class Schedule:
    """How the workflow *scheduled* starts a runbook, once `ops.yml` says how often."""

    task: str
    """Its key under `github.schedules`."""
    minute: int
    """Of the hour: one of its own, and not 0, when GitHub starts schedules late."""


class JobSecret(Enum):
    """Secrets of ops.yml that only some runbooks get in their job, beside the Cloudflare token and the webhooks."""

    ROTATION = "values of a rotation"
    ADMIN_TOKENS = "admin tokens of applications"
    AI_KEYS = "keys of AI providers"


class Runbook(ABC, Generic[P, D]):
    """Line one of a runbook's docstring is its help text; its name is its file's name with hyphens."""

    name: ClassVar[str]
    when: ClassVar[str]
    """What is broken when somebody should press this: the first column of the README's table."""
    kind: ClassVar[str]
    """The key that its services have in ops.yml: worker or pages; or runtime, of the Worker that reads switches."""
    by_label: ClassVar[bool] = True
    """Whether a label may start it: a label's job holds a token."""
    github_environment: ClassVar[str] = "recovery"
    """The environment of GitHub whose secrets it needs: a label starts the job of incident.yml that stands in it.

    Empty: none, and no token of Cloudflare's either.
    """
    is_routine: ClassVar[bool] = False
    """It is for calm days too: no chat is told, and without an incident it opens one only where people are needed."""
    allows_closed_incident: ClassVar[bool] = False
    """Whether it may be asked for on an incident that is closed."""
    compares_at_end: ClassVar[bool] = False
    """Whether `check` reads once more after the last probe round, since no probe names the version that answers."""
    needs_incident: ClassVar[bool] = False
    """Whether its command needs --incident."""
    starts_due_runs: ClassVar[bool] = False
    """Whether its command takes no parameters, and starts a run for each that `find_due_runs` finds."""
    schedule: ClassVar[Schedule | None] = None
    job_secrets: ClassVar[tuple[JobSecret, ...]] = ()
    end_command: ClassVar[str] = ""
    """Command that ends what is over, such as `maintenance due`, for a runbook whose states can have a timed end."""
    workflow: ClassVar[str] = "button"
    """The template in `templates/workflows` of its button."""
    writes: ClassVar[tuple[tuple[str, str], ...]]
    """Method and path of every write, with `*` for one segment; the first one decides. /repos/… is GitHub's."""
    permissions: ClassVar[TokenPermissions]
    params: type[P]
    example: P
    """Valid parameters for the services of the reference application; the generic tests run it with them."""

    def service(self, params: P, environment: "Environment") -> str:  # noqa: ARG002  most are told
        """The name of the service that it is about, or nothing."""
        return str(getattr(params, "service", ""))

    def may_have_due_runs(self, environment: "Environment") -> bool:  # noqa: ARG002  most watch all of them
        """Whether a run can become due in this environment."""
        return True

    def find_due_runs(
        self,
        config: "Config",  # noqa: ARG002  most find nothing
        environment: "Environment",  # noqa: ARG002
        environ: Mapping[str, str],  # noqa: ARG002
        redactor: "Redactor",  # noqa: ARG002
    ) -> "Iterator[DueRun | str]":
        """Find the runs that are due now, and yield each, with lines for people about what was found.

        It reads only. Raises OpsError.
        """
        yield from ()

    def fits(self, environment: "Environment", service: str) -> list[dict[str, Any]]:  # noqa: ARG002  most fit all
        """Return the parameters with which people press it for a service of its kind; none: it does not fit."""
        return [{}]

    def ends_at(self, params: P, environment: "Environment", now: datetime) -> datetime | None:  # noqa: ARG002
        """Return when the command `end_command` has to end what such a run begins; None: it does not."""
        return None

    def parameter_choices(self, environment: "Environment") -> Mapping[str, Sequence[str]]:  # noqa: ARG002  most know none
        """Return parameter → the values that its button offers; the others are free text."""
        return {}

    @abstractmethod
    def probes(self, ctx: Context[P], plan: Plan[D] | None) -> "ProbeSet":
        """What proves it; before there is a plan, what shows the failure. Sends nothing. Raises ConfigError."""

    @abstractmethod
    def preflight(self, ctx: Context[P]) -> Plan[D]:
        """Read, write nothing, and say what would be done. Its last read is the comparison if nothing waits after it.

        Raises Refused and ProviderError.
        """

    def prepare(self, ctx: Context[P], plan: Plan[D]) -> bool:  # noqa: ARG002  most have nothing to make ready
        """Make ready on this machine what the write needs, once it is confirmed; True where that took its time.

        It writes nothing at the provider. Raises Refused.
        """
        return False

    def decide_outcome(self, ctx: Context[P], plan: Plan[D]) -> RunOutcome | None:  # noqa: ARG002  most end as their probes say
        """How the run ends once its changes are made, without a probe. It may read."""
        return None

    @abstractmethod
    def check(self, ctx: Context[P], plan: Plan[D], change: Change) -> ObservedState:
        """Read how the world stands towards the change, before the write and after it."""

    @abstractmethod
    def apply(self, ctx: Context[P], plan: Plan[D], change: Change) -> str:
        """Make exactly this change with one write, and answer what the provider said of it.

        Raises NotApplied and Unclear, which the engine settles by `check`; Refused and ProviderError end the run.
        """

    def publish_result(self, result: "RunResult", environ: Mapping[str, str], redactor: "Redactor") -> Iterator[str]:  # noqa: ARG002
        """Report the result where this runbook has a place of its own, and yield a line about each report.

        The run is over: nothing here changes its result, and a report that fails is a warning.
        """
        yield from ()

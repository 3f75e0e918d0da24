"""The context of a run: the parameters, values and clients that a runbook may use."""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ops.core.client_guards import WriteGuards
from ops.core.clock import Clock, Period
from ops.core.errors import ConfigError, ProviderError
from ops.core.names import LIMITS_FILE, MAINTENANCE_WORKER
from ops.core.next_step import SuggestedCommand, build_command, describe_button, shorten_ids
from ops.core.owners import StateRequester
from ops.core.redaction import Redactor
from ops.core.threads import result_so_far, start_call
from ops.core.verdict import KeyAnswer, PageContent

if TYPE_CHECKING:
    from ops.cloudflare.client import CallBudget, CloudflareClient
    from ops.cloudflare.d1 import D1Api
    from ops.cloudflare.kv import KvApi
    from ops.cloudflare.maintenance_worker import MaintenanceWorkerApi
    from ops.cloudflare.pages import PagesApi
    from ops.cloudflare.routes import RoutesApi
    from ops.cloudflare.types.records import LoggedError, WorkerTraffic
    from ops.cloudflare.workers import WorkersApi
    from ops.config import Config, Environment
    from ops.config.sections import KeyProvider
    from ops.core.approval import Approval
    from ops.core.redaction import Secret
    from ops.core.run_record import PreviousRuns, RunRecord
    from ops.core.runtime_contract import RuntimeState
    from ops.core.timeline import Timeline
    from ops.core.verdict import MaintenanceCheck, ProbeResult
    from ops.github.files import CommittedFile
    from ops.github.lift_labels import LiftLabels
    from ops.github.pulls import PullRequests
    from ops.probes.application import DurableObjectAdmin
    from ops.probes.http import ProbeClient
    from ops.site_build import SiteBuilder
    from ops.tools.source_files import SourceFiles

P = TypeVar("P")
T = TypeVar("T")
TRAFFIC_PERIOD = timedelta(minutes=15)
"""Last minutes for which a plan shows the requests to a Worker."""
TRAFFIC_TIMEOUT = 5.0
"""Seconds after which a query for them ends; nothing waits for it."""
LOGS_WAIT = 2.0
"""Real seconds to wait for logged errors, which are only an explanation."""


class Once(Generic[T]):
    """A property that is made once on first use, by any thread. An error is raised at each use.

    The `lock` of its owner is held meanwhile.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make, self._name, self.__doc__ = make, make.__name__, make.__doc__

    def __get__(self, owner: Any, _type: object = None) -> T:
        with owner.lock:
            if self._name not in owner.__dict__:
                owner.__dict__[self._name] = self._make(owner)
            made: T = owner.__dict__[self._name]
            return made


class CloudflareClients:
    """Clients of one Cloudflare account, by product. Read-only until the engine makes a change."""

    def __init__(self, client: "Callable[[], CloudflareClient]", account_id: str, clock: Clock) -> None:
        """`client` returns the open client. It raises ConfigError without a token."""
        self.lock = threading.RLock()
        self._client, self._account_id, self._clock = client, account_id, clock

    @property
    def budget(self) -> "CallBudget":
        """Calls of this run, of those that all users of the token may make."""
        return self._client().budget

    @Once
    def workers(self) -> "WorkersApi":
        from ops.cloudflare.workers import WorkersApi

        return WorkersApi(self._client(), self._account_id)

    @Once
    def pages(self) -> "PagesApi":
        from ops.cloudflare.pages import PagesApi

        return PagesApi(self._client(), self._account_id)

    @Once
    def routes(self) -> "RoutesApi":
        from ops.cloudflare.routes import RoutesApi

        return RoutesApi(self._client(), self._account_id)

    @Once
    def kv(self) -> "KvApi":
        """Values in KV, where an application reads limits and switches."""
        from ops.cloudflare.kv import KvApi

        return KvApi(self._client(), self._account_id)

    @Once
    def d1(self) -> "D1Api":
        """Queries and Time Travel of D1 databases."""
        from ops.cloudflare.d1 import D1Api

        return D1Api(self._client(), self._account_id)

    @Once
    def maintenance(self) -> "MaintenanceWorkerApi":
        """Uploads of the Worker that answers for a service in maintenance."""
        from ops.cloudflare.maintenance_worker import MaintenanceWorkerApi

        return MaintenanceWorkerApi(self._client(), self._account_id, MAINTENANCE_WORKER)

    def logged_errors(
        self, worker: str, since: datetime, until: datetime
    ) -> "Callable[[], tuple[LoggedError, ...] | str]":
        """Start to read a Worker's logged errors. The returned function waits LOGS_WAIT; a text says why it failed."""
        from ops.cloudflare import records

        period = Period(since, until)
        pending = start_call(lambda: records.count_errors(self._client(), self._account_id, worker, period))

        def answer_logged_errors() -> "tuple[LoggedError, ...] | str":
            try:
                return pending.result(timeout=LOGS_WAIT)
            except TimeoutError:
                return f"Workers Observability did not answer within {LOGS_WAIT:.0f} s"
            except ProviderError as error:
                needed = f'; the token needs "{error.permission}" for it' if error.permission else ""
                return f"{error.message}{needed}"

        return answer_logged_errors

    def worker_traffic(self, worker: str) -> "Callable[[], WorkerTraffic | None]":
        """Start to read a Worker's requests and errors. The returned function never waits; None: unknown so far."""

        def read() -> "WorkerTraffic":
            from ops.cloudflare import records

            now = self._clock.now()
            recent = Period(now - TRAFFIC_PERIOD, now)
            return records.read_worker_traffic(
                self._client(), self._account_id, worker, recent, now=now, timeout=TRAFFIC_TIMEOUT
            )

        pending = start_call(read)
        return lambda: result_so_far(pending)


class WebClients:
    """The application and its AI providers on the internet."""

    def __init__(
        self,
        client: "Callable[[], ProbeClient]",
        provider_client: "Callable[[], ProbeClient]",
        *,
        config: "Config",
        environ: Mapping[str, str],
        clock: Clock,
        write_guards: WriteGuards,
    ) -> None:
        """`client` returns the client of the probes, `provider_client` that of the AI providers."""
        self.lock = threading.RLock()
        self._client, self._provider_client = client, provider_client
        self._config, self._environ = config, environ
        self._clock, self._write_guards = clock, write_guards

    def fetch_page(self, url: str) -> PageContent:
        """Read the content of a URL."""
        from ops.probes import page_content

        return page_content.read_page(self._client(), self._clock, url)

    def check_maintenance(self, addresses: "Sequence[MaintenanceCheck]") -> "ProbeResult":
        """Check once whether each address is answered by ops-maintenance, or not."""
        from ops.probes import http

        return http.run_maintenance_probe(self._client(), addresses)

    def fetch_runtime_state(self, url: str) -> "RuntimeState | str":
        """Return the limits and switches that the application at this origin reports, or why they are unknown."""
        from ops.probes import application

        return application.read_runtime_state(self._client(), url)

    def check_provider_key(self, spec: "KeyProvider", key: "Secret | None") -> KeyAnswer:
        """Return an AI provider's verdict on a key, or on a random key if `key` is None. Raises ConfigError."""
        from ops.probes import application

        return application.check_key(self._provider_client(), spec, key or application.random_provider_key())

    @Once
    def durable_objects(self) -> "DurableObjectAdmin":
        """Endpoints of the application that show and reset Durable Objects."""
        from ops.config import durable_object_token_names
        from ops.probes.application import DurableObjectAdmin

        tokens = durable_object_token_names(self._config)
        return self._write_guards.add(DurableObjectAdmin(self._client, self._environ, tokens))


class OperationsRepository:
    """The operations repository on GitHub."""

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str],
        redactor: Redactor,
        *,
        clock: Clock,
        write_guards: WriteGuards,
        ending: ExitStack,
    ) -> None:
        """`folder` is that of ops.yml."""
        from ops.github.secrets import EnvironmentSecrets

        self._folder, self._environ, self._redactor = folder, environ, redactor
        self._write_guards, self._ending = write_guards, ending
        self.secrets = write_guards.add(EnvironmentSecrets.of(environ, redactor, clock))  # masks an App's key
        """Secrets of its environments."""

    @cached_property
    def pulls(self) -> "PullRequests":
        """Its files, branches and pull requests."""
        from ops.github.pulls import PullRequests

        pulls = self._write_guards.add(PullRequests.of(self._environ, self._redactor))
        self._ending.callback(pulls.close)
        return pulls

    @cached_property
    def lift_labels(self) -> "LiftLabels":
        """Labels of its incidents that lift holds of commits."""
        from ops.github.lift_labels import LiftLabels

        return self._write_guards.add(LiftLabels(lambda: self.pulls.repository))

    @cached_property
    def limits(self) -> "CommittedFile":
        """limits.yml, and the commits that touch it."""
        from ops.github.files import CommittedFile

        return CommittedFile(self._folder, LIMITS_FILE, self._environ, self._redactor, self.pulls)


class RowStore(Protocol):
    """The private place of this run for rows of users: a file on a laptop, an R2 bucket for a job."""

    def require_place(self, database: str) -> str:
        """Return the place, for people. Raises Refused or ConfigError if there is none, or if it is not private."""
        ...

    def is_stored(self) -> bool:
        """Return whether the place holds what `store` wrote last."""
        ...

    def store(self, text: str) -> None:
        """Write the text in place of an earlier one of this run. Raises OpsError."""
        ...


class SecretValues(Protocol):
    """Values of secrets: given by people for this run, or newly generated. All of them are masked."""

    def value(self, variable: str) -> "Secret | None":
        """Return the value of an environment variable; None if it is missing or empty."""
        ...

    def generate(self, length: int, alphabet: str) -> "Secret":
        """Return `length` random characters of the alphabet, from the operating system's secure source."""
        ...


@dataclass(frozen=True, kw_only=True)
class RequestInfo:
    """Who requested the run, when, and for which incident. All times are UTC."""

    actor: str
    """Login on GitHub, or user name on this machine."""
    incident: int | None = None
    incident_began: datetime | None = None
    """Start of the incident as a person stated it. It may add a warning, and never changes a choice."""
    requested_at: datetime | None = None
    """Time of the request; None if this command is the request. Later events count as newer than it."""
    ends_by: datetime | None = None
    """Latest time at which a later job of the same workflow run may end this run's state; None without such a job."""
    requesters: tuple[int, ...] = ()
    """Numeric ids of the people who made the request; empty without a gate, or if GitHub did not name them."""
    approval: "Approval | None" = None
    """Approval by a second person."""
    approved_at: datetime | None = None
    """Time of a reviewer's approval; the request's lifetime starts again then."""
    is_watched: bool = False
    """Whether a later job of the same workflow run watches what this run closes."""

    @property
    def requester(self) -> StateRequester:
        """Return the owner of what the run sets: its incident, or the person without one."""
        return StateRequester(self.incident, self.actor)

    def require_incident(self) -> int:
        """Return the incident's number. Raises ConfigError if the request has none."""
        if self.incident is None:
            raise ConfigError("this runbook needs an incident", hint="Add its number, such as `--incident 42`.")
        return self.incident


@dataclass(frozen=True)
class Context(Generic[P]):
    """Everything that a runbook may use.

    A runbook never sleeps, retries or prints, and never asks whether this is a dry run.
    """

    params: P
    config: "Config"
    environment: "Environment"
    request: RequestInfo
    run_id: str
    clock: Clock
    timeline: "Timeline"
    cloudflare: CloudflareClients
    github: OperationsRepository
    web: WebClients
    make_site: "Callable[[], SiteBuilder]"
    """Factory of `site`."""
    read_source: "Callable[[str | None, Sequence[str]], SourceFiles]"
    """Read folders of the default branch of owner/name; None is the repository of ops.yml. Raises Refused."""
    secret_values: SecretValues
    kept_rows: RowStore
    previous_runs: "Callable[[], Callable[[], PreviousRuns]]"
    """Start to read the records of previous runs on the incident. The returned function waits for a limited time.

    Records may make a run stricter, and never less strict.
    """
    runs_of_incidents: "Callable[[Collection[int]], Sequence[PreviousRuns]]"
    """Read the records of previous runs on other incidents, for a limited time. It costs requests to GitHub."""
    local_runs: "Callable[[], Sequence[RunRecord]]"
    """Read the records of this runbook's newest runs on this machine, in any environment, oldest first."""
    service_kinds: "Callable[[], Mapping[str, str]]"
    """Name of a runbook → kind of its services: worker, pages or runtime."""
    command_prefix: tuple[str, ...] = ("ops",)
    """The program as the user typed it, and the options that a suggested command must repeat."""
    names_what_stays: bool = False
    """Whether reads may only explain the plan. A table of many services shows no plan, and has few calls for each."""

    @cached_property
    def site(self) -> "SiteBuilder":
        """Builder for the repository of a site."""
        return self.make_site()

    def suggest(self, runbook: str, **params: str | bool | tuple[str, ...]) -> SuggestedCommand:
        """Return a command for this environment and incident, and its button if it has one."""
        where = {
            "service": params.pop("service", ""),
            "environment": self.environment.name,
            "incident": self.request.incident,
        }
        given = {**where, **params}
        if isinstance(to := given.get("to"), str):
            given["to"] = shorten_ids(to)
        program, *extra = self.command_prefix
        button = describe_button(runbook, given) if runbook in self.service_kinds() else ""
        return SuggestedCommand(build_command(program, runbook, given, *extra), button)

    @property
    def status_command(self) -> SuggestedCommand:
        """Return the command that shows what is live, offline and held in this environment."""
        program, *extra = self.command_prefix
        return SuggestedCommand(build_command(program, "status", {"environment": self.environment.name}, *extra))

    def versions_command(self, service: str) -> str:
        """Return the command that lists the versions of a service."""
        program, *extra = self.command_prefix
        return build_command(program, f"versions {service}", {"environment": self.environment.name}, *extra)

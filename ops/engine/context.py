"""The context of a run: everything that a runbook may use. Ports are made on first use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ops.core.clock import Clock
from ops.core.next_step import SuggestedCommand, build_command, describe_button, shorten_ids
from ops.core.observations import KeyAnswer, PageContent

if TYPE_CHECKING:
    from ops.cloudflare.kv import KvApi
    from ops.cloudflare.maintenance_worker import MaintenanceWorkerApi
    from ops.cloudflare.pages import PagesApi
    from ops.cloudflare.routes import RoutesApi
    from ops.cloudflare.types.records import LoggedError
    from ops.cloudflare.workers import WorkersApi
    from ops.config import Config, Environment
    from ops.config.secrets import KeyProvider
    from ops.core.redaction import Secret
    from ops.core.run_record import PreviousRuns
    from ops.core.runtime_contract import RuntimeState
    from ops.core.timeline import Timeline
    from ops.github.committed_file import CommittedFile
    from ops.github.pulls import PullRequests
    from ops.github.secrets import EnvironmentSecrets
    from ops.probes.durable_object import DurableObjectAdmin
    from ops.site_build import SiteBuilder

P = TypeVar("P")


class CloudflareApi(Protocol):
    """One account of Cloudflare, product by product. Reads only, until the engine makes a change."""

    @property
    def workers(self) -> "WorkersApi": ...

    @property
    def pages(self) -> "PagesApi": ...

    @property
    def routes(self) -> "RoutesApi": ...

    @property
    def kv(self) -> "KvApi":
        """Values in KV, where an application reads limits and switches."""
        ...

    @property
    def maintenance(self) -> "MaintenanceWorkerApi":
        """Uploads of the Worker that answers for a service in maintenance."""
        ...

    def logged_errors(
        self, worker: str, since: datetime, until: datetime
    ) -> "Callable[[], tuple[LoggedError, ...] | str]":
        """Begin to read the errors that a Worker logged. The answer waits a moment, or says why they are not known."""
        ...


class WebPort(Protocol):
    """The application and its AI providers, as anybody on the internet reaches them."""

    def fetch_page(self, url: str) -> PageContent:
        """Read a page of the web: what the address holds."""
        ...

    def fetch_runtime_state(self, url: str) -> "RuntimeState | str":
        """Return what the application at that origin shows of its limits and switches; or why that is not known."""
        ...

    def check_provider_key(self, spec: "KeyProvider", key: "Secret | None") -> KeyAnswer:
        """Return what an AI provider says of a key; without one, of a random key."""
        ...

    @property
    def durable_objects(self) -> "DurableObjectAdmin":
        """Durable Objects by the application's own endpoints."""
        ...


class GitHubApi(Protocol):
    """The operations repository on GitHub."""

    @property
    def secrets(self) -> "EnvironmentSecrets":
        """Secrets of its environments."""
        ...

    @property
    def pulls(self) -> "PullRequests":
        """Its files, branches and pull requests."""
        ...

    @property
    def limits(self) -> "CommittedFile":
        """limits.yml, and the commits that touch it."""
        ...


class SecretValues(Protocol):
    """The values of secrets that people gave for this run, and new random ones. All of them are masked."""

    def value(self, variable: str) -> "Secret | None":
        """Return None where the variable is missing or empty."""
        ...

    def generate(self, length: int, alphabet: str) -> "Secret":
        """Return random characters of the alphabet, from the machine's own source of randomness."""
        ...


@dataclass(frozen=True)
class RequestInfo:
    """Who requested the run, when and for which incident."""

    actor: str
    """The name on GitHub, or on this machine."""
    incident: int | None = None
    incident_began: datetime | None = None
    """The start of the incident as a person stated it: it may warn and never chooses."""
    requested_at: datetime | None = None
    """When it was requested, unless by this command: what happened since counts."""
    ends_by: datetime | None = None
    """Until when a later job of the same workflow run may end what this run begins; None: there is no such job."""
    approved_at: datetime | None = None
    """When a reviewer approved it, if one had to: it may be carried out for a while from then on."""


@dataclass(frozen=True)
class Context(Generic[P]):
    """Everything that a runbook may use. It never sleeps, retries, prints or asks whether this is a dry run."""

    params: P
    config: "Config"
    environment: "Environment"
    request: RequestInfo
    run_id: str
    clock: Clock
    timeline: "Timeline"
    cloudflare: CloudflareApi
    github: GitHubApi
    web: WebPort
    make_site: "Callable[[], SiteBuilder]"
    """Make `site`."""
    secret_values: SecretValues
    previous_runs: "Callable[[], Callable[[], PreviousRuns]]"
    """Begin to read the records of earlier runs on the incident. The answer waits within bounds. At most it makes a
    run stricter."""
    service_kinds: "Callable[[], Mapping[str, str]]"
    """Runbook → the key that its services have in ops.yml."""
    command_prefix: tuple[str, ...] = ("ops",)
    """How the command line was reached, and the options that it needs to be reached again."""

    @cached_property
    def site(self) -> "SiteBuilder":
        """A site's repository, and what can be built and deployed of it."""
        return self.make_site()

    def suggest(self, runbook: str, **params: str | bool | tuple[str, ...]) -> SuggestedCommand:
        """A command for people to paste, and the same button: in this environment and for this incident."""
        where = {
            "service": params.pop("service", ""),
            "environment": self.environment.name,
            "incident": self.request.incident,
        }
        given = {**where, **params}
        if isinstance(to := given.get("to"), str):
            given["to"] = shorten_ids(to)
        program, *extra = self.command_prefix
        return SuggestedCommand(build_command(program, runbook, given, *extra), describe_button(runbook, given))

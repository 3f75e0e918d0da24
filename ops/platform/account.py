"""Clients of the account that a run measures, and the resources that the run makes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.d1 import D1Api
from ops.cloudflare.kv import KvApi
from ops.cloudflare.own_writes import OwnWritesTransport, is_verification_name
from ops.cloudflare.pages import PagesApi
from ops.cloudflare.response import CloudflareApiError, ErrorKind
from ops.cloudflare.tokens import AccountsApi
from ops.cloudflare.types.inventory import NamedResource
from ops.cloudflare.types.zones import WorkersDevSubdomain
from ops.cloudflare.verification import VerificationApi
from ops.cloudflare.workers import WorkersApi
from ops.core.clock import Clock
from ops.core.errors import NotApplied, ProviderError, Reason, UnclearWrite
from ops.core.redaction import Secret
from ops.probes.http import ProbeClient

SWEEPS, PAUSE = 5, 3.0
"""Most passes over the lists until nothing is left, and seconds between two: a list may be behind a deletion."""
TOKEN_VARIABLE = "VERIFY_CLOUDFLARE_API_TOKEN"  # noqa: S105  (the name of the variable)
Delay = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Leftover:
    """A resource with a name that only a verification makes."""

    kind: str
    name: str
    delete: Callable[[], None] = field(repr=False, compare=False)


class VerificationAccount:
    """Clients of one account, whose transport lets no write to other resources through."""

    def __init__(self, base_url: str, edge_url: str | None, account_id: str, token: Secret, clock: Clock) -> None:
        self.account_id, self.clock = account_id, clock
        self.transport = OwnWritesTransport(base_url, account_id)
        self._base_url = base_url
        self._clients: list[CloudflareClient] = []
        self.client = self.client_with(token, TOKEN_VARIABLE)
        self.api = VerificationApi(self.client, account_id)
        self.workers, self.pages = WorkersApi(self.client, account_id), PagesApi(self.client, account_id)
        self.kv, self.d1 = KvApi(self.client, account_id), D1Api(self.client, account_id)
        self.web = ProbeClient(edge_url)
        self.edge_requests = 0

    def client_with(self, token: Secret, token_name: str) -> CloudflareClient:
        """Return a client with another token. It shares the transport, which decides about writes."""
        client = CloudflareClient(
            self._base_url,
            token,
            token_name=token_name,
            clock=self.clock,
            transport=self.transport,
            settings="the command line",
        )
        self._clients.append(client)
        return client

    @contextmanager
    def opened(self) -> Iterator[Self]:
        """Open the clients for writes: the transport alone limits them."""
        with ExitStack() as stack:
            stack.callback(self.web.close)
            stack.callback(self.client.close)
            stack.enter_context(self.client.writing())
            yield self

    @property
    def requests(self) -> int:
        """Requests to API and edge."""
        return sum(client.budget.made for client in self._clients) + self.edge_requests

    def read_name(self) -> str:
        """Return the name of the account; its ID if the token cannot read it."""
        try:
            accounts = AccountsApi(self.client).list_accounts()
        except ProviderError:
            accounts = ()
        return next((each.name for each in accounts if each.id == self.account_id), self.account_id)

    def find_leftovers(self) -> tuple[Leftover, ...]:
        """Return every resource that a verification left, and permit its deletion. Raises ProviderError."""
        return tuple(self._leftovers(is_verification_name))

    def _leftovers(self, is_own: Callable[[str], bool]) -> Iterator[Leftover]:
        for worker in self.workers.list_workers():
            if is_own(worker.name):
                self.transport.own_name(worker.name)
                yield Leftover("Worker", worker.name, partial(self.api.delete_worker, worker.name))
        for project in self.pages.list_projects():
            if is_own(project.name):
                self.transport.own_name(project.name)
                yield Leftover("Pages project", project.name, partial(self.api.delete_project, project.name))
        for kind, resources, delete in (
            ("KV namespace", self.kv.list_namespaces(), self.api.delete_namespace),
            ("D1 database", self.d1.list_databases(), self.api.delete_database),
        ):
            for resource in resources:
                if is_own(resource.name):
                    self.transport.own_name(resource.name)
                    self.transport.own_resource(resource)
                    yield Leftover(kind, resource.name, partial(delete, resource.id))

    def delete_leftovers(self, name: str = "") -> int:
        """Delete the resources of one run, or of every run, and return how many there were.

        Raises:
            ProviderError: the lists cannot be read, or something is left after several passes.
        """
        is_own = name.__eq__ if name else is_verification_name
        seen: set[tuple[str, str]] = set()
        for attempt in range(SWEEPS):
            left = list(self._leftovers(is_own))
            seen |= {(each.kind, each.name) for each in left}
            if not left:
                return len(seen)
            if attempt:
                self.clock.sleep(PAUSE)
            for each in left:
                _delete_resource(each)
        if rest := [f"{each.kind} {each.name}" for each in self._leftovers(is_own)]:
            raise ProviderError(
                f"{len(rest)} resources of the verification are left: {', '.join(rest)}",
                reason=Reason.PROVIDER_REFUSED,
                hint="Run `ops verify-platform --cleanup`, or delete them in the Cloudflare dashboard.",
            )
        return len(seen)


def _delete_resource(leftover: Leftover) -> None:
    """Delete a resource. Another pass follows a lost or refused answer."""
    with suppress(NotApplied, UnclearWrite):
        try:
            leftover.delete()
        except CloudflareApiError as error:
            if error.kind != ErrorKind.NOT_FOUND:
                raise


@dataclass(frozen=True)
class RunResources:
    """The resources of a run, which all have one name."""

    name: str
    host: str
    """Host of the Worker on workers.dev; empty if the account has no such domain."""
    namespace: NamedResource
    database: NamedResource
    first_version: str


MODULE = "backout_verify.js"


def create_resources(account: VerificationAccount, name: str, code: bytes, delay: Delay) -> RunResources:
    """Create the resources of a run. A signal waits for the answer, so that none appears after the deletion.

    Raises ProviderError.
    """
    account.transport.own_name(name)
    with delay():
        namespace = account.api.create_namespace(name)
        account.transport.own_resource(namespace)
    with delay():
        database = account.api.create_database(name)
        account.transport.own_resource(database)
    with delay():
        account.api.put_worker(name, MODULE, code, describe_bindings(namespace.id, "one"))
    with delay():
        account.workers.set_subdomain(name, WorkersDevSubdomain(enabled=True, previews_enabled=False))
    with delay():
        account.api.create_project(name)
    (first,) = account.workers.list_uploads(name)
    return RunResources(name, account.workers.read_workers_dev_host(name), namespace, database, first.id)


def describe_bindings(namespace: str, release: str, variables: int = 0) -> list[dict[str, str]]:
    """Return the bindings of the test Worker. `release` tells versions apart; `variables`: more variables."""
    more = [{"type": "plain_text", "name": f"VARIABLE_{number}", "text": "x"} for number in range(variables)]
    return [
        {"type": "version_metadata", "name": "VERSION"},
        {"type": "kv_namespace", "name": "STORE", "namespace_id": namespace},
        {"type": "plain_text", "name": "RELEASE", "text": release},
        *more,
    ]

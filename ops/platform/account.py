"""Clients of the account that a run measures, and the resources that the run makes."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.d1 import D1Api
from ops.cloudflare.kv import KvApi
from ops.cloudflare.own_writes import OwnWritesTransport, is_verification_name
from ops.cloudflare.pages import PagesApi
from ops.cloudflare.tokens import AccountsApi
from ops.cloudflare.types.inventory import NamedResource
from ops.cloudflare.types.zones import WorkersDevSubdomain
from ops.cloudflare.verification import VerificationApi
from ops.cloudflare.workers import WorkersApi
from ops.core.clock import Clock
from ops.core.errors import ProviderError, Reason
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
        """Close the clients at the end of the block. Until `writing` is entered, they only read."""
        with ExitStack() as stack:
            stack.callback(self.web.close)
            stack.callback(self.client.close)
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

    def find_leftovers(self) -> tuple[list[Leftover], list[ProviderError]]:
        """Return the resources that verifications left, and the errors of products whose list cannot be read."""
        return _find_all(self._finders(is_verification_name))

    def _finders(self, is_own: Callable[[str], bool]) -> tuple[Callable[[], list[Leftover]], ...]:
        """Return a function per product, which lists its own resources. The Worker comes first: it binds others."""
        kinds: tuple[tuple[str, Callable[[], Iterable[NamedResource]], Callable[[str], None]], ...] = (
            ("Worker", self._list_workers, self.api.delete_worker),
            ("Pages project", self._list_sites, self.api.delete_project),
            ("KV namespace", self.kv.list_namespaces, self.api.delete_namespace),
            ("D1 database", self.d1.list_databases, self.api.delete_database),
        )

        def find(
            kind: str, list_resources: Callable[[], Iterable[NamedResource]], delete: Callable[[str], None]
        ) -> list[Leftover]:
            own = [each for each in list_resources() if is_own(each.name)]
            return [Leftover(kind, each.name, partial(self._delete_own, each, delete)) for each in own]

        return tuple(partial(find, *each) for each in kinds)

    def _delete_own(self, resource: NamedResource, delete: Callable[[str], None]) -> None:
        self.transport.own_resource(resource)
        delete(resource.id)

    def _list_workers(self) -> list[NamedResource]:
        return [NamedResource(each.name, each.name) for each in self.workers.list_workers()]

    def _list_sites(self) -> list[NamedResource]:
        return [NamedResource(each.name, each.name) for each in self.pages.list_projects()]

    def delete_leftovers(self, name: str = "") -> int:
        """Delete the resources of one run, or of every run, and return how many there were.

        A product that refuses or fails does not keep those of the others.

        Raises:
            ProviderError: a list cannot be read, or something is left after several passes.
        """
        finders = self._finders(name.__eq__ if name else is_verification_name)
        seen: set[tuple[str, str]] = set()
        left, errors = _find_all(finders)
        for _ in range(SWEEPS):
            seen |= {(each.kind, each.name) for each in left}
            with self.client.writing():
                for each in left:
                    _delete_resource(each)
            left, errors = _find_all(finders)
            if not (left or errors):
                return len(seen)
            self.clock.sleep(PAUSE)
        if not left:
            raise errors[0]
        raise ProviderError(
            f"{len(left)} resources of the verification are left: "
            f"{', '.join(f'{each.kind} {each.name}' for each in left)}",
            reason=Reason.PROVIDER_REFUSED,
            hint="Run `ops verify-platform --cleanup`, or delete them in the Cloudflare dashboard.",
        )


def _find_all(finders: Iterable[Callable[[], list[Leftover]]]) -> tuple[list[Leftover], list[ProviderError]]:
    """Return the resources of the products that answered, and the errors of the others."""
    left, errors = list[Leftover](), list[ProviderError]()
    for find in finders:
        try:
            left += find()
        except ProviderError as error:
            errors.append(error)
    return left, errors


def _delete_resource(leftover: Leftover) -> None:
    """Delete a resource. Another pass follows a lost or refused answer."""
    with suppress(ProviderError):
        leftover.delete()


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
    host = account.workers.read_workers_dev_host(name)
    if host:
        with delay():
            account.workers.set_subdomain(name, WorkersDevSubdomain(enabled=True, previews_enabled=False))
    with delay():
        account.api.create_project(name)
    first = account.workers.list_uploads(name)[0]
    return RunResources(name, host, namespace, database, first.id)


def describe_bindings(namespace: str, release: str, variables: int = 0) -> list[dict[str, str]]:
    """Return the bindings of the test Worker. `release` tells versions apart; `variables`: more variables."""
    more = [{"type": "plain_text", "name": f"VARIABLE_{number}", "text": "x"} for number in range(variables)]
    return [
        {"type": "version_metadata", "name": "VERSION"},
        {"type": "kv_namespace", "name": "STORE", "namespace_id": namespace},
        {"type": "plain_text", "name": "RELEASE", "text": release},
        *more,
    ]

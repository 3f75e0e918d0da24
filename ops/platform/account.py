"""Clients of the account that a run measures, and the resources that the run makes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Self, TypeVar

from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.d1 import D1Api
from ops.cloudflare.kv import KvApi
from ops.cloudflare.own_writes import OwnWritesTransport
from ops.cloudflare.pages import PagesApi
from ops.cloudflare.response import CloudflareApiError
from ops.cloudflare.tokens import AccountsApi
from ops.cloudflare.types.inventory import NamedResource
from ops.cloudflare.types.zones import WorkersDevSubdomain
from ops.cloudflare.verification import VerificationApi
from ops.cloudflare.workers import WorkersApi
from ops.core.clock import Clock
from ops.core.errors import ProviderError, Reason, UnclearWrite
from ops.core.redaction import Secret
from ops.core.verification_name import is_verification_name
from ops.platform.measurements import NotShown
from ops.probes.http import ProbeClient

SWEEPS, PAUSE = 8, 5.0
"""Most passes over the lists until nothing is left, and seconds between two."""
QUIET_LOOKS = 4
"""Looks in a row that show nothing: a list may be behind a creation or a deletion by some seconds."""
MOST_READS = 10
"""Most reads until a list shows what was created."""
TOKEN_VARIABLE, READ_TOKEN_VARIABLE = "VERIFY_CLOUDFLARE_API_TOKEN", "VERIFY_CLOUDFLARE_READ_TOKEN"
WORKER, PROJECT, NAMESPACE, DATABASE = "Worker", "Pages project", "KV namespace", "D1 database"
Delay = Callable[[], AbstractContextManager[None]]
T = TypeVar("T")


@dataclass(frozen=True)
class Leftover:
    """A resource with a name that only a verification makes."""

    kind: str
    name: str
    delete: Callable[[], None] = field(repr=False, compare=False)


class VerificationAccount:
    """Clients of one account, whose transport lets no write to other resources through."""

    def __init__(
        self,
        base_url: str,
        edge_url: str | None,
        account_id: str,
        token: Secret,
        clock: Clock,
        *,
        read_token: Secret | None = None,
        token_name: str = TOKEN_VARIABLE,
    ) -> None:
        """`read_token`: a second token, which only reads; None leaves what it shows unproved.

        `token_name`: variable of the token, for messages.
        """
        self.account_id, self.clock = account_id, clock
        self.transport = OwnWritesTransport(base_url, account_id)
        self._base_url = base_url
        self._clients: list[CloudflareClient] = []
        self.client = self.client_with(token, token_name)
        self.reader = None if read_token is None else self.client_with(read_token, READ_TOKEN_VARIABLE)
        self.api = VerificationApi(self.client, account_id)
        self.workers, self.pages = WorkersApi(self.client, account_id), PagesApi(self.client, account_id)
        self.kv, self.d1 = KvApi(self.client, account_id), D1Api(self.client, account_id)
        self.web = ProbeClient(edge_url)
        self.edge_requests = 0
        self._created: list[Leftover] = []

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

    @property
    def cleanup_command(self) -> str:
        return f"ops verify-platform --account {self.account_id} --cleanup"

    def read_name(self) -> str:
        """Return the name of the account; its ID if the token cannot read it."""
        try:
            accounts = AccountsApi(self.client).list_accounts()
        except ProviderError:
            accounts = ()
        return next((each.name for each in accounts if each.id == self.account_id), self.account_id)

    def find_leftovers(self) -> tuple[list[Leftover], list[ProviderError]]:
        """Return the resources that verifications left, and the errors of products whose list cannot be read."""
        return list_leftovers(self._leftover_finders(is_verification_name))

    def _resource_kinds(self) -> Mapping[str, tuple[Callable[[], Iterable[NamedResource]], Callable[[str], None]]]:
        """Return how to list and delete each kind. The Worker comes first: it binds others."""
        return {
            WORKER: (self._list_workers, self.api.delete_worker),
            PROJECT: (self._list_sites, self.api.delete_project),
            NAMESPACE: (self.kv.list_namespaces, self.api.delete_namespace),
            DATABASE: (self.d1.list_databases, self.api.delete_database),
        }

    def _leftover_finders(self, is_own: Callable[[str], bool]) -> tuple[Callable[[], list[Leftover]], ...]:
        """Return a function per product, which lists its own resources."""

        def find_leftovers_of_kind(kind: str, list_resources: Callable[[], Iterable[NamedResource]]) -> list[Leftover]:
            return [self._build_leftover(kind, each) for each in list_resources() if is_own(each.name)]

        return tuple(
            partial(find_leftovers_of_kind, kind, list_resources)
            for kind, (list_resources, _) in self._resource_kinds().items()
        )

    def _build_leftover(self, kind: str, resource: NamedResource) -> Leftover:
        return Leftover(kind, resource.name, partial(self._delete_own, resource, self._resource_kinds()[kind][1]))

    def _delete_own(self, resource: NamedResource, delete: Callable[[str], None]) -> None:
        self.transport.own_resource(resource)
        delete(resource.id)

    def own(self, kind: str, resource: NamedResource) -> None:
        """Permit writes to a resource of this run, and delete it at the end although no list may show it."""
        self.transport.own_resource(resource)
        self._created.append(self._build_leftover(kind, resource))

    def _list_workers(self) -> list[NamedResource]:
        return [NamedResource(each.name, each.name) for each in self.workers.list_workers()]

    def _list_sites(self) -> list[NamedResource]:
        return [NamedResource(each.name, each.name) for each in self.pages.list_projects()]

    def delete_leftovers(self, name: str = "") -> int:
        """Delete the resources of one run, or of every run, and return how many there were.

        It ends after QUIET_LOOKS looks without one. A product that refuses or fails does not keep those of the others.

        Raises:
            ProviderError: a list cannot be read, or something is left after several passes.
        """
        finders = self._leftover_finders(name.__eq__ if name else is_verification_name)
        seen, left, errors, quiet = set[Leftover](), set[Leftover](), list[ProviderError](), 0
        for _ in range(SWEEPS):
            listed, errors = list_leftovers(finders)
            left = {*self._created, *listed}
            seen |= left
            with self.client.writing():
                kept = [each for each in sorted(left, key=self._order_leftover) if not _delete_resource(each)]
            self._created = [each for each in self._created if each in kept]
            quiet = 0 if left or errors else quiet + 1
            if quiet == QUIET_LOOKS:
                return len(seen)
            self.clock.sleep(PAUSE)
        if left:
            raise _describe_rest(sorted(left, key=self._order_leftover), self.cleanup_command)
        if errors:
            raise errors[0]
        return len(seen)

    def _order_leftover(self, leftover: Leftover) -> tuple[int, str]:
        return [*self._resource_kinds()].index(leftover.kind), leftover.name

    def read_created(self, read: Callable[[], Sequence[T]], subject: str) -> T:
        """Return the first row of a list, which may be behind a creation.

        Raises ProviderError: it stays empty.
        """
        for _ in range(MOST_READS):
            if rows := read():
                return rows[0]
            self.clock.sleep(PAUSE)
        raise NotShown(f"the list of {subject} is empty", reason=Reason.MALFORMED_ANSWER)


def list_leftovers(finders: Iterable[Callable[[], list[Leftover]]]) -> tuple[list[Leftover], list[ProviderError]]:
    """Return what the finders list, in their order, and the errors of lists that cannot be read."""
    left, errors = list[Leftover](), list[ProviderError]()
    for find in finders:
        try:
            left += find()
        except ProviderError as error:
            errors.append(error)
    return left, errors


def _delete_resource(leftover: Leftover) -> bool:
    """Delete a resource, and return whether it is gone. Another pass follows a lost or refused answer."""
    try:
        leftover.delete()
    except CloudflareApiError as error:
        return error.status == 404
    except ProviderError:
        return False
    return True


def _describe_rest(left: Sequence[Leftover], command: str) -> ProviderError:
    return ProviderError(
        f"{len(left)} resources of the verification are left: {', '.join(f'{each.kind} {each.name}' for each in left)}",
        reason=Reason.PROVIDER_REFUSED,
        hint=f"Run `{command}`, or delete them in the Cloudflare dashboard.",
    )


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
    try:
        return _create_each(account, name, code, delay)
    except UnclearWrite as error:
        error.hint = f"A resource may appear later: run `{account.cleanup_command}` in some minutes."
        raise


def _create_each(account: VerificationAccount, name: str, code: bytes, delay: Delay) -> RunResources:
    account.transport.own_name(name)
    with delay():
        namespace = account.api.create_namespace(name)
        account.own(NAMESPACE, namespace)
    with delay():
        database = account.api.create_database(name)
        account.own(DATABASE, database)
    account.own(WORKER, NamedResource(name, name))
    with delay():
        account.api.put_worker(name, MODULE, code, verification_bindings(namespace.id, "one"))
    host = account.workers.read_workers_dev_host(name)
    if host:
        with delay():
            account.workers.set_subdomain(name, WorkersDevSubdomain(enabled=True, previews_enabled=False))
    account.own(PROJECT, NamedResource(name, name))
    with delay():
        account.api.create_project(name)
    first = account.read_created(lambda: account.workers.list_deployable_versions(name), "versions")
    return RunResources(name, host, namespace, database, first.id)


def verification_bindings(namespace: str, release: str, variables: int = 0) -> list[dict[str, str]]:
    """Return the bindings of the test Worker. `release` tells versions apart; `variables`: more variables."""
    more = [{"type": "plain_text", "name": f"VARIABLE_{number}", "text": "x"} for number in range(variables)]
    return [
        {"type": "version_metadata", "name": "VERSION"},
        {"type": "kv_namespace", "name": "STORE", "namespace_id": namespace},
        {"type": "plain_text", "name": "RELEASE", "text": release},
        *more,
    ]

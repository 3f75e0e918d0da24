"""Read the Workers, Pages sites and data stores of an account, with a read-only token.

A list that the token may not read is named, and the rest is read. Calls run in parallel.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from ops.cloudflare import accounts, d1, kv, pages, routes, workers
from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.codes import ErrorKind
from ops.cloudflare.response import CloudflareApiError
from ops.cloudflare.types.inventory import ListedWorker, NamedResource, WorkerBinding
from ops.cloudflare.types.pages import PagesProject
from ops.cloudflare.types.workers import SECRET_BINDING_TYPES
from ops.cloudflare.types.zones import CustomDomain, WorkerRoute, Zone
from ops.core.errors import ProviderError
from ops.core.names import MAINTENANCE_WORKER
from ops.core.suggestions import quote_name
from ops.core.threads import run_in_batches, run_parallel_mixed
from ops.setup.init.resources import Kind, Resource, is_usable, site_addresses, worker_addresses

T = TypeVar("T")

AT_ONCE = 20
"""Calls that run at the same time: connections of the client."""
MAX_DEPLOYMENTS = 25
STORES = {"d1": "D1", "kv_namespace": "KV", "r2_bucket": "R2"}
"""Type of a binding → name of the store for people."""


@dataclass(frozen=True)
class Inventory:
    """An account, and what the token can list in it."""

    account_id: str
    resources: tuple[Resource, ...] = ()
    databases: tuple[NamedResource, ...] = ()
    namespaces: tuple[NamedResource, ...] = ()
    routes: tuple[WorkerRoute, ...] = ()
    domains: tuple[CustomDomain, ...] = ()
    dev_domain: str = ""
    """Domain of the account on workers.dev; empty if it has none."""


class InventoryReader:
    """Reads with one token. `unread` has a line for each list that could not be read."""

    def __init__(self, client: CloudflareClient) -> None:
        self._client = client
        self.unread: list[str] = []
        self.was_rejected = False
        """Whether neither Workers nor Pages sites of an account could be listed, for lack of permission."""

    def list_accounts(self) -> tuple[NamedResource, ...]:
        api = accounts.AccountsApi(self._client)
        return self._try("accounts", accounts.READ_PERMISSION, api.list_accounts) or ()

    def read_account(self, account_id: str) -> Inventory:
        """List what the account has. Two rounds of calls: lists, then the routes of each zone."""
        script_api, page_api = workers.WorkersApi(self._client, account_id), pages.PagesApi(self._client, account_id)
        route_api = routes.RoutesApi(self._client, account_id)
        data_api, value_api = d1.D1Api(self._client, account_id), kv.KvApi(self._client, account_id)
        listed, sites, domains, zones, databases, namespaces, dev_domain = run_parallel_mixed(
            [
                partial(self._try, "Workers", workers.READ_PERMISSION, script_api.list_workers),
                partial(self._try, "Pages projects", pages.READ_PERMISSION, page_api.list_projects),
                partial(self._try, "custom domains", routes.SCRIPTS_READ, route_api.list_domains),
                partial(self._try, "zones", routes.ZONE_READ, route_api.list_zones),
                partial(self._try, "D1 databases", d1.READ_PERMISSION, data_api.list_databases),
                partial(self._try, "KV namespaces", kv.READ_PERMISSION, value_api.list_namespaces),
                partial(self._try, "workers.dev", workers.READ_PERMISSION, script_api.read_workers_dev_domain),
            ]
        )
        self.was_rejected = self.was_rejected or (listed is None and sites is None)
        place = Inventory(
            account_id,
            databases=databases or (),
            namespaces=namespaces or (),
            routes=tuple(self._read_routes(route_api, zones or ())),
            domains=domains or (),
            dev_domain=dev_domain or "",
        )
        found = [
            *(self._worker(place, each) for each in listed or ()),
            *(self._site(place, each) for each in sites or ()),
        ]
        return replace(place, resources=tuple(dict.fromkeys(filter(None, found))))

    def read_details(self, inventories: Sequence[Inventory], chosen: Iterable[Resource]) -> Iterator[Resource]:
        """Yield the chosen resources with bindings, workers.dev, live versions or deployments."""
        whose = {each.account_id: each for each in inventories}
        chosen = list(chosen)
        reads = [partial(self._detailed, whose[each.account_id], each) for each in chosen if each.account_id in whose]
        detailed = iter(run_in_batches(reads, AT_ONCE // 3))
        yield from (next(detailed) if each.account_id in whose else each for each in chosen)

    def _read_routes(self, api: routes.RoutesApi, zones: Iterable[Zone]) -> list[WorkerRoute]:
        def read(zone: Zone) -> tuple[WorkerRoute, ...]:
            what = f"routes of {quote_name(zone.name)}"
            return self._try(what, routes.READ_PERMISSION, partial(api.list_routes, zone.id)) or ()

        reads = [partial(read, zone) for zone in zones]
        return [route for found in run_in_batches(reads, AT_ONCE) for route in found]

    def _worker(self, place: Inventory, listed: ListedWorker) -> Resource | None:
        if listed.name == MAINTENANCE_WORKER or not self._is_usable("worker", listed.name):
            return None
        addresses = worker_addresses(listed.name, place.domains, place.routes)
        return Resource("worker", listed.name, place.account_id, addresses, has_assets=listed.has_assets)

    def _site(self, place: Inventory, project: PagesProject) -> Resource | None:
        if not self._is_usable("pages", project.name):
            return None
        return Resource("pages", project.name, place.account_id, site_addresses(project.domains))

    def _is_usable(self, kind: Kind, name: str) -> bool:
        if is_usable(kind, name):
            return True
        self.unread.append(f"{kind} {quote_name(name)}: its name has another form than Cloudflare's, so it is left out")
        return False

    def _detailed(self, place: Inventory, resource: Resource) -> Resource:
        name = resource.name
        if resource.kind == "pages":
            api = pages.PagesApi(self._client, resource.account_id)
            read = partial(api.list_deployments, name, limit=MAX_DEPLOYMENTS)
            listed = self._try(f"deployments of {name}", pages.READ_PERMISSION, read) or ()
            return replace(resource, deployments=tuple(each for each in listed if each.can_serve_production))
        scripts = workers.WorkersApi(self._client, resource.account_id)
        permission = workers.READ_PERMISSION
        bindings, subdomain, deployments = run_parallel_mixed(
            [
                partial(self._try, f"bindings of {name}", permission, partial(scripts.list_bindings, name)),
                partial(self._try, f"workers.dev of {name}", permission, partial(scripts.read_subdomain, name)),
                partial(self._try, f"deployments of {name}", permission, partial(scripts.list_deployments, name)),
            ]
        )
        is_on_dev = subdomain is not None and subdomain.enabled and place.dev_domain
        addresses = worker_addresses(
            name, place.domains, place.routes, f"{name}.{place.dev_domain}" if is_on_dev else ""
        )
        bound: tuple[WorkerBinding, ...] = bindings or ()
        return replace(
            resource,
            addresses=tuple(dict.fromkeys((*addresses, *resource.addresses))),
            secrets=tuple(sorted(each.name for each in bound if each.kind in SECRET_BINDING_TYPES)),
            objects=tuple(sorted({each.target for each in bound if _is_own_object(each, name)})),
            stores=tuple(sorted(_store(place, each) for each in bound if each.kind in STORES)),
            live_versions=frozenset(deployments[0].serving_versions if deployments else ()),
        )

    def _try(self, what: str, permission: str, call: Callable[[], T]) -> T | None:
        """Return the result of the call. If it fails, note that `what` was not read, and return None."""
        try:
            return call()
        except ProviderError as error:
            self.unread.append(f"{what}: {_reason(error, permission)}")
            return None


def _reason(error: ProviderError, permission: str) -> str:
    if isinstance(error, CloudflareApiError) and error.kind == ErrorKind.AUTH:
        return f'the token may not read this; it needs "{permission}"'
    return error.message


def _is_own_object(binding: WorkerBinding, worker: str) -> bool:
    is_own = binding.script in {"", worker} and bool(binding.target)
    return binding.kind == "durable_object_namespace" and is_own


def _store(place: Inventory, binding: WorkerBinding) -> str:
    """Return a bound store with the name that people gave it."""
    known = {each.id: each.name for each in (*place.databases, *place.namespaces)}
    return f"{STORES[binding.kind]} {quote_name(known.get(binding.target, binding.target or binding.name))}"

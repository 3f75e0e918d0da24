"""Workers and Pages sites that can become services, from an account or wrangler files.

An account is read with a read-only token. A list that the token may not read is named, and the rest is read. Calls run
in parallel. developers.cloudflare.com/workers/wrangler/configuration and …/pages/functions/wrangler-configuration
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from ops.cloudflare import d1, kv, pages, routes, tokens, workers
from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.response import CloudflareApiError, ErrorKind, answer_text_or_empty
from ops.cloudflare.types.inventory import ListedWorker, NamedResource, WorkerBinding
from ops.cloudflare.types.pages import PagesDeployment, PagesProject
from ops.cloudflare.types.site_config import CONFIGURATION_FILES, MAX_BYTES, nested_table, read_settings
from ops.cloudflare.types.workers import SECRET_BINDING_TYPES
from ops.cloudflare.types.zones import CustomDomain, WorkerRoute, Zone
from ops.config.types import ACCOUNT, ORIGIN, PAGES, URL_PATH, WORKER
from ops.core.errors import ConfigError, ProviderError, Refused
from ops.core.names import MAINTENANCE_WORKER, NAME_PATTERN, count_of, quote_name
from ops.core.threads import run_in_batches, run_parallel_mixed

Kind = Literal["worker", "pages"]
PATTERNS: dict[Kind, str] = {"worker": WORKER, "pages": PAGES}
OTHER_STAGES = re.compile(r"[-_](staging|stage|dev|development|preview|test|testing|qa)$")
"""End of the name of a Worker or site that is not production."""
MAX_NAME_LENGTH = 36
"""Characters of a service's name, so that `recover:NAME` fits in a label."""
T = TypeVar("T")

AT_ONCE = 20
"""Calls that run at the same time: connections of the client."""
MAX_DEPLOYMENTS = 25
MOST_ZONES = 50
"""Zones whose routes are read where only the services are listed: each takes a call of the limit."""
STORES = {"d1": "D1", "kv_namespace": "KV", "r2_bucket": "R2"}
"""Type of a binding → name of the store for people."""
PRODUCTION = "production"
WRANGLER_STORES = {
    "d1_databases": ("D1", "database_name"),
    "kv_namespaces": ("KV", "binding"),
    "r2_buckets": ("R2", "bucket_name"),
}
"""Key → name of the store for people, and the field with its name."""


@dataclass(frozen=True)
class Address:
    """An origin, and the path below it that the service answers."""

    origin: str
    path: str = "/"

    def __str__(self) -> str:
        return self.origin + self.path.rstrip("/")


@dataclass(frozen=True)
class Resource:
    """A Worker or Pages project, as far as it is known from Cloudflare or a wrangler file."""

    kind: Kind
    name: str
    account_id: str
    """Empty if only a wrangler file without an account names it."""
    addresses: tuple[Address, ...] = ()
    """The most likely one first."""
    has_assets: bool | None = None
    secrets: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    """Classes of its own Durable Objects."""
    stores: tuple[str, ...] = ()
    """Bound databases and stores, for people: a rollback changes none of them."""
    databases: tuple[NamedResource, ...] = ()
    """Bound D1 databases of the account."""
    crons: tuple[str, ...] = ()
    """Cron triggers of a Worker without an address."""
    live_versions: frozenset[str] = frozenset()
    deployments: tuple[PagesDeployment, ...] = field(default=(), repr=False)
    """Production deployments of a site that can serve it, newest first."""

    @property
    def is_production(self) -> bool:
        """Whether the name has no ending such as -staging."""
        return OTHER_STAGES.search(self.name) is None

    def merge(self, other: "Resource") -> "Resource":
        """Return the same Worker or site with the facts of both; those of `self` come first."""
        return replace(
            self,
            account_id=self.account_id or other.account_id,
            addresses=tuple(dict.fromkeys((*self.addresses, *other.addresses))),
            has_assets=other.has_assets if self.has_assets is None else self.has_assets,
            secrets=self.secrets or other.secrets,
            objects=self.objects or other.objects,
            stores=self.stores or other.stores,
        )


def is_usable_resource_name(kind: Kind, name: str) -> bool:
    """Return whether ops.yml accepts the name. A name of another form is left out."""
    return re.fullmatch(PATTERNS[kind], name) is not None


def worker_addresses(
    worker: str, domains: Iterable[CustomDomain], routes: Iterable[WorkerRoute], dev_host: str = ""
) -> tuple[Address, ...]:
    """Return where a Worker answers: custom domains, routes of whole hosts, routes of paths, workers.dev."""
    addresses = [Address(f"https://{domain.hostname}") for domain in domains if domain.worker == worker]
    own = [route for route in routes if route.script == worker]
    for route in sorted(own, key=lambda route: (len(route.prefix), route.pattern)):
        addresses += route_address(route.host, route.path)
    if dev_host:
        addresses.append(Address(f"https://{dev_host}"))
    return usable_addresses(addresses)


def route_address(host: str, path: str) -> Iterator[Address]:
    """Yield the address of a route; none for a pattern of hosts."""
    if "*" not in host:
        yield Address(f"https://{host.lower()}", path.removesuffix("*") or "/")


def site_addresses(domains: Iterable[str]) -> tuple[Address, ...]:
    """Return where a site answers: custom domains, then pages.dev."""
    hosts = sorted(domains, key=lambda host: host.endswith(".pages.dev"))
    return usable_addresses(Address(f"https://{host}") for host in hosts)


def usable_addresses(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Return each address once, without those that ops.yml does not accept."""
    fits = (each for each in addresses if re.fullmatch(ORIGIN, each.origin) and re.fullmatch(URL_PATH, each.path))
    return tuple(dict.fromkeys(fits))


def service_names(resources: Iterable[Resource]) -> dict[Resource, str]:
    """Return a service name for each resource: its name on Cloudflare, in the form that ops.yml accepts."""
    names: dict[Resource, str] = {}
    for resource in resources:
        plain = re.sub(r"[^a-z0-9_-]", "-", resource.name.lower())[:MAX_NAME_LENGTH]
        plain = plain if re.fullmatch(NAME_PATTERN, plain) else f"s{plain}"[:MAX_NAME_LENGTH]
        number, taken = 2, set(names.values())
        name = plain
        while name in taken:
            name, number = f"{plain[: MAX_NAME_LENGTH - 3]}-{number}", number + 1
        names[resource] = name
    return names


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
    is_complete: bool = True
    """Whether Workers and Pages projects could both be listed."""


class InventoryReader:
    """Reads with one token. `unread` has a line for each list that could not be read."""

    def __init__(self, client: CloudflareClient) -> None:
        self._client = client
        self.unread: list[str] = []
        self.was_rejected = False
        """Whether neither Workers nor Pages sites of an account could be listed, for lack of permission."""

    def list_accounts(self) -> tuple[NamedResource, ...]:
        api = tokens.AccountsApi(self._client)
        return self._try_inventory_read("accounts", api.list_accounts) or ()

    def read_account(self, account_id: str, *, only_services: bool = False) -> Inventory:
        """List what the account has. Two rounds of calls: lists, then the routes of each zone.

        `only_services`: without databases and namespaces, and with the routes of at most MOST_ZONES zones.
        """
        script_api, page_api = workers.WorkersApi(self._client, account_id), pages.PagesApi(self._client, account_id)
        route_api = routes.RoutesApi(self._client, account_id)
        data_api, value_api = d1.D1Api(self._client, account_id), kv.KvApi(self._client, account_id)
        stores = [
            partial(self._try_inventory_read, "D1 databases", data_api.list_databases),
            partial(self._try_inventory_read, "KV namespaces", value_api.list_namespaces),
        ]
        listed, sites, domains, zones, dev_domain, databases, namespaces = run_parallel_mixed(
            [
                partial(self._try_inventory_read, "Workers", script_api.list_workers),
                partial(self._try_inventory_read, "Pages projects", page_api.list_projects),
                partial(self._try_inventory_read, "custom domains", route_api.list_domains),
                partial(self._try_inventory_read, "zones", route_api.list_zones),
                partial(self._try_inventory_read, "workers.dev", script_api.read_workers_dev_domain),
                *([tuple, tuple] if only_services else stores),
            ]
        )
        self.was_rejected = self.was_rejected or (listed is None and sites is None)
        if only_services and zones and zones[MOST_ZONES:]:
            self.unread.append(f"routes of {count_of(len(zones) - MOST_ZONES, 'zone')}: each zone takes a call")
            zones = zones[:MOST_ZONES]
        place = Inventory(
            account_id,
            databases=databases or (),
            namespaces=namespaces or (),
            routes=tuple(self._read_routes(route_api, zones or ())),
            domains=domains or (),
            dev_domain=dev_domain or "",
            is_complete=listed is not None and sites is not None,
        )
        resources = [
            *(self._worker_resource(place, each) for each in listed or ()),
            *(self._site_resource(place, each) for each in sites or ()),
        ]
        return replace(place, resources=tuple(dict.fromkeys(filter(None, resources))))

    def read_details(self, inventories: Sequence[Inventory], chosen: Iterable[Resource]) -> Iterator[Resource]:
        """Yield the chosen resources with bindings, workers.dev, live versions or deployments."""
        whose = {each.account_id: each for each in inventories}
        chosen = list(chosen)
        reads = [
            partial(self._read_details, whose[each.account_id], each) for each in chosen if each.account_id in whose
        ]
        detailed = iter(run_in_batches(reads, AT_ONCE // 3))
        yield from (next(detailed) if each.account_id in whose else each for each in chosen)

    def read_addresses(self, place: Inventory, resource: Resource) -> tuple[Address, ...]:
        """Return where it answers: as listed, else on workers.dev."""
        if resource.addresses or resource.kind == "pages":
            return resource.addresses
        return worker_addresses(resource.name, (), (), self._dev_host(place, resource.name))

    def _dev_host(self, place: Inventory, worker: str) -> str:
        """Return the host of a Worker on workers.dev; empty if it has none."""
        if not place.dev_domain:
            return ""
        api = workers.WorkersApi(self._client, place.account_id)
        subdomain = self._try_inventory_read(f"workers.dev of {worker}", partial(api.read_subdomain, worker))
        return f"{worker}.{place.dev_domain}" if subdomain and subdomain.enabled else ""

    def _read_routes(self, api: routes.RoutesApi, zones: Iterable[Zone]) -> list[WorkerRoute]:
        def read_zone_routes(zone: Zone) -> tuple[WorkerRoute, ...]:
            what = f"routes of {quote_name(zone.name)}"
            return self._try_inventory_read(what, partial(api.list_routes, zone.id)) or ()

        reads = [partial(read_zone_routes, zone) for zone in zones]
        return [route for found in run_in_batches(reads, AT_ONCE) for route in found]

    def _worker_resource(self, place: Inventory, listed: ListedWorker) -> Resource | None:
        if listed.name == MAINTENANCE_WORKER or not self._is_usable("worker", listed.name):
            return None
        addresses = worker_addresses(listed.name, place.domains, place.routes)
        return Resource("worker", listed.name, place.account_id, addresses, has_assets=listed.has_assets)

    def _site_resource(self, place: Inventory, project: PagesProject) -> Resource | None:
        if not self._is_usable("pages", project.name):
            return None
        return Resource("pages", project.name, place.account_id, site_addresses(project.domains))

    def _is_usable(self, kind: Kind, name: str) -> bool:
        if is_usable_resource_name(kind, name):
            return True
        self.unread.append(f"{kind} {quote_name(name)}: its name has another form than Cloudflare's, so it is left out")
        return False

    def _read_details(self, place: Inventory, resource: Resource) -> Resource:
        name = resource.name
        if resource.kind == "pages":
            api = pages.PagesApi(self._client, resource.account_id)
            read = partial(api.list_deployments, name, limit=MAX_DEPLOYMENTS)
            listed = self._try_inventory_read(f"deployments of {name}", read) or ()
            return replace(resource, deployments=tuple(each for each in listed if each.can_serve_production))
        scripts = workers.WorkersApi(self._client, resource.account_id)
        bindings, dev_host, deployments = run_parallel_mixed(
            [
                partial(self._try_inventory_read, f"bindings of {name}", partial(scripts.list_bindings, name)),
                partial(self._dev_host, place, name),
                partial(self._try_inventory_read, f"deployments of {name}", partial(scripts.list_deployments, name)),
            ]
        )
        addresses = worker_addresses(name, place.domains, place.routes, dev_host)
        bound: tuple[WorkerBinding, ...] = bindings or ()
        addresses = tuple(dict.fromkeys((*addresses, *resource.addresses)))
        has_crons = None if addresses else partial(scripts.list_cron_triggers, name)
        databases = {each.target for each in bound if each.kind == "d1"}
        return replace(
            resource,
            addresses=addresses,
            databases=tuple(each for each in place.databases if each.id in databases),
            crons=(self._try_inventory_read(f"cron triggers of {name}", has_crons) or ()) if has_crons else (),
            secrets=tuple(sorted(each.name for each in bound if each.kind in SECRET_BINDING_TYPES)),
            objects=tuple(sorted({each.target for each in bound if _is_own_object(each, name)})),
            stores=tuple(sorted(_bound_store(place, each) for each in bound if each.kind in STORES)),
            live_versions=frozenset(deployments[0].serving_versions if deployments else ()),
        )

    def _try_inventory_read(self, what: str, call: Callable[[], T]) -> T | None:
        """Return the result of the call. If it fails, note that `what` was not read, and return None."""
        try:
            return call()
        except ProviderError as error:
            self.unread.append(f"{what}: {unread_inventory_reason(error)}")
            return None


def unread_inventory_reason(error: ProviderError) -> str:
    """Return why a list was not read: the permission that the token lacks, or the message."""
    if isinstance(error, CloudflareApiError) and error.kind == ErrorKind.AUTH:
        return f'the token may not read this; it needs "{error.permission}"'
    return error.message


def _is_own_object(binding: WorkerBinding, worker: str) -> bool:
    is_own = binding.script in {"", worker} and bool(binding.target)
    return binding.kind == "durable_object_namespace" and is_own


def _bound_store(place: Inventory, binding: WorkerBinding) -> str:
    """Return a bound store with the name that people gave it."""
    known = {each.id: each.name for each in (*place.databases, *place.namespaces)}
    return f"{STORES[binding.kind]} {quote_name(known.get(binding.target, binding.target or binding.name))}"


def read_wrangler_files(paths: Iterable[Path]) -> tuple[Resource, ...]:
    """Return the Workers and Pages projects of the files. Raises ConfigError if a file cannot be used."""
    return tuple(resource for path in paths for resource in _read_named_wrangler_file(_find_named_wrangler_file(path)))


def _find_named_wrangler_file(path: Path) -> Path:
    """Return the file, or the first wrangler file of a folder."""
    if not path.is_dir():
        return path
    file = next((path / name for name in CONFIGURATION_FILES if (path / name).is_file()), None)
    if file is None:
        names = ", ".join(CONFIGURATION_FILES)
        raise ConfigError(f"{path} has no wrangler file", hint=f"Pass the folder or path of one of: {names}.")
    return file


def _read_named_wrangler_file(path: Path) -> Iterator[Resource]:
    try:
        with path.open("rb") as file:
            settings = read_settings(path.name, file.read(MAX_BYTES + 1))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", hint="Pass the path of a wrangler file to --wrangler."
        ) from None
    except Refused as error:
        raise ConfigError(error.message, hint=f"Correct {path}, or leave it out.") from None
    resources = list(_wrangler_resources(settings))
    if not resources:
        raise ConfigError(
            f"{path} names no Worker and no Pages project", hint="Add `name` to the file, or leave it out."
        )
    yield from resources


def _wrangler_resources(settings: Mapping[str, Any]) -> Iterator[Resource]:
    """Yield the resource of production: `env.production` where it exists, else the top level."""
    name, environment = answer_text_or_empty(settings.get("name")), nested_table(settings, "env", PRODUCTION)
    if "pages_build_output_dir" in settings:
        if is_usable_resource_name("pages", name):
            yield Resource("pages", name, _wrangler_account(settings))
        return
    own = {**settings, **environment}
    if environment:
        name = answer_text_or_empty(environment.get("name")) or f"{name}-{PRODUCTION}"
    if is_usable_resource_name("worker", name):
        yield Resource(
            "worker",
            name,
            _wrangler_account(own),
            usable_addresses(_wrangler_addresses(own)),
            has_assets=bool(nested_table(own, "assets")),
            objects=tuple(sorted(set(_durable_object_names(own)))),
            stores=tuple(sorted(set(_wrangler_stores(own)))),
        )


def _wrangler_account(settings: Mapping[str, Any]) -> str:
    account = answer_text_or_empty(settings.get("account_id"))
    return account if re.fullmatch(ACCOUNT, account) else ""


def _wrangler_addresses(settings: Mapping[str, Any]) -> Iterator[Address]:
    """Yield custom domains and routes, in the order of the file."""
    listed = settings.get("routes")
    for route in [settings.get("route"), *(listed if isinstance(listed, list) else [])]:
        pattern = answer_text_or_empty(route.get("pattern") if isinstance(route, dict) else route)
        host, slash, path = pattern.removeprefix("https://").removeprefix("http://").partition("/")
        yield from route_address(host, slash + path)


def _durable_object_names(settings: Mapping[str, Any]) -> Iterator[str]:
    rows = nested_table(settings, "durable_objects").get("bindings")
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict) and not row.get("script_name") and answer_text_or_empty(row.get("class_name")):
            yield row["class_name"]


def _wrangler_stores(settings: Mapping[str, Any]) -> Iterator[str]:
    for key, (kind, named) in WRANGLER_STORES.items():
        rows = settings.get(key)
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict) and answer_text_or_empty(row.get(named)):
                yield f"{kind} {quote_name(row[named])}"

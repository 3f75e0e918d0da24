"""Send every declared read once, and compare the shape of its answer with the declared type."""

from collections.abc import Callable, Iterator
from datetime import timedelta

from ops.cloudflare import records, tokens
from ops.cloudflare.d1 import D1Api
from ops.cloudflare.response import CloudflareApiError
from ops.cloudflare.routes import RoutesApi
from ops.cloudflare.types.d1 import SqlStatement
from ops.core.clock import Period
from ops.core.errors import ProviderError
from ops.core.permissions import find_permission
from ops.core.redaction import Secret
from ops.platform.account import RunResources, VerificationAccount
from ops.platform.measurements import Measurements, is_missing_permission

Read = tuple[str, Callable[[], object]]
UNKNOWN_TOKEN = "a" * 40
"""A token that nobody has."""


def check_reads(account: VerificationAccount, resources: RunResources, results: Measurements) -> None:
    """Send the reads in their order. A refused one says nothing about the others."""
    for name, send in (*_worker_reads(account, resources), *_store_reads(account, resources)):
        _check_read(name, send, results)
    for name, send in (*_site_reads(account, resources.name), *_account_reads(account)):
        _check_read(name, send, results)
    routes = RoutesApi(account.client, account.account_id)
    try:
        zone = next(iter(routes.list_zones()), None)
    except ProviderError:
        zone = None
    if zone is None:
        results.skip("read-routes", "the token reads no zone")
    else:
        _check_read("read-routes", lambda: routes.list_routes(zone.id), results)


def _check_read(name: str, send: Callable[[], object], results: Measurements) -> None:
    try:
        send()
    except ProviderError as error:
        results.record_error(name, error)
    else:
        results.compare(name, "the declared shape")


def _worker_reads(account: VerificationAccount, resources: RunResources) -> Iterator[Read]:
    workers, name, version = account.workers, resources.name, resources.first_version
    yield "read-workers", workers.list_workers
    yield "read-workers-domain", workers.read_workers_dev_domain
    yield "read-deployments", lambda: workers.list_deployments(name)
    yield "read-versions", lambda: (workers.list_uploads(name), workers.list_deployable_versions(name))
    yield "read-version", lambda: workers.read_version(name, version)
    yield "read-code", lambda: workers.secrets.read_code(name, version)
    yield "read-secrets", lambda: workers.secrets.list_names(name)
    yield "read-settings", lambda: workers.list_bindings(name)
    yield "read-subdomain", lambda: workers.read_subdomain(name)
    yield "read-schedules", lambda: workers.list_cron_triggers(name)


def _store_reads(account: VerificationAccount, resources: RunResources) -> Iterator[Read]:
    namespace, database = resources.namespace.id, resources.database.id
    yield "read-kv-namespaces", account.kv.list_namespaces
    yield "read-kv-values", lambda: account.kv.read_values(namespace, ["missing"])
    yield "read-d1-databases", account.d1.list_databases
    yield "read-d1-database", lambda: account.d1.read_database(database)
    yield "read-d1-query", lambda: account.d1.query(database, [SqlStatement("SELECT 1 AS one")])
    yield "read-d1-bookmark", lambda: account.d1.read_bookmark(database)


def _site_reads(account: VerificationAccount, project: str) -> Iterator[Read]:
    pages = account.pages
    yield "read-pages-projects", pages.list_projects
    yield "read-pages-project", lambda: pages.read_project(project)
    yield "read-pages-deployments", lambda: pages.list_deployments(project)
    yield (
        "read-pages-deployment",
        lambda: [pages.read_deployment(project, each.id) for each in pages.list_deployments(project)[:1]],
    )


def _account_reads(account: VerificationAccount) -> Iterator[Read]:
    client, account_id, now = account.client, account.account_id, account.clock.now()
    recent = Period(now - timedelta(hours=1), now)
    hours = Period(recent.since.replace(minute=0, second=0, microsecond=0), now)
    yield "read-accounts", tokens.AccountsApi(client).list_accounts
    yield "read-token", lambda: tokens.verify_token(client, account_id)
    yield (
        "read-token-groups",
        lambda: tokens.read_permission_groups(client, account_id, tokens.verify_token(client, account_id)),
    )
    yield "read-service-tokens", lambda: tokens.list_service_tokens(client, account_id)
    yield "read-zones", RoutesApi(client, account_id).list_zones
    yield "read-worker-domains", RoutesApi(client, account_id).list_domains
    yield "read-audit-log", lambda: records.read_audit_log(client, account_id, recent, most=1)
    yield "read-analytics", lambda: records.read_database_usage(client, account_id, hours, max_rows=10)
    yield "read-telemetry", lambda: records.count_errors(client, account_id, "none", recent)


def check_unknown_token(account: VerificationAccount, results: Measurements) -> None:
    """Send a read with a token that nobody has."""
    client = account.client_with(Secret(UNKNOWN_TOKEN), "a token that nobody has")
    try:
        client.read(f"/accounts/{account.account_id}/workers/scripts")
        results.compare("unknown-token", "accepted")
    except CloudflareApiError as error:
        results.compare("unknown-token", f"HTTP {error.status}")


def check_read_permissions(account: VerificationAccount, resources: RunResources, results: Measurements) -> None:
    """Query telemetry and the database with a token that may only read them."""
    if (reader := account.reader) is None:
        for name in ("telemetry-permission", "d1-read-permission"):
            results.skip(name, "no second token was given, which only reads")
        return
    account_id, database, now = account.account_id, resources.database.id, account.clock.now()
    groups = tokens.read_permission_groups(account.client, account_id, tokens.verify_token(reader, account_id))
    recent, d1 = Period(now - timedelta(minutes=5), now), D1Api(reader, account_id)
    queries: tuple[tuple[str, str, Callable[[], object]], ...] = (
        (
            "telemetry-permission",
            f"/accounts/{account_id}/workers/observability/telemetry/query",
            lambda: records.count_requests(reader, account_id, resources.name, recent),
        ),
        (
            "d1-read-permission",
            f"/accounts/{account_id}/d1/database/{database}/query",
            lambda: (d1.query(database, [SqlStatement("SELECT 1")]), d1.read_bookmark(database)),
        ),
    )
    for name, path, send in queries:
        call = find_permission("cloudflare", "POST", path)
        assert call is not None, path
        if call.needs in groups or call.perhaps not in groups:
            results.skip(name, f"the second token needs {call.perhaps}, without {call.needs}")
            continue
        try:
            send()
            results.compare(name, "accepted")
        except ProviderError as error:
            if is_missing_permission(error):
                results.compare(name, "refused")
            else:
                results.record_error(name, error)

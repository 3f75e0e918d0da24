"""Check by reads that a Cloudflare token has the permissions of its jobs; no write is tried.

A job proves what its GitHub environment needs: the token of `report` and `evidence` reads audit log, analytics and
telemetry. A laptop proves what the runbooks of the labels read.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from ops.cloudflare import records
from ops.cloudflare.response import CloudflareApiError, ErrorKind
from ops.core.clock import Period
from ops.core.names import first_of
from ops.maintenance import steps as maintenance
from ops.setup.doctor.check import Answer, Finding, Findings, check
from ops.setup.doctor.facts import EVIDENCE, EnvironmentFacts, environments
from ops.setup.github_secrets import TOKEN_PAGE

RECENT = timedelta(minutes=1)
READERS = {"report", EVIDENCE}
"""GitHub environments whose tokens only read. Each job there needs all permissions of its environment."""


@dataclass(frozen=True)
class TokenRead:
    """A cheap request, and what the jobs do without its permission."""

    send: Callable[[EnvironmentFacts], object]
    lost: str


def _read_sites(environment: EnvironmentFacts) -> None:
    sites = (each.pages for each in environment.config.services.values() if each.pages)
    if site := next(sites, None):
        environment.session.pages.list_deployments(site, limit=1)


def _read_zone_analytics(environment: EnvironmentFacts) -> None:
    for zone in environment.own_zones:
        records.read_zone_limits(environment.session.client, zone.id)


def _recent_minute(environment: EnvironmentFacts) -> Period:
    now = environment.session.clock.now()
    return Period(now - RECENT, now)


READS = {
    "Workers Scripts": TokenRead(lambda each: each.workers, "Workers cannot be read"),
    "Pages": TokenRead(_read_sites, "sites cannot be read"),
    "D1": TokenRead(lambda each: each.databases, "databases cannot be read"),
    "Workers KV Storage": TokenRead(lambda each: each.session.kv.list_namespaces(), "switches and limits stay unknown"),
    "Zone": TokenRead(lambda each: each.zones, "zones cannot be found"),
    "Workers Routes": TokenRead(
        lambda each: maintenance.read_routes(each.session.routes, each.own_zones), "routes cannot be read"
    ),
    "Account Analytics": TokenRead(
        lambda each: records.read_account_limits(each.session.client, each.config.account_id),
        "reports show no requests and errors of Workers",
    ),
    "Analytics": TokenRead(_read_zone_analytics, "reports show no responses of a host"),
    "Account Settings": TokenRead(
        lambda each: records.read_audit_log(each.session.client, each.config.account_id, _recent_minute(each), most=1),
        "changes in the audit log stay unknown",
    ),
    "Workers Observability": TokenRead(
        lambda each: records.count_errors(each.session.client, each.config.account_id, "none", _recent_minute(each)),
        "errors in the logs of Workers stay unknown",
    ),
}
"""Area of permission groups → its read."""
OPTIONAL = {"report": ("Account Settings",), "recovery": ("Account Settings",)}
"""GitHub environment → areas that its jobs read if they may. `ai-failover` also reads the logs of Workers."""


@check("token-reads", environments, needs=("account",), why="A plan fails at its first read, or a report has gaps.")
def examine_token_reads(environment: EnvironmentFacts) -> Findings:
    """Does the token have the permissions to read?"""
    token, needed, missing = environment.config.token, list(_list_needed(environment)), set[str]()
    for area in needed:
        permission = _find_missing(environment, area)
        if permission and permission not in missing:
            missing.add(permission)
            fix = f"Add it at {TOKEN_PAGE}, and check account_id in ops.yml."
            yield Finding(f"{token} lacks {permission}: {READS[area].lost}", fix)
    if "Analytics" in needed and (unseen := _list_unseen_hosts(environment)):
        text = f"{token} sees no zone of {', '.join(first_of(unseen))}: {READS['Analytics'].lost}"
        fix = f"If it is in this account, add the zone to the token at {TOKEN_PAGE}."
        yield Finding(text, fix, Answer.NOT_PROVABLE)
    for area in _list_optional(environment):
        if area not in needed and (permission := _find_missing(environment, area)):
            text = f"{token} lacks {permission}, which is optional: {READS[area].lost}"
            yield Finding(text, f"Add it at {TOKEN_PAGE} if you want them.", Answer.NOT_PROVABLE)


def _find_missing(environment: EnvironmentFacts, area: str) -> str:
    """Return the permission that Cloudflare's refusal of the read asks for; empty if the token has it."""
    try:
        READS[area].send(environment)
    except CloudflareApiError as error:
        if error.kind is not ErrorKind.AUTH:
            raise
        return error.permission
    return ""


def _list_unseen_hosts(environment: EnvironmentFacts) -> list[str]:
    """Return the hosts without a zone that the token sees; none if it may not list zones."""
    try:
        zones = environment.own_zones
    except CloudflareApiError:
        return []
    return [host for host in environment.zone_hosts if not any(zone.contains_host(host) for zone in zones)]


def _list_needed(environment: EnvironmentFacts) -> Iterator[str]:
    """Yield the areas that the jobs with this token must read."""
    wanted = environment.facts.scope.github_environment
    if wanted in READERS:
        groups = [each.permissions for each in environment.facts.needed_environments if each.name == wanted]
        areas = {group.rpartition(" ")[0] for listed in groups for group in listed}
        yield from (area for area in READS if area in areas and _has_subject(environment, area))
        return
    areas = {group.rpartition(" ")[0] for group in environment.permissions}
    for area in ("Workers Scripts", "Pages"):
        if area in areas:
            yield area
    if environment.config.runtime and "Workers KV Storage" in areas:
        yield "Workers KV Storage"
    if environment.uses_routes:
        yield from ("Zone", "Workers Routes")


def _has_subject(environment: EnvironmentFacts, area: str) -> bool:
    """Return whether the environment has what the permission is for; the list is that of all environments."""
    config = environment.config
    subjects = {
        "D1": bool(config.databases),
        "Workers KV Storage": config.runtime is not None,
        "Pages": any(each.pages for each in config.services.values()),
    }
    return subjects.get(area, True)


def _list_optional(environment: EnvironmentFacts) -> Iterator[str]:
    scope = environment.facts.scope.github_environment
    yield from OPTIONAL.get(scope, ())
    if scope == "recovery" and any(each.name == "ai-failover" for each in environment.runbooks):
        yield "Workers Observability"

"""Checks of an environment: its secrets, Cloudflare account, token and permissions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from ops.app.registry import discover_runbooks
from ops.cloudflare import d1, records, tokens
from ops.cloudflare.response import CloudflareApiError, ErrorKind
from ops.cloudflare.tokens import AccountsApi
from ops.cloudflare.types.d1 import SqlStatement
from ops.core.clock import Period, format_utc, parse_utc
from ops.core.errors import ConfigError, Decision, ProviderError, Refused
from ops.core.names import first_of
from ops.core.threads import start_call
from ops.maintenance import steps as maintenance
from ops.setup import workflow_jobs
from ops.setup.doctor.check import Answer, Finding, Findings, NotProvable, check
from ops.setup.doctor.facts import EVIDENCE, EnvironmentFacts, environments
from ops.setup.github_secrets import TOKEN_PAGE

ANSWER_SECONDS = 5.0
"""Real seconds to wait for the first answer: a recovery could wait no longer."""
EXPIRES_SOON = timedelta(days=30)
WROTE = {Decision.RECOVERED.value, Decision.HEALTHY_AS_BEFORE.value, Decision.STILL_UNHEALTHY.value}
"""Decisions of a run whose write Cloudflare accepted."""


@check(
    "token",
    environments,
    needs=("config",),
    why="No recovery of this environment can start here, and GitHub never shows a secret again.",
)
def examine_token(environment: EnvironmentFacts) -> Findings:
    """Is the Cloudflare token set here?"""
    facts, name = environment.facts, environment.config.token
    try:
        _ = environment.session.token
    except ConfigError as error:
        if facts.environ.get(name):
            yield Finding(error.message, error.hint)
            return
        place = "" if facts.is_job else environment.config.token_location
        yield Finding(f"{name} is not set", f"Find it in {place}." if place else "", command=facts.set_command(name))


@check("variables", environments, needs=("config",), why="The recovery that needs this secret is refused.")
def examine_variables(environment: EnvironmentFacts) -> Findings:
    """Are the other secrets of the recoveries set here?"""
    facts = environment.facts
    for name in dict.fromkeys(_needed_variables(environment)):
        ways = workflow_jobs.COPY_KEYS if name in workflow_jobs.COPY_KEYS else (name,)
        if name == ways[0] and not any(map(facts.environ.get, ways)):
            yield Finding(f"{' or '.join(ways)} is not set", command=facts.set_command(name))


def _needed_variables(environment: EnvironmentFacts) -> Iterator[str]:
    """Yield the variables that the recoveries here read, without those that a rotation gets right before it.

    A laptop needs no chat webhook.
    """
    facts = environment.facts
    unneeded = {environment.config.token, workflow_jobs.APP_ID}
    if not facts.is_job:
        unneeded |= set(facts.config.notify.secret_names)
    if not workflow_jobs.has_github_copies(facts.config):
        unneeded |= set(workflow_jobs.COPY_KEYS)
    for runbook in environment.runbooks:
        for job in workflow_jobs.button_jobs(facts.config, runbook):
            if job.environment == environment.name:
                names = (name for name in job.secrets if not name.startswith(workflow_jobs.ROTATION_PREFIXES))
                yield from (name for name in names if name not in unneeded)


@check(
    "token-valid",
    environments,
    needs=("token", "internet"),
    why="Cloudflare refuses every request of this environment.",
)
def examine_token_valid(environment: EnvironmentFacts) -> Findings:
    """Does Cloudflare accept the token?"""
    try:
        status = start_call(lambda: environment.token).result(timeout=ANSWER_SECONDS).status
    except TimeoutError:
        yield Finding(f"Cloudflare's API gave no answer within {ANSWER_SECONDS:.0f} s", "Check the network here.")
        return
    except ProviderError as error:
        is_refused = isinstance(error, CloudflareApiError) and error.kind is ErrorKind.AUTH
        text = f"Cloudflare does not accept {environment.config.token}" if is_refused else error.message
        yield Finding(text, _advise_new_token(environment) if is_refused else error.hint)
        return
    if status != "active":
        yield Finding(f"{environment.config.token} is {status}", _advise_new_token(environment))


@check("token-expiry", environments, needs=("token-valid",), why="An expired token stops every recovery.")
def examine_token_expiry(environment: EnvironmentFacts) -> Findings:
    """Is the token valid for another month?"""
    if not (expires_on := environment.token.expires_on):
        return
    try:
        expires = parse_utc(expires_on)
    except ValueError:
        raise NotProvable("Cloudflare names no readable expiry") from None
    if expires - environment.session.clock.now() < EXPIRES_SOON:
        yield Finding(f"{environment.config.token} expires at {format_utc(expires)}", _advise_new_token(environment))


def _advise_new_token(environment: EnvironmentFacts) -> str:
    return f"Create a token at {TOKEN_PAGE}, and store it as {environment.config.token}"


@check(
    "account",
    environments,
    needs=("token-valid",),
    why="Cloudflare answers a wrong account as it answers a wrong token, so people look in the wrong place.",
)
def examine_account(environment: EnvironmentFacts) -> Findings:
    """Does the token belong to the account in ops.yml?"""
    own = environment.config.account_id
    listed = AccountsApi(environment.session.client).list_accounts()
    if not listed:
        raise NotProvable("Cloudflare lists no account for this token")
    if own not in {each.id for each in listed}:
        names = ", ".join(f"{each.id} ({each.name})" for each in listed)
        yield Finding(
            f"{environment.config.token} belongs to {names}, and not to {own}", "Correct account_id in ops.yml."
        )


@check(
    "token-writes",
    environments,
    needs=("token-reads",),
    why="The plan of a recovery succeeds, and its first change fails.",
)
def examine_token_writes(environment: EnvironmentFacts) -> Findings:
    """Does the token have the permissions to write?"""
    needed = [group for group in environment.permissions if not group.endswith(" Read")]
    if not needed and not _must_not_write_databases(environment):
        return
    try:
        groups = tokens.read_permission_groups(
            environment.session.client, environment.config.account_id, environment.token
        )
    except CloudflareApiError:
        yield from _unread_database_right(environment)
        if open_groups := [group for group in needed if group not in _proved_by_runs(environment)]:
            fix = "Recover a service in a drill: a run that wrote proves its permission."
            text = f"the token may not read its own policies, and no run wrote with {', '.join(open_groups)}"
            yield Finding(text, fix, Answer.NOT_PROVABLE)
        return
    if d1.WRITE_PERMISSION in groups and _must_not_write_databases(environment):
        text = f"{environment.config.token} of {environment.facts.scope.github_environment} has {d1.WRITE_PERMISSION}"
        fix = f"Remove it at {TOKEN_PAGE}: it can delete a database, and only the token of `database` needs it."
        yield Finding(text, fix)
    for group in needed:
        if group not in groups:
            yield Finding(f"{environment.config.token} lacks {group}", f"Add it at {TOKEN_PAGE}")
    for group, runbook in environment.button_permissions.items():
        if group not in {*groups, *needed} and not group.endswith(" Read"):
            text = f"{environment.config.token} lacks {group}, which only the button {runbook} needs"
            yield Finding(text, f"Add it at {TOKEN_PAGE} if you want that button.", Answer.NOT_PROVABLE)


@check(
    "token-excess",
    environments,
    needs=("token-reads",),
    why="A leaked token, or a changed workflow, can do more than a recovery needs.",
)
def examine_token_excess(environment: EnvironmentFacts) -> Findings:
    """Has the token no more rights than the runbooks need?"""
    try:
        groups = tokens.read_permission_groups(
            environment.session.client, environment.config.account_id, environment.token
        )
    except CloudflareApiError:
        fix = f"Look at {TOKEN_PAGE}, or give the token *API Tokens Read*."
        raise NotProvable("the token may not read its own policies", fix) from None
    needed = {group for each in discover_runbooks().values() for group in each.permissions.cloudflare}
    needed |= {group for each in environment.facts.needed_environments for group in each.permissions}
    if excess := [group for group in groups if not group.endswith(" Read") and group not in needed]:
        text = f"{environment.config.token} has {', '.join(sorted(excess))}, which no runbook needs"
        yield Finding(text, f"Remove it at {TOKEN_PAGE}.")


def _must_not_write_databases(environment: EnvironmentFacts) -> bool:
    """Return whether this job has the token of another GitHub environment than the one for databases."""
    return bool(environment.config.databases) and environment.facts.scope.github_environment not in {"", "database"}


def _unread_database_right(environment: EnvironmentFacts) -> Findings:
    """Yield a finding if a token that may not read its policies may query a database, and so perhaps write it."""
    if not _must_not_write_databases(environment):
        return
    first, *_ = environment.config.databases.values()
    try:
        environment.session.cloudflare.d1.query(first.id, [SqlStatement("SELECT 1")], timeout=ANSWER_SECONDS)
    except CloudflareApiError as error:
        if error.kind is ErrorKind.AUTH:
            return
        raise
    text = f"{environment.config.token} may query D1 databases, and it is unknown whether it may write them"
    fix = f"Look at {TOKEN_PAGE}: remove {d1.WRITE_PERMISSION}, which can delete a database."
    yield Finding(text, fix, Answer.NOT_PROVABLE)


def _proved_by_runs(environment: EnvironmentFacts) -> frozenset[str]:
    """Return the permission groups of runbooks that wrote here, with the secrets of the same kind of machine."""
    facts = environment.facts
    source = "run" if facts.is_job else "laptop"
    try:
        issues = facts.records("incident")
    except NotProvable:
        return frozenset()
    wrote = {
        each.record.runbook
        for issue in issues
        for each in issue
        if (each.record.environment, each.record.source) == (environment.name, source)
        and each.record.decision in WROTE
        and each.first_event_at("written")
    }
    return frozenset(
        group for runbook in environment.runbooks if runbook.name in wrote for group in runbook.permissions.cloudflare
    )


@check(
    "namespace",
    environments,
    needs=("token-reads",),
    why="Switches and limits are written to this namespace: none of them can change.",
)
def examine_namespace(environment: EnvironmentFacts) -> Findings:
    """Does the KV namespace of `runtime` exist?"""
    if (runtime := environment.config.runtime) is None:
        return
    if runtime.namespace not in {each.id for each in environment.namespaces}:
        listed = ", ".join(f"{each.id} ({each.name})" for each in environment.namespaces) or "none"
        yield Finding(f"the account has no KV namespace {runtime.namespace}; it has {listed}", "Correct it in ops.yml.")


@check(
    "maintenance",
    environments,
    needs=("token-reads",),
    why="Maintenance mode cannot be turned on, or leaves the service open.",
)
def examine_maintenance_ready(environment: EnvironmentFacts) -> Findings:
    """Is maintenance mode prepared?"""
    if not environment.uses_routes:
        return
    try:
        worker = maintenance.read_maintenance_worker(environment.session.cloudflare.workers)
    except Refused as refusal:
        yield Finding(refusal.message, refusal.hint)
        return
    if worker is None:
        command = f"{environment.facts.program} {maintenance.PREPARE_COMMAND} --environment {environment.name}"
        yield Finding("the account has no Worker ops-maintenance", command=command)


@check(
    "routes",
    environments,
    needs=("token-reads",),
    why="Maintenance mode at the edge needs a zone that the token can read; without one it cannot close the service.",
)
def examine_routes(environment: EnvironmentFacts) -> Findings:
    """Can the token read the zone of each service that maintenance mode closes?"""
    if not environment.uses_routes:
        return
    for service in environment.services:
        host = urlsplit(service.config.url).hostname or ""
        is_closed_by_routes = (
            service.config.worker and service.config.maintenance == "edge" and service.config.has_own_zone
        )
        if is_closed_by_routes and not any(zone.contains_host(host) for zone in environment.zones):
            text = f"{service.config.name}: {environment.config.token} cannot read the zone of {host}"
            yield Finding(text, f"Add Zone Read of this zone at {TOKEN_PAGE}")


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
        environment.session.cloudflare.pages.list_deployments(site, limit=1)


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
    "Workers KV Storage": TokenRead(
        lambda each: each.session.cloudflare.kv.list_namespaces(), "switches and limits stay unknown"
    ),
    "Zone": TokenRead(lambda each: each.zones, "zones cannot be found"),
    "Workers Routes": TokenRead(
        lambda each: maintenance.read_routes(each.session.cloudflare.routes, each.own_zones), "routes cannot be read"
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


CHECKS = (
    examine_token,
    examine_variables,
    examine_token_valid,
    examine_token_expiry,
    examine_account,
    examine_token_reads,
    examine_token_writes,
    examine_token_excess,
    examine_namespace,
    examine_maintenance_ready,
    examine_routes,
)

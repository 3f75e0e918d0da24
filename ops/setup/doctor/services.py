"""Checks of each service and D1 database: its Worker, site or tables, and its answers."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ops.app.configuration import probe_environ
from ops.cloudflare import d1, r2, tokens
from ops.cloudflare.response import NO_R2, CloudflareApiError, ErrorKind
from ops.cloudflare.types.d1 import SqlResult, SqlStatement
from ops.config.probes import ProbeSet
from ops.core.clock import format_duration, format_utc
from ops.core.errors import ProviderError, Reason, Refused
from ops.core.names import did_you_mean, first_of
from ops.core.verdict import ProbeResult, Verdict
from ops.pages.live_deployment import find_site_rollback
from ops.pages.snapshot import MAX_DEPLOYMENTS, explain_unknown_live, live_content
from ops.probes.http import request_once
from ops.setup.doctor.check import Answer, Finding, Findings, NotProvable, check
from ops.setup.doctor.cloudflare_account import EXPIRES_SOON
from ops.setup.doctor.facts import (
    DatabaseFacts,
    ServiceFacts,
    databases,
    services,
    sites,
    workers,
)
from ops.setup.github_secrets import TOKEN_PAGE
from ops.workers.rollback_finder import read_worker_rollback

if TYPE_CHECKING:
    from ops.cloudflare.types.pages import PagesDeployment
    from ops.config.probes import Probe
    from ops.pages.snapshot import PagesSnapshot

CLIENT_ID, CLIENT_SECRET = "CF-Access-Client-Id", "CF-Access-Client-Secret"
"""Headers of a service token (developers.cloudflare.com/cloudflare-one/identity/service-tokens)."""

MAX_DEPLOYABLE = 100
"""Versions that Cloudflare can deploy (developers.cloudflare.com/workers/versions-and-deployments/rollbacks)."""
REACH = timedelta(days=7)

TIMEOUT = 5.0
"""Real seconds to wait for a query."""


@check("worker", workers, needs=("token-reads",), why="A recovery of this service is refused at once.")
def examine_worker(service: ServiceFacts) -> Findings:
    """Does the Worker exist?"""
    names = {each.name for each in service.environment.workers}
    if (name := service.config.worker) not in names:
        yield Finding(f"the account has no Worker {name}{did_you_mean(name, names)}", "Correct `worker` in ops.yml.")


@check("assets", workers, needs=("worker",), why="A rollback may mistake two releases with equal code for one.")
def examine_assets(service: ServiceFacts) -> Findings:
    """Is it known whether the Worker has static assets?"""
    listed = {each.name: each.has_assets for each in service.environment.workers}
    reported, configured = listed[service.config.worker], service.config.static_assets
    if reported is None and configured is None:
        text = f"Cloudflare does not say whether {service.config.worker} has static assets"
        yield Finding(text, "Set `static_assets` of the service in ops.yml.")
    elif reported is not None and configured is not None and reported != configured:
        says = "has static assets" if reported else "has no static assets"
        yield Finding(
            f"ops.yml has static_assets: {str(configured).lower()}, but {service.config.worker} {says}",
            "Remove `static_assets`: Cloudflare reports it.",
        )


@check("versions", workers, needs=("worker",), why="A rollback cannot be undone, or no fix can be deployed.")
def examine_versions(service: ServiceFacts) -> Findings:
    """Can the live and the newest version be deployed again?"""
    deployable = {each.id for each in service.deployable}
    uploads = service.session.cloudflare.workers.list_uploads(service.config.worker)
    live = service.worker_deployments or ()
    named = {**dict.fromkeys((v for d in live[:1] for v in d.serving_versions), "live"), uploads[0].id: "newest"}
    for version, which in named.items():
        if version not in deployable:
            text = f"Cloudflare does not list the {which} version {version[:8]} as deployable"
            yield Finding(text, "Look for a deleted binding of this version, then deploy the Worker again.")


@check("horizon", services, needs=("worker", "project"), why="A rollback may not reach the last good release.")
def examine_horizon(service: ServiceFacts) -> Findings:
    """Does a rollback reach back for a week? Of a Worker 100 versions can be deployed, of a site 25 are read."""
    if service.config.pages:
        yield from _site_horizon(service)
        return
    made = [each.created_on for each in service.deployable if each.created_on]
    age = service.session.clock.now() - min(made) if made else REACH
    if len(made) >= MAX_DEPLOYABLE and age < REACH:
        edits = sum(each.triggered_by == "secret" for each in service.deployable)
        yield Finding(
            f"a rollback reaches back for only {format_duration(age.total_seconds())}: the {len(made)} newest versions "
            f"are all from after {format_utc(min(made))}, {edits} of them secret edits",
            "Edit several secrets in one call (`wrangler secret bulk`), and upload previews to another Worker.",
        )


def _site_horizon(service: ServiceFacts) -> Findings:
    try:
        listed = service.read_site().observed.deployments
    except Refused:  # the checks `compare` and `rollback` report it
        return
    oldest = min(each.created_on for each in listed)
    age = service.session.clock.now() - oldest
    if len(listed) >= MAX_DEPLOYMENTS and age < REACH:
        text = (
            f"a rollback chooses among the newest {len(listed)} deployments, and they reach back for only "
            f"{format_duration(age.total_seconds())}, to {format_utc(oldest)}"
        )
        yield Finding(text, "Name an older deployment with `rollback-pages --to`.", Answer.NOT_PROVABLE)


@check("newest-release", services, needs=("worker", "project"), why="The next merge may ship a bug again.")
def examine_newest_release(service: ServiceFacts) -> Findings:
    """Is the newest release live? A rollback stands until the next one."""
    session = service.session
    if service.config.worker:
        deployments, now = service.worker_deployments or (), session.clock.now()
        rollback = read_worker_rollback(session.cloudflare.workers, service.config, deployments, now)
    else:
        live = service.project.canonical
        listed = session.cloudflare.pages.list_deployments(service.config.pages, limit=MAX_DEPLOYMENTS)
        rollback = find_site_rollback(service.config, live, listed) if live else None
    if rollback:
        yield Finding(str(rollback), ". ".join(f"{each[:1].upper()}{each[1:]}" for each in rollback.next_merge))


@check("bindings", workers, needs=("worker",), why="Cloudflare refuses to deploy a version with a missing resource.")
def examine_bindings(service: ServiceFacts) -> Findings:
    """Do the databases and namespaces that the Worker binds exist?"""
    for each in service.session.cloudflare.workers.list_bindings(service.config.worker):
        if each.kind == "kv_namespace":
            existing = service.environment.namespaces
        elif each.kind == "d1":
            existing = service.environment.databases
        else:
            continue
        if each.target not in {resource.id for resource in existing}:
            kind = "KV namespace" if each.kind == "kv_namespace" else "D1 database"
            yield Finding(
                f"binding {each.name}: the account has no {kind} {each.target}", "Restore it, or remove the binding."
            )


@check("worker-secrets", workers, needs=("worker",), why="A rotation refuses a secret that the Worker does not have.")
def examine_worker_secrets(service: ServiceFacts) -> Findings:
    """Does the Worker have the secrets that ops.yml rotates?"""
    rotated = [
        name
        for name, rule in service.environment.config.secrets.items()
        if rule.rotate != "never" and service.config.name in rule.consumers
    ]
    if not rotated:
        return
    names = service.session.cloudflare.workers.secrets.list_names(service.config.worker)
    for name in rotated:
        if name not in names:
            text = f"{service.config.worker} has no secret {name}{did_you_mean(name, names)}"
            command = f"wrangler secret put {name} --name {service.config.worker}"
            yield Finding(text, "Correct `secrets` in ops.yml, or add it.", command=command)


@check("project", sites, needs=("token-reads",), why="A recovery of this service is refused at once.")
def examine_project(service: ServiceFacts) -> Findings:
    """Does the Pages project exist?"""
    try:
        service.project  # noqa: B018  the read is the question
    except CloudflareApiError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        yield Finding(f"the account has no Pages project {service.config.pages}", "Correct `pages` in ops.yml.")


@check(
    "site-url",
    sites,
    needs=("project",),
    why="Backout compares another site with the deployments, and cannot identify the live one.",
)
def examine_site_url(service: ServiceFacts) -> Findings:
    """Does the project serve the URL in ops.yml?"""
    host, domains = urlsplit(service.config.url).hostname or "", service.project.domains
    if domains and host not in domains:
        yield Finding(
            f"{service.config.pages} serves {', '.join(domains)}, and not {host}", "Correct `url` in ops.yml."
        )


@check("compare", sites, needs=("site-url", "url"), why="A rollback without a named target is refused.")
def examine_compare(service: ServiceFacts) -> Findings:
    """Do the paths in `compare` identify the live deployment from this machine?"""
    try:
        site = service.read_site()
    except Refused as refusal:
        if refusal.reason is Reason.NO_TARGET:  # the check `rollback` reports a site without deployments
            return
        raise NotProvable(refusal.message, "Run doctor again.") from None
    live, paths = site.live, ", ".join(service.config.compare)
    if live.deployment is None:
        fix = "Let this machine read the deployments' own URLs, or add a path such as /version.txt to `compare`."
        why = explain_unknown_live(service.config, site)
        yield Finding(f"the live deployment cannot be identified by {paths}: {why}", fix)
    elif others := [name[:8] for name in live.indistinguishable if not _has_same_commit(site, live.deployment, name)]:
        text = f"{paths} is equal in the live deployment {live.deployment.id[:8]} and in {', '.join(others)}"
        yield Finding(text, "Add a path that differs in each release to `compare`, such as /version.txt.")


def _has_same_commit(site: "PagesSnapshot", live: "PagesDeployment", name: str) -> bool:
    """Return whether the other deployment was built from the live commit, so that its content may be equal."""
    commits = {each.id: each.commit for each in site.observed.deployments}
    return bool(live.commit) and commits.get(name) == live.commit


@check(
    "rollback",
    services,
    needs=("worker", "assets", "versions", "bindings", "project", "compare"),
    why="A rollback is refused until a person names a target.",
)
def examine_rollback(service: ServiceFacts) -> Findings:
    """Does a rollback find a target now?"""
    plan = service.rollback
    if not isinstance(plan, Refused):
        return
    if plan.reason is Reason.WORLD_MOVED:
        raise NotProvable(plan.message, "Run doctor again.")
    served = {version for each in service.worker_deployments or () for version in each.serving_versions}
    if plan.reason is Reason.NO_TARGET and len(served) == 1:
        raise NotProvable(
            "only one release: nothing to roll back to yet", "Run doctor again after the next deployment."
        )
    yield Finding(f"a rollback would be refused now: {plan.message}", plan.hint)


@check("url", services, needs=("config", "internet"), why="No probe can tell whether a recovery helped.")
def examine_url(service: ServiceFacts) -> Findings:
    """Does the service answer this machine?"""
    _require_url(service)
    where = f"{service.config.url}/"
    obstacle = request_once(service.session.probe_client(), where).obstacle
    if obstacle is None:
        return
    text, is_unreachable = f"{where}: {obstacle.detail}", obstacle.verdict is Verdict.UNHEALTHY
    if not is_unreachable and not obstacle.hint:
        raise NotProvable(text)
    yield Finding(text, "Correct `url` in ops.yml, or its DNS." if is_unreachable else obstacle.hint)


def _require_url(service: ServiceFacts) -> None:
    if not service.config.url:
        raise NotProvable("no url: only Cloudflare's figures by version, and probes that start a program, can prove it")


@check("probes", services, needs=("url",), why="A good recovery would count as failed, or as not proved.")
def examine_probes(service: ServiceFacts) -> Findings:
    """Are all probes healthy, and does one read the version of a Worker?"""
    quick = tuple(each for each in service.config.probes if each.http or each.page)
    for each in service.config.probes:
        if each not in quick:
            yield Finding(f"probe {each.name} starts a program, so only a recovery runs it", "", Answer.NOT_PROVABLE)
    if quick:
        for result in _run_quick_probes(service, quick):
            yield from _probe_problem(result)
    verify = service.config.verify
    needed = verify.successes_without_version
    if service.config.hides_version and needed <= verify.most_rounds:  # else the check `config-warnings` reports it
        text = f"no probe reads the version, so a proof takes {needed} healthy rounds in a row, not {verify.successes}"
        yield Finding(text, "Let an http probe read it with `version`.", Answer.NOT_PROVABLE)


@check("probe-access", services, needs=("token-valid",), why="From its end on, no probe gets past Access.")
def examine_probe_access(service: ServiceFacts) -> Findings:
    """Is the Access service token of the probes valid for another month?"""
    pairs = dict.fromkeys(each for each in map(_access_variables, service.config.probes) if any(each))
    for client_id, secret in pairs:
        if not client_id or not secret:
            given, missing = (CLIENT_ID, CLIENT_SECRET) if client_id else (CLIENT_SECRET, CLIENT_ID)
            text = f"`request_headers` of a probe has {given} without {missing}"
            yield Finding(text, f"Add {missing} to that probe in ops.yml.", Answer.NOT_PROVABLE)
        elif value := service.facts.environ.get(client_id, "").strip():
            yield from _find_token_end(service, client_id, value)


def _access_variables(probe: "Probe") -> tuple[str, str]:
    """Return the variables of client ID and secret; empty for a header that the probe does not send."""
    request = probe.http or probe.page
    sent = {header.lower(): variable for header, variable in request.request_headers.items()} if request else {}
    return sent.get(CLIENT_ID.lower(), ""), sent.get(CLIENT_SECRET.lower(), "")


def _find_token_end(service: ServiceFacts, variable: str, client_id: str) -> Findings:
    environment = service.environment
    try:
        listed = environment.service_tokens
    except CloudflareApiError as error:
        if error.kind is not ErrorKind.AUTH:
            raise
        lacking = f"{environment.config.token} lacks {tokens.SERVICE_TOKENS_PERMISSION}"
        text = f"{lacking}, so the end of the service token in {variable} is unknown"
        raise NotProvable(text, "Look at Zero Trust → Access controls → Service credentials.") from None
    token = next((each for each in listed if each.client_id == client_id), None)
    if token is None:
        text = f"no service token of the account has the client ID in {variable}"
        yield Finding(text, f"Store the client ID and secret of a service token as {variable} and its pair.")
        return
    expires, now = token.expires_at, service.session.clock.now()
    if expires is not None and expires - now < EXPIRES_SOON:
        verb = "expired" if expires < now else "expires"
        fix = "Refresh it: Zero Trust → Access controls → Service credentials. Its ID and secret stay."
        yield Finding(f"the service token in {variable} {verb} at {format_utc(expires)}", fix)


def _run_quick_probes(service: ServiceFacts, quick: "tuple[Probe, ...]") -> tuple[ProbeResult, ...]:
    facts = service.facts
    environ = probe_environ(facts.environ, facts.secret_names)
    runner = service.session.probe_runner(environ, facts.redactor, facts.root)
    content = live_content(service.session, service.config) if service.config.pages else None
    return runner.run_round(ProbeSet(service.config.url, quick, service.config.verify, find_content=content)).results


def _probe_problem(result: ProbeResult) -> Findings:
    hint = next((each.hint for each in result.assertions if each.hint), "")
    text = f"probe {result.probe} is {result.verdict.value}: {result.detail}"
    if result.verdict is Verdict.UNHEALTHY or hint:
        yield Finding(text, hint or "Repair the service, or correct the probe in ops.yml.")
    elif result.verdict is Verdict.INCONCLUSIVE:
        yield Finding(text, "", Answer.NOT_PROVABLE)


@check("runtime", workers, needs=("url",), why="No change of a switch or limit can be proved.")
def examine_runtime(service: ServiceFacts) -> Findings:
    """Does the application show the switches and limits that ops.yml names?"""
    settings = service.environment.config.runtime
    if settings is None or settings.service != service.config.name:
        return
    state = service.session.web.fetch_runtime_state(service.config.url)
    if isinstance(state, str):
        yield Finding(state, "Follow docs/reference/runtime-contract.md.")
        return
    limits = settings.limits.names if settings.limits else ()
    for kind, names, shown in (("switch", settings.switches, state.switches), ("limit", limits, state.limits)):
        for name in names:
            if name not in shown:
                yield Finding(
                    f"the application shows no {kind} {name}{did_you_mean(name, shown)}",
                    "Correct the name in ops.yml, or deploy the code that reads it.",
                )


@check("database", databases, needs=("account",), why="A restore fails at its first read.")
def examine_database(facts: DatabaseFacts) -> Findings:
    """Does the D1 database exist, and can the token read it?"""
    token = facts.environment.config.token
    try:
        listed = facts.environment.databases
        if facts.config.id not in {each.id for each in listed}:
            names = ", ".join(f"{each.id} ({each.name})" for each in listed) or "none"
            yield Finding(f"the account has no D1 database {facts.config.id}; it has {names}", "Correct it in ops.yml.")
            return
        _query_database(facts, "SELECT 1")
    except CloudflareApiError as error:
        if error.kind is not ErrorKind.AUTH:
            raise
        is_job = facts.environment.facts.is_job
        text = f"{token} may not query D1 databases, so it cannot restore one"
        fix = f"Add {d1.WRITE_PERMISSION} at {TOKEN_PAGE}, only to the token of the GitHub environment `database`."
        yield Finding(text, fix, Answer.WRONG if is_job else Answer.NOT_PROVABLE)


@check("database-tables", databases, needs=("database",), why="A restore counts no rows, or its checks say nothing.")
def examine_tables(facts: DatabaseFacts) -> Findings:
    """Do the tables, columns and queries of the database in ops.yml exist?"""
    config = facts.config
    listed = {
        str(row["name"]) for row in _query_database(facts, "SELECT name FROM sqlite_master WHERE type = 'table'").rows
    }
    for table in dict.fromkeys((config.migrations_table, *config.created, *config.rows)):
        if table.lower() not in {each.lower() for each in listed}:
            is_optional = table == config.migrations_table and config.migrations is None
            text = f"the database has no table {table}{did_you_mean(table, listed)}"
            yield Finding(text, "Correct it in ops.yml.", Answer.NOT_PROVABLE if is_optional else Answer.WRONG)
    for table, column in config.created.items():
        columns = {str(row["name"]) for row in _query_database(facts, f'PRAGMA table_info("{table}")').rows}
        if columns and column.lower() not in {each.lower() for each in columns}:
            text = f"{table} has no column {column}{did_you_mean(column, columns)}"
            yield Finding(text, "Correct `created` in ops.yml.")
    yield from _bad_queries(facts)


@check("kept-rows", databases, needs=("database",), why="A restore by a label or button is refused.")
def examine_kept_rows(facts: DatabaseFacts) -> Findings:
    """Is there a private R2 bucket in which jobs keep the rows that a restore loses?"""
    if not (tables := facts.config.kept_tables):
        return
    bucket, token = facts.session.kept_rows_bucket, facts.environment.config.token
    if bucket is None:
        text = f"ops.yml keeps rows of {', '.join(tables)}, and names no bucket for jobs"
        yield Finding(
            text, "Add `kept_rows: {bucket: NAME}` to the environment in ops.yml: docs/how-to/keep-lost-rows.md."
        )
        return
    try:
        domains = bucket.list_public_domains()
    except CloudflareApiError as error:
        if error.kind is ErrorKind.NOT_FOUND:
            text = f"the account has no R2 bucket {bucket.name} in that jurisdiction"
            yield Finding(
                text, f"Correct `kept_rows` in ops.yml, or create it: `wrangler r2 bucket create {bucket.name}`"
            )
            return
        if error.code == NO_R2:
            fix = f"Turn R2 on in the dashboard, then create the bucket: `wrangler r2 bucket create {bucket.name}`"
            yield Finding("the account has no R2 subscription, so a job cannot keep rows", fix)
            return
        if error.kind is not ErrorKind.AUTH:
            raise
        text = f"{token} may not read R2 buckets, so a job cannot keep rows with it"
        fix = f"Add {r2.WRITE_PERMISSION} at {TOKEN_PAGE}, only to the token of the GitHub environment `database`."
        yield Finding(text, fix, Answer.WRONG if facts.environment.facts.is_job else Answer.NOT_PROVABLE)
        return
    if domains:
        text = f"everybody can read the R2 bucket {bucket.name}: {', '.join(first_of(domains))}"
        yield Finding(text, "Turn these domains off in the dashboard, under R2 → the bucket → Settings.")


def _bad_queries(facts: DatabaseFacts) -> Iterator[Finding]:
    """Let D1 compile each query of ops.yml, without running it."""
    for each in facts.config.queries:
        if each.sql.strip()[:7].upper() in {"EXPLAIN", "PRAGMA "}:
            continue
        try:
            _query_database(facts, f"EXPLAIN {each.sql}")
        except CloudflareApiError as error:
            if error.kind is not ErrorKind.REFUSED:
                raise
            yield Finding(f"query {each.name}: {error.message}", "Correct `queries` in ops.yml.")


@check(
    "database-workers",
    databases,
    needs=("database",),
    why="Maintenance leaves a Worker open that writes during a restore.",
)
def examine_database_bindings(facts: DatabaseFacts) -> Findings:
    """Does the database name exactly the services whose Workers bind it?"""
    for service in facts.environment.config.services.values():
        if not service.worker:
            continue
        try:
            bound = facts.session.cloudflare.workers.list_bindings(service.worker)
        except ProviderError as error:
            text = f"the bindings of {service.worker} are unknown: {error.message}"
            yield Finding(text, error.hint, Answer.NOT_PROVABLE)
            continue
        binds = facts.config.id in {each.target for each in bound if each.kind == "d1"}
        if binds and service.name not in facts.config.services:
            yield Finding(f"{service.worker} binds the database", f"Add {service.name} to its `services` in ops.yml.")
        elif not binds and service.name in facts.config.services:
            text = f"{service.worker} does not bind the database"
            yield Finding(text, f"Remove {service.name} from its `services` in ops.yml, or deploy the binding.")


def _query_database(facts: DatabaseFacts, sql: str) -> SqlResult:
    (result,) = facts.session.cloudflare.d1.query(facts.config.id, [SqlStatement(sql)], timeout=TIMEOUT)
    return result


CHECKS = (
    examine_worker,
    examine_assets,
    examine_versions,
    examine_horizon,
    examine_newest_release,
    examine_bindings,
    examine_worker_secrets,
    examine_project,
    examine_site_url,
    examine_compare,
    examine_rollback,
    examine_url,
    examine_probes,
    examine_probe_access,
    examine_runtime,
    examine_database,
    examine_tables,
    examine_kept_rows,
    examine_database_bindings,
)

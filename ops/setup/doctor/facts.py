"""Facts that the checks share: ops.yml, environments, services, sites, databases, GitHub.

Each is read once, on first use, by any thread.
"""

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from ops.app import registry
from ops.app.configuration import add_github, program_name, read_config, register_secrets
from ops.app.context import planning_context, preview_rollback
from ops.app.scope import fitting_environments
from ops.app.session import Session, find_addresses
from ops.config.sections import ActingEnvironment
from ops.core.client_guards import uses_one_sandbox
from ops.core.errors import ConfigError
from ops.core.redaction import Redactor
from ops.core.threads import run_parallel, start_call
from ops.github import actions, client, issues, protection
from ops.setup import sync
from ops.setup.doctor.check import NotProvable
from ops.setup.github_environments import GitHubEnvironment, needed_environments
from ops.setup.workflow_jobs import doctor_jobs

if TYPE_CHECKING:
    from ops.cloudflare.types.inventory import ListedWorker, NamedResource, ServiceToken
    from ops.cloudflare.types.pages import PagesProject
    from ops.cloudflare.types.records import VerifiedToken
    from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion
    from ops.cloudflare.types.zones import Zone
    from ops.config import Config, Environment, Service
    from ops.config.sections import Database
    from ops.core.errors import Refused
    from ops.core.incident_state import IssueRecord
    from ops.core.plan import Plan
    from ops.engine.context import Context
    from ops.engine.runbook import Runbook
    from ops.github.client import Repository
    from ops.pages.snapshot import PagesSnapshot
    from ops.probes.http import ProbeClient
    from ops.setup.workflows import FileDifference

T = TypeVar("T")
MOST_GITHUB_READS = 6
"""Parallel requests to GitHub, which limits bursts."""
RECENT_INCIDENTS = 8
"""Newest incidents and drills whose records are read."""


class FactCache:
    """Runs each read once and gives its result or error to all callers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[Hashable, Future[Any]] = {}

    def get(self, key: Hashable, read: Callable[[], T]) -> T:
        with self._lock:
            if key not in self._found:
                self._found[key] = start_call(read)
            future: Future[T] = self._found[key]
        return future.result()


EVIDENCE = "evidence"
"""GitHub environment whose token only its own workflow holds; a person checks it on a laptop."""


@dataclass(frozen=True)
class FactScope:
    """The part of the set-up to check."""

    environment: str = ""
    """Environment of ops.yml; empty for all."""
    github_environment: str = ""
    """GitHub environment of this job, whose secrets it must have; empty outside of such a job."""
    only_repository: bool = False
    """Whether other jobs check the environments."""

    def names(self, config: "Config") -> Iterable[str]:
        """Return the names of the environments in ops.yml: for a job, those with secrets in its GitHub environment."""
        if self.environment:
            return [self.environment]
        if self.github_environment in {"", EVIDENCE}:
            return config.environments
        jobs = (each for each in doctor_jobs(config) if each.github_environment == self.github_environment)
        return [name for job in jobs for name in job.environments]


class Facts:
    """The operations repository: its files, its settings on GitHub, and this machine."""

    name = ""

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        redactor: Redactor,
        ending: ExitStack,
        scope: FactScope,
    ) -> None:
        """Raise ConfigError if a variable names a server that is not allowed, or ops.yml lacks the environment."""
        self.path, self.root = path, path.resolve().parent
        self.redactor = redactor
        self.environ = environ if actions.is_job(environ) else add_github(environ, self.root, redactor)
        self.scope = scope
        self.base_url, self.edge_url, self.clock = find_addresses(environ)
        self.is_job = actions.is_job(environ)
        self.program = program_name(environ)
        self.ending, self._reads = ending, FactCache()
        self._repositories: SimpleQueue[Repository] = SimpleQueue()
        self._github_slots = threading.BoundedSemaphore(MOST_GITHUB_READS)
        self.config_error: ConfigError | None = None
        self._config: Config | None = None
        self.warnings: tuple[str, ...] = ()
        try:
            self._config, self.warnings = read_config(path, labels=None)
        except ConfigError as error:
            self.config_error = error
        self.secret_names, self.environments = frozenset[str](), tuple[EnvironmentFacts, ...]()
        if self._config is not None:
            self.secret_names = register_secrets(environ, self._config, redactor)
            chosen = [self._config.environment(each) for each in scope.names(self._config)]
            self.environments = tuple(EnvironmentFacts(self, each, ending) for each in chosen)

    @property
    def config(self) -> "Config":
        """The configuration. Raises NotProvable if it is invalid."""
        if self._config is None:
            raise NotProvable("ops.yml is not valid")
        return self._config

    @property
    def services(self) -> "Iterator[ServiceFacts]":
        return (service for environment in self.environments for service in environment.services)

    def once(self, key: Hashable, read: Callable[[], T]) -> T:
        return self._reads.get(key, read)

    @property
    def public_web(self) -> "ProbeClient":
        """Client for status pages and the package index; with a sandbox, all requests go to its edge."""

        def make_doctor_web() -> "ProbeClient":
            from ops.probes.http import ProbeClient

            web = ProbeClient(self.edge_url)
            self.ending.callback(web.close)
            return web

        return self.once("public web", make_doctor_web)

    def github(self, read: "Callable[[Repository], T]") -> T:
        """Return what `read` returns for the operations repository. Its connection refuses every write.

        Raises:
            NotProvable: no token is configured, or it may not read this.
            ProviderError: GitHub failed.
        """
        if not client.is_configured(self.environ):
            raise NotProvable(
                "GITHUB_TOKEN or GITHUB_REPOSITORY is not set",
                command=f"{client.token_command(self.environ)} GITHUB_REPOSITORY=OWNER/NAME",
            )
        if not uses_one_sandbox(self.environ):
            raise NotProvable("one of Cloudflare and GitHub is a sandbox, and the other is not")
        with self._connect_repository() as repository:
            try:
                return read(repository)
            except client.GitHubApiError as error:
                if error.status in {403, 404}:
                    raise NotProvable(f"this GitHub token may not read it ({error.message})", error.hint) from error
                raise

    @contextmanager
    def _connect_repository(self) -> "Iterator[Repository]":
        """Lend a connection: PyGithub's are not safe for threads."""
        with self._github_slots:
            try:
                repository = self._repositories.get_nowait()
            except Empty:
                repository = client.connect(self.environ, self.redactor, read_only=True)
            try:
                yield repository
            finally:
                self._repositories.put(repository)

    @property
    def repository(self) -> protection.OwnRepository:
        return self.once("repository", lambda: self.github(protection.read_own_repository))

    @property
    def protections(self) -> Mapping[str, protection.EnvironmentProtection | None]:
        """GitHub environment that the workflows use → its rules; None if it does not exist. Empty on a plan without."""

        def read() -> Mapping[str, protection.EnvironmentProtection | None]:
            names = [each.name for each in self.needed_environments] if self.config.github.environments else []
            reads = [partial(self.github, partial(protection.read_environment, name=name)) for name in names]
            return dict(zip(names, run_parallel(reads), strict=True)) if reads else {}

        return self.once("protections", read)

    def stored_secrets(self, environment: str) -> frozenset[str]:
        """Return the names of the secrets of a GitHub environment; of the repository for an empty name.

        Raises:
            NotProvable: the token may not read them.
        """
        read = partial(protection.read_secret_names, environment=environment)
        names = self.once(("secrets", environment), lambda: self.github(read))
        if names is None:
            text = "this GitHub token may not read the names of secrets"
            raise NotProvable(text, "Use a token with Environments: read.")
        return names

    def set_command(self, name: str) -> str:
        """Return the command that sets a secret for this job, or on this laptop."""
        if not self.is_job:
            return f"export {name}=…"
        environment, github = self.scope.github_environment, self.config.github
        option = f" --env {environment}" if environment and github.environments else ""
        return f"gh secret set {github.secret(environment, name)}{option}"

    @property
    def needed_environments(self) -> list[GitHubEnvironment]:
        """GitHub environments that the workflows use."""
        return self.once("needed environments", lambda: needed_environments(self.config, registry.button_runbooks()))

    @property
    def file_differences(self) -> "list[FileDifference]":
        """Generated files that differ from ops.yml. Raises ConfigError if they use several commits of our actions."""
        return sync.find_generated_differences(self.root, self.config, self.environ)

    def records(self, label: str) -> "tuple[tuple[IssueRecord, ...], ...]":
        """Return the run records of the newest issues with the label, newest issue first."""
        read = partial(issues.newest_records, label=label, most=RECENT_INCIDENTS)
        return self.once(("records", label), lambda: self.github(read))


class EnvironmentFacts:
    """One environment of ops.yml, with its Cloudflare account."""

    def __init__(self, facts: Facts, environment: "Environment", ending: ExitStack) -> None:
        self.facts, self.config, self.name = facts, environment, environment.name
        self.session = Session(facts.config, environment.name, facts.environ, ending)
        has_probe_secrets = facts.scope.github_environment in {"", *get_args(ActingEnvironment)}
        services = environment.services.values() if has_probe_secrets else ()
        self.services = tuple(ServiceFacts(self, service) for service in services)

    def once(self, key: Hashable, read: Callable[[], T]) -> T:
        return self.facts.once((self.name, key), read)

    @property
    def token(self) -> "VerifiedToken":
        from ops.cloudflare import tokens

        return self.once("token", lambda: tokens.verify_token(self.session.client, self.config.account_id))

    @property
    def runbooks(self) -> "list[Runbook[Any]]":
        """Runbooks with a button that this environment can use with the secrets of this job or laptop."""
        wanted = self.facts.scope.github_environment
        return [
            runbook
            for runbook in registry.button_runbooks().values()
            if self.config in fitting_environments(self.facts.config, runbook)
            and runbook.github_environment
            and wanted in {"", runbook.github_environment}
        ]

    @property
    def labeled(self) -> frozenset[str]:
        """Runbooks that a label starts here."""
        labels = self.facts.config.labels.values()
        return frozenset(label.runbook for label in labels if label.environment == self.name)

    @property
    def permissions(self) -> tuple[str, ...]:
        """Permission groups that the token needs here: for labels, for rollbacks, and for merged limits."""
        needed = [each for each in self.runbooks if each.name in self.labeled or each.name.startswith("rollback-")]
        groups = [group for runbook in needed for group in runbook.permissions.needed(self.config)]
        if self.facts.scope.github_environment in {"", "limits"} and self.config.runtime and self.config.runtime.limits:
            groups.append("Workers KV Storage Write")
        return tuple(dict.fromkeys(groups))

    @property
    def button_permissions(self) -> Mapping[str, str]:
        """Permission group → a runbook that needs it, of all runbooks with a button."""
        return {group: each.name for each in self.runbooks for group in each.permissions.needed(self.config)}

    @property
    def uses_routes(self) -> bool:
        """Whether a label turns on maintenance mode at the edge, with the secrets of this job or laptop."""
        return "Workers Routes Write" in self.permissions

    @property
    def workers(self) -> "tuple[ListedWorker, ...]":
        return self.once("workers", self.session.cloudflare.workers.list_workers)

    @property
    def namespaces(self) -> "tuple[NamedResource, ...]":
        return self.once("namespaces", self.session.cloudflare.kv.list_namespaces)

    @property
    def databases(self) -> "tuple[NamedResource, ...]":
        from ops.cloudflare.d1 import D1Api

        return self.once("databases", lambda: D1Api(self.session.client, self.config.account_id).list_databases())

    @property
    def service_tokens(self) -> "tuple[ServiceToken, ...]":
        from ops.cloudflare import tokens

        read = tokens.list_service_tokens
        return self.once("service tokens", lambda: read(self.session.client, self.config.account_id))

    @property
    def zones(self) -> "tuple[Zone, ...]":
        return self.once("zones", self.session.cloudflare.routes.list_zones)

    @property
    def zone_hosts(self) -> tuple[str, ...]:
        """Hosts of the services that can be in a zone of the account."""
        return tuple(dict.fromkeys(each.host for each in self.config.services.values() if each.has_own_zone))

    @property
    def own_zones(self) -> "tuple[Zone, ...]":
        """The zones of these hosts, without those that the token cannot read."""
        return tuple(zone for zone in self.zones if any(map(zone.contains_host, self.zone_hosts)))


class DatabaseFacts:
    """One D1 database of an environment."""

    def __init__(self, environment: EnvironmentFacts, name: str, database: "Database") -> None:
        self.environment, self.config, self.session = environment, database, environment.session
        self.name = f"{environment.name}/{name}"


class ServiceFacts:
    """One service of an environment."""

    def __init__(self, environment: EnvironmentFacts, service: "Service") -> None:
        self.environment, self.config = environment, service
        self.facts, self.session = environment.facts, environment.session
        self.name = f"{environment.name}/{service.name}"

    def once(self, key: Hashable, read: Callable[[], T]) -> T:
        return self.facts.once((self.name, key), read)

    @property
    def worker_deployments(self) -> "tuple[WorkerDeployment, ...] | None":
        """The newest deployments of the Worker; None if it does not exist."""
        return self.once("deployments", lambda: self.session.cloudflare.workers.find_deployments(self.config.worker))

    @property
    def deployable(self) -> "tuple[WorkerVersion, ...]":
        return self.once(
            "deployable", lambda: self.session.cloudflare.workers.list_deployable_versions(self.config.worker)
        )

    @property
    def project(self) -> "PagesProject":
        return self.once("project", lambda: self.session.cloudflare.pages.read_project(self.config.pages))

    @property
    def rollback(self) -> "Plan | Refused":
        """Plan of a rollback with its default target, or the refusal."""

        def plan_rollback_target() -> "Plan | Refused":
            facts = self.facts
            return preview_rollback(
                self.session,
                self.config,
                path=facts.path,
                environ=facts.environ,
                redactor=facts.redactor,
                ending=facts.ending,
            ).outcome

        return self.once("rollback", plan_rollback_target)

    def read_site(self) -> "PagesSnapshot":
        """Return the state of the site. Raises Refused if it has no deployment, or changes between two reads."""
        from ops.pages import snapshot

        return self.once("site", lambda: snapshot.read_site_snapshot(self._plan_context(None), self.config))

    def _plan_context(self, params: Any) -> "Context[Any]":
        facts = self.facts
        return planning_context(
            params=params,
            session=self.session,
            path=facts.path,
            environ=facts.environ,
            redactor=facts.redactor,
            ending=facts.ending,
        )


def repository(facts: Facts) -> Iterable[Facts]:
    """Return the subject of checks that concern the repository and this machine; none in a job with secrets."""
    return () if facts.scope.github_environment else (facts,)


def environments(facts: Facts) -> Iterable[EnvironmentFacts]:
    return () if facts.scope.only_repository else facts.environments


def databases(facts: Facts) -> Iterable[DatabaseFacts]:
    """Return the databases, in a job only with the token that may write them."""
    if facts.scope.github_environment in {"", "database"}:
        for environment in environments(facts):
            for name, each in environment.config.databases.items():
                yield DatabaseFacts(environment, name, each)


def services(facts: Facts) -> Iterable[ServiceFacts]:
    return (service for environment in environments(facts) for service in environment.services)


def workers(facts: Facts) -> Iterable[ServiceFacts]:
    return (each for each in services(facts) if each.config.worker)


def sites(facts: Facts) -> Iterable[ServiceFacts]:
    return (each for each in services(facts) if each.config.pages)

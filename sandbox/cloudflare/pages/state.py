"""The Pages projects of an account: settings, deployments and promotions.

Tests seed them with the public methods, which need no permission and validate nothing: the API handlers refuse invalid
requests first.
"""

import bisect
import mimetypes
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

from sandbox.clock import FakeClock
from sandbox.switches import Switches

Environment = Literal["production", "preview"]
Status = Literal["success", "failure", "active", "canceled", "skipped"]

_TYPES = mimetypes.MimeTypes()  # Python's own table, independent of the files on this machine
for _ending, _type in ((".js", "application/javascript"), (".mjs", "application/javascript"), (".woff2", "font/woff2")):
    _TYPES.add_type(_type, _ending)  # as in wrangler; they differ between versions of Python


@dataclass(frozen=True, kw_only=True)
class Asset:
    content: bytes
    content_type: str

    @cached_property
    def key(self) -> str:
        """32 hex digits. Cloudflare uses BLAKE3, which Python does not have; for a client the key is opaque."""
        return sha256(self.content_type.encode() + b"\0" + self.content).hexdigest()[:32]


@dataclass(kw_only=True)
class FakePagesDeployment:
    id: str
    created_on: datetime
    environment: Environment
    branch: str
    commit_hash: str
    commit_message: str
    commit_dirty: bool
    trigger: Literal["ad_hoc", "github:push"]
    status: Status
    url: str
    alias: str | None
    """Second URL of the newest deployment of a preview branch."""
    files: Mapping[str, Asset]
    """Path with a leading slash → file."""
    rules: Mapping[str, bytes]
    """`_headers`, `_redirects`, `_routes.json`, `_worker.bundle` … as uploaded."""
    env_vars: Mapping[str, Mapping[str, str]]
    log: str
    """Last line of the build log."""
    queued_reads: int = 0
    """Number of reads that still report it as queued."""

    @property
    def short_id(self) -> str:
        return self.id[:8]

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def uses_functions(self) -> bool:
        return "_worker.bundle" in self.rules

    @property
    def may_serve_production(self) -> bool:
        """Whether a rollback can target it (developers.cloudflare.com/pages/configuration/rollbacks)."""
        return self.environment == "production" and self.status == "success"


@dataclass(kw_only=True)
class FakePagesProject:
    id: str
    name: str
    subdomain: str
    created_on: datetime
    production_branch: str
    domains: list[str]
    """Custom domains, without the subdomain."""
    configs: dict[str, dict[str, Any]]
    source: dict[str, Any] | None
    """None for Direct Upload."""
    deployments: list[FakePagesDeployment] = field(default_factory=list)
    """Oldest first."""
    promotions: list[tuple[datetime, FakePagesDeployment]] = field(default_factory=list)
    """Start times of live deployments, by a deployment or a rollback; oldest first."""
    previous_canonical: FakePagesDeployment | None = None
    lagging_reads: int = 0
    """Number of reads that still return `previous_canonical`."""
    next_failure: str | None = None
    """Last log line of the next deployment, which fails; None if it succeeds."""

    @property
    def live(self) -> FakePagesDeployment | None:
        return self.promotions[-1][1] if self.promotions else None

    @property
    def newest_successful(self) -> FakePagesDeployment | None:
        """The newest successful production deployment, live or not."""
        return next((d for d in reversed(self.deployments) if d.may_serve_production), None)

    def deployment(self, deployment_id: str) -> FakePagesDeployment | None:
        return next((d for d in self.deployments if d.id == deployment_id), None)


def merge_config(config: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return an environment's settings after a change. null removes a variable; secret values are not kept."""
    env_vars = {**config["env_vars"], **(change.get("env_vars") or {})}
    kept = {name: variable for name, variable in env_vars.items() if variable is not None}
    hidden = {name: {**v, "value": ""} if v.get("type") == "secret_text" else v for name, v in kept.items()}
    return {**config, **change, "env_vars": hidden}


def asset(path: str, content: bytes | Asset) -> Asset:
    if isinstance(content, Asset):
        return content
    guessed = _TYPES.guess_type(PurePosixPath(path).name)[0] or "application/octet-stream"
    return Asset(content=content, content_type=guessed)


def branch_label(branch: str) -> str:
    """Return a branch as the first label of a host (…/pages/configuration/preview-deployments)."""
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in branch.lower())[:28].strip("-") or "preview"


def git_source(repository: str, production_branch: str) -> dict[str, Any]:
    owner, _, name = repository.partition("/")
    config = {
        "owner": owner,
        "owner_id": "1",
        "repo_id": "2",
        "repo_name": name,
        "path_includes": ["*"],
        "path_excludes": [],
        "pr_comments_enabled": True,
        "preview_branch_includes": ["*"],
        "preview_branch_excludes": [],
        "production_branch": production_branch,
        "production_deployments_enabled": True,
        "preview_deployment_setting": "all",
        "deployments_enabled": True,
    }
    return {"type": "github", "config": config}


class Pages:
    """The Pages projects of an account."""

    def __init__(
        self, clock: FakeClock, switches: Switches, lock: threading.RLock, new_id: Callable[[], uuid.UUID]
    ) -> None:
        self.projects: dict[str, FakePagesProject] = {}
        self.assets: dict[str, Asset] = {}
        """Uploaded files by the key that the client chose."""
        self._clock = clock
        self._switches = switches
        self._lock = lock
        self._new_id = new_id

    def add_project(
        self,
        name: str,
        *,
        production_branch: str = "main",
        domains: Sequence[str] = (),
        env_vars: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
        configs: Mapping[str, Mapping[str, Any]] | None = None,
        repository: str | None = None,
        at: datetime | None = None,
    ) -> FakePagesProject:
        """Add a project. With `repository` (owner/name) it builds Git pushes; otherwise it takes Direct Uploads.

        `env_vars` and `secrets` (names) are those of production. The subdomain differs from the name: a name already in
        use on pages.dev gets a suffix.
        """
        with self._lock:
            texts = {key: {"type": "plain_text", "value": value} for key, value in (env_vars or {}).items()}
            hidden = {key: {"type": "secret_text", "value": ""} for key in secrets}
            given = configs or {}
            project = FakePagesProject(
                id=str(self._new_id()),
                name=name,
                subdomain=f"{name}-{self._new_id().hex[:3]}.pages.dev",
                created_on=at or self._clock.now(),
                production_branch=production_branch,
                domains=list(domains),
                configs={
                    "production": merge_config({"env_vars": {**texts, **hidden}}, given.get("production", {})),
                    "preview": merge_config({"env_vars": {}}, given.get("preview", {})),
                },
                source=git_source(repository, production_branch) if repository else None,
            )
            self.projects[name] = project
            return project

    def add_deployment(
        self,
        project: str,
        *,
        files: Mapping[str, bytes | Asset],
        commit: str = "",
        message: str = "",
        branch: str | None = None,
        environment: Environment | None = None,
        status: Status = "success",
        dirty: bool = False,
        rules: Mapping[str, bytes] | None = None,
        at: datetime | None = None,
    ) -> str:
        """Add a deployment and return its ID. A successful production deployment goes live.

        `files` are by path, with or without a leading slash; `at` backdates the deployment. Without `environment` the
        branch decides; without both, the production branch is used.
        """
        with self._lock:
            state = self.projects[project]
            place = environment or ("production" if branch in {None, state.production_branch} else "preview")
            branch = branch or (state.production_branch if place == "production" else "preview")
            failure, state.next_failure = state.next_failure, None
            status = status if failure is None else "failure"
            deployment_id = str(self._new_id())
            deployment = FakePagesDeployment(
                id=deployment_id,
                created_on=at or self._next_instant(state),
                environment=place,
                branch=branch,
                commit_hash=commit,
                commit_message=message,
                commit_dirty=dirty,
                trigger="github:push" if state.source else "ad_hoc",
                status=status,
                url=f"https://{deployment_id[:8]}.{state.subdomain}",
                alias=f"https://{branch_label(branch)}.{state.subdomain}" if place == "preview" else None,
                files={f"/{path.removeprefix('/')}": asset(path, content) for path, content in files.items()},
                rules=dict(rules or {}),
                env_vars=dict(state.configs[place]["env_vars"]),
                log=failure or f"{'Error' if status == 'failure' else 'Info'}: the deployment ended with {status}",
            )
            previous = self._canonical(state)
            bisect.insort(state.deployments, deployment, key=lambda deployment: deployment.created_on)
            if deployment.may_serve_production:
                self._promote(state, deployment, previous, at)
            return deployment_id

    def fail_next(self, project: str, line: str) -> None:
        """Make the next deployment of the project fail, with this last line in its log."""
        self.projects[project].next_failure = line

    def rollback(self, project: str, deployment_id: str, *, at: datetime | None = None) -> None:
        """Make the deployment live, as the dashboard does.

        Raises:
            ValueError: it is not a successful production deployment.
        """
        with self._lock:
            state = self.projects[project]
            deployment = state.deployment(deployment_id)
            if deployment is None or not deployment.may_serve_production:
                raise ValueError(f"{deployment_id} is not a successful production deployment of {project}")
            self._promote(state, deployment, self._canonical(state), at)

    def live(self, project: str) -> str | None:
        """Return the ID of the live deployment, which the edge serves after a delay."""
        with self._lock:
            live = self.projects[project].live
            return live.id if live else None

    def deployments(self, project: str) -> list[FakePagesDeployment]:
        """Return the deployments, newest first."""
        with self._lock:
            return self.projects[project].deployments[::-1]

    def canonical(self, project: FakePagesProject) -> FakePagesDeployment | None:
        """Return the canonical deployment of the API; each call counts as a read."""
        if project.lagging_reads:
            project.lagging_reads -= 1
            return project.previous_canonical
        return self._canonical(project)

    def is_site(self, host: str) -> bool:
        return any(self._has(project, host) for project in self.projects.values())

    def deployment_at(self, host: str, lag: float) -> FakePagesDeployment | None:
        """Return the deployment that a machine of the edge serves at the host.

        The addresses of a site follow production; the addresses of single deployments stay. `lag`: the machine's, as a
        multiple of `pages_propagation_seconds`.
        """
        project = next(project for project in self.projects.values() if self._has(project, host))
        if host in {project.subdomain, *project.domains}:
            return self._served_at(project, self._clock.now(), lag)
        here = (d for d in reversed(project.deployments) if host in {d.host, urlsplit(d.alias or "").netloc})
        return next((deployment for deployment in here if deployment.status == "success"), None)

    @staticmethod
    def _has(project: FakePagesProject, host: str) -> bool:
        return host in {project.subdomain, *project.domains} or host.endswith(f".{project.subdomain}")

    def _served_at(self, project: FakePagesProject, instant: datetime, lag: float) -> FakePagesDeployment | None:
        """Return the deployment that a machine serves: each promotion but the first reaches it after a delay."""
        known = instant - timedelta(seconds=lag * self._switches.pages_propagation_seconds)
        arrived = [deployment for at, deployment in project.promotions if at <= known]
        return next(reversed(arrived), project.promotions[0][1] if project.promotions else None)

    def _promote(
        self,
        project: FakePagesProject,
        deployment: FakePagesDeployment,
        previous: FakePagesDeployment | None,
        at: datetime | None,
    ) -> None:
        project.previous_canonical = previous
        project.lagging_reads = self._switches.pages_canonical_lag_reads if at is None else 0
        promotion = (at or self._clock.now(), deployment)
        bisect.insort(project.promotions, promotion, key=lambda promotion: promotion[0])

    def _canonical(self, project: FakePagesProject) -> FakePagesDeployment | None:
        return project.live if self._switches.pages_canonical_follows_rollbacks else project.newest_successful

    def _next_instant(self, project: FakePagesProject) -> datetime:
        """Return now, or a later instant: each deployment is newer than the project's previous ones."""
        now, latest = self._clock.now(), max((d.created_on for d in project.deployments), default=None)
        return now if latest is None or latest < now else latest + timedelta(microseconds=1)

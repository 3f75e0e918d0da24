"""The Pages of an account, and every way in which they change.

The public methods are the seeds too. They ask no permission and check nothing: what Cloudflare refuses is refused
before it comes here.
"""

import bisect
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from sandbox.clock import Clock
from sandbox.cloudflare.pages.projects import (
    Asset,
    Deployment,
    Environment,
    Project,
    Status,
    asset,
    git_source,
    label,
    merged,
)
from sandbox.switches import Switches


class Pages:
    """The Pages of an account."""

    def __init__(
        self, clock: Clock, switches: Switches, lock: threading.RLock, new_id: Callable[[], uuid.UUID]
    ) -> None:
        self.projects: dict[str, Project] = {}
        self.assets: dict[str, Asset] = {}
        """What was uploaded, under the key that the client gave it."""
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
    ) -> Project:
        """`repository` (owner/name) makes it one that builds what is pushed to Git; else it takes Direct Uploads.

        `env_vars` and `secrets` (names) are those of production. The subdomain is not the name: a name that somebody
        else has on pages.dev gets a suffix.
        """
        with self._lock:
            texts = {key: {"type": "plain_text", "value": value} for key, value in (env_vars or {}).items()}
            hidden = {key: {"type": "secret_text", "value": ""} for key in secrets}
            given = configs or {}
            project = Project(
                id=str(self._new_id()),
                name=name,
                subdomain=f"{name}-{self._new_id().hex[:3]}.pages.dev",
                created_on=at or self._clock.now(),
                production_branch=production_branch,
                domains=list(domains),
                configs={
                    "production": merged({"env_vars": {**texts, **hidden}}, given.get("production", {})),
                    "preview": merged({"env_vars": {}}, given.get("preview", {})),
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
        """Its id. `files` are by path, with or without the slash before it; `at` dates it back.

        Without `environment` the branch decides, and without both it is production's branch. A successful one of
        production serves from then on.
        """
        with self._lock:
            state = self.projects[project]
            place = environment or ("production" if branch in {None, state.production_branch} else "preview")
            branch = branch or (state.production_branch if place == "production" else "preview")
            failure, state.next_failure = state.next_failure, None
            status = status if failure is None else "failure"
            deployment_id = str(self._new_id())
            deployment = Deployment(
                id=deployment_id,
                created_on=at or self._instant(state),
                environment=place,
                branch=branch,
                commit_hash=commit,
                commit_message=message,
                commit_dirty=dirty,
                trigger="github:push" if state.source else "ad_hoc",
                status=status,
                url=f"https://{deployment_id[:8]}.{state.subdomain}",
                alias=f"https://{label(branch)}.{state.subdomain}" if place == "preview" else None,
                files={f"/{path.removeprefix('/')}": asset(path, content) for path, content in files.items()},
                rules=dict(rules or {}),
                env_vars=dict(state.configs[place]["env_vars"]),
                log=failure or f"{'Error' if status == 'failure' else 'Info'}: the deployment ended with {status}",
            )
            former = self._canonical(state)
            bisect.insort(state.deployments, deployment, key=lambda deployment: deployment.created_on)
            if deployment.may_serve_production:
                self._promote(state, deployment, former, at)
            return deployment_id

    def fail_next(self, project: str, line: str) -> None:
        """Let the next deployment fail, whoever makes it, with this line at the end of its log."""
        self.projects[project].next_failure = line

    def rollback(self, project: str, deployment_id: str, *, at: datetime | None = None) -> None:
        """As somebody does it in the dashboard: that deployment serves production from then on."""
        with self._lock:
            state = self.projects[project]
            deployment = state.deployment(deployment_id)
            if deployment is None or not deployment.may_serve_production:
                raise ValueError(f"{deployment_id} is no successful deployment of production of {project}")
            self._promote(state, deployment, self._canonical(state), at)

    def live(self, project: str) -> str | None:
        """The id of the deployment that production serves, as soon as the edge has heard of it."""
        with self._lock:
            live = self.projects[project].live
            return live.id if live else None

    def deployments(self, project: str) -> list[Deployment]:
        """Newest first."""
        with self._lock:
            return self.projects[project].deployments[::-1]

    def canonical(self, project: Project) -> Deployment | None:
        """What the API calls canonical; each call is a read."""
        if project.reads_to_lag:
            project.reads_to_lag -= 1
            return project.former_canonical
        return self._canonical(project)

    def is_site(self, host: str) -> bool:
        return any(self._has(project, host) for project in self.projects.values())

    def at_host(self, host: str) -> Deployment | None:
        """The deployment that the edge serves there: a site's addresses follow production, the others stay."""
        project = next(project for project in self.projects.values() if self._has(project, host))
        if host in {project.subdomain, *project.domains}:
            return self._served_at(project, self._clock.now())
        here = (d for d in reversed(project.deployments) if host in {d.host, urlsplit(d.alias or "").netloc})
        return next((deployment for deployment in here if deployment.status == "success"), None)

    @staticmethod
    def _has(project: Project, host: str) -> bool:
        return host in {project.subdomain, *project.domains} or host.endswith(f".{project.subdomain}")

    def _served_at(self, project: Project, instant: datetime) -> Deployment | None:
        """A promotion reaches the edge only after a while, but the first one at once."""
        known = instant - timedelta(seconds=self._switches.propagation_seconds)
        arrived = [deployment for at, deployment in project.promotions if at <= known]
        return next(reversed(arrived), project.promotions[0][1] if project.promotions else None)

    def _promote(
        self, project: Project, deployment: Deployment, former: Deployment | None, at: datetime | None
    ) -> None:
        project.former_canonical = former
        project.reads_to_lag = self._switches.pages_canonical_lag_reads if at is None else 0
        promotion = (at or self._clock.now(), deployment)
        bisect.insort(project.promotions, promotion, key=lambda promotion: promotion[0])

    def _canonical(self, project: Project) -> Deployment | None:
        return project.live if self._switches.pages_canonical_follows_rollbacks else project.newest

    def _instant(self, project: Project) -> datetime:
        """Now, but after all that this project has: the order of its deployments is the order of their times."""
        now, latest = self._clock.now(), max((d.created_on for d in project.deployments), default=None)
        return now if latest is None or latest < now else latest + timedelta(microseconds=1)

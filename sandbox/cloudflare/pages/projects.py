"""What Cloudflare keeps of a Pages project: its settings, its deployments, and which of them served when."""

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

Environment = Literal["production", "preview"]
Status = Literal["success", "failure", "active", "canceled", "skipped"]

_TYPES = mimetypes.MimeTypes()  # Python's own table: what is installed on this machine does not count
for _ending, _type in ((".js", "application/javascript"), (".mjs", "application/javascript"), (".woff2", "font/woff2")):
    _TYPES.add_type(_type, _ending)  # as wrangler has them; they differ between versions of Python


@dataclass(frozen=True, kw_only=True)
class Asset:
    content: bytes
    content_type: str

    @cached_property
    def key(self) -> str:
        """32 hex digits. Cloudflare's are of BLAKE3, which Python does not have; to a client it is an opaque word."""
        return sha256(self.content_type.encode() + b"\0" + self.content).hexdigest()[:32]


@dataclass(kw_only=True)
class Deployment:
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
    """Where the newest deployment of a preview branch is reached as well."""
    files: Mapping[str, Asset]
    """Path with its slash → what it holds."""
    rules: Mapping[str, bytes]
    """`_headers`, `_redirects`, `_routes.json`, `_worker.bundle` … as they were uploaded."""
    env_vars: Mapping[str, Mapping[str, str]]
    log: str
    """The last line of its log."""
    reads_to_finish: int = 0
    """How many reads still answer that it is being deployed."""

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
        """Whether it can be rolled back to (developers.cloudflare.com/pages/configuration/rollbacks)."""
        return self.environment == "production" and self.status == "success"


@dataclass(kw_only=True)
class Project:
    id: str
    name: str
    subdomain: str
    created_on: datetime
    production_branch: str
    domains: list[str]
    """Of its own, without the subdomain."""
    configs: dict[str, dict[str, Any]]
    source: dict[str, Any] | None
    """None for Direct Upload."""
    deployments: list[Deployment] = field(default_factory=list)
    """Oldest first."""
    promotions: list[tuple[datetime, Deployment]] = field(default_factory=list)
    """When each began to serve production, by a deployment or by a rollback; oldest first."""
    former_canonical: Deployment | None = None
    reads_to_lag: int = 0
    """How many reads still answer `former_canonical`."""
    next_failure: str | None = None
    """The last line of the log of the next deployment, which fails."""

    @property
    def live(self) -> Deployment | None:
        return self.promotions[-1][1] if self.promotions else None

    @property
    def newest(self) -> Deployment | None:
        """The newest successful deployment of production, whether it serves or not."""
        return next((d for d in reversed(self.deployments) if d.may_serve_production), None)

    def deployment(self, deployment_id: str) -> Deployment | None:
        return next((d for d in self.deployments if d.id == deployment_id), None)


def merged(config: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """An environment's settings after a change: null takes a variable away, and what is secret is not kept."""
    env_vars = {**config["env_vars"], **(change.get("env_vars") or {})}
    kept = {name: variable for name, variable in env_vars.items() if variable is not None}
    hidden = {name: {**v, "value": ""} if v.get("type") == "secret_text" else v for name, v in kept.items()}
    return {**config, **change, "env_vars": hidden}


def asset(path: str, content: bytes | Asset) -> Asset:
    if isinstance(content, Asset):
        return content
    guessed = _TYPES.guess_type(PurePosixPath(path).name)[0] or "application/octet-stream"
    return Asset(content=content, content_type=guessed)


def label(branch: str) -> str:
    """A branch as the first label of a host (…/pages/configuration/preview-deployments)."""
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

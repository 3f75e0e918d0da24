"""Accounts, and what an account holds, as Cloudflare's lists return it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class NamedResource:
    """An account, a D1 database or a KV namespace. People choose its name, so it is untrusted text."""

    id: str
    name: str


@dataclass(frozen=True)
class ServiceToken:
    """A service token of Access, without its secret."""

    client_id: str
    expires_at: datetime | None
    """None for a token without an end."""


@dataclass(frozen=True)
class ListedWorker:
    name: str
    has_assets: bool | None
    """Whether it has static assets; None if Cloudflare does not say so."""
    routes: tuple[str, ...] | None = None
    """Patterns of its routes; None if Cloudflare does not list them."""


@dataclass(frozen=True)
class WorkerTriggers:
    """Triggers of a Worker, which none of its versions holds; each None if it is unknown."""

    crons: tuple[str, ...] | None = None
    routes: tuple[str, ...] | None = None
    """Patterns."""
    domains: tuple[str, ...] | None = None
    """Custom domains."""


@dataclass(frozen=True)
class WorkerBinding:
    """A binding of the latest upload, without its value."""

    kind: str
    """Cloudflare's type, such as kv_namespace or secret_text."""
    name: str
    target: str = ""
    """Name or ID of the bound resource; the class of a Durable Object. Empty for other types."""
    script: str = ""
    """Worker that exports the class of a Durable Object; empty for this Worker."""

"""What Cloudflare and GitHub recorded: audit log, tokens, analytics, uses of a GitHub environment; as values."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Entry:
    """One call that changed, or was to change, something; reads are not logged. `at` is Cloudflare's clock."""

    at: datetime
    action: str
    result: str
    by: str
    """An e-mail address, or the kind of actor where there is none."""
    context: str
    """How it was asked for: api_token, api_key, dash, oauth."""
    token_id: str
    token_name: str
    address: str
    method: str
    uri: str
    status: str
    agent: str
    ray: str

    @property
    def token(self) -> str:
        """As people find it in the dashboard, with the beginning of its id."""
        return f"{self.token_name} ({self.token_id[:8]})" if self.token_id else self.context


@dataclass(frozen=True)
class Verified:
    """A token as Cloudflare verified it."""

    id: str
    kind: str
    """`user` or `account`."""
    status: str
    expires_on: str


@dataclass(frozen=True)
class Requests:
    """Requests to one host within an hour, alike in all that is here. A count is an estimate where it was sampled."""

    hour: datetime
    host: str
    path: str
    address: str
    country: str
    status: str
    count: int


@dataclass(frozen=True)
class Logged:
    """An error that a Worker logged: its text is the application's, and may hold anything."""

    text: str
    count: int
    """Requests during which it came."""


@dataclass(frozen=True)
class Handled:
    """Requests that a Worker handled, alike in method, path and status, as an estimate. Nothing: it is not recorded."""

    trigger: str
    """As `GET /path`; another word where it was no request."""
    status: str
    count: int


@dataclass(frozen=True)
class DatabaseUse:
    """What was asked of one D1 database within an hour."""

    hour: datetime
    database: str
    read_queries: int
    write_queries: int
    rows_read: int
    rows_written: int


@dataclass(frozen=True)
class Limits:
    """Of a data set: how far back it reaches and how wide a question may be, in seconds; and rows of an answer."""

    is_enabled: bool
    not_older_than: float
    longest: float
    most_rows: int


@dataclass(frozen=True)
class EnvironmentUse:
    """Of a GitHub environment by a job. `at` is GitHub's clock; `who` is whoever started the run."""

    at: datetime
    environment: str
    who: str
    ref: str
    sha: str
    state: str
    url: str
    """Of the job's log."""

"""Connect to GitHub's API with PyGithub: each write is sent once, and waits are short.

PyGithub's defaults wait one second between writes, repeat a POST after a 5xx (which could post a comment twice), and
sleep until a rate limit ends. During a recovery, an error is better than each of these.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from ops.core.errors import ConfigError, ProviderError, Reason, UnclearWrite
from ops.core.loopback import is_loopback
from ops.core.redaction import Redactor
from ops.github.actions import is_job

if TYPE_CHECKING:
    from github.Auth import Auth
    from github.GithubObject import GithubObject
    from github.PaginatedList import PaginatedList
    from github.Repository import Repository as Repository  # noqa: PLC0414  also for who may not import PyGithub

    from ops.github.requester import TypedRequester

T = TypeVar("T", bound="GithubObject")
API = "https://api.github.com"
TIMEOUT = 5
"""Seconds per request."""
LONGEST_RATE_LIMIT_WAIT = 5
READ_TRIES = 2
RETRIED = [429, *range(500, 600)]
"""Statuses after which a read is tried again. PyGithub adds 403 if it is a rate limit."""
USER_AGENT = "backout"


class GitHubApiError(ProviderError):
    """GitHub answered with an error. The text holds the status only: GitHub's message may contain what was sent."""

    def __init__(self, status: int, hint: str = "") -> None:
        self.status = status
        super().__init__(f"GitHub answered {status}", reason=Reason.PROVIDER_REFUSED, hint=hint)


def is_configured(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("GITHUB_TOKEN") and environ.get("GITHUB_REPOSITORY"))


def connect(environ: Mapping[str, str], redactor: Redactor, *, read_only: bool = False) -> "Repository":
    """Return the operations repository, without a request. With `read_only` it refuses every write.

    Reads are tried up to twice more after a 429 or 5xx; writes never are. Raises ConfigError if a variable is missing
    or is the URL of another machine.
    """
    redactor.add_secret(environ.get("GITHUB_TOKEN", ""))
    name = environ.get("GITHUB_REPOSITORY", "")
    if not environ.get("GITHUB_TOKEN"):
        raise ConfigError(
            "GITHUB_TOKEN is not set",
            reason=Reason.TOKEN_MISSING,
            hint=(
                "It is a token that may write issues of the operations repository. On a laptop: "
                "`export GITHUB_TOKEN=$(gh auth token)`. In a job: `GITHUB_TOKEN: ${{ github.token }}` under `env:` in "
                "the workflow."
            ),
        )
    if not re.fullmatch(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+", name):
        hint = (
            "On a laptop, run it in a checkout of the operations repository, or `export GITHUB_REPOSITORY=owner/name`."
        )
        raise ConfigError("GITHUB_REPOSITORY is not set to owner/name", reason=Reason.CONFIG_INVALID, hint=hint)
    found = repository(environ, environ["GITHUB_TOKEN"], name)
    found.requester.is_read_only = read_only  # type: ignore[attr-defined]
    return found


def api_url(environ: Mapping[str, str]) -> str:
    """Return the URL of GitHub's API: github.com, a sandbox on loopback, or the server of the current job.

    GitHub Actions sets both variables of a job. On an Enterprise Server the API is at /api/v3 of the same host; for
    SUBDOMAIN.ghe.com it is api.SUBDOMAIN.ghe.com (docs.github.com/actions/reference/workflows-and-actions/variables).
    Raises ConfigError for any other URL, because that host would receive the token.
    """
    url = (environ.get("GITHUB_API_URL") or API).rstrip("/")
    if url == API or is_loopback(url):
        return url
    if not is_job(environ):
        hint = "Run `unset GITHUB_API_URL`: a laptop reaches github.com, or a sandbox on this machine (127.0.0.1)."
        raise ConfigError("GITHUB_API_URL is the URL of another machine", reason=Reason.NOT_LOOPBACK, hint=hint)
    if not _is_on_server(url, environ.get("GITHUB_SERVER_URL", "")):
        hint = "Leave both variables as GitHub Actions sets them."
        text = "GITHUB_API_URL is the URL of another machine than GITHUB_SERVER_URL"
        raise ConfigError(text, reason=Reason.NOT_LOOPBACK, hint=hint)
    return url


def _is_on_server(api_url: str, server_url: str) -> bool:
    """Return whether the API belongs to the server: same scheme and port, no user information."""
    api, server = urlsplit(api_url.lower()), urlsplit(server_url.lower())
    hosts = {server.netloc, f"api.{server.netloc}"} if server.netloc.endswith(".ghe.com") else {server.netloc}
    is_plain = bool(server.netloc) and "@" not in server.netloc and server.scheme in {"http", "https"}
    return is_plain and api.scheme == server.scheme and api.netloc in hosts and api.path in {"", "/api/v3"}


def repository(environ: Mapping[str, str], token: str, name: str) -> "Repository":
    """Return any repository by `owner/name`, without a request. Raises ConfigError."""
    from github.Auth import Token
    from github.Repository import Repository

    return Repository(requester(environ, Token(token)), url=f"/repos/{name}")


def requester(environ: Mapping[str, str], auth: "Auth") -> "TypedRequester":
    """Return PyGithub's transport with these credentials, without a request. Raises ConfigError."""
    base_url = api_url(environ)
    from github import GithubRetry

    from ops.github.requester import TypedRequester

    logging.getLogger("github").setLevel(logging.CRITICAL)  # it logs each 403, also those that we expect
    retry = GithubRetry(
        total=READ_TRIES,
        status_forcelist=RETRIED,
        backoff_factor=0.1,
        allowed_methods={"GET"},
        max_rate_limit_wait=LONGEST_RATE_LIMIT_WAIT,
        respect_retry_after_header=False,  # otherwise it sleeps for Retry-After without a limit
    )
    return TypedRequester(
        auth=auth,
        base_url=base_url,
        timeout=TIMEOUT,
        user_agent=USER_AGENT,
        per_page=100,
        verify=True,
        retry=retry,
        pool_size=None,
        seconds_between_requests=0,
        seconds_between_writes=0,
        lazy=True,
    )


def read_json(repository: "Repository", path: str) -> Any:
    """Return the response to a GET of a path below the repository. Raises what PyGithub raises."""
    return repository.requester.requestJsonAndCheck("GET", repository.url + path)[1]


def newest_first(found: "PaginatedList[T]") -> "Iterator[T]":
    """Yield the items from the last one on. PyGithub's `reversed` reads a list of one page twice.

    A short page need not be the last one: GitHub hides comments of spammers in it.
    """
    list(islice(found, 1))  # reads the first page, whose header names the next one
    yield from found.reversed if found._couldGrow() else reversed(list(found))  # noqa: SLF001


CHECK_HINT = (
    "Check GITHUB_REPOSITORY (owner/name), that GITHUB_TOKEN may write issues there, and the number if you gave one."
)
NETWORK_HINT = "Check the network here, and GITHUB_API_URL if it is set. Then run the command again."
STATUS_HINT = "Check https://www.githubstatus.com, then run the command again."


def failure_text(error: Exception) -> str:
    """Return the failure as status or type only: GitHub's message may contain what was sent."""
    status = getattr(error, "status", None)
    return f"GitHub answered {status}" if isinstance(status, int) else type(error).__name__


@contextmanager
def provider_errors(hint: str = "") -> Iterator[None]:
    """Convert errors of PyGithub and its transport: to GitHubApiError with an answer, else to ProviderError."""
    import requests
    from github import GithubException

    try:
        yield
    except GithubException as error:
        advice = hint or (STATUS_HINT if error.status >= 500 else "")
        raise GitHubApiError(error.status, advice) from None
    except (requests.RequestException, ValueError) as error:
        text = f"GitHub gave no answer ({type(error).__name__})"
        raise ProviderError(text, reason=Reason.PROVIDER_UNAVAILABLE, hint=hint or NETWORK_HINT) from None


@contextmanager
def write_errors(hint: str = "") -> Iterator[None]:
    """Convert errors like `provider_errors`; raise UnclearWrite if the write may have taken effect."""
    try:
        with provider_errors(hint):
            yield
    except ProviderError as error:
        is_failure = isinstance(error, GitHubApiError) and error.status >= 500
        if is_failure or error.reason == Reason.PROVIDER_UNAVAILABLE:
            raise UnclearWrite(error.message, reason=Reason.UNCLEAR, hint=error.hint) from None
        raise

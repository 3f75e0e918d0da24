"""Connect to GitHub's API with PyGithub: each write is sent once, and waits are short.

PyGithub's defaults wait one second between writes, repeat a POST after a 5xx (which could post a comment twice), and
sleep until a rate limit ends. During a recovery, an error is better than each of these.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from ops.core.client_guards import is_loopback
from ops.core.clock import find_clock
from ops.core.errors import ConfigError, ProviderError, Reason, UnclearWrite
from ops.core.redaction import Redactor
from ops.github.actions import is_job
from ops.github.list_lag import is_unclear
from ops.tools.git import GITHUB, remote_host

if TYPE_CHECKING:
    from github.Auth import Auth
    from github.GithubObject import GithubObject
    from github.PaginatedList import PaginatedList
    from github.Repository import Repository as Repository  # noqa: PLC0414  also for who may not import PyGithub

    from ops.github.requester import TypedRequester

T = TypeVar("T", bound="GithubObject")
V = TypeVar("V")
SERVER, API = "https://github.com", "https://api.github.com"
SERVER_PATH = "/api/v3"
"""Path of the API on an Enterprise Server, which has no host of its own for it."""
TIMEOUT = 5
"""Seconds per request."""
LONGEST_RATE_LIMIT_WAIT = 5
READ_TRIES = 2
RETRIED = [429, *range(500, 600)]
"""Statuses after which a read is tried again. PyGithub adds 403 if it is a rate limit."""
USER_AGENT = "backout"


class GitHubApiError(ProviderError):
    """GitHub answered with an error. The text holds the status only: GitHub's message may contain what was sent."""

    def __init__(self, status: int, hint: str = "", *, is_limit: bool = False, meaning: str = "") -> None:
        """`is_limit`: whether a rate limit refused the request, and not a missing permission."""
        self.status, self.is_limit = status, is_limit
        super().__init__(f"GitHub answered {status}{meaning}", reason=Reason.PROVIDER_REFUSED, hint=hint)

    @property
    def is_forbidden(self) -> bool:
        """Whether the token lacks a permission: a rate limit has status 403 too."""
        return self.status == 403 and not self.is_limit


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
                f"`{token_command(environ)}`. In a job: `GITHUB_TOKEN: ${{{{ github.token }}}}` under `env:` in "
                "the workflow."
            ),
        )
    api_url(environ)
    if not re.fullmatch(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+", name):
        hint = (
            "On a laptop, run it in a checkout of the operations repository, or `export GITHUB_REPOSITORY=owner/name`."
        )
        raise ConfigError("GITHUB_REPOSITORY is not set to owner/name", reason=Reason.CONFIG_INVALID, hint=hint)
    repository_api = open_repository(environ, environ["GITHUB_TOKEN"], name)
    repository_api.requester.is_read_only = read_only  # type: ignore[attr-defined]
    return repository_api


def api_url(environ: Mapping[str, str]) -> str:
    """Return the URL of the API that gets the token: a sandbox's on loopback, else that of GITHUB_SERVER_URL.

    GitHub Actions sets both variables of a job. On a laptop `ops.app.configuration` sets the server, from git's origin.
    Raises ConfigError for any other URL, because that host would receive the token.
    """
    given = (environ.get("GITHUB_API_URL") or "").rstrip("/")
    if is_loopback(given):
        return given
    server = environ.get("GITHUB_SERVER_URL") or (SERVER if is_job(environ) else "")
    own = _api_of(server)
    if own and given.lower() in {"", own, own.removesuffix(SERVER_PATH)}:
        return given or own
    raise _refuse_other_server(given, own, environ)


def server_host(environ: Mapping[str, str]) -> str:
    """Return the host of GITHUB_SERVER_URL, without a password; github.com if it is not set."""
    return remote_host(environ.get("GITHUB_SERVER_URL", "")) or GITHUB


def token_command(environ: Mapping[str, str]) -> str:
    """Return the command that takes the person's token of this server from `gh`, which may know several servers."""
    return f"export GITHUB_TOKEN=$(gh auth token --hostname {server_host(environ)})"


def is_github_host(host: str) -> bool:
    """Return whether GitHub itself runs the host: github.com, or SUBDOMAIN.ghe.com with data residency."""
    return host == GITHUB or bool(re.fullmatch(r"[a-z0-9-]+\.ghe\.com", host))


def _api_of(server: str) -> str:
    """Return the API of a server; "" if this is no URL of a server.

    docs.github.com/enterprise-cloud@latest/admin/data-residency, "Network details for GHE.com";
    docs.github.com/enterprise-server@latest/rest, "Getting started with the REST API"
    """
    match = re.fullmatch(r"(https?)://((?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]+)?)/*", server.lower())
    if match is None:
        return ""
    host = remote_host(match[0])
    if is_github_host(host):
        return API if host == GITHUB else f"https://api.{host}"
    return f"{match[1]}://{match[2]}{SERVER_PATH}"


def _refuse_other_server(given: str, own: str, environ: Mapping[str, str]) -> ConfigError:
    host = server_host(environ)
    if own:
        api = remote_host(given) or "GITHUB_API_URL"
        text = f"no token is sent to {api}: it is not the API of {host} (GITHUB_SERVER_URL, else git's origin)"
    else:
        text = "no token is sent: GITHUB_SERVER_URL is not set to the URL of GitHub's server"
    hint = f"If the token is for github.com: `export GITHUB_SERVER_URL={SERVER} GITHUB_API_URL={API}`."
    if own and not is_github_host(host):
        hint += f" If it is for {host}: `export GITHUB_SERVER_URL=https://{host} GITHUB_API_URL=`."
    if is_job(environ):
        hint = "Leave GITHUB_SERVER_URL and GITHUB_API_URL as GitHub Actions sets them."
    return ConfigError(text, reason=Reason.NOT_LOOPBACK, hint=hint)


def open_repository(environ: Mapping[str, str], token: str, name: str) -> "Repository":
    """Return any repository by `owner/name`, without a request. Raises ConfigError."""
    from github.Auth import Token
    from github.Repository import Repository

    return Repository(make_requester(environ, Token(token)), url=f"/repos/{name}")


def make_requester(environ: Mapping[str, str], auth: "Auth") -> "TypedRequester":
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
    requester = TypedRequester(
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
    requester.find_clock = partial(find_clock, environ)
    return requester


def read_json(repository: "Repository", path: str) -> Any:
    """Return the response to a GET of a path below the repository. Raises what PyGithub raises."""
    return repository.requester.requestJsonAndCheck("GET", repository.url + path)[1]


def send_json(repository: "Repository", method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """Send a write to a path below the repository, once, and return the answer. Raises ProviderError, UnclearWrite."""
    with write_errors():
        return repository.requester.requestJsonAndCheck(method, repository.url + path, input=body)[1]


def send_twice(send: Callable[[], V]) -> V:
    """Send a write that has the same effect twice, and once more if its answer was lost."""
    try:
        return send()
    except UnclearWrite:
        return send()


def newest_first(rows: "PaginatedList[T]") -> "Iterator[T]":
    """Yield the items from the last one on. PyGithub's `reversed` reads a list of one page twice.

    A short page need not be the last one: GitHub hides comments of spammers in it.
    """
    list(islice(rows, 1))  # reads the first page, whose header names the next one
    yield from rows.reversed if rows._couldGrow() else reversed(list(rows))  # noqa: SLF001


CHECK_HINT = (
    "Check the number: `ops incident list` shows the open incidents. Check GITHUB_REPOSITORY (owner/name), and that "
    "GITHUB_TOKEN may write issues there."
)
NO_ISSUE = ": there is no such issue, or the token may not read it"
"""Meaning of a 404 where `CHECK_HINT` is the hint."""
NETWORK_HINT = "Check the network here, and GITHUB_API_URL if it is set. Then run the command again."
RATE_LIMIT_HINT = "GitHub limits the requests of this token. Wait a minute, then run the command again."
MOVED_HINT = "The repository was renamed or moved: set its new name as the remote `origin`, or in GITHUB_REPOSITORY."
EXPIRED_HINT = "GITHUB_TOKEN is not valid, or has expired: set another one. Then run the command again."
ACCESS_HINT = "GITHUB_TOKEN may not do this: `ops doctor` names missing permissions. Then run the command again."
_USUAL_HINTS = {307: MOVED_HINT, 308: MOVED_HINT, 401: EXPIRED_HINT, 403: ACCESS_HINT}
STATUS_HINT = "Check https://www.githubstatus.com, then run the command again."


def github_failure(error: Exception) -> str:
    """Return the failure as status or type only: GitHub's message may contain what was sent. Our own is shown."""
    if isinstance(error, ConfigError):
        return error.message
    status = getattr(error, "status", None)
    return f"GitHub answered {status}" if isinstance(status, int) else type(error).__name__


@contextmanager
def provider_errors(hint: str = "") -> Iterator[None]:
    """Convert errors of PyGithub and its transport: to GitHubApiError with an answer, else to ProviderError."""
    import requests
    from github import GithubException, RateLimitExceededException

    try:
        yield
    except GithubException as error:
        is_limit = isinstance(error, RateLimitExceededException) or error.status == 429
        usual = _USUAL_HINTS.get(error.status, STATUS_HINT if error.status >= 500 else "")
        advice = RATE_LIMIT_HINT if is_limit else hint or usual
        meaning = NO_ISSUE if error.status == 404 and hint == CHECK_HINT else ""
        raise GitHubApiError(error.status, advice, is_limit=is_limit, meaning=meaning) from None
    except (requests.RequestException, ValueError) as error:
        text = f"GitHub gave no answer ({type(error).__name__})"
        raise ProviderError(text, reason=Reason.PROVIDER_UNAVAILABLE, hint=hint or NETWORK_HINT) from None


@contextmanager
def write_errors(hint: str = "") -> Iterator[None]:
    """Convert errors like `provider_errors`; raise UnclearWrite if the write may have taken effect."""
    may_be_written = False
    try:
        with provider_errors(hint):
            try:
                yield
            except Exception as error:
                may_be_written = is_unclear(error)
                raise
    except ProviderError as error:
        if may_be_written and not isinstance(error, UnclearWrite):
            raise UnclearWrite(error.message, reason=Reason.UNCLEAR, hint=error.hint) from None
        raise

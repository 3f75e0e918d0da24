"""The team's page at a provider: its values, and one request within a time limit.

The key is sent only to the host of the provider, or to a sandbox on this machine. Redirects are not followed.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from ops.core.bounded_http import open_client, read_answer, ssl_context
from ops.core.client_guards import WriteGuard, is_loopback
from ops.core.public_update import UpdateKind, current_conditions, standing_updates
from ops.core.redaction import Secret

if TYPE_CHECKING:
    from datetime import datetime

    from ops.core.public_update import ComponentCondition, PublicUpdate

SECONDS = 10.0
"""Real seconds for one request, in all."""
MAX_ANSWER = 5_000_000
"""Bytes of an answer: a list of a hundred incidents with their updates."""
MOST_LISTED, MOST_PAGES = 100, 10
"""Rows of one list, and lists that are read to find an incident."""
TOO_MANY = {420, 429}
"""Statuspage documents both for its limit: developer.statuspage.io."""
LONGEST_TITLE = 255
MARKUP = "<>[]\\`"
"""Characters that a provider may read as HTML or Markdown. A text with one of them is not sent."""
SAID = 120
"""Characters of an answer that a message shows."""


class UpdateNotSentError(Exception):
    """The provider did not take the request: it changed nothing. The text says why."""


class UnavailableError(UpdateNotSentError):
    """The provider cannot be reached, or limits requests: neither the key nor `page_id` is wrong."""


class UnclearError(Exception):
    """It is unclear whether the provider took the request."""


@dataclass(frozen=True)
class ProviderPage:
    """The page at the provider."""

    id: str
    key_name: str
    """Name of the variable with the key."""
    components: Mapping[str, str]
    """Public name → ID at the provider."""


@dataclass(frozen=True)
class UpdateCourse:
    """One update, with what its incident has besides."""

    update: "PublicUpdate"
    first: "PublicUpdate"
    names: tuple[str, ...]
    """Components of the incident."""
    conditions: Mapping[str, "ComponentCondition"]
    """Component of the incident → its condition now, over all incidents. An unknown one is missing."""
    window: "tuple[datetime, datetime] | None" = None
    """Start and end of a maintenance, as its first update with both says; None without one."""

    @property
    def title(self) -> str:
        """Return the title of the incident, which its first update decides."""
        subject = "Maintenance of" if self.first.kind == UpdateKind.MAINTENANCE else "Problems with"
        title = f"{subject} {', '.join(self.first.names) or 'some of our services'}"
        return title if len(title) <= LONGEST_TITLE else f"{subject} several services"


def find_course(updates: Sequence["PublicUpdate"], update: "PublicUpdate") -> UpdateCourse:
    """Return the course of an update; `updates` are those of all incidents."""
    own = sorted(
        (each for each in (*updates, update) if each.incident == update.incident and each.kind == update.kind),
        key=lambda each: each.number,
    )
    names = tuple(dict.fromkeys(name for each in standing_updates(own) for name in each.names))
    now = current_conditions({(each.incident, each.id): each for each in (*updates, update)}.values())
    windows = [(each.starts, each.ends) for each in own if each.starts and each.ends]
    conditions = {name: now[name] for name in names if name in now}
    return UpdateCourse(update, own[0], names, conditions, windows[0] if windows else None)


def check_provider_text(course: UpdateCourse, provider: str) -> None:
    """Refuse a text that the provider may read as HTML or Markdown. Raises UpdateNotSentError."""
    if marks := [each for each in MARKUP if each in course.update.text]:
        raise UpdateNotSentError(f"the text has {' '.join(marks)}, which {provider} may read as HTML or Markdown")


def needed_window(course: UpdateCourse) -> "tuple[datetime, datetime]":
    """Return start and end of a maintenance. Raises UpdateNotSentError."""
    if course.window is None:
        raise UpdateNotSentError("the provider needs start and end of a maintenance; publish the update with both")
    return course.window


@dataclass(frozen=True)
class ShownIncident:
    """The incident as the provider shows it."""

    id: str
    """As the provider gave it, quoted for a path."""
    has_update: bool
    has_newer: bool
    """Whether it has an update after this one."""
    memory: Mapping[str, str] = field(default_factory=dict)
    """What the provider keeps for programs, if it does."""


class PageProvider(Protocol):
    """The API of a provider. Each method sends one request, or reads one list."""

    name: str

    def find(self, course: UpdateCourse) -> ShownIncident | None:
        """Return the incident of the course. Raises UpdateNotSentError and UnclearError."""
        ...

    def create(self, course: UpdateCourse) -> None:
        """Create the incident with the update. Raises UpdateNotSentError and UnclearError."""
        ...

    def add(self, shown: ShownIncident, course: UpdateCourse) -> None:
        """Add the update to the incident. Raises UpdateNotSentError and UnclearError."""
        ...

    def list_components(self) -> Mapping[str, str]:
        """Return ID → name of the page's components. Raises UpdateNotSentError and UnclearError."""
        ...


class ProviderClient(WriteGuard):
    """Sends requests to one provider; `scheme` stands before the key. Writes need `writing`."""

    def __init__(self, host: str, scheme: str, page: ProviderPage, key: Secret, edge_url: str) -> None:
        self.page = page
        self._host, self._scheme, self._key = host, scheme, key
        self._base = edge_url.rstrip("/") or f"https://{host}"
        trust = not is_loopback(self._base)
        verify = ssl_context(verify=trust, trust_env=trust)
        self._http = open_client(timeout=SECONDS, follow_redirects=False, trust_env=trust, verify=verify)

    def close(self) -> None:
        self._http.close()

    def read_rows(self, path: str, *, size: str) -> Iterator[dict[str, Any]]:
        """Yield the rows of a list; `size` is its parameter for the rows of one answer.

        Raises:
            UpdateNotSentError, UnclearError: as every request; or the list has another form, or too many rows.
        """
        for page in range(1, MOST_PAGES + 1):
            rows = self._send_to_page_provider("GET", f"{path}?{urlencode({size: MOST_LISTED, 'page': page})}", None)
            if not isinstance(rows, list) or any(not isinstance(row, dict) for row in rows):
                raise UnclearError(f"{self._host} listed in another form")
            yield from rows
            if len(rows) < MOST_LISTED:
                return
        raise UnclearError(f"the list has more than {MOST_PAGES * MOST_LISTED} rows")

    def list_components(self, page_path: str) -> dict[str, str]:
        """Return ID → name of the page's components. Raises UpdateNotSentError and UnclearError."""
        rows = self.read_rows(f"{page_path}/components", size="per_page")
        return {str(row["id"]): str(row["name"]) for row in rows}

    def write(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON answer to a write, which is sent once. Raises UpdateNotSentError and UnclearError."""
        if not self._may_write:
            raise UpdateNotSentError("this command may only read")
        return self._send_to_page_provider(method, path, body)

    def _send_to_page_provider(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        import httpx

        headers = {"host": self._host, "authorization": f"{self._scheme} {self._key.reveal()}"}
        sent = {"headers": headers, "json": body} if body is not None else {"headers": headers}
        try:
            answer, said = read_answer(self._http, method, self._base + path, within=SECONDS, most=MAX_ANSWER, **sent)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL) as error:
            raise UnavailableError(f"{self._host} cannot be reached ({type(error).__name__})") from None
        except httpx.HTTPError as error:
            raise UnclearError(f"{self._host} gave no answer ({type(error).__name__})") from None
        status = answer.status_code
        if status in TOO_MANY:
            raise UnavailableError(f"too many requests ({status}); wait a minute")
        if 400 <= status < 500 and status != httpx.codes.REQUEST_TIMEOUT:
            raise UpdateNotSentError(self._explain_page_refusal(status, said))
        try:
            if status in {200, 201}:
                return json.loads(said)
        except (ValueError, RecursionError):
            raise UnclearError(f"the answer of {self._host} is no JSON") from None
        raise UnclearError(f"{self._host} answered {status}")

    def _explain_page_refusal(self, status: int, said: bytes) -> str:
        """Return why the provider refused a request, with advice."""
        match status:
            case 401 | 403:
                return f"the key in {self.page.key_name} was refused ({status}); store a valid key of this page"
            case 404:
                return "the page or incident was not found (404); check `page_id` in ops.yml, and whose key it is"
            case _:
                text = "".join(each if each.isprintable() else " " for each in said.decode(errors="replace"))
                return f"it refused the update ({status}): {' '.join(text.split())[:SAID]}"

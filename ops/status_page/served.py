"""Read the served page as a visitor does: without a login, past caches."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from ops.core.clock import format_age, format_duration, format_rfc3339, parse_utc
from ops.core.errors import ProviderError, Reason
from ops.core.json_fields import mapping_in, text_in
from ops.probes.edge_answer import add_cache_buster
from ops.probes.http import request_once
from ops.status_page.overview import GRACE
from ops.status_page.summary import STATUS_FILES

if TYPE_CHECKING:
    from ops.core.clock import Clock
    from ops.probes.http import ProbeClient

PAUSE = 5.0
"""Seconds between two reads."""
NO_DOCUMENT = f"{STATUS_FILES[0]} is no document of a status page: another site answers"
LONGEST = GRACE + timedelta(minutes=2)
"""Longest wait for a new page."""


@dataclass(frozen=True)
class PageBuild:
    """A build of the page: its time, and the digest of its `status.json`."""

    at: datetime
    digest: str

    def __str__(self) -> str:
        return f"{format_rfc3339(self.at)}/{self.digest}"


def read_page_build(document: bytes) -> PageBuild:
    """Return the build of a `status.json`. Raises ValueError if it is none."""
    try:
        at = parse_utc(json.loads(document)["build"]["at"])
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return PageBuild(at, sha256(document).hexdigest())


def parse_page_build(text: str) -> PageBuild:
    """Return the build that was written as text. Raises ValueError."""
    at, _, digest = text.partition("/")
    return PageBuild(parse_utc(at), digest)


@dataclass(frozen=True)
class ServedPage:
    web: "ProbeClient"
    url: str

    def fetch(self) -> bytes:
        """Return the served `status.json`. Raises ProviderError if it is not an answer to everybody."""
        answer = request_once(self.web, add_cache_buster(f"{self.url}/{STATUS_FILES[0]}"))
        if answer.obstacle:
            raise make_served_page_error(f"it is not seen: {answer.obstacle.detail}")
        if answer.redirect_host:
            raise make_served_page_error(f"{STATUS_FILES[0]} leads to {answer.redirect_host}, as a login does")
        if answer.status != 200:
            raise make_served_page_error(f"{STATUS_FILES[0]} answers HTTP {answer.status}, and not 200")
        return answer.body

    def wait_for(self, built: PageBuild, clock: "Clock") -> str:
        """Return what was seen as soon as this build or a newer one is served. Raises ProviderError if it never is."""
        began = clock.monotonic()
        while True:
            problem = self._compare_served_files(built)
            seconds = clock.monotonic() - began
            if not problem:
                return f"{self.url} serves the page, seen after {format_duration(seconds)}"
            if seconds >= LONGEST.total_seconds():
                raise make_served_page_error(f"{self.url}: {problem}, {format_duration(seconds)} after its deployment")
            clock.sleep(PAUSE)

    def _compare_served_files(self, built: PageBuild) -> str:
        """Return why this build is not served; "" if it is, or a newer one, which has its updates too."""
        try:
            served = read_page_build(self.fetch())
        except ProviderError as error:
            return error.message
        except ValueError:
            return NO_DOCUMENT
        return "" if served == built or served.at > built.at else "it still serves another page"

    def find_problem(self, title: str, now: datetime) -> str:
        """Return why the page is not the fresh page with this title; "" if it is."""
        try:
            document = json.loads(self.fetch())
        except ProviderError as error:
            return error.message
        except (ValueError, RecursionError):
            return NO_DOCUMENT
        return _judge_document(document, title, now)


def _judge_document(document: Any, title: str, now: datetime) -> str:
    document = document if isinstance(document, dict) else {}
    page, build = mapping_in(document, "page"), mapping_in(document, "build")
    if text_in(page, "name") != title:
        return "it is not the status page of this ops.yml: its title differs"
    try:
        built_at = parse_utc(text_in(build, "at"))
    except ValueError:
        return "it does not say when it was built"
    late_after = build.get("late_after")
    if isinstance(late_after, int | float) and (now - built_at).total_seconds() > late_after:
        return f"it is out of date: it was last built {format_age(now - built_at)}"
    return ""


def make_served_page_error(text: str) -> ProviderError:
    """Return the error of a page that does not answer as it should."""
    hint = "Read docs/how-to/status-page.md: the page must be deployed, and answer everybody without a login."
    return ProviderError(text, reason=Reason.PROVIDER_UNAVAILABLE, hint=hint)

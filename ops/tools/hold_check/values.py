"""The asked question, the holds, and the answer."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

GO, REFUSED, NOT_CHECKED = "go", "refused", "not_checked"
HELD, LIFTED, FIXED, NOT_CONTAINED, UNKNOWN = "held", "lifted", "fixed", "not_contained", "unknown"
TRAILER = "Fixes-Incident"
SHA = re.compile("[0-9a-f]{7,40}")
Environ = Mapping[str, str]


class UsageError(Exception):
    """Wrong arguments or token; the second argument is the next step."""


class UnreadError(Exception):
    """A fact could not be read; the text says which."""


@dataclass(frozen=True)
class Question:
    """Whether `commit` may be deployed as the Worker, or as the Pages project `pages`."""

    account: str
    worker: str
    pages: str
    commit: str
    """Empty: the commit that is checked out in `folder`, else GITHUB_SHA."""
    folder: str
    repository: str
    operations: str
    """Repository with the incidents, as owner/name; empty: no lift is read."""

    @property
    def target(self) -> str:
        return f"Worker {self.worker}" if self.worker else f"Pages project {self.pages}"


@dataclass(frozen=True)
class HeldVersion:
    """A blamed version, or deployment of a site. Its commit and the time of the rollback are empty if unknown."""

    name: str
    """Cause: `incident 42`; without an incident `run ID`, and of a site `deployment ID`."""
    version: str
    commit: str = ""
    since: str = ""
    """When it was rolled back, as ISO 8601 in UTC."""
    state: str = UNKNOWN
    lift: str = ""
    """When the hold was lifted if `state` says so, else why a lift does not count; empty if there is none."""

    @property
    def key(self) -> str:
        return self.name.partition(" ")[2]

    @property
    def incident(self) -> str:
        """Return the number of its incident; empty without one."""
        return self.key if self.name.startswith("incident ") else ""


@dataclass(frozen=True)
class HoldLift:
    """When the holds of an incident were lifted, or why that is not known to have happened."""

    at: datetime | None = None
    why: str = ""
    """Empty if the incident just has no label that lifts."""
    is_shown: bool = False
    """Whether GitHub shows the incident."""


def format_hold_time(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True)
class HoldAnswer:
    decision: str
    message: str
    hint: str = ""
    commit: str = ""
    holds: tuple[HeldVersion, ...] = ()

"""What was read of one incident issue: its actions and records."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from ops.core.clock import MAX_CLOCK_SKEW
from ops.core.errors import PROVED, Decision
from ops.core.run_record import DONE, RunRecord, parse_job_run

_AFTER_WORDS = re.compile(r" ?(?::|$|by\b)", re.IGNORECASE)
BOT_NAME = "[bot]"
"""End of the login of each bot."""


@dataclass(frozen=True)
class IncidentForm:
    """Answers on the incident form: untrusted text."""

    began: datetime | None = None
    severity: str = ""
    """One of the form's severities, or ""."""
    impact: str = ""
    service: str = ""
    """A name in the form of `ops.yml`, or ""."""
    unread_start: str = ""
    """A stated start that is no past time."""


@dataclass(frozen=True)
class IssueAction:
    """Action of a person in the issue's timeline. `at` is GitHub's clock, in whole seconds."""

    at: datetime
    kind: str
    """GitHub's event: labeled, assigned, renamed, closed, reopened, commented, cross-referenced."""
    who: str
    text: str
    url: str
    is_edited: bool = False


@dataclass(frozen=True)
class IssueRecord:
    """A record of ours in a comment of a trusted author."""

    record: RunRecord
    author: str
    is_edited: bool
    url: str
    doubt: str = ""
    """Why it does not count; empty if it does, or if nobody asked."""

    @property
    def is_run(self) -> bool:
        return self.record.source in {"run", "laptop"} and self.record.part == 1

    def first_event_at(self, kind: str) -> datetime | None:
        """Return the time of the first row of that kind."""
        return next((row.at for row in self.record.rows if row.kind == kind), None)

    @property
    def decision_text(self) -> str:
        """The result as words for people."""
        decision = self.record.decision
        if self.record.state:
            return self.record.state.lower()
        return decision.replace("_", " ") if decision in set(Decision) else "without an end"

    @property
    def result_text(self) -> str:
        """The result in one sentence; for older records the decision."""
        return self.record.headline or self.decision_text

    @property
    def is_recovery(self) -> bool:
        """Whether the run ended with a service that was proved healthy."""
        return self.record.decision in PROVED and self.record.state != DONE

    @property
    def origin(self) -> str:
        return "GitHub Actions" if self.actions_run else "a laptop"

    @property
    def actions_run(self) -> tuple[int, int] | None:
        """The workflow run and its attempt; None for a laptop."""
        return parse_job_run(self.record.run)


@dataclass(frozen=True, kw_only=True)
class IncidentJournal:
    """One incident issue as it was read. Titles and texts in it are untrusted."""

    number: int
    title: str
    url: str
    opened_at: datetime
    opened_by: str
    opened_by_team: bool
    closed_at: datetime | None
    labels: tuple[str, ...]
    form: IncidentForm
    actions: tuple[IssueAction, ...]
    records: tuple[IssueRecord, ...]
    """Records of people with write access and of the bot, also those that do not count."""
    skipped: int
    """Number of irrelevant timeline entries, and of comments by people outside the team."""
    read_at: datetime
    unverified: tuple[str, ...] = ()
    """Why it is unknown who wrote or edited some of the records. They count, but for nothing that acts."""
    skipped_records: int = 0
    """Number of records in comments of people without write access."""

    @property
    def began(self) -> datetime | None:
        return self.form.began

    @property
    def severity(self) -> str:
        """Return the severity label, else the form's answer."""
        return next((label for label in self.labels if re.fullmatch("sev[0-9]", label, re.ASCII)), self.form.severity)

    def find_doubt(self, one: IssueRecord) -> str:
        """Return why a record of the incident does not count; empty if it does."""
        is_future = any(row.at > self.read_at + MAX_CLOCK_SKEW for row in one.record.rows)
        return one.doubt or ("its time is in the future" if is_future else "")

    @property
    def our_runs(self) -> tuple[IssueRecord, ...]:
        """Return the records of our runs that count, oldest first."""
        runs = [one for one in self.records if one.is_run and one.record.rows and not self.find_doubt(one)]
        return tuple(sorted(runs, key=lambda one: one.record.rows[0].at))

    def find_notes(self, words: str) -> Iterator[tuple[datetime, str, str]]:
        """Yield time, text and URL of each note that counts and starts with these words.

        A colon, `by` or nothing follows them: other words may deny them, as in `root cause is unknown`.
        """
        for one in self.records:
            if one.record.source == "note" and not self.find_doubt(one):
                for row in one.record.rows:
                    if row.text.lower().startswith(words) and _AFTER_WORDS.match(row.text, len(words)):
                        yield row.at, row.text, one.url

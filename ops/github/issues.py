"""Incident issues and the answers of their form; labels of the repository.

Anybody can write the answers of the form. An incident that a program or a command opened has the same headings.
"""

import contextlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import quote

from ops.core.clock import Clock, parse_utc
from ops.core.errors import ConfigError, ProviderError, Reason
from ops.core.incident_state import IncidentForm, IssueRecord
from ops.core.names import CHECK_OUTAGE, DRILL_LABEL, NAME_PATTERN, join_sentences, quote_name
from ops.core.redaction import Redactor
from ops.core.run_record import RunRecord, embed_record, is_edited, read_record
from ops.github.client import connect, newest_first, provider_errors, read_json
from ops.github.comments import (
    BOT,
    StateComment,
    author_login,
    find_own_comment,
    is_pull_request,
    is_saved,
    own_login,
    run_records,
)
from ops.github.list_lag import await_listed
from ops.github.permissions import has_write_access

if TYPE_CHECKING:
    from github.Issue import Issue as Issue  # noqa: PLC0414  also for who may not import PyGithub
    from github.IssueComment import IssueComment
    from github.Repository import Repository


SERVICE, ENVIRONMENT, BEGAN = "Service", "Environment", "When it began (UTC)"
HEADINGS = (SERVICE, ENVIRONMENT, "Severity", "What is seen", BEGAN, "Impact")
"""The headings of .github/ISSUE_TEMPLATE/incident.yml, in order."""
NOT_SURE = "not sure"
"""Answer of the form for no certain service or environment."""
_START = re.compile(
    r"(?:(?P<date>\d{4}-\d\d-\d\d)[ T])?(?P<time>\d\d:\d\d(?::\d\d)?)(?: ?(?:Z|UTC)|(?P<offset> ?[+-]\d\d:?\d\d))?",
    re.ASCII,
)
MAX_IMPACT = 300
"""Characters of the impact that the report shows."""
INCIDENT = "incident"
LIST_HINT = "`ops incident list` shows the open incidents."
MENU = "menu"
"""Run id and source of the hidden record that marks the recovery menu."""
LONGEST_TITLE = 256
"""GitHub rejects a longer one: docs.github.com/rest/issues/issues."""


def parse_began(body: object, *, now: datetime, opened: datetime | None = None) -> datetime | None:
    """Return the stated start of the incident; None if it is missing, malformed or in the future. It only warns.

    Without an offset it is UTC. A time without a date is the last one before the issue was `opened`, else before now.
    """
    text = _start_in_form(body)
    match = _START.fullmatch(text)
    if match is None:
        return None
    latest = min(opened or now, now)
    try:
        offset = (match["offset"] or "").replace(" ", "")
        moment = parse_utc(f"{match['date'] or latest.date()}T{match['time']}{offset}")
        if not match["date"]:
            moment -= timedelta(days=max(0, math.ceil((moment - latest) / timedelta(days=1))))
    except (ValueError, OverflowError):
        return None
    return moment if moment <= now else None


def _start_in_form(body: object) -> str:
    return read_form(body).get(BEGAN, "")


def read_form(body: object) -> dict[str, str]:
    """Return heading → answer of the incident form.

    The environment follows the service, and is missing if ops.yml has only one: a later heading of that name is part of
    a free text.
    """
    if not isinstance(body, str):
        return {}
    places = [text for _, text in _find_headings(re.split(r"\r\n|\r|\n", body))]
    after_service = places[places.index(SERVICE) + 1 :][:1] if SERVICE in places else []
    return read_fields(body, [each for each in HEADINGS if each != ENVIRONMENT or after_service == [ENVIRONMENT]])


def parse_form(body: object, *, now: datetime, opened: datetime | None = None) -> IncidentForm:
    """Return the answers that the report shows."""
    answers = read_form(body)
    severity = answers.get("Severity", "")
    impact = " ".join(answers.get("Impact", "")[:MAX_IMPACT].split())
    service = answers.get(SERVICE, "")
    began = parse_began(body, now=now, opened=opened)
    return IncidentForm(
        began,
        severity if re.fullmatch("sev[0-9]", severity, re.ASCII) else "",
        impact,
        service if re.fullmatch(NAME_PATTERN, service, re.ASCII) else "",
        "" if began else quote_name(_start_in_form(body)),
    )


def read_fields(body: str, headings: Iterable[str]) -> dict[str, str]:
    """Return heading → answer of an issue form. The answers describe the incident, and select nothing.

    Anybody can write another `### Heading` into a free text. Each heading therefore counts once, only after the
    previous heading of the template, and never in a code fence. An omitted answer is "".
    """
    lines = re.split(r"\r\n|\r|\n", body)
    positions: list[tuple[str, int]] = []
    places = list(_find_headings(lines))
    for heading in headings:
        after = positions[-1][1] if positions else -1
        at = next((line for line, text in places if line > after and text == heading), None)
        if at is not None:
            positions.append((heading, at))
    ends = [*(at for _, at in positions), len(lines)][1:]
    answers = {
        heading: "\n".join(lines[at + 1 : end]).strip() for (heading, at), end in zip(positions, ends, strict=False)
    }
    return {heading: "" if text == "_No response_" else text for heading, text in answers.items()}


def _find_headings(lines: Iterable[str]) -> Iterable[tuple[int, str]]:
    fence = ""
    for number, line in enumerate(lines):
        mark = re.match(r" {0,3}(`{3,}|~{3,})(.*)", line)
        if fence:
            if mark and mark[1].startswith(fence) and not mark[2].strip():
                fence = ""
        elif mark and not (mark[1][0] == "`" and "`" in mark[2]):
            fence = mark[1]
        elif line.startswith("### "):
            yield number, line.removeprefix("### ").strip()


def clean_title(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:LONGEST_TITLE]


@dataclass(frozen=True)
class OpenedIncident:
    number: int
    url: str
    has_menu: bool
    """Whether the recovery menu was posted."""


@dataclass(frozen=True)
class SavedMenu:
    url: str
    kept_of: str = ""
    """Login whose menu stays in place of a new one; empty if ours was posted or renewed."""


def open_incident_issue(
    repository: "Repository",
    title: str,
    body: Callable[[str], str],
    menu: Callable[[str], str],
    labels: Iterable[str] = (),
    *,
    before_menu: Callable[[int], object] = lambda _: None,
) -> OpenedIncident:
    """Create the incident, then post what `before_menu` posts, then the recovery menu.

    `body` and `menu` get the number, which is known only afterwards: a body that has it is written twice.
    """
    from github import GithubException

    text = body("NUMBER")
    issue = repository.create_issue(clean_title(title), text, labels=[INCIDENT, *labels])
    number, failures = str(issue.number), (GithubException, ProviderError, OSError)
    if body(number) != text:
        with contextlib.suppress(*failures):  # the body then keeps the word NUMBER
            issue.edit(body=body(number))
    before_menu(issue.number)
    try:
        _post_menu(issue, menu(number), TrustedAuthors(repository))
    except failures:
        return OpenedIncident(issue.number, issue.html_url, has_menu=False)
    return OpenedIncident(issue.number, issue.html_url, has_menu=True)


def _post_menu(issue: "Issue", text: str, trusted: "TrustedAuthors") -> SavedMenu:
    """Post the menu. If the job `menu` was faster, delete ours: a person's token starts it."""
    own = issue.create_comment(text)
    for comment, record in run_records(issue):
        if record.source == MENU and comment.id < own.id and trusted.wrote(comment):
            own.delete()
            return SavedMenu(comment.html_url, author_login(comment))
    return SavedMenu(own.html_url)


def save_menu(repository: "Repository", number: int, text: str) -> SavedMenu:
    """Post the menu, or renew the one that this token posted. Another trusted menu stays as it is.

    Raises ConfigError for an issue that is no incident, and what PyGithub raises.
    """
    issue, own = get_incident(repository, number), own_login(repository)
    trusted = TrustedAuthors(repository)
    for comment, record in run_records(issue):
        if record.source == MENU and trusted.wrote(comment):
            if (login := author_login(comment)) != own:
                return SavedMenu(comment.html_url, login)
            comment.edit(text)
            return SavedMenu(comment.html_url)
    return _post_menu(issue, text, trusted)


def find_open_incident(repository: "Repository", run: str) -> int | None:
    """Return the number of the newest open incident with the record of that run by a trusted author, or None."""
    trusted = TrustedAuthors(repository)
    for issue in repository.get_issues(state="open", labels=[INCIDENT]):
        record = read_record(issue.body or "")
        if record is not None and record.run == run and trusted.wrote(issue):
            return issue.number
    return None


def find_recorded_incidents(repository: "Repository", run: str, *, since: datetime) -> "list[Issue]":
    """Return the incidents that changed since then and have the record of that run in their body, also closed ones.

    Only those of this token and of trusted authors count: anybody may write a record into an issue.
    """
    records = ((each, read_record(each.body or "")) for each in list_recent_incidents(repository, since))
    trusted = TrustedAuthors(repository, has_own=True)
    return [each for each, record in records if record and record.run == run and trusted.wrote(each)]


def create_first(
    repository: "Repository",
    title: str,
    body: str,
    label: str,
    find_first: "Callable[[], Issue | None]",
    *,
    clock: Clock,
) -> "tuple[Issue, bool]":
    """Create an issue. If another run created one at the same time, close ours, and return that one.

    A list that lacks ours may also lack an earlier one, so this waits for it. The second value is whether it is ours.
    Raises what PyGithub raises.
    """
    created = repository.create_issue(clean_title(title), body, labels=[label])
    first = await_listed(find_first, clock) or created
    if first.number < created.number:
        close_duplicate(repository, created.number, first.number)
        return first, False
    return created, True


def close_duplicate(repository: "Repository", number: int, first: int) -> None:
    """Close an issue that another one came before."""
    issue = repository.get_issue(number)
    issue.create_comment(f"Duplicate of #{first}, which was opened at the same time.")
    issue.edit(state="closed", state_reason="not_planned")


def list_open_incidents(repository: "Repository") -> "list[Issue]":
    """Return the open incidents, newest first."""
    incidents = repository.get_issues(state="open", labels=[INCIDENT], sort="created", direction="desc")
    return [issue for issue in incidents if not is_pull_request(issue)]


def list_recent_incidents(repository: "Repository", since: datetime) -> "list[Issue]":
    """Return the incidents that changed since then, also closed ones."""
    incidents = repository.get_issues(state="all", labels=[INCIDENT], since=since)
    return [issue for issue in incidents if not is_pull_request(issue)]


def trusted_records(repository: "Repository", number: int) -> list[IssueRecord]:
    """Return the records on the issue by the bot and by people with write access, oldest first, to show."""
    return records_of(repository.get_issue(number), TrustedAuthors(repository))


def records_of(issue: "Issue", trusted: "TrustedAuthors") -> list[IssueRecord]:
    """Return the records on the issue by trusted authors, to show; `judge_records` tells which may act."""
    return [
        IssueRecord(record, author_login(comment), is_edited(comment.body), comment.html_url)
        for comment, record in run_records(issue)
        if trusted.wrote(comment)
    ]


def is_incident(issue: "Issue") -> bool:
    """Return whether it is an issue with the label, and no pull request."""
    return issue.pull_request is None and INCIDENT in {label.name.casefold() for label in issue.labels}


def get_incident(repository: "Repository", number: int) -> "Issue":
    """Return the issue of an incident. Raises ConfigError for another number, and what PyGithub raises."""
    from github import UnknownObjectException

    issue = repository.get_issue(number)
    try:
        require_incident(issue)
    except UnknownObjectException:
        raise ConfigError(f"#{number} does not exist", reason=Reason.UNKNOWN_INCIDENT, hint=LIST_HINT) from None
    return issue


def is_missing(number: int, environ: Mapping[str, str], redactor: Redactor) -> bool:
    """Return whether GitHub shows this token no such issue. Raises what PyGithub raises.

    GitHub answers 404 too for a private repository that the token may not read:
    docs.github.com/rest/using-the-rest-api/troubleshooting-the-rest-api.
    """
    from github import UnknownObjectException

    try:
        connect(environ, redactor, read_only=True).get_issue(number).state  # noqa: B018  PyGithub reads it now
    except UnknownObjectException:
        return True
    return False


def require_incident(issue: "Issue") -> None:
    """Raise ConfigError if it is no incident."""
    if is_incident(issue):
        return
    why, hint = f"it has no label `{INCIDENT}`", f"`gh issue edit {issue.number} --add-label {INCIDENT}` makes it one."
    if issue.pull_request is not None:
        why, hint = "it is a pull request", ""
    text = f"#{issue.number} is not an incident: {why}"
    raise ConfigError(text, reason=Reason.UNKNOWN_INCIDENT, hint=join_sentences(LIST_HINT, hint))


def add_once(repository: "Repository", number: int, record: RunRecord, text: str) -> str:
    """Add a comment with the record to an incident unless we wrote one of that run. Return its URL; "" if there is one.

    Raises ConfigError if the number is no incident, and ProviderError.
    """
    with provider_errors():
        issue = get_incident(repository, number)
        if find_own_comment(issue, record.run, of_bot=True):
            return ""
        return issue.create_comment(embed_record(text, record)).html_url


def find_state_comment(issue: "Issue", matches: Callable[[RunRecord], bool]) -> tuple[StateComment, RunRecord] | None:
    """Return the newest comment of a trusted author whose record matches, and the record. Raises ProviderError."""
    with provider_errors():
        trusted = TrustedAuthors(issue.repository)
        matching = [(comment, record) for comment, record in run_records(issue) if matches(record)]
        for comment, record in reversed(matching):
            if trusted.wrote(comment):
                return StateComment(issue, comment), record
    return None


def reopen_incident(issue: "Issue", text: str) -> None:
    """Open the incident if it is closed, and post the text, of which GitHub notifies people. Raises ProviderError.

    It posts nothing if the newest comment has the text: an earlier answer was lost.
    """
    with provider_errors():
        issue.update()
        if issue.state == "closed":
            issue.edit(state="open")
        newest = next(newest_first(issue.get_comments()), None)
        if newest is None or not is_saved(newest.body, text):
            issue.create_comment(text)


def newest_records(repository: "Repository", label: str, most: int) -> "tuple[tuple[IssueRecord, ...], ...]":
    """Return the trusted records of the newest issues with the label, newest issue first. Raises ProviderError."""
    with provider_errors():
        listed = repository.get_issues(state="all", labels=[label], sort="created", direction="desc")
        return tuple(tuple(trusted_records(repository, issue.number)) for issue in islice(listed, most))


class TrustedAuthors:
    """Tells whose records count: people with write access, and the bot of the workflows. Each login is read once."""

    def __init__(self, repository: "Repository", *, has_own: bool = False) -> None:
        """`has_own`: the token's owner counts too, also if the token may not ask for permissions."""
        self._repository, self._has_own = repository, has_own
        self._can_write: dict[str, bool] = {}

    def includes(self, login: str) -> bool:
        """Return whether records of that login count. "" is a deleted account, and does not count."""
        if login == BOT:
            return True
        if login not in self._can_write:
            self._can_write[login] = bool(login) and (
                login == self._own_login or _author_may_write(self._repository, login)
            )
        return self._can_write[login]

    @cached_property
    def _own_login(self) -> str:
        return own_login(self._repository) if self._has_own else ""

    def wrote(self, written: "Issue | IssueComment") -> bool:
        """Return whether the author of an issue or comment counts."""
        return self.includes(author_login(written))


def _author_may_write(repository: "Repository", login: str) -> bool:
    """Return `has_write_access`; False for a token that may not ask."""
    from github import GithubException

    try:
        return has_write_access(repository, login)
    except GithubException as error:
        if error.status == 403:
            return False
        raise


@dataclass(frozen=True)
class LabelStyle:
    color: str
    description: str


LABELS = {
    DRILL_LABEL: LabelStyle("bfd4f2", "An exercise: nothing is broken for users"),
    CHECK_OUTAGE: LabelStyle("c5def5", "Judges whether the trouble is a provider's outage or our fault; only reads"),
    "report": LabelStyle("c5def5", "Makes the post-incident report, and renews it"),
    "incident": LabelStyle("b60205", "Something is broken for users"),
    "post-incident": LabelStyle("5319e7", "The report after an incident"),
    "backout-doctor": LabelStyle("fbca04", "Something is wrong with the set-up of recoveries"),
    "limits-drift": LabelStyle("fbca04", "What applies differs from limits.yml"),
    "sev1": LabelStyle("b60205", "Down, or data at risk"),
    "sev2": LabelStyle("d93f0b", "Broken for many users"),
    "sev3": LabelStyle("fbca04", "Broken for some users"),
}
"""Labels besides those of ops.yml. None of them changes anything outside of GitHub."""


@dataclass(frozen=True)
class LabelChange:
    """A label to create or to correct."""

    name: str
    apply: Callable[[], object]
    is_new: bool = True


def label_changes(repository: "Repository", desired: Mapping[str, LabelStyle]) -> Iterator[LabelChange]:
    """Yield the changes to missing labels and to those that differ. Sends one or more reads.

    Other labels stay; case in names does not matter.
    """
    present = {label.name.lower(): label for label in repository.get_labels()}
    for name, label in desired.items():
        existing, fields = present.get(name.lower()), (name, label.color, label.description)
        if existing is None:
            yield LabelChange(name, partial(repository.create_label, *fields))
        elif (existing.name, existing.color, existing.description or "") != fields:
            yield LabelChange(name, partial(existing.edit, *fields), is_new=False)


def is_label_current(repository: "Repository", name: str, style: LabelStyle) -> bool:
    """Return whether the repository has this label. Unlike the list, a single label is never behind a write.

    docs.github.com/rest/issues/labels#get-a-label
    """
    from github import UnknownObjectException

    try:
        label = read_json(repository, f"/labels/{quote(name, safe='')}")
    except UnknownObjectException:
        return False
    return bool((label["name"], label["color"], label["description"] or "") == (name, style.color, style.description))


def sync_labels(repository: "Repository", desired: Mapping[str, LabelStyle], report: Callable[[str], None]) -> None:
    """Create missing labels and correct those that differ."""
    for change in label_changes(repository, desired):
        change.apply()
        report(f"{'created' if change.is_new else 'changed'} {change.name}")

"""Stops of all recoveries: the label `ops:stopped` of an issue, and the event of that label.

Only that event counts, never a text: one by the bot of the workflows, or by a person who may start recoveries now.
docs.github.com/rest/issues/events#list-issue-events
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ops.core.clock import MAX_CLOCK_SKEW, Clock, current_time, format_utc
from ops.core.errors import OpsError, ProviderError, Reason, Refused, UnclearWrite
from ops.core.names import RESUME_LABEL, STOP_LABEL, STOPPED_LABEL, quote_name
from ops.core.redaction import Redactor
from ops.core.responders import ResponderList, describe_permitted
from ops.core.threads import run_parallel, start_timed_call
from ops.github.client import connect, newest_first, provider_errors, read_json, write_errors
from ops.github.comments import BOT
from ops.github.issues import LabelStyle, sync_labels
from ops.github.list_lag import await_listed
from ops.github.permissions import Requester, check_permission
from ops.github.triggers import has_label, remove_label

if TYPE_CHECKING:
    from github.Repository import Repository

STOP_PERIOD = timedelta(hours=4)
"""A stop ends this long after its event."""
STOP_WAIT = 3.0
"""Real seconds that the gate waits for the stops. A slow answer must not delay a recovery."""
MOST_ISSUES = 10
"""Most open issues with the label whose events are read: each takes a request or more."""
LABELS = {
    STOP_LABEL: LabelStyle("b60205", "Stops all recoveries for four hours"),
    RESUME_LABEL: LabelStyle("0e8a16", "Lifts the stop of all recoveries"),
    STOPPED_LABEL: LabelStyle("b60205", "Recoveries are stopped; remove it, or close the issue, to lift the stop"),
}
_UNCLEAR = {Reason.PERMISSION_UNKNOWN, Reason.PERMISSION_UNREADABLE}


@dataclass(frozen=True)
class Stop:
    """A stop in effect. `login` is "" if the issue does not show who requested it."""

    issue: int
    title: str
    """Title of the issue: untrusted text."""
    login: str
    at: datetime

    @property
    def ends_at(self) -> datetime:
        return self.at + STOP_PERIOD

    def __str__(self) -> str:
        by = f" by {self.login}" if self.login else ""
        until = format_utc(self.ends_at)
        return f"recoveries are stopped until {until}{by}, on #{self.issue} ({quote_name(self.title)})"


@dataclass(frozen=True)
class StopAnswer:
    """Whether recoveries are stopped; unknown if there is a `problem`."""

    stop: Stop | None = None
    problem: str = ""

    @property
    def warning(self) -> str:
        return f"cannot check whether recoveries are stopped ({self.problem})" if self.problem else ""


def start_reading_stops(
    repository: "Repository", lists: Sequence[ResponderList], now: datetime, seconds: float = STOP_WAIT
) -> Callable[[], StopAnswer]:
    """Begin to read the stops, and return what waits for them, at most so long from now. It never raises."""
    wait = start_timed_call(partial(read_stops, repository, lists, now), seconds)

    def finish_stop_read() -> StopAnswer:
        try:
            return StopAnswer(next(iter(wait()), None))
        except ProviderError as error:
            return StopAnswer(problem=error.message)
        except TimeoutError:
            return StopAnswer(problem="GitHub takes too long")

    return finish_stop_read


def start_asking(
    lists: Sequence[ResponderList], environ: Mapping[str, str], redactor: Redactor, seconds: float = STOP_WAIT
) -> Callable[[], StopAnswer]:
    """Connect to GitHub and begin to read the stops, like `start_reading_stops`. It never raises."""
    try:
        repository = connect(environ, redactor, read_only=True)
        return start_reading_stops(repository, lists, current_time(environ), seconds)
    except OpsError as error:
        return partial(StopAnswer, problem=error.message)


def read_stops(repository: "Repository", lists: Sequence[ResponderList], now: datetime) -> tuple[Stop, ...]:
    """Return the stops in effect, the last to end first. One request, and more only for issues with the label.

    `lists`: those of ops.yml that apply to every request. Raises ProviderError.
    """
    issues = _list_stopped(repository)
    if len(issues) > MOST_ISSUES:
        text = f"more than {MOST_ISSUES} open issues have the label {STOPPED_LABEL}"
        raise ProviderError(text, reason=Reason.MALFORMED_ANSWER, hint="To remove it everywhere: `ops stop --lift`.")
    reads = [partial(_read_stop, repository, issue, lists, now) for issue in issues]
    stops = [stop for stop in run_parallel(reads) if stop is not None]
    return tuple(sorted(stops, key=lambda stop: stop.ends_at, reverse=True))


def _list_stopped(repository: "Repository") -> list[Any]:
    """Return GitHub's entries of the open issues with the label. Raises ProviderError."""
    with provider_errors():
        listed = read_json(repository, f"/issues?labels={quote(STOPPED_LABEL)}&state=open&per_page=100")
    return [issue for issue in listed if issue.get("pull_request") is None]


def _read_stop(repository: "Repository", issue: Any, lists: Sequence[ResponderList], now: datetime) -> Stop | None:
    """Return the stop that the label on this issue records. Raises ProviderError.

    The newest event that put the label on decides. For one by the bot, the label `ops:stop` before it says who.
    """
    put_on: Any = None
    with provider_errors():
        for event in newest_first(repository.get_issue(issue["number"]).get_events()):
            if event.event != "labeled":
                continue
            if event.created_at <= now - STOP_PERIOD:
                break
            name = event.label.name.lower()
            if put_on is None and name == STOPPED_LABEL:
                put_on = event
                if _stopping_login(event) != BOT:
                    break
            elif put_on is not None and name == STOP_LABEL:
                return Stop(issue["number"], issue["title"], _stopping_login(event), put_on.created_at)
    if put_on is None or not _counts_as_stop(repository, put_on.actor, lists):
        return None
    login = _stopping_login(put_on)
    return Stop(issue["number"], issue["title"], "" if login == BOT else login, put_on.created_at)


def _stopping_login(event: Any) -> str:
    return event.actor.login if event.actor else ""  # null if the account was deleted


def _counts_as_stop(repository: "Repository", actor: Any, lists: Sequence[ResponderList]) -> bool:
    """Return whether an event by this account stops recoveries. Raises ProviderError if that is not known."""
    if actor is None or actor.login == BOT:
        return actor is not None
    answer = check_permission(repository, Requester(actor.login, actor.id), lists)
    if answer.reason in _UNCLEAR:
        text = answer.message.format(requester=quote_name(actor.login), responders=describe_permitted(lists))
        raise ProviderError(text, reason=answer.reason)
    return answer.reason is None


def save_stop(repository: "Repository", number: int, lists: Sequence[ResponderList], clock: Clock) -> Stop:
    """Put the label on the issue as a new event, so that the stop lasts its whole period, and return the stop.

    The first stop also creates the labels of the repository; a failure of that is no error.

    Raises:
        Refused: the issue is closed, or is a pull request, where no stop is in effect. Nothing was changed.
        ProviderError: GitHub failed, or the event of our own token does not count.
    """
    now = clock.now()
    with provider_errors():
        issue = read_json(repository, f"/issues/{number}")
    if issue["state"] != "open" or issue.get("pull_request") is not None:
        what = "a pull request" if issue.get("pull_request") is not None else "closed"
        hint = "Stop recoveries on an open issue, or on a new one: `ops stop --reason TEXT`."
        raise Refused(f"#{number} is {what}: a stop there has no effect", reason=Reason.INCIDENT_CLOSED, hint=hint)
    with suppress(ProviderError), provider_errors():
        sync_labels(repository, LABELS, lambda _: None)
    was_stopped = remove_label(repository, number, STOPPED_LABEL)
    try:
        _put_stop_label_once(repository, number)
    except ProviderError as error:
        if not was_stopped:
            raise
        text = f"the stop of #{number} was lifted to renew it, and setting it again failed: {error.message}"
        hint = "Recoveries may start now. Stop them again: `ops stop --reason TEXT`."
        raise ProviderError(text, reason=error.reason, hint=hint) from None

    def find_new() -> Stop | None:
        stop = _read_stop(repository, issue, lists, now)
        return stop if stop and stop.at >= now - MAX_CLOCK_SKEW else None  # not the event of an earlier stop

    # The clock here may be fast: then each event looks old.
    stop = await_listed(find_new, clock) or _read_stop(repository, issue, lists, now)
    if stop is None:
        text = f"GitHub does not show that #{number} got the label {STOPPED_LABEL} by somebody who may stop recoveries"
        raise ProviderError(text, reason=Reason.PROVIDER_UNAVAILABLE, hint="Stop them again: `ops stop --reason TEXT`.")
    return stop


def _put_stop_label_once(repository: "Repository", number: int) -> None:
    """Put the label on; after an unclear answer again if it is not there. Raises ProviderError."""
    try:
        _put_label(repository, number)
    except UnclearWrite:
        if not has_label(repository, number, STOPPED_LABEL):
            _put_label(repository, number)


def _put_label(repository: "Repository", number: int) -> None:
    with write_errors():
        repository.get_issue(number).add_to_labels(STOPPED_LABEL)


def remove_stop_labels(repository: "Repository") -> list[int]:
    """Remove the label from all open issues, and return those issues. Raises ProviderError."""
    numbers = [issue["number"] for issue in _list_stopped(repository)]
    return [number for number in numbers if remove_label(repository, number, STOPPED_LABEL)]

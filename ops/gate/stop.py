"""Stop all recoveries, lift the stop, and refuse requests while it is in effect."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ops.app import registry
from ops.core.clock import Clock, format_utc
from ops.core.errors import ProviderError, Reason
from ops.core.names import RESUME_LABEL
from ops.core.redaction import Redactor
from ops.core.responders import RequestScope, ResponderList, find_lists
from ops.core.run_record import make_note
from ops.gate.outcomes import RecoveryRequest, RefusedRequest
from ops.github import stops
from ops.github.client import provider_errors
from ops.github.comments import save_record
from ops.github.stops import Stop, StopAnswer
from ops.render import load_templates

if TYPE_CHECKING:
    from ops.config import Config
    from ops.github.client import Repository

Print = Callable[[str], object]
UNREAD = "not read"
"""Output of the gate: GitHub did not say whether recoveries are stopped."""


@dataclass(frozen=True)
class StopChange:
    """A stop to record, or its end. `run` is the same if it is tried again; `job` is empty on a laptop."""

    run: str
    by: str
    at: datetime
    lift_command: str
    reason: str = ""
    job: str = ""


def start_checking_stop(
    repository: "Repository", config: "Config", request: RecoveryRequest, now: datetime
) -> Callable[[], StopAnswer]:
    """Begin to read whether a stop refuses the request. A dry run passes it, and a request that only ends a state."""
    environment = config.environments[request.environment]
    if request.dry_run or registry.load_runbook(request.runbook).effect(request.params, environment).ends_state:
        return StopAnswer
    return stops.start_reading_stops(repository, find_lists(config, RequestScope()), now)


def find_stop(config: "Config", environ: Mapping[str, str], redactor: Redactor, warn: Print) -> Stop | None:
    """Return the stop that forbids an automatic step now. One that cannot be read in a short time is a warning."""
    answer = stops.start_asking(find_lists(config, RequestScope()), environ, redactor)()
    if answer.problem:
        warn(f"warning: {answer.warning}")
    return answer.stop


def refuse_stopped(stop: Stop, request: RecoveryRequest) -> RefusedRequest:
    by = "{who}" if stop.login else "a responder"
    return RefusedRequest(
        reason=Reason.STOPPED,
        message=f"recoveries are stopped until {format_utc(stop.ends_at)}, by {by} on #{stop.issue} ({{title}})",
        hint=f"Ask there first. To lift the stop, add the label `{RESUME_LABEL}`. To recover anyway, run the command "
        "on a laptop: it asks you to type the service's name and `override`.",
        values={"title": stop.title, **({"who": stop.login} if stop.login else {})},
        incident=request.incident,
        label=request.label,
        request=request,
    )


def stop_recoveries(
    repository: "Repository",
    number: int,
    change: StopChange,
    lists: Sequence[ResponderList],
    warn: Print,
    *,
    clock: Clock,
) -> str:
    """Stop the recoveries, comment on the issue, and return a line for people. Raises ProviderError."""
    stop = stops.save_stop(repository, number, lists, clock)
    why = f": {change.reason}" if change.reason else ""
    text = f"{change.by} stopped all recoveries until {format_utc(stop.ends_at)}{why}"
    _comment_on_stop(repository, [number], change, text, warn, stop=stop)
    return text


def lift_stops(repository: "Repository", answered: Sequence[int], change: StopChange, warn: Print) -> str:
    """Lift all stops, comment on their issues and on the `answered` ones, and return a line for people.

    Raises ProviderError.
    """
    lifted = stops.remove_stop_labels(repository)
    where = ", ".join(f"#{each}" for each in lifted)
    text = f"{change.by} lifted the stop of all recoveries on {where}" if lifted else "no open issue has a stop to lift"
    _comment_on_stop(repository, [*dict.fromkeys((*answered, *lifted))], change, text, warn, lifted=[*map(str, lifted)])
    return text


def _comment_on_stop(
    repository: "Repository",
    numbers: Sequence[int],
    change: StopChange,
    text: str,
    warn: Print,
    *,
    stop: Stop | None = None,
    lifted: Sequence[str] = (),
) -> None:
    """Answer on the issues. A failure is a warning: the event of the label counts, not the comment."""
    record = make_note(change.run, change.at, text, change.job)
    template = load_templates().get_template("stop.md.j2")
    body = template.render(stop=stop, lifted=lifted, by=change.by, reason=change.reason, lift=change.lift_command)
    for number in numbers:
        try:
            with provider_errors():
                save_record(repository, number, body, record)
        except ProviderError as error:
            warn(f"warning: the comment could not be written to #{number} ({error.message})")

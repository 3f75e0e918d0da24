"""Permit the automatic step after a relapse, and record it on the incident before.

Everything unknown refuses: people were notified of the relapse, and can make the same step.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from ops.core.errors import Decision, Reason, Refused
from ops.core.run_record import RunRecord, is_edited, read_record, replace_visible_text
from ops.github.client import provider_errors
from ops.github.issues import TrustedAuthors, find_state_comment, records_of
from ops.watch.record import WATCH
from ops.watch.state import parse_state

if TYPE_CHECKING:
    from ops.github.issues import Issue

STEP = "step"
"""Key in the state of a watch: the workflow run of its automatic step."""


@dataclass(frozen=True)
class AutomaticStep:
    """The step after the relapse of a deployment."""

    environment: str
    service: str
    deployment: str
    """ID of the deployment that relapsed."""
    most: int
    """Most automatic steps of one incident."""
    run: str
    """Workflow run of the step."""
    text: str
    """Markdown that the comment of the watch shows."""
    by_hand: str
    """Command by which a person makes the step."""

    def refuse(self, why: str) -> Refused:
        hint = f"A person decides. To make the step: `{self.by_hand}`"
        return Refused(f"no automatic step: {why}", reason=Reason.NO_AUTOMATIC_STEP, hint=hint)


def claim_step(step: AutomaticStep, issue: "Issue", now: datetime) -> None:
    """Record the step on the incident's watch, from which later steps are counted. Repeated, it writes nothing.

    Raises:
        Refused: the step is not permitted.
        ProviderError: GitHub cannot be read or written.
    """
    if issue.state == "closed":
        raise step.refuse("somebody closed the incident after the relapse")
    found = find_state_comment(issue, partial(_is_watch, step))
    if found is None:
        raise step.refuse(f"the incident has no watch of {step.service} in {step.environment}")
    comment, _ = found
    body = comment.read()
    record = read_record(body)
    if record is None or is_edited(body):
        raise step.refuse("the comment of the watch was edited or deleted")
    state = parse_state(record.watch, now)
    if record.decision != Decision.RELAPSED or state is None or state.deployment != step.deployment:
        raise step.refuse("the newest watch of the service did not find a relapse of this deployment")
    if state.foreign:
        raise step.refuse(f"someone else deployed during the watch: {state.foreign[0].text}")
    if STEP in record.watch:
        return
    with provider_errors():
        others = [each for each in records_of(issue, TrustedAuthors(issue.repository)) if STEP in each.record.watch]
    if len(others) >= step.most:
        raise step.refuse(f"this incident had {len(others)} of at most {step.most}")
    claimed = {**record.watch, STEP: step.run}
    comment.write(replace_visible_text(body, lambda text: f"{text.strip()}\n\n{step.text}", watch=claimed))
    saved = read_record(comment.read())
    if saved is None or saved.watch.get(STEP) != step.run:
        raise step.refuse("GitHub does not show its record")


def _is_watch(step: AutomaticStep, record: RunRecord) -> bool:
    return (record.source, record.environment, record.service) == (WATCH, step.environment, step.service)

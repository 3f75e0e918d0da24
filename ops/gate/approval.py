"""Find the approval of a GitHub environment's reviewer, and show a request to reviewers."""

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from ops.config.labels import format_params
from ops.core import system_clock
from ops.core.clock import MAX_CLOCK_SKEW, REQUEST_LIFETIME, format_duration
from ops.core.errors import ProviderError, Reason, Refused
from ops.core.redaction import Redactor
from ops.gate.outcomes import RecoveryRequest
from ops.gate.refusals import PRESS_AGAIN
from ops.gate.requester import refuse_requester
from ops.github import actions
from ops.render.markdown import code_span

if TYPE_CHECKING:
    from ops.config import Environment
    from ops.github.environments import EnvironmentReview

APPROVAL_HOLDS = REQUEST_LIFETIME
"""From the start of the job that waited for a reviewer to the start of the job that acts."""


def find_approval(
    environment: "Environment",
    github_environment: str,
    environ: Mapping[str, str],
    redactor: Redactor,
    *,
    requester: str,
    is_next: bool = False,
) -> "EnvironmentReview | None":
    """Return the review for which a job of this attempt waited; None if `ops.yml` requires none here.

    `is_next`: for the automatic step after a relapse, which has a waiting job of its own.

    GitHub waits up to 30 days for a reviewer, so the requester's permission is checked again.

    Raises:
        Refused: nobody else approved it, the approval is too old, the requester has lost access, or GitHub gives no
            answer.
        ConfigError: the job's variables cannot be used.
    """
    from ops.github.client import connect
    from ops.github.environments import NEXT, find_review

    if github_environment not in environment.approval:
        return None
    name = environment.approval_environment
    requesters = {requester.lower(), environ.get("GITHUB_ACTOR", "").lower()}  # of this attempt, and of the first
    try:
        repository, run_id = connect(environ, redactor), int(actions.run_id(environ))
        attempt = actions.run_attempt(environ)
        found = find_review(repository, run_id, attempt, name, requesters=requesters, prefix=NEXT if is_next else "")
    except (ProviderError, ValueError) as error:
        why = error.message if isinstance(error, ProviderError) else "this is no job of GitHub Actions"
        raise _not_reviewed(f"GitHub does not say whether it was approved ({why})") from None
    if found is None:
        raise _not_reviewed(f'nobody approved it in the GitHub environment "{name}", or that has no reviewers')
    if found.is_own:
        raise _own_review(name)
    age = system_clock.current_time(environ) - found.began
    if not -MAX_CLOCK_SKEW <= age <= APPROVAL_HOLDS:
        late = f"{APPROVAL_HOLDS // timedelta(minutes=1)} minutes"
        ago = format_duration(age.total_seconds())
        raise _not_reviewed(f"{found.reviewer} approved it {ago} ago, and an approval holds for {late}")
    refuse_requester(environ, redactor, requester, PRESS_AGAIN)
    return found


def text_for_reviewers(request: RecoveryRequest, name: str, command: str) -> str:
    """Return the request as Markdown, for a reviewer of that GitHub environment.

    `command` is the laptop command. It shows the plan, which the gate cannot read.
    """
    requested = code_span(f"{request.runbook} {format_params(request.params)}".strip())
    dry = ", as a dry run" if request.dry_run else ""
    return (
        f"**Waits for a reviewer of `{name}`:** {requested} in {code_span(request.environment)}{dry}, requested by "
        f"{code_span('@' + request.actor)}.\n\nSee the plan, which only reads: {code_span(command + ' --dry-run')}\n"
    )


def _not_reviewed(message: str) -> Refused:
    hint = "Add the label or press the button again, and let a reviewer approve the run in time."
    return Refused(f"not approved: {message}", reason=Reason.NOT_REVIEWED, hint=hint)


def _own_review(name: str) -> Refused:
    return Refused(
        f'not approved: the person who requested it approved it in the GitHub environment "{name}"',
        reason=Reason.SAME_PERSON,
        hint="Request it again, and let another reviewer approve it. Alone: run it on a laptop, without a reviewer.",
    )

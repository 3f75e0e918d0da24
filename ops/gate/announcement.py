"""Announce the run of a label on its issue, once nothing refuses the request."""

import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ops.app.configuration import program_name
from ops.core.errors import ProviderError
from ops.core.threads import start_call
from ops.gate.outcomes import RecoveryRequest
from ops.github import actions, triggers
from ops.github.comments import request_mark
from ops.render import code_span

if TYPE_CHECKING:
    from ops.github.client import Repository

WAIT = 3.0
"""Real seconds. A slow answer of GitHub must not delay the recovery."""


def announce(
    repository: "Repository", request: RecoveryRequest, environ: Mapping[str, str], warn: Callable[[str], object]
) -> str:
    """Post the comment in which the run continues, and return its id; "" without a label.

    A failure is one warning: the run then posts a comment of its own.
    """
    run, attempt, number = actions.run_id(environ), actions.run_attempt(environ), request.incident
    if not (run and request.label and number):
        return ""
    mark = request_mark(run, attempt)
    body = f"{_describe_request(request, environ, attempt)}\n\n{mark}\n"
    posting = start_call(lambda: triggers.post_request(repository, number, body))
    try:
        return str(posting.result(timeout=WAIT))
    except (ProviderError, TimeoutError) as error:
        why = error.message if isinstance(error, ProviderError) else "GitHub takes too long"
        warn(f"warning: the comment that announces the run could not be written ({why})")
        return ""


def _describe_request(request: RecoveryRequest, environ: Mapping[str, str], attempt: int) -> str:
    """Return who requested the run and when, its page, and the way on if nothing answers, as Markdown."""
    page = f"{actions.repository_page(environ)}/actions/runs/{actions.run_id(environ)}"
    again = f", started again by {code_span('@' + request.actor)}" if attempt > 1 else ""
    command = f"{program_name(environ)} label {shlex.quote(request.label or '')} --incident {request.incident}"
    return (
        f"**Received** {code_span(request.label)} from {code_span('@' + request.sender)} at "
        f"{request.requested_at:%H:%M} UTC{again}, starting: "
        f"[run]({page + (f'/attempts/{attempt}' if attempt > 1 else '')})\n\n"
        f"No answer after 2 minutes? Run on a laptop: {code_span(command)}"
    )

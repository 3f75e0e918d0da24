"""Let a run on a laptop override a stop of all recoveries, and say so on its issue."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ops.app import registry
from ops.core.client_guards import uses_one_sandbox
from ops.core.clock import current_time
from ops.core.errors import ProviderError
from ops.core.plan import Plan
from ops.core.redaction import Redactor
from ops.core.responders import RequestScope, find_lists
from ops.core.run_record import make_note
from ops.core.threads import start_call
from ops.core.timeline import EventKind
from ops.engine.context import Context
from ops.engine.engine import RunOptions
from ops.engine.runbook import Runbook
from ops.github import actions
from ops.github.client import is_configured

if TYPE_CHECKING:
    from ops.github.stops import Stop, StopAnswer

STOP_WAIT = 2.0
"""Real seconds to wait for the stops, from the start of the run, as for the records of previous runs."""
TELL_WAIT = 2.0
"""Real seconds after the run to write to the issue of the stop."""


class StopOverride:
    """Reads in the background whether recoveries are stopped, for a run on a laptop: the gate checks others.

    Without GitHub there is nothing to read, and a run whose check fails goes on with a warning.
    """

    def __init__(
        self, runbook: Runbook[Any], context: Context[Any], environ: Mapping[str, str], redactor: Redactor
    ) -> None:
        self._runbook, self._context = runbook, context
        self._environ, self._redactor, self._timeline = environ, redactor, context.timeline
        self._telling: Future[None] | None = None

    def add_to(self, options: RunOptions) -> RunOptions:
        """Return the options of a run that needs an override in place of the confirmation while a stop lasts."""
        finish = None if options.dry_run else self._start_reading()
        if finish is None:
            return options

        def confirm_override(plan: Plan) -> bool:
            answer = finish()
            if answer.problem:
                self._timeline.record(EventKind.WARNING, answer.warning)
            if answer.stop is None:
                return options.confirm(plan)
            has_taken_time = options.override(str(answer.stop))
            self._record_override(answer.stop)
            return has_taken_time

        return replace(options, confirm=confirm_override)

    def _start_reading(self) -> "Callable[[], StopAnswer] | None":
        """Begin to read the stops; None if no stop can refuse the run, or GitHub is not known here."""
        context = self._context
        has_github = is_configured(self._environ) and uses_one_sandbox(self._environ)
        if actions.is_job(self._environ) or not has_github or self._runbook.name not in registry.runbook_names():
            return None
        if self._runbook.effect(vars(context.params), context.environment).ends_state:
            return None
        from ops.github.stops import start_asking

        return start_asking(find_lists(context.config, RequestScope()), self._environ, self._redactor, STOP_WAIT)

    def _record_override(self, stop: "Stop") -> None:
        """Record the override in the run, and begin to write it to the issue of the stop."""
        self._timeline.record(EventKind.WARNING, f"override: {stop}")
        if stop.issue != self._context.request.incident:  # there the comment of the run says it
            self._telling = start_call(lambda: self._comment_on_stop(stop))

    def _comment_on_stop(self, stop: "Stop") -> None:
        from ops.github.client import connect, provider_errors
        from ops.github.comments import own_login, save_record
        from ops.publish.comment import render_note

        context, at = self._context, current_time(self._environ)
        service, run = self._runbook.service(context.params, context.environment), f"override-{context.run_id}"
        with provider_errors():
            repository = connect(self._environ, self._redactor)
            what = " ".join(filter(None, [self._runbook.name, service, "in", context.environment.name]))
            text = f"{own_login(repository)} overrides the stop on a laptop: {what}"
            save_record(repository, stop.issue, render_note(at, text), make_note(run, at, text))

    def end(self) -> None:
        """Wait a short time for the comment; a failure is a warning of the run."""
        if self._telling is None:
            return
        try:
            self._telling.result(timeout=TELL_WAIT)
        except (ProviderError, TimeoutError) as error:
            why = error.message if isinstance(error, ProviderError) else "GitHub takes too long"
            text = f"the override may not be on the issue of the stop ({why}): look, and write it there"
            self._timeline.record(EventKind.WARNING, text)

"""Report a bad deployment, and decide whether it is rolled back and how a person goes on."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app.configuration import published_prefix, read_config
from ops.app.scope import Place
from ops.core.errors import OpsError, UnclearWrite
from ops.core.names import join_sentences
from ops.core.next_step import build_command
from ops.core.redaction import Redactor
from ops.github.client import connect, provider_errors
from ops.publish.chat import post_message
from ops.render import to_one_line
from ops.watch.guard import GuardResult
from ops.watch.guard_incident import GuardIncident, open_guard_incident, prefilled_link
from ops.watch.guard_start import Guards
from ops.watch.guard_text import headline

if TYPE_CHECKING:
    from ops.core.run import EndedRun

CLOSED = "a person closed the incident of this deployment"


@dataclass
class GuardEnd:
    """End of the guard of one deployment."""

    place: Place
    config: Path
    environ: Mapping[str, str]
    redactor: Redactor
    job: str
    """URL of this job; empty on a laptop."""
    show: Callable[[str], object]
    """Gets each note."""
    incident: GuardIncident | None = None
    notes: list[str] = field(default_factory=list)
    """Sentences about the incident and the rollback."""
    is_not_the_cause: bool = False
    """Whether a rollback mends nothing, as the evidence for it shows."""

    def report(self, result: GuardResult) -> None:
        """Open the incident, or find it; else post to chat, and note how a person opens it."""
        try:
            opened = open_guard_incident(result, self.config, self.environ, self.redactor, job=self.job)
        except OpsError as error:
            is_unclear = isinstance(error, UnclearWrite)
            what = "It is not known whether an incident was opened" if is_unclear else "No incident was opened"
            how = "If there is none, open it" if is_unclear else "Open it"
            link = prefilled_link(result, self.environ, self.redactor, job=self.job)
            self.note(f"{what}: {error.message}. {f'{how}: {link}' if link else error.hint}")
            text = self.redactor.redact_text(f"{headline(result)}. {what}: {error.message}")
            post_message(self.environ, read_config(self.config)[0].notify, text, None)
            return
        self.incident = opened
        state = "opened" if opened.is_new else "closed by a person" if opened.is_closed else "open already"
        self.note(f"Incident #{opened.number} ({state}): {opened.url}")

    def permits_rollback(
        self,
        result: GuardResult,
        guards: Guards,
        show_wait: Callable[[str], object],
        objections: Iterable[Callable[[], str]],
    ) -> bool:
        """Return whether the deployment may be rolled back; else note why not.

        `objections`: each reads one more reason against a rollback; empty if there is none.
        """
        if objection := self._find_early_objection(result):
            return self._refuse(objection)
        evidence = guards.wait_for_second_source(result, show_wait)
        self.is_not_the_cause = evidence.is_not_the_cause
        later = (lambda: evidence.objection, *objections, self._find_closed_incident)
        if objection := next(filter(None, (find() for find in later)), ""):
            return self._refuse(objection)
        self.note(f"A second source shows it too: {evidence.source.text}")
        return True

    def _refuse(self, why: str) -> bool:
        self.note(f"No rollback: {why}")
        return False

    def _find_early_objection(self, result: GuardResult) -> str:
        """Return why no wait for a second source can permit a rollback; empty if it can."""
        if self.incident is not None and self.incident.is_closed:
            return CLOSED
        return (
            "" if result.has_failing_probes else "the probes do not fail, and Cloudflare's figures are one source only"
        )

    def _find_closed_incident(self) -> str:
        """Return that a person closed the incident; empty else. If it cannot be read, that is a note."""
        if self.incident is None:
            return ""
        try:
            with provider_errors():
                issue = connect(self.environ, self.redactor, read_only=True).get_issue(self.incident.number)
        except OpsError as error:
            self.note(f"warning: cannot check whether the incident is closed ({error.message})")
            return ""
        return CLOSED if issue.state == "closed" else ""

    def next_step(self, result: GuardResult, rollback: "EndedRun | None") -> str:
        """Return how a person goes on; empty if nothing is left to do."""
        program, *more = published_prefix(self.environ, self.config, read_config(self.config)[0])
        where: dict[str, Any] = {"service": self.place.service, "environment": self.place.environment}
        options = {**where, "incident": self.incident.number if self.incident else None}
        if rollback is not None and rollback.exit_code:
            return join_sentences(f"The rollback ended as {rollback.decision}: {rollback.message}", rollback.hint)
        if rollback is not None:
            watch = build_command(program, "watch", options, *more)
            return f"The next deployment of this code is bad again. To see a relapse: `{watch}`"
        if result.is_bad and not self.is_not_the_cause:
            return f"Roll it back: `{build_command(program, f'rollback-{result.kind}', options, *more)}`"
        if result.exit_code:
            return f"Look at the service: `{build_command(program, 'versions', where, *more)}`"
        return ""

    def note(self, text: str) -> None:
        """Add a sentence about the incident and the rollback."""
        shown = to_one_line(self.redactor.redact_text(text)).strip()
        self.notes.append(shown)
        self.show(shown)

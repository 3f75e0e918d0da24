"""The gate before a recovery that GitHub asks for: reads the event, asks who may, takes the label off, answers.

It holds no secret of Cloudflare's, and its outputs are all that the job that acts gets to know of the event. Of its
requests to GitHub only the question for the permission can stop a recovery: a comment or a label that fails is one
line of warning.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ops import __version__
from ops.app import registry
from ops.app.run import program, read_config
from ops.core import system_clock
from ops.core.errors import EXIT_CODES, Decision, ProviderError, Reason
from ops.core.redaction import Redactor
from ops.core.run_record import Block, Row, sealed
from ops.core.threads import start
from ops.gate import events, form, outcomes, refusals
from ops.gate.refusals import PRESS_AGAIN
from ops.github import actions, client, permissions, triggers

if TYPE_CHECKING:
    from ops.config import Config
    from ops.github.client import Repository

Say = Callable[[str], object]
Annotate = Callable[[Literal["notice", "warning", "error"], str, str], object]
OUTPUTS = (
    *("go", "report", "runbook", "power", "params", "environment", "incident", "dry_run"),
    *("requested_at", "permission", "began", "reason"),
)
ISSUE_WAIT = 3.0
"""Real seconds for a look at the incident that a button names: the recovery comes first."""
MALFORMED = 2


def run(
    environ: Mapping[str, str], config_path: Path, redactor: Redactor, *, say: Say, warn: Say, annotate: Annotate
) -> int:
    """The exit code. Raises ConfigError where the job, its variables or ops.yml cannot be used."""
    event = actions.variable(environ, "GITHUB_EVENT_NAME")
    payload = actions.payload(environ)
    config, _ = read_config(config_path, labels=events.pressed_labels(payload))
    repository = client.connect(environ, redactor)
    gate = Gate(
        environ,
        config,
        repository,
        redactor,
        say=lambda text: say(redactor.text(text)),
        warn=lambda text: warn(redactor.text(text)),
        annotate=annotate,
    )
    return gate.judge(event, payload)


@dataclass(frozen=True)
class Gate:
    environ: Mapping[str, str]
    config: "Config"
    repository: "Repository"
    redactor: Redactor
    say: Say
    warn: Say
    annotate: Annotate

    def judge(self, event: str, payload: Any) -> int:
        outcome = events.read(event, payload, self.config, registry.parameters(), self._job(event))
        match outcome:
            case outcomes.NotForUs():
                self.say(f"not for us: {outcome.why}")
                return 0
            case outcomes.Malformed():
                return self._malformed(outcome)
            case outcomes.ReportDue():
                return self._report_due(outcome)
            case outcomes.Refusal():
                return self._refuse(outcome)
            case _:
                return self._request(outcome)

    def _job(self, event: str) -> outcomes.Job:
        return outcomes.Job(
            repository=actions.variable(self.environ, "GITHUB_REPOSITORY"),
            ref=actions.variable(self.environ, "GITHUB_REF"),
            run_attempt=actions.attempt(self.environ),
            # act sets the second one only; on GitHub both are always there.
            actor=actions.variable(self.environ, "GITHUB_TRIGGERING_ACTOR", "GITHUB_ACTOR"),
            now=system_clock.now(self.environ),
            started_at=self._pressed_at() if event == "workflow_dispatch" else None,
            on_closed=registry.on_closed,
        )

    def _pressed_at(self) -> datetime | None:
        """A job may have waited for long. Without an answer it counts from now: that question may stop nothing."""
        run_id = actions.run_id(self.environ)
        if not run_id:
            return None
        try:
            return triggers.run_created_at(self.repository, int(run_id))
        except ProviderError as error:
            self.warn(f"warning: when the button was pressed is not known ({error.message}): taken as now")
            return None

    def _request(self, request: outcomes.Request) -> int:
        answer, who = self._ask(request.sender, request.sender_id, request.actor)
        if answer.reason is not None:
            return self._refuse(_refusal(answer, who, request, self.config.responders))
        if request.label is not None and not self._take(request):
            return self._refuse(_taken(request, request.label), comment=False)
        began, refusal = (request.began, None) if request.label else self._looked_at(request)
        if refusal is not None:
            return self._refuse(refusal)
        self._write(
            go="true",
            report="true" if request.incident else "false",
            runbook=request.runbook,
            power=registry.github_environment(request.runbook) or "none",
            params=json.dumps(request.params, default=list),
            environment=request.environment,
            incident=str(request.incident or ""),
            dry_run="true" if request.dry_run else "false",
            requested_at=request.requested_at.isoformat(),
            permission=answer.permission,
            began=began.isoformat() if began else "",
        )
        checked = "" if answer.checked else f", {permissions.NOT_CHECKED}"
        who = refusals.plain("{who}", {"who": request.sender})
        self.say(f"go: {request.runbook} in {request.environment}, asked for by {who}{checked}")
        return 0

    def _looked_at(self, request: outcomes.Request) -> tuple[datetime | None, outcomes.Refusal | None]:
        """The incident that a button names: when it began, or why it is none. Where GitHub cannot say, it may be."""
        number = request.incident
        if number is None:
            return None, None
        try:
            issue = start(lambda: triggers.issue(self.repository, number)).result(timeout=ISSUE_WAIT)
        except (ProviderError, TimeoutError) as error:
            why = error.message if isinstance(error, ProviderError) else "GitHub takes too long"
            self.warn(f"warning: it is not known whether #{number} is an open incident ({why})")
            return None, None
        if issue.state == "closed" and not registry.on_closed(request.runbook):
            return None, refusals.closed_incident(request)
        if issue.state not in {"open", "closed"}:
            why = "is a pull request" if issue.state == "pull_request" else "is no issue of this repository"
            return None, refusals.not_an_incident(request, why)
        return form.began(issue.body, now=system_clock.now(self.environ)), None

    def _take(self, request: outcomes.Request) -> bool:
        """False where the label was gone: the event was delivered twice, or somebody thought better of it."""
        assert request.incident is not None
        assert request.label is not None
        try:
            return triggers.remove_label(self.repository, request.incident, request.label)
        except ProviderError as error:
            self.warn(f"warning: the label could not be taken off ({error.message}): take it off by hand")
            return True

    def _report_due(self, due: outcomes.ReportDue) -> int:
        """Whoever asks: where they may not write here, the report is made only of a run that is on record."""
        answer, _ = self._ask(due.sender, due.sender_id, due.actor)
        at = due.at.isoformat()
        if label := due.label:
            self._try("label", lambda number: triggers.remove_label(self.repository, number, label), due.incident)
        self._write(
            go="false", report="true", incident=str(due.incident), requested_at=at, permission=answer.permission
        )
        why = "the label asks for it" if due.label else "the incident was closed"
        self.say(f"the report of incident {due.incident} is due: {why}")
        return 0

    def _ask(self, sender: str, sender_id: int, actor: str) -> tuple[permissions.Answer, str]:
        """The sender, and whoever pressed last where that is somebody else; and which of them the answer is about."""
        askers = [permissions.Asker(sender, sender_id)]
        if actor.lower() != sender.lower():
            askers.append(permissions.Asker(actor))
        answers = []
        for asker in askers:
            answer = permissions.ask(self.repository, asker, self.config.responders)
            if answer.reason is not None:
                return answer, asker.login
            answers.append(answer)
        return next((answer for answer in answers if not answer.checked), answers[0]), sender

    def _malformed(self, malformed: outcomes.Malformed) -> int:
        refusal = outcomes.Refusal(
            reason=Reason.EVENT_MALFORMED,
            message=f"the event cannot be read: {malformed.why}",
            hint=PRESS_AGAIN,
            incident=malformed.incident,
            label=malformed.label,
        )
        self._refuse(refusal)
        return MALFORMED

    def _refuse(self, refusal: outcomes.Refusal, *, comment: bool = True) -> int:
        """The outputs first: whatever GitHub does next, the job that acts does not start."""
        self._write(go="false", report="false", reason=refusal.reason.value)
        message, hint = (refusals.plain(text, refusal.values) for text in (refusal.message, refusal.hint))
        self.warn(f"refused: {message}\n hint: {hint}")
        commands = self._commands(refusal.request)
        for where, command in commands.items():
            self.warn(f" {where}: {command}")
        body = self._body(refusal, commands)
        self._show(message, body)
        if refusal.incident is None:
            return EXIT_CODES[Decision.REFUSED]
        if comment:
            self._answer(refusal, body, self._record(refusal, self.redactor.text(message)))
        if refusal.label is not None and comment:
            label = refusal.label
            self._try("label", lambda number: triggers.remove_label(self.repository, number, label), refusal.incident)
        return EXIT_CODES[Decision.REFUSED]

    def _body(self, refusal: outcomes.Refusal, commands: Mapping[str, str]) -> str:
        return self.redactor.text(
            refusals.comment(
                message=refusal.message,
                hint=refusal.hint,
                values=refusal.values,
                reason=refusal.reason.value,
                commands=commands,
            )
        )

    def _answer(self, refusal: outcomes.Refusal, body: str, record: Block) -> None:
        """One comment per issue, with the latest refusal: nobody can flood an incident by being refused."""

        def text(former: Block | None) -> str:
            rows = (*(former.rows if former else ()), *record.rows)
            return sealed(refusals.latest(body, rows[-1].at, len(rows)), replace(record, rows=rows))

        assert refusal.incident is not None
        self._try("comment", lambda number: triggers.keep_refusal(self.repository, number, text), refusal.incident)

    def _commands(self, request: outcomes.Request | None) -> dict[str, str]:
        """The same without the label, for a laptop and for the button."""
        if request is None:
            return {}
        where = {"environment": request.environment, "incident": request.incident}
        flags = {name: request.params.get(name) == "true" for name in registry.flags(request.runbook)}
        return refusals.commands(program(self.environ), request.runbook, {**request.params, **flags, **where})

    def _record(self, refusal: outcomes.Refusal, message: str) -> Block:
        """For the report: that it was asked for, and refused."""
        return Block(
            run=f"gate-{actions.run_id(self.environ) or 'unknown'}",
            source="gate",
            runbook=refusal.request.runbook if refusal.request else "",
            environment=refusal.request.environment if refusal.request else "",
            decision=Decision.REFUSED.value,
            reason=refusal.reason.value,
            rows=(Row(system_clock.now(self.environ), "refused", message),),
            program=__version__,
        )

    def _show(self, message: str, body: str) -> None:
        """On the pages of the workflow's run, for whoever looks there and not at the issue."""
        self.annotate("error", "refused", self.redactor.text(message))
        try:
            actions.write_summary(self.environ, body)
        except OSError as error:
            self.warn(f"warning: the job's summary page cannot be written ({error.strerror})")

    def _try(self, what: str, call: Callable[[int], object], number: int) -> None:
        failed = {
            "comment": "the answer could not be written to the issue",
            "label": "the label could not be taken off",
        }
        try:
            call(number)
        except ProviderError as error:
            self.warn(f"warning: {failed[what]} ({error.message})")

    def _write(self, **values: str) -> None:
        actions.write_outputs(self.environ, {name: values.get(name, "") for name in OUTPUTS})


def _refusal(answer: permissions.Answer, who: str, request: outcomes.Request, may: Iterable[str]) -> outcomes.Refusal:
    assert answer.reason is not None
    return outcomes.Refusal(
        reason=answer.reason,
        message=answer.message,
        hint=answer.hint,
        values={"asker": who, "responders": ", ".join(may)},
        incident=request.incident,
        label=request.label,
        request=request,
    )


def _taken(request: outcomes.Request, label: str) -> outcomes.Refusal:
    return outcomes.Refusal(
        reason=Reason.LABEL_TAKEN,
        message="the label {label} is no longer on the issue: another run took it, or somebody took it off",
        hint="Look at the issue for that run. Put the label on again if there is none.",
        values={"label": label},
        incident=request.incident,
        label=label,
        request=request,
    )

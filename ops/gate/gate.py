"""Authorize a request from GitHub: event, permission, label, answer.

The gate holds no Cloudflare secret. The acting job learns of the event only through the gate's outputs. Only the
permission check can stop a recovery: a comment or label that fails is one warning.
"""

import contextlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ops.app import registry
from ops.app.configuration import program_name, read_config
from ops.app.scope import scope_of, source_repository
from ops.core.clock import current_time, find_clock
from ops.core.errors import EXIT_CODES, ConfigError, Decision, ProviderError, Reason, page_of
from ops.core.redaction import Redactor
from ops.core.responders import RequestScope, ResponderList, find_lists
from ops.core.run_record import RunRecord, embed_record
from ops.gate import approval, events, lead, outcomes, refusals, stop
from ops.gate import payload as fields
from ops.gate.attempts import check_people, current_lists, refuse_unknown_changes, requester_ids
from ops.gate.incident_check import IncidentCheck
from ops.gate.refusals import PRESS_AGAIN
from ops.github import actions, client, permissions, triggers
from ops.github.comments import request_comment_mark
from ops.render import to_one_line

if TYPE_CHECKING:
    from ops.config import Config
    from ops.github.client import Repository
    from ops.github.stops import StopAnswer

Print = Callable[[str], object]
Annotate = Callable[[Literal["notice", "warning", "error"], str, str], object]
MALFORMED = 2


def authorize_event(
    environ: Mapping[str, str], config_path: Path, redactor: Redactor, *, say: Print, warn: Print, annotate: Annotate
) -> int:
    """Authorize the event of this job and return the exit code.

    Raises ConfigError if the job, its variables or ops.yml cannot be used. The outputs then hold the reason, so that
    the job `tell` can answer on the issue.
    """
    try:
        event = actions.require_variable(environ, "GITHUB_EVENT_NAME")
        payload = actions.read_payload(environ)
        config, _ = read_config(config_path, labels=events.added_labels(payload))
        repository = client.connect(environ, redactor)
        gate = Gate(
            environ,
            config,
            repository,
            redactor,
            say=lambda text: say(redactor.redact_text(text)),
            warn=lambda text: warn(redactor.redact_text(text)),
            annotate=annotate,
        )
        return gate.authorize(event, payload)
    except ConfigError as error:
        known = {"go": "false", "report": "false", "attempt": environ.get("GITHUB_RUN_ATTEMPT", "")}
        actions.write_job_outputs(environ, {**known, **redactor.redact_value(actions.failure_outputs(error))})
        raise


@dataclass(frozen=True)
class Gate:
    environ: Mapping[str, str]
    config: "Config"
    repository: "Repository"
    redactor: Redactor
    say: Print
    warn: Print
    annotate: Annotate

    def authorize(self, event: str, payload: Any) -> int:
        outcome = events.read_event(event, payload, self.config, registry.parameter_types(), self._gate_job(event))
        match outcome:
            case outcomes.IgnoredEvent():
                return self._ignore_event(outcome, payload)
            case outcomes.MalformedEvent():
                return self._refuse_malformed_event(outcome)
            case outcomes.ReportDue():
                return self._report_due(outcome)
            case outcomes.OutageCheck():
                return self._check_outage(outcome)
            case outcomes.ActionsDue():
                return self._actions_due(outcome)
            case outcomes.LeadChange():
                return self._hand_over(outcome)
            case outcomes.StopEvent():
                return self._change_stop(outcome)
            case outcomes.ApprovalEvent():
                return self._check_approval(outcome)
            case outcomes.RefusedRequest():
                # The label is for the workflow that `ops workflows sync` writes, which may run too.
                return self._refuse_request(outcome, takes_label=outcome.reason != Reason.OTHER_REF)
            case _:
                return self._check_request(outcome)

    def _gate_job(self, event: str) -> outcomes.GateJob:
        return outcomes.GateJob(
            repository=actions.require_variable(self.environ, "GITHUB_REPOSITORY"),
            ref=actions.require_variable(self.environ, "GITHUB_REF"),
            workflow_ref=actions.require_variable(self.environ, "GITHUB_WORKFLOW_REF"),
            run_attempt=actions.run_attempt(self.environ),
            actor=self._job_actor,
            now=current_time(self.environ),
            started_at=self._pressed_at() if event == "workflow_dispatch" else None,
            page=actions.repository_page(self.environ),
            allows_closed_incident=registry.allows_closed_incident,
        )

    @property
    def _run_attempt(self) -> int:
        return actions.run_attempt(self.environ)

    @property
    def _job_actor(self) -> str:
        """The person who started this attempt.

        act sets only the second variable, which names the person of the first attempt.
        """
        others = () if self._run_attempt > 1 else ("GITHUB_ACTOR",)
        return actions.require_variable(self.environ, "GITHUB_TRIGGERING_ACTOR", *others)

    def _pressed_at(self) -> datetime | None:
        """Return when the button was pressed; None if GitHub gives no answer, and the request then counts from now."""
        run_id = actions.run_id(self.environ)
        if not run_id:
            return None
        try:
            return triggers.run_created_at(self.repository, int(run_id))
        except ProviderError as error:
            self.warn(f"warning: cannot read when the button was pressed ({error.message}); the current time counts")
            return None

    def _check_request(self, request: outcomes.RecoveryRequest) -> int:
        check = self._incident_check
        reading = check.start_reading(request) if request.label else None  # beside the permission, to delay nothing
        finish_stop = stop.start_checking_stop(self.repository, self.config, request, current_time(self.environ))
        try:
            lists = self._find_lists(request)
        except ProviderError as error:
            return self._refuse_request(refuse_unknown_changes(request, self._run_attempt, error.message))
        answer, login = self._check_permission(request.sender, request.sender_id, request.actor, lists)
        if answer.reason is not None:
            return self._refuse_request(refusals.no_permission(answer, login, request, lists))
        if self._run_attempt > 1 and (refusal := check.refuse_rerun(request)) is not None:
            return self._refuse_request(refusal)
        if request.other_labels and (refusal := check.refuse_simultaneous(request)) is not None:
            return self._refuse_request(refusal)
        began, refusal = check.check_issue(request, reading)
        if refusal is not None:
            return self._refuse_request(refusal)
        stopped = finish_stop()
        if stopped.stop is not None:
            return self._refuse_request(stop.refuse_stopped(stopped.stop, request))
        if request.label is not None and (refusal := self._remove_label(request, request.label)) is not None:
            return self._refuse_request(refusal, takes_label=False)
        began = request.began if request.label else began
        checked = "" if answer.checked else f", {permissions.NOT_CHECKED}"
        login = refusals.fill_refusal_text("{who}", {"who": request.actor})
        return self._start_request(
            request,
            answer,
            f"requested by {login}{checked}",
            began=began.isoformat() if began else "",
            requesters=self._requester_ids(request),
            ends_by=self._latest_start(request),
            stop=self._warn_of_unread_stop(stopped),
        )

    @property
    def _incident_check(self) -> IncidentCheck:
        return IncidentCheck(self.repository, self.config, self.environ, self._run_attempt, self.warn)

    def _warn_of_unread_stop(self, stopped: "StopAnswer") -> str:
        """Return the output for the acting job, which warns too: an unread stop refuses nothing."""
        if not stopped.problem:
            return ""
        self.warn(f"warning: {stopped.warning}; the recovery goes on")
        return stop.UNREAD

    def _start_request(
        self, request: outcomes.RecoveryRequest, answer: permissions.PermissionCheck, by: str, **more: str
    ) -> int:
        """Write the outputs that start the acting job, and show the request to reviewers."""
        if (refusal := refusals.refuse_files(request, self.config, self.environ)) is not None:
            return self._refuse_request(refusal, takes_label=False)
        runbook, own = registry.load_runbook(request.runbook), self.environ["GITHUB_REPOSITORY"]
        comment = self._announcement_id or self._incident_check.announce(request)
        self._write_outputs(
            go="true",
            report="true" if request.incident else "false",
            job=registry.runbook_job_id(runbook, request.environment),
            runbook=request.runbook,
            power=runbook.github_environment or "none",
            params=json.dumps(request.params, default=list),
            environment=request.environment,
            incident=str(request.incident or ""),
            dry_run="true" if request.dry_run else "false",
            requested_at=request.requested_at.isoformat(),
            permission=answer.permission,
            comment=comment,
            repository=source_repository(self.config.environments[request.environment], runbook, request.params, own),
            **more,
        )
        self.say(f"go: {request.runbook} in {request.environment}, {by}")
        self._show_to_reviewers(request, comment)
        return 0

    def _latest_start(self, request: outcomes.RecoveryRequest) -> str:
        if request.dry_run:
            return ""
        environment, now = self.config.environments[request.environment], current_time(self.environ)
        latest = registry.latest_start(request.runbook, request.params, environment, now)
        return latest.isoformat() if latest else ""

    def _requester_ids(self, request: outcomes.RecoveryRequest) -> str:
        needed = registry.load_runbook(request.runbook).incident_use.needs_approval
        return " ".join(map(str, requester_ids(self.repository, request))) if needed else ""

    def _check_approval(self, event: outcomes.ApprovalEvent) -> int:
        """Judge the approval of a second person, and start the job that acts on it. Everything unknown refuses."""
        given = event.approval
        answer, login = self._check_permission(given.login, given.id, event.actor, self._responders)
        if answer.reason is not None or not answer.checked:
            return self._refuse_request(refusals.no_second_person(answer, login, event, self._responders))
        request = approval.judge_approval(self.repository, self.config, event)
        if isinstance(request, outcomes.RefusedRequest):
            return self._refuse_request(request)
        lists = self._find_lists(request)
        if refused := permissions.check_lists(given.login, lists):
            return self._refuse_request(refusals.no_second_person(refused, given.login, event, lists))
        finish_stop = stop.start_checking_stop(self.repository, self.config, request, current_time(self.environ))
        _, refusal = self._incident_check.check_issue(request)
        stopped = finish_stop()
        if refusal is None and stopped.stop is not None:
            refusal = stop.refuse_stopped(stopped.stop, request)
        if refusal is not None:
            return self._refuse_request(refusals.replace_refusal_fields(refusal, request=None))
        more = {"approval": json.dumps(given.to_json()), "stop": self._warn_of_unread_stop(stopped)}
        return self._start_request(request, answer, f"approved by {given.login}", **more)

    def _show_to_reviewers(self, request: outcomes.RecoveryRequest, comment: str) -> None:
        """Show the request on the page of the run, where reviewers approve, and in the comment that announces it."""
        environment = self.config.environments[request.environment]
        if registry.load_runbook(request.runbook).github_environment not in environment.approval:
            return
        name, run = environment.approval_environment, actions.run_id(self.environ)
        command = refusals.list_commands(program_name(self.environ), request)[refusals.LAPTOP]
        text = approval.text_for_reviewers(request, name, command)
        self._show_on_run(
            "notice", "approval", f"{request.runbook} in {request.environment} waits for a reviewer", text
        )
        if comment and run and request.incident:
            mark, redacted = request_comment_mark(run, self._run_attempt), self.redactor.redact_text(text)
            self._warn_on_failure(
                "waiting",
                lambda number: triggers.add_to_request(self.repository, number, mark, int(comment), redacted),
                request.incident,
            )

    def _remove_label(self, request: outcomes.RecoveryRequest, label: str) -> outcomes.RefusedRequest | None:
        """Remove the label.

        Return a refusal if it is gone (a repeated event, or somebody removed it), or if the issue is.
        """
        assert request.incident is not None
        try:
            is_ours = triggers.remove_label(self.repository, request.incident, label)
        except ProviderError as error:
            if self._incident_check.is_missing(request.incident):
                return refusals.moved_issue(request)
            self.warn(f"warning: the label could not be removed ({error.message}): remove it by hand")
            return None
        return None if is_ours or self._run_attempt > 1 else refusals.missing_label(request, label)

    def _report_due(self, due: outcomes.ReportDue) -> int:
        """Pass on that a report is due. Without write access, a person gets only a report of a run on record."""
        answer, _ = self._check_sender(due)
        at = due.at.isoformat()
        self.take_label(due.label, due.incident)
        self._write_outputs(
            go="false", report="true", incident=str(due.incident), requested_at=at, permission=answer.permission
        )
        why = "the label asks for it" if due.label else "the incident was closed"
        self.say(f"the report of incident {due.incident} is due: {why}")
        return 0

    def _check_outage(self, asked: outcomes.OutageCheck) -> int:
        """Pass on that a check for an outage is due, in the environment of the first label of ops.yml."""
        answer, login = self._check_sender(asked)
        if answer.reason is not None:
            return self._refuse_request(refusals.no_permission(answer, login, asked, self._responders))
        self.take_label(asked.label, asked.incident)
        environments = (*(label.environment for label in self.config.labels.values()), *self.config.environments)
        self._write_outputs(
            go="false", report="false", check="true", incident=str(asked.incident), environment=environments[0]
        )
        self.say(f"the label requests a check for an outage in {environments[0]}")
        return 0

    def _actions_due(self, asked: outcomes.ActionsDue) -> int:
        """Pass on that a report needs issues for its action items. The job after this one reads and answers there."""
        answer, login = self._check_sender(asked)
        if answer.reason is not None:
            return self._refuse_request(refusals.no_permission(answer, login, asked, self._responders))
        self.take_label(asked.label, asked.incident)
        self._write_outputs(go="false", report="false", check="actions", incident=str(asked.incident))
        self.say(f"the label requests issues for the action items of #{asked.incident}")
        return 0

    def _hand_over(self, event: outcomes.LeadChange) -> int:
        """Record who leads the incident. The record is the answer; if it cannot be written, the job fails."""
        answer, login = self._check_sender(event)
        if answer.reason is not None:
            return self._refuse_request(refusals.no_permission(answer, login, event, self._responders))
        if (refusal := lead.refuse_lead(self.repository, event.incident, event.login, self._responders)) is not None:
            return self._refuse_request(
                refusals.replace_refusal_fields(refusal, incident=event.incident, label=event.label)
            )
        self._write_outputs(go="false", report="true", incident=str(event.incident))
        run, job = f"lead-{actions.run_id(self.environ)}", actions.job_number(self.environ)
        record = lead.HandOverRecord(run, event.login, by=login, at=event.at, job=job)
        lead.save_lead(self.repository, event.incident, record, self.warn)
        self.take_label(event.label, event.incident)
        self.say(f"{event.login} leads incident {event.incident}")
        return 0

    def _change_stop(self, event: outcomes.StopEvent) -> int:
        """Stop all recoveries, or lift the stop. If GitHub does not take that, the job fails."""
        answer, login = self._check_sender(event)
        if answer.reason is not None:
            return self._refuse_request(refusals.no_permission(answer, login, event, self._responders))
        self._write_outputs(go="false", report="false", incident=str(event.incident))
        change = stop.StopChange(
            f"stop-{actions.run_id(self.environ)}",
            by=login,
            at=current_time(self.environ),
            lift_command=f"{program_name(self.environ)} stop --lift",
            job=actions.job_number(self.environ),
        )
        if event.lifts:
            self.say(stop.lift_stops(self.repository, [event.incident], change, self.warn))
        else:
            clock = find_clock(self.environ)
            self.say(
                stop.stop_recoveries(self.repository, event.incident, change, self._responders, self.warn, clock=clock)
            )
        self.take_label(event.label, event.incident)
        return 0

    @property
    def _responders(self) -> Sequence[ResponderList]:
        return find_lists(self.config, RequestScope())

    def _find_lists(self, request: outcomes.RecoveryRequest) -> Sequence[ResponderList]:
        """Return the lists of responders that apply. Raises ProviderError.

        A later attempt has the files of the request's commit, so its lists may be outdated.
        """
        scope = scope_of(self.config.environments[request.environment], request.runbook, request.params)
        return find_lists(self.config, scope) if self._run_attempt == 1 else current_lists(self.repository, scope)

    def _check_permission(
        self, sender: str, sender_id: int, actor: str, lists: Sequence[ResponderList]
    ) -> tuple[permissions.PermissionCheck, str]:
        return check_people(self.repository, permissions.Requester(sender, sender_id), actor, self._run_attempt, lists)

    def _check_sender(self, event: outcomes.IncidentEvent) -> tuple[permissions.PermissionCheck, str]:
        """Check the sender of an event that starts no recovery, as `check_people` does."""
        return self._check_permission(event.sender, event.sender_id, event.actor, self._responders)

    def _refuse_malformed_event(self, malformed: outcomes.MalformedEvent) -> int:
        refusal = outcomes.RefusedRequest(
            reason=Reason.EVENT_MALFORMED,
            message=f"the event cannot be read: {malformed.cause}",
            hint=PRESS_AGAIN,
            incident=malformed.incident,
            label=malformed.label,
        )
        self._refuse_request(refusal)
        return MALFORMED

    def _ignore_event(self, outcome: outcomes.IgnoredEvent, payload: Any) -> int:
        self.say(f"not for us: {outcome.cause}")
        if self._announcement_id:
            with contextlib.suppress(fields.MalformedFieldError):
                self._delete_announcement(fields.payload_number(payload, "issue", "number"))
        return 0

    def _refuse_request(self, refusal: outcomes.RefusedRequest, *, takes_label: bool = True) -> int:
        """Refuse the request.

        The outputs come first, so that the acting job does not start even if GitHub fails next.
        """
        message, hint = (refusals.fill_refusal_text(text, refusal.values) for text in (refusal.message, refusal.hint))
        texts = {"message": self.redactor.redact_text(message), "hint": self.redactor.redact_text(hint)}
        self._write_outputs(go="false", report="false", reason=refusal.reason.value, **texts)
        self.warn(f"refused: {message}\n hint: {hint}")
        commands = refusals.list_ways_on(program_name(self.environ), refusal)
        for where, command in commands.items():
            self.warn(f" {where}: {to_one_line(command)}")
        variables = refusals.list_laptop_variables(self.config, refusal.request)
        if variables:
            self.warn(f" set first on a laptop: {variables}")
        body = self._render_refusal(refusal, commands, variables)
        self._show_on_run("error", "refused", message, body)
        if refusal.incident is None:
            return EXIT_CODES[Decision.REFUSED]
        run, at = f"gate-{actions.run_id(self.environ) or 'unknown'}", current_time(self.environ)
        record = refusals.build_refusal_record(refusal, self.redactor.redact_text(message), run, at)
        if self._comment_refusal(refusal, body, record):
            actions.write_outputs(self.environ, {"answered": "true"})
            self._delete_announcement(refusal.incident)
        if takes_label:
            self.take_label(refusal.label, refusal.incident)
        return EXIT_CODES[Decision.REFUSED]

    @property
    def _announcement_id(self) -> str:
        """Id of the comment that a step of a workflow of version 0.1 posted before the gate; "" without one."""
        text = self.environ.get("OPS_COMMENT", "")
        return text if re.fullmatch("[1-9][0-9]{0,19}", text) else ""

    def _delete_announcement(self, incident: int) -> None:
        """Delete the comment that announced the run, because nothing starts."""
        comment, run = self._announcement_id, actions.run_id(self.environ)
        if not (comment and run):
            return
        mark = request_comment_mark(run, self._run_attempt)
        self._warn_on_failure(
            "request", lambda number: triggers.withdraw_request(self.repository, number, mark, int(comment)), incident
        )

    def _render_refusal(self, refusal: outcomes.RefusedRequest, commands: Mapping[str, str], variables: str) -> str:
        docs = actions.docs_base(self.environ, self.config.github.actions)
        page = f"{docs}{page_of(refusal.reason)}" if docs else ""
        body = refusals.render_refusal_comment(refusal, page=page, commands=commands, variables=variables)
        return self.redactor.redact_text(body)

    def _comment_refusal(self, refusal: outcomes.RefusedRequest, body: str, record: RunRecord) -> bool:
        """Write the refusal comment: one per issue, with the latest refusal, so that none can flood it."""

        def render_refusal_rows(former: RunRecord | None) -> str:
            rows = (*(former.rows if former else ()), *record.rows)
            return embed_record(refusals.with_refusal_count(body, rows[-1].at, len(rows)), replace(record, rows=rows))

        assert refusal.incident is not None
        return self._warn_on_failure(
            "comment",
            lambda number: triggers.save_refusal(self.repository, number, render_refusal_rows),
            refusal.incident,
        )

    def _show_on_run(self, level: Literal["notice", "error"], title: str, message: str, body: str) -> None:
        """Show the text as annotation and summary of the workflow run."""
        self.annotate(level, title, self.redactor.redact_text(message))
        try:
            actions.write_summary(self.environ, self.redactor.redact_text(body))
        except OSError as error:
            self.warn(f"warning: the job's summary page cannot be written ({error.strerror})")

    def take_label(self, label: str | None, incident: int) -> None:
        """Take the label off, if there is one: it was a request, and no state."""
        if label is not None:
            self._warn_on_failure(
                "label", lambda number: triggers.remove_label(self.repository, number, label), incident
            )

    def _warn_on_failure(self, what: str, call: Callable[[int], object], number: int) -> bool:
        """Call GitHub and return whether it worked; a failure is one warning."""
        failed = {
            "comment": "the answer could not be written to the issue",
            "request": "the comment that announces the run could not be deleted",
            "waiting": "the comment that announces the run could not be changed",
            "label": "the label could not be removed",
        }
        try:
            call(number)
        except ProviderError as error:
            self.warn(f"warning: {failed[what]} ({error.message})")
            return False
        return True

    def _write_outputs(self, **values: str) -> None:
        values |= {"attempt": str(self._run_attempt), "actor": self._job_actor}
        actions.write_outputs(self.environ, {name: values.get(name, "") for name in actions.GATE_OUTPUTS})

"""Let a run wait for the approval of a second person, or verify that it has one.

The engine calls `SecondPerson.approve` with the plan, before any write, if the runbook needs an approval.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ops.app import registry
from ops.core.approval import (
    APPROVE_BUTTON,
    ASK_AGAIN,
    RECORD_SOURCE,
    Approval,
    ApprovalTerms,
    ApprovalUse,
    WaitingRequest,
    digest_terms,
    make_request,
    refuse_approval,
)
from ops.core.client_guards import uses_one_sandbox
from ops.core.errors import Decision, ProviderError, Reason, Refused
from ops.core.plan import Plan, RunOutcome
from ops.core.run_record import RecordRules, RunRecord, embed_record
from ops.core.timeline import EventKind
from ops.engine.context import Context
from ops.engine.runbook import Runbook
from ops.github import actions, client

if TYPE_CHECKING:
    from ops.app.session import Session
    from ops.config import Environment
    from ops.core.redaction import Redactor
    from ops.github.client import Repository


@dataclass(frozen=True)
class SecondPerson:
    """Approval of one run by a second person. Only a runbook with `needs_approval` has it."""

    runbook: Runbook[Any]
    ctx: Context[Any]
    session: "Session"
    environ: Mapping[str, str]
    redactor: "Redactor"

    def approve(self, plan: Plan) -> RunOutcome | None:
        """Return the end of a run that waits; None if the plan may be executed. Raises Refused."""
        if plan.terms is None:
            return None
        if not actions.is_job(self.environ):
            self._refuse_on_closed()
            self._require_one_person()
        elif self.ctx.request.approval is None:
            return self._wait_for_approval(plan.terms, self.ctx.request.requesters)
        else:
            self._verify_approval(self.ctx.request.approval, plan.terms)
        return None

    def _require_one_person(self) -> None:
        """Record that one person acts alone on a laptop. Raises Refused without --one-person, or if it is forbidden."""
        ctx, params = self.ctx, self.ctx.params
        ask = f"Start it by its label or its button; another person then approves by the button {APPROVE_BUTTON}."
        if _forbids_one_person(params, ctx.environment):
            text = f"ops.yml has `two_people: strict` for {params.database}, which forbids --one-person"
            raise Refused(text, reason=Reason.NEEDS_TWO_PEOPLE, hint=ask)
        if not params.one_person:
            text = "this loses data, so it needs a second person"
            alone = " Alone, in an emergency: add --one-person, which the incident names."
            raise Refused(text, reason=Reason.NEEDS_TWO_PEOPLE, hint=ask + alone)
        ctx.timeline.record(EventKind.APPROVED, f"by nobody: {ctx.request.actor} acts alone (--one-person)")

    def _wait_for_approval(self, terms: ApprovalTerms, requesters: tuple[int, ...]) -> RunOutcome:
        """Publish the request on the incident, and return the end of this run. Raises Refused."""
        request = self._publish_approval_request(terms, requesters)
        text = f"{request.target} waits for a second person until {request.until:%H:%M} UTC"
        ctx, alone = self.ctx, None
        if len({login.casefold() for login in ctx.config.responders}) == 1:
            text += ", but ops.yml names no second responder: add one"
            if not _forbids_one_person(ctx.params, ctx.environment):
                text += ", or run it alone on a laptop"
                alone = replace(ctx.suggest(self.runbook.name, **terms.params, one_person=True), button="")
        return RunOutcome(Decision.PLANNED, Reason.NEEDS_TWO_PEOPLE, text, alone)

    def _publish_approval_request(self, terms: ApprovalTerms, requesters: tuple[int, ...]) -> WaitingRequest:
        ctx, incident = self.ctx, self.ctx.request.incident
        if incident is None:
            raise Refused(
                "a second person approves on the incident, and this request names none",
                reason=Reason.NEEDS_TWO_PEOPLE,
                hint="Start it again with the number of the incident.",
            )
        if not requesters:
            raise Refused(
                "GitHub did not say who made the request, so nobody can be the second person",
                reason=Reason.PERMISSION_UNKNOWN,
                hint="Make the request again.",
            )
        request = make_request(
            terms,
            run=ctx.run_id,
            incident=incident,
            runbook=self.runbook.name,
            environment=ctx.environment.name,
            requesters=requesters,
            now=ctx.clock.now(),
        ).signed(self.session.token.reveal(), self._repository_name)
        text = f"digest {request.full_digest}, until {request.until:%H:%M} UTC: {request.target}; {request.loss}"
        ctx.timeline.record(EventKind.AWAITING_APPROVAL, text, **request.to_json())
        return request

    def _verify_approval(self, approval: Approval, terms: ApprovalTerms) -> None:
        """Verify request and plan, and use the approval up. Raises Refused, with a new request if the plan changed."""
        from ops.github import approvals

        ctx, incident = self.ctx, self.ctx.request.incident
        if incident is None:
            raise _changed_request("the approval names no incident")
        try:
            repository = client.connect(self.environ, self.redactor)
            recorded = approvals.read_approvals(repository, incident, self._record_rules)
        except ProviderError as error:
            raise _unreadable_approval(error) from None
        named = (each for each in recorded.requests if each.full_digest == approval.digest)
        request = next((each for each in named if self._is_genuine(each, incident)), None)
        if request is None:
            raise _changed_request("the approved request was edited or deleted, or the token changed since")
        refuse_approval(request, approval, recorded.uses)
        if request.digest != digest_terms(terms, self.runbook.name, ctx.environment.name):
            self._publish_approval_request(terms, request.requesters)
            raise _changed_request(f"the plan differs from the approved one ({request.code})", _READ_NEW_PLAN)
        if growth := request.limit.find_growth(terms.lost_seconds, terms.lost_rows):
            self._publish_approval_request(terms, request.requesters)
            raise Refused(growth, reason=Reason.LOSS_GREW, hint=_READ_NEW_PLAN)
        self._refuse_on_closed()
        self._use_approval(repository, incident, request, approval)
        terms.limit.replace_by(request.limit)

    def _refuse_on_closed(self) -> None:
        """Raise Refused if the incident is not open now, or if a job cannot read that: nothing is lost for it then."""
        from ops.github import triggers

        incident, is_on = self.ctx.request.incident, client.is_configured(self.environ)
        if incident is None or not is_on or not uses_one_sandbox(self.environ):
            return
        try:
            issue = triggers.read_issue(client.connect(self.environ, self.redactor), incident)
        except ProviderError as error:
            if actions.is_job(self.environ):
                raise _unreadable_approval(error) from None
            text = f"cannot check whether incident #{incident} is open ({error.message})"
            self.ctx.timeline.record(EventKind.WARNING, text)
            return
        if issue.state != "open":
            text = f"#{incident} is {'closed' if issue.state == 'closed' else 'no incident'}, and this loses data"
            hint = "Reopen it, or open a new one. Then make the request again."
            raise Refused(text, reason=Reason.INCIDENT_CLOSED, hint=hint)

    def _is_genuine(self, request: WaitingRequest, incident: int) -> bool:
        """Return whether a job of this repository made the request, for this incident, environment and parameters."""
        given = {name: value for name, value in vars(self.ctx.params).items() if value}
        asked = (request.incident, request.runbook, request.environment, dict(request.params))
        here = (incident, self.runbook.name, self.ctx.environment.name, given)
        return asked == here and request.is_signed(self.session.token.reveal(), self._repository_name)

    @property
    def _record_rules(self) -> RecordRules:
        return registry.record_rules(self.ctx.config)

    @property
    def _repository_name(self) -> str:
        return actions.require_variable(self.environ, "GITHUB_REPOSITORY")

    def _use_approval(
        self, repository: "Repository", incident: int, request: WaitingRequest, approval: Approval
    ) -> None:
        """Record on the incident that the approval is used, before the first write. Raises Refused."""
        from ops.github import approvals
        from ops.publish.comment import render_approval

        use = ApprovalUse(
            digest=request.digest,
            login=approval.login,
            id=approval.id,
            at=approval.at,
            uses=request.run,
            event=actions.run_id(self.environ),
        )
        link = actions.run_links(self.environ, None).get("run", "")
        text = render_approval(request.code, self.runbook.name, approval.login, link)
        record = RunRecord(
            run=f"{RECORD_SOURCE}-{request.code}",
            source=RECORD_SOURCE,
            runbook=self.runbook.name,
            environment=self.ctx.environment.name,
            approval=use.to_json(),
            job=actions.job_number(self.environ),
        )
        try:
            first = approvals.save_use(
                repository, incident, use, embed_record(text, record), self._record_rules, clock=self.ctx.clock
            )
        except ProviderError as error:
            raise _unreadable_approval(error) from None
        if first != use:
            raise Refused(
                f"another run uses the approval of the request {request.code}",
                reason=Reason.APPROVAL_USED,
                hint="Wait for its result on this incident.",
            )
        text = f"by {approval.login}, another person than the requester: digest {request.code}"
        self.ctx.timeline.record(EventKind.APPROVED, text)


_READ_NEW_PLAN = f"Read the plan in this comment, and approve it: button {APPROVE_BUTTON}, with its new digest."


def _changed_request(text: str, hint: str = ASK_AGAIN) -> Refused:
    return Refused(text, reason=Reason.REQUEST_CHANGED, hint=hint)


def _unreadable_approval(error: ProviderError) -> Refused:
    text = f"the approval cannot be verified, because of GitHub: {error.message}"
    if error.reason is Reason.PERMISSION_UNREADABLE:
        return Refused(text, reason=Reason.PERMISSION_UNKNOWN, hint=error.hint)
    return Refused(
        text,
        reason=Reason.PERMISSION_UNKNOWN,
        hint=f"Press the button {APPROVE_BUTTON} again in a minute. Or use --one-person on a laptop.",
    )


def _forbids_one_person(params: Any, environment: "Environment") -> bool:
    """Return whether `two_people: strict` of its database forbids --one-person."""
    database = environment.databases.get(str(getattr(params, "database", "")))
    return database is not None and database.two_people == "strict"

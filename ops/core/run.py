"""A run as one value: its events, and the words, JSON result and record made from them.

Events in the job log or `timeline.jsonl` make the same `Run` as those of this process, so every text about a run, its
JSON result and its hidden record say the same.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ops.core.approval import APPROVE_BUTTON, WaitingRequest, parse_request
from ops.core.clock import format_seconds
from ops.core.end_message import MOVED
from ops.core.errors import PROVED, UNFINISHED, Decision, Reason, needs_people, page_of
from ops.core.json_fields import mapping_in, mappings_in, text_in
from ops.core.names import LONGEST_QUOTE, cut_text
from ops.core.next_step import SuggestedCommand, command_from_json, command_to_json, describe_button
from ops.core.plan import LiveState, Plan, plan_from_json
from ops.core.run_record import DONE, RecordRow, RunRecord
from ops.core.timeline import EventKind, RunEvent, find_seconds
from ops.core.verdict import ProbeObservation, Verdict, add_place, probe_results_to_json

STATES = {
    EventKind.REQUESTED: "Received",
    EventKind.PLANNED: "Planned",
    EventKind.REHEARSED: "In rehearsal",
    EventKind.WRITING: "Writing",
    EventKind.WRITTEN: "Written, to be read back",
    EventKind.READ_BACK: "Live, to be verified",
    EventKind.VERIFIED: "Verified",
    EventKind.FAILED: "Failed",
    EventKind.ENDED: "Ended",
}
"""Kinds of events that change the state of a run, each with its words."""

DURATIONS = {
    "trigger_to_plan": EventKind.PLANNED,
    "trigger_to_write": EventKind.WRITTEN,
    "trigger_to_read_back": EventKind.READ_BACK,
    "trigger_to_verified": EventKind.VERIFIED,
    "total": EventKind.ENDED,
}
"""Name of a duration → kind of the first event that ends it."""

ROUNDS = {(EventKind.PROBED, "after"), (EventKind.REHEARSED, "probed")}
"""Kind and first word of the events of probe rounds."""
LOG = re.compile(r"https?://[A-Za-z0-9.:-]+/[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+/actions/runs/[0-9]{1,20}")
DOCS = re.compile(r"https?://[A-Za-z0-9.:-]+/[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+/blob/HEAD/")


_LIVE_BY_STEP = {
    EventKind.WRITING: LiveState.UNKNOWN,
    EventKind.WRITTEN: LiveState.WRITTEN,
    EventKind.READ_BACK: LiveState.LIVE,
}
ENDINGS: dict[str, str] = {
    Decision.REFUSED: " was refused",
    Decision.FAILED: " failed",
    Decision.INTERRUPTED: " was interrupted",
    Decision.UNKNOWN_OUTCOME: "",
    Decision.STILL_UNHEALTHY: ", unhealthy",
    Decision.NO_EVIDENCE: ", health unknown",
}
"""Decisions that follow what is live, each with its words."""


def duration_label(duration: str, *, proves_health: bool = True) -> str:
    """Return the words for the end of a duration, such as "read back"; a proof of another claim is "proved"."""
    label = duration.removeprefix("trigger_to_").replace("_", " ")
    return label if proves_health else label.replace("verified", "proved")


@dataclass(frozen=True)
class Run:
    """A run at any moment: live, killed, ended or imported. All that is said of it comes from its events."""

    id: str
    events: tuple[RunEvent, ...]
    imported: str = ""
    """Person and time of an import; empty if the run wrote its comment."""
    source: str = "run"
    """Origin of the run in its record: run or laptop."""
    is_notified: bool = False
    """Whether the team's chat accepted a notice of this run."""
    chat_threads: Mapping[str, str] = field(default_factory=dict)
    """Chat channel → id of the message that began the incident's thread there."""

    @property
    def state(self) -> str:
        if self.reason == Reason.HANDED_ON:
            return "Planned, and going on"
        if self.decision:
            return self._result_word
        kinds = [event.kind for event in self.events if event.kind in STATES]
        return STATES[kinds[-1]] if kinds else STATES[EventKind.REQUESTED]

    @property
    def shown_events(self) -> tuple[RunEvent, ...]:
        """Return the events for people: probe rounds that follow one another as one, and the end in their words."""
        merged = merge_rounds(self.events)
        if self.decision and self.state == DONE:
            return tuple(replace(each, text="done") if each.kind == EventKind.ENDED else each for each in merged)
        return merged

    @property
    def _result_word(self) -> str:
        """Return the decision for people. A proof that says nothing about health is no recovery: it is done."""
        is_done = self.decision in PROVED and self.plan is not None and not self.plan.proves_health
        return DONE if is_done else self.decision.replace("_", " ").capitalize()

    @property
    def decision(self) -> str:
        ended = self.last_event(EventKind.ENDED)
        return ended.text if ended else ""

    @property
    def reason(self) -> str:
        return self._read_event_text(EventKind.ENDED, "reason")

    @property
    def message(self) -> str:
        return self._read_event_text(EventKind.ENDED, "message")

    @property
    def explanation(self) -> str:
        """Return the message without the claim that the headline has."""
        claim = self._proved_claim if self.decision in PROVED else ""
        return self.message.removeprefix(claim).removeprefix("; ") if claim else self.message

    @property
    def hint(self) -> str:
        return self._read_event_text(EventKind.FAILED, "hint") or self._read_event_text(EventKind.ENDED, "hint")

    @property
    def suggested_command(self) -> SuggestedCommand | None:
        """Return the command that the hint refers to, or the next command of a successful run."""
        event = self.last_event(EventKind.FAILED) or self.last_event(EventKind.ENDED)
        return command_from_json("press", event.data) if event else None

    @property
    def runbook(self) -> str:
        return self._read_event_text(EventKind.REQUESTED, "runbook")

    @property
    def environment(self) -> str:
        return self._read_event_text(EventKind.REQUESTED, "environment")

    @property
    def sandbox(self) -> str:
        """Return the URL of the sandbox in which it ran; "" for Cloudflare."""
        return self._read_event_text(EventKind.REQUESTED, "sandbox")

    @property
    def service(self) -> str:
        return self._read_event_text(EventKind.REQUESTED, "service") or text_in(self.params, "service")

    @property
    def params(self) -> Mapping[str, Any]:
        """Return the parameters of the request."""
        requested = self.last_event(EventKind.REQUESTED)
        return mapping_in(requested.data, "params") if requested else {}

    @property
    def requested_incident(self) -> int | None:
        """Return the incident of the request; a run without one may open one at its end."""
        requested = self.last_event(EventKind.REQUESTED)
        given = requested.data.get("incident") if requested else None
        return given if isinstance(given, int) else None

    @property
    def reason_text(self) -> str:
        """Return the typed reason, else the incident's number; never a text of the issue."""
        typed = text_in(self.params, "reason").strip().rstrip(".")
        if typed:
            return f" because {cut_text(typed, LONGEST_QUOTE)}"
        return f" because of incident #{self.requested_incident}" if self.requested_incident else ""

    @property
    def done_text(self) -> str:
        """Return the message to the team about a finished change."""
        plan = self.plan
        message = (plan.done_message or plan.summary) if plan else self.runbook
        return f"{message} in {self.environment}{self.reason_text}"

    @property
    def log_url(self) -> str:
        """Return the URL of the workflow run, or "". Other URLs, as in an edited record, are ignored."""
        url = self._read_event_text(EventKind.REQUESTED, "log")
        return url if LOG.fullmatch(url) else ""

    @property
    def docs(self) -> str:
        """Return the address of the page about its reason, or its path in Backout; empty before the end."""
        if self.reason not in [*Reason]:
            return ""
        base = self._read_event_text(EventKind.REQUESTED, "docs")
        return f"{base if DOCS.fullmatch(base) else ''}{page_of(self.reason)}"

    @property
    def laptop_variables(self) -> str:
        """Return the variables that its command on a laptop needs, each with the place of its value."""
        return self._read_event_text(EventKind.REQUESTED, "laptop_variables")

    @property
    def requester(self) -> str:
        """Who requested the run and where, as its first event says: "by alice", "on a laptop by local user ana"."""
        requested = self.last_event(EventKind.REQUESTED)
        if requested is None or not requested.text.endswith(")"):
            return ""
        who = requested.text.rpartition(" (")[2].removesuffix(")")
        return who.replace("laptop, by", "on a laptop by", 1) if who.startswith("laptop, by") else f"by {who}"

    @property
    def headline(self) -> str:
        """Verdict, service, version and seconds: the line that somebody reads first."""
        run = f"{self.runbook} for {self.service}" if self.service else self.runbook
        done = self.plan.done_message if self.plan and self.plan.done_message and self.has_written else run
        seconds = self.durations["trigger_to_verified"] or self.durations["total"]
        after = f" after {format_seconds(seconds)}" if seconds else ""
        match self.decision:
            case Decision.RECOVERED | Decision.HEALTHY_AS_BEFORE if self.plan and self.plan.proved_claim:
                claim = re.sub("^the ", "The ", self._proved_claim)
                return f"{claim}{', proved' if after else ''}{after}"
            case Decision.RECOVERED:
                return f"{done}: {self._describe_health(f'healthy{after}', f'not verified{after}')}"
            case Decision.HEALTHY_AS_BEFORE:
                return f"{done}: {self._describe_health('healthy before and after', 'not verified')}"
            case Decision.NOTHING_TO_DO:
                return f"{run}: nothing to do"
            case Decision.PLANNED if self.has_written and self.plan and self.plan.proved_claim:
                return self._proved_claim
            case Decision.PLANNED if self.reason == Reason.HANDED_ON:
                return f"{run}: planned, and going on"
            case Decision.PLANNED if self.reason == Reason.NEEDS_TWO_PEOPLE:
                return f"{run}: waits for a second person"
            case Decision.STILL_UNHEALTHY if self.live in {LiveState.LIVE, None}:
                return f"{done}: unhealthy{after}"
            case Decision.NO_EVIDENCE if self.live in {LiveState.LIVE, None}:
                return f"{done}: health unknown"
            case _ if self.live and (not self.decision or self.decision in ENDINGS):
                words = self.live.words if self.decision else self.state
                return f"{words[:1].upper()}{words[1:]}: {run}{ENDINGS.get(self.decision, '')}"
            case Decision.UNKNOWN_OUTCOME:
                return f"{run}: outcome unknown, the change may be live"
            case _:
                return f"{run}: {self.state[:1].lower()}{self.state[1:]}"

    @property
    def _proved_claim(self) -> str:
        """Return the claim of the plan, with where it was seen; empty without one."""
        claim = self.plan.proved_claim if self.plan else ""
        return self._add_place(claim) if claim else ""

    def _describe_health(self, healthy: str, unproved: str) -> str:
        return self._add_place(healthy) if self.is_verified else unproved

    def _add_place(self, claim: str) -> str:
        """Return a claim with where the probes saw it; an older record does not say that."""
        return add_place(claim, self._read_event_text(EventKind.VERIFIED, "seen_from"))

    @property
    def live(self) -> LiveState | None:
        """Return what is live, as the end says, else by the last step; None for an older record that has an end."""
        if self.decision:
            live = self._read_event_text(EventKind.ENDED, "live")
            return LiveState(live) if live in [*LiveState] else None
        steps = [each.kind for each in self.events if each.kind in _LIVE_BY_STEP]
        is_partly = 0 < steps.count(EventKind.READ_BACK) < len(self.plan.changes if self.plan else ())
        if not steps:
            has_moved = any(each.kind == EventKind.REHEARSED and each.text.startswith(MOVED) for each in self.events)
            return LiveState.MOVED if has_moved else LiveState.UNCHANGED
        return LiveState.PARTLY if is_partly else _LIVE_BY_STEP[steps[-1]]

    @property
    def next_step(self) -> SuggestedCommand | None:
        """Return what to try if the change does not help. After an unfinished run that is unknown."""
        return self.plan.next_step if self.plan and self.decision not in UNFINISHED else None

    @property
    def has_written(self) -> bool:
        return self.last_event(EventKind.WRITTEN) is not None

    @property
    def is_verified(self) -> bool:
        """Whether the probes showed what they had to show."""
        verified = self.last_event(EventKind.VERIFIED)
        return verified is not None and Verdict.HEALTHY in {verified.text, verified.data.get("verdict")}

    @property
    def is_healthy(self) -> bool:
        """Whether the probes showed that the service works."""
        return self.is_verified and (self.plan is None or self.plan.proves_health)

    @cached_property
    def plan(self) -> Plan | None:
        planned = self.last_event(EventKind.PLANNED)
        return plan_from_json(planned.text, mapping_in(planned.data, "plan")) if planned else None

    @property
    def undo(self) -> tuple[SuggestedCommand, ...]:
        """Return the undo commands that the end names, also if it names none; else those of the plan."""
        ended = self.last_event(EventKind.ENDED)
        if ended is None or "undo" not in ended.data:
            return self.plan.undo if self.plan else ()
        commands = (command_from_json("undo", each) for each in mappings_in(ended.data, "undo"))
        return tuple(dict.fromkeys(filter(None, commands)))

    @property
    def durations(self) -> dict[str, float | None]:
        """Return seconds from the trigger to each of DURATIONS; None if the run did not reach it, or did not prove."""
        return {
            name: find_seconds(self.events, kind) if kind != EventKind.VERIFIED or self.is_verified else None
            for name, kind in DURATIONS.items()
        }

    def last_event(self, kind: EventKind) -> RunEvent | None:
        """Return the last event of this kind, or None."""
        return next((event for event in reversed(self.events) if event.kind == kind), None)

    @property
    def waiting(self) -> WaitingRequest | None:
        """Return the request that waits for a second person."""
        event = self.last_event(EventKind.AWAITING_APPROVAL)
        return parse_request(event.data) if event else None

    @property
    def approval_button(self) -> SuggestedCommand:
        """Return the button by which a second person approves the request that waits."""
        request = self.waiting
        given = {"incident": request.incident, "digest": request.full_digest} if request else {}
        return SuggestedCommand("", describe_button(APPROVE_BUTTON, given))

    def to_record(self, *, part: int) -> RunRecord:
        """Return the hidden record of this part; part 1 holds the rows."""
        rows = tuple(RecordRow(event.at, event.kind.value, event.text) for event in self.events) if part == 1 else ()
        return RunRecord(
            run=self.id,
            part=part,
            source=self.source,
            runbook=self.runbook,
            environment=self.environment,
            service=self.service,
            decision=self.decision,
            reason=self.reason,
            durations={duration_label(name): seconds for name, seconds in self.durations.items()},
            versions=tuple(each.values for each in self.plan.changes) if self.plan else (),
            rows=rows,
            state=self.state if self.decision and part == 1 else "",
            live=(self.live or "") if self.decision and part == 1 else "",
            headline=self.headline if self.decision and part == 1 else "",
            health_before=self._health_before if part == 1 else "",
            notified=self.is_notified and part == 1,
            chat=dict(self.chat_threads) if part == 1 else {},
            approval=self.waiting.to_json() if self.waiting and part == 1 else {},
        )

    @property
    def _health_before(self) -> str:
        probed = (event.data for event in self.events if event.kind == EventKind.PROBED)
        return next((text_in(data, "health") for data in probed if "health" in data), "")

    def _read_event_text(self, kind: EventKind, name: str) -> str:
        event = self.last_event(kind)
        return text_in(event.data, name) if event else ""


@dataclass(frozen=True, kw_only=True)
class EndedRun(Run):
    """A run that this process ended, with what its events leave out: results of its probes, exit code, links."""

    exit_code: int
    full_plan: Plan | None
    """The plan with what the event leaves out: steps, notices, planned end; after the changes."""
    before: ProbeObservation | None
    after: ProbeObservation | None
    outcome: Mapping[str, list[str]]
    """Targets of the changes, by the keys of OUTCOME_WORDS."""
    has_moved_traffic: bool
    """Whether its rehearsal moved the traffic by accident."""
    links: Mapping[str, str] = field(default_factory=dict)
    opened_incident: int | None = None
    """Incident that the run opened at its end, if any."""
    is_answered: bool = True
    """Whether the incident shows this result. A dry run and a run without an incident write nothing there."""
    is_recorded: bool = False
    """Whether an incident holds the whole record of this run."""

    @property
    def decision(self) -> Decision:
        return Decision(super().decision)

    @property
    def reason(self) -> Reason:
        return Reason(super().reason)

    @property
    def incident(self) -> int | None:
        """Return the incident of the request, else the one that the run opened."""
        return self.requested_incident or self.opened_incident

    @property
    def wrote(self) -> bool:
        """Whether a write was answered or was seen to be made; of a rehearsal, only one that moved the traffic."""
        return self.has_written or self.has_moved_traffic

    @property
    def needs_people(self) -> bool:
        """Whether people must be called; then the contacts are shown."""
        return needs_people(self.decision)

    @property
    def notices(self) -> Mapping[int, str]:
        """Other incidents that the changes concern → text for a comment on them; empty if nothing was changed."""
        return self.full_plan.notices if self.full_plan and self.has_written else {}

    def to_json(self) -> dict[str, Any]:
        """Return the JSON result of schema 1 (docs/reference/results.md)."""
        plan = self.full_plan
        return {
            "schema": 1,
            "decision": self.decision.value,
            "reason": self.reason.value,
            "exit_code": self.exit_code,
            "message": self.message,
            "hint": self.hint,
            "docs": self.docs,
            **command_to_json("press", self.suggested_command),
            "runbook": self.runbook,
            "environment": self.environment,
            "service": self.service,
            "run": self.id,
            "incident": self.incident,
            "wrote": self.wrote,
            "outcome": self.outcome,
            "plan": plan.to_json() if plan else None,
            "timeline": [event.to_json() for event in self.events],
            "probes_before": probe_results_to_json(self.before),
            "probes_after": probe_results_to_json(self.after),
            "durations": self.durations,
            "undo": [each.command for each in self.undo] if plan and self.has_written else [],
            "links": self.links,
        }


ICONS = {
    Decision.RECOVERED: "✅",
    Decision.HEALTHY_AS_BEFORE: "✅",
    Decision.NOTHING_TO_DO: "✅",
    Decision.PLANNED: "📋",
    Decision.REFUSED: "⛔",
    Decision.FAILED: "❌",
    Decision.MITIGATED: "✅",
    Decision.STILL_UNHEALTHY: "❌",
    Decision.RELAPSED: "❌",
    Decision.NO_EVIDENCE: "⚠️",
    Decision.UNKNOWN_OUTCOME: "⚠️",
    Decision.INTERRUPTED: "⚠️",
}


def headline_icon(run: Run) -> str:
    """Return the sign before the headline; an hourglass until the run has ended."""
    if run.decision not in [*Decision]:
        return "⚠️" if run.decision else "⏳"
    return ICONS[Decision(run.decision)]


def merge_rounds(events: tuple[RunEvent, ...]) -> tuple[RunEvent, ...]:
    """Return the events with the probe rounds that follow one another as one: the last, and how many there were."""
    merged, rounds = list[RunEvent](), 0
    for event in events:
        is_round = (event.kind, event.text.partition(",")[0]) in ROUNDS
        rounds = rounds + 1 if is_round else 0
        if rounds > 1:
            merged[-1] = replace(event, text=f"{rounds} rounds; the last: {event.text.partition(', ')[2]}")
        else:
            merged.append(event)
    return tuple(merged)

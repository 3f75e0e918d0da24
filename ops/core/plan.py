"""The plan of a run and the progress of its changes.

A runbook makes the plan from reads only. Each change states its target, the value before and after, its proof and
its undo command.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from ops.core.approval import ApprovalTerms
from ops.core.errors import Decision, OpsError, ProviderError, Reason, Refused
from ops.core.json_fields import mapping_in, mappings_in, text_in, texts_in
from ops.core.names import first_of
from ops.core.next_step import SuggestedCommand, command_from_json, command_to_json

PROBABLY_NOT_THE_CAUSE = timedelta(hours=24)
"""A release that served this long before an incident is probably not its cause."""
NOT_THE_CAUSE = "if that start time is right, this is not the cause"
"""End of a warning about a release that is newer than the stated start of the incident."""
PROBES_ARE_HEALTHY = "the probes are healthy"
"""End of a claim that rests on probes of the service."""


@dataclass(frozen=True)
class Change:
    """One planned write. `before` must still be the live state right before it."""

    target: str
    before: str
    after: str
    done_when: str
    undo: SuggestedCommand | None
    """Command that restores `before`; None if it is unknown, or if the change alone has no effect."""

    @property
    def is_aside(self) -> bool:
        """Whether it only stores something beside the live system, which is the same afterwards."""
        return False

    @property
    def values(self) -> tuple[str, str, str]:
        """Return target, before and after."""
        return self.target, self.before, self.after

    def to_json(self) -> dict[str, str]:
        named = {"target": self.target, "before": self.before, "after": self.after, "done_when": self.done_when}
        return named | command_to_json("undo", self.undo)


@dataclass(frozen=True)
class RunOutcome:
    """End of a run without probes: nothing to do, or handed over to people."""

    decision: Decision
    reason: Reason
    message: str
    suggested_command: SuggestedCommand | None = None
    """Command that people run next."""


DRILL_SECTION = "Staging drill"
"""Title of the section in the plan of a recovery that a drill wants: no chat gets notices of it."""


MOST_NAMES, MOST_LINES = 6, 12
"""Names in one line and lines of one section that a terminal shows without `--verbose`."""
MOST_STORED = 100
"""Names in one line of a plan, which its record holds."""


def list_names(title: str, names: Sequence[str]) -> str:
    """Return a line such as `routes: shop.example/*, www.shop.example/*`, which `cut_names` can shorten."""
    return f"{title}: {', '.join(first_of(names, MOST_STORED))}"


def cut_names(line: str) -> str:
    """Return the line with at most MOST_NAMES names behind its title, and the number of the others."""
    title, colon, names = line.partition(": ")
    return f"{title}{colon}{', '.join(first_of(names.split(', '), MOST_NAMES))}"


@dataclass(frozen=True)
class PlanSection:
    """A titled list of lines for people. Renderers know nothing else about a runbook."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Ordered changes and what people must know about them.

    Without `changes` there is nothing to do: `reason` says why, and the run only verifies.
    """

    summary: str
    changes: tuple[Change, ...] = ()
    sections: tuple[PlanSection, ...] = ()
    not_undone: tuple[str, ...] = ()
    consequences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    reason: Reason | None = None
    next_step: SuggestedCommand | None = None
    """Command to run if this does not help."""
    done_message: str = ""
    """Message to the team after success, such as "Rolled back api to 1a2b3c4d" (default: the summary)."""
    healthy_before_message: str = ""
    """Message if no probe failed before the change (default: this may be the wrong service)."""
    proved_claim: str = ""
    """Claim that healthy probes prove, as a short sentence (default: the service is healthy)."""
    proof_limit: str = ""
    """What the proof of the claim does not show; it follows `proved_claim`, so not `healthy_before_message`."""
    proves_health: bool = True
    """Whether healthy probes show that the service works; False if they show that it is closed, for example."""
    tasks: tuple[str, ...] = ()
    """Work that remains for people afterwards, in this order."""
    remaining_message: str = ""
    """Last sentence of a run that wrote: related things that it did not change."""
    final_changes: tuple[Change, ...] = ()
    """Changes that are made only after the probes are healthy."""
    ends_at: datetime | None = None
    """Time (UTC) at which a later run ends the state that this one starts; None if only a person ends it."""
    notices: Mapping[int, str] = field(default_factory=dict)
    """Other incidents that the changes concern → text for a comment on them, if this run wrote."""
    terms: ApprovalTerms | None = None
    """The part that a second person approves, in a runbook that needs an approval; None: the plan loses nothing."""

    @property
    def is_drill(self) -> bool:
        """Return whether the recovery answers a staging drill."""
        return any(section.title == DRILL_SECTION for section in self.sections)

    @property
    def claim_without_health(self) -> str:
        """Return the claim without the words that its probes are healthy, for a run in which they were not."""
        return self.proved_claim.removesuffix(PROBES_ARE_HEALTHY).removesuffix("; ").removesuffix(", and ")

    def with_short_lists(self) -> "Plan":
        """Return the plan with at most MOST_LINES lines in a section and MOST_NAMES names in a line."""
        sections = tuple(replace(each, lines=tuple(first_of(each.lines, MOST_LINES))) for each in self.sections)
        return replace(self, sections=sections, not_undone=tuple(map(cut_names, self.not_undone)))

    @property
    def undo(self) -> tuple[SuggestedCommand, ...]:
        """Return the undo commands, latest change first, without duplicates."""
        return tuple(dict.fromkeys(change.undo for change in reversed(self.changes) if change.undo))

    def to_json(self) -> dict[str, Any]:
        """Return the plan as the JSON result and the event `planned` hold it (docs/reference/results.md)."""
        return {
            "summary": self.summary,
            "changes": [each.to_json() for each in (*self.changes, *self.final_changes)],
            "sections": {section.title: list(section.lines) for section in self.sections},
            "not_undone": list(self.not_undone),
            "follows": list(self.consequences),
            "warnings": list(self.warnings),
            "reason": self.reason.value if self.reason else None,
            **command_to_json("next_step", self.next_step),
            "done": self.done_message,
            "proved": self.proved_claim,
            "proves_health": self.proves_health,
            "tasks": list(self.tasks),
        }


def plan_from_json(summary: str, data: Mapping[str, Any]) -> Plan:
    """Return the plan that `Plan.to_json` wrote, for people only: its final changes are among the others."""
    sections = mapping_in(data, "sections")
    return Plan(
        summary=summary,
        changes=tuple(map(_change_from_json, mappings_in(data, "changes"))),
        sections=tuple(PlanSection(title, texts_in(sections, title)) for title in sections),
        not_undone=texts_in(data, "not_undone"),
        consequences=texts_in(data, "follows"),
        warnings=texts_in(data, "warnings"),
        next_step=command_from_json("next_step", data),
        done_message=text_in(data, "done"),
        proved_claim=text_in(data, "proved"),
        proves_health=data.get("proves_health") is not False,
        tasks=texts_in(data, "tasks"),
    )


def _change_from_json(data: Mapping[str, Any]) -> Change:
    target, before, after, done_when = (text_in(data, name) for name in ("target", "before", "after", "done_when"))
    return Change(target, before, after, done_when, command_from_json("undo", data))


class LiveState(StrEnum):
    """What is live of a run's changes when it ends, as far as it knows; persisted in the event `ended`."""

    UNCHANGED = "unchanged"
    REHEARSED = "rehearsed"
    UNKNOWN = "unknown"
    WRITTEN = "written"
    PARTLY = "partly"
    REPLACED = "replaced"
    MOVED = "moved"
    LEFT = "left"
    LIVE = "live"

    @property
    def words(self) -> str:
        """Return the state as the start of a sentence."""
        return _LIVE_WORDS[self]

    @property
    def is_unchanged(self) -> bool:
        """Whether no change of the plan was made."""
        return self in {LiveState.UNCHANGED, LiveState.REHEARSED, LiveState.LEFT}


_LIVE_WORDS = {
    LiveState.UNCHANGED: "nothing was changed",
    LiveState.REHEARSED: "the traffic was not moved",
    LiveState.UNKNOWN: "unknown whether the change was made",
    LiveState.WRITTEN: "written, not seen live",
    LiveState.PARTLY: "partly changed",
    LiveState.REPLACED: "written, then replaced",
    LiveState.MOVED: "the rehearsal moved the traffic",
    LiveState.LEFT: "not changed, but a rehearsal may be left",
    LiveState.LIVE: "written and live, not proved",
}
NEW_PLAN_HINT = "Check the new state, then start the command again for a new plan."
OUTCOME_WORDS: Mapping[str, str] = {
    "changed": "changed",
    "done_by_others": "already done by another run or person",
    "replaced": "changed, then replaced by somebody else",
    "unknown": "unknown",
    "not_changed": "not changed",
}
"""Key of `outcome` in the JSON result → its words in a message."""


@dataclass
class Progress:
    """Progress of the changes of a plan, by target. `outcome` is complete at any moment."""

    changed: list[str] = field(default_factory=list)
    done_by_others: list[str] = field(default_factory=list)
    """Already in the planned state, but not changed by this run."""
    replaced: list[str] = field(default_factory=list)
    """Changed by this run, and no longer live."""
    unconfirmed: list[str] = field(default_factory=list)
    """Writes that nothing has shown live yet: unclear ones to an API that may lag, and those of an unread batch."""
    asides: set[str] = field(default_factory=set)
    """Targets of begun changes beside the live system."""
    pending_target: str = ""
    """Target of a sent write that is not settled yet; empty if there is none."""
    has_sent: bool = False
    """Whether a write of a change was sent. A rehearsal does not count."""
    is_answered: bool = False
    """Whether the provider answered the pending write, and nothing has shown it live yet."""
    may_have_written: bool = False
    """Whether a write of this run changed something, or may have and no read has disproved it."""
    is_doubtful: bool = False
    """Whether probes before a change did not show those before it in effect."""
    has_rehearsed: bool = False
    """Whether a rehearsal deployed something. Then it is not true that nothing was changed."""
    moved_traffic: str = ""
    """How a rehearsal moved the traffic by accident; empty if it did not."""

    def begin_change(self, change: Change) -> None:
        """Note that the write of this change is about to be sent."""
        self.pending_target, self.is_answered = change.target, False
        if change.is_aside:
            self.asides.add(change.target)
        else:
            self.has_sent = self.may_have_written = True

    def begin_read_back(self, change: Change, *, is_answered: bool) -> None:
        """Note that a change is read back whose write was sent before those of other changes."""
        if change.target in self.unconfirmed:
            self.unconfirmed.remove(change.target)
        self.pending_target, self.is_answered = change.target, is_answered

    def settle_change(self, change: Change, group: list[str]) -> None:
        """Move the change to `group`, which is one of the lists above."""
        self.pending_target = ""
        for former in (self.changed, self.unconfirmed):
            if change.target in former:
                former.remove(change.target)
        group.append(change.target)
        self.may_have_written = self._is_known_to_have_written

    def drop_change(self, *, verified: bool) -> None:
        """Note that the pending change was not made.

        `verified`: the state was read afterwards, or the provider named the rejected value.
        """
        is_aside, self.pending_target = self.pending_target in self.asides, ""
        self.may_have_written = self._is_known_to_have_written or not (verified or is_aside)

    def note_undone(self, taken_back: Collection[str]) -> None:
        """Note that this run took these targets back: none of its changes is live."""
        for targets in (self.changed, self.unconfirmed):
            targets[:] = [each for each in targets if each not in taken_back]
        self.may_have_written = self._is_known_to_have_written

    def note_moved_traffic(self, text: str) -> None:
        """Note that a rehearsal moved the traffic, which counts as a write also after its repair."""
        self.moved_traffic, self.may_have_written = text, True

    @property
    def _is_known_to_have_written(self) -> bool:
        targets = {*self.changed, *self.replaced, *self.unconfirmed} - self.asides
        return bool(targets or self.moved_traffic)

    def live_state(self, plan: Plan | None, *, is_seen: bool) -> LiveState:
        """Return what is live. `is_seen`: each answered change was read back or seen by a probe."""
        asides = self.asides | {each.target for each in plan.changes if each.is_aside} if plan else self.asides
        outcome = {name: [each for each in found if each not in asides] for name, found in self.outcome(plan).items()}
        if outcome["replaced"]:
            return LiveState.REPLACED
        if outcome["changed"] and (outcome["unknown"] or outcome["not_changed"]):
            return LiveState.PARTLY
        if outcome["unknown"]:
            return LiveState.WRITTEN if self.is_answered else LiveState.UNKNOWN
        if outcome["changed"] or (outcome["done_by_others"] and not is_seen):
            return LiveState.LIVE if is_seen else LiveState.WRITTEN
        if self.may_have_written and not self._is_known_to_have_written:
            return LiveState.UNKNOWN if self.has_sent else LiveState.LEFT
        if self.moved_traffic:
            return LiveState.MOVED
        return LiveState.REHEARSED if self.has_rehearsed else LiveState.UNCHANGED

    def outcome(self, plan: Plan | None) -> dict[str, list[str]]:
        """Return the targets of the changes, grouped by the keys of OUTCOME_WORDS."""
        known = {
            "changed": self.changed,
            "done_by_others": self.done_by_others,
            "replaced": self.replaced,
            "unknown": [*self.unconfirmed, *([self.pending_target] if self.pending_target else [])],
        }
        settled = {target for targets in known.values() for target in targets}
        planned = [change.target for change in (*plan.changes, *plan.final_changes)] if plan else []
        return {**known, "not_changed": [target for target in planned if target not in settled]}

    def describe_held_back(self, plan: Plan) -> str:
        """Return the end of a message that names the final changes which the probes held back; empty without any."""
        final = {change.target for change in plan.final_changes}
        left = [target for target in self.outcome(plan)["not_changed"] if target in final]
        return f"; {OUTCOME_WORDS['not_changed']}: {', '.join(first_of(left))}" if left else ""

    def describe(self, plan: Plan | None) -> str:
        """Describe the outcome; empty if there is one change only, or none was started."""
        outcome = self.outcome(plan)
        if sum(map(len, outcome.values())) < 2 or not any(
            outcome[name] for name in OUTCOME_WORDS if name != "not_changed"
        ):
            return ""
        stored = [each for each in outcome["changed"] if each in self.asides]
        words = {**outcome, "changed": [each for each in outcome["changed"] if each not in self.asides]}
        texts = [f"{OUTCOME_WORDS[name]}: {', '.join(first_of(found))}" for name, found in words.items() if found]
        return "; ".join([*([f"stored: {', '.join(stored)}"] if stored else []), *texts])


def changed_after_plan_error(text: str, progress: Progress) -> OpsError:
    """Return the error for a live state that changed between the plan and the write."""
    kind = ProviderError if progress.may_have_written else Refused
    return kind(f"the live state changed after the plan: {text}", reason=Reason.WORLD_MOVED, hint=NEW_PLAN_HINT)


def replaced_error(text: str, *, made: bool) -> ProviderError:
    """Return the error for another change that is live after our write. `made`: ours was live before it."""
    first = "our change was made and then replaced; " if made else ""
    return ProviderError(
        f"{first}somebody else's change is live, not ours: {text}",
        reason=Reason.WORLD_MOVED,
        hint="Ask the author of that change first. Then start the command again for a new plan.",
    )

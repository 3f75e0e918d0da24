"""Reset Durable Objects, and prove that they restarted.

A restart clears memory only; storage (SQLite or key-value) and alarms are kept
(developers.cloudflare.com/durable-objects/concepts/durable-object-lifecycle). A reset is idempotent, so an unclear
reset is settled by reading the object, or by sending the reset again.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion, describe_split
from ops.core.errors import ConfigError, OpsError, Reason, Refused
from ops.core.next_step import SuggestedCommand
from ops.core.plan import PlanSection
from ops.core.threads import run_parallel_mixed
from ops.core.verdict import ObjectObservation, is_number
from ops.engine.context import Context
from ops.engine.step import ChangeState, ObservedState, ReadBackWords, Step, WriteAttempt
from ops.workers import refusals
from ops.workers.reupload import DeployUpload

if TYPE_CHECKING:
    from ops.config import Service
    from ops.config.sections import DurableObject

KEPT_SECTION = "Kept by the objects"
OTHERS_SECTION = "Durable Objects not restarted"


BINDING_TYPE = "durable_object_namespace"
FALLBACK_HINT = (
    "Deploy the live commit again through CI: every new version restarts the objects, busy ones within five minutes."
)
NOT_UNDONE = ("the lost memory of the objects; it cannot be restored",)
KEPT = ("storage (SQLite or key-value): stored quotas, counters and sessions", "alarms")
CONNECTIONS_CLOSED = "WebSockets of the objects close, and requests in progress may fail: clients must retry"
RESETS_AGAIN = ReadBackWords(repeat="it resets once more, which clears the memory again.")
NOTHING_TO_UNDO = (
    "the code stays the same, so there is nothing to undo. The undo command deploys the previous version and restarts "
    "the objects again"
)


@dataclass(frozen=True)
class WorkerClasses:
    """Durable Object classes of a Worker. `own`: class → the bindings through which the Worker reaches it."""

    own: dict[str, tuple[str, ...]]
    bound_elsewhere: dict[str, str]
    """Binding → the other Worker that exports the class; that Worker's deployments restart the objects."""
    elsewhere: dict[str, str]
    """Class → that other Worker."""


def find_classes(version: WorkerVersion, worker: str) -> WorkerClasses:
    """Find the classes in the exports and the bindings of a version; each list may be incomplete."""
    own: dict[str, tuple[str, ...]] = dict.fromkeys(sorted(version.durable_object_classes), ())
    bound_elsewhere, elsewhere = {}, {}
    for (kind, name), rest in sorted(version.bindings.items()):
        if kind != BINDING_TYPE:
            continue
        binding = json.loads(rest)
        if (script := binding.get("script_name") or worker) != worker:
            bound_elsewhere[name] = elsewhere[str(binding.get("class_name") or "")] = str(script)
        else:
            called = str(binding.get("class_name") or f"the class behind {name}")
            own[called] = (*own.get(called, ()), name)
    return WorkerClasses(own, bound_elsewhere, elsewhere)


def object_reset_sections(classes: WorkerClasses) -> tuple[PlanSection, ...]:
    restart = [f"{name}, bound as {', '.join(by)}" if by else name for name, by in classes.own.items()]
    others = [
        f"{name}: belongs to Worker {worker}, whose deployments restart it"
        for name, worker in classes.bound_elsewhere.items()
    ]
    listed = (
        PlanSection("Every object of these classes restarts", tuple(restart)),
        PlanSection(OTHERS_SECTION, tuple(others)),
        PlanSection(KEPT_SECTION, KEPT),
    )
    return tuple(section for section in listed if section.lines)


def has_restarted(before: ObjectObservation | None, now: ObjectObservation, *, is_answered: bool) -> bool:
    """Return whether the object restarted: another text, a lower count, or, after a confirmed reset, a count of 0."""
    if is_answered and now.proof == 0:
        return True
    if before is None or isinstance(before.proof, str) != isinstance(now.proof, str):
        return False
    return now.proof != before.proof if isinstance(now.proof, str) else now.proof < before.proof  # type: ignore[operator]


def is_storage_kept(before: Any, now: Any) -> bool:
    """Return whether the stored value is unchanged, or is a number that grew through use."""
    return bool(before == now) or (is_number(before) and is_number(now) and now > before)


def list_unexpected_classes(names: dict[str, str], classes: WorkerClasses) -> Iterator[str]:
    """Yield objects of ops.yml whose class the live version does not export. `names`: object → class."""
    for name, called in names.items():
        if called not in classes.own:
            yield f"{name} is a {called} in ops.yml, but the live version does not export this class"


def find_owner_elsewhere(names: dict[str, str], classes: WorkerClasses) -> str:
    """Return the other Worker that owns every object of ops.yml; empty if this one may own one."""
    owners = {"" if called in classes.own else classes.elsewhere.get(called, "") for called in names.values()}
    return owners.pop() if len(owners) == 1 else ""


@dataclass
class TrackedObject:
    """An object of ops.yml, and the progress of its reset."""

    name: str
    service: "Service"
    spec: "DurableObject"
    before: ObjectObservation | str = ""
    """State before the reset, or the reason why it is unknown."""
    reset: WriteAttempt = field(default_factory=WriteAttempt)
    """The write that restarts the object; a read may answer it too."""
    storage_problem: str = ""
    """A stored value that changed, for people; empty if none did."""
    notes: tuple[str, ...] = ()

    @property
    def has_state_endpoint(self) -> bool:
        return self.spec.state is not None

    @property
    def memory_text(self) -> str:
        """Return the object's memory as last read before the reset, for people."""
        if not self.has_state_endpoint:
            return "its memory (no `state` in ops.yml)"
        return self.before if isinstance(self.before, str) else self.describe_state(self.before)

    def describe_state(self, seen: ObjectObservation) -> str:
        """Return a state for people. A text comes from the application and is not repeated."""
        if isinstance(seen.proof, str):
            return f"an unchanged {self.spec.proof}"
        return f"{seen.proof:g} at {self.spec.proof}"


def read_object_state(ctx: Context[Any], tracked_object: TrackedObject) -> ObjectObservation | str | OpsError:
    """Return the state, the reason why it is unknown, or the error if the application denies access."""
    try:
        return ctx.web.durable_objects.read_state(tracked_object.service.url, tracked_object.spec)
    except OpsError as error:
        return error


def refuse_with_alternative(ctx: Context[Any], error: OpsError) -> Refused:
    """Return the refusal of one object's reset, with the alternative: a new version restarts every object."""
    hint = f"{error.hint} Or reset every object of the Worker."
    return Refused(error.message, reason=error.reason, hint=hint, suggested_command=suggest_full_reset(ctx))


def suggest_full_reset(ctx: Context[Any]) -> SuggestedCommand:
    return ctx.suggest("reset-durable-object", service=ctx.params.service)


def require_live_deployment(
    ctx: Context[Any], service: "Service", deployments: tuple[WorkerDeployment, ...]
) -> WorkerDeployment:
    """Return the live deployment; refuse if it is newer than the request, or if versions share the traffic."""
    if not deployments:
        hint = "Deploy the Worker first."
        raise Refused(f"{service.worker} has no deployment", reason=Reason.NO_TARGET, hint=hint)
    live = deployments[0]
    refusals.check_not_superseded(live, ctx.request.requested_at)
    if len(live.split) > 1:
        raise Refused(
            f"{describe_split(live.split)} share the traffic of {service.worker}; a reset would give it all to one",
            reason=Reason.NOT_REBUILDABLE,
            hint="Give all traffic to one of them with this command (replace VERSION), then run the reset again.",
            suggested_command=ctx.suggest("rollback-worker", service=ctx.params.service, to="VERSION"),
        )
    return live


@dataclass(frozen=True, kw_only=True, eq=False)
class ResetObject(Step):
    """Let the application reset one object. It is in use, so its state before the write is not compared."""

    tracked: TrackedObject
    words: ReadBackWords = RESETS_AGAIN

    def check(self, ctx: Context[Any]) -> ObservedState:
        tracked = self.tracked
        if not tracked.reset.sent:
            now = read_object_state(ctx, tracked) if tracked.has_state_endpoint else ""
            tracked.before = now if isinstance(now, ObjectObservation) else tracked.before
            return ObservedState(ChangeState.PLANNED, f"{tracked.name} has {tracked.memory_text}")
        if not tracked.has_state_endpoint:
            if tracked.reset.is_answered:
                return ObservedState(ChangeState.DONE, f"the application confirms the reset of {tracked.name}")
            text = f"it is unknown whether {tracked.name} was reset"
            return ObservedState(ChangeState.PLANNED, text, is_uncertain=tracked.reset.attempts > 1)
        now = read_object_state(ctx, tracked)
        if why := _missing_proof(tracked, now):
            is_unreadable = tracked.reset.attempts > 1 and not isinstance(now, ObjectObservation)
            return ObservedState(ChangeState.PLANNED, why, is_uncertain=tracked.reset.is_answered or is_unreadable)
        return ObservedState(ChangeState.DONE, f"{tracked.name} restarted", notes=tracked.notes)

    def apply(self, ctx: Context[Any]) -> str:
        tracked = self.tracked
        try:
            return tracked.reset.send(lambda: ctx.web.durable_objects.reset(tracked.service.url, tracked.spec))
        except (ConfigError, Refused) as error:
            raise refuse_with_alternative(ctx, error) from None


@dataclass(frozen=True, kw_only=True, eq=False)
class RestartObjects(Step):
    """Deploy the same code again, which restarts every object. Their state is the proof afterwards."""

    deploying: DeployUpload
    tracked: tuple[TrackedObject, ...]
    """Objects whose state can be read."""
    words: ReadBackWords = RESETS_AGAIN

    @classmethod
    def of(cls, deploying: DeployUpload, tracked: tuple[TrackedObject, ...]) -> "RestartObjects":
        return cls(*deploying.values, deploying.done_when, deploying.undo, deploying=deploying, tracked=tracked)

    def check(self, ctx: Context[Any]) -> ObservedState:
        """Return DONE once the new version is live and, after its write is settled, each readable object restarted."""
        world = self.deploying.check(ctx)
        if world.state != ChangeState.DONE:
            return world
        if all(each.reset.is_answered for each in self.tracked):
            return self._prove_restarts(ctx, world)
        self._note_answer()
        return world

    def apply(self, ctx: Context[Any]) -> str:
        said = self.deploying.apply(ctx)
        self._note_answer()
        return said

    def _note_answer(self) -> None:
        for each in self.tracked:
            each.reset.is_answered = True

    def _prove_restarts(self, ctx: Context[Any], world: ObservedState) -> ObservedState:
        seen = run_parallel_mixed([partial(read_object_state, ctx, each) for each in self.tracked])
        proofs = [_missing_proof(each, now, restarted=True) for each, now in zip(self.tracked, seen, strict=True)]
        if missing := [why for why in proofs if why]:
            text = f"{world.text}, but {'; '.join(missing)}"
            return replace(world, state=ChangeState.PLANNED, text=text, is_uncertain=True)
        restarted = [f"{each.name} restarted" for each in self.tracked if isinstance(each.before, ObjectObservation)]
        notes = [note for each in self.tracked for note in each.notes]
        return replace(world, text="; ".join([world.text, *restarted]), notes=(*world.notes, *notes))


def _missing_proof(
    tracked_object: TrackedObject, now: ObjectObservation | str | OpsError, *, restarted: bool = False
) -> str:
    """Return why a restart is not proved; empty if it is. Then also compare the stored value.

    `restarted`: a new version of the Worker is live, so an object without a known earlier state counts as restarted.
    """
    if not isinstance(now, ObjectObservation):
        return f"{tracked_object.name}: {now.message if isinstance(now, OpsError) else now}"
    before = tracked_object.before if isinstance(tracked_object.before, ObjectObservation) else None
    tracked_object.notes, tracked_object.storage_problem = (), ""
    if before is None and restarted:
        tracked_object.notes = (
            f"the state of {tracked_object.name} before the reset is unknown, so its restart is not proved",
        )
    elif not has_restarted(before, now, is_answered=tracked_object.reset.is_answered):
        return (
            f"{tracked_object.name} still has {tracked_object.describe_state(now)}"
            if before
            else f"{tracked_object.name} has no earlier state to compare with"
        )
    path = tracked_object.spec.keeps
    if path and not tracked_object.notes and (before is None or before.stored_value is None):
        tracked_object.notes = (
            (
                f"the value of {tracked_object.name} at {path} before the reset is unknown, so it is not "
                "proved that storage was kept"
            ),
        )
    elif path and before and not is_storage_kept(before.stored_value, now.stored_value):
        tracked_object.storage_problem = f"{path} of {tracked_object.name} changed, although a reset keeps storage"
    return ""

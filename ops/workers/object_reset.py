"""Empty the memory of Durable Objects: which ones restart with a Worker, how one is reset, and what proves it.

A restart takes memory only; storage (SQLite or key-value) and alarms stay
(developers.cloudflare.com/durable-objects/concepts/durable-object-lifecycle). A reset may be sent again without harm,
so a lost answer is settled by reading the object, or by sending it once more.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ops.cloudflare.types.workers import WorkerVersion
from ops.core.errors import OpsError, UnclearWrite
from ops.core.observations import ObjectObservation, is_number
from ops.core.plan import PlanSection
from ops.core.threads import run_parallel_mixed
from ops.engine.context import Context
from ops.engine.runbook import ChangeState, ObservedState

if TYPE_CHECKING:
    from ops.config import Service
    from ops.config.durable_objects import DurableObject


BINDING_TYPE = "durable_object_namespace"
FALLBACK_HINT = (
    "Deploy the commit that serves once more by CI: every new version restarts them, a busy one within five minutes."
)
NOT_UNDONE = ("what the objects held in memory: it is gone, and nothing brings it back",)
KEPT = ("storage, in SQLite or as keys and values: quotas, counters, sessions that were stored", "alarms that are set")
CONNECTIONS_CLOSED = (
    "their WebSockets are closed, and requests under way in them may fail: whoever called has to call again"
)
NOTHING_TO_UNDO = (
    "there is nothing to undo, since the code stays the same: the undo puts the former version back, and so restarts "
    "them once more"
)


@dataclass(frozen=True)
class WorkerClasses:
    """Class → the bindings by which the Worker itself reaches it."""

    own: dict[str, tuple[str, ...]]
    bound_elsewhere: dict[str, str]
    """Binding → the Worker whose class it is: its objects go by that one's deployments."""


def find_classes(version: WorkerVersion, worker: str) -> WorkerClasses:
    """By what the version exports and what it is bound to: either may show more than the other."""
    own: dict[str, tuple[str, ...]] = dict.fromkeys(sorted(version.durable_object_classes), ())
    bound_elsewhere = {}
    for (kind, name), rest in sorted(version.bindings.items()):
        if kind != BINDING_TYPE:
            continue
        binding = json.loads(rest)
        if (script := binding.get("script_name") or worker) != worker:
            bound_elsewhere[name] = str(script)
        else:
            called = str(binding.get("class_name") or f"the class behind {name}")
            own[called] = (*own.get(called, ()), name)
    return WorkerClasses(own, bound_elsewhere)


def build_sections(found: WorkerClasses) -> tuple[PlanSection, ...]:
    restart = [f"{name}, bound as {', '.join(by)}" if by else name for name, by in found.own.items()]
    others = [
        f"{name}: of Worker {worker}, whose deployments restart it" for name, worker in found.bound_elsewhere.items()
    ]
    listed = (
        PlanSection("Durable Objects that restart, every object of", tuple(restart)),
        PlanSection("Not restarted", tuple(others)),
        PlanSection("Stays", KEPT),
    )
    return tuple(section for section in listed if section.lines)


def has_restarted(before: ObjectObservation | None, now: ObjectObservation, *, is_answered: bool) -> bool:
    """It shows another text, or counts less than before, or nothing at all, which proves no reset without an answer."""
    if is_answered and now.proof == 0:
        return True
    if before is None or isinstance(before.proof, str) != isinstance(now.proof, str):
        return False
    return now.proof != before.proof if isinstance(now.proof, str) else now.proof < before.proof  # type: ignore[operator]


def is_storage_kept(before: Any, now: Any) -> bool:
    """The same; or a number that grew, since the object goes on being used."""
    return bool(before == now) or (is_number(before) and is_number(now) and now > before)


def list_unexpected_classes(names: dict[str, str], found: WorkerClasses) -> Iterator[str]:
    """`names`: object → its class, as ops.yml has them."""
    for name, called in names.items():
        if called not in found.own:
            yield f"ops.yml says that {name} is a {called}, and what serves exports no such class"


@dataclass
class TrackedObject:
    """One object of ops.yml, and what is known of it so far."""

    name: str
    service: "Service"
    spec: "DurableObject"
    before: ObjectObservation | str = ""
    """What it showed before the write; or why that is not known."""
    attempts: int = 0
    sent: int = 0
    """Tries that may have been applied."""
    is_answered: bool = False
    """The write that makes it begin anew was answered, or seen to be live."""
    storage_problem: str = ""
    """What of its storage is not as it was."""
    notes: tuple[str, ...] = ()

    @property
    def has_state_endpoint(self) -> bool:
        return self.spec.state is not None

    @property
    def memory_text(self) -> str:
        """What it has in memory, as of the last look before the write."""
        if not self.has_state_endpoint:
            return "its memory, which ops.yml names no `state` of"
        return self.before if isinstance(self.before, str) else self.describe_state(self.before)

    def describe_state(self, seen: ObjectObservation) -> str:
        """A text is the application's, and is not repeated."""
        if isinstance(seen.proof, str):
            return f"{self.spec.proof} as it was before"
        return f"{seen.proof:g} at {self.spec.proof}"


def read_state(ctx: Context[Any], it: TrackedObject) -> ObjectObservation | str | OpsError:
    """What it shows; why that is not known; or, as a value, that the application shows it to nobody like us."""
    try:
        return ctx.web.durable_objects.read_state(it.service.url, it.spec)
    except OpsError as error:
        return error


def send_reset(ctx: Context[Any], it: TrackedObject) -> str:
    """The one write. Raises what `Admin.reset` raises."""
    it.attempts += 1
    it.sent += 1
    try:
        said = ctx.web.durable_objects.reset(it.service.url, it.spec)
    except UnclearWrite:
        raise
    except OpsError:
        it.sent -= 1
        raise
    it.is_answered = True
    return said


def check_object(ctx: Context[Any], it: TrackedObject) -> ObservedState:
    """How the one object stands: it is in use, so before the write there is nothing that could have moved."""
    if not it.sent:
        now = read_state(ctx, it) if it.has_state_endpoint else ""
        it.before = now if isinstance(now, ObjectObservation) else it.before
        return ObservedState(ChangeState.PLANNED, f"{it.name} has {it.memory_text}")
    if not it.has_state_endpoint:
        if it.is_answered:
            return ObservedState(ChangeState.DONE, f"the application says that it reset {it.name}")
        return ObservedState(
            ChangeState.PLANNED, f"nothing shows whether {it.name} was reset", is_uncertain=it.attempts > 1
        )
    now = read_state(ctx, it)
    if why := _missing_proof(it, now):
        return ObservedState(
            ChangeState.PLANNED,
            why,
            is_uncertain=it.is_answered or (it.attempts > 1 and not isinstance(now, ObjectObservation)),
        )
    return ObservedState(ChangeState.DONE, f"{it.name} began anew", notes=it.notes)


def verify_restarts(ctx: Context[Any], tracked: Sequence[TrackedObject], world: ObservedState) -> ObservedState:
    """Of a Worker whose new version is live: it is DONE once each object that can be looked at began anew."""
    seen = run_parallel_mixed([partial(read_state, ctx, it) for it in tracked])
    missing = [why for it, now in zip(tracked, seen, strict=True) if (why := _missing_proof(it, now, restarted=True))]
    if missing:
        return replace(
            world, state=ChangeState.PLANNED, text=f"{world.text}, but {'; '.join(missing)}", is_uncertain=True
        )
    text = "; ".join(
        [world.text, *(f"{it.name} began anew" for it in tracked if isinstance(it.before, ObjectObservation))]
    )
    return replace(world, text=text, notes=(*world.notes, *(note for it in tracked for note in it.notes)))


def _missing_proof(it: TrackedObject, now: ObjectObservation | str | OpsError, *, restarted: bool = False) -> str:
    """Nothing where it began anew; then it is known too what became of its storage.

    `restarted`: a new version of its Worker is live, so that an object that could not be looked at before is believed.
    """
    if not isinstance(now, ObjectObservation):
        return f"{it.name}: {now.message if isinstance(now, OpsError) else now}"
    before = it.before if isinstance(it.before, ObjectObservation) else None
    it.notes, it.storage_problem = (), ""
    if before is None and restarted:
        it.notes = (f"what {it.name} showed before is not known, so there was nothing to compare with",)
    elif not has_restarted(before, now, is_answered=it.is_answered):
        return f"{it.name} still has {it.describe_state(now)}" if before else f"{it.name} shows nothing to compare with"
    path = it.spec.keeps
    if path and not it.notes and (before is None or before.stored_value is None):
        it.notes = (f"what {it.name} had at {path} before is not known, so that it was kept is not proved",)
    elif path and before and not is_storage_kept(before.stored_value, now.stored_value):
        it.storage_problem = f"{path} of {it.name} is not what it was before, though a reset keeps what is in storage"
    return ""

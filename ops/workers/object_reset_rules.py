"""Emptying the memory of Durable Objects: which ones restart with a Worker, and what shows that one began anew. Pure.

A restart takes memory alone; storage (SQLite or key-value) and alarms stay
(developers.cloudflare.com/durable-objects/concepts/durable-object-lifecycle).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ops.cloudflare.types.workers import Version
from ops.core.observations import Seen, is_number
from ops.core.plan import Section

BINDING = "durable_object_namespace"
WAY_ON = (
    "Deploy the commit that serves once more by CI: every new version restarts them, a busy one within five minutes."
)
NOT_UNDONE = ("what the objects held in memory: it is gone, and nothing brings it back",)
STAYS = ("storage, in SQLite or as keys and values: quotas, counters, sessions that were stored", "alarms that are set")
DROPS = "their WebSockets are closed, and requests under way in them may fail: whoever called has to call again"
NOTHING_TO_UNDO = (
    "there is nothing to undo, since the code stays the same: the undo puts the former version back, and so restarts "
    "them once more"
)


@dataclass(frozen=True)
class Classes:
    """Class → the bindings by which the Worker itself reaches it."""

    own: dict[str, tuple[str, ...]]
    of_others: dict[str, str]
    """Binding → the Worker whose class it is: its objects go by that one's deployments."""


def classes(version: Version, worker: str) -> Classes:
    """By what the version exports and what it is bound to: either may show more than the other."""
    own: dict[str, tuple[str, ...]] = dict.fromkeys(sorted(version.durable_objects), ())
    of_others = {}
    for (kind, name), rest in sorted(version.bindings.items()):
        if kind != BINDING:
            continue
        binding = json.loads(rest)
        if (script := binding.get("script_name") or worker) != worker:
            of_others[name] = str(script)
        else:
            called = str(binding.get("class_name") or f"the class behind {name}")
            own[called] = (*own.get(called, ()), name)
    return Classes(own, of_others)


def sections(found: Classes) -> tuple[Section, ...]:
    restart = [f"{name}, bound as {', '.join(by)}" if by else name for name, by in found.own.items()]
    others = [f"{name}: of Worker {worker}, whose deployments restart it" for name, worker in found.of_others.items()]
    listed = (
        Section("Durable Objects that restart, every object of", tuple(restart)),
        Section("Not restarted", tuple(others)),
        Section("Stays", STAYS),
    )
    return tuple(section for section in listed if section.lines)


def began_anew(before: Seen | None, now: Seen, *, answered: bool) -> bool:
    """It shows another text, or counts less than before, or nothing at all, which proves no reset without an answer."""
    if answered and now.proof == 0:
        return True
    if before is None or isinstance(before.proof, str) != isinstance(now.proof, str):
        return False
    return now.proof != before.proof if isinstance(now.proof, str) else now.proof < before.proof  # type: ignore[operator]


def is_kept(before: Any, now: Any) -> bool:
    """The same; or a number that grew, since the object goes on being used."""
    return bool(before == now) or (is_number(before) and is_number(now) and now > before)


def stray(names: dict[str, str], found: Classes) -> Iterator[str]:
    """`names`: object → its class, as ops.yml has them."""
    for name, called in names.items():
        if called not in found.own:
            yield f"ops.yml says that {name} is a {called}, and what serves exports no such class"

"""The writes that take something off and put it back, as values; and which of them the live routes still need. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ops.cloudflare.types.workers import Deployment, short
from ops.cloudflare.types.zones import Route, Subdomain
from ops.core.names import MAINTENANCE_WORKER as WORKER
from ops.maintenance.routes import Ways
from ops.maintenance.state import Block, Closed, Stored

OFF = Subdomain(enabled=False, previews=False)


@dataclass(frozen=True)
class Create:
    """ops-maintenance itself, where there is none."""


@dataclass(frozen=True)
class Store:
    """Upload a version that says what is off."""

    blocks: tuple[Block, ...]
    live: Deployment
    opened: tuple[Block, ...] = ()
    """What is opened although it was not closed completely."""


@dataclass(frozen=True)
class Deploy:
    """Let the version that this run uploaded serve; it stores `blocks`."""

    live: Deployment
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Turn:
    """Let a route lead to another Worker."""

    route: Route
    to: str


@dataclass(frozen=True)
class Add:
    zone: str
    pattern: str


@dataclass(frozen=True)
class Remove:
    route: Route


@dataclass(frozen=True)
class Switch:
    worker: str
    before: Subdomain
    after: Subdomain


Step = Create | Store | Deploy | Turn | Add | Remove | Switch


@dataclass(frozen=True)
class Left:
    """What is not put back, since somebody else changed it meanwhile."""

    key: tuple[str, str]
    text: str


def described(step: Step) -> tuple[str, str, str, str]:
    """Target, before, after, and how it is told that it is done."""
    match step:
        case Create():
            return f"Worker {WORKER}", "there is none", "answers 503", f"{WORKER} is there, deployed by this run"
        case Store(blocks=blocks, live=live):
            kept = (
                f"says what is off ({', '.join(block.what for block in blocks) or 'nothing'}), with all former values"
            )
            before = f"{short(live.split[0][0])} is the live one"
            return f"New version of {WORKER}", before, kept, "a version with this run's mark is listed"
        case Deploy(live=live):
            return f"Worker {WORKER}", short(live.split[0][0]), "the new version", "its deployment is listed first"
        case Turn(route=route, to=to):
            return f"Route {route.pattern}", route.script or "no Worker", to, f"the route leads to {to}"
        case Add(pattern=pattern):
            return f"Route {pattern}", "there is none", WORKER, f"the route is there and leads to {WORKER}"
        case Remove(route=route):
            return f"Route {route.pattern}", WORKER, "there is none", "the route is gone"
        case Switch(worker=worker, before=before_, after=after):
            return f"workers.dev of {worker}", str(before_), str(after), "Cloudflare answers both switches so"


def to_close(ways: Ways, block: Block, wanted: Iterable[Closed]) -> Iterator[Step]:
    """Those that do not lead to ops-maintenance yet; what is stored of old and no longer wanted is let be."""
    keys = {each.key for each in wanted}
    for each in block.closed:
        live = ways.live(*each.key)
        if each.key in keys and (live is None or live.script != WORKER):
            yield Add(each.zone, each.pattern) if live is None else Turn(live, WORKER)
    if not block.path and ways.subdomain != OFF:
        yield Switch(ways.worker, ways.subdomain, OFF)


def to_open(ways: Ways, opened: tuple[Block, ...], remaining: tuple[Block, ...]) -> tuple[list[Step], list[Left]]:
    """What is stored of `opened` and nothing that remains off needs, as far as it still leads to ops-maintenance."""
    steps: list[Step] = []
    left: list[Left] = []
    held = Stored(remaining, "").closed
    for key, each in Stored(opened, "").closed.items():
        live = ways.live(*key)
        if key in held or (live is None and not each.id) or (live is not None and each.id and live.script == each.was):
            continue
        if live is not None and live.script == WORKER:
            steps.append(Turn(live, each.was) if each.id else Remove(live))
        else:
            now = "it is gone" if live is None else f"it leads to {live.script or 'no Worker'}"
            left.append(Left(key, f"the route {each.pattern}: {now}, and was → {each.was or 'none before'}"))
    former = next((block.subdomain for block in opened if block.subdomain), None)
    if (
        former is not None
        and ways.subdomain != former
        and not any(b.subdomain for b in remaining if b.worker == ways.worker)
    ):
        if ways.subdomain == OFF:
            steps.append(Switch(ways.worker, OFF, former))
        else:
            left.append(Left(("", "workers.dev"), f"workers.dev: it is {ways.subdomain}, and was {former}"))
    return steps, left

"""Find routes that lead to ops-maintenance although its live version does not store them, and their former values.

Two runs at once can leave such a route. Each version of ops-maintenance keeps what its run stored, so an older version
says where the route led before. Pure.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ops.cloudflare.types.zones import Route
from ops.maintenance.routes import Ways
from ops.maintenance.state import Block, Closed, Stored, merged, with_block
from ops.maintenance.writes import OFF


@dataclass(frozen=True)
class Recovered:
    """What the live version stores, completed by what was recovered for one Worker."""

    stored: Stored
    routes: tuple[Route, ...] = ()
    """Orphaned routes whose former value is known."""
    unknown: tuple[Route, ...] = ()
    """Orphaned routes of which no version says anything for this Worker."""
    is_subdomain: bool = False
    """Whether workers.dev was recovered too."""


def orphans(routes: Iterable[Route], stored: Stored) -> tuple[Route, ...]:
    """`routes`: those that lead to ops-maintenance."""
    return tuple(route for route in routes if (route.zone, route.pattern) not in stored.closed)


def explains(block: Block, route: Route, worker: str) -> Closed | None:
    """What `block` stores of the route: it led to `worker`, or it was added. Another id is another route."""
    if block.worker != worker:
        return None
    found = next((each for each in block.closed if each.key == (route.zone, route.pattern)), None)
    fits = found is not None and (not found.id or (found.id == route.id and found.was == worker))
    return found if fits else None


def recover(ways: Ways, stored: Stored, older: Iterable[Stored], service: str) -> Recovered:
    """`older`: what earlier versions stored, newest first."""
    known = [*stored.opened, *(block for each in older for block in (*each.blocks, *each.opened))]
    blocks: tuple[Block, ...] = ()
    routes, unknown = [], []
    for route in orphans(ways.stray, stored):
        found = _former(known, route, ways.worker)
        if found is None:
            unknown.append(route)
            continue
        block, closed = found
        routes.append(route)
        # While a route that it closed is closed, workers.dev is off for the same reason.
        subdomain = block.subdomain if _is_subdomain_lost(ways, stored) else None
        blocks = _with(blocks, stored, replace(block, service=service, closed=(closed,), subdomain=subdomain))
    for block in _subdomains(ways, stored):
        blocks = _with(blocks, stored, replace(block, service=service, closed=()))
    is_subdomain = any(block.subdomain for block in blocks) and _is_subdomain_lost(ways, stored)
    return Recovered(merged(stored, [Stored(blocks, "")]), tuple(routes), tuple(unknown), is_subdomain)


def _is_subdomain_lost(ways: Ways, stored: Stored) -> bool:
    """Whether workers.dev is off and nothing stores its former value."""
    return ways.subdomain == OFF and not any(b.subdomain for b in stored.blocks if b.worker == ways.worker)


def _former(known: Iterable[Block], route: Route, worker: str) -> tuple[Block, Closed] | None:
    """An id says more than none: a route with that id was there before."""
    found = [(block, closed) for block in known if (closed := explains(block, route, worker)) is not None]
    return next((each for each in found if each[1].id), found[0] if found else None)


def _subdomains(ways: Ways, stored: Stored) -> Iterator[Block]:
    """Only where a run that opened the service saw workers.dev not switched off yet: a person may switch it off too."""
    for block in stored.opened:
        if block.worker == ways.worker and block.subdomain and _is_subdomain_lost(ways, stored):
            yield block


def _with(blocks: tuple[Block, ...], stored: Stored, block: Block) -> tuple[Block, ...]:
    """Added to the block of the same path, so that it keeps the end and the message that it has now."""
    same = next((each for each in blocks if each.path == block.path), None) or stored.block(block.service, block.path)
    if same is None:
        return (*blocks, replace(block, reopen_at_end=False))
    added = {each.key: each for each in (*same.closed, *block.closed)}
    both = replace(same, closed=tuple(added.values()), subdomain=same.subdomain or block.subdomain)
    return with_block(blocks, both)


def is_unfinished(ways: Ways, block: Block) -> bool:
    """Whether something of it is open: another run may be about to close it, or to open it."""
    open_ones = (each for each in block.closed if ways.live(*each.key) not in ways.stray)
    return any(open_ones) or bool(block.subdomain and ways.subdomain != OFF)


def record_opened(ways: Ways, stored: Stored, opened: Iterable[Block]) -> tuple[Block, ...]:
    """What a run that opens `opened` stores of it, so that the next one finds what was closed in the meantime."""
    others = tuple(block for block in stored.opened if block.worker != ways.worker)
    return (*others, *(block for block in opened if is_unfinished(ways, block)))

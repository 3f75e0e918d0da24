"""Maintenance windows: how people request them, and how the Worker ops-maintenance stores them in its variables.

Cloudflare's limits: 5 KB for a variable, 64 variables for a Worker (developers.cloudflare.com/workers/platform/limits).
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from ops.cloudflare.types.zones import Subdomain
from ops.core.clock import parse_utc
from ops.core.duration import ending
from ops.core.errors import ConfigError

RUN, BASE, BLOCK, OPENED = "RUN", "BASE", "BLOCK_", "OPENED_"
"""Variables: the run that stored it, the version it was built on, one for each thing that is off, and one for each
thing that was opened while it was not closed completely: another run may still have been closing it."""
LARGEST = 5000
"""Bytes of a variable."""
MOST = 60
"""Variables for what is off; two more are needed, and a few are left."""
LONGEST_MESSAGE = 300


@dataclass(frozen=True)
class Closed:
    """One route that leads to ops-maintenance. Without an id it was added; else it led to the Worker `was`."""

    zone: str
    pattern: str
    id: str = ""
    was: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """No two routes of a zone have one pattern."""
        return self.zone, self.pattern


@dataclass(frozen=True)
class Block:
    """A service, or what begins with a path of it, that is off; with all that has to be put back."""

    service: str
    worker: str
    path: str
    """Nothing: the whole service."""
    message: str
    until: str
    """A moment in ISO 8601, or nothing. It reminds, unless `reopen_at_end`."""
    since: str
    run: str
    incident: int | None
    closed: tuple[Closed, ...]
    subdomain: Subdomain | None = None
    """As it was, where it was switched off."""
    reopen_at_end: bool = False
    """Whether the schedule may open it once that moment is over."""

    def is_due(self, now: datetime) -> bool:
        """To be opened by the schedule. `now` in UTC."""
        return self.reopen_at_end and bool(self.until) and parse_utc(self.until) < now

    @property
    def what(self) -> str:
        return f"{self.service} {self.path}" if self.path else f"the whole of {self.service}"

    def to_json(self) -> dict[str, Any]:
        routes = [[each.zone, each.pattern, each.id, each.was] for each in self.closed]
        subdomain = self.subdomain and [self.subdomain.enabled, self.subdomain.previews]
        return {**vars(self), "closed": routes, "subdomain": subdomain}


@dataclass(frozen=True)
class Stored:
    """What the live version of ops-maintenance says is off."""

    blocks: tuple[Block, ...]
    run: str
    opened: tuple[Block, ...] = ()
    """Opened again before all of it was closed."""

    def of(self, service: str) -> tuple[Block, ...]:
        return tuple(block for block in self.blocks if block.service == service)

    def block(self, service: str, path: str) -> Block | None:
        return next((block for block in self.of(service) if block.path == path), None)

    @property
    def closed(self) -> Mapping[tuple[str, str], Closed]:
        return {each.key: each for block in self.blocks for each in block.closed}


def parse(variables: Mapping[str, Any]) -> Stored | None:
    """Of a version's variables. None where they are no such thing; ValueError where they cannot be understood."""
    if RUN not in variables:
        return None
    try:
        blocks, opened = (
            tuple(_block(value) for name, value in sorted(variables.items()) if name.startswith(prefix))
            for prefix in (BLOCK, OPENED)
        )
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError("no block of ours") from error
    return Stored(blocks, str(variables[RUN]), opened)


def _block(value: Mapping[str, Any]) -> Block:
    # A version that does not know of it stored none of the last.
    known = {name: value[name] for name in Block.__dataclass_fields__ if name in value or name != "reopen_at_end"}
    texts = [known[name] for name in ("service", "worker", "path", "message", "until", "since", "run")]
    routes = [Closed(*each) for each in known["closed"]]
    if not all(isinstance(text, str) for text in [*texts, *(part for each in routes for part in vars(each).values())]):
        raise TypeError(value)
    incident, reopens = known["incident"], known.get("reopen_at_end", False)
    if type(reopens) is not bool or not (incident is None or (type(incident) is int and incident > 0)):
        raise TypeError(value)
    for moment in (known["since"], *filter(None, [known["until"]])):
        parse_utc(moment)
    subdomain = Subdomain(*map(bool, known["subdomain"])) if known["subdomain"] else None
    return Block(**{**known, "closed": tuple(routes), "subdomain": subdomain})


def variables(blocks: Sequence[Block], *, run: str, base: str, opened: Sequence[Block] = ()) -> dict[str, Any]:
    """Texts are plain-text variables, all else JSON ones."""
    kept = {f"{OPENED}{n:02}": block.to_json() for n, block in enumerate(opened[: MOST - len(blocks)])}
    return {RUN: run, BASE: base, **{f"{BLOCK}{n:02}": block.to_json() for n, block in enumerate(blocks)}, **kept}


def is_same(blocks: Iterable[Block], others: Iterable[Block]) -> bool:
    """Whether both close and say the same; the run, the time and the incident may differ."""
    one, other = (frozenset(replace(b, run="", since="", incident=None) for b in each) for each in (blocks, others))
    return one == other


def too_large(blocks: tuple[Block, ...]) -> str:
    """Why it cannot be stored, in words; nothing where it can."""
    if len(blocks) > MOST:
        return f"{len(blocks)} things would be off, and {MOST} can be stored"
    for block in blocks:
        size = len(json.dumps(block.to_json()).encode())
        if size > LARGEST:
            return f"{len(block.closed)} routes of {block.what} take {size} bytes, and {LARGEST} can be stored"
    return ""


def with_block(blocks: Iterable[Block], block: Block) -> tuple[Block, ...]:
    """In place of the one that is of the same service and path."""
    return (*(b for b in blocks if (b.service, b.path) != (block.service, block.path)), block)


def merged(newest: Stored, others: Iterable[Stored]) -> Stored:
    """What two runs stored side by side, neither knowing of the other: all of it can be undone.

    It opens by itself only where both say so, and of the same end.
    """
    blocks = newest.blocks
    for other in others:
        for block in other.blocks:
            same = next((b for b in blocks if (b.service, b.path) == (block.service, block.path)), None)
            if same is None:
                blocks = (*blocks, block)
            else:
                closed = {each.key: each for each in (*same.closed, *block.closed)}
                both = replace(
                    same,
                    closed=tuple(closed.values()),
                    subdomain=block.subdomain or same.subdomain,
                    reopen_at_end=same.reopen_at_end and block.reopen_at_end and same.until == block.until,
                )
                blocks = with_block(blocks, both)
    return replace(newest, blocks=blocks)


PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~!$&'()+,;=:@-]+)+")
MOMENT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Asked:
    is_on: bool
    path: str
    """Without a slash at its end; nothing for the whole service."""
    message: str
    until: str
    """A moment as `MOMENT` writes it, or nothing."""
    reopen_at_end: bool

    @classmethod
    def of(cls, *, state: str, path: str, message: str, until: str, reopen_at_end: bool, now: datetime) -> Self:
        """Raises ConfigError."""
        if state not in {"on", "off"}:
            raise ConfigError(f'no state "{state[:40]}"', hint="Write --state on, or --state off.")
        if state == "off" and (message or until or reopen_at_end):
            raise ConfigError(
                "a message and an end are for --state on", hint="Leave --message, --until and --reopen-at-end out."
            )
        if reopen_at_end and not until:
            raise ConfigError(
                "--reopen-at-end is given, and no end is", hint="Add --until 2h, or --until 2026-11-24T05:00Z, in UTC."
            )
        if path and not PATH.fullmatch(path.rstrip("/")):
            hint = "Write it plainly, such as /api/ai: no host, query, * or %. Leave it out for the whole service."
            raise ConfigError(f'"{path[:80]}" is no path that a route can have', hint=hint)
        if len(message) > LONGEST_MESSAGE:
            raise ConfigError(f"the message has {len(message)} characters, and at most {LONGEST_MESSAGE} fit")
        return cls(state == "on", path.rstrip("/"), message, _until(until, now), reopen_at_end)


def _until(text: str, now: datetime) -> str:
    moment = ending(text, now)
    return f"{moment:{MOMENT}}" if moment else ""

"""Random histories of a Worker, made by simulated people, and how the code under test reads them.

Their judge is in `target_reference`, which imports nothing of `ops`.
"""

import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from ops.cloudflare.marks import DeploymentMark
from ops.cloudflare.types.workers import WorkerDeployment, WorkerVersion
from ops.workers.history import WorkerHistory
from sandbox import Sandbox
from tests.conftest import WORKER
from tests.support.target_reference import MIN_SERVED, Past, Row, Upload

BEGINNING = datetime(2026, 11, 1, tzinfo=UTC)


def name_of(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-{number:012x}"


def number_of(name: str) -> int:
    return int(name[:8], 16)


def as_history(past: Past, *, read: Iterable[int] | None = None) -> WorkerHistory:
    """Return the history that the runbook sees. `read` are the versions with details; None for all."""
    read = set(range(len(past.uploads)) if read is None else read)
    listed = [u for u in past.uploads if u.number in read or u.number not in past.undeployable]
    deployments = [_deployment(index, row) for index, row in enumerate(past.rows)]
    return WorkerHistory(
        deployments=tuple(reversed(deployments)),
        versions={name_of(u.number): _version(u, past, detailed=u.number in read) for u in listed},
        deployable=frozenset(name_of(u.number) for u in past.uploads if u.number not in past.undeployable),
        now=BEGINNING + timedelta(minutes=past.now),
        min_served=MIN_SERVED * 60,
    )


def message_of(row: Row, names: dict[int, str] | None = None) -> str:
    if row.ours is None:
        return "release"
    incident, blames = row.ours
    name = names.__getitem__ if names else name_of
    return str(DeploymentMark(incident=incident, run="r1", blames=None if blames is None else name(blames)))


def _deployment(index: int, row: Row) -> WorkerDeployment:
    return WorkerDeployment(
        id=f"deployment-{index}",
        created_on=BEGINNING + timedelta(minutes=row.at),
        split=tuple((name_of(number), percent) for number, percent in row.shares),
        message=message_of(row),
    )


def _version(upload: Upload, past: Past, *, detailed: bool) -> WorkerVersion:
    seen = WorkerVersion(
        id=name_of(upload.number),
        number=upload.number + 1,
        created_on=BEGINNING + timedelta(minutes=upload.at),
        triggered_by="secret" if upload.secret_edit else "upload",
        tag=sha_of(upload.commit) if upload.commit else "",
        message=f"Take it back\n\nThis reverts commit {sha_of(upload.reverts)}." if upload.reverts else "",
    )
    bindings = {("assets", "ASSETS"): "{}"} if past.assets else {}
    return replace(seen, is_detailed=True, etag=upload.code, bindings=bindings) if detailed else seen


def sha_of(commit: str) -> str:
    """Return the commit of a name such as c1."""
    return commit.encode().hex().ljust(40, "0")[:40]


def replay(sandbox: Sandbox, past: Past) -> dict[int, str]:
    """Create the same history in the sandbox; return number → version ID. A secret edit changes KEY."""
    sandbox.switches.deployments_listed = None
    names: dict[int, str] = {}
    for upload in past.uploads:
        more: dict[str, Any] = {}
        if upload.secret_edit:
            more = {"secrets": {"KEY": str(upload.number)}, "triggered_by": "secret"}
        if upload.commit:
            more["tag"] = sha_of(upload.commit)
        if upload.reverts:
            more["message"] = f"Take it back\n\nThis reverts commit {sha_of(upload.reverts)}."
        if upload.number in past.undeployable:
            more["bindings"] = [{"type": "kv_namespace", "name": "CACHE", "namespace_id": "deleted"}]
        at = moment_of(sandbox, past, upload.at)
        names[upload.number] = sandbox.upload(WORKER, code=upload.code, assets=past.assets, at=at, **more)
    for row in past.rows:
        at = moment_of(sandbox, past, row.at)
        shares = {names[number]: percent for number, percent in row.shares}
        sandbox.deploy(WORKER, shares, message=message_of(row, names), at=at)
    sandbox.delete_resource("deleted")
    return names


def moment_of(sandbox: Sandbox, past: Past, minutes: float) -> datetime:
    """Return a time of the history, which ends now."""
    return sandbox.clock.now() - timedelta(minutes=past.now - minutes)


# The people. Each event is a wait, an action, and two numbers for their choices.

WAITS = (0, 1, 4, 5, 6, 10, 12, 29, 30, 31, 60, 200, 1500)
DEEDS = (
    *("release", "release", "release", "release the old code again", "canary", "canary of the old code"),
    *("only upload", "canary of an upload", "promote an upload"),
    *("promote or abort", "promote or abort", "edit a secret", "edit a secret", "only upload", "only edit a secret"),
    *("build a commit again", "revert by message"),
    *("wrangler rollback", "wrangler rollback", "dashboard", "forge a mark", "press", "press", "to", "lose a version"),
)
PICKS, OTHERS = 41, 6
Event = tuple[int, str, int, int]


def _event(number: int) -> Event:
    number, wait = divmod(number, len(WAITS))
    number, deed = divmod(number, len(DEEDS))
    return WAITS[wait], DEEDS[deed], *divmod(number, OTHERS)


EVENTS = st.lists(st.sampled_from(range(len(WAITS) * len(DEEDS) * PICKS * OTHERS)).map(_event), min_size=3, max_size=24)
"""One choice for each event: of four, Hypothesis would take longer than the tests."""
INCIDENTS = (None, 1, 2)


USUAL = {
    "brief": ("release",),
    "same commit": ("build a commit again", "release"),
    "says revert": ("revert by message", "release"),
    "own incident": ("press",),
    "own day": ("press",),
    "rest of a canary": ("to", "release"),
    "at once": ("only upload", "to"),
    "deployable": ("lose a version", "release"),
}
"""Rule → deeds that more often lead to a history that it decides."""


def random_past(draw: random.Random, rule: str) -> Past:
    """Return a random history. Its undeployable versions share their code with no other one."""
    usual = USUAL.get(rule, DEEDS)
    past = play(
        [
            (
                draw.choice(WAITS),
                draw.choice(draw.choice((usual, DEEDS))),
                draw.randrange(PICKS),
                draw.randrange(OTHERS),
            )
            for _ in range(draw.randint(3, 9))
        ]
    )
    codes = [upload.code for upload in past.uploads]
    past.undeployable = {number for number in past.undeployable if codes.count(codes[number]) == 1}
    return past


def play(events: list[Event], *, assets: bool = False) -> Past:
    past = Past(assets=assets)
    past.deploy((past.upload("a"), 100))
    for wait, deed, pick, other in events:
        past.now += wait
        _do(past, deed, pick, other)
    return past


pasts = st.builds(play, EVENTS, assets=st.booleans())


def _do(past: Past, deed: str, pick: int, other: int) -> None:
    live, some = past.rows[-1], pick % len(past.uploads)
    percent = (10, 50, 90, 0, 45, 99.9)[other]
    new_code = f"code {len(past.uploads)}"
    old_code = past.uploads[some].code
    incident = INCIDENTS[other % 3]
    match deed:
        case "release":
            past.deploy((past.upload(new_code, commit=f"c{len(past.uploads)}"), 100))
        case "build a commit again":
            past.deploy((past.upload(new_code, commit=past.uploads[some].commit), 100))
        case "revert by message":
            past.deploy((past.upload(new_code, reverts=past.uploads[some].commit), 100))
        case "release the old code again":
            past.deploy((past.upload(old_code), 100))
        case "canary" | "canary of the old code" if len(live.shares) == 1:
            canary = past.upload(new_code if deed == "canary" else old_code)
            past.deploy((live.serving[0], 100 - percent), (canary, percent))
        case "canary of an upload" if len(live.shares) == 1 and some not in live.serving:
            past.deploy((live.serving[0], 100 - percent), (some, percent))
        case "promote an upload":
            served = {number for row in past.rows for number in row.serving}
            new = [upload.number for upload in past.uploads if upload.number not in served]
            past.deploy(*[(number, 100) for number in new[pick % len(new) :][:1]] if new else live.shares)
        case "promote or abort" if len(live.shares) == 2:
            past.deploy((live.shares[pick % 2][0], 100))
        case "edit a secret" if live.shares == ((past.uploads[-1].number, 100),):
            past.deploy((past.upload(past.uploads[-1].code, secret_edit=True), 100))
        case "only upload":
            past.upload(old_code if other == 0 else new_code)
        case "only edit a secret":
            past.upload(past.uploads[-1].code, secret_edit=True)
        case "wrangler rollback":
            whole = [row.shares[0][0] for row in past.rows[-2::-1] if row.shares[0][1] == 100]
            past.deploy(*[(number, 100) for number in whole[:1]] or live.shares)
        case "dashboard":
            past.deploy((some, 100))
        case "forge a mark":
            past.deploy((some, 100), ours=(incident, other if other < len(past.uploads) else None))
        case "press":
            past.press(incident)
        case "to":
            second = other % len(past.uploads)
            past.go_to(
                *([(some, 90), (second, 10)] if pick % 3 == 0 and some != second else [(some, 100)]), incident=incident
            )
        case "lose a version" if some not in live.serving:
            past.undeployable.add(some)
        case _:
            pass

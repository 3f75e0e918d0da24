"""Every ending of a run leads with what is live, in each place where people read it."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import Incident
from tests.support.commands import LIST, WRITE, Command
from tests.support.shop import Shop
from tests.support.webhooks import Receiver, receiving

EDGE = {"host": "web.shop.example"}
REJECTED = {"status": 403, "code": 10000}
OLDER = "If it does not help"


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@dataclass(frozen=True)
class Ending:
    """How a run ends, and what it says of the state."""

    decision: str
    state: str
    live: str
    """The release that serves then."""
    faults: tuple[dict[str, Any], ...] = ()
    edge: tuple[dict[str, Any], ...] = ()
    options: tuple[str, ...] = ()
    settings: tuple[str, str] | None = None
    repeats: bool = True
    """Whether the run offers the same command again."""


UNCLEAR = {**WRITE, "lost": "after"}
UNREADABLE = {**LIST, "status": 503, "times": None}
ENDINGS = {
    "refused": Ending("refused", "nothing was changed", "bad", options=("--to", "0" * 8), repeats=False),
    "failed, rejected": Ending("failed", "nothing was changed", "bad", ({**WRITE, **REJECTED},)),
    "failed, rejected and unreadable": Ending(
        "failed", "unknown whether the change was made", "bad", ({**WRITE, **REJECTED}, {**UNREADABLE, "skip": 2})
    ),
    "failed, lost twice": Ending("failed", "nothing was changed", "bad", ({**WRITE, "lost": "before", "times": 2},)),
    "unknown, write unclear": Ending(
        "unknown_outcome", "unknown whether the change was made", "good", (UNCLEAR, {**UNREADABLE, "skip": 2})
    ),
    "unknown, not read back": Ending("unknown_outcome", "written, not seen live", "good", ({**UNREADABLE, "skip": 2},)),
    "interrupted before the write": Ending(
        "interrupted", "nothing was changed", "bad", ({**LIST, "after": interrupt},)
    ),
    "interrupted, write unclear": Ending(
        "interrupted", "unknown whether the change was made", "good", ({**UNCLEAR, "after": interrupt},)
    ),
    "interrupted at the answer": Ending(
        "interrupted", "written, not seen live", "good", ({**WRITE, "after": interrupt},)
    ),
    "interrupted while it probes": Ending(
        "interrupted", "written and live, not proved", "good", edge=({"skip": 1, "before": interrupt},)
    ),
    "no evidence": Ending(
        "no_evidence", "written and live, not proved", "good", edge=({"lost": "before", "times": None},), repeats=False
    ),
    "still unhealthy": Ending(
        "still_unhealthy", "changed", "good", settings=("status: 200", "status: 418"), repeats=False
    ),
}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_ending_leads_with_what_is_live(shop: Shop, incident: Incident, receiver: Receiver, ending: Ending) -> None:
    shop.world.config.write_text(f"{shop.world.config.read_text()}notify: {{slack: {{webhook: SLACK_WEBHOOK_URL}}}}\n")
    github = shop.environ(**incident.github.environ(), **receiver.environ)
    press = ("rollback-worker", "--incident", str(incident.number), "--yes")
    for rule in ending.faults:
        shop.world.sandbox.fault(**rule)
    for rule in ending.edge:
        shop.world.sandbox.edge_fault(**EDGE, **rule)
    if ending.settings:
        shop.world.edit_config(*ending.settings)

    done = shop.ops(*press, *ending.options, **github)

    served = {"good": shop.good, "bad": shop.bad}[ending.live]
    assert shop.live == {served: 100}, done.err
    (found,) = shop.ops("last", "--json", **github).result["runs"]
    assert found["decision"] == ending.decision, done.out
    assert f"  {ending.state}" in done.out.partition("✖ ")[2].splitlines()[0]
    for place, text in {
        "comment": incident.bodies[0],
        "chat": receiver.texts[-1].removeprefix("[DRILL] "),
        "last": found["headline"],
    }.items():
        first = text.splitlines()[0].lower().lstrip("# ❌⛔⚠️")
        assert first.startswith((ending.state, "rolled back web", "no evidence. rolled", "still unhealthy. rolled")), (
            place
        )
    end = done.out.partition("✖ ")[2]
    offers_older = ending.decision in {"still_unhealthy", "no_evidence"}
    assert (OLDER in end, OLDER in incident.bodies[0]) == (offers_older, offers_older)
    same = f"  Run\n    ops rollback-worker --service web --environment live --incident {incident.number} --config "
    assert (same in end) == ending.repeats

    shop.world.sandbox.faults.clear()
    shop.world.sandbox.edge_faults.clear()
    again = shop.ops(*press, **github)

    assert shop.live == {shop.good: 100}
    assert (again.code == 0) != bool(ending.settings), again.out
    if ending.settings:
        assert "  nothing was changed, and it is unhealthy: " in again.out


@pytest.mark.parametrize(
    ("rule", "state", "label"),
    [
        ({**LIST, "skip": 0}, "Received", "Changed: nothing"),
        ({**WRITE}, "Writing", "Unknown whether the change was made: Worker shop-web: "),
        ({**LIST, "skip": 2}, "Written, to be read back", "Written, not seen live: Worker shop-web: "),
    ],
    ids=["before the write", "at the write", "before the read back"],
)
def test_killed_run_leads_with_its_last_step(shop: Shop, rule: dict[str, Any], state: str, label: str) -> None:
    command = Command(shop.world, service="web", environment="live", environ=shop.environ(CLOUDFLARE_API_TOKEN=""))
    shop.world.sandbox.fault(**rule, after=command.send(signal.SIGKILL))

    assert command.run().code == -signal.SIGKILL

    shown = shop.ops("last").out
    assert f"✖ NO RESULT YET  {state}: rollback-worker for web\n" in shown
    assert f"\n  {label}" in shown
    shop.world.sandbox.faults.clear()
    assert shop.ops("rollback-worker", "--yes").code == 0
    assert shop.live == {shop.good: 100}

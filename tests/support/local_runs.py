"""Records of earlier runs on this machine, as `ops` leaves them in `.ops/runs`."""

from collections.abc import Iterable

from ops.core.clock import SystemClock
from ops.core.redaction import Redactor
from ops.core.timeline import EventKind, Timeline
from tests.conftest import World


def record_local_run(world: World, run: str, deployments: Iterable[str], runbook: str = "rollback-worker") -> None:
    """Add the record of a run on this machine that made these deployments."""
    folder = world.folder / ".ops" / "runs" / run
    folder.mkdir(parents=True)
    timeline = Timeline(SystemClock(), Redactor())
    where = {"runbook": runbook, "environment": "production", "sandbox": world.sandbox.api_url}
    timeline.record(EventKind.REQUESTED, f"{runbook} in production", **where)
    for each in deployments:
        timeline.record(EventKind.WRITTEN, f"deployment {each}")
    (folder / "timeline.jsonl").write_text("".join(f"{event.to_line()}\n" for event in timeline.events))

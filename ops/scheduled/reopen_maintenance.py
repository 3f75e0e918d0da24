"""`ops maintenance due`: what was to open at its end, opened by the code of `--state off`, each by a run of its own.

Nobody asks for it but a schedule. What may be opened, and when, was stored by the run that took it off.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ops.app.session import Session
from ops.core.clock import parse_utc, utc_text
from ops.core.errors import Reason, Refused
from ops.engine.context import Context
from ops.maintenance import steps
from ops.maintenance.state import Block
from ops.runbooks.maintenance import Maintenance, Params, Seen

if TYPE_CHECKING:
    from ops.config import Environment


class ReopenMaintenance(Maintenance):
    """Open what was to open at its end, and nothing else."""

    name = "maintenance due"
    when = "Nothing: it is for a schedule"
    by_label = False
    example = Params(state="off", service="api")

    def to_be_opened(self, ctx: Context[Params], seen: Seen) -> tuple[Block, ...]:
        """What else of the service is off stays off. Raises Refused."""
        block = seen.stored.block(seen.service.name, seen.asked.path)
        if block is None or not block.is_due(ctx.clock.now()):
            what = f"{seen.service.name} {seen.asked.path}".strip()
            raise Refused(
                f"{what} is not to be opened by itself any more",
                reason=Reason.NOT_DUE,
                hint="Do nothing: somebody opened it, or gave it another end.",
            )
        if foreign := {block.worker, *(each.was for each in block.closed if each.id)} - {seen.ways.worker}:
            other = ", ".join(sorted(foreign))
            raise Refused(
                f"{block.what} would be opened to {other}, and ops.yml says {seen.ways.worker}",
                reason=Reason.NOT_DUE,
                hint="Let a person look: ops.yml was changed since, or the variables of ops-maintenance were.",
                press=ctx.press("maintenance", service=seen.service.name, state="off", path=seen.asked.path),
            )
        return (block,)


def due(environment: "Environment", environ: Mapping[str, str]) -> tuple[Block, ...]:
    """What is to be opened now. It reads, and writes nothing. Raises OpsError."""
    with ExitStack() as ending:
        session = Session(environment, environ, ending)
        standing = steps.standing(session.workers)
        now = session.clock.now()
        return tuple(block for block in standing.stored.blocks if block.is_due(now)) if standing else ()


def opening(block: Block) -> Params:
    """What the run that opens it is asked."""
    reason = f"its end, {utc_text(parse_utc(block.until))}, is over"
    return Params(state="off", service=block.service, path=block.path, reason=reason)

"""Make the harmless bad version of a staging drill, and find what the drill did with it.

An application that knows drills gets a variable with a time: its health path fails until then. Another one gets a
module around its main one, which adds a response header. Everything else stays. The marks of deployments only tell what
to put back in the drill's own environment: what was live right before the bad version.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from ops.cloudflare.marks import DRILL_UNDO
from ops.cloudflare.types.workers import Split, WorkerCode, WorkerDeployment, WorkerModule, is_same_split
from ops.core.runtime_contract import DRILL_VARIABLE

HEADER, HEADER_VALUE = "ops-drill", "bad"
"""Response header of a bad version that serves as the good one does."""
MODULE = "ops-drill.js"
_SOURCE = """\
// Written by `ops staging-drill`: the same Worker, with one more response header.
import * as worker from "./%s";
export * from "./%s";

const main = worker.default;

async function mark(answer) {
  const response = await answer;
  if (response.status === 101) {
    return response; // a WebSocket
  }
  const marked = new Response(response.body, response);
  marked.headers.set("%s", "%s");
  return marked;
}

export default typeof main === "function"
  ? class extends main {
      fetch(request) {
        return mark(super.fetch(request));
      }
    }
  : { ...main, fetch: (request, env, ctx) => mark(main.fetch(request, env, ctx)) };
"""


class DrillFault(Enum):
    """How the bad version differs from the good one."""

    HEALTH = "health"
    """Its health path answers 503."""
    HEADER = "header"
    """Its responses have one more header."""


def make_bad_code(code: WorkerCode, fault: DrillFault, until: str) -> WorkerCode:
    """Return the code of the bad version. `until`: time (RFC 3339) at which its health path works again by itself."""
    if fault is DrillFault.HEALTH:
        kept = tuple(each for each in code.bindings if each["name"] != DRILL_VARIABLE)
        variable = {"type": "plain_text", "name": DRILL_VARIABLE, "text": until}
        return replace(code, bindings=(*kept, variable))
    source = _SOURCE % (code.main_module, code.main_module, HEADER, HEADER_VALUE)
    module = WorkerModule(MODULE, "application/javascript+module", source.encode())
    return replace(code, main_module=MODULE, modules=(module, *code.modules))


def find_conflict(code: WorkerCode, fault: DrillFault) -> str:
    """Return why the bad version cannot be made; empty if it can."""
    if fault is DrillFault.HEALTH:
        others = {each["type"] for each in code.bindings if each["name"] == DRILL_VARIABLE} - {"plain_text"}
        return f"its binding {DRILL_VARIABLE} is no plain-text variable" if others else ""
    return f"it has a module {MODULE} of its own" if MODULE in {each.name for each in code.modules} else ""


@dataclass(frozen=True)
class DrillTrace:
    """The newest drill in a Worker's deployments."""

    bad: WorkerDeployment
    """Deployment of the bad version."""
    before: WorkerDeployment
    """Live before it."""
    live: WorkerDeployment

    @property
    def run(self) -> str:
        """Run that deployed the bad version; the incident of the drill names it."""
        return self.bad.mark.run if self.bad.mark else ""

    @property
    def bad_version(self) -> str:
        return self.bad.split[0][0]

    @property
    def is_bad_live(self) -> bool:
        return self.bad_version in self.live.serving_versions

    @property
    def is_rolled_back(self) -> bool:
        """Return whether a rollback of ours replaced the bad version, and is live."""
        mark = self.live.mark
        return mark is not None and mark.blames == self.bad_version and not self.is_bad_live

    @property
    def is_undone(self) -> bool:
        """Return whether the undo replaced the bad version, and is live."""
        mark = self.live.mark
        return mark is not None and mark.text == DRILL_UNDO and not self.is_bad_live

    @property
    def is_recovered(self) -> bool:
        return self.is_rolled_back or self.is_undone

    @property
    def needs_undo(self) -> bool:
        """Return whether the drill still shows. A later deployment by others without the bad version stays."""
        return self.is_bad_live or (self.is_recovered and not is_same_split(self.live.split, self.before.split))

    @property
    def target(self) -> Split:
        return self.before.split


def find_trace(deployments: Sequence[WorkerDeployment], run: str = "") -> DrillTrace | None:
    """Return the newest drill, or that of a run; None without one.

    `deployments`: newest first. A bad version without an older deployment in the list has no known state before it.
    Of two drills at once, neither puts the bad version of the other one back.
    """
    for index, bad in enumerate(deployments):
        if not (bad.is_drill and bad.split) or (run and bad.mark and bad.mark.run != run):
            continue
        older = (each for each in deployments[index + 1 :] if each.split and not each.is_drill)
        if (before := next(older, None)) is not None:
            return DrillTrace(bad, before, deployments[0])
    return None

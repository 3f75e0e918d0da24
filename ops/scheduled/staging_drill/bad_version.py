"""Make the harmless bad version of a staging drill from the code of the live one.

An application that knows drills gets a variable with a time: its health path fails until then. Another one gets a
module around its main one, which adds a response header. Everything else stays.
"""

from dataclasses import replace
from enum import Enum

from ops.cloudflare.types.workers import WorkerCode, WorkerModule
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

"""Write the file, the test and the how-to page of a new runbook, as a start."""

import re
from collections.abc import Collection
from pathlib import Path

from ops.core.errors import ConfigError

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", re.ASCII)
RUNBOOK = '''"""Turn off the workers.dev address of a Worker."""

from dataclasses import dataclass

from ops.cloudflare.types.zones import WorkersDevSubdomain
from ops.core.errors import Reason
from ops.engine.context import Context
from ops.engine.runbook import Runbook, TokenPermissions, param, require_service
from ops.engine.step import ChangeState, ObservedState, Step, StepPlan

OFF = WorkersDevSubdomain(enabled=False, previews_enabled=False)


class CLASS(Runbook["CLASS.Params"]):
    """Turn off the workers.dev address of a Worker."""

    @dataclass(frozen=True)
    class Params:
        service: str = param("Service in ops.yml")
        reason: str = param("Reason, shown in the timeline", default="")

    name = "NAME"
    when = "Requests reach a Worker by its workers.dev address, past the rules of its zone"
    kinds = ("worker",)
    example = Params(service="api")
    writes = (("POST", "/accounts/*/workers/scripts/*/subdomain"),)
    permissions = TokenPermissions(cloudflare=("Workers Scripts Write",))

    def plan(self, ctx: Context[Params]) -> StepPlan:
        worker = require_service(ctx, *self.kinds).worker
        live = ctx.cloudflare.workers.read_subdomain(worker)
        if live == OFF:
            return StepPlan("the address is off already", reason=Reason.ALREADY_SET)
        step = TurnOff("workers.dev", "on", "off", "Cloudflare shows it off", undo=None, worker=worker, planned=live)
        return StepPlan(f"turn off workers.dev of {ctx.params.service}", changes=(step,))


@dataclass(frozen=True, kw_only=True, eq=False)
class TurnOff(Step):
    """Turn off the address. A step owns its check and its one write."""

    worker: str
    planned: WorkersDevSubdomain

    def check(self, ctx: Context[CLASS.Params]) -> ObservedState:
        live = ctx.cloudflare.workers.read_subdomain(self.worker)
        if live == OFF:
            return ObservedState(ChangeState.DONE, "the address is off")
        state = ChangeState.PLANNED if live == self.planned else ChangeState.CHANGED_ELSEWHERE
        return ObservedState(state, "the address is on")

    def apply(self, ctx: Context[CLASS.Params]) -> str:
        ctx.cloudflare.workers.set_subdomain(self.worker, OFF)
        return "Cloudflare took the change"
'''
TEST = '''"""`ops NAME` turns off the workers.dev address of a Worker."""

from datetime import timedelta

from tests.conftest import WORKER, World


def test_MODULE_turns_the_address_off_once(world: World) -> None:
    world.release(timedelta(hours=1), code="good")
    world.sandbox.set_subdomain(WORKER, enabled=True, previews_enabled=True)
    where = ["--service", "api", "--environment", "production", "--config", str(world.config), "--yes", "--json"]

    first, second = world.ops("NAME", *where), world.ops("NAME", *where)

    assert (first.code, first.result["decision"]) == (0, "healthy_as_before"), first.err
    assert (second.code, second.result["decision"]) == (0, "nothing_to_do"), second.err
    assert world.sandbox.subdomain(WORKER) == {"enabled": False, "previews_enabled": False}
'''
PAGE = """# Turn off the workers.dev address of a Worker

Use this when requests reach a Worker by its workers.dev address. It takes about 5 seconds.

<!-- ways: ./run pytest tests/static/test_docs.py --update-golden -->
<!-- /ways -->

## How it works

1. Backout reads whether the address is on.
2. It turns the address off, reads it back, and probes the service.

## If the outcome is unknown

Workers → the Worker → *Settings* → *Domains & Routes* shows the address. The same command sends nothing if it is off.

## Not undone

The undo is the dashboard.
"""


def scaffold(folder: Path, name: str, taken: Collection[str]) -> tuple[Path, ...]:
    """Write a working runbook, its test and its page into a copy of this repository. Return their paths.

    Raises:
        ConfigError: the name is not words with hyphens, or a command, workflow or file already has it.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            f'"{name}" is not a valid name of a runbook', hint="Write words with hyphens, such as purge-cache."
        )
    module = name.replace("-", "_")
    files = {
        folder / "ops" / "runbooks" / f"{module}.py": RUNBOOK,
        folder / "tests" / "runbooks" / f"test_{module}.py": TEST,
        folder / "docs" / "how-to" / f"{name}.md": PAGE,
    }
    if name in taken or any(path.exists() for path in files):
        raise ConfigError(f"{name} exists already", hint="Choose another name.")
    if missing := [path.parent for path in files if not path.parent.is_dir()]:
        raise ConfigError(f"{missing[0]} is not a folder", hint="Run the command at the top of the repository.")
    words = {"CLASS": "".join(map(str.capitalize, module.split("_"))), "NAME": name, "MODULE": module}
    for path, text in files.items():
        path.write_text(re.sub(r"\b(CLASS|NAME)\b|MODULE", lambda match: words[match[0]], text), encoding="utf-8")
    return tuple(files)

"""Compare the claims of a run with the changes that took effect.

The sandbox keeps the effect of each request before any fault changed the response (`RequestRecord.effect`). People
change the sandbox directly, so that all of its requests belong to the run.
"""

import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ops.core.timeline import EventKind
from sandbox import Sandbox
from sandbox.records import RequestRecord
from tests.conftest import ACCOUNT, REFERENCE, Outcome, World
from tests.support.scenarios import SECRETS, Case, Given

READ_BY_POST = ("/bulk/get", "/query", "/graphql")
FILES = ("copy of rows of D1 database ", "copy of lost rows of D1 database ")
"""Starts of changes that write a file of the laptop, and send no request."""
READS_OF_SQL = ("SELECT", "PRAGMA", "WITH", "EXPLAIN")
TOKEN = "what-the-runbook-needs"
GOOD_DECISIONS = {"recovered", "healthy_as_before", "nothing_to_do"}


@contextmanager
def case_world(case: Case | None, kind: type[Sandbox] = Sandbox) -> Iterator[World]:
    """A world in which the runbook of the case has something to do; without a case, an empty world."""
    with kind(account_id=ACCOUNT, virtual_clock=True) as sandbox, TemporaryDirectory() as folder:
        config = (REFERENCE / "ops.yml").read_text().replace("deadline: 2m", "deadline: 10s")
        (Path(folder) / "ops.yml").write_text(config)
        sandbox.switches.pages_propagation_seconds = 1.0
        world = World(sandbox, Path(folder))
        if case is not None:
            sandbox.add_token(TOKEN, case.runbook.permissions.cloudflare)
            case.scenario.prepare(world, Given())
        yield world


@dataclass(frozen=True)
class CaseRun:
    outcome: Outcome
    effects: list[RequestRecord]
    """The run's own writes that took effect."""


def is_declared(case: Case, request: RequestRecord) -> bool:
    """Return whether the runbook declares the write."""
    path = request.path.removeprefix("/client/v4")
    return any(
        request.method == method and re.fullmatch(re.escape(glob).replace(r"\*", "[^/]+"), path)
        for method, glob in case.runbook.writes
    )


def is_write(method: str, path: str, body: Any) -> bool:
    """Return whether a request to Cloudflare or GitHub may change something."""
    if "/d1/database/" in path and path.endswith("/query"):
        queries = body.get("batch", [body])
        return any(not query["sql"].lstrip().upper().startswith(READS_OF_SQL) for query in queries)
    return method != "GET" and not path.endswith(READ_BY_POST)


def run(world: World, case: Case, *, journal: bool = False) -> CaseRun:
    """Run the case. With `journal` it has a GITHUB_TOKEN, so that the run is published on an incident."""
    sandbox, scenario = world.sandbox, case.scenario
    before = len(sandbox.requests), len(sandbox.github.requests)
    where = ["--environment", "production", "--config", str(world.config), "--yes", "--json"]
    where += ["--incident", str(Given().incident)] if case.runbook.incident_use.is_required else []
    outcome = world.ops(*case.command, *case.arguments, *where, **_environ(world, case, journal=journal))
    sent = [*sandbox.requests[before[0] :], *sandbox.github.requests[before[1] :]]
    writes = [each for each in sent if is_write(each.method, each.path, each.body)]
    others = [each for each in writes if not is_declared(case, each)]
    published = [each for each in others if "/issues" in each.path]
    assert [f"{each.method} {each.path}" for each in others if each not in published] == []
    writes = [each for each in writes if each not in published]
    return CaseRun(
        outcome, [each for each in writes if each.effect is not None and each.effect < 300 and scenario.counts(each)]
    )


def press(world: World, case: Case, printed: str) -> Outcome:
    """Run a command that a run of the case printed."""
    words = shlex.split(printed)[1:]
    return world.ops(*words, *(() if words[0] == "status" else ("--yes", "--json")), **_environ(world, case))


def _environ(world: World, case: Case, *, journal: bool = False) -> dict[str, str | None]:
    own = {"CLOUDFLARE_API_TOKEN": TOKEN, "OPS_SOURCE": str(world.folder / "app"), **case.scenario.environ(world)}
    github = world.sandbox.github.environ()
    if not journal and not case.runbook.permissions.github:
        github |= {"GITHUB_TOKEN": ""}
    return {**github, **SECRETS, **own}


def assert_claims_hold(ran: CaseRun) -> dict[str, Any]:
    """Check that the result reports exactly the changes that took effect, and return the result."""
    outcome = ran.outcome
    assert outcome.code not in {1, 2}, outcome.err
    assert "Traceback" not in outcome.err + outcome.out
    if not outcome.out:  # the command found nothing due and started no run
        assert ran.effects == []
        return {"decision": "failed" if outcome.code else "not_due", "message": outcome.err, "hint": outcome.err}
    result = outcome.result
    made = {(each.method, each.path) for each in ran.effects}
    changed = [each for each in result["outcome"]["changed"] if not each.startswith(FILES)]
    certain = len(changed) + len(result["outcome"]["replaced"])
    assert certain <= len(made) <= certain + len(result["outcome"]["unknown"]), [result["message"], made]
    assert_statements_true(result, ran.effects)
    return result


def assert_statements_true(
    result: Mapping[str, Any], made: Collection[RequestRecord], *story: object, is_whole: bool = True
) -> None:
    """Check what a result says of its writes, and that it has a next step.

    Args:
        result: of `--json`.
        made: writes of the run that took effect.
        story: more for the message of an assertion.
        is_whole: whether `made` has all of its writes.
    """
    reported = {"unknown": [], "replaced": [], "not_changed": [], **result["outcome"]}
    wrote = sorted({f"{each.method} {each.path}" for each in made})
    told = [f"{result['decision']} {result['reason']}: {result['message']}", reported, wrote, *story]
    has_rehearsed = any(event["kind"] == EventKind.REHEARSED for event in result["timeline"])
    assert not made or result["wrote"] or reported["unknown"] or has_rehearsed, told
    assert made or not (result["wrote"] and is_whole) or reported["unknown"], told
    said = f"{result['message']} {result['hint']}".lower()
    assert not (made and "nothing was changed" in said), told
    assert "check the names" not in said, told
    plan = result["plan"] or {}
    next_steps = [result["hint"], result["press"], *result["undo"], plan.get("next_step")]
    assert any(next_steps) or result["decision"] in {*GOOD_DECISIONS, "planned"}, ["what next?", *told]
    if result["decision"] in GOOD_DECISIONS:
        assert reported["unknown"] == reported["replaced"] == reported["not_changed"] == [], told

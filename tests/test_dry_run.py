"""Dry runs read the same as real runs and write nothing."""

import random
from collections import Counter
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest

from ops.app import registry, run
from ops.app.registry import scheduled_files
from ops.cloudflare.marks import DeploymentMark
from ops.core.errors import Decision, Reason
from ops.core.redaction import Redactor
from ops.core.run import EndedRun
from ops.engine.context import Context
from ops.engine.engine import RunOptions
from ops.engine.runbook import Runbook
from ops.engine.signals import SignalHandler
from ops.engine.step import ObservedState, StepPlan
from ops.runbooks.rollback_worker import RollbackWorker
from ops.workers.steps import DeploySplit
from tests.conftest import REFERENCE, SITE, WORKER, Releases, World
from tests.support.databases import FORTUNET, add_database
from tests.support.scenarios import arguments, options_of, runbooks
from tests.support.switches import NAMESPACE, SwitchWorld

READ_BY_POST = ("/bulk/get", "/query", "/graphql")
MORE: dict[str, str | tuple[str, ...] | bool] = {
    "accept_changed_secrets": ("KEY",),
    "commit": "a" * 40,
    "current_secrets": True,
    "inherit_latest": ("KEY",),
    "message": "x",
    "name": "ai-mutex",
    "path": "/api",
    "reason": "KEY",
    "until": "2h",
}
"""Parameter → a value that a dry run is tried with, where the runbook's example leaves it out."""
SEEDS = 25
KEYS = {"NEW_GROQ_API_KEY": "gsk-fresh-0123456789", "OLD_GROQ_API_KEY": "gsk-leaked-0123456789"}


def history(world: World, seed: int) -> list[str]:
    """Create releases, splits, rollbacks and secret edits of the last day."""
    draw, versions = random.Random(seed), [world.release(timedelta(hours=24), code="first", secrets={"KEY": "0"})]
    for hours in range(23, 0, -draw.randint(2, 5)):
        at = world.sandbox.clock.now() - timedelta(hours=hours)
        match draw.choice(["release", "release", "upload", "split", "rollback", "secret"]):
            case "split":
                world.sandbox.deploy(
                    WORKER, dict(zip(draw.sample(versions, k=2), (90, 10), strict=True)), at=at
                ) if len(versions) > 1 else None
            case "rollback":
                world.sandbox.deploy(WORKER, draw.choice(versions), triggered_by="rollback", at=at)
            case "secret":
                versions.append(world.sandbox.put_secret(WORKER, "KEY", str(hours), at=at))
            case kind:
                versions.append(world.release(timedelta(hours=hours), deploy=kind == "release"))
    return versions


def site_history(world: World, seed: int) -> list[str]:
    """Create site deployments of the last day, including failed ones, previews and rollbacks."""
    draw, deployments = random.Random(seed), [world.site(timedelta(hours=24), "first", commit="0" * 40)]
    for hours in range(23, 0, -draw.randint(2, 5)):
        ago, kind = (
            timedelta(hours=hours),
            draw.choice(["success", "success", "failure", "active", "preview", "rollback"]),
        )
        if kind == "rollback":
            back = draw.choice(deployments)
            world.sandbox.pages.rollback(SITE, back, at=world.sandbox.clock.now() - ago)
        elif kind == "preview":
            world.site(ago, f"preview {hours}", branch="fix")
        else:
            made = world.site(ago, f"site {hours}", commit=f"{hours}" * 20, status=kind)
            deployments += [made] if kind == "success" else []
    return deployments


def add_surroundings(world: World) -> None:
    """Add a route, the maintenance Worker, a switch and limits.yml."""
    sandbox = world.sandbox
    sandbox.zones.add_route(sandbox.zones.all[sandbox.zones.add("fortunet.example")], "api.fortunet.example/*", WORKER)
    sandbox.deploy("ops-maintenance", sandbox.upload("ops-maintenance", vars={"RUN": "prepared"}))
    sandbox.kv.add(NAMESPACE)
    add_database(world, "fortunet", FORTUNET)
    SwitchWorld(world).put("ai", incident=42)
    text = (REFERENCE / "limits.yml").read_text()
    sandbox.github.add_commit("Limits", "acme", files={"limits.yml": text})
    (world.folder / "limits.yml").write_text(text)
    sandbox.providers["groq"].add_key(KEYS["NEW_GROQ_API_KEY"])


def variations(runbook: Runbook[Any], targets: dict[str, str]) -> list[list[str]]:
    """Return the example's options, alone and with each further option of the runbook."""
    own = runbook.example
    more = MORE | ({"to": targets[runbook.kinds[0]]} if runbook.kinds[0] in targets else {})
    left_out = [each.name for each in fields(own) if each.name in more and getattr(own, each.name) == each.default]
    known = options_of(runbook.name)
    given = [arguments(own, known), *(arguments(replace(own, **{name: more[name]}), known) for name in left_out)]
    incident = ["--incident", "42"] if "--incident" in known else []
    always = incident if runbook.incident_use.is_required else []
    return [[*each, *always] for each in given] + [[*given[0], *incident]]


def job(world: World) -> dict[str, str]:
    """Return the variables of a job on the newest commit of the operations repository."""
    hub = world.sandbox.github
    return {**hub.environ(), "GITHUB_ACTIONS": "true", "OPS_COMMIT": hub.resolve("main") or ""}


def seeds(name: str) -> int:
    """Return the number of histories per runbook; scheduled runbooks read none."""
    return 4 if name in scheduled_files() else SEEDS


@pytest.mark.parametrize(
    ("name", "seed"),
    [pytest.param(name, n, marks=() if n < 2 else pytest.mark.slow) for name in runbooks() for n in range(seeds(name))],
)
def test_dry_run_only_reads(world: World, name: str, seed: int) -> None:
    runbook = registry.load_runbook(name)
    versions, sites = history(world, seed), site_history(world, seed)
    add_surroundings(world)
    before = world.sandbox.deployments(WORKER), world.served
    world.sandbox.add_token("planning", runbook.permissions.cloudflare)
    options = variations(runbook, {"worker": versions[0], "pages": sites[0]})

    where = ["--environment", "production", "--config", str(world.config), "--dry-run", "--yes", "--json"]
    keys = {**KEYS, **(job(world) if runbook.permissions.github else {})}
    outcome = world.ops(*name.split(), *options[seed % len(options)], *where, **keys, CLOUDFLARE_API_TOKEN="planning")

    is_incomplete = outcome.code == 2 and outcome.result["reason"] == "config_invalid"  # it needs another option
    assert outcome.code in {0, 3} or is_incomplete, outcome.err
    asked = [*world.sandbox.requests, *world.sandbox.github.requests]
    assert {request.method for request in asked if not request.path.endswith(READ_BY_POST)} <= {"GET"}
    assert (world.sandbox.deployments(WORKER), world.served) == before


@pytest.mark.slow
def test_dry_run_plans_the_same_as_the_real_run(world: World, releases: Releases) -> None:
    planned = world.rollback("--dry-run").result["plan"]
    read = Counter((request.method, request.path) for request in world.sandbox.requests)
    world.sandbox.requests.clear()

    done = world.rollback().result["plan"]

    assert Counter(before_the_write(world)) == read
    assert done == planned


@pytest.mark.slow
def test_pages_dry_run_plans_the_same_as_the_real_run(world: World, sites: Releases) -> None:
    planned = world.rollback_pages("--dry-run").result["plan"]
    read = Counter((request.method, request.path) for request in world.sandbox.requests)
    world.sandbox.requests.clear()

    done = world.rollback_pages().result["plan"]

    assert Counter(before_the_write(world)) == read
    assert done == planned


def before_the_write(world: World) -> list[tuple[str, str]]:
    requests = world.sandbox.requests
    write = requests.index(world.writes()[0])
    return [(request.method, request.path) for request in requests[:write]]


class WritesWhilePlanning(RollbackWorker):
    """Greedy."""

    def plan(self, ctx: Context[RollbackWorker.Params]) -> StepPlan:
        plan = super().plan(ctx)
        write(ctx)
        return plan


class WritesWhileComparing(RollbackWorker):
    """Greedy."""

    def plan(self, ctx: Context[RollbackWorker.Params]) -> StepPlan:
        plan = super().plan(ctx)
        return replace(plan, changes=tuple(GreedyStep(**vars(step)) for step in plan.changes))


class GreedyStep(DeploySplit):
    def check(self, ctx: Context[Any]) -> ObservedState:
        write(ctx)
        return super().check(ctx)


def write(ctx: Context[RollbackWorker.Params]) -> None:
    version = ctx.cloudflare.workers.list_deployable_versions(WORKER)[-1].id
    ctx.cloudflare.workers.deploy(WORKER, ((version, 100.0),), mark=DeploymentMark(incident=None, run="x", blames=None))


def execute(world: World, runbook: RollbackWorker, *, compare: bool, dry_run: bool = False) -> EndedRun:
    options = RunOptions(dry_run=dry_run, confirm=lambda _: compare, show_plan=lambda _: None, probe_wait=0.0)
    request = run.RunRequest(
        runbook=runbook, params=RollbackWorker.Params("api"), environment="production", config=world.config
    )
    environ = world.sandbox.environ()
    signals, redactor = SignalHandler(), Redactor()
    return run.run_runbook(request, environ, redactor, sink=lambda _: None, options=options, signals=signals)[0]


@pytest.mark.slow
@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("runbook", [WritesWhilePlanning(), WritesWhileComparing()], ids=lambda r: type(r).__name__)
def test_early_write_is_refused_by_the_client(
    world: World, releases: Releases, runbook: RollbackWorker, dry_run: bool
) -> None:
    result = execute(world, runbook, compare=True, dry_run=dry_run)

    if dry_run and isinstance(runbook, WritesWhileComparing):
        assert result.decision == Decision.PLANNED  # it was never asked to compare
    else:
        assert (result.decision, result.reason) == (Decision.REFUSED, Reason.READ_ONLY)
        assert "only reads are allowed" in result.message
    assert world.writes() == []
    assert world.live == {releases.bad: 100}

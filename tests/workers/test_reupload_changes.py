"""Uploads of several Workers in one plan, with new secret values."""

from datetime import timedelta
from typing import Any

import pytest

from ops.app import run as app
from ops.cloudflare.marks import DeploymentMark
from ops.core.errors import Decision, Reason
from ops.core.next_step import SuggestedCommand
from ops.core.redaction import Redactor, Secret
from ops.core.run import EndedRun
from ops.engine.context import Context
from ops.engine.engine import RunOptions
from ops.engine.signals import SignalHandler
from ops.engine.step import StepPlan
from ops.runbooks.rollback_worker import RollbackWorker
from ops.workers import reupload
from ops.workers.reupload import Reupload
from tests.conftest import WORKER, World
from tests.support.commands import WRITE

OTHER = "fortunet-jobs"
UPLOAD = {"method": "POST", "path": "/accounts/*/workers/scripts/*/versions"}


class SetsKey(RollbackWorker):
    """Give KEY a new value in both Workers."""

    def plan(self, ctx: Context[RollbackWorker.Params]) -> StepPlan:
        uploads = [self._rebuild(ctx, worker) for worker in (WORKER, OTHER)]
        secrets = {"KEY": Secret("newer")}
        steps = [step for each in uploads for step in reupload.build_reupload_steps(each, undo=None, secrets=secrets)]
        return StepPlan("KEY gets a new value", tuple(steps), tuple(map(reupload.reupload_section, uploads)))

    def _rebuild(self, ctx: Context[RollbackWorker.Params], worker: str) -> Reupload:
        deployments, uploads = (
            ctx.cloudflare.workers.list_deployments(worker),
            ctx.cloudflare.workers.list_uploads(worker),
        )
        live = deployments[0]
        version = reupload.majority_version(live.split)
        assert version
        return reupload.plan_reupload(
            ctx,
            worker,
            version,
            DeploymentMark(ctx.request.incident, ctx.run_id, None, rotated=("KEY",)),
            live=live,
            latest=uploads[0],
            edits=("KEY",),
            accepted=("OTHER",),
            accept=lambda _: SuggestedCommand("ops"),
            static_assets=False,
        )


def run(world: World) -> EndedRun:
    options = RunOptions(dry_run=False, confirm=lambda _: False, show_plan=lambda _: None, probe_wait=0.0)
    request = app.RunRequest(
        runbook=SetsKey(), params=RollbackWorker.Params("api"), environment="production", config=world.config
    )
    environ, signals = world.sandbox.environ(), SignalHandler()
    return app.run_runbook(request, environ, Redactor(), sink=lambda _: None, options=options, signals=signals)[0]


@pytest.fixture
def workers(world: World) -> dict[str, str]:
    """Deploy a release that is not the latest upload on both Workers; return Worker → live version."""
    world.sandbox.route("api.fortunet.example", WORKER)
    secrets = {"KEY": "leaked", "OTHER": "kept"}
    serving = {}
    for worker in (WORKER, OTHER):
        at = world.sandbox.clock.now() - timedelta(hours=2)
        serving[worker] = world.sandbox.upload(worker, code="good", secrets=secrets, at=at)
        world.sandbox.upload(worker, code="bad", secrets=secrets, at=at)
        world.sandbox.deploy(worker, serving[worker], at=at)
    return serving


def live_code_and_secrets(world: World, worker: str) -> tuple[str, dict[str, str]]:
    """Return the live code and secret values."""
    (version,) = world.sandbox.live(worker)
    upload = world.sandbox.account.workers[worker].versions[version].upload
    return upload.modules[0].content.decode(), dict(world.sandbox.deployments(worker)[0].secrets[version])


NOW: Any = ("good", {"KEY": "newer", "OTHER": "kept"})


@pytest.mark.slow
def test_each_worker_keeps_its_code_and_gets_the_new_value(world: World, workers: dict[str, str]) -> None:
    result = run(world)

    assert result.exit_code == 0, result.message
    assert live_code_and_secrets(world, WORKER) == live_code_and_secrets(world, OTHER) == NOW
    assert len(world.writes()) == 4
    assert result.plan
    assert result.plan.sections[0].lines[0] == "KEY: new value"


@pytest.mark.slow
@pytest.mark.parametrize(
    "write", [pytest.param(UPLOAD, id="upload"), pytest.param(WRITE, id="deployment", marks=pytest.mark.slow)]
)
def test_lost_answer_at_the_second_worker_is_resolved(
    world: World, workers: dict[str, str], write: dict[str, str]
) -> None:
    world.sandbox.fault(**write, lost="after", skip=1)

    result = run(world)

    assert result.exit_code == 0, result.message
    assert live_code_and_secrets(world, WORKER) == live_code_and_secrets(world, OTHER) == NOW
    assert len(world.writes()) == 4


def test_canary_ends_and_is_not_promoted(world: World, workers: dict[str, str]) -> None:
    canary = world.sandbox.upload(WORKER, code="canary")
    world.sandbox.deploy(WORKER, {workers[WORKER]: 90, canary: 10})

    result = run(world)

    assert result.exit_code == 0, result.message
    assert live_code_and_secrets(world, WORKER) == NOW
    assert canary not in world.live


def test_change_at_the_second_worker_stops_the_run(world: World, workers: dict[str, str]) -> None:
    theirs = world.sandbox.upload(OTHER, code="theirs", secrets={"KEY": "leaked", "OTHER": "kept"})
    world.sandbox.fault(**WRITE, after=lambda: world.sandbox.deploy(OTHER, theirs, author="dana@example.com"))

    result = run(world)

    assert (result.decision, result.reason) == (Decision.FAILED, Reason.WORLD_MOVED)
    assert "dana@example.com" in result.message
    changed, left = (f"Worker {worker}, latest upload, Worker {worker}" for worker in (WORKER, OTHER))
    assert result.message.endswith(f"; changed: {changed}; not changed: {left}")
    assert live_code_and_secrets(world, WORKER) == NOW
    assert world.sandbox.live(OTHER) == {theirs: 100}

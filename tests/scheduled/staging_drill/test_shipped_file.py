"""A staging drill with the section that the shipped `ops.yml` shows as a comment.

Its two accounts have Workers of one name, with secrets and Durable Objects.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox import Sandbox
from tests.conftest import ACCOUNT, REFERENCE, SITE, WORKER, World
from tests.support.staging_drill import DrillWorld

STAGING_ACCOUNT = "0fedcba0" * 4
HEALTHY = {"body": {"status": "ok", "version": {"id": "{{version}}"}}}
BEHAVIOUR = {"runtime": {"drill": True}, "paths": {"/health": HEALTHY, "/api/charts/calculate": {"body": {}}}}
BINDINGS = (
    {"type": "durable_object_namespace", "name": "AI_MUTEX", "class_name": "AiMutexDO", "namespace_id": "1"},
    {"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": "c0ffee11" * 4},
    {"type": "d1", "name": "DB", "id": "c0ffee11-c0ff-4e11-80ff-ee11c0ffee11"},
)
CODE = """import { DurableObject } from "cloudflare:workers";
export class AiMutexDO extends DurableObject {}
export default {};"""
SECRETS = {"IFLOW_API_KEY": "iflow-staging-0123456789", "ADMIN_TOKEN": "admin-staging-0123456789"}


def release(sandbox: Sandbox, host: str) -> str:
    """Deploy the Worker and the site of FortuneT a day ago, and return the Worker's version."""
    at = sandbox.clock.now() - timedelta(days=1)
    sandbox.switches.kv_staleness_seconds = sandbox.switches.propagation_seconds = 0
    version = sandbox.upload(
        WORKER,
        code=CODE,
        behaviour=BEHAVIOUR,
        bindings=BINDINGS,
        secrets=SECRETS,
        durable_objects=["AiMutexDO"],
        migration_tag="v1",
        tag="4f2a9c1" * 5 + "4f2a9",
        at=at,
    )
    sandbox.deploy(WORKER, version, at=at)
    sandbox.zones.add_route(sandbox.zones.all[sandbox.zones.add(f"api.{host}")], f"api.{host}/*", WORKER)
    sandbox.pages.add_project(SITE, domains=[host])
    sandbox.pages.add_deployment(SITE, files={"index.html": b"<h1>FortuneT</h1>"}, at=at)
    return version


@pytest.fixture
def place(tmp_path: Path) -> Iterator[DrillWorld]:
    with (
        Sandbox(account_id=STAGING_ACCOUNT, virtual_clock=True) as staging,
        Sandbox(account_id=ACCOUNT, virtual_clock=True) as live,
    ):
        good = release(staging, "staging.fortunet.example")
        release(live, "fortunet.example")
        staging.kv.add("c0ffee11" * 4)
        staging.add_account(live)
        staging.account.visible[:] = [staging.account]
        before, name, section = (REFERENCE / "ops.yml").read_text().partition("staging_drill:")
        (tmp_path / "ops.yml").write_text(before.removesuffix("# ") + name + section.replace("\n#", "\n"))
        (tmp_path / "limits.yml").write_text((REFERENCE / "limits.yml").read_text())
        yield DrillWorld(World(staging, tmp_path), live, good, "api", WORKER, "STAGING_CLOUDFLARE_API_TOKEN")


def test_drill_of_the_shipped_file_is_recovered_and_leaves_both_accounts_as_before(place: DrillWorld) -> None:
    before = place.live.live(WORKER)
    uploads: list[Any] = []

    def recover() -> None:
        bad = place.sandbox.account.workers[WORKER].latest
        assert bad is not None
        uploads.append(bad.upload)
        place.recover()

    place.answer(recover)

    ended = place.run()

    assert (ended.code, ended.result["outcome"], ended.result["undone"]) == (0, "passed", True), ended.err
    (bad,) = uploads
    assert {each["name"] for each in BINDINGS} <= {each["name"] for each in bad.bindings}
    assert (bad.secrets, bad.durable_objects) == (SECRETS, ("AiMutexDO",))
    assert (place.served, place.live.live(WORKER)) == ({place.good: 100}, before)

"""Rollback across declared Durable Object classes, and the pipeline afterwards, on a shop with one Worker."""

import shlex
from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import Outcome, World
from tests.support.shop import WEB_YML, WORKER, answering

CONFIG = WEB_YML
SQLITE = {"type": "durable-object", "storage": "sqlite"}
ADMIN = {"type": "worker", "cache": {"enabled": False}}
ROOM, CHAT = {"Room": SQLITE}, {"ChatRoom": SQLITE}


@pytest.fixture
def web(world: World) -> World:
    world.config.write_text(CONFIG)
    return world


def release(world: World, ago: timedelta, code: str, **upload: Any) -> str:
    at = world.sandbox.clock.now() - ago
    version = world.sandbox.upload(WORKER, **{"code": code, "at": at, "behaviour": answering(), **upload})
    world.sandbox.deploy(WORKER, version, at=at)
    return version


def ops(world: World, *words: str) -> Outcome:
    return world.ops(*words, "--config", str(world.config), "--yes", "--json", SHOP_TOKEN=world.sandbox.token)


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        (ROOM, {**ROOM, "Cart": SQLITE}, {"Cart"}),
        (
            CHAT,
            {**ROOM, "ChatRoom": {"type": "durable-object", "state": "renamed", "renamed_to": "Room"}},
            {"ChatRoom"},
        ),
        ({**ROOM, **CHAT}, {**ROOM, "ChatRoom": {"type": "durable-object", "state": "deleted"}}, {"ChatRoom"}),
    ],
    ids=["created", "renamed", "deleted"],
)
def test_change_of_declared_classes_is_refused_by_name(
    web: World, before: dict[str, Any], after: dict[str, Any], changes: set[str]
) -> None:
    good = release(web, timedelta(days=3), "A", more={"exports": before})
    bad = release(web, timedelta(minutes=10), "B", more={"exports": after})

    by_rule, named = ops(web, "rollback-worker"), ops(web, "rollback-worker", "--to", good)

    for outcome in (by_rule, named):
        assert (outcome.code, outcome.result["reason"]) == (3, "migration_between"), outcome.err
        assert all(name in outcome.result["message"] for name in changes)
    assert web.sandbox.live(WORKER) == {bad: 100}


def test_equal_live_classes_are_no_change(web: World) -> None:
    """A tombstone may be removed once it was applied, and another export is no Durable Object."""
    old = {"type": "durable-object", "state": "deleted"}
    good = release(web, timedelta(days=3), "A", more={"exports": {**ROOM, "Old": old}})
    release(web, timedelta(minutes=10), "B", more={"exports": {**ROOM, "Admin": ADMIN}})

    outcome = ops(web, "rollback-worker")

    assert outcome.code == 0, outcome.err
    assert web.sandbox.live(WORKER) == {good: 100}


def test_classes_that_one_version_declares_are_a_warning(web: World) -> None:
    """The Worker moved from migrations to `exports`: Cloudflare decides, and the state is known."""
    release(web, timedelta(days=3), "A")
    bad = release(web, timedelta(minutes=10), "B", more={"exports": ROOM})

    outcome = ops(web, "rollback-worker")

    assert any("`exports`" in warning for warning in outcome.result["plan"]["warnings"])
    assert (outcome.code, web.sandbox.live(WORKER)) == (4, {bad: 100}), outcome.err


def test_printed_command_repairs_secret_edits_after_a_rollback(web: World) -> None:
    """Cloudflare refuses secret edits while the latest version is not live."""
    web.config.write_text(f"{CONFIG}        static_assets: false\n")
    good = release(web, timedelta(days=3), "A", secrets={"KEY": "1"})
    bad = release(web, timedelta(minutes=10), "B", secrets={"KEY": "1"})
    rolled_back = ops(web, "rollback-worker")
    (text,) = (each for each in rolled_back.result["plan"]["follows"] if "10214" in each)
    command = shlex.split(text.split("`")[-2])

    outcomes = [ops(web, *command[1:]) for _ in range(3)]

    (live,) = web.sandbox.live(WORKER)
    assert [each.code for each in outcomes] == [0, 0, 0], outcomes[0].err
    assert [each.result["wrote"] for each in outcomes] == [True, False, False]
    assert live not in {good, bad}
    assert web.sandbox.deployments(WORKER)[0].percentages == {live: 100}
    assert "upload the target again" not in " ".join(outcomes[0].result["plan"]["follows"])


def test_static_assets_need_the_pipeline_after_a_rollback(web: World) -> None:
    release(web, timedelta(days=3), "A", assets=True)
    release(web, timedelta(minutes=10), "B", assets=True)

    outcome = ops(web, "rollback-worker")

    (text,) = (each for each in outcome.result["plan"]["follows"] if "10214" in each)
    assert "`wrangler versions secret put`" in text
    assert "--current-secrets" not in text

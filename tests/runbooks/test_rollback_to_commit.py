"""`--to-commit` of rollback-worker and rollback-pages: the release that a commit or tag names."""

from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import Outcome, World
from tests.support.shop import SITE, WEB_YML, WORKER

SHA = "0123456789abcdef0123456789abcdef01234567"
OTHER = "0123456fffffffffffffffffffffffffffffffff"


@pytest.fixture
def shop_web(world: World) -> World:
    """An application with one Worker and one site."""
    world.config.write_text(
        f"{WEB_YML}      docs:\n        pages: {SITE}\n        url: https://docs.shop.example\n"
        "        verify: {successes: 1}\n        probes:\n          - name: home\n            http: {path: /}\n"
    )
    return world


def upload(world: World, ago: timedelta, code: str, **more: Any) -> str:
    at = world.sandbox.clock.now() - ago
    version = world.sandbox.upload(WORKER, code=code, at=at, **more)
    world.sandbox.deploy(WORKER, version, at=at)
    return version


def run(world: World, runbook: str, commit: str, *more: str) -> Outcome:
    where = ("--config", str(world.config), "--yes", "--json")
    return world.ops(runbook, "--to-commit", commit, *where, *more, SHOP_TOKEN=world.sandbox.token)


@pytest.mark.parametrize(
    ("named", "given"),
    [
        ({"tag": SHA}, SHA[:7]),
        ({"tag": SHA[:12]}, SHA.upper()),
        ({"tag": "v4.2"}, "v4.2"),
        ({"message": f"{SHA}: faster cart"}, SHA[:9]),
    ],
    ids=["short", "whole, in capitals, of a short tag", "tag", "first word of the message"],
)
def test_worker_goes_to_the_version_of_a_commit(shop_web: World, named: dict[str, str], given: str) -> None:
    wanted = upload(shop_web, timedelta(days=3), "A", **named)
    upload(shop_web, timedelta(days=2), "B", tag="v4.2.1", message=f"This reverts commit {SHA}.")
    upload(shop_web, timedelta(hours=1), "C")

    outcomes = [run(shop_web, "rollback-worker", given) for _ in range(3)]

    assert shop_web.sandbox.live(WORKER) == {wanted: 100}, outcomes[0].err
    assert [each.result["wrote"] for each in outcomes] == [True, False, False]
    assert outcomes[1].result["plan"]["reason"] == "already_live"


@pytest.mark.parametrize("given", ["abcdef0", "01234", SHA[:7], "v4"], ids=["unknown", "too short", "two", "tag part"])
def test_unknown_or_ambiguous_commit_is_refused(shop_web: World, given: str) -> None:
    first = upload(shop_web, timedelta(days=3), "A", tag=SHA)
    second = upload(shop_web, timedelta(days=2), "B", tag=OTHER)
    live = upload(shop_web, timedelta(hours=1), "C", tag="v4.2")

    outcome = run(shop_web, "rollback-worker", given)

    assert (outcome.code, outcome.result["reason"]) == (3, "unknown_name")
    assert all(each[:8] in outcome.result["hint"] for each in (first, second))
    assert (f"`--to {first}`" in outcome.result["hint"]) is (given == SHA[:7])
    assert shop_web.sandbox.live(WORKER) == {live: 100}


def test_listed_names_can_be_copied(shop_web: World) -> None:
    upload(shop_web, timedelta(days=3), "A", tag="release-2026-11-27")
    upload(shop_web, timedelta(days=2), "B", tag=SHA)
    upload(shop_web, timedelta(hours=1), "C")

    hint = run(shop_web, "rollback-worker", "release-2026").result["hint"]

    assert "release-2026-11-27 (" in hint
    assert f"{SHA[:12]} (" in hint


def test_tag_of_a_commit_beats_another_commit_in_the_message(shop_web: World) -> None:
    """Its tag says what it was built from; the message of a revert may begin with the reverted commit."""
    upload(shop_web, timedelta(days=3), "A", tag=OTHER, message=f"{SHA} is reverted")
    live = upload(shop_web, timedelta(hours=1), "C", tag="v4.2")

    outcome = run(shop_web, "rollback-worker", SHA)

    assert (outcome.code, outcome.result["reason"]) == (3, "unknown_name")
    assert shop_web.sandbox.live(WORKER) == {live: 100}


@pytest.mark.sampled
@pytest.mark.parametrize("runbook", ["rollback-worker", "rollback-pages"])
def test_two_targets_are_a_usage_error(shop_web: World, runbook: str) -> None:
    upload(shop_web, timedelta(days=3), "A", tag=SHA)
    shop_web.sandbox.pages.add_project(SITE, domains=["docs.shop.example"])

    outcome = run(shop_web, runbook, SHA, "--to", "01234567")

    assert outcome.code == 2
    assert "--to-commit" in outcome.result["message"]


def test_site_goes_to_the_deployment_of_a_commit(shop_web: World) -> None:
    pages = shop_web.sandbox.pages
    pages.add_project(SITE, domains=["docs.shop.example"])
    now = shop_web.sandbox.clock.now()
    for days, commit in ((9, SHA), (5, OTHER), (3, "e" * 40), (1, "d" * 40)):
        files = {"index.html": f"<h1>{commit}</h1>".encode()}
        pages.add_deployment(SITE, files=files, at=now - timedelta(days=days), commit=commit)
    ids = [each.id for each in pages.deployments(SITE)]

    refused = run(shop_web, "rollback-pages", SHA[:7])
    outcomes = [run(shop_web, "rollback-pages", OTHER[:8]) for _ in range(2)]

    assert (refused.code, refused.result["reason"]) == (3, "unknown_name")
    assert all(f"`--to {each}`" in refused.result["hint"] for each in ids[2:])
    assert pages.live(SITE) == ids[2], outcomes[0].err
    assert [each.result["wrote"] for each in outcomes] == [True, False]
    assert run(shop_web, "rollback-pages", "abcdef0").result["reason"] == "unknown_name"

"""`ops rollback-worker`, its rehearsal and the watch behind the caches of Cloudflare. Not for FortuneT.

The answers of a cache are those of an earlier version: they hide an outage, and they outlive a recovery.
"""

import json
import re
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import strategies as st

from sandbox import Sandbox
from sandbox.edge.cache import CacheRule
from tests.conftest import ACCOUNT, Outcome, World
from tests.support import shop
from tests.support.commands import ended, texts
from tests.support.properties import holds_for
from tests.support.shop import WORKER, Shop

HOST = "web.shop.example"
ROLLBACK = ("rollback-worker", "--service", "web", "--environment", "live", "--json")
NO_BUSTER = ("version: version}", "version: version, cache_buster: false}")
FETCHED = {"url": "https://cms.shop.example/cart", "seconds": 3600}

CACHES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Workers Caching": ({"headers": {"cache-control": "max-age=3600"}}, {"cross_version_cache": True}),
    "a stale answer of Workers Caching": ({"headers": {"cache-control": "max-age=1"}}, {"cross_version_cache": True}),
    "the Cache API": ({"cache_api": 3600}, {}),
    "fetch": ({"fetch_cache": FETCHED}, {}),
    "a zone in front": ({}, {}),
}


def open_cached_shop(world: World, cache: str, *, good: int) -> Shop:
    """Deploy three releases; a user requested the cart of the first one, so that it is cached. `good`: its status."""
    world.config.write_text(shop.WEB_YML.replace("deadline: 1s", "deadline: 3s"))
    sandbox, now, versions = world.sandbox, world.sandbox.clock.now(), []
    sandbox.switches.propagation_seconds = 0
    sandbox.route(HOST, WORKER)
    behaviour, options = CACHES[cache]
    if cache == "a zone in front":
        sandbox.edge.cache_rules[HOST] = CacheRule(3600)
    for hours, code, status in ((60, "old", 200), (30, "good", good), (1, "bad", 500)):
        more = {"cache_options": {"enabled": True, **options}} if options else {}
        at = now - timedelta(hours=hours)
        versions.append(
            sandbox.upload(WORKER, code=code, behaviour={**shop.answering(status), **behaviour}, at=at, more=more)
        )
        sandbox.deploy(WORKER, versions[-1], author="mai@shop.example", at=at)
        if code == "old":
            assert look(sandbox).status_code == 200
    sandbox.clock.advance(20)
    return Shop(world, *versions)


def look(sandbox: Sandbox) -> httpx.Response:
    """Return the cart as a user sees it."""
    return httpx.get(f"{sandbox.edge_url}/cart", headers={"host": HOST})


def rollback(opened: Shop, *more: str) -> Outcome:
    return opened.ops(*ROLLBACK, "--yes", *more)


@pytest.mark.slow
@pytest.mark.parametrize("cache", CACHES)
def test_cached_answers_of_an_old_release_prove_no_recovery(world: World, cache: str) -> None:
    """Users of the cached page see 200, everybody else sees the error of the target."""
    opened = open_cached_shop(world, cache, good=503)
    assert look(world.sandbox).headers["cf-cache-status"] in {"HIT", "STALE"}

    outcomes = [rollback(opened) for _ in range(3)]

    expected = (8, "no_evidence") if cache == "fetch" else (6, "still_unhealthy")
    assert [ended(each)[:2] for each in outcomes] == [expected] * 3
    assert opened.live == {opened.good: 100}


@pytest.mark.slow
@pytest.mark.parametrize("cache", [each for each in CACHES if each != "fetch"])
def test_recovery_behind_a_cache_is_proved_with_a_unique_query(world: World, cache: str) -> None:
    opened = open_cached_shop(world, cache, good=200)

    outcomes = [rollback(opened) for _ in range(2)]

    assert [ended(each)[:2] for each in outcomes] == [(0, "recovered"), (0, "nothing_to_do")], outcomes[0].err
    assert opened.live == {opened.good: 100}


@pytest.mark.slow
@pytest.mark.parametrize("cache", CACHES)
def test_probe_without_the_unique_query_names_the_cache(world: World, cache: str) -> None:
    opened = open_cached_shop(world, cache, good=503)
    world.edit_config(*NO_BUSTER)

    outcome = rollback(opened)

    assert ended(outcome)[:2] == (8, "no_evidence"), outcome.err
    assert "cart inconclusive: cached answer (cf-cache-status: " in texts(outcome, "probed")[-1]
    assert "cache_buster: false" in outcome.result["hint"]


@pytest.mark.slow
def test_cached_answers_prove_no_rehearsal(world: World) -> None:
    opened = open_cached_shop(world, "fetch", good=503)
    world.edit_config("probes:", "rehearse: true\n        probes:")

    outcome = rollback(opened)

    rehearsed = [event["text"] for event in outcome.events if event["kind"] == "rehearsed"]
    assert ended(outcome)[:2] == (8, "no_evidence")
    assert re.match("result: inconclusive, .*: cart inconclusive", rehearsed[-1])


@pytest.mark.sampled
@pytest.mark.parametrize(("good", "decision"), [(503, "relapsed"), (200, "mitigated")])
def test_watch_sees_through_a_cache(world: World, good: int, decision: str) -> None:
    opened = open_cached_shop(world, "the Cache API", good=good)
    world.sandbox.deploy(WORKER, opened.good)

    outcome = opened.ops("watch", "--service", "web", "--for", "10m", "--json")

    assert outcome.result["decision"] == decision


def test_watch_of_cached_answers_has_no_evidence(world: World) -> None:
    opened = open_cached_shop(world, "fetch", good=200)
    world.sandbox.deploy(WORKER, opened.good)

    outcome = opened.ops("watch", "--service", "web", "--for", "10m", "--json")

    assert (outcome.code, outcome.result["decision"]) == (8, "no_evidence")


def test_cached_trouble_is_no_sign_of_an_outage(world: World) -> None:
    opened = open_cached_shop(world, "fetch", good=500)

    outcome = opened.ops("check-outage", "web", "--environment", "live", "--json")

    assert "the probes of web are inconclusive" in outcome.result["notes"]


@pytest.mark.sampled
@pytest.mark.parametrize("is_on", [True, False])
def test_plan_names_the_cache_that_the_bad_version_filled(world: World, is_on: bool) -> None:
    opened = open_cached_shop(world, "a zone in front", good=200)
    more = {"exports": {"default": {"type": "worker", "cache": {"enabled": is_on}}}}
    worse = world.sandbox.upload(WORKER, code="worse", behaviour={"status": 500}, more=more)
    world.sandbox.deploy(WORKER, worse, author="mai@shop.example")

    plan = rollback(opened, "--dry-run").result["plan"]

    line = f"Workers Caching is on in {worse[:8]}: with `cross_version_cache` the target may answer with what it stored"
    assert any(each.startswith(line) for each in plan["follows"]) is is_on
    assert any(each.startswith("caches: ") for each in plan["not_undone"])


_CACHED_HEADERS = st.one_of(
    st.fixed_dictionaries({"cf-cache-status": st.sampled_from(["HIT", "STALE", "UPDATING", "REVALIDATED", "hit"])}),
    st.fixed_dictionaries(
        {"cf-cache-status": st.sampled_from(["DYNAMIC", "MISS", "HIT"]), "age": st.integers(1, 10**9).map(str)}
    ),
)
_ANSWERS = st.lists(st.tuples(st.sampled_from([200, 404, 500, 503]), _CACHED_HEADERS), min_size=1, max_size=6)


@pytest.mark.slow
@holds_for(4, 60, answers=_ANSWERS, ends=st.sampled_from(["run", "rehearsal", "watch"]))
def test_no_sequence_of_cached_answers_decides(
    tmp_path_factory: pytest.TempPathFactory, answers: list[tuple[int, dict[str, str]]], ends: str
) -> None:
    with Sandbox(account_id=ACCOUNT, virtual_clock=True) as sandbox:
        world = World(sandbox, tmp_path_factory.mktemp("cached"))
        opened = open_cached_shop(world, "the Cache API", good=200)
        for number, (status, headers) in enumerate(answers):
            body = json.dumps({"version": opened.good})
            rule = {"status": status, "body": body, "headers": headers, "skip": number, "host": HOST}
            sandbox.edge_fault(**rule, times=None if number == len(answers) - 1 else 1)
        if ends == "watch":
            outcome = opened.ops("watch", "--service", "web", "--for", "4m", "--json")
        else:
            if ends == "rehearsal":
                world.edit_config("probes:", "rehearse: true\n        probes:")
            outcome = rollback(opened)

        assert (outcome.code, outcome.result["decision"]) == (8, "no_evidence"), outcome.err

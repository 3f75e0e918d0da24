"""A relapse that the probes found: Cloudflare's figures must show it too before a job makes the automatic step."""

import re
from dataclasses import replace
from typing import Any

import pytest

from ops.core.run_record import embed_record, read_record
from tests.conftest import World
from tests.support.relapse import PROBE, open_relapse

SAME_HOST = "https://web.shop.example"


@pytest.mark.parametrize(
    ("world_of", "said"),
    [
        ({"share": 0}, "web.shop.example failed 0 of "),
        ({"status": 503}, "web.shop.example failed 0 of "),
        ({"others": 0}, "web.shop.example failed 0 of 0 requests of others so far; shop-web failed 0 of 0 "),
        ({"rights": ["Workers Scripts Read"]}, "those of the host do not count: "),
        ({"others": 0, "has_zone": False}, "shop-web failed 0 of 0 requests of others so far"),
        (
            {"others": 0, "probe": f"{PROBE[:-1]}, request_headers: {{User-Agent: SHOP_AGENT}}}}"},
            "those of the host do not count: the requests of probe cart have another user agent",
        ),
        ({"others": 1, "has_zone": False}, "shop-web failed 0 of 0 requests of others so far"),
        (
            {"has_zone": False, "probe": "page: {paths: [/cart]}"},
            "shop-web failed 0 of 0 requests of others so far",
        ),
        (
            {"has_zone": False, "probe": "command: {run: [python3, -c, raise SystemExit(1)]}"},
            "those of the Worker do not count: the requests of probe cart cannot be counted",
        ),
        (
            {"has_zone": True, "probe": f"{PROBE}\n      api: {{worker: shop-api, url: {SAME_HOST}}}"},
            "those of the host do not count: web.shop.example ",
        ),
    ],
    ids=[
        *(
            "others are well",
            "as in maintenance mode",
            "nobody else",
            "unreadable",
            "only ours",
            "own agent",
            "second watch",
            "many requests",
        ),
        *("requests of a program", "host of another service"),
    ],
)
def test_probes_alone_start_no_step(world: World, world_of: dict[str, Any], said: str) -> None:
    """The runner's own network can make all probes fail. The comment says what the figures show."""
    relapse = open_relapse(world, **world_of)

    asked = [relapse.step(), relapse.step(run=7002)]

    for each in asked:
        relapse.refuses("the watch recorded no second source of the relapse", each)
    assert "--relapsed" in asked[0].result["hint"]
    assert said in relapse.watched
    assert "Cloudflare's figures do not show the relapse, so no automatic step follows: " in relapse.watched


def test_watch_tells_of_the_second_source(world: World) -> None:
    relapse = open_relapse(world)

    ended = relapse.watched_result

    assert ended is not None
    assert re.match(r"web\.shop\.example failed (\d+) of \1 requests of others since ", ended.state.second_source)
    assert f"A second source shows the relapse: {ended.state.second_source}" in relapse.watched
    (notice,) = (body for body in relapse.incident.bodies if "relapsed" in body and not read_record(body))
    assert "second source" not in notice, "people were notified before"


def test_step_follows_although_github_failed_for_a_while(world: World) -> None:
    """No later round repairs the last record of a watch."""
    fault = world.sandbox.github.fault(method="PATCH", path="/repos/**", sends="second_source", status=503, times=2)

    relapse = open_relapse(world)

    assert fault.hits == 2
    assert relapse.watched_result is not None
    assert relapse.watched_result.is_published
    assert relapse.step().code == 0


def test_exceptions_of_the_worker_are_a_second_source(world: World) -> None:
    relapse = open_relapse(world, has_zone=False)

    assert relapse.watched_result is not None
    assert relapse.watched_result.state.second_source.startswith("shop-web failed ")
    assert relapse.step().code == 0
    assert relapse.shop.live == {relapse.shop.old: 100}


def test_comment_says_how_long_the_watch_waits(world: World) -> None:
    relapse = open_relapse(world, others=0)

    ends = "so no automatic step follows"
    waiting = [each for each in relapse.seen if "do not show the relapse yet; the watch waits for them until " in each]
    assert len(waiting) > 5
    assert not [each for each in waiting if ends in each]
    assert ends in relapse.watched


def test_record_without_a_second_source_starts_no_step(world: World) -> None:
    """A watch of release 0.1.1 asked none."""
    relapse = open_relapse(world)
    comments = relapse.incident.github.issue(relapse.incident.number).comments
    (watched,) = (each for each in comments if each.body == relapse.watched)
    record = read_record(watched.body)
    assert record is not None
    former = replace(record, watch={key: each for key, each in record.watch.items() if key != "second_source"})
    assert former != record
    watched.body = embed_record(watched.body.partition("<!--")[0], former)

    relapse.refuses("the watch recorded no second source of the relapse", relapse.step())

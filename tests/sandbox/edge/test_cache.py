"""Caches of the edge, as developers.cloudflare.com/workers/cache and /cache/concepts/cache-responses describe them."""

from typing import Any

import httpx
import pytest

from sandbox import Sandbox
from sandbox.edge.cache import CacheRule

HOST = "shop.example"


def release(sandbox: Sandbox, *, status: int = 200, share: bool = False, rule: str = "", **behaviour: Any) -> None:
    """Deploy a version with Workers Caching; `rule`: its `cache-control`."""
    sandbox.switches.propagation_seconds = 0
    headers = {"cache-control": rule} if rule else {}
    behaviour = {"status": status, "headers": headers, "body": "{{version}}", **behaviour}
    options = {"enabled": True, "cross_version_cache": share}
    sandbox.deploy("shop", sandbox.upload("shop", behaviour=behaviour, more={"cache_options": options}))


def look(sandbox: Sandbox, target: str = "/cart", **more: Any) -> httpx.Response:
    return httpx.request(more.pop("method", "GET"), f"{sandbox.edge_url}{target}", headers={"host": HOST, **more})


def label(response: httpx.Response) -> tuple[str | None, str | None]:
    return response.headers.get("cf-cache-status"), response.headers.get("age")


def test_answer_is_stored_by_its_headers_for_one_version(sandbox: Sandbox) -> None:
    release(sandbox, rule="max-age=60")
    first, second = look(sandbox), look(sandbox)
    release(sandbox, rule="max-age=60")

    assert [label(each) for each in (first, second, look(sandbox))] == [("MISS", None), ("HIT", "0"), ("MISS", None)]
    assert label(look(sandbox, "/cart?a=1")) == ("MISS", None)
    assert label(look(sandbox, method="POST")) == ("BYPASS", None)


def test_versions_share_a_cache_on_request(sandbox: Sandbox) -> None:
    release(sandbox, share=True, rule="max-age=60")
    before = look(sandbox).text
    release(sandbox, share=True, rule="max-age=60", status=500)
    sandbox.clock.advance(30)

    assert (look(sandbox).text, label(look(sandbox))) == (before, ("HIT", "30"))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("max-age=10", ("STALE", "30")),
        ("max-age=10, stale-while-revalidate=60", ("UPDATING", "30")),
        ("max-age=10, stale-if-error=0", ("EXPIRED", None)),
        ("s-maxage=10", ("EXPIRED", None)),
        ("", ("HIT", "30")),
    ],
)
def test_stale_answer_hides_an_error(sandbox: Sandbox, rule: str, expected: tuple[str, str | None]) -> None:
    release(sandbox, share=True, rule=rule)
    look(sandbox)
    release(sandbox, share=True, status=500)
    sandbox.clock.advance(30)

    assert label(look(sandbox)) == expected


@pytest.mark.parametrize(
    ("behaviour", "request_headers"),
    [({"rule": "no-store"}, {}), ({"rule": "private"}, {}), ({"status": 500}, {}), ({}, {"authorization": "x"})],
)
def test_answer_is_not_stored(sandbox: Sandbox, behaviour: dict[str, Any], request_headers: dict[str, str]) -> None:
    release(sandbox, **behaviour)

    assert [label(look(sandbox, **request_headers)) for _ in range(2)] == [("BYPASS", None)] * 2


@pytest.mark.parametrize(("ignores", "expected"), [(True, "HIT"), (False, "MISS")])
def test_zone_caches_by_its_rule(sandbox: Sandbox, ignores: bool, expected: str) -> None:
    sandbox.deploy("shop", sandbox.upload("shop", behaviour={"status": 200}))
    sandbox.edge.cache_rules[HOST] = CacheRule(60, ignores_query=ignores)

    assert [label(look(sandbox))[0] for _ in range(2)] == ["MISS", "HIT"]
    assert label(look(sandbox, "/cart?a=1"))[0] == expected


def test_code_returns_what_it_stored(sandbox: Sandbox) -> None:
    fetched = {"url": "https://cms.example/", "seconds": 60}
    for behaviour, other in (({"cache_api": 60}, (None, None)), ({"fetch_cache": fetched}, ("HIT", "5"))):
        sandbox.switches.propagation_seconds = 0
        sandbox.deploy("shop", sandbox.upload("shop", behaviour={"status": 200, **behaviour}))

        assert label(look(sandbox)) == (None, None)
        sandbox.clock.advance(5)
        assert (label(look(sandbox)), label(look(sandbox, "/cart?a=1"))) == (("HIT", "5"), other)

"""Probes and compared paths that `ops init` proposes: only those that an answer proved."""

from typing import Any

import pytest

from sandbox.server import HttpRequest, HttpResponse
from tests.setup.test_init import blog, game, services, shop
from tests.support.adoption import GAME, Team

__all__ = ["blog", "game", "shop"]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status": 500}, "answers with status 500"),
        ({"status": 404}, "answers with status 404"),
        ({"status": 302, "headers": {"location": "https://evil.example/x"}}, "redirects to evil.example"),
        (
            {"status": 302, "headers": {"location": "https://team.cloudflareaccess.com/login"}},
            "a login page of Cloudflare Access answered",
        ),
        ({"status": 403, "headers": {"cf-mitigated": "challenge"}}, "a Cloudflare bot challenge answered"),
    ],
)
def test_no_probe_is_claimed_for_another_answer(blog: Team, answer: dict[str, Any], reason: str) -> None:
    blog.world.sandbox.edge_fault(times=None, body="{}", content_type="application/json", **answer)

    outcome = blog.init()

    assert outcome.code == 0, outcome.err
    assert "probes" not in services(blog)["notes"]
    assert reason in outcome.out
    assert f"# No probe yet: https://notes.example/ {reason}" in blog.config.read_text().replace("/: ", "/ ")


def test_failing_site_is_not_compared(blog: Team) -> None:
    blog.world.sandbox.edge_fault(times=None, status=503)
    compared = blog.world.sandbox.edge_fault(path="/sitemap.xml", times=None)

    assert "compare was not proved" in blog.init().out
    assert compared.hits == 0


def test_unreachable_url_has_no_probe(blog: Team) -> None:
    blog.world.sandbox.edge_fault(times=None, lost="before")

    assert "could not be reached (" in blog.init().out
    assert "probes" not in services(blog)["notes"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("document", "probe"),
    [
        ('{"release": "LIVE"}', {"version": "release"}),
        ('{"a": {"b": {"id": "LIVE"}}, "version": "5c3f0000-0000-4000-8000-000000000000"}', {"version": "a.b.id"}),
        ('{"version": "5c3f0000-0000-4000-8000-000000000000"}', {}),
        ('{"${{ secrets.X }}": "LIVE", "a b": "LIVE", "ok": true}', {"json": {"ok": True}}),
        ('{"status": "OK"}', {"json": {"status": "OK"}}),
        ('{"status": "degraded"}', {}),
        ("not JSON", None),
    ],
)
def test_version_and_values_are_proposed_only_if_they_are_right(
    game: Team, document: str, probe: dict[str, Any] | None
) -> None:
    live = next(iter(game.world.sandbox.live("game")))
    game.world.sandbox.edge_fault(
        times=None, path="/health", body=document.replace("LIVE", live), content_type="application/json"
    )

    assert game.init("--account", GAME).code == 0
    found = services(game)["game"]["probes"][0]
    assert found["name"] == ("health" if probe is not None else "answer")
    if probe is not None:
        rest = {key: value for key, value in found["http"].items() if key not in {"path", "status", "headers"}}
        assert rest == probe


@pytest.mark.parametrize(("path", "found"), [("/health", ["answer"]), ("**", None)], ids=["one path", "each"])
def test_cached_answer_of_a_worker_becomes_no_probe(game: Team, path: str, found: list[str] | None) -> None:
    game.world.sandbox.edge_fault(times=None, path=path, headers={"cf-cache-status": "HIT", "age": "40"})

    outcome = game.init("--account", GAME)

    assert outcome.code == 0, outcome.err
    probes = services(game)["game"].get("probes")
    assert (probes and [each["name"] for each in probes]) == found
    said = "gives a cached answer (cf-cache-status: HIT, age 40 s), which proves no recovery"
    assert (said in outcome.out) is (found is None)


@pytest.mark.slow
def test_service_that_rejects_unknown_parameters_gets_no_unique_value(shop: Team) -> None:
    answer = shop.world.sandbox.edge.answer

    def reject(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=400) if request.query else answer(request)

    shop.world.sandbox.edge.answer = reject  # type: ignore[method-assign]

    assert shop.init().code == 0
    assert services(shop)["shop-web"]["probes"][0]["http"]["cache_buster"] is False
    assert "cache_buster: false # it rejects unknown query parameters" in shop.config.read_text()


# Compared paths


def deploy(team: Team, files: dict[str, bytes]) -> None:
    team.world.sandbox.clock.advance(60)
    team.world.sandbox.pages.add_deployment("notes", files=files)
    team.world.sandbox.clock.advance(60)


def test_path_that_differs_replaces_an_equal_home_page(blog: Team) -> None:
    home = b'<script src="/app.js"></script><a href="/about">x</a>'
    deploy(blog, {"index.html": home, "app.js": b"1"})
    deploy(blog, {"index.html": home, "app.js": b"2"})

    assert blog.init().code == 0
    assert services(blog)["notes"]["compare"] == ["/app.js"]


def test_home_page_with_hashed_assets_is_enough(blog: Team) -> None:
    for name in ("app-3fa81c9d.js", "app-77b0e2d1.js"):
        deploy(blog, {"index.html": f'<script src="/{name}"></script>'.encode(), name: b"x"})

    assert blog.init().code == 0
    assert "compare" not in services(blog)["notes"]
    assert "# A release without / is not recognized: add a file of every release" in blog.config.read_text()


def test_unproven_compare_is_named(blog: Team) -> None:
    for _ in range(2):
        deploy(blog, {"index.html": b"equal"})

    outcome = blog.init()

    assert "compare was not proved: no path is stable and differs between the two newest deployments" in outcome.out
    assert "# compare was not proved" in blog.config.read_text()
    assert "compare:" not in blog.config.read_text()


def test_access_before_deployments_is_named(blog: Team) -> None:
    blog.world.sandbox.switches.edge_access_before_deployments = True

    assert "compare was not proved: https://" in (out := blog.init().out)
    assert "a login page of Cloudflare Access" in out


def test_single_deployment_is_not_compared(blog: Team) -> None:
    sandbox = blog.world.sandbox
    sandbox.pages.projects["notes"].deployments.pop(0)

    assert "compare was not checked: the site has no second deployment" in blog.init().out

"""The `page` probe: the verdict for each answer of a site, and limits on requests."""

import json
import threading
import time
from typing import Any

import pytest

from ops.config.probes import PageProbe
from ops.core.verdict import ProbeResult, Verdict
from ops.probes import page
from sandbox.server import HttpRequest, HttpResponse
from tests.conftest import Releases, World
from tests.support.site import HOST, URL, Answer, Site, file, redirect, served

HEALTHY, UNHEALTHY, INCONCLUSIVE = Verdict.HEALTHY, Verdict.UNHEALTHY, Verdict.INCONCLUSIVE
INDEX = "<script src=/app.3f.js></script><link rel=stylesheet href=/app.css><img src=/logo.svg><a href=/about>About</a>"
GOOD: dict[str, str | bytes | Answer] = {
    "/": INDEX,
    "/about": "<a href=/>Home</a>",
    "/app.3f.js": "1",
    "/app.css": "a{}",
    "/logo.svg": "<svg/>",
}


def probe_site(site: Site, **spec: Any) -> ProbeResult:
    with served(site) as web:
        return page.run_page_probe(web, "site", PageProbe(**spec), URL)


def asset(content_type: str | None, body: bytes = b"x") -> HttpResponse:
    return HttpResponse(headers=[("content-type", content_type)] if content_type else [], body=body)


def test_complete_site_is_healthy_with_counts() -> None:
    site = Site(GOOD)

    result = probe_site(site, paths=("/", "/about"))

    assert result.verdict == HEALTHY
    assert result.detail == "pages 2; assets 3; links 2"
    assert set(site.asked.values()) == {1}
    assert site.hosts == {HOST}


WRONG: dict[str, tuple[dict[str, str | bytes | Answer], Verdict, str]] = {
    "asset answered by the front page": (
        {"/": '<script src="/app.4a.js"></script>'},
        UNHEALTHY,
        "assets 1 of 1 failed: /app.4a.js (from /): text/html, wanted javascript",
    ),
    "an asset that is missing": (
        {"/": '<link rel=icon href="/no.ico?sig=abc">', "/404.html": "none"},
        UNHEALTHY,
        "/no.ico?… (from /): status 404",
    ),
    "a style of another type": (
        {"/app.css": asset("text/plain")},
        UNHEALTHY,
        "/app.css (from /): text/plain, wanted css",
    ),
    "style without content type": ({"/app.css": asset(None)}, UNHEALTHY, "no content type, wanted css"),
    "an image of another type": (
        {"/logo.svg": asset("application/xml")},
        UNHEALTHY,
        "application/xml, wanted an image",
    ),
    "a broken link": (
        {"/about": HttpResponse(status=500)},
        UNHEALTHY,
        "links 1 of 1 failed: /about (from /): status 500",
    ),
    "a page that is gone": ({"/": HttpResponse(status=404)}, UNHEALTHY, "pages 1 of 1 failed: /: status 404"),
    "a page that is no page": ({"/": asset("text/plain")}, UNHEALTHY, "/: text/plain, wanted HTML"),
    "a page that closes the connection": ({"/": None}, INCONCLUSIVE, "/: could not be reached (RemoteProtocolError)"),
    "an asset that closes the connection": (
        {"/app.css": None},
        INCONCLUSIVE,
        "/app.css (from /): could not be reached",
    ),
    "a page on another host": (
        {"/": redirect("https://auth.example/login")},
        INCONCLUSIVE,
        "to auth.example, which is not",
    ),
    "a page that redirects to itself": (
        {"/": redirect("/")},
        UNHEALTHY,
        "pages 1 of 1 failed: /: a redirect loop",
    ),
    "endless redirects": (
        {"/": redirect("/1"), **{f"/{n}": redirect(f"/{n + 1}") for n in range(1, 9)}},
        UNHEALTHY,
        "/: more than 5 redirects",
    ),
    "a page of more than a megabyte": ({"/": "x" * 1_100_000}, INCONCLUSIVE, "longer than the first megabyte"),
    "invalid URL": ({"/": '<img src="https://[fortunet.example/a.png">'}, UNHEALTHY, "invalid URL"),
    "redirect without location": ({"/about": HttpResponse(status=302)}, UNHEALTHY, "/about (from /): status 302"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("files", "verdict", "said"), WRONG.values(), ids=WRONG)
def test_site_with_a_failure_is_not_healthy(
    files: dict[str, str | bytes | Answer], verdict: Verdict, said: str
) -> None:
    result = probe_site(Site({**GOOD, **files}))

    assert result.verdict == verdict, result
    assert said in result.detail


RIGHT: dict[str, tuple[dict[str, str | bytes | Answer], str]] = {
    "a redirect on the host": ({"/": redirect("/home"), "/home": INDEX}, "pages 1; assets 3; links 1"),
    "a redirect of an asset": ({"/app.css": redirect("/b.css"), "/b.css": "a{}"}, "pages 1; assets 3; links 1"),
    "a font as octets": (
        {"/": "<link rel=preload as=font href=/a.woff2>", "/a.woff2": asset("application/octet-stream")},
        "pages 1; assets 1",
    ),
    "unknown charset": ({"/": HttpResponse(headers=[("content-type", "text/html; charset=x")])}, "pages 1"),
    "a page in another charset": (
        {
            "/": HttpResponse(
                headers=[("content-type", "text/html; charset=utf-16")], body="<img src=/logo.svg>".encode("utf-16")
            )
        },
        "pages 1; assets 1",
    ),
}


@pytest.mark.parametrize(("files", "said"), RIGHT.values(), ids=RIGHT)
def test_site_with_a_tolerated_case_is_healthy(files: dict[str, str | bytes | Answer], said: str) -> None:
    result = probe_site(Site({**GOOD, **files}))

    assert (result.verdict, result.detail) == (HEALTHY, said)


def test_other_hosts_are_counted_but_not_requested() -> None:
    html = "<script src=https://cdn.example/a.js></script><a href=https://www.fortunet.example/>w</a><a href=/out>o</a>"
    site = Site({"/": html, "/out": redirect("https://elsewhere.example/")})

    result = probe_site(site)

    assert {a.name: a.detail for a in result.assertions}["other hosts"] == "2 named and 1 redirected to, not requested"
    assert result.verdict == HEALTHY
    assert site.hosts == {HOST}
    assert site.asked == {"/": 1, "/out": 1}


@pytest.mark.slow
def test_first_failures_are_named_and_others_counted() -> None:
    site = Site({"/": "".join(f"<script src=/{n}.js></script>" for n in range(9))})

    result = probe_site(site)

    assert result.detail.startswith("assets 9 of 9 failed: /0.js (from /): text/html")
    assert result.detail.endswith("; and 6 more")


def test_ignored_urls_are_not_requested() -> None:
    site = Site({**GOOD, "/about": HttpResponse(status=401)})

    assert probe_site(site, ignore=("/about$",)).verdict == HEALTHY
    assert "/about" not in site.asked


@pytest.mark.slow
def test_more_than_500_urls_are_inconclusive() -> None:
    site = Site(
        {"/": "".join(f"<img src=/{n}.svg>" for n in range(510)), **{f"/{n}.svg": "<svg/>" for n in range(510)}}
    )

    result = probe_site(site)

    assert (result.verdict, result.detail) == (INCONCLUSIVE, "limits 11 URLs were not requested: at most 500 are")
    assert site.asked.total() == 500


def answer_late(_: HttpRequest) -> HttpResponse:
    time.sleep(1.5)
    return HttpResponse(body=b"late")


@pytest.mark.slow
def test_timeout_before_all_urls_is_inconclusive() -> None:
    result = probe_site(Site({**GOOD, "/app.css": answer_late}), timeout="1s")

    assert result.verdict == INCONCLUSIVE
    assert "URLs were not requested: 1 s were over" in result.detail


@pytest.mark.slow
def test_failure_outweighs_the_timeout() -> None:
    late = [f"/{n}" for n in range(40)]
    site = Site({"/": HttpResponse(status=500), **dict.fromkeys(late, answer_late)})

    assert probe_site(site, paths=("/", *late), timeout="1s").verdict == UNHEALTHY


def test_only_page_requests_are_navigations() -> None:
    """Cloudflare uses this header to choose between a 404 and the application's page for a missing file."""
    seen: dict[str, str | None] = {}

    def note(request: HttpRequest) -> HttpResponse | None:
        seen[request.path] = request.headers.get("sec-fetch-mode")
        return file(request.path, GOOD[request.path])

    probe_site(Site(dict.fromkeys(GOOD, note)))

    assert seen == {"/": "navigate", "/about": "navigate", "/app.3f.js": None, "/app.css": None, "/logo.svg": None}


@pytest.mark.slow
def test_assets_are_requested_16_at_once() -> None:
    names, together = [f"/{n}.js" for n in range(192)], threading.Barrier(page.MAX_PARALLEL, timeout=30)

    def answer(request: HttpRequest) -> HttpResponse | None:
        together.wait()
        return file(request.path, "1")

    site = Site({"/": "".join(f"<script src={name}></script>" for name in names), **dict.fromkeys(names, answer)})

    result = probe_site(site, timeout="60s")

    assert (result.verdict, result.detail) == (HEALTHY, "pages 1; assets 192")
    assert (together.broken, site.most_at_once) == (False, 16)


@pytest.mark.slow
def test_page_probe_decides_the_run(world: World, releases: Releases) -> None:
    here = "          # A program can be a probe too"
    world.edit_config(here, f"          - name: site\n            page: {{paths: [/health]}}\n{here}")

    outcome = world.rollback()

    (last,) = [event for event in outcome.events if event["kind"] == "verified"]
    assert (outcome.code, last["text"]) == (6, "unhealthy")
    assert "site unhealthy: pages 1 of 1 failed: /health: application/json, wanted HTML" in json.dumps(outcome.events)

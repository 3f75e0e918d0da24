"""Pages at the edge: which deployment a host serves, and its responses with files."""

import httpx
import pytest

from sandbox import Sandbox
from tests.sandbox.conftest import SITE, WORKER, Releases

DOMAIN = "app.fortunet.example"


def get(edge: httpx.Client, path: str, host: str = DOMAIN, **headers: str) -> httpx.Response:
    return edge.get(path, headers={"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}})


@pytest.fixture
def subdomain(sandbox: Sandbox, deployed: Releases) -> str:
    return sandbox.pages.projects[SITE].subdomain


def publish(sandbox: Sandbox, *paths: str) -> None:
    """Deploy a site whose files contain their own path; live at once."""
    sandbox.switches.pages_propagation_seconds = 0
    sandbox.pages.add_project(SITE, domains=[DOMAIN])
    sandbox.pages.add_deployment(SITE, files={path: path.encode() for path in paths})


# Deployment of a host


def test_site_hosts_serve_production_and_deployments_have_own(
    sandbox: Sandbox, edge: httpx.Client, deployed: Releases, subdomain: str
) -> None:
    assert get(edge, "/").text == get(edge, "/", subdomain).text == "bad"
    assert get(edge, "/", f"{deployed.good[:8]}.{subdomain}").text == "good"
    assert get(edge, "/", f"{deployed.bad[:8]}.{subdomain}:443").text == "bad"
    assert get(edge, "/", f"ffffffff.{subdomain}").status_code == 404
    assert sandbox.edge_counts == {deployed.bad: 3, deployed.good: 1}


def test_rollback_reaches_site_and_keeps_deployment_hosts(
    sandbox: Sandbox, edge: httpx.Client, deployed: Releases, subdomain: str
) -> None:
    sandbox.pages.rollback(SITE, deployed.good)
    sandbox.switches.pages_propagation_seconds = 30
    assert get(edge, "/").text == "bad"
    sandbox.clock.advance(30)
    assert get(edge, "/").text == "good"
    assert get(edge, "/", f"{deployed.bad[:8]}.{subdomain}").text == "bad"


def test_failed_deployment_is_not_served(
    sandbox: Sandbox, edge: httpx.Client, deployed: Releases, subdomain: str
) -> None:
    failed = sandbox.pages.add_deployment(SITE, files={"index.html": b"failed"}, status="failure")
    sandbox.clock.advance(1)
    assert get(edge, "/").text == "bad"
    assert get(edge, "/", f"{failed[:8]}.{subdomain}").status_code == 404


def test_branch_host_follows_branch(sandbox: Sandbox, edge: httpx.Client, deployed: Releases, subdomain: str) -> None:
    for content in (b"one", b"two"):
        sandbox.pages.add_deployment(SITE, files={"index.html": content}, branch="fix/it")
    assert get(edge, "/", f"fix-it.{subdomain}").text == "two"
    assert get(edge, "/").text == "bad"


def test_site_without_deployment_returns_404(sandbox: Sandbox, edge: httpx.Client) -> None:
    sandbox.pages.add_project(SITE, domains=[DOMAIN])
    assert get(edge, "/").status_code == 404
    sandbox.pages.add_deployment(SITE, files={"index.html": b"first"})
    assert get(edge, "/").text == "first"


def test_worker_serves_all_other_hosts(sandbox: Sandbox, edge: httpx.Client, deployed: Releases) -> None:
    sandbox.deploy(WORKER, sandbox.upload(WORKER))
    assert get(edge, "/health", "api.fortunet.example").json()["status"] == "ok"
    assert get(edge, "/health").text == "bad"


# File of a path


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("/", "index.html"),
        ("/about", "about.html"),
        ("/docs/", "docs/index.html"),
        ("/docs/a%20b", "docs/a b.html"),
        ("/app.js", "app.js"),
        ("/both.html", "both.html"),
        ("/both", "both"),
    ],
)
def test_path_maps_to_file(sandbox: Sandbox, edge: httpx.Client, path: str, file: str) -> None:
    publish(sandbox, "index.html", "about.html", "docs/index.html", "docs/a b.html", "app.js", "both.html", "both")
    assert (get(edge, path).status_code, get(edge, path).text) == (200, file)


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/about.html", "/about"),
        ("/about.html?a=1", "/about?a=1"),
        ("/about/", "/about"),
        ("/docs", "/docs/"),
        ("/docs/index.html", "/docs/"),
        ("/docs/index", "/docs/"),
        ("/docs/index/", "/docs/"),
        ("/index.html", "/"),
        ("/docs/a%20b.html", "/docs/a%20b"),
        ("//evil.example/index", "/evil.example/"),
    ],
)
def test_page_redirects_to_canonical_path(sandbox: Sandbox, edge: httpx.Client, path: str, location: str) -> None:
    publish(sandbox, "index.html", "about.html", "docs/index.html", "docs/a b.html")
    request = edge.build_request("GET", sandbox.edge_url + path, headers={"host": DOMAIN})
    answer = edge.send(request)
    assert (answer.status_code, answer.headers["location"]) == (308, location)


def test_nearest_404_page_is_served(sandbox: Sandbox, edge: httpx.Client) -> None:
    publish(sandbox, "index.html", "404.html", "docs/404.html")
    for path, page in (("/none", "404.html"), ("/docs/x/none", "docs/404.html"), ("/docs/x/", "docs/404.html")):
        answer = get(edge, path)
        assert (answer.status_code, answer.text, answer.headers["cache-control"]) == (404, page, "no-store")


def test_index_is_served_for_all_paths_without_404_page(sandbox: Sandbox, edge: httpx.Client) -> None:
    publish(sandbox, "index.html")
    assert (get(edge, "/some/route").status_code, get(edge, "/some/route").text) == (200, "index.html")


def test_site_without_index_returns_404(sandbox: Sandbox, edge: httpx.Client) -> None:
    publish(sandbox, "app.js")
    assert get(edge, "/").status_code == 404


def test_requested_asset_of_previous_release_stays_cached(sandbox: Sandbox, edge: httpx.Client) -> None:
    """A path that only the bad release has therefore proves nothing after a rollback."""
    publish(sandbox, "index.html", "404.html", "bad.js", "other.js")
    assert get(edge, "/bad.js").status_code == 200
    sandbox.pages.add_deployment(SITE, files={"index.html": b"good", "404.html": b""})
    assert [get(edge, path).status_code for path in ("/bad.js", "/other.js")] == [200, 404]
    sandbox.clock.advance(7 * 24 * 3600)
    assert get(edge, "/bad.js").status_code == 404


# Response headers


def test_asset_has_content_type_and_etag(sandbox: Sandbox, edge: httpx.Client, deployed: Releases) -> None:
    answer = get(edge, "/")
    assert dict(answer.headers) == {
        "cf-ray": answer.headers["cf-ray"],
        "content-type": "text/html; charset=utf-8",
        "etag": answer.headers["etag"],
        "cache-control": "public, max-age=0, must-revalidate",
        "x-content-type-options": "nosniff",
        "access-control-allow-origin": "*",
        "referrer-policy": "strict-origin-when-cross-origin",
        "content-length": "3",
        "cf-cache-status": "HIT",
    }
    for etag in (answer.headers["etag"], f"W/{answer.headers['etag']}"):
        assert get(edge, "/", if_none_match=etag).status_code == 304
    assert get(edge, "/", if_none_match='"other"').status_code == 200


def test_etag_depends_only_on_content(sandbox: Sandbox, edge: httpx.Client, deployed: Releases, subdomain: str) -> None:
    own = {id_: get(edge, "/", f"{id_[:8]}.{subdomain}").headers["etag"] for id_ in (deployed.good, deployed.bad)}
    assert get(edge, "/").headers["etag"] == own[deployed.bad] != own[deployed.good]


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.js", "application/javascript"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.svg", "image/svg+xml"),
        ("a.woff2", "font/woff2"),
        ("a", "application/octet-stream"),
    ],
)
def test_content_type_follows_file_name(sandbox: Sandbox, edge: httpx.Client, name: str, content_type: str) -> None:
    publish(sandbox, name)
    assert get(edge, f"/{name}").headers["content-type"] == content_type


def test_deployment_hosts_are_not_indexed(edge: httpx.Client, deployed: Releases, subdomain: str) -> None:
    assert "x-robots-tag" not in get(edge, "/", subdomain).headers
    assert get(edge, "/", f"{deployed.bad[:8]}.{subdomain}").headers["x-robots-tag"] == "noindex"


def test_site_is_read_only(edge: httpx.Client, deployed: Releases) -> None:
    assert edge.post("/", headers={"host": DOMAIN}).status_code == 405
    assert edge.head("/", headers={"host": DOMAIN}).headers["content-length"] == "3"

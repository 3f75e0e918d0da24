"""Fixtures: a sandbox with a fixed clock, and a client of its API."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from sandbox import Sandbox

WORKER = "fortunet-api"
SITE = "fortunet-web"


@dataclass(frozen=True)
class Answer:
    response: httpx.Response

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def result(self) -> Any:
        body = self.response.json()
        assert body["success"], body
        return body["result"]

    @property
    def error(self) -> tuple[int, int]:
        """HTTP status and Cloudflare's error code."""
        return self.status, self._first["code"]

    @property
    def message(self) -> str:
        return str(self._first["message"])

    @property
    def _first(self) -> dict[str, Any]:
        body = self.response.json()
        assert body["success"] is False
        first: dict[str, Any] = body["errors"][0]
        return first


@dataclass(frozen=True)
class Api:
    """Paths are below `/accounts/{id}/workers` unless they begin with a slash."""

    sandbox: Sandbox
    http: httpx.Client

    def __call__(self, method: str, path: str, *, token: str | None = None, **options: Any) -> Answer:
        url = path if path.startswith("/") else f"/accounts/{self.sandbox.account_id}/workers/{path}"
        headers = {"authorization": f"Bearer {token or self.sandbox.token}"} | options.pop("headers", {})
        return Answer(self.http.request(method, self.sandbox.api_url + url, headers=headers, **options))

    def get(self, path: str, **options: Any) -> Answer:
        return self("GET", path, **options)

    def script(self, method: str, path: str, **options: Any) -> Answer:
        """Send a request below the Worker of most tests."""
        return self(method, f"scripts/{WORKER}/{path}", **options)

    def site(self, method: str, path: str = "", **options: Any) -> Answer:
        """Send a request below the Pages project of most tests."""
        base = f"/accounts/{self.sandbox.account_id}/pages/projects/{SITE}"
        return self(method, f"{base}/{path}".rstrip("/"), **options)

    def deploy(self, *versions: str, force: bool = False, **body: Any) -> Answer:
        """Deploy versions with equal shares."""
        shares = [{"version_id": version, "percentage": 100 / len(versions)} for version in versions]
        query = {"force": "true"} if force else {}
        return self.script(
            "POST", "deployments", params=query, json={"strategy": "percentage", "versions": shares} | body
        )


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(virtual_clock=True) as running:
        running.github.switches.plan = "enterprise"
        yield running


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[Api]:
    with httpx.Client(verify=False) as http:  # there is no TLS here, and loading certificates takes 7 ms
        yield Api(sandbox, http)


@pytest.fixture
def edge(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sandbox.edge_url, verify=False, timeout=30) as http:
        yield http


@dataclass(frozen=True)
class Releases:
    good: str
    bad: str


@pytest.fixture
def releases(sandbox: Sandbox) -> Releases:
    """Return two releases of a Worker; the bad one is live."""
    good = sandbox.upload(WORKER, code="good")
    sandbox.deploy(WORKER, good)
    bad = sandbox.upload(WORKER, code="bad", behaviour={"status": 500})
    sandbox.deploy(WORKER, bad)
    sandbox.clock.advance(60)
    return Releases(good, bad)


@pytest.fixture
def deployed(sandbox: Sandbox) -> Releases:
    """Return two releases of a site; the bad one is live."""
    sandbox.pages.add_project(SITE, domains=["app.fortunet.example"], env_vars={"API": "x"}, secrets=["KEY"])
    good = sandbox.pages.add_deployment(SITE, files={"index.html": b"good"}, commit="a" * 40, message="good")
    sandbox.clock.advance(60)
    bad = sandbox.pages.add_deployment(SITE, files={"index.html": b"bad"}, commit="b" * 40, message="bad")
    sandbox.clock.advance(60)
    return Releases(good, bad)

"""The real wrangler against the sandbox as in a GitHub Actions job: no terminal, CI set."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sandbox import Sandbox
from tests.sandbox.conftest import WORKER, Releases
from tests.support.wrangler import Wrangler


@pytest.fixture
def wrangler(sandbox: Sandbox, tmp_path: Path) -> Iterator[Wrangler]:
    yield Wrangler(sandbox, tmp_path)
    assert sandbox.unknown_requests == []


def test_whoami_and_deployments_are_listed(wrangler: Wrangler, sandbox: Sandbox, releases: Releases) -> None:
    assert sandbox.account_id in wrangler("whoami")
    assert releases.good in wrangler("deployments", "list", "--name", WORKER)


def test_first_deploy_creates_worker_and_next_adds_version(
    wrangler: Wrangler, sandbox: Sandbox, edge: httpx.Client
) -> None:
    assert "Current Version ID" in wrangler("deploy", "--tag", "4.1.0", "--message", "good")
    assert wrangler.writes == [f"PUT scripts/{WORKER}", f"POST scripts/{WORKER}/subdomain"]
    (first,) = sandbox.live(WORKER)
    wrangler("deploy", "src/index.bad.js", "--var", 'SANDBOX_BEHAVIOUR:{"status":500}')
    assert wrangler.writes[2:4] == [f"POST scripts/{WORKER}/versions", f"POST scripts/{WORKER}/deployments"]
    (second,) = sandbox.live(WORKER)
    sandbox.clock.advance(1)
    assert edge.get("/health").status_code == 500
    viewed = wrangler("versions", "view", first)
    assert "4.1.0" in viewed
    assert "fetch" in viewed
    assert 'SANDBOX_BEHAVIOUR ("{"status":500}")' in wrangler("versions", "view", second)


def test_versions_are_listed_uploaded_and_deployed(wrangler: Wrangler, sandbox: Sandbox) -> None:
    wrangler("deploy")
    (first,) = sandbox.live(WORKER)
    second = wrangler("versions", "upload", "--tag", "canary").partition("Worker Version ID: ")[2].split()[0]
    assert sandbox.live(WORKER) == {first: 100}
    listed = wrangler("versions", "list")
    assert listed.index(first) < listed.index(second) < listed.index("canary")
    wrangler("versions", "deploy", f"{first}@99.5%", f"{second}@0.5%", "-y", "--message", "canary")
    assert sandbox.live(WORKER) == {first: 99.5, second: 0.5}
    status = wrangler("deployments", "status")
    assert "(99.5%)" in status
    assert "canary" in status


def test_rollback_targets_previous_or_named_version(wrangler: Wrangler, sandbox: Sandbox, releases: Releases) -> None:
    assert releases.good in wrangler("rollback", "--name", WORKER)
    assert sandbox.live(WORKER) == {releases.good: 100}
    wrangler("rollback", releases.bad, "--name", WORKER, "--message", "forth again")
    assert sandbox.live(WORKER) == {releases.bad: 100}
    assert sandbox.deployments(WORKER)[0].annotations["workers/message"] == "forth again"


def test_rollback_without_terminal_forces_changed_secrets(
    wrangler: Wrangler, sandbox: Sandbox, releases: Releases
) -> None:
    sandbox.put_secret(WORKER, "FIRST", "1")
    sandbox.put_secret(WORKER, "SECOND", "1")
    said = wrangler("rollback", releases.good, "--name", WORKER)
    assert "  * FIRST\n  * SECOND\n" in said
    tries = [(r.status, r.query) for r in sandbox.requests if r.method == "POST"]
    assert tries == [(400, {}), (200, {"force": "true"})]


def test_secrets_are_put_listed_and_deleted(wrangler: Wrangler, sandbox: Sandbox, releases: Releases) -> None:
    wrangler("secret", "put", "ONE", "--name", WORKER, stdin="1\n")
    wrangler("secret", "bulk", "--name", WORKER, stdin='{"TWO": "2", "THREE": "3"}')
    wrangler("secret", "delete", "TWO", "--name", WORKER)
    listed = wrangler("secret", "list", "--name", WORKER)
    assert [name for name in ("ONE", "TWO", "THREE") if f'"{name}"' in listed] == ["ONE", "THREE"]
    (live,) = sandbox.live(WORKER)
    assert sandbox.deployments(WORKER)[0].secrets[live] == {"ONE": "1", "THREE": "3"}


def test_secrets_cannot_be_edited_after_rollback(wrangler: Wrangler, sandbox: Sandbox, releases: Releases) -> None:
    sandbox.deploy(WORKER, releases.good)
    said = wrangler("secret", "put", "ONE", "--name", WORKER, stdin="1\n", code=1)
    assert "the latest version of your Worker isn't currently deployed" in said

    bulk = wrangler("secret", "bulk", "--name", WORKER, stdin='{"TWO": "2"}', code=1)
    assert "latest version of your Worker isn't currently deployed" in bulk
    assert sandbox.live(WORKER) == {releases.good: 100}


def test_version_secrets_create_undeployed_version(wrangler: Wrangler, sandbox: Sandbox, releases: Releases) -> None:
    sandbox.deploy(WORKER, releases.good)
    wrangler("versions", "secret", "put", "ONE", "--name", WORKER, "--message", "rotate", stdin="1\n")
    wrangler("versions", "secret", "bulk", "--name", WORKER, stdin='{"TWO": "2", "THREE": "3"}')
    wrangler("versions", "secret", "delete", "TWO", "--name", WORKER)
    assert sandbox.live(WORKER) == {releases.good: 100}
    latest = sandbox.latest(WORKER)
    wrangler("versions", "deploy", f"{latest}@100%", "--name", WORKER, "-y")
    listed = wrangler("versions", "secret", "list", "--name", WORKER)
    assert [name for name in ("ONE", "TWO", "THREE") if f"Secret Name: {name}" in listed] == ["ONE", "THREE"]


@pytest.mark.parametrize("everywhere", [True, False], ids=["all zones", "zone by zone"])
def test_deploy_creates_routes(wrangler: Wrangler, sandbox: Sandbox, edge: httpx.Client, everywhere: bool) -> None:
    rights = ["Workers Scripts Write", "Zone Read", "Workers Routes Write"]
    sandbox.token = sandbox.add_token("with routes", rights)
    zone = sandbox.zones.add("fortunet.example")
    if not everywhere:
        sandbox.fault(method="PUT", path="/accounts/*/workers/scripts/*/routes", code=10000, status=403, times=None)
    wrangler("deploy", "--route", "api.fortunet.example/*")
    wrangler("deploy", "--route", "api.fortunet.example/*")
    (route,) = sandbox.zones.all[zone].routes.values()
    assert (route.pattern, route.script) == ("api.fortunet.example/*", WORKER)
    assert edge.get("/health", headers={"host": "api.fortunet.example"}).status_code == 200
    assert edge.get("/health", headers={"host": "www.fortunet.example"}).status_code == 522


def test_secret_put_with_unknown_name_creates_worker(wrangler: Wrangler, sandbox: Sandbox, releases: Releases) -> None:
    wrangler("secret", "put", "ONE", "--name", "fortunet-apj", stdin="1\n")
    assert len(sandbox.live("fortunet-apj")) == 1

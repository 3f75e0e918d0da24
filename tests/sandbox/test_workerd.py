"""The real runtime behind the edge."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.sandbox import Sandbox, Switches
from ops.sandbox.clock import timestamp
from tests.sandbox.conftest import WORKER
from tests.sandbox.test_wrangler import ROOT, Wrangler

pytestmark = pytest.mark.slow

ECHO = """
const release = "RELEASE";
export default {
  async fetch(request, env) {
    console.log("a line of the Worker's own");
    if (new URL(request.url).pathname === "/outside") return fetch("https://example.com/");
    const count = env.KV && Number(await env.KV.get("count")) + 1;
    if (count) await env.KV.put("count", String(count));
    return Response.json({
      count, release, key: env.KEY, method: request.method, url: request.url,
      mine: request.headers.get("x-mine"), body: await request.text(),
    }, { status: 201, headers: { "x-answer": "1" } });
  },
};
"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(edge="workerd", virtual_clock=True, switches=Switches(propagation_seconds=0)) as running:
        yield running


def test_what_wrangler_deploys_is_what_answers(sandbox: Sandbox, edge: httpx.Client, tmp_path: Path) -> None:
    wrangler = Wrangler(sandbox, tmp_path)
    wrangler("deploy", "--tag", "4.1.0")
    (good,) = sandbox.live(WORKER)
    deployed = timestamp(sandbox.clock.now())
    version = {"id": good, "tag": "4.1.0", "timestamp": deployed}
    assert edge.get("/health").json() == {"status": "ok", "version": version}

    wrangler("deploy", "src/index.bad.js")
    assert [edge.get(path).status_code for path in ("/health", "/api/charts/calculate")] == [500, 500]

    wrangler("rollback", good)
    assert edge.get("/health").json()["version"] == version


def test_the_reference_worker_calculates_and_refuses_a_birth_that_cannot_be(
    sandbox: Sandbox, edge: httpx.Client, tmp_path: Path
) -> None:
    Wrangler(sandbox, tmp_path)("deploy")
    path = "/api/charts/calculate"
    birth = {"date": "2000-01-01", "time": "12:00"}
    chart = {"birth": birth, "chart": {"animal": "Dragon", "element": "Metal", "hour": "Horse"}}
    assert edge.get(path, params=birth).json() == chart
    assert edge.post(path, json=birth).json() == chart
    refused = [{}, {"date": "2001-02-30", "time": "12:00"}, {"date": "2000-01-01", "time": "24:00"}, [], "text"]
    assert [edge.post(path, json=body).status_code for body in refused] == [400] * 5
    assert edge.post(path, content="{").status_code == 400
    assert edge.get("/other").json() == {"error": "not found"}


def _echo(sandbox: Sandbox, release: str, **options: Any) -> str:
    return sandbox.upload(WORKER, code=ECHO.replace("RELEASE", release), **options)


def test_a_request_arrives_as_it_was_sent(sandbox: Sandbox, edge: httpx.Client) -> None:
    sandbox.deploy(WORKER, _echo(sandbox, "one", secrets={"KEY": "hidden"}))
    headers = {"host": "api.example.com", "x-mine": "1"}
    response = edge.patch("/a%20b?c=1&c=2", headers=headers, content=b"text")
    assert response.json() == {
        "release": "one",
        "key": "hidden",
        "method": "PATCH",
        "url": "http://api.example.com/a%20b?c=1&c=2",
        "mine": "1",
        "body": "text",
    }
    assert (response.status_code, response.headers["x-answer"]) == (201, "1")


def test_versions_of_a_split_run_side_by_side_over_one_storage(sandbox: Sandbox, edge: httpx.Client) -> None:
    kv = [{"type": "kv_namespace", "name": "KV", "namespace_id": "n1"}]
    one, two = (_echo(sandbox, name, bindings=kv) for name in ("one", "two"))
    sandbox.deploy(WORKER, {one: 50, two: 50})
    answers = [edge.get("/").json() for _ in range(12)]
    assert {answer["release"] for answer in answers} == {"one", "two"}
    assert [answer["count"] for answer in answers] == list(range(1, 13))


def test_a_forced_rollback_runs_with_the_secrets_in_effect(sandbox: Sandbox, edge: httpx.Client) -> None:
    old = _echo(sandbox, "one", secrets={"KEY": "old"})
    sandbox.deploy(WORKER, old)
    assert edge.get("/").json()["key"] == "old"
    sandbox.put_secret(WORKER, "KEY", "new")
    sandbox.deploy(WORKER, old)
    assert edge.get("/").json()["key"] == "new"


def test_a_worker_reaches_nothing_outside(sandbox: Sandbox, edge: httpx.Client) -> None:
    sandbox.deploy(WORKER, _echo(sandbox, "one"))
    assert edge.get("/outside").status_code == 502


def test_code_that_does_not_start_is_an_error_that_says_why(sandbox: Sandbox, edge: httpx.Client) -> None:
    sandbox.deploy(WORKER, sandbox.upload(WORKER, code="export default {"))
    response = edge.get("/")
    assert response.status_code == 500
    assert "SyntaxError" in response.text


def test_stopping_does_not_wait_for_a_worker_that_hangs() -> None:
    code = "export default { async fetch() { await scheduler.wait(60_000); return new Response('late') } }"
    with ThreadPoolExecutor() as pool, Sandbox(edge="workerd") as sandbox:
        sandbox.deploy(WORKER, sandbox.upload(WORKER, code=code))
        waiting = pool.submit(httpx.get, sandbox.edge_url, timeout=60)
        while not sandbox.edge_counts:
            assert not waiting.done()
    assert waiting.exception() is not None or waiting.result().status_code >= 500


KILLED = """
import httpx
from ops.sandbox import Sandbox
with Sandbox(edge="workerd") as sandbox:
    sandbox.deploy("w", sandbox.upload("w", code="export default { fetch() { return new Response('up') } }"))
    print(httpx.get(sandbox.edge_url).text, flush=True)
    input()
"""


def test_node_ends_when_python_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as python:
        assert python.stdin is not None
        assert python.stdout is not None
        assert python.stderr is not None
        assert python.stdout.readline() == "up\n"
        python.send_signal(signal.SIGKILL)
        python.stderr.read()  # ends when the last process that holds it has ended, and Node is one
        assert python.wait() == -signal.SIGKILL

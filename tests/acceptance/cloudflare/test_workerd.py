"""The real runtime, workerd, behind the sandbox's edge."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.records import ACCOUNT_ANALYTICS_READ, read_worker_traffic
from ops.core.clock import Period, SystemClock
from ops.core.redaction import Secret
from sandbox import Sandbox, Switches
from sandbox.clock import timestamp
from tests.conftest import ROOT
from tests.sandbox.conftest import WORKER
from tests.support.wrangler import Wrangler, run_wrangler

ECHO = """
const release = "RELEASE";
export default {
  async fetch(request, env) {
    console.log("a line of the Worker's own");
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


def test_edge_serves_version_deployed_by_wrangler(sandbox: Sandbox, edge: httpx.Client, tmp_path: Path) -> None:
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


def test_version_override_reaches_version_that_wrangler_deployed_at_0_percent(
    sandbox: Sandbox, edge: httpx.Client, tmp_path: Path
) -> None:
    wrangler = Wrangler(sandbox, tmp_path)
    wrangler("deploy")
    (live,) = sandbox.live(WORKER)
    wrangler("versions", "upload")
    silent = next(version for version in sandbox.account.workers[WORKER].versions if version != live)

    wrangler("versions", "deploy", f"{live}@100", f"{silent}@0", "--yes")

    override = {"cloudflare-workers-version-overrides": f'{WORKER}="{silent}"'}
    seen = [edge.get("/health", headers=headers).json()["version"]["id"] for headers in ({}, override, {})]
    assert sandbox.live(WORKER) == {live: 100, silent: 0}
    assert seen == [live, silent, live]


def test_reference_worker_calculates_and_rejects_invalid_birth(
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


def test_request_reaches_worker_unchanged(sandbox: Sandbox, edge: httpx.Client) -> None:
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


def test_split_versions_share_storage(sandbox: Sandbox, edge: httpx.Client) -> None:
    kv = [{"type": "kv_namespace", "name": "KV", "namespace_id": "n1"}]
    one, two = (_echo(sandbox, name, bindings=kv) for name in ("one", "two"))
    sandbox.deploy(WORKER, {one: 50, two: 50})
    answers = [edge.get("/").json() for _ in range(12)]
    assert {answer["release"] for answer in answers} == {"one", "two"}
    assert [answer["count"] for answer in answers] == list(range(1, 13))


def test_forced_rollback_uses_current_secrets(sandbox: Sandbox, edge: httpx.Client) -> None:
    old = _echo(sandbox, "one", secrets={"KEY": "old"})
    sandbox.deploy(WORKER, old)
    assert edge.get("/").json()["key"] == "old"
    sandbox.put_secret(WORKER, "KEY", "new")
    sandbox.deploy(WORKER, old)
    assert edge.get("/").json()["key"] == "new"


def test_invalid_code_returns_syntax_error(sandbox: Sandbox, edge: httpx.Client) -> None:
    sandbox.deploy(WORKER, sandbox.upload(WORKER, code="export default {"))
    response = edge.get("/")
    assert response.status_code == 500
    assert "SyntaxError" in response.text


def test_stop_does_not_wait_for_hanging_worker() -> None:
    code = "export default { async fetch() { await scheduler.wait(60_000); return new Response('late') } }"
    with ThreadPoolExecutor() as pool, Sandbox(edge="workerd") as sandbox:
        sandbox.deploy(WORKER, sandbox.upload(WORKER, code=code))
        waiting = pool.submit(httpx.get, sandbox.edge_url, timeout=60)
        while not sandbox.edge_counts:
            assert not waiting.done()
    assert waiting.exception() is not None or waiting.result().status_code >= 500


BACKEND = """
import { DurableObject } from "cloudflare:workers";

class Counter extends DurableObject {
  held = 0;
  async fetch() {
    const { sql } = this.ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS counts (n INTEGER)");
    sql.exec("INSERT INTO counts VALUES (1)");
    return Response.json([++this.held, sql.exec("SELECT count(*) AS n FROM counts").one().n, Date.now()]);
  }
}
export class Sessions extends Counter {}
export class Buckets extends Counter {}

const asked = { model: "llama-3.3-70b-versatile", messages: [{ role: "user", content: "ping" }] };
const pages = {
  "/sessions": (env) => env.SESSIONS.getByName("one").fetch("http://object/"),
  "/buckets": (env) => env.BUCKETS.getByName("one").fetch("http://object/"),
  "/kv": async (env) => Response.json(Object.fromEntries(await env.OPS_RUNTIME.get(["ops/a", "ops/b"]))),
  "/rows": async (env) => {
    await env.DB.exec("INSERT INTO rows VALUES (1)");
    return Response.json(await env.DB.prepare("SELECT count(*) AS n FROM rows").first("n"));
  },
  "/now": () => Response.json([new Date(), Date.now(), new Date(0), new Date() instanceof Date, typeof Date()]),
  "/version": (env) => Response.json(env.CF_VERSION_METADATA),
  "/models": () => fetch("https://apis.iflow.cn/v1/models"),
  "/ai": (env, key) =>
    fetch("https://api.groq.com/openai/v1/chat/completions", {
      method: "POST",
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: JSON.stringify(asked),
    }),
  "/outside": () => fetch("https://example.com/"),
  "/beside": () => fetch("https://api.groq.com/elsewhere"),
};
export default {
  fetch: (request, env) => pages[new URL(request.url).pathname](env, request.headers.get("x-key")),
};
"""
CONFIG: dict[str, Any] = {
    "name": WORKER,
    "main": "index.js",
    "compatibility_date": "2026-09-01",
    "version_metadata": {"binding": "CF_VERSION_METADATA"},
    "kv_namespaces": [{"binding": "OPS_RUNTIME", "id": "c0ffee00c0ffee00c0ffee00c0ffee00"}],
    "d1_databases": [
        {"binding": "DB", "database_name": "fortunet", "database_id": "11111111-2222-4333-8444-555555555555"}
    ],
    "durable_objects": {
        "bindings": [{"name": "SESSIONS", "class_name": "Sessions"}, {"name": "BUCKETS", "class_name": "Buckets"}]
    },
    "migrations": [{"tag": "v1", "new_sqlite_classes": ["Sessions", "Buckets"]}],
}


@pytest.fixture
def backend(sandbox: Sandbox, tmp_path: Path) -> Callable[..., str]:
    """Return wrangler in a folder with a Worker that uses Durable Objects, KV and D1."""
    (tmp_path / "index.js").write_text(BACKEND)
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "0001_rows.sql").write_text("CREATE TABLE rows (n INTEGER);\n-- that is all\n")
    (tmp_path / "wrangler.json").write_text(json.dumps(CONFIG))
    return partial(run_wrangler, sandbox, tmp_path, home=tmp_path)


def test_storage_of_objects_and_d1_survives_a_new_version(
    sandbox: Sandbox, edge: httpx.Client, backend: Callable[..., str]
) -> None:
    """Memory does not survive it. The clock is that of the sandbox."""
    database = sandbox.d1.add("fortunet", CONFIG["d1_databases"][0]["database_id"])
    backend("d1", "migrations", "apply", "fortunet", "--remote")
    backend("deploy", "--tag", "4.1.0")
    (first,) = sandbox.live(WORKER)
    now = int(sandbox.clock.now().timestamp() * 1000)
    assert [edge.get(path).json() for path in ("/sessions", "/sessions", "/buckets", "/rows")] == [
        [1, 1, now],
        [2, 2, now],
        [1, 1, now],
        1,
    ]
    moment = datetime.fromtimestamp(now / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert edge.get("/now").json() == [moment, now, "1970-01-01T00:00:00.000Z", True, "string"]
    assert edge.get("/version").json()["tag"] == "4.1.0"
    url = f"{sandbox.api_url}/accounts/{sandbox.account_id}/d1/database/{database}/query"
    asked = {"sql": "INSERT INTO rows VALUES (1); SELECT * FROM none"}
    refused = httpx.post(url, json=asked, headers={"authorization": f"Bearer {sandbox.token}"})
    assert refused.json()["errors"] == [{"code": 7500, "message": "no such table: none: SQLITE_ERROR"}]

    sandbox.clock.advance(60)
    assert edge.get("/sessions").json() == [1, 3, now + 60_000]
    backend("deploy", "--tag", "4.2.0")
    assert edge.get("/sessions").json() == [1, 4, now + 60_000]
    assert [edge.get("/rows").json(), edge.get("/version").json()["tag"]] == [2, "4.2.0"]
    _deploy_during_a_request(sandbox, edge, first)
    assert [edge.get("/sessions").json()[:2] for _ in range(2)] == [[1, 5], [2, 6]]
    assert sandbox.unknown_requests == []


def _deploy_during_a_request(sandbox: Sandbox, edge: httpx.Client, version: str) -> None:
    """Deploy a version while a request waits for an AI provider. The request still gets its response."""
    groq = sandbox.providers["groq"]
    key = {"x-key": groq.add_key("groq-key")}
    groq.delay, answered = 0.3, len(groq.requests)
    with ThreadPoolExecutor() as pool:
        under_way = pool.submit(edge.get, "/ai", headers=key)
        while len(groq.requests) == answered:
            assert not under_way.done()
        sandbox.deploy(WORKER, version)
    assert under_way.result().status_code == 200


def test_kv_and_ai_providers_are_those_of_the_sandbox(
    sandbox: Sandbox, edge: httpx.Client, backend: Callable[..., str]
) -> None:
    namespace = sandbox.kv.add(CONFIG["kv_namespaces"][0]["id"])
    sandbox.kv.put(namespace, "ops/a", "1")
    sandbox.d1.add("fortunet", CONFIG["d1_databases"][0]["database_id"])
    backend("deploy")

    key = {"x-key": sandbox.providers["groq"].add_key("groq-key")}
    assert edge.get("/ai", headers=key).json()["choices"]
    assert [edge.get("/ai").status_code, edge.get("/models").status_code] == [401, 200]
    assert [edge.get(path).status_code for path in ("/outside", "/beside")] == [502, 502]

    assert edge.get("/kv").json() == {"ops/a": "1", "ops/b": None}
    sandbox.kv.put(namespace, "ops/a", "2")
    sandbox.kv.put(namespace, "ops/b", "2")
    assert edge.get("/kv").json() == {"ops/a": "1", "ops/b": None}
    assert edge.get("/kv", headers={"sandbox-location": "elsewhere"}).json() == {"ops/a": "2", "ops/b": "2"}

    sandbox.clock.advance(60)
    assert edge.get("/kv").json() == {"ops/a": "2", "ops/b": "2"}
    sandbox.kv.delete(namespace, "ops/b")
    assert edge.get("/kv").json() == {"ops/a": "2", "ops/b": "2"}
    assert sandbox.unknown_requests == []


KILLED = """
import httpx
from sandbox import Sandbox
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
        python.stderr.read()  # ends with the last process that holds it, which includes Node
        assert python.wait() == -signal.SIGKILL


THROWING = """export default {
  async fetch(request) {
    if (new URL(request.url).pathname === "/basket") throw new TypeError("no basket");
    return new Response("ok");
  },
};
"""


def test_uncaught_exceptions_are_errors_of_the_analytics(sandbox: Sandbox, edge: httpx.Client) -> None:
    sandbox.switches.analytics_sample_interval, sandbox.switches.analytics_delay_seconds = 1, 0
    version = sandbox.upload(WORKER, code=THROWING)
    sandbox.deploy(WORKER, version)

    answers = [edge.get(path) for path in ("/", "/basket", "/") * 40]

    assert [answer.status_code for answer in answers] == [200, 500, 200] * 40
    assert answers[1].text.startswith("error code: 1101")
    token = Secret(sandbox.add_token("reader", [ACCOUNT_ANALYTICS_READ]))
    client = CloudflareClient(sandbox.api_url, token, token_name="TOKEN", clock=SystemClock())
    sandbox.clock.advance(1)
    now = sandbox.clock.now()
    traffic = read_worker_traffic(client, sandbox.account_id, WORKER, Period(now - timedelta(minutes=5), now), now=now)
    client.close()
    assert [(row.version, row.requests, row.errors) for row in traffic.minutes] == [(version, 120, 40)]

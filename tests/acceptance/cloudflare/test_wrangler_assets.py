"""The real wrangler: static assets, deletions, and input files for D1 and KV."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox import Sandbox
from sandbox.cloudflare.tokens.state import DEFAULT_PERMISSIONS
from tests.sandbox.conftest import Api
from tests.support.wrangler import run_wrangler

CONFIG = {"name": "shop", "compatibility_date": "2026-09-01", "workers_dev": True}
CODE = "export default { fetch() { return new Response('code') } }"


def _project(folder: Path, **more: object) -> None:
    (folder / "public" / "css").mkdir(parents=True, exist_ok=True)
    for number in range(4):
        (folder / "public" / f"page-{number}.html").write_text(f"<h1>{number}</h1>")
    (folder / "public" / "index.html").write_text("<h1>shop</h1>")
    (folder / "public" / "css" / "site.css").write_text("h1 {}")
    (folder / "index.js").write_text(CODE)
    (folder / "wrangler.json").write_text(json.dumps({**CONFIG, **more}))


@pytest.mark.parametrize(
    "more",
    [
        {"assets": {"directory": "public"}},
        {"main": "index.js", "assets": {"directory": "public"}},
        {"main": "index.js", "assets": {"directory": "public", "binding": "FILES"}},
    ],
    ids=["files alone", "without a binding", "with a binding"],
)
def test_worker_with_assets_is_deployed_and_served(
    api: Api, edge: httpx.Client, tmp_path: Path, more: dict[str, Any]
) -> None:
    sandbox, has_binding = api.sandbox, "binding" in more["assets"]
    _project(tmp_path, **more)

    first = run_wrangler(sandbox, tmp_path, "deploy", home=tmp_path)
    if has_binding:  # a command takes 1 s of CPU, and this one does the same for each kind
        again = run_wrangler(sandbox, tmp_path, "deploy", home=tmp_path)
        assert "No updated asset files to upload" in again
    (tmp_path / "public" / "index.html").write_text("<h1>sale</h1>")
    run_wrangler(sandbox, tmp_path, "deploy", home=tmp_path)

    assert "Uploaded 6 of 6 assets" in first
    sandbox.clock.advance(60)
    assert edge.get("/").text == "<h1>sale</h1>"
    assert edge.get("/page-3").text == "<h1>3</h1>"
    assert edge.get("/css/site.css").headers["content-type"].startswith("text/css")
    other = edge.get("/api")
    assert other.status_code == 404
    scripts = f"/accounts/{sandbox.account_id}/workers/scripts"
    bindings = api.get(f"{scripts}/shop/versions/{sandbox.latest('shop')}").result["resources"]["bindings"]
    assert [each["name"] for each in bindings if each["type"] == "assets"] == (["FILES"] if has_binding else [])
    assert [each["has_assets"] for each in api.get(scripts).result] == [True]
    assert sandbox.unknown_requests == []


def test_worker_is_deleted_and_tail_is_unsupported(sandbox: Sandbox, tmp_path: Path) -> None:
    _project(tmp_path, main="index.js")
    sandbox.deploy("shop", sandbox.upload("shop"))
    sandbox.add_token(sandbox.token, [*DEFAULT_PERMISSIONS, "Workers Tail Read"])

    tail = run_wrangler(sandbox, tmp_path, "tail", "shop", home=tmp_path, code=1)
    run_wrangler(sandbox, tmp_path, "delete", "--name", "shop", home=tmp_path)

    assert "The sandbox has no live logs" in tail
    assert sandbox.describe()["services"] == []
    assert sandbox.unknown_requests == []


def test_kv_keys_and_namespaces_are_deleted(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.switches.kv_api_staleness_seconds = 0
    namespace = sandbox.kv.add("runtime")
    for key in ("a", "b", "c"):
        sandbox.kv.put(namespace, key, "1")
    sandbox.clock.advance(2)
    (tmp_path / "keys.json").write_text(json.dumps(["a", "b"]))
    where = ["--namespace-id", namespace]

    run_wrangler(sandbox, tmp_path, "kv", "bulk", "delete", "keys.json", *where, "--remote", "--force", home=tmp_path)
    left = list(sandbox.kv.entries(namespace))
    run_wrangler(sandbox, tmp_path, "kv", "namespace", "delete", *where, "-y", home=tmp_path)

    assert left == ["c"]
    assert sandbox.kv.namespaces == {}
    assert sandbox.unknown_requests == []


def test_sql_file_runs_as_one_transaction(sandbox: Sandbox, tmp_path: Path) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        return run_wrangler(
            sandbox, tmp_path, "d1", "execute", "orders", *arguments, "--remote", "-y", home=tmp_path, code=code
        )

    database = sandbox.d1.add("orders")
    binding = {"binding": "DB", "database_name": "orders", "database_id": database}
    (tmp_path / "wrangler.json").write_text(json.dumps({**CONFIG, "d1_databases": [binding]}))
    (tmp_path / "good.sql").write_text(
        "CREATE TABLE o (id INTEGER);\nINSERT INTO o VALUES (1);\nINSERT INTO o VALUES (2);"
    )
    (tmp_path / "bad.sql").write_text("INSERT INTO o VALUES (3);\nINSERT INTO nowhere VALUES (1);")

    good = run("--file", "good.sql")
    bad = run("--file", "bad.sql", code=1)

    assert "Executed 3 queries" in good
    assert "no such table: nowhere" in bad
    assert '"n": 2' in run("--command", "SELECT count(*) AS n FROM o", "--json")
    assert sandbox.unknown_requests == []

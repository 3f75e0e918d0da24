"""The example under wrangler: served locally and deployed with its configuration unchanged."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ops.config.strict_yaml import read_yaml
from ops.core.runtime_contract import BANNER_SWITCH, parse_runtime_state
from ops.tools import node
from sandbox import Sandbox, Switches
from tests.conftest import REFERENCE
from tests.merge.examples.backend.conftest import BACKEND, DECLARED, client, limits_document, switch_document
from tests.sandbox.conftest import WORKER
from tests.support.wrangler import run_wrangler

BIRTH = {"date": "2000-01-01", "time": "12:00"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BACKEND, tmp_path / "backend"))


def test_wrangler_dev_serves_unchanged_example(folder: Path) -> None:
    environ = {**os.environ, **node.QUIET_WRANGLER, "HOME": str(folder), "CLOUDFLARE_CF_FETCH_ENABLED": "false"}
    with subprocess.Popen(
        [*node.wrangler_command(), "dev", "--local", "--port", "0", "--ip", "127.0.0.1"],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as wrangler:
        assert wrangler.stdout is not None
        try:
            ready = next((line for line in wrangler.stdout if "Ready on" in line), "")
            url = ready.rpartition("Ready on ")[2].strip()
            shown = httpx.get(f"{url}/__ops/runtime", verify=False, timeout=30).json()
            counted = httpx.get(f"{url}/api/charts/calculate", params=BIRTH, verify=False)
        finally:
            os.killpg(wrangler.pid, signal.SIGTERM)
    assert (shown["contract"], shown["limits"]["revision"]) == (1, None)
    assert counted.headers["ratelimit"] == '"calc";r=29;t=60'


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(edge="workerd", virtual_clock=True, switches=Switches(propagation_seconds=0)) as running:
        yield running


def test_deployed_example_uses_kv_providers_and_sessions(sandbox: Sandbox, folder: Path) -> None:
    production = read_yaml((REFERENCE / "ops.yml").read_text()).data["environments"]["production"]
    namespace = sandbox.kv.add(production["runtime"]["namespace"])
    run_wrangler(sandbox, folder, "deploy", home=folder)
    for name in ("iflow", "groq", "cerebras"):
        key = sandbox.providers[name].add_key(f"{name}-key")
        sandbox.put_secret(WORKER, production["runtime"]["ai"]["keys"][name], key)
    sandbox.put_secret(WORKER, "JWT_SECRET", "signs sessions")
    limits = limits_document(DECLARED)
    for key, value in {"ops/limits": limits, "ops/switch/ai": switch_document("groq")}.items():
        sandbox.kv.put(namespace, key, json.dumps(value))
    with client(sandbox.edge_url) as edge:
        shown = parse_runtime_state(edge.get("/__ops/runtime").text)
        assert (shown.revision, shown.switches["ai"].state) == (limits["revision"], "groq")
        assert sorted(shown.limits) == sorted(production["runtime"]["limits"]["names"])
        assert sorted(shown.switches) == sorted([*production["runtime"]["switches"], BANNER_SWITCH])
        sandbox.providers["groq"].down = True
        assert edge.post("/api/charts/interpret", json=BIRTH).json()["provider"] == "iflow"

        token = edge.post("/api/session", json={"email": "mia@fortunet.example"}).json()["token"]
        sandbox.clock.advance(60)
        shown = parse_runtime_state(edge.get("/__ops/runtime").text)
        assert shown.ai is not None
        assert shown.ai.order == ("groq", "iflow", "cerebras")
        assert (shown.ai.outcomes["groq"].failed, shown.ai.outcomes["iflow"].ok) == (1, 1)
        assert edge.get("/api/me", headers={"authorization": f"Bearer {token}"}).status_code == 200

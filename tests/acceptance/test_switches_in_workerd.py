"""The example in workerd, as wrangler deploys it, with the switches set by its runbooks."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Sandbox
from sandbox.switches import Switches as SandboxSwitches
from tests.conftest import ACCOUNT, REFERENCE, WORKER, World
from tests.merge.examples.backend.conftest import BACKEND, client
from tests.support.switches import NAMESPACE, PERMISSIONS, SwitchWorld
from tests.support.wrangler import run_wrangler

BIRTH = {"date": "2000-01-01", "time": "12:00"}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[SwitchWorld]:
    own = SandboxSwitches(propagation_seconds=0, kv_staleness_seconds=0)
    with Sandbox(account_id=ACCOUNT, edge="workerd", virtual_clock=True, switches=own) as sandbox:
        sandbox.kv.add(NAMESPACE)
        sandbox.add_token("switching", PERMISSIONS)
        config = (REFERENCE / "ops.yml").read_text()
        (tmp_path / "ops.yml").write_text(
            config.replace("        worker: fortunet-api", "        maintenance: switch\n        worker: fortunet-api")
        )
        backend = Path(shutil.copytree(BACKEND, tmp_path / "backend"))
        run_wrangler(sandbox, backend, "deploy", home=backend)
        for name in ("iflow", "groq", "cerebras"):
            key = sandbox.providers[name].add_key(f"{name}-key-0123456789")
            sandbox.put_secret(WORKER, f"{name.upper()}_API_KEY", key)
        sandbox.put_secret(WORKER, "JWT_SECRET", "signs sessions")
        yield SwitchWorld(World(sandbox, tmp_path))


def test_example_follows_its_switches(place: SwitchWorld) -> None:
    sandbox = place.world.sandbox
    assert place.ops("switches", "prepare").code == 0
    with client(sandbox.edge_url) as edge:
        token = edge.post("/api/session", json={"email": "mia@fortunet.example"}).json()["token"]
        signed_in = {"authorization": f"Bearer {token}"}
        edge.request("DELETE", "/api/session", headers=signed_in)
        assert edge.get("/api/me", headers=signed_in).status_code == 401

        stateless = place.feature("off", "--incident", "42")
        assert stateless.result["decision"] == "recovered", stateless.err
        assert edge.get("/api/me", headers=signed_in).status_code == 200

        sandbox.providers["iflow"].down = True
        assert edge.post("/api/charts/interpret", json=BIRTH).json()["provider"] == "groq"
        other = place.ops("ai-failover", "--to", "cerebras", "--incident", "42")
        assert other.result["decision"] == "recovered", other.err
        assert edge.post("/api/charts/interpret", json=BIRTH).json()["provider"] == "cerebras"

        off = place.ops("ai-failover", "--to", "off", "--incident", "42")
        assert off.result["decision"] == "recovered", off.err
        refused = edge.post("/api/charts/interpret", json=BIRTH)
        assert (refused.status_code, "AI interpretations temporarily unavailable" in refused.text) == (503, True)

        closed = place.ops("maintenance", "--state", "on", "--service", "api", "--path", "/api/charts")
        assert closed.result["decision"] == "recovered", closed.err
        assert edge.get("/api/charts/calculate", params=BIRTH).status_code == 503
        assert edge.get("/health").status_code == 200
        assert place.ops("maintenance", "--state", "off", "--service", "api").result["decision"] == "recovered"

        sandbox.clock.advance(30)
        clear = place.ops("all-clear", "--incident", "42")
        assert clear.code == 0, clear.err
        assert edge.get("/api/me", headers=signed_in).status_code == 401
        assert {each["state"] for each in place.shown["switches"].values()} == {"auto", "on", "off"}

"""The reference Worker in workerd with a test-controlled clock, KV and AI: see entry.js."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from ops.core.clock import format_rfc3339
from ops.tools import node as nodejs
from tests.conftest import ROOT

HERE = Path(__file__).parent
BACKEND = ROOT / "examples/fortunet/backend"
_REVISIONS = count(1)
DECLARED = {
    "calc": {"limit": 30, "period": 60, "key": "ip", "probe": True},
    "ai": {"limit": 10, "period": 60, "key": "user"},
}

CONTRACT = json.loads((ROOT / "docs/reference/runtime-contract.schema.json").read_text())


def fits(document: Any, what: str) -> bool:
    """Return whether a document fits a schema of the contract: `limits`, `switch` or `shown`."""
    return bool(Draft202012Validator({**CONTRACT, "oneOf": [{"$ref": f"#/$defs/{what}"}]}).is_valid(document))


def client(url: str, **headers: str) -> httpx.Client:
    """Return a client with one connection per request: workerd drops a connection with an unread request body."""
    alone = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(base_url=url, headers=headers, limits=alone, verify=False, timeout=30)


@dataclass(frozen=True)
class Example:
    http: httpx.Client
    keys: str = ""
    """Prefix of the keys of this reader in KV."""

    def arrange(self, what: str, body: Any = None) -> Any:
        return self.http.post(f"/__test/{what}", json=body, headers={"reader": "0"}).json()

    def advance(self, **by: float) -> None:
        self.arrange("clock", timedelta(**by).total_seconds() * 1000)

    def wait_for_noon(self) -> None:
        now = self._now()
        tomorrow = now.replace(hour=12, minute=0, second=0, microsecond=0) + timedelta(days=1)
        self.advance(seconds=(tomorrow - now).total_seconds())

    def moment(self, **ahead: float) -> str:
        return format_rfc3339(self._now() + timedelta(**ahead))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.arrange("clock", 0) / 1000, UTC)

    def put(self, values: Mapping[str, Any]) -> None:
        """Write KV values by key: text as it is, other values as JSON, None to delete. The next request reads them."""
        texts = {key: value if isinstance(value, str | None) else json.dumps(value) for key, value in values.items()}
        self.arrange("values", {self.keys + key: text for key, text in texts.items()})

    def kv(self, mode: str | None, *, releases: bool = False) -> Any:
        """Set the result of new KV reads. Returns the keys of `reads` since the last call, and the number `hanging`."""
        return self.arrange("kv", {"mode": mode, "releases": releases})

    def limits(self, **limits: Mapping[str, Any]) -> str:
        """Write a limits document and return its revision."""
        value = limits_document(limits)
        self.put({"ops/limits": value})
        return str(value["revision"])

    def switch(self, name: str, state: str, **fields: Any) -> str:
        """Write the value of a switch and return its revision."""
        value = switch_document(state, **fields)
        self.put({f"ops/switch/{name}": value})
        return str(value["revision"])

    def runtime_state(self) -> Any:
        response = self.http.get("/__ops/runtime")
        assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
        document = response.json()
        assert fits(document, "shown"), document
        return document


def limits_document(limits: Mapping[str, Any]) -> dict[str, Any]:
    return {"version": 1, "revision": f"{next(_REVISIONS):012x}-9c0ffee1", "limits": limits}


def switch_document(state: str, **fields: Any) -> dict[str, Any]:
    plain = {"version": 1, "revision": f"r{next(_REVISIONS)}", "state": state, "until": None, "review_at": None}
    people = {"message": "", "paths": [], "owner": "alice", "incident": 42, "since": "2026-11-25T03:05:12Z"}
    return {**plain, **people, **fields}


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("miniflare")
    with subprocess.Popen(
        [str(nodejs.find_node()), str(HERE / "host.mjs"), str(BACKEND / "src"), str(folder / "state")],
        cwd=nodejs.install_packages(),
        env={"HOME": str(folder), "TMPDIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as node:
        assert node.stdin is not None
        assert node.stdout is not None
        yield node.stdout.readline().strip()
        with suppress(BrokenPipeError):
            node.stdin.close()


@pytest.fixture
def example(url: str) -> Iterator[Example]:
    """Return the application at noon of the day after the previous test, with new quotas and healthy providers.

    From noon, no test crosses the end of a day or of a minute that it does not mean to cross.
    """
    with client(url) as http:
        application = Example(http)
        application.kv(None, releases=True)
        application.arrange("outside", {})
        normal = {"maintenance": "off", "session-do": "on", "ai": "auto"}
        switches = {f"ops/switch/{name}": switch_document(state) for name, state in normal.items()}
        application.put({"ops/limits": limits_document(DECLARED), **switches})
        application.wait_for_noon()
        yield application

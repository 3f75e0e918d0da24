"""The reference Worker in the real runtime, behind a clock, a KV and AI providers that a test sets: see entry.js."""

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

from ops import nodejs
from ops.model.clock import rfc3339
from tests.conftest import ROOT

HERE = Path(__file__).parent
BACKEND = ROOT / "examples/fortunet/backend"
_REVISIONS = count(1)
DECLARED = {
    "calc": {"limit": 30, "period": 60, "key": "ip", "probe": True},
    "ai": {"limit": 10, "period": 60, "key": "user"},
}

CONTRACT = json.loads((ROOT / "docs/runtime-contract.schema.json").read_text())


def fits(document: Any, what: str) -> bool:
    """`limits`, `switch` or `shown` of the contract."""
    return bool(Draft202012Validator({**CONTRACT, "oneOf": [{"$ref": f"#/$defs/{what}"}]}).is_valid(document))


@dataclass(frozen=True)
class Example:
    http: httpx.Client
    keys: str = ""
    """What this one's keys in KV begin with."""

    def arrange(self, what: str, body: Any = None) -> Any:
        return self.http.post(f"/__test/{what}", json=body, headers={"reader": "0"}).json()

    def advance(self, **by: float) -> None:
        self.arrange("clock", timedelta(**by).total_seconds() * 1000)

    def moment(self, **ahead: float) -> str:
        now = datetime.fromtimestamp(self.arrange("clock", 0) / 1000, UTC)
        return rfc3339(now + timedelta(**ahead))

    def put(self, key: str, value: Any) -> None:
        """A text as it is, anything else as JSON, None: no value; and it is read with the next request."""
        text = value if isinstance(value, str | None) else json.dumps(value)
        self.http.put(f"/__test/values/{self.keys}{key}", content=json.dumps(text)).raise_for_status()
        self.advance(seconds=1)

    def limits(self, **limits: Mapping[str, Any]) -> str:
        revision = f"{next(_REVISIONS):012x}-9c0ffee1"
        self.put("ops/limits", {"version": 1, "revision": revision, "limits": limits})
        return revision

    def switch(self, name: str, state: str, **fields: Any) -> str:
        value = switch(state, **fields)
        self.put(f"ops/switch/{name}", value)
        return str(value["revision"])

    def shown(self) -> Any:
        response = self.http.get("/__ops/runtime")
        assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
        document = response.json()
        assert fits(document, "shown"), document
        return document


def switch(state: str, **fields: Any) -> dict[str, Any]:
    plain = {"version": 1, "revision": f"r{next(_REVISIONS)}", "state": state, "until": None, "review_at": None}
    people = {"message": "", "paths": [], "owner": "alice", "incident": 42, "since": "2026-11-25T03:05:12Z"}
    return {**plain, **people, **fields}


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("miniflare")
    with subprocess.Popen(
        [str(nodejs.node()), str(HERE / "host.mjs"), str(BACKEND / "src"), str(folder / "state")],
        cwd=nodejs.install(),
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
    """The application a day after the test before: its quotas are new, its providers well, all else normal."""
    with httpx.Client(base_url=url, verify=False, timeout=30) as http:
        application = Example(http)
        application.arrange("kv", {"fails": None})
        application.arrange("outside", {})
        for name, state in {"maintenance": "off", "session-do": "on", "ai": "auto"}.items():
            application.switch(name, state)
        application.limits(**DECLARED)
        application.advance(days=1)
        yield application

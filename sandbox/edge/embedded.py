"""The runtime without a runtime: answers as the version's plain-text variable SANDBOX_BEHAVIOUR says, in this process.

The variable is JSON: `status`, `body`, `content_type` and `delay` (seconds) for every path, and under `paths` the same
four for one path. What it leaves out is as in a healthy FortuneT API, and `{}` or no variable is a healthy one. With
`secrets`, a list of names, every answer that is JSON tells the SHA-256 of each one's value as it is in effect
(null where there is none): so it shows which generation of a secret serves, and no value. With `upstream`, as
`{"provider": "groq", "secret": "NAME"}`, it first asks that provider of the sandbox for a completion with the secret
as the key, and answers 502 where it gets none: as an application does whose key was revoked. With `runtime`, and a KV
namespace bound as OPS_RUNTIME, it follows the runtime contract (`runtime_contract.py`). `runtime` is what its code has:
`{"limits": {NAME: {"limit", "period", "key", "probe"}}, "switches": {NAME: {"normal", "on_unknown"}}, "ai": {}}`,
and `switched`, as `{NAME: {STATE: {"path": PATH, "status": 200}}}`, is what it answers while a switch is in that state.
`objects` are its Durable Objects (`durable_objects.py`).
"""

import hashlib
import json
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from sandbox.clock import Clock, timestamp
from sandbox.cloudflare.d1.state import Memory
from sandbox.cloudflare.workers.state import Version
from sandbox.edge import maintenance
from sandbox.edge.durable_objects import Objects
from sandbox.edge.front_door import Running
from sandbox.edge.runtime_contract import Behaviour, Contract
from sandbox.server import Request, Response

BEHAVIOUR = "SANDBOX_BEHAVIOUR"

_CHART = {
    "birth": {"date": "2000-01-01", "time": "12:00"},
    "chart": {"animal": "Dragon", "element": "Metal", "hour": "Horse"},
}


class Embedded:
    def __init__(self, takes: Callable[[str, str], bool], clock: Clock, contract: Contract) -> None:
        """`takes` says whether a provider, by its name, gives a completion for a key."""
        self._takes = takes
        self._contract = contract
        self._clock = clock
        self.objects = Objects()
        self._closed = threading.Event()
        self._databases = Memory()
        self.query = self._databases.query

    def serve(self, running: Running, request: Request) -> Response:
        if running.worker == maintenance.NAME:
            return maintenance.answer(running.version, request, self._clock.now())
        try:
            behaviour = json.loads(running.version.upload.plain_text(BEHAVIOUR) or "{}")
        except ValueError as error:
            return _response(500, f"{BEHAVIOUR} is not JSON: {error}", None)
        behaviour |= behaviour.get("paths", {}).get(request.path, {})
        return self._contract.around(running, request, behaviour, partial(self._answered, running, request))

    def _answered(self, running: Running, request: Request, behaviour: Behaviour) -> Response:
        if answered := self.objects.answer(running, request, behaviour.get("objects", {})):
            return answered
        self._closed.wait(behaviour.get("delay", 0.0))
        healthy, answer = _healthy(running.version, request)
        status = behaviour.get("status", healthy)
        if status >= 400 and status != healthy:
            answer = {"error": f"the sandbox was told to answer {status}"}
        if upstream := behaviour.get("upstream"):
            key = running.secrets.get(upstream["secret"], "")
            if not self._takes(upstream["provider"], key):
                status, answer = 502, {"error": f"{upstream['provider']} gave no answer"}
        body = behaviour.get("body", answer)
        if isinstance(body, dict) and "secrets" in behaviour:
            body = body | {"secrets": {name: _digest(running.secrets.get(name)) for name in behaviour["secrets"]}}
        return _response(status, body, behaviour.get("content_type"))

    def close(self) -> None:
        """End every delay."""
        self._closed.set()
        self._databases.close()


def _digest(value: str | None) -> str | None:
    return None if value is None else hashlib.sha256(value.encode()).hexdigest()


def _healthy(version: Version, request: Request) -> tuple[int, dict[str, Any]]:
    match request.path:
        case "/health":
            return 200, {"status": "ok", **_echo(version)}
        case "/api/charts/calculate":
            return 200, _CHART
        case path if path.startswith("/health/"):
            return 200, {"status": "ok", **_echo(version)}
    return 404, {"error": "not found"}


def _echo(version: Version) -> dict[str, Any]:
    """What a Worker reads from a version_metadata binding, where the version has one.

    developers.cloudflare.com/workers/runtime-apis/bindings/version-metadata
    """
    return {"version": version_metadata(version)} if version.upload.bound("version_metadata") else {}


def version_metadata(version: Version) -> dict[str, str]:
    tag = version.annotations.get("workers/tag", "")
    return {"id": version.id, "tag": tag, "timestamp": timestamp(version.created_on)}


def _response(status: int, body: Any, content_type: str | None) -> Response:
    is_text = isinstance(body, str)
    content_type = content_type or ("text/plain; charset=utf-8" if is_text else "application/json")
    payload = body if is_text else json.dumps(body)
    return Response(status=status, headers=[("content-type", content_type)], body=payload.encode())

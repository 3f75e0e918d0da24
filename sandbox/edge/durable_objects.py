"""Durable Objects of the embedded runtime: what they count in memory goes with their version, what they store stays.

A version that has `"objects": {"ai-mutex": {}}` in its behaviour counts each request to /api/charts/interpret, in
memory and as a quota in storage. With `"stuck": 3` the object locks up at the third one in memory: then /health and
/api/charts/interpret answer 503 until its memory is gone. GET /__ops/objects/NAME shows both, POST …/NAME/reset empties
the memory, for whoever has the Worker's secret ADMIN_TOKEN; without that secret there is nothing (404). A new
`instance` is shown after each start, as the example does it.
"""

import hmac
import json
import re
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

from sandbox.edge.front_door import Running
from sandbox.server import Request, Response

INTERPRET = "/api/charts/interpret"
_PATH = re.compile(r"/__ops/objects/([a-z0-9-]+)(/reset)?")


class Objects:
    def __init__(self) -> None:
        self._memory: Counter[tuple[str, str, str]] = Counter()
        """Worker, version, object → requests."""
        self._quota: Counter[tuple[str, str]] = Counter()
        self._resets: Counter[tuple[str, str, str]] = Counter()
        self._lock = threading.Lock()

    def answer(self, running: Running, request: Request, objects: Mapping[str, Any]) -> Response | None:
        """None where no object has a say in it."""
        with self._lock:
            if found := _PATH.fullmatch(request.path):
                return self._administer(running, request, found[1] if found[1] in objects else "", reset=bool(found[2]))
            stuck = [name for name, rule in objects.items() if self._is_stuck(running, name, rule)]
            if stuck and request.path in {INTERPRET, "/health"}:
                return _json(503, {"error": f"{stuck[0]} does not answer"})
            if objects and request.path == INTERPRET:
                for name in objects:
                    self._memory[running.worker, running.version.id, name] += 1
                    self._quota[running.worker, name] += 1
                return _json(200, {"reading": "a good year"})
        return None

    def memory(self, worker: str, version: str, name: str) -> int:
        return self._memory[worker, version, name]

    def quota(self, worker: str, name: str) -> int:
        return self._quota[worker, name]

    def _is_stuck(self, running: Running, name: str, rule: Mapping[str, Any]) -> bool:
        return "stuck" in rule and self._memory[running.worker, running.version.id, name] >= rule["stuck"]

    def _administer(self, running: Running, request: Request, name: str, *, reset: bool) -> Response:
        token = running.secrets.get("ADMIN_TOKEN")
        if not token or not name or request.method != ("POST" if reset else "GET"):
            return _json(404, {"error": "not found"})
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            return _json(401, {"error": "not authorised"})
        one = running.worker, running.version.id, name
        if reset:
            self._memory[one] = 0
            self._resets[one] += 1
        instance = f"{running.version.id}-{self._resets[one]}"
        memory, quota = {"answered": self._memory[one]}, {"iflow": {"used": self._quota[running.worker, name]}}
        return _json(200, {"object": name, "instance": instance, "memory": memory, "quota": quota})


def _json(status: int, body: Any) -> Response:
    return Response(status=status, headers=[("content-type", "application/json")], body=json.dumps(body).encode())

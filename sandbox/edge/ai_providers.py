"""Fake AI providers with OpenAI's API, for Workers and for checks of keys.

platform.openai.com/docs/api-reference/models and …/chat; console.groq.com/docs/openai; inference-docs.cerebras.ai
"""

import json
import threading
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

from sandbox.clock import FakeClock
from sandbox.records import RequestRecord
from sandbox.server import HttpRequest, HttpResponse, Server, json_response
from sandbox.switches import Switches

BASE_PATHS = {"iflow": "/iflow/v1", "groq": "/groq/openai/v1", "cerebras": "/cerebras/v1"}
"""Provider → path of its base URL, with the same ending as the real one."""
REAL_PROVIDERS = {
    ("apis.iflow.cn", "/v1"): "iflow",
    ("api.groq.com", "/openai/v1"): "groq",
    ("api.cerebras.ai", "/v1"): "cerebras",
}
"""Host and base path of the real providers. A client that keeps the real host gets the same responses."""
MODELS = {"iflow": "qwen3-coder-plus", "groq": "llama-3.3-70b-versatile", "cerebras": "llama-3.3-70b"}


@dataclass(kw_only=True)
class FakeAiProvider:
    name: str
    base_url: str
    keys: dict[str, bool] = field(default_factory=dict)
    """Key → whether it is valid. A revoked key gets the same response as an unknown one."""
    delay: float = 0.0
    """Seconds before each response."""
    down: bool = False
    """Whether every response is a 503."""
    requests: list[RequestRecord] = field(default_factory=list)

    def add_key(self, key: str) -> str:
        self.keys[key] = True
        return key

    def revoke(self, key: str) -> None:
        self.keys[key] = False

    def describe(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "requests"}


class FakeAiProviders:
    """The providers `iflow`, `groq` and `cerebras`, all on one server."""

    def __init__(self, clock: FakeClock, switches: Switches) -> None:
        self._clock = clock
        self._switches = switches
        self._closed = threading.Event()
        self._server = Server(self._answer, is_prompt=lambda: not any(each.delay for each in self._all.values()))
        self._all = {
            name: FakeAiProvider(name=name, base_url=self._server.url + base) for name, base in BASE_PATHS.items()
        }

    def __getitem__(self, name: str) -> FakeAiProvider:
        return self._all[name]

    @property
    def url(self) -> str:
        return self._server.url

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        """Stop the server and end every delay."""
        self._closed.set()
        self._server.stop()

    def describe(self) -> dict[str, Any]:
        return {name: provider.describe() for name, provider in self._all.items()}

    def change(self, body: Any) -> dict[str, Any]:
        """Change a provider: `{"provider": "groq", "keys": {"KEY": false}, "delay": 0, "down": true}`."""
        changes: dict[str, Any] = dict(body) if isinstance(body, dict) else {}
        provider = self._all.get(changes.pop("provider", ""))
        if provider and changes.keys() <= {"keys", "delay", "down"}:
            provider.keys |= changes.pop("keys", {})
            vars(provider).update(changes)
            return provider.describe()
        raise ValueError(f"expected a provider ({', '.join(self._all)}) and some of: keys, delay, down")

    def accepts_key(self, name: str, key: str) -> bool:
        """Return whether a Worker that uses this key gets a completion."""
        headers = Message()
        headers["authorization"], headers["content-type"] = f"Bearer {key}", "application/json"
        asked = {"model": MODELS[name], "messages": [{"role": "user", "content": "ping"}]}
        target, body = f"{BASE_PATHS[name]}/chat/completions", json.dumps(asked).encode()
        response = self._answer(HttpRequest(method="POST", target=target, headers=headers, body=body))
        return response.status == 200 and "choices" in json.loads(response.body)

    def _answer(self, request: HttpRequest) -> HttpResponse:
        host = request.headers.get("host", "").lower()
        bases = {base: name for (real, base), name in REAL_PROVIDERS.items() if real == host} or {
            b: n for n, b in BASE_PATHS.items()
        }
        name, path = next(
            (
                (name, request.path.removeprefix(base))
                for base, name in bases.items()
                if request.path.startswith(f"{base}/")
            ),
            ("", ""),
        )
        if not name:
            return json_response(404, {"error": {"message": f"Unknown request URL: {request.method} {request.path}"}})
        provider = self._all[name]
        known = (request.method, path) in {("GET", "/models"), ("POST", "/chat/completions")}
        provider.requests.append(RequestRecord.from_request(request, at=self._clock.now(), unknown=not known))
        self._closed.wait(provider.delay)
        response = self._provider_response(provider, path, request) if known else _error(404, "Not found", "not_found")
        provider.requests[-1].status = response.status
        return response

    def _provider_response(self, provider: FakeAiProvider, path: str, request: HttpRequest) -> HttpResponse:
        if provider.down:
            return _error(503, "Service unavailable", "service_unavailable")
        is_open = path == "/models" and provider.name == "iflow" and self._switches.iflow_models_open
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if not is_open and not (scheme == "Bearer" and provider.keys.get(key)):
            return self._key_error(provider.name)
        if path == "/models":
            model = {"id": MODELS[provider.name], "object": "model", "created": 1735689600, "owned_by": provider.name}
            return json_response(200, {"object": "list", "data": [model]})
        return _completion(provider.name, request, int(self._clock.now().timestamp()))

    def _key_error(self, name: str) -> HttpResponse:
        """Return the provider's own error. None of them shows whether the key was ever valid."""
        if name == "iflow" and self._switches.iflow_refuses_with_200:
            return json_response(200, {"status": "434", "msg": "Invalid apiKey", "body": None})
        if name == "cerebras":
            flat = {"type": "invalid_request_error", "param": "api_key", "code": "wrong_api_key"}
            return json_response(401, {"message": "Wrong API Key", **flat})
        return _error(401, "Invalid API Key", "invalid_api_key")


def _completion(name: str, request: HttpRequest, now: int) -> HttpResponse:
    """Return a fixed short completion. Streaming is not supported."""
    try:
        asked = json.loads(request.body)
    except ValueError:
        asked = None
    if not isinstance(asked, dict) or not isinstance(asked.get("messages"), list) or not asked["messages"]:
        return _error(400, "'messages' : minimum number of items is 1", "invalid_request_error")
    if asked.get("model") != MODELS[name]:
        return _error(404, f"The model `{asked.get('model')}` does not exist", "model_not_found")
    choice = {"index": 0, "message": {"role": "assistant", "content": "pong"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    made = {"id": f"chatcmpl-{now}", "object": "chat.completion", "created": now, "model": asked["model"]}
    return json_response(200, {**made, "choices": [choice], "usage": usage})


def _error(status: int, message: str, code: str) -> HttpResponse:
    return json_response(status, {"error": {"message": message, "type": "invalid_request_error", "code": code}})

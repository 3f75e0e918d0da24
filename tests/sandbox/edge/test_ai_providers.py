"""AI providers: valid, revoked and unknown keys, and slow or failing providers."""

from typing import Any

import httpx
import pytest

from sandbox import Sandbox
from sandbox.edge.ai_providers import BASE_PATHS, MODELS

NAMES = sorted(BASE_PATHS)


@pytest.fixture
def strict(sandbox: Sandbox) -> Sandbox:
    sandbox.switches.iflow_models_open = sandbox.switches.iflow_refuses_with_200 = False
    return sandbox


def _models(sandbox: Sandbox, name: str, key: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.get(f"{sandbox.providers[name].base_url}/models", headers=headers, verify=False)


def _complete(sandbox: Sandbox, name: str, key: str, **body: Any) -> httpx.Response:
    asked = {"model": MODELS[name], "messages": [{"role": "user", "content": "ping"}], "max_tokens": 1} | body
    url = f"{sandbox.providers[name].base_url}/chat/completions"
    return httpx.post(url, json=asked, headers={"authorization": f"Bearer {key}"}, verify=False)


@pytest.mark.parametrize("name", NAMES)
def test_valid_key_lists_models_and_completes(strict: Sandbox, name: str) -> None:
    key = strict.providers[name].add_key("valid")
    assert [model["id"] for model in _models(strict, name, key).json()["data"]] == [MODELS[name]]
    answer = _complete(strict, name, key).json()
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "pong"}
    assert answer["object"] == "chat.completion"


@pytest.mark.parametrize("name", NAMES)
def test_revoked_key_is_refused_like_unknown_key(strict: Sandbox, name: str) -> None:
    provider = strict.providers[name]
    provider.revoke(provider.add_key("revoked"))
    answers = [ask(strict, name, key) for ask in (_models, _complete) for key in ("revoked", "unknown")]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1


def test_key_is_valid_for_one_provider(strict: Sandbox) -> None:
    strict.providers["groq"].add_key("key")
    assert [_models(strict, name, "key").status_code for name in NAMES] == [401, 200, 401]


def test_iflow_can_refuse_with_200_and_list_models_openly(sandbox: Sandbox) -> None:
    assert _models(sandbox, "iflow", "unknown").json()["data"]
    refused = _complete(sandbox, "iflow", "unknown")
    assert (refused.status_code, refused.json()["status"]) == (200, "434")


def test_provider_can_be_down_or_slow(strict: Sandbox) -> None:
    provider = strict.providers["groq"]
    key = provider.add_key("valid")
    provider.down = True
    assert _models(strict, "groq", key).status_code == 503
    provider.down, provider.delay = False, 60.0
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{provider.base_url}/models", timeout=httpx.Timeout(30, read=0.05), verify=False)


@pytest.mark.parametrize(("body", "status"), [({"messages": []}, 400), ({"model": "none"}, 404)])
def test_completion_requires_message_and_model(strict: Sandbox, body: dict[str, Any], status: int) -> None:
    key = strict.providers["cerebras"].add_key("valid")
    assert _complete(strict, "cerebras", key, **body).status_code == status


def test_requests_are_recorded_without_key(strict: Sandbox) -> None:
    _models(strict, "groq", "k4n4ry")
    (record,) = strict.providers["groq"].requests
    assert (record.path, record.status, record.unknown) == ("/groq/openai/v1/models", 401, False)
    assert "k4n4ry" not in str(record)


def test_providers_are_changed_over_http(strict: Sandbox) -> None:
    url = f"{strict.control_url}/providers"
    changed = httpx.post(url, json={"provider": "groq", "keys": {"a": True, "b": False}, "down": True}, verify=False)
    assert changed.json()["keys"] == {"a": True, "b": False}
    assert _models(strict, "groq", "a").status_code == 503
    assert httpx.post(url, json={"provider": "none"}, verify=False).status_code == 400
    assert strict.describe()["providers"]["groq"]["base_url"] == strict.providers["groq"].base_url


def test_worker_with_revoked_key_returns_502_until_replaced(sandbox: Sandbox) -> None:
    sandbox.switches.propagation_seconds = 0
    groq = sandbox.providers["groq"]
    behaviour = {"upstream": {"provider": "groq", "secret": "GROQ_API_KEY"}}
    secrets = {"GROQ_API_KEY": groq.add_key("old")}
    sandbox.deploy("ai", sandbox.upload("ai", behaviour=behaviour, secrets=secrets))
    seen = [_health(sandbox)]
    groq.revoke("old")
    seen.append(_health(sandbox))
    sandbox.put_secret("ai", "GROQ_API_KEY", groq.add_key("new"))
    seen.append(_health(sandbox))
    assert seen == [200, 502, 200]


def _health(sandbox: Sandbox) -> int:
    return httpx.get(f"{sandbox.edge_url}/health", verify=False).status_code

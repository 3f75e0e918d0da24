"""Check whether an AI provider accepts a key, with one read-only request of OpenAI's API.

platform.openai.com/docs/api-reference/models/list and …/chat/create
"""

import json
import secrets
from typing import TYPE_CHECKING, Any

import httpx

from ops.core.redaction import Secret
from ops.core.verdict import KeyAnswer, KeyVerdict
from ops.probes.edge_answer import judge_answer
from ops.probes.http import ProbeClient

if TYPE_CHECKING:
    from ops.config.sections import KeyProvider

UNAUTHORIZED_STATUSES = {401, 403}


def random_key() -> Secret:
    """Return a key that no provider issued, as the control of a check."""
    return Secret(f"sk-{secrets.token_hex(24)}")


def check_key(web: ProbeClient, spec: "KeyProvider", key: Secret) -> KeyAnswer:
    """Send one request. An outage, a rate limit or a foreign page is unclear."""
    headers = {"authorization": f"Bearer {key.reveal()}", "content-type": "application/json"}
    method, path, content, wanted = "GET", "/models", None, "data"
    if spec.chat:
        asked = {"model": spec.chat, "messages": [{"role": "user", "content": "ping"}], "max_tokens": 1}
        method, path, content, wanted = "POST", "/chat/completions", json.dumps(asked).encode(), "choices"
    try:
        response, body = web.send(method, spec.url + path, headers=headers, within=spec.timeout, content=content)
    except httpx.TimeoutException:
        return KeyAnswer(KeyVerdict.UNCLEAR, f"no answer within {spec.timeout:g} s")
    except httpx.RequestError as error:
        return KeyAnswer(KeyVerdict.UNCLEAR, type(error).__name__)
    if blocker := judge_answer(response.status_code, response.headers, body, is_at_cloudflare=False).blocker:
        return KeyAnswer(KeyVerdict.UNCLEAR, blocker.detail)
    if response.status_code in UNAUTHORIZED_STATUSES:
        return KeyAnswer(KeyVerdict.REFUSED, f"status {response.status_code}")
    if response.status_code != 200:
        return KeyAnswer(KeyVerdict.UNCLEAR, f"status {response.status_code}")
    document = _json_object(body)
    if isinstance(document.get(wanted), list):
        return KeyAnswer(KeyVerdict.ACCEPTED, "status 200")
    # iflow rejects a key in the body of a 200; other pages have none of these fields.
    if any(isinstance(document.get(key), str | dict) for key in ("msg", "message", "error")):
        return KeyAnswer(KeyVerdict.REFUSED, "an error with status 200")
    return KeyAnswer(KeyVerdict.UNCLEAR, "status 200 with unexpected content")


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    return document if isinstance(document, dict) else {}

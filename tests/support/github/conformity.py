"""Check requests, responses and deliveries against the schemas that GitHub publishes."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from jsonschema import Draft7Validator

from sandbox.github.api import ROUTER
from tests.support.github.schemas.cut import without_names

_FOLDER = Path(__file__).parent / "schemas"
_REFUSALS = {400, 401, 403, 404, 405, 409, 422}


@cache
def _read(name: str) -> Any:
    return json.loads((_FOLDER / name).read_text())


def exchange(response: httpx.Response) -> Iterator[str]:
    """Yield the problems of an accepted request and of its response."""
    request, status = response.request, response.status_code
    found = ROUTER.match(request.method, request.url.raw_path.decode().partition("?")[0])
    if found is None:
        return
    route, _ = found
    operation = _read("api.json")["operations"].get(f"{route.method} {without_names(route.template)}")
    if operation is None:
        return
    if status in _REFUSALS:
        yield from _refusal(response.json())
    elif str(status) not in operation["answers"]:
        yield f"{request.method} {request.url.path} is not described to answer {status}"
    else:
        yield from _problems(operation["answers"][str(status)], response)
        yield from _unfit(operation["request"], _described(request.content))


def _described(content: bytes) -> str:
    """Return the body as the schema describes it: labels may be a bare array, which only the prose mentions."""
    text = content.decode()
    return f'{{"labels":{text}}}' if text.startswith("[") else text


def _problems(schema: Any, response: httpx.Response) -> Iterator[str]:
    if schema is None:
        if response.content:
            yield f"{response.status_code} comes without a body"
        return
    if response.headers["content-type"].startswith("application/json"):
        yield from _unfit(schema, _numberless(response.json()))


def _unfit(schema: Any, text: str) -> Iterator[str]:
    if schema is not None and text:
        yield from _errors("api.json", json.dumps(schema), text)


def _refusal(body: Any) -> Iterator[str]:
    if (
        not {"message", "documentation_url", "status"}
        <= body.keys()
        <= {"message", "documentation_url", "status", "errors"}
    ):
        yield f"a refusal has other fields: {sorted(body)}"


def payload(event: str, body: Mapping[str, Any]) -> Iterator[str]:
    """Yield the problems of a delivery."""
    definitions = _read("webhooks.json")
    name = next(name for name in (f"{event}${body.get('action')}", f"{event}$event") if name in definitions)
    yield from _errors("webhooks.json", f'{{"$ref": "#/definitions/{name}"}}', _numberless(body))


def _numberless(body: Any) -> str:
    """Return JSON with equal numbers and hashes, so that equal texts are checked only once. No schema limits them."""
    text = re.sub(r"\b[0-9a-f]{40}\b", "f" * 40, json.dumps(body, ensure_ascii=False))
    return re.sub(r'(?<!"[+-])\d+', "0", text)  # "+1" is a reaction and stays


@cache
def _errors(name: str, schema: str, text: str) -> Sequence[str]:
    known = _read(name)
    definitions = known["schemas"] if name == "api.json" else known
    validator = Draft7Validator({"allOf": [json.loads(schema)], "definitions": definitions})
    return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(json.loads(text))]

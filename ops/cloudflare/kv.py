"""Values in KV namespaces (developers.cloudflare.com/api/resources/kv/subresources/namespaces)."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from ops.cloudflare.client import Client
from ops.cloudflare.reads import reads
from ops.cloudflare.response import shaped

READ = "Workers KV Storage Read"
WRITE = "Workers KV Storage Write"
READ_TOGETHER = 100
"""Keys that one bulk get takes."""


class Kv:
    """What these answer holds for the API alone: a location may serve a former value for a minute and longer.

    KV has no comparison at a write, and no history (developers.cloudflare.com/kv/concepts/how-kv-works).
    """

    def __init__(self, client: Client, account_id: str) -> None:
        self._client = client
        self._namespaces = f"/accounts/{account_id}/storage/kv/namespaces"

    @reads("POST /accounts/{account}/storage/kv/namespaces/{namespace}/bulk/get")
    def values(self, namespace: str, keys: Sequence[str]) -> dict[str, str | None]:
        """Key → its text; None where there is none. One request for 100 keys. Raises ProviderError."""
        path, found = f"{self._namespaces}/{namespace}/bulk/get", dict[str, str | None]()
        for first in range(0, len(keys), READ_TOGETHER):
            some = list(keys[first : first + READ_TOGETHER])
            answer = self._client.ask(path, {"keys": some, "type": "text"}, permission=READ)
            found |= shaped(answer, "values of KV", partial(_values, answer.result, some))
        return found

    def value(self, namespace: str, key: str) -> str | None:
        return self.values(namespace, [key])[key]

    def put(self, namespace: str, key: str, value: str) -> None:
        """Sent once; a key takes one write a second. Raises NotApplied, Unclear, ApiError."""
        path = f"{self._namespaces}/{namespace}/values/{quote(key, safe='')}"
        self._client.write("PUT", path, permission=WRITE, content=value.encode())


def _values(result: Any, keys: list[str]) -> dict[str, str | None]:
    return {key: _text(result["values"].get(key)) for key in keys}


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(type(value))
    return value

"""Read and write values in KV namespaces.

developers.cloudflare.com/api/resources/kv/subresources/namespaces
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from ops.cloudflare.client import CloudflareClient, paginate_by_total, reads
from ops.cloudflare.response import HEX_ID, parse_result, require_answer_id, require_answer_text
from ops.cloudflare.types.inventory import NamedResource

MAX_KEYS_PER_READ = 100
"""Most keys of one bulk get."""


class KvApi:
    """KV API of one account. A location may serve a previous value for a minute or longer.

    KV has no compare-and-set and no history (developers.cloudflare.com/kv/concepts/how-kv-works).
    """

    def __init__(self, client: CloudflareClient, account_id: str) -> None:
        self._client = client
        self._namespaces = f"/accounts/{account_id}/storage/kv/namespaces"

    @reads("GET /accounts/{account}/storage/kv/namespaces")
    def list_namespaces(self) -> tuple[NamedResource, ...]:
        page = self._client.list_reader(self._namespaces, "the KV namespaces", _parse_namespace)
        return tuple(paginate_by_total(page))

    @reads("POST /accounts/{account}/storage/kv/namespaces/{namespace}/bulk/get")
    def read_values(self, namespace: str, keys: Sequence[str]) -> dict[str, str | None]:
        """Return key → value, None for a missing key, with one request per 100 keys. Raises ProviderError."""
        path, values = f"{self._namespaces}/{namespace}/bulk/get", dict[str, str | None]()
        for first in range(0, len(keys), MAX_KEYS_PER_READ):
            some = list(keys[first : first + MAX_KEYS_PER_READ])
            answer = self._client.read_by_post(path, {"keys": some, "type": "text"})
            values |= parse_result(answer, "values of KV", partial(_parse_kv_values, answer.result, some))
        return values

    def read_value(self, namespace: str, key: str) -> str | None:
        return self.read_values(namespace, [key])[key]

    def write_value(self, namespace: str, key: str, value: str) -> None:
        """Write a value once; Cloudflare allows one write per key and second.

        Raises NotApplied, UnclearWrite and CloudflareApiError.
        """
        path = f"{self._namespaces}/{namespace}/values/{quote(key, safe='')}"
        self._client.write("PUT", path, content=value.encode())


def _parse_namespace(row: Mapping[str, Any]) -> NamedResource:
    return NamedResource(require_answer_id(row["id"], HEX_ID), require_answer_text(row["title"]))


def _parse_kv_values(result: Any, keys: list[str]) -> dict[str, str | None]:
    return {key: _parse_kv_text(result["values"].get(key)) for key in keys}


def _parse_kv_text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(type(value))
    return value

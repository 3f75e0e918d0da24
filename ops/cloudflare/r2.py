"""Write objects of an R2 bucket, and read whether everybody can read them.

developers.cloudflare.com/api/resources/r2/subresources/buckets
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from ops.cloudflare.client import CloudflareClient, reads
from ops.cloudflare.response import parse_result, require_answer_text

WRITE_PERMISSION = "Workers R2 Storage Write"
"""The dashboard calls it Workers R2 Storage: Edit. It is of the whole account."""
WRITE_TIMEOUT = 60.0


class R2Api:
    """R2 API of one bucket."""

    def __init__(self, client: CloudflareClient, account_id: str, bucket: str, jurisdiction: str) -> None:
        self._client, self.name = client, bucket
        self._bucket = f"/accounts/{account_id}/r2/buckets/{bucket}"
        self._headers = {} if jurisdiction == "default" else {"cf-r2-jurisdiction": jurisdiction}

    @reads(
        "GET /accounts/{account}/r2/buckets/{bucket}/domains/managed",
        "GET /accounts/{account}/r2/buckets/{bucket}/domains/custom",
    )
    def list_public_domains(self) -> tuple[str, ...]:
        """Return the enabled domains at which everybody can read the bucket. Raises ProviderError."""
        managed, custom = (self._read_r2(f"{self._bucket}/domains/{kind}") for kind in ("managed", "custom"))
        listed = parse_result(managed, "the r2.dev domain", lambda: list(_enabled_bucket_domains([managed.result])))
        return (
            *listed,
            *parse_result(custom, "custom domains", lambda: list(_enabled_bucket_domains(custom.result["domains"]))),
        )

    @reads("GET /accounts/{account}/r2/buckets/{bucket}/objects")
    def has_object(self, key: str, content: bytes) -> bool:
        """Return whether the bucket has an object of this key and content, by its MD5. Raises ProviderError."""
        answer = self._read_r2(f"{self._bucket}/objects", prefix=key)
        found = parse_result(answer, "objects of R2", lambda: {each["key"]: each["etag"] for each in answer.result})
        return found.get(key) == hashlib.md5(content, usedforsecurity=False).hexdigest()

    def put_object(self, key: str, content: bytes) -> None:
        """Write an object once, in place of an earlier one of its key.

        Raises NotApplied, UnclearWrite and CloudflareApiError.
        """
        headers = {**self._headers, "content-type": "application/octet-stream"}
        path = f"{self._bucket}/objects/{key}"
        self._client.write("PUT", path, headers=headers, content=content, timeout=WRITE_TIMEOUT)

    def _read_r2(self, path: str, **params: str) -> Any:
        return self._client.read(path, params=params, headers=self._headers)


def _enabled_bucket_domains(domains: list[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the enabled domains. Raises TypeError if one does not say whether it is."""
    for each in domains:
        if not isinstance(each["enabled"], bool):
            raise TypeError(type(each["enabled"]))
        if each["enabled"]:
            yield require_answer_text(each["domain"])

"""Let through only declared reads, and writes to resources of a verification or a drill.

A wrapper of the transport, below every client: code above it can be wrong without touching what belongs to others.
"""

import json
import re
from typing import Any
from urllib.parse import urlsplit

import httpx

from ops.cloudflare.client import MAX_CONNECTIONS, is_declared_read
from ops.cloudflare.types.inventory import NamedResource
from ops.core.bounded_http import ssl_context
from ops.core.client_guards import is_loopback
from ops.core.errors import Reason, Refused
from ops.core.redaction import Secret
from ops.core.verification_name import is_drill_name, is_verification_name

_CREATIONS = {"/storage/kv/namespaces": "title", "/d1/database": "name", "/pages/projects": "name"}
"""Path of a creation below the account → field of the body with the name."""
_BY_NAME = re.compile(r"/(?:workers/scripts|pages/projects)/([A-Za-z0-9_-]+)(?:/.*)?")
_BY_ID = re.compile(r"/(?:storage/kv/namespaces|d1/database)/([0-9a-f-]+)(?:/.*)?")
_LEADS_ELSEWHERE = re.compile(r"/\.|%2[ef]", re.IGNORECASE)
"""Part of a path that a server may resolve to another one."""
_UPLOAD = "/pages/assets/upload"


class OwnWritesTransport(httpx.HTTPTransport):
    """Transport to one account. It refuses every other request before it is sent."""

    def __init__(self, base_url: str, account_id: str) -> None:
        is_secure, trust = base_url.startswith("https:"), not is_loopback(base_url)
        limits = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS)
        super().__init__(verify=ssl_context(verify=is_secure, trust_env=trust), trust_env=trust, limits=limits)
        self._base = urlsplit(base_url).path.rstrip("/")
        self._account = f"/accounts/{account_id}"
        self._names: set[str] = set()
        self._ids: set[str] = set()
        self._upload_tokens: list[Secret] = []

    def own_name(self, name: str) -> None:
        """Permit writes to resources with this name. Raises ValueError for a name of another origin."""
        if not (is_verification_name(name) or is_drill_name(name)):
            raise ValueError(f"{name} is no name of a verification or a drill")
        self._names.add(name)

    def own_resource(self, resource: NamedResource) -> None:
        """Permit writes to a resource by its name and ID. Raises ValueError as `own_name` does."""
        self.own_name(resource.name)
        self._ids.add(resource.id)

    def own_upload_token(self, token: Secret) -> None:
        """Permit uploads of files with the token of an own Pages project."""
        self._upload_tokens.append(token)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        Raises:
            Refused: it is neither a declared read nor a write to an own resource.
        """
        path = request.url.raw_path.decode("ascii").partition("?")[0].removeprefix(self._base)
        if not (self._is_read(request, path) or self._is_own_write(request, path)):
            raise Refused(
                f"{request.method} is not sent to Cloudflare: no permitted read, and no write to what this run made",
                reason=Reason.READ_ONLY,
            )
        return super().handle_request(request)

    def _is_read(self, request: httpx.Request, path: str) -> bool:
        if path.startswith("/accounts/") and not path.startswith(f"{self._account}/"):
            return False
        return is_declared_read(request.method, path, _json_body(request) if request.method == "POST" else None)

    def _is_own_write(self, request: httpx.Request, path: str) -> bool:
        if (request.method, path) == ("POST", _UPLOAD):
            sent = request.headers.get("authorization", "")
            return any(sent == f"Bearer {token.reveal()}" for token in self._upload_tokens)
        own = path.removeprefix(self._account)
        if own == path or _LEADS_ELSEWHERE.search(own):
            return False
        if request.method == "POST" and own in _CREATIONS:
            body = _json_body(request)
            return isinstance(body, dict) and body.get(_CREATIONS[own]) in self._names
        named, by_id = _BY_NAME.fullmatch(own), _BY_ID.fullmatch(own)
        return bool(named and named[1] in self._names) or bool(by_id and by_id[1] in self._ids)


def _json_body(request: httpx.Request) -> Any:
    try:
        return json.loads(request.read())
    except (ValueError, RecursionError):
        return None

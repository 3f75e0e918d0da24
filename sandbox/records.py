"""A record of each request that reached the API."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sandbox.clock import timestamp
from sandbox.server import HttpRequest, HttpResponse, Responder


def sender_of(authorization: str) -> str:
    """Return the digest of a token in an Authorization header; empty without one."""
    return hashlib.sha256(authorization.encode()).hexdigest()[:16] if authorization else ""


@dataclass(kw_only=True)
class RequestRecord:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Lowercase names; the token is masked."""
    sender: str
    """Digest of its token, which tells runs with tokens of their own apart; empty without one."""
    body: Any
    """Parsed if it is JSON, otherwise bytes; None if empty."""
    at: datetime
    unknown: bool
    """True if the sandbox has no such route."""
    status: int | None = None
    """None until the response, and permanently if the response was lost."""
    effect: int | None = None
    """Status before any fault was applied; None if a fault kept the request from the API."""

    def wrap(self, answer: Responder) -> Responder:
        """Return a responder that also stores the status of the response as `effect`."""

        def answered(request: HttpRequest) -> HttpResponse | None:
            response = answer(request)
            self.effect = response.status if response else None
            return response

        return answered

    @classmethod
    def from_request(cls, request: HttpRequest, *, at: datetime, unknown: bool) -> "RequestRecord":
        headers = {name.lower(): value for name, value in request.headers.items()}
        sender = headers.get("authorization", "")
        if sender:
            headers["authorization"] = f"{headers['authorization'].partition(' ')[0]} ***"
        return cls(
            method=request.method,
            path=request.path,
            query=request.query,
            headers=headers,
            sender=sender_of(sender),
            body=parse_body(request),
            at=at,
            unknown=unknown,
        )

    def to_json(self) -> dict[str, Any]:
        body = self.body.decode("latin-1") if isinstance(self.body, bytes) else self.body
        return {**vars(self), "body": body, "at": timestamp(self.at)}


def parse_body(request: HttpRequest) -> Any:
    """Return the body, parsed if it is JSON; None if it is empty."""
    if request.headers.get_content_subtype() in {"json", "merge-patch+json"}:
        try:
            return json.loads(request.body)
        except ValueError:
            return request.body
    return request.body or None

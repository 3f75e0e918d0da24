"""Tokens that the API signs for uploads: a JWT whose claims only the sandbox can make."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from sandbox.cloudflare.account import Account

LIFETIME = 3600
"""Seconds of the sandbox's clock."""
_KEY = b"a key of the sandbox"


def sign(account: Account, claims: Mapping[str, Any]) -> str:
    expires = int(account.clock.now().timestamp()) + LIFETIME
    parts = ({"alg": "HS256", "typ": "JWT"}, {"exp": expires, **claims})
    signed = ".".join(_encoded(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{_signature(signed)}"


def claims_of(account: Account, jwt: str) -> dict[str, Any] | None:
    """The claims of a token that is the sandbox's own and has not expired; None otherwise."""
    signed, _, signature = jwt.rpartition(".")
    if not hmac.compare_digest(signature.encode(), _signature(signed).encode()):
        return None
    try:
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "=="))
    except (binascii.Error, ValueError):
        return None
    return claims if claims["exp"] > account.clock.now().timestamp() else None


def _signature(signed: str) -> str:
    return _encoded(hmac.digest(_KEY, signed.encode(), hashlib.sha256))


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")

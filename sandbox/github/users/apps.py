"""GitHub Apps: what each may do, where it is installed, and the JSON Web Tokens by which it identifies itself.

docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sandbox.github.users.state import App

LIFETIME = timedelta(hours=1)
"""Of an installation token."""
_LONGEST_JWT = 600
"""Seconds from now to `exp`."""
_UNDECODED = "A JSON web token could not be decoded"


class IdentityError(Exception):
    """The JSON Web Token names no App, or does not prove that it comes from it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, kw_only=True)
class RegisteredApp:
    app: App
    public_key: str
    """PEM. The private key is with its owner alone."""
    permissions: Mapping[str, str]
    """Name → read or write, as its installation has accepted them."""
    installation_id: int
    is_installed: bool
    """On the repository; its installation has others in any case."""


def is_jwt(secret: str) -> bool:
    return secret.count(".") == 2 and not secret.startswith("ghs_")


def identify(encoded: str, apps: Mapping[str, RegisteredApp], now: datetime) -> RegisteredApp:
    """Return the App that signed the token. Raises IdentityError."""
    import jwt

    try:
        issuer = str(jwt.decode(encoded, options={"verify_signature": False}).get("iss"))
        if (found := apps.get(issuer)) is None:
            raise IdentityError(404, "Integration not found")
        claims = jwt.decode(
            encoded, found.public_key, algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False}
        )
    except jwt.PyJWTError:
        raise IdentityError(401, _UNDECODED) from None
    _check_times(claims, int(now.timestamp()))
    return found


def _check_times(claims: Mapping[str, Any], now: int) -> None:
    issued, ends = claims.get("iat"), claims.get("exp")
    if not isinstance(issued, int) or issued > now:
        text = "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
        raise IdentityError(401, text)
    if not isinstance(ends, int) or ends <= now:
        text = "'Expiration time' claim ('exp') must be a numeric value representing the future time"
        raise IdentityError(401, f"{text} at which the assertion expires")
    if ends > now + _LONGEST_JWT:
        raise IdentityError(401, "'Expiration time' claim ('exp') is too far in the future")

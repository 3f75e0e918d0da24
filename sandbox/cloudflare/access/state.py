"""Cloudflare Access: protected hosts, and the service tokens that they accept.

developers.cloudflare.com/cloudflare-one/identity/service-tokens
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import Message
from uuid import UUID

from sandbox.clock import FakeClock

ID_HEADER, SECRET_HEADER = "CF-Access-Client-Id", "CF-Access-Client-Secret"
DURATION = timedelta(hours=8760)
"""Default duration of a service token: one year."""


@dataclass(frozen=True, kw_only=True)
class ServiceToken:
    id: str
    name: str
    client_id: str
    client_secret: str = field(repr=False)
    created_at: datetime
    expires_at: datetime


class FakeAccess:
    """Applications by host. Each accepts all tokens of the account, by a Service Auth policy."""

    def __init__(self, clock: FakeClock, new_id: Callable[[], UUID]) -> None:
        self._clock, self._new_id = clock, new_id
        self.hosts: set[str] = set()
        """Protected hosts."""
        self.tokens: list[ServiceToken] = []

    def add_token(self, name: str, *, duration: timedelta = DURATION) -> ServiceToken:
        """Create a service token that is valid from now on."""
        now, number = self._clock.now(), self._new_id().hex
        token = ServiceToken(
            id=str(self._new_id()),
            name=name,
            client_id=f"{number}.access",
            client_secret=self._new_id().hex * 2,
            created_at=now,
            expires_at=now + duration,
        )
        self.tokens.append(token)
        return token

    def admits(self, host: str, headers: Message) -> bool:
        """Return whether a request to the host reaches it: unprotected, or with a valid service token."""
        given = headers.get(ID_HEADER, ""), headers.get(SECRET_HEADER, "").encode()
        return host not in self.hosts or any(
            given[0] == token.client_id
            and hmac.compare_digest(given[1], token.client_secret.encode())
            and self._clock.now() < token.expires_at
            for token in self.tokens
        )

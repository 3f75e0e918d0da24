"""Addresses in responses. They point to the host of the request because clients follow them."""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote


@dataclass(frozen=True, kw_only=True)
class Urls:
    api: str
    html: str
    """Value of GITHUB_SERVER_URL. It serves no pages."""
    full_name: str

    def repo(self, path: str = "") -> str:
        return f"{self.api}/repos/{self.full_name}{path}"

    def page(self, path: str = "") -> str:
        return f"{self.html}/{self.full_name}{path}"

    def user(self, login: str) -> str:
        return f"{self.api}/users/{quote(login)}"


def node_id(kind: str, number: int) -> str:
    return f"{kind}_{base64.urlsafe_b64encode(number.to_bytes(8, 'big')).decode().rstrip('=')}"


def timestamp(instant: datetime) -> str:
    """Format a time as GitHub does: UTC, whole seconds, Z."""
    return f"{instant.astimezone(UTC).isoformat()[:19]}Z"  # strftime takes four times as long


def timestamp_or_none(instant: datetime | None) -> str | None:
    return None if instant is None else timestamp(instant)

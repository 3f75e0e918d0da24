"""Values that probes return: page content, verdict on a key, state of a Durable Object."""

from dataclasses import dataclass
from enum import Enum
from typing import Any


@dataclass(frozen=True)
class PageContent:
    """Content of one URL. Equal digests mean equal content."""

    digest: str = ""
    """Digest of the answer's body; empty if it could not be read."""
    is_absent: bool = False
    """Whether the answer was 404."""
    error: str = ""
    """Why it could not be read, for people; else empty."""
    assets_digest: str = ""
    """Digest of the hashed assets that the page links to; empty if it links to none."""
    failure_status: int = 0
    """The HTTP status if it is 5xx, else 0."""

    def comparison_digest(self, *, by_assets: bool) -> str:
        """Return the digest to compare: of the assets if `by_assets` and there are any, else of the content."""
        return self.assets_digest if by_assets and self.assets_digest else self.digest


class KeyVerdict(Enum):
    """Whether a provider accepts a key."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class KeyAnswer:
    """A provider's verdict on one key.

    `text` never quotes the provider, whose answer may repeat the key.
    """

    verdict: KeyVerdict
    text: str


@dataclass(frozen=True)
class ObjectObservation:
    """State that a Durable Object reported."""

    proof: float | str
    """A number in memory that starts at 0 and grows, or a text that each start of the object generates."""
    stored_value: Any
    """The value in storage that a reset must keep; None if ops.yml names none."""


def parse_proof(value: Any) -> float | str | None:
    """Return the value if it can be a proof, else None."""
    return value if is_number(value) or (isinstance(value, str) and value) else None


def is_number(value: Any) -> bool:
    """Return whether the JSON value is a number; booleans are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)

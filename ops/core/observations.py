"""Values that probes return: the content of an address, a provider's answer about a key, the state of an object."""

from dataclasses import dataclass
from enum import Enum
from typing import Any


@dataclass(frozen=True)
class PageContent:
    """What one address held: equal digests, equal answers."""

    digest: str = ""
    """Empty where it could not be read."""
    is_absent: bool = False
    """Whether it answers 404."""
    error: str = ""
    """Why it could not be read, for people."""
    assets_digest: str = ""
    """Digest of the hashed assets that the page names; empty if it names none."""
    failure_status: int = 0
    """The status if that is a failure of the server, else 0."""

    def comparison_digest(self, *, by_assets: bool) -> str:
        """What is compared: the assets where that is wanted and there are some, else the content."""
        return self.assets_digest if by_assets and self.assets_digest else self.digest


class KeyVerdict(Enum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class KeyAnswer:
    """What a provider says of one key. `text` is ours: no word of the provider's, who may repeat the key."""

    verdict: KeyVerdict
    text: str


@dataclass(frozen=True)
class ObjectObservation:
    """What an object showed of itself."""

    proof: float | str
    """A number in memory, which begins at 0 and only grows; or a text that each start makes anew."""
    stored_value: Any
    """None where ops.yml names nothing in storage."""


def parse_proof(value: Any) -> float | str | None:
    """None where it can be none."""
    return value if is_number(value) or (isinstance(value, str) and value) else None


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

"""Names of everything that `ops verify-platform` makes, at Cloudflare and on GitHub."""

import hashlib
import re
import secrets

PREFIX = "backout-verify-"
_NAME = re.compile(rf"{PREFIX}([0-9a-f]{{8}})([0-9a-f]{{4}})")


def make_name() -> str:
    """Return a new name for the resources of a run. Its last four digits are a checksum, so that no person chooses it.

    `is_verification_name` recognizes it.
    """
    run = secrets.token_hex(4)
    return f"{PREFIX}{run}{_compute_checksum(run)}"


def is_verification_name(name: str) -> bool:
    """Return whether `make_name` made the name; False for another name with the same prefix."""
    match = _NAME.fullmatch(name)
    return match is not None and _compute_checksum(match[1]) == match[2]


def _compute_checksum(run: str) -> str:
    return hashlib.sha256(f"{PREFIX}{run}".encode()).hexdigest()[:4]

"""Names of what `ops verify-platform` and a drill of `ops adopt` make."""

import hashlib
import re
import secrets

PREFIX, DRILL_PREFIX = "backout-verify-", "backout-drill-"
_END = re.compile("([0-9a-f]{8})([0-9a-f]{4})")


def make_verification_name(prefix: str = PREFIX) -> str:
    """Return a new name for the resources of a run. Its last four digits are a checksum, so that no person chooses it.

    `is_verification_name` and `is_drill_name` recognize it.
    """
    run = secrets.token_hex(4)
    return f"{prefix}{run}{_compute_verification_checksum(prefix, run)}"


def is_verification_name(name: str) -> bool:
    """Return whether `make_verification_name` made the name; False for another name with the same prefix."""
    return _is_made(name, PREFIX)


def is_drill_name(name: str) -> bool:
    """Return whether `make_verification_name` made the name for a drill."""
    return _is_made(name, DRILL_PREFIX)


def _is_made(name: str, prefix: str) -> bool:
    match = _END.fullmatch(name.removeprefix(prefix)) if name.startswith(prefix) else None
    return match is not None and _compute_verification_checksum(prefix, match[1]) == match[2]


def _compute_verification_checksum(prefix: str, run: str) -> str:
    return hashlib.sha256(f"{prefix}{run}".encode()).hexdigest()[:4]

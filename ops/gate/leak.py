"""A report that a secret has leaked, from `repository_dispatch` or a button: which one, and where. Pure.

Every text of it is hostile, and may hold the key itself. Of the secret only a name that `ops.yml` has is taken; of the
rest, nothing that looks like a key and nothing that is long.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ops.gate import payload as fields
from ops.gate import refusals
from ops.gate.outcomes import GateJob, IgnoredEvent, MalformedEvent, RefusedRequest

DISPATCH = "secret-leak"
LONGEST = 200
LEFT_OUT = "[left out]"
_AROUND = ".,;:!?()[]{}<>\"'`|"
"""Signs at either end of a word. Within one they may be the key's."""
_KEYS = ("sk-", "gsk_", "csk-", "ghp_", "gho_", "ghs_", "github_pat_", "cfut_", "cfat_", "xox", "AKIA", "eyJ")
"""How keys of well-known services begin."""


@dataclass(frozen=True, kw_only=True)
class LeakReport:
    """`secret` is a name of ops.yml; empty where what was said is none. The rest is for private repositories."""

    secret: str
    location: str = ""
    url: str = ""
    source: str = ""


def read_leak(
    event_name: str, payload: Any, declared: Collection[str], job: GateJob
) -> LeakReport | IgnoredEvent | MalformedEvent | RefusedRequest:
    """Never raises, whatever the payload holds. No text of the outcome has a word of the payload but in `Leak`."""
    try:
        fields.mapping(payload, "the payload")
        if event_name == "repository_dispatch" and payload.get("action") == DISPATCH:
            said = payload.get("client_payload")
        elif event_name == "workflow_dispatch":
            said = payload.get("inputs")
        else:
            return IgnoredEvent(cause="this event reports no leak")
        said = fields.mapping({} if said is None else said, "what was sent")
        refused = refusals.refuse_job(payload, job)
        return refused if refused is not None else _leak(said, declared)
    except fields.MalformedFieldError as error:
        return MalformedEvent(cause=str(error))


def _leak(said: Mapping[str, Any], declared: Collection[str]) -> LeakReport:
    name = _text(said, "secret")
    return LeakReport(
        secret=name if name in declared else "",
        location=without_keys(_text(said, "seen")),
        url=plain_address(_text(said, "url")),
        source=without_keys(_text(said, "source")),
    )


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    return value.strip() if isinstance(value, str) else ""


def without_keys(text: str) -> str:
    """The words that are none, up to LONGEST. Cut last: half of a key does not look like one."""
    kept = re.sub(r"\S+", lambda found: LEFT_OUT if looks_like_a_key(found[0].strip(_AROUND)) else found[0], text)
    return kept if len(kept) <= LONGEST else f"{kept[:LONGEST].rpartition(' ')[0]} …"


def plain_address(url: str) -> str:
    """Host and path of an https address, of the path only plain words and short numbers. Nothing behind a `?`.

    A key may hold slashes, so that no part of it looks like one: one with a capital always loses a part.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return ""
    if parts.scheme != "https" or not re.fullmatch(r"[a-z0-9.-]{1,100}", host) or looks_like_a_key(host, longest=60):
        return ""
    names = [each for each in parts.path.split("/")[:12] if each]
    shown = [each if re.fullmatch(r"[a-z][a-z._-]{0,22}|[0-9]{1,9}", each) else "…" for each in names]
    return "/".join([f"https://{host}", *shown])


def looks_like_a_key(word: str, *, longest: int = 23) -> bool:
    """Long, or not so long with digits or both cases; a word of a language or a path of such words is neither."""
    if word.startswith(_KEYS) or len(word) > longest:
        return True
    has_digit, mixed = re.search("[0-9]", word), re.search("[a-z]", word) and re.search("[A-Z]", word[1:])
    return len(word) >= 12 and bool(has_digit or mixed)

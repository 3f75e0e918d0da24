"""Read a report of a leaked secret, from `repository_dispatch` or a button. Pure.

All its text is untrusted and may contain the secret itself. The secret's name must be one of `ops.yml`. From other
text, anything that looks like a key, or is long, is removed.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ops.core.tolerant_json import text_in
from ops.gate import payload as fields
from ops.gate import refusals
from ops.gate.outcomes import GateJob, IgnoredEvent, MalformedEvent, RefusedRequest

DISPATCH = "secret-leak"
MAX_CHARACTERS = 200
OMITTED = "[left out]"
_PUNCTUATION = ".,;:!?()[]{}<>\"'`|"
"""Characters to strip from the ends of a word. Inside a word they may belong to a key."""
_KEY_PREFIXES = ("sk-", "gsk_", "csk-", "ghp_", "gho_", "ghs_", "github_pat_", "cfut_", "cfat_", "xox", "AKIA", "eyJ")
"""Prefixes of keys of well-known services."""


@dataclass(frozen=True, kw_only=True)
class LeakReport:
    """A report that a secret leaked, for private repositories only.

    `secret` is "" if `ops.yml` does not have the name.
    """

    secret: str
    location: str = ""
    url: str = ""
    source: str = ""


def read_leak(
    event_name: str, payload: Any, declared: Collection[str], job: GateJob
) -> LeakReport | IgnoredEvent | MalformedEvent | RefusedRequest:
    """Return the meaning of the event. Never raises, for any payload.

    Only LeakReport contains text of the payload.
    """
    try:
        fields.mapping(payload, "the payload")
        if event_name == "repository_dispatch" and payload.get("action") == DISPATCH:
            fields_sent = payload.get("client_payload")
        elif event_name == "workflow_dispatch":
            fields_sent = payload.get("inputs")
        else:
            return IgnoredEvent(cause="this event reports no leak")
        fields_sent = fields.mapping({} if fields_sent is None else fields_sent, "what was sent")
        refused = refusals.refuse_job(payload, job)
        return refused if refused is not None else _read_report(fields_sent, declared)
    except fields.MalformedFieldError as error:
        return MalformedEvent(cause=str(error))


def _read_report(fields_sent: Mapping[str, Any], declared: Collection[str]) -> LeakReport:
    name, seen, url, source = (text_in(fields_sent, each).strip() for each in ("secret", "seen", "url", "source"))
    return LeakReport(
        secret=name if name in declared else "",
        location=remove_keys(seen),
        url=strip_url(url),
        source=remove_keys(source),
    )


def remove_keys(text: str) -> str:
    """Return the text without words that look like a key.

    It is cut to MAX_CHARACTERS last: half of a key does not look like one.
    """
    kept = re.sub(r"\S+", lambda found: OMITTED if is_like_key(found[0].strip(_PUNCTUATION)) else found[0], text)
    return kept if len(kept) <= MAX_CHARACTERS else f"{kept[:MAX_CHARACTERS].rpartition(' ')[0]} …"


def strip_url(url: str) -> str:
    """Return host and path of an https URL, without query. In the path only plain words and short numbers stay.

    A key may contain slashes, so that no part of it looks like a key. A part with a capital letter is always removed.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return ""
    if parts.scheme != "https" or not re.fullmatch(r"[a-z0-9.-]{1,100}", host) or is_like_key(host, longest=60):
        return ""
    names = [each for each in parts.path.split("/")[:12] if each]
    shown = [each if re.fullmatch(r"[a-z][a-z._-]{0,22}|[0-9]{1,9}", each) else "…" for each in names]
    return "/".join([f"https://{host}", *shown])


def is_like_key(word: str, *, longest: int = 23) -> bool:
    """Return whether the word has a key's prefix, is long, or is less long with digits or mixed case.

    A word of a language, or a path of such words, does not match.
    """
    if word.startswith(_KEY_PREFIXES) or len(word) > longest:
        return True
    has_digit, mixed = re.search("[0-9]", word), re.search("[a-z]", word) and re.search("[A-Z]", word[1:])
    return len(word) >= 12 and bool(has_digit or mixed)

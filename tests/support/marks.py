"""Secrets with a recognizable mark, and the search for it in all output of a run."""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MARK = "k4n4ry"
"""Part of every marked secret. Encoders keep letters and digits, so it stays visible, or visible in base64."""


def secret(name: str, *, signs: str = "/+=") -> str:
    """Return a secret with characters that every encoder escapes, and the mark at its start, middle and end."""
    return f"{MARK}_{name}{signs}{MARK}{signs}0123456789-{MARK}"


def _in_base64() -> Iterator[str]:
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + MARK.encode() + bytes(2)).decode()
        yield encoded[-(-before * 8 // 6) : (before + len(MARK)) * 8 // 6]


FORMS = [MARK, MARK[::-1], *_in_base64(), MARK.encode().hex()]
FOUND = re.compile("|".join(FORMS), re.IGNORECASE)
FOLDED = [each.casefold() for each in FORMS]
"""Searched first: the pattern takes 30 times as long."""


def leaks(sources: Mapping[str, str]) -> list[str]:
    """Return where a mark appears, with its surroundings; also across line breaks."""
    texts = {name: text + "\0" + text.replace("\r", "").replace("\n", "") for name, text in sources.items()}
    return [
        f"{name}: {text[max(0, m.start() - 40) : m.end() + 40]!r}"
        for name, text in texts.items()
        for m in (FOUND.finditer(text) if _may_have_mark(text.casefold()) else ())
    ]


def _may_have_mark(folded: str) -> bool:
    return any(each in folded for each in FOLDED)


def on_disk(folder: Path, *, but: frozenset[str] = frozenset()) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in but]
    return {str(path.relative_to(folder)): f"{path.name} {path.read_bytes().decode('latin-1')}" for path in files}


def sent(requests: list[Any], name: str) -> dict[str, str]:
    """Return method, path, query, headers and body of all requests to a server of the sandbox."""
    shown = [
        json.dumps([r.method, r.path, dict(r.query), dict(r.headers), _plain(r.body)], ensure_ascii=False)
        for r in requests
    ]
    return {f"{name} request {number}": text for number, text in enumerate(shown, start=1)}


def _plain(body: Any) -> Any:
    return body.decode("latin-1") if isinstance(body, bytes) else body

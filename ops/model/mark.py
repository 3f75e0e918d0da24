"""Our mark: the start of a deployment's message, by which a later run knows what an earlier one did and why.

`ops1 incident=42|- run=ID blames=VERSION|-; text`. Anybody who may deploy can write one, so a mark is believed only
where the deployment before it bears it out (`history.py`).
"""

import re
from dataclasses import dataclass

LIMIT_BYTES = 1000
"""Cloudflare cuts `workers/message` here (developers.cloudflare.com/api: workers.scripts.deployments.create)."""

PATTERN = re.compile(
    r"ops1 incident=(?P<incident>[0-9]{1,18}|-) run=(?P<run>[A-Za-z0-9._-]+) blames=(?P<blames>[0-9a-f-]{36}|-)"
    r"(?:; (?P<text>.*))?\Z",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Mark:
    incident: int | None
    run: str
    blames: str | None
    text: str = ""

    def __str__(self) -> str:
        head = f"ops1 incident={self.incident or '-'} run={self.run} blames={self.blames or '-'}"
        text = " ".join(self.text.split())
        return f"{head}; {text}".encode()[:LIMIT_BYTES].decode(errors="ignore") if text else head


def parse(message: str) -> Mark | None:
    """None where the message is somebody else's."""
    found = PATTERN.match(message)
    if found is None:
        return None
    incident, blames = found["incident"], found["blames"]
    return Mark(
        incident=None if incident == "-" else int(incident),
        run=found["run"],
        blames=None if blames == "-" else blames,
        text=found["text"] or "",
    )

"""Our mark: the start of a deployment's message, by which a later run knows what an earlier one did and why.

`ops1 incident=42|- run=ID blames=VERSION|- rotated=A,B|revoked=A,B|reset=A,B; text`. Anybody who may deploy can write
one, so a mark is believed only where the deployment before it bears it out (`history.py`).
"""

import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

MAX_MESSAGE_BYTES = 1000
"""Cloudflare cuts `workers/message` here (developers.cloudflare.com/api: workers.scripts.deployments.create)."""

PATTERN = re.compile(
    r"ops1 incident=(?P<incident>[0-9]{1,18}|-) run=(?P<run>[A-Za-z0-9._-]+) blames=(?P<blames>[0-9a-f-]{36}|-)"
    r"(?: (?P<what>rotated|revoked|reset)=(?P<names>[^ ;]+))?(?:; (?P<text>.*))?\Z",
    re.DOTALL,
)


ANY_NAME = "*"
"""Stands for the names for which there was no room: it may be any."""


@dataclass(frozen=True, slots=True)
class DeploymentMark:
    incident: int | None
    run: str
    blames: str | None
    text: str = ""
    rotated: tuple[str, ...] = ()
    """Secrets that have a new value from this deployment on."""
    revoked: tuple[str, ...] = ()
    """Secrets whose values before the version that is deployed are revoked, and proved dead; not with `rotated`."""
    reset: tuple[str, ...] = ()
    """Classes of Durable Objects whose memory it emptied; alone."""

    @property
    def keeps_release(self) -> bool:
        """The deployment changes no release, and says nothing of one."""
        return bool(self.rotated or self.revoked or self.reset)

    def __str__(self) -> str:
        head = f"ops1 incident={self.incident or '-'} run={self.run} blames={self.blames or '-'}"
        if self.keeps_release:
            head += " revoked=" if self.revoked else " rotated=" if self.rotated else " reset="
            head += ",".join(_within(self.revoked or self.rotated or self.reset, MAX_MESSAGE_BYTES - len(head)))
        text = " ".join(self.text.split()) if len(head) < MAX_MESSAGE_BYTES - len("; ") else ""
        return f"{head}; {text}".encode()[:MAX_MESSAGE_BYTES].decode(errors="ignore") if text else head


def parse_mark(message: str) -> DeploymentMark | None:
    """None where the message is somebody else's."""
    found = PATTERN.match(message)
    if found is None:
        return None
    incident, blames = found["incident"], found["blames"]
    names = tuple(urllib.parse.unquote(name) for name in (found["names"] or "").split(",") if name)
    return DeploymentMark(
        incident=None if incident == "-" else int(incident),
        run=found["run"],
        blames=None if blames == "-" else blames,
        text=found["text"] or "",
        rotated=names if found["what"] == "rotated" else (),
        revoked=names if found["what"] == "revoked" else (),
        reset=names if found["what"] == "reset" else (),
    )


def _within(names: tuple[str, ...], size: int) -> Iterator[str]:
    """Whole names, escaped: one that is cut is another secret's."""
    left = size - len(f",{ANY_NAME}")
    for name in names:
        escaped = name if name == ANY_NAME else urllib.parse.quote(name, safe="")
        left -= len(f",{escaped}")
        if left < 0:
            yield ANY_NAME
            return
        yield escaped

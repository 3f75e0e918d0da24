"""A commit of a site's repository, as a value."""

import re
from dataclasses import dataclass

WHOLE = r"[0-9a-f]{40}"


@dataclass(frozen=True)
class Commit:
    """`subject` is "" where the repository is not at hand."""

    sha: str
    subject: str = ""

    @property
    def short(self) -> str:
        return self.sha[:12]


def is_sha(text: str) -> bool:
    """The whole one, or seven digits of it or more."""
    return re.fullmatch(r"[0-9a-f]{7,40}", text) is not None


def is_whole(text: str) -> bool:
    return re.fullmatch(WHOLE, text) is not None

"""A commit of Git, and the form of its SHA."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class GitCommit:
    """A commit; `subject` is empty if the repository is not on this machine."""

    sha: str
    subject: str = ""

    @property
    def short(self) -> str:
        """Return the first twelve digits of the SHA."""
        return self.sha[:12]


def is_sha(text: str) -> bool:
    """Return whether the text is a full SHA or at least its first seven digits."""
    return re.fullmatch(r"[0-9a-f]{7,40}", text) is not None


def is_full_sha(text: str) -> bool:
    """Return whether the text is a full SHA of 40 digits."""
    return re.fullmatch("[0-9a-f]{40}", text) is not None

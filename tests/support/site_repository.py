"""A git repository of a site for tests, with a build that needs only a shell."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import World

BUILD = """set -e
rm -rf dist
mkdir -p dist
cp page.html dist/index.html
"""


@dataclass
class SiteRepository:
    folder: Path

    def git(self, *arguments: str, stdin: str | None = None) -> str:
        who = {
            "GIT_AUTHOR_NAME": "a",
            "GIT_COMMITTER_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@a",
            "GIT_COMMITTER_EMAIL": "a@a",
        }
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "GIT_CONFIG_NOSYSTEM": "1", **who}
        argv = ["git", "-c", "maintenance.auto=false", "-C", str(self.folder), *arguments]
        done = subprocess.run(argv, env=environ, check=True, capture_output=True, text=True, input=stdin)
        return done.stdout.strip()

    def commit(self, *message: str, **files: str) -> str:
        """Commit files; `message` is its paragraphs. In a name, `_` stands for a dot, and `__` for a slash."""
        for name, text in files.items():
            path = self.folder / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "-q", "--allow-empty", *(word for text in message for word in ("-m", text)))
        return self._head()

    def blob(self, content: bytes) -> str:
        """Store a content as it is, and return its SHA."""
        return self._store("blob", content)

    def tree(self, entries: Sequence[tuple[str, str, str]]) -> str:
        """Store a folder with modes, names and SHAs, also one that git would not make, and return its SHA."""
        return self._store(
            "tree", b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(sha) for mode, name, sha in entries)
        )

    def _store(self, kind: str, content: bytes) -> str:
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "GIT_CONFIG_NOSYSTEM": "1"}
        argv = ["git", "-C", str(self.folder), "hash-object", "-w", "--literally", "-t", kind, "--stdin"]
        return subprocess.run(argv, env=environ, input=content, check=True, capture_output=True).stdout.decode().strip()

    def add(self, blobs: Mapping[str, str]) -> None:
        """Add plain files to the index: path → SHA of its content."""
        for path, sha in blobs.items():
            self.git("update-index", "--add", "--cacheinfo", f"100644,{sha},{path}")

    def _head(self) -> str:
        """Return the commit that is checked out. A commit leaves it in a file of its own, and git takes 2 ms to say it."""
        head = (self.folder / ".git" / "HEAD").read_text().strip()
        kind, _, branch = head.rpartition(" ")
        return (self.folder / ".git" / branch).read_text().strip() if kind else head

    def state(self) -> str:
        """Return the state that a run must not change."""
        seen = [self.git(*command) for command in (["status", "--porcelain"], ["worktree", "list"], ["stash", "list"])]
        return "\n".join([*seen, self.git("rev-parse", "HEAD"), self.git("for-each-ref")])


def repository(world: World) -> SiteRepository:
    """Make a repository on main next to ops.yml, and set `build` in ops.yml to its build."""
    folder = world.folder / "app"
    folder.mkdir()
    found = SiteRepository(folder)
    found.git("init", "-q", "-b", "main")
    world.edit_config("examples/fortunet/frontend # in", ". # in")
    world.edit_config("[node, build.js] # several", "[sh, build.sh] # several")
    return found

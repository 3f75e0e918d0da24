"""The real wrangler: no terminal, a home of its own, and CI set, as in a job of GitHub Actions."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ops.tools import node
from sandbox import Sandbox
from tests.conftest import ROOT


def run_wrangler(sandbox: Sandbox, folder: Path, *arguments: str, home: Path, stdin: str = "", code: int = 0) -> str:
    """The real one, as a job of GitHub Actions runs it: no terminal, and CI set. What it prints on both streams."""
    environ = sandbox.environ() | node.QUIET_WRANGLER | {"HOME": str(home)}
    environ["NODE_COMPILE_CACHE"] = f"{node.install_packages()}-compiled"  # a quarter of what its start takes
    ended = subprocess.run(
        [*node.wrangler_command(), *arguments],
        cwd=folder,
        env=environ,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == code, ended.stdout
    return ended.stdout


@dataclass(frozen=True)
class Wrangler:
    """In a copy of the reference Worker's folder, and with a home of its own."""

    sandbox: Sandbox
    folder: Path

    def __post_init__(self) -> None:
        shutil.copytree(ROOT / "examples" / "fortunet" / "backend", self.folder / "backend")

    def __call__(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        """What it prints on both streams."""
        folder = self.folder / "backend"
        return run_wrangler(self.sandbox, folder, *arguments, home=self.folder, stdin=stdin, code=code)

    @property
    def writes(self) -> list[str]:
        """The requests that were no reads, without what they have in common."""
        common = f"/client/v4/accounts/{self.sandbox.account_id}/workers/"
        return [f"{r.method} {r.path.removeprefix(common)}" for r in self.sandbox.requests if r.method != "GET"]

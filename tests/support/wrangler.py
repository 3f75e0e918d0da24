"""The real wrangler as in a job of GitHub Actions: no terminal, its own home, CI set."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ops.tools import node
from sandbox import Sandbox
from tests.conftest import ROOT

YOUNG = "--min-semi-space-size=32"
"""In MB, for new objects: fewer collections while wrangler starts, which takes 0.67 s of CPU instead of 0.8."""


def run_wrangler(sandbox: Sandbox, folder: Path, *arguments: str, home: Path, stdin: str = "", code: int = 0) -> str:
    """Run wrangler and return its output on both streams. Checks the exit code."""
    environ = sandbox.environ() | node.wrangler_environment(str(home))
    program, script = node.wrangler_command()
    ended = subprocess.run(
        [program, YOUNG, script, *arguments],
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
    """Wrangler in a copy of the reference Worker's folder, with its own home."""

    sandbox: Sandbox
    folder: Path

    def __post_init__(self) -> None:
        shutil.copytree(ROOT / "examples" / "fortunet" / "backend", self.folder / "backend")

    def __call__(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        """Run wrangler and return its output on both streams."""
        folder = self.folder / "backend"
        return run_wrangler(self.sandbox, folder, *arguments, home=self.folder, stdin=stdin, code=code)

    @property
    def writes(self) -> list[str]:
        """Requests except GET, without their common prefix."""
        common = f"/client/v4/accounts/{self.sandbox.account_id}/workers/"
        return [f"{r.method} {r.path.removeprefix(common)}" for r in self.sandbox.requests if r.method != "GET"]

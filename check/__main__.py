"""Check the tree without running it: style, types, workflow files, imports, documents.

    ./run check

Runs every check, also after a failed one, and exits with the code of the first that failed.
"""

import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHECKS = (
    "ruff check .",
    "ruff format --check .",
    "mypy",
    "ops workflows sync --check",
    "pytest -q -n2 tests/static",
)


def main() -> int:
    running = [(check, start(check)) for check in CHECKS]
    failed = [(check, code) for check, process in running if (code := finish(check, process))]
    for check, _ in failed:
        print(f"check: failed. Repeat it: ./run {check}", file=sys.stderr)
    return failed[0][1] if failed else 0


def start(check: str) -> "subprocess.Popen[str]":
    """Start a check beside the others: types take one processor, and the tests the other."""
    argv = [sys.executable, "-m", *shlex.split(check)]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(check: str, process: "subprocess.Popen[str]") -> int:
    """Wait for the check, print its output in one piece, and return its exit code."""
    output, _ = process.communicate()
    print(f"check: {check}\n{output}", end="", flush=True)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())

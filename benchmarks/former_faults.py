"""Bring four former faults back, one at a time, and require that random schedules of two actors find each.

    ./run benchmarks.former_faults [--only NAME] [--seed TEXT]

Each is a small patch of the program. The schedules of its scene run in a copy of HEAD until the first failure. Exits
with 1 if a fault is not found, or if a patch no longer fits: then write it for the code of today.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.mutants import Patch
from benchmarks.mutation import copy_of, git

COUNT = 500
"""Schedules that must find a fault, as many as the weekly tests try."""
LONGEST = 1800.0
"""Seconds after which a fault is not found."""


@dataclass(frozen=True)
class FormerFault(Patch):
    """A fault that the program had."""

    scene: str
    """Its schedules can meet the fault."""


FAULTS = (
    FormerFault(
        "relative-target",  # a second press of `--to -10m` restores once more
        "ops/database/earlier_restores.py",
        "    if newest.is_after(restore) or is_repeat:\n",
        "    if newest.is_after(restore) and not is_relative_time(ctx.params.to) and not is_repeat:\n",
        "shop restores",
    ),
    FormerFault(
        "rehearsal-by-accident",  # the next press rolls the good version back
        "ops/cloudflare/types/workers.py",
        "    return _sort_displacements(deployments)[0]\n",
        "    return list_traffic_changes(deployments)\n",
        "rehearsals",
    ),
    FormerFault(
        "already-off",  # `maintenance --state on` during a restore holds nothing
        "ops/maintenance/plan_by_routes.py",
        "    if existing.reopened_by:\n        taken =",
        "    if existing.reopened_by:\n        return existing\n        taken =",
        "restores",
    ),
    FormerFault(
        "killed-restore",  # the same command never reopens what a killed restore closed
        "ops/maintenance/ownership.py",
        "        if not run or window.owners or is_maintenance_run_over",
        "        if run or window.owners or is_maintenance_run_over",
        "restores",
    ),
)


@click.command(help=__doc__)
@click.option("--only", type=click.Choice([each.name for each in FAULTS]))
@click.option("--seed", default="backout", show_default=True)
def main(only: str | None, seed: str) -> None:
    """Print each fault with the first schedule that found it."""
    missed = 0
    commit = git("rev-parse", "HEAD").strip()
    for fault in FAULTS:
        if only not in {None, fault.name}:
            continue
        began = time.monotonic()
        with copy_of(commit) as copy:
            fault.apply(copy)
            found = _find(copy, fault.scene, seed)
        missed += not found
        took = time.monotonic() - began
        print(f"{'found' if found else 'survived':9} {took:5.0f} s  {fault.name}  {found}", flush=True)
    sys.exit(1 if missed else 0)


def _find(copy: Path, scene: str, seed: str) -> str:
    """Return the first schedule of the scene that fails in the copy; empty if none does."""
    options = ("--first", "--scene", scene, "--seed", seed, "--count", str(COUNT))
    command = [sys.executable, "-m", "benchmarks.schedules", *options]
    environ = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=copy, env=environ, capture_output=True, text=True, timeout=LONGEST, check=False
        )
    except subprocess.TimeoutExpired:
        return ""
    failed = (line.removeprefix("FAILED ") for line in done.stdout.splitlines() if line.startswith("FAILED "))
    return next(failed, "").partition(": AssertionError")[0]


if __name__ == "__main__":
    main()

"""Bring four former faults back, one at a time, and require that the tests of two actors find each.

    ./run benchmarks.former_faults [--only NAME]

Each is a small patch of the program. Forced meetings and kills run against it in a copy of HEAD, until the
first failure. Exits with 1 if a fault is not found, or if a patch no longer fits: then write it for the code of today.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.mutation import copy_of, git, run_tests

TESTS = (
    "tests/runbooks/test_rollback_worker_rehearsal_accident.py",
    "tests/merge/test_kills_and_presses.py",
    "tests/merge/test_interleavings.py",
)
LONGEST = 1800.0
"""Seconds after which a fault is not found."""


@dataclass(frozen=True)
class FormerFault:
    """A fault that the program had, as a replacement of text in one file."""

    name: str
    file: str
    before: str
    after: str

    def apply(self, root: Path) -> None:
        """Change the file. Raises ClickException unless the text occurs once."""
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.before) != 1:
            raise click.ClickException(
                f"the patch {self.name} does not fit {self.file}. Write it for the code of today."
            )
        path.write_text(text.replace(self.before, self.after), encoding="utf-8")


FAULTS = (
    FormerFault(
        "relative-target",  # a second press of `--to -10m` restores once more
        "ops/database/earlier_restores.py",
        "    if newest.is_after(restore) or is_repeat:\n",
        "    if newest.is_after(restore) and not is_relative_time(ctx.params.to) and not is_repeat:\n",
    ),
    FormerFault(
        "rehearsal-by-accident",  # the next press rolls the good version back
        "ops/cloudflare/types/workers.py",
        "    return _sort(deployments)[0]\n",
        "    return list_traffic_changes(deployments)\n",
    ),
    FormerFault(
        "already-off",  # `maintenance --state on` during a restore holds nothing
        "ops/maintenance/plan_by_routes.py",
        "    if existing.reopened_by:\n        taken =",
        "    if existing.reopened_by:\n        return existing\n        taken =",
    ),
    FormerFault(
        "killed-restore",  # the same command never reopens what a killed restore closed
        "ops/maintenance/reopening_duty.py",
        "        if not run or window.owners or is_over",
        "        if run or window.owners or is_over",
    ),
)


@click.command(help=__doc__)
@click.option("--only", type=click.Choice([each.name for each in FAULTS]))
def main(only: str | None) -> None:
    """Print each fault with the first test that found it."""
    missed = 0
    commit = git("rev-parse", "HEAD").strip()
    for fault in FAULTS:
        if only not in {None, fault.name}:
            continue
        began = time.monotonic()
        with copy_of(commit) as copy:
            fault.apply(copy)
            found = run_tests(copy, ["-m", "slow or not slow", *TESTS], LONGEST)
        is_found = found is not None and "::" in found
        missed += not is_found
        print(
            f"{'found' if is_found else 'survived':9} {time.monotonic() - began:5.0f} s  {fault.name}  {found}",
            flush=True,
        )
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()

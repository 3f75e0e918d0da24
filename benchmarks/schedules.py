"""Let two actors meet in random schedules, kill them, press both again, and check each result.

    ./run benchmarks.schedules [--seed TEXT] [--count N] [--only NUMBER] [--scene NAME] [--first]

A schedule is drawn by the seed and its number: scene, two runs, where they meet, which of them dies at which write, and
the order of the further presses. One whose runs never meet does not count. Everything runs in this process, in the
sandbox.

Exits with 1 if a schedule fails, or if in less than half of them both runs wrote the same resource.
"""

import sys
import time
from itertools import count as numbers

import click

from tests.support.scenes import SETTINGS
from tests.support.schedules import Tally, check, numbered

QUICK = [name for name, setting in SETTINGS.items() if setting.is_quick]


@click.command(help=__doc__)
@click.option("--seed", default="backout", show_default=True)
@click.option("--count", default=500, show_default=True, help="Schedules whose runs meet.")
@click.option("--only", type=int, help="Run the schedule with this number.")
@click.option("--scene", type=click.Choice(QUICK), help="Try the schedules of this scene.")
@click.option("--first", is_flag=True, help="Stop at the first schedule that fails.")
def main(seed: str, count: int, only: int | None, scene: str | None, *, first: bool) -> None:
    """Print each schedule that fails, and the share of those in which both runs wrote the same resource."""
    tally, failed, began = Tally(), list[int](), time.monotonic()
    for number in numbers() if only is None else [only]:
        if tally.met + len(failed) >= count or (first and failed):
            break
        schedule = numbered(seed, number, scene or "")
        try:
            tally.add(check(schedule))
        except Exception as error:  # noqa: BLE001  counted, and the next one is tried
            failed.append(number)
            print(f"FAILED {schedule}: {type(error).__name__} {error}", flush=True)
            of = f" --scene '{scene}'" if scene else ""
            print(f"weekly: repeat it with ./run benchmarks.schedules --seed {seed} --only {number}{of}", flush=True)
    print(f"{tally}; {len(failed)} failed; seed {seed}; {time.monotonic() - began:.0f} s")
    is_shared = only is not None or 2 * tally.shared >= tally.met
    if not is_shared:
        print("Error: in less than half of the schedules both runs wrote the same resource")
    sys.exit(0 if is_shared and not failed else 1)


if __name__ == "__main__":
    main()

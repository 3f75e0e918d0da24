"""Let each pair of commands meet at every call, kill one at every write, and record it for the page about two commands.

    ./run benchmarks.meetings [--only SCENE]

Writes `tests/meetings.json`. Then `./run pytest tests/static/test_docs.py --update-golden` writes the page. A pair that
starts other programs meets at a few calls only.
"""

import json
from pathlib import Path

import click

from tests.merge.test_interleavings import MOST, check_meeting
from tests.support.interleavings import interleave
from tests.support.scenes import PAIRS, SETTINGS, scene
from tests.support.schedules import count_kills

PATH = Path(__file__).parent.parent / "tests" / "meetings.json"


@click.command(help=__doc__)
@click.option("--only", type=click.Choice(list(SETTINGS)), help="Try the pairs of this scene.")
def main(only: str | None) -> None:
    """Print each pair with its meetings and kills, and write all."""
    recorded = json.loads(PATH.read_text(encoding="utf-8"))
    for name, first, second in PAIRS:
        if only not in {None, name}:
            continue
        recorded[f"{name}: {first}, {second}"] = counts = _count(name, first, second) | count_kills(name, first, second)
        print(f"{name}: {second} runs during {first}: {counts}", flush=True)
    ordered = {key: recorded[key] for key in (f"{name}: {first}, {second}" for name, first, second in PAIRS)}
    PATH.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")


def _count(name: str, first: str, second: str) -> dict[str, int]:
    """Return the number of meetings, and of those in which both, one or no run succeeds."""
    counts = {"meetings": 0, "both": 0, "one": 0, "none": 0}
    for nth in range(1, MOST, 1 if SETTINGS[name].is_quick else SETTINGS[name].every):
        with scene(name, first) as met:
            meeting = interleave(met.world, met.commands[first], met.commands[second], nth, at_end=met.check_actor)
            if meeting is None:
                return counts
            check_meeting(met, first, second, meeting)
            succeed = [meeting.first.exit_code, meeting.second.exit_code].count(0)
            counts["meetings"] += 1
            counts[("none", "one", "both")[succeed]] += 1
    raise AssertionError(f"{first} sends more than {MOST} requests")


if __name__ == "__main__":
    main()

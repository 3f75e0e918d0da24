"""Count how often a rollback is called recovered while machines of the edge still serve the bad version.

    ./run benchmarks.edges [--runs N] [--write] [WORD …]

WORD: only the worlds whose names have it. Each run breaks a Worker on an edge of its own, and recovers it with the
public command. The sandbox knows which version each machine serves at the end. The exit code is 1 if a share is not
within the interval of the recorded one.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click

from benchmarks.verdicts import interval
from tests.support.edge_worlds import PLACE, EdgeWorld, Proof, prove
from tests.support.in_process import answered_in_process

PATH = Path(__file__).parent.parent / "tests" / "edges.json"
SHARES = ("asked", "place", "elsewhere")
LATER = (30.0, 60.0)
"""Seconds of the machines of another place."""


@dataclass(frozen=True)
class NamedEdge:
    name: str
    lags: tuple[float, ...]
    """Of the machines of the place that the runner reaches."""
    more: Mapping[str, float]

    def draw(self, number: int) -> EdgeWorld:
        more = {"named": 2, **self.more}
        return EdgeWorld({PLACE: self.lags, "SYD": LATER}, number, **more)  # type: ignore[arg-type]


def list_edges() -> Iterator[NamedEdge]:
    most = (*[0.0] * 17, *[40.0] * 3)
    yield NamedEdge("all machines change after 1 s", (1.0,), {})
    yield NamedEdge("4 machines change within 1 s", (0.25, 0.5, 0.75, 1.0), {})
    yield NamedEdge("12 machines change within 30 s", tuple(2.5 * (number + 1) for number in range(12)), {})
    yield NamedEdge("half of the machines need 10 s", (0.0, 10.0), {})
    yield NamedEdge("15 % of the machines need 40 s", most, {})
    yield NamedEdge("15 % need 40 s; 1 healthy round is enough", most, {"successes": 1})
    yield NamedEdge("15 % need 40 s; 10 healthy rounds are wanted", most, {"successes": 10})
    unseen = {"named": 0, "unnamed": 2, "share": 0.5}
    yield NamedEdge("15 % need 40 s; half of the bad answers fail, and no probe sees a version", most, unseen)
    seen = {"named": 1, "unnamed": 1, "share": 0.5}
    yield NamedEdge(
        "15 % need 40 s; half of the bad answers fail, and one of the two probes sees a version", most, seen
    )
    nameless = {"share": 0.5, "bad_names_itself": False}
    yield NamedEdge("15 % need 40 s; half of the bad answers fail, and only they name no version", most, nameless)


def count(edge: NamedEdge, runs: int) -> dict[str, float]:
    """Return the shares of the claimed recoveries, in %, and the median of their seconds."""
    proofs = [proof for proof in (prove(edge.draw(number)) for number in range(runs)) if proof.is_claimed]

    def share(wrong: list[Proof]) -> float:
        return round(100 * len(wrong) / len(proofs), 1)

    return {
        "asked": share([each for each in proofs if each.is_false]),
        "place": share([each for each in proofs if each.former[PLACE]]),
        "elsewhere": share([each for each in proofs if each.former["SYD"]]),
        "seconds": median(each.seconds for each in proofs),
    }


def find_changes(name: str, counted: Mapping[str, float], recorded: Mapping[str, float]) -> Iterator[str]:
    """Yield a text for each share that is now outside of the 99.9 % interval of the recorded one."""
    runs = int(recorded["runs"])
    for share in SHARES:
        low, high = interval(round(recorded[share] / 100 * runs), runs)
        if not low <= counted[share] / 100 <= high:
            yield f"Error: {name}: {share} {counted[share]:g} %, recorded {recorded[share]:g} %"


@click.command(help=__doc__)
@click.argument("words", nargs=-1)
@click.option("--runs", default=300, show_default=True, help="Recoveries on each edge.")
@click.option("--write", is_flag=True, help="Write tests/edges.json, from which the page has its table.")
def main(words: tuple[str, ...], runs: int, *, write: bool) -> None:
    """Print a line for each edge: false in a machine that was asked, in another one of the place, and elsewhere."""
    recorded = {} if write else json.loads(PATH.read_text(encoding="utf-8"))
    written, changes = {}, list[str]()
    with answered_in_process():
        for edge in list_edges():
            if all(word in edge.name for word in words):
                written[edge.name] = {"runs": runs, **count(edge, runs)}
                click.echo(f"{edge.name}: {written[edge.name]}")
                if recorded:
                    changes += find_changes(edge.name, written[edge.name], recorded[edge.name])
    if write:
        PATH.write_text(json.dumps(written, indent=0) + "\n", encoding="utf-8")
    for change in changes:
        click.echo(change)
    sys.exit(1 if changes else 0)


if __name__ == "__main__":
    main()

"""Find the requests after which a kill of a run leaves another state than after the request before."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.conftest import World
from tests.support.commands import Command
from tests.support.interleavings import fresh_world, is_sent_write
from tests.support.properties import is_hunt

ANY_REQUEST = {"path": "/client/v4/**"}


def kill_points(folder: Path, prepare: Callable[[World], Command]) -> list[int]:
    """Run the command once, and return such requests to Cloudflare, each as the number of requests before it.

    A kill leaves what the run wrote to Cloudflare, and the events in its file. A read changes neither, so kills after
    the reads of one row are the same. The longest row has its last read here too, which keeps comparing them.
    With --hypothesis-profile=hunt each request is one.
    """
    states = list[tuple[int, int]]()
    with fresh_world(folder) as world:
        command = prepare(world)
        begin = len(world.sandbox.requests)

        def note_state() -> None:
            files = (folder / ".ops" / "runs").glob("*/timeline.jsonl")
            written = sum(is_sent_write(each) for each in world.sandbox.requests[begin:])
            states.append((written, sum(each.read_bytes().count(b"\n") for each in files)))

        world.sandbox.fault(**ANY_REQUEST, times=None, after=note_state)
        assert command.run().code == 0
    if is_hunt():
        return list(range(len(states)))
    (longest, _), *_ = Counter(states).most_common(1)
    last = len(states) - 1 - states[::-1].index(longest)
    return sorted({states.index(state) for state in states} | {last})

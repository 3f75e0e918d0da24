"""Two runs of a runbook at once: however they meet, one more run reaches the goal, and no result is wrong.

`./run pytest -n0 -s -m "slow or not slow" tests/test_interleavings.py` prints the number of interleavings of each.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops.sandbox import Sandbox
from tests.conftest import ACCOUNT, ROOT, WORKER, World
from tests.interleavings import Asked, assert_consistent, meet
from tests.offline import ALSO, HOST, OFFICE, prepared

MOST = 200
"""Requests of one run, by far."""


@dataclass(frozen=True)
class Scene:
    """What two runs meet in: the commands by name, and the one that leads out of whatever came of them."""

    world: World
    commands: dict[str, Asked]
    heal: str = ""


Build = Callable[[World, str], Iterator[Scene]]
"""Makes a scene for a run of the named command."""


def maintenance(world: World, first: str) -> Iterator[Scene]:
    with prepared(world) as place:
        before = place.ways
        off = {"enabled": False, "previews_enabled": False}

        def is_open() -> bool:
            return bool(place.ways == before) and place.serves(f"{HOST}/") == "home"

        def is_off() -> bool:
            routes = place.routes == {f"{HOST}/*": OFFICE, f"{ALSO}/*": OFFICE}
            return routes and world.sandbox.subdomain(WORKER) == off and place.serves(f"{HOST}/") == "off"

        token = {"CLOUDFLARE_API_TOKEN": "security"}
        asked = {"service": "api", "state": "on"}
        on = Asked("maintenance", asked, is_off, environ=token)
        opens = Asked("maintenance", asked | {"state": "off"}, is_open, environ=token)
        if first == "off":
            assert on.run(world).exit_code == 0
            world.sandbox.requests.clear()
        yield Scene(world, {"on": on, "off": opens}, heal="off")


SCENES: dict[str, Build] = {"maintenance": maintenance}
PAIRS = [("maintenance", *pair) for pair in (("off", "on"), ("on", "off"), ("off", "off"), ("on", "on"))]


@contextmanager
def scene(name: str, first: str, folder: Path) -> Iterator[Scene]:
    config = (ROOT / "ops.yml").read_text().replace("deadline: 2m", "deadline: 10s")
    (folder / "ops.yml").write_text(config.replace("successes: 3", "successes: 1"))
    with Sandbox(account_id=ACCOUNT, virtual_clock=True) as sandbox:
        yield from SCENES[name](World(sandbox, folder), first)


def count(name: str, first: str, second: str, folder: Path, *, only_writes: bool = False) -> int:
    """The number of interleavings, each of them looked at."""
    for nth in range(1, MOST):
        with scene(name, first, folder) as met:
            one, other = met.commands[first], met.commands[second]
            meeting = meet(met.world, one, other, nth, only_writes=only_writes)
            if meeting is None:
                return nth - 1
            assert_consistent(met.world, one, other, met.commands[met.heal or second], meeting)
    raise AssertionError(f"{name} {first} sends more than {MOST} requests")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "first", "second"), [pytest.param(*pair, id=" ".join(pair)) for pair in PAIRS])
def test_two_runs_at_once(
    tmp_path: Path, record_property: Callable[[str, object], None], name: str, first: str, second: str
) -> None:
    found = count(name, first, second, tmp_path)

    print(f"{name}: {first} stops, {second} runs: {found} interleavings")
    record_property("interleavings", found)
    assert found > 1


def test_maintenance_on_runs_before_a_write_of_maintenance_off(tmp_path: Path) -> None:
    assert count("maintenance", "off", "on", tmp_path, only_writes=True) == 5

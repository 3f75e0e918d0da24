"""Two concurrent runs: every interleaving gives true results and can be finished.

`./run pytest -n0 -s -m "slow or not slow" tests/merge/test_interleavings.py` prints the number of interleavings of each.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import cache, partial
from typing import Any

import pytest

from ops.app import registry
from ops.app.registry import scheduled_files
from ops.engine.runbook import Runbook
from tests.conftest import ROOT, World
from tests.support.claims import TOKEN, case_world
from tests.support.interleavings import (
    NO_PROOF,
    VISIBLE_AFTER,
    Interleaving,
    RequestedGuard,
    RequestedRun,
    interleave,
    must_last,
    tell,
)
from tests.support.properties import is_hunt
from tests.support.scenarios import SECRETS, Case, Given, all_cases
from tests.support.scenes import PAIRS, SETTINGS, Begin, Scene, scene

MOST = 200
"""Upper limit of the requests of one run."""


def check_interleavings(begin: Begin, first: str, second: str, *, only_writes: bool = False, every: int = 1) -> int:
    """Check each interleaving, or every nth of them, and return how many there are at least."""
    for nth in range(1, MOST, every):
        with begin() as met:
            one, other = met.commands[first], met.commands[second]
            meeting = interleave(met.world, one, other, nth, only_writes=only_writes, at_end=met.check_actor)
            if meeting is None:
                return max(0, nth - every)
            check_meeting(met, first, second, meeting)
    raise AssertionError(f"{first} sends more than {MOST} requests")


def check_meeting(met: Scene, first: str, second: str, meeting: Interleaving) -> None:
    """Check that each result is true, and that a further run reaches the later goal."""
    one, other, heal = (met.commands[name] for name in (first, second, met.heal or second))
    met.check(one, meeting.first, meeting.first_wrote, meeting.story, is_overtaken=meeting.was_proved)
    met.check_way_open(meeting.first, meeting.second)
    assert not must_last(meeting, other) or other.reached(), f"a change is lost, and nobody says so; {meeting.story}"
    if not other.reached():
        met.world.sandbox.clock.advance(VISIBLE_AFTER)
        healed = heal.run(met.world)
        story = f"{meeting.story}; then {tell(healed, [])}"
        assert heal.reached() or healed.reason in heal.stops_for, story
        assert healed.exit_code in {0, NO_PROOF} or healed.reason in heal.stops_for, story


@pytest.mark.hypothesis
@pytest.mark.parametrize(("name", "first", "second"), [pytest.param(*pair, id=" ".join(pair)) for pair in PAIRS])
def test_two_concurrent_runs_give_true_results(name: str, first: str, second: str) -> None:
    """With --hypothesis-profile=hunt the slower pairs meet at each call too."""
    every = 1 if is_hunt() else SETTINGS[name].every

    found = check_interleavings(partial(scene, name, first), first, second, every=every)

    print(f"{name}: {first} stops, {second} runs: {found} interleavings, each {every}")
    recorded = json.loads((ROOT / "tests" / "meetings.json").read_text())[f"{name}: {first}, {second}"]["meetings"]
    assert found >= 1
    assert every > 1 or abs(found - recorded) <= 3, "the page about two commands is old: ./run benchmarks.meetings"


@cache
def runbooks_in_scenes() -> tuple[type[Runbook[Any]], ...]:
    """Return the runbooks that plan several changes in a scene."""
    found = set[str]()
    for name, setting in SETTINGS.items():
        for first in {first for first, _ in setting.pairs}:
            with scene(name, first) as met:
                runs = [each for each in met.commands.values() if not isinstance(each, RequestedGuard)]
                for asked in runs:
                    if asked.name not in found and count_changes(asked, met.world) > 1:
                        found.add(asked.name)
    return tuple(type(registry.load_runbook(name)) for name in found)


def count_changes(asked: RequestedRun, world: World) -> int:
    """Return the number of changes in its plan; 0 if it is refused."""
    plan = asked.run(world, dry_run=True).full_plan
    return len((*plan.changes, *plan.final_changes)) if plan else 0


@contextmanager
def single_case_scene(case: Case) -> Iterator[Scene]:
    with case_world(case) as world:
        yield Scene(world, {"": command_of_case(case, world)})


@pytest.mark.parametrize("case", list(all_cases()), ids=str)
def test_run_with_several_changes_interleaves_with_itself(case: Case) -> None:
    """A subclass of a runbook in a scene is covered by that scene."""
    with single_case_scene(case) as met:
        count = count_changes(met.commands[""], met.world)
    assert count or case.runbook.name in scheduled_files(), case
    if count > 1 and not isinstance(case.runbook, runbooks_in_scenes()):
        found = check_interleavings(partial(single_case_scene, case), "", "")
        print(f"{case} stops, the same runs: {found} interleavings")
        assert found > 1


def command_of_case(case: Case, world: World) -> RequestedRun:
    """Return the run of a case; it builds from the repository next to ops.yml."""
    environ = {**SECRETS, "CLOUDFLARE_API_TOKEN": TOKEN, "OPS_SOURCE": str(world.folder / "app")}
    environ |= case.scenario.environ(world)
    environ |= world.sandbox.github.environ() if case.runbook.permissions.github else {}
    given = {each.name: getattr(case.params, each.name) for each in fields(case.params)}
    path = {"PATH": os.environ["PATH"]}
    reached = partial(case.scenario.reached, world)
    runbook = case.runbook  # a person made the other states
    has_incident = runbook.incident_use.is_required or runbook.schedule or runbook.job.due
    incident = Given().incident if has_incident else None
    return RequestedRun(case.runbook.name, given, reached, incident, environ={**environ, **path})


def test_maintenance_on_runs_before_each_write_of_off() -> None:
    assert check_interleavings(partial(scene, "maintenance", "off"), "off", "on", only_writes=True) == 5

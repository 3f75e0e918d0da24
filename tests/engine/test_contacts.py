"""Contacts: shown when a run needs people."""

from typing import Any

import pytest

from tests.conftest import Releases, World
from tests.engine.test_refusals import BASE, run_with_text_output
from tests.support.commands import LIST, WRITE


@pytest.mark.slow
def test_failed_run_lists_contacts_and_their_hours(world: World, releases: Releases) -> None:
    world.edit_config('role: Primary On-call\n    contact: "[TBD]"', 'role: Primary On-call\n    contact: "+49 1"')
    world.sandbox.fault(**WRITE, status=500, times=None)

    outcome = run_with_text_output(world, *BASE)

    assert outcome.code == 4
    assert "Call\n" in outcome.out
    assert "Primary On-call: +49 1 (24/7)" in outcome.out
    assert "Cloudflare Support: support.cloudflare.com (24/7)" in outcome.out
    assert "AI Provider Support: [Provider docs] (Business hours)" in outcome.out


def unknown_outcome(world: World) -> None:
    world.sandbox.fault(**WRITE, lost="before")
    world.sandbox.fault(**LIST, status=503, skip=2, times=None)


def still_unhealthy(world: World) -> None:
    world.edit_config("path: /health\n              status: 200", "path: /health\n              status: 201")
    world.edit_config("deadline: 10s", "deadline: 3s")


def no_evidence(world: World) -> None:
    world.sandbox.switches.edge_challenges_runners = True


@pytest.mark.sampled
@pytest.mark.parametrize(("broken", "code"), [(unknown_outcome, 5), (still_unhealthy, 6), (no_evidence, 8)])
def test_contacts_are_shown_when_a_person_is_needed(world: World, releases: Releases, broken: Any, code: int) -> None:
    broken(world)

    outcome = run_with_text_output(world, *BASE)

    assert outcome.code == code, outcome.out
    assert "Primary On-call: [TBD] (24/7)" in outcome.out


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), ("--dry-run",)], ids=["recovered", "planned"])
def test_contacts_are_omitted_after_success(world: World, releases: Releases, arguments: tuple[str, ...]) -> None:
    outcome = run_with_text_output(world, *BASE, *arguments)

    assert outcome.code == 0
    assert "Call\n" not in outcome.out

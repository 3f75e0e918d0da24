"""Choice of the target of `ops rollback-pages`, including each row of the tables in docs."""

import random
import re
import shlex
from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import SITE, World
from tests.support.named_histories import HistoryCase, named_histories
from tests.test_dry_run import site_history

UNITS = {"m": "minutes", "h": "hours", "d": "days"}
STATUS = {"!": "failure", "~": "skipped", "…": "active"}


def create_history(world: World, history: str) -> dict[str, str]:
    """Create the history, and return name → deployment ID."""
    ids: dict[str, str] = {}
    for entry in history.split(" · "):
        found = re.fullmatch(r"(back to )?\(?([A-Z]2?)\)?([!~…?]?)\)? (\d+)([mhd])", entry)
        assert found, entry
        back, name, sign, number, unit = found.groups()
        ago = timedelta(**{UNITS[unit]: int(number)})
        if back:
            world.sandbox.pages.rollback(SITE, ids[name], at=world.sandbox.clock.now() - ago)
            continue
        more: dict[str, Any] = {"branch": "fix"} if entry.startswith("(") else {}
        commit = "" if sign == "?" else name[0].lower() * 40
        ids[name] = world.site(ago, name[0], commit=commit, status=STATUS.get(sign, "success"), **more)
    return ids


@pytest.mark.slow
@pytest.mark.parametrize(
    "follows",
    [pytest.param(False, id="canonical-stays"), pytest.param(True, id="canonical-follows", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("case", named_histories("rollback-pages"), ids=lambda case: case.happened.replace(" ", "-"))
def test_documented_history_gets_its_target(world: World, case: HistoryCase, follows: bool) -> None:
    world.sandbox.switches.pages_canonical_follows_rollbacks = follows
    ids = create_history(world, case.history)
    before = world.served

    outcome = world.rollback_pages(*(ids.get(word, word) for word in shlex.split(case.press)))

    if case.answer.startswith("→ "):
        assert outcome.code == 0, outcome.err
        assert world.served == ids[case.answer.removeprefix("→ ")]
        assert len(world.writes()) == 1
    else:
        words = {"refused": "no_target", "nothing to do": "already_stepped_back"}
        reason = words.get(case.answer, case.answer.replace(" ", "_"))
        assert outcome.result["reason"] == reason, outcome.err
        assert outcome.code == (3 if reason in {"no_target", "not_deployable"} else 0)
        assert world.writes() == []
        assert world.served == before


def test_documented_histories_are_unique() -> None:
    cases = named_histories("rollback-pages")

    assert len(cases) > 20
    assert len({case.happened for case in cases}) == len({(case.history, case.press) for case in cases}) == len(cases)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [pytest.param(n, marks=() if n < 1 else pytest.mark.slow) for n in range(40)])
def test_rollback_only_deploys_an_older_working_deployment(world: World, seed: int) -> None:
    draw = random.Random(seed)
    world.sandbox.switches.pages_canonical_follows_rollbacks = draw.random() < 0.5
    world.sandbox.switches.pages_canonical_lag_reads = draw.randint(0, 3)
    site_history(world, seed)
    listed = {d.id: d for d in world.sandbox.pages.deployments(SITE)}
    former = listed[world.served or ""]
    newest = next(d for d in listed.values() if d.may_serve_production)

    outcome = world.rollback_pages()

    served = listed[world.served or ""]
    assert outcome.code in {0, 3}, outcome.err
    if world.writes():
        assert former is newest
        assert served.may_serve_production
        assert served.created_on < former.created_on
        assert served.commit_hash != former.commit_hash
    else:
        assert served is former
    again = world.rollback_pages()
    assert listed[world.served or ""] is served, again.err

"""Choice of the target of `ops rollback-pages`, including each row of the tables in docs."""

import random
import shlex
from datetime import timedelta
from typing import Any

import pytest

from ops.pages.plan_text import REJECTED_SECTION
from tests.conftest import SITE, Incident, World
from tests.support.named_histories import HistoryCase, named_histories
from tests.support.site_reference import NOTATION, SiteJudge, read_site_history
from tests.test_dry_run import site_history

UNITS = {"m": "minutes", "h": "hours", "d": "days"}
WORDS = {"refused": "no_target", "nothing to do": "already_stepped_back"}
STATUS = {"!": "failure", "~": "skipped", "…": "active"}


def create_history(world: World, history: str) -> dict[str, str]:
    """Create the history, and return name → deployment ID."""
    ids: dict[str, str] = {}
    for entry in history.split(" · "):
        found = NOTATION.fullmatch(entry)
        assert found, entry
        back, name, sign, number, unit = found.groups()
        ago = timedelta(**{UNITS[unit]: int(number)})
        if back:
            world.sandbox.pages.rollback(SITE, ids[name], at=world.sandbox.clock.now() - ago)
            continue
        more: dict[str, Any] = {"branch": "fix"} if entry.startswith("(") else {}
        commit = "" if sign == "?" else ("f" if "=" in name else "") + name[0].lower() * 39
        ids[name] = world.site(ago, name[0], commit=commit, status=STATUS.get(sign, "success"), **more)
    return ids


@pytest.mark.parametrize(
    "follows",
    [pytest.param(False, id="canonical-stays"), pytest.param(True, id="canonical-follows", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("case", named_histories("rollback-pages"), ids=lambda case: case.happened.replace(" ", "-"))
def test_documented_history_gets_its_target(world: World, case: HistoryCase, follows: bool) -> None:
    world.sandbox.switches.pages_canonical_follows_rollbacks = follows
    ids = create_history(world, case.history)
    before = world.served

    words = [ids.get(word, word) for word in shlex.split(case.press)]
    if "--began" in words:
        words[-1] = (world.sandbox.clock.now() - timedelta(minutes=int(words[-1][:-1]))).isoformat()
    outcome = world.rollback_pages(*words)

    if case.answer.startswith("→ "):
        assert outcome.code == 0, outcome.err
        assert world.served == ids[case.answer.removeprefix("→ ")]
        assert len(world.writes()) == 1
    else:
        reason = WORDS.get(case.answer, case.answer.replace(" ", "_"))
        assert outcome.result["reason"] == reason, outcome.err
        assert outcome.code == (3 if reason in {"no_target", "not_deployable"} else 0)
        assert world.writes() == []
        assert world.served == before


def test_reference_agrees_with_each_documented_history() -> None:
    """A person's `--to` decides by itself, and changes no rule."""
    wrong = []
    for case in named_histories("rollback-pages"):
        sites, live, now, numbers = read_site_history(case.history)
        start = now - int(case.press.split()[1][:-1]) if "--began" in case.press else None
        answer = SiteJudge(sites, live, now, start=start).answer()
        wanted = numbers.get(case.answer.removeprefix("→ "), WORDS.get(case.answer, case.answer.replace(" ", "_")))
        if "--to" not in case.press and answer != wanted:
            wrong.append((case, answer))

    assert wrong == []


def test_documented_histories_are_unique() -> None:
    cases = named_histories("rollback-pages")

    assert len(cases) > 20
    assert len({case.happened for case in cases}) == len({(case.history, case.press) for case in cases}) == len(cases)


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


def test_rollback_that_a_run_saw_is_remembered(incident: Incident) -> None:
    """Cloudflare lists no rollback, so only the record of a run that saw it is left after the next release."""
    world = incident.world
    ids = create_history(world, "A 3d · B 2h · back to A 1h")
    seen = incident.rollback_pages()
    world.sandbox.clock.advance(60)
    ids["C"] = world.site(timedelta(), "C", commit="c" * 40)
    world.sandbox.clock.advance(120)

    outcome = incident.rollback_pages()

    assert seen.result["reason"] == "already_stepped_back"
    assert world.served == ids["A"], outcome.err
    assert (
        f"{ids['B'][:8]}: an earlier run replaced it, or found it rolled back"
        in outcome.result["plan"]["sections"][REJECTED_SECTION]
    )


def test_rollback_before_that_of_a_run_is_remembered(incident: Incident) -> None:
    world = incident.world
    ids = create_history(world, "Z 9d · A 3d · B 2h · back to A 1h")
    incident.rollback_pages("--to", ids["Z"])
    world.sandbox.clock.advance(60)
    ids["C"] = world.site(timedelta(), "C", commit="c" * 40)
    world.sandbox.clock.advance(120)

    outcome = incident.rollback_pages()

    assert world.served == ids["Z"], outcome.err

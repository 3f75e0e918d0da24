"""Random histories that one rule of the reference decides: `ops rollback-pages` follows each rule."""

import random
from datetime import timedelta

import pytest

from ops.core.clock import format_rfc3339
from tests.conftest import SITE, World
from tests.support.properties import is_hunt
from tests.support.simulated_history import WAITS
from tests.support.site_reference import Deployed, SiteJudge

EACH = 50 if is_hunt() else 15
"""Histories for each rule."""
RULES = (
    *("equal commit", "equal content", "build failed", "rolled back"),
    *("blame", "blame ends", "min_served", "brief", "start", "since start", "recent"),
)
DEEDS = ("release", "release", "release", "same commit", "old content", "same content", "failed", "preview", "rollback")
Site = tuple[list[Deployed], int, float]


def random_site(draw: random.Random) -> Site:
    """Return deployments, the live one, and the time now, in minutes."""
    sites, live, now = [Deployed(0, "content 0", "0" * 40)], 0, 0.0
    for number in range(1, draw.randint(2, 7)):
        now += draw.choice(WAITS)
        some, deed = draw.choice(sites), draw.choice(DEEDS)
        able = [each for each, site in enumerate(sites) if SiteJudge.can_serve(site)]
        if deed == "rollback":
            live = draw.choice(able)
            continue
        same = {"same commit": some.content, "old content": some.content, "same content": sites[-1].content}
        commit = some.commit if deed == "same commit" else f"{number}" * 40
        status = "failure" if deed == "failed" else "success"
        new = Deployed(now, same.get(deed, f"content {number}"), commit, status, is_preview=deed == "preview")
        sites.append(new)
        live = len(sites) - 1 if SiteJudge.can_serve(new) else live
    return sites, live, now + draw.choice(WAITS[1:]) + 1


def find_history(rule: str, seed: int) -> tuple[Site, float | None]:
    """Return a history and a stated start for which the answer depends on the rule."""
    draw = random.Random(f"{rule} {seed}")
    for _ in range(20_000):
        site = random_site(draw)
        start = draw.uniform(max(0.0, site[2] - 300), site[2]) if "start" in rule else None
        if len({each.at for each in site[0]}) < len(site[0]):
            continue  # Cloudflare does not say which of two that were created at once came first
        if SiteJudge(*site, start=start).answer() != SiteJudge(*site, start=start, without={rule}).answer():
            return site, start
    raise AssertionError(rule)


@pytest.mark.sampled(3 * EACH)
@pytest.mark.parametrize(("rule", "seed"), [(rule, seed) for rule in RULES for seed in range(EACH)])
def test_random_history_that_a_rule_decides_gets_its_target(world: World, rule: str, seed: int) -> None:
    (sites, live, now), start = find_history(rule, seed)
    world.sandbox.switches.pages_canonical_follows_rollbacks = True  # else equal content leaves it unknown what is live
    ids = []
    for each in sites:
        branch = {"branch": "fix"} if each.is_preview else {}
        ago = timedelta(minutes=now - each.at)
        ids.append(world.site(ago, each.content, commit=each.commit, status=each.status, **branch))
    if world.served != ids[live]:
        world.sandbox.pages.rollback(SITE, ids[live], at=world.sandbox.clock.now() - timedelta(minutes=1))
    began = world.sandbox.clock.now() - timedelta(minutes=now - (start or 0))

    outcome = world.rollback_pages(*([] if start is None else ["--began", format_rfc3339(began)]))

    answer = SiteJudge(sites, live, now, start=start).answer()
    assert world.served == ids[answer if isinstance(answer, int) else live], (answer, outcome.err)
    assert len(world.writes()) == isinstance(answer, int), outcome.err
    reasons = {outcome.result["reason"], (outcome.result["plan"] or {}).get("reason")}
    assert isinstance(answer, int) or answer in reasons  # probes alone may leave no evidence, if contents are equal

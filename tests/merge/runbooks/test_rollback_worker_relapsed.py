"""`ops rollback-worker --relapsed`: the next older version of a shop, once, and never after someone else's deployment."""

import re
from dataclasses import dataclass

import pytest

from tests.conftest import Incident, Outcome, World
from tests.support.shop import WORKER, Shop, open_shop


@dataclass(frozen=True)
class Relapse:
    """A shop whose rollback failed again: `good` is live, `old` is the next older version."""

    shop: Shop
    incident: Incident

    def rollback(self, *arguments: str, relapsed: str | None = None) -> Outcome:
        chosen = ("--relapsed", relapsed) if relapsed else ()
        where = ("--service", "web", "--environment", "live", "--incident", str(self.incident.number))
        github = self.incident.github.environ()
        return self.shop.ops("rollback-worker", *where, "--yes", "--json", *chosen, *arguments, **github)

    @property
    def deployment(self) -> str:
        return str(self.shop.world.sandbox.deployments(WORKER)[0].id)

    def advance(self, minutes: int) -> None:
        self.shop.world.sandbox.clock.advance(minutes * 60)


@pytest.fixture
def relapse(world: World) -> Relapse:
    shop = open_shop(world)
    shop.world.sandbox.github.add_user("mai")
    number = world.sandbox.github.open_issue("Cart fails", "", ["incident"], "mai")
    found = Relapse(shop, Incident(world, number))
    assert found.rollback().code == 0
    assert shop.live == {shop.good: 100}
    found.advance(12)
    return found


def test_relapse_rolls_back_to_the_next_older_version(relapse: Relapse) -> None:
    relapsed = relapse.deployment

    outcome = relapse.rollback(relapsed=relapsed[:8])

    assert outcome.code == 0, outcome.err
    assert relapse.shop.live == {relapse.shop.old: 100}
    mark = relapse.shop.world.sandbox.deployments(WORKER)[0].annotations["workers/message"]
    assert f"incident={relapse.incident.number} " in mark
    assert f"blames={relapse.shop.good}" in mark


def test_next_older_version_is_the_one_that_served_before(relapse: Relapse) -> None:
    """The older one of both may have been uploaded later."""
    shop, sandbox = relapse.shop, relapse.shop.world.sandbox
    staged = sandbox.upload(WORKER, code="staged")
    new = sandbox.upload(WORKER, code="new")
    for version in (new, staged, sandbox.upload(WORKER, code="worse")):
        sandbox.deploy(WORKER, version)
        relapse.advance(24 * 60)
    relapse.rollback("--to", staged)
    relapse.advance(12)

    outcome = relapse.rollback(relapsed=relapse.deployment)

    assert outcome.result["wrote"], outcome.err
    assert shop.live == {new: 100}


def test_repeated_request_does_nothing(relapse: Relapse) -> None:
    relapsed = relapse.deployment
    relapse.rollback(relapsed=relapsed)
    sent = len(relapse.shop.world.writes())

    outcome = relapse.rollback(relapsed=relapsed)

    assert (outcome.code, outcome.result["reason"]) == (0, "already_stepped_back")
    assert relapse.shop.live == {relapse.shop.old: 100}
    assert len(relapse.shop.world.writes()) == sent


def test_without_the_deployment_the_first_rollback_holds(relapse: Relapse) -> None:
    assert relapse.rollback().result["reason"] == "already_stepped_back"
    assert relapse.shop.live == {relapse.shop.good: 100}


def test_dry_run_shows_the_next_older_version(relapse: Relapse) -> None:
    outcome = relapse.rollback("--dry-run", relapsed=relapse.deployment)

    assert outcome.code == 0, outcome.err
    assert f"→ {relapse.shop.old[:8]}" in outcome.result["plan"]["summary"]
    assert relapse.shop.live == {relapse.shop.good: 100}


@pytest.mark.parametrize("again", ["fix", "same version"])
def test_foreign_deployment_is_never_replaced(relapse: Relapse, again: str) -> None:
    relapsed, sandbox = relapse.deployment, relapse.shop.world.sandbox
    fix = sandbox.upload(WORKER, code="fix") if again == "fix" else relapse.shop.good
    sandbox.deploy(WORKER, fix, author="bot@shop.example")
    sent = len(relapse.shop.world.writes())

    outcome = relapse.rollback(relapsed=relapsed)

    assert (outcome.code, outcome.result["reason"]) == (3, "world_moved")
    assert "by bot@shop.example" in outcome.result["message"]
    assert relapse.shop.live == {fix: 100}
    assert len(relapse.shop.world.writes()) == sent


def test_deployment_of_someone_else_is_no_rollback_of_the_incident(relapse: Relapse) -> None:
    relapse.shop.world.sandbox.deploy(WORKER, relapse.shop.old, author="bot@shop.example")

    outcome = relapse.rollback(relapsed=relapse.deployment)

    assert (outcome.code, outcome.result["reason"]) == (3, "world_moved")


def test_rollback_of_another_incident_is_not_continued(relapse: Relapse) -> None:
    other = relapse.shop.world.sandbox.github.open_issue("Search fails", "", ["incident"], "mai")

    outcome = Relapse(relapse.shop, Incident(relapse.shop.world, other)).rollback(relapsed=relapse.deployment)

    assert (outcome.code, outcome.result["reason"]) == (3, "world_moved")
    assert relapse.shop.live == {relapse.shop.good: 100}


def test_newer_version_is_not_the_next_older_one(relapse: Relapse) -> None:
    """An undo of a person blames nothing, so that a newer version is a candidate of other rollbacks."""
    sandbox, shop = relapse.shop.world.sandbox, relapse.shop
    newer = sandbox.upload(WORKER, code="newer")
    sandbox.deploy(WORKER, newer)
    relapse.advance(60)
    sandbox.deploy(WORKER, shop.good, message="ops1 incident=- run=r1 blames=-")
    relapse.advance(60)
    assert relapse.rollback("--to", shop.old).code == 0

    outcome = relapse.rollback(relapsed=relapse.deployment)

    assert (outcome.code, outcome.result["reason"]) == (3, "no_target")
    assert "it is newer than the live version" in outcome.result["message"]
    assert shop.live == {shop.old: 100}


def test_oldest_version_has_no_next_one(relapse: Relapse) -> None:
    relapse.rollback(relapsed=relapse.deployment)
    relapse.advance(12)

    outcome = relapse.rollback(relapsed=relapse.deployment)

    assert (outcome.code, outcome.result["reason"]) == (3, "no_target")
    assert relapse.shop.live == {relapse.shop.old: 100}


def test_version_and_deployment_exclude_each_other(relapse: Relapse) -> None:
    outcome = relapse.rollback("--to", relapse.shop.old, relapsed=relapse.deployment)

    assert outcome.code == 2
    assert re.search(r"--relapsed .*--to\b", outcome.result["message"])


def test_short_text_names_no_deployment(relapse: Relapse) -> None:
    outcome = relapse.rollback(relapsed=relapse.deployment[:4])

    assert (outcome.code, outcome.result["reason"]) == (3, "world_moved")

"""A mark of a deployment that no record confirms may stop `ops rollback-worker`, and never chooses its target."""

import re
import shutil
from collections.abc import Callable
from datetime import timedelta

import pytest

from ops.core.run_record import RecordRow, RunRecord, embed_record
from ops.github.comments import BOT
from tests.conftest import Incident, Outcome, World
from tests.support.commands import ended
from tests.support.local_runs import record_local_run
from tests.support.shop import RELEASES, WORKER, Shop, answering, open_shop

RUN = "7001.1-abcd"


class Forged:
    """A shop whose bad release is live with a mark that says: it replaced `good`, which is bad."""

    def __init__(self, world: World, mark: str = f"ops1 incident=- run={RUN} blames={{}}; faster cart") -> None:
        self.shop = open_shop(world)
        sandbox, self.hub = world.sandbox, world.sandbox.github
        world.config.write_text("responders: [mai]\n" + world.config.read_text())
        for login in ("mai", "dana", "mallory"):
            self.hub.add_user(login)
        self.incident = Incident(world, self.hub.open_issue("Cart fails", "", ["incident"], "mai"))
        sandbox.deploy(WORKER, self.shop.good)
        sandbox.clock.advance(timedelta(days=1).total_seconds())
        sandbox.deploy(WORKER, {self.shop.bad: 10, self.shop.good: 90})
        self.deployment = sandbox.deploy(WORKER, self.shop.bad, message=mark.format(self.shop.good))
        sandbox.clock.advance(60)

    def press(self, *more: str) -> Outcome:
        where = ("--service", "web", "--environment", "live", "--incident", str(self.incident.number))
        return self.shop.ops("rollback-worker", *where, "--yes", "--json", *more, **self.hub.environ())

    def record(self, by: str = BOT, run: str = RUN) -> int:
        rows = (RecordRow(self.hub.clock.now(), "written", f"deployment {self.deployment}"),)
        text = embed_record("A run.", RunRecord(run, runbook="rollback-worker", rows=rows))
        return self.hub.comment(self.incident.number, text, by)

    def edit(self, by: str) -> None:
        comment = self.record()
        self.hub.edit_comment(self.incident.number, comment, self.incident.bodies[-1] + "\n", by)


@pytest.fixture
def forged(world: World) -> Forged:
    return Forged(world)


def of_run(workflow: str, branch: str = "main") -> Callable[[Forged], object]:
    def record(forged: Forged) -> None:
        forged.hub.add_run(workflow, 7001, branch=branch)
        forged.record()

    return record


def unreadable(forged: Forged) -> None:
    of_run("rollback-worker.yml")(forged)
    forged.hub.fault(method="POST", path="/graphql", status=403, times=None)


def edited(forged: Forged) -> None:
    forged.hub.add_run("rollback-worker.yml", 7001)
    forged.edit("mallory")


FORGERIES: dict[str, tuple[Callable[[Forged], object], str]] = {
    "no record": (lambda _: None, ""),
    "edited by a maintainer": (edited, "@mallory edited it"),
    "posted by a writer": (lambda forged: forged.record("dana"), "no responder"),
    "run of another workflow": (of_run("triage.yml"), "does not write"),
    "run on a branch": (of_run("rollback-worker.yml", "mallory/fix"), "is of branch mallory/fix"),
    "a laptop of a responder": (lambda forged: forged.record("mai", "20261124T031500-abcd"), ""),
    "unreadable history": (unreadable, "GitHub does not say who edited it"),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("forgery", FORGERIES)
def test_unconfirmed_mark_stops_with_both_commands(forged: Forged, forgery: str) -> None:
    forge, said = FORGERIES[forgery]
    forge(forged)

    outcomes = [forged.press(), forged.press()]

    for outcome in outcomes:
        assert ended(outcome) == (3, "refused", "unconfirmed_mark"), outcome.err
        ways = re.findall(r"--to (\w+)", outcome.result["hint"])
        assert ways == [forged.shop.bad[:8], forged.shop.good[:8]]
        assert said in outcome.err
    assert forged.shop.live == {forged.shop.bad: 100}
    assert forged.press("--to", forged.shop.good).code == 0
    assert forged.shop.live == {forged.shop.good: 100}


def assert_believed(forged: Forged) -> None:
    """Check that the run does nothing, and names the other version because the service fails."""
    outcome = forged.press()
    assert ended(outcome) == (6, "still_unhealthy", "still_unhealthy"), outcome.err
    assert outcome.result["plan"]["summary"].startswith("already rolled back")
    assert "--to " in outcome.result["plan"]["next_step"]
    assert forged.shop.live == {forged.shop.bad: 100}


def test_record_of_our_workflow_confirms_the_mark(forged: Forged) -> None:
    of_run("rollback-worker.yml")(forged)

    assert_believed(forged)


def test_record_on_this_machine_confirms_the_mark(forged: Forged) -> None:
    record_local_run(forged.shop.world, RUN, [forged.deployment])

    assert_believed(forged)


def test_run_of_a_genuine_record_confirms_no_other_deployment(forged: Forged) -> None:
    """Everyone can read the number of a run, and write it into the message of a deployment."""
    of_run("rollback-worker.yml")(forged)
    sandbox, shop = forged.hub, forged.shop
    message = f"ops1 incident={forged.incident.number} run={RUN} blames={shop.good}"
    deploy = shop.world.sandbox.deploy
    deploy(WORKER, shop.good)
    sandbox.clock.advance(86_400)
    deploy(WORKER, {shop.bad: 10, shop.good: 90})
    deploy(WORKER, shop.bad, message=message)
    sandbox.clock.advance(60)

    assert ended(forged.press()) == (3, "refused", "unconfirmed_mark")


def test_ways_of_the_refusal_keep_what_another_laptop_deployed_or_go_on(shop: Shop) -> None:
    """Two laptops without GitHub have no common record, and nobody attacks."""
    rollback = ("rollback-worker", "--service", "web", "--environment", "live", "--yes", "--json")
    assert shop.ops(*rollback).result["decision"] == "recovered"
    shutil.rmtree(shop.world.folder / ".ops")  # the second laptop
    assert shop.ops(*rollback).result["reason"] == "already_stepped_back"
    shop.world.sandbox.clock.advance(timedelta(hours=2).total_seconds())

    refused = shop.ops(*rollback)

    assert ended(refused) == (3, "refused", "unconfirmed_mark"), refused.err
    stay, deploy = re.findall(r"--to (\w+)", refused.result["hint"])
    kept = shop.ops(*rollback, "--to", stay)
    assert (ended(kept)[1:], shop.live) == (("nothing_to_do", "already_live"), {shop.good: 100})
    assert shop.ops(*rollback, "--to", deploy).code == 0
    assert shop.live == {shop.old: 100}


def test_displaced_deployment_of_an_unknown_rehearsal_is_not_chosen(forged: Forged) -> None:
    """A message that says "rehearsal" must not bring back what a colleague rolled back in the dashboard."""
    shop, deploy = forged.shop, forged.shop.world.sandbox.deploy
    deploy(WORKER, shop.good)
    deploy(WORKER, shop.bad)
    message = f"ops1 incident=- run=x blames=- rehearsed={shop.old}"
    deploy(WORKER, {shop.good: 100, shop.old: 0}, message=message)

    outcome = forged.press()

    assert ended(outcome) == (3, "refused", "unconfirmed_mark"), outcome.err
    assert re.findall(r"--to (\w+)", outcome.result["hint"]) == [shop.bad[:8], shop.good[:8]]


@pytest.fixture
def undone(world: World) -> Forged:
    """The shop without a forged mark, whose bad release is live since somebody undid its rollback."""
    return Forged(world, "faster cart")


def roll_back_and_undo(forged: Forged, *, workflow: str = "rollback-worker.yml") -> tuple[int, str]:
    """Roll `bad` back to a second upload of `good`, and undo that, by jobs of an earlier incident.

    Return the number of the incident, and the second upload.
    """
    hub, sandbox = forged.hub, forged.shop.world.sandbox
    earlier: int = hub.open_issue("Cart is slow", "", ["incident"], "mai")
    code = next(code for _, code, status, _ in RELEASES[1:] if status == 200)
    again = sandbox.upload(WORKER, code=code, behaviour=answering())
    for run, version, blames in ((7002, again, forged.shop.bad), (7003, forged.shop.bad, "-")):
        sandbox.clock.advance(60)
        hub.add_run(workflow, run)
        message = f"ops1 incident={earlier} run={run}.1-abcd blames={blames}"
        rows = (
            RecordRow(hub.clock.now(), "written", f"deployment {sandbox.deploy(WORKER, version, message=message)}"),
        )
        record = RunRecord(f"{run}.1-abcd", runbook="rollback-worker", rows=rows)
        hub.comment(earlier, embed_record("A run.", record), BOT)
    sandbox.clock.advance(timedelta(hours=2).total_seconds())
    return earlier, again


def reads_of(forged: Forged, incident: int) -> int:
    return sum(f"/issues/{incident}/comments" in each.path for each in forged.hub.requests)


@pytest.mark.parametrize("workflow", ["rollback-worker.yml", "triage.yml"])
def test_undo_on_an_earlier_incident_is_confirmed_there(undone: Forged, workflow: str) -> None:
    """Without its mark the undo looks like a rollback of the good version. Records of another workflow confirm nothing."""
    earlier, again = roll_back_and_undo(undone, workflow=workflow)

    done = undone.press()

    assert reads_of(undone, earlier) == 1
    if workflow == "triage.yml":
        assert ended(done) == (3, "refused", "unconfirmed_mark"), done.err
        assert undone.shop.live == {undone.shop.bad: 100}
        return
    assert done.code == 0, done.err
    assert undone.shop.live == {again: 100}
    assert undone.press().result["reason"] == "already_stepped_back"


def test_records_of_other_incidents_are_read_only_instead_of_a_refusal(undone: Forged) -> None:
    earlier, again = roll_back_and_undo(undone)

    assert undone.press("--to", again).code == 0
    assert reads_of(undone, earlier) == 0


@pytest.mark.parametrize("by", ["mai", "dana"])
def test_laptop_of_a_responder_confirms_that_nothing_is_to_do(forged: Forged, by: str) -> None:
    """Its record may make a run stricter: the run writes nothing, and names the other version."""
    run, shop, sandbox = "20261124T031500-abcd", forged.shop, forged.shop.world.sandbox
    sandbox.deploy(WORKER, shop.good)
    sandbox.deploy(WORKER, shop.bad)
    message = f"ops1 incident={forged.incident.number} run={run} blames={shop.bad}"
    forged.deployment = sandbox.deploy(WORKER, shop.good, message=message)
    forged.record(by, run)
    sandbox.clock.advance(timedelta(hours=2).total_seconds())

    outcomes = [forged.press(), forged.press()]

    for outcome in outcomes:
        if by == "dana":
            assert ended(outcome) == (3, "refused", "unconfirmed_mark"), outcome.err
        else:
            assert outcome.result["reason"] == "already_stepped_back", outcome.err
    assert shop.live == {shop.good: 100}

"""`ops recover --relapsed`: the automatic step of a job after a watch found a relapse of a shop."""

import re

import pytest

from ops.core.errors import Decision
from ops.core.run_record import RunRecord, embed_record, read_record
from ops.github.comments import BOT
from sandbox.cloudflare.analytics.state import SUCCESS, THREW
from tests.conftest import ACCOUNT, World
from tests.support.relapse import Relapse, open_relapse
from tests.support.shop import WORKER


@pytest.fixture
def relapse(world: World) -> Relapse:
    return open_relapse(world)


def test_step_rolls_back_to_the_next_older_version(relapse: Relapse) -> None:
    relapsed = relapse.deployment

    outcome = relapse.step()

    assert (outcome.code, outcome.result["decision"]) == (0, "recovered"), outcome.err
    assert relapse.shop.live == {relapse.shop.old: 100}
    assert f"relapsed={relapsed}" in outcome.result["timeline"][0]["text"]
    mark = relapse.shop.world.sandbox.deployments(WORKER)[0].annotations["workers/message"]
    assert mark.endswith(f"blames={relapse.shop.good}; automatic step after a relapse")
    assert "[a job](" in relapse.claim
    assert "No other automatic step follows. Then watch it: `" in relapse.claim
    records = [read_record(body) for body in relapse.incident.bodies]
    assert [each.decision for each in records if each and each.source == "run"] == ["recovered", "recovered"]


def test_refused_step_gives_its_claim_back(relapse: Relapse) -> None:
    """The plan finds no version now. The incident must not say that a job rolls back, and the step stays possible."""
    config = relapse.shop.world.config
    before = config.read_text()
    config.write_text(
        before.replace("url: https://web.shop.example", "min_served: 720h\n        url: https://web.shop.example")
    )

    refused = [relapse.step(run=number) for number in (7001, 7002)]

    assert [(each.code, each.result["reason"]) for each in refused] == [(3, "no_target")] * 2, refused[0].err
    record = read_record(relapse.claim)
    assert record is not None
    assert record.decision == "refused"
    assert "starts to roll" not in relapse.claim
    assert "**Automatic step:** refused, and nothing was changed." in relapse.claim
    assert len([body for body in relapse.incident.bodies if "**Automatic step:**" in body]) == 1
    config.write_text(before)
    assert relapse.step(run=7003).code == 0
    assert relapse.shop.live == {relapse.shop.old: 100}
    assert "starts to roll" in relapse.claim


@pytest.mark.parametrize("is_unknown", [False, True], ids=["rejected", "lost answer"])
def test_failed_step_keeps_its_claim_only_if_it_may_have_written(relapse: Relapse, is_unknown: bool) -> None:
    world, relapsed = relapse.shop.world, relapse.deployment
    path = f"/accounts/*/workers/scripts/{WORKER}/deployments"
    fault = world.sandbox.fault
    if is_unknown:
        fault(
            method="POST", path=path, after=lambda: fault(path=path, status=500, times=None), status=500, applied=True
        )
    else:
        fault(method="POST", path=path, status=403, code=10000)

    failed = relapse.step(relapsed=relapsed)

    assert failed.code == (5 if is_unknown else 4), failed.err
    record = read_record(relapse.claim)
    assert record is not None
    assert (record.decision == "refused") == (not is_unknown)
    world.sandbox.faults.clear()
    again = relapse.step(run=7002, relapsed=relapsed)
    assert again.code == 0, again.err
    assert relapse.shop.live == {relapse.shop.old: 100}


def test_step_obeys_a_stop_and_is_made_once_it_is_lifted(relapse: Relapse) -> None:
    hub, number = relapse.shop.world.sandbox.github, relapse.incident.number
    hub.label(number, "ops:stopped", BOT)

    refused = relapse.step()

    assert (refused.code, refused.result["reason"]) == (3, "no_automatic_step")
    assert relapse.shop.live == {relapse.shop.good: 100}
    hub.unlabel(number, "ops:stopped", BOT)
    assert relapse.step(run=7002).code == 0


def test_stop_that_cannot_be_read_is_a_warning_of_the_step(relapse: Relapse) -> None:
    hub = relapse.shop.world.sandbox.github
    hub.label(relapse.incident.number, "ops:stopped", BOT)
    hub.fault(path="/repos/*/*/issues", status=502, times=None)

    made = relapse.step()

    assert (made.code, relapse.shop.live) == (0, {relapse.shop.old: 100})
    assert "cannot check whether recoveries are stopped" in made.err


@pytest.mark.slow
def test_record_is_written_before_the_step(relapse: Relapse) -> None:
    seen: list[bool] = []
    deploy = f"/accounts/*/workers/scripts/{WORKER}/deployments"
    note = lambda: seen.append("**Automatic step:**" in relapse.claim)  # noqa: E731
    relapse.shop.world.sandbox.fault(method="POST", path=deploy, before=note)

    assert relapse.step().code == 0

    assert seen == [True]


@pytest.mark.slow
def test_repeated_step_changes_nothing(relapse: Relapse) -> None:
    relapsed = relapse.deployment
    relapse.step()
    sent, bodies = len(relapse.shop.world.writes()), "\n".join(relapse.incident.bodies)

    outcome = relapse.step(relapsed=relapsed)

    assert (outcome.code, outcome.result["reason"]) == (0, "already_stepped_back"), outcome.err
    assert relapse.shop.live == {relapse.shop.old: 100}
    assert len(relapse.shop.world.writes()) == sent
    assert "\n".join(relapse.incident.bodies).count("**Automatic step:**") == bodies.count("**Automatic step:**") == 1


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_step_that_was_killed_is_made_once(relapse: Relapse, when: str) -> None:
    """It is killed between its record and its write, or right after the write."""
    relapsed, path = relapse.deployment, f"/accounts/*/workers/scripts/{WORKER}/deployments"
    relapse.shop.world.sandbox.fault(method="POST", path=path, lost=when)
    relapse.shop.world.sandbox.fault(method="GET", path=path, skip=2, status=503, times=None)
    relapse.step()
    relapse.shop.world.sandbox.faults.clear()

    outcome = relapse.step(relapsed=relapsed)

    assert outcome.code == 0, outcome.err
    assert relapse.shop.live == {relapse.shop.old: 100}
    splits = [dict(each.percentages) for each in relapse.shop.world.sandbox.deployments(WORKER)]
    assert splits.count({relapse.shop.old: 100}) == 2  # the release, and the step


@pytest.mark.slow
@pytest.mark.parametrize(
    ("most", "reason", "said"),
    [(1, "no_automatic_step", "this incident had 1 of at most 1"), (2, "no_target", "no known good version")],
)
def test_steps_of_an_incident_are_limited(relapse: Relapse, most: int, reason: str, said: str) -> None:
    """The team deploys a fix after the step, which fails too; its rollback relapses."""
    relapse.shop.world.edit_config("on_relapse: next", f"on_relapse: next, max_steps: {most}")
    sandbox, shop = relapse.shop.world.sandbox, relapse.shop
    assert relapse.step().code == 0
    sandbox.clock.advance(3600)
    sandbox.deploy(WORKER, sandbox.upload(WORKER, code="fix", behaviour={"status": 500}), author="mai@shop.example")
    assert relapse.recover(run=7002).code == 0
    assert shop.live == {shop.old: 100}
    relapse.break_version(shop.old)
    assert relapse.watch().decision == Decision.RELAPSED

    outcome = relapse.step(run=7002)

    assert (outcome.code, outcome.result["reason"]) == (3, reason)
    assert said in outcome.result["message"]
    assert shop.live == {shop.old: 100}


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["watch", "step"])
def test_step_counts_although_its_record_is_lost(relapse: Relapse, lost: str) -> None:
    """A second runner that did not see the relapse writes the watch once more, or a person deletes the step."""
    shop, sandbox, comments = (
        relapse.shop,
        relapse.shop.world.sandbox,
        relapse.incident.github.issue(relapse.incident.number).comments,
    )
    (watched,) = (each for each in comments if each.body == relapse.watched)
    written = watched.body
    assert relapse.step().code == 0
    if lost == "watch":
        watched.body = written
    else:
        comments.remove(next(each for each in comments if each.body == relapse.claim))
    sandbox.clock.advance(3600)
    sandbox.deploy(WORKER, sandbox.upload(WORKER, code="fix", behaviour={"status": 500}), author="mai@shop.example")
    assert relapse.recover(run=7002).code == 0
    relapse.break_version(shop.old)
    assert relapse.watch().decision == Decision.RELAPSED

    outcome = relapse.step(run=7002)

    assert outcome.result["reason"] == "no_automatic_step"
    assert "this incident had 1 of at most 1" in outcome.result["message"]


def test_step_of_another_service_at_the_same_time_counts(relapse: Relapse) -> None:
    """Steps of two environments run at the same time. The one that is recorded first is made."""
    hub, number = relapse.incident.github, relapse.incident.number
    hub.add_run("rollback-worker.yml", 7002)
    claim = RunRecord("step-0", source="step", environment="test", service="web", job="7002.1")
    other = embed_record("**Automatic step**", claim)
    note = lambda: hub.comment(number, other, BOT)  # noqa: E731
    hub.fault(method="POST", path="/repos/**/issues/*/comments", sends="Automatic step", before=note)

    relapse.refuses("this incident had 1 of at most 1", relapse.step())


@pytest.mark.slow
def test_service_that_is_healthy_again_is_left_alone(relapse: Relapse) -> None:
    """The watch found the relapse from a runner with a broken network, or from rounds that somebody forged."""
    relapse.fault.before = lambda: None
    relapse.fault.status = None

    relapse.refuses("the probes are healthy now", relapse.step())
    assert not relapse.claim


def test_error_rates_alone_start_no_step(world: World, relapse: Relapse) -> None:
    """The page answers, and requests of a stranger make the Worker throw."""
    relapse.fault.before, relapse.fault.status = lambda: None, None

    def throw() -> None:
        for status in (SUCCESS, THREW) * 40:
            world.sandbox.analytics.record_invocation(
                ACCOUNT, WORKER, relapse.shop.good, status, at=world.sandbox.clock.now(), seconds=0.1, size=10
            )

    token = world.sandbox.add_token("watcher", ["Workers Scripts Read", "Account Analytics Read"])
    found = relapse.watch(dict.fromkeys(range(1, 40), throw), token=token)

    assert (found.decision, set(found.state.rounds)) == (Decision.RELAPSED, {"h"})
    assert found.judgment.cause.startswith(f"requests to {relapse.shop.good[:8]}: ")
    assert not any("second source" in each for each in found.notes), "the same figures are no second source"
    relapse.refuses("the probes do not show the relapse", relapse.step())


@pytest.mark.slow
def test_foreign_deployment_during_the_watch_refuses(world: World, relapse: Relapse) -> None:
    relapsed = relapse.deployment
    world.sandbox.deploy(WORKER, relapse.shop.good, author="bot@shop.example")
    relapse.watch()

    relapse.refuses("someone else deployed after the rollback", relapse.step(relapsed=relapsed))


def test_foreign_deployment_before_the_watch_refuses(world: World, relapse: Relapse) -> None:
    """Somebody deploys between the rollback and the start of the job that watches."""
    relapsed = relapse.deployment
    world.sandbox.deploy(WORKER, relapse.shop.good, author="bot@shop.example")

    found = relapse.watch()

    assert (found.decision, found.state.deployment) == (Decision.RELAPSED, relapsed)
    assert "Foreign deployment, so no automatic step follows" in relapse.incident.bodies[-2]
    relapse.refuses("someone else deployed after the rollback", relapse.step(relapsed=relapsed))


def test_foreign_deployment_after_the_watch_refuses(world: World, relapse: Relapse) -> None:
    relapsed = relapse.deployment
    world.sandbox.deploy(WORKER, relapse.shop.good, author="bot@shop.example")

    relapse.refuses("by bot@shop.example", relapse.step(relapsed=relapsed), reason="world_moved")


def test_step_that_was_made_is_not_given_back(relapse: Relapse) -> None:
    """A re-run of its job is refused, and the step still counts."""
    relapsed = relapse.deployment
    assert relapse.step(relapsed=relapsed).code == 0
    relapse.shop.world.sandbox.deploy(WORKER, relapse.shop.good, author="bot@shop.example")
    claim = relapse.claim

    again = relapse.step(relapsed=relapsed, run=7002)

    assert again.code in {0, 3}
    assert relapse.claim == claim


@pytest.mark.slow
def test_outage_of_a_provider_refuses(world: World, relapse: Relapse) -> None:
    world.sandbox.switches.status_pages_lag_seconds = 0
    world.sandbox.status_pages.begin_incident("cloudflare", "Workers errors", {"Workers": "major_outage"})

    relapse.refuses("a provider has trouble", relapse.step())
    assert not relapse.claim


@pytest.mark.slow
@pytest.mark.parametrize(
    "document",
    [
        "cloudflare-one-region",
        "cloudflare-edge-outage",
        "cloudflare-dns-degraded",
        "cloudflare-group-outage",
        "cloudflare-unnamed-outage",
    ],
)
def test_trouble_that_may_be_wider_refuses(world: World, relapse: Relapse, document: str) -> None:
    world.sandbox.status_pages.cloudflare.load(document)

    relapse.refuses("so an older version may not help: www.cloudflarestatus.com: ", relapse.step())
    assert not relapse.claim


def test_unreadable_status_page_does_not_stop_the_step(world: World, relapse: Relapse) -> None:
    world.sandbox.switches.status_pages_unreachable = True

    assert relapse.step().code == 0
    assert relapse.shop.live == {relapse.shop.old: 100}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new"), [("on_relapse: next", "on_relapse: notify"), ("{for: 30m, on_relapse: next}", "'off'")]
)
def test_setting_must_allow_it(relapse: Relapse, old: str, new: str) -> None:
    relapse.shop.world.edit_config(old, new)

    relapse.refuses("`watch` in ops.yml has no `on_relapse: next`", relapse.step())


@pytest.mark.slow
def test_version_that_a_person_named_is_left_to_people(relapse: Relapse) -> None:
    relapse.refuses("the request named the version itself", relapse.step(params={"to": relapse.shop.good}))


@pytest.mark.slow
def test_requester_without_access_is_refused(relapse: Relapse) -> None:
    relapse.incident.github.add_user("tina", "triage")

    relapse.refuses("tina requested this", relapse.step("--requested-by", "tina"), reason="no_write_access")


@pytest.mark.slow
def test_closed_incident_is_over(relapse: Relapse) -> None:
    relapse.incident.github.issue(relapse.incident.number).state = "closed"

    relapse.refuses("somebody closed the incident", relapse.step())


@pytest.mark.slow
def test_edited_comment_of_the_watch_is_no_evidence(relapse: Relapse) -> None:
    comments = relapse.incident.github.issue(relapse.incident.number).comments
    (watched,) = (each for each in comments if each.body == relapse.watched)
    watched.body = watched.body.replace("relapsed:", "was fine:", 1)

    relapse.refuses("the comment of the watch was edited", relapse.step())


@pytest.mark.slow
def test_watch_of_a_stranger_is_no_evidence(relapse: Relapse) -> None:
    hub = relapse.incident.github
    hub.add_user("zoe", "read")
    comments = hub.issue(relapse.incident.number).comments
    (watched,) = (each for each in comments if each.body == relapse.watched)
    forged = watched.body
    comments.remove(watched)
    hub.comment(relapse.incident.number, forged, "zoe")

    relapse.refuses("the incident has no watch of web in live", relapse.step())


def test_watch_of_another_workflow_is_no_evidence(relapse: Relapse) -> None:
    hub = relapse.incident.github
    number = hub.add_run("triage.yml")
    comments = hub.issue(relapse.incident.number).comments
    (watched,) = (each for each in comments if each.body == relapse.watched)
    comments.remove(watched)
    body = re.sub('"job":"[^"]+"', f'"job":"{number}.1"', watched.body)
    hub.comment(relapse.incident.number, body, BOT)

    relapse.refuses("the record of the watch is not believed", relapse.step())


def test_forged_steps_block_no_step(relapse: Relapse) -> None:
    """A writer records the step itself, and another one that would use up the limit."""
    hub = relapse.incident.github
    for name in (f"step-{relapse.deployment}", "step-0"):
        record = RunRecord(name, source="step", environment="live", service="web", job="7001.1")
        hub.comment(relapse.incident.number, embed_record("**Automatic step**", record), "mai")

    assert relapse.step().result["wrote"]
    assert relapse.shop.live == {relapse.shop.old: 100}


@pytest.mark.slow
@pytest.mark.parametrize("named", ["-", "", "0" * 8])
def test_missing_deployment_is_refused(relapse: Relapse, named: str) -> None:
    relapse.refuses("did not find a relapse of this deployment", relapse.recover("--relapsed", named))


@pytest.mark.slow
def test_healthy_watch_permits_no_step(relapse: Relapse) -> None:
    relapse.fault.before = lambda: None
    relapse.fault.status = None
    assert relapse.watch().decision == Decision.MITIGATED

    relapse.refuses("did not find a relapse of this deployment", relapse.step())


@pytest.mark.slow
def test_github_must_take_the_record(relapse: Relapse) -> None:
    relapse.incident.github.fault(method="POST", path="/repos/**/issues/*/comments", status=503, times=None)

    outcome = relapse.step()

    assert outcome.code != 0
    assert relapse.shop.live == {relapse.shop.good: 100}


def test_accepted_secrets_hold_for_one_version_only(relapse: Relapse) -> None:
    outcome = relapse.step(params={"accept_changed_secrets": ["CART_KEY"]})

    assert outcome.code == 0, outcome.err
    assert "CART_KEY" not in outcome.result["timeline"][0]["text"]


@pytest.mark.slow
def test_dry_run_plans_the_step_and_records_nothing(relapse: Relapse) -> None:
    outcome = relapse.step("--dry-run")

    assert (outcome.code, outcome.result["decision"]) == (0, "planned"), outcome.err
    assert re.search(rf"→ {relapse.shop.old[:8]}", outcome.result["plan"]["summary"])
    assert relapse.shop.live == {relapse.shop.good: 100}
    assert not relapse.claim

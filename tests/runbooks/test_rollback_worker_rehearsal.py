"""Rehearsal of `ops rollback-worker`: the target at 0 %, asked with the version override. Not for FortuneT."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from ops.core.run_record import RecordRow, RunRecord, embed_record
from ops.workers.steps import REHEARSAL_SECTION
from sandbox.server import HttpRequest
from tests.conftest import Outcome, World
from tests.support import shop
from tests.support.commands import WRITE, ended, is_awaited, texts
from tests.support.shop import WORKER, Shop

ROLLBACK = ("rollback-worker", "--service", "web", "--environment", "live", "--json")
WEB_YML = shop.WEB_YML.replace(
    "verify: {successes: 1, interval: 500ms, deadline: 1s}",
    "rehearse: true\n        verify: {successes: 2, interval: 500ms, deadline: 20s}",
)


def open_shop(world: World, *, good: int = 200, names: bool = True, **upload: Any) -> Shop:
    """Deploy three releases. `good`: status of the target. `names`: whether its response names its version."""
    world.config.write_text(WEB_YML)
    sandbox, now, versions = world.sandbox, world.sandbox.clock.now(), []
    sandbox.route("web.shop.example", WORKER)
    for hours, code, status in ((60, "old", 200), (30, "good", good), (1, "bad", 500)):
        body = {"version": "{{version}}"} if names or code != "good" else {}
        at = now - timedelta(hours=hours)
        more = {"behaviour": {"status": status, "body": body}, "author": "mai@shop.example", "at": at, **upload}
        versions.append(sandbox.upload(WORKER, code=code, **more))
        sandbox.deploy(WORKER, versions[-1], author="mai@shop.example", at=at)
    return Shop(world, *versions)


@pytest.fixture
def rehearsed(world: World) -> Shop:
    """Return a shop whose ops.yml asks for rehearsals, and whose Worker names its version."""
    return open_shop(world)


def rollback(shop: Shop, *more: str) -> Outcome:
    return shop.ops(*ROLLBACK, "--yes", *more)


def splits(shop: Shop) -> list[dict[str, float]]:
    """Return the splits of the deployments after those of the shop, oldest first."""
    return [dict(each.percentages) for each in shop.world.sandbox.deployments(WORKER)][:-3][::-1]


def steps(outcome: Outcome) -> list[str]:
    return texts(outcome, "rehearsed")


def leave_rehearsal(shop: Shop, version: str = "", *, share: float = 0.0) -> str:
    """Deploy what a killed run leaves: a version at 0 % with our mark."""
    version = version or shop.good
    message = f"ops1 incident=- run=20261124T030500-beef blames=- rehearsed={version}"
    split = {shop.bad: 100 - share, version: share}
    deployment: str = shop.world.sandbox.deploy(WORKER, split, message=message, author="recovery@shop.example")
    return deployment


@pytest.mark.slow
def test_healthy_target_gets_the_traffic_after_its_rehearsal(rehearsed: Shop) -> None:
    outcome = rollback(rehearsed, "--incident", "42")

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    bad, good = rehearsed.bad, rehearsed.good
    assert splits(rehearsed) == [{bad: 100, good: 0}, {bad: 100}, {good: 100}]
    marks = [each.annotations["workers/message"] for each in rehearsed.world.sandbox.deployments(WORKER)[:3]]
    assert [f"rehearsed={good}" in mark for mark in marks] == [False, True, True]
    assert all(mark.startswith("ops1 incident=42 ") for mark in marks)
    kinds = [event["kind"] for event in outcome.events]
    assert kinds.index("writing") > max(at for at, kind in enumerate(kinds) if kind == "rehearsed")
    assert steps(outcome)[-1].endswith(": healthy")
    assert any(text.startswith("probed, 2 of 2 in a row: cart healthy") for text in steps(outcome))
    begin, end = outcome.result["plan"]["sections"][REHEARSAL_SECTION]
    assert re.search(rf" {good[:8]} .* 0 % .* {bad[:8]}\b.* cart$", begin)
    assert re.search(rf" {bad[:8]} .* {good[:8]} ", end)


def test_unhealthy_target_is_refused_after_the_split_is_restored(world: World) -> None:
    opened = open_shop(world, good=503)

    outcome = rollback(opened)

    assert ended(outcome) == (3, "refused", "target_unhealthy"), outcome.err
    assert splits(opened) == [{opened.bad: 100, opened.good: 0}, {opened.bad: 100}]
    assert outcome.result["message"].startswith(
        f"the traffic was not moved: {opened.good[:8]} failed its rehearsal: cart unhealthy: status 503"
    )
    assert outcome.result["message"].startswith("the traffic was not moved: ")
    assert "--no-rehearsal" in outcome.result["hint"]
    assert f"--to {opened.old[:8]}" in outcome.result["press"]
    assert not outcome.result["wrote"]
    assert outcome.result["outcome"]["not_changed"] == [f"Worker {WORKER}"]


@pytest.mark.parametrize(("failures", "decision"), [(3, "recovered"), (4, "refused")])
def test_few_bad_rounds_refuse_no_target(rehearsed: Shop, failures: int, decision: str) -> None:
    named = json.dumps({"version": rehearsed.good})
    fault = rehearsed.world.sandbox.edge_fault
    fault(path="/cart", when=_is_rehearsed, times=failures, status=503, body=named, content_type="application/json")

    outcome = rollback(rehearsed)

    assert outcome.result["decision"] == decision, outcome.err


def _is_rehearsed(request: HttpRequest) -> bool:
    return "cloudflare-workers-version-overrides" in request.headers


@pytest.mark.slow
def test_unhealthy_target_can_be_deployed_without_rehearsal(world: World) -> None:
    opened = open_shop(world, good=503)

    outcome = rollback(opened, "--no-rehearsal")

    assert outcome.result["decision"] == "still_unhealthy"
    assert splits(opened) == [{opened.good: 100}]
    assert steps(outcome) == ["skipped: --no-rehearsal was passed"]


@pytest.mark.slow
def test_response_without_version_does_not_count(world: World) -> None:
    opened = open_shop(world, good=503, names=False)

    outcome = rollback(opened)

    assert outcome.result["decision"] == "still_unhealthy"
    assert opened.live == {opened.good: 100}
    assert splits(opened)[:2] == [{opened.bad: 100, opened.good: 0}, {opened.bad: 100}]
    assert re.match(
        r"result: inconclusive, .*: cart inconclusive: version .* \(status 503, wanted 200\)", steps(outcome)[-1]
    )


@pytest.mark.slow
def test_target_that_hangs_names_no_version_and_is_said_to_hang(world: World) -> None:
    opened = open_shop(world)
    world.edit_config("deadline: 20s", "deadline: 1s")
    behaviour = {"body": {"version": "{{version}}"}, "delay": 11}
    hanging = world.sandbox.upload(WORKER, code="hanging", behaviour=behaviour)

    outcome = rollback(opened, "--to", hanging)

    assert opened.live == {hanging: 100}, outcome.err
    assert "no answer within 10 s" in steps(outcome)[-1]
    assert "the response names" not in steps(outcome)[-1]


@pytest.mark.slow
@pytest.mark.parametrize("header", [{"cf-cache-status": "HIT"}, {"age": "40"}], ids=str)
@pytest.mark.parametrize("status", [200, 503])
def test_response_from_a_cache_does_not_count(world: World, header: dict[str, str], status: int) -> None:
    """It is older than the rehearsal, also if it names the target."""
    opened = open_shop(world)
    behaviour = {"status": status, "body": {"version": "{{version}}"}, "headers": header}
    cached = world.sandbox.upload(WORKER, code="cached", behaviour=behaviour)

    outcome = rollback(opened, "--to", cached)

    assert opened.live == {cached: 100}, outcome.err
    assert re.match("result: inconclusive, .*: cart inconclusive: ", steps(outcome)[-1])
    said = "cf-cache-status: HIT" if "age" not in header else "age 40 s"
    assert f"cached answer ({said}): proves nothing" in steps(outcome)[-1]
    assert outcome.result["decision"] == "no_evidence"


def test_leftover_is_said_where_people_look(rehearsed: Shop) -> None:
    leave_rehearsal(rehearsed)

    status = rehearsed.ops("status", "--environment", "live")
    listed = rehearsed.ops("versions", "web", "--environment", "live")

    assert f"web: {rehearsed.bad[:8]} at 100 % and {rehearsed.good[:8]} at 0 %" in status.out
    assert f"an unfinished rehearsal left {rehearsed.good[:8]} at 0 %. The next rollback removes it" in listed.out


def test_refusal_of_the_plan_says_the_leftover(rehearsed: Shop) -> None:
    asked = rehearsed.world.sandbox.clock.now() - timedelta(hours=2)
    leave_rehearsal(rehearsed)

    outcome = rollback(rehearsed, "--requested-at", asked.isoformat())

    assert outcome.result["decision"] == "refused", outcome.err
    (said,) = [text for text in texts(outcome, "warning") if "an unfinished rehearsal left" in text]
    assert f"--to {rehearsed.bad[:8]}" in said


@pytest.mark.usefixtures("one_machine")
@pytest.mark.slow
def test_response_of_the_live_version_does_not_count(rehearsed: Shop) -> None:
    rehearsed.world.sandbox.switches.propagation_seconds = 30

    outcome = rollback(rehearsed)

    assert rehearsed.live == {rehearsed.good: 100}
    assert f"the response names {rehearsed.bad[:8]}, so it does not count" in steps(outcome)[-1]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        pytest.param(", version: version}", "}", "no probe sees which version answers", id="no version in a probe"),
        pytest.param(f"worker: {WORKER}", "worker: 1-shop", "the version override cannot name 1-shop", id="a name"),
    ],
)
def test_target_that_cannot_be_asked_is_not_rehearsed(rehearsed: Shop, old: str, new: str, why: str) -> None:
    rehearsed.world.edit_config(old, new)
    sandbox = rehearsed.world.sandbox
    sandbox.account.workers["1-shop"] = sandbox.account.workers[WORKER]

    outcome = rollback(rehearsed)

    assert outcome.result["wrote"], outcome.err
    assert splits(rehearsed) == [{rehearsed.good: 100}]
    assert steps(outcome)[0].startswith(f"skipped: {why}")
    assert outcome.result["plan"]["sections"][REHEARSAL_SECTION][0].startswith(f"none: {why}")


@pytest.mark.slow
@pytest.mark.parametrize("share", [10, 0])
def test_two_deployed_versions_are_not_rehearsed(rehearsed: Shop, share: int) -> None:
    rehearsed.world.sandbox.deploy(WORKER, {rehearsed.bad: 100 - share, rehearsed.old: share})

    outcome = rollback(rehearsed, "--to", rehearsed.good)

    assert outcome.result["decision"] == "recovered", outcome.err
    assert splits(rehearsed)[1:] == [{rehearsed.good: 100}]
    described = f"{rehearsed.bad[:8]} at {100 - share} % and {rehearsed.old[:8]} at {share} %"
    assert steps(outcome) == [
        f"skipped: two versions are deployed already ({described}), and Cloudflare allows no third one"
    ]


@pytest.mark.slow
def test_requested_split_rehearses_its_new_version(rehearsed: Shop) -> None:
    bad, good, old = rehearsed.bad, rehearsed.good, rehearsed.old

    rollback(rehearsed, "--to", f"{bad}@90,{good}@10")

    assert splits(rehearsed) == [{bad: 100, good: 0}, {bad: 100}, {bad: 90, good: 10}]

    rehearsed.world.sandbox.deploy(WORKER, bad)
    outcome = rollback(rehearsed, "--to", f"{old}@90,{good}@10")

    assert steps(outcome)[0].startswith("skipped: the target has two new versions")


@pytest.mark.slow
def test_dry_run_shows_the_rehearsal_and_writes_nothing(rehearsed: Shop) -> None:
    outcome = rehearsed.ops(*ROLLBACK[:-1], "--dry-run")

    assert f"deploy {rehearsed.good[:8]} at 0 % beside {rehearsed.bad[:8]}" in outcome.out
    assert rehearsed.world.writes() == []


@pytest.mark.slow
def test_without_rehearsal_no_call_is_added_before_the_write(rehearsed: Shop) -> None:
    rehearsed.world.edit_config("rehearse: true", "rehearse: false")

    outcome = rollback(rehearsed)

    awaited = filter(is_awaited, rehearsed.world.sandbox.requests)
    assert [each.method for each in awaited].index("POST") == 7
    assert outcome.result["decision"] == "recovered"
    assert REHEARSAL_SECTION not in outcome.result["plan"]["sections"]
    assert steps(outcome) == []


@pytest.mark.parametrize("is_checked", [False, True])
def test_changed_secret_is_refused_and_nothing_is_left(world: World, is_checked: bool) -> None:
    world.sandbox.switches.secrets_checked_without_traffic = is_checked
    opened = open_shop(world)
    now = world.sandbox.clock.now()
    body = {"status": 500, "body": {"version": "{{version}}"}}
    worse = world.sandbox.upload(WORKER, code="worse", secrets={"PAY_KEY": "new"}, at=now, behaviour=body)
    world.sandbox.deploy(WORKER, worse, at=now)

    outcome = rollback(opened, "--to", opened.good)

    assert ended(outcome) == (3, "refused", "secrets_changed"), outcome.err
    assert opened.live == {worse: 100}

    outcome = rollback(opened, "--to", opened.good, "--accept-changed-secrets", "PAY_KEY")

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert steps(outcome)[-1].endswith(": healthy")
    assert opened.live == {opened.good: 100}


def test_secret_edit_is_left_to_the_check_of_cloudflare(rehearsed: Shop) -> None:
    edited = rehearsed.world.sandbox.put_secret(WORKER, "PAY_KEY", "new")

    outcome = rollback(rehearsed, "--to", rehearsed.good)

    assert ended(outcome) == (3, "refused", "secrets_changed"), outcome.err
    assert steps(outcome)[0].startswith("skipped: a secret was edited after")
    assert rehearsed.live == {edited: 100}


@pytest.mark.slow
def test_upload_with_current_secrets_is_rehearsed(rehearsed: Shop) -> None:
    rehearsed.world.edit_config("rehearse: true", "rehearse: true\n        static_assets: false")

    outcome = rollback(rehearsed, "--current-secrets")

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    new = rehearsed.world.sandbox.deployments(WORKER)[0].percentages
    (uploaded,) = new
    assert uploaded not in {rehearsed.good, rehearsed.bad}
    assert splits(rehearsed) == [{rehearsed.bad: 100, uploaded: 0}, {rehearsed.bad: 100}, {uploaded: 100}]


@pytest.mark.slow
def test_rehearsal_counts_neither_as_release_nor_as_foreign(rehearsed: Shop) -> None:
    asked = rehearsed.world.sandbox.clock.now()
    rehearsed.world.sandbox.clock.advance(1)
    leave_rehearsal(rehearsed)

    listed = rehearsed.ops("versions", "web", "--environment", "live", "--json")
    outcome = rollback(rehearsed, "--requested-at", asked.isoformat())

    found = {each["id"]: each for each in listed.result["versions"]}
    assert found[rehearsed.bad]["percent"] == 100
    assert listed.result["target"] == rehearsed.good
    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    again = rollback(rehearsed)
    assert ended(again) == (0, "nothing_to_do", "already_stepped_back")


@pytest.mark.slow
def test_report_shows_the_result_of_the_rehearsal(rehearsed: Shop) -> None:
    github = rehearsed.world.sandbox.github
    number = github.open_issue("Cart fails", "", ["incident"], github.add_user("mai"))

    done = rehearsed.ops(*ROLLBACK, "--yes", "--incident", str(number), **github.environ())
    told = rehearsed.ops("incident", "report", str(number), **github.environ())

    assert (done.code, told.code) == (0, 0), done.err + told.err
    (report,) = [issue for issue in github.issues if issue.find_label("post-incident")]
    text = report.body or ""
    assert ": healthy" in text
    assert f"`{rehearsed.good[:8]}` by" in text
    assert "at 0 %" not in text.partition("## Evidence")[2]


FORGED_RUN = "20261124T030500-beef"


@pytest.mark.parametrize(
    ("run", "more", "commenter"),
    [
        ("", " rehearsed={old}", ""),
        (FORGED_RUN, "; undo", ""),
        ("", "; undo", ""),
        (FORGED_RUN, "; undo", "zoe"),
    ],
    ids=["of a rehearsal", "of no run", "of a run on the incident", "with the comment of a stranger"],
)
def test_forged_mark_hides_no_deployment_from_the_report(rehearsed: Shop, run: str, more: str, commenter: str) -> None:
    """Without `run` it is that of the rollback, which everybody can read on the incident."""
    sandbox = rehearsed.world.sandbox
    github = sandbox.github
    number = github.open_issue("Cart fails", "", ["incident"], github.add_user("mai"))
    done = rehearsed.ops(*ROLLBACK, "--yes", "--incident", str(number), **github.environ())
    sandbox.clock.advance(60)
    message = f"ops1 incident={number} run={run or done.result['run']} blames=-{more.format(old=rehearsed.old)}"
    shares = {rehearsed.good: 60, rehearsed.old: 40}
    deployment = sandbox.deploy(WORKER, shares, message=message, author="eve@shop.example")
    if commenter:
        written = RecordRow(sandbox.clock.now(), "written", f"deployment {deployment}")
        body = embed_record("Fine.", RunRecord(run, decision="recovered", rows=(written,)))
        github.comment(number, body, github.add_user(commenter, "read"))
    sandbox.clock.advance(60)
    github.close(number, "mai")

    told = rehearsed.ops("incident", "report", str(number), **github.environ())

    assert told.code == 0, told.err
    (report,) = [issue for issue in github.issues if issue.find_label("post-incident")]
    split = f"`{rehearsed.good[:8]}` at 60 % and `{rehearsed.old[:8]}` at 40 %"
    (row,) = [line for line in (report.body or "").splitlines() if "[deployed]" in line and split in line]
    assert "shop.example" in row


def test_deployment_after_a_lost_answer_has_one_row_in_the_report(rehearsed: Shop) -> None:
    """The run never learned the ID of its deployment."""
    sandbox = rehearsed.world.sandbox
    github = sandbox.github
    number = github.open_issue("Cart fails", "", ["incident"], github.add_user("mai"))
    sandbox.fault(**WRITE, lost="after")
    incident = ("--incident", str(number))

    done = rehearsed.ops(*ROLLBACK, "--yes", "--no-rehearsal", *incident, **github.environ())
    sandbox.clock.advance(60)
    github.close(number, "mai")
    rehearsed.ops("incident", "report", str(number), **github.environ())

    assert done.result["decision"] == "recovered", done.err
    assert [text.rpartition(": ")[2] for text in texts(done, "written")] == [f"{rehearsed.good[:8]} is live"]
    (report,) = [issue for issue in github.issues if issue.find_label("post-incident")]
    rows = [line for line in (report.body or "").splitlines() if "[deployed]" in line]
    assert len(rows) == 1
    assert f"`{rehearsed.bad[:8]}`" in rows[0]


@pytest.mark.slow
def test_mark_of_a_rehearsal_hides_no_traffic(rehearsed: Shop) -> None:
    leave_rehearsal(rehearsed, share=40)

    outcome = rollback(rehearsed, "--dry-run")

    assert f"{rehearsed.bad[:8]} at 60 % and {rehearsed.good[:8]} at 40 %" in outcome.result["plan"]["summary"]


def test_page_with_nothing_but_rehearsals_is_read_on(rehearsed: Shop) -> None:
    for _ in range(12):
        leave_rehearsal(rehearsed)

    outcome = rollback(rehearsed)

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert rehearsed.live == {rehearsed.good: 100}


@pytest.mark.slow
def test_relapse_rehearses_the_next_older_version(rehearsed: Shop) -> None:
    """Deployments of a rehearsal are neither foreign nor rollbacks."""
    assert rollback(rehearsed, "--incident", "42").code == 0
    rehearsed.world.sandbox.clock.advance(720)
    relapsed = str(rehearsed.world.sandbox.deployments(WORKER)[0].id)

    outcome = rollback(rehearsed, "--incident", "42", "--relapsed", relapsed)

    assert outcome.code == 0, outcome.err
    assert {rehearsed.good: 100.0, rehearsed.old: 0.0} in splits(rehearsed)
    assert rehearsed.live == {rehearsed.old: 100}
    again = rollback(rehearsed, "--incident", "42", "--relapsed", relapsed)
    assert (again.code, again.result["reason"]) == (0, "already_stepped_back"), again.err


@pytest.mark.slow
def test_leftover_of_a_rehearsal_does_not_stop_the_step_after_a_relapse(rehearsed: Shop) -> None:
    assert rollback(rehearsed, "--incident", "42").code == 0
    sandbox = rehearsed.world.sandbox
    sandbox.clock.advance(720)
    relapsed = str(sandbox.deployments(WORKER)[0].id)
    message = f"ops1 incident=42 run=r1 blames=- rehearsed={rehearsed.old}"
    sandbox.deploy(WORKER, {rehearsed.good: 100, rehearsed.old: 0}, message=message)

    outcome = rollback(rehearsed, "--incident", "42", "--relapsed", relapsed)

    assert outcome.code == 0, outcome.err
    assert rehearsed.live == {rehearsed.old: 100}

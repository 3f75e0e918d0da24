"""`ops limits`: plan on a pull request, apply after the merge, and reconcile drift."""

import json
import subprocess
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox.edge.status_pages import StatusIncident
from tests.conftest import Outcome, World
from tests.support import limits
from tests.support.commands import ended, texts
from tests.support.limits import SHIPPED, LimitsWorld, changed, temporary

PUT = {"method": "PUT", "path": "/accounts/*/storage/kv/namespaces/*/values/*"}


@pytest.fixture
def place(world: World) -> LimitsWorld:
    return limits.limits_world(world)


def in_hours(world: World, hours: float) -> str:
    return f"{world.sandbox.clock.now() + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"


# Apply after the merge


def test_merged_limits_are_written_once_and_verified(place: LimitsWorld) -> None:
    place.commit(changed(40))

    done = place.apply()

    assert ended(done) == (0, "recovered", "not_seen_failing")
    revision = place.stored["revision"]
    assert done.result["message"] == (
        f"revision {revision} of limits.yml is in effect at the probed location; other locations follow"
    )
    assert revision.startswith(place.sha[:12])
    assert place.stored["limits"]["calc"] == {"limit": 40, "period": 60, "key": "ip", "probe": True}
    assert [(each.method, each.path.rpartition("/")[2]) for each in place.world.writes() if each.method == "PUT"] == [
        ("PUT", "ops%2Flimits")
    ]
    assert "limit calc healthy: first 429 at request 41, wanted between request 41 and 80" in texts(done, "probed")[-1]
    assert place.calculate(41) == [200] * 40 + [429]
    assert place.github.issues == []


def test_apply_is_idempotent(place: LimitsWorld) -> None:
    place.apply()
    place.world.sandbox.clock.advance(60)
    place.world.sandbox.requests.clear()

    again = place.apply()

    assert ended(again) == (0, "nothing_to_do", "already_live")
    assert not [each for each in place.world.sandbox.requests if each.method == "PUT"]


def test_too_large_step_is_not_applied(place: LimitsWorld) -> None:
    """The value in KV is the base, also after a push to the default branch without a pull request."""
    place.apply()
    place.world.sandbox.clock.advance(60)
    place.commit(changed(30_000))

    refused = place.apply()

    assert refused.code == 2
    assert "calc.limit: more than 10 times the current 30 in 60 s" in refused.result["message"]
    assert place.stored["limits"]["calc"]["limit"] == 30
    place.commit(changed(30_000).replace("probe: true}", "probe: true, override: a load test}"))
    assert ended(place.apply())[0] == 0
    assert place.stored["limits"]["calc"]["limit"] == 30_000


def test_large_step_down_is_applied_with_a_warning(place: LimitsWorld) -> None:
    place.apply()
    place.world.sandbox.clock.advance(60)
    place.commit(changed(1))

    done = place.apply()

    assert done.code == 0
    assert "calc.limit: 1 is a tenth or less of the current 30 in 60 s" in done.result["plan"]["warnings"]


def test_dry_run_writes_nothing(place: LimitsWorld) -> None:
    done = place.apply("--dry-run")

    assert ended(done) == (0, "planned", "dry_run")
    assert "calc: value in the code → 30 in 60 s per ip, probed" in done.result["plan"]["sections"]["Limits"]
    assert place.stored is None


@pytest.mark.parametrize("touches", ["limits.yml", "README.md"])
def test_superseded_run_changes_nothing(place: LimitsWorld, touches: str) -> None:
    place.github.add_commit("Later", "alice", files={touches: changed(50)})

    done = place.apply()

    if touches == "limits.yml":
        assert ended(done) == (0, "nothing_to_do", "superseded")
        assert "changed limits.yml again" in done.result["message"]
        assert place.stored is None
    else:
        assert ended(done)[1] == "recovered"


def test_no_success_before_the_revision_shows(place: LimitsWorld) -> None:
    """The location caches for a minute that there was no value."""
    place.world.sandbox.switches.kv_staleness_seconds = 60
    place.calculate(1)
    began = place.world.sandbox.clock.now()

    done = place.apply()

    assert ended(done)[:2] == (0, "recovered")
    assert place.world.sandbox.clock.now() - began >= timedelta(seconds=59)
    *before, last = texts(done, "probed")[1:]
    assert len(before) > 10
    assert all("unhealthy: json limits.revision null" in text for text in before), before[:2]
    assert "runtime healthy" in last


@pytest.mark.slow
def test_invisible_revision_is_unhealthy_and_opens_incident(place: LimitsWorld) -> None:
    place.world.sandbox.switches.kv_staleness_seconds = 600
    place.calculate(1)

    done = place.apply()

    assert ended(done) == (6, "still_unhealthy", "still_unhealthy")
    assert "the probes do not confirm: revision" in done.result["message"]
    assert [issue.title for issue in place.github.issues] == ["limits apply on api in production: Still unhealthy"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ({"status": 429}, "first 429 at request 1, wanted between request 31 and 60"),
        ({"status": 204}, "first 429 none in 60 requests, wanted between request 31 and 60"),
        ({"status": 404}, "first 429 request 1 was answered with status 404"),
    ],
)
def test_unproved_rate_limit_is_a_warning(place: LimitsWorld, path: dict[str, int], said: str) -> None:
    place.world.sandbox.edge_fault(path="/__ops/limits/calc", times=None, body="", **path)

    done = place.apply()

    assert ended(done)[:2] == (0, "recovered")
    assert f"not proved: limit calc: {said.replace('first 429 ', 'first 429: ', 1)}" in texts(done, "warning")


def test_lost_kv_answer_is_resolved_by_read_back(place: LimitsWorld) -> None:
    place.world.sandbox.switches.kv_api_staleness_seconds = 0
    place.world.sandbox.fault(**PUT, lost="after")

    done = place.apply()

    assert ended(done)[:2] == (0, "recovered")
    assert len([each for each in place.world.sandbox.requests if each.method == "PUT"]) == 1


def test_lost_write_is_repeated_once(place: LimitsWorld) -> None:
    place.world.sandbox.fault(**PUT, lost="before")

    assert ended(place.apply())[:2] == (0, "recovered")
    assert len([each for each in place.world.sandbox.requests if each.method == "PUT"]) == 2


def test_foreign_value_after_unclear_write_stays(place: LimitsWorld) -> None:
    theirs = {"version": 1, "revision": "0" * 12 + "-" + "1" * 8, "limits": {}}
    place.world.sandbox.fault(**PUT, lost="before", before=lambda: place.put(theirs))

    done = place.apply()

    assert done.result["reason"] == "world_moved"
    assert place.stored == theirs


@pytest.mark.slow
def test_concurrent_equal_writes_both_succeed(place: LimitsWorld) -> None:
    """The other run happens between the plan and the write of this one."""
    others: list[Outcome] = []
    place.world.sandbox.fault(**PUT, before=lambda: others.append(place.apply()))

    done = place.apply()

    assert [ended(each)[1] for each in (done, *others)] == ["recovered", "recovered"]
    assert done.result["plan"]["changes"][0]["after"] == f"revision {place.stored['revision']}"


@pytest.mark.slow
@pytest.mark.parametrize("text", ["garbage", '{"version": 1}', "[]"])
def test_malformed_kv_value_is_replaced_with_a_warning(place: LimitsWorld, text: str) -> None:
    place.put(text)

    done = place.apply()

    assert ended(done)[:2] == (0, "recovered")
    assert "malformed text: not a value of the limits" in done.result["plan"]["changes"][0]["before"]
    assert done.result["plan"]["warnings"]


def test_newer_kv_value_is_not_replaced(place: LimitsWorld) -> None:
    place.put({"version": 2, "revision": "x", "limits": {}})

    for done in (place.apply(), place.reconcile()):
        assert ended(done) == (3, "refused", "unknown_value")
    assert place.stored["version"] == 2


def test_invalid_file_is_not_applied(place: LimitsWorld) -> None:
    place.commit(SHIPPED.replace("30", "007"))

    done = place.apply()

    assert ended(done) == (2, "refused", "config_invalid")
    assert place.stored is None


@pytest.mark.slow
def test_laptop_uses_the_fetched_default_branch(place: LimitsWorld) -> None:
    folder = place.world.folder
    repository(folder)
    laptop = dict.fromkeys([*place.github.environ(), "GITHUB_ACTIONS", "GITHUB_SHA"])

    assert ended(place.apply(**laptop))[:2] == (0, "recovered")
    place.write(changed(70))
    refused = place.apply(**laptop)
    assert (refused.code, "limits.yml here is not as it was committed" in refused.result["message"]) == (3, True)
    git(folder, "commit", "-qam", "Mine")
    superseded = place.apply(**laptop)
    assert ended(superseded) == (0, "nothing_to_do", "superseded")
    assert place.stored["limits"]["calc"]["limit"] == 30


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def repository(folder: Path) -> None:
    """Make the folder a clone whose origin/main is its current content."""
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "limits.yml", "ops.yml")
    git(folder, "commit", "-qm", "Limits")
    git(folder, "update-ref", "refs/remotes/origin/main", "HEAD")


@pytest.mark.slow
def test_result_is_added_to_the_plan_comment(place: LimitsWorld, tmp_path: Path) -> None:
    number = place.pull(changed(40))
    assert planned(place, number, tmp_path).code == 0
    place.merge(number)

    place.apply()

    (comment,) = place.comments(number)
    assert "### limits.yml: 1 of 2 limits changes" in comment
    assert "**After the merge:** recovered: revision" in comment
    place.apply()
    assert len(place.comments(number)) == 1
    assert place.comments(number)[0].count("After the merge") == 1


def test_pull_request_of_fork_gets_result_after_merge(place: LimitsWorld) -> None:
    place.github.add_user("zoe", "read")
    number = place.github.open_fork_pull("Raise", "zoe", {"limits.yml": changed(40)})
    place.merge(number)

    place.apply()

    (comment,) = place.comments(number)
    assert "**After the merge:** recovered: revision" in comment


def test_dry_run_keeps_the_plan_comment(place: LimitsWorld) -> None:
    number = place.pull(changed(40))
    place.merge(number)

    done = place.apply("--dry-run")

    assert ended(done) == (0, "planned", "dry_run")
    assert place.comments(number) == []


# Plan in the job of a pull request


def planned(place: LimitsWorld, number: int, folder: Path, **environ: Any) -> Outcome:
    """Plan as the workflow does: the folder is a checkout of the base."""
    pull = place.github.issue(number).pull
    assert pull is not None
    event = {"pull_request": {"number": number, "head": {"sha": pull.head_sha}, "base": {"sha": pull.base_sha}}}
    path = folder / f"event-{number}.json"
    path.write_text(json.dumps(event))
    given = {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(path), "CLOUDFLARE_API_TOKEN": None}
    return place.ops("plan", **{**given, "GITHUB_STEP_SUMMARY": str(folder / "summary.md"), **environ})


def test_pull_request_gets_one_plan_comment(place: LimitsWorld, tmp_path: Path) -> None:
    number = place.pull(changed(60))

    first = planned(place, number, tmp_path)
    place.github.add_commit("Less", "alice", files={"limits.yml": changed(45)}, branch=f"limits-{number - 1}")
    second = planned(place, number, tmp_path)

    assert (first.code, second.code) == (0, 0)
    (comment,) = place.comments(number)
    assert "- `calc`: 30 in 60 s per ip → **45 in 60 s per ip** (+50 %); in effect now 30; live 30 in 60 s" in comment
    assert "- `ai`: 10 in 60 s per user; in effect now 10; live 10 in 60 s" in comment
    assert "+100 %" in (tmp_path / "summary.md").read_text()


def test_invalid_pull_request_lists_all_problems(place: LimitsWorld, tmp_path: Path) -> None:
    number = place.pull(changed(400).replace("limit: 10", "limit: 0"))

    done = planned(place, number, tmp_path)

    assert done.code == 3
    (comment,) = place.comments(number)
    for place_ in (
        "limits.yml:11 calc.limit: more than 10 times",
        "limits.yml:12 ai.limit: too small; write 1 or more",
    ):
        assert place_ in comment
        assert place_ in (tmp_path / "summary.md").read_text()
        assert f"::error title=limits.yml::{place_}" in done.err


def test_fork_gets_plan_in_job_summary(place: LimitsWorld, tmp_path: Path) -> None:
    place.github.add_user("zoe", "read")
    reading = place.github.add_workflow_token("ghs_reading", {"contents": "read", "pull_requests": "read"})
    good, bad = (
        place.github.open_fork_pull("Raise", "zoe", {"limits.yml": text}) for text in (changed(60), changed(600))
    )

    done, refused = (planned(place, number, tmp_path, GITHUB_TOKEN=reading) for number in (good, bad))

    assert (done.code, refused.code) == (0, 3)
    assert "the token of this job may not comment" in done.out
    assert "+100 %" in (tmp_path / "summary.md").read_text()
    assert "more than 10 times" in (tmp_path / "summary.md").read_text()
    assert place.comments(good) == place.comments(bad) == []


def test_pull_request_cannot_influence_its_plan(place: LimitsWorld, tmp_path: Path) -> None:
    """It also changes ops.yml to declare its limit, but the checkout is the base."""
    place.github.add_commit(
        "All mine",
        "alice",
        files={
            "limits.yml": SHIPPED + "mine: {limit: 1, period: 1, key: ip}\n",
            "ops.yml": "mine",
            "ops/scheduled/plan_limits.py": "x",
        },
        branch="mine",
    )
    number = place.github.open_pull("Mine", "mine", "alice")

    assert planned(place, number, tmp_path).code == 3
    assert "limits.yml:13 mine: unknown limit; ops.yml does not list it" in place.comments(number)[0]


def test_pull_request_without_file_is_invalid(place: LimitsWorld, tmp_path: Path) -> None:
    place.github.add_commit("Away", "alice", files={"limits.yml": None}, branch="away")
    number = place.github.open_pull("Away", "away", "alice")

    assert planned(place, number, tmp_path).code == 3
    assert "limits.yml is missing" in place.comments(number)[0]


def test_comments_of_others_are_never_edited(place: LimitsWorld, tmp_path: Path) -> None:
    number = place.pull(changed(60))
    place.github.comment(number, "<!-- backout limits production -->\nmine", "alice")

    planned(place, number, tmp_path)

    assert [comment.startswith("<!-- backout limits production -->") for comment in place.comments(number)] == [
        True,
        True,
    ]
    assert place.comments(number)[0].endswith("mine")


# Plan on a laptop


@pytest.mark.slow
def test_laptop_compares_with_the_merge_base(place: LimitsWorld) -> None:
    repository(place.world.folder)
    git(place.world.folder, "checkout", "-qb", "more")
    place.write(changed(45))
    git(place.world.folder, "commit", "-qam", "More")
    laptop = dict.fromkeys([*place.github.environ(), "GITHUB_ACTIONS", "GITHUB_SHA", "CLOUDFLARE_API_TOKEN"])

    told = json.loads(place.ops("plan", "--json", **laptop).out)
    none = place.ops("plan", "--base", "HEAD", **laptop)

    assert (told["summary"], told["changed"]) == ("1 of 2 limits changes", ["calc"])
    assert [each["percent"] for each in told["limits"]] == [50.0, 0.0]
    assert told["limits"][0]["live"] == {"limit": 30, "period": 60}
    assert "no change; live limits are read at one location: no limits.yml" in none.out


def test_plan_without_network_reports_unknown_live_limits(place: LimitsWorld) -> None:
    told = place.ops("plan", "--base", "", OPS_EDGE_URL="http://127.0.0.1:9")

    assert told.code == 0
    assert "live limits are unknown: https://api.fortunet.example/__ops/runtime could not be reached" in told.out


def test_file_option_is_planned_or_refused(place: LimitsWorld, tmp_path: Path) -> None:
    other = tmp_path / "other.yml"
    other.write_text(changed(0))

    told = place.ops("plan", "--file", str(other))

    assert told.code == 3
    assert "error: limits.yml:11 calc.limit: too small; write 1 or more" in told.out


def test_five_hundred_limits_plan_within_a_second(place: LimitsWorld) -> None:
    names = [f"limit-{number}" for number in range(500)]
    place.world.edit_config("names: [calc, ai]", f"names: [calc, ai, {', '.join(names)}]")
    place.write(SHIPPED + "".join(f"{name}: {{limit: 5, period: 60, key: ip}}\n" for name in names))
    began = time.process_time()  # the machine may be busy with others

    told = place.ops("plan", "--json")

    assert told.code == 0, told.out + told.err
    assert len(json.loads(told.out)["limits"]) == 502
    assert time.process_time() - began < 1


# Reconcile drift


def drift(place: LimitsWorld) -> list[Any]:
    return [issue for issue in place.github.issues if any(label.name == "limits-drift" for label in issue.labels)]


def test_reconcile_reports_missing_value(place: LimitsWorld) -> None:
    done = place.reconcile()

    assert ended(done) == (0, "nothing_to_do", "never_applied")
    assert "limits.yml was never applied here" in done.result["message"]
    assert (place.stored, place.github.issues) == (None, [])


@pytest.mark.slow
def test_reconcile_removes_ended_limit(place: LimitsWorld) -> None:
    place.commit(temporary(60, in_hours(place.world, 4)))
    place.apply()
    assert place.calculate(61) == [200] * 60 + [429]
    assert ended(place.reconcile()) == (0, "nothing_to_do", "already_live")

    place.world.sandbox.clock.advance(4 * 3600 + 60)
    assert place.calculate(31) == [200] * 30 + [429]
    done = place.reconcile()

    assert ended(done)[:2] == (0, "recovered")
    assert done.result["plan"]["summary"].startswith("a temporary limit has ended")
    assert "temporary" not in place.stored["limits"]["calc"]
    assert ended(place.reconcile()) == (0, "nothing_to_do", "already_live")
    assert place.github.issues == []


def end_a_limit(place: LimitsWorld) -> None:
    """Apply a temporary limit, and let it end by the clock."""
    place.commit(temporary(60, in_hours(place.world, 4)))
    place.apply()
    place.world.sandbox.clock.advance(4 * 3600 + 60)


def test_schedule_removes_no_ended_limit_in_an_outage(place: LimitsWorld) -> None:
    """The application has ended the limit by its own clock, so the pause changes nothing for users."""
    end_a_limit(place)
    sandbox = place.world.sandbox
    sandbox.switches.status_pages_lag_seconds = 0
    sandbox.status_pages.begin_incident("cloudflare", "KV errors", {"Workers KV": "major_outage"})
    assert place.calculate(31)[-1] == 429

    paused = place.reconcile(GITHUB_EVENT_NAME="schedule")

    assert ended(paused) == (0, "planned", "provider_outage")
    assert "Cloudflare has an outage (www.cloudflarestatus.com: Workers KV: major outage" in paused.result["message"]
    assert paused.result["message"] in texts(paused, "warning")
    assert "temporary" in place.stored["limits"]["calc"]
    assert place.github.issues == []
    sandbox.clock.advance(3600)
    assert ended(place.reconcile(GITHUB_EVENT_NAME="schedule"))[:2] == (0, "recovered")


def test_incident_that_stays_open_pauses_for_one_day_only(place: LimitsWorld) -> None:
    end_a_limit(place)
    sandbox = place.world.sandbox
    is_slow = StatusIncident(name="KV is slow", components={"Workers KV": "degraded_performance"})
    ends = []
    for hours in (23, 25):
        sandbox.status_pages.cloudflare.incidents = [replace(is_slow, age=timedelta(hours=hours))]
        ends.append(ended(place.reconcile(GITHUB_EVENT_NAME="schedule"))[2])

    assert ends == ["provider_outage", "not_seen_failing"]


def test_component_without_an_incident_does_not_pause(place: LimitsWorld) -> None:
    """Cloudflare may leave it so for weeks, and no start limits the pause."""
    end_a_limit(place)
    place.world.sandbox.status_pages.cloudflare.states["Workers KV"] = "major_outage"

    assert ended(place.reconcile(GITHUB_EVENT_NAME="schedule"))[1] == "recovered"


def test_person_removes_an_ended_limit_in_an_outage(place: LimitsWorld) -> None:
    end_a_limit(place)
    sandbox = place.world.sandbox
    sandbox.switches.status_pages_lag_seconds = 0
    sandbox.status_pages.begin_incident("cloudflare", "KV errors", {"Workers KV": "major_outage"})

    assert ended(place.reconcile())[:2] == (0, "recovered")


def test_drift_is_reported_on_one_issue(place: LimitsWorld) -> None:
    place.apply()
    place.world.sandbox.clock.advance(60)
    by_hand = {**place.stored, "limits": {**place.stored["limits"], "calc": {"limit": 5, "period": 60, "key": "ip"}}}
    place.put(by_hand)

    done = place.reconcile()

    assert ended(done) == (0, "nothing_to_do", "drifted")
    (issue,) = drift(place)
    assert "- calc: 5 in 60 s per ip → 30 in 60 s per ip, probed\n" in issue.body
    place.put({**by_hand, "limits": {**by_hand["limits"], "ai": {"limit": 1, "period": 60, "key": "user"}}})
    place.reconcile()
    (issue,) = drift(place)
    assert "ai: 1 in 60 s per user" in issue.body
    assert place.stored["limits"]["calc"]["limit"] == 5
    place.apply()
    place.world.sandbox.clock.advance(60)
    place.reconcile()
    assert (drift(place)[0].state, len(drift(place))) == ("closed", 1)


def test_comment_in_file_is_no_drift(place: LimitsWorld) -> None:
    place.apply()
    place.world.sandbox.clock.advance(60)
    place.commit(f"# another\n{SHIPPED}")

    assert ended(place.reconcile()) == (0, "nothing_to_do", "already_live")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hours", "enforce", "incident", "corrects"),
    [(25, True, False, True), (23, True, False, False), (25, False, False, False), (25, True, True, False)],
)
def test_drift_is_corrected_after_a_day_without_incident(
    place: LimitsWorld, hours: int, enforce: bool, incident: bool, corrects: bool
) -> None:
    place.world.edit_config("names: [calc, ai]\n", f"names: [calc, ai]\n        enforce: {str(enforce).lower()}\n")
    place.apply()
    place.put({**place.stored, "limits": {}})
    assert ended(place.reconcile())[2] == "drifted"
    if incident:
        place.github.open_issue("The API answers 500", labels=["incident"], author="alice")

    place.world.sandbox.clock.advance(hours * 3600)
    done = place.reconcile()

    assert (ended(done)[1] == "recovered") is corrects
    assert bool(place.stored["limits"]) is corrects
    assert (drift(place)[0].state == "closed") is corrects


def test_dry_run_closes_no_issue(place: LimitsWorld) -> None:
    place.apply()
    value = place.stored
    place.put({**value, "limits": {}})
    place.reconcile()
    place.put(value)

    done = place.reconcile("--dry-run")

    assert ended(done) == (0, "planned", "dry_run")
    assert drift(place)[0].state == "open"


def test_malformed_kv_value_is_drift(place: LimitsWorld) -> None:
    place.apply()
    place.put("garbage")

    assert ended(place.reconcile()) == (0, "nothing_to_do", "drifted")
    assert "malformed text: not a value of the limits" in drift(place)[0].body


@pytest.mark.slow
def test_drift_without_github_is_only_reported(place: LimitsWorld) -> None:
    repository(place.world.folder)
    place.apply()
    place.put({**place.stored, "limits": {}})
    laptop = dict.fromkeys([*place.github.environ(), "GITHUB_ACTIONS", "GITHUB_SHA"])
    place.world.edit_config("names: [calc, ai]\n", "names: [calc, ai]\n        enforce: true\n")

    done = place.reconcile(**laptop)

    assert ended(done) == (0, "nothing_to_do", "drifted")
    assert "without GitHub the age of the difference is unknown" in done.result["message"]

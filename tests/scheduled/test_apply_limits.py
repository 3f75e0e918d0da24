"""`ops limits apply`: write merged limits once, verify them, and report on the pull request."""

import json
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops.scheduled.apply_limits import VALUES_SECTION
from tests.conftest import Outcome, World
from tests.support import limits
from tests.support.commands import JSON, ended, texts
from tests.support.limits import SHIPPED, LimitsWorld, changed
from tests.support.site_repository import SiteRepository

PUT = {"method": "PUT", "path": "/accounts/*/storage/kv/namespaces/*/values/*"}


@pytest.fixture
def place(world: World) -> LimitsWorld:
    return limits.limits_world(world)


@pytest.mark.slow
def test_merged_limits_are_written_once_and_verified(place: LimitsWorld) -> None:
    place.commit(changed(40))

    done = place.apply()

    assert ended(done) == (0, "recovered", "not_seen_failing")
    revision = place.stored["revision"]
    assert f"{revision} of limits.yml " in done.result["message"]
    assert revision.startswith(place.sha[:12])
    assert place.stored["limits"]["calc"] == {"limit": 40, "period": 60, "key": "ip", "probe": True}
    assert [(each.method, each.path.rpartition("/")[2]) for each in place.world.writes() if each.method == "PUT"] == [
        ("PUT", "ops%2Flimits")
    ]
    assert (
        "limit calc as requested: first 429 at request 41, wanted between request 41 and 80"
        in texts(done, "probed")[-1]
    )
    assert place.calculate(41) == [200] * 40 + [429]
    assert place.github.issues == []


@pytest.mark.slow
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


@pytest.mark.slow
def test_large_step_down_is_applied_with_a_warning(place: LimitsWorld) -> None:
    place.apply()
    place.world.sandbox.clock.advance(60)
    place.commit(changed(1))

    done = place.apply()

    assert done.code == 0
    assert "calc.limit: 1 is a tenth or less of the current 30 in 60 s" in done.result["plan"]["warnings"]


@pytest.mark.slow
def test_dry_run_writes_nothing(place: LimitsWorld) -> None:
    done = place.apply("--dry-run")

    assert ended(done) == (0, "planned", "dry_run")
    assert "calc: value in the code → 30 in 60 s per ip, probed" in done.result["plan"]["sections"][VALUES_SECTION]
    assert place.stored is None


@pytest.mark.sampled
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


@pytest.mark.slow
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
    assert all("runtime inconclusive: json limits.revision null" in text for text in before), before[:2]
    assert "runtime as requested" in last


@pytest.mark.slow
def test_invisible_revision_is_not_seen_live_and_opens_incident(place: LimitsWorld) -> None:
    place.world.sandbox.switches.kv_staleness_seconds = 600
    place.calculate(1)

    done = place.apply()

    assert ended(done) == (8, "no_evidence", "no_evidence")
    assert done.result["message"].startswith("written, not seen live: ")
    assert [issue.title for issue in place.github.issues] == ["limits apply on api in production: No evidence"]


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


@pytest.mark.slow
def test_used_up_counter_of_an_earlier_proof_is_replaced(place: LimitsWorld) -> None:
    """The mark of a run may choose a counter that another run used up within the same window."""
    place.world.sandbox.edge_fault(path="/__ops/limits/calc", times=2, body="", status=429)

    done = place.apply()

    assert (
        "limit calc as requested: first 429 at request 31, wanted between request 31 and 60"
        in texts(done, "probed")[-1]
    )


@pytest.mark.slow
def test_lost_kv_answer_is_resolved_by_read_back(place: LimitsWorld) -> None:
    place.world.sandbox.switches.kv_api_staleness_seconds = 0
    place.world.sandbox.fault(**PUT, lost="after")

    done = place.apply()

    assert ended(done)[:2] == (0, "recovered")
    assert len([each for each in place.world.sandbox.requests if each.method == "PUT"]) == 1


@pytest.mark.slow
def test_lost_write_is_repeated_once(place: LimitsWorld) -> None:
    place.world.sandbox.fault(**PUT, lost="before")

    assert ended(place.apply())[:2] == (0, "recovered")
    assert len([each for each in place.world.sandbox.requests if each.method == "PUT"]) == 2


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert ended(refused) == (3, "refused", "unknown_name")
    assert "limits.yml" in refused.result["message"]
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


@pytest.mark.slow
def test_pull_request_of_fork_gets_result_after_merge(place: LimitsWorld) -> None:
    place.github.add_user("zoe", "read")
    number = place.github.open_fork_pull("Raise", "zoe", {"limits.yml": changed(40)})
    place.merge(number)

    place.apply()

    (comment,) = place.comments(number)
    assert "**After the merge:** recovered: revision" in comment


@pytest.mark.slow
def test_dry_run_keeps_the_plan_comment(place: LimitsWorld) -> None:
    number = place.pull(changed(40))
    place.merge(number)

    done = place.apply("--dry-run")

    assert ended(done) == (0, "planned", "dry_run")
    assert place.comments(number) == []


def planned(place: LimitsWorld, number: int, folder: Path, **environ: Any) -> Outcome:
    """Plan as the workflow does: the folder is a checkout of the base."""
    pull = place.github.issue(number).pull
    assert pull is not None
    event = {"pull_request": {"number": number, "head": {"sha": pull.head_sha}, "base": {"sha": pull.base_sha}}}
    path = folder / f"event-{number}.json"
    path.write_text(json.dumps(event))
    given = {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(path), "CLOUDFLARE_API_TOKEN": None}
    return place.ops("plan", **{**given, "GITHUB_STEP_SUMMARY": str(folder / "summary.md"), **environ})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lost", "code", "reason"),
    [("file", 2, "config_invalid"), ("commits", 3, "unknown_name"), ("checkout", 3, "unknown_name")],
)
def test_limits_without_a_file_or_commit_are_not_applied(place: LimitsWorld, lost: str, code: int, reason: str) -> None:
    job: dict[str, str | None] = {}
    if lost == "file":
        (place.world.folder / "limits.yml").unlink()
    elif lost == "commits":
        place.github.fault(path="/repos/*/*/commits", body="[]", times=None, **JSON)
    else:
        job = {"GITHUB_ACTIONS": None, "GITHUB_SHA": None}

    refused = place.apply(**job)

    assert ended(refused) == (code, "refused", reason)
    assert place.stored is None


@pytest.mark.slow
def test_laptop_needs_a_commit_of_the_limits(place: LimitsWorld) -> None:
    found = SiteRepository(place.world.folder)
    found.git("init", "-q", "-b", "main")
    found.git("commit", "-q", "--allow-empty", "-m", "Nothing yet")
    (place.world.folder / "limits.yml").write_text("")
    laptop: dict[str, str | None] = dict.fromkeys(("GITHUB_ACTIONS", "GITHUB_SHA", "GITHUB_TOKEN", "GITHUB_REPOSITORY"))

    refused = place.apply(**laptop)

    assert ended(refused) == (3, "refused", "unknown_name")
    assert place.stored is None

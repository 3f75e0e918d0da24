"""`ops limits plan`: the comment on a pull request, and the plan on a laptop."""

import json
import time
from pathlib import Path

import pytest

from tests.scheduled.test_apply_limits import git, place, planned, repository
from tests.support.limits import SHIPPED, LimitsWorld, changed

__all__ = ["place"]


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


def test_push_without_the_file_withdraws_the_plan(place: LimitsWorld, tmp_path: Path) -> None:
    """Also on a branch that is behind the base: its older file is no change of the pull request."""
    number = place.pull(changed(60))
    branch = f"limits-{number - 1}"
    planned(place, number, tmp_path)
    place.github.add_commit("Not this", "alice", files={"limits.yml": SHIPPED, "notes.txt": "later"}, branch=branch)

    dropped = [planned(place, number, tmp_path) for _ in range(2)]
    place.commit(changed(33))
    behind = planned(place, number, tmp_path)

    assert [each.code for each in (*dropped, behind)] == [0, 0, 0]
    (comment,) = place.comments(number)
    assert "### limits.yml is unchanged" in comment
    assert "**60 in 60 s per ip**" not in comment
    place.github.add_commit("Notes", "alice", files={"notes.txt": "x"}, branch="notes")
    unrelated = place.github.open_pull("Notes", "notes", "alice")
    assert planned(place, unrelated, tmp_path).code == 0
    assert place.comments(unrelated) == []
    place.github.add_commit("Again", "alice", files={"limits.yml": changed(45)}, branch=branch)
    planned(place, number, tmp_path)
    assert "**45 in 60 s per ip**" in place.comments(number)[0]


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


def test_a_rate_limit_is_not_a_missing_permission(place: LimitsWorld, tmp_path: Path) -> None:
    number = place.pull(changed(60))
    place.github.switches.content_writes_per_minute = 0

    done = planned(place, number, tmp_path)

    assert done.code == 0
    assert "could not write the comment" in done.out
    assert "may not comment" not in done.out
    assert "+100 %" in (tmp_path / "summary.md").read_text()


def test_comments_of_others_are_never_edited(place: LimitsWorld, tmp_path: Path) -> None:
    number = place.pull(changed(60))
    place.github.comment(number, "<!-- backout limits production -->\nmine", "alice")

    planned(place, number, tmp_path)

    assert [comment.startswith("<!-- backout limits production -->") for comment in place.comments(number)] == [
        True,
        True,
    ]
    assert place.comments(number)[0].endswith("mine")


@pytest.mark.slow
def test_laptop_compares_with_the_merge_base(place: LimitsWorld) -> None:
    repository(place.world.folder)
    git(place.world.folder, "checkout", "-qb", "more")
    place.write(changed(45))
    git(place.world.folder, "commit", "-qam", "More")
    laptop = dict.fromkeys([*place.github.environ(), "GITHUB_ACTIONS", "GITHUB_SHA", "CLOUDFLARE_API_TOKEN"])

    told = json.loads(place.ops("plan", "--json", **laptop).out)
    none = place.ops("plan", "--base", "HEAD", **laptop)
    unknown = place.ops("plan", "--base", "gone", **laptop)

    assert (told["summary"], told["changed"]) == ("1 of 2 limits changes", ["calc"])
    assert [each["percent"] for each in told["limits"]] == [50.0, 0.0]
    assert told["limits"][0]["live"] == {"limit": 30, "period": 60}
    assert "no change; live limits are read at one location: no limits.yml" in none.out
    assert (unknown.code, '"gone"' in unknown.err) == (2, True)


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


def test_event_that_is_no_pull_request_is_refused(place: LimitsWorld, tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text("{}")
    job = {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(tmp_path / "event.json")}

    other = place.ops("plan", **job)
    (tmp_path / "event.json").unlink()
    gone = place.ops("plan", **job)

    assert (other.code, gone.code) == (2, 2)
    assert "GITHUB_EVENT_PATH" in gone.err


def test_base_outside_of_a_checkout_is_refused(place: LimitsWorld) -> None:
    refused = place.ops("plan", "--base", "main", GITHUB_ACTIONS=None)

    assert refused.code == 2, refused.out
    assert "`--base`" in refused.err

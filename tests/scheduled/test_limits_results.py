"""Results of merged limits: on the pull request, on the incident, and on the drift issue."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Outcome, World
from tests.scheduled.test_apply_limits import git, repository
from tests.support import limits
from tests.support.commands import ended
from tests.support.limits import SHIPPED, LimitsWorld, changed


@pytest.fixture
def place(world: World) -> LimitsWorld:
    found = limits.limits_world(world)
    found.github.switches.actions_may_create_pull_requests = True
    found.apply()
    world.sandbox.clock.advance(60)
    return found


def incident(place: LimitsWorld) -> int:
    return place.github.open_issue("Users get 429", labels=["incident"], author="alice")


def in_hours(place: LimitsWorld, hours: float) -> str:
    return f"{place.world.sandbox.clock.now() + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"


def raising(place: LimitsWorld, number: int, limit: int = 60, hours: float = 4) -> str:
    more = f', temporary: {{limit: {limit}, until: "{in_hours(place, hours)}", reason: many, incident: {number}}}'
    return SHIPPED.replace("probe: true}", f"probe: true{more}}}")


def merge(place: LimitsWorld, text: str) -> int:
    number = place.pull(text)
    place.merge(number)
    return number


def drift(place: LimitsWorld) -> list[Any]:
    return [issue for issue in place.github.issues if any(label.name == "limits-drift" for label in issue.labels)]


def lines(place: LimitsWorld, number: int) -> list[str]:
    """Return the visible notes on an incident."""
    return [text.partition("\n")[0] for text in place.comments(number) if '"source":"note"' in text.replace(" ", "")]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["merge", "squash"])
def test_each_of_two_merges_within_a_minute_gets_its_result(place: LimitsWorld, method: str) -> None:
    first = place.pull(changed(300))
    place.sha = place.github.merge(first, "alice", method=method)
    place.write(changed(300))
    second = place.pull(changed(3000))
    late, late_text = place.sha, changed(300)
    place.sha = place.github.merge(second, "alice", method=method)

    place.write(late_text)
    superseded = place.apply(GITHUB_SHA=late)
    place.write(changed(3000))
    refused = place.apply()

    assert ended(superseded) == (0, "nothing_to_do", "superseded")
    assert len(re.findall("`[0-9a-f]{12}`", place.comments(first)[0])) == 2
    assert ended(refused) == (2, "refused", "config_invalid")
    assert place.stored["limits"]["calc"]["limit"] == 30
    (comment,) = place.comments(second)
    assert re.search(r"\*\*After the merge:\*\* refused: .*\bcalc\.limit\b.* 10 .* 30 in 60 s\b.*`override`", comment)
    (issue,) = drift(place)
    assert "calc: 30 in 60 s per ip, probed → 3000 in 60 s per ip, probed" in issue.body
    place.apply()
    assert (len(place.comments(second)), len(drift(place))) == (1, 1)
    merge(place, changed(100))
    assert place.apply().code == 0
    assert drift(place)[0].state == "closed"


@pytest.mark.slow
def test_invalid_file_after_a_merge_gets_its_result(place: LimitsWorld) -> None:
    number = merge(place, SHIPPED.replace("30", "007"))

    assert place.apply("--dry-run").code == 2
    assert (place.comments(number), drift(place)) == ([], [])
    assert place.apply().code == 2

    assert "**After the merge:** refused: nothing was changed: limits.yml has 1 problem" in place.comments(number)[0]
    assert len(drift(place)) == 1


@pytest.mark.slow
def test_incident_hears_of_apply_and_end(place: LimitsWorld) -> None:
    number = incident(place)
    merge(place, raising(place, number))
    until = f"{place.world.sandbox.clock.now() + timedelta(hours=4):%Y-%m-%d %H:%M:%S} UTC"

    for _run in range(2):
        assert place.apply().code == 0
    (line,) = lines(place, number)
    assert re.search(f"production: calc raised to 60 until {until}: (?!not )", line)

    place.world.sandbox.clock.advance(5 * 3600)
    for _run in range(2):
        assert place.reconcile().code == 0
    _, end = lines(place, number)
    assert end.startswith(f"**{until[:16]} UTC** production: calc: the raise to 60 ended; 30 in 60 s applies")


@pytest.mark.slow
def test_end_is_noted_by_the_next_merge_without_a_schedule(place: LimitsWorld) -> None:
    """The merge removes the entry, so that only the former file names the incident."""
    number = incident(place)
    merge(place, raising(place, number))
    place.apply()
    place.world.sandbox.clock.advance(5 * 3600)
    merge(place, SHIPPED.replace("limit: 10", "limit: 11"))

    place.apply()

    assert [line.partition("production: ")[2] for line in lines(place, number)][1:] == [
        "calc: the raise to 60 ended; 30 in 60 s applies"
    ]


@pytest.mark.slow
def test_unconfirmed_and_unproved_raises_are_noted(place: LimitsWorld) -> None:
    number = incident(place)
    merge(place, raising(place, number))
    place.world.sandbox.edge_fault(path="/__ops/limits/calc", times=None, body="", status=204)

    place.apply()

    (line,) = lines(place, number)
    assert "not proved: limit calc: first 429: none in 120 requests" in line
    place.world.sandbox.switches.kv_staleness_seconds = 600
    place.calculate(1)
    merge(place, raising(place, number, 90))
    assert place.apply().code == 8
    assert any("calc raised to 90" in line and "not confirmed, no evidence" in line for line in lines(place, number))


@pytest.mark.slow
def test_expired_entry_changes_nothing_and_the_rest_applies(place: LimitsWorld) -> None:
    number = incident(place)
    pull = place.pull(raising(place, number).replace("limit: 10", "limit: 11"))
    place.world.sandbox.clock.advance(5 * 3600)
    place.merge(pull)

    done = place.apply()

    assert ended(done)[:2] == (0, "recovered")
    assert "the temporary limit 60 of calc ended at" in done.result["message"]
    assert place.stored["limits"]["calc"] == {"limit": 30, "period": 60, "key": "ip", "probe": True}
    assert place.stored["limits"]["ai"]["limit"] == 11
    assert "calc was not raised to 60: the entry ended at" in lines(place, number)[0]


@pytest.mark.slow
def test_merge_of_only_an_expired_entry_raises_nothing(place: LimitsWorld) -> None:
    number = incident(place)
    pull = place.pull(raising(place, number))
    place.world.sandbox.clock.advance(5 * 3600)
    place.merge(pull)

    for _run in range(2):
        done = place.apply()

        assert ended(done) == (0, "nothing_to_do", "already_live")
        assert "limits.yml changes nothing" in done.result["message"]
        assert "the temporary limit 60 of calc ended at" in done.result["message"]
    assert len(lines(place, number)) == 1
    assert "nothing to do: limits.yml changes nothing" in place.comments(pull)[0]


def test_refused_raise_is_noted_on_its_incident(place: LimitsWorld) -> None:
    number = incident(place)
    merge(place, raising(place, number).replace("limit: 10", "limit: 1000"))

    assert place.apply().code == 2

    assert "calc was not raised to 60: limits.yml is refused" in lines(place, number)[0]


@pytest.mark.sampled
@pytest.mark.parametrize("number", [999, 1])
def test_entry_with_a_number_that_is_no_incident_gets_no_line(place: LimitsWorld, number: int) -> None:
    place.github.open_issue("A question", author="alice")
    merge(place, raising(place, number))

    done = place.apply()

    assert done.code == 0
    assert f"warning: #{number} " in done.err
    assert place.comments(1) == []


def test_run_without_a_token_answers_on_the_pull_request(place: LimitsWorld) -> None:
    number = merge(place, changed(40))

    for _run in range(2):
        assert place.apply(CLOUDFLARE_API_TOKEN=None).code == 2

    (comment,) = place.comments(number)
    assert "**After the merge:** not applied:" in comment
    assert "CLOUDFLARE" in comment
    assert place.reconcile(CLOUDFLARE_API_TOKEN=None).code == 2
    assert place.apply().code == 0
    assert "**After the merge:** recovered" in place.comments(number)[0]


def test_plan_warns_of_a_raise_below_the_live_value(place: LimitsWorld, tmp_path: Path) -> None:
    place.put({**place.stored, "limits": {"calc": {"limit": 200, "period": 60, "key": "ip"}}})
    place.world.sandbox.clock.advance(60)

    plan = planned(place, place.pull(changed(60)), tmp_path)

    assert plan.code == 0
    assert "warning: calc: 60 in 60 s is more than the base, but less than the live 200 in 60 s" in plan.out


@pytest.mark.slow
def test_unwritable_incident_is_a_warning(place: LimitsWorld) -> None:
    number = incident(place)
    merge(place, raising(place, number))
    place.github.fault(method="POST", path=f"/repos/*/*/issues/{number}/comments", status=503, body="{}", times=None)

    done = place.apply()

    assert done.code == 0
    assert "warning: could not publish the result on GitHub" in done.err


def planned(place: LimitsWorld, number: int, folder: Path) -> Outcome:
    """Plan a pull request as its job does."""
    pull = place.github.issue(number).pull
    assert pull is not None
    event = {"pull_request": {"number": number, "head": {"sha": pull.head_sha}, "base": {"sha": pull.base_sha}}}
    (folder / "event.json").write_text(json.dumps(event))
    told = {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(folder / "event.json")}
    return place.ops("plan", **told, CLOUDFLARE_API_TOKEN=None)


def lowered(place: LimitsWorld, limit: int) -> None:
    """Merge and apply another permanent value."""
    merge(place, changed(limit))
    place.apply()
    place.world.sandbox.clock.advance(60)


@pytest.mark.parametrize("method", ["merge", "squash"])
def test_revert_within_a_month_needs_no_override(place: LimitsWorld, tmp_path: Path, method: str) -> None:
    lowered(place, 2)
    place.world.sandbox.clock.advance(29 * 86400)
    revert = place.pull(SHIPPED)

    plan = planned(place, revert, tmp_path)
    place.merge(revert, method)
    done = place.apply()

    assert plan.code == 0
    assert "calc.limit: 30 restores a value of the last 30 days" in plan.out
    assert ended(done)[:2] == (0, "recovered")
    assert place.stored["limits"]["calc"]["limit"] == 30


@pytest.mark.parametrize(("days", "limit"), [(31, 30), (1, 40)], ids=["older", "never in the file"])
def test_other_large_step_still_needs_an_override(place: LimitsWorld, tmp_path: Path, days: int, limit: int) -> None:
    lowered(place, 2)
    place.world.sandbox.clock.advance(days * 86400)
    number = place.pull(changed(limit))

    assert planned(place, number, tmp_path).code == 3
    place.merge(number)
    assert place.apply().code == 2
    assert place.stored["limits"]["calc"]["limit"] == 2


@pytest.mark.slow
def test_refused_value_is_not_restored(place: LimitsWorld, tmp_path: Path) -> None:
    """It stood on the branch for a day, but no run applied it."""
    lowered(place, 3000)
    assert place.stored["limits"]["calc"]["limit"] == 30
    place.world.sandbox.clock.advance(86400)
    lowered(place, 25)
    assert place.stored["limits"]["calc"]["limit"] == 25
    number = place.pull(changed(3000))

    assert planned(place, number, tmp_path).code == 3
    place.merge(number)
    assert place.apply().code == 2


@pytest.mark.slow
def test_value_inside_a_pull_request_is_not_restored(place: LimitsWorld, tmp_path: Path) -> None:
    """Only a merge counts, and not each commit of its branch."""
    branch = "steps"
    for limit in (300, 3000, 20):
        place.github.add_commit("Step", "alice", files={"limits.yml": changed(limit)}, branch=branch)
    place.merge(place.github.open_pull("Steps", branch, "alice"))
    place.apply()
    assert place.stored["limits"]["calc"]["limit"] == 20
    place.world.sandbox.clock.advance(60)
    number = place.pull(changed(3000))

    assert planned(place, number, tmp_path).code == 3
    place.merge(number)
    assert place.apply().code == 2


def test_unreadable_history_restores_nothing(place: LimitsWorld) -> None:
    lowered(place, 2)
    merge(place, SHIPPED)
    place.github.fault(method="GET", path="/repos/*/*/commits/*/pulls", status=503, body="{}", times=None)

    assert place.apply().code == 2


@pytest.mark.slow
def test_laptop_reads_the_history_of_git(place: LimitsWorld) -> None:
    folder, laptop = place.world.folder, dict.fromkeys([*place.github.environ(), "GITHUB_ACTIONS", "GITHUB_SHA"])
    repository(folder)
    for text in (changed(2), SHIPPED):
        place.write(text)
        git(folder, "commit", "-qam", "Limits")
        git(folder, "update-ref", "refs/remotes/origin/main", "HEAD")
        assert place.apply(**laptop).code == 0
        place.world.sandbox.clock.advance(60)

    assert place.stored["limits"]["calc"]["limit"] == 30

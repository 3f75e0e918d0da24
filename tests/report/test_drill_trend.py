"""Results of drills on the tracking issue, and what `ops status` and `ops doctor` say of them."""

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from ops.core.drill_result import DrillKind, DrillOutcome, DrillTime
from ops.core.errors import ProviderError
from ops.core.threads import run_parallel
from tests.conftest import World
from tests.support.hostile import PIECES, skeleton
from tests.support.shop import Shop, open_shop
from tests.support.staging_drills import SECTION, open_drilled_shop, publish, result_of


@pytest.fixture
def shop(world: World) -> Shop:
    return open_drilled_shop(world)


def status(shop: Shop, **environ: Any) -> dict[str, Any]:
    variables = {**shop.world.sandbox.github.environ(), **environ}
    shown: dict[str, Any] = shop.ops("status", "--environment", "live", "--json", **variables).result
    return shown


def drills(shop: Shop) -> dict[str, Any]:
    found: dict[str, Any] = status(shop)["staging_drills"]
    return found


def doctor(shop: Shop) -> list[dict[str, Any]]:
    done = shop.ops("doctor", "--only", "staging-drill", "--json", **shop.world.sandbox.github.environ())
    checks: list[dict[str, Any]] = done.result["checks"]
    return checks


def bodies(shop: Shop) -> list[str]:
    """Return all comments: none but results."""
    return [each.body for issue in shop.world.sandbox.github.issues for each in issue.comments]


def count_tags(body: str) -> Counter[str]:
    return Counter(match[1] for each in skeleton(body) if (match := re.match(r"<(\w+)", each)))


def test_last_twelve_results_are_on_one_issue_with_a_chart_that_the_table_repeats(shop: Shop) -> None:
    for month in range(14, 0, -1):
        publish(shop, result_of(shop, month * 2, seconds=None if month == 5 else month + 20))

    shown, newest = drills(shop), bodies(shop)[-1]
    recovered = [None if month == 5 else month + 20 for month in range(12, 0, -1)]
    assert [each["verified"]["seconds"] for each in shown["drills"]] == recovered
    assert shown["warnings"] == []
    assert len({issue.number for issue in shop.world.sandbox.github.issues}) == 1
    known = [seconds for seconds in recovered if seconds is not None]
    assert f"bar {known}" in newest
    assert f"line {[60] * len(known)}" in newest
    assert [int(each) for each in re.findall(r"\| (\d+) s \(target 1 min\) \|$", newest, re.MULTILINE)] == known
    assert count_tags(newest)["tr"] == 13


def test_team_without_the_section_sees_nothing_of_drills(world: World) -> None:
    shop = open_shop(world)
    assert "staging_drills" not in status(shop)
    assert [each["answer"] for each in doctor(shop)] == ["right"]
    assert [request.path for request in world.sandbox.github.requests if "drill" in request.path] == []


@pytest.mark.parametrize(
    ("days_ago", "more", "warnings"),
    [
        (3, {}, 0),
        (41, {}, 1),
        (3, {"seconds": 61}, 1),
        (3, {"write": DrillTime(31, 30)}, 1),
        (3, {"outcome": DrillOutcome.FAILED}, 1),
        (3, {"outcome": DrillOutcome.STOPPED}, 1),
        (3, {"seconds": None}, 0),
        (41, {"seconds": 61, "write": DrillTime(31, 30), "outcome": DrillOutcome.FAILED}, 4),
    ],
)
def test_late_slow_and_failed_drills_are_warnings(
    shop: Shop, days_ago: float, more: dict[str, Any], warnings: int
) -> None:
    publish(shop, result_of(shop, days_ago, **more))

    assert len(drills(shop)["warnings"]) == warnings
    assert sum(each["answer"] == "wrong" for each in doctor(shop)) == warnings


def test_missing_result_is_a_warning(shop: Shop) -> None:
    assert drills(shop) == {
        "drills": [],
        "due_at": None,
        "warnings": ["no staging drill has a result yet"],
        "doubts": "",
        "url": "",
        "unread": "",
    }
    lines = shop.ops("status", "--environment", "live", **shop.world.sandbox.github.environ()).out
    assert "! no staging drill has a result yet" in lines.partition("staging drills")[2]


def test_stopped_drill_after_a_good_one_does_not_hide_it(shop: Shop) -> None:
    publish(shop, result_of(shop, 3))
    publish(shop, result_of(shop, 1, outcome=DrillOutcome.STOPPED, seconds=None))

    assert drills(shop)["warnings"] == []
    assert [each["outcome"] for each in drills(shop)["drills"]] == ["passed", "stopped"]


def test_second_and_third_press_add_nothing(shop: Shop) -> None:
    result = result_of(shop)
    urls = {publish(shop, result) for _ in range(3)}

    assert (len(urls), len(bodies(shop))) == (1, 1)


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("what", ["issues", "comments"])
def test_lost_answer_of_a_write_leaves_one_result_after_the_next_press(shop: Shop, what: str, applied: bool) -> None:
    path = "/repos/*/*/issues" if what == "issues" else "/repos/*/*/issues/*/comments"
    shop.world.sandbox.github.fault(method="POST", path=path, status=502, times=1, applied=applied)
    result = result_of(shop)

    for _ in range(2):
        try:
            publish(shop, result)
        except ProviderError:
            continue

    assert len(bodies(shop)) == 1
    assert len(drills(shop)["drills"]) == 1
    assert len(shop.world.sandbox.github.issues) == 1


def test_two_results_at_once_both_stay(shop: Shop) -> None:
    results = [result_of(shop, days) for days in (0, 1)]
    run_parallel([lambda each=each: publish(shop, each) for each in results])  # type: ignore[misc]

    assert len(drills(shop)["drills"]) == 2


def test_results_on_two_issues_of_two_first_drills_both_count(shop: Shop) -> None:
    hub = shop.world.sandbox.github
    publish(shop, result_of(shop, 2))
    first = hub.issues[0]
    marker = first.body
    first.body = ""
    publish(shop, result_of(shop, 1))
    first.body = marker

    assert len(drills(shop)["drills"]) == 2


def test_configured_issue_is_used_and_a_missing_one_is_named(world: World) -> None:
    shop = open_drilled_shop(world, SECTION.replace("}", ", tracking_issue: 1}"))
    assert "#1" in drills(shop)["unread"]
    assert [each["answer"] for each in doctor(shop)] == ["wrong"]
    number = world.sandbox.github.open_issue("Drills of the shop", "Ours.", [], "mai")
    publish(shop, result_of(shop))

    assert (number, len(world.sandbox.github.issues[0].comments)) == (1, 1)
    assert len(drills(shop)["drills"]) == 1
    assert world.sandbox.github.issues[0].body == "Ours."


def test_result_of_a_laptop_names_the_person_and_that_of_the_workflow_counts_more(shop: Shop) -> None:
    result = result_of(shop)
    publish(shop, result, login="alice")
    assert [each["recorded_by"] for each in drills(shop)["drills"]] == ["alice"]

    publish(shop, result)
    assert [each["recorded_by"] for each in drills(shop)["drills"]] == [""]


def test_edited_result_and_results_of_strangers_do_not_count(shop: Shop) -> None:
    hub = shop.world.sandbox.github
    hub.add_user("mallory", "read")
    publish(shop, result_of(shop, 50))
    publish(shop, result_of(shop, 1, seconds=99))
    (issue,) = hub.issues
    hub.comment(issue.number, bodies(shop)[0], "mallory")
    slow = issue.comments[1]
    hub.edit_comment(issue.number, slow.id, slow.body.replace('"seconds":99', '"seconds":9'), "mai")

    shown = drills(shop)
    assert len(shown["drills"]) == 1
    assert "mai" in shown["doubts"]
    assert len(shown["warnings"]) == 1
    assert {each["answer"] for each in doctor(shop)} == {"wrong", "not_provable"}


def test_github_down_is_unknown_and_changes_no_exit_code(shop: Shop) -> None:
    publish(shop, result_of(shop))
    code = status(shop)["exit_code"]
    shop.world.sandbox.github.fault(method="*", path="/**", status=503, times=None)

    shown = status(shop)
    assert (shown["staging_drills"]["drills"], bool(shown["staging_drills"]["unread"])) == (None, True)
    assert shown["staging_drills"]["warnings"] == []
    assert shown["exit_code"] == code


def test_hostile_names_change_no_structure(shop: Shop) -> None:
    plain = result_of(shop)
    publish(shop, plain)
    (usual,) = map(count_tags, bodies(shop))
    for text in PIECES:
        publish(shop, replace(plain, name=text[:90], service=text[:90], environment=text[:90]))

        issues = shop.world.sandbox.github.issues
        other = count_tags(issues[-1].comments.pop().body)
        added = {tag: number for tag, number in (other - usual).items() if tag not in {"code", "pre"}}
        assert added == {"p": 1, "tr": 1, "td": 4}, text  # the words below the chart, and the row of the second drill


def test_secret_in_a_result_is_masked(shop: Shop) -> None:
    token = shop.environ()["SHOP_TOKEN"]
    publish(shop, result_of(shop, report=f"https://github.example/{token}"))

    assert token not in bodies(shop)[0]


def test_kind_and_outcome_are_read_back(shop: Shop) -> None:
    result = result_of(shop, report="https://github.example/acme/operations/issues/7")
    publish(shop, result)

    (shown,) = drills(shop)["drills"]
    assert (shown["kind"], shown["outcome"], shown["report"]) == (DrillKind.STAGING, result.outcome, result.report)


def test_two_first_drills_at_once_use_one_issue(shop: Shop) -> None:
    hub = shop.world.sandbox.github
    first, second = result_of(shop, 1), result_of(shop, 0)
    hub.fault(method="POST", path="/repos/*/*/issues", before=lambda: publish(shop, second))
    publish(shop, first)

    older, newer = hub.issues
    assert (older.state, newer.state) == ("open", "closed")
    assert len(older.comments) == 2
    assert [f"#{older.number}" in each.body for each in newer.comments] == [True]
    assert len(drills(shop)["drills"]) == 2


def test_results_stay_after_github_deleted_their_workflow_runs(shop: Shop) -> None:
    """GitHub keeps the runs of a public repository for 90 days."""
    for number in range(14):
        publish(shop, result_of(shop, 14 - number, seconds=10 + number), run=101 + number)
    for number in range(13):
        shop.world.sandbox.github.fault(
            method="GET", path=f"/repos/*/*/actions/runs/{101 + number}", status=404, times=9
        )
    shop.world.sandbox.github.fault(
        method="GET", path="/repos/*/*/actions/runs", body='{"workflow_runs": []}', status=200, times=9
    )

    shown = drills(shop)
    assert [each["verified"]["seconds"] for each in shown["drills"]] == [*range(12, 24)]
    assert (shown["doubts"], shown["warnings"]) == ("", [])


def test_laptop_proves_only_its_own_result(shop: Shop) -> None:
    publish(shop, result_of(shop, 2))
    publish(shop, result_of(shop, 1), login="alice")
    (issue,) = shop.world.sandbox.github.issues
    issue.comments.pop(0)

    assert [each["recorded_by"] for each in drills(shop)["drills"]] == ["alice"]

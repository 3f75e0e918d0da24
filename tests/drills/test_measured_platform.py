"""`ops drill --platform`: what the sandbox plays of a measured platform, and that it never becomes easier."""

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.drills.measured_platform import PlatformProfile, read_profile
from ops.platform.measurements import read_assumptions
from sandbox.switches import GitHubSwitches, Switches, parse, parse_values
from tests.conftest import World
from tests.support.configurations import PAGES_ONLY
from tests.support.platform_files import platform_text
from tests.support.verification import measured_account

NOW = datetime.now(UTC) - timedelta(minutes=5)
CHECKED = [each for each in read_assumptions() if each.check]
NAMES = {kind: {field.name for field in fields(kind)} for kind in (Switches, GitHubSwitches)}
LAGS = {each.partition(">=")[0] for row in CHECKED for values in row.plays.values() for each in values if ">=" in each}
EASIER = {
    "edge_machines_differ": False,
    "kv_writes_per_key_limited": False,
    "d1_later_bookmarks_kept": True,
    "pages_reads_until_deployed": 0,
}
"""Switch → a value that only removes a difficulty, by its text in `sandbox/switches.py`."""
FEWER = {"calls_per_five_minutes", "variables_per_worker", "d1_time_travel_days"}
"""Switches whose greater values are easier."""
times = st.one_of(st.none(), st.floats(0.0, 119.0).map(lambda seconds: round(seconds, 2)))
numbers = st.integers(0, 20).map("{} reads too early".format)


def words(row: Any) -> st.SearchStrategy[str]:
    """Return answers of a check: those that the table knows, with any number, and others."""
    known = [each for each in row.plays if "#" not in each]
    others = ["another shape", "other rows", "HTTP 500", "Cloudflare answered HTTP 400, code 10013"]
    return st.one_of(st.sampled_from([row.expected, *known, *others]), numbers, st.just("code 8000009"))


answers = st.lists(
    st.sampled_from(CHECKED).flatmap(
        lambda row: st.tuples(st.just(row.id), times if row.at_most is not None else words(row))
    ),
    max_size=12,
).map(dict)
"""Assumption → answer, of some assumptions."""


def profile_of(found: dict[str, Any], *switches: str) -> PlatformProfile:
    with TemporaryDirectory() as folder:
        path = Path(folder, "platform.json")
        path.write_text(platform_text(NOW, found, only=found))
        return read_profile(path, parse(switches))


def played_by(profile: PlatformProfile) -> list[dict[str, Any]]:
    """Return name → value of all switches in each run. The defaults are those of the sandbox."""
    return [
        {
            **vars(parse(played.cloudflare)),
            **vars(replace(GitHubSwitches(), **parse_values(played.github, GitHubSwitches()))),
        }
        for played in profile.runs
    ]


@given(answers)
def test_no_file_makes_the_sandbox_easier(found: dict[str, Any]) -> None:
    profile = profile_of(found)

    defaults = {**vars(Switches()), **vars(GitHubSwitches())}
    runs = played_by(profile)
    for switches in runs:
        changed = {name: value for name, value in switches.items() if value != defaults[name]}
        assert [name for name, value in changed.items() if name in EASIER and value == EASIER[name]] == []
        assert changed.keys().isdisjoint(FEWER)
        assert [name for name in LAGS if switches[name] < defaults[name]] == []
    first = {name for name, value in runs[0].items() if value != defaults[name]}
    assert first <= LAGS, "an answer of another form stands in no run alone"
    assert 1 <= len(runs) <= 2


@given(answers)
def test_each_measured_answer_is_played_or_named(found: dict[str, Any]) -> None:
    profile = profile_of(found)

    played = played_by(profile)[-1]
    for row in (each for each in CHECKED if each.id in found):
        answer = found[row.id]
        if isinstance(answer, str) and answer != row.expected and not any("#" in each for each in row.plays):
            named = f"{row.id}, {answer}: " in " ".join(profile.notes)
            assert named is not bool(row.plays.get(answer)), (row.id, answer)
        if isinstance(answer, float) and row.switches:
            values = [each.partition(">=")[0] for each in row.plays.get("# s", ())]
            assert all(played[name] >= answer for name in values), (row.id, answer)


def test_rows_play_switches_of_their_own_with_values_that_exist() -> None:
    for row in read_assumptions():
        for answer, values in row.plays.items():
            assert answer != row.expected, (row.id, "is the default")
            for each in values:
                name = each.partition("=")[0].removesuffix(">")
                of = next(kind for kind, names in NAMES.items() if name in names)
                assert name in row.switches, (row.id, name)
                parse_values([each.replace(">=", "=").replace("#", "5")], of())


TURNED: dict[str, Any] = {
    "deployments_listed": None,
    "has_assets_listed": False,
    "deployments_lag_reads": 2,
    "version_visible_after_reads": 3,
    "code_update_strategy_answered": True,
    "secret_edit_ends_split": True,
    "forced_rollback_restores_secrets": True,
    "static_files_answer_hit": False,
    "edge_access_before_deployments": True,
    "pages_canonical_lag_reads": 2,
    "pages_refusal_code": 8000009,
    "audit_cursor_after": False,
    "telemetry_names_what_is_missing": True,
    "d1_bookmark_shows_restore": True,
    "d1_stale_reads": 2,
    "auth_error_status": 401,
}
LONGER: dict[str, Any] = {"kv_staleness_seconds": 90.0, "kv_api_staleness_seconds": 40.0, "audit_lag_seconds": 100.0}


def test_drill_plays_what_a_run_measured() -> None:
    """A platform with these answers is measured, and its file makes the same platform again."""
    with measured_account(replace(Switches(), **TURNED, **LONGER)) as measured:
        measured.measure()
        profile = read_profile(measured.output, Switches())

    first, second = played_by(profile)
    assert {name: second[name] for name in TURNED} == TURNED
    assert {name: first[name] for name in TURNED if name not in LAGS} == {
        name: getattr(Switches(), name) for name in TURNED if name not in LAGS
    }
    for name, seconds in LONGER.items():
        assert seconds <= first[name] == second[name] <= seconds + 21.0, "its check reads each 20 seconds"


def test_platform_as_assumed_changes_nothing() -> None:
    assert played_by(profile_of({})) == [{**vars(Switches()), **vars(GitHubSwitches())}]


def test_person_may_choose_a_longer_lag_and_no_shorter_one() -> None:
    found = {"kv-edge-lag": 75.0}

    values = [
        played_by(profile_of(found, given))[0]["kv_staleness_seconds"]
        for given in ("kv_staleness_seconds=0", "auth_error_status=401")
    ]

    assert values == [75.0, 75.0]
    assert played_by(profile_of({"kv-edge-lag": 75.4}, "kv_staleness_seconds=5"))[0]["kv_staleness_seconds"] >= 75.4
    assert profile_of(found, "kv_staleness_seconds=200").lags.cloudflare == ()


def test_time_without_an_end_is_played_longer_than_the_longest_wait() -> None:
    profile = profile_of({"worker-propagation": None})

    assert played_by(profile)[0]["propagation_seconds"] > 120.0
    assert any("worker-propagation, more than 120 s" in each for each in profile.notes)


def test_words_of_an_answer_say_its_number(tmp_path: Path) -> None:
    """A person changed the seconds of an answer that has none."""
    file, found = tmp_path / "platform.json", {"deployment-listed": "5 reads too early"}
    result = json.loads(platform_text(NOW, found, only=found))
    result["assumptions"][0]["seconds"] = 0.0
    file.write_text(json.dumps(result))

    assert played_by(read_profile(file, Switches()))[0]["deployments_lag_reads"] == 5


def test_what_was_not_measured_is_named() -> None:
    (named,) = profile_of({"kv-edge-lag": 75.0}).notes

    assert "worker-propagation" in named
    assert "kv-edge-lag" not in named


@pytest.mark.parametrize(
    ("trigger", "runs"),
    [
        ((), [[]]),
        pytest.param(("--trigger", "command"), [["lists_lag_seconds=8.0"]], marks=pytest.mark.slow),
    ],
)
def test_drill_without_github_plays_no_answer_of_github(
    world: World, tmp_path: Path, trigger: tuple[str, ...], runs: list[list[str]]
) -> None:
    file = tmp_path / "platform.json"
    file.write_text(platform_text(NOW, {"list-lag": 8.0}))

    outcome = world.ops("drill", "feature", "--json", "--platform", str(file), *trigger)
    played = json.loads(outcome.out)["platform"]

    assert (outcome.code, played["runs"]) == (0, runs), outcome.err
    assert ("lists_lag_seconds" in "".join(played["notes"])) is not bool(trigger)


def test_answers_of_github_are_played_by_the_local_github() -> None:
    profile = profile_of({"list-lag": 8.0, "mergeable-known": None, "issue-body-limit": "HTTP 422"})

    first, second = played_by(profile)
    assert profile.lags.github == ("lists_lag_seconds=8.0",)
    assert (first["mergeable_is_known"], second["mergeable_is_known"]) == (True, False)
    assert (second["lists_lag_seconds"], second["over_long_issue_body_is_refused"]) == (8.0, True)
    assert played_by(profile_of({"mergeable-known": 5.0}))[-1]["mergeable_is_known"] is True


def test_scorecard_says_what_was_played(world: World, tmp_path: Path) -> None:
    file = tmp_path / "platform.json"
    file.write_text(platform_text(NOW, {"kv-edge-lag": 75.0, "unknown-token": "HTTP 401", "d1-undo": "other rows"}))
    fit_nothing = ("drill", "all", "--only", "limits", "--config", str(PAGES_ONLY), "--platform", str(file))

    outcomes = [world.ops(*fit_nothing, *form) for form in ((), ("--markdown",), ("--json",))]

    assert [each.code for each in outcomes] == [8, 8, 8]
    for each in outcomes:
        for fact in ("kv_staleness_seconds=75", "auth_error_status=401", "d1-undo, other rows"):
            assert fact in each.out.replace("\\", "")
    assert len(json.loads(outcomes[2].out)["platform"]["runs"]) == 2


@pytest.mark.parametrize("content", [None, "{}", "[", platform_text(datetime.now(UTC) + timedelta(days=2))])
def test_file_that_no_run_wrote_is_refused_before_any_drill(world: World, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "platform.json"
    if content is not None:
        file.write_text(content)

    for name in ("rollback-worker", "all"):
        outcome = world.ops("drill", name, "--platform", str(file))

        assert (outcome.code, outcome.out) == (2, "")
        assert "platform.json" in outcome.err

"""Temporary limits proposed as a pull request, which a person merges."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops.runbooks.propose_limits import PATCH_SECTION
from tests.conftest import Outcome, World
from tests.support import limits
from tests.support.bakery import TOKEN, bakery
from tests.support.commands import ended
from tests.support.limits import SHIPPED, LimitsWorld, changed, temporary

REFS = {"method": "POST", "path": "/repos/*/*/git/refs"}
CONTENTS = {"method": "PUT", "path": "/repos/*/*/contents/limits.yml"}
PULLS = {"method": "POST", "path": "/repos/*/*/pulls"}


@pytest.fixture
def place(world: World) -> LimitsWorld:
    found = limits.limits_world(world)
    found.github.switches.actions_may_create_pull_requests = True
    return found


def propose(place: LimitsWorld, *arguments: str, **environ: Any) -> Outcome:
    """Run as the job of the label does, without a Cloudflare token."""
    where = ["--environment", "production", "--config", str(place.world.config), "--yes", "--json"]
    given = {**place.environ, "CLOUDFLARE_API_TOKEN": None, **environ}
    return place.world.ops("propose-limits", *where, *arguments, **given)


def pulls(place: LimitsWorld) -> list[Any]:
    return [issue for issue in place.github._repository.threads.values() if issue.pull]


def incident(place: LimitsWorld) -> int:
    return place.github.open_issue("Users get 429", labels=["incident"], author="alice")


@pytest.mark.slow
def test_pull_request_changes_only_configured_limits(place: LimitsWorld) -> None:
    number, clock = incident(place), place.world.sandbox.clock
    clock.advance(60 - clock.now().second)  # the run ends within the minute that it names

    done = propose(place, "--incident", str(number), "--reason", "a  <b>\nnewsletter")

    assert ended(done) == (0, "planned", "handed_on")
    (pull,) = pulls(place)
    assert done.result["press"].endswith(f"/pull/{pull.number}")
    assert place.github.changed_files(pull.number) == ["limits.yml"]
    until = f"{clock.now() + timedelta(hours=4):%Y-%m-%dT%H:%M}"
    text = place.github.files(pull.pull.head)["limits.yml"].decode()
    assert f'temporary: {{limit: 60, until: "{until}' in text
    assert f'reason: "a <b> newsletter", incident: {number}}}' in text
    kept = [line for line in SHIPPED.splitlines() if line.startswith("#")]
    assert [line for line in text.splitlines() if line.startswith("#")] == kept
    assert f"For incident #{number}. Please check" in pull.body
    assert "| `calc` | `30 in 60 s per ip` | `30 in 60 s per ip, 60 until" in pull.body
    assert "`+100 %; until" in pull.body
    assert pull.pull.head.startswith("ops/raise-limits-")
    assert place.stored is None
    assert re.search(rf"\bpull request {pull.number}\b", "\n".join(place.comments(number)))


def test_only_option_selects_limits(place: LimitsWorld) -> None:
    propose(place, "--only", "ai")

    (pull,) = pulls(place)
    text = place.github.files(pull.pull.head)["limits.yml"].decode()
    assert (
        text.count("temporary: {limit: 20"),
        "limit: 60, until" in text.partition("ai: ")[0].partition("calc:")[2],
    ) == (
        1,
        False,
    )


@pytest.mark.slow
def test_open_pull_request_of_incident_is_reused(place: LimitsWorld) -> None:
    first, second = incident(place), incident(place)
    propose(place, "--incident", str(first))

    again = propose(place, "--incident", str(first))
    other = propose(place, "--incident", str(second))

    assert ended(again) == ended(other) == (0, "planned", "handed_on")
    assert "is open and raises ai, calc: review and merge it" in again.result["message"]
    assert len(pulls(place)) == 2


def test_next_press_without_an_incident_opens_nothing_more(place: LimitsWorld) -> None:
    presses = [propose(place, GITHUB_ACTIONS="true", GITHUB_RUN_ID=str(number)) for number in (1, 2, 3)]

    (pull,) = pulls(place)
    assert [ended(each) for each in presses] == [(0, "planned", "handed_on")] * 3
    assert {each.result["press"].rpartition("/")[2] for each in presses} == {str(pull.number)}
    assert [each.result["wrote"] for each in presses] == [True, False, False]
    assert [each.title for each in place.github._repository.threads.values() if not each.pull] == [
        "propose-limits on api in production: Planned, and going on"
    ]


def test_request_without_an_incident_takes_no_pull_request_of_an_incident(place: LimitsWorld) -> None:
    """Its reviewers and its end belong to that incident."""
    propose(place, "--incident", str(incident(place)))

    propose(place)

    assert len(pulls(place)) == 2


@pytest.mark.slow
def test_pull_request_of_another_author_is_ignored(place: LimitsWorld) -> None:
    number = incident(place)
    place.github.add_commit("Mine", "alice", files={"limits.yml": "x"}, branch="ops/raise-limits-mine")
    place.github.open_pull("Mine", "ops/raise-limits-mine", "alice", f"<!-- backout limits incident={number} -->")

    propose(place, "--incident", str(number))

    assert len(pulls(place)) == 2


def test_forbidden_pull_request_shows_patch_and_link(place: LimitsWorld) -> None:
    place.github.switches.actions_may_create_pull_requests = False
    number = incident(place)

    done = propose(place, "--incident", str(number))

    assert ended(done) == (0, "planned", "handed_on")
    assert "/compare/main...ops/raise-limits-" in done.result["press"]
    assert pulls(place) == []
    assert any(line.startswith("+calc: {limit: 30") for line in done.result["plan"]["sections"][PATCH_SECTION])
    told = "\n".join(place.comments(number))
    assert re.search(r"GitHub Actions .*: --- a/limits\.yml", told)
    assert done.result["press"] in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "lost"),
    [
        (PULLS, "before"),
        (CONTENTS, "after"),
        *(
            pytest.param(where, lost, marks=pytest.mark.slow)
            for where, lost in [(REFS, "before"), (REFS, "after"), (CONTENTS, "before"), (PULLS, "after")]
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value["path"].rpartition("/")[2],
)
def test_lost_answer_is_resolved_by_read_back(place: LimitsWorld, where: dict[str, str], lost: str) -> None:
    place.github.fault(**where, lost=lost)

    done = propose(place)

    assert ended(done) == (0, "planned", "handed_on")
    assert len(pulls(place)) == 1
    assert [name for name in place.github._repository.git.branches if name != "main"] == [pulls(place)[0].pull.head]


def test_hint_of_an_unreadable_branch_says_that_the_same_command_makes_another(place: LimitsWorld) -> None:
    hide = lambda: place.github.fault(method="GET", path="/repos/*/*/git/ref/**", status=503, times=None)  # noqa: E731
    place.github.fault(**REFS, lost="after", after=hide)
    lost = propose(place)
    place.github.faults.clear()

    again = propose(place)

    assert ended(lost) == (5, "unknown_outcome", "unclear"), lost.err
    assert "another branch" in lost.result["hint"]
    assert ended(again) == (0, "planned", "handed_on"), again.err
    branches = [name for name in place.github._repository.git.refs if "/ops/raise-limits-" in name]
    assert (len(branches), len(pulls(place))) == (2, 1)


def test_dry_run_writes_nothing(place: LimitsWorld) -> None:
    done = propose(place, "--dry-run")

    assert ended(done) == (0, "planned", "dry_run")
    assert {request.method for request in place.github.requests} == {"GET"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--only", "clac"], 2, '"clac".*`raises`.*"calc"'),
        ([], 3, r"\bai$"),
    ],
)
def test_invalid_proposal_is_refused(place: LimitsWorld, arguments: list[str], code: int, said: str) -> None:
    if code == 3:
        place.commit("".join(line + "\n" for line in SHIPPED.splitlines() if not line.startswith("ai:")))

    done = propose(place, *arguments)

    assert done.code == code
    assert re.search(said, done.result["message"])
    assert pulls(place) == []


def test_missing_github_access_is_explained(place: LimitsWorld) -> None:
    done = propose(place, GITHUB_TOKEN=None)

    assert (done.code, done.result["reason"]) == (2, "token_missing")


@pytest.mark.slow
def test_merged_proposal_is_applied_and_ends(place: LimitsWorld) -> None:
    """From the first 429 to the day after the limit ended."""
    place.apply()
    assert place.calculate(31)[-1] == 429
    number = incident(place)

    propose(place, "--incident", str(number))
    (pull,) = pulls(place)
    place.merge(pull.number)
    applied = place.apply()

    assert ended(applied)[:2] == (0, "recovered")
    assert place.calculate(20) == [200] * 20
    assert "After the merge" in "\n".join(place.comments(pull.number))
    place.world.sandbox.clock.advance(4 * 3600 + 60)
    assert place.calculate(31) == [200] * 30 + [429]


@pytest.mark.slow
def test_rate_limit_after_pull_request_is_no_failure(place: LimitsWorld) -> None:
    """The read back already has the address of the pull request."""
    place.github.switches.lists_lag_seconds = 0.0
    place.github.fault(method="GET", path="/repos/*/*/pulls", skip=3, status=429, body="{}", times=None)

    done = propose(place)

    assert ended(done) == (0, "planned", "handed_on"), done.err
    (pull,) = pulls(place)
    assert done.result["press"].endswith(f"/pull/{pull.number}")


@pytest.mark.slow
def test_refusal_after_unclear_write_keeps_pull_request(place: LimitsWorld) -> None:
    place.github.fault(**PULLS, lost="after")
    place.github.fault(**PULLS, skip=1, status=429, body="{}", content_type="application/json")
    place.github.fault(method="GET", path="/repos/*/*/pulls", skip=2, body="[]", content_type="application/json")

    done = propose(place)

    assert ended(done) == (0, "planned", "handed_on"), done.err
    (pull,) = pulls(place)
    assert done.result["press"].endswith(f"/pull/{pull.number}")


def in_hours(place: LimitsWorld, hours: float) -> str:
    return f"{place.world.sandbox.clock.now() + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"


def raised(place: LimitsWorld, pull: Any) -> list[str]:
    """Return the limits with a temporary value on the branch of a pull request."""
    lines = place.github.files(pull.pull.head)["limits.yml"].decode().splitlines()
    return [line.partition(":")[0] for line in lines if "temporary: {" in line and not line.startswith("#")]


LOWERED = {
    "base": (lambda place: changed(100), "base 100 in 60 s per ip, no temporary limit, live 100 in 60 s per ip"),
    "equal base": (lambda place: changed(60), "base 60 in 60 s per ip, no temporary limit, live 60 in 60 s per ip"),
    "temporary": (
        lambda place: temporary(200, in_hours(place, 4)),
        "base 30 in 60 s per ip, temporary 200 until ",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("text", "said"), LOWERED.values(), ids=LOWERED)
def test_raise_that_lowers_is_refused_with_all_values(place: LimitsWorld, text: Any, said: str) -> None:
    place.commit(text(place))
    assert place.apply().code == 0

    for _press in range(2):
        done = propose(place, "--only", "calc")

        assert ended(done) == (3, "refused", "would_lower")
        assert f"calc to 60: {said}" in done.result["message"]
    assert (pulls(place), len(place.github._repository.git.branches)) == ([], 1)


def raise_by_hand(place: LimitsWorld, limit: int) -> None:
    """Change the limit of calc in KV, as a person does in the dashboard."""
    stored = place.stored
    stored["limits"]["calc"]["limit"] = limit
    place.put({**stored, "revision": "0" * 12 + "-" + "1" * 8})
    place.world.sandbox.clock.advance(60)


def test_raise_below_value_in_kv_is_refused(place: LimitsWorld) -> None:
    place.apply()
    raise_by_hand(place, 200)

    done = propose(place, "--only", "calc")

    assert ended(done) == (3, "refused", "would_lower")
    assert "base 30 in 60 s per ip, no temporary limit, live 200 in 60 s per ip" in done.result["message"]
    raise_by_hand(place, 60)
    assert ended(propose(place, "--only", "calc")) == (0, "planned", "handed_on")


@pytest.mark.slow
def test_label_raises_the_limits_that_it_does_not_lower(place: LimitsWorld) -> None:
    place.apply()
    raise_by_hand(place, 200)

    done = propose(place, "--incident", str(incident(place)))

    assert ended(done) == (0, "planned", "handed_on")
    (pull,) = pulls(place)
    assert (pull.title, raised(place, pull)) == ("Raise ai to 20 temporarily", ["ai"])
    assert "live 200 in 60 s per ip" in pull.body
    assert any("calc to 60: base 30" in warning for warning in done.result["plan"]["warnings"])


def test_unreadable_live_value_is_said_and_does_not_block(place: LimitsWorld) -> None:
    place.world.sandbox.edge_fault(path="/__ops/runtime", times=None, status=503, body="")

    done = propose(place, "--only", "calc")

    assert ended(done) == (0, "planned", "handed_on")
    (pull,) = pulls(place)
    assert "calc is not compared with its live value" in pull.body
    assert any("calc is not compared with its live value" in each for each in done.result["plan"]["warnings"])


def test_request_for_another_limit_opens_its_own_pull_request(place: LimitsWorld) -> None:
    number = incident(place)
    propose(place, "--incident", str(number), "--only", "calc")
    (first,) = pulls(place)
    read = place.github.files(first.pull.head)["limits.yml"]

    done = propose(place, "--incident", str(number))

    assert ended(done) == (0, "planned", "handed_on")
    (_, second) = pulls(place)
    assert done.result["press"].endswith(f"/pull/{second.number}")
    assert raised(place, second) == ["ai"]
    assert f"#{first.number} is open and raises calc" in second.body
    assert re.search(rf"\b{first.number} .*\bcalc\b", done.result["message"])
    assert place.github.files(first.pull.head)["limits.yml"] == read
    third = propose(place, "--incident", str(number))
    assert len(pulls(place)) == 2
    for pull in pulls(place):
        assert f"pull request {pull.number}" in third.result["message"]


@pytest.mark.slow
def test_pull_request_in_conflict_does_not_answer_a_request(place: LimitsWorld) -> None:
    """Two pull requests change adjacent lines, so GitHub cannot merge the second one after the first."""
    number = incident(place)
    for name in ("calc", "ai"):
        propose(place, "--incident", str(number), "--only", name)
    first, second = pulls(place)
    place.merge(first.number)

    done = propose(place, "--incident", str(number))

    assert ended(done) == (0, "planned", "handed_on")
    *_, third = pulls(place)
    assert done.result["press"].endswith(f"/pull/{third.number}")
    assert (len(pulls(place)), third.title) == (3, "Raise ai to 20 temporarily")
    assert f"#{second.number} is open and raises ai, but conflicts" in third.body
    place.merge(third.number)
    assert ended(place.apply())[0] == 0
    assert {place.stored["limits"][name]["temporary"]["limit"] for name in ("calc", "ai")} == {60, 20}


def test_pull_request_that_may_conflict_answers_with_a_condition(place: LimitsWorld) -> None:
    """GitHub has not computed yet whether it can be merged, so nobody knows that a merge fulfills the request."""
    number = incident(place)
    propose(place, "--incident", str(number), "--only", "calc")
    place.github.switches.mergeable_is_known = False

    done = propose(place, "--incident", str(number), "--only", "calc")

    assert ended(done) == (0, "planned", "handed_on")
    assert "does not know yet whether it conflicts" in done.result["message"]
    assert len(pulls(place)) == 1


@pytest.mark.slow
def test_press_after_the_merge_opens_nothing(place: LimitsWorld) -> None:
    number = incident(place)
    propose(place, "--incident", str(number))
    place.merge(pulls(place)[0].number)

    for _press in range(2):
        done = propose(place, "--incident", str(number))

        assert ended(done) == (0, "nothing_to_do", "already_set")
        assert "limits.yml raises calc to 60 until" in done.result["message"]
    assert len(pulls(place)) == 1
    place.world.sandbox.clock.advance(3 * 3600)
    assert ended(propose(place, "--incident", str(number))) == (0, "planned", "handed_on")
    assert len(pulls(place)) == 2


@pytest.mark.slow
def test_pull_request_that_ended_does_not_answer_a_request(place: LimitsWorld) -> None:
    number = incident(place)
    propose(place, "--incident", str(number), "--only", "calc")
    place.world.sandbox.clock.advance(5 * 3600)

    propose(place, "--incident", str(number), "--only", "calc")

    assert len(pulls(place)) == 2


@pytest.mark.slow
def test_raise_for_another_incident_keeps_the_later_end(place: LimitsWorld) -> None:
    until = in_hours(place, 30)
    place.commit(temporary(60, until))
    place.apply()

    done = propose(place, "--incident", str(incident(place)), "--only", "calc")

    assert ended(done) == (0, "planned", "handed_on")
    (pull,) = pulls(place)
    assert f'limit: 60, until: "{until}"' in place.github.files(pull.pull.head)["limits.yml"].decode()


def test_open_pull_request_is_named_beside_a_limit_that_it_cannot_raise(place: LimitsWorld) -> None:
    number = incident(place)
    propose(place, "--incident", str(number), "--only", "ai")
    place.apply()
    raise_by_hand(place, 200)

    done = propose(place, "--incident", str(number))

    assert ended(done) == (0, "planned", "handed_on")
    assert "is open and raises ai: review and merge it; not raised: calc to 60: base 30" in done.result["message"]
    assert len(pulls(place)) == 1


def test_bakery_raises_a_limit_and_hears_of_it(tmp_path: Path) -> None:
    """Another application, with other names, periods and tokens."""
    with bakery(tmp_path) as made:
        hub, world = made.sandbox.github, World(made.sandbox, tmp_path)
        made.sandbox.switches.kv_staleness_seconds = 0
        hub.switches.actions_may_create_pull_requests = True
        raises = "names: [orders]\n        raises: {orders: {limit: 9, lasts: 2h}}\n"
        made.edit("names: [orders]\n", raises)
        number = hub.open_issue("Orders get 429", labels=["incident"], author="dana")
        text = "# ours\norders:\n  limit: 5\n  period: 10\n  key: user\n"
        where = ["--environment", "live", "--config", str(made.config), "--yes", "--json"]

        def job(*command: str) -> Outcome:
            told = {**hub.environ(), "GITHUB_ACTIONS": "true", "BAKERY_TOKEN": TOKEN, "CLOUDFLARE_API_TOKEN": None}
            return world.ops(*command, *where, GITHUB_SHA=hub.resolve("main"), **told)

        made.write("limits.yml", text)
        assert job("limits", "apply").code == 0
        made.sandbox.clock.advance(60)
        proposed = job("propose-limits", "--incident", str(number))
        assert ended(proposed) == (0, "planned", "handed_on")
        hub.merge(int(proposed.result["press"].rpartition("/")[2]), "dana", "squash")
        (tmp_path / "limits.yml").write_bytes(hub.files()["limits.yml"])

        assert job("limits", "apply").code == 0

        said = "\n".join(comment.body for comment in hub.issue(number).comments)
        assert "live: orders raised to 9 until" in said
        assert ended(job("propose-limits", "--incident", str(number))) == (0, "nothing_to_do", "already_set")


def test_limits_without_raises_are_refused(place: LimitsWorld) -> None:
    text = place.world.config.read_text()
    start = text.index("        raises:")
    end = next(at for at in range(text.index("\n", start), len(text)) if re.match(r"\n {0,8}\S", text[at:]))
    place.world.config.write_text(text[:start].rstrip() + text[end:])

    refused = propose(place, "--incident", str(incident(place)))

    assert ended(refused) == (2, "refused", "config_invalid")
    assert "`runtime.limits.raises`" in refused.result["message"]
    assert pulls(place) == []


def test_file_that_cannot_be_edited_is_left_alone(place: LimitsWorld) -> None:
    place.commit(
        SHIPPED[: SHIPPED.index("calc:")]
        + "calc:\n  ? limit\n  : 30\n  ? period\n  : 60\n  ? key\n  : ip\nai: {limit: 9, period: 60, key: ip}\n"
    )

    refused = propose(place, "--only", "calc")

    assert ended(refused) == (3, "refused", "config_invalid")
    assert pulls(place) == []


def test_closed_pull_request_is_not_claimed_as_open(place: LimitsWorld) -> None:
    def close() -> None:
        for each in pulls(place):
            each.state = "closed"

    place.github.fault(**PULLS, applied=True, after=close)

    done = propose(place)

    assert (done.code, done.result["reason"]) == (5, "unclear")
    assert pulls(place)[0].state == "closed"

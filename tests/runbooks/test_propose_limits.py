"""Temporary limits proposed as a pull request, which a person merges."""

from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import Outcome, World
from tests.support import limits
from tests.support.commands import ended
from tests.support.limits import SHIPPED, LimitsWorld

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


def test_pull_request_changes_only_configured_limits(place: LimitsWorld) -> None:
    number = incident(place)

    done = propose(place, "--incident", str(number), "--reason", "a  <b>\nnewsletter")

    assert ended(done) == (0, "planned", "handed_on")
    (pull,) = pulls(place)
    assert done.result["press"].endswith(f"/pull/{pull.number}")
    assert place.github.changed_files(pull.number) == ["limits.yml"]
    until = f"{place.world.sandbox.clock.now() + timedelta(hours=4):%Y-%m-%dT%H:%M}"
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
    assert f"pull request {pull.number} is open" in "\n".join(place.comments(number))


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
    assert "is open: review and merge it" in again.result["message"]
    assert len(pulls(place)) == 2


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
    assert any(line.startswith("+calc: {limit: 30") for line in done.result["plan"]["sections"]["Patch"])
    told = "\n".join(place.comments(number))
    assert "GitHub Actions may not open pull requests here; patch: --- a/limits.yml" in told
    assert done.result["press"] in told


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


def test_dry_run_writes_nothing(place: LimitsWorld) -> None:
    done = propose(place, "--dry-run")

    assert ended(done) == (0, "planned", "dry_run")
    assert {request.method for request in place.github.requests} == {"GET"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--only", "clac"], 2, 'no limit "clac" in `raises` of ops.yml; did you mean "calc"?'),
        ([], 3, "no limit ai"),
    ],
)
def test_invalid_proposal_is_refused(place: LimitsWorld, arguments: list[str], code: int, said: str) -> None:
    if code == 3:
        place.commit("".join(line + "\n" for line in SHIPPED.splitlines() if not line.startswith("ai:")))

    done = propose(place, *arguments)

    assert done.code == code
    assert said in done.result["message"]
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


def test_rate_limit_after_pull_request_is_no_failure(place: LimitsWorld) -> None:
    """The read back already has the address of the pull request."""
    place.github.fault(method="GET", path="/repos/*/*/pulls", skip=2, status=429, body="{}", times=None)

    done = propose(place)

    assert ended(done) == (0, "planned", "handed_on"), done.err
    (pull,) = pulls(place)
    assert done.result["press"].endswith(f"/pull/{pull.number}")


def test_refusal_after_unclear_write_keeps_pull_request(place: LimitsWorld) -> None:
    place.github.fault(**PULLS, lost="after")
    place.github.fault(**PULLS, skip=1, status=429, body="{}", content_type="application/json")
    place.github.fault(method="GET", path="/repos/*/*/pulls", skip=1, body="[]", content_type="application/json")

    done = propose(place)

    assert ended(done) == (0, "planned", "handed_on"), done.err
    (pull,) = pulls(place)
    assert done.result["press"].endswith(f"/pull/{pull.number}")

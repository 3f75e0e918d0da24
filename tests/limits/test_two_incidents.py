"""Two incidents on one limit, and raises among hand edits: nothing is lowered or ended by a raise."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import strategies as st

from sandbox import Sandbox
from tests.conftest import ACCOUNT, REFERENCE, World
from tests.support import limits
from tests.support.commands import ended
from tests.support.limits import SHIPPED, LimitsWorld
from tests.support.properties import holds_for


@pytest.fixture
def place(world: World) -> LimitsWorld:
    return prepared(world)


def prepared(world: World) -> LimitsWorld:
    found = limits.limits_world(world)
    found.github.switches.actions_may_create_pull_requests = True
    found.apply()
    world.sandbox.clock.advance(60)
    return found


def incident(place: LimitsWorld) -> int:
    return place.github.open_issue("Users get 429", labels=["incident"], author="alice")


def propose(place: LimitsWorld, number: int | None = None, limit: str = "calc") -> Any:
    about = [] if number is None else ["--incident", str(number)]
    where = ["--environment", "production", "--config", str(place.world.config), "--yes", "--json"]
    environ = {**place.environ, "CLOUDFLARE_API_TOKEN": None}
    return place.world.ops("propose-limits", *where, *about, "--only", limit, **environ)


def merge_all(place: LimitsWorld, method: str = "merge") -> None:
    """Merge each open pull request that has no conflict, oldest first, and apply each: no moment gets a lower rate."""
    for number in reversed(place.github.open_pulls()):
        pull = place.github.issue(number).pull
        assert pull is not None
        if pull.merge_commit_sha is not None:
            before = place.stored
            place.merge(number, method)
            place.apply()
            for minutes in range(0, 20 * 60, 20):
                at = place.world.sandbox.clock.now() + timedelta(minutes=minutes)
                assert rate(place.stored, at) >= rate(before, at), (minutes, before, place.stored)
            place.world.sandbox.clock.advance(60)


def rate(stored: Any, at: datetime) -> int:
    """Return the limit of calc in effect at that time by a value in KV."""
    value = stored["limits"]["calc"]
    temporary = value.get("temporary")
    return int(temporary["limit"] if temporary and temporary["until"] > f"{at:%Y-%m-%dT%H:%M:%SZ}" else value["limit"])


def live(place: LimitsWorld) -> int:
    return rate(place.stored, place.world.sandbox.clock.now())


def raises(place: LimitsWorld, limit: int, lasts: str) -> None:
    """Set the value that propose-limits proposes for calc."""
    text = place.world.config.read_text()
    start = text.index("          calc:\n            limit: ")
    end = text.index("          ai:\n            limit: ", start)
    set_ = f"          calc:\n            limit: {limit}\n            lasts: {lasts}\n"
    place.world.config.write_text(text[:start] + set_ + text[end:])


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [*permutations([(60, "4h"), (90, "1h"), (60, "12h")], 2)])
def test_second_raise_lowers_and_ends_nothing_of_the_first(
    place: LimitsWorld, first: tuple[int, str], second: tuple[int, str]
) -> None:
    for limit, lasts in (first, second):
        raises(place, limit, lasts)
        propose(place, incident(place))
        merge_all(place)

    hours = int(first[1].removesuffix("h"))
    assert live(place) >= first[0]
    place.world.sandbox.clock.advance(hours * 3600 - 600)
    assert live(place) >= first[0]
    place.world.sandbox.clock.advance(13 * 3600)
    assert live(place) == 30
    place.reconcile()
    assert place.stored["limits"]["calc"]["limit"] == 30


@pytest.mark.slow
def test_revert_of_the_second_raise_leaves_the_first(place: LimitsWorld) -> None:
    one, other = incident(place), incident(place)
    propose(place, one)
    merge_all(place)
    before = place.github.files()["limits.yml"].decode()
    place.world.sandbox.clock.advance(3600)
    raises(place, 90, "4h")
    propose(place, other)
    merge_all(place)
    assert live(place) == 90
    said = "\n".join(place.comments(one))
    assert re.search(rf"calc.* 60 .* 90 .*#{other}", said)

    place.merge(place.pull(before))
    place.apply()

    assert live(place) == 60
    assert re.search(r"calc.* 90 .* 60 ", place.comments(other)[-1])
    place.world.sandbox.clock.advance(3 * 3600 - 300)
    assert live(place) == 60


@pytest.mark.slow
def test_both_raises_proposed_before_one_is_merged(place: LimitsWorld) -> None:
    """The second one conflicts, and a person resolves it to the lower value with the earlier end."""
    one, other = incident(place), incident(place)
    raises(place, 90, "12h")
    propose(place, one)
    raises(place, 60, "4h")
    propose(place, other)
    first, second = reversed(place.github.open_pulls())
    lower = place.github.files(place.github.issue(second).pull.head)["limits.yml"].decode()  # type: ignore[union-attr]
    place.merge(first)
    place.apply()
    place.world.sandbox.clock.advance(60)
    branch = place.github.issue(second).pull.head  # type: ignore[union-attr]
    parents = [place.github.resolve(branch) or "", place.sha]
    place.github.add_commit("Merge main", "alice", parents=parents, files={"limits.yml": lower}, branch=branch)
    place.merge(second)

    done = place.apply()

    assert ended(done) == (3, "refused", "would_lower")
    assert live(place) == 90
    for said in (done.result["message"], place.comments(other)[-1], place.comments(second)[-1]):
        assert re.search("calc.* 90 ", said)
    assert "refused" in place.comments(second)[-1]


def merged_below_base(place: LimitsWorld) -> None:
    """Merge a raise to 60 after a permanent change to 100: a person resolves the conflict to both."""
    propose(place, incident(place))
    (number,) = place.github.open_pulls()
    branch = place.github.issue(number).pull.head  # type: ignore[union-attr]
    both = place.github.files(branch)["limits.yml"].decode().replace("limit: 30", "limit: 100")
    place.merge(place.pull(SHIPPED.replace("limit: 30", "limit: 100")))
    place.apply()
    place.world.sandbox.clock.advance(60)
    parents = [place.github.resolve(branch) or "", place.sha]
    place.github.add_commit("Merge main", "alice", parents=parents, files={"limits.yml": both}, branch=branch)
    place.merge(number)
    assert ended(place.apply()) == (3, "refused", "would_lower")
    place.world.sandbox.clock.advance(60)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["merge", "squash"])
def test_later_merge_does_not_apply_a_raise_that_was_left_out(place: LimitsWorld, method: str) -> None:
    merged_below_base(place)
    text = place.github.files()["limits.yml"].decode()

    place.merge(place.pull(text.replace("limit: 10,", "limit: 12,")), method)
    runs = [place.apply()]
    place.world.sandbox.clock.advance(60)
    runs.append(place.apply())

    assert [ended(each)[:2] for each in runs] == [(0, "recovered"), (0, "nothing_to_do")]
    assert [len(re.findall("calc[^;]* 100 in 60 s", each.result["message"])) for each in runs] == [1, 1]
    assert (live(place), place.stored["limits"]["ai"]["limit"]) == (100, 12)
    (issue,) = [each for each in place.github.issues if each.title.startswith("Limits in KV differ")]
    assert issue.state == "open"


@pytest.mark.slow
def test_enforcement_does_not_apply_a_raise_that_was_left_out(place: LimitsWorld) -> None:
    place.world.edit_config("names: [calc, ai]\n", "names: [calc, ai]\n        enforce: true\n")
    raises(place, 60, "48h")
    merged_below_base(place)
    place.github.issue(1).state = "closed"
    place.world.sandbox.clock.advance(25 * 3600)

    for _run in range(2):
        assert ended(place.reconcile()) == (0, "nothing_to_do", "drifted")
    assert live(place) == 100
    (issue,) = [each for each in place.github.issues if each.title.startswith("Limits in KV differ")]
    assert issue.state == "open"
    place.world.sandbox.clock.advance(24 * 3600)
    assert place.reconcile().code == 0
    assert issue.state == "closed"


def test_lower_limit_that_a_person_set_outlives_the_next_merge(place: LimitsWorld) -> None:
    """Its own run was superseded, so that the next one applies it."""
    until = f"{place.world.sandbox.clock.now() + timedelta(hours=4):%Y-%m-%dT%H:%M:%SZ}"
    throttled = limits.temporary(5, until)
    place.merge(place.pull(throttled))
    place.merge(place.pull(throttled.replace("limit: 10,", "limit: 12,")))

    assert place.apply().code == 0

    assert live(place) == 5


def by_hand(place: LimitsWorld, limit: int) -> None:
    """Change the limit in KV, as a person does in the dashboard."""
    stored = place.stored
    stored["limits"]["calc"] = {"limit": limit, "period": 60, "key": "ip"}
    place.put({**stored, "revision": "0" * 12 + "-" + "1" * 8})
    place.world.sandbox.clock.advance(60)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["merge", "squash"])
def test_merged_raise_of_another_limit_keeps_a_value_set_by_hand(place: LimitsWorld, method: str) -> None:
    number = incident(place)
    propose(place, number, "ai")
    by_hand(place, 200)

    merge_all(place, method)

    assert live(place) == 200
    assert place.stored["limits"]["ai"]["temporary"]["limit"] == 20
    (issue,) = [each for each in place.github.issues if each.title.startswith("Limits in KV differ")]
    assert re.search("calc.* 200 in 60 s", str(issue.body))
    place.merge(place.pull(SHIPPED.replace("limit: 30", "limit: 40")))
    assert place.apply().code == 0
    assert live(place) == 40


def test_value_set_by_hand_outlives_the_raise(place: LimitsWorld) -> None:
    by_hand(place, 50)
    propose(place, incident(place))

    merge_all(place)

    assert live(place) == 60
    assert "calc raised to 60 until" in "\n".join(place.comments(1))
    place.world.sandbox.clock.advance(5 * 3600)
    assert live(place) == 50


def edit(place: LimitsWorld) -> None:
    """Merge another permanent value, which lowers no rate."""
    value = place.stored["limits"]["calc"]
    if value["limit"] == 30 and "temporary" not in value:
        place.commit(SHIPPED.replace("limit: 30", "limit: 70"))
        place.apply()
        place.world.sandbox.clock.advance(60)


STEPS: dict[str, Callable[[LimitsWorld], object]] = {
    "propose": propose,
    "propose for the first": lambda place: propose(place, 1),
    "propose for the second": lambda place: propose(place, 2),
    "propose another limit": lambda place: propose(place, 1, "ai"),
    "merge": merge_all,
    "raise by hand": lambda place: by_hand(place, 200),
    "raise a little by hand": lambda place: by_hand(place, 50),
    "edit": edit,
    "wait": lambda place: place.world.sandbox.clock.advance(3 * 3600),
    "raise less": lambda place: raises(place, 45, "2h"),
    "raise more": lambda place: raises(place, 120, "1h"),
    "reconcile": lambda place: place.reconcile(),
}


@pytest.mark.slow
@holds_for(1, 25, names=st.lists(st.sampled_from([*STEPS, "merge", "merge"]), min_size=4, max_size=9))
def test_merge_of_a_raise_lowers_the_rate_at_no_time(names: list[str]) -> None:
    """`merge_all` compares; only an edit by hand and the end of a temporary limit lower the rate."""
    with TemporaryDirectory() as folder, Sandbox(account_id=ACCOUNT, virtual_clock=True) as sandbox:
        world = World(sandbox, Path(folder))
        world.config.write_text((REFERENCE / "ops.yml").read_text())
        place = prepared(world)
        assert (incident(place), incident(place)) == (1, 2)
        for name in names:
            STEPS[name](place)

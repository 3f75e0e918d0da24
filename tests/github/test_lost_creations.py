"""A lost answer to the creation of an issue or comment makes no second one, although GitHub's lists are behind."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from tests.support.shop import Shop

CREATIONS = ("/repos/*/*/issues", "/repos/*/*/issues/*/comments")
ANSWERS: tuple[dict[str, Any], ...] = (
    {"lost": "after"},
    {"status": 502, "applied": True},
    {"status": 200, "body": "<html>", "applied": True},
)
ROLLBACK = ("rollback-worker", "--service", "web", "--environment", "live", "--yes", "--json")
REPEATED = {
    "run": ((*ROLLBACK, "--incident", "1"), [3]),
    "menu": (("incident", "menu", "1"), [1]),
    "note": (("incident", "note", "1", "00:01 called the provider"), [1]),
    "report": (("incident", "report", "1"), [0, 0]),
    "doctor": (("doctor", "--collect", "--issue"), [0, 0]),
}
"""Name → command, and the number of comments on each issue after three presses."""
OPENING = {
    "incident": (("incident", "open", "Checkout fails", "--service", "web", "--severity", "sev2"), [0, 1]),
    "run": (ROLLBACK, [0, 2]),
    "stop": (("stop", "--reason", "two of us act"), [0, 1]),
}
"""The same after one press: each opens an incident of its own."""


def press(
    shop: Shop, command: tuple[str, ...], presses: int, environ: Mapping[str, str] = MappingProxyType({}), **fault: Any
) -> list[int]:
    """Return the number of comments on each issue after the presses by a person, whose creations fail like this."""
    hub = shop.world.sandbox.github
    hub.add_user("mai")
    hub.open_issue("Shop fails", "", ["incident"], "mai")
    for path in CREATIONS:
        hub.fault(method="POST", path=path, **fault)
    token = hub.add_token("ghp_mai", "mai", ["repo"])
    given = {**hub.environ(), "GITHUB_TOKEN": token, "NEEDS": "{}", **environ}
    done = [shop.ops(*command, **given) for _ in range(presses)]
    print(done)
    return [len(each.comments) for each in hub.issues]


@pytest.mark.parametrize("name", REPEATED)
def test_three_presses_without_an_answer_make_nothing_twice(shop: Shop, name: str) -> None:
    command, comments = REPEATED[name]

    assert press(shop, command, 3, times=None, lost="after") == comments


@pytest.mark.parametrize("name", REPEATED)
def test_lost_request_is_made_up_for_by_the_next_press(shop: Shop, name: str) -> None:
    command, comments = REPEATED[name]

    assert press(shop, command, 3, lost="before") == comments


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
@pytest.mark.parametrize("name", OPENING)
def test_incident_whose_answer_is_lost_is_complete(shop: Shop, name: str, answer: dict[str, Any]) -> None:
    command, comments = OPENING[name]

    assert press(shop, command, 1, times=None, **answer) == comments


def test_equal_text_of_a_stranger_is_not_taken_for_ours(shop: Shop) -> None:
    """Somebody copies the comment while it is on its way, and it never arrives."""
    hub = shop.world.sandbox.github
    hub.add_user("eve", "read")

    def copy() -> None:
        hub.comment(1, hub.requests[-1].body["body"], "eve")

    assert press(shop, REPEATED["note"][0], 2, lost="before", before=copy) == [2]
    assert [each.user.login for each in hub.issues[0].comments] == ["eve", "mai"]


def test_fast_clock_of_this_machine_finds_what_is_ours(shop: Shop) -> None:
    hub = shop.world.sandbox.github
    shop.world.sandbox.clock.advance(-600)
    hub.switches.lists_lag_seconds = 0.0  # this machine's clock would really wait

    assert press(shop, REPEATED["note"][0], 2, {"OPS_CLOCK_URL": ""}, times=None, lost="after") == [1]


def test_incident_is_found_where_answers_have_a_strange_date(shop: Shop) -> None:
    """A proxy writes the header."""
    command, comments = OPENING["incident"]
    shop.world.sandbox.github.fault(
        method="GET",
        path=CREATIONS[0],
        times=None,
        when=lambda asked: asked.query.get("per_page") == "1",  # the read of GitHub's time
        status=200,
        body="[]",
        headers={"date": "today"},
    )

    assert press(shop, command, 1, times=None, lost="after") == comments


def test_incident_is_found_although_the_read_of_the_time_is_slow(shop: Shop) -> None:
    """GitHub's clock passes four seconds meanwhile, and this machine's one: servers may differ by two, besides parts.

    Two or three seconds of the four are the margin, so that the test waits for one only.
    """
    command, comments = OPENING["incident"]
    hub, clock = shop.world.sandbox.github, shop.world.sandbox.clock
    hub.fault(
        method="GET",
        path=CREATIONS[0],
        when=lambda asked: asked.query.get("per_page") == "1",  # the read of GitHub's time
        before=lambda: clock.advance(4),
        delay=1.0,
    )

    assert press(shop, command, 1, times=None, lost="after") == comments


def test_equal_text_of_another_job_is_not_taken_for_ours(shop: Shop) -> None:
    """A minute ago another job of the bot opened its own incident with the same text. Ours gets lost on its way."""
    hub = shop.world.sandbox.github
    command, _ = OPENING["incident"]
    given = hub.environ() | {"NEEDS": "{}"}
    assert shop.ops(*command, **given).code == 0
    shop.world.sandbox.clock.advance(60)
    hub.fault(method="POST", path=CREATIONS[0], lost="before")

    done = shop.ops(*command, **given)

    assert done.code != 0
    assert len(hub.issues) == 1

"""`ops rotate-secrets` after a lost answer, or while somebody else deploys or edits secrets."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from tests.conftest import WORKER
from tests.runbooks.test_rotate_secrets import BULK, FRESH, KEY, OTHER, WORKS, Leak, leak
from tests.support.claims import assert_claims_hold, case_world, run
from tests.support.commands import PROMISE, ended, texts
from tests.support.scenarios import cases

__all__ = ["leak"]

LOST = [{"lost": "before"}, {"lost": "after"}, {"status": 500}, {"status": 500, "applied": True}, {"code": 10035}]


@pytest.mark.slow
@pytest.mark.parametrize("rule", LOST, ids=str)
def test_unanswered_write_is_retried_once(leak: Leak, rule: dict[str, Any]) -> None:
    leak.world.sandbox.fault(**BULK, **rule)

    outcome = leak.rotate_one()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert leak.values()[KEY] == FRESH
    assert [write.method for write in leak.world.writes()] == ["PATCH", "PATCH", "POST"]


@pytest.mark.slow
def test_two_lost_answers_are_unknown_outcome(leak: Leak) -> None:
    leak.world.sandbox.fault(**BULK, lost="after", times=2)

    outcome = leak.rotate_one()

    assert ended(outcome) == (5, "unknown_outcome", "unclear")
    assert "but its secret values cannot be read" in outcome.result["message"]
    assert len(leak.world.writes()) == 2


@pytest.mark.parametrize(("first", "releases"), [("", 1), ("", 2), ("before", 2), ("after", 1)])
def test_foreign_release_during_an_unclear_write_is_kept_and_named(leak: Leak, first: str, releases: int) -> None:
    """`first`: the moment at which the answer to an earlier attempt was lost. The newest release is named."""
    made: list[str] = []
    fix = lambda: made.extend(leak.world.release(timedelta(0), code=f"fix {nth}") for nth in range(releases))  # noqa: E731
    if first:
        leak.world.sandbox.fault(**BULK, lost=first)
    leak.world.sandbox.fault(**BULK, lost="before", before=fix, skip=1 if first else 0)

    outcome = leak.rotate_one()

    assert ended(outcome) == (4, "failed", "world_moved")
    assert [each[:8] in outcome.result["message"] for each in made] == [each == made[-1] for each in made]
    assert len(leak.world.writes()) == (2 if first else 1)
    assert leak.world.live == {made[-1]: 100}


def test_split_of_another_edit_during_an_unclear_write_is_kept(leak: Leak) -> None:
    """A second edit would promote its version to all traffic."""
    sandbox = leak.world.sandbox
    (good,) = sandbox.live(WORKER)

    def split() -> None:
        edit = sandbox.upload(WORKER, code="good", behaviour=WORKS, secrets={KEY: "theirs", OTHER: "kept", "X": "kept"})
        sandbox.deploy(WORKER, {edit: 90, good: 10}, author="dana@example.com")

    sandbox.fault(**BULK, lost="before", before=split)

    outcome = leak.rotate_one()

    assert ended(outcome) == (4, "failed", "world_moved")
    assert "dana@example.com" in outcome.result["message"]
    assert sorted(sandbox.live(WORKER).values()) == [10, 90]
    assert len(leak.world.writes()) == 1


def hide_live_version(leak: Leak, *, times: int | None) -> None:
    """Let Cloudflare not return the live version yet, although its deployment is listed."""
    (live,) = leak.world.sandbox.live(WORKER)
    path = f"/accounts/*/workers/scripts/*/versions/{live}"
    leak.world.sandbox.fault(method="GET", path=path, status=404, code=100146, times=times)


@pytest.mark.parametrize("times", [1, None], ids=["at first", "at all"])
def test_edit_counts_as_live_only_once_its_version_can_be_read(leak: Leak, times: int | None) -> None:
    """Only the version shows that the deployment has the planned code."""
    leak.world.sandbox.fault(**BULK, after=lambda: hide_live_version(leak, times=times))

    outcome = leak.rotate_one()

    (live,) = leak.world.live
    assert leak.values()[KEY] == FRESH
    assert [write.method for write in leak.world.writes()] == ["PATCH", "POST"]
    if times:
        assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    else:
        assert ended(outcome) == (8, "no_evidence", "no_evidence")
        assert f"written, not seen live: {live[:8]} is live but not readable yet" in outcome.result["message"]


def test_live_version_that_cannot_be_read_after_two_lost_answers_is_named(leak: Leak) -> None:
    leak.world.sandbox.fault(**BULK, lost="after")
    leak.world.sandbox.fault(**BULK, lost="after", after=lambda: hide_live_version(leak, times=None), skip=1)

    outcome = leak.rotate_one()

    (live,) = leak.world.live
    unread = f"{live[:8]} is live but not readable yet"
    assert ended(outcome) == (5, "unknown_outcome", "unclear")
    assert unread in outcome.result["message"]
    states = {each["data"]["state"] for each in outcome.events if each["text"] == unread}
    assert states == {"planned"}  # neither done nor changed by others
    assert len(leak.world.writes()) == 2


def test_edit_over_a_release_since_the_plan_is_ours_and_live(leak: Leak) -> None:
    """Cloudflare's edit builds on the newest upload, so it keeps the release and adds the new value."""
    fixes: list[str] = []
    fix = lambda: fixes.append(leak.world.release(timedelta(0), code="fix", behaviour=WORKS))  # noqa: E731
    leak.world.sandbox.fault(**BULK, before=fix)

    outcome = leak.rotate_one()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert leak.values()[KEY] == FRESH
    (said,) = [text for text in texts(outcome, "warning") if "between the plan and the write" in text]
    assert fixes[0][:8] in said
    assert f"our edit of {fixes[0][:8]}" in texts(outcome, "read_back")[0]
    again = leak.rotate_one()
    assert ended(again)[0] == 0, again.err


@pytest.mark.parametrize("moment", ["before", pytest.param("after", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["X", pytest.param(KEY, marks=pytest.mark.slow)])
def test_edit_beside_another_edit_is_not_called_replaced(leak: Leak, moment: str, name: str) -> None:
    """Nobody can see which of two edits of the same release came last."""
    edit = lambda: leak.world.sandbox.put_secret(WORKER, name, "theirs", author="dana@example.com")  # noqa: E731
    leak.world.sandbox.fault(**BULK, **{moment: edit})

    outcome = leak.rotate_one()

    assert outcome.code in {6, 8}, outcome.err
    for text in ("edited at the same time", "dana@example.com", "the later value counts"):
        assert text in outcome.result["message"]
    for text in ("not ours", "replaced"):
        assert text not in outcome.result["message"]
    assert " rotated=" not in leak.world.sandbox.deployments(WORKER)[0].annotations.get("workers/message", "")
    again = leak.rotate_one()
    assert ended(again)[0] == 0, again.err
    assert leak.values()[KEY] == FRESH


def test_secret_edited_before_the_mark_leaves_a_way_on() -> None:
    """The end of a rotation marks the live version, which Cloudflare refuses then. The next press marks it."""
    (case,) = (each for each in cases("rotate-secrets") if each.variant == "its end")
    with case_world(case) as world:
        edits = next(each for each in case.scenario.strangers if each.__name__ == "edit_secret")
        deploy = "/client/v4/accounts/*/workers/scripts/*/deployments"
        world.sandbox.fault(method="POST", path=deploy, before=partial(edits, world), is_prompt=True)

        first, *later = (assert_claims_hold(run(world, case)) for _ in range(3))

        assert (first["decision"], first["reason"]) == ("refused", "secrets_changed")
        assert PROMISE.search(first["hint"])
        assert [each["wrote"] for each in later] == [True, False]
        assert case.scenario.reached(world)

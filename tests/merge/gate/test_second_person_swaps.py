"""At every read of gate and acting job somebody swaps what it reads: only the approved restore happens, or none."""

import json
from collections.abc import Callable

import pytest

from ops.core.run_record import embed_record, read_record
from tests.gate.test_second_person import BEFORE, desk
from tests.support.commands import ended
from tests.support.second_person import DATABASE, Desk

__all__ = ["desk"]


def edit(desk: Desk) -> None:
    """Write another request into the comment of the genuine one."""
    comment = next(each for each in desk.hub.issue(desk.incident).comments if '"approval":' in each.body)
    record = read_record(comment.body)
    assert record is not None
    params = {**record.approval["params"], "to": "2026-01-01T00:00:00Z"}
    body = comment.body.rpartition("<!-- backout:v1")[0].strip()
    changed = json.loads(json.dumps({**record.approval, "params": params}))
    text = embed_record(body, type(record)(**{**vars(record), "approval": changed, "digest": ""}))
    desk.hub.edit_comment(desk.incident, comment.id, text, "carol")


def blank(desk: Desk) -> None:
    for comment in desk.hub.issue(desk.incident).comments:
        desk.hub.edit_comment(desk.incident, comment.id, "(removed)", "carol")


def close(desk: Desk) -> None:
    desk.hub.close(desk.incident, "carol")


def unlabel(desk: Desk) -> None:
    for label in list(desk.hub.issue(desk.incident).labels):
        desk.hub.unlabel(desk.incident, label.name, "carol")


def sell(desk: Desk) -> None:
    """Rows that nobody read in the plan."""
    for _ in range(500):
        desk.world.sandbox.d1.query(DATABASE, "INSERT INTO sales (item) VALUES ('tea')")


SWAPS: dict[str, Callable[[Desk], None]] = {
    "another request": edit,
    "blank comments": blank,
    "a closed incident": close,
    "no labels": unlabel,
    "more rows": sell,
}


NEVER = {"another request", "blank comments", "a closed incident"}
"""Swaps after which nothing may be restored."""
READS = 13
"""Requests to GitHub of gate and acting job until the use of the approval is recorded."""


@pytest.mark.sampled(6)
@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("read", range(READS))
def test_swap_at_a_read_restores_the_approved_state_or_nothing(desk: Desk, swap: str, read: int) -> None:
    desk.ask()
    digest, target, swapped = desk.digest, desk.request["params"]["to"], list[str]()

    def once() -> None:
        if not swapped:
            swapped.append(swap)
            SWAPS[swap](desk)

    desk.hub.fault(path="/**", skip=read, before=once)

    gate = desk.press_approve(digest=digest)
    outcome = desk.act(desk.runs[-1]) if desk.outputs["go"] == "true" else gate

    assert swapped
    if desk.restores:
        assert swap not in NEVER
        assert len(desk.restores) == 1
        assert json.loads(desk.outputs["params"])["to"] == target
        assert outcome.result["outcome"]["changed"], outcome.err
        return
    assert swap != "no labels"
    assert outcome.code == 3, outcome.err
    assert desk.tables["applied"] == BEFORE["applied"]
    assert desk.tables["sales"] in {BEFORE["sales"], BEFORE["sales"] + 500}


@pytest.mark.parametrize("by", ["button", "laptop"])
def test_incident_closed_after_the_approval_loses_nothing(desk: Desk, by: str) -> None:
    desk.ask()
    if by == "button":
        desk.press_approve()
    close(desk)

    if by == "button":
        refused = desk.act(desk.runs[-1])
    else:
        where = ("--database", "orders", "--to", "-90s", "--environment", "live", "--incident", str(desk.incident))
        laptop = {**desk.hub.environ(), "SHOP_TOKEN": desk.job(1)["SHOP_TOKEN"], "CLOUDFLARE_API_TOKEN": None}
        refused = desk.world.ops(
            *("restore-database", *where, "--one-person", "--yes", "--json", "--config", str(desk.world.config)),
            **laptop,
        )

    assert ended(refused) == (3, "refused", "incident_closed"), refused.err
    assert (desk.restores, desk.tables) == ([], BEFORE)
    assert f"#{desk.incident} is closed, and this loses data" in refused.result["message"]


def test_approved_job_that_cannot_read_the_incident_loses_nothing(desk: Desk) -> None:
    desk.ask()
    desk.press_approve()
    desk.hub.fault(method="GET", path=f"/repos/*/*/issues/{desk.incident}", times=None, status=503)

    refused = desk.act(desk.runs[-1])

    assert ended(refused) == (3, "refused", "permission_unknown"), refused.err
    assert (desk.restores, desk.tables) == ([], BEFORE)

"""Requests for a second person that somebody edited, deleted or forged."""

import json
import re
from typing import Any

import pytest

from ops.core.approval import parse_request
from ops.core.run_record import RunRecord, embed_record
from ops.github.comments import BOT
from tests.gate.test_second_person import BEFORE, desk
from tests.support.commands import ended
from tests.support.second_person import Desk

__all__ = ["desk"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"params": {"database": "orders", "to": "-5s"}},
        {"requesters": [1]},
        {"most_seconds": 9_000_000},
        {"most_rows": {"sales": 9_000_000}},
        {"environment": "staging"},
        {"runbook": "rollback-worker"},
        {"signature": "0" * 64},
        {"digest": "0" * 32},
    ],
    ids=lambda change: next(iter(change)),
)
def test_edited_request_is_refused(desk: Desk, change: dict[str, Any]) -> None:
    """Everybody with write access can edit a comment of the bot, also the digest that it shows."""
    desk.ask()
    comment = next(each for each in desk.hub.issue(desk.incident).comments if '"approval":' in each.body)
    head, mark, block = comment.body.rpartition("<!-- backout:v1 ")
    record = json.loads(block.rpartition(" -->")[0])
    record["approval"] |= change
    escaped = json.dumps(record).replace("-", "\\u002d")
    comment.body = f"{head}{mark}{escaped} -->"

    assert desk.press_approve().code == 3
    assert desk.outputs["reason"] == "no_request"

    request = parse_request(record["approval"])
    assert request is not None
    gate = desk.press_approve("alice" if "requesters" in change else "bob", digest=request.full_digest)
    if desk.outputs["go"] == "true":
        done = desk.act(desk.runs[-1])
        assert ended(done) == (3, "refused", "request_changed"), done.err
    else:
        assert (gate.code, desk.outputs["reason"]) == (3, "request_changed")

    assert (desk.restores, desk.tables) == ([], BEFORE)


@pytest.mark.slow
def test_request_of_another_incident_is_refused_by_its_job(desk: Desk) -> None:
    desk.ask()
    other = desk.hub.open_issue("Another", labels=["incident"], author="carol")
    desk.hub.comment(other, desk.comments[0], "carol")
    desk.press_approve()
    desk.incident = other
    desk.outputs["incident"] = str(other)

    done = desk.act(desk.runs[-1])

    assert ended(done) == (3, "refused", "request_changed")
    assert desk.tables == BEFORE


@pytest.mark.parametrize("repository", ["", "team/others"])
def test_request_of_another_repository_is_refused(desk: Desk, repository: str) -> None:
    """Two repositories may hold the same token, and both have an incident of the same number."""
    desk.post(repository=repository)
    desk.press_approve()

    refused = desk.act(desk.runs[-1])

    assert ended(refused) == (3, "refused", "request_changed")
    names_the_request = re.search(r"\([0-9a-f]{8}\)", refused.result["message"])  # only if it is genuine
    assert bool(names_the_request) is not bool(repository)
    assert desk.restores == []


@pytest.mark.slow
@pytest.mark.parametrize("signature", ["ü", "\0"])
def test_request_with_any_signature_is_refused(desk: Desk, signature: str) -> None:
    desk.ask()
    genuine = desk.request["signature"]
    comment = next(each for each in desk.hub.issue(desk.incident).comments if genuine in each.body)
    comment.body = comment.body.replace(genuine, json.dumps(signature)[1:-1])
    forged = parse_request(desk.request)
    assert forged is not None
    desk.press_approve(digest=forged.full_digest)

    assert ended(desk.act(desk.runs[-1])) == (3, "refused", "request_changed")
    assert desk.restores == []


USERS = {"a writer": ("carol", "approve-restore.yml"), "another workflow": (BOT, "triage.yml")}


@pytest.mark.sampled
@pytest.mark.parametrize(("by", "workflow"), USERS.values(), ids=USERS)
def test_forged_use_of_an_approval_blocks_nothing(desk: Desk, by: str, workflow: str) -> None:
    """Otherwise everybody who can write a comment could block each recovery that needs two people."""
    desk.ask()
    forge_use(desk, by, workflow)

    assert desk.approve().result["outcome"]["changed"]
    assert len(desk.restores) == 1


@pytest.mark.slow
def test_use_of_an_approval_that_cannot_be_judged_is_refused(desk: Desk) -> None:
    """Ignored, one approval could restore twice."""
    desk.ask()
    desk.press_approve()
    forge_use(desk, BOT, "approve-restore.yml")
    desk.hub.fault(method="POST", path="/graphql", status=403, times=None)

    refused = desk.act(desk.runs[-1])

    assert ended(refused) == (3, "refused", "permission_unknown")
    assert "GitHub does not say who edited it" in refused.result["message"]
    assert (desk.restores, desk.tables) == ([], BEFORE)


def forge_use(desk: Desk, by: str, workflow: str) -> None:
    """Post a comment that says that bob's approval of the waiting request was used before."""
    desk.hub.add_run(workflow, 4711)
    at = f"{desk.world.sandbox.clock.now():%Y-%m-%dT%H:%M:%SZ}"
    use = {"uses": desk.request["run"], "digest": "0" * 32, "login": "bob", "id": 1, "at": at, "event": "4711"}
    record = RunRecord("approval-1", source="approval", approval=use, job="4711.1")
    desk.hub.comment(desk.incident, embed_record("used", record), by)


@pytest.mark.slow
def test_job_that_may_not_read_runs_is_refused_before_it_uses_the_approval(desk: Desk) -> None:
    """The workflows of release 0.1.1 have no `actions: read` there, so no later job could confirm the use."""
    desk.ask()
    desk.press_approve()
    former = desk.hub.add_workflow_token("ghs_former", {"contents": "read", "issues": "write"})

    refused = desk.act(desk.runs[-1], GITHUB_TOKEN=former)

    assert ended(refused) == (3, "refused", "permission_unknown")
    assert "Actions: read" in refused.result["message"]
    assert "`ops workflows sync`" in refused.result["hint"]
    assert desk.restores == []
    assert desk.act(desk.runs[-1]).result["reason"] != "approval_used"  # after `ops workflows sync`
    assert len(desk.restores) == 1


@pytest.mark.slow
def test_deleted_request_is_refused(desk: Desk) -> None:
    desk.ask()
    desk.press_approve()
    desk.hub.issue(desk.incident).comments.clear()

    assert ended(desk.act(desk.runs[-1])) == (3, "refused", "request_changed")
    assert desk.tables == BEFORE


@pytest.mark.slow
def test_forged_request_of_the_same_run_changes_nothing(desk: Desk) -> None:
    desk.ask()
    comment = desk.hub.issue(desk.incident).comments[0]
    forged = comment.body.replace('"requesters":[1', '"requesters":[9')
    assert forged != comment.body
    desk.hub.comment(desk.incident, forged, "carol")

    assert desk.approve().result["outcome"]["changed"]

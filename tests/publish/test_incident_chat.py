"""Chat messages outside of a run: the end of a watch, and the closing of an incident of a shop."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.core.run_record import read_record
from sandbox.server import HttpResponse
from tests.conftest import Incident, Outcome, job_environ
from tests.support.shop import WORKER, Shop
from tests.support.webhooks import Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@pytest.fixture
def incident(shop: Shop) -> Incident:
    """An incident of the shop, which was rolled back just now, and whose team has a chat."""
    shop.world.edit_config("environments:\n", "notify: {slack: {webhook: SLACK_WEBHOOK_URL}}\nenvironments:\n")
    shop.world.sandbox.switches.propagation_seconds = 0
    shop.world.sandbox.deploy(WORKER, shop.good)
    shop.world.sandbox.github.add_user("mai")
    return Incident(shop.world, shop.world.sandbox.github.open_issue("Cart @fails", "", ["incident"], "mai"))


def run_job(shop: Shop, receiver: Receiver, *arguments: str, **environ: str) -> Outcome:
    given = {**job_environ(shop.world.sandbox.github), **receiver.environ, "DISCORD_WEBHOOK_URL": "", **environ}
    return shop.ops(*arguments, **given)


def watch(shop: Shop, incident: Incident, receiver: Receiver) -> Outcome:
    where = ("--service", "web", "--incident", str(incident.number), "--for", "5m", "--json")
    return run_job(shop, receiver, "watch", *where)


def records(incident: Incident) -> list[Any]:
    return [record for body in incident.bodies if (record := read_record(body))]


@pytest.mark.parametrize(("status", "decision"), [(500, "relapsed"), (200, "mitigated")])
def test_end_of_a_watch_is_sent_once_with_the_incident(
    shop: Shop, incident: Incident, receiver: Receiver, status: int, decision: str
) -> None:
    shop.world.sandbox.edge_fault(path="/cart", status=status, times=None)

    outcome = watch(shop, incident, receiver)

    assert outcome.result["decision"] == decision, outcome.err
    (text,) = receiver.texts
    assert f"web in live {'relapsed' if status == 500 else 'is mitigated'}" in text
    assert f"/issues/{incident.number}>" in receiver.sent("slack")[0]["text"]
    assert all(each.source == "watch" for each in records(incident) if each.source != "note")
    assert not [each for each in records(incident) if each.source == "note"]


def test_failed_message_is_a_note_on_the_incident_and_in_the_report(
    shop: Shop, incident: Incident, receiver: Receiver
) -> None:
    receiver.answers["slack"] = HttpResponse(status=404)
    shop.world.sandbox.edge_fault(path="/cart", status=500, times=None)

    watch(shop, incident, receiver)

    (note,) = [each for each in records(incident) if each.source == "note"]
    assert "Slack (it answered 404)" in note.rows[0].text
    assert "relapsed" in note.rows[0].text
    assert "marked" not in str(incident.bodies)
    reported = run_job(shop, receiver, "incident", "report", str(incident.number))
    assert reported.code == 0, reported.err
    assert "Slack (it answered 404)" in str(shop.world.sandbox.github.issues[-1].body)


def close(shop: Shop, receiver: Receiver, tmp_path: Path, action: str, number: int) -> Outcome:
    """Write the report in the job that the event starts."""
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"action": action, "issue": {"number": number}}))
    started = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "issues", "GITHUB_EVENT_PATH": str(event)}
    return run_job(shop, receiver, "incident", "report", "1", **started)


@pytest.mark.parametrize(
    ("action", "number", "is_sent"), [("closed", 1, True), ("labeled", 1, False), ("closed", 2, False)]
)
def test_closing_is_sent_by_the_job_of_its_event(
    shop: Shop, incident: Incident, receiver: Receiver, tmp_path: Path, action: str, number: int, is_sent: bool
) -> None:
    shop.world.sandbox.github.close(incident.number, "mai")

    outcome = close(shop, receiver, tmp_path, action, number)

    assert outcome.code == 0, outcome.err
    assert receiver.texts == (["[DRILL] Incident #1 closed."] if is_sent else [])


def test_incident_of_a_staging_drill_is_not_sent(
    shop: Shop, incident: Incident, receiver: Receiver, tmp_path: Path
) -> None:
    shop.world.sandbox.github.label(incident.number, "drill", "mai")
    shop.world.sandbox.edge_fault(path="/cart", status=500, times=None)

    watched, listed = watch(shop, incident, receiver), run_job(shop, receiver, "incident", "menu", "1")
    shop.world.sandbox.github.close(incident.number, "mai")
    closed = close(shop, receiver, tmp_path, "closed", 1)

    assert (watched.code, listed.code, closed.code) == (7, 0, 0), watched.err + closed.err
    assert receiver.requests == []

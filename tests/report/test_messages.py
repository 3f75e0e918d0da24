"""Texts about an incident of a shop: printed, folded on the incident, and the chat message that it was opened."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ops.core.run_record import RunRecord, read_record
from ops.core.standard_texts import STATES, Audience
from sandbox.chat import FakeChats, start_chats
from sandbox.server import HttpResponse
from tests.conftest import Incident, Outcome, job_environ
from tests.support.shop import Shop
from tests.support.webhooks import Receiver, receiving

PAGE = {
    "url": "https://status.shop.example",
    "title": "Shop status",
    "components": [{"name": "Web shop", "services": ["web"]}, {"name": "Handbook", "services": ["docs"]}],
}
FORM = "### Service\n\nweb\n\n### Severity\n\nsev2\n\n### Impact\n\nk4n4ry <!-- @all -->\n"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def configure(shop: Shop, **sections: Any) -> None:
    added = "".join(f"{name}: {json.dumps(value)}\n" for name, value in sections.items())
    shop.world.edit_config("environments:\n", f"{added}environments:\n")


def open_incident(shop: Shop, body: str = FORM) -> Incident:
    shop.world.sandbox.github.add_user("mai")
    return Incident(shop.world, shop.world.sandbox.github.open_issue("Cart k4n4ry", body, ["incident"], "mai"))


def run(shop: Shop, *arguments: str, **environ: str) -> Outcome:
    return shop.ops(*arguments, **{**job_environ(shop.world.sandbox.github), **environ})


def menu(shop: Shop, receiver: Receiver, **environ: str) -> Outcome:
    return run(shop, "incident", "menu", "1", SLACK_WEBHOOK_URL=receiver.slack, **environ)


def records(incident: Incident, source: str) -> list[RunRecord]:
    found = [record for body in incident.bodies if (record := read_record(body))]
    return [each for each in found if each.source == source]


def test_command_prints_the_texts_with_the_components_of_the_service(shop: Shop) -> None:
    configure(shop, status_page=PAGE, messages={"resolved": {"social": "{components}: over. {url}"}})
    open_incident(shop)

    found = run(shop, "messages", "--incident", "1", "--json")

    assert found.code == 0, found.err
    assert found.result["components"] == ["Web shop"]
    texts = found.result["messages"]
    assert list(texts) == list(STATES[:4])
    assert all(each.keys() == {*Audience} for each in texts.values())
    assert texts["resolved"]["social"] == "Web shop: over. https://status.shop.example"
    assert all("Web shop" in text and "k4n4ry" not in text for each in texts.values() for text in each.values())


def test_command_prints_one_text_as_it_is(shop: Shop) -> None:
    open_incident(shop, "")

    found = run(shop, "messages", "--incident", "1", "--state", "completed", "--audience", "email")
    wrong = run(shop, "messages", "--incident", "1", "--state", "done")

    heading, subject, *rest = found.out.splitlines()
    assert heading == "== completed, email"
    assert subject.startswith("Subject: ")
    assert len(rest) > 3
    assert wrong.code == 2


def test_opened_incident_is_sent_once_and_has_the_texts_folded(shop: Shop, receiver: Receiver) -> None:
    configure(shop, notify={"slack": {"webhook": "SLACK_WEBHOOK_URL"}}, status_page=PAGE)
    incident = open_incident(shop)

    first, second = menu(shop, receiver), menu(shop, receiver)

    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert receiver.texts == ["[DRILL] Incident #1 opened: web."]
    assert receiver.sent("slack")[0]["text"].endswith("/issues/1>")
    (record,) = records(incident, "messages")
    assert record.notified
    (body,) = [each for each in incident.bodies if "Messages to copy" in each]
    assert body.count("<details>") == 4
    assert "problem with Web shop is resolved" in body
    assert "k4n4ry" not in body
    report = run(shop, "incident", "report", "1")
    assert report.code == 0, report.err
    assert "- [x] Notify team (recorded)" in str(shop.world.sandbox.github.issues[-1].body)


def test_failed_message_is_shown_beside_the_texts(shop: Shop, receiver: Receiver) -> None:
    configure(shop, notify={"slack": {"webhook": "SLACK_WEBHOOK_URL"}})
    incident = open_incident(shop)
    receiver.answers["slack"] = HttpResponse(status=410)

    outcome = menu(shop, receiver)

    assert outcome.code == 0
    (body,) = [each for each in incident.bodies if "Messages to copy" in each]
    assert "Slack (it answered 410)" in body
    assert not records(incident, "messages")[0].notified
    assert records(incident, "note") == []
    renewed, report = menu(shop, receiver), run(shop, "incident", "report", "1")
    assert (renewed.code, report.code, len(receiver.requests)) == (0, 0, 1)
    assert "Slack (it answered 410)" in str(incident.bodies)
    assert "Slack (it answered 410)" in str(shop.world.sandbox.github.issues[-1].body)


def test_report_adds_the_texts_to_an_incident_without_a_menu(shop: Shop) -> None:
    configure(shop, status_page=PAGE)
    incident = open_incident(shop)

    first, second = run(shop, "incident", "report", "1"), run(shop, "incident", "report", "1")

    assert (first.code, second.code) == (0, 0), first.err
    assert [each.run for each in records(incident, "messages")] == ["messages-1"]


def test_team_without_chat_page_and_texts_gets_no_comment(shop: Shop) -> None:
    incident = open_incident(shop)
    asked = shop.world.sandbox.github.requests

    assert run(shop, "incident", "menu", "1").code == 0

    assert "/graphql" not in {each.path for each in asked}, "it reads the history of no comment"
    assert [read_record(body).source for body in incident.bodies] == ["menu"]  # type: ignore[union-attr]


def test_menu_stays_if_github_takes_no_more_comments(shop: Shop, receiver: Receiver) -> None:
    configure(shop, status_page=PAGE)
    incident = open_incident(shop)
    comment = {"method": "POST", "path": "/repos/*/*/issues/1/comments"}
    shop.world.sandbox.github.fault(**comment, status=403, skip=1, times=None)

    outcome = menu(shop, receiver)

    assert outcome.code == 0, outcome.err
    assert "messages of #1" in outcome.err
    assert [each.source for each in records(incident, "menu")] == ["menu"]


@pytest.fixture
def chats(shop: Shop) -> Iterator[tuple[FakeChats, dict[str, str]]]:
    fake, server = start_chats()
    fake.slack_channels = {"C0SHOPTEAM"}
    configure(shop, notify={"slack_bot": {"token": "SLACK_BOT_TOKEN", "channel": "C0SHOPTEAM"}})
    yield fake, {"SLACK_API_BASE_URL": f"{server.url}/api", "SLACK_BOT_TOKEN": fake.slack_token}
    server.stop()


def test_run_and_closing_continue_the_thread_of_the_opening(
    shop: Shop, receiver: Receiver, chats: tuple[FakeChats, dict[str, str]]
) -> None:
    fake, environ = chats
    incident = open_incident(shop)
    menu(shop, receiver, **environ)
    where = ("--service", "web", "--environment", "live", "--incident", "1", "--yes")

    assert run(shop, "rollback-worker", *where, **environ).code == 0

    parent, *replies = fake.slack_messages
    assert "opened" in parent["text"]
    assert [each["thread_ts"] for each in replies] == [parent["ts"]] * 2
    assert "- [x] Notify team\n" in str(incident.bodies[-1])

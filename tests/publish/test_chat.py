"""Chat notifications of a run; they never delay or change it."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.config.notify import NotifyConfig
from ops.core.errors import Decision
from ops.core.redaction import Secret
from ops.core.run import Run
from ops.core.run_record import read_record
from ops.core.timeline import EventKind, RunEvent
from ops.publish.chat import chat_message
from ops.publish.chat_services import (
    CHATS,
    DISCORD,
    LONGEST_OF_DISCORD,
    MAX_CHARACTERS,
    SLACK,
    ChatService,
    is_webhook_url,
)
from sandbox.server import HttpResponse
from tests.conftest import Incident, Releases, World
from tests.support.commands import COMMENTS, LIST, WRITE, texts
from tests.support.in_process import HOLD, held
from tests.support.webhooks import Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def test_recovery_sends_start_and_end_with_the_reason(world: World, releases: Releases, receiver: Receiver) -> None:
    outcome = world.rollback("--reason", "checkout fails.", **receiver.environ)
    to = releases.good[:8]
    assert outcome.code == 0
    started, ended = receiver.texts
    what = f"Worker fortunet-api: {releases.bad[:8]} → {to}"
    message = outcome.result["message"].replace("the", "The", 1)
    assert started == f"[DRILL] Started: rollback-worker on api in production because checkout fails. {what}."
    assert ended == f"[DRILL] Recovered: Rolled back api to {to} in production because checkout fails. {message}."
    assert len(receiver.sent("discord")) == 2
    assert texts(outcome, "warning") == []


ENDINGS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "failed": (
        [{**WRITE, "code": 10021, "message": "no"}],
        "Nothing was changed: rollback-worker for api failed, in production",
    ),
    "refused": (
        [{**WRITE, "code": 10220, "message": "changed: A"}],
        "Nothing was changed: rollback-worker for api was refused, in production",
    ),
    "unknown_outcome": (
        [{**WRITE, "lost": "after"}, {**LIST, "status": 503, "skip": 2, "times": None}],
        "Unknown whether the change was made: rollback-worker for api, in production",
    ),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("faults", "begins"), ENDINGS.values(), ids=ENDINGS)
def test_unsuccessful_run_sends_result_and_next_step(
    world: World, releases: Releases, receiver: Receiver, faults: list[dict[str, Any]], begins: str
) -> None:
    for fault in faults:
        world.sandbox.fault(**fault)
    outcome = world.rollback(**receiver.environ)
    assert receiver.texts[-1].startswith(f"[DRILL] {begins}. ")
    assert outcome.result["hint"][:40] in receiver.texts[-1]
    assert "Rolled back" not in receiver.texts[-1]


def test_long_reason_leaves_room_for_the_next_step(world: World, releases: Releases, receiver: Receiver) -> None:
    world.sandbox.fault(**WRITE, code=10021, message=f"no{' and no' * 100}")
    outcome = world.rollback("--reason", "checkout fails " * 60, **receiver.environ)
    started, ended = receiver.texts
    assert outcome.result["hint"] in ended
    assert "…. Worker fortunet-api: " in started
    assert len(ended) <= MAX_CHARACTERS


def test_ineffective_rollback_is_sent_as_still_unhealthy(world: World, releases: Releases, receiver: Receiver) -> None:
    world.edit_config("status: ok", "status: never")
    world.rollback(**receiver.environ)
    assert receiver.texts[-1].startswith(
        f"[DRILL] Still unhealthy. Rolled back api to {releases.good[:8]} in production."
    )


@pytest.mark.slow
def test_nothing_to_do_sends_one_message_and_dry_run_none(world: World, releases: Releases, receiver: Receiver) -> None:
    world.rollback("--dry-run", **receiver.environ)
    assert receiver.requests == []
    world.rollback()
    outcome = world.rollback(**receiver.environ)
    assert outcome.result["decision"] == "nothing_to_do"
    (told,) = receiver.texts
    assert told.startswith("[DRILL] Nothing to do: rollback-worker on api in production.")


@pytest.mark.sampled
@pytest.mark.parametrize("decision", list(Decision))
def test_every_decision_except_dry_run_is_sent(decision: Decision) -> None:
    asked: dict[str, Any] = {"runbook": "rollback-worker", "environment": "production", "params": {"service": "api"}}
    told: list[tuple[EventKind, str, dict[str, Any]]] = [
        (EventKind.REQUESTED, "x", asked),
        (EventKind.ENDED, decision.value, {"message": "it is so"}),
    ]
    at = datetime(2026, 11, 24, 3, 5, tzinfo=UTC)
    events = tuple(RunEvent(n, at, float(n), kind, text, data) for n, (kind, text, data) in enumerate(told, start=1))
    state = decision.value.replace("_", " ").capitalize()
    said = None if decision == Decision.PLANNED else f"{state}: rollback-worker on api in production. It is so."
    message = chat_message(Run("77.1-abcd", events))
    assert (message and message.text) == said


@pytest.mark.slow
def test_message_links_the_incident_without_its_title(
    incident: Incident, releases: Releases, receiver: Receiver
) -> None:
    incident.rollback(**receiver.environ)
    for told in receiver.sent("slack"):
        text, link = told["text"].split("\n")
        assert "because of incident #1." in text
        assert link == f"<{incident.github.environ()['GITHUB_SERVER_URL']}/{incident.github.repository}/issues/1>"
        assert "answers 500" not in told["text"]


@pytest.mark.slow
def test_write_does_not_wait_for_the_message(world: World, releases: Releases, receiver: Receiver) -> None:
    written = threading.Event()
    waited: list[bool] = []
    receiver.before = lambda path: waited.append(written.wait(30)) if "slack" in path else None
    world.sandbox.fault(**WRITE, before=written.set, is_prompt=True)
    outcome = world.rollback(**receiver.environ)
    assert outcome.code == 0
    assert waited == [True, True]


ELSEWHERE = "http://127.0.0.1:9/elsewhere"
ANSWERS = {
    "it is gone": (HttpResponse(status=404, body=b"no_service"), "it answered 404"),
    "too many": (HttpResponse(status=429, headers=[("retry-after", "30")]), "it answered 429"),
    "not ok": (HttpResponse(body=b"<html>"), "it answered 200"),
    "it moved": (HttpResponse(status=302, headers=[("location", ELSEWHERE)]), "it answered 302"),
    "redirect with the body": (HttpResponse(status=307, headers=[("location", ELSEWHERE)]), "it answered 307"),
}


@pytest.mark.slow
@pytest.mark.sampled(3)
@pytest.mark.parametrize(("answer", "why"), ANSWERS.values(), ids=ANSWERS)
def test_failed_message_is_one_warning(
    world: World, releases: Releases, receiver: Receiver, answer: HttpResponse, why: str
) -> None:
    receiver.answers["slack"] = answer
    outcome = world.rollback(**receiver.environ)
    assert (outcome.code, outcome.result["decision"]) == (0, "recovered")
    sentence = f"cannot send a message to Slack ({why}); the run goes on, so inform the team yourself"
    assert texts(outcome, "warning") == [sentence]
    assert len(receiver.sent("slack")) == len(receiver.sent("discord")) == 2
    assert "marked" not in outcome.out + outcome.err


@pytest.mark.slow
def test_unreachable_webhook_is_one_warning(world: World, releases: Releases) -> None:
    outcome = world.rollback(SLACK_WEBHOOK_URL="http://127.0.0.1:9/marked")
    assert outcome.code == 0
    assert texts(outcome, "warning") == [
        "cannot send a message to Slack (ConnectError); the run goes on, so inform the team yourself"
    ]
    assert "marked" not in outcome.out + outcome.err


@pytest.mark.slow
def test_run_does_not_wait_for_a_hanging_chat_and_github(
    incident: Incident, releases: Releases, receiver: Receiver
) -> None:
    receiver.before = lambda _path: receiver.released.wait(2 * HOLD)
    with held(incident.github.faults, path="/repos/**"):
        outcome = incident.rollback(**receiver.environ)
    assert (outcome.code, outcome.result["decision"]) == (0, "recovered")
    warnings = sorted(text.partition(" (")[0] for text in texts(outcome, "warning"))
    assert "stopped" in warnings[0]
    assert warnings[1:] == [
        "cannot read the earlier runs of the incident",
        "cannot send a message to Discord",
        "cannot send a message to Slack",
        "cannot update the comment on the incident issue",
    ]


class Killed(BaseException):
    """It ends a thread, and no handler of errors sees it."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the thread of the comment
@pytest.mark.parametrize("place", ["Slack", "issue"])
def test_run_does_not_wait_for_a_thread_that_has_ended(
    incident: Incident, releases: Releases, receiver: Receiver, place: str
) -> None:
    def die(path: str = "slack") -> None:
        if "slack" in path:
            raise Killed

    if place == "Slack":
        receiver.before = die
    else:
        incident.github.fault(method="POST", path=COMMENTS, before=die, times=None, is_prompt=True)

    outcome = incident.rollback(**receiver.environ)

    assert (outcome.code, outcome.result["decision"]) == (0, "recovered")
    assert len(receiver.sent("slack")) == len(receiver.sent("discord")) == 2
    assert [text for text in texts(outcome, "warning") if "timeout" in text.lower()] == []


@pytest.mark.slow
def test_sandbox_run_is_not_sent_to_a_real_channel(world: World, releases: Releases) -> None:
    """The network guard of the tests would refuse a connection, which would be a warning."""
    real = {
        "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T0/B0/marked",
        "DISCORD_WEBHOOK_URL": "https://discord.com/api/webhooks/1/marked",
    }
    outcome = world.rollback(**real)
    assert outcome.code == 0
    assert texts(outcome, "warning") == []


ADDRESSES = {
    "https://hooks.slack.com/services/T0/B0/x": (True, False),
    "https://hooks.slack.com:443/services/T0/B0/x": (True, False),
    "https://discord.com/api/webhooks/1/x": (False, True),
    "https://discordapp.com/api/webhooks/1/x": (False, True),
    "http://hooks.slack.com/services/T0/B0/x": (False, False),
    "https://hooks.slack.com:444/services": (False, False),
    "https://hooks.slack.com.evil.example/services": (False, False),
    "https://hooks.slack.com@evil.example/services": (False, False),
    "https://evil.example@hooks.slack.com/services": (False, False),
    "https://ptb.discord.com/api": (False, False),
    "https://[::1/": (False, False),
    "hooks.slack.com/services": (False, False),
    "http://127.0.0.1:1/x": (True, True),
    "": (False, False),
}


@pytest.mark.slow
@pytest.mark.parametrize(("url", "are"), ADDRESSES.items(), ids=ADDRESSES)
def test_webhook_accepts_only_the_chat_service_hosts(url: str, are: tuple[bool, bool]) -> None:
    assert (is_webhook_url(SLACK, url), is_webhook_url(DISCORD, url)) == are


def test_every_chat_in_ops_yml_has_a_sender() -> None:
    assert {*CHATS, "slack_bot", "webhooks"} == NotifyConfig.model_fields.keys()


LINK = f"https://github.example/{'a' * 39}/{'b' * 100}/actions/runs/{'1' * 20}"
HOSTILE = st.text(st.one_of(st.sampled_from(list("<>&!@#|*_~`[]()\\/:")), st.characters()), min_size=1, max_size=40)


@given(HOSTILE)
def test_message_mentions_nobody_and_fits(said: str) -> None:
    text = (said * MAX_CHARACTERS)[:MAX_CHARACTERS]
    slack, discord = SLACK.body(text, ()), DISCORD.body(text, (LINK, LINK))
    assert not set("<>") & set(slack["text"])
    assert slack["text"].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text
    assert discord["allowed_mentions"] == {"parse": []}
    assert len(discord["content"]) <= LONGEST_OF_DISCORD
    assert discord["content"].endswith(f"\n<{LINK}>\n<{LINK}>")


@pytest.mark.parametrize("service", [SLACK, DISCORD], ids=lambda service: service.name)
def test_reason_cannot_mention_a_channel(
    world: World, releases: Releases, receiver: Receiver, service: ChatService
) -> None:
    world.rollback("--reason", "<!channel> @everyone [here](https://evil.example)", **receiver.environ)
    assert "because &lt;!channel&gt; @everyone" in receiver.sent("slack")[0]["text"]
    assert "\\[here\\]\\(https" in receiver.sent("discord")[0]["content"]
    assert all("wait=true" in request.target for request in receiver.requests if "discord" in request.path)
    assert repr(Secret(receiver.slack)) == "Secret()"


@pytest.mark.slow
@pytest.mark.parametrize("answers", [{}, {"slack": HttpResponse(status=500), "discord": HttpResponse(status=500)}])
def test_checklist_shows_whether_the_team_was_notified(
    incident: Incident, releases: Releases, answers: dict[str, HttpResponse]
) -> None:
    with receiving() as receiver:
        receiver.answers.update(answers)
        incident.rollback(**receiver.environ)

    item = "- [ ] Notify team (people, in the report)\n" if answers else "- [x] Notify team\n"
    assert item in incident.bodies[0]
    record = read_record(incident.bodies[0])
    assert record
    assert record.notified == (not answers)

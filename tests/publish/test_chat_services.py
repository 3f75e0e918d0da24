"""Slack with threads, and the recipes of docs/how-to/chat.md: a shop recovers, and strict services take the messages."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from ops.app import registry
from ops.app.configuration import read_config
from ops.core.run_record import read_record
from ops.setup.github_environments import needed_environments
from sandbox.chat import NTFY_BURST, PAGER_KEY, SLACK_BURST, FakeChats, start_chats
from sandbox.server import HttpRequest, HttpResponse, Server
from tests.conftest import Outcome, job_environ
from tests.support.commands import COMMENT, texts
from tests.support.in_process import limits_kept
from tests.support.messages import ROOT
from tests.support.shop import WORKER, Shop

RECIPES = {
    name: yaml.safe_load(text)
    for name, text in re.findall(
        r"<!-- recipe: (\w+) -->\n```yaml\n(.*?)```", (ROOT / "docs/how-to/chat.md").read_text(), re.DOTALL
    )
}
KEY, TOKEN = "0123456789abcdef0123456789abcdef", "tk_" + "k4n4ry"
BOT_SECRET = "xoxb-k4n4ry-marked"


class Chats:
    """A shop whose team has chats, and an open incident."""

    def __init__(self, shop: Shop, fake: FakeChats, server: Server) -> None:
        self.shop, self.fake, self.url = shop, fake, server.url
        fake.slack_token, fake.routing_key, fake.ntfy_tokens = BOT_SECRET, KEY, {"bakery-oncall": TOKEN}
        fake.slack_channels = {"C0SHOPTEAM"}
        hub = shop.world.sandbox.github
        hub.add_user("mai")
        self.number = hub.open_issue("Cart fails", "", ["incident"], "mai")

    def configure(self, notify: dict[str, Any]) -> None:
        self.shop.world.edit_config("environments:\n", f"notify: {json.dumps(notify)}\nenvironments:\n")

    def rollback(self, *options: str, **environ: Any) -> Outcome:
        """Roll back in a job, whose comments are the bot's."""
        self.shop.world.sandbox.deploy(WORKER, self.shop.bad)
        given = {**job_environ(self.shop.world.sandbox.github), **self.environ, **environ}
        where = ("--service", "web", "--environment", "live", "--incident", str(self.number), "--yes", "--json")
        return self.shop.ops("rollback-worker", *where, *options, **given)

    @property
    def environ(self) -> dict[str, str]:
        return {
            "SLACK_API_BASE_URL": f"{self.url}/api",
            "SLACK_BOT_TOKEN": BOT_SECRET,
            "TEAMS_WEBHOOK_URL": f"{self.url}/workflows/1/triggers/manual?sig=k4n4ry",
            "PAGERDUTY_URL": f"{self.url}/v2/enqueue",
            "PAGERDUTY_ROUTING_KEY": KEY,
            "NTFY_URL": f"{self.url}/",
            "NTFY_TOKEN": TOKEN,
        }

    @property
    def records(self) -> list[Any]:
        issue = self.shop.world.sandbox.github.issue(self.number)
        return [record for each in issue.comments if (record := read_record(each.body))]


@pytest.fixture
def chats(shop: Shop) -> Iterator[Chats]:
    fake, server = start_chats()
    yield Chats(shop, fake, server)
    server.stop()


SLACK = {"slack_bot": {"token": "SLACK_BOT_TOKEN", "channel": "C0SHOPTEAM"}}


def test_messages_of_an_incident_share_one_thread(chats: Chats) -> None:
    chats.configure(SLACK)
    first, second = chats.rollback(), chats.rollback("--to", chats.shop.old)

    assert (first.code, second.code) == (0, 0), first.err + second.err
    parent, *replies = chats.fake.slack_messages
    assert "thread_ts" not in parent
    assert len(replies) == 3
    assert {each["thread_ts"] for each in replies} == {parent["ts"]}
    assert all(f"/issues/{chats.number}>" in each["text"] for each in chats.fake.slack_messages)
    runs = [each for each in chats.records if each.source == "run"]
    assert [each.chat for each in runs] == [{"C0SHOPTEAM": parent["ts"]}] * 2
    assert all(each.notified for each in runs)
    assert texts(second, "warning") == []


def test_thread_that_slack_refuses_does_not_cost_the_message(chats: Chats) -> None:
    chats.configure(SLACK)
    chats.rollback()
    chats.fake.slack_messages.clear()

    outcome = chats.rollback()

    assert [each["text"].partition(":")[0] for each in chats.fake.slack_messages] == [
        "[DRILL] Started",
        "[DRILL] Healthy as before",
    ]
    assert texts(outcome, "warning") == []


ERRORS: dict[str, tuple[Callable[[Chats], object], str]] = {
    "token": (lambda chats: setattr(chats.fake, "slack_token", "xoxb-other"), "it answered invalid_auth"),
    "channel": (lambda chats: chats.fake.slack_channels.clear(), "it answered not_in_channel"),
    "down": (lambda chats: chats.fake.down.add("slack"), "it answered 503"),
    "burst": (
        lambda chats: [chats.fake._is_too_fast("slack C0SHOPTEAM", 1, 1) for _ in range(SLACK_BURST)],
        "it answered 429",
    ),
}


@pytest.mark.parametrize(("breaks", "why"), ERRORS.values(), ids=ERRORS)
def test_failure_is_shown_on_the_incident(chats: Chats, breaks: Callable[[Chats], object], why: str) -> None:
    chats.configure(SLACK)
    breaks(chats)

    outcome = chats.rollback()

    assert (outcome.code, outcome.result["decision"]) == (0, "recovered")
    assert chats.fake.slack_messages == []
    (run,) = [each for each in chats.records if each.source == "run"]
    assert not run.notified
    assert [row.text for row in run.rows if row.kind == "warning"] == [
        f"cannot send a message to Slack ({why}); the run goes on, so inform the team yourself"
    ]
    assert "k4n4ry" not in outcome.out + outcome.err


@pytest.mark.parametrize("is_late", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["at once", "late"])
def test_failed_end_is_on_the_incident(chats: Chats, *, is_late: bool) -> None:
    """The comment of the run shows it; a note does if the chat answers after that."""
    is_shown = threading.Event()
    shows_the_end: dict[str, Any] = {"method": "PATCH", "path": COMMENT, "sends": r"\u2705"}
    chats.shop.world.sandbox.github.fault(**shows_the_end, after=is_shown.set, is_prompt=True)

    def refuse_the_end(request: HttpRequest) -> HttpResponse:
        if b"Recovered" not in request.body:
            return chats.fake.answer(request)
        if is_late:
            assert is_shown.wait(30)
        return HttpResponse(status=502)

    chats.configure(SLACK)
    server = Server(refuse_the_end)
    server.start()
    with limits_kept():
        outcome = chats.rollback(SLACK_API_BASE_URL=f"{server.url}/api")
    server.stop()

    assert outcome.code == 0
    shown = [row.text for each in chats.records for row in each.rows if row.kind in {"warning", "note"}]
    assert len(shown) == 1
    assert "Slack (it answered 502)" in shown[0]
    assert [each.source for each in chats.records].count("note") == is_late


def test_token_of_another_kind_is_named_and_sent_nowhere(chats: Chats) -> None:
    chats.configure(SLACK)
    real = {"CLOUDFLARE_API_BASE_URL": "", "SLACK_API_BASE_URL": ""}
    from ops.config.notify import NotifyConfig
    from ops.publish.chat_services import find_senders

    notify = NotifyConfig.model_validate(SLACK)
    assert find_senders({**real, "SLACK_BOT_TOKEN": "xoxp-1"}, notify, is_drill=False) == (
        [],
        ["SLACK_BOT_TOKEN is not the token of a Slack bot"],
    )
    elsewhere = {"SLACK_API_BASE_URL": "https://slack.example/api", "SLACK_BOT_TOKEN": "xoxb-1"}
    assert find_senders(elsewhere, notify, is_drill=False)[0] == []
    assert find_senders({"SLACK_BOT_TOKEN": "xoxb-1"}, notify, is_drill=True) == ([], [])


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_of_the_docs_delivers_start_and_end(chats: Chats, recipe: str) -> None:
    chats.configure(RECIPES[recipe]["notify"])

    outcome = chats.rollback("--reason", "*cart* fails <b>")

    assert outcome.code == 0, outcome.err
    assert texts(outcome, "warning") == []
    fake = chats.fake
    shown = {
        "teams": [card["body"][0]["inlines"][0]["text"] for card in fake.teams_cards],
        "pagerduty": [event["payload"]["summary"] for event in fake.pager_events],
        "ntfy": [each["message"] for each in fake.ntfy_messages],
    }
    started, ended = shown[recipe]
    assert started.startswith("[DRILL] Started: rollback-worker on web in live because *cart* fails <b>.")
    assert ended.startswith("[DRILL] Recovered: ")
    links = {
        "teams": [card["actions"][0]["url"] for card in fake.teams_cards],
        "pagerduty": [event["links"][0]["href"] for event in fake.pager_events],
        "ntfy": [each["click"] for each in fake.ntfy_messages],
    }
    assert all(link.endswith(f"/issues/{chats.number}") for link in links[recipe])
    assert "k4n4ry" not in outcome.out + outcome.err
    assert KEY not in outcome.out + outcome.err


def test_recipes_are_three() -> None:
    assert RECIPES.keys() == {"teams", "pagerduty", "ntfy"}


def test_recovery_resolves_the_alert_so_that_a_relapse_pages_again(chats: Chats) -> None:
    chats.configure(RECIPES["pagerduty"]["notify"])
    key = f"https://github.example/{'o' * 39}/{'r' * 100}/issues/{'9' * 19}"
    assert len(key) <= PAGER_KEY
    chats.shop.world.edit_config("status: 200", "status: 404")
    unhealthy = chats.rollback()
    assert unhealthy.result["decision"] == "still_unhealthy"
    assert len(chats.fake.pages_sent) == 1
    chats.shop.world.edit_config("status: 404", "status: 200")

    chats.rollback("--to", chats.shop.old)

    assert chats.fake.open_alerts == {}
    assert {event["event_action"] for event in chats.fake.pager_events} == {"acknowledge", "trigger", "resolve"}
    assert len({event["dedup_key"] for event in chats.fake.pager_events}) == 1


REFUSALS: dict[str, tuple[str, Callable[[Chats], object], str]] = {
    "routing key": ("pagerduty", lambda chats: setattr(chats.fake, "routing_key", "f" * 32), "it answered 400"),
    "token": ("ntfy", lambda chats: chats.fake.ntfy_tokens.update({"bakery-oncall": "tk_other"}), "it answered 403"),
    "visitor": (
        "ntfy",
        lambda chats: [chats.fake._is_too_fast("ntfy", 1, 300) for _ in range(NTFY_BURST)],
        "it answered 429",
    ),
    "flow": ("teams", lambda chats: chats.fake.down.add("teams"), "it answered 503"),
}


@pytest.mark.parametrize(("recipe", "breaks", "why"), REFUSALS.values(), ids=REFUSALS)
def test_refused_message_of_a_recipe_is_one_warning(
    chats: Chats, recipe: str, breaks: Callable[[Chats], object], why: str
) -> None:
    chats.configure(RECIPES[recipe]["notify"])
    breaks(chats)

    outcome = chats.rollback()

    assert outcome.code == 0
    (warning,) = texts(outcome, "warning")
    assert why in warning
    assert RECIPES[recipe]["notify"]["webhooks"][0]["name"] in warning


def test_secrets_of_the_chat_are_needed_where_jobs_post(chats: Chats) -> None:
    chats.configure({**SLACK, **RECIPES["pagerduty"]["notify"]})
    config, _ = read_config(chats.shop.world.config)
    places = {each.name: {*each.secrets} for each in needed_environments(config, registry.button_runbooks())}
    names = {"SLACK_BOT_TOKEN", "PAGERDUTY_URL", "PAGERDUTY_ROUTING_KEY"}
    assert all(names <= places[name] for name in ("recovery", "report", "security"))
    assert not names & places["evidence"]


def test_missing_secret_of_a_recipe_is_named(chats: Chats) -> None:
    from ops.config.notify import NotifyConfig
    from ops.publish.chat_services import find_senders

    notify = NotifyConfig.model_validate_json(json.dumps(RECIPES["pagerduty"]["notify"]))
    url = {"PAGERDUTY_URL": "https://events.pagerduty.com/v2/enqueue"}
    assert find_senders(url, notify, is_drill=False) == ([], ["PAGERDUTY_ROUTING_KEY is not set"])
    with_key = {**url, "PAGERDUTY_ROUTING_KEY": KEY}
    assert [each.name for each in find_senders(with_key, notify, is_drill=False)[0]] == ["PagerDuty"]
    for wrong in (
        "http://events.pagerduty.com/v2",
        "https://user@events.pagerduty.com/",
        "https:///x",
        "https://[::1/",
    ):
        assert find_senders({**with_key, "PAGERDUTY_URL": wrong}, notify, is_drill=False)[0] == []

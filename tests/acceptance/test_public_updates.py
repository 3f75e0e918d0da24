"""Public updates under act: from a label and the button to the own page, to a provider's page and to chat."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any

from sandbox.chat import FakeChats, start_chats
from sandbox.github.actions.state import FakeRun
from sandbox.server import HttpRequest
from tests.support.actions import Stage, conclusions, stage
from tests.support.configurations import BAKERY

HOST, KEY = "status.bakery.example", "key-of-the-page-0123456789"
PROVIDER = "status_page:\n  provider: statuspage\n  page_id: pagebakery1\n  token: PAGE_KEY\n"
IDS = {"Shop": "compshop1", "Orders & delivery": "comporder1"}
TITLE = "bakery-shop answers 500, says @mia"
FORM = "### Service\n\nshop\n\n### What is seen\n\nThe shop of @mia answers 500 (#90210).\n"
OWN_WORDS = "Payments fail. Orders by phone work. <b>Sorry</b>"


@contextmanager
def bakery(pip_cache: Path, folder: Path, *, has_provider: bool) -> Iterator[tuple[Stage, FakeChats]]:
    """A bakery with a chat, and its own page or one at Statuspage."""
    text = BAKERY.read_text() + "\nnotify:\n  slack:\n    webhook: SLACK_WEBHOOK_URL\n"
    if has_provider:
        text = text.replace("status_page:\n", PROVIDER, 1)
        for name, each in IDS.items():
            text = text.replace(f"    - name: {name}\n", f"    - name: {name}\n      id: {each}\n")
    config = folder / "ops.yml"
    config.write_text(text)
    names: dict[str, Any] = {"account": "5d" * 16, "worker": "bakery-shop", "token": "BAKERY_TOKEN"}
    chats, server = start_chats()
    with stage(pip_cache, {"status": 200}, config=config, **names) as made:
        for name, value in (("SLACK_WEBHOOK_URL", f"{server.url}/services/T0/B0/hook"), ("PAGE_KEY", KEY)):
            made.github.put_secret(name, value, "report")
        made.github.enable_pages(HOST)
        yield made, chats
    server.stop()


def press(world: Stage, incident: int, state: str, **inputs: str) -> FakeRun:
    return world.github.dispatch(
        "publish-update.yml", {"incident": str(incident), "state": state, **inputs}, by="alice"
    )


def served(world: Stage, path: str, at: int) -> str:
    """Return a file of the own page, past its cache."""
    headers = Message()
    headers["host"] = HOST
    request = HttpRequest(method="GET", target=f"{path}?at={at}", headers=headers, body=b"")
    answer = world.sandbox.edge.answer(request)
    assert answer.status == 200
    return answer.body.decode()


def finish(world: Stage, runner: Any, run: FakeRun | None = None) -> None:
    """Wait for the run of a label or of the button."""
    runner.wait()
    ended = run or world.github.runs[-1]
    results = conclusions(ended)
    assert "failure" not in results.values(), (results, "\n".join(runner.log(ended.id))[-3000:])


def test_label_and_button_reach_page_feed_and_chat(pip_cache: Path, tmp_path: Path) -> None:
    with bakery(pip_cache, tmp_path, has_provider=False) as (world, chats), world.runner() as runner:
        hub = world.github
        incident = hub.open_issue(TITLE, FORM, ["incident"], "alice")
        hub.label(incident, "status:investigating", "alice")
        finish(world, runner)
        assert "status:investigating" not in world.labels(incident)
        refused = press(world, incident, "identified", components="Cellar")
        runner.wait()
        assert conclusions(refused)["publish"] == "failure"
        assert "`not_publishable`" in world.comments(incident)
        own = {"components": "Shop", "condition": "major outage", "text": OWN_WORDS}
        finish(world, runner, press(world, incident, "identified", **own))
        finish(world, runner, press(world, incident, "identified", text="Card payments fail.", corrects="last"))
        during = json.loads(served(world, "/status.json", 1))
        index, feed = served(world, "/", 1), served(world, "/feed.atom", 1)
        hub.label(incident, "status:resolved", "alice")
        finish(world, runner)
        after = json.loads(served(world, "/status.json", 2))

    states = {each["name"]: each["status"] for each in during["components"]}
    assert states["Shop"] == "major_outage"
    assert [each["status"] for each in during["incidents"]] == ["identified"]
    assert after["incidents"] == []
    assert "Card payments fail." in index
    assert "Card payments fail." in feed
    assert "<b>Sorry" not in index + feed
    public = index + feed + json.dumps([during, after])
    assert [word for word in ("#90210", "@mia", "alice", "bakery-shop", "answers 500") if word in public] == []
    assert len(hub.pages.deployments) == 4
    texts = "\n".join(each["text"] for each in chats.webhook_messages)
    assert "Card payments fail." in texts


def test_label_and_button_reach_the_page_at_a_provider(pip_cache: Path, tmp_path: Path) -> None:
    with bakery(pip_cache, tmp_path, has_provider=True) as (world, _), world.runner() as runner:
        page = world.sandbox.statuspage.add_page("pagebakery1", KEY, {each: name for name, each in IDS.items()})
        hub = world.github
        incident = hub.open_issue(TITLE, FORM, ["incident"], "alice")
        hub.label(incident, "status:investigating", "alice")
        finish(world, runner)
        own = {"components": "Shop", "condition": "partial outage", "text": "Card payments fail."}
        finish(world, runner, press(world, incident, "identified", **own))
        during = dict(page.states)
        hub.label(incident, "status:resolved", "alice")
        finish(world, runner)
        log = "\n".join(line for each in hub.runs for line in runner.log(each.id))

    ((status, updates),) = page.shown
    assert status == "resolved"
    assert [state for state, _ in updates] == ["investigating", "identified", "resolved"]
    assert updates[1] == ("identified", "Card payments fail.")
    assert (during["compshop1"], page.states["compshop1"]) == ("partial_outage", "operational")
    assert hub.pages.deployments == {}
    assert KEY not in log
    assert KEY not in world.comments(incident)

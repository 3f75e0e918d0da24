"""A token or a webhook shows nowhere: not in output, records, messages or tracebacks, even where Cloudflare echoes it."""

import json
import urllib.parse
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from ops import cli
from ops.commands import runbook_command
from ops.model.plan import Plan
from ops.model.redact import Redactor
from ops.runbook import Context
from ops.runbooks.rollback_worker import Params, RollbackWorker
from ops.sandbox.server import Response
from tests.commands import JSON, LIST, LISTED_VERSIONS, ONE_VERSION, WRITE
from tests.conftest import WORKER, Outcome, Releases, World
from tests.webhooks import receiving

TOKEN = "cfut_marked/token+with=signs-0123456789"
WEBHOOK = "https://hooks.example.com/services/T0/B0/marked-webhook-0123456789"
SECRETS = {
    "CLOUDFLARE_API_TOKEN": TOKEN,
    "STAGING_CLOUDFLARE_API_TOKEN": "marked-staging-token-0123456789",
    "SLACK_WEBHOOK_URL": WEBHOOK,
    "DISCORD_WEBHOOK_URL": f"{WEBHOOK}-discord",
}
ECHO = " ".join([*SECRETS.values(), urllib.parse.quote(TOKEN, safe="")])
"""What Cloudflare says of the request, in these tests."""


@pytest.fixture
def marked(world: World, releases: Releases) -> World:
    world.sandbox.add_token(TOKEN, ["Workers Scripts Write"])
    return world


def assert_nothing_shows(world: World, outcome: Outcome) -> None:
    files = [path.read_text() for path in (world.folder / ".ops").rglob("*") if path.is_file()]
    for text in (outcome.out, outcome.err, *files):
        decoded = text + "".join(json.dumps(json.loads(line)) for line in text.splitlines() if line.startswith("{"))
        for secret in SECRETS.values():
            assert secret not in decoded
            assert urllib.parse.quote(secret, safe="") not in decoded
    assert "marked" not in outcome.out + outcome.err + "".join(files)


WORLDS: dict[str, list[dict[str, Any]]] = {
    "all well": [],
    "an error at a read": [{**LIST, "code": 10000, "status": 403, "message": ECHO}],
    "an error at another read": [{**ONE_VERSION, "status": 400, "code": 7003, "message": ECHO}],
    "an error of a server": [{**LISTED_VERSIONS, "status": 500, "message": ECHO, "times": None}],
    "HTML": [{**LIST, "body": f"<html>{ECHO}", "times": None}],
    "JSON of another shape": [{**LIST, "body": json.dumps({"success": True, "result": ECHO}), **JSON}],
    "a header": [{**LIST, "status": 400, "headers": {"cf-ray": TOKEN}}],
    "an unclear write": [{**WRITE, "status": 500, "message": ECHO}],
    "a write without an answer": [{**WRITE, "lost": "before", "times": 2}],
    "a write that is refused": [{**WRITE, "code": 10021, "message": ECHO}],
    "changed secrets": [{**WRITE, "code": 10220, "message": f"The following secrets have changed: {TOKEN}"}],
    "a rate limit": [{**WRITE, "status": 429, "message": ECHO, "headers": {"retry-after": "900"}}],
    "ambiguous": [{**WRITE, "lost": "after"}, {**LIST, "status": 503, "message": ECHO, "skip": 2, "times": None}],
}


@pytest.mark.parametrize("as_json", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["text", "JSON"])
@pytest.mark.parametrize("rules", WORLDS.values(), ids=WORLDS)
def test_no_secret_shows_whatever_cloudflare_echoes(marked: World, rules: list[dict[str, Any]], as_json: bool) -> None:
    for rule in rules:
        marked.sandbox.fault(**rule)

    where = ["--service", "api", "--environment", "production", "--config", str(marked.config), "--yes"]
    outcome = marked.ops("rollback-worker", *where, *(["--json"] if as_json else []), **SECRETS)

    assert outcome.code in {0, 3, 4, 5}, outcome.err
    assert_nothing_shows(marked, outcome)


def test_no_webhook_shows_however_it_fails_and_in_a_job_only_to_be_masked(marked: World) -> None:
    with receiving() as receiver:
        receiver.answers["slack"] = Response(status=500, body=receiver.slack.encode())
        receiver.answers["discord"] = Response(status=302, headers=[("location", f"{receiver.discord}/marked")])
        page = marked.folder / "summary.md"
        job = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(page)}
        where = ["--service", "api", "--environment", "production", "--config", str(marked.config), "--yes"]
        outcome = marked.ops("rollback-worker", *where, **{**SECRETS, **receiver.environ, **job})

    masks = [line for line in outcome.err.splitlines() if line.startswith("::add-mask::")]
    assert sum(receiver.url in mask for mask in masks) == 2
    shown = outcome.out + "".join(line for line in outcome.err.splitlines() if line not in masks) + page.read_text()
    assert "the notice to Slack failed (it answered 500)" in shown
    assert "marked" not in shown
    assert_nothing_shows(marked, Outcome(outcome.code, outcome.out, ""))


def test_no_secret_shows_in_what_people_and_services_wrote(marked: World) -> None:
    behaviour = {"status": 500, "body": {"status": TOKEN, "version": {"id": TOKEN}}}
    marked.release(timedelta(minutes=5), message=ECHO, tag=TOKEN, author=TOKEN, behaviour=behaviour)

    outcome = marked.rollback("--reason", f"is it {TOKEN}?", **SECRETS)

    assert outcome.code == 0, outcome.err
    assert_nothing_shows(marked, outcome)
    assert TOKEN not in marked.sandbox.deployments(WORKER)[0].annotations["workers/message"]


@pytest.mark.parametrize("value", [f"{TOKEN}\n", f" {TOKEN}", f"\u201c{TOKEN}\u201d"])
def test_no_part_of_a_malformed_token_shows(marked: World, value: str) -> None:
    outcome = marked.rollback(**{**SECRETS, "CLOUDFLARE_API_TOKEN": value})

    assert outcome.code == 2
    assert_nothing_shows(marked, outcome)


class Broken(RollbackWorker):
    """Broken."""

    name = "broken"

    def preflight(self, ctx: Context[Params]) -> Plan:
        raise RuntimeError(f"in the midst of {ECHO}")


@pytest.fixture
def broken() -> Iterator[str]:
    cli.cli.add_command(runbook_command(Broken()))
    yield Broken.name
    del cli.cli.commands[Broken.name]


def test_no_secret_shows_in_the_traceback_of_a_bug(marked: World, broken: str) -> None:
    where = ["--service", "api", "--environment", "production", "--config", str(marked.config), "--yes"]

    outcome = marked.ops(broken, *where, **SECRETS)

    assert outcome.code == 1
    assert "This is a bug" in outcome.err
    assert "RuntimeError: in the midst of ***" in outcome.err
    assert_nothing_shows(marked, outcome)


REDACTED: dict[str, tuple[str, str, str]] = {
    "in the midst": ("hunter2-x", "a hunter2-x b", "a *** b"),
    "twice": ("hunter2-x", "hunter2-xhunter2-x", "******"),
    "URL-encoded": ("a/b+c=d", "?t=a%2Fb%2Bc%3Dd&", "?t=***&"),
    "a line of a key": ("first-line\nsecond-line\n", "x second-line", "x ***"),
    "with a stray newline": ("hunter2-x\n", "hunter2-x", "***"),
    "too short to be one": ("abc", "abcdef", "abcdef"),
    "empty": ("", "anything", "anything"),
}


@pytest.mark.parametrize(("secret", "text", "shown"), REDACTED.values(), ids=REDACTED)
def test_a_registered_value_is_replaced_in_every_form(secret: str, text: str, shown: str) -> None:
    redactor = Redactor()
    redactor.add(secret)

    assert redactor.text(text) == shown
    assert redactor.data({text: [text, (text, 1)]}) == {shown: [shown, [shown, 1]]}


def test_the_longer_of_two_secrets_leaves_no_rest() -> None:
    redactor = Redactor()
    redactor.add("hunter2")
    redactor.add("hunter2-and-more")

    assert redactor.text("hunter2-and-more, hunter2") == "***, ***"

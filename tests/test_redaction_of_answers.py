"""Secrets in answers of Cloudflare, in failures and in tracebacks are redacted."""

import json
import urllib.parse
from datetime import timedelta
from typing import Any

import pytest

from sandbox.server import HttpResponse
from tests.conftest import WORKER, Outcome, Releases, World
from tests.support.commands import JSON, LIST, LISTED_VERSIONS, ONE_VERSION, WRITE
from tests.support.webhooks import receiving
from tests.test_secrets_stay_secret import ECHO, SECRETS, TOKEN, broken

__all__ = ["broken"]


@pytest.fixture
def marked(world: World, releases: Releases) -> World:
    world.sandbox.add_token(TOKEN, ["Workers Scripts Write"])
    return world


def assert_no_secret_shown(world: World, outcome: Outcome) -> None:
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
    "unexpected JSON": [{**LIST, "body": json.dumps({"success": True, "result": ECHO}), **JSON}],
    "a header": [{**LIST, "status": 400, "headers": {"cf-ray": TOKEN}}],
    "an unclear write": [{**WRITE, "status": 500, "message": ECHO}],
    "a write without an answer": [{**WRITE, "lost": "before", "times": 2}],
    "a write that is refused": [{**WRITE, "code": 10021, "message": ECHO}],
    "changed secrets": [{**WRITE, "code": 10220, "message": f"The following secrets have changed: {TOKEN}"}],
    "a rate limit": [{**WRITE, "status": 429, "message": ECHO, "headers": {"retry-after": "900"}}],
    "unknown_outcome": [{**WRITE, "lost": "after"}, {**LIST, "status": 503, "message": ECHO, "skip": 2, "times": None}],
}


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["text", "JSON"])
@pytest.mark.parametrize("rules", WORLDS.values(), ids=WORLDS)
def test_secret_echoed_by_cloudflare_is_redacted(marked: World, rules: list[dict[str, Any]], as_json: bool) -> None:
    for rule in rules:
        marked.sandbox.fault(**rule)

    where = ["--service", "api", "--environment", "production", "--config", str(marked.config), "--yes"]
    outcome = marked.ops("rollback-worker", *where, *(["--json"] if as_json else []), **SECRETS)

    assert outcome.code in {0, 3, 4, 5}, outcome.err
    assert_no_secret_shown(marked, outcome)


@pytest.mark.slow
def test_webhook_url_is_redacted_in_failures(marked: World) -> None:
    with receiving() as receiver:
        receiver.answers["slack"] = HttpResponse(status=500, body=receiver.slack.encode())
        receiver.answers["discord"] = HttpResponse(status=302, headers=[("location", f"{receiver.discord}/marked")])
        page = marked.folder / "summary.md"
        job = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(page)}
        where = ["--service", "api", "--environment", "production", "--config", str(marked.config), "--yes"]
        outcome = marked.ops("rollback-worker", *where, **{**SECRETS, **receiver.environ, **job})

    masks = [line for line in outcome.err.splitlines() if line.startswith("::add-mask::")]
    assert sum(receiver.url in mask for mask in masks) == 2
    shown = outcome.out + "".join(line for line in outcome.err.splitlines() if line not in masks) + page.read_text()
    assert "cannot send a message to Slack (it answered 500)" in shown
    assert "marked" not in shown
    assert_no_secret_shown(marked, Outcome(outcome.code, outcome.out, ""))


@pytest.mark.slow
def test_secret_in_external_text_is_redacted(marked: World) -> None:
    behaviour = {"status": 500, "body": {"status": TOKEN, "version": {"id": TOKEN}}}
    marked.release(timedelta(minutes=5), message=ECHO, tag=TOKEN, author=TOKEN, behaviour=behaviour)

    outcome = marked.rollback("--reason", f"is it {TOKEN}?", **SECRETS)

    assert outcome.code == 0, outcome.err
    assert_no_secret_shown(marked, outcome)
    assert TOKEN not in marked.sandbox.deployments(WORKER)[0].annotations["workers/message"]


@pytest.mark.slow
def test_secret_at_a_truncation_is_redacted(marked: World) -> None:
    for cut in range(40, 80, 7):
        marked.release(timedelta(minutes=5), behaviour={"status": 500, "body": {"status": "x" * cut + TOKEN}})

        outcome = marked.rollback("--dry-run", **SECRETS)

        probed = [event["text"] for event in outcome.events if event["kind"] == "probed"]
        assert f"json status {json.dumps('x' * cut + '***')}, wanted" in probed[0]
        assert "cfut" not in outcome.out + outcome.err


@pytest.mark.sampled
@pytest.mark.parametrize("value", [f"{TOKEN}\n", f" {TOKEN}", f"\u201c{TOKEN}\u201d"])
def test_malformed_token_is_redacted(marked: World, value: str) -> None:
    outcome = marked.rollback(**{**SECRETS, "CLOUDFLARE_API_TOKEN": value})

    assert outcome.code == 2
    assert_no_secret_shown(marked, outcome)


def test_secret_in_a_traceback_is_redacted(marked: World, broken: str) -> None:
    where = ["--service", "api", "--environment", "production", "--config", str(marked.config), "--yes"]

    outcome = marked.ops(broken, *where, **SECRETS)

    assert outcome.code == 1
    assert "BUG: this program failed" in outcome.err
    (record,) = (marked.folder / ".ops" / "runs").glob("*/timeline.jsonl")
    assert f"nothing was changed; record of the run: {record}" in outcome.err
    assert "next step: Check what is live in the dashboard" in outcome.err
    assert "Afterwards report it in an issue of the operations repository" in outcome.err
    assert "(RuntimeError)" in record.read_text()
    assert "RuntimeError: in the midst of ***" in outcome.err
    assert_no_secret_shown(marked, outcome)

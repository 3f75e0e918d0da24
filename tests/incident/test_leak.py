"""`ops incident leak`: open one incident per leaked secret, with instructions."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import strategies as st

from ops.app.configuration import read_config, register_secrets
from ops.core.clock import parse_utc
from ops.core.redaction import Redactor
from ops.gate.events import LeakReport, read_leak, remove_keys, strip_report_url
from ops.gate.outcomes import GateJob
from ops.incident.secret_leak import Replacement, declared_secrets
from ops.incident.secret_leak import render_leak_incident as incident_text
from sandbox.github import GitHub
from tests.conftest import REFERENCE, Incident, Outcome, World
from tests.support.commands import unwrapped
from tests.support.hostile import WORDS, skeleton
from tests.support.marks import leaks, secret, sent
from tests.support.properties import holds_for

KEY = secret("leaked", signs="/+=")
SAID = {
    "secret": "CLOUDFLARE_API_TOKEN",
    "seen": "in the log of a build",
    "url": "https://ci.example/builds/77?key=1",
    "source": "a scanner",
}


@dataclass
class Reports:
    world: World

    @property
    def github(self) -> GitHub:
        return self.world.sandbox.github

    def send(self, said: Any, event: str = "repository_dispatch", run: str = "77", **environ: str) -> Outcome:
        body = {"action": "secret-leak", "client_payload": said}
        if event == "workflow_dispatch":
            body = {"workflow": ".github/workflows/secret-leak.yml", "inputs": said}
        where = {"full_name": "acme/operations", "default_branch": "main"}
        path = self.world.folder / "event.json"
        path.write_text(json.dumps({**body, "repository": where, "sender": {"login": "alice", "type": "User"}}))
        job = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": event,
            "GITHUB_EVENT_PATH": str(path),
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_RUN_ID": run,
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_TRIGGERING_ACTOR": "alice",
        }
        config = ("--config", str(self.world.config))
        return self.world.ops("incident", "leak", *config, **{**self.github.environ(), **job, **environ})

    def issue(self, number: int = 1) -> Any:
        return self.github.issue(number)


@pytest.fixture
def reports(world: World) -> Reports:
    world.sandbox.github.add_user("alice")
    world.sandbox.github.add_user("zoe", "read")
    return Reports(world)


@pytest.mark.parametrize("event", ["repository_dispatch", "workflow_dispatch"])
def test_leak_report_opens_incident_with_instructions(reports: Reports, event: str) -> None:
    done = reports.send(SAID, event)

    assert done.code == 0, done.err
    assert done.out.startswith("#1 http")
    opened = reports.issue()
    assert opened.title == "Leaked secret: CLOUDFLARE_API_TOKEN"
    assert {label.name for label in opened.labels} == {"incident", "sev1"}
    assert "Roll the token at dash.cloudflare.com" in opened.body
    assert "- Page: `https://ci.example/builds/77`\n" in opened.body
    assert "- Found by: a scanner" in opened.body
    assert "./run ops evidence --since 24h --environment production --incident 1" in unwrapped(opened.body)
    assert reports.world.writes() == []


@pytest.mark.slow
@pytest.mark.parametrize("visibility", ["public", "unknown"])
def test_public_incident_shows_only_the_name(reports: Reports, visibility: str) -> None:
    if visibility == "public":
        reports.github.switches.private = False
    else:
        reports.github.fault(path="/repos/acme/operations", status=503, times=None)

    assert reports.send(SAID).code == 0

    for word in ("ci.example", "builds", "scanner", "log of a"):
        assert word not in reports.issue().body
    assert "CLOUDFLARE_API_TOKEN" in reports.issue().body


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["GROQ_KEY_OF_SOMEBODY", KEY, "", None, 7, ["x"], "CLOUDFLARE_API_TOKEN\n@alice"])
def test_undeclared_name_is_not_repeated(reports: Reports, name: Any) -> None:
    done = reports.send({**SAID, "secret": name})

    assert (done.code, reports.issue().title) == (0, "Leaked secret: an undeclared secret")
    assert "revoke it there" in reports.issue().body
    for word in ("GROQ_KEY", "alice"):
        assert word not in reports.issue().body


@pytest.mark.parametrize("private", [True, False])
def test_key_in_report_is_never_shown(reports: Reports, private: bool) -> None:
    reports.github.switches.private = private
    page = reports.world.folder / "summary.md"
    url = f"https://ci.example/{KEY}/x?k={KEY}#{KEY}"
    for run, said in enumerate(
        [dict.fromkeys(SAID, KEY), {**SAID, "seen": f"it is ({KEY}), or {KEY}.", "url": url, KEY: KEY}], start=1
    ):
        done = reports.send(said, run=str(run), GITHUB_STEP_SUMMARY=str(page))
        assert done.code == 0, done.err
        requests = sent(reports.github.requests, "GitHub")
        assert leaks({"stdout": done.out, "stderr": done.err, **requests}) == []
    assert not page.exists() or leaks({"page": page.read_text()}) == []


def test_repeated_report_extends_the_incident(reports: Reports) -> None:
    for run in ("77", "78", "78"):
        assert reports.send(SAID, run=run).code == 0
    assert reports.send({**SAID, "secret": "SLACK_WEBHOOK_URL"}, run="79").code == 0

    menu, note = reports.issue().comments
    assert "#### api" in menu.body
    assert "UTC** CLOUDFLARE_API_TOKEN was reported as leaked again\n" in note.body
    assert "- Page: `https://ci.example/builds/77`" in note.body
    assert reports.issue(2).title == "Leaked secret: SLACK_WEBHOOK_URL"
    assert "reported as leaked again" in Incident(reports.world, 1).show().out


def test_token_of_durable_objects_is_a_declared_secret(reports: Reports) -> None:
    assert reports.send({**SAID, "secret": "FORTUNET_ADMIN_TOKEN"}).code == 0

    assert reports.issue().title == "Leaked secret: FORTUNET_ADMIN_TOKEN"
    assert "In production: Give the secret a new value in the Worker" in reports.issue().body
    assert "has no secret of the reported name" not in reports.issue().body


def test_key_of_the_status_page_is_replaced_at_its_provider(reports: Reports) -> None:
    page = "{url: 'https://status.example', title: Fortune, provider: instatus, page_id: pagefortune1, token: PAGE_KEY"
    components = "[{name: API, services: [api], id: compfortune1}]"
    reports.world.edit_config("responders:", f"status_page: {page}, components: {components}}}\nresponders:")
    assert reports.send({**SAID, "secret": "PAGE_KEY"}).code == 0

    assert reports.issue().title == "Leaked secret: PAGE_KEY"
    assert "at the provider of the status page" in reports.issue().body
    assert "has no secret of the reported name" not in reports.issue().body


@pytest.mark.slow
def test_every_secret_of_the_configuration_is_declared() -> None:
    """The variables whose values a run masks, except those that ops.yml does not name."""
    config, _ = read_config(REFERENCE / "ops.yml")
    masked = register_secrets({}, config, Redactor())
    prefixed = {
        f"{prefix}{name}"
        for each in config.environments.values()
        for name in each.secrets
        for prefix in ("NEW_", "OLD_")
    }

    assert masked - prefixed - {"GITHUB_TOKEN", "GH_SECRETS_TOKEN", "GH_SECRETS_APP_KEY"} <= declared_secrets(config)


def test_second_undeclared_secret_is_not_said_to_be_the_first(reports: Reports) -> None:
    for run, name in enumerate(("ONE_KEY", "ANOTHER_KEY", "THIRD_KEY")):
        assert reports.send({**SAID, "secret": name}, run=str(run)).code == 0

    notes = [each.body for each in reports.issue().comments if "reported as leaked" in each.body]
    assert len(notes) == 2
    assert all("again" not in each and "the same one, or another" in each for each in notes)


@pytest.mark.slow
def test_closed_and_forged_incidents_are_ignored(reports: Reports) -> None:
    reports.send(SAID)
    body = reports.issue().body
    reports.github.close(1, "alice")
    reports.github.open_issue("Leaked secret", body, ["incident"], "zoe")

    reports.send(SAID, run="78")

    assert reports.issue(3).title == "Leaked secret: CLOUDFLARE_API_TOKEN"


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("event", "said", "ref", "code"),
    [
        ("repository_dispatch", "text", "refs/heads/main", 2),
        ("repository_dispatch", None, "refs/heads/main", 0),
        ("workflow_dispatch", SAID, "refs/heads/mine", 3),
        ("issues", SAID, "refs/heads/main", 0),
    ],
)
def test_malformed_or_foreign_event_opens_no_incident(
    reports: Reports, event: str, said: Any, ref: str, code: int
) -> None:
    done = reports.send(said, event, GITHUB_REF=ref)

    assert done.code == code, done.err
    assert len(reports.github.issues) == (1 if event == "repository_dispatch" and said is None else 0)


@pytest.mark.slow
def test_failed_github_write_can_be_repeated(reports: Reports) -> None:
    reports.github.fault(method="GET", path="/repos/*/*/issues", status=503, times=None)
    assert reports.send(SAID).code == 4
    reports.github.faults.clear()
    assert reports.send(SAID, GITHUB_RUN_ATTEMPT="2").code == 0


NOW = parse_utc("2026-11-24T03:05Z")
JOB = GateJob(
    repository="acme/operations", ref="refs/heads/main", workflow_ref="", run_attempt=1, actor="alice", now=NOW
)
WHERE = {"repository": {"full_name": "acme/operations", "default_branch": "main"}}
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*SAID, "x"]), inner, max_size=5),
    max_leaves=12,
)


@pytest.mark.slow
@holds_for(30, 2000, said=JUNK)
def test_any_payload_is_parsed_or_refused(said: Any) -> None:
    payload = {**WHERE, "action": "secret-leak", "client_payload": said}
    outcome = read_leak("repository_dispatch", payload, {"A_KEY"}, JOB)

    if isinstance(outcome, LeakReport):
        assert outcome.secret in {"", "A_KEY"}
        assert max(len(outcome.location), len(outcome.source)) <= 202
        assert outcome.url == "" or re.fullmatch(r"https://[!-~…]+", outcome.url)
    read_leak("workflow_dispatch", said, set(), JOB)


KEYS = st.from_regex(r"[A-Za-z0-9_/+=.~-]{16,80}", fullmatch=True).filter(
    lambda key: len(key) > 23 or (re.search("[0-9]", key.strip(".")) is not None and len(key.strip(".")) >= 16)
)


@pytest.mark.slow
@holds_for(
    30,
    2000,
    key=KEYS,
    before=st.sampled_from(["", "the key is ", "key=", "("]),
    after=st.sampled_from(["", ")", ".", " ?"]),
)
def test_key_like_text_is_redacted(key: str, before: str, after: str) -> None:
    assert key.strip(".") not in remove_keys(f"{before}{key}{after}")
    if "/" not in key or re.search("[A-Z]", key):
        assert key not in strip_report_url(f"https://ci.example/{key}?x={key}")


def test_plain_words_are_kept() -> None:
    said = "In the log of build 77, on 2026-11-24 at 13:05: docs/architecture.md"
    assert remove_keys(said) == said
    assert strip_report_url("https://github.com/acme/app/issues/7#x") == "https://github.com/acme/app/issues/7"
    assert strip_report_url("https://user:pw@github.com/acme") == "https://github.com/acme"
    assert strip_report_url("javascript:alert(1)") == ""


def incident_of(said: Mapping[str, str]) -> str:
    replacing = [Replacement("production", service="api"), Replacement("staging", by_hand="Ask.")]
    return incident_text(
        LeakReport(secret="GROQ_API_KEY", **said),
        "GROQ_API_KEY",
        replacing,
        ["production"],
        at=NOW,
        number="7",
        page="",
        program="./run ops",
    )


def test_rotation_is_shown_as_command_and_button() -> None:
    text = incident_of({})

    only = "--service api --environment production --only GROQ_API_KEY --incident 7"
    assert f"./run ops rotate-secrets {only}`\n" in text
    button = "-f service=api -f environment=production -f only=GROQ_API_KEY -f incident=7"
    assert f"gh workflow run rotate-secrets.yml {button}`\n" in text
    assert "In staging: Ask." in text


@pytest.mark.slow
@holds_for(25, 1000, said=WORDS)
def test_incident_survives_untrusted_report(said: str) -> None:
    one, other = (dict.fromkeys(("location", "url", "source"), f"x{word}") for word in (said, ""))

    assert skeleton(incident_of(one)) == skeleton(incident_of(other))

"""Parse a GitHub event into a request or refusal, without I/O; permissions: test_gate.py, test_label.py, test_button.py."""

import copy
import gzip
import itertools
import json
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import strategies as st

from ops.app.configuration import read_config
from ops.core.errors import Reason
from ops.gate.events import read_event
from ops.gate.outcomes import (
    GateJob,
    IgnoredEvent,
    MalformedEvent,
    OutageCheck,
    Outcome,
    RecoveryRequest,
    RefusedRequest,
    ReportDue,
)
from ops.github.issues import HEADINGS as FORM_HEADINGS
from ops.github.issues import parse_began, parse_form, read_fields
from tests.conftest import REFERENCE, ROOT
from tests.support import plain_yaml
from tests.support.properties import holds_for
from tests.support.workflows import generated

NOW = datetime(2026, 11, 24, 3, 5, tzinfo=UTC)
CONFIG, _ = read_config(REFERENCE / "ops.yml")
PARAMETERS = {"service": (str, True), "to": (str, False), "reason": (str, False)}
RUNBOOKS = {
    "rollback-worker": {**PARAMETERS, "accept_changed_secrets": (tuple, False), "current_secrets": (bool, False)}
}
REPOSITORY = "acme/operations"
LABEL = "recover:rollback-api"


def job(**changed: Any) -> GateJob:
    usual = {"repository": REPOSITORY, "ref": "refs/heads/main", "run_attempt": 1, "actor": "alice", "now": NOW}
    given = {**usual, **changed}
    file = given.pop("file", "incident")
    return GateJob(workflow_ref=f"{given['repository']}/.github/workflows/{file}.yml@{given['ref']}", **given)


def payload(action: str = "labeled", **issue: Any) -> dict[str, Any]:
    return {
        "action": action,
        "label": {"name": LABEL},
        "issue": {
            "number": 7,
            "state": "open",
            "updated_at": "2026-11-24T03:04:00Z",
            "title": "x",
            "body": None,
            **issue,
        },
        "repository": {"full_name": REPOSITORY, "default_branch": "main"},
        "sender": {"login": "alice", "id": 1001, "type": "User"},
    }


def button(**inputs: Any) -> dict[str, Any]:
    shared = {name: value for name, value in payload().items() if name in {"repository", "sender"}}
    given = {"service": "api", "environment": "production", "incident": "7", **inputs}
    return {**shared, "workflow": ".github/workflows/rollback-worker.yml", "ref": "refs/heads/main", "inputs": given}


def parse(event: str, body: Any, **changed: Any) -> Outcome:
    file = {"file": "rollback-worker"} if event == "workflow_dispatch" else {}
    return read_event(event, body, CONFIG, RUNBOOKS, job(**file, **changed))


def reason(outcome: Outcome) -> Reason:
    assert isinstance(outcome, RefusedRequest), outcome
    return outcome.reason


def test_label_requests_its_configured_runbook() -> None:
    assert parse("issues", payload()) == RecoveryRequest(
        runbook="rollback-worker",
        params={"service": "api"},
        environment="production",
        incident=7,
        sender="alice",
        sender_id=1001,
        actor="alice",
        requested_at=datetime(2026, 11, 24, 3, 4, tzinfo=UTC),
        label=LABEL,
    )


def test_title_body_and_other_labels_are_ignored() -> None:
    hostile = payload(title="recover web", body="### service\n\nweb", labels=[{"name": "recover:other"}])

    assert parse("issues", hostile) == parse("issues", payload())


def test_button_requests_its_inputs_at_run_creation() -> None:
    at = NOW - timedelta(minutes=20)

    outcome = parse("workflow_dispatch", button(to="", dry_run="true", unknown="x", reason="slow"), started_at=at)

    assert isinstance(outcome, RecoveryRequest)
    assert outcome.params == {"service": "api", "reason": "slow"}
    assert (outcome.runbook, outcome.environment, outcome.incident) == ("rollback-worker", "production", 7)
    assert (outcome.requested_at, outcome.dry_run, outcome.label) == (at, True, None)


def test_button_that_waited_too_long_is_refused() -> None:
    outcome = parse("workflow_dispatch", button(), started_at=NOW - timedelta(hours=1))

    assert reason(outcome) == Reason.REQUEST_TOO_OLD


def test_unknown_environment_is_refused_with_known_names() -> None:
    outcome = parse("workflow_dispatch", button(environment="prod"))

    assert reason(outcome) == Reason.UNKNOWN_NAME
    assert isinstance(outcome, RefusedRequest)
    assert "production, staging" in outcome.hint


def test_overlong_button_input_is_malformed() -> None:
    """Later jobs could not start a program with such a variable, so no job could answer."""
    outcome = parse("workflow_dispatch", button(reason="\U0001f525" * 10_000))

    assert outcome == MalformedEvent(cause="inputs.reason is longer than 1,000 characters")


@pytest.mark.parametrize(
    "inputs",
    [{"incident": "seven"}, {"incident": "0"}, {"dry_run": "yes"}, {"service": ["api"]}, {"service": None}],
    ids=str,
)
def test_button_input_of_wrong_type_is_malformed(inputs: dict[str, Any]) -> None:
    assert isinstance(parse("workflow_dispatch", button(**inputs)), MalformedEvent)


def test_closing_an_incident_requests_a_report() -> None:
    body = payload("closed", state="closed", closed_at="2026-11-24T03:04:30Z")

    outcome = parse("issues", body, now=NOW + timedelta(days=1))

    assert isinstance(outcome, ReportDue)
    assert (outcome.incident, outcome.sender, outcome.at) == (7, "alice", NOW - timedelta(seconds=30))


@pytest.mark.parametrize("label", ["check-outage", "Check-outage"])
def test_label_requests_a_check(label: str) -> None:
    outcome = parse("issues", payload() | {"label": {"name": label}})

    assert isinstance(outcome, OutageCheck)
    assert (outcome.incident, outcome.sender, outcome.label) == (7, "alice", label)


@cache
def examples() -> list[tuple[str, Any]]:
    """Return event and payload of each github.com example in the npm package @octokit/webhooks-examples 7.6.1 (MIT)."""
    packed = (ROOT / "tests/support/webhook_examples.json.gz").read_bytes()
    return [(event, body) for event, body in json.loads(gzip.decompress(packed))]


def _replace_field(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a deep copy with another value of the field; `...` removes the field."""
    changed = copy.deepcopy(body)
    *parents, last = path.split(".")
    place = changed
    for parent in parents:
        place = place[parent]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return changed


@pytest.mark.parametrize(
    ("event", "body"),
    [
        ("issues", payload("unlabeled")),
        ("issues", payload("opened")),
        ("issues", _replace_field(payload(), "label.name", "bug")),
        ("issues", _replace_field(payload(), "label", ...)),
        ("issues", payload(pull_request={"url": "x"})),
        ("issues", payload("closed", pull_request={"url": "x"})),
        ("issues", _replace_field(payload(), "repository.full_name", "acme/fork")),
        ("issues", _replace_field(payload("closed"), "repository.full_name", "acme/fork")),
        ("workflow_dispatch", _replace_field(button(), "repository.full_name", "acme/fork")),
        ("push", {}),
        ("issue_comment", payload("created")),
        ("pull_request", payload()),
    ],
)
def test_unrelated_event_is_ignored(event: str, body: Any) -> None:
    assert isinstance(parse(event, body), IgnoredEvent)


NEEDED = (
    *("issue", "issue.number", "issue.state", "issue.updated_at", "sender", "sender.login", "sender.id"),
    *("sender.type", "repository", "repository.full_name", "repository.default_branch", "action"),
)


@pytest.mark.slow
@pytest.mark.parametrize("value", [..., None, [], {}, True, -1, 1.5, ""], ids=repr)
@pytest.mark.parametrize("path", NEEDED)
def test_missing_or_mistyped_field_is_malformed(path: str, value: Any) -> None:
    outcome = parse("issues", _replace_field(payload(), path, value))

    assert isinstance(outcome, MalformedEvent)
    assert path.rpartition(".")[2] in outcome.cause or path.partition(".")[0] in outcome.cause


@pytest.mark.sampled
@pytest.mark.parametrize("body", [None, [], "labeled", 3, {}], ids=repr)
@pytest.mark.parametrize("event", ["issues", "workflow_dispatch"])
def test_payload_without_fields_is_malformed(event: str, body: Any) -> None:
    assert isinstance(parse(event, body), MalformedEvent)


@pytest.mark.parametrize("moment", ["yesterday", "0001-01-01T00:00:00+23:59", "2026-13-01T00:00:00Z"])
def test_invalid_time_is_malformed_but_keeps_incident(moment: str) -> None:
    outcome = parse("issues", payload(updated_at=moment))

    assert isinstance(outcome, MalformedEvent)
    assert (outcome.incident, outcome.label) == (7, LABEL)


@pytest.mark.parametrize(
    ("label", "near"), [("recover:rollback-apl", LABEL), ("recover:zzz", None), ("RECOVER:nothing", None)]
)
def test_unknown_label_is_refused_with_known_names(label: str, near: str | None) -> None:
    outcome = parse("issues", _replace_field(payload(), "label.name", label))

    assert isinstance(outcome, RefusedRequest)
    assert outcome.reason == Reason.UNKNOWN_LABEL
    assert LABEL in outcome.hint.format_map(outcome.values)
    assert outcome.values.get("near") == near


def test_label_in_other_case_is_refused_with_correction() -> None:
    """GitHub has one label for both spellings, so a person created or renamed it by hand."""
    outcome = parse("issues", _replace_field(payload(), "label.name", "Recover:Rollback-API"))

    assert isinstance(outcome, RefusedRequest)
    assert (outcome.reason, outcome.label) == (Reason.UNKNOWN_LABEL, "Recover:Rollback-API")
    assert outcome.message == "the label {label} is spelled {near} in ops.yml"
    assert outcome.values == {"label": "Recover:Rollback-API", "near": LABEL}
    assert outcome.request is not None
    assert (outcome.request.runbook, outcome.request.params) == ("rollback-worker", {"service": "api"})


def test_request_lists_other_recovery_labels() -> None:
    labels = [{"name": name} for name in (LABEL, "incident", "recover:unknown", "recover:api-off")]

    outcome = parse("issues", payload(labels=labels))

    assert isinstance(outcome, RecoveryRequest)
    assert outcome.other_labels == ("recover:api-off",)


AGES = (-61, -60, 0, 1800, 1801)
KINDS = ("User", "Bot", "Organization", "Mannequin")
REFS = ("refs/heads/main", "refs/heads/evil", "refs/tags/main", "main")
STATES = ("open", "closed")
ATTEMPTS = (1, 2)
LABELS = (LABEL, "recover:unknown")
EVERY_CASE = list(itertools.product(AGES, KINDS, REFS, STATES, ATTEMPTS, LABELS))


def broken_rules(age: int, kind: str, ref: str, state: str, label: str) -> set[Reason]:
    """Return every violated rule; the gate may report any of them. A rerun alone violates none."""
    broken = {
        Reason.REQUEST_TOO_OLD: not -60 <= age <= 1800,
        Reason.NOT_A_PERSON: kind != "User",
        Reason.OTHER_REF: ref != "refs/heads/main",
        Reason.INCIDENT_CLOSED: state == "closed",
        Reason.UNKNOWN_LABEL: label != LABEL,
    }
    return {rule for rule, is_broken in broken.items() if is_broken}


@pytest.mark.parametrize("age", AGES)
def test_label_is_accepted_only_if_every_rule_holds(age: int) -> None:
    for case in [case for case in EVERY_CASE if case[0] == age]:
        _, kind, ref, state, attempt, label = case
        at = (NOW - timedelta(seconds=age)).isoformat()
        body = _replace_field(
            _replace_field(payload(state=state, updated_at=at), "sender.type", kind), "label.name", label
        )

        outcome = parse("issues", body, ref=ref, run_attempt=attempt)

        broken = broken_rules(age, kind, ref, state, label)
        assert isinstance(outcome, RecoveryRequest) == (not broken), case
        assert not broken or reason(outcome) in broken, case


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "ref", "attempt"), list(itertools.product(KINDS, REFS, ATTEMPTS)))
def test_button_is_accepted_only_if_every_rule_holds(kind: str, ref: str, attempt: int) -> None:
    body = _replace_field(button(), "sender.type", kind)

    outcome = parse("workflow_dispatch", body, ref=ref, run_attempt=attempt, started_at=NOW)

    broken = broken_rules(0, kind, ref, "open", LABEL)
    assert isinstance(outcome, RecoveryRequest) == (not broken)
    assert not broken or reason(outcome) in broken


def test_github_example_payloads_are_ignored() -> None:
    assert len(examples()) == 329
    for event, body in examples():
        assert isinstance(parse(event, body), IgnoredEvent), (event, body.get("action"))


@pytest.mark.slow
def test_github_labeled_example_with_known_label_is_accepted() -> None:
    mine = [body for event, body in examples() if event == "issues" and body["action"] == "labeled"]
    assert len(mine) == 2
    for example in mine:
        body = _replace_field(example, "label.name", LABEL)
        where = {"repository": body["repository"]["full_name"], "ref": "refs/heads/master"}
        at = datetime.fromisoformat(body["issue"]["updated_at"])

        outcome = parse("issues", body, now=at, **where)

        assert isinstance(outcome, RecoveryRequest)
        assert (outcome.incident, outcome.sender) == (body["issue"]["number"], body["sender"]["login"])
        assert reason(parse("issues", body, **where)) == Reason.REQUEST_TOO_OLD


@pytest.mark.slow
def test_github_issue_examples_parse_as_closed() -> None:
    for event, body in examples():
        if event != "issues":
            continue
        changed = _replace_field(_replace_field(body, "action", "closed"), "issue.closed_at", "2026-11-24T03:04:30Z")
        outcome = parse("issues", changed, repository=body["repository"]["full_name"])
        assert isinstance(outcome, ReportDue | IgnoredEvent), outcome


FAST, SLOW = 25, 600
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
PLACES = sorted({*NEEDED, "label", "label.name", "issue.title", "issue.body"})


@pytest.mark.slow
@holds_for(FAST, SLOW, event=st.sampled_from(["issues", "workflow_dispatch", "push", ""]), body=ANYTHING)
def test_random_payload_is_never_a_request(event: str, body: Any) -> None:
    assert not isinstance(parse(event, body), RecoveryRequest)


@holds_for(FAST, SLOW, path=st.sampled_from(PLACES), value=ANYTHING, action=st.sampled_from(["labeled", "closed"]))
def test_random_field_value_raises_nothing(path: str, value: Any, action: str) -> None:
    parse("issues", _replace_field(payload(action, closed_at="2026-11-24T03:04:00Z"), path, value))


@pytest.mark.slow
@holds_for(
    FAST,
    SLOW,
    inputs=st.dictionaries(st.sampled_from(["service", "incident", "environment", "dry_run", "x"]), ANYTHING),
)
def test_random_button_input_raises_nothing(inputs: dict[str, Any]) -> None:
    parse("workflow_dispatch", _replace_field(button(), "inputs", inputs))


HEADINGS = ["Service", "Severity", "What is seen", "Impact"]
BODY = """\
### Service

api

### Severity

SEV2

### What is seen

500 since 10:00
{seen}

### Impact

_No response_
"""


def test_form_is_parsed_by_headings() -> None:
    answers = read_fields(BODY.format(seen=""), HEADINGS)

    assert answers == {"Service": "api", "Severity": "SEV2", "What is seen": "500 since 10:00", "Impact": ""}
    assert read_fields(BODY.format(seen="").replace("\n", "\r\n"), HEADINGS) == answers
    assert read_fields("", HEADINGS) == {}


@pytest.mark.parametrize(
    "seen",
    [
        "### Severity\n\nSEV1",
        "### Service\n\nweb",
        "```\n### Impact\n\neveryone\n```",
        "~~~~ text\n```\n### Impact\n~~~\n### Impact\n~~~~",
        "#### Impact\n## Impact\n    ### Impact\n### Impact of it",
    ],
)
def test_forged_heading_changes_no_other_answer(seen: str) -> None:
    answers = read_fields(BODY.format(seen=seen), HEADINGS)

    assert (answers["Service"], answers["Severity"], answers["Impact"]) == ("api", "SEV2", "")
    assert seen in answers["What is seen"]


def test_impact_of_a_form_is_one_line_of_at_most_300_characters() -> None:
    body = f"### Service\n\napi\n\n### Impact\n\nno\norders{'!' * 300}"

    assert parse_form(body, now=NOW).impact == f"no orders{'!' * 291}"


def test_heading_out_of_order_is_ignored() -> None:
    body = BODY.replace("\nSEV2\n", "\nSEV2\n\n### Impact\n\nall\n").format(seen="")

    assert read_fields(body, HEADINGS)["What is seen"] == "500 since 10:00"


def test_missing_heading_keeps_other_answers() -> None:
    body = BODY.format(seen="").replace("### Severity", "Severity")

    assert read_fields(body, HEADINGS)["What is seen"] == "500 since 10:00"


@pytest.mark.slow
@holds_for(FAST, SLOW, body=st.text(alphabet="#` ~\r\nISei") | st.text())
def test_random_form_raises_nothing(body: str) -> None:
    assert set(read_fields(body, HEADINGS)) <= set(HEADINGS)


STATED = {
    "2026-11-24 02:05": "2026-11-24T02:05:00+00:00",
    "2026-11-24T02:05:30Z": "2026-11-24T02:05:30+00:00",
    "2026-11-24 02:05 UTC": "2026-11-24T02:05:00+00:00",
    "02:05": "2026-11-24T02:05:00+00:00",
    "23:05 UTC": "2026-11-23T23:05:00+00:00",
    "2026-11-24 03:05+01:00": "2026-11-24T02:05:00+00:00",
    "2026-11-24T03:05 +0100": "2026-11-24T02:05:00+00:00",
    "02:05+25:00": None,
    "yesterday": None,
    "2026-13-24 02:05": None,
    "2026-11-24 02:05 CET": None,
    "2999-01-01 00:00": None,
    "_No response_": None,
    "2026-11-24 02:05\n2026-11-24 02:06": None,
}


@pytest.mark.parametrize(("said", "moment"), STATED.items(), ids=str)
def test_incident_start_must_be_a_past_time(said: str, moment: str | None) -> None:
    body = f"### What is seen\n\n500\n\n### When it began (UTC)\n\n{said}\n\n### Impact\n\nall"

    found = parse_began(body, now=NOW)

    assert (found and found.isoformat()) == moment


@pytest.mark.slow
@pytest.mark.parametrize("body", [None, 7, [], "", "### When it began (UTC)"], ids=str)
def test_body_without_start_is_accepted(body: object) -> None:
    outcome = parse("issues", payload(body=body))

    assert isinstance(outcome, RecoveryRequest)
    assert outcome.began is None


def test_issue_form_matches_parsed_headings() -> None:
    template = plain_yaml.load((generated() / ".github/ISSUE_TEMPLATE/incident.yml").read_text())

    assert (
        tuple(field["attributes"]["label"] for field in template["body"] if field["type"] != "markdown")
        == FORM_HEADINGS
    )

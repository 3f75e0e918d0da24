"""The run's comment on the incident issue; GitHub failures never affect the recovery."""

import json
import os
import pwd
import re
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from ops.app.configuration import read_config
from ops.core.redaction import Redactor
from ops.core.run import Run
from ops.core.run_record import is_edited, read_record
from ops.core.threads import TimeBudget
from ops.core.timeline import EventKind, RunEvent, event_from_json
from ops.github.client import connect
from ops.github.comments import MAX_TEXT
from ops.publish.comment import render_comments
from ops.publish.incident_issue import CommentWriter
from tests.conftest import REFERENCE, Incident, Releases, assert_golden
from tests.support.commands import COMMENT, COMMENTS, LIST, WRITE, ended, unwrapped

CONTACTS = read_config(REFERENCE / "ops.yml")[0].contacts


def delay_first_read_until_comment(incident: Incident) -> None:
    """Delay Cloudflare's first answer until the first comment exists."""
    heard = threading.Event()
    incident.github.fault(method="POST", path=COMMENTS, after=heard.set)
    incident.world.sandbox.fault(**LIST, before=lambda: heard.wait(30))


def test_first_comment_confirms_receipt(incident: Incident, releases: Releases, update_golden: bool) -> None:
    seen: list[str] = []
    delay_first_read_until_comment(incident)
    incident.world.sandbox.fault(**WRITE, before=lambda: seen.extend(incident.bodies))
    incident.rollback()
    assert_golden("comment-received", seen[0], update=update_golden)
    assert len(incident.bodies) == 1
    assert incident.bodies[0].startswith("### ✅ ")


def test_recovery_is_one_comment(incident: Incident, releases: Releases, update_golden: bool) -> None:
    incident.world.verify_three_rounds()
    outcome = incident.rollback("--reason", "checkout fails @acme/all #1")
    (body,) = incident.bodies
    block = read_record(body)
    assert_golden("comment-recovered", body, update=update_golden)
    assert block
    assert (block.run, block.decision) == (outcome.result["run"], "recovered")
    assert block.durations["verified"] is not None
    assert not is_edited(body)
    assert is_edited(body.replace("Rolled back", "I rolled back"))
    assert incident.github.token not in body
    assert outcome.result["links"]["journal"].startswith("http")


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("failed", {**WRITE, "code": 10021, "message": "no"}),
        ("refused", {**WRITE, "code": 10220, "message": "The following secrets have changed: AI_KEY"}),
    ],
)
def test_comment_of_an_unsuccessful_run_shows_next_steps(
    incident: Incident, releases: Releases, update_golden: bool, name: str, fault: dict[str, Any]
) -> None:
    incident.world.sandbox.fault(**fault)
    incident.rollback()
    (body,) = incident.bodies
    assert_golden(f"comment-{name}", body, update=update_golden)


def test_run_without_evidence_names_its_next_step_everywhere(incident: Incident, releases: Releases) -> None:
    incident.world.sandbox.switches.edge_challenges_runners = True

    outcome = incident.rollback("--yes")

    hint = outcome.result["hint"]
    assert (outcome.code, "request_headers" in hint) == (8, True)
    assert Run("r", tuple(map(event_from_json, outcome.result["timeline"]))).hint == hint
    (body,) = incident.bodies
    assert "**Next step:**" in body
    assert "request_headers" in body.partition("<details>")[0].replace("\\", "")


def test_comment_during_the_write(incident: Incident, releases: Releases, update_golden: bool) -> None:
    """Rendered from the events up to the write: a run on a frozen clock ends before its second edit."""
    events = [event_from_json(event) for event in incident.rollback().result["timeline"]]
    writing = next(number for number, event in enumerate(events, start=1) if event.kind == EventKind.WRITING)
    (body,) = render_comments(Run("20261124T030500-abcd", tuple(events[:writing])), CONTACTS)
    assert_golden("comment-writing", body, update=update_golden)


FAULTS: dict[str, dict[str, Any]] = {
    "request to create lost": {"method": "POST", "lost": "before"},
    "answer to create lost": {"method": "POST", "lost": "after"},
    "create applied with HTTP 502": {"method": "POST", "status": 502, "applied": True},
    "every create fails": {"method": "POST", "status": 500, "times": None},
    "edits fail": {"method": "PATCH", "status": 500, "times": None},
    "forbidden": {"status": 403, "times": None},
    "rate limit": {"method": "POST", "status": 429, "times": None, "headers": {"retry-after": "60"}},
    "read back fails": {"method": "GET", "status": 404, "times": None},
}


@pytest.mark.parametrize(
    "early", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["while it runs", "at its end"]
)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_github_failures_do_not_stop_the_recovery(
    incident: Incident, releases: Releases, fault: dict[str, Any], early: bool
) -> None:
    if early:
        delay_first_read_until_comment(incident)  # first, so that it also hears of what the fault then swallows
    incident.github.fault(**{"path": "/repos/**", **fault})
    outcome = incident.rollback()
    assert (outcome.code, outcome.result["decision"]) == (0, "recovered")
    runs = [block.run for body in incident.bodies if (block := read_record(body))]
    assert len(runs) == len(set(runs))
    assert sum("cannot update the comment" in event["text"] for event in outcome.events) <= 1


@pytest.mark.parametrize(
    ("fault", "warnings"),
    [("request to create lost", 1), ("answer to create lost", 0), ("create applied with HTTP 502", 0)],
)
def test_lost_github_answer_leaves_one_complete_comment(
    incident: Incident, releases: Releases, fault: str, warnings: int
) -> None:
    incident.github.fault(path=COMMENTS, **FAULTS[fault])
    outcome = incident.rollback()
    (body,) = incident.bodies
    assert body.startswith("### ✅ ")
    assert sum("cannot update the comment on the incident issue" in each["text"] for each in outcome.events) == warnings


def test_ineffective_edit_is_replaced_by_a_new_comment(incident: Incident, releases: Releases) -> None:
    delay_first_read_until_comment(incident)
    incident.github.fault(method="PATCH", path=COMMENT, status=200, body="{}", content_type="application/json")
    incident.rollback()
    (body,) = incident.bodies
    assert body.startswith("### ✅ ")


def test_unreachable_github_is_a_warning(incident: Incident, releases: Releases) -> None:
    outcome = incident.rollback(GITHUB_API_URL="http://127.0.0.1:9")
    assert (outcome.code, outcome.result["decision"]) == (0, "recovered")
    warnings = sorted(e["text"] for e in outcome.events if e["kind"] == "warning")
    assert "stopped" in warnings[0]
    assert warnings[1:] == [
        "cannot read the earlier runs of the incident (ConnectionError)",
        "cannot update the comment on the incident issue (ConnectionError)",
    ]


def test_unknown_incident_is_named_in_a_warning(incident: Incident, releases: Releases) -> None:
    outcome = incident.rollback("--incident", "999")
    assert (outcome.code, outcome.result["decision"]) == (0, "recovered")
    said = [e["text"] for e in outcome.events if "cannot update the comment" in e["text"]]
    assert said == [
        "cannot update the comment on the incident issue (GitHub answered 404; issue #999 does not exist there)"
    ]


def test_each_run_has_its_own_comment(incident: Incident, releases: Releases) -> None:
    runs = [incident.rollback().result["run"] for _ in range(2)]
    assert [block.run for body in incident.bodies if (block := read_record(body))] == runs


def test_run_with_a_write_opens_a_missing_incident(incident: Incident, releases: Releases) -> None:
    outcome = incident.world.rollback(**incident.github.environ())
    opened = incident.github.issues[-1]
    assert outcome.result["links"]["incident"].endswith(f"/issues/{opened.number}")
    assert [label.name for label in opened.labels] == ["incident"]
    run, menu = opened.comments
    assert f"--incident {opened.number} " in menu.body
    assert "recovered" in run.body
    assert (opened.body or "").startswith("### Service\n\napi\n\n### What is seen\n\nOpened after a run in production")


@pytest.mark.parametrize("lost", ["after", "before"])
def test_new_incident_whose_answer_is_lost_is_found(incident: Incident, releases: Releases, lost: str) -> None:
    incident.github.fault(method="POST", path="/repos/*/*/issues", lost=lost)
    outcome = incident.world.rollback(**incident.github.environ())
    warnings = [each["text"] for each in outcome.events if each["kind"] == "warning"]
    assert outcome.code == 0
    assert len(incident.github.issues) == (2 if lost == "after" else 1)
    assert ("incident" in outcome.result["links"]) is (lost == "after")
    assert ["(ConnectionError)" in each for each in warnings] == ([] if lost == "after" else [True])


def test_new_incident_without_menu_has_the_run(incident: Incident, releases: Releases) -> None:
    incident.github.fault(method="POST", path="/repos/*/*/issues/*/comments", skip=1, status=500)
    outcome = incident.world.rollback(**incident.github.environ())
    opened = incident.github.issues[-1]
    assert outcome.result["links"]["incident"].endswith(f"/issues/{opened.number}")
    (run,) = opened.comments
    assert "recovered" in run.body


@pytest.mark.parametrize(
    ("asked", "end"),
    [(("--dry-run",), (0, "planned", "dry_run")), ((), (9, "planned", "implicit_dry_run"))],
    ids=["on request", "without a terminal"],
)
def test_dry_run_posts_no_comment(
    incident: Incident, releases: Releases, asked: tuple[str, ...], end: tuple[int, str, str]
) -> None:
    where = ("--service", "api", "--environment", "production", "--config", str(incident.world.config))

    done = incident.ops("rollback-worker", *where, "--json", "--incident", str(incident.number), *asked)

    assert ended(done) == end
    assert ("Add --yes" in done.result["hint"]) == (not asked)
    assert incident.bodies == []
    assert incident.world.writes() == []


def test_laptop_run_names_the_token_owner(incident: Incident, releases: Releases) -> None:
    token = incident.github.add_token("ghp_alice-0123456789", "alice", ["repo"])

    done = incident.rollback(GITHUB_TOKEN=token, USER="ana")

    assert done.events[0]["text"].endswith("(laptop, by local user ana)")
    assert "(laptop, by alice as GITHUB_TOKEN says, local user ana)" in incident.bodies[0]


@pytest.mark.parametrize("github", ["", "github: {actions: acme/backout}\n"], ids=["copy", "small repository"])
def test_comments_do_not_name_the_checkout_of_a_laptop(incident: Incident, releases: Releases, github: str) -> None:
    incident.world.edit_config("\nlabels:", f"\n{github}labels:")
    program, checkout = "ops" if github else "./run ops", "/home/ana/backout/run ops"

    done = incident.rollback(OPS_PROGRAM=checkout)
    incident.world.rollback(OPS_PROGRAM=checkout, **incident.github.environ())

    assert f"{checkout} rollback-worker" in json.dumps(done.result)
    assert f"{program} rollback-worker --service api" in unwrapped(incident.bodies[0])
    assert all("/home/ana" not in comment.body for issue in incident.github.issues for comment in issue.comments)


def test_run_without_user_variable_names_the_account(incident: Incident, releases: Releases) -> None:
    done = incident.world.rollback("--dry-run", USER=None)

    assert done.events[0]["text"].endswith(f"(laptop, by local user {pwd.getpwuid(os.getuid()).pw_name})")


def test_dry_run_opens_no_incident(incident: Incident, releases: Releases) -> None:
    incident.world.rollback("--dry-run", **incident.github.environ())
    assert len(incident.github.issues) == 1


def test_failure_to_open_an_incident_keeps_the_run(incident: Incident, releases: Releases) -> None:
    incident.github.fault(method="POST", status=500, times=None)
    outcome = incident.world.rollback(**incident.github.environ())
    assert (outcome.code, outcome.result["links"]) == (0, {})


def test_comment_deleted_during_the_run_is_recreated(incident: Incident, releases: Releases) -> None:
    deleted: list[int] = []

    def delete() -> None:
        (comment,) = incident.github.issue(incident.number).comments
        url = f"{incident.github.api_url}/repos/{incident.github.repository}/issues/comments/{comment.id}"
        authorisation = {"authorization": f"Bearer {incident.github.token}"}
        deleted.append(httpx.delete(url, headers=authorisation, trust_env=False, verify=False).status_code)

    delay_first_read_until_comment(incident)
    incident.world.sandbox.fault(**WRITE, before=delete)
    outcome = incident.rollback()
    (body,) = incident.bodies
    assert deleted == [204]
    assert body.startswith("### ✅ ")
    assert not [event for event in outcome.events if event["kind"] == "warning"]


def test_edited_comment_is_marked_as_edited(incident: Incident, releases: Releases) -> None:
    incident.rollback()
    comment = incident.github.issue(incident.number).comments[0]
    comment.body = comment.body.replace("### ✅", "### ✅ Thanks to me:")
    shown = incident.timeline
    assert shown
    assert all(line.endswith(", edited]") for line in shown)


@dataclass
class ManualClock:
    """A clock that the test sets; it records that it was read."""

    at: float = 0.0
    looked: threading.Event = field(default_factory=threading.Event)

    def monotonic(self) -> float:
        self.looked.set()
        return self.at

    def now(self) -> datetime:
        return datetime(2026, 11, 24, 3, 5, tzinfo=UTC)

    def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


def test_comment_edits_are_spaced_by_5_then_20_seconds_except_for_an_undo(incident: Incident) -> None:
    clock, edited = ManualClock(), threading.Semaphore(0)
    for method, path in (("POST", COMMENTS), ("PATCH", COMMENT)):
        incident.github.fault(method=method, path=path, times=None, after=edited.release)
    environ = incident.github.environ()
    journal = CommentWriter(
        lambda: connect(environ, Redactor()),
        lambda events: (f"{len(events)}",),
        number=incident.number,
        run="20261124T030500-abcd",
        clock=clock,
        remaining=TimeBudget(5).rest,
    )
    journal.begin(str)

    def happens(at: float, kind: EventKind = EventKind.PLANNED) -> None:
        clock.at = at
        clock.looked.clear()
        journal(RunEvent(1, clock.now(), at, kind, "x"))
        assert clock.looked.wait(30)

    def writes() -> None:
        assert edited.acquire(timeout=30)

    happens(0)
    writes()
    for at, is_due in ((4, False), (5, True), (9, False), (61, True), (66, False), (80, False), (81, True)):
        happens(at)
        if is_due:
            writes()
    assert not edited.acquire(blocking=False)
    happens(82, EventKind.PREPARED)
    writes()
    clock.at = 83
    journal.close()
    assert [body.strip() for body in incident.bodies] == ["9"]
    assert sum(request.method == "PATCH" for request in incident.github.requests) == 5


def import_warnings(incident: Incident, texts: list[str]) -> list[str]:
    """Import a record with these warnings, and return the comments."""
    first = {"runbook": "rollback-worker", "environment": "production", "params": {"service": "api"}}
    kinds = [("requested", "x", first), *(("warning", text, {}) for text in texts)]
    path = incident.world.folder / "20261124T030500-abcd" / "timeline.jsonl"
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as file:
        for number, (kind, text, data) in enumerate(kinds, start=1):
            event = RunEvent(number, ManualClock().now(), float(number), EventKind(kind), text, data)
            file.write(f"{event.to_line()}\n")
    where = ("--incident", str(incident.number), "--config", str(incident.world.config))
    done = incident.ops("incident", "import", str(path), *where)
    assert done.code == 0, done.err
    return incident.bodies


def test_excess_rows_go_into_a_second_comment(incident: Incident) -> None:
    texts = [f"row-{number:04}" for number in range(1900)]
    import_warnings(incident, texts)
    main, older = import_warnings(incident, texts)  # the same two are edited
    assert max(len(main), len(older)) <= MAX_TEXT < len(main) + len(older)
    rows = [re.findall(r"row-\d{4}", body.partition("<!-- ")[0]) for body in (older, main)]
    assert [*rows[0], *rows[1]] == texts
    assert f"{len(rows[0]) + 1} older rows are in the next comment." in main
    assert [block.part for body in (main, older) if (block := read_record(body))] == [1, 2]


def test_rows_beyond_two_comments_are_counted(incident: Incident) -> None:
    main, older = import_warnings(incident, [f"row-{number:04}" for number in range(6000)])
    left_out = re.search(r"(\d+) rows in between are left out", older)
    assert left_out
    assert max(len(main), len(older)) <= MAX_TEXT
    shown = len(re.findall(r"row-\d{4}", main.partition("<!-- ")[0] + older.partition("<!-- ")[0]))
    assert shown + int(left_out[1]) == 6000

"""`ops incident list`, and `ops incident open` with questions."""

import os
import pty
import re
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest

from ops.core.clock import parse_utc
from ops.core.run_record import RecordRow, RunRecord, embed_record
from tests.conftest import ROOT, Incident, Outcome, Releases
from tests.support.commands import Terminal

FORM = "### Service\n\n{}\n\n### Severity\n\nsev3\n\n### What is seen\n\nIt fails"


def listed(incident: Incident, *arguments: str) -> Outcome:
    return incident.ops("incident", "list", "--config", str(incident.world.config), *arguments)


def test_long_title_leaves_room_for_the_state(incident: Incident) -> None:
    incident.github.open_issue(f"Checkout {'fails ' * 40}", FORM.format("api"), ["incident"], "zoe")

    first, state, *_ = listed(incident).out.splitlines()

    assert first.endswith("…")
    assert len(first) < 180
    assert state == "  Open: api broken"


@pytest.mark.slow
def test_open_incidents_are_listed_newest_first(incident: Incident, releases: Releases) -> None:
    hub, now = incident.github, incident.world.sandbox.clock.now()
    incident.rollback()
    hub.open_issue("Old and closed", FORM.format("api"), ["incident"], "zoe", now - timedelta(hours=3))
    hub.close(hub.issues[-1].number, "alice")
    hub.open_issue("No incident", FORM.format("api"), ["bug"], "zoe", now - timedelta(hours=3))
    hub.open_issue(
        "Blog is \x1b[31mslow", FORM.format("frontend"), ["incident", "sev2"], "zoe", now + timedelta(hours=1)
    )

    options = ("--severity", "sev1", "--title", "Login fails", "--config", str(incident.world.config))
    incident.ops("incident", "open", "--service", "api", *options)

    shown = listed(incident).out.splitlines()

    assert shown[0] == "#4  sev2  frontend  0.0 s old  no run  Blog is  [31mslow"
    assert (shown[1], shown[2].endswith("/issues/4")) == ("  Open: frontend broken", True)
    assert (shown[3].startswith("#5  sev1  api  "), shown[3].endswith("old  no run  Login fails")) == (True, True)
    assert shown[6].startswith("#1  -  -  ")
    assert shown[7] == "  Mitigated: api recovered"
    assert re.search(
        rf"old  Rolled back api to {releases.good[:8]}: healthy after [\d.]+ (s|min), seen from FRA  API answers 500$",
        shown[6],
    )
    assert len(shown) == 9


def test_listed_incidents_are_json(incident: Incident) -> None:
    running = RunRecord("run-1", runbook="feature", rows=(RecordRow(parse_utc("2026-11-24T13:05Z"), "requested", "x"),))
    incident.github.comment(incident.number, embed_record("x", running), "alice")
    forged = RunRecord("run-2", runbook="forged", decision="recovered")
    incident.github.comment(incident.number, embed_record("x", forged), "zoe")

    (found,) = listed(incident, "--json").result["incidents"]

    assert found.pop("url").endswith("/issues/1")
    assert parse_utc(found.pop("opened_at")) <= incident.world.sandbox.clock.now()
    assert found == {
        "number": 1,
        "title": "API answers 500",
        "service": "",
        "severity": "",
        "state": "open",
        "summary": "Open: no service is known to be affected",
        "decision": "",
        "last_run": "feature",
        "last_result": "",
    }


def test_no_open_incident_is_said(incident: Incident) -> None:
    incident.github.close(incident.number, "alice")

    assert listed(incident).out == "No incident is open.\n"


def test_open_without_terminal_requires_its_options(incident: Incident) -> None:
    refused = incident.ops("incident", "open", "--service", "api", "--config", str(incident.world.config))

    assert (refused.code, len(incident.github.issues)) == (2, 1)
    assert "--severity" in refused.err
    assert "--title" in refused.err


@pytest.mark.slow
def test_open_asks_on_a_terminal(incident: Incident) -> None:
    """Two answers are the defaults: a person presses Enter."""
    ours, its = pty.openpty()
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **incident.github.environ()}
    argv = [sys.executable, "-m", "ops", "incident", "open"]
    pipes: dict[str, Any] = {"stdin": its, "stdout": its, "stderr": its}
    with subprocess.Popen(argv, env=environ, cwd=incident.world.folder, text=True, **pipes) as process:
        os.close(its)
        terminal = Terminal(process, ours)
        for question, answer in (("Service", "frontend"), ("Severity", ""), ("Symptom", "")):
            terminal.until(question)
            terminal.type(f"{answer}\n")
        assert terminal.end() == 0, terminal.shown
    os.close(ours)

    opened = incident.github.issue(2)
    assert opened.title == "frontend is broken"
    assert {label.name for label in opened.labels} == {"incident", "sev2"}


@pytest.mark.slow
def test_incident_without_menu_is_a_warning(incident: Incident) -> None:
    incident.github.fault(method="POST", path="/repos/*/*/issues/*/comments", status=500)
    options = ("--severity", "sev1", "--title", "500", "--config", str(incident.world.config))

    done = incident.ops("incident", "open", "--service", "api", *options)

    assert (done.code, done.out.startswith("#2 http")) == (0, True)
    assert done.err == "warning: #2 has no recovery menu; remove and add its label `incident`\n"


@pytest.mark.slow
def test_menu_of_the_faster_job_stays(incident: Incident) -> None:
    """A person's token starts the job `menu`, which may post before the command does."""
    faster = embed_record("of the job", RunRecord("menu", source="menu"))
    comments = "/repos/*/*/issues/*/comments"
    incident.github.fault(method="POST", path=comments, before=lambda: incident.github.comment(2, faster, "alice"))
    options = ("--severity", "sev1", "--title", "500", "--config", str(incident.world.config))

    assert incident.ops("incident", "open", "--service", "api", *options).code == 0

    assert [comment.body for comment in incident.github.issue(2).comments] == [faster]

"""`ops incident report`: the post-incident report of an incident and its runs."""

import json
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops.core.clock import parse_utc
from ops.core.run_record import RecordRow, RunRecord, embed_record, is_edited, read_record
from ops.watch.state import WatchState
from sandbox.github.issues.state import FakeIssue
from tests.conftest import Incident, Outcome, Releases, World
from tests.support.commands import LIST, WRITE
from tests.support.switches import NAMESPACE

GOLDEN = Path(__file__).parent / "golden"
NOW = parse_utc("2026-11-24T03:20:00Z")
FORM = """\
### Service

api

### Severity

sev1

### What is seen

Checkout answers 500 | for `everybody` @org/team

### When it began (UTC)

2026-11-24 03:11

### Impact

_No response_
"""


@dataclass(frozen=True)
class Night(Incident):
    """An incident that alice opened at 03:15 and labeled at 03:19:52, eight seconds ago."""

    def recover(self, *arguments: str, **environ: str | None) -> Outcome:
        """Run as the job that the label started."""
        requested = ["--requested-at", (self.now - timedelta(seconds=8)).isoformat()]
        return self.rollback(*requested, *arguments, **{"GITHUB_RUN_ID": self.run, **environ})

    @property
    def now(self) -> datetime:
        return self.world.sandbox.clock.now()

    @property
    def run(self) -> str:
        return str(self.github.runs[-1].id)

    def report(self, *arguments: str, **environ: str | None) -> Outcome:
        where = ("--config", str(self.world.config))
        return self.ops("incident", "report", str(self.number), *where, *arguments, **environ)

    @property
    def reports(self) -> list[FakeIssue]:
        return [issue for issue in self.github.issues if issue.find_label("post-incident")]

    @property
    def text(self) -> str:
        (report,) = self.reports
        return report.body or ""

    def moment(self, name: str) -> str:
        """Return the time of a moment in the report, or `unknown`."""
        known = re.search(rf"^\| (.*) \| \*\*{name}\*\*: ", self.text, re.MULTILINE)
        assert known or f"\n- {name}: " in self.text.partition("\nUnknown:\n")[2]
        return known[1] if known else "unknown"


@pytest.fixture
def night(world: World) -> Night:
    world.sandbox.clock.set(NOW)
    world.sandbox.kv.add(NAMESPACE)
    hub = world.sandbox.github
    hub.add_user("alice")
    hub.add_user("tina", "triage")
    hub.add_commit("the workflows", "alice", files={".github/workflows/incident.yml": "name: incident\non: issues\n"})
    number = hub.open_issue("Checkout is down", FORM, ["incident", "sev1"], "alice", at=NOW - timedelta(minutes=5))
    label = hub.label(number, "recover:rollback-api", "alice", at=NOW - timedelta(seconds=8))
    run = hub.start_run("incident.yml", "issues", label, "alice")
    began = NOW - timedelta(seconds=6)
    hub.add_job(run.id, "who asks for what", created_at=began, started_at=began, completed_at=began)
    hub.add_job(run.id, "recover", created_at=began, started_at=NOW - timedelta(seconds=3), status="in_progress")
    return Night(world, number)


def shown(text: str) -> str:
    text = re.sub(r"http://127\.0\.0\.1:\d+", "https://github.test", text)
    text = re.sub(r" [0-9a-f]{16} -->", " DIGEST -->", text)
    text = re.sub(r"(\d{10,}\.1)-[0-9a-f]{4}", r"\1-RAND", text)
    text = re.sub(r"local user [\w.-]+", "local user USER", text)
    return re.sub(r" --config \S+", "", text)


def assert_golden(name: str, text: str, *, update: bool) -> None:
    path = GOLDEN / f"{name}.md"
    if update:
        path.parent.mkdir(exist_ok=True)
        path.write_text(shown(text))
    assert shown(text) == path.read_text()


@pytest.mark.slow
def test_report_of_recovered_incident(night: Night, releases: Releases, update_golden: bool) -> None:
    night.world.verify_three_rounds()
    night.github.comment(night.number, "looking", "alice", at=NOW - timedelta(minutes=4))
    assert night.recover().code == 0
    night.ops(
        "incident",
        "note",
        str(night.number),
        "2026-11-24 03:13 detected by a customer's call",
        "--config",
        str(night.world.config),
    )

    outcome = night.report()

    assert (outcome.code, "created" in outcome.out) == (0, True)
    assert_golden("recovered", night.text, update=update_golden)
    assert night.reports[0].title == "Incident report: 2026-11-24, incident 1"


@pytest.mark.slow
@pytest.mark.parametrize("caller", ["", "recover / "], ids=["own jobs", "jobs of a called workflow"])
def test_later_job_is_not_the_one_that_recovered(night: Night, releases: Releases, caller: str) -> None:
    night.world.verify_three_rounds()
    assert night.recover().code == 0
    late = NOW + timedelta(minutes=13)
    for job in ("wait", "end-security-prod", "next-approve-prod", "next-recovery-prod", "tell-later"):
        name = f"{caller}{job}"
        night.github.add_job(night.github.runs[-1].id, name, created_at=late, started_at=late, status="in_progress")

    night.report()

    assert "| until GitHub started the job | 5.0 |" in night.text


def test_report_of_failed_run(night: Night, releases: Releases, update_golden: bool) -> None:
    night.world.sandbox.fault(**WRITE, code=10021, message="no")
    assert night.recover().code == 4
    night.report()
    assert_golden("failed", night.text, update=update_golden)
    assert night.moment("Mitigated") == "unknown"


@pytest.mark.slow
def test_report_of_unknown_outcome(night: Night, releases: Releases, update_golden: bool) -> None:
    night.world.sandbox.fault(**WRITE, lost="after")
    down = night.world.sandbox.fault(**LIST, status=500, times=None, skip=2)
    assert night.recover().code == 5
    down.remove()
    night.report()
    assert_golden("unknown_outcome", night.text, update=update_golden)


@pytest.mark.slow
def test_report_of_refused_label(night: Night, releases: Releases, update_golden: bool) -> None:
    refused = RunRecord(
        "gate-1001", source="gate", decision="refused", rows=(RecordRow(NOW, "refused", "@tina | may not write here"),)
    )
    night.github.comment(night.number, embed_record("Refused.", refused), "github-actions[bot]", at=NOW)
    night.report()
    assert_golden("refused", night.text, update=update_golden)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("permission", "detected"), [("write", "03:13:00"), ("read", "unknown")])
def test_note_of_custom_role_with_write_counts(night: Night, permission: str, detected: str) -> None:
    night.github.add_user("carla", "read")
    role = json.dumps(
        {"permission": permission, "role_name": "deployer", "user": {"login": "carla", "type": "User", "id": 7}}
    )
    path = "/repos/*/*/collaborators/carla/permission"
    night.github.fault(method="GET", path=path, times=None, status=200, body=role)
    at = NOW - timedelta(minutes=7)
    row = RecordRow(at, "note", "detected by a customer's call")
    night.github.comment(
        night.number, embed_record("x", RunRecord("note-1", source="note", rows=(row,))), "carla", at=at
    )

    night.report()
    shown = night.show()

    assert night.moment("Detected") == detected
    assert ("customer's call" in night.text) == (row.text in shown.out) == (permission == "write")


@pytest.mark.slow
def test_report_of_drill(night: Night, releases: Releases, update_golden: bool) -> None:
    night.world.verify_three_rounds()
    night.github.label(night.number, "drill", "alice", at=NOW - timedelta(minutes=4))
    night.recover()
    night.github.close(night.number, "alice", at=NOW + timedelta(minutes=30))
    night.report()
    assert_golden("drill", night.text, update=update_golden)
    assert night.reports[0].title.startswith("Drill: ")
    assert night.moment("Resolved") == "03:50:00"


@pytest.mark.slow
def test_report_of_pages_site(night: Night, sites: Releases) -> None:
    told = {**night.github.environ(), "GITHUB_RUN_ID": night.run}
    assert night.world.rollback_pages("--incident", str(night.number), **told).code == 0
    night.report()
    assert night.moment("Change deployed") == "03:10:00"
    assert f"version {sites.bad[:8]}, live before the run" in night.text
    assert f"went from `{sites.bad[:8]}` to `{sites.good[:8]}`" in night.text
    assert "pages/view/fortunet-frontend" in night.text


@pytest.mark.slow
def test_reverted_commits_are_listed(night: Night) -> None:
    hub = night.github
    night.world.edit_config("repository: fortunet/fortunet", f"repository: {hub.repository}")
    good = hub.add_commit("Prices by region", "alice")
    hub.add_commit("Faster @checkout | cart", "alice")
    bad = hub.add_commit("Round prices", "alice")
    night.world.release(timedelta(hours=2), code="good", tag=good)
    night.world.release(timedelta(minutes=10), code="bad", tag=bad, behaviour={"status": 500})
    night.recover()
    night.report()
    assert f"compare/{good}...{bad}" in night.text
    assert "Faster @&#8203;checkout &#124; cart by alice" in night.text
    assert "Round prices" in night.text
    assert "Prices by region" not in night.text


@pytest.mark.slow
def test_repeated_command_updates_one_report(night: Night, releases: Releases) -> None:
    night.recover()
    assert night.report().out.split()[2] == "created"
    edits = [len(comment.edits) for comment in night.github.issue(night.number).comments]
    assert [night.report().out.split()[2] for _ in range(2)] == ["updated", "updated"]
    assert [len(comment.edits) for comment in night.github.issue(night.number).comments] == edits
    other = night.github.open_issue("Another", FORM, ["incident"], "alice")
    night.ops("incident", "report", str(other), "--config", str(night.world.config))
    assert len(night.reports) == 2


@pytest.mark.slow
def test_closed_report_is_updated(night: Night, releases: Releases) -> None:
    night.report()
    night.github.close(night.reports[0].number, "alice")
    night.recover()
    assert "updated" in night.report().out
    assert "rollback-worker recovered api at" in night.text


def test_lost_answer_creates_one_report(night: Night, releases: Releases) -> None:
    night.github.fault(method="POST", path="/repos/*/*/issues", lost="after")
    first = night.report()
    assert (first.code, "created" in first.out) == (0, True)
    assert "updated" in night.report().out
    assert len(night.reports) == 1


def test_report_ticks_the_run_comment(night: Night, releases: Releases) -> None:
    night.recover()
    comments = night.github.issue(night.number).comments
    (before,) = [comment.body for comment in comments if "Create post-mortem" in comment.body]
    assert "- [ ] Create post-mortem\n" in before

    night.report()

    (after,) = [comment.body for comment in comments if "Create post-mortem" in comment.body]
    assert "- [x] Create post-mortem\n" in after
    assert not is_edited(after)
    assert read_record(after) is not None
    assert "- [x] Create post-mortem (recorded)\n" in night.text


@pytest.mark.slow
def test_form_provides_severity_impact_and_start(world: World) -> None:
    """As on GitHub, the form sets only the label `incident`."""
    form = FORM.replace("sev1", "sev2").replace("_No response_", "All | paying\ncustomers of @org/shop")
    world.sandbox.clock.set(NOW)
    world.sandbox.github.add_user("alice")
    night = Night(world, world.sandbox.github.open_issue("Checkout is down", form, ["incident"], "alice", at=NOW))

    night.report()

    assert "severity sev2 · service unknown ·" in night.text
    assert "From the issue form: All &#124; paying customers of @&#8203;org/shop\n" in night.text
    assert night.moment("Started") == "03:11:00"


@pytest.mark.slow
def test_label_overrides_severity(world: World) -> None:
    world.sandbox.github.add_user("alice")
    form = FORM.replace("sev1", "sev9; a lie")
    night = Night(world, world.sandbox.github.open_issue("Down", form, ["incident", "sev3"], "alice"))

    night.report()

    assert "severity sev3 · service unknown ·" in night.text


def test_mention_by_outsider_is_ignored(night: Night, releases: Releases) -> None:
    """A member of the mentioning repository without write access here is an outsider too."""
    hub = night.github
    hub.switches.private = False
    hub.add_user("mallory", None)
    hub.add_user("rita", "read")
    hub.add_user("bob")
    for login, branch in (("mallory", "evil"), ("rita", "reader"), ("bob", "fix")):
        hub.add_commit("A change", "alice", files={branch: "x"}, branch=branch)
        hub.open_pull(f"A {branch} pull request", branch, login, body=f"For #{night.number}")

    night.report()

    assert "A fix pull request" in night.text
    assert "evil" not in night.text
    assert "reader" not in night.text


@pytest.mark.slow
def test_report_forged_by_outsider_is_ignored(night: Night, releases: Releases) -> None:
    night.report()
    forged = night.text
    night.reports[0].labels.clear()
    night.github.add_user("mallory", "read")
    night.github.open_issue("Mine", forged, ["post-incident"], "mallory")
    assert "created" in night.report().out
    assert [issue.user.login for issue in night.reports] == ["mallory", "github-actions[bot]"]


@pytest.mark.slow
def test_unreadable_source_is_named_in_the_report(night: Night, releases: Releases) -> None:
    night.recover()
    down = night.github.fault(method="GET", path="/repos/*/*/actions/**", status=403, times=None)
    outcome = night.report(CLOUDFLARE_API_TOKEN=None)
    assert outcome.code == 0
    assert "> - GitHub Actions runs: GitHub answered 403\n" in night.text
    assert "deployments of api in production: the Cloudflare token for production is missing" in night.text
    assert night.moment("Change deployed") == "unknown"
    assert night.moment("Mitigated") != "unknown"
    down.remove()
    night.report()
    assert "WARNING" not in night.text


@pytest.mark.slow
def test_cloudflare_error_is_not_attributed_to_github(night: Night, releases: Releases) -> None:
    night.recover()
    night.world.sandbox.fault(**LIST, status=403, code=10000, message="no", times=None)
    assert night.report().code == 0
    (lacks,) = [line for line in night.text.splitlines() if line.startswith("> - ")]
    assert "deployments of api in production" in lacks
    assert "GitHub" not in lacks


def test_report_of_a_report_is_refused(night: Night) -> None:
    night.report()
    outcome = night.ops("incident", "report", str(night.reports[0].number), "--config", str(night.world.config))
    assert outcome.code == 2
    assert f"error: #{night.reports[0].number} " in outcome.err
    assert len(night.reports) == 1


@pytest.mark.slow
def test_unreadable_incident_is_an_error_with_hint(night: Night) -> None:
    outcome = night.ops("incident", "report", "99", "--config", str(night.world.config))
    assert outcome.code == 4
    assert "GitHub answered 404" in outcome.err
    assert "hint" in outcome.err


@pytest.mark.slow
def test_outsider_gets_report_only_with_runs(night: Night, releases: Releases) -> None:
    forged = embed_record("x", RunRecord("1001.1-abcd", rows=(RecordRow(NOW, "ended", "recovered"),)))
    night.github.add_user("mallory", "read")
    night.github.comment(night.number, forged, "mallory")
    outcome = night.report("--only-if-recorded")
    assert (outcome.code, night.reports) == (0, [])
    assert outcome.out.startswith(f"no report: incident {night.number} has no run")
    night.recover()
    assert night.report("--only-if-recorded").code == 0
    assert len(night.reports) == 1
    assert "1001.1-abcd" not in night.text


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
@pytest.mark.parametrize("forged", ["row", "watch", "seconds"])
def test_record_beyond_the_calendar_keeps_no_report_away(
    night: Night, releases: Releases, forged: str, day: str
) -> None:
    """A person with write access forged it. Times before or after it cannot be computed."""
    watch = WatchState("20261124T034000-00ab", NOW, NOW, rounds="hhh").to_json()
    rows = (RecordRow(NOW, "written", "applied"), RecordRow(NOW, "ended", "recovered"))
    record = {
        "row": RunRecord("1001.1-abcd", rows=(replace(rows[0], at=parse_utc(f"{day}T00:00:00Z")), *rows)),
        "watch": RunRecord(
            "watch-20261124T034000-00ab",
            source="watch",
            watch={**watch, "started_at": f"{day}T23:00:00Z", "until": f"{day}T23:59:59Z"},
        ),
        "seconds": RunRecord("1001.1-abcd", decision="recovered", durations={"total": 1e300}, rows=rows),
    }[forged]
    record = replace(record, runbook="rollback-worker", environment="production", service="api")
    night.github.comment(night.number, embed_record("x", record), "alice")

    assert night.report().code == 0
    assert len(night.reports) == 1


@pytest.mark.parametrize("durations", ["[]", "null", '"x"', "7"])
def test_malformed_record_of_an_outsider_stops_neither_a_recovery_nor_a_report(
    night: Night, releases: Releases, durations: str
) -> None:
    night.github.add_user("mallory", "read")
    text = embed_record("x", RunRecord("1001.1-abcd"))
    night.github.comment(night.number, text.replace('"durations":{}', f'"durations":{durations}'), "mallory")

    assert (night.recover().code, night.report().code) == (0, 0)
    assert night.moment("Mitigated") != "unknown"


@pytest.mark.slow
def test_human_text_is_kept_while_regions_update(night: Night, releases: Releases) -> None:
    night.report()
    report = night.reports[0]
    question = "**What was done by hand, and what still has to be put right?**\n\n_TODO_"
    assert question in night.text
    report.body = night.text.replace(question, question.replace("_TODO_", "The button, on a phone."))
    report.body = report.body.replace("Status: draft", "Status: reviewed by @bob")
    night.recover()
    said = night.report().out
    assert "done by hand" not in said
    assert "What went well" in said
    assert "The button, on a phone." in night.text
    assert "Status: reviewed by @bob" in night.text
    assert "rollback-worker recovered api at" in night.text


@pytest.mark.slow
def test_edited_region_stays_as_text(night: Night, releases: Releases) -> None:
    night.report()
    report = night.reports[0]
    report.body = night.text.replace("no runbook ran;", "It was the database, not the Worker.")
    night.recover()
    for _ in range(2):
        night.report()
    assert night.text.count("It was the database, not the Worker.") == 1
    assert night.text.count("edited by hand and is no longer updated") == 1
    assert night.text.count("rollback-worker recovered api at") == 1


@pytest.mark.slow
def test_future_note_and_edited_run_are_marked(night: Night, releases: Releases) -> None:
    night.recover()
    comment = night.github.issue(night.number).comments[-1]
    comment.body = comment.body.replace("### ✅", "### Never happened:")
    night.report()
    assert "run ended, edited later" in night.text


@pytest.mark.slow
def test_long_gap_is_a_row(night: Night, releases: Releases) -> None:
    night.recover()
    night.github.close(night.number, "alice", at=NOW + timedelta(hours=2))
    night.report()
    assert re.search(r"- 03:20:\d\d no record for (1 h 59 min|2 h): until 05:20:00\n", night.text)


@pytest.fixture
def crowded(night: Night) -> Night:
    for number in range(60):
        night.github.comment(night.number, f"comment {number}", "alice", at=NOW + timedelta(seconds=number))
    return night


@pytest.mark.slow
def test_many_rows_are_folded_except_key_rows(crowded: Night, releases: Releases) -> None:
    crowded.recover()
    crowded.report()
    before, folded = crowded.text.split("<summary>All ")
    assert "comment 7" not in before
    assert "run ended" in before
    assert "comment 7 (" in folded


@pytest.mark.slow
def test_pasted_secret_is_not_copied(night: Night, releases: Releases) -> None:
    secret = night.world.sandbox.environ()["CLOUDFLARE_API_TOKEN"]
    night.github.comment(night.number, f"the token is {secret}", "alice")
    night.report()
    assert "the token is \\*\\*\\*" in night.text
    assert secret not in night.text


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("fault", "code"),
    [({"method": "PATCH", "status": 200, "body": "{}", "content_type": "application/json"}, 4), ({"status": 500}, 4)],
    ids=["ineffective edit", "down"],
)
def test_unsaved_report_is_an_error(night: Night, releases: Releases, fault: dict[str, Any], code: int) -> None:
    night.report()
    night.recover()
    night.github.fault(path="/repos/*/*/issues/*", times=None, **fault)
    assert night.report().code == code


@pytest.mark.slow
def test_text_that_github_does_not_keep_is_an_error(night: Night) -> None:
    night.recover()
    night.report()
    (report,), before = night.reports, night.text
    night.world.sandbox.clock.advance(60)
    night.recover()
    path = f"/repos/*/*/issues/{report.number}"
    night.github.fault(method="PATCH", path=path, after=lambda: setattr(report, "body", before))

    outcome = night.report()

    assert outcome.code == 4, outcome.out
    assert night.text == before

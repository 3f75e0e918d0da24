"""Labels: their removal, repeats and answers on the incident; labels that only read."""

import json
import re
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from ops.app import registry
from ops.app.configuration import read_config
from ops.core.run_record import is_edited, read_record
from ops.setup import workflows
from tests.gate.support import LABEL, Job
from tests.gate.test_gate import PERMISSION
from tests.support.message_sheet import is_shown

REMOVAL = {"method": "DELETE", "path": "/repos/*/*/issues/*/labels/*"}
COMMENT = {"method": "POST", "path": "/repos/*/*/issues/*/comments"}
MOVED = "ops/gate/refusals.py moved_issue RefusedRequest unknown_incident"


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 403}, {"status": 404, "message": "Not Found"}, {"lost": "before"}]
)
def test_failed_label_removal_is_one_warning(job: Job, fault: dict[str, Any]) -> None:
    job.github.fault(**REMOVAL, times=None, **fault)

    done = job.gate(job.label())

    job.assert_accepted(done)
    assert done.err.count("\n") == 1
    assert done.err.startswith("warning: the label could not be removed")


@pytest.mark.sampled
@pytest.mark.parametrize("said", ["Label does not exist", "Not Found", "This label is not on the issue"])
def test_removed_label_starts_nothing(job: Job, said: str) -> None:
    payload = job.label()
    job.github.unlabel(job.incident, LABEL, "alice")
    job.github.fault(**REMOVAL, status=404, message=said)

    done = job.gate(payload)

    job.assert_refused(done, "label_taken")


@pytest.mark.parametrize("fault", [{"lost": "before"}, {"lost": "after"}, {"status": 502}, {"status": 200, "body": ""}])
def test_label_removal_survives_lost_response(job: Job, fault: dict[str, Any]) -> None:
    job.github.fault(**REMOVAL, **fault)

    done = job.gate(job.label())

    job.assert_accepted(done)
    assert (done.err, job.labels) == ("", ["incident"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "moment", "lost"),
    [
        (PERMISSION, "before", None),
        (REMOVAL, "before", None),
        (REMOVAL, "after", None),
        (REMOVAL, "after", "after"),
    ],
)
def test_concurrent_gates_accept_delivery_once(job: Job, rule: dict[str, Any], moment: str, lost: str | None) -> None:
    """The second gate runs completely while the first waits for a response, which may be lost."""
    payload, others = job.label(), list[dict[str, str]]()

    def other() -> None:
        job.gate(payload)
        others.append(job.outputs)

    job.github.fault(**rule, **{moment: other, "lost": lost})

    job.gate(payload)

    assert sorted(outputs["go"] for outputs in (*others, job.outputs)) == ["false", "true"]


@pytest.mark.slow
def test_refusals_share_one_comment_with_row_each(job: Job) -> None:
    job.gate(job.label("tina"))
    job.world.sandbox.clock.advance(60)

    job.gate(job.label("tina", "recover:rollback-apj"))

    (comment,) = job.comments
    assert "`unknown_label`" in comment
    assert "This is the latest of 2 refused requests on this issue" in comment
    block = read_record(comment)
    assert block is not None
    assert [row.kind for row in block.rows] == ["refused", "refused"]
    assert '"tina" may not write' in block.rows[0].text
    assert not is_edited(comment)


def test_refusal_posts_new_comment_if_listing_fails(job: Job) -> None:
    job.gate(job.label("tina"))
    job.github.fault(method="GET", path="/repos/*/*/issues/*/comments", times=None, status=500)

    job.gate(job.label("tina"))

    assert len(job.comments) == 2


@pytest.mark.sampled
@pytest.mark.parametrize("fault", [{"status": 500}, {"lost": "before"}])
def test_failed_refusal_comment_still_removes_label(job: Job, fault: dict[str, Any]) -> None:
    job.github.fault(**COMMENT, times=None, **fault)

    done = job.gate(job.label("tina"))

    assert (done.code, job.labels, job.comments) == (3, ["incident"], [])
    assert "warning: the answer could not be written" in done.err


def test_repeated_delivery_is_refused(job: Job) -> None:
    payload = job.label()
    job.assert_accepted(job.gate(payload))

    done = job.gate(payload)

    job.assert_refused(done, "label_taken")


@pytest.mark.parametrize("status", [404, 410], ids=["transferred", "deleted"])
def test_missing_issue_is_refused_in_job_summary(job: Job, status: int) -> None:
    """docs.github.com/rest/issues/issues#get-an-issue: 404 if the token cannot read the issue's new repository."""
    payload = job.label()
    job.github.fault(path=f"/repos/*/*/issues/{job.incident}**", status=status, times=None)
    page = job.world.folder / "summary.md"

    done = job.gate(payload, GITHUB_STEP_SUMMARY=str(page))

    assert (done.code, job.outputs["go"], job.outputs["reason"]) == (3, "false", "unknown_incident")
    assert f"refused: #{job.incident} " in done.err
    assert f"**Refused, and nothing was changed:** #{job.incident} " in page.read_text()
    assert is_shown(done.err, MOVED)
    assert is_shown(page.read_text(), MOVED)


def test_transferred_issue_is_refused(job: Job) -> None:
    """GitHub redirects each request to the issue's new place. GITHUB_TOKEN may write to its own repository only.

    docs.github.com/rest/issues/issues#get-an-issue, docs.github.com/actions/concepts/security/github_token
    """
    payload, repository = job.label(), f"/repos/{job.github.repository}"
    new = {**payload["issue"], "repository_url": f"{job.github.api_url}/repos/acme/shop"}
    place = "/repositories/7/issues/9"
    job.github.fault(path=f"{place}/labels**", method="GET", body=json.dumps(payload["issue"]["labels"]), times=None)
    job.github.fault(path=f"{place}/labels**", method="DELETE", status=403, times=None)
    job.github.fault(path=place, body=json.dumps(new), times=None)
    for path in ("", "/labels", f"/labels/{quote(LABEL, safe='')}"):
        headers = {"Location": f"{job.github.api_url}{place}{path}"}
        job.github.fault(path=f"{repository}/issues/{job.incident}{path}", status=301, headers=headers, times=None)
    page = job.world.folder / "summary.md"

    done = job.gate(payload, GITHUB_STEP_SUMMARY=str(page))

    assert (done.code, job.outputs["go"], job.outputs["reason"]) == (3, "false", "unknown_incident"), done.err
    assert is_shown(page.read_text(), MOVED)
    assert "`./run ops rollback-worker --service api --environment production`" in page.read_text()


def test_renamed_label_is_refused(job: Job) -> None:
    payload = job.label()
    label = f"{job.github.api_url}/repos/{job.github.repository}/labels/{LABEL}"
    headers = {"authorization": f"Bearer {job.github.token}"}
    httpx.patch(label, headers=headers, json={"new_name": "recover:renamed"}, verify=False).raise_for_status()

    job.assert_refused(job.gate(payload), "label_taken")

    assert job.labels == ["incident", "recover:renamed"]


@pytest.mark.slow
def test_label_removed_within_a_second_is_refused(job: Job) -> None:
    at = job.world.sandbox.clock.now()
    payload = job.github.label(job.incident, LABEL, "alice", at=at)
    job.github.unlabel(job.incident, LABEL, "alice", at=at)

    job.assert_refused(job.gate(payload), "label_taken")


def test_label_in_other_case_is_refused_with_correction(job: Job) -> None:
    job.assert_refused(job.gate(job.label(name="Recover:Rollback-API")), "unknown_label")

    (comment,) = job.comments
    assert re.search(f"`Recover:Rollback-API`.* `{LABEL}`", comment)
    assert "`ops labels sync`" in comment
    assert f"`./run ops rollback-worker --service api --environment production --incident {job.incident}`" in comment
    assert job.labels == ["incident"]


def add_two_labels(job: Job, seconds: float = 0, by: str = "alice", among: int = 0) -> tuple[Any, Any]:
    """Add two conflicting labels `seconds` apart, after `among` other labels."""
    for number in range(among):
        job.label(name=f"other-{number}")
    at = job.world.sandbox.clock.now()
    first = job.github.label(job.incident, "recover:api-on", "alice", at=at)
    second = job.github.label(job.incident, "recover:api-off", by, at=at + timedelta(seconds=seconds))
    return first, second


@pytest.mark.sampled
@pytest.mark.parametrize(("seconds", "among"), [(0, 0), (1, 0), (0, 110)], ids=["at once", "1 s", "many events"])
def test_labels_added_within_a_second_are_refused(job: Job, seconds: float, among: int) -> None:
    """GitHub's label picker adds all selected labels at once; the order of their runs is random."""
    first, second = add_two_labels(job, seconds, among=among)
    both = {**first, "issue": {**first["issue"], "labels": second["issue"]["labels"]}}

    for payload in (both, second):
        done = job.gate(payload)
        assert (done.code, job.outputs["go"], job.outputs["reason"]) == (3, "false", "labels_at_once"), done.err

    (comment,) = job.comments
    assert re.search("`recover:api-off`.*`recover:api-on`", comment)
    assert not {"recover:api-on", "recover:api-off"} & set(job.labels)


@pytest.mark.parametrize(("seconds", "by"), [(2, "alice"), (0, "bob")], ids=["2 s", "another person"])
def test_label_added_separately_does_not_block_request(job: Job, seconds: float, by: str) -> None:
    """The other label may be left from a failed removal, or from a user without write access."""
    job.github.add_user("bob")
    _, second = add_two_labels(job, seconds, by)

    job.assert_accepted(job.gate(second))


def test_unreadable_label_events_are_a_warning(job: Job) -> None:
    _, second = add_two_labels(job)
    job.github.fault(method="GET", path="/repos/*/*/issues/*/events", status=403)

    done = job.gate(second)

    job.assert_accepted(done)
    assert "warning: cannot check for a second label within the same second (GitHub answered 403)" in done.err


@pytest.mark.parametrize(("login", "permission"), [("alice", "checked"), ("zoe", "refused")])
def test_closing_requests_report_and_checks_closer(job: Job, login: str, permission: str) -> None:
    done = job.gate(job.github.close(job.incident, login))

    assert (done.code, job.comments) == (0, [])
    assert (job.outputs["go"], job.outputs["report"], job.outputs["permission"]) == ("false", "true", permission)
    assert job.outputs["incident"] == str(job.incident)


@pytest.mark.parametrize(("login", "permission"), [("alice", "checked"), ("tina", "refused")])
def test_report_label_works_on_closed_incident(job: Job, login: str, permission: str) -> None:
    job.github.close(job.incident, "alice")

    done = job.gate(job.label(login, "report"))

    assert (done.code, job.comments, job.labels) == (0, [], ["incident"])
    assert (job.outputs["go"], job.outputs["report"], job.outputs["permission"]) == ("false", "true", permission)


@pytest.mark.parametrize("is_closed", [False, True])
def test_label_requests_a_check_for_an_outage(job: Job, is_closed: bool) -> None:
    if is_closed:
        job.github.close(job.incident, "alice")

    done = job.gate(job.label("alice", "Check-Outage"))

    assert (done.code, job.comments, job.labels) == (0, [], ["incident"])
    assert (job.outputs["go"], job.outputs["report"], job.outputs["check"]) == ("false", "false", "true")
    assert (job.outputs["incident"], job.outputs["environment"]) == (str(job.incident), "production")


def test_check_for_an_outage_by_somebody_without_access_is_refused(job: Job) -> None:
    done = job.gate(job.label("tina", "check-outage"))

    assert (done.code, job.outputs["check"], job.labels) == (3, "", ["incident"])
    assert "may not write to this repository" in job.comments[0]


def test_incident_closed_before_the_gate_reads_is_refused(job: Job) -> None:
    """GitHub may start the gate minutes after the label; its event still says open."""
    payload = job.label()
    job.github.close(job.incident, "alice")

    done = job.gate(payload)

    assert (done.code, job.outputs["go"], job.outputs["reason"]) == (3, "false", "incident_closed")
    assert job.labels == ["incident"]
    assert is_shown(job.comments[-1], "ops/gate/refusals.py closed_incident RefusedRequest incident_closed")


@pytest.mark.parametrize("rule", [{"status": 503}, {"lost": "before"}], ids=str)
def test_label_goes_on_if_the_issue_cannot_be_read(job: Job, rule: dict[str, Any]) -> None:
    payload = job.label()
    job.github.fault(method="GET", path="/repos/*/*/issues/*", times=None, **rule)

    done = job.gate(payload)

    job.assert_accepted(done)
    assert "cannot check whether" in done.err


def rendered(job: Job) -> list[tuple[str, str]]:
    """Return name and text of the workflow files for the ops.yml of the job."""
    config = read_config(job.world.config, labels=None)[0]
    return [*workflows.render_workflows(config, registry.button_runbooks())]


def test_label_that_lifts_a_hold_needs_no_prefix(job: Job) -> None:
    """It starts the gate, and is answered, as a label with the prefix is."""
    job.assert_accepted(job.gate(job.label(name="hold:lift")))

    assert job.outputs["runbook"] == "lift-commit-hold"
    assert job.labels == ["incident"]
    named = {name for name, text in rendered(job) if "github.event.label.name == 'hold:lift'" in text}
    assert named >= {"incident", "answer"}
    job.world.edit_config("  hold:lift:", "  recover:lift:")
    assert not any("github.event.label.name == 'hold:lift'" in text for _, text in rendered(job))

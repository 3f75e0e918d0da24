"""First step of the gate: post one comment per request within three seconds, never fail."""

import re
import shlex
import time
from typing import Any

import pytest

from tests.support.hostile import PIECES
from tests.templates.scripts import COMMENTS, RUN, Workflow

MARK = f"<!-- backout:request run={RUN} attempt=1 -->"


@pytest.mark.slow
def test_label_is_answered_with_run_and_laptop_command(workflow: Workflow) -> None:
    payload = workflow.label()

    done = workflow.step("received", payload)

    (comment,) = workflow.github.issue(workflow.incident).comments
    page = f"{workflow.github.urls.html}/{workflow.github.repository}/actions/runs/{RUN}"
    assert comment.body == (
        f"**Received** `recover:api` from `@alice` at {payload['issue']['updated_at'][11:16]} UTC, "
        f"starting: [run]({page})\n\n"
        "No answer after 2 minutes? Run on a laptop: `./run ops label recover:api "
        f"--incident {workflow.incident}`\n\n{MARK}\n"
    )
    assert (done.code, done.out, done.err) == (0, "", "")
    assert done.outputs == {"comment": str(comment.id)}
    assert [request.method for request in workflow.github.requests] == ["POST"]


@pytest.mark.parametrize("label", ["Recover:API", "recover:$(id)", "recover:it's `a`", "recover:a;b", "recover:a b"])
def test_command_names_the_label_for_a_shell(workflow: Workflow, label: str) -> None:
    workflow.step("received", workflow.label(label))

    (shown,) = re.findall("Run on a laptop: (`+) ?(.*?) ?\\1\n", workflow.bodies[0])
    assert shlex.split(shown[1]) == ["./run", "ops", "label", label, "--incident", str(workflow.incident)]


@pytest.mark.slow
def test_rerun_gets_its_own_comment_naming_its_starter(workflow: Workflow) -> None:
    payload = workflow.label()
    workflow.step("received", payload)

    workflow.step("received", payload, GITHUB_RUN_ATTEMPT="2", GITHUB_TRIGGERING_ACTOR="bob")

    first, second = workflow.bodies
    assert MARK in first
    assert "from `@alice`" in second
    assert "started again by `@bob`" in second
    assert f"/runs/{RUN}/attempts/2)" in second
    assert f"<!-- backout:request run={RUN} attempt=2 -->" in second


@pytest.mark.slow
def test_label_is_answered_on_enterprise_server(workflow: Workflow) -> None:
    workflow.github.switches.enterprise_server = True

    done = workflow.step("received", workflow.label())

    assert (done.out, len(workflow.bodies)) == ("", 1)


@pytest.mark.slow
def test_simultaneous_requests_get_a_comment_each(workflow: Workflow) -> None:
    payloads = [workflow.label("recover:api"), workflow.label("recover:web")]

    done = [workflow.step("received", each, GITHUB_RUN_ID=str(run)) for run, each in enumerate(payloads, 7001)]

    ids = [str(comment.id) for comment in workflow.github.issue(workflow.incident).comments]
    assert [each.outputs["comment"] for each in done] == ids
    assert ["run=7001" in workflow.bodies[0], "run=7002" in workflow.bodies[1]] == [True, True]


def unrelated_events(workflow: Workflow) -> dict[str, Any]:
    labeled = workflow.label()
    return {
        "another label": workflow.label("bug"),
        "the report": workflow.label("report"),
        "the label is gone": {**labeled, "label": None},
        "taken off": workflow.github.unlabel(workflow.incident, "recover:api", "alice"),
        "a pull request": {**labeled, "issue": {**labeled["issue"], "pull_request": {}}},
        "transferred": {**labeled, "repository": {**labeled["repository"], "full_name": "acme/other"}},
        "closed": workflow.github.close(workflow.incident, "alice"),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    ["another label", "the report", "the label is gone", "taken off", "a pull request", "transferred", "closed"],
)
def test_unrelated_event_sends_no_request(workflow: Workflow, case: str) -> None:
    done = workflow.step("received", unrelated_events(workflow)[case])

    assert (done.code, done.out, done.err, done.outputs) == (0, "", "", {})
    assert workflow.github.requests == []


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "[]", "{}", '{"action": "labeled", "label": {"name": "recover:x"}}'])
def test_unreadable_event_does_not_fail_step(workflow: Workflow, text: str) -> None:
    done = workflow.step("received", text)

    assert (done.code, done.err, done.outputs, workflow.bodies) == (0, "", {}, [])
    assert done.out.count("\n") <= 1


FAILING: dict[str, dict[str, Any]] = {
    "forbidden": {"status": 403},
    "gone": {"status": 410},
    "rate limit": {"status": 429, "headers": {"retry-after": "600"}},
    "redirect": {"status": 302, "headers": {"location": "/user"}},
    "every answer is 500": {"status": 500, "times": None},
    "no JSON": {"status": 201, "body": "<html>", "times": None},
    "always lost": {"lost": "before", "times": None},
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAILING.values(), ids=FAILING)
def test_failing_api_is_one_warning(workflow: Workflow, fault: dict[str, Any]) -> None:
    workflow.github.fault(method="POST", path=COMMENTS, **fault)

    done = workflow.step("received", workflow.label())

    assert (done.code, done.err, done.outputs, workflow.bodies) == (0, "", {}, [])
    assert re.fullmatch("::warning title=received::The request got no comment yet: [A-Za-z0-9 ]+\n", done.out)
    assert {request.path.rsplit("/", 1)[1] for request in workflow.github.requests} == {"comments"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        {"lost": "before"},
        {"lost": "after"},
        {"status": 502},
        {"status": 502, "applied": True},
        {"body": "<html>", "applied": True},
        {"truncate": 9},
    ],
    ids=str,
)
def test_lost_response_yields_one_comment(workflow: Workflow, fault: dict[str, Any]) -> None:
    payload = workflow.label()
    workflow.github.comment(workflow.incident, MARK, "tina")
    workflow.github.fault(method="POST", path=COMMENTS, **fault)

    done = workflow.step("received", payload)

    _, comment = workflow.github.issue(workflow.incident).comments
    assert (done.code, done.out, done.outputs) == (0, "", {"comment": str(comment.id)})


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", [{"method": "POST", "delay": 30.0}, pytest.param({"delay": 30.0}, marks=pytest.mark.slow)], ids=str
)
def test_hanging_github_delays_step_by_seconds_only(workflow: Workflow, fault: dict[str, Any]) -> None:
    workflow.github.fault(path=COMMENTS, times=None, **fault)
    payload, began = workflow.label(), time.monotonic()

    done = workflow.step("received", payload)

    assert time.monotonic() - began < 5  # three seconds, and the start of a process on a busy machine
    assert (done.code, done.outputs) == (0, {})
    assert done.out.startswith("::warning title=received::The request got no comment yet: ")
    assert [request.method for request in workflow.github.requests].count(
        "POST"
    ) == 1  # GitHub may still process the first one


@pytest.mark.slow
def test_unreachable_api_is_a_warning(workflow: Workflow) -> None:
    done = workflow.step("received", workflow.label(), GITHUB_API_URL="http://127.0.0.1:9")

    assert (done.code, done.out.count("::warning")) == (0, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece", [*PIECES, MARK, f"\n{MARK}\n", "${{ secrets.X }}", "\u202e\x1b[31m", "``", "a` @b `c"]
)
def test_hostile_names_are_escaped(workflow: Workflow, piece: str) -> None:
    payload = workflow.label()
    hostile = {**payload, "label": {"name": f"recover:{piece}"}, "sender": {"login": piece, "type": "User"}}

    done = workflow.step("received", hostile, GITHUB_TRIGGERING_ACTOR=piece, GITHUB_RUN_ATTEMPT="2")

    (body,) = workflow.bodies
    outside = re.sub(r"(?<!`)(`+)(?!`)(.*?)(?<!`)\1(?!`)", "CODE", body)
    assert outside.startswith("**Received** CODE from CODE at ")
    assert not re.search(r"[@#<\u202e\x1b$]", outside.partition("\n\n<!--")[0].replace("CODE", ""))
    assert body.splitlines()[-1] == f"<!-- backout:request run={RUN} attempt=2 -->"
    assert MARK not in body.splitlines()
    assert piece.strip() not in done.out

"""`ops recover`: run a runbook by name with JSON parameters, as a job does after the gate."""

import json
import re
import threading
from typing import Any

import pytest

from ops.app.configuration import read_config
from ops.app.registry import load_runbook
from ops.core.run_record import read_record
from ops.engine.runbook import WatchedState
from ops.github.actions import RUN_OUTPUTS
from tests.conftest import REFERENCE, Incident, Outcome, Releases, World
from tests.gate.support import parse_outputs
from tests.support.commands import COMMENT, LIST

RUN = "7001"
API = json.dumps({"service": "api"})
APPROVED = (
    *("--attempt", "2", "--approved-runbook", "rollback-worker"),
    *("--approved-environment", "production", "--approved-for", "recovery"),
)


def recover(world: World, runbook: str, params: str, *more: str, **environ: str | None) -> Outcome:
    where = ["--environment", "production", "--incident", "42", "--config", str(world.config), "--yes", "--json"]
    return world.ops("recover", "--runbook", runbook, "--params", params, *where, *more, **environ)


def recover_in_job(world: World, *more: str, runbook: str = "rollback-worker", **environ: str | None) -> Outcome:
    """Attempt 2 of a workflow run, without a connection to its GitHub."""
    job = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": RUN, "GITHUB_RUN_ATTEMPT": "2", "GITHUB_ACTOR": "alice"}
    return recover(world, runbook, API, *more, **{**job, "GITHUB_OUTPUT": str(world.folder / "output"), **environ})


def outputs(world: World) -> dict[str, str]:
    return parse_outputs((world.folder / "output").read_text())


@pytest.mark.slow
def test_recover_runs_the_given_runbook(world: World, releases: Releases) -> None:
    outcome = recover(world, "rollback-worker", json.dumps({"service": "api", "reason": "incident #42"}))

    assert outcome.result["decision"] == "recovered"
    assert world.live == {releases.good: 100}


def test_run_warns_of_a_stop_that_the_gate_could_not_read(world: World, releases: Releases) -> None:
    outcome = recover_in_job(world, *APPROVED, "--stop", "not read")

    texts = [each["text"] for each in outcome.events if each["kind"] == "warning"]
    assert (outcome.result["decision"], any("stopped" in text for text in texts)) == ("recovered", True)
    assert world.live == {releases.good: 100}


BAD_PARAMS = r"--params\b.*\brollback-worker\b"


@pytest.mark.parametrize(
    ("runbook", "params", "said"),
    [
        ("rollback-wroker", "{}", '"rollback-wroker".*"rollback-worker"'),
        ("rollback-worker", "{", BAD_PARAMS),
        ("rollback-worker", "[]", BAD_PARAMS),
        (
            "rollback-worker",
            '{"service": "api", "force": "true"}',
            BAD_PARAMS,
        ),
        ("rollback-worker", '{"service": 7}', BAD_PARAMS),
        ("rollback-worker", '{"service": "api", "accept_changed_secrets": "A"}', BAD_PARAMS),
        ("rollback-worker", '{"service": "api", "current_secrets": "true"}', BAD_PARAMS),
        ("rollback-worker", "{}", r"--params\b(?!.*rollback-worker).*\bservice\b"),
    ],
)
def test_recover_refuses_invalid_runbook_or_params(
    world: World, releases: Releases, runbook: str, params: str, said: str
) -> None:
    outcome = recover(world, runbook, params)

    assert outcome.code == 2
    assert re.search(said, outcome.err)
    assert world.live == {releases.bad: 100}


# Approval of the recovery job by the gate.


@pytest.mark.slow
def test_approved_job_recovers(world: World, releases: Releases) -> None:
    done = recover_in_job(world, *APPROVED)

    assert done.result["decision"] == "recovered", done.err
    written = outputs(world)
    assert tuple(written) == RUN_OUTPUTS
    assert (written["decision"], written["run"], written["incident"]) == ("recovered", done.result["run"], "42")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "options", "is_broken", "watched"),
    [("", (), False, "api"), ("", ("--dry-run",), False, ""), ('watch: "off"\n', (), False, ""), ("", (), True, "api")],
    ids=["recovered", "dry run", "off", "still unhealthy"],
)
def test_output_names_the_service_to_watch(
    world: World, releases: Releases, more: str, options: tuple[str, ...], is_broken: bool, watched: str
) -> None:
    world.config.write_text(world.config.read_text() + more)
    if is_broken:
        world.sandbox.edge_fault(path="/**", status=500, times=None)

    recover(world, "rollback-worker", API, *options, GITHUB_OUTPUT=str(world.folder / "output"))

    assert outputs(world)["watch"] == watched


@pytest.mark.slow
@pytest.mark.parametrize(("state", "is_watched"), [("on", False), ("off", True)])
def test_closed_service_is_not_watched(state: str, is_watched: bool) -> None:
    place = read_config(REFERENCE / "ops.yml", labels=None)[0].environment("production")

    effect = load_runbook("maintenance").effect({"state": state, "service": "api"}, place)
    assert (effect.watched == WatchedState.HEALTHY) == is_watched


NO_PASS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "an earlier attempt": (
        ("--attempt", "1"),
        "rollback-worker",
        ("attempt 1", "attempt 2"),
    ),
    "no attempt": (("--attempt", ""), "rollback-worker", ("no pass", "attempt 2")),
    "another runbook": (
        ("--approved-runbook", "rollback-pages"),
        "rollback-worker",
        ('"rollback-pages"', "rollback-worker"),
    ),
    "another environment": (
        ("--approved-environment", "staging"),
        "rollback-worker",
        ('"staging"', '"production"'),
    ),
    "another GitHub environment": (
        ("--approved-for", "security"),
        "rollback-worker",
        ("rollback-worker", '"recovery"', '"security"'),
    ),
    "a runbook of another power": (
        ("--approved-runbook", "maintenance"),
        "maintenance",
        ("maintenance", '"security"', '"recovery"'),
    ),
    "a runbook that needs no secret": (
        ("--approved-runbook", "propose-limits"),
        "propose-limits",
        ("propose-limits", '"none"', '"recovery"'),
    ),
}


@pytest.mark.parametrize(("option", "runbook", "facts"), NO_PASS.values(), ids=NO_PASS)
def test_job_without_pass_is_refused_before_any_request(
    world: World, releases: Releases, option: tuple[str, str], runbook: str, facts: tuple[str, ...]
) -> None:
    done = recover_in_job(world, *APPROVED, *option, runbook=runbook)

    assert (done.code, [each for each in facts if each not in done.err]) == (3, []), done.err
    assert "reasons.md#rerun" in done.err
    assert (world.sandbox.requests, world.sandbox.github.requests) == ([], [])
    written = outputs(world)
    assert (written["decision"], written["reason"], written["run"]) == ("refused", "rerun", "")
    assert [each for each in facts if each not in written["message"]] == []


@pytest.mark.sampled
@pytest.mark.parametrize("left_out", [0, 2, 4, 6], ids=lambda number: APPROVED[number])
def test_job_without_an_option_of_the_pass_is_refused(world: World, releases: Releases, left_out: int) -> None:
    done = recover_in_job(world, *APPROVED[:left_out], *APPROVED[left_out + 2 :])

    assert (done.code, "ops workflows sync" in done.err) == (3, True)
    assert world.sandbox.requests == []


def test_failed_start_outputs_its_reason(world: World, releases: Releases) -> None:
    done = recover_in_job(world, *APPROVED, CLOUDFLARE_API_TOKEN=None)

    assert done.code == 2
    written = outputs(world)
    assert tuple(written) == RUN_OUTPUTS
    assert (written["decision"], written["reason"], written["run"]) == ("refused", "token_missing", "")
    assert "CLOUDFLARE_API_TOKEN" in written["message"]
    assert written["hint"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "environ", "said"),
    [
        ((), {}, "(alice)"),
        ((), {"GITHUB_TRIGGERING_ACTOR": "bob"}, "(bob, who started a request of alice again)"),
        (("--requested-by", "bob"), {}, "(bob, who started a request of alice again)"),
        ((), {"GITHUB_TRIGGERING_ACTOR": "Alice"}, "(Alice)"),
        ((), {"GITHUB_EVENT_NAME": "schedule"}, "(a schedule)"),
        (
            ("--attempt", "1"),
            {"GITHUB_EVENT_NAME": "schedule", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_TRIGGERING_ACTOR": "alice"},
            "(a schedule)",
        ),
        (
            (),
            {"GITHUB_EVENT_NAME": "schedule", "GITHUB_TRIGGERING_ACTOR": "bob"},
            "(bob, who started a request of a schedule again)",
        ),
    ],
)
def test_timeline_names_starter_of_attempt(
    world: World, releases: Releases, more: tuple[str, ...], environ: dict[str, str], said: str
) -> None:
    done = recover_in_job(world, *APPROVED, *more, **environ)

    assert done.events[0]["text"].endswith(said)


# Continuation of the start comment.

MARK = f"<!-- backout:request run={RUN} attempt=1 -->"


def post_start_comment(incident: Incident, mark: str = MARK, by: str = "github-actions[bot]") -> int:
    return incident.github.comment(incident.number, f"**Received**, starting\n\n{mark}\n", by)


def recover_with_comment(incident: Incident, comment: Any) -> Outcome:
    job = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": RUN, "GITHUB_RUN_ATTEMPT": "1", "GITHUB_ACTOR": "alice"}
    job["GITHUB_OUTPUT"] = str(incident.world.folder / "output")
    number = (*APPROVED, "--attempt", "1", "--incident", str(incident.number), "--comment", str(comment))
    return recover(incident.world, "rollback-worker", API, *number, **{**incident.github.environ(), **job})


@pytest.mark.slow
def test_run_continues_comment_of_its_request(incident: Incident, releases: Releases) -> None:
    comment = post_start_comment(incident)

    done = recover_with_comment(incident, comment)

    (body,) = incident.bodies
    block = read_record(body)
    assert block is not None
    assert (block.run, block.decision) == (done.result["run"], "recovered")
    assert "starting" not in body
    assert MARK not in body
    assert done.result["links"]["journal"].endswith(f"#issuecomment-{comment}")


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "answered"), [({}, "true"), ({"status": 503}, ""), ({"status": 403}, "")], ids=str)
def test_output_says_whether_the_incident_shows_the_end(
    incident: Incident, releases: Releases, fault: dict[str, int], answered: str
) -> None:
    comment, path = post_start_comment(incident), "/repos/*/*/issues/comments/*"
    incident.github.fault(method="PATCH", path=path, sends="recovered", times=None, **fault)

    done = recover_with_comment(incident, comment)

    assert done.result["decision"] == "recovered"
    assert outputs(incident.world)["answered"] == answered
    assert ("recovered" in incident.bodies[0]) == bool(answered)


OTHERS: dict[str, dict[str, str]] = {
    "another person's": {"by": "alice"},
    "another run's": {"mark": MARK.replace(RUN, "7002")},
    "another attempt's": {"mark": MARK.replace("attempt=1", "attempt=2")},
    "a mark within a line": {"mark": f"`{MARK}`"},
}


@pytest.mark.slow
@pytest.mark.parametrize("given", OTHERS.values(), ids=OTHERS)
def test_run_edits_no_other_comment(incident: Incident, releases: Releases, given: dict[str, str]) -> None:
    comment = post_start_comment(incident, **given)
    (before,) = incident.bodies

    done = recover_with_comment(incident, comment)

    assert done.result["decision"] == "recovered"
    kept, new = incident.bodies
    assert (kept, new.startswith("### ✅")) == (before, True)


@pytest.mark.slow
def test_comment_on_another_issue_is_unchanged(incident: Incident, releases: Releases) -> None:
    other = Incident(incident.world, incident.github.open_issue("Another", "", ["incident"], "alice"))
    comment = post_start_comment(other)

    recover_with_comment(incident, comment)

    assert (other.bodies[0].startswith("**Received**"), incident.bodies[0][:5]) == (True, "### ✅")


@pytest.mark.slow
@pytest.mark.parametrize("comment", ["999", "x", "", "-1", "1" * 30])
def test_missing_comment_is_created(incident: Incident, releases: Releases, comment: str) -> None:
    done = recover_with_comment(incident, comment)

    assert done.result["decision"] == "recovered"
    assert [body[:5] for body in incident.bodies] == ["### ✅"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        {"method": "GET", "path": COMMENT, "status": 500},
        {"method": "GET", "path": "/user", "lost": "before"},
        {"method": "PATCH", "path": COMMENT, "status": 502},
        {"method": "PATCH", "path": COMMENT, "lost": "after"},
        {"method": "GET", "path": COMMENT, "body": "[]"},
    ],
    ids=str,
)
def test_single_api_failure_leaves_one_comment(incident: Incident, releases: Releases, fault: dict[str, Any]) -> None:
    comment = post_start_comment(incident)
    incident.github.fault(**fault)

    done = recover_with_comment(incident, comment)

    assert done.result["decision"] == "recovered"
    assert [body[:5] for body in incident.bodies] == ["### ✅"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["GET", "PATCH", "*"])
def test_github_outage_does_not_delay_recovery(incident: Incident, releases: Releases, method: str) -> None:
    comment = post_start_comment(incident)
    incident.github.fault(path="/repos/**", method=method, times=None, status=500)

    done = recover_with_comment(incident, comment)

    assert (done.code, done.result["decision"]) == (0, "recovered")
    assert incident.bodies[0].startswith("**Received**")


@pytest.mark.slow
def test_comment_deleted_during_run_is_recreated(incident: Incident, releases: Releases) -> None:
    comment, edited = post_start_comment(incident), threading.Event()
    incident.github.fault(method="PATCH", path=COMMENT, after=edited.set)
    issue = incident.github.issue(incident.number)

    def delete() -> None:
        edited.wait(30)
        issue.comments.clear()

    incident.world.sandbox.fault(**LIST, before=delete)

    recover_with_comment(incident, comment)

    assert [body[:5] for body in incident.bodies] == ["### ✅"]

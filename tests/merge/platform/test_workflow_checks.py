"""`ops verify-platform --repository` on the sandbox's Actions: each answer of GitHub, and what keeps it from answering."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops.github.comments import BOT
from ops.platform.measurements import read_assumptions
from ops.platform.workflow_checks import ENVIRONMENT_ROWS, PUSH_ROWS, REFUSED_ROWS, STEPS
from ops.platform.workflow_files import (
    ANSWER,
    ASKING,
    LONGEST_EXPRESSION,
    PATH,
    render_expression_workflow,
    render_measured_workflow,
    render_refused_workflow,
    render_verification_workflow,
)
from ops.setup.workflows import PINS, USES
from sandbox.actions import Runner
from sandbox.switches import GitHubSwitches
from tests.support.verification import ACCOUNT, OWNER, MeasuredRepository, measured_repository, outcomes_of

ROWS = {each.id: each for each in read_assumptions() if each.check in STEPS}
WITH_ENVIRONMENTS = GitHubSwitches(plan="team")
MOST_REQUESTS, MOST_OF_BOTH, LONGEST_OF_BOTH = 300, 600, 30.0
"""Requests for GitHub and for both halves, and seconds of CPU for both."""
NAME = "backout-verify-0123456789ab"
TURNED: dict[str, tuple[Any, set[str]]] = {
    "dispatch_answers_run_details": (False, {"dispatch-names-run"}),
    "artifacts_lag_reads": (2, {"artifact-listed"}),
    "github_token_reads_permissions": (False, {"token-reads-permission"}),
    "actions_may_create_pull_requests": (True, {"token-opens-pull"}),
    "called_names_have_caller": (False, {"called-names"}),
    "waiting_job_cancel_runs_always": (False, {"always-after-waiting"}),
    "cancel_ends_calls": (False, {"called-cancel"}),
    "refused_run_conclusion": ("failure", {"refused-run"}),
    "refused_run_has_title": (True, {"refused-run-title"}),
    "dispatch_checks_files": (False, {"dispatch-refused"}),
}
"""Switch → another answer, and the assumptions that then differ."""
JOBS = (
    *("answer", "deploying", "after", "quiet", "upload", "download", "token", "secrets", "waiting", "wait", "always"),
)


@contextmanager
def measured_with_runner(switches: GitHubSwitches) -> Iterator[tuple[MeasuredRepository, Runner]]:
    """Give a repository whose owner merges at once, and whose jobs run while the run waits."""
    with measured_repository(switches) as measured, Runner(measured.sandbox.github, {}) as runner:

        def pass_time() -> None:
            merge_proposal(measured)
            runner.settle()

        measured.sandbox.clock.on_sleep = pass_time
        yield measured, runner


def merge_proposal(measured: MeasuredRepository) -> None:
    """Merge as the owner the pull request that adds the workflow, and not that of GITHUB_TOKEN."""
    github = measured.sandbox.github
    for number in github.open_pulls():
        if github.pull_branches(number)[0].endswith("-workflow"):
            github.merge(number, OWNER)


def differing(result: dict[str, Any]) -> set[str]:
    return {name for name, outcome in outcomes_of(result).items() if outcome == "differs" and name in ROWS}


def unproved(result: dict[str, Any]) -> set[str]:
    return {name for name, outcome in outcomes_of(result).items() if outcome == "not_provable" and name in ROWS}


def test_each_row_is_confirmed() -> None:
    with measured_with_runner(WITH_ENVIRONMENTS) as (measured, _):
        result = measured.measure()
        unknown = measured.sandbox.github.unknown_requests

    assert {outcomes_of(result)[name] for name in ROWS} == {"confirmed"}
    assert result["requests"] <= MOST_REQUESTS
    assert unknown == []


def test_both_halves_keep_to_their_figures() -> None:
    with measured_with_runner(WITH_ENVIRONMENTS) as (measured, _):
        began = time.process_time()
        result = measured.measure("--account", ACCOUNT)
        took = time.process_time() - began

    assert (result["requests"] <= MOST_OF_BOTH, took <= LONGEST_OF_BOTH) == (True, True), (result["requests"], took)
    assert differing(result) == set()


def test_turned_switches_are_those_of_the_rows() -> None:
    assert TURNED.keys() == {switch for row in ROWS.values() for switch in row.switches}


@pytest.mark.parametrize("switch", TURNED)
def test_another_answer_of_github_differs(switch: str) -> None:
    value, expected = TURNED[switch]
    with measured_with_runner(replace(WITH_ENVIRONMENTS, **{switch: value})) as (measured, _):
        result = measured.measure()

    assert differing(result) == expected
    relying = {name for row in expected for name in ROWS[row].runbooks}
    assert set(result["affected_runbooks"]) >= relying
    assert result["exit_code"] == (4 if result["affected_runbooks"] else 0)


def test_workflow_that_stands_already_answers_only_the_measured_label() -> None:
    """A run before this one left it, or a run of a colleague goes on."""
    with measured_with_runner(replace(WITH_ENVIRONMENTS, lists_lag_seconds=3.0)) as (measured, _):
        measured.sandbox.github.add_commit("Merged", OWNER, files={PATH: render_verification_workflow()})
        result = measured.measure()

    assert {outcomes_of(result)[name] for name in {*ROWS, "list-lag", "label-case"}} == {"confirmed"}
    assert next(row for row in result["assumptions"] if row["id"] == "label-to-comment")["seconds"] > 0


def test_lost_removal_of_the_label_is_repeated_before_the_measured_one() -> None:
    with measured_with_runner(WITH_ENVIRONMENTS) as (measured, _):
        measured.sandbox.github.fault(method="DELETE", path="/**/issues/*/labels/*", lost="before", times=1)
        result = measured.measure()

    assert unproved(result) == set()
    assert outcomes_of(result)["label-removed-once"] == "not_provable"


def test_run_that_the_workflow_itself_starts_differs() -> None:
    with measured_with_runner(WITH_ENVIRONMENTS) as (measured, runner):
        github, pass_time = measured.sandbox.github, measured.sandbox.clock.on_sleep

        def start_by_token() -> None:
            removed = [each for each in github.deliveries if each.payload.get("action") == "unlabeled"]
            if removed and not any(f" unlabeled {BOT}" in run.title for run in github.runs):
                sender = {**removed[0].payload["sender"], "login": BOT}
                runner.deliver(removed[0]._replace(payload={**removed[0].payload, "sender": sender}))
            pass_time()

        measured.sandbox.clock.on_sleep = start_by_token
        result = measured.measure()

    assert differing(result) == {"token-starts-nothing"}


def test_late_runner_delays_only_the_comment() -> None:
    with measured_with_runner(WITH_ENVIRONMENTS) as (measured, runner):
        runner.delay = timedelta(seconds=150)
        result = measured.measure()

    assert differing(result) == {"label-to-comment"}


def test_small_plan_without_environments_proves_the_rest() -> None:
    with measured_with_runner(GitHubSwitches(private=True, plan="free")) as (measured, _):
        result = measured.measure()

    assert unproved(result) == set(ENVIRONMENT_ROWS)
    assert (differing(result), result["exit_code"]) == (set(), 0)


def test_waiting_run_that_github_cancels_affects_the_recoveries() -> None:
    with measured_with_runner(WITH_ENVIRONMENTS) as (measured, runner):
        github, pass_time = measured.sandbox.github, measured.sandbox.clock.on_sleep

        def displace() -> None:
            pass_time()
            waiting = [
                run for run in github.runs for job in run.jobs if (job.name, job.status) == ("waiting", "pending")
            ]
            if waiting:
                runner.cancel(waiting[0].id)

        measured.sandbox.clock.on_sleep = displace
        result = measured.measure()

    assert differing(result) == {"queue-max"}
    assert {"rollback-worker", "rollback-pages"} <= set(result["affected_runbooks"])
    assert result["exit_code"] == 4


def test_actions_that_are_off_prove_nothing() -> None:
    with measured_with_runner(WITH_ENVIRONMENTS) as (measured, _):
        measured.sandbox.github.set_actions_policy(enabled=False)
        result = measured.measure()

    assert unproved(result) == set(ROWS)
    assert result["exit_code"] == 0


def test_jobs_that_no_runner_takes_prove_nothing() -> None:
    with measured_with_runner(WITH_ENVIRONMENTS) as (measured, runner):
        runner.hold_jobs(*JOBS)
        result = measured.measure()

    without_jobs = {"dispatch-names-run", "dispatch-refused", "expression-length", *PUSH_ROWS}
    assert unproved(result) == set(ROWS) - without_jobs
    assert differing(result) == set()


@pytest.mark.parametrize("status", [503, 403, 0], ids=["no answer", "a rate limit", "killed after its first deletion"])
def test_cleanup_cancels_each_run(status: int) -> None:
    """A job that starts later would create its environment again."""
    with measured_with_runner(WITH_ENVIRONMENTS) as (measured, runner):
        github = measured.sandbox.github
        runner.hold_jobs(*JOBS[1:])
        if not status:
            sent = github.requests
            fault = github.fault(
                when=lambda _: any(each.method == "DELETE" and "/git/refs/" in each.path for each in sent[:-1]),
                lost="before",
                times=None,
            )
        else:
            limit = "You have exceeded a secondary rate limit."
            fault = github.fault(method="POST", path="/**/cancel", status=status, message=limit, times=1)
        measured.verify("--yes")
        fault.remove()
        measured.verify("--cleanup", "--yes")
        going = [run.id for run in github.runs if run.status != "completed"]

    assert going == []


@pytest.mark.parametrize("status", [403, 404])
def test_refused_dispatch_is_no_answer_about_the_file(status: int) -> None:
    """A rate limit refuses it too, and the removal of a colleague's run takes the workflow away."""
    with measured_with_runner(WITH_ENVIRONMENTS) as (measured, _):
        rule = {"method": "POST", "path": "/**/dispatches", "status": status}
        measured.sandbox.github.fault(**rule, skip=len(("jobs", "queue", "call", "queue")), times=None)
        result = measured.measure()

    assert (unproved(result), differing(result)) == (set(REFUSED_ROWS), set())


def test_unmerged_workflow_proves_nothing() -> None:
    with measured_with_runner(WITH_ENVIRONMENTS) as (measured, runner):
        measured.sandbox.clock.on_sleep = runner.settle
        result = measured.measure()
        left = measured.left()

    assert (unproved(result), differing(result), left) == (set(ROWS), set(), [])


def test_workflows_of_the_team_do_not_run_for_the_measured_commits() -> None:
    theirs = "on: push\njobs:\n  deploy:\n    runs-on: ubuntu-latest\n    steps: [{run: 'true'}]\n"
    with measured_with_runner(WITH_ENVIRONMENTS) as (measured, _):
        github = measured.sandbox.github
        github.add_commit("Deploy", OWNER, files={".github/workflows/deploy.yml": theirs})
        result = measured.measure()
        branches = {run.head_branch for run in github.runs if run.workflow.file == "deploy.yml"}

    assert (unproved(result), differing(result)) == (set(PUSH_ROWS), set())
    assert "main" in branches, "their workflow runs for pushes"
    assert [branch for branch in branches if branch.startswith(NAME[:15]) and branch.count("-") == 2] == []


def test_checks_of_the_removal_go_on() -> None:
    theirs = "on: push\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps: [{run: 'true'}]\n"
    with measured_with_runner(WITH_ENVIRONMENTS) as (measured, runner):
        github = measured.sandbox.github
        files = {PATH: render_verification_workflow(), ".github/workflows/test.yml": theirs}
        github.add_commit("Both", OWNER, files=files)
        runner.wait()
        runner.hold_jobs("test")
        first, again = measured.verify("--cleanup", "--yes"), measured.verify("--cleanup", "--yes")
        states = [run.status for run in github.runs if run.head_branch.endswith("-removal")]

    assert (first.code, again.code, states) == (0, 0, ["queued"])


@pytest.mark.parametrize(("end", "is_gone"), [("0123456789ab", True), ("/../../../comments/{}", False)])
def test_label_of_anybody_removes_nothing_else(end: str, is_gone: bool) -> None:
    """A person with the role triage may add labels, and delete no comment of others."""
    with measured_repository() as measured, Runner(measured.sandbox.github, {}) as runner:
        github = measured.sandbox.github
        github.add_commit("Merged", OWNER, files={PATH: render_verification_workflow()})
        github.add_user("tina", "triage")
        number = github.open_issue("Down", ASKING, author=OWNER)
        comment = github.comment(number, "Evidence", OWNER)
        label = f"backout-verify-{end.format(comment)}"

        github.label(number, label, "tina")
        runner.wait()

        issue = github.issue(number)
        assert [each.body for each in issue.comments] == ["Evidence", ANSWER]
        assert [each.name for each in issue.labels] == ([] if is_gone else [label])


LINTERS = [
    ["actionlint", "-no-color", "-oneline"],
    ["zizmor", "--offline", "--no-progress", "-q", "--persona", "auditor", ".github"],
]


@pytest.mark.parametrize("command", LINTERS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    "files",
    [
        {PATH: render_verification_workflow()},
        render_measured_workflow(NAME),
        render_expression_workflow(NAME, LONGEST_EXPRESSION),
    ],
    ids=["default branch", "measured", "expression"],
)
def test_workflows_pass_linters(tmp_path: Path, files: dict[str, str], command: list[str]) -> None:
    done = lint(tmp_path, files, command)

    assert done.returncode == 0, done.stdout + done.stderr


def test_only_the_permissions_of_the_refused_file_are_wrong(tmp_path: Path) -> None:
    security, syntax = (
        lint(tmp_path / name, render_refused_workflow(NAME), command)
        for name, command in zip("ab", LINTERS[::-1], strict=True)
    )

    assert security.returncode == 0, security.stdout
    assert syntax.stdout.count("\n") == 1
    assert "issues" in syntax.stdout


def lint(folder: Path, files: dict[str, str], command: list[str]) -> subprocess.CompletedProcess[str]:
    (folder / ".git").mkdir(parents=True)  # required by actionlint
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    program = Path(sys.executable).parent / command[0]
    return subprocess.run([program, *command[1:]], cwd=folder, capture_output=True, text=True, check=False)


def test_actions_are_those_of_the_generated_workflows() -> None:
    texts = "\n".join([render_verification_workflow(), *render_measured_workflow(NAME).values()])
    used = {f"{found['action']}@{found['pin']}" for found in USES.finditer(texts)}

    assert used == {PINS["upload"], PINS["download"]}
    assert texts.count("uses: ") == len(used) + texts.count("uses: ./.github/workflows/")

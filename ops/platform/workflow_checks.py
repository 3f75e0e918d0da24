"""Check what GitHub Actions does with labels, jobs, groups and refused files.

The steps of the workflows read, and the API shows their conclusions, which hold the answers.
"""

from collections.abc import Callable, Mapping, Sequence

from ops.github.client import GitHubApiError
from ops.github.comments import BOT
from ops.platform.github_repository import RepositoryResources, VerificationRepository
from ops.platform.measurements import Measurements, describe_measuring_error
from ops.platform.workflow_files import (
    ANSWER,
    ASKING,
    LONGEST_EXPRESSION,
    PUSHED_TITLE,
    render_expression_workflow,
    render_measured_workflow,
    render_refused_workflow,
)
from ops.platform.workflow_runs import (
    LONGEST_RUN,
    LONGEST_START,
    NO_JOB,
    MeasuredJobState,
    WorkflowRuns,
    WorkflowRunState,
)

LONGEST_ANSWER, ANSWER_STEP, QUIET = 200.0, 2.0, 30.0
"""Seconds to wait for the comment, between two reads of it, and for a run that must not appear."""
SETTLING = 20.0
"""Seconds after which GitHub shows which of the waiting runs it cancelled."""
MOST_READS, READ_STEP = 10, 1.0
MARGIN = 100
"""Characters by which two texts are shorter and longer than the longest one with an expression."""
NOT_STARTED = "GitHub started no run: Actions may be off, or a policy of Actions blocks it"
NOT_ENDED = "a run did not end in time: perhaps no runner took its jobs"
PLANS = "docs.github.com/actions/reference/workflows-and-actions/deployments-and-environments"
NO_NAME = "the API does not name the calling job"
STEPS = {
    "label": "adding a label, and waiting for the comment of the workflow",
    "jobs": "starting a workflow whose jobs read secrets, outputs, artifacts and permissions",
    "queue": "starting three runs of one concurrency group, and canceling the second one",
    "refused": "starting workflow files that GitHub must refuse",
}
ENVIRONMENT_ROWS = (
    *("environment-secrets", "deployment-false", "deployment-false-secrets", "masked-output"),
    *("called-secrets", "called-secrets-by-name"),
)
JOB_ROWS = (
    *(
        "dispatch-names-run",
        "workflow-keys",
        "artifact-next-job",
        "artifact-listed",
        "token-reads-permission",
        "token-opens-pull",
    ),
    *("outputs-filter", "called-names", "called-permissions"),
    *ENVIRONMENT_ROWS,
)
QUEUE_ROWS = ("queue-max", "always-after-waiting", "called-cancel")
REFUSED_ROWS = ("dispatch-refused", "expression-length")
PUSH_ROWS = ("refused-run", "refused-run-title")
LABEL_ROWS = ("label-to-comment", "token-starts-nothing")


class WorkflowChecks:
    def __init__(
        self, repository: VerificationRepository, resources: RepositoryResources, results: Measurements
    ) -> None:
        self._repository, self._resources, self._results = repository, resources, results
        self._runs = WorkflowRuns(repository, resources.name)
        self._obstacle = ""
        """Why no job runs; empty as long as none is known."""
        self._longest = LONGEST_RUN
        """Seconds to wait for the end of a run: fewer after one whose job did not start."""

    def steps(self) -> dict[str, Callable[[], None]]:
        """Return the steps in their order. Each commit of the last one ends the waiting jobs of the one before."""
        return {
            "label": self.check_label,
            "jobs": self.check_jobs,
            "queue": self.check_queue,
            "refused": self.check_refused,
        }

    def check_label(self) -> None:
        """Add the label, and wait for the comment of the workflow, which removes the label with GITHUB_TOKEN."""
        issue, clock = f"/issues/{self._resources.issue}", self._repository.clock
        if self._has_label():  # an earlier step failed to remove it, and a second one starts no run
            self._repository.api.remove_label(self._resources.issue, self._resources.name)
        self._repository.api.edit_issue(self._resources.issue, ASKING)
        began = clock.monotonic()
        self._repository.api.add_label(self._resources.issue, self._resources.name)

        def find_answer() -> float | None:
            comments = self._repository.read(f"{issue}/comments", per_page=100)
            is_there = any((each.get("user") or {}).get("login") == BOT and ANSWER in each["body"] for each in comments)
            return clock.monotonic() - began if is_there else None

        took = self._runs.wait(find_answer, LONGEST_ANSWER, ANSWER_STEP)
        if took is None:
            self._longest = LONGEST_START
            self._skip_measurements(LABEL_ROWS, NOT_STARTED)
            return
        self._results.compare_time("label-to-comment", took, took)
        if self._runs.wait(lambda: not self._has_label() or None, LONGEST_START) is None:
            self._results.skip("token-starts-nothing", "the workflow did not remove the label")
            return
        clock.sleep(QUIET)
        titles, title = self._runs.list_titles("issues"), f"verify-platform {self._resources.issue}"
        if not any(each.startswith(f"{title} labeled ") for each in titles):
            self._results.skip("token-starts-nothing", "the list of runs does not show the run of the label")
            return
        self._results.compare("token-starts-nothing", "a run" if f"{title} unlabeled {BOT}" in titles else "no run")

    def _has_label(self) -> bool:
        labels = self._repository.read(f"/issues/{self._resources.issue}/labels", per_page=100)
        return any(each["name"] == self._resources.name for each in labels)

    def check_jobs(self) -> None:
        """Start a run whose jobs read secrets, outputs, artifacts, permissions and called jobs."""
        self._runs.commit(render_measured_workflow(self._resources.name))
        before = self._count_deployments()
        self._obstacle = NOT_ENDED
        run = self._start_measured_workflow("jobs", JOB_ROWS)
        if self._runs.names_runs is not None:
            self._results.compare("dispatch-names-run", "the run" if self._runs.names_runs else "no run")
        if run is None or (state := self._await_end(run, JOB_ROWS)) is None:
            return
        jobs = self._runs.list_jobs(run)
        if jobs or state.conclusion in {"startup_failure", "failure"}:
            self._results.compare("workflow-keys", "accepted" if jobs else "refused")
        if not any(each.steps for each in jobs.values()):
            self._obstacle = f"no job of a run began ({state.conclusion}): no runner, or no minutes, are left"
            self._skip_measurements(JOB_ROWS, self._obstacle)
            return
        self._obstacle = ""
        self._check_artifact(run, jobs)
        answers = {"permission read": "read", "permission refused": "refused"}
        self._compare_job_answer("token-reads-permission", jobs, "token", answers, "another answer")
        answers = {"pull request refused": "refused", "pull request created": "created"}
        self._compare_job_answer("token-opens-pull", jobs, "token", answers, "another answer")
        self._compare_job_answer(
            "outputs-filter", jobs, "after", {"outputs filtered": "of the job that has one"}, "another list"
        )
        self._check_called(jobs)
        self._check_environment(jobs, before)

    def _check_artifact(self, run: int, jobs: Mapping[str, MeasuredJobState]) -> None:
        self._compare_job_answer("artifact-next-job", jobs, "download", {"artifact read": "read"}, "not read")
        if jobs.get("upload", NO_JOB).conclusion != "success":
            self._results.skip("artifact-listed", "the upload did not succeed")
            return
        early = 0
        while early < MOST_READS and "verify-platform" not in self._runs.list_artifacts(run):
            early += 1
            self._repository.clock.sleep(READ_STEP)
        self._results.compare("artifact-listed", f"{early} reads too early")

    def _check_called(self, jobs: Mapping[str, MeasuredJobState]) -> None:
        names = {name for name in jobs if name.rpartition(" ")[2] == "secrets"}
        if not names:
            self._skip_measurements(("called-names", "called-permissions"), "the API shows no called job")
            return
        callers = ("inherit", "without")
        has_callers = names == {f"{caller} / secrets" for caller in callers}
        self._results.compare("called-names", "caller / job" if has_callers else "another name")
        inherit, without = (next((name for name in names if name.startswith(each)), "") for each in callers)
        if not (inherit and without):
            self._skip_measurements(("called-permissions", "called-secrets", "called-secrets-by-name"), NO_NAME)
            return
        job = jobs[inherit]
        if job.conclusion == "success":
            may_read, may_write = job.has_passed("issue read"), job.has_passed("comment written")
            self._results.compare("called-permissions", "more" if may_write else "its own" if may_read else "less")
        if not self._find_obstacle(jobs):
            self._compare_job_answer("called-secrets", jobs, inherit, {"secret given": "given"}, "empty")
            self._compare_job_answer("called-secrets-by-name", jobs, without, {"secret given": "given"}, "empty")

    def _find_obstacle(self, jobs: Mapping[str, MeasuredJobState]) -> str:
        """Return why the environment shows nothing; empty if it has a secret that jobs can have."""
        if not self._resources.has_environment:
            return self._resources.environment_reason
        job = jobs.get("deploying", NO_JOB)
        if job.conclusion != "success" or job.has_passed("secret given") or not self._repository.read("")["private"]:
            return ""
        return f"a job got no secret of its environment: a private repository on the plan Free has none ({PLANS})"

    def _check_environment(self, jobs: Mapping[str, MeasuredJobState], before: int) -> None:
        if obstacle := self._find_obstacle(jobs):
            self._skip_measurements(ENVIRONMENT_ROWS, obstacle)
            return
        given = {"secret given": "given"}
        self._compare_job_answer("environment-secrets", jobs, "deploying", given, "empty")
        self._compare_job_answer("deployment-false-secrets", jobs, "quiet", given, "empty")
        if all(jobs.get(name, NO_JOB).conclusion == "success" for name in ("deploying", "quiet")):
            others = self._count_deployments() - before - 1
            words = {-1: "no deployment of the other job", 0: "no deployment"}
            self._results.compare("deployment-false", words.get(others, f"{others} deployments"))
        if jobs.get("after", NO_JOB).has_passed("plain output given"):
            self._compare_job_answer("masked-output", jobs, "after", {"masked output empty": "empty"}, "given")

    def _count_deployments(self) -> int:
        return self._runs.count_deployments(self._resources.name) if self._resources.has_environment else 0

    def check_queue(self) -> None:
        """Start three runs with a job of one group. Cancel the second one while it waits; the others go on."""
        if self._obstacle:
            self._skip_measurements(QUEUE_ROWS, self._obstacle)
            return
        started = list[int]()
        for part in ("queue", "call", "queue"):
            run = self._start_measured_workflow(part, QUEUE_ROWS)
            if run is None:
                return
            started.append(run)
            self._runs.wait(lambda: self._has_begun(started[0], "waiting"), LONGEST_RUN)
        first, second, third = started
        self._runs.wait(lambda: self._has_begun(second, "call / wait"), LONGEST_START)
        self._repository.clock.sleep(SETTLING)
        displaced = [run for run in (second, third) if self._is_displaced(run)]
        if displaced:
            self._skip_measurements(QUEUE_ROWS[1:], "GitHub canceled a run that waited")
        else:
            self._check_cancel(second)
        self._runs.commit(render_expression_workflow(self._resources.name, LONGEST_EXPRESSION - MARGIN))
        ends = [self._runs.await_end(run) for run in (first, third)]
        if displaced:
            self._results.compare("queue-max", f"{len(displaced)} of 2 cancelled")
        elif None in ends:
            self._results.skip("queue-max", NOT_ENDED)
        else:
            has_passed = all(end and end.conclusion == "success" for end in ends)
            self._results.compare("queue-max", "all ran" if has_passed else "not all ran")

    def _has_begun(self, run: int, job: str) -> bool | None:
        """Return True if the job has begun, else None. The name of a called job may lack its caller."""
        jobs = self._runs.list_jobs(run)
        found = (jobs.get(name, NO_JOB) for name in {job, job.rpartition(" ")[2]})
        return any(each.status in {"in_progress", "completed"} for each in found) or None

    def _is_displaced(self, run: int) -> bool:
        return self._runs.list_jobs(run).get("waiting", NO_JOB).conclusion == "cancelled"

    def _check_cancel(self, run: int) -> None:
        """Cancel a run, one of whose jobs waits in a group, while a job that it calls runs."""
        has_called = self._has_begun(run, "call / wait")
        self._runs.cancel(run)
        if self._await_end(run, QUEUE_ROWS[1:]) is None:
            return
        jobs = self._runs.list_jobs(run)
        own = jobs.get("always", NO_JOB).conclusion == "success"
        called = any(job.conclusion == "success" for name, job in jobs.items() if name.endswith(" / always"))
        self._results.compare("always-after-waiting", "runs" if own else "does not run")
        if not has_called:
            self._results.skip("called-cancel", "no runner took the called job in time")
        elif "call / wait" not in jobs:
            self._results.skip("called-cancel", NO_NAME)
        else:
            self._results.compare("called-cancel", "runs" if called else "does not run")

    def check_refused(self) -> None:
        """Start files that GitHub refuses: a call for more permissions, and an expression that is too long."""
        if self._runs.names_runs is None:
            self._skip_measurements((*REFUSED_ROWS, *PUSH_ROWS), "no workflow could be started")
            return
        self._check_refused_push()
        try:
            state = self._run_to_end("dispatch-refused")
            if state is None:
                self._results.skip("expression-length", NOT_ENDED)
                return
            self._results.compare("dispatch-refused", f"a run: {state.conclusion}")
        except GitHubApiError as error:
            if error.status != 422:
                self._skip_measurements(REFUSED_ROWS, _describe_refusal(error))
                return
            self._results.compare("dispatch-refused", "HTTP 422")
        shorter = self._accepts_expression(LONGEST_EXPRESSION - MARGIN)
        longer = None if shorter is None else self._accepts_expression(LONGEST_EXPRESSION + MARGIN)
        if shorter is not None and longer is not None:
            words = {True: "accepted", False: "refused"}
            self._results.compare("expression-length", f"{words[shorter]}, then {words[longer]}")

    def _check_refused_push(self) -> None:
        """Push the files that GitHub refuses, unless that would start workflows of the team."""
        if self._runs.has_other_workflows():
            self._runs.commit(render_refused_workflow(self._resources.name))
            self._skip_measurements(PUSH_ROWS, "a push would start other workflows: measure a repository without any")
            return
        self._runs.commit(render_refused_workflow(self._resources.name), starts_runs=True)
        run = self._runs.find_run("push")
        if run is None:
            self._skip_measurements(PUSH_ROWS, NOT_STARTED)
            return
        state = self._await_end(run, PUSH_ROWS, LONGEST_START)
        if state is not None:
            jobs = self._runs.list_jobs(run)
            self._results.compare("refused-run", f"{state.conclusion}, {len(jobs)} jobs")
            is_that = state.title == PUSHED_TITLE
            self._results.compare("refused-run-title", "that of the file" if is_that else "another one")

    def _accepts_expression(self, length: int) -> bool | None:
        """Return whether GitHub accepts a text of this length with an expression; None if it did not answer."""
        self._runs.commit(render_expression_workflow(self._resources.name, length))
        try:
            state = self._run_to_end("expression-length")
        except GitHubApiError as error:
            if error.status != 422:
                raise
            return False
        return None if state is None else state.conclusion in {"skipped", "success"}

    def _run_to_end(self, *rows: str) -> WorkflowRunState | None:
        run = self._runs.dispatch()
        if run is None:
            self._skip_measurements(rows, NOT_STARTED)
            return None
        return self._await_end(run, rows, LONGEST_START)

    def _start_measured_workflow(self, part: str, rows: Sequence[str]) -> int | None:
        """Start a part of the measured workflow. Without a run, its rows are not provable."""
        inputs = {"part": part, "issue": str(self._resources.issue), "login": self._repository.login}
        try:
            run = self._runs.dispatch(inputs)
        except GitHubApiError as error:
            self._skip_measurements(rows, _describe_refusal(error))
            return None
        if run is None:
            self._skip_measurements(rows, NOT_STARTED)
        return run

    def _await_end(self, run: int, rows: Sequence[str], longest: float = 0.0) -> WorkflowRunState | None:
        state = self._runs.await_end(run, longest or self._longest)
        if state is None:
            self._skip_measurements(rows, NOT_ENDED)
        return state

    def _skip_measurements(self, rows: Sequence[str], reason: str) -> None:
        for name in rows:
            self._results.skip(name, reason)

    def _compare_job_answer(
        self, row: str, jobs: Mapping[str, MeasuredJobState], name: str, answers: Mapping[str, str], otherwise: str
    ) -> None:
        """Record the answer of the first step that ran. `answers`: step → answer."""
        job = jobs.get(name, NO_JOB)
        if job.conclusion == "success" and job.steps:
            passed = (answer for step, answer in answers.items() if job.has_passed(step))
            self._results.compare(row, next(passed, otherwise))
        else:
            self._results.skip(row, f"the job {name} did not succeed ({job.conclusion or 'missing'})")


def _describe_refusal(error: GitHubApiError) -> str:
    return f"GitHub refused to start the workflow ({describe_measuring_error(error)})"

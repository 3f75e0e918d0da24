"""Actions API: workflows, runs and their control by a person, jobs, and deployments."""

from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from typing import Any

from sandbox.github.actions import changes, serializers
from sandbox.github.actions.state import (
    MAX_INPUTS,
    FakeArtifact,
    FakeGitHubDeployment,
    FakeJob,
    FakeRun,
    InputError,
    PendingDeployment,
    RunChange,
    Workflow,
    dispatch_inputs,
)
from sandbox.github.call import (
    NO_CONTENT,
    REPO,
    GitHubAnswer,
    GitHubCall,
    GitHubRefusal,
    Routes,
    fields,
    not_found,
    validation_failed,
)
from sandbox.github.payloads import deliver

ROUTES = Routes()
_WORKFLOWS = REPO + "/actions/workflows"
_LONGEST_PAYLOAD = 65_535
_LONGEST_EVENT_TYPE = 100
_MOST_KEYS = 10


@ROUTES.add("GET", _WORKFLOWS)
def list_workflows(call: GitHubCall) -> GitHubAnswer:
    found = changes.workflows(call.repository)
    return call.page(found, lambda one: serializers.workflow(call.repository, one, call.urls), under="workflows")


@ROUTES.add("GET", _WORKFLOWS + "/{workflow_id}")
def get_workflow(call: GitHubCall) -> GitHubAnswer:
    return GitHubAnswer(body=serializers.workflow(call.repository, find_workflow(call), call.urls))


def find_workflow(call: GitHubCall) -> Workflow:
    """Return the workflow by its ID or file name. Raises GitHubRefusal if there is none."""
    workflow = changes.find_workflow(call.repository, call.parameters["workflow_id"])
    if workflow is None:
        raise not_found()
    return workflow


_DISPATCHES = _WORKFLOWS + "/{workflow_id}/dispatches"


@ROUTES.add("POST", _DISPATCHES)
def dispatch(call: GitHubCall) -> GitHubAnswer:
    """Dispatch a workflow: 204, or 200 with the run if the body has `return_run_details`."""
    workflow, switches = find_workflow(call), call.repository.switches
    if not call.repository.actions_policy.enabled:  # no page names the answer [unsure: actions-off]
        raise GitHubRefusal(422, "Actions has been disabled for this repository.")
    known: dict[str, Any] = {"return_run_details": bool} if switches.dispatch_answers_run_details else {}
    body = fields(call, required={"ref": str}, optional={"inputs": dict, **known})
    branch = body["ref"].removeprefix("refs/heads/")
    head = call.repository.git.head(branch)
    if head is None:
        raise GitHubRefusal(422, f"No ref found for: {body['ref']}")
    if switches.dispatch_checks_files and (mistake := call.repository.find_mistake(workflow.path, head.files)):
        raise GitHubRefusal(422, f"failed to parse workflow: {mistake}")
    inputs = _inputs(head.files.get(workflow.path, b""), body.get("inputs", {}))
    run = changes.dispatch(call.repository, call.by, workflow, branch=branch, head=head, inputs=inputs)
    if not body.get("return_run_details"):
        return NO_CONTENT
    shown = serializers.run(call.repository, run, call.urls)
    return GitHubAnswer(body={"workflow_run_id": run.id, "run_url": shown["url"], "html_url": shown["html_url"]})


def _inputs(text: bytes, given: dict[str, Any]) -> dict[str, str]:
    if len(given) > MAX_INPUTS:
        raise GitHubRefusal(422, f"Invalid request.\n\nNo more than {MAX_INPUTS} properties are allowed.")
    if any(isinstance(value, (dict, list)) for value in given.values()):
        raise GitHubRefusal(422, "Invalid value for input: it is not a string, number or boolean")
    if sum(len(str(value)) for value in given.values()) > _LONGEST_PAYLOAD:
        raise GitHubRefusal(422, "inputs are too large.")
    try:
        return dispatch_inputs(text, given)
    except InputError as error:
        raise GitHubRefusal(422, str(error)) from error


@ROUTES.add("POST", REPO + "/dispatches")
def dispatch_to_repository(call: GitHubCall) -> GitHubAnswer:
    body = fields(call, required={"event_type": str}, optional={"client_payload": dict})
    payload = body.get("client_payload", {})
    if not 1 <= len(body["event_type"]) <= _LONGEST_EVENT_TYPE:
        raise GitHubRefusal(422, f"event_type must have 1 to {_LONGEST_EVENT_TYPE} characters")
    if len(payload) > _MOST_KEYS:
        raise GitHubRefusal(422, f"No more than {_MOST_KEYS} properties are allowed; {len(payload)} were supplied.")
    branch = call.repository.git.default_branch
    fields_ = {
        "action": body["event_type"],
        "branch": branch,
        "client_payload": payload,
        "installation": {"id": 1, "node_id": "MDIz"},
    }
    deliver(call.repository, call.by, "repository_dispatch", fields_)
    return NO_CONTENT


_RUNS = REPO + "/actions/runs"
_RUN = _RUNS + "/{run_id}"


@ROUTES.add("GET", _RUNS)
def list_runs(call: GitHubCall) -> GitHubAnswer:
    """Return all runs, newest first."""
    return _listed(call, list(call.repository.runs.values()))


@ROUTES.add("GET", REPO + "/actions/workflows/{workflow_id}/runs")
def list_runs_of_workflow(call: GitHubCall) -> GitHubAnswer:
    workflow = find_workflow(call)
    return _listed(call, [run for run in call.repository.runs.values() if run.workflow is workflow])


def _listed(call: GitHubCall, runs: list[FakeRun]) -> GitHubAnswer:
    asked = {name: call.query.get(name) for name in ("status", "event", "branch", "actor", "head_sha")}
    found = [
        run
        for run in reversed(runs)
        if _is_kept(call, run)
        and asked["status"] in {None, run.status, run.conclusion}
        and asked["event"] in {None, run.event}
        and asked["branch"] in {None, run.head_branch}
        and asked["actor"] in {None, run.actor.login}
        and asked["head_sha"] in {None, run.head.sha}
        and _was_created(run, call.query.get("created"))
    ]
    return call.page(found, lambda run: serializers.run(call.repository, run, call.urls), under="workflow_runs")


def _was_created(run: FakeRun, asked: str | None) -> bool:
    """Return whether the run is of these days or times: `FIRST..LAST`, the only form of `created` known here.

    docs.github.com/search-github/getting-started-with-searching-on-github/understanding-the-search-syntax
    """
    if asked is None:
        return True
    first, _, last = asked.partition("..")
    form = "%Y-%m-%dT%H:%M:%SZ" if "T" in asked else "%Y-%m-%d"
    return first <= run.created_at.strftime(form) <= last


def _is_kept(call: GitHubCall, run: FakeRun) -> bool:
    """Return whether the run is younger than the retention of the repository."""
    return call.repository.now() - run.created_at < timedelta(days=call.repository.switches.runs_kept_days)


def _find_run(call: GitHubCall) -> FakeRun:
    run = call.repository.runs.get(call.number("run_id"))
    if run is None or not _is_kept(call, run):
        raise not_found()
    return run


@ROUTES.add("GET", _RUN)
def get_run(call: GitHubCall) -> GitHubAnswer:
    return GitHubAnswer(body=serializers.run(call.repository, _find_run(call), call.urls))


@ROUTES.add("GET", _RUN + "/jobs")
def list_jobs(call: GitHubCall) -> GitHubAnswer:
    """Return the jobs of the latest attempt, or of all attempts."""
    run = _find_run(call)
    latest = call.choice("filter", "latest", "all") == "latest"
    return _jobs(call, run, run.run_attempt if latest else None)


@ROUTES.add("GET", _RUN + "/attempts/{attempt_number}/jobs")
def list_jobs_of_attempt(call: GitHubCall) -> GitHubAnswer:
    run, attempt = _find_run(call), call.number("attempt_number")
    if not 1 <= attempt <= run.run_attempt:
        raise not_found()
    return _jobs(call, run, attempt)


def _jobs(call: GitHubCall, run: FakeRun, attempt: int | None) -> GitHubAnswer:
    found = [job for job in run.jobs if attempt in {None, job.run_attempt}]
    return call.page(found, lambda job: serializers.job(run, job, call.urls), under="jobs")


@ROUTES.add("GET", _RUN + "/artifacts")
def list_artifacts(call: GitHubCall) -> GitHubAnswer:
    """Return the artifacts of a run, which appear after `artifacts_lag_reads` reads."""
    run, repository = _find_run(call), call.repository
    uploaded = repository.find_artifacts(run.id)
    run.artifact_reads += bool(uploaded)
    if run.artifact_reads > repository.switches.artifacts_lag_reads:
        for name, size in uploaded.items():
            made = FakeArtifact(id=repository.new_id(), name=name, size=size, created_at=repository.now())
            run.artifacts.setdefault(name, made)
    shown = list(run.artifacts.values())
    return call.page(shown, lambda one: serializers.artifact(run, one, call.urls), under="artifacts")


_DEPLOYMENTS = REPO + "/deployments"


@ROUTES.add("GET", _DEPLOYMENTS)
def list_deployments(call: GitHubCall) -> GitHubAnswer:
    """Return the deployments, newest first."""
    asked = {name: call.query.get(name) for name in ("sha", "ref", "environment")}
    found = [
        one
        for one in sorted(call.repository.deployments.values(), key=lambda one: one.created_at, reverse=True)
        if all(wanted in {None, getattr(one, name)} for name, wanted in asked.items())
    ]
    return call.page(found, lambda one: serializers.deployment(one, call.urls))


@ROUTES.add("GET", _DEPLOYMENTS + "/{deployment_id}/statuses")
def list_statuses(call: GitHubCall) -> GitHubAnswer:
    """Return the latest status only, because the sandbox does not keep earlier ones."""
    found: FakeGitHubDeployment | None = call.repository.deployments.get(call.number("deployment_id"))
    if found is None:
        raise not_found()
    return call.page([found], lambda one: serializers.deployment_status(one, call.urls))


@ROUTES.add("POST", _RUN + "/cancel")
def cancel(call: GitHubCall) -> GitHubAnswer:
    run = _find_run(call)
    if run.status == "completed":
        raise GitHubRefusal(409, "Cannot cancel a workflow run that is completed.")
    call.repository.change_run(RunChange("cancelled", run))
    return GitHubAnswer(status=202, body={})


@ROUTES.add("POST", _RUN + "/rerun")
def rerun(call: GitHubCall) -> GitHubAnswer:
    return _rerun(call, _find_run(call), lambda _: ())


@ROUTES.add("POST", _RUN + "/rerun-failed-jobs")
def rerun_failed_jobs(call: GitHubCall) -> GitHubAnswer:
    return _rerun(call, _find_run(call), changes.failed_jobs)


_JOB = REPO + "/actions/jobs/{job_id}"


@ROUTES.add("POST", _JOB + "/rerun")
def rerun_job(call: GitHubCall) -> GitHubAnswer:
    run, job = _find_job(call)
    return _rerun(call, run, lambda _: [job])


@ROUTES.add("GET", _JOB)
def get_job(call: GitHubCall) -> GitHubAnswer:
    run, job = _find_job(call)
    return GitHubAnswer(body=serializers.job(run, job, call.urls))


def _find_job(call: GitHubCall) -> tuple[FakeRun, FakeJob]:
    number = call.number("job_id")
    for run in call.repository.runs.values():
        for job in run.jobs:
            if job.id == number:
                return run, job
    raise not_found()


def _rerun(call: GitHubCall, run: FakeRun, choose: Callable[[FakeRun], Collection[FakeJob]]) -> GitHubAnswer:
    """Rerun jobs; a refusal is a 403 with GitHub's text: github.com/metabase/metabase/pull/70916."""
    fields(call, optional={"enable_debug_logging": bool})
    try:
        changes.rerun(call.repository, call.user, run, choose(run))
    except changes.RerunError as error:
        raise GitHubRefusal(403, str(error)) from error
    return GitHubAnswer(status=201, body={})


_PENDING = _RUN + "/pending_deployments"


@ROUTES.add("GET", _PENDING)
def list_pending_deployments(call: GitHubCall) -> GitHubAnswer:
    run = _find_run(call)
    return GitHubAnswer(
        body=[
            serializers.pending_deployment(
                gate.environment, call.urls, may_approve=changes.may_review(call.user, run, gate.environment)
            )
            for gate in _one_of_each(gate for gate in run.pending_deployments if gate.state == "waiting")
        ]
    )


def _one_of_each(gates: Iterable[PendingDeployment]) -> Iterable[PendingDeployment]:
    """Return one pending deployment per environment."""
    return {gate.environment.id: gate for gate in gates}.values()


@ROUTES.add("POST", _PENDING)
def review_pending_deployments(call: GitHubCall) -> GitHubAnswer:
    """Review environments and return their deployments. Only a required reviewer may, so GITHUB_TOKEN may not."""
    run = _find_run(call)
    body = fields(call, required={"environment_ids": list, "state": str, "comment": str})
    if body["state"] not in {"approved", "rejected"}:
        raise validation_failed(f"For 'properties/state', \"{body['state']}\" is not a possible value.")
    try:
        answer = {"state": body["state"], "comment": body["comment"]}
        changes.review(call.repository, call.user, run, body["environment_ids"], **answer)
    except changes.ReviewError as error:
        raise GitHubRefusal(422, str(error)) from error
    names = {one.name for one in run.reviews[-1].environments}
    deployments = call.repository.deployments.values()
    found = [one for one in deployments if one.run_id == run.id and one.environment in names]
    return GitHubAnswer(body=[serializers.deployment(one, call.urls) for one in found])


@ROUTES.add("GET", _RUN + "/approvals")
def list_approvals(call: GitHubCall) -> GitHubAnswer:
    """Return the reviews of all attempts, oldest first, without times."""
    return GitHubAnswer(body=[serializers.review(one, call.urls) for one in _find_run(call).reviews])

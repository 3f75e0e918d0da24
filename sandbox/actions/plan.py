"""Plan the jobs of a run from its workflow file and event, without starting them."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sandbox.actions.expressions import (
    EXPRESSION,
    HIDDEN,
    STATUS_FUNCTION,
    UNKNOWN,
    InvalidWorkflow,
    JobStatus,
    UnsupportedExpression,
    evaluate,
    is_truthy,
    render_text,
)

_UNSUPPORTED_KEYS = ("strategy", "container", "services", "defaults", "snapshot")
_CHECKOUT_OPTIONS = {"ref", "path", "fetch-depth", "persist-credentials"}
"""Supported options of actions/checkout. The last two have no effect: a checkout has one commit and no credential."""
_RUNTIME_CONTEXTS = ("needs", "steps", "job", "runner", "env", "matrix", "strategy")
_SKIPPED_NEED = {"result": "skipped", "outputs": {}}
_DEFAULT_PERMISSIONS = {"contents": "read"}
"""Permissions of a workflow that declares none, in a repository with the restricted setting."""
MAX_MINUTES = 360.0
"""docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#jobsjob_idtimeout-minutes"""
TOKEN = "GITHUB_TOKEN"  # noqa: S105


@dataclass(frozen=True)
class GroupClaim:
    """A concurrency group. Its name holds HIDDEN for each part that depends on the output of another job."""

    group: str
    cancels_running: bool
    queues_all: bool


@dataclass(frozen=True, kw_only=True)
class PlannedJob:
    """One job. Until its needs have ended, its texts may hold HIDDEN and `may_run` means "perhaps"."""

    id: str
    name: str
    needs: tuple[str, ...]
    may_run: bool
    labels: tuple[str, ...]
    """Labels that its runner needs."""
    runner_group: str | None
    environment: str | None
    deploys: bool
    """Whether the job creates a deployment in its environment."""
    permissions: Mapping[str, str]
    claim: GroupClaim | None
    timeout_minutes: float
    """Time limit in minutes."""
    may_fail: bool
    """`continue-on-error`: a failure counts as success for the jobs after it and for the run."""
    checkouts: tuple[str, ...]
    """The `ref` of each actions/checkout, empty if the step has none."""
    definition: Mapping[str, Any]
    """The job as written in the workflow file."""

    @property
    def is_call(self) -> bool:
        """Whether the job calls another workflow file, and so has no runner."""
        return "uses" in self.definition


@dataclass(frozen=True)
class RunPlan:
    """All jobs of one run in the order of the file, also those that cannot run."""

    jobs: tuple[PlannedJob, ...]
    claim: GroupClaim | None
    """Concurrency group of the run itself."""

    @property
    def possible_jobs(self) -> tuple[PlannedJob, ...]:
        return tuple(job for job in self.jobs if job.may_run)

    @property
    def claims(self) -> tuple[GroupClaim, ...]:
        """Groups that the run or one of its jobs may join."""
        return tuple(claim for claim in (self.claim, *(job.claim for job in self.possible_jobs)) if claim)


@lru_cache(maxsize=256)
def parse_workflow(file: str) -> dict[str, Any]:
    """Return the workflow, cached and shared between callers. YAML 1.1 reads the key `on` as true.

    Raises:
        InvalidWorkflow: the file is not YAML, has a key twice, or has no jobs or no `on`.
    """
    import yaml

    try:
        data = yaml.load(file, Loader=_yaml_loader())  # noqa: S506  a safe loader, in C where there is one
    except yaml.YAMLError as error:
        raise InvalidWorkflow(f"the workflow is not valid YAML: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("jobs"), dict) or not data.keys() & {True, "on"}:
        raise InvalidWorkflow("the workflow has no jobs, or no `on`")
    return {"on" if key is True else key: value for key, value in data.items()}


@lru_cache(maxsize=1)
def _yaml_loader() -> Any:
    """Return a loader that refuses a key which a mapping has twice, as GitHub does and PyYAML does not."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        def construct_mapping(self, node: Any, *, deep: bool = False) -> Any:
            keys = [key.value for key, _ in node.value]
            if twice := {str(key) for key in keys if keys.count(key) > 1}:
                raise InvalidWorkflow(f"'{min(twice)}' is already defined")
            return super().construct_mapping(node, deep)

    return Loader


def plan_run(workflow: Mapping[str, Any], contexts: Mapping[str, Any]) -> RunPlan:
    """Plan a run before its first job. `contexts` are github, inputs and vars.

    Raises:
        InvalidWorkflow: GitHub refuses the order of its jobs.
        UnsupportedExpression: the workflow uses a feature that this runner does not support.
    """
    jobs: dict[str, PlannedJob] = {}
    for name in order_jobs(workflow["jobs"]):
        needs = {each: UNKNOWN if jobs[each].may_run else _SKIPPED_NEED for each in job_needs(workflow["jobs"][name])}
        job = _plan_job(name, workflow, {**dict.fromkeys(_RUNTIME_CONTEXTS, UNKNOWN), **contexts, "needs": needs}, None)
        if not STATUS_FUNCTION.search(str(job.definition.get("if", ""))) and not all(
            jobs[each].may_run for each in job.needs
        ):
            job = _plan_job(
                name, workflow, {**dict.fromkeys(_RUNTIME_CONTEXTS, UNKNOWN), **contexts, "needs": needs}, _NO_STATUS
            )
        jobs[name] = job
    return RunPlan(tuple(jobs[name] for name in workflow["jobs"]), _claim(workflow.get("concurrency"), contexts))


_NO_STATUS = JobStatus(success=False, failure=False, cancelled=False)


def plan_job(
    name: str, workflow: Mapping[str, Any], contexts: Mapping[str, Any], needs: Mapping[str, Any], status: JobStatus
) -> PlannedJob:
    """Decide about a job whose needs have ended.

    Raises:
        UnsupportedExpression: the job uses a feature that this runner does not support.
    """
    return _plan_job(name, workflow, {**dict.fromkeys(_RUNTIME_CONTEXTS, UNKNOWN), **contexts, "needs": needs}, status)


def order_jobs(jobs: Mapping[str, Any]) -> list[str]:
    """Return the names of the jobs, each after its needs.

    Raises:
        InvalidWorkflow: jobs need each other in a circle, or need a missing job.
    """
    done: list[str] = []
    while len(done) < len(jobs):
        ready = [name for name in jobs if name not in done and set(job_needs(jobs[name])) <= set(done)]
        if not ready:
            raise InvalidWorkflow("jobs need each other in a circle, or need a missing job")
        done += ready
    return done


def job_needs(job: Mapping[str, Any]) -> tuple[str, ...]:
    needs = job.get("needs", ())
    return (needs,) if isinstance(needs, str) else tuple(needs)


def is_condition_met(condition: str, contexts: Mapping[str, Any], status: JobStatus | None) -> bool:
    """Return whether a job's `if` is true or not known yet; without a status function it also requires success().

    docs.github.com/actions/reference/workflows-and-actions/expressions#status-check-functions
    """
    if status and not status.success and not STATUS_FUNCTION.search(condition):
        return False
    verdict = evaluate(condition, contexts, status) if condition else True
    return verdict is UNKNOWN or is_truthy(verdict)


def _plan_job(name: str, workflow: Mapping[str, Any], known: Mapping[str, Any], status: JobStatus | None) -> PlannedJob:
    rules = workflow["jobs"][name]
    refuse_unsupported(name, rules)
    given = rules.get("environment")
    environment = given if isinstance(given, Mapping) else {"name": given}
    named, runner = environment.get("name"), rules.get("runs-on", ())
    chosen = runner if isinstance(runner, Mapping) else {"labels": runner}
    return PlannedJob(
        id=name,
        name=render_text(str(rules.get("name", name)), known),
        needs=job_needs(rules),
        may_run=is_condition_met(str(rules.get("if", "")), known, status),
        labels=tuple(render_text(str(label), known) for label in _listed(chosen.get("labels", ()))),
        runner_group=chosen.get("group"),
        environment=None if named is None else render_text(str(named), known) or None,
        deploys=environment.get("deployment", True) is not False,
        permissions=_permissions(rules.get("permissions", workflow.get("permissions"))),
        claim=_claim(rules.get("concurrency"), known),
        timeout_minutes=_minutes(rules.get("timeout-minutes", MAX_MINUTES), known),
        may_fail=rules.get("continue-on-error", False) is True,
        checkouts=tuple(render_text(str(given.get("ref", "")), known) for given in checkout_options(rules)),
        definition=rules,
    )


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else list(value)


def refuse_unsupported(name: str, rules: Mapping[str, Any]) -> None:
    """Raises UnsupportedExpression for a key of the job that this runner does not support."""
    if strange := [key for key in _UNSUPPORTED_KEYS if key in rules]:
        raise UnsupportedExpression(f"this runner does not support `{strange[0]}` of the job {name}")


def _minutes(value: Any, known: Mapping[str, Any]) -> float:
    found = evaluate(value, known) if isinstance(value, str) else value
    return MAX_MINUTES if found is UNKNOWN else float(found)


def checkout_options(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the `with` options of each actions/checkout step, without those of other repositories."""
    steps = [step for step in job.get("steps") or () if str(step.get("uses", "")).startswith("actions/checkout@")]
    return [given for step in steps if "repository" not in (given := step.get("with") or {})]


def checkout_commit(job: PlannedJob, resolve: Callable[[str], str | None], run_sha: str) -> str:
    """Return the sha of the single commit that the job checks out; `own` is the run's.

    Raises:
        UnsupportedExpression: an option is not supported, a ref is unknown, or the job checks out several commits.
    """
    given = {name for one in checkout_options(job.definition) for name in one}
    if strange := given - _CHECKOUT_OPTIONS:
        raise UnsupportedExpression(f"this runner does not support, in actions/checkout: {', '.join(sorted(strange))}")
    found = {}
    for ref in sorted(set(job.checkouts)):
        if HIDDEN in ref:
            raise UnsupportedExpression(
                "the ref of a checkout depends on a step, so its files cannot be written before the job"
            )
        sha = resolve(ref) if ref else run_sha
        if sha is None:
            raise UnsupportedExpression(f"the ref {ref} of a checkout does not exist")
        found[sha] = ref or "its own commit"
    if len(found) > 1:
        raise UnsupportedExpression(f"this runner checks out one commit per job, not {' and '.join(found.values())}")
    return next(iter(found), run_sha)


def _permissions(given: Any) -> Mapping[str, str]:
    if isinstance(given, Mapping):
        return {str(name): str(level) for name, level in given.items()}
    if given is None:
        return _DEFAULT_PERMISSIONS
    raise UnsupportedExpression(f"this runner does not support the permissions `{given}`")


def _claim(rules: Any, contexts: Mapping[str, Any]) -> GroupClaim | None:
    # docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#concurrency
    if rules is None:
        return None
    rules = {"group": rules} if isinstance(rules, str) else rules
    cancels, queue = rules.get("cancel-in-progress", False), rules.get("queue", "single")
    if isinstance(cancels, str):
        cancels = is_truthy(evaluate(cancels, contexts))
    if cancels and queue == "max":
        raise UnsupportedExpression(f"this runner does not support the concurrency `{rules}`")
    return GroupClaim(render_text(str(rules["group"]), contexts), cancels, queue == "max")


def values_used(
    workflow: Mapping[str, Any], job: PlannedJob, context: str, values: Mapping[str, str]
) -> dict[str, str]:
    """Return the secrets or variables that the job names.

    Raises:
        UnsupportedExpression: the job uses the context other than by a name.
    """
    whole = json.dumps([workflow.get("env"), job.definition], default=str)
    inside = " ".join(found[1] for found in EXPRESSION.finditer(whole))
    inside += " " + str(job.definition.get("if", ""))
    if re.search(rf"\b{context}\b(?!\.[A-Za-z_])", re.sub(r"'[^']*'", "''", inside)):
        raise UnsupportedExpression(f"{job.name} uses `{context}` other than by a name")
    names = {name.upper() for name in re.findall(rf"\b{context}\.([A-Za-z_][\w-]*)", inside)}
    return {name: values[name] for name in sorted(names - {TOKEN}) if name in values}

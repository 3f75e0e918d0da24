"""A workflow file and an event → what a run of it may do: its jobs, groups and secrets. It starts nothing."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.actions.expressions import HIDDEN, STATUS, UNKNOWN, Unsupported, evaluate, text, truth

_NOT_HERE = ("strategy", "uses", "container", "services", "defaults", "snapshot")
_CHECKOUT = {"ref", "fetch-depth", "persist-credentials"}
"""Of a checkout. There is one commit to fetch and no credential to keep, whatever the last two say."""
_LATER = ("needs", "steps", "job", "runner", "env", "matrix", "strategy")
_SKIPPED = {"result": "skipped", "outputs": {}}
_USUAL_PERMISSIONS = {"contents": "read"}
"""Of a repository whose setting is the restricted one, where a workflow asks for nothing."""
TOKEN = "GITHUB_TOKEN"  # noqa: S105


@dataclass(frozen=True)
class Claim:
    """A concurrency group, with HIDDEN where that hangs on what a job will say."""

    group: str
    cancels: bool
    queues_all: bool


@dataclass(frozen=True)
class Job:
    id: str
    name: str
    needs: tuple[str, ...]
    may_run: bool
    runs_on: str
    environment: str | None
    permissions: Mapping[str, str]
    claim: Claim | None
    checkouts: tuple[str, ...]
    """What each actions/checkout names as its `ref`, empty where it names none."""
    rules: Mapping[str, Any]
    """The job as the file has it."""


@dataclass(frozen=True)
class Plan:
    """Of one run. `jobs` in the order of the file, those that may not run among them."""

    jobs: tuple[Job, ...]
    claims: tuple[Claim, ...]

    @property
    def running(self) -> tuple[Job, ...]:
        return tuple(job for job in self.jobs if job.may_run)


def read(file: str) -> dict[str, Any]:
    """The workflow, with `on` under its own name: YAML 1.1 takes it for true. Raises Unsupported."""
    import yaml

    try:
        data = yaml.safe_load(file)
    except yaml.YAMLError as error:
        raise Unsupported(f"the workflow is no YAML: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("jobs"), dict) or not data.keys() & {True, "on"}:
        raise Unsupported("the workflow has no jobs, or no `on`")
    return {"on" if key is True else key: value for key, value in data.items()}


def make(workflow: Mapping[str, Any], contexts: Mapping[str, Any]) -> Plan:
    """`contexts`: github, inputs and vars as the run will have them. Raises Unsupported."""
    jobs: dict[str, Job] = {}
    for name in _in_order(workflow["jobs"]):
        jobs[name] = _job(name, workflow, contexts, jobs)
    own = _claim(workflow.get("concurrency"), contexts)
    found = [own, *(job.claim for job in jobs.values() if job.may_run)]
    return Plan(tuple(jobs[name] for name in workflow["jobs"]), tuple(claim for claim in found if claim))


def _in_order(jobs: Mapping[str, Any]) -> list[str]:
    """Each after what it needs."""
    done: list[str] = []
    while len(done) < len(jobs):
        ready = [name for name in jobs if name not in done and set(_needs(jobs[name])) <= set(done)]
        if not ready:
            raise Unsupported("jobs need each other in a circle, or one that is not there")
        done += ready
    return done


def _needs(job: Mapping[str, Any]) -> tuple[str, ...]:
    needs = job.get("needs", ())
    return (needs,) if isinstance(needs, str) else tuple(needs)


def _job(name: str, workflow: Mapping[str, Any], contexts: Mapping[str, Any], before: Mapping[str, Job]) -> Job:
    rules = workflow["jobs"][name]
    if strange := [key for key in _NOT_HERE if key in rules]:
        raise Unsupported(f"this runner does not know `{strange[0]}` of the job {name}")
    needs = _needs(rules)
    waits: dict[str, Any] = {each: UNKNOWN if before[each].may_run else _SKIPPED for each in needs}
    known = {**dict.fromkeys(_LATER, UNKNOWN), **contexts, "needs": waits}
    condition = str(rules.get("if", ""))
    verdict = evaluate(condition, known) if condition else True
    may_run = verdict is UNKNOWN or truth(verdict)
    if not STATUS.search(condition):
        may_run = may_run and all(before[each].may_run for each in needs)
    environment = rules.get("environment")
    if isinstance(environment, Mapping):
        environment = environment.get("name")
    return Job(
        id=name,
        name=text(str(rules.get("name", name)), known),
        needs=needs,
        may_run=may_run,
        runs_on=str(rules.get("runs-on")),
        environment=None if environment is None else _known(str(environment), known, f"environment of {name}"),
        permissions=_permissions(rules.get("permissions", workflow.get("permissions"))),
        claim=_claim(rules.get("concurrency"), known),
        checkouts=tuple(text(str(given.get("ref", "")), known) for given in checkouts(rules)),
        rules=rules,
    )


def checkouts(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each actions/checkout is given."""
    steps = [step for step in job.get("steps") or () if str(step.get("uses", "")).startswith("actions/checkout@")]
    return [step.get("with") or {} for step in steps]


def checked_out(plan: Plan, resolve: Callable[[str], str | None], own: str) -> str:
    """The sha of the one commit that the jobs check out; `own` is that of the run. Raises Unsupported."""
    given = {name for job in plan.running for one in checkouts(job.rules) for name in one}
    if strange := given - _CHECKOUT:
        raise Unsupported(f"this runner does not know, of actions/checkout, {', '.join(sorted(strange))}")
    found = {}
    for ref in sorted({ref for job in plan.running for ref in job.checkouts}):
        sha = resolve(ref) if ref else own
        if HIDDEN in ref:
            raise Unsupported("the ref of a checkout hangs on what a job says, and its files cannot be laid out before")
        if sha is None:
            raise Unsupported(f"there is no {ref} that could be checked out")
        found[sha] = ref or "its own commit"
    if len(found) > 1:
        raise Unsupported(f"the jobs of a run check out one commit here, and not {' and '.join(found.values())}")
    return next(iter(found), own)


def _known(template: str, contexts: Mapping[str, Any], what: str) -> str:
    value = text(template, contexts)
    if HIDDEN in value:
        raise Unsupported(f"the {what} hangs on what another job says, and its secrets cannot be chosen before")
    return value


def _permissions(given: Any) -> Mapping[str, str]:
    if isinstance(given, Mapping):
        return {str(name): str(level) for name, level in given.items()}
    if given is None:
        return _USUAL_PERMISSIONS
    raise Unsupported(f"this runner does not know the permissions `{given}`")


def _claim(rules: Any, contexts: Mapping[str, Any]) -> Claim | None:
    # docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#concurrency
    if rules is None:
        return None
    rules = {"group": rules} if isinstance(rules, str) else rules
    cancels, queue = rules.get("cancel-in-progress", False), rules.get("queue", "single")
    if not isinstance(cancels, bool) or queue not in {"single", "max"} or (cancels and queue == "max"):
        raise Unsupported(f"this runner does not know the concurrency `{rules}`")
    return Claim(text(str(rules["group"]), contexts), cancels, queue == "max")


def own(index: int, name: str) -> str:
    """What act calls a secret of the job of that index: act gives all to every job, and GitHub to each its own."""
    return f"J{index}_{name.upper()}"


def secrets(plan: Plan, visible: Callable[[str | None], Mapping[str, str]]) -> dict[str, str]:
    """Under the names of `own`: of each job what it names, from its own environment. GITHUB_TOKEN is not among it."""
    return {
        own(index, name): value
        for index, job in enumerate(plan.jobs)
        if job.may_run
        for name in sorted(_named(job, "secrets") - {TOKEN})
        if (value := visible(job.environment).get(name)) is not None
    }


def variables(plan: Plan, visible: Callable[[str | None], Mapping[str, str]]) -> dict[str, str]:
    """What the jobs name. One that is another thing in another job's environment is Unsupported: act knows one."""
    given: dict[str, str | None] = {}
    for job in plan.running:
        values = visible(job.environment)
        for name in sorted(_named(job, "vars")):
            if given.setdefault(name, values.get(name)) != values.get(name):
                raise Unsupported(f"vars.{name} is one thing in {job.name} and another in a job before it")
    return {name: value for name, value in given.items() if value is not None}


def _named(job: Job, context: str) -> set[str]:
    inside = " ".join(re.findall(r"\$\{\{(.*?)\}\}", json.dumps(job.rules), re.DOTALL))
    inside += " " + str(job.rules.get("if", ""))
    if re.search(rf"\b{context}\b(?!\.[A-Za-z_])", re.sub(r"'[^']*'", "''", inside)):
        raise Unsupported(f"{job.name} uses `{context}` other than by a name")
    return {name.upper() for name in re.findall(rf"\b{context}\.([A-Za-z_]\w*)", inside)}

"""Check keys, values and expressions of a workflow file.

GitHub checks all jobs, whether they will run or not:

github.com/actions/runner/blob/main/src/Sdk/WorkflowParser/workflow-v1.0.json
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sandbox.actions.expressions import InvalidWorkflow, UnsupportedExpression, check_syntax

_FILE_KEYS = {
    *("name", "description", "run-name", "on", "permissions", "env", "defaults", "concurrency", "jobs"),
    "cache-mode",  # github.blog/changelog/2026-09-10-control-github-actions-cache-access-with-cache-mode
}
_CALL_KEYS = {"name", "uses", "with", "secrets", "needs", "if", "permissions", "concurrency", "strategy"}
"""*Supported keywords for jobs that call a reusable workflow*"""
_JOB_KEYS = _CALL_KEYS - {"uses", "with", "secrets"} | {
    *("runs-on", "snapshot", "environment", "outputs", "env", "defaults", "steps", "timeout-minutes"),
    *("cancel-timeout-minutes", "continue-on-error", "container", "services"),
}
_PERMISSIONS = {
    *("actions", "artifact-metadata", "attestations", "checks", "contents", "deployments", "discussions", "id-token"),
    *("issues", "models", "packages", "pages", "pull-requests", "repository-projects", "security-events", "statuses"),
    "vulnerability-alerts",
}
_STEP_KEYS = {
    *("id", "if", "name", "uses", "run", "with", "env", "shell", "working-directory", "continue-on-error"),
    "timeout-minutes",
}
_ENVIRONMENT_KEYS = {"name", "url", "deployment"}
_CONCURRENCY_KEYS = {"group", "cancel-in-progress", "queue"}
_TRIGGER_KEYS = {
    "inputs": {"description", "type", "required", "default"},
    "secrets": {"description", "required"},
    "outputs": {"description", "value"},
}
_JOB_ID = re.compile(r"[A-Za-z_][\w-]{0,99}", re.ASCII)
_RUN = ("github", "inputs", "vars")
_JOB = (*_RUN, "needs", "strategy", "matrix")
_STEPS = (*_JOB, "job", "runner", "env", "secrets", "steps")
_CONTEXTS = {
    "if": (*_RUN, "needs"),
    "strategy": (*_RUN, "needs"),
    "env": (*_JOB, "secrets"),
    "secrets": (*_JOB, "secrets"),
    "environment": (*_JOB, "job", "runner", "env", "steps"),
    "outputs": _STEPS,
    "defaults": (*_JOB, "env"),
    "steps": _STEPS,
}
"""Key of a job → its contexts; else _JOB.

docs.github.com/actions/reference/workflows-and-actions/contexts#context-availability
"""


def check_file(content: Mapping[str, Any]) -> None:
    """Check a parsed workflow file.

    Raises:
        InvalidWorkflow: GitHub refuses it.
        UnsupportedExpression: this runner does not support its permissions.
    """
    _check_keys("the workflow", content, _FILE_KEYS)
    _check_trigger(content["on"])
    _check_permissions(content.get("permissions"))
    _check_expressions(content.get("env"), (*_RUN, "secrets"))
    _check_expressions(content.get("run-name"), _RUN)
    _check_expressions(content.get("concurrency"), _RUN)
    _check_concurrency("the workflow", content.get("concurrency"))
    for name, rules in content["jobs"].items():
        if not _JOB_ID.fullmatch(str(name)):
            raise InvalidWorkflow(f"The identifier '{name}' is invalid.")
        _check_job(f"the job {name}", rules)


def is_expression(value: Any) -> bool:
    return isinstance(value, str) and "${{" in value


def _check_job(where: str, rules: Mapping[str, Any]) -> None:
    _check_mapping(where, rules)
    _check_keys(where, rules, _CALL_KEYS if "uses" in rules else _JOB_KEYS)
    if "uses" not in rules and "runs-on" not in rules:
        raise InvalidWorkflow(f"{where}: Required property is missing: runs-on")
    _check_permissions(rules.get("permissions"))
    _check_concurrency(where, rules.get("concurrency"))
    if isinstance(environment := rules.get("environment"), Mapping):
        _check_keys(f"{where}: environment", environment, _ENVIRONMENT_KEYS)
    for key in ("with", "secrets", "outputs"):
        if key in rules and rules[key] != "inherit":
            _check_mapping(f"{where}: {key}", rules[key])
    for key, value in rules.items():
        if key == "if":
            check_syntax(str(value), _CONTEXTS["if"], is_condition=True)
        else:
            _check_expressions(value, _CONTEXTS.get(key, _JOB))
    for step in rules.get("steps") or ():
        _check_keys(f"{where}: a step", step, _STEP_KEYS)
        if ("run" in step) == ("uses" in step):
            raise InvalidWorkflow(f"{where}: a step needs either run or uses")
        check_syntax(str(step.get("if", "")), set(_STEPS) - {"secrets"}, is_condition=True)


def _check_concurrency(where: str, given: Any) -> None:
    # docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#concurrency
    if given is None or isinstance(given, str):
        return
    _check_keys(f"{where}: concurrency", given, _CONCURRENCY_KEYS)
    queue, cancels = given.get("queue", "single"), given.get("cancel-in-progress", False)
    if "group" not in given:
        raise InvalidWorkflow(f"{where}: concurrency: Required property is missing: group")
    if queue not in {"single", "max"}:
        raise InvalidWorkflow(f"{where}: concurrency: Unexpected value '{queue}'")
    if not (isinstance(cancels, bool) or is_expression(cancels)):
        raise InvalidWorkflow(f"{where}: concurrency: Unexpected value '{cancels}'")
    if queue == "max" and cancels is True:
        raise InvalidWorkflow(f"{where}: concurrency: queue: max cannot be combined with cancel-in-progress: true")


def _check_expressions(value: Any, contexts: Iterable[str]) -> None:
    """Check the texts at any depth."""
    if isinstance(value, Mapping):
        for inner in value.values():
            _check_expressions(inner, contexts)
    elif isinstance(value, list):
        for inner in value:
            _check_expressions(inner, contexts)
    elif is_expression(value):
        check_syntax(value, contexts)


def _check_trigger(on: Any) -> None:
    trigger = (on.get("workflow_call") if isinstance(on, Mapping) else None) or {}
    _check_keys("workflow_call", trigger, set(_TRIGGER_KEYS))
    for kind, rules in trigger.items():
        _check_mapping(kind, rules)
        for name, declared in rules.items():
            _check_keys(f"{kind}: {name}", {} if declared is None else declared, _TRIGGER_KEYS[kind])
    for name, declared in (trigger.get("inputs") or {}).items():
        if (declared or {}).get("type") not in {"string", "boolean", "number"}:
            raise InvalidWorkflow(f"the input {name} needs a type: string, boolean or number")
        _check_expressions(declared.get("default"), _RUN)
    for name, declared in (trigger.get("outputs") or {}).items():
        if "value" not in (declared or {}):
            raise InvalidWorkflow(f"the output {name} has no value")
        _check_expressions(declared["value"], (*_RUN, "jobs"))


def _check_permissions(given: Any) -> None:
    if isinstance(given, str):
        raise UnsupportedExpression(f"this runner does not support the permissions `{given}`")
    _check_keys("permissions", given or {}, _PERMISSIONS)
    for name, level in (given or {}).items():
        if level not in {"none", "read", "write"}:
            raise InvalidWorkflow(f"permissions: {name}: Unexpected value '{level}'")


def _check_keys(where: str, given: Any, known: Iterable[str]) -> None:
    _check_mapping(where, given)
    for key in given:
        if key not in set(known):
            raise InvalidWorkflow(f"{where}: Unexpected value '{key}'")


def _check_mapping(where: str, given: Any) -> None:
    if not isinstance(given, Mapping):
        raise InvalidWorkflow(f"{where}: A mapping was expected, not {given!r}")

"""Extract one job of a workflow as a workflow of its own, which act runs."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.actions.expressions import EXPRESSION, evaluate

OUTPUT_STEP = "hands-over-the-outputs"
"""ID of the step that writes the job's outputs to a file. The log and the API do not show it."""
_RUNNER_KEYS = (
    "if",
    "needs",
    "name",
    "concurrency",
    "environment",
    "permissions",
    "timeout-minutes",
    "continue-on-error",
)
"""Keys of a job that the runner itself handles."""
_CONTEXT_PATH = re.compile(
    r"'(?:[^']|'')*'|(?<![\w.-])(?:needs\b(?:\s*\.\s*[\w*-]+|\s*\[\s*'(?:[^']|'')*'\s*\])*"
    r"|github\s*\.\s*(?:sha|triggering_actor)\b)"
)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def single_job(
    workflow: Mapping[str, Any],
    name: str,
    contexts: Mapping[str, Any],
    outputs: Path,
    repositories: Mapping[str, Path] | None = None,
) -> str:
    """Return a workflow with only that job, as JSON, which is valid YAML.

    `contexts` hold `needs` and `github`. act does not know them, so each `needs`, `github.sha` and
    `github.triggering_actor` is replaced by its value. A value is data: its text is never evaluated as an expression.
    Each checkout loses its `ref`, for which act would clone: the folder already holds that commit. That of another
    repository clones the default branch of its folder in `repositories`, by its name in lower case. An added last step
    writes the job's outputs to the file `outputs`, each followed by a NUL.
    """
    rules = workflow["jobs"][name]
    job = {key: _fill(value, contexts) for key, value in rules.items() if key not in (*_RUNNER_KEYS, "outputs", "env")}
    env, late = _split_env(rules.get("env") or {}, contexts)
    steps = [_step(step, late, contexts, repositories or {}) for step in rules.get("steps") or ()]
    if rules.get("outputs"):
        steps.append(_output_step(_fill(rules["outputs"], contexts), outputs))
    job |= {"runs-on": "ubuntu-latest", "env": env, "steps": steps}
    top = {key: _fill(workflow[key], contexts) for key in ("name", "on", "env", "defaults") if key in workflow}
    return json.dumps({**top, "jobs": {name: job}}, ensure_ascii=False, default=str)


def read_outputs(rules: Mapping[str, Any], file: Path) -> dict[str, str]:
    """Return the outputs that the last step wrote; empty if it did not run."""
    written = file.read_text(errors="replace").split("\0") if file.exists() else []
    return {name: value for name, value in zip(rules.get("outputs") or (), written, strict=False) if value}


def _split_env(env: Mapping[str, Any], contexts: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split off the variables that use needs: they go to each step, because act evaluates a job's `env` twice."""
    late = {key: _fill(value, contexts) for key, value in env.items() if re.search(r"\bneeds\b", str(value))}
    return {key: _fill(value, contexts) for key, value in env.items() if key not in late}, late


def _step(
    step: Mapping[str, Any], late: Mapping[str, Any], contexts: Mapping[str, Any], repositories: Mapping[str, Path]
) -> dict[str, Any]:
    filled: dict[str, Any] = _fill(step, contexts)
    if late:
        filled["env"] = {**late, **filled.get("env", {})}
    if str(step.get("uses", "")).startswith("actions/checkout@"):
        given = filled.pop("with", None) or {}
        if "repository" in given:
            del filled["uses"]
            return {**filled, **_clone_step(given, repositories)}
        filled["with"] = {key: value for key, value in given.items() if key != "ref"}
    return filled


def _clone_step(given: Mapping[str, Any], repositories: Mapping[str, Path]) -> dict[str, Any]:
    """Return the step that checks out another repository, or fails if the runner does not have it."""
    name = str(given["repository"])
    folder = repositories.get(name.lower())
    if folder is None:
        return {"env": {"NAME": name}, "run": 'echo "Error: this runner has no repository $NAME"; exit 1'}
    into = '"$GITHUB_WORKSPACE/$INTO"'
    run = f'git clone -q "$FROM" {into} && git -C {into} remote remove origin'
    return {"env": {"FROM": str(folder), "INTO": given.get("path", ".")}, "run": run}


def _output_step(outputs: Mapping[str, Any], file: Path) -> dict[str, Any]:
    names = [f"OUTPUT_{index}" for index in range(len(outputs))]
    values = " ".join(f'"${name}"' for name in names)
    env = dict(zip(names, outputs.values(), strict=True))
    run = f"printf '%s\\0' {values} > '{file}'"
    return {"id": OUTPUT_STEP, "if": "always()", "shell": "sh -e {0}", "env": env, "run": run}


def _fill(value: Any, contexts: Mapping[str, Any], key: str = "") -> Any:
    """Return the value at any depth with literals for the contexts that act does not know."""
    if isinstance(value, Mapping):
        return {name: _fill(inner, contexts, str(name)) for name, inner in value.items()}
    if isinstance(value, list):
        return [_fill(inner, contexts) for inner in value]
    if not isinstance(value, str):
        return value
    if key == "if" and "${{" not in value:
        return _replace_paths(value, contexts)
    return EXPRESSION.sub(lambda found: "${{" + _replace_paths(found[1], contexts) + "}}", value)


def _replace_paths(expression: str, contexts: Mapping[str, Any]) -> str:
    def literal(found: re.Match[str]) -> str:
        return found[0] if found[0].startswith("'") else _literal(evaluate(found[0], contexts))

    return _CONTEXT_PATH.sub(literal, expression)


def _literal(value: Any) -> str:
    """Return the value as an expression inside `${{ }}`, without its quotes, dollars and double braces."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = _STRING.sub(
        lambda string: re.sub(r"['${}]", lambda sign: f"\\u{ord(sign[0]):04x}", string[0]), json.dumps(value)
    )
    return "fromJSON('" + text.replace("{", "{ ").replace("}", "} ") + "')"

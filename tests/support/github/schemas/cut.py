"""Reduce GitHub's own schemas to the routes and events of the sandbox.

Writes api.json and webhooks.json to this folder. Run it by hand when the sandbox has a new route or event, with a
folder where npm unpacked both packages (MIT):

    npm install @octokit/openapi @octokit/webhooks-schemas
    python -m tests.support.github.schemas.cut node_modules
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from sandbox.github.api import ROUTER

_API = "@octokit/openapi/generated/api.github.com.json"
_WEBHOOKS = "@octokit/webhooks-schemas/schema.json"
_PROSE = {
    "description",
    "example",
    "examples",
    "externalDocs",
    "deprecated",
    "title",
    "summary",
    "$schema",
    "discriminator",
}
_EVENTS = {
    "issues": ("opened", "edited", "labeled", "unlabeled", "closed", "reopened", "assigned", "unassigned"),
    "issue_comment": ("created", "edited", "deleted"),
    "label": ("created", "edited", "deleted"),
    "pull_request": ("opened", "edited", "labeled", "unlabeled", "synchronize", "closed", "reopened"),
    **dict.fromkeys(("push", "create", "delete", "workflow_dispatch", "repository_dispatch"), ("event",)),
}


def main(modules: Path) -> None:
    here = Path(__file__).parent
    for name, cut in {
        "api.json": _api(json.loads((modules / _API).read_text())),
        "webhooks.json": _webhooks(json.loads((modules / _WEBHOOKS).read_text())),
    }.items():
        (here / name).write_text(json.dumps(cut, separators=(",", ":"), sort_keys=True) + "\n")


def _api(spec: dict[str, Any]) -> dict[str, Any]:
    """Return `METHOD /path/{}` → schema of the request body, and of the response body by status."""
    written = {without_names(path): path for path in spec["paths"]}
    written["/repos/{}/{}/compare/{}"] = written.get(
        "/repos/{}/{}/compare/{}...{}", "/repos/{owner}/{repo}/compare/{basehead}"
    )
    operations = {}
    for route in ROUTER.routes:
        template = without_names(route.template)
        operation = spec["paths"].get(written.get(template, ""), {}).get(route.method.lower())
        if operation is None:
            print(f"not described: {route.method} {template}")
            continue
        answers = {status: _schema(_resolved(spec, answer)) for status, answer in operation["responses"].items()}
        operations[f"{route.method} {template}"] = {
            "request": _schema(operation.get("requestBody", {})),
            "answers": answers,
        }
    return {"operations": operations, "schemas": _reached(operations, spec["components"]["schemas"])}


def without_names(template: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", template)


def _resolved(spec: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (
        spec["components"]["responses"][answer["$ref"].rpartition("/")[2]] if "$ref" in answer else answer
    )
    return found


def _schema(holder: dict[str, Any]) -> Any:
    return _plain(holder.get("content", {}).get("application/json", {}).get("schema"))


def _webhooks(spec: dict[str, Any]) -> dict[str, Any]:
    roots = [{"$ref": f"#/definitions/{event}${action}"} for event, actions in _EVENTS.items() for action in actions]
    return _reached(roots, spec["definitions"])


def _reached(root: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    reached: dict[str, Any] = {}
    waiting = _references(root)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached[name] = _plain(schemas[name])
            waiting += _references(reached[name])
    return reached


def _references(value: Any) -> list[str]:
    return [found.rpartition("/")[2] for found in re.findall(r'"\$ref": "([^"]+)"', json.dumps(value))]


def _plain(value: Any, *, of_properties: bool = False) -> Any:
    """Return the schema without prose, with `nullable` as JSON Schema expresses it."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value.replace("#/components/schemas/", "#/definitions/") if isinstance(value, str) else value
    if of_properties:
        return {name: _plain(schema) for name, schema in value.items()}
    kept = {
        name: _plain(item, of_properties=name == "properties")
        for name, item in value.items()
        if name not in _PROSE and not name.startswith(("x-", "ts")) and name != "nullable"
    }
    return {"anyOf": [kept, {"type": "null"}]} if value.get("nullable") else kept


if __name__ == "__main__":
    main(Path(sys.argv[1]))

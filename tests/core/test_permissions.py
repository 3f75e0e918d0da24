"""The table of permissions against the calls, the declarations and the routes that it is for."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest

import ops.cloudflare
from ops.app.registry import discover_runbooks
from ops.cloudflare.client import DECLARED_READS
from ops.core.permissions import Provider, find_permission, list_permissions
from ops.github.requester import ROUTES
from ops.maintenance.writes import SWITCH_PERMISSIONS
from ops.setup.github_environments import EVIDENCE, IMPACT
from sandbox.cloudflare import api as cloudflare
from sandbox.github import api as github
from sandbox.permissions import permission_groups
from sandbox.switches import Switches
from tests.conftest import ROOT
from tests.support import plain_yaml
from tests.support.workflows import generated

REPOSITORY = "/repos/{owner}/{repo}"
RUNBOOKS = discover_runbooks()
PROPOSING = RUNBOOKS["propose-limits"]


def calls(provider: Provider) -> set[str]:
    return {f"{row.method} {row.template}" for row in list_permissions(provider)}


def needed(method: str, glob: str) -> set[str]:
    """Return the permissions of the calls that a runbook declares as a write, with * for a segment."""
    rows = [row for provider in ("cloudflare", "github") for row in list_permissions(provider) if row.method == method]
    pattern = re.escape(glob).replace(r"\*", "[^/]+")
    found = {row.needs for row in rows if re.fullmatch(pattern, re.sub(r"\{\w+\*?\}", "x", row.template))}
    assert found, f"{method} {glob}"
    return found


def test_each_declared_read_has_a_row() -> None:
    for module in pkgutil.iter_modules(ops.cloudflare.__path__):
        importlib.import_module(f"ops.cloudflare.{module.name}")

    assert [call for call in DECLARED_READS if find_permission("cloudflare", *call) is None] == []


def test_each_declared_call_of_github_has_a_row() -> None:
    rows = [
        (row.method, re.sub(r"\{\w+?(_number|_id)?\}", "1", row.template.removeprefix(REPOSITORY)).replace("{", ""))
        for row in list_permissions("github")
    ]
    unknown = [
        f"{method} {pattern}"
        for method, pattern, *_ in ROUTES
        if not any(method == row and re.fullmatch(pattern, path.replace("}", "")) for row, path in rows)
    ]

    assert unknown == []


@pytest.mark.parametrize(("provider", "router"), [("cloudflare", cloudflare.ROUTER), ("github", github.ROUTER)])
def test_each_row_is_a_route_of_the_sandbox(provider: Provider, router: object) -> None:
    routes = {f"{route.method} {route.template}" for route in router.routes}  # type: ignore[attr-defined]

    assert calls(provider) - routes == set()
    assert {call for call in routes - calls(provider) if "/d1-files/" not in call} == set()


def test_each_row_has_a_page_and_its_switch_exists() -> None:
    rows = [*list_permissions("cloudflare"), *list_permissions("github")]

    assert [
        row.template for row in rows if not re.fullmatch(r"wrangler|[a-z0-9_-]+(/[a-z0-9_-]+)*(#[a-z-]+)?", row.page)
    ] == []
    unsure = {route.access.switch for route in cloudflare.ROUTER.routes} - {""}
    assert unsure <= vars(Switches()).keys()
    assert not any(getattr(Switches(), name) for name in unsure)


@pytest.mark.parametrize("name", RUNBOOKS)
def test_runbook_declares_the_permissions_of_its_writes_and_no_others(name: str) -> None:
    runbook = RUNBOOKS[name]
    declared = {*runbook.permissions.cloudflare, *(each.replace(": ", ":") for each in runbook.permissions.github)}
    declared = {each.replace("pull-requests", "pull_requests") for each in declared}
    written = {each for write in runbook.writes for each in needed(*write)} - {""}
    by_switch = set(SWITCH_PERMISSIONS) if runbook.permissions.choose else set()

    assert written - by_switch <= declared
    assert {each for each in declared if not each.endswith(" Read")} <= written


def literals() -> Iterator[str]:
    for path in (ROOT / "ops").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_named_groups_exist() -> None:
    known = set(permission_groups())
    named = {text for text in literals() if re.fullmatch(r"[A-Z][\w:]*( [A-Z0-9]\w*)* (Read|Write)", text)}

    assert named - known == set()
    assert named
    assert {*EVIDENCE, *IMPACT} <= known


COMMENT, RUNS = "POST /issues/1/comments", "GET /actions/runs"
ON_PULL = "PATCH /pulls/1"
"""Stands for a comment on a pull request, which a token with the permission for pull requests may write."""
CALLS: dict[str, tuple[str, ...]] = {
    "gate": (COMMENT, "GET /actions/runs/1"),
    "recover": (COMMENT, RUNS),
    "site fetch": (COMMENT, RUNS),
    "site build": (),
    "database fetch": (),
    "maintenance due": (COMMENT,),
    "watch": (COMMENT, RUNS),
    "incident report": (COMMENT, "GET /actions/runs/1/attempts/1/jobs"),
    "incident menu": (COMMENT,),
    "incident leak": ("POST /issues",),
    "check-outage": (COMMENT,),
    "evidence": (COMMENT, "GET /deployments"),
    "limits plan": (ON_PULL,),
    "limits apply": (ON_PULL, COMMENT, "GET /commits/1/pulls"),
    "doctor": ("GET /issues",),
    "config check": (),
    "workflows sync": (),
}
"""Command of a step → calls of GitHub's API that need its permissions."""
PROGRAMS: dict[str, tuple[str, ...]] = {
    "answer": (COMMENT, RUNS),
    "tell": (COMMENT, "GET /contents/tell.py", "GET /actions/runs/1/attempts/1/jobs"),
    "tell-later": (COMMENT, "GET /actions/runs/1/attempts/1/jobs"),
    "menu-fallback": (COMMENT,),
    "doctor": ("GET /environments/recovery", "GET /actions/workflows"),
    "unprivileged": tuple(f"{method} {path.removeprefix('/repos/*/*')}" for method, path in PROPOSING.writes),
}
"""Job → calls of a program in it, or of its runbook."""
OF_BACKOUT = {"ci.yml", "release.yml", "weekly.yml"}
"""Workflows of this repository that run no command of a team."""


def needs_of(call: str) -> tuple[str, str]:
    """Return name and level of the permission for a call below the repository."""
    method, _, path = call.partition(" ")
    row = find_permission("github", method, f"/repos/acme/shop{path.replace('*', 'x')}")
    assert row is not None, call
    name, _, level = row.needs.partition(":")
    return name.replace("_", "-"), level


def expected_permissions(key: str, job: dict[str, Any]) -> dict[str, str]:
    steps = job.get("steps", ())
    commands = [step["with"]["command"] for step in steps if "command" in step.get("with", {})]
    commands += ["gate" for step in steps if step.get("uses", "").endswith("/actions/gate")]
    calls = [call for each in commands for call in CALLS[each]] + list(PROGRAMS.get(key, ()))
    found = [needs_of(call) for call in calls]
    if any(step.get("uses", "").startswith("actions/checkout@") for step in steps):
        found.append(("contents", "read"))
    return {name: max(level for other, level in found if other == name) for name, _ in found}


def test_each_job_has_the_permissions_of_its_calls_and_no_others() -> None:
    jobs = [
        (f"{path.stem} {key}", job.get("permissions", {}), expected_permissions(key, job))
        for path in sorted((generated() / ".github" / "workflows").glob("*.yml"))
        if path.name not in OF_BACKOUT
        for key, job in plain_yaml.load(path.read_text())["jobs"].items()
        if "uses" not in job
    ]

    assert [each for each in jobs if each[1] != each[2]] == []
    assert len(jobs) > 25

"""The table of permissions against the calls, the declarations and the routes that it is for."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator

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

REPOSITORY = "/repos/{owner}/{repo}"
RUNBOOKS = discover_runbooks()


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

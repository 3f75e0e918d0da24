"""The Pages API: reads, malformed answers and the rollback write."""

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.pages import PagesApi
from ops.cloudflare.response import CloudflareApiError, MalformedCloudflareResponse
from ops.cloudflare.types.pages import PagesDeployment, PagesProject
from ops.core.errors import NotApplied, Refused, UnclearWrite
from sandbox import Sandbox
from tests.conftest import ACCOUNT
from tests.support.commands import UNCLEAR_RESPONSES

SITE = "fortunet-web"
COMMIT = "a" * 40


@pytest.fixture
def pages(client: CloudflareClient, sandbox: Sandbox) -> PagesApi:
    """Deploy a good site and then a bad one."""
    sandbox.pages.add_project(SITE, domains=["app.fortunet.example"], env_vars={"API": "x"}, secrets=["KEY"])
    sandbox.pages.add_deployment(SITE, files={"index.html": b"good"}, commit=COMMIT, message="good", dirty=True)
    sandbox.clock.advance(60)
    sandbox.pages.add_deployment(SITE, files={"index.html": b"bad"})
    return PagesApi(client, ACCOUNT)


def ids(sandbox: Sandbox) -> list[str]:
    return [deployment.id for deployment in sandbox.pages.deployments(SITE)]


# Reads


def test_read_project(pages: PagesApi, sandbox: Sandbox) -> None:
    bad, _ = ids(sandbox)

    assert pages.read_project(SITE) == PagesProject(
        name=SITE,
        production_branch="main",
        canonical=pages.read_deployment(SITE, bad),
        env_vars=frozenset({"API", "KEY"}),
        domains=(sandbox.pages.projects[SITE].subdomain, *sandbox.pages.projects[SITE].domains),
        deploys_on_push=False,
        bindings=("variable API", "variable KEY"),
    )


def test_project_without_deployment_has_no_canonical(client: CloudflareClient, sandbox: Sandbox) -> None:
    sandbox.pages.add_project(SITE)
    pages = PagesApi(client, ACCOUNT)
    assert pages.read_project(SITE).canonical is None
    assert pages.list_deployments(SITE) == ()


@pytest.mark.slow
def test_read_deployment_with_all_fields(pages: PagesApi, sandbox: Sandbox) -> None:
    _, good = ids(sandbox)

    deployment = pages.read_deployment(SITE, good)

    assert deployment == PagesDeployment(
        id=good,
        url=f"https://{good[:8]}.{sandbox.pages.projects[SITE].subdomain}",
        created_on=sandbox.clock.now() - timedelta(seconds=60),
        environment="production",
        stage="deploy",
        status="success",
        trigger="ad_hoc",
        branch="main",
        commit=COMMIT,
        message="good",
        has_uncommitted_changes=True,
        has_functions=False,
        env_vars=frozenset(sandbox.pages.projects[SITE].configs["production"]["env_vars"]),
    )
    assert deployment.can_serve_production


@pytest.mark.parametrize("config", [{}, {"production_deployments_enabled": False}, {"deployments_enabled": False}])
def test_push_deploys_unless_disabled(client: CloudflareClient, sandbox: Sandbox, config: dict[str, bool]) -> None:
    project = sandbox.pages.add_project(SITE, repository="fortunet/fortunet")
    assert project.source is not None
    project.source["config"].update(config)
    assert PagesApi(client, ACCOUNT).read_project(SITE).deploys_on_push is (not config)


@pytest.mark.slow
def test_production_deployments_are_listed_newest_first(pages: PagesApi, sandbox: Sandbox) -> None:
    for number in range(30):
        sandbox.pages.add_deployment(SITE, files={}, branch="fix" if number % 3 else "main")

    found = pages.list_deployments(SITE)

    assert [d.id for d in found] == [d.id for d in sandbox.pages.deployments(SITE) if d.environment == "production"]
    assert {d.environment for d in found} == {"production"}
    assert len(sandbox.requests) == 1


@pytest.mark.slow
def test_deployment_list_is_limited(pages: PagesApi, sandbox: Sandbox) -> None:
    for _ in range(60):
        sandbox.pages.add_deployment(SITE, files={})

    assert [d.id for d in pages.list_deployments(SITE, limit=30)] == ids(sandbox)[:30]
    assert [request.query["page"] for request in sandbox.requests] == ["1", "2"]
    assert len(pages.list_deployments(SITE)) == 62


@pytest.mark.slow
def test_deployment_between_two_pages_duplicates_no_row(pages: PagesApi, sandbox: Sandbox) -> None:
    for _ in range(30):
        sandbox.pages.add_deployment(SITE, files={})
    before = ids(sandbox)
    sandbox.fault(
        method="GET", path="**/deployments", skip=1, before=lambda: sandbox.pages.add_deployment(SITE, files={})
    )
    assert [d.id for d in pages.list_deployments(SITE)] == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "stage", "status"),
    [
        ({"branch": "fix"}, "deploy", "success"),
        ({"status": "failure"}, "deploy", "failure"),
        ({"status": "active"}, "deploy", "active"),
        ({"status": "canceled"}, "deploy", "canceled"),
        ({"status": "skipped"}, "deploy", "skipped"),
    ],
)
def test_only_successful_production_deployment_can_serve(
    pages: PagesApi, sandbox: Sandbox, kind: dict[str, Any], stage: str, status: str
) -> None:
    other = pages.read_deployment(SITE, sandbox.pages.add_deployment(SITE, files={}, **kind))
    assert other is not None
    assert (other.stage, other.status) == (stage, status)
    assert not other.can_serve_production


@pytest.mark.slow
def test_read_preview_alias(pages: PagesApi, sandbox: Sandbox) -> None:
    preview = pages.read_deployment(SITE, sandbox.pages.add_deployment(SITE, files={}, branch="fix"))
    assert preview is not None
    assert preview.aliases == (f"https://fix.{sandbox.pages.projects[SITE].subdomain}",)


def test_missing_deployment_is_none_and_project_an_error(pages: PagesApi) -> None:
    assert pages.read_deployment(SITE, "0" * 8 + "-0000-4000-8000-" + "0" * 12) is None
    for read in (pages.read_project, pages.list_deployments):
        with pytest.raises(CloudflareApiError, match="8000007"):
            read("none")


@pytest.mark.slow
def test_missing_permission_is_named(pages: PagesApi, sandbox: Sandbox) -> None:
    sandbox.fault(code=10000, status=403)
    with pytest.raises(CloudflareApiError) as caught:
        pages.read_project(SITE)
    assert '"Pages Read"' in caught.value.hint


# Malformed answers


ROW: dict[str, Any] = {
    "id": "01234567-89ab-4cde-8f01-23456789abcd",
    "url": "https://01234567.site-1ab.pages.dev",
    "created_on": "2026-11-20T10:11:12.345678Z",
    "environment": "production",
}
PROJECT: dict[str, Any] = {"name": SITE, "production_branch": "main"}


def set_answer(sandbox: Sandbox, result: Any, **envelope: Any) -> None:
    sandbox.faults.clear()
    sandbox.fault(body=json.dumps({"success": True, "result": result, **envelope}), times=None)


def test_optional_fields_may_be_absent(pages: PagesApi, sandbox: Sandbox) -> None:
    set_answer(sandbox, ROW)
    created = datetime(2026, 11, 20, 10, 11, 12, 345678, tzinfo=UTC)
    bare = PagesDeployment(ROW["id"], ROW["url"], created, "production")
    assert pages.read_deployment(SITE, ROW["id"]) == bare
    nothing = dict.fromkeys(["latest_stage", "deployment_trigger", "aliases", "is_skipped", "uses_functions"])
    set_answer(sandbox, {**ROW, **nothing, "surprise": 1})
    assert pages.read_deployment(SITE, ROW["id"]) == bare
    set_answer(sandbox, PROJECT)
    assert pages.read_project(SITE) == PagesProject(SITE, "main", None)
    absent = dict.fromkeys(["production_branch", "domains", "source", "deployment_configs", "canonical_deployment"])
    set_answer(sandbox, {**PROJECT, **absent})
    assert pages.read_project(SITE) == PagesProject(SITE, "", None)


def test_display_fields_may_have_any_shape(pages: PagesApi, sandbox: Sandbox) -> None:
    """A recovery does not fail because of a text that is only shown."""
    for odd in (1, "x", [], ["x"], {"metadata": 1, "config": 1, "production": 1}, {"production": {"env_vars": ["x"]}}):
        set_answer(
            sandbox, {**ROW, **dict.fromkeys(["deployment_trigger", "aliases", "env_vars", "uses_functions"], odd)}
        )
        deployment = pages.read_deployment(SITE, ROW["id"])
        assert deployment is not None
        assert deployment.commit == ""
        fields = ["production_branch", "source", "deployment_configs", "subdomain", "domains"]
        set_answer(sandbox, {**PROJECT, **dict.fromkeys(fields, odd)})
        assert pages.read_project(SITE).env_vars == frozenset()


@pytest.mark.sampled
@pytest.mark.parametrize(
    "change",
    [
        {"id": None},
        {"id": "../x"},
        {"id": 1},
        {"created_on": "yesterday"},
        {"created_on": None},
        {"url": "http://x.pages.dev"},
        {"url": "https://"},
        {"url": "https://user@x.pages.dev"},
        {"url": None},
        {"environment": None},
        {"latest_stage": "success"},
    ],
)
def test_invalid_deployment_is_malformed(pages: PagesApi, sandbox: Sandbox, change: dict[str, Any]) -> None:
    row = {**ROW, **change}
    calls: list[tuple[Any, dict[str, Any], Callable[[], object]]] = [
        (row, {}, lambda: pages.read_deployment(SITE, ROW["id"])),
        ([ROW, row], {"result_info": {"total_count": 2}}, lambda: pages.list_deployments(SITE)),
        ({**PROJECT, "canonical_deployment": row}, {}, lambda: pages.read_project(SITE)),
    ]
    for result, envelope, call in calls:
        set_answer(sandbox, result, **envelope)
        with pytest.raises(MalformedCloudflareResponse, match="unexpected JSON"):
            call()


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("result", "info"),
    [(None, {"total_count": 0}), ({}, {"total_count": 0}), ([ROW], {}), ([ROW], {"total_count": "1"}), ([], None)],
)
def test_list_without_rows_or_total_is_malformed(
    pages: PagesApi, sandbox: Sandbox, result: Any, info: dict[str, Any] | None
) -> None:
    set_answer(sandbox, result, result_info=info)
    with pytest.raises(MalformedCloudflareResponse, match=r"the deployments of fortunet-web|without a result"):
        pages.list_deployments(SITE)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*ROW, *PROJECT]), inner, max_size=4),
    max_leaves=6,
)
FIELDS = [
    *ROW,
    "latest_stage",
    "deployment_trigger",
    "aliases",
    "is_skipped",
    "source",
    "deployment_configs",
    "domains",
]


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(change=st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=3), whole=json_values)
def test_any_json_is_a_value_or_malformed(
    pages: PagesApi, sandbox: Sandbox, change: dict[str, Any], whole: Any
) -> None:
    for result in ({**ROW, **PROJECT, **change}, whole):
        set_answer(sandbox, result, result_info={"total_count": 1})
        for call in (lambda: pages.read_project(SITE), lambda: pages.read_deployment(SITE, ROW["id"])):
            with contextlib.suppress(MalformedCloudflareResponse):
                assert isinstance(call(), PagesProject | PagesDeployment)
        set_answer(sandbox, [result], result_info={"total_count": 1})
        with contextlib.suppress(MalformedCloudflareResponse):
            assert isinstance(pages.list_deployments(SITE), tuple)


# The rollback


@pytest.mark.slow
def test_rollback_is_sent_once_without_a_body(pages: PagesApi, client: CloudflareClient, sandbox: Sandbox) -> None:
    _, good = ids(sandbox)

    with client.writing():
        pages.roll_back(SITE, good)

    assert sandbox.pages.live(SITE) == good
    (request,) = sandbox.requests
    assert (request.method, request.path.rpartition("/projects/")[2]) == (
        "POST",
        f"{SITE}/deployments/{good}/rollback",
    )
    assert request.body is None


def test_rollback_is_refused_while_planning(pages: PagesApi, sandbox: Sandbox) -> None:
    _, good = ids(sandbox)
    with pytest.raises(Refused):
        pages.roll_back(SITE, good)
    assert sandbox.requests == []


UNCLEAR = [{"status": 502, "code": 10013} if rule == {"code": 10013} else rule for rule in UNCLEAR_RESPONSES.values()]
"""Code 10013 with HTTP 400 is not documented for Pages."""


@pytest.mark.sampled(4)
@pytest.mark.parametrize("applied", [False, True], ids=["not applied", "applied"])
@pytest.mark.parametrize("rule", [*UNCLEAR, {"status": 500, "code": 8000000}, {"code": 8000000}])
def test_rollback_without_readable_answer_is_unclear(
    pages: PagesApi, client: CloudflareClient, sandbox: Sandbox, rule: dict[str, Any], applied: bool
) -> None:
    _, good = ids(sandbox)
    sandbox.fault(**rule, applied=applied)

    with client.writing(), pytest.raises(UnclearWrite):
        pages.roll_back(SITE, good)

    assert len(sandbox.requests) == 1


@pytest.mark.slow
def test_rejected_rollback_changes_nothing(pages: PagesApi, client: CloudflareClient, sandbox: Sandbox) -> None:
    preview = sandbox.pages.add_deployment(SITE, files={}, branch="fix")
    with client.writing():
        with pytest.raises(UnclearWrite):  # by the code alone it may have worked
            pages.roll_back(SITE, preview)
        sandbox.switches.pages_refusal_code = 8000096
        with pytest.raises(CloudflareApiError, match="code 8000096"):
            pages.roll_back(SITE, preview)
        with pytest.raises(CloudflareApiError, match="code 8000009"):
            pages.roll_back(SITE, "none")


@pytest.mark.slow
def test_rate_limited_rollback_is_not_applied(pages: PagesApi, client: CloudflareClient, sandbox: Sandbox) -> None:
    sandbox.fault(status=429, headers={"retry-after": "7"})
    with client.writing(), pytest.raises(NotApplied) as caught:
        pages.roll_back(SITE, ids(sandbox)[1])
    assert caught.value.retry_after == 7

"""Status pages: each recorded document, scripted incidents, and pages that fail."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ops.core.outage import PageState, StatusReport
from ops.probes.http import ProbeClient
from ops.probes.provider_status import read_components, read_report
from sandbox import Sandbox
from sandbox.edge.status_pages import REGIONS, read_documents

CLOUDFLARE, GITHUB = "https://www.cloudflarestatus.com", "https://www.githubstatus.com"
GROUP = "Cloudflare Sites and Services"
EDGE = ("CDN/Cache", "Authoritative DNS", "Network")
WORKER_OF_A_SHOP = ("API", "Workers", "Workers KV", *EDGE)
JOBS = ("Actions", "API Requests", "Issues", "Webhooks")
TROUBLE, CLEAR, UNKNOWN = PageState.TROUBLE, PageState.CLEAR, PageState.UNKNOWN
EXPECTED: dict[str, tuple[PageState, str]] = {
    "cloudflare-calm": (CLEAR, ""),
    "cloudflare-closed-data-centers": (CLEAR, ""),
    "cloudflare-workers-outage": (TROUBLE, "Workers: major outage"),
    "cloudflare-workers-degraded": (TROUBLE, "Workers: degraded performance"),
    "cloudflare-api-outage": (TROUBLE, "API: partial outage"),
    "cloudflare-d1-and-objects": (CLEAR, ""),
    "cloudflare-kv-outage": (TROUBLE, "Workers KV: major outage"),
    "cloudflare-global-outage": (TROUBLE, "API: partial outage"),
    "cloudflare-incident-before-components": (
        TROUBLE,
        'incident "Investigating Workers errors" (investigating, major): Workers; see https://stspg.io/i0',
    ),
    "cloudflare-components-before-incident": (TROUBLE, "Workers: partial outage"),
    "cloudflare-monitoring": (
        UNKNOWN,
        'incident "Workers errors" (monitoring, major): Workers; see https://stspg.io/i0',
    ),
    "cloudflare-other-product": (UNKNOWN, "Cloudflare Sites and Services: major outage"),
    "cloudflare-one-region": (
        UNKNOWN,
        'incident "Network performance issues in Lima" (identified, critical): names no product; see https://stspg.io/i0',
    ),
    "cloudflare-workers-maintenance": (TROUBLE, "Workers: under maintenance"),
    "cloudflare-maintenance-planned": (CLEAR, ""),
    "cloudflare-workers-renamed": (UNKNOWN, "www.cloudflarestatus.com does not list Workers"),
    "cloudflare-edge-outage": (TROUBLE, "CDN/Cache: major outage"),
    "cloudflare-dns-degraded": (UNKNOWN, "Authoritative DNS: degraded performance"),
    "cloudflare-network-in-one-region": (UNKNOWN, "Network: degraded performance"),
    "cloudflare-group-outage": (UNKNOWN, "Cloudflare Sites and Services: major outage"),
    "cloudflare-unnamed-outage": (
        UNKNOWN,
        'incident "Widespread errors" (monitoring, major): names no product; see https://stspg.io/i0',
    ),
    "cloudflare-storage-after-workers": (CLEAR, ""),
    "cloudflare-workers-ended-storage-lasts": (CLEAR, ""),
    "github-calm": (CLEAR, ""),
    "github-actions-outage": (TROUBLE, "Actions: major outage"),
    "github-webhooks-late": (TROUBLE, "Issues: degraded performance"),
    "github-copilot-only": (
        UNKNOWN,
        'incident "Disruption with Copilot" (investigating, major): Copilot; see https://stspg.io/i0',
    ),
}


@pytest.fixture
def web(sandbox: Sandbox) -> Iterator[ProbeClient]:
    web = ProbeClient(sandbox.edge_url)
    yield web
    web.close()


def read(web: ProbeClient, page: str = "cloudflare", **more: Any) -> StatusReport:
    if page == "github":
        return read_report(web, GITHUB, JOBS, **more)
    return read_report(web, CLOUDFLARE, WORKER_OF_A_SHOP, group=GROUP, **more)


def test_each_recorded_document_has_a_meaning() -> None:
    assert read_documents().keys() == EXPECTED.keys()


@pytest.mark.sampled
@pytest.mark.parametrize("name", EXPECTED)
def test_recorded_document_is_judged(sandbox: Sandbox, web: ProbeClient, name: str) -> None:
    page = name.partition("-")[0]
    getattr(sandbox.status_pages, page).load(name)

    report = read(web, page)

    state, first = EXPECTED[name]
    assert (report.state, next(iter(report.evidence), "")) == (state, first)


def test_indicator_of_the_page_is_noise(sandbox: Sandbox, web: ProbeClient) -> None:
    sandbox.status_pages.cloudflare.load("cloudflare-closed-data-centers")

    assert get(sandbox, "status")["status"]["indicator"] == "major"
    assert read(web).state == CLEAR


def test_other_components_matter_to_a_service_that_uses_them(sandbox: Sandbox, web: ProbeClient) -> None:
    sandbox.status_pages.cloudflare.load("cloudflare-d1-and-objects")

    report = read_report(web, CLOUDFLARE, ("Workers", " d1 "), group=GROUP)

    assert report.state == TROUBLE
    assert report.evidence[0] == " d1 : degraded performance"


def test_scripted_incident_appears_late_and_ends(sandbox: Sandbox, web: ProbeClient) -> None:
    lag = sandbox.switches.status_pages_lag_seconds
    sandbox.status_pages.begin_incident("cloudflare", "Workers errors", {"Workers": "major_outage"})
    seen = [read(web).state]
    for seconds in (lag, 46 * 60, 15 * 60):
        sandbox.clock.advance(seconds)
        seen.append(read(web).state)

    assert seen == [CLEAR, TROUBLE, UNKNOWN, CLEAR]


@pytest.mark.slow
def test_page_contradicts_what_happens(sandbox: Sandbox, web: ProbeClient) -> None:
    sandbox.switches.status_pages_contradict = True
    sandbox.switches.status_pages_lag_seconds = 0
    assert read(web).state == TROUBLE

    sandbox.status_pages.begin_incident("cloudflare", "Workers errors", {"Workers": "major_outage"})

    assert read(web).state == CLEAR


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503, "body": "<html>busy</html>"},
        {"lost": "before"},
        {"body": "[]", "content_type": "application/json"},
        {"body": '{"components": [{"id": 1}], "incidents": []}', "content_type": "application/json"},
        {"body": '{"components": []}', "content_type": "application/json"},
        {"truncate": 40},
        {"body": "[" * 100_000, "content_type": "application/json"},
    ],
    ids=["503", "no answer", "a list", "a component without a name", "no incidents", "a cut body", "deep nesting"],
)
def test_unreadable_page_is_unknown(sandbox: Sandbox, web: ProbeClient, fault: dict[str, Any]) -> None:
    sandbox.edge_fault(host="www.cloudflarestatus.com", times=None, **fault)

    assert read(web) == StatusReport("www.cloudflarestatus.com", UNKNOWN, ("cannot be read",))


def test_unreachable_and_slow_page_are_unknown(sandbox: Sandbox, web: ProbeClient) -> None:
    sandbox.switches.status_pages_unreachable = True
    assert read(web).state == UNKNOWN
    assert read_components(web, CLOUDFLARE) is None

    sandbox.switches.status_pages_unreachable = False
    sandbox.switches.status_pages_delay_seconds = 1.5
    assert read(web, within=0.3).state == UNKNOWN


def test_product_that_recovered_in_the_newest_update_has_no_trouble(sandbox: Sandbox, web: ProbeClient) -> None:
    """The list of components of an incident keeps those that recovered."""
    update = {
        "id": "u1",
        "status": "identified",
        "created_at": "2026-11-29T12:00:00.000Z",
        "affected_components": [
            {"name": f"{GROUP} - Workers", "old_status": "partial_outage", "new_status": "operational"},
            {"name": f"{GROUP} - R2", "old_status": "operational", "new_status": "degraded_performance"},
        ],
    }
    names = [{"name": "Workers", "status": "operational"}, {"name": "R2", "status": "degraded_performance"}]
    incident = {"name": "R2 errors", "status": "identified", "impact": "minor", "components": names}
    document = get(sandbox, "summary")
    document["incidents"] = [{**incident, "incident_updates": [update]}]
    sandbox.edge_fault(
        host="www.cloudflarestatus.com", body=json.dumps(document), content_type="application/json", times=None
    )

    assert read(web).state == CLEAR


@pytest.mark.sampled
@pytest.mark.parametrize("link", ["javascript:alert(1)", "https://x.example/a b", "https://x.example/](", None, 7])
def test_link_that_is_no_plain_address_is_left_out(sandbox: Sandbox, web: ProbeClient, link: Any) -> None:
    document = get(sandbox, "summary")
    document["incidents"][0] |= {"impact": "critical", "shortlink": link}
    sandbox.edge_fault(
        host="www.cloudflarestatus.com", body=json.dumps(document), content_type="application/json", times=None
    )

    assert read(web).possible == ('incident "R2 custom domains are slow" (identified, critical): R2',)


def get(sandbox: Sandbox, path: str, host: str = "www.cloudflarestatus.com") -> Any:
    response = httpx.get(f"{sandbox.edge_url}/api/v2/{path}.json", headers={"host": host}, verify=False)
    assert response.status_code == 200, path
    return response.json()


@pytest.mark.slow
def test_every_document_of_the_format_is_served(sandbox: Sandbox) -> None:
    sandbox.status_pages.cloudflare.load("cloudflare-workers-maintenance")

    summary = get(sandbox, "summary")
    assert summary.keys() == {"page", "status", "components", "incidents", "scheduled_maintenances"}
    assert summary["page"].keys() == {"id", "name", "url", "time_zone", "updated_at"}
    groups = [each for each in get(sandbox, "components")["components"] if each["group"]]
    assert [each["name"] for each in groups] == [GROUP, *REGIONS]
    assert all(each["group_id"] is None and each["components"] is not None for each in groups)
    incidents = get(sandbox, "incidents")["incidents"]
    assert incidents == get(sandbox, "incidents/unresolved")["incidents"]
    assert [[each["name"] for each in incident["components"]] for incident in incidents] == [["R2"], []]
    newest, first = incidents[0]["incident_updates"]
    assert newest["created_at"] > first["created_at"]
    assert [each["name"] for each in first["affected_components"]] == [f"{GROUP} - Workers", f"{GROUP} - R2"]
    assert incidents[1]["incident_updates"][0]["affected_components"] is None
    assert len(get(sandbox, "scheduled-maintenances/active")["scheduled_maintenances"]) == 1
    assert get(sandbox, "scheduled-maintenances/upcoming")["scheduled_maintenances"] == []
    assert (
        httpx.get(
            f"{sandbox.edge_url}/api/v2/x.json", headers={"host": "www.githubstatus.com"}, verify=False
        ).status_code
        == 404
    )


def test_control_api_changes_a_page(sandbox: Sandbox, web: ProbeClient) -> None:
    sandbox.switches.status_pages_lag_seconds = 0

    def post(body: Any) -> int:
        return httpx.post(f"{sandbox.control_url}/status", json=body, verify=False).status_code

    assert post({"page": "github", "document": "github-actions-outage"}) == 200
    assert read(web, "github").state == TROUBLE
    assert post({"page": "cloudflare", "incident": "API errors", "components": {"API": "partial_outage"}}) == 200
    assert read(web).state == TROUBLE
    assert [post({"page": "github", "document": "none"}), post({"page": "other"})] == [400, 400]


def test_trouble_of_one_of_two_components_with_a_name_counts(sandbox: Sandbox, web: ProbeClient) -> None:
    document = get(sandbox, "summary")
    workers = next(each for each in document["components"] if each["name"] == "Workers")
    document["components"] += [{**workers, "status": "partial_outage"}, workers]
    sandbox.edge_fault(
        host="www.cloudflarestatus.com", body=json.dumps(document), content_type="application/json", times=None
    )

    assert (read(web).state, read(web).troubled) == (TROUBLE, ("Workers",))

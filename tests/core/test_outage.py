"""Theirs, ours or unclear: a table of signs, and properties."""

from itertools import product
from typing import Any

import pytest

from ops.core.outage import (
    ApiState,
    OutageEvidence,
    OutageVerdict,
    PageState,
    ServiceSigns,
    StatusDocument,
    StatusIncident,
    StatusReport,
    judge_outage,
    judge_page,
)
from ops.core.verdict import Verdict

THEIRS, OURS, UNCLEAR = OutageVerdict
TROUBLE, CLEAR, UNKNOWN = (
    StatusReport("www.cloudflarestatus.com", state, evidence)
    for state, evidence in (
        (PageState.TROUBLE, ("Workers: major outage",)),
        (PageState.CLEAR, ()),
        (PageState.UNKNOWN, ("cannot be read",)),
    )
)
DEPLOYMENT = "a deployment of shop-web 4 minutes before"


def judge(
    page: StatusReport = CLEAR,
    api: ApiState = ApiState.WORKS,
    deployment: str | None = "",
    service: Verdict = Verdict.UNHEALTHY,
    **more: Any,
) -> Any:
    return judge_outage(OutageEvidence((page,), api, (ServiceSigns("web", service, deployment),), **more))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "api", "deployment", "verdict"),
    [
        (TROUBLE, ApiState.WORKS, "", THEIRS),
        (TROUBLE, ApiState.FAILS, "", THEIRS),
        (TROUBLE, ApiState.FAILS, None, THEIRS),
        (TROUBLE, ApiState.WORKS, DEPLOYMENT, UNCLEAR),
        (TROUBLE, ApiState.FAILS, DEPLOYMENT, UNCLEAR),
        (TROUBLE, ApiState.UNKNOWN, None, UNCLEAR),  # the token may not read deployments
        (TROUBLE, ApiState.WORKS, None, UNCLEAR),
        (CLEAR, ApiState.WORKS, "", OURS),
        (CLEAR, ApiState.WORKS, DEPLOYMENT, OURS),
        (CLEAR, ApiState.FAILS, "", THEIRS),
        (CLEAR, ApiState.FAILS, DEPLOYMENT, UNCLEAR),
        (CLEAR, ApiState.FAILS, None, UNCLEAR),
        (UNKNOWN, ApiState.WORKS, "", UNCLEAR),
        (UNKNOWN, ApiState.WORKS, DEPLOYMENT, OURS),
        (UNKNOWN, ApiState.FAILS, "", THEIRS),
        (UNKNOWN, ApiState.UNKNOWN, "", UNCLEAR),
        (UNKNOWN, ApiState.UNKNOWN, None, UNCLEAR),
        *(
            (page, ApiState.SUSPENDED, deployment, THEIRS)
            for page in (CLEAR, UNKNOWN)
            for deployment in ("", DEPLOYMENT)
        ),
    ],
)
def test_verdict_for_a_failing_service(
    page: StatusReport, api: ApiState, deployment: str | None, verdict: OutageVerdict
) -> None:
    assert judge(page, api, deployment).verdict == verdict


def test_bad_deployment_during_an_outage_has_both_kinds_of_evidence() -> None:
    found = judge(TROUBLE, ApiState.WORKS, DEPLOYMENT)

    assert found.theirs == ("www.cloudflarestatus.com: Workers: major outage",)
    assert found.ours == (f"web fails after {DEPLOYMENT}",)
    assert not found.pauses_automatic_steps


def test_late_page_and_failing_api_contradict() -> None:
    found = judge(CLEAR, ApiState.FAILS)

    assert "a status page reports no trouble, although the API fails: status pages are late" in found.notes


def test_ai_provider_that_is_down_is_theirs() -> None:
    found = judge(providers={"groq": Verdict.UNHEALTHY, "iflow": Verdict.HEALTHY})

    assert (found.verdict, found.theirs) == (THEIRS, ("the AI provider groq does not answer",))


def test_outage_of_github_explains_no_failing_service() -> None:
    page = StatusReport("www.githubstatus.com", PageState.TROUBLE, ("Actions: major outage",))

    for deployment, verdict in (("", OURS), (DEPLOYMENT, OURS)):
        found = judge(deployment=deployment, github=page)
        assert (found.verdict, found.theirs) == (verdict, ())
        assert found.github == ("www.githubstatus.com: Actions: major outage",)


def test_unknown_page_of_github_is_a_note() -> None:
    found = judge(github=StatusReport("www.githubstatus.com", PageState.UNKNOWN, ("cannot be read",)))

    assert (found.verdict, found.github) == (OURS, ())
    assert found.notes == ("www.githubstatus.com: cannot be read",)


def test_only_a_failing_service_has_signs_of_our_fault() -> None:
    services = (ServiceSigns("web", Verdict.HEALTHY, DEPLOYMENT), ServiceSigns("docs", Verdict.UNHEALTHY, ""))

    found = judge_outage(OutageEvidence((TROUBLE,), ApiState.WORKS, services))
    assert (found.verdict, found.ours) == (THEIRS, ())
    assert found.notes == ("the probes of web are healthy",)

    calm = judge_outage(OutageEvidence((CLEAR,), ApiState.WORKS, services))
    assert calm.ours == ("docs fails, and its providers report and show no trouble",)


def test_unreadable_pages_alone_never_pause() -> None:
    for service, deployment in product(Verdict, ("", None, DEPLOYMENT)):
        found = judge(UNKNOWN, ApiState.UNKNOWN, deployment, service)
        assert not found.pauses_automatic_steps
        assert "www.cloudflarestatus.com: cannot be read" in found.notes


def test_every_combination_follows_its_signs() -> None:
    pages, services = (TROUBLE, CLEAR, UNKNOWN), Verdict
    for page, api, deployment, service in product(pages, ApiState, ("", None, DEPLOYMENT), services):
        found = judge(page, api, deployment, service)
        if found.verdict == THEIRS:
            assert found.theirs
            assert not found.ours or api == ApiState.SUSPENDED
        if found.verdict == OURS:
            assert service == Verdict.UNHEALTHY
            assert found.ours
            assert not found.theirs
        if service != Verdict.UNHEALTHY:
            assert found.verdict != OURS


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("investigating", PageState.TROUBLE),
        ("identified", PageState.TROUBLE),
        ("monitoring", PageState.UNKNOWN),
        ("resolved", PageState.CLEAR),
        ("postmortem", PageState.CLEAR),
    ],
)
def test_incident_that_is_over_is_no_trouble(status: str, state: PageState) -> None:
    incident = StatusIncident("Workers errors", status, "major", frozenset({"Workers"}))
    document = StatusDocument("www.cloudflarestatus.com", {"Workers": "operational"}, (incident,))

    assert judge_page(document, used=["Workers"]).state == state


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "components", "state"),
    [
        ("operational", {}, PageState.CLEAR),
        ("degraded_performance", {}, PageState.UNKNOWN),
        ("degraded_performance", {"R2": "degraded_performance"}, PageState.CLEAR),
        ("major_outage", {"R2": "major_outage"}, PageState.UNKNOWN),
        ("major_outage", {"Workers": "major_outage"}, PageState.TROUBLE),
    ],
)
def test_state_of_the_group_counts_unless_a_component_explains_it(
    group: str, components: dict[str, str], state: PageState
) -> None:
    """Statuspage shows a group in the state of its worst component, and some product is slow on most days."""
    shown = {"Workers": "operational", "R2": "operational", **components}
    document = StatusDocument("www.cloudflarestatus.com", shown, (), "Products", group)

    report = judge_page(document, used=["Workers"])

    assert report.state == state
    assert report.possible == (("Products: " + group.replace("_", " "),) if state == PageState.UNKNOWN else ())


@pytest.mark.sampled
@pytest.mark.parametrize("impact", ["major", "critical", "catastrophic"])
@pytest.mark.parametrize("deployment", ["", DEPLOYMENT])
def test_incident_of_another_product_is_not_ours(impact: str, deployment: str) -> None:
    """An impact that Statuspage adds later counts as a major one."""
    incident = StatusIncident("WARP errors", "identified", impact, frozenset({"WARP"}))
    document = StatusDocument("www.cloudflarestatus.com", {"Workers": "operational"}, (incident,))

    found = judge(judge_page(document, used=["Workers"]), ApiState.WORKS, deployment)

    assert found.verdict == UNCLEAR
    assert found.possible == found.notes[:1]

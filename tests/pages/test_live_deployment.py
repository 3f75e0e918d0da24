"""The live Pages deployment and the rollback target: a table of rules, and invariants."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.cloudflare.types.pages import PagesDeployment, PagesProject
from ops.core.errors import Reason, Refused
from ops.pages import live_deployment
from ops.pages.live_deployment import MAX_COMPARED, ContentDigests

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def deployment_named(
    name: str, age: int, commit: str = "", status: str = "success", environment: str = "production"
) -> PagesDeployment:
    """Return a deployment whose ID repeats the hex digit `name`; `age` is in minutes."""
    id_ = "-".join(name * size for size in (8, 4, 4, 4, 12))
    return PagesDeployment(
        id=id_,
        url=f"https://{id_[:8]}.site-1ab.pages.dev",
        created_on=NOW - timedelta(minutes=age),
        environment=environment,
        stage="deploy",
        status=status,
        commit=commit,
    )


A, B, C, D = (
    deployment_named("a", 40, "1"),
    deployment_named("b", 30, "2"),
    deployment_named("c", 20, "3"),
    deployment_named("d", 10, "4"),
)
"""A is the oldest, D the newest."""
LIST = (D, C, B, A)


def project(canonical: PagesDeployment | None) -> PagesProject:
    return PagesProject("site", "main", canonical)


def names(ids: Mapping[str, str | None]) -> dict[str, str | None]:
    return {"-".join(name * size for size in (8, 4, 4, 4, 12)): seen for name, seen in ids.items()}


def digests_of(site: str | None, **own: str | None) -> ContentDigests:
    return ContentDigests(site, names(own))


# The live deployment


LIVE: dict[str, tuple[PagesDeployment | None, ContentDigests, PagesDeployment | None, str]] = {
    "canonical": (D, digests_of("4", a="1", b="2", c="3", d="4"), D, "matches the canonical deployment"),
    "canonical, others not read": (D, digests_of("4", d="4"), D, "matches the canonical deployment"),
    "an older one": (D, digests_of("3", a="1", b="2", c="3", d="4"), C, "only cccccccc: canonical does not follow"),
    "none": (D, digests_of("9", a="1", b="2", c="3", d="4"), None, "dddddddd, and no deployment matches it"),
    "two": (D, digests_of("3", a="1", b="3", c="3", d="4"), None, "dddddddd, and 2 deployments match it"),
    "one match, one unread": (D, digests_of("3", a="1", b=None, c="3", d="4"), None, "1 of the deployments to compare"),
    "canonical not read": (D, digests_of("3", a="1", b="2", c="3"), None, "1 of the deployments to compare"),
    "nothing read": (D, digests_of("3"), None, "4 of the deployments to compare"),
    "the site not read": (D, digests_of(None, a="1", b="2", c="3", d=None), None, "the site could not be read"),
    "no canonical": (None, digests_of("4", a="1", b="2", c="3", d="4"), None, "names no canonical deployment"),
    "canonical beyond the list": (
        deployment_named("f", 90),
        digests_of("6", a="1", b="2", c="3", d="4", f="6"),
        deployment_named("f", 90),
        "canonical",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("canonical", "digests", "serves", "why"), LIVE.values(), ids=LIVE)
def test_matching_deployment_is_live(
    canonical: PagesDeployment | None, digests: ContentDigests, serves: PagesDeployment | None, why: str
) -> None:
    found = live_deployment.identify_live(project(canonical), LIST, digests)

    assert found.deployment == serves
    assert why in found.why
    assert found.is_canonical == (serves is not None and serves == canonical)


def test_indistinguishable_deployments_are_listed() -> None:
    found = live_deployment.identify_live(project(D), LIST, digests_of("4", a="1", b="4", c="4", d="4"))
    assert (found.deployment, found.indistinguishable) == (D, (C.id, B.id))


@pytest.mark.slow
def test_only_newest_successful_deployments_are_compared() -> None:
    failed = deployment_named("e", 5, status="failure")
    many = [replace(A, id=f"{number:032x}", created_on=NOW - timedelta(hours=number)) for number in range(20)]
    assert live_deployment.select_compared([failed, *many]) == tuple(many[:MAX_COMPARED])


@pytest.mark.parametrize(
    ("listed", "canonical", "whole"),
    [
        ((C, B), D, (D, C, B)),
        ((replace(D, status="active"), C), D, (D, C)),
        ((D, C), C, (D, C)),
        ((D, C), A, (D, C)),
        ((D, C), None, (D, C)),
        ((), D, (D,)),
    ],
    ids=["deployed since", "build finished since", "in the list", "beyond the list", "none", "first deployment"],
)
def test_later_canonical_deployment_is_added_to_the_list(
    listed: tuple[PagesDeployment, ...], canonical: PagesDeployment | None, whole: tuple[PagesDeployment, ...]
) -> None:
    assert live_deployment.include_canonical(listed, canonical) == whole


digests = st.sampled_from(["1", "2", "3", None])


@pytest.mark.slow
@given(st.none() | st.sampled_from(LIST), digests, st.dictionaries(st.sampled_from("abcd"), digests))
def test_unproved_deployment_is_never_live(
    canonical: PagesDeployment | None, site: str | None, own: dict[str, str | None]
) -> None:
    digests = ContentDigests(site, names(own))

    found = live_deployment.identify_live(project(canonical), LIST, digests)

    if found.deployment is not None:
        assert canonical is not None
        assert digests.own[found.deployment.id] == site is not None
    if found.deployment is not None and found.deployment != canonical:  # all the others were seen to differ
        others = [digests.own[d.id] for d in LIST if d != found.deployment]
        assert None not in others
        assert site not in others
    if canonical is not None and site is not None and digests.own.get(canonical.id) == site:
        assert found.deployment == canonical
    assert found.why


# Explicit targets


@pytest.mark.slow
@pytest.mark.parametrize("text", [D.id, D.id[:8], D.id[:13].upper(), D.url, f"{D.url}/", f" {D.id} "])
def test_parse_target_by_id_prefix_or_url(text: str) -> None:
    assert live_deployment.parse_deployment_target(text, LIST, project="site") == D


@pytest.mark.parametrize(
    ("text", "said", "reason"),
    [
        ("", '^(?!.* 2 ).*""', Reason.UNKNOWN_NAME),
        ("ddddddd", '^(?!.* 2 ).*"ddddddd"', Reason.UNKNOWN_NAME),
        ("dddddddde", '^(?!.* 2 ).*"dddddddde"', Reason.UNKNOWN_NAME),
        ("https://site-1ab.pages.dev", r'^(?!.* 2 ).*"\(hidden\)"', Reason.UNKNOWN_NAME),
        ("aaaaaaaa", "aaaaaaaa.* 2 ", Reason.UNKNOWN_NAME),
        (
            B.id,
            r"\bbbbbbbbb of site\b.* 2026-11-24 11:30:00 UTC .*\bdeploy failure$",
            Reason.NOT_DEPLOYABLE,
        ),
    ],
)
def test_undeployable_target_is_refused(text: str, said: str, reason: Reason) -> None:
    twin = replace(A, id=A.id[:-1] + "0", url="https://other.pages.dev")
    with pytest.raises(Refused, match=said) as caught:
        live_deployment.parse_deployment_target(text, [D, C, replace(B, status="failure"), A, twin], project="site")
    assert caught.value.reason == reason

"""Comparison of a site with a deployment, over random pages."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.core.verdict import PageContent
from ops.pages.live_deployment import ObservedPages, deployment_digest, first_read_failure, site_digest

PAGES = st.sampled_from(
    [
        PageContent("1"),
        PageContent("2"),
        PageContent("3"),
        PageContent("n", is_absent=True),
        PageContent("m", is_absent=True),
        PageContent(error="closed"),
    ]
)


@st.composite
def page_pairs(draw: st.DrawFn) -> tuple[ObservedPages, ObservedPages]:
    size = draw(st.integers(1, 4))
    own, site = (tuple(draw(PAGES) for _ in range(size)) for _ in range(2))
    return own, site


@pytest.mark.slow
@given(page_pairs())
def test_site_matches_only_if_every_page_matches(
    pair: tuple[ObservedPages, ObservedPages],
) -> None:
    own, site = pair

    alike = site_digest(site) is not None and deployment_digest(own, site) == site_digest(site)

    read = all(page.digest for page in (*own, *site))
    each = [
        mine.digest == theirs.digest or (mine.is_absent and not theirs.is_absent)
        for mine, theirs in zip(*pair, strict=True)
    ]
    shown = any(not mine.is_absent or theirs.is_absent for mine, theirs in zip(*pair, strict=True))
    assert alike == (read and all(each) and shown)


@given(page_pairs())
def test_unread_page_matches_nothing(pair: tuple[ObservedPages, ObservedPages]) -> None:
    own, site = pair
    closed = replace(own[0], digest="", error="closed")

    assert deployment_digest((closed, *own[1:]), site) is None
    assert site_digest((closed, *site[1:])) is None
    assert first_read_failure((closed, *own[1:])) == "closed"
    assert first_read_failure((PageContent("1"),)) == ""

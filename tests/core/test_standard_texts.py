"""Standard texts of each public state and audience, and the templates of ops.yml that override them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.core.standard_texts import (
    LONGEST_POST,
    LONGEST_TEXT,
    STATES,
    UNKNOWN_COMPONENTS,
    Audience,
    TextFacts,
    fill_text,
    fill_texts,
    find_text_problem,
)

AT = datetime(2026, 12, 1, 13, 5, tzinfo=UTC)
PAGE = "https://status.bakery.example"
FACTS = TextFacts(("Shop", "Ordering", "Delivery"), AT, "Bakery status", PAGE)


@pytest.mark.parametrize("state", STATES)
def test_each_state_has_a_text_for_each_audience(state: str) -> None:
    texts = fill_texts(state, FACTS, {})
    assert texts.keys() == set(Audience)
    assert all("Shop, Ordering and Delivery" in text and "{" not in text for text in texts.values())
    assert [audience for audience, text in texts.items() if PAGE in text] == ["team", "social", "email"]
    assert len(texts[Audience.BANNER]) <= 120
    assert texts[Audience.EMAIL].startswith("Subject: ")


@pytest.mark.parametrize("state", STATES)
def test_text_without_a_page_has_no_gap(state: str) -> None:
    for text in fill_texts(state, TextFacts((), AT), {}).values():
        assert UNKNOWN_COMPONENTS in text
        assert "  " not in text
        assert text == text.strip()
        assert "http" not in text


def test_override_replaces_the_text_of_one_audience() -> None:
    overrides = {"identified": {"social": "{title}: {components}, {time}. {url} {nothing}"}}
    assert fill_text("identified", Audience.SOCIAL, FACTS, overrides) == (
        f"Bakery status: Shop, Ordering and Delivery, 2026-12-01 13:05 UTC. {PAGE} {{nothing}}"
    )
    assert fill_text("resolved", Audience.SOCIAL, FACTS, overrides) != fill_text(
        "identified", Audience.SOCIAL, FACTS, overrides
    )


@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=40), st.sampled_from(STATES))
def test_post_fits_with_any_components(components: list[str], state: str) -> None:
    facts = TextFacts(tuple(components), AT, "Bakery status", PAGE)
    assert len(fill_text(state, Audience.SOCIAL, facts, {})) <= LONGEST_POST


def test_long_post_counts_the_components_that_it_does_not_name() -> None:
    facts = TextFacts(tuple(f"Component with number {number}" for number in range(20)), AT)
    text = fill_text("resolved", Audience.SOCIAL, facts, {})
    named = text.count("Component with number")
    assert named
    assert f" and {20 - named} more" in text
    assert fill_text("resolved", Audience.TEAM, facts, {}).count("Component with number") == 20


def test_component_cannot_add_a_placeholder() -> None:
    facts = TextFacts(("{url}", "{time}"), AT, "{components}", PAGE)
    assert fill_text("resolved", Audience.STATUS_PAGE, facts, {}).count("{url} and {time}") == 1
    assert fill_text("resolved", Audience.TEAM, facts, {"resolved": {"team": "{title}"}}) == "{components}"


@pytest.mark.parametrize(
    ("template", "has_page", "part"),
    [
        ("Back soon.", False, ""),
        ("{components} at {time}", False, ""),
        ("{title} {url}", True, ""),
        ("{title}", False, "status_page"),
        ("{url}", False, "status_page"),
        ("{service}", True, "service"),
        ("{components.__class__}", True, "{components}"),
        ("{}", True, "{components}"),
        ("a" * (LONGEST_TEXT + 1), True, str(LONGEST_TEXT)),
    ],
)
def test_template_that_cannot_be_filled_is_named(template: str, has_page: bool, part: str) -> None:
    problem = find_text_problem(template, has_page=has_page)
    assert bool(problem) == bool(part)
    assert part in problem

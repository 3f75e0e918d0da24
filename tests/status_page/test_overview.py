"""What the page says follows from public updates alone, and never sounds better than they do."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

from hypothesis import strategies as st

from ops.core.public_update import CONDITIONS, ComponentCondition, PublicState, PublicUpdate
from ops.status_page.overview import PageOverview, ShownCondition
from ops.status_page.summary import indicator
from tests.status_page.support import (
    ALL_WORK,
    DEGRADED,
    MAJOR,
    OFF,
    OUTAGE,
    PARTIAL,
    PLANNED,
    SETTINGS,
    WORKS,
    overview,
    update,
)
from tests.support.properties import holds_for

IRREGULAR = replace(SETTINGS, interval=None)


def conditions(shown: PageOverview) -> dict[str, str]:
    return {each.name: each.condition.value for each in shown.components}


def test_components_without_an_update_are_unknown() -> None:
    shown = overview()

    assert set(conditions(shown).values()) == {"unknown"}
    assert (shown.is_operational, indicator(shown), shown.last_update) == (False, "unknown", None)


def test_maintenance_does_not_hide_an_open_incident_of_unknown_components() -> None:
    cleaning = update("clean", 1, "in_progress", {"Kitchen": OFF}, ago=20)
    unknown = update("outage", 1, "investigating", {}, ago=10)

    assert indicator(overview(ALL_WORK, cleaning)) == "maintenance"
    assert indicator(overview(ALL_WORK, cleaning, unknown)) == indicator(overview(ALL_WORK, unknown)) == "minor"


def test_all_work_with_regular_builds_only() -> None:
    assert (overview(ALL_WORK).is_operational, indicator(overview(ALL_WORK))) == (True, "none")

    shown = overview(ALL_WORK, settings=IRREGULAR)

    assert (set(conditions(shown).values()), shown.is_operational, indicator(shown)) == ({"unknown"}, False, "unknown")


def test_an_open_incident_decides_in_any_order_of_its_updates() -> None:
    for order in permutations((ALL_WORK, *OUTAGE, PLANNED)):
        shown = overview(*order)

        assert conditions(shown) == {"Shop": "partial_outage", "Kitchen": "operational", "Delivery": "operational"}
        assert ([each.state for each in shown.running], len(shown.planned), len(shown.past)) == (["identified"], 1, 1)
        assert (indicator(shown), shown.running[0].worst) == ("major", ShownCondition.MAJOR_OUTAGE)


def test_the_worst_of_two_open_incidents_counts_until_both_ended() -> None:
    slow = update("slow", 1, "investigating", {"Shop": DEGRADED}, ago=10)
    ended = update("outage", 3, "resolved", {"Shop": WORKS}, ago=5)

    assert conditions(overview(ALL_WORK, *OUTAGE, slow))["Shop"] == "partial_outage"
    assert conditions(overview(ALL_WORK, *OUTAGE, slow, ended))["Shop"] == "degraded_performance"
    slow_ended = update("slow", 2, "resolved", {}, ago=1)
    assert overview(ALL_WORK, *OUTAGE, slow, ended, slow_ended).is_operational


def test_a_monitored_incident_is_not_green() -> None:
    shown = overview(ALL_WORK, *OUTAGE, update("outage", 3, "monitoring", {"Shop": WORKS}))

    assert (conditions(shown)["Shop"], shown.is_operational, indicator(shown)) == ("operational", False, "minor")


def test_a_component_that_ops_yml_lacks_still_counts_as_an_outage() -> None:
    shown = overview(ALL_WORK, update("old", 1, "investigating", {"Museum": MAJOR}))

    assert "Museum" not in conditions(shown)
    assert (shown.is_operational, indicator(shown)) == (False, "critical")


def test_a_correction_replaces_the_former_update() -> None:
    correction = update("outage", 3, "identified", {"Kitchen": PARTIAL}, "It is the kitchen.", ago=70, corrects=2)
    shown = overview(ALL_WORK, *OUTAGE, correction)
    (incident,) = shown.running

    newest, corrected, first = incident.shown_updates
    assert newest.corrected == corrected.update == OUTAGE[1]
    assert (corrected.correction, first.correction) == (correction, None)
    assert conditions(shown) == {"Shop": "major_outage", "Kitchen": "partial_outage", "Delivery": "operational"}


def test_maintenance_shows_once_it_began() -> None:
    assert indicator(overview(ALL_WORK, PLANNED)) == "none"

    begun = update("move", 2, "in_progress", {"Kitchen": OFF})
    shown = overview(ALL_WORK, PLANNED, begun)
    assert (indicator(shown), conditions(shown)["Kitchen"]) == ("maintenance", "under_maintenance")
    assert overview(ALL_WORK, PLANNED, begun, update("move", 3, "completed", {})).is_operational


@holds_for(
    fast=100,
    slow=1000,
    drawn=st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.sampled_from([*PublicState]),
            st.dictionaries(st.sampled_from([*SETTINGS.components, "Museum"]), st.sampled_from([*CONDITIONS, None])),
        ),
        max_size=8,
    ),
    is_regular=st.booleans(),
)
def test_the_page_is_green_only_if_all_updates_say_so(
    drawn: list[tuple[str, PublicState, dict[str, ComponentCondition | None]]], is_regular: bool
) -> None:
    """The judge reads the updates one after the other, and knows nothing of the fold."""
    updates: list[PublicUpdate] = []
    state: dict[str, PublicState] = {}
    said: dict[str, dict[str, str]] = {}
    for number, (incident, now, components) in enumerate(drawn, start=1):
        updates.append(update(incident, number, now, components, ago=100 - number))
        state[incident] = now
        known = said.setdefault(incident, {})
        if now in {"resolved", "completed"}:
            known.update(dict.fromkeys(known, "operational"))
        known.update({name: str(each) for name, each in components.items() if each})
    shown = overview(*updates, settings=SETTINGS if is_regular else IRREGULAR)

    are_over = all(each in {"resolved", "completed", "scheduled"} for each in state.values())
    are_named = all(any(name in each for each in said.values()) for name in SETTINGS.components)
    work = all(
        each == "operational"
        for name in SETTINGS.components
        for each in (known[name] for known in said.values() if name in known)
    )
    assert shown.is_operational == (is_regular and are_over and are_named and work)
    assert (indicator(shown) == "none") == shown.is_operational


def test_a_build_is_late_after_two_intervals_and_the_cache() -> None:
    assert SETTINGS.late_after == timedelta(minutes=40)
    assert IRREGULAR.late_after is None

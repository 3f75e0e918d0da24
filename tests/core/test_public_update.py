"""The value of a public update: its JSON, its limits, and the conditions that follow from several."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.core.public_update import (
    MAX_BYTES,
    AffectedComponent,
    ComponentCondition,
    PublicState,
    PublicUpdate,
    UpdateKind,
    current_conditions,
    find_name_problem,
    find_public_text_problem,
    find_size_problem,
    new_public_id,
    parse_update,
    standing_updates,
)
from ops.core.run_record import RunRecord, embed_record, read_record

AT = datetime(2026, 11, 24, 3, 15, tzinfo=UTC)
FIRST, SECOND = "0" * 12, "1" * 12
OPERATIONAL, DEGRADED, DOWN = (
    ComponentCondition.OPERATIONAL,
    ComponentCondition.DEGRADED,
    ComponentCondition.MAJOR_OUTAGE,
)


def update(state: str = "identified", number: int = 1, incident: str = FIRST, **more: Any) -> PublicUpdate:
    conditions = more.pop("conditions", {"Shop": DEGRADED})
    components = tuple(AffectedComponent(name, each) for name, each in conditions.items())
    id_ = f"{int(incident[0])}{number:011x}"
    given_ = {"text": "We found the cause.", "at": AT + timedelta(minutes=number), **more}
    return PublicUpdate(id_, incident, PublicState(state), components, number=number, **given_)


conditions = st.one_of(st.none(), st.sampled_from(ComponentCondition))
public = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), max_size=80)
names = public.filter(lambda name: not find_name_problem(name))
updates = st.builds(
    PublicUpdate,
    id=st.just("abcdef012345"),
    incident=st.just(SECOND),
    state=st.sampled_from(PublicState),
    components=st.lists(
        st.builds(AffectedComponent, names, conditions), max_size=5, unique_by=lambda each: each.name
    ).map(tuple),
    text=public.filter(lambda text: not find_public_text_problem(text)),
    at=st.datetimes(datetime(2024, 1, 1), datetime(2034, 1, 1)).map(lambda at: at.replace(microsecond=0, tzinfo=UTC)),  # noqa: DTZ001
    number=st.integers(1, 500),
    corrects=st.sampled_from(["", FIRST]),
    starts=st.one_of(st.none(), st.just(AT)),
    ends=st.one_of(st.none(), st.just(AT)),
)


@given(updates)
def test_record_in_a_comment_gives_the_same_update(written: PublicUpdate) -> None:
    if find_size_problem(written):
        assert len(json.dumps(written.to_json())) > MAX_BYTES / 6
        return
    record = read_record(embed_record("An update.", RunRecord("1.1-abcd", source="update", update=written.to_json())))
    assert record is not None
    assert parse_update(record.update) == written


EDITS: list[dict[str, Any]] = [
    {"id": "42"},
    {"incident": 42},
    {"state": "fixed"},
    {"state": None},
    {"components": [["Shop"]]},
    {"components": [["Shop", "fine"]]},
    {"components": [["Shop", ""], ["Shop", "degraded"]]},
    {"components": [["Sh\u202eop", ""]]},
    {"components": [[42, ""]]},
    {"text": ""},
    {"text": "x" * 1001},
    {"text": "Fixed \u202eby us"},
    {"at": "yesterday"},
    {"at": 1e300},
    {"number": 0},
    {"number": True},
    {"number": "1"},
    {"corrects": "last"},
    {"starts": "soon"},
]


@pytest.mark.parametrize("edit", EDITS, ids=str)
def test_edited_record_is_no_update(edit: dict[str, Any]) -> None:
    assert parse_update(update().to_json() | edit) is None


def test_every_record_of_the_longest_text_fits() -> None:
    assert not find_size_problem(update(text="x" * 1000, conditions={f"Part {n} of the shop": DOWN for n in range(30)}))
    assert "2,800" in find_size_problem(update(text="\u3042" * 1000))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (" \n", "empty"),
        ("x" * 10_000, "10,000"),
        ("Fixed \u202ereversed", "U+202E"),
        ("Fixed \u2066isolated", "U+2066"),
        ("Fixed\x07", "U+0007"),
        ("Fixed\u200b", "U+200B"),
        ("See #42", "issue"),
        ("Ask @anna", "login"),
        ("account 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", "id"),
        ("version 1a2b3c4d-0000-4000-8000-00000000000a", "id"),
    ],
)
def test_text_that_cannot_become_public(text: str, named: str) -> None:
    assert named in find_public_text_problem(text)


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script> **bold** [link](javascript:alert(1))",
        "Mail help@bakery.example, or call 0800 123 456",
        "We serve 50% of orders; order no. 42 is safe",
        "می\u200cخواهم 👩\u200d🍳",
        "Fish &#38; chips",
    ],
)
def test_plain_text_is_allowed(text: str) -> None:
    assert not find_public_text_problem(text)


def test_each_state_belongs_to_a_kind_and_has_a_label() -> None:
    maintenance = {each for each in PublicState if each.kind == UpdateKind.MAINTENANCE}
    assert maintenance == {PublicState.SCHEDULED, PublicState.IN_PROGRESS, PublicState.COMPLETED}
    assert PublicState.IN_PROGRESS.label == "status:in-progress"
    assert {each for each in PublicState if each.is_end} == {PublicState.RESOLVED, PublicState.COMPLETED}


def test_ids_are_random() -> None:
    assert len({new_public_id() for _ in range(100)}) == 100


def test_correction_replaces_a_former_update_of_its_incident_only() -> None:
    wrong, right = update(number=1), update(number=2, corrects=update(number=1).id)
    other = update(number=1, incident=SECOND, corrects=wrong.id)
    assert standing_updates([right, other, wrong]) == (other, right)
    later = update(number=1, corrects=update(number=2).id)
    assert len(standing_updates([later, update(number=2)])) == 2


def test_condition_comes_only_from_updates() -> None:
    assert current_conditions([]) == {}
    scheduled = update("scheduled", conditions={"Shop": None})
    assert current_conditions([scheduled]) == {}


def test_end_of_an_incident_leaves_all_of_its_components_operational() -> None:
    began = update("investigating", 1, conditions={"Shop": DOWN, "Orders": DEGRADED})
    assert current_conditions([began, update("resolved", 2, conditions={})]) == {
        "Shop": OPERATIONAL,
        "Orders": OPERATIONAL,
    }


def test_worst_of_two_open_incidents_counts() -> None:
    first = update("identified", conditions={"Shop": DOWN})
    second = update("resolved", incident=SECOND, conditions={"Shop": OPERATIONAL})
    assert current_conditions([first, second]) == {"Shop": DOWN}


def test_condition_of_a_corrected_update_does_not_count() -> None:
    wrong = update(number=1, conditions={"Shop": DOWN, "Orders": DOWN})
    right = update(number=2, conditions={"Shop": DEGRADED}, corrects=wrong.id)
    assert current_conditions([wrong, right]) == {"Shop": DEGRADED}


def test_says_the_same_without_its_number() -> None:
    assert update(number=2).says_same(update(number=1))
    assert not replace(update(), text="Other").says_same(update())

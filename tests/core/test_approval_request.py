"""Requests for a second person: signature, record, choice, refusals and growth of the loss."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.core.approval_request import (
    MOST_TABLES,
    SPARE_ROWS,
    ApprovalEvent,
    ApprovalTerms,
    ApprovalUse,
    WaitingRequest,
    choose_request,
    find_growth,
    make_request,
    parse_people,
    parse_request,
    parse_use,
    refuse_approval,
)
from ops.core.errors import Refused
from ops.core.run_record import RunRecord, embed_record, read_record

NOW = datetime(2026, 11, 26, 10, 0, tzinfo=UTC)
TERMS = ApprovalTerms(
    {"database": "orders", "to": "2026-11-26T09:50:00Z"},
    ("id", "to"),
    "orders",
    lost_seconds=600,
    lost_rows={"sales": 5},
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
)


def request(terms: ApprovalTerms = TERMS, *, run: str = "7.1-0a0b", people: tuple[int, ...] = (5,)) -> WaitingRequest:
    made = make_request(
        terms, run=run, incident=1, runbook="restore-database", environment="live", requesters=people, now=NOW
    )
    return made.signed("token", "team/operations")


def changed(value: Any) -> Any:
    match value:
        case bool() | None:
            return 1
        case str():
            return value + "0"
        case int():
            return value + 1
        case dict():
            return {**value, "more": "0" if all(isinstance(each, str) for each in value.values()) else 0}
        case datetime():
            return value + timedelta(seconds=1)
        case _:
            return (*value, 9)


@pytest.mark.parametrize("name", [each.name for each in dataclasses.fields(WaitingRequest)])
def test_change_of_any_field_breaks_the_signature(name: str) -> None:
    edited = dataclasses.replace(request(), **{name: changed(getattr(request(), name))})

    assert request().is_signed("token", "Team/operations")
    assert not edited.is_signed("token", "team/operations")
    assert not request().is_signed("another token", "team/operations")
    assert not request().is_signed("token", "team/others")


def test_signature_may_be_any_text() -> None:
    """A stranger's record holds any text, and the comparison of two texts takes ASCII only."""
    assert not dataclasses.replace(request(), signature="ü").is_signed("token", "team/operations")


def test_request_survives_the_hidden_record() -> None:
    body = embed_record("text", RunRecord("7.1-0a0b", approval=request().to_json()))

    record = read_record(body)

    assert record is not None
    assert parse_request(record.approval) == request()
    assert "approval" not in embed_record("text", RunRecord("7.1-0a0b"))


def test_largest_request_fits_into_the_hidden_record() -> None:
    tables = {f"table-{number:02}-{'-' * 40}": 10**9 for number in range(99)}
    params = {"database": "d" * 64, "to": "2026-11-26T09:50:00Z", "reason": "a reason @ <shop> & co " * 40}
    large = request(ApprovalTerms(params, ("id",), "t" * 400, lost_seconds=10**6, lost_rows=tables))

    record = read_record(embed_record("text", RunRecord("7.1-0a0b", approval=large.to_json())))

    assert record is not None
    assert parse_request(record.approval) == large
    assert 0 < len(large.most_rows) <= MOST_TABLES


@given(st.dictionaries(st.sampled_from([*request().to_json(), "uses", "login", "id", "event"]), JSON))
def test_any_record_is_parsed_or_ignored(data: dict[str, Any]) -> None:
    parse_request(request().to_json() | data)
    parse_request(data)
    parse_use(data)


@given(st.text() | JSON.map(json.dumps))
def test_malformed_approval_of_the_gate_is_refused(text: str) -> None:
    if text:
        with pytest.raises(Refused):
            parse_people("5", text)


people = st.integers(1, 3)
minutes = st.integers(-3, 40)


@given(requesters=st.frozensets(people, min_size=1, max_size=2), approver=people, after=minutes, used=st.booleans())
def test_only_another_person_approves_once_and_in_time(
    requesters: frozenset[int], approver: int, after: int, used: bool
) -> None:
    asked = request(people=tuple(requesters))
    approval = ApprovalEvent(asked.run, "bob", approver, NOW + timedelta(minutes=after))
    uses = [ApprovalUse(asked.run, asked.digest, "carol", 9, NOW.isoformat(), "8")] if used else []
    is_right = approver not in requesters and 0 < after <= 30 and not used

    try:
        refuse_approval(asked, approval, uses)
    except Refused:
        assert not is_right
    else:
        assert is_right


@given(
    subjects=st.lists(st.sampled_from("ab"), max_size=4),
    used=st.frozensets(st.integers(0, 3)),
    after=minutes,
    code=st.sampled_from(["", "first", "other"]),
)
def test_chosen_request_is_the_newest_of_its_subject_and_waits(
    subjects: list[str], used: frozenset[int], after: int, code: str
) -> None:
    asked = [
        request(dataclasses.replace(TERMS, params={"database": name}, content=(name, str(number))), run=f"{number}")
        for number, name in enumerate(subjects)
    ]
    uses = [ApprovalUse(each.run, each.digest, "carol", 9, "", "") for n, each in enumerate(asked) if n in used]
    typed = {"": "", "first": asked[0].code if asked else "0" * 8, "other": "f" * 8}[code]

    try:
        found = choose_request(asked, uses, NOW + timedelta(minutes=after), typed)
    except Refused:
        return
    assert found.run not in {each.uses for each in uses}
    assert after <= 30
    assert not typed or found.code == typed
    assert typed or all(each.params != found.params for each in asked[asked.index(found) + 1 :])


@given(lost=st.integers(0, 10**6), rows=st.integers(0, 10**6), later=st.integers(0, 35 * 60))
def test_steady_writer_stays_within_the_approved_loss(lost: int, rows: int, later: int) -> None:
    """A run that starts at the last moment loses as much more as the time that has passed."""
    asked = request(dataclasses.replace(TERMS, lost_seconds=lost, lost_rows={"sales": rows}))
    then_rows = rows if lost == 0 else rows * (lost + later) // max(lost, 60)
    then = dataclasses.replace(TERMS, lost_seconds=lost + later, lost_rows={"sales": then_rows})

    assert find_growth(asked, then) == ""


@pytest.mark.parametrize(
    ("seconds", "rows", "says"),
    [
        (600 + 36 * 60, {"sales": 5}, "it would lose 46 min of writes now, and at most 45 min was approved"),
        (None, {"sales": 5}, "it would lose an unknown time of writes now"),
        (600, {"sales": 123 + SPARE_ROWS}, "it would remove 223 rows of sales now"),
        (600, {"sales": 5, "users": SPARE_ROWS + 1}, "it would remove 101 rows of users now"),
    ],
)
def test_greater_loss_is_named(seconds: int | None, rows: dict[str, int], says: str) -> None:
    assert says in find_growth(request(), dataclasses.replace(TERMS, lost_seconds=seconds, lost_rows=rows))


def test_two_requests_with_the_same_shown_digits_are_refused() -> None:
    """A requester can choose two times so that a harmless request and a harmful one show the same digits."""
    harmless = dataclasses.replace(request(), digest="abcdef01" + "0" * 24)
    harmful = dataclasses.replace(
        harmless, run="8.1-0a0b", digest="abcdef01" + "1" * 24, params={**harmless.params, "to": "2026-11-01T00:00:00Z"}
    )

    for code in ("", "abcdef01"):
        with pytest.raises(Refused, match="several requests wait on this incident"):
            choose_request([harmless, harmful], [], NOW + timedelta(minutes=1), code)
    again = dataclasses.replace(harmless, run="9.1-0a0b", params={**harmless.params, "reason": "another"})
    assert choose_request([harmless, again], [], NOW + timedelta(minutes=1)) is again

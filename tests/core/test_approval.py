"""Requests for a second person: signature, record, choice, refusals and growth of the loss."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.core.approval import (
    MOST_TABLES,
    SPARE_ROWS,
    Approval,
    ApprovalTerms,
    ApprovalUse,
    WaitingRequest,
    find_waiting_request,
    make_request,
    parse_approval,
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


@pytest.mark.slow
@pytest.mark.parametrize("name", [each.name for each in dataclasses.fields(WaitingRequest)])
def test_change_of_any_field_breaks_the_signature(name: str) -> None:
    edited = dataclasses.replace(request(), **{name: changed(getattr(request(), name))})

    assert request().is_signed("token", "Team/operations")
    assert not edited.is_signed("token", "team/operations")
    assert edited.full_digest != request().full_digest
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
    assert large.limit.find_growth(10**6, tables) == ""
    assert "rows of each other table" in large.loss


def test_request_of_an_earlier_release_keeps_its_signature() -> None:
    """It has no number for tables without a number, and each of them may lose some rows."""
    assert "most_others" not in request().to_json()
    assert request().limit.others == SPARE_ROWS


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from([*request().to_json(), "uses", "login", "id", "event"]), JSON))
def test_any_record_is_parsed_or_ignored(data: dict[str, Any]) -> None:
    parse_request(request().to_json() | data)
    parse_request(data)
    parse_use(data)


@pytest.mark.slow
@given(st.text() | JSON.map(json.dumps))
def test_malformed_approval_of_the_gate_is_refused(text: str) -> None:
    if text:
        with pytest.raises(Refused):
            parse_approval(text)


people = st.integers(1, 3)
minutes = st.integers(-3, 40)


@pytest.mark.slow
@given(requesters=st.frozensets(people, min_size=1, max_size=2), approver=people, after=minutes, used=st.booleans())
def test_only_another_person_approves_once_and_in_time(
    requesters: frozenset[int], approver: int, after: int, used: bool
) -> None:
    asked = request(people=tuple(requesters))
    approval = Approval(digest=asked.full_digest, login="bob", id=approver, at=NOW + timedelta(minutes=after))
    uses = [ApprovalUse(uses=asked.run, digest=asked.digest, login="carol", id=9, at=NOW, event="8")] if used else []
    is_right = approver not in requesters and 0 < after <= 30 and not used

    try:
        refuse_approval(asked, approval, uses)
    except Refused:
        assert not is_right
    else:
        assert is_right


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 2)), max_size=4), st.integers(0, 4), st.integers(1, 2))
def test_found_request_is_the_one_whose_digest_was_entered(
    made: list[tuple[str, int]], chosen: int, incident: int
) -> None:
    """Also among requests of one plan, which differ in their loss only."""
    asked = [
        dataclasses.replace(request(dataclasses.replace(TERMS, lost_seconds=number)), incident=at, uncounted=text)
        for number, (text, at) in enumerate(made)
    ]
    digest = asked[chosen].full_digest if chosen < len(asked) else "0" * 32

    try:
        found = find_waiting_request(asked, incident, digest)
    except Refused:
        assert chosen >= len(asked) or asked[chosen].incident != incident
    else:
        assert found == asked[chosen]


@pytest.mark.slow
@given(use=minutes, is_same_plan=st.booleans())
def test_use_of_a_plan_uses_up_the_requests_before_it(use: int, *, is_same_plan: bool) -> None:
    asked = request()
    digest, at = asked.digest if is_same_plan else "0" * 32, NOW + timedelta(minutes=use)
    other = ApprovalUse(uses="8.1-0a0b", digest=digest, login="carol", id=9, at=at, event="8")
    approval = Approval(digest=asked.full_digest, login="bob", id=6, at=NOW + timedelta(minutes=1))

    try:
        refuse_approval(asked, approval, [other])
    except Refused:
        assert is_same_plan
        assert use >= 0
    else:
        assert not is_same_plan or use < 0


@pytest.mark.slow
@given(lost=st.integers(0, 10**6), rows=st.integers(0, 10**6), later=st.integers(0, 35 * 60))
def test_steady_writer_stays_within_the_approved_loss(lost: int, rows: int, later: int) -> None:
    """A run that starts at the last moment loses as much more as the time that has passed."""
    asked = request(dataclasses.replace(TERMS, lost_seconds=lost, lost_rows={"sales": rows}))
    then_rows = rows if lost == 0 else rows * (lost + later) // max(lost, 60)
    then = dataclasses.replace(TERMS, lost_seconds=lost + later, lost_rows={"sales": then_rows})

    assert asked.limit.find_growth(then.lost_seconds, then.lost_rows) == ""


@pytest.mark.parametrize(
    ("seconds", "rows", "says"),
    [
        (600 + 36 * 60, {"sales": 5}, "it would lose 46 min of writes now, and at most 45 min was approved"),
        (None, {"sales": 5}, "it would lose an unknown time of writes now"),
        (600, {"sales": 123 + SPARE_ROWS}, "it would lose 223 rows of sales now"),
        (600, {"sales": None}, "it would lose an unknown number of rows of sales now, and at most 123 were approved"),
        (600, {"sales": 5, "users": SPARE_ROWS + 1}, "it would lose 101 rows of users now"),
    ],
)
def test_greater_loss_is_named(seconds: int | None, rows: dict[str, int | None], says: str) -> None:
    assert says in request().limit.find_growth(seconds, rows)

"""The evidence comment: untrusted records, and GitHub's size limit."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import strategies as st

from ops.core.clock import Period
from ops.evidence.tables import (
    AUDIT,
    HANDLED,
    EvidenceCollection,
    EvidenceTable,
    TableCell,
    evidence_lines,
    render_evidence_comment,
)
from tests.support.hostile import WORDS, skeleton
from tests.support.properties import holds_for

AT = datetime(2026, 11, 24, 3, 5, tzinfo=UTC)


def collection(said: str, *, rows: int = 2) -> EvidenceCollection:
    row: tuple[TableCell, ...] = (AT, *[f"x{said}"] * (len(AUDIT.columns) - 1))
    found = EvidenceTable(AUDIT.title, AUDIT.source, AUDIT.permission, AUDIT.columns, (row,) * rows, notes=("A note.",))
    missing = EvidenceTable(AUDIT.title, AUDIT.source, AUDIT.permission, AUDIT.columns, unavailable_reason=f"x{said}")
    period = Period(AT - timedelta(hours=1), AT)
    return EvidenceCollection("production", period, AT, is_anonymized=True, tables=(found, missing))


HARMLESS = skeleton(render_evidence_comment(collection("x")))


@pytest.mark.slow
@holds_for(25, 1500, said=WORDS)
def test_comment_survives_untrusted_records(said: str) -> None:
    assert skeleton(render_evidence_comment(collection(said))) == HARMLESS
    assert all(line.isprintable() for line in evidence_lines(collection(said)))


@holds_for(1, 20, rows=st.integers(1, 5000), long=st.integers(1, 400))
def test_comment_stays_within_budget(rows: int, long: int) -> None:
    shown = render_evidence_comment(collection("|" * long, rows=rows))

    assert len(shown) <= 60_000
    assert shown.rstrip().endswith("</details>")


def test_comment_shows_numbers_and_times() -> None:
    rows = (("GET /bread", 200, 1234),)
    shown = render_evidence_comment(replace(collection("x"), tables=(replace(HANDLED, title="t", rows=rows),)))

    assert "1234" in shown
    assert f"{AT:%Y-%m-%d %H:%M:%S}" in render_evidence_comment(collection("x"))


@pytest.mark.parametrize("reason", ["", "a reason of many words " * 14])
@pytest.mark.parametrize("workers", [70, 400])
def test_comment_with_many_sources_says_where_the_rest_is(workers: int, reason: str) -> None:
    tables = [
        replace(
            HANDLED,
            title=HANDLED.title.format(f"the Worker bakery-{number:04}"),
            rows=(("GET /bread", 200, number),) * 40 if number % 7 == 0 and not reason else (),
            unavailable_reason=reason,
        )
        for number in range(workers)
    ]

    shown = render_evidence_comment(replace(collection("x"), tables=tuple(tables)))

    assert len(shown) <= 60_000
    titles = [each.title for each in tables if f"**{each.title}**" in shown]
    left_out = re.search(r"(\d+) more sources do not fit here .*`--json FILE`", shown)
    assert len(titles) + (int(left_out[1]) if left_out else 0) == workers
    if any(each.rows and each.title not in titles for each in tables):
        assert not any(each.title in titles for each in tables if not each.rows)

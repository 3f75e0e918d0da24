"""The Markdown record: its golden file, and hostile text that stays text."""

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ops.render.markdown import FOLDERS, cell, fenced, inert
from tests.conftest import ROOT, Releases, World

GOLDEN = Path(__file__).parent / "golden" / "recovered.md"

HOSTILE = st.text(
    st.one_of(st.sampled_from(list("`|@#<>&*_[]()!\\~\n\r\t\u202e\u200b ")), st.characters()), min_size=1, max_size=60
)


def without_what_differs(text: str) -> str:
    text = re.sub(r"\d{8}T\d{6}-[0-9a-f]{4}", "RUN", text)
    text = re.sub(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d", "TIME", text)
    text = re.sub(r"\d{4}-\d\d-\d\d, UTC", "DATE, UTC", text)
    text = re.sub(r"\b\d+\.\d\b", "S", text)
    text = re.sub(r"before: [^`]*|the probes (failed before and )?are healthy[^`]*", "…", text)
    text = re.sub(r" --config \S+", "", text)
    return re.sub(r"by [^)`]+\)", "by USER)", text)


def test_the_record_of_a_recovery(world: World, releases: Releases, update_golden: bool) -> None:
    world.rollback("--reason", "checkout fails", "--incident", "42")
    (record,) = world.folder.glob(".ops/runs/*/record.md")
    seen = without_what_differs(record.read_text())
    if update_golden:
        GOLDEN.write_text(seen)
    assert seen == GOLDEN.read_text()


@given(HOSTILE)
def test_hostile_text_stays_inside_its_code_span_and_its_table_cell(text: str) -> None:
    span = inert(text)
    fence = re.match("`+", span)
    assert fence
    inside = span[len(fence[0]) : -len(fence[0])]
    assert span.endswith(fence[0])
    assert not re.search(rf"(?<!`){fence[0]}(?!`)", inside), "the span ends early"
    assert "\n" not in span
    assert "|" not in cell(text), "the table cell ends early"
    assert all(character.isprintable() for character in span)


@given(HOSTILE)
def test_hostile_text_cannot_end_a_code_fence(text: str) -> None:
    assert "\n" not in fenced(text)
    assert "```" not in fenced(text)


def test_every_value_in_a_template_is_made_inert_or_is_our_own() -> None:
    ours = re.compile(
        r"^number$|^link$|result\.(decision|runbook|incident|run|timeline\[0\]\.at)\b|^section\.title$|^title$|^name\b|(event|events\[0\])\.(at|kind|seconds)|seconds"
        r"|^page\.(state|run)$|^parts\.|^item\.title$|^\"x\" if item|^older$|^left_out$|^at\."
    )
    for template in (ROOT / "templates").glob("*.j2"):
        for expression in re.findall(r"\{\{(.*?)\}\}", template.read_text(), re.DOTALL):
            value = expression.strip()
            assert re.search(r"\| (inert|cell|fenced)$", value) or ours.search(value), f"{template.name}: {value}"
    assert FOLDERS[1] == ROOT / "templates"

"""The Markdown record: its golden file, and hostile text that stays text."""

import re

from ops.render.markdown import FOLDERS, cell, fenced, inert
from tests.conftest import ROOT
from tests.support.hostile import HOSTILE
from tests.support.properties import holds_for


@holds_for(40, 1000, text=HOSTILE)
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


@holds_for(40, 1000, text=HOSTILE)
def test_hostile_text_cannot_end_a_code_fence(text: str) -> None:
    assert "\n" not in fenced(text)
    assert "```" not in fenced(text)


def test_every_value_in_a_template_is_made_inert_or_is_our_own() -> None:
    ours = re.compile(
        r"^number$|^link$|result\.(decision|runbook|incident|run|timeline\[0\]\.at)\b|^section\.title$|^title$|^name\b|(event|events\[0\])\.(at|kind|seconds)|seconds"
        r"|^page\.(state|run|log)$|^caller\(\)$|^parts\.|^item\.title$|^\"x\" if item|^older$|^left_out$|^at\."
        # of the report: its regions and prompts, moments, numbers, and words of a closed list
        r"|^regions\.|^asked\(|^item$|^title$|^number$|^what$|^rows\(|^moment\(|strftime|span$|^r\.main\.ended$|^r\.(heading|all_lines|duration_lacks|went|doubt|lines \| length)\b"
        r"|^r\.evidence\.(number|severity|left_out)\b|^r\.evidence\.runs \| length|^(began|ended)$|stage\.|^each\.(name|first\.value|last\.value)\b"
        r"|r\.recovery\.stages|^\"unknown\""
        # of evidence: numbers, the words of an exhibit, and its cells, which a test of their own holds inert
        r"|^collection\.(not_asked|exhibits) \| length$|^outcome\(|^note$|^most$|^shown\(|^\" --- \|\""
        r"|^exhibit\.(title|permission|source|columns|rows \| length)\b"
    )
    for template in (ROOT / "templates").glob("*.j2"):
        for expression in re.findall(r"\{\{(.*?)\}\}", template.read_text(), re.DOTALL):
            value = expression.strip()
            assert re.search(r"\| (inert|cell|fenced)(\(\d+\))?$|\| linked\(.*\)$", value) or ours.search(value), (
                f"{template.name}: {value}"
            )
    assert FOLDERS[1] == ROOT / "templates"

"""Markdown output: escaping of hostile text, and wrapped commands."""

import re
import shlex
import subprocess

import pytest
from hypothesis import strategies as st

from ops.render import PHONE, TEMPLATES, code_span, escape_cell, escape_markdown, to_one_line, wrap_command
from tests.conftest import ROOT
from tests.support.hostile import HOSTILE, WORDS, skeleton
from tests.support.properties import holds_for


@pytest.mark.slow
@holds_for(60, 1000, text=WORDS)
def test_hostile_text_is_plain_prose(text: str) -> None:
    prose = escape_markdown(text)
    assert skeleton(prose) == ["<p []>", "</p>"]
    assert "\n" not in prose
    assert all(character.isprintable() for character in prose)


@pytest.mark.slow
@holds_for(60, 1000, text=WORDS)
def test_hostile_text_is_one_table_cell(text: str) -> None:
    table = "| a | b |\n| --- | --- |\n| {} | y |\n"
    assert skeleton(table.format(escape_cell(text))) == skeleton(table.format("x"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("secret AI_KEY: 2 of 3 (90 %)", "secret AI_KEY: 2 of 3 (90 %)"),
        ("deployment d3049278-7a43-4a3a-a3ee-7eff43aa34a4", "deployment `d3049278`"),
        ("0ffae05a → 2c8b7e91", "`0ffae05a` → `2c8b7e91`"),
        ("run `ops x`, with --current-secrets", "run `ops x`, with `--current-secrets`"),
        ("@acme #1 GH-1 www.x", "@&#8203;acme #&#8203;1 GH&#8203;-1 www&#8203;.x"),
        ("see https://x.example/a_b.", "see `https://x.example/a_b`."),
        ("# a", "\\# a"),
        ("1. a", "1&#8203;. a"),
        ("at 03:12:20", "at 03:12:20"),
        ("a|b <b> & $x [y] *z* _e_ ~", r"a&#124;b &lt;b&gt; &amp; &#36;x \[y\] \*z\* \_e\_ \~"),
    ],
)
def test_prose_is_escaped_only_where_necessary(text: str, shown: str) -> None:
    assert escape_markdown(text) == shown


def test_cut_text_shows_that_it_is_cut() -> None:
    assert escape_markdown("n" * 10, 10) == "n" * 10
    assert escape_markdown("n" * 11, 10) == escape_cell("n" * 11, 10) == f"{'n' * 9}…"
    assert code_span("n" * 11, 10) == f"`{'n' * 9}…`"


@pytest.mark.slow
@holds_for(30, 300, words=st.lists(HOSTILE, min_size=1, max_size=5))
def test_wrapped_command_is_equivalent_and_fits_a_phone(words: list[str]) -> None:
    given = [to_one_line(word).replace("```", "` ` `") for word in words]
    wrapped = wrap_command(shlex.join(["printf", "%s,", *given]))
    assert all(len(line) <= PHONE for line in wrapped.split("\n"))
    assert "```" not in wrapped
    assert subprocess.check_output(["sh", "-c", wrapped], text=True) == "".join(f"{word}," for word in given)


def test_command_breaks_before_an_option() -> None:
    command = "ops rollback-worker --service api --environment production --incident 1 --to 0ffae05a"
    assert wrap_command(command).split("\n") == [
        "ops rollback-worker --service api \\",
        "  --environment production \\",
        "  --incident 1 --to 0ffae05a",
    ]


@pytest.mark.slow
def test_every_template_value_is_escaped_or_trusted() -> None:
    ours = re.compile(
        r"^number$|^link$|^icon$|^fence\(|^where$|^title$|^parts\.|^section\.title$|^title$|^name\b|(event|events\[0\])\.(at|kind|seconds)|seconds"
        r"|^run\.(id|log_url|requested_incident)$|^caller\(\)$|^parts\.|^item\.title$|^\"x\" if item|^older$|^left_out$|^at\."
        # of the report: its regions and prompts, moments, numbers, and words of a closed list
        r"|^of_people$|^icons\[|^each\.state\.value$|^r\.evidence\.state\.(state$|unknown \| length)|^known\(|^run\.(change_verb|doubt_note)$|^steps$|^regions\.|^asked\(|^item$|^title$|^number$|^kind$|^what$|^rows\(|^moment\(|strftime|span$|^r\.(main|watch)\.decision_text$|^r\.(heading|every_line \| length|missing_times|change_verb|doubt_note|lines \| length)\b"
        r"|^r\.evidence\.(number|severity|skipped)\b|^r\.evidence\.runs \| length|^(began|ended)$|stage\.|^each\.(name|first\.value|last\.value)\b"
        r"|r\.recovery\.stages|^\"unknown\""
        # of an action item: our mark, and numbers of issues
        r"|^mark$|^report$|^incident$|^each\.issue$"
        # of evidence: numbers, the words of an exhibit, and its cells, which a test of their own holds inert
        r"|^collection\.(unavailable_tables|tables) \| length$|^outcome\(|^note$|^most$|^shown\(|^column$"
        r"|^table\.(title|permission|source|rows \| length)\b|^left$|^bar$"
        # of the impact: numbers, times, and the lines of a chart, which hold nothing else
        r'|^waiting\.code$|^label$|^last_round$|^chart \| join|^numbers\(|^minute\(|^"\{:,\}"\.format\(|^"at least " if|^"%\.3g" \||^impact\.error_minutes$|^line$|^picture \| join|^"5xx" if view'
        # of action items: numbers of issues; of recent changes: marks of a heading, and their number
        r"|^(report|incident|lack\.incident|each\.issue)$|^level$|^recent\.changes \| length - most$"
        # of the menu: its own parts, and numbers of services
        r"|^(states|recoveries)\(section\)$|^ways\(|^\"Add a label here|^likely \| length|^folded \| length|^menu\.(page|names\(others\))$"
    )
    for template in (ROOT / "templates").glob("*.j2"):
        for expression in re.findall(r"\{\{(.*?)\}\}", template.read_text(), re.DOTALL):
            value = expression.strip()
            assert re.search(
                r"\| (prose|cell|code|command|fenced|e)(\(\d+\))?$|\| (linked|button)\(.*\)$", value
            ) or ours.search(value), f"{template.name}: {value}"
    assert TEMPLATES == ROOT / "templates"

"""Parsing and edits of limits.yml: errors with lines, the value in KV, and what an edit keeps."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest
from hypothesis import strategies as st

from ops.core.errors import ConfigError
from ops.limits.file import (
    Limit,
    NewerVersionError,
    Temporary,
    build_value,
    drop_ended,
    parse_limits,
    parse_limits_value,
    set_temporary_limits,
)
from tests.conftest import REFERENCE, ROOT
from tests.support.properties import holds_for

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
NAMES = ("calc", "ai")
SHIPPED = (REFERENCE / "limits.yml").read_text()
SOON, PAST = '"2026-11-25T06:00:00Z"', '"2026-11-25T02:00:00Z"'


def read(text: str, base: str | None = None) -> tuple[dict[str, Limit], tuple[str, ...]]:
    was = None if base is None else parse_limits(base, path="base", names=NAMES, now=NOW)[0]
    return parse_limits(text, path="limits.yml", names=NAMES, now=NOW, base=was)


def calc(limit: object = 30, period: object = 60, key: str = "ip", more: str = "") -> str:
    return f"# why\ncalc:\n  limit: {limit}\n  period: {period}\n  key: {key}\n{more}"


def temporary(limit: object = 60, until: str = SOON, more: str = "") -> str:
    return f"  temporary: {{limit: {limit}, until: {until}, reason: many users{more}}}\n"


@pytest.mark.slow
def test_shipped_file_is_valid_and_complete() -> None:
    limits, warnings = read(SHIPPED)

    assert (list(limits), warnings) == (["calc", "ai"], ())
    assert limits["calc"] == Limit(limit=30, period=60, key="ip", probe=True)


NUMBER = "a number, date or time that YAML readers take differently; quote it, or write a plain number"
BROKEN = {
    "an unknown name": (
        "ai: {limit: 1, period: 1, key: ip}\nclac: {limit: 1, period: 1, key: ip}\n",
        "2 clac: unknown limit",
    ),
    "007": (calc("007"), f"3 calc.limit: {NUMBER}"),
    "1e3": (calc("1e3"), f"3 calc.limit: {NUMBER}"),
    "yes": (calc(period="yes"), "4 calc.period: yes without quotes is true to some YAML readers"),
    "a text": (calc('"30"'), "3 calc.limit: text; write a whole number without quotes"),
    "a fraction": (calc(period="6.5"), "4 calc.period: a number; write a whole number without quotes"),
    "nothing": (calc(0), "3 calc.limit: too small; write 1 or more"),
    "above the maximum": (calc(1_000_001), "3 calc.limit: too large; write 1000000 or less"),
    "a period of more than a day": (calc(period=86_401), "4 calc.period: too large; write 86400 or less"),
    "another key": (calc(key="country"), "5 calc.key: unknown value; write ip or user"),
    "a field that is missing": ("calc: {limit: 1, key: ip}", "1 calc.period: missing; add it"),
    "an unknown field": (calc(more="  tempory: 3\n"), '6 calc.tempory: unknown key; did you mean "temporary"?'),
    "a name twice": (calc() + calc(), "7 calc: given twice, first on line 2; keep one"),
    "empty file": ("", '1: empty; write a mapping of "key: value" lines'),
    "an empty mapping": ("{}", "1: empty; write at least one"),
    "a probe that costs": (
        "ai:\n  limit: 1\n  period: 1\n  key: user\n  probe: true\n",
        "5 ai.probe: a probe would request paid AI answers; remove `probe`",
    ),
    "end too far in the future": (
        calc(more=temporary(until='"2026-12-09T03:00:01Z"')),
        "6 calc.temporary.until: more than 14 d ahead; use 2026-12-09 03:00:00 UTC or earlier",
    ),
    "no moment": (calc(more=temporary(until="soon")), "6 calc.temporary.until: not a time in UTC"),
    "unquoted end": (calc(more=temporary(until="2026-11-25")), "6 calc.temporary.until: a number, date"),
    "new end in the past": (
        calc(more=temporary(until=PAST)),
        "6 calc.temporary.until: in the past; use a future time",
    ),
    "more than ten times": (
        calc(301),
        "3 calc.limit: more than 10 times the current 30 in 60 s; use a smaller value, or",
    ),
    "more than ten times for a while": (
        calc(more=temporary(301)),
        "6 calc.temporary.limit: more than 10 times the current 30",
    ),
    "more than ten times in time": (calc(30, 5), "3 calc.limit: more than 10 times the current 30 in 60 s"),
}


@pytest.mark.parametrize(("text", "problem"), BROKEN.values(), ids=BROKEN)
def test_broken_rule_is_reported_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text, calc())

    assert [each for each in caught.value.problems if each.startswith(f"limits.yml:{problem}")], caught.value.problems


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read(calc(0, more="  x: 1\n" + temporary(0, PAST)) + "clac: 3\n", calc())

    assert [each.partition(": ")[0] for each in caught.value.problems] == [
        f"limits.yml:{place}" for place in ("3 calc.limit", "6 calc.x", "7 calc.temporary.limit", "8 clac")
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "base"),
    [
        (calc(300), calc()),
        (calc(9000, more="  override: a load test\n"), calc()),
        (calc(more="  override: a load test\n" + temporary(9000)), calc()),
        (calc(500), calc(500)),
        (calc(300, 600), calc()),
        (calc(more=temporary(until=SOON)), calc()),
        (calc(more=temporary(400)), calc(more=temporary(400))),
        (calc(9000), None),
    ],
)
def test_step_up_to_ten_times_or_with_override_passes(text: str, base: str | None) -> None:
    assert read(text, base)[1] == ()


def test_old_override_does_not_allow_a_new_step() -> None:
    text = calc(9000, more="  override: a load test\n")

    with pytest.raises(ConfigError, match="1 problem"):
        read(text, calc(more="  override: a load test\n"))


def test_old_ended_limit_is_a_warning() -> None:
    text = calc(more=temporary(until=PAST))

    told = ("limits.yml:6 calc.temporary.until: in the past, without effect; remove `temporary`",)
    assert read(text, text)[1] == told
    assert read(text)[1] == told


def test_effective_limit_follows_the_clock() -> None:
    limit = read(calc(more=temporary()))[0]["calc"]

    assert [limit.effective(NOW + timedelta(hours=hours)) for hours in (0, 2, 3, 4)] == [60, 60, 30, 30]


@pytest.mark.slow
def test_kv_value_holds_no_reasons() -> None:
    limits, _ = read(SHIPPED.replace("key: ip", f'key: ip, override: "x", {temporary(more=", incident: 42").strip()}'))

    value = build_value(limits, "a" * 40, NOW)

    schema = json.loads((ROOT / "docs/reference/runtime-contract.schema.json").read_text())
    jsonschema.validate(json.loads(value.text), schema)
    assert value.limits["calc"] == {
        "limit": 30,
        "period": 60,
        "key": "ip",
        "probe": True,
        "temporary": {"limit": 60, "until": "2026-11-25T06:00:00Z"},
    }
    assert parse_limits_value(value.text) == value
    for word in ("many", "42", "override", "incident"):
        assert word not in value.text


def test_revision_contains_commit_and_digest() -> None:
    limits, _ = read(calc(more=temporary()))
    later = NOW + timedelta(hours=4)

    first, again, other, over = (
        build_value(read(text)[0], commit * 40, at).revision
        for text, commit, at in (
            (calc(more=temporary()), "a", NOW),
            (calc(more=temporary()) + "# x", "a", NOW),
            (calc(31), "a", NOW),
            (calc(more=temporary()), "a", later),
        )
    )

    assert first == again
    assert len({first, other, over}) == 3
    assert first.startswith("a" * 12 + "-")
    assert build_value(limits, "a" * 40, later).limits == drop_ended(build_value(limits, "a" * 40, NOW).limits, later)


@pytest.mark.sampled
@pytest.mark.usefixtures("without_collection")
@pytest.mark.parametrize(
    "text",
    ["", "x", "[]", "3", "{}", '{"version": 1}', '{"version": 1, "revision": "x", "limits": {"a": 3}}', "[" * 100_000],
)
def test_foreign_value_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="not a value of the limits"):
        parse_limits_value(text)


def test_newer_version_is_not_malformed() -> None:
    with pytest.raises(NewerVersionError, match="version 2 of the runtime contract; this program supports 1"):
        parse_limits_value('{"version": 2, "revision": "x", "limits": {}}')


@pytest.mark.slow
def test_five_hundred_limits_parse_within_a_second() -> None:
    names = [f"limit-{number}" for number in range(500)]
    text = "".join(f"{name}: {{limit: {9 + n}, period: 60, key: ip}}\n" for n, name in enumerate(names))
    began = time.process_time()

    parse_limits(text, path="limits.yml", names=names, now=NOW)

    assert time.process_time() - began < 1


RAISED = Temporary(limit=60, until=datetime(2026, 11, 25, 7, tzinfo=UTC), reason='many "users": #1', incident=42)
WHY = '"many \\"users\\": #1"'
FLOW = '{limit: 60, until: "2026-11-25T07:00:00Z", reason: "many \\"users\\": #1", incident: 42}'

BLOCK = """\
calc:
  temporary: # t
    reason: |
      x
      y
    # r
    incident: 7
    until: '2026-11-25' # u
    limit: 5
  limit: 30
  key: ip
  period: 60
"""
BLOCK_EDITED = """\
calc:
  temporary: # t
    reason: WHY
    # r
    incident: 42
    until: "2026-11-25T07:00:00Z" # u
    limit: 60
  limit: 30
  key: ip
  period: 60
"""

CASES = {
    "a flow mapping": (
        "# top\ncalc: {limit: 30, period: 60, key: ip} # why\n",
        f"# top\ncalc: {{limit: 30, period: 60, key: ip, temporary: {FLOW}}} # why\n",
    ),
    "a comma at the end": (
        "calc: {limit: 30, period: 60, key: ip,}",
        f"calc: {{limit: 30, period: 60, key: ip, temporary: {FLOW},}}",
    ),
    "several lines in braces": (
        "calc: {\n  limit: 30, # a\n  period: 60,\n  key: ip # b\n}\n",
        f"calc: {{\n  limit: 30, # a\n  period: 60,\n  key: ip, temporary: {FLOW} # b\n}}\n",
    ),
    "a block mapping": (
        "calc: # a\n  # b\n  limit: 30 # c\n  key: ip\n  period: 60 # d\n\n# e\nai: {limit: 1, period: 1, key: ip}\n",
        f"calc: # a\n  # b\n  limit: 30 # c\n  key: ip\n  period: 60 # d\n  temporary: {FLOW}\n\n# e\nai: {{limit: 1, period: 1, key: ip}}\n",
    ),
    "no line break at the end": (
        "calc:\n    limit: 30\n    key: ip\n    period: 60",
        f"calc:\n    limit: 30\n    key: ip\n    period: 60\n    temporary: {FLOW}",
    ),
    "Windows": (
        "calc:\r\n  limit: 30\r\n  key: ip\r\n  period: 60\r\n",
        f"calc:\r\n  limit: 30\r\n  key: ip\r\n  period: 60\r\n  temporary: {FLOW}\r\n",
    ),
    "a text of several lines last": (
        "calc:\n  limit: 30\n  key: ip\n  period: 60\n  override: >-\n    a\n    b\n# end\n",
        f"calc:\n  limit: 30\n  key: ip\n  period: 60\n  temporary: {FLOW}\n  override: >-\n    a\n    b\n# end\n",
    ),
    "empty mapping": (
        "calc:\n  limit: 30\n  temporary:\n  key: ip\n  period: 60\n",
        f"calc:\n  limit: 30\n  temporary: {FLOW}\n  key: ip\n  period: 60\n",
    ),
    "flow mapping": (
        'calc: {limit: 30, temporary: {until: "2026-11-25", limit: 5, reason: x}, key: ip, period: 60}',
        'calc: {limit: 30, temporary: {until: "2026-11-25T07:00:00Z", limit: 60, reason: WHY, incident: 42}, key: ip, period: 60}',
    ),
    "block mapping in another order": (BLOCK, BLOCK_EDITED),
}


@pytest.mark.parametrize(("text", "wanted"), CASES.values(), ids=CASES)
def test_temporary_limit_keeps_yaml_style(text: str, wanted: str) -> None:
    assert set_temporary_limits(text, {"calc": RAISED}) == wanted.replace("WHY", WHY)


def test_previous_incident_is_replaced() -> None:
    text = 'calc: {limit: 3, period: 6, key: ip, temporary: {limit: 5, until: "2026-11-25", reason: x, incident: 7}}'

    edited = set_temporary_limits(text, {"calc": RAISED.model_copy(update={"incident": None})})

    assert edited.endswith("incident: null}}")
    assert parse_limits(edited, path="x", names=["calc"], now=NOW)[0]["calc"].temporary == RAISED.model_copy(
        update={"incident": None}
    )


COMMENT = st.sampled_from(["", " # why", " # {a: 1}, 'x'", '  # ünïcode "quoted"'])
BETWEEN = st.sampled_from(["", "\n", "# a line\n", "# {limit: 3}\n\n"])
TEMPORARY = {"limit": "77777", "until": '"2026-11-26"', "reason": "because", "incident": "88888"}


@st.composite
def limits(draw: Any, name: str) -> str:
    """One limit in some style, with comments at every valid place."""
    fields = {"limit": str(draw(st.integers(1, 10**6))), "period": str(draw(st.integers(1, 86400))), "key": "ip"}
    fields |= draw(st.sampled_from([{}, {"probe": "true"}, {"override": "'why: \"x\" # no'"}]))
    inner = draw(st.permutations([*TEMPORARY.items()])) if draw(st.booleans()) else []
    order, flow = draw(st.permutations([*fields.items()])), draw(st.booleans())
    if flow:
        line = draw(st.sampled_from([", ", ",\n    ", ", # c\n  "]))
        parts = [f"{key}: {value}" for key, value in order]
        parts += ["temporary: {" + ", ".join(f"{key}: {value}" for key, value in inner) + "}"] if inner else []
        return f"{name}: {{{line.join(draw(st.permutations(parts)))}}}{draw(COMMENT)}\n{draw(BETWEEN)}"
    blocks = [f"  {key}: {value}{draw(COMMENT)}\n" for key, value in order]
    if inner:
        block = "".join(f"      {key}: {value}{draw(COMMENT)}\n" for key, value in inner)
        blocks.insert(draw(st.integers(0, len(blocks))), f"  temporary:{draw(COMMENT)}\n{block}")
    return f"{name}:{draw(COMMENT)}\n{''.join(blocks)}{draw(BETWEEN)}"


@st.composite
def files(draw: Any) -> str:
    text = draw(BETWEEN) + "".join(draw(limits(name)) for name in ("calc", "more", "other"))
    return str(text.rstrip("\n") if draw(st.booleans()) else text)


@pytest.mark.slow
@holds_for(60, 1500, text=files(), names=st.sets(st.sampled_from(["calc", "more", "other"]), min_size=1))
def test_comments_and_other_values_stay(text: str, names: set[str]) -> None:
    def parsed(text: str) -> dict[str, Any]:
        return parse_limits(text, path="x", names=["calc", "more", "other"], now=NOW)[0]

    edited = set_temporary_limits(text, dict.fromkeys(names, RAISED))

    was, now = parsed(text), parsed(edited)
    assert now == {
        name: limit.model_copy(update={"temporary": RAISED}) if name in names else limit for name, limit in was.items()
    }
    assert [*now] == [*was]
    # What was there is still there, in its order: new text is put in, and values of `temporary` alone are replaced.
    kept = (word for word in re.findall(r"[^\s{},]+", text) if word not in TEMPORARY.values())
    words = iter(re.findall(r"[^\s{},]+", edited))
    assert all(word in words for word in kept)

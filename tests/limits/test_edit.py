"""Edits of limits.yml that keep comments, other values and style."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import strategies as st

from ops.limits.edit import set_temporary_limits
from ops.limits.file import Temporary, parse_limits
from tests.support.properties import holds_for

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
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

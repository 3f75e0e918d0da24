"""Unreadable, ambiguous, damaged and hostile texts of `ops.yml`; an edit keeps all other text."""

import re
import time
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st

from ops.config import parse_config
from ops.config.strict_yaml import insert_below, read_yaml, set_key, set_nested
from ops.core.errors import ConfigError
from tests.config.test_config import SHIPPED, SMALL, problems
from tests.support.properties import holds_for

HEAD = "# Our shop\nenvironments: {} # one\n"
DOUBT = "a number, date or time that YAML readers take differently; quote it, or write a plain number"
OUT_OF_PLACE = "out of place; check the quotes, and align it with its neighbours"
TEXTS = [
    ("an empty file", "", ["1: an empty file; write environments"]),
    ("only comments", "# nothing\n", ["1: an empty file; write environments"]),
    ("a list at the top", "- a\n", ['1: a list; write a mapping of "key: value" lines']),
    ("a text at the top", "hello\n", ['1: text; write a mapping of "key: value" lines']),
    ("a tab in the indentation", "a:\n\tb: 1\n\tc: 2\n",
     ["2: a tab; indent with spaces", "3: a tab; indent with spaces"]),
    ("a byte order mark", "\ufeffa: 1\n", ["1: a byte order mark; save the file as UTF-8 without one"]),
    ("bytes that are not UTF-8", b"a: 1\nb: \xff\n".decode(errors="surrogateescape"),
     ["2: not UTF-8; save the file as UTF-8"]),
    ("a control character", "a: 1\nb: \x07\n", ["2: a control character (U+0007); delete it"]),
    ("a mark that turns the writing direction", "a: \u202e1\n", ["1: a control character (U+202E); delete it"]),
    ("a lone carriage return", "a: 1\rb: 2\n", ["1: a control character (U+000D); delete it"]),
    ("a file that is too large", "#" + "x" * 1_000_000, ["1: larger than 1 MB; keep only what the recovery needs"]),
    ("too many values", "a:\n" + "- 1\n" * 20_000,
     ["20000 a[19998]: more than 20,000 values; keep only what the recovery needs"]),
    ("a list nested too deep", "a: " + "[" * 30 + "]" * 30,
     [f"1 a{'[0]' * 19}: nested more than 20 deep; write it flatter"]),
    ("a list nested much too deep", "a: " + "[" * 100_000, ["1: nested more than 20 deep; write it flatter"]),
    ("a second document", SMALL + "---\na: 1\n", ["11: a second document; keep one per file"]),
    ("a bracket that is not closed", "a: 1\nb: [1, 2\nc: 3\n", ["2: a list in brackets that does not end; close it with ]"]),
    ("a brace that is not closed", "a: 1\nb: {c: 2\nd: 3\n", ["2: a mapping in braces that does not end; close it with }"]),
    ("a quote that is not closed", "a: 1\nb: 'c\nd: 3\n", ["2: a quote that is not closed; close it"]),
    ("a colon in the text", "a: b: c\n",
     ['1: a ":" where none fits; put quotes around the text, or check the indentation']),
    ("an indentation that does not fit", "a: 1\n b: 2\n",
     ['2: a ":" where none fits; put quotes around the text, or check the indentation']),
    ("a list item among keys", "- a\nb: 1\n", [f"2: {OUT_OF_PLACE}"]),
    ("text after a quote", "a: 'b' c\n", [f"1: {OUT_OF_PLACE}"]),
    ("a key without a colon", "a: 1\nbcd\n", ['3: text where a key belongs; write "key: value"']),
    ("a value that begins with @", "a: @x\n", ["1: a character that cannot start a value; put quotes around the text"]),
    ("an impossible escape", 'a: "\\UFFFFFFFF"\n', ["1: an unknown escape in double quotes; use single quotes"]),
    ("an unknown escape", 'a: "\\q"\n', ["1: an unknown escape in double quotes; use single quotes"]),
    ("a star that is no alias", "a: * b\n", ["1: not YAML; check the quotes and the indentation here and on the line above"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (HEAD, HEAD + "\ngithub:\n  environments: false\n"),
        (HEAD + "github: {}\n", HEAD + "github: {environments: false}\n"),
        (HEAD + "github: {branch: trunk} # own\n", HEAD + "github: {branch: trunk, environments: false} # own\n"),
        (HEAD + "github:\n  environments: true # all\n", HEAD + "github:\n  environments: false # all\n"),
        (
            HEAD + "github:\n  # weekly\n  schedules:\n    ai-failback: 1h\nlabels: {}\n",
            HEAD + "github:\n  # weekly\n  environments: false\n  schedules:\n    ai-failback: 1h\nlabels: {}\n",
        ),
        ("{environments: {}}\n", "{environments: {}, github: {environments: false}}\n"),
        ("environments: {}\r\n", "environments: {}\r\n\r\ngithub:\r\n  environments: false\r\n"),
    ],
)
def test_key_is_set_in_the_style_of_the_file(before: str, after: str) -> None:
    assert set_nested(before, "github", "environments", value=False) == after
    assert set_nested(after, "github", "environments", value=False) == after


def test_file_that_would_change_otherwise_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot edit"):
        set_nested("environments: {}\n...\n", "github", "environments", value=False)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (HEAD, HEAD + 'watch: "off"\n'),
        (HEAD + "watch: 1h # long\nlabels: {}\n", HEAD + 'watch: "off" # long\nlabels: {}\n'),
        (HEAD + "watch: {for: 1h}\n", HEAD + 'watch: "off"\n'),
        (HEAD + "watch:\n  for: 1h\nlabels: {}\n", HEAD + 'watch:\n  "off"\nlabels: {}\n'),
        ("{environments: {}}\n", '{environments: {}, watch: "off"}\n'),
        ("environments: {}\r\n", 'environments: {}\r\nwatch: "off"\r\n'),
    ],
)
def test_key_of_the_file_is_set(before: str, after: str) -> None:
    assert set_key(before, "watch", '"off"') == after
    assert set_key(after, "watch", '"off"') == after


@pytest.mark.sampled
@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in TEXTS], ids=[row[0] for row in TEXTS])
def test_unreadable_file_is_explained(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


PLAINNESS: list[tuple[Any, ...]] = [
    ("a key given twice", "a: 1\nb: 2\na: 3\n", (3, ("a",), "given twice, first on line 1; keep one")),
    ("a problem in the second value of a key", "a: {b: 1}\nc: 2\n'a': {b: yes}\n",
     (3, ("a",), "given twice, first on line 1; keep one"),
     (3, ("a (again)", "b"), "yes without quotes is true to some YAML readers; quote it, or write true")),
    ("an escaped control character", 'a: "b\\0"\n',
     (1, ("a",), "an escape for a control character (U+0000); leave it out")),
    ("an anchor", "a: &x 1\n", (1, ("a",), "an anchor (&); write the value without it")),
    ("an anchor on a key", "b: 2\n&x a: 1\n", (2, ("a",), "an anchor (&); write the value without it")),
    ("an alias", "a: *x\n", (1, ("a",), "an alias (*); write the value out")),
    ("a merge key", "<<: {a: 1}\n", (1, ("<<",), "a merge key; write the values out")),
    ("a tag", "a: !!python/name:os.system x\n", (1, ("a",), "a tag (!); write the value without it")),
    ("a key that is a number", "1: a\n", (1, ("1",), "a key that is not text; quote it")),
    ("a key that is nothing", "~: a\n", (1, ("~",), "a key that is not text; quote it")),
    ("a key that is a list", "? [a]\n: b\n", (1, (), "a key that is not text; write a plain name")),
    ("a key that is on", "on: a\n", (1, ("on",), "on without quotes is true to some YAML readers; quote it")),
    *(
        (f"{text} without quotes", f"a:\n- {text}\n", (2, ("a", 0), DOUBT))
        for text in ("007", "1e3", "1_000", "+5", ".5", "5.", "0x1F", "0o7", "08:30", "2024-01-02", ".inf", ".NaN")
    ),
    *(
        (f"{text} without quotes", f"a:\n- {text}\n",
         (2, ("a", 0), f"{text} without quotes is {meaning} to some YAML readers; quote it, or write {meaning}"))
        for text, meaning in {"yes": "true", "No": "false", "ON": "true", "y": "true", "True": "true", "NULL": "null"}.items()
    ),
]  # fmt: skip


@pytest.mark.sampled
@pytest.mark.parametrize("loader", sorted({yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)}, key=str))
@pytest.mark.parametrize(
    ("text", "expected"), [(row[1], row[2:]) for row in PLAINNESS], ids=[row[0] for row in PLAINNESS]
)
def test_ambiguous_yaml_is_refused(text: str, expected: tuple[Any, ...], loader: type[Any]) -> None:
    assert read_yaml(text, loader=loader).problems == expected


def test_plain_yaml_values_have_the_obvious_type() -> None:
    text = "[true, false, null, ~, 0, -7, 10, 1.50, 10m, '007', \"yes\", 24/7, 1.2.3, v1, text with: colons:in]"
    values = read_yaml(text.replace("with: ", "with ")).data
    assert values == (
        True, False, None, None, 0, -7, 10, 1.5, "10m", "007", "yes", "24/7", "1.2.3", "v1", "text with colons:in",
    )  # fmt: skip


@pytest.mark.parametrize("text", [SHIPPED, SMALL, *(row[1] for row in TEXTS if len(row[1]) < 1000)])
def test_both_yaml_parsers_return_the_same_document(text: str) -> None:
    fast = read_yaml(text, loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    assert read_yaml(text, loader=yaml.SafeLoader) == fast


def outcome(text: str) -> str:
    """Everything that `parse` says of `text`; nothing but a ConfigError may come out, and soon."""
    began = time.process_time()
    try:
        said = "\n".join(parse_config(text, path="ops.yml")[1])
    except ConfigError as error:
        said = "\n".join([str(error), error.hint, *error.problems])
        chained = error.__context__ or error.__cause__
    else:
        chained = None
    assert time.process_time() - began < 2
    assert chained is None, "a chained exception may show what was in the file"
    return said


PIECES = st.sampled_from(
    [*"abz019\n\n  -:?,[]{}#&*!|>'\"%@`~.=\\\t\r", "---", "...", "<<", ": ", "- ", "  ", "yes", "1e3", "!!", "&a", "*a",
     "environments", "labels", "json", "[TBD]", "\ud800", "\ufeff", "\u2028", "é", "𝕏", "null", "\n    "]
)  # fmt: skip


@holds_for(40, 1000, text=st.lists(PIECES, max_size=60).map("".join) | st.text(max_size=60))
def test_any_text_parses_or_raises_config_error(text: str) -> None:
    outcome(text)
    read_yaml(text, loader=yaml.SafeLoader)


SHORT = re.sub(r"(?ms)^ *#.*?\n|^  staging:.*?(?=^labels:)", "", SHIPPED)
"""Without lines of comments, and without the second environment, which has what the first one has."""


@pytest.mark.slow
@holds_for(8, 1000, data=st.data())
def test_damaged_file_parses_or_raises_config_error(data: st.DataObject) -> None:
    text = SHORT
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.integers(0, 12))
        text = text[:start] + data.draw(st.lists(PIECES, max_size=4).map("".join)) + text[end:]
    outcome(text)
    read_yaml(text, loader=yaml.SafeLoader)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "text",
    ["a:\n" * 300_000, "[" * 500_000, "{a: " * 200_000, "- " * 400_000, "? " * 400_000, "\t\n" * 400_000, "\n" * 999_000,
     "a: " + "x" * 900_000, "x" * 900_000 + ": a", "a: [" + "&a x, " * 150_000 + "]", "---\n" * 200_000,
     "environments:\n  p:\n    services:\n" + "".join(f"      s{n}: {{v: 1, w: 2}}\n" for n in range(6000)),
     pytest.param(
         "labels:\n" + "".join(f"  l{n}: {{environment: e{n}}}\n" for n in range(6000)) + "environments:\n"
         + "".join(f"  a{n}: {{}}\n" for n in range(3000)), marks=pytest.mark.slow)],
    ids=lambda text: text[:20].encode("unicode_escape").decode(),
)  # fmt: skip
def test_large_text_is_parsed_quickly(text: str) -> None:
    outcome(text)


SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=20, max_size=60).filter(
    lambda text: any(character in text for character in "abcdefghijklmnopqrstuvwxyz0123456789")
)
SECRET_PLACES = [
    "environments: {production: {token: SECRET}}",
    "environments: {production: {token: [SECRET, SECRET]}}",
    "environments: {production: {token: {value: SECRET, value: SECRET}}}",
    "notify: {slack: {webhook: SECRET}}",
    "notify: {slack: SECRET, discord: {webhok: SECRET}}",
    "environments: {p: {services: {s: {probes: [{name: a, command: {run: [a], environment: [SECRET]}}]}}}}",
]


@holds_for(40, 1000, secret=SECRETS, place=st.sampled_from(SECRET_PLACES), quoted=st.booleans())
def test_secret_in_place_of_a_name_is_hidden(secret: str, place: str, quoted: bool) -> None:
    value = "'" + secret.replace("'", "''") + "'" if quoted else secret
    assert secret not in outcome(place.replace("SECRET", value) + "\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a:\n  b: 1\n", "a:\n  b: 1\n  new: 2\n"),
        ("a: {b: 1}\n", "a: {b: 1, new: 2}\n"),
        ("a:\n  # of b\n  b:\n    c: 1\n", "a:\n  # of b\n  new: 2\n  b:\n    c: 1\n"),
        ("a:\n  new: 1\n", "a:\n  new: 1\n"),
        ("b: 1\n", "b: 1\n"),
    ],
)
def test_key_is_inserted_below_a_path_that_exists(before: str, after: str) -> None:
    assert insert_below(before, ["a"], "new", "2") == after

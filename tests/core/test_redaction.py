"""Redaction of registered secrets in every encoding, and of nothing else."""

import base64
import html
import json
import os
import quopri
import re
import shlex
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import strategies as st
from markupsafe import escape

from ops.core.redaction import MASK, SHORTEST, Redactor
from ops.tools import process
from tests.support.properties import holds_for


def redactor_with(*secrets: str) -> Redactor:
    redactor = Redactor()
    for secret in secrets:
        redactor.add_secret(secret)
    return redactor


REDACTED: dict[str, tuple[str, str, str]] = {
    "in the midst": ("hunter2-x", "a hunter2-x b", "a *** b"),
    "twice": ("hunter2-x", "hunter2-xhunter2-x", "******"),
    "over itself": ("abcabcabc", "abcabcabcabc", "***"),
    "URL-encoded": ("a/b+c=d", "?t=a%2Fb%2Bc%3Dd&", "?t=***&"),
    "URL-encoded in part, in small letters": ("a/b+c=d", "?t=a/b%2bc=d&", "?t=***&"),
    "URL-encoded twice": ("a/b+c=d", "?to=%2F%3Ft%3Da%252Fb%252Bc%253Dd", "?to=%2F%3Ft%3D***"),
    "in a form": ("pass word!", "p=pass+word%21", "p=***"),
    "in JSON within JSON": ('say "hi"\n', json.dumps(json.dumps('say "hi"\n')), '"\\"***\\""'),
    "in Python's repr": ('it\'s "so" secret', "got " + repr('it\'s "so" secret'), "got '***'"),
    "in HTML": ("<b>&'x'", "<p>&lt;b&gt;&amp;&#39;x&#x27;</p>", "<p>***</p>"),
    "a line of a key": ("first-line\nsecond-line\n", "x second-line", "x ***"),
    "with a stray newline": ("hunter2-x\n", "hunter2-x", "***"),
    "in base64 that is broken into lines": ("a-rather-long-one", "YS1yYXRo\r\nZXItbG9uZy1vbmU=", "***"),
    "in hexadecimal digits": ("hunter2-x", "x=68756E746572322d78", "x=***"),
    "in base32": ("hunter2-x", base64.b32encode(b"hunter2-x").decode(), "***A="),
    "basic authentication": ("hunter2-x", f"Basic {base64.b64encode(b'me:hunter2-x').decode()}", "Basic bWU6***"),
    "the path of an address": ("https://h.example/services/T0/B0/abc", "POST /services/T0/B0/abc", "POST ***"),
    "the last step of one": ("https://h.example/x/0123456789abcdef", "token 0123456789abcdef", "token ***"),
    "the password of one": ("https://me:swordfish-123@h.example/", "used swordfish-123", "used ***"),
    "too short for a secret": ("abc", "abcdef YWJj", "abcdef YWJj"),
    "short lines": ("{\n}\nfoo\n", "{ foo }", "{ foo }"),
    "empty": ("", "anything", "anything"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("secret", "text", "shown"), REDACTED.values(), ids=REDACTED)
def test_registered_value_is_redacted_in_every_form(secret: str, text: str, shown: str) -> None:
    redactor = redactor_with(secret)

    assert redactor.redact_text(text) == shown
    assert redactor.redact_json({text: [text, (text, 1)]}) == {shown: [shown, [shown, 1]]}


@pytest.mark.slow
def test_longer_of_two_secrets_is_redacted_whole() -> None:
    redactor = redactor_with("hunter2", "hunter2-and-more", "more-of-it")

    assert redactor.redact_text("hunter2-and-more, hunter2") == "***, ***"
    assert redactor.redact_text("hunter2-and-more-of-it") == "***"


def test_value_that_is_not_utf8_is_redacted() -> None:
    redactor = redactor_with(os.fsdecode(b"pass\xffword"))

    assert redactor.redact_text("pass%FFword") == "***"


@pytest.mark.parametrize("value", ["000000000\U00025480", os.fsdecode(b"pass\xffword"), "pass😀word"])
def test_json_surrogate_pair_is_redacted(value: str) -> None:
    """The second half can look like a byte that is no text (U+DC80 to U+DCFF)."""
    units = value.encode("utf-16-be", "surrogatepass")
    spelled = "".join(f"\\u{int.from_bytes(units[at : at + 2]):04x}" for at in range(0, len(units), 2))

    assert redactor_with(value).redact_text(f"{spelled} {json.dumps(value)}") == '*** "***"'


def test_text_with_fewer_characters_than_its_value_is_redacted() -> None:
    redactor = redactor_with("\udcc3\udca9" * 6)  # bytes of UTF-8 that Python did not decode

    assert redactor.redact_text("é" * 5 + "%C3%A9") == MASK


def test_new_value_clears_the_text_cache() -> None:
    redactor = redactor_with("hunter2-x")
    assert redactor.redact_text("a key: correct-horse") == "a key: correct-horse"

    redactor.add_secret("correct-horse")

    assert redactor.redact_text("a key: correct-horse") == "a key: ***"


def test_secret_across_the_cut_is_redacted_whole() -> None:
    redactor = redactor_with("hunter2-x")

    assert redactor.redact_tail("before hunter2-x after", 10) == " after"
    assert redactor.redact_tail("before hunter2-x after hunter2-x", 25) == "*** after ***"


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "URL": lambda text: urllib.parse.quote(text, safe=""),
    "URL with slashes": urllib.parse.quote,
    "URL of a browser": lambda text: urllib.parse.quote(text, safe="!#$&'()*+,/:;=?@~"),
    "form": urllib.parse.quote_plus,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON of JavaScript": lambda text: json.dumps(text)[1:-1].replace("/", "\\/").replace("<", "\\u003C"),
    "JSON twice": lambda text: json.dumps(json.dumps(text))[3:-3],
    "HTML": html.escape,
    "HTML of Jinja": lambda text: str(escape(text)),
    "shell": lambda text: shlex.quote(text + " ")[1:-2],
    "shell by hand": lambda text: text.replace("'", "'\\''"),
    "shell in JSON": lambda text: json.dumps(shlex.quote(text + " "))[2:-3],
    "HTML in JSON": lambda text: json.dumps(html.escape(text))[1:-1],
}
AROUND_WORDS = st.sampled_from(["", "token ", "QRS: ", "{"])
EVERY: dict[str, Callable[[str], str]] = {
    "hex": lambda text: text.encode().hex(),
    "hex in capitals": lambda text: text.encode().hex().upper(),
    "percent": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "percent twice": lambda text: "".join(f"%25{byte:02x}" for byte in text.encode()),
    "u": lambda text: "".join(
        f"\\u{int.from_bytes(text.encode('utf-16-be')[at : at + 2]):04x}"
        for at in range(0, len(text.encode("utf-16-be")), 2)
    ),
    "braced": lambda text: "".join(f"\\u{{{ord(each):x}}}" for each in text),
    "decimal": lambda text: "".join(f"&#{ord(each)};" for each in text),
    "hex numbers": lambda text: "".join(f"&#x{ord(each):04X};" for each in text),
    "colors": "\x1b[31m".join,
    "no width": "\u200b".join,
    "folded": "\r\n    ".join,
    "base32": lambda text: base64.b32encode(text.encode()).decode().rstrip("="),
}
"""In each of these every character is written in another way."""
LETTERS = st.text(
    st.one_of(
        st.sampled_from("aZ09-_+/=%&#\\é€😀"), st.characters(min_codepoint=33, exclude_categories=["Cs", "Z", "C"])
    ),
    min_size=SHORTEST + 4,
    max_size=40,
).filter(lambda text: text.strip("\u00ad") == text)


MARKED: dict[str, Callable[[str, int], str]] = {
    "folded, in JSON": lambda text, at: json.dumps(f"{text[:at]}\n  {text[at:]}")[1:-1],
    "folded with CR LF, in JSON": lambda text, at: json.dumps(f"{text[:at]}\r\n\t{text[at:]}")[1:-1],
    "quoted": lambda text, at: f"{text[:at]}\n> {text[at:]}",
    "quoted twice": lambda text, at: f"{text[:at]}\r\n> > {text[at:]}",
    "quoted, in JSON": lambda text, at: json.dumps(f"{text[:at]}\n> {text[at:]}")[1:-1],
    "continued in a shell": lambda text, at: f"{text[:at]}\\\n{text[at:]}",
    "Markdown": lambda text, _: re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text),
    "a space of ours without width": lambda text, at: f"{text[:at]}&#8203;{text[at:]}",
    "quoted-printable": lambda text, _: quopri.encodestring(text.encode()).decode().removesuffix("=\n"),
    "quoted-printable, with a soft break": lambda text, at: "=\r\n".join(
        quopri.encodestring(part.encode()).decode().removesuffix("=\n") for part in (text[:at], text[at:])
    ),
    "a link of a terminal": lambda text, at: f"{text[:at]}\x1b]8;;https://a.test/?b\x1b\\{text[at:]}",
    "a link that a bell ends": lambda text, at: f"{text[:at]}\x1b]8;;\x07{text[at:]}",
    "a link, in JSON": lambda text, at: json.dumps(f"{text[:at]}\x1b]8;;https://a.test\x1b\\{text[at:]}")[1:-1],
    "a color, in JSON": lambda text, at: json.dumps(f"{text[:at]}\x1b[1;31m{text[at:]}")[1:-1],
}
"""Each breaks the value before a character, or escapes its punctuation."""
EXITS: dict[str, Callable[[Redactor, str], str]] = {
    "text": lambda redactor, text: redactor.redact_text(text),
    "the end of a text": lambda redactor, text: redactor.redact_tail(text, len(text)),
    "JSON": lambda redactor, text: next(iter(redactor.redact_json({text: 1}))),
    "a value": lambda redactor, text: redactor.redact_value((text,))[0],
}
SIGNS = st.text('abXY09-_+/=%&#*~.!\\"é', min_size=SHORTEST + 4, max_size=40).filter(
    lambda text: sum(map(str.isalnum, text)) >= SHORTEST and text.strip("\\") == text
)


@holds_for(
    200,
    3000,
    secret=SIGNS,
    spelling=st.sampled_from(list(MARKED)),
    at=st.integers(1, SHORTEST + 3),
    leave=st.sampled_from(list(EXITS)),
)
def test_value_with_marks_inside_is_redacted(secret: str, spelling: str, at: int, leave: str) -> None:
    spelled = MARKED[spelling](secret, at)

    shown = EXITS[leave](redactor_with(secret), f"token: {spelled} QRS")

    assert shown.startswith("token: ")
    left = shown.removeprefix("token: ").removesuffix(" QRS")
    assert set(left.strip("\\nrt>\r\n\t ")) == {"*"}, "marks around it, and backslashes at its ends, may stay"


@pytest.mark.slow
@holds_for(60, 2000, secret=LETTERS, spelling=st.sampled_from(list(EVERY)), before=AROUND_WORDS, after=AROUND_WORDS)
def test_fully_escaped_value_is_redacted(secret: str, spelling: str, before: str, after: str) -> None:
    spelled = EVERY[spelling](secret)

    shown = redactor_with(secret).redact_text(before + spelled + after)

    assert shown.startswith(before)
    assert shown.endswith(after)
    assert len(shown) - len(before) - len(after) <= len("***") + 2  # base32: characters that share bits
    assert "***" in shown


SLOW = [
    pytest.param(pump, marks=pytest.mark.slow)
    for pump in (
        "\\u0041",
        "&#65;",
        "\\",
        "\x1b[3",
        "\x1b]8",
        "\\u001b]8",
        "\\n >",
        "=\n",
        "=3D",
        "%25",
        "\n ",
        "\u200b",
    )
]


@pytest.mark.slow
@pytest.mark.parametrize("pump", ["%41", *SLOW])
def test_redacting_200_kb_takes_at_most_2_seconds(pump: str) -> None:
    redactor = redactor_with("A" * 40, "hunter2-and-more", "x" * 20, "p%41ss-word-1")
    began = time.process_time()

    redactor.redact_text((pump * 200_000)[:200_000])

    assert time.process_time() - began < 2


SECRETS = st.text(
    st.one_of(st.sampled_from(list("ab0-_+/=\\\"'<>&%; \n\r\t")), st.characters(exclude_categories=["Cs"])),
    min_size=SHORTEST,
    max_size=60,
).filter(lambda text: len(text.strip()) >= SHORTEST)
AROUND = st.text("QRS{}:,. ", max_size=SHORTEST - 1)


@pytest.mark.slow
@holds_for(40, 2000, secret=SECRETS, spelling=st.sampled_from(list(SPELLINGS)), before=AROUND, after=AROUND)
def test_every_spelling_is_redacted(secret: str, spelling: str, before: str, after: str) -> None:
    spelled = SPELLINGS[spelling](secret)

    shown = redactor_with(secret).redact_text(before + spelled + after)

    # A line break is masked with the spaces after it.
    assert set(shown.removeprefix(before.rstrip()).removesuffix(after.lstrip()).strip()) == {"*"}


BASE64: dict[str, Callable[[bytes], bytes]] = {
    "standard": base64.b64encode,
    "standard, in lines": base64.encodebytes,
    "for URLs": base64.urlsafe_b64encode,
    "standard, without padding": lambda data: base64.b64encode(data).rstrip(b"="),
    "for URLs, without padding": lambda data: base64.urlsafe_b64encode(data).rstrip(b"="),
}


@pytest.mark.slow
@holds_for(
    40,
    2000,
    secret=SECRETS,
    spelling=st.sampled_from(list(BASE64)),
    before=st.binary(max_size=70),
    after=st.binary(max_size=70),
    is_in_url=st.booleans(),
)
def test_secret_within_base64_is_redacted(
    secret: str, spelling: str, before: bytes, after: bytes, is_in_url: bool
) -> None:
    """Exactly the characters that hold a bit of the secret are masked."""
    data = secret.encode()
    encoded = BASE64[spelling](before + data + after).decode()
    begin, end = len(before) * 8 // 6, -(-(len(before) + len(data)) * 8 // 6)
    flat = encoded.replace("\n", "")
    kept = [urllib.parse.quote(part, safe="") if is_in_url else part for part in (flat[:begin], flat[end:])]

    shown = redactor_with(secret).redact_text(urllib.parse.quote(encoded, safe="\n") if is_in_url else encoded)

    first, mask, last = shown.replace("\n", "").partition(MASK)
    assert mask
    assert kept[0].startswith(first)
    assert kept[1].endswith(last.replace(MASK, ""))


@pytest.mark.slow
@holds_for(
    40,
    2000,
    secret=st.text("abcdefghij0123456789", min_size=SHORTEST, max_size=40),
    text=st.text("ABCDEF =+/%&;\\\n.-_{}\"'klmnop", max_size=200),
    short=st.text(st.characters(exclude_categories=["Cs"]), max_size=SHORTEST - 1),
)
def test_other_text_is_unchanged(secret: str, text: str, short: str) -> None:
    redactor = redactor_with(secret, short)
    assert secret not in text

    assert redactor.redact_text(text) == text
    assert redactor.redact_text(f"{text}{short}{text}") == f"{text}{short}{text}"


@pytest.mark.slow
@holds_for(20, 500, secret=SECRETS, text=st.lists(st.one_of(SECRETS, AROUND), max_size=6), length=st.integers(0, 80))
def test_cut_text_keeps_no_unmasked_part(secret: str, text: list[str], length: int) -> None:
    whole = secret.join(text)
    redactor = redactor_with(secret)

    assert redactor.redact_text(whole).endswith(redactor.redact_tail(whole, length))


@pytest.mark.slow
def test_many_backslashes_are_redacted_quickly() -> None:
    redactor = redactor_with("\\" * 30 + "x", '\\"' * 30 + "y")

    assert redactor.redact_text('\\\\"' * 3000) == '\\\\"' * 3000


@pytest.mark.slow
def test_partial_secret_at_the_start_of_output_is_redacted(tmp_path: Path) -> None:
    secret = "0123456789" * 30
    script = f"print('{secret}' + 'x' * {process.MAX_OUTPUT - 151})"
    argv = [sys.executable, "-c", script]

    done = process.run_program(argv, environ={}, timeout=30, redactor=redactor_with(secret), folder=tmp_path)

    assert done.output == "x" * (process.MAX_OUTPUT - 151) + "\n"


@pytest.mark.slow
def test_value_can_be_added_during_redaction() -> None:
    """A token is created in its own thread while the run writes its record."""
    redactor = Redactor()
    problems: list[Exception] = []

    def mask() -> None:
        try:
            while not ended.is_set():
                redactor.redact_text("some text that is looked through while values come in " * 20)
        except RuntimeError as error:
            problems.append(error)

    ended = threading.Event()
    reader = threading.Thread(target=mask)
    former = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        reader.start()
        for number in range(240):
            redactor.add_secret(f"value-number-{number}")
    finally:
        sys.setswitchinterval(former)
        ended.set()
        reader.join()

    assert problems == []
    assert redactor.redact_text("value-number-77") == "***"

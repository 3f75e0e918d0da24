"""Keeping secrets out of everything that leaves the process: one redactor, at the timeline's door and at stderr.

A registered value is found plain, and escaped as in a URL, a form, JSON, HTML and a shell, each character by itself:
no two encoders leave the same ones alone. And in base64, base32 and hex, alone or within something longer; with
every character escaped; with colors, characters of no width, or folded and indented lines inside.

Not covered: a value that is cut, reversed, compressed, encrypted or hashed; two different encodings one inside the
other, but for percent signs and backslashes; octal escapes; hex with separators; a value spelled letter by letter with
other characters between; values under six characters.
"""

import base64
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import datetime
from enum import Enum
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import urlsplit

_ESCAPE = (
    r"(?P<percent>%(?:25)*[0-9A-Fa-f]{2})"
    r"|\\{1,4}(?:u(?P<u>[0-9A-Fa-f]{4})|u\{(?P<braced>[0-9A-Fa-f]{1,6})\}|x(?P<x>[0-9A-Fa-f]{2}))"
    r"|&(?:amp;){0,2}\#(?:0{0,6}(?P<decimal>[1-9][0-9]{0,6})|[xX]0{0,6}(?P<hex>[1-9A-Fa-f][0-9A-Fa-f]{0,5}));?"
)
_UNSEEN = r"\x1b\[[0-9;]{0,20}[A-Za-z]|[\u200b-\u200f\u2060-\u2064\ufeff\u00ad]|\r?\n[ \t]*"
ESCAPED = re.compile(f"{_ESCAPE}|(?P<nothing>{_UNSEEN})")
"""One escape, or a mark that nobody sees: a color, a character of no width, a line that was folded and indented."""
ESCAPES, UNSEEN = re.compile(_ESCAPE), re.compile(_UNSEEN)
_BEGINS = re.compile(r"[%\\&\x1b\u200b-\u200f\u2060-\u2064\ufeff\u00ad\r\n]")
_BEGINS_ESCAPE = re.compile(r"[%\\&]")
_BASES = {"u": 16, "braced": 16, "x": 16, "decimal": 10, "hex": 16}


def decoded(text: str) -> bytes | None:
    """The bytes that the text stands for. None where there is no escape."""
    if not _BEGINS.search(text) or not ESCAPED.search(text):  # the first is fast, and most texts have none
        return None
    if not _BEGINS_ESCAPE.search(text) or not ESCAPES.search(text):  # as in most texts of several lines
        return _encoded(UNSEEN.sub("", text))
    return b"".join(data for data, _, _ in _pieces(text))


def places(text: str) -> list[int]:
    """Return for each of these bytes where its character or its escape begins in the text; then the text's end."""
    found = list[int]()
    for data, start, is_plain in _pieces(text):
        if is_plain:
            found += range(start, start + len(data))
        else:
            found += [start] * len(data)
    return [*found, len(text)]


def _pieces(text: str) -> Iterator[tuple[bytes, int, bool]]:
    """Yield the bytes of each part, where it begins, and whether it is plain: one byte for each character."""
    at = 0
    for found in ESCAPED.finditer(text):
        yield from _plain(text, at, found.start())
        yield _meant(found), found.start(), False
        at = found.end()
    yield from _plain(text, at, len(text))


def _plain(text: str, start: int, end: int) -> Iterator[tuple[bytes, int, bool]]:
    part = text[start:end]
    if part.isascii():
        yield part.encode(), start, True
    else:
        yield from ((_encoded(character), at, False) for at, character in enumerate(part, start))


def _meant(found: re.Match[str]) -> bytes:
    kind = found.lastgroup
    if kind is None or kind == "nothing":
        return b""
    if kind == "percent":
        return bytes([int(found[0][-2:], 16)])
    number = int(found[kind], _BASES[kind])
    return _units(chr(number)) if number <= 0x10FFFF else b"?"


_RARE = re.compile("[\ud800-\udfff\U00010000-\U0010ffff]")


def _encoded(text: str) -> bytes:
    """UTF-8; a character beyond 16 bits as JSON writes it, as two halves."""
    if not _RARE.search(text):
        return text.encode()
    return b"".join(_half(each) if ord(each) > 0xFFFF else _utf8(each) for each in text)


def _units(text: str) -> bytes:
    """The same, but a half that stands alone is a half, and never a byte that was no text."""
    return b"".join(_half(each) if ord(each) > 0xFFFF else each.encode("utf-8", "surrogatepass") for each in text)


def _half(character: str) -> bytes:
    units = character.encode("utf-16-be")
    return b"".join(chr(int.from_bytes(units[at : at + 2])).encode("utf-8", "surrogatepass") for at in (0, 2))


def _utf8(character: str) -> bytes:
    if "\udc80" <= character <= "\udcff":  # a byte of a value that was no text
        return character.encode("utf-8", "surrogateescape")
    return character.encode("utf-8", "surrogatepass")


def spellings(value: str) -> Iterator[bytes]:
    """Return what is looked for in the bytes: the value in UTF-8, in UTF-8 of its halves, and as JSON escapes it."""
    yield value.encode("utf-8", "surrogateescape" if value.isascii() or _is_text(value) else "surrogatepass")
    yield _encoded(value)
    yield _units(value)


def _is_text(value: str) -> bool:
    return not any("\ud800" <= each <= "\udfff" and not "\udc80" <= each <= "\udcff" for each in value)


def in_other_bases(value: str) -> Iterator[str]:
    """In hex, and in base32 at each of its five alignments, in lower case; without bits shared at an end."""
    data = value.encode("utf-8", "surrogatepass" if not _is_text(value) else "surrogateescape")
    yield data.hex()
    for before in range(5):
        begin, end = before * 8, (before + len(data)) * 8
        encoded = base64.b32encode(bytes(before) + data + bytes(5)).decode()[-(-begin // 5) : end // 5]
        if len(encoded) >= 8:
            yield encoded.lower()


S = TypeVar("S", str, bytes)

MASK = "***"
SHORTEST = 6
"""A shorter value would blot out ordinary words, and is no secret worth the name."""
SHORTEST_OF_URL = 12
"""The same for a part of an address: it may be a plain word of a path."""
LONGEST_SPELLING = 24
"""Characters that one may take: four bytes as `%25F0`, or a number of HTML with its zeros."""

LONGEST_REMEMBERED, MOST_REMEMBERED = 500, 2000
"""Characters of a text, and texts, that the redactor remembers to hold no value."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that shows nowhere: not in a repr, a message or a traceback. Only a transport calls `reveal`."""

    _value: str = field(repr=False)

    def reveal(self) -> str:
        return self._value


_WITHOUT_TEXT = {int, float, bool, type(None), datetime}


class Redactor:
    """Replaces every registered value in every spelling. Where two overlap, both go."""

    def __init__(self, *, shortest: int = SHORTEST) -> None:
        self._shortest = shortest
        self._lock = threading.Lock()
        self._forms: dict[str, _Form] = {}
        self._longest = 0
        self._bytes: set[bytes] = set()
        self._lower: set[str] = set()
        self._values: set[str] = set()
        self._clean: set[str] = set()

    def add(self, secret: str) -> None:
        """Also takes the lines of a multi-line value one by one, since logs are read line by line.

        And of an address what stands behind the host, which a client's error may show alone.
        """
        values = {secret, *secret.splitlines(), *_parts_of_address(secret)}
        for value in values | {each.strip() for each in values}:
            if len(value.strip()) >= self._shortest and value not in self._values:
                forms = (_Form(value), *_in_base64(value))
                with self._lock:  # another thread may read them, which takes what it finds when it begins
                    self._longest = max(self._longest, len(value))
                    self._forms = self._forms | {form.text: form for form in forms}
                    self._lower = self._lower | set(in_other_bases(value))
                    self._bytes = self._bytes | {spelling for form in forms for spelling in spellings(form.text)}
                    self._values = self._values | {value}
                    self._clean = set()  # last, and another set: who still searches by the former values adds to theirs

    @property
    def reach(self) -> int:
        """Characters of the longest spelling there may be: so much of a text before a cut decides what is cut."""
        return self._longest * LONGEST_SPELLING

    def text(self, text: str) -> str:
        """Return the text with every value masked. Most texts of a run pass several times, and hold none."""
        clean = self._clean
        if text in clean:
            return text
        spans = self._spans(text)
        if not spans and len(text) <= LONGEST_REMEMBERED:
            if len(clean) >= MOST_REMEMBERED:
                clean.clear()
            clean.add(text)
        return _masked(text, spans)

    def tail(self, text: str, length: int) -> str:
        """The last characters, redacted; a secret across the cut goes whole."""
        cut = max(0, len(text) - length)
        spans = self._spans(text)
        cut = next((end for start, end in spans if start < cut < end), cut)
        return _masked(text[cut:], [(start - cut, end - cut) for start, end in spans if start >= cut])

    def _spans(self, text: str) -> list[tuple[int, int]]:
        """Where something is to be masked, in order, and those that overlap as one."""
        if len(text) < self._shortest:  # no spelling is shorter than its value
            return []
        spans: list[tuple[int, int]] = []
        for start, end in sorted([*self._found(text), *self._found_across_lines(text), *self._found_decoded(text)]):
            if spans and start < spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            else:
                spans.append((start, end))
        return spans

    def _found(self, text: str) -> list[tuple[int, int]]:
        return [span for form in self._forms.values() if form.anchor in text for span in form.spans(text)]

    def _found_across_lines(self, text: str) -> Iterator[tuple[int, int]]:
        """`base64` and `fold` break lines wherever they like."""
        if "\n" in text and (found := list(self._found(text.replace("\n", "").replace("\r", "")))):
            places = [at for at, character in enumerate(text) if character not in "\r\n"]
            yield from ((places[start], places[end - 1] + 1) for start, end in found)

    def _found_decoded(self, text: str) -> Iterator[tuple[int, int]]:
        lower = text.lower() if text.isascii() else text.translate(_LOWER)
        yield from (span for value in self._lower if value in lower for span in _places(value, lower))
        if self._bytes and (data := decoded(text)):
            spans = [span for value in self._bytes if value in data for span in _places(value, data)]
            lower_data = data.lower()
            in_bytes = (value.encode() for value in self._lower)
            spans += [span for value in in_bytes if value in lower_data for span in _places(value, lower_data)]
            at = places(text) if spans else []
            yield from ((at[start], _end(at, end)) for start, end in spans)

    def data(self, value: Any) -> Any:
        """The same for JSON: strings anywhere, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.data(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(item) for item in value]
        return value

    def value(self, value: Any) -> Any:
        """The same for a value of ours, before anything is made of it: a renderer's escapes would hide a secret."""
        if type(value) in _WITHOUT_TEXT:
            return value
        if isinstance(value, str) and not isinstance(value, Enum):
            return self.text(value)
        if isinstance(value, tuple):
            items = tuple(self.value(item) for item in value)
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        if isinstance(value, dict):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if is_dataclass(value) and not isinstance(value, type):
            had = {each.name: getattr(value, each.name) for each in fields(value)}
            masked = {name: self.value(item) for name, item in had.items()}
            return replace(value, **masked) if any(masked[name] is not had[name] for name in had) else value
        return value


class _Form:
    """One text to be found: nowhere but where its anchor stands, its longest run of characters that nobody escapes."""

    def __init__(self, text: str, *, before: str = "", after: str = "") -> None:
        """`before` and `after` are patterns for what goes with it."""
        self.text = text
        self._around = before, after
        self.anchor = max(re.split(r"[^A-Za-z0-9]+", text), key=len)

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        at = 0
        while found := self._pattern.search(text, at):
            yield found.span()
            at = found.start() + 1  # a value may overlap itself

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Compiled at the first hit: that costs a thousand times what looking for the anchor does."""
        before, after = self._around
        tokens = re.findall(r"\\+|.", self.text, re.DOTALL)
        return re.compile(before + "".join(map(_spelled, tokens)) + after)


_LOWER = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
"""`str.lower` makes some characters longer, and then nothing is in its place."""


def _places(value: S, text: S) -> Iterator[tuple[int, int]]:
    at = text.find(value)
    while at >= 0:
        yield at, at + len(value)
        at = text.find(value, at + 1)


def _end(begins: list[int], end: int) -> int:
    """Where the character of the last byte ends: where the next one begins."""
    last = begins[end - 1]
    while begins[end] == last:
        end += 1
    return begins[end]


def _spelled(token: str) -> str:
    """A pattern for one character, or for a run of backslashes, in every escape."""
    if re.fullmatch(r"[A-Za-z0-9]", token):
        return token
    if token[0] == "\\":
        # In JSON twice as many, and four times in JSON within JSON. The longest that fits is the right one, and to
        # try others would take for ever on a long run.
        escaped = "|".join(rf"\\{{{times * len(token)}}}" for times in (4, 2, 1))
        return f"(?:(?>{escaped})|{_percent(token[0]) * len(token)}|(?:{_numbers(token[0])}){{{len(token)}}})"
    # The character itself last: a `%` is the beginning of its own escape.
    return f"(?:{'|'.join([_percent(token), *_escapes(token), re.escape(token)])})"


def _percent(character: str) -> str:
    """The bytes in hex, whatever the case; twice encoded, each `%` is `%25`."""
    found = character.encode(errors="surrogateescape")
    return "".join(rf"%(?:25)?(?i:{byte:02x})" for byte in found)


def _escapes(character: str) -> Iterator[str]:
    if character == " ":
        yield r"\+"
    if character in _JSON:
        yield rf"\\{{1,3}}{re.escape(_JSON[character])}"
    units = character.encode("utf-16-be", "surrogatepass")
    pairs = [units[at : at + 2].hex() for at in range(0, len(units), 2)]
    yield "".join(rf"\\{{1,3}}u(?i:{unit})" for unit in pairs)
    yield _numbers(character)
    if character in _HTML:
        yield rf"&(?:amp;)?{_HTML[character]};"
    if character == "'":
        yield from (r"'\\{0,3}\"'\\{0,3}\"'", r"'\\{1,4}''")  # in a shell, and that in JSON
    if character == "&":
        yield "&(?:amp;){1,2}"
    if character in _BASE64_OF_URLS:
        yield _BASE64_OF_URLS[character]


def _numbers(character: str) -> str:
    return rf"&(?:amp;)?#(?:0{{0,4}}{ord(character)}|[xX]0{{0,4}}(?i:{ord(character):x}));"


_JSON = {'"': '"', "/": "/", "\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}
_HTML = {"<": "lt", ">": "gt", '"': "quot", "'": "apos"}
_BASE64_OF_URLS = {"+": "-", "/": "_"}
"""RFC 4648, 5."""
_SHARED = "(?:[A-Za-z0-9+/_-]|%2[BbFf])?"
_PADDING = "(?:={1,2}|(?:%3[Dd]){1,2})?"


def _in_base64(value: str) -> Iterator[_Form]:
    """What is the same wherever the value begins: after a multiple of three bytes, or of one or two more.

    At either end a character may share its bits with a neighbour: it goes too, where there is one. What would be
    found by chance is left out.
    """
    data = value.encode(errors="surrogateescape")
    for before in range(3):
        begin, end = before * 8, (before + len(data)) * 8
        encoded = base64.b64encode(bytes(before) + data + bytes(2)).decode()[-(-begin // 6) : end // 6]
        if len(encoded) >= SHORTEST:
            yield _Form(encoded, before=_SHARED if begin % 6 else "", after=(_SHARED if end % 6 else "") + _PADDING)


def _parts_of_address(value: str) -> Iterator[str]:
    """What makes an address a secret: path and query, the last step of the path, a password."""
    if not re.match(r"https?://", value):
        return
    try:
        parts = urlsplit(value.strip())
    except ValueError:
        return
    behind = parts._replace(scheme="", netloc="").geturl()
    candidates = (behind, parts.path, parts.path.rpartition("/")[2], parts.query, parts.password or "")
    yield from (part for part in candidates if len(part) >= SHORTEST_OF_URL)


def _masked(text: str, spans: list[tuple[int, int]]) -> str:
    if not spans:
        return text
    kept = [text[end:start] for (_, end), (start, _) in zip([(0, 0), *spans], [*spans, (len(text), 0)], strict=True)]
    return MASK.join(kept)

"""Mask registered secrets in every text that leaves the process.

A value is found plain, and with any of its characters escaped as in a URL, a form, JSON, HTML, Markdown or a shell:
encoders differ in the characters that they escape. It is also found in base64, base32, hex and quoted-printable, alone
or inside a longer text, and with marks inside: colors and links of a terminal, zero-width characters, and lines that
are folded, indented or quoted. JSON may escape folds and what a terminal hides.

Not covered: values that are cut, reversed, compressed, encrypted or hashed; other nested encodings, except repeated
percent signs and backslashes; a fold before a space or `>` of the value; octal escapes; hex with separators; letters
with other characters between them; values shorter than six characters.
"""

import base64
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import datetime
from enum import Enum
from functools import cache, cached_property
from typing import Any, TypeVar
from urllib.parse import urlsplit

_ESCAPE = (
    r"(?P<percent>%(?:25)*[0-9A-Fa-f]{2})"
    r"|\\{1,4}(?:u(?P<u>[0-9A-Fa-f]{4})|u\{(?P<braced>[0-9A-Fa-f]{1,6})\}|x(?P<x>[0-9A-Fa-f]{2}))"
    r"|&(?:amp;){0,2}\#(?:0{0,6}(?P<decimal>[1-9][0-9]{0,6})|[xX]0{0,6}(?P<hex>[1-9A-Fa-f][0-9A-Fa-f]{0,5}));?"
)
_UNSEEN = r"\x1b\[[0-9;]{0,20}[A-Za-z]|[\u200b-\u200f\u2060-\u2064\ufeff\u00ad]|\r?\n[ \t]*"
_INDENT = r"(?:[ \t]|\\t)*(?:>[ \t]?)*"
_CONTROL = r"(?:\[[0-9;]{0,20}[A-Za-z]|\][^\x07\x1b\\]{0,2000}(?:\x07|\x1b\\|\\u0007|\\u001[bB]\\{1,2}))"
_MARKS = re.compile(
    rf"\\(?:[nr]{_INDENT}|u001[bB]{_CONTROL}|(?!u[0-9A-Fa-f]{{4}}))"
    rf"|[\r\n]{_INDENT}|\x1b{_CONTROL}|[\u200b-\u200f\u2060-\u2064\ufeff\u00ad]|&\#8203;"
)
"""Marks inside a written value: each backslash, as of Markdown; a fold with the start of its next line; a control
sequence of a terminal, such as a color or a link (OSC 8)."""
_HAS_MARKS = re.compile(r"\\(?!u00(?!1[bB])|u[1-9A-Fa-f])|&\#8203;|\x1b\]|\n[ \t]*>")
"""Marks that no other search removes."""
_PRINTABLE_BYTE, _SOFT_BREAK = re.compile("=(?=0[9AD]|20|2E|3[DF]|5F|[89A-F][0-9A-F])"), re.compile("=\r?\n")
_PRINTABLE = re.compile("=(?:\r?\n|0[9AD]|20|2E|3[DF]|5F|[89A-F][0-9A-F])")
"""Quoted-printable (RFC 2045, 6.7): the bytes that encoders write so, and a line break of theirs."""
ESCAPED = re.compile(f"{_ESCAPE}|(?P<nothing>{_UNSEEN})")
"""One escape, or an invisible mark: a color, a zero-width character, or a folded line with its indentation."""
ESCAPES, UNSEEN = re.compile(_ESCAPE), re.compile(_UNSEEN)
_BEGINS = re.compile(r"[%\\&\x1b\u200b-\u200f\u2060-\u2064\ufeff\u00ad\r\n]")
_BEGINS_ESCAPE = re.compile(r"[%\\&]")
_BASES = {"u": 16, "braced": 16, "x": 16, "decimal": 10, "hex": 16}


def decode_escapes(text: str) -> bytes | None:
    """Return the bytes that the text means, or None if it has no escape."""
    if not _BEGINS.search(text) or not ESCAPED.search(text):  # the first search is fast, and most texts have no escape
        return None
    if not _BEGINS_ESCAPE.search(text) or not ESCAPES.search(text):  # as in most texts of several lines
        return _encode_characters(UNSEEN.sub("", text))
    parts, at = list[bytes](), 0
    marked = UNSEEN.search(text) is not None
    for each in ESCAPES.finditer(text):  # no escape begins or ends inside an invisible mark
        begin = each.start()
        if at < begin:
            parts.append(_encode_characters(UNSEEN.sub("", text[at:begin]) if marked else text[at:begin]))
        parts.append(_escaped_character(each))
        at = each.end()
    parts.append(_encode_characters(UNSEEN.sub("", text[at:])))
    return b"".join(parts)


def decoded_places(text: str) -> list[int]:
    """Return the start of the character or escape of each decoded byte, then the length of the text."""
    positions = list[int]()
    for data, start, is_plain in _byte_pieces(text):
        if is_plain:
            positions += range(start, start + len(data))
        else:
            positions += [start] * len(data)
    return [*positions, len(text)]


def _byte_pieces(text: str) -> Iterator[tuple[bytes, int, bool]]:
    """Yield the bytes of each part, where it begins, and whether it is plain: one byte for each character."""
    at = 0
    for escape in ESCAPED.finditer(text):
        yield from _plain_pieces(text, at, escape.start())
        yield _escaped_character(escape), escape.start(), False
        at = escape.end()
    yield from _plain_pieces(text, at, len(text))


def _plain_pieces(text: str, start: int, end: int) -> Iterator[tuple[bytes, int, bool]]:
    part = text[start:end]
    if part.isascii():
        yield part.encode(), start, True
    else:
        yield from ((_encode_characters(character), at, False) for at, character in enumerate(part, start))


def _escaped_character(match: re.Match[str]) -> bytes:
    kind = match.lastgroup
    if kind is None or kind == "nothing":
        return b""
    if kind == "percent":
        return bytes([int(match[0][-2:], 16)])
    number = int(match[kind], _BASES[kind])
    return _encode_utf16_units(chr(number)) if number <= 0x10FFFF else b"?"


_RARE = re.compile("[\ud800-\udfff\U00010000-\U0010ffff]")


def _encode_characters(text: str) -> bytes:
    """Encode as UTF-8; a character beyond 16 bits becomes two surrogates, as JSON writes it."""
    if text.isascii() or not _RARE.search(text):
        return text.encode()
    return b"".join(_encode_surrogates(each) if ord(each) > 0xFFFF else _encode_utf8(each) for each in text)


def _encode_utf16_units(text: str) -> bytes:
    """Encode like `_encode_characters`, but keep a lone surrogate as a surrogate, not as an undecodable byte."""
    if text.isascii() or not _RARE.search(text):
        return text.encode()
    return b"".join(
        _encode_surrogates(each) if ord(each) > 0xFFFF else each.encode("utf-8", "surrogatepass") for each in text
    )


def _encode_surrogates(character: str) -> bytes:
    units = character.encode("utf-16-be")
    return b"".join(chr(int.from_bytes(units[at : at + 2])).encode("utf-8", "surrogatepass") for at in (0, 2))


def _encode_utf8(character: str) -> bytes:
    if "\udc80" <= character <= "\udcff":  # a byte of a value that was not UTF-8
        return character.encode("utf-8", "surrogateescape")
    return character.encode("utf-8", "surrogatepass")


def secret_spellings(value: str) -> Iterator[bytes]:
    """Yield the byte forms to search for: UTF-8, UTF-8 of the surrogates, and as JSON escapes it."""
    yield value.encode("utf-8", "surrogateescape" if value.isascii() or _is_text(value) else "surrogatepass")
    yield _encode_characters(value)
    yield _encode_utf16_units(value)


def _is_text(value: str) -> bool:
    return not any("\ud800" <= each <= "\udfff" and not "\udc80" <= each <= "\udcff" for each in value)


def in_other_bases(value: str) -> Iterator[str]:
    """Yield the value in hex and in base32 at each of its five alignments, in lower case.

    A base32 character that shares bits with a neighbor is left out.
    """
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
"""Fewest characters of a value. A shorter one would mask ordinary words."""
SHORTEST_OF_URL = 12
"""Fewest characters of a part of a URL, which may be a plain word of a path."""
LONGEST_SPELLING = 24
"""Most characters that an escaped one may take: four bytes as `%25F0`, or an HTML number with zeros."""

LONGEST_REMEMBERED, MOST_REMEMBERED = 500, 2000
"""Limits of the cache of texts without a value: characters of a text, and number of texts."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret value that no repr, message or traceback shows. Only a transport calls `reveal`."""

    _value: str = field(repr=False)

    def reveal(self) -> str:
        """Return the plain value, for a transport only."""
        return self._value


_WITHOUT_TEXT = {int, float, bool, type(None), datetime}


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    """Return the fields of a dataclass, and nothing of any other type."""
    return tuple(each.name for each in fields(kind)) if is_dataclass(kind) else ()


class Redactor:
    """Masks every registered value in every spelling. Overlapping values are masked together."""

    def __init__(self, *, shortest: int = SHORTEST) -> None:
        self._shortest = shortest
        self._lock = threading.Lock()
        self._forms: dict[str, _Form] = {}
        self._longest = 0
        self._fewest = sys.maxsize
        """Fewest characters of a text in which a value can be."""
        self._bytes: set[bytes] = set()
        self._lower: set[str] = set()
        self._values: set[str] = set()
        self._clean: set[str] = set()

    def add_secret(self, secret: str) -> None:
        """Register a secret value.

        Each line of a multi-line value is registered too, because logs are read line by line. So are the parts of a URL
        after its host, which an error of an HTTP client may show alone.
        """
        values = {secret, *secret.splitlines(), *_parts_of_address(secret)}
        values |= {_MARKS.sub("", each) for each in values}
        for value in values | {each.strip() for each in values}:
            if len(value.strip()) >= self._shortest and value not in self._values:
                forms, others = (_Form(value), *_in_base64(value)), set(in_other_bases(value))
                with self._lock:  # readers take these collections once and without the lock
                    self._longest = max(self._longest, len(value))
                    self._forms = self._forms | {form.text: form for form in forms}
                    self._lower = self._lower | others
                    self._bytes = self._bytes | {spelling for form in forms for spelling in secret_spellings(form.text)}
                    self._values = self._values | {value}
                    self._fewest = min(self._fewest, *(form.fewest for form in forms), *map(len, others))
                    self._clean = set()  # last, as a new set: a search with the former values fills the former set

    @property
    def longest_spelling(self) -> int:
        """Return the length of the longest possible spelling: context needed before a cut of a text."""
        return self._longest * LONGEST_SPELLING

    def redact_text(self, text: str) -> str:
        """Return the text with every value masked. Texts without a value are cached, because most recur."""
        clean = self._clean
        if len(text) < self._fewest or text in clean:
            return text
        spans = self._find_masked_spans(text)
        if not spans and len(text) <= LONGEST_REMEMBERED:
            if len(clean) >= MOST_REMEMBERED:
                clean.clear()
            clean.add(text)
        return _mask_spans(text, spans)

    def redact_tail(self, text: str, length: int) -> str:
        """Return the last `length` characters, masked. A secret across the cut is masked as a whole."""
        cut = max(0, len(text) - length)
        spans = self._find_masked_spans(text)
        cut = next((end for start, end in spans if start < cut < end), cut)
        return _mask_spans(text[cut:], [(start - cut, end - cut) for start, end in spans if start >= cut])

    def _find_masked_spans(self, text: str) -> list[tuple[int, int]]:
        """Return the ranges to mask, in order; overlapping ranges are joined."""
        if len(text) < self._fewest:
            return []
        spans: list[tuple[int, int]] = []
        finders = (self._find_secret_forms, self._found_across_lines, self._found_encoded, self._found_among_marks)
        for start, end in sorted(span for find in finders for span in find(text)):
            if spans and start < spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            else:
                spans.append((start, end))
        return spans

    def _find_secret_forms(self, text: str) -> list[tuple[int, int]]:
        return [span for form in self._forms.values() if form.anchor in text for span in form.spans(text)]

    def _found_across_lines(self, text: str) -> Iterator[tuple[int, int]]:
        """Find values across line breaks, as `base64` and `fold` insert them."""
        if "\n" in text and (spans := list(self._find_secret_forms(text.replace("\n", "").replace("\r", "")))):
            places = [at for at, character in enumerate(text) if character not in "\r\n"]
            yield from ((places[start], places[end - 1] + 1) for start, end in spans)

    def _found_among_marks(self, text: str) -> Iterator[tuple[int, int]]:
        """Find values with marks of Markdown, mail or a terminal inside, and in quoted-printable."""
        if _HAS_MARKS.search(text) and (spans := list(self._find_secret_forms(_MARKS.sub("", text)))):
            yield from _places_without(text, _MARKS, spans)
        if _PRINTABLE.search(text):
            percent = _PRINTABLE_BYTE.sub("%", text)
            if spans := list(self._find_secret_forms(_SOFT_BREAK.sub("", percent))):
                yield from _places_without(percent, _SOFT_BREAK, spans)

    def _found_encoded(self, text: str) -> Iterator[tuple[int, int]]:
        lower = text.lower() if _LONGER_IN_LOWER not in text else text.translate(_LOWER)
        yield from (span for value in self._lower if value in lower for span in _find_spans(value, lower))
        if self._bytes and (data := decode_escapes(text)):
            spans = [span for value in self._bytes if value in data for span in _find_spans(value, data)]
            lower_data = data.lower()
            in_bytes = (value.encode() for value in self._lower)
            spans += [span for value in in_bytes if value in lower_data for span in _find_spans(value, lower_data)]
            at = decoded_places(text) if spans else []
            yield from ((at[start], _character_end(at, end)) for start, end in spans)

    def redact_json(self, value: Any) -> Any:
        """Return JSON data with every value masked in all strings, keys included."""
        if isinstance(value, str):
            return self.redact_text(value)
        if isinstance(value, dict):
            return {self.redact_text(str(key)): self.redact_json(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.redact_json(item) for item in value]
        return value

    def redact_value(self, value: Any) -> Any:
        """Return a dataclass, tuple, dict or text with every value masked.

        Call it before rendering: a renderer's escapes could hide a secret.
        """
        return self._redact_part(value, {})

    def _redact_part(self, value: Any, known: dict[int, Any]) -> Any:
        """Redact a part. `known`: identity → result, because the steps of a plan share large values."""
        kind = type(value)
        if kind in _WITHOUT_TEXT:
            return value
        if isinstance(value, str) and not isinstance(value, Enum):
            return self.redact_text(value)
        if id(value) not in known:
            known[id(value)] = self._redact_parts_of(value, known)
        return known[id(value)]

    def _redact_parts_of(self, value: Any, known: dict[int, Any]) -> Any:
        if isinstance(value, tuple):
            items = tuple(self._redact_part(item, known) for item in value)
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        if isinstance(value, dict):
            return {self._redact_part(key, known): self._redact_part(item, known) for key, item in value.items()}
        names = _field_names(type(value))  # type: ignore[arg-type]  # a class can be hashed, which mypy does not see
        had = {name: getattr(value, name) for name in names}
        masked = {name: new for name, old in had.items() if (new := self._redact_part(old, known)) is not old}
        return replace(value, **masked) if masked else value


class _Form:
    """One text to find. `anchor`, its longest run of letters and digits, is searched first because it is fast."""

    def __init__(self, text: str, *, before: str = "", after: str = "") -> None:
        """`before` and `after` are patterns of neighboring characters that are masked too."""
        self.text = text
        self._around = before, after
        self.anchor = max(re.split(r"[^A-Za-z0-9]+", text), key=len)
        self._at = text.index(self.anchor)

    @property
    def fewest(self) -> int:
        """The fewest characters of a text that can spell it.

        One character may stand for several of a form that is not ASCII: for a surrogate pair, or bytes of UTF-8.
        """
        return len(self.text) if self.text.isascii() else 1

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        beginning, rest = self._anchor_patterns
        reach = LONGEST_SPELLING * (self._at + 1)
        at = 0
        while match := rest.search(text, at):
            at = match.start()
            if begin := beginning.search(text, max(0, at - reach), at):
                yield begin.start(), match.end()
            at += 1  # a value may overlap itself

    @cached_property
    def _anchor_patterns(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """Return what ends before the anchor, and what begins with it: a search for plain characters is fast.

        Compiled at the first hit, because compiling costs a thousand searches for the anchor.
        """
        before, after = self._around
        return re.compile(rf"{before}{_spelling_pattern(self.text[: self._at])}\Z"), re.compile(
            _spelling_pattern(self.text[self._at :]) + after
        )


_LONGER_IN_LOWER = "\u0130"
"""The one character that `str.lower` makes longer (Unicode, SpecialCasing.txt), and so moves all positions."""
_LOWER = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def _find_spans(value: S, text: S) -> Iterator[tuple[int, int]]:
    at = text.find(value)
    while at >= 0:
        yield at, at + len(value)
        at = text.find(value, at + 1)


def _character_end(begins: list[int], end: int) -> int:
    """Return where the character of the last byte ends, which is where the next one begins."""
    last = begins[end - 1]
    while begins[end] == last:
        end += 1
    return begins[end]


def _spelling_pattern(text: str) -> str:
    return "".join(map(_token_pattern, re.findall(r"\\+|.", text, re.DOTALL)))


def _token_pattern(token: str) -> str:
    """Return a pattern for one character, or a run of backslashes, in every escape."""
    if re.fullmatch(r"[A-Za-z0-9]", token):
        return token
    if token[0] == "\\":
        # JSON doubles them, and JSON within JSON has four for each. Only the longest match counts: without the atomic
        # group, backtracking on a long run would take exponential time.
        escaped = "|".join(rf"\\{{{times * len(token)}}}" for times in (4, 2, 1))
        percent, entity = _percent_pattern(token[0]) * len(token), _entity_pattern(token[0])
        return f"(?:(?>{escaped})|{percent}|(?:{entity}){{{len(token)}}})"
    # The character itself last: a `%` is the beginning of its own escape.
    return f"(?:{'|'.join([_percent_pattern(token), *_escape_patterns(token), re.escape(token)])})"


def _percent_pattern(character: str) -> str:
    """Return a pattern for the percent-encoded bytes, in either case; `%25` is a `%` that was encoded twice."""
    encoded = character.encode(errors="surrogateescape")
    return "".join(rf"%(?:25)?(?i:{byte:02x})" for byte in encoded)


def _escape_patterns(character: str) -> Iterator[str]:
    if character == " ":
        yield r"\+"
    if character in _JSON:
        yield rf"\\{{1,3}}{re.escape(_JSON[character])}"
    units = character.encode("utf-16-be", "surrogatepass")
    pairs = [units[at : at + 2].hex() for at in range(0, len(units), 2)]
    yield "".join(rf"\\{{1,3}}u(?i:{unit})" for unit in pairs)
    yield _entity_pattern(character)
    if character in _HTML:
        yield rf"&(?:amp;)?{_HTML[character]};"
    if character == "'":
        yield from (r"'\\{0,3}\"'\\{0,3}\"'", r"'\\{1,4}''")  # in a shell, and that in JSON
        yield r"\\{1,3}'"  # in Python's repr of a text with both quotes
    if character == "&":
        yield "&(?:amp;){1,2}"
    if character in _BASE64_OF_URLS:
        yield _BASE64_OF_URLS[character]


def _entity_pattern(character: str) -> str:
    return rf"&(?:amp;)?#(?:0{{0,4}}{ord(character)}|[xX]0{{0,4}}(?i:{ord(character):x}));"


_JSON = {'"': '"', "/": "/", "\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}
_HTML = {"<": "lt", ">": "gt", '"': "quot", "'": "apos"}
_BASE64_OF_URLS = {"+": "-", "/": "_"}
"""RFC 4648, 5."""
_SHARED = "(?:[A-Za-z0-9+/_-]|%2[BbFf])?"
_PADDING = "(?:={1,2}|(?:%3[Dd]){1,2})?"


def _in_base64(value: str) -> Iterator[_Form]:
    """Yield the base64 of the value at each of its three alignments.

    A character at either end may share its bits with a neighbor, and is masked too. Forms that are short enough to
    match by chance are left out.
    """
    data = value.encode(errors="surrogateescape")
    for before in range(3):
        begin, end = before * 8, (before + len(data)) * 8
        encoded = base64.b64encode(bytes(before) + data + bytes(2)).decode()[-(-begin // 6) : end // 6]
        if len(encoded) >= SHORTEST:
            yield _Form(encoded, before=_SHARED if begin % 6 else "", after=(_SHARED if end % 6 else "") + _PADDING)


def _parts_of_address(value: str) -> Iterator[str]:
    """Yield the parts that make a URL secret: path and query, last segment of the path, password."""
    if not re.match(r"https?://", value):
        return
    try:
        parts = urlsplit(value.strip())
    except ValueError:
        return
    behind = parts._replace(scheme="", netloc="").geturl()
    candidates = (behind, parts.path, parts.path.rpartition("/")[2], parts.query, parts.password or "")
    yield from (part for part in candidates if len(part) >= SHORTEST_OF_URL)


def _places_without(text: str, marks: re.Pattern[str], spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the ranges of the text for those of the text without its marks."""
    places, at = list[int](), 0
    for mark in marks.finditer(text):
        places += range(at, mark.start())
        at = mark.end()
    places += range(at, len(text))
    yield from ((places[start], places[end - 1] + 1) for start, end in spans)


def _mask_spans(text: str, spans: list[tuple[int, int]]) -> str:
    if not spans:
        return text
    kept = [text[end:start] for (_, end), (start, _) in zip([(0, 0), *spans], [*spans, (len(text), 0)], strict=True)]
    return MASK.join(kept)

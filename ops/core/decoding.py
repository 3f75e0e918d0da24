"""A text without its escapes, and the place of each byte: so a value is found however its characters are written."""

import base64
import re
from collections.abc import Iterator

ESCAPED = re.compile(
    r"(?P<percent>%(?:25)*[0-9A-Fa-f]{2})"
    r"|\\{1,4}(?:u(?P<u>[0-9A-Fa-f]{4})|u\{(?P<braced>[0-9A-Fa-f]{1,6})\}|x(?P<x>[0-9A-Fa-f]{2}))"
    r"|&(?:amp;){0,2}\#(?:0{0,6}(?P<decimal>[1-9][0-9]{0,6})|[xX]0{0,6}(?P<hex>[1-9A-Fa-f][0-9A-Fa-f]{0,5}));?"
    r"|(?P<nothing>\x1b\[[0-9;]{0,20}[A-Za-z]|[\u200b-\u200f\u2060-\u2064\ufeff\u00ad]|\r?\n[ \t]*)"
)
"""One escape, or a mark that nobody sees: a color, a character of no width, a line that was folded and indented."""
_BEGINS = re.compile(r"[%\\&\x1b\u200b-\u200f\u2060-\u2064\ufeff\u00ad\r\n]")
_BASES = {"u": 16, "braced": 16, "x": 16, "decimal": 10, "hex": 16}


def decoded(text: str) -> bytes | None:
    """The bytes that the text stands for. None where there is no escape."""
    if not _BEGINS.search(text) or not ESCAPED.search(text):  # the first is fast, and most texts have none
        return None
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


def _encoded(text: str) -> bytes:
    """UTF-8; a character beyond 16 bits as JSON writes it, as two halves."""
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

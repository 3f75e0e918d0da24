"""What an HTML page names: scripts, styles, images, fonts, the manifest and links, each as a whole URL. Pure.

html.spec.whatwg.org says which attributes name what. What a style sheet or a script names in turn is not looked at.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin, urlsplit


class Kind(StrEnum):
    """What the page uses an answer for."""

    PAGE = "page"
    LINK = "link"
    FRAME = "frame"
    SCRIPT = "script"
    STYLE = "style"
    IMAGE = "image"
    FONT = "font"
    MANIFEST = "manifest"
    OTHER = "other"


@dataclass(frozen=True)
class Reference:
    url: str
    kind: Kind


_SCRIPT_TYPES = frozenset(
    {"", "module", "text/javascript", "application/javascript", "text/ecmascript", "application/ecmascript"}
)
_PRELOADS = {kind.value: kind for kind in (Kind.SCRIPT, Kind.STYLE, Kind.IMAGE, Kind.FONT)} | {
    "worker": Kind.SCRIPT,
    "serviceworker": Kind.SCRIPT,
    "document": Kind.LINK,
}
_SOURCES = {
    "iframe": ("src", Kind.FRAME),
    "embed": ("src", Kind.OTHER),
    "object": ("data", Kind.OTHER),
    "audio": ("src", Kind.OTHER),
    "video": ("src", Kind.OTHER),
    "source": ("src", Kind.OTHER),
    "track": ("src", Kind.OTHER),
    "img": ("src", Kind.IMAGE),
    "a": ("href", Kind.LINK),
    "area": ("href", Kind.LINK),
    "image": ("href", Kind.IMAGE),
}


def references(html: str, url: str) -> tuple[Reference, ...]:
    """All of them once, in order, without fragments. `url` is where the page came from; a `base` may replace it.

    `data:`, `mailto:` and whatever else is not asked by HTTP is left out, and so is the content of `template`. A URL
    that cannot be read keeps its text, so that it can be named.
    """
    parser = _Parser()
    parser.feed(html)
    parser.close()
    found = (Reference(_absolute(text, url, parser.base), kind) for text, kind in parser.found)
    return tuple(dict.fromkeys(reference for reference in found if _is_asked(reference.url)))


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.base = ""
        self.found: list[tuple[str, Kind]] = []
        self._templates = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._templates += tag == "template"
        if self._templates:
            return
        given = {name: (value or "").strip() for name, value in reversed(attrs)}  # of two equal ones the first counts
        if tag == "base":
            self.base = self.base or given.get("href", "")
        named = [(text, kind) for text, kind in _named(tag, given) if text]
        self.found += named

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag == "template":
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        self._templates = max(0, self._templates - (tag == "template"))


def _named(tag: str, given: Mapping[str, str]) -> Iterator[tuple[str, Kind]]:
    if tag in _SOURCES:
        attribute, kind = _SOURCES[tag]
        yield given.get(attribute, ""), kind
    match tag:
        case "script" if given.get("type", "").lower().partition(";")[0] in _SCRIPT_TYPES:
            yield given.get("src", ""), Kind.SCRIPT
        case "link":
            yield from _linked(given)
        case "img" | "source":
            yield from ((text, Kind.IMAGE) for text in _candidates(given.get("srcset", "")))
        case "video":
            yield given.get("poster", ""), Kind.IMAGE
        case "input" if given.get("type", "").lower() == "image":
            yield given.get("src", ""), Kind.IMAGE


def _linked(given: Mapping[str, str]) -> Iterator[tuple[str, Kind]]:
    """`link`: what it is for stands in `rel`, and for a preload in `as`."""
    rel, href = set(given.get("rel", "").lower().split()), given.get("href", "")
    if "stylesheet" in rel:
        yield href, Kind.STYLE
    if "modulepreload" in rel:
        yield href, _PRELOADS.get(given.get("as", "").lower(), Kind.SCRIPT)
    if "preload" in rel:
        kind = _PRELOADS.get(given.get("as", "").lower(), Kind.OTHER)
        yield href, kind
        if kind == Kind.IMAGE:
            yield from ((text, kind) for text in _candidates(given.get("imagesrcset", "")))
    if rel & {"icon", "apple-touch-icon", "apple-touch-icon-precomposed", "mask-icon"}:
        yield href, Kind.IMAGE
    if "manifest" in rel:
        yield href, Kind.MANIFEST


def _candidates(srcset: str) -> Iterator[str]:
    """The URLs of a `srcset`; one may hold commas itself, and then only ends with white space.

    html.spec.whatwg.org/multipage/images.html#parsing-a-srcset-attribute
    """
    rest = srcset.lstrip(" \t\n\f\r,")
    while rest:
        url, rest = [*rest.split(maxsplit=1), ""][:2]
        if not url.endswith(","):  # a descriptor follows
            rest = rest.partition(",")[2]
        yield url.rstrip(",")
        rest = rest.lstrip(" \t\n\f\r,")


def _absolute(text: str, url: str, base: str) -> str:
    line = "".join(text.split("\n")).replace("\r", "").replace("\t", "")
    try:
        return urldefrag(urljoin(urljoin(url, base), line)).url.replace(" ", "%20")
    except ValueError:
        return line


def _is_asked(url: str) -> bool:
    try:
        return urlsplit(url).scheme in {"http", "https"}
    except ValueError:
        return True

"""Find the URLs in an HTML page: scripts, styles, images, fonts, manifest and links.

The attributes follow html.spec.whatwg.org. URLs in style sheets and scripts are not followed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin, urlsplit


class ReferenceKind(StrEnum):
    """Use of a reference in the page."""

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
class HtmlReference:
    url: str
    kind: ReferenceKind


_SCRIPT_TYPES = frozenset(
    {"", "module", "text/javascript", "application/javascript", "text/ecmascript", "application/ecmascript"}
)
_PRELOADS = {
    kind.value: kind for kind in (ReferenceKind.SCRIPT, ReferenceKind.STYLE, ReferenceKind.IMAGE, ReferenceKind.FONT)
} | {
    "worker": ReferenceKind.SCRIPT,
    "serviceworker": ReferenceKind.SCRIPT,
    "document": ReferenceKind.LINK,
}
_SOURCES = {
    "iframe": ("src", ReferenceKind.FRAME),
    "embed": ("src", ReferenceKind.OTHER),
    "object": ("data", ReferenceKind.OTHER),
    "audio": ("src", ReferenceKind.OTHER),
    "video": ("src", ReferenceKind.OTHER),
    "source": ("src", ReferenceKind.OTHER),
    "track": ("src", ReferenceKind.OTHER),
    "img": ("src", ReferenceKind.IMAGE),
    "a": ("href", ReferenceKind.LINK),
    "area": ("href", ReferenceKind.LINK),
    "image": ("href", ReferenceKind.IMAGE),
}


def find_references(html: str, url: str) -> tuple[HtmlReference, ...]:
    """Return each reference once, in order, without fragments. `url`: the page's URL; a `base` element may replace it.

    Other schemes such as `data:` and the content of `template` are omitted. An invalid URL keeps its text, so that it
    can be reported.
    """
    parser = _Parser()
    parser.feed(html)
    parser.close()
    references = (HtmlReference(_absolute_url(text, url, parser.base), kind) for text, kind in parser.found)
    return tuple(dict.fromkeys(reference for reference in references if _is_http(reference.url)))


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.base = ""
        self.found: list[tuple[str, ReferenceKind]] = []
        self._templates = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._templates += tag == "template"
        if self._templates:
            return
        given = {
            name: (value or "").strip() for name, value in reversed(attrs)
        }  # the first of two equal attributes applies
        if tag == "base":
            self.base = self.base or given.get("href", "")
        named = [(text, kind) for text, kind in _references_of(tag, given) if text]
        self.found += named

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag == "template":
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        self._templates = max(0, self._templates - (tag == "template"))


def _references_of(tag: str, given: Mapping[str, str]) -> Iterator[tuple[str, ReferenceKind]]:
    if tag in _SOURCES:
        attribute, kind = _SOURCES[tag]
        yield given.get(attribute, ""), kind
    match tag:
        case "script" if given.get("type", "").lower().partition(";")[0] in _SCRIPT_TYPES:
            yield given.get("src", ""), ReferenceKind.SCRIPT
        case "link":
            yield from _link_references(given)
        case "img" | "source":
            yield from ((text, ReferenceKind.IMAGE) for text in _srcset_urls(given.get("srcset", "")))
        case "video":
            yield given.get("poster", ""), ReferenceKind.IMAGE
        case "input" if given.get("type", "").lower() == "image":
            yield given.get("src", ""), ReferenceKind.IMAGE


def _link_references(given: Mapping[str, str]) -> Iterator[tuple[str, ReferenceKind]]:
    """Yield the references of a `link`: `rel` gives the use, and `as` that of a preload."""
    rel, href = set(given.get("rel", "").lower().split()), given.get("href", "")
    if "stylesheet" in rel:
        yield href, ReferenceKind.STYLE
    if "modulepreload" in rel:
        yield href, _PRELOADS.get(given.get("as", "").lower(), ReferenceKind.SCRIPT)
    if "preload" in rel:
        kind = _PRELOADS.get(given.get("as", "").lower(), ReferenceKind.OTHER)
        yield href, kind
        if kind == ReferenceKind.IMAGE:
            yield from ((text, kind) for text in _srcset_urls(given.get("imagesrcset", "")))
    if rel & {"icon", "apple-touch-icon", "apple-touch-icon-precomposed", "mask-icon"}:
        yield href, ReferenceKind.IMAGE
    if "manifest" in rel:
        yield href, ReferenceKind.MANIFEST


def _srcset_urls(srcset: str) -> Iterator[str]:
    """Yield the URLs of a `srcset`. A URL with commas ends at white space.

    html.spec.whatwg.org/multipage/images.html#parsing-a-srcset-attribute
    """
    rest = srcset.lstrip(" \t\n\f\r,")
    while rest:
        url, rest = [*rest.split(maxsplit=1), ""][:2]
        if not url.endswith(","):  # a descriptor follows
            rest = rest.partition(",")[2]
        yield url.rstrip(",")
        rest = rest.lstrip(" \t\n\f\r,")


def _absolute_url(text: str, url: str, base: str) -> str:
    line = "".join(text.split("\n")).replace("\r", "").replace("\t", "")
    try:
        return urldefrag(urljoin(urljoin(url, base), line)).url.replace(" ", "%20")
    except ValueError:
        return line


def _is_http(url: str) -> bool:
    try:
        return urlsplit(url).scheme in {"http", "https"}
    except ValueError:
        return True

"""The structure of a page: each piece of text with the headings, lists, tables and blocks of code around it."""

from html.parser import HTMLParser

import cmarkgfm  # type: ignore[import-untyped]
from cmarkgfm.cmark import Options  # type: ignore[import-untyped]

HEADINGS = {f"h{level}" for level in range(1, 7)}
BLOCKS = HEADINGS | {"ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "pre", "blockquote", "details"}
CONTROLS = {"button", "nav"}
"""Elements that the theme of the site adds to a page, besides the links of headings."""


class _Structure(HTMLParser):
    def __init__(self, *, is_site: bool) -> None:
        super().__init__()
        self._is_inside = not is_site
        self._ignored: list[str] = []
        self._path: list[str] = []
        self.pieces: list[tuple[str, list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "article":
            self._is_inside = True
        is_heading_link = tag == "a" and "headerlink" in (dict(attrs).get("class") or "")
        if is_heading_link or tag in CONTROLS or self._ignored:
            self._ignored.append(tag)
        elif self._is_inside and tag in BLOCKS:
            self._path.append(tag)
            self.pieces.append(("/".join(self._path), []))

    def handle_endtag(self, tag: str) -> None:
        if tag == "article":
            self._is_inside = False
        if tag in self._ignored:
            del self._ignored[self._ignored.index(tag) :]
        elif self._is_inside and tag in self._path:
            del self._path[len(self._path) - 1 - self._path[::-1].index(tag) :]
            self.pieces.append(("/".join(self._path), []))

    def handle_data(self, data: str) -> None:
        if self._is_inside and not self._ignored:
            if not self.pieces:
                self.pieces.append(("", []))
            self.pieces[-1][1].append(data)


def _pieces(html: str, *, is_site: bool) -> list[str]:
    parser = _Structure(is_site=is_site)
    parser.feed(html)
    texts = ((path, " ".join("".join(text).split())) for path, text in parser.pieces)
    return [f"{path}: {text}" for path, text in texts if text]


def structure_on_github(markdown: str) -> list[str]:
    """Return each piece of text after the elements around it, as GitHub's own renderer nests them."""
    return _pieces(cmarkgfm.github_flavored_markdown_to_html(markdown, Options.CMARK_OPT_UNSAFE), is_site=False)


def structure_on_site(html: str) -> list[str]:
    """Return the same of a page of the site."""
    return _pieces(html, is_site=True)

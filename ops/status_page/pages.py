"""Render the files of the page: HTML, JSON and feed, each below 100 kB."""

import base64
import functools
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import jinja2
from markupsafe import Markup

from ops.core.clock import format_rfc3339
from ops.render import TEMPLATES
from ops.status_page.overview import PageOverview
from ops.status_page.summary import STATUS_FILES, format_page_minute, headline, incident_page, page_state, render_status

BODY_BYTES = 80_000
"""Of a file for its blocks: the rest of a page takes less than 20 kB of `MOST_BYTES`."""
PAST_ROWS = 5
"""Past incidents on the front page."""
FOLDER = TEMPLATES / "status_page"


@dataclass(frozen=True)
class Part:
    """One of the pages of a long list, with the names of those beside it; empty without one."""

    name: str
    number: int
    count: int
    blocks: Sequence[str]
    newer: str
    older: str


def render_site(overview: PageOverview) -> dict[str, bytes]:
    """Return path → content of every file."""
    site = _StatusSite(overview)
    files = {
        "index.html": site.render_front(),
        "feed.atom": site.render_feed(),
        **dict.fromkeys(STATUS_FILES, render_status(overview)),
    }
    rows = [site.block("row", each, "") for each in overview.past]
    for part in split_blocks("history", rows):
        files[part.name] = site.render_page("history", **vars(part))
    for one in overview.incidents:
        updates = [site.block("update", each) for each in one.shown_updates]
        tone = "open" if one.is_open else "ended"
        for part in split_blocks(one.id, updates):
            page = site.render_page("incident", "../", incident=one, tone=tone, **vars(part))
            files[f"incidents/{part.name}"] = page
    return files


def split_blocks(stem: str, blocks: Sequence[str], most: int = BODY_BYTES) -> Iterator[Part]:
    """Yield the pages `STEM.html`, `STEM-2.html` and so on, of at most `most` bytes of blocks; at least one."""
    groups, size = list[list[str]]([[]]), 0
    for block in blocks:
        if groups[-1] and size + len(block.encode()) > most:
            groups.append([])
            size = 0
        groups[-1].append(block)
        size += len(block.encode())
    names = [f"{stem}.html", *(f"{stem}-{number}.html" for number in range(2, len(groups) + 1))]
    around = ["", *names, ""]
    for index, (name, group) in enumerate(zip(names, groups, strict=True)):
        yield Part(name, index + 1, len(groups), group, around[index], around[index + 2])


def make_entry_id(kind: str, name: str) -> str:
    """Return a permanent id for the feed (RFC 4287, 4.2.6): it does not change with the URL of the page."""
    return uuid.uuid5(uuid.NAMESPACE_OID, f"backout status page {kind} {name}").urn


class _StatusSite:
    def __init__(self, overview: PageOverview) -> None:
        self._overview = overview
        self._templates = _load_page_templates()
        self._parts = self._templates.get_template("parts.html.j2").make_module({"overview": overview})

    def block(self, macro: str, *arguments: object) -> Markup:
        return Markup(getattr(self._parts, macro)(*arguments))  # noqa: S704  a macro of an escaping template

    def render_page(self, template: str, root: str = "", **values: Any) -> bytes:
        """`root` leads from the page to the root of the site, so that it may be served below any path."""
        page = self._templates.get_template(f"{template}.html.j2")
        return page.render(overview=self._overview, root=root, **values).encode()

    def render_front(self) -> bytes:
        """Open incidents that do not fit on the page are rows without their text."""
        overview, room = self._overview, BODY_BYTES // 2
        shown: dict[str, Any] = {"running": [], "planned": [], "more": []}
        for one in (*overview.running, *overview.planned):
            block = self.block("running", one, "")
            room -= len(block.encode())
            kind = "running" if one.has_begun else "planned"
            shown["more" if room < 0 else kind].append(block if room >= 0 else self.block("row", one, ""))
        past = [self.block("row", each, "") for each in overview.past[:PAST_ROWS]]
        return self.render_page("index", past=past, tone=page_state(overview), headline=headline(overview), **shown)

    def render_feed(self) -> bytes:
        """Return the Atom feed (RFC 4287) with the newest updates that fit."""
        overview, room, entries = self._overview, BODY_BYTES, list[Markup]()
        incident_of = {update.id: one for one in overview.incidents for update in one.updates}
        for update in overview.updates:
            values = {"update": update, "incident": incident_of[update.id], "url": overview.settings.url}
            entry = self._render_xml("entry", entry_id=make_entry_id("update", update.id), **values)
            room -= len(entry.encode())
            if room < 0:
                break
            entries.append(entry)
        updated = overview.last_update or overview.built_at
        feed_id = make_entry_id("page", overview.settings.title)
        return self._render_xml("feed", overview=overview, entries=entries, feed_id=feed_id, updated=updated).encode()

    def _render_xml(self, template: str, **values: Any) -> Markup:
        return Markup(self._templates.get_template(f"{template}.atom.j2").render(**values))  # noqa: S704  it escapes


@functools.cache
def _load_page_templates() -> jinja2.Environment:
    """Return the templates, which escape every value for HTML and XML."""
    loader = jinja2.FileSystemLoader(FOLDER)
    environment = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "address": incident_page,
        "rfc3339": format_rfc3339,
        "utc": format_page_minute,
        "words": lambda value: value.replace("_", " ").capitalize(),
    }
    style, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    environment.globals |= {"css": Markup(style), "js": Markup(script), "policy": make_content_policy(style, script)}  # noqa: S704
    return environment


def make_content_policy(style: str, script: str) -> str:
    """Return the Content-Security-Policy: only our own style and script run, and only our own files are fetched."""
    return (
        f"default-src 'none'; style-src '{_policy_digest(style)}'; script-src '{_policy_digest(script)}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _policy_digest(text: str) -> str:
    return f"sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}"

"""The files of the page: small, without foreign hosts, inert, and in the forms that other programs read."""

import base64
import json
import re
import time
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from ops.status_page.pages import render_site, split_blocks
from ops.status_page.summary import MOST_BYTES, STATUS_FILES
from tests.status_page.support import (
    ALL_WORK,
    MAJOR,
    NOW,
    OUTAGE,
    PLANNED,
    SETTINGS,
    WORKS,
    overview,
    public_id,
    update,
)

ATOM = "{http://www.w3.org/2005/Atom}"
HOSTILE = (
    "<script>alert(1)</script> <img src=x onerror=alert(1)> [x](javascript:alert(1)) **bold** @everyone "
    "https://evil.example/ ]]> <!-- {{ 7*7 }} & \" ' `"
)


class Page(HTMLParser):
    """What a browser finds in a page."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.policy = ""
        self.raw: dict[str, str] = {}
        self.feed(content.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.attributes |= given.keys()
        self.links += [str(given[name]) for name in ("href", "src", "action") if given.get(name)]
        self.ids += [str(given["id"])] if "id" in given else []
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(given["content"])

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] in (["style"], ["script"]) and self.tags[-1] not in self.raw:
            self.raw[self.tags[-1]] = data
        else:
            self.text += data


def pages_of(files: dict[str, bytes]) -> dict[str, Page]:
    return {name: Page(content) for name, content in files.items() if name.endswith(".html")}


def test_every_link_leads_to_a_file_and_no_host_is_named() -> None:
    files = render_site(overview(ALL_WORK, *OUTAGE, PLANNED))

    assert set(files) == {
        *("index.html", "history.html", "feed.atom", "status.json", "api/v2/summary.json"),
        *(f"incidents/{public_id(each)}.html" for each in ("calm", "outage", "move")),
    }
    for name, page in pages_of(files).items():
        for link in page.links:
            if link != "data:,":
                target = urlsplit(urljoin(f"https://x/{name}", link))
                assert (target.netloc, target.path.lstrip("/") in files) == ("x", True), (name, link)
        assert len(page.ids) == len({*page.ids})
        assert not {each for each in page.attributes if each.startswith("on") or each == "style"}


def test_the_policy_allows_only_the_page_s_own_style_and_script() -> None:
    for page in pages_of(render_site(overview(ALL_WORK))).values():
        directives = dict(each.strip().split(" ", 1) for each in page.policy.split(";"))
        for tag in ("style", "script"):
            digest = base64.b64encode(sha256(page.raw[tag].encode()).digest()).decode()
            assert directives.pop(f"{tag}-src") == f"'sha256-{digest}'"
        assert directives == {
            **dict.fromkeys(("default-src", "base-uri", "form-action"), "'none'"),
            "connect-src": "'self'",
            "img-src": "data:",
        }


def test_hostile_texts_and_names_are_inert_everywhere() -> None:
    settings = replace(SETTINGS, title="Bäckerei <b>& Co", components=("Shop <i>", "Kitchen"))
    hostile = update("x", 1, "identified", {"Shop <i>": MAJOR, "<script>": MAJOR}, HOSTILE)
    files = render_site(overview(hostile, ALL_WORK, settings=settings))

    plain = pages_of(render_site(overview(*OUTAGE, ALL_WORK)))
    for name, page in pages_of(files).items():
        allowed = {tag for each in plain.values() for tag in each.tags}
        assert {*page.tags} <= allowed, name
        assert page.tags.count("script") == 1
        assert not [each for each in page.links if "evil" in each or "javascript" in each]
    assert HOSTILE in pages_of(files)["index.html"].text
    assert json.loads(files["status.json"])["incidents"][0]["incident_updates"][0]["body"] == HOSTILE
    feed = ET.fromstring(files["feed.atom"])
    assert HOSTILE in [each.text for each in feed.iter(f"{ATOM}content")]
    assert [each.get("type") for each in feed.iter(f"{ATOM}content")] == ["text", "text"]


def test_without_a_script_nothing_is_green_and_each_statement_has_its_time() -> None:
    page = Page(render_site(overview(ALL_WORK))["index.html"])

    assert "All components are operational at 2026-11-25 03:00 UTC" in page.text
    assert "Operational at 2026-11-25 03:00 UTC" in page.text
    assert "Last built at 2026-11-25 03:00 UTC" in page.text
    for rule in re.findall(r"[^{}]+\{[^{}]*var\(--good\)[^{}]*\}", page.raw["style"]):
        assert '[data-age="fresh"]' in rule.partition("{")[0]


@pytest.mark.parametrize("updates", [(), (ALL_WORK,)])
def test_without_regular_builds_the_page_says_only_the_last_update(updates: tuple[Any, ...]) -> None:
    page = Page(render_site(overview(*updates, settings=replace(SETTINGS, interval=None)))["index.html"])

    assert "perational" not in page.text
    assert ("Last update at 2026-11-21 15:40 UTC" in page.text) == bool(updates)


def test_a_component_that_ops_yml_lacks_is_never_called_operational() -> None:
    ended = update("x", 1, "resolved", {"Museum": WORKS})
    files = render_site(overview(ended))

    assert "Museum" in Page(files[f"incidents/{public_id('x')}.html"]).text
    for page in pages_of(files).values():
        assert not re.search(r"Museum\W+operational", page.text, re.IGNORECASE)
    assert b"Museum" not in files["status.json"]


def test_500_incidents_build_in_two_seconds_and_small_files() -> None:
    many = [
        update(f"i{number}", step, state, {"Shop": MAJOR}, "Orders fail. " * 15, ago=60 * (600 - number) - step)
        for number in range(500)
        for step, state in enumerate(("investigating", "identified", "resolved"), start=1)
    ]
    began = time.process_time()
    files = render_site(overview(*many))
    assert time.process_time() - began < 2

    assert max(map(len, files.values())) < MOST_BYTES
    history = [name for name in files if name.startswith("history")]
    listed = [link for name in history for link in Page(files[name]).links if link.startswith("incidents/")]
    assert (len(history) > 1, len({*listed}), len(listed)) == (True, 500, 500)


def test_an_outage_of_everything_with_long_texts_stays_small() -> None:
    long = "&" * 1000
    many = [
        update(
            f"i{number}", step, "identified", {f"Part {each} {'x' * 50}": MAJOR for each in range(10)}, long, ago=step
        )
        for number in range(60)
        for step in range(1, 41)
    ]
    files = render_site(overview(*many))

    assert max(map(len, files.values())) < MOST_BYTES
    first = Page(files["index.html"])
    assert len({each for each in first.links if each.startswith("incidents/")}) == 60
    long_one = [name for name in files if public_id("i0") in name]
    assert len(long_one) > 1
    shown = [each for name in long_one for each in Page(files[name]).ids if each.startswith("u-")]
    assert len({*shown}) == 40


def test_blocks_are_split_without_loss() -> None:
    parts = list(split_blocks("history", ["a" * 40, "b" * 40, "c" * 200, "d"], most=100))

    assert [each.name for each in parts] == ["history.html", "history-2.html", "history-3.html"]
    assert ["".join(each.blocks)[0] for each in parts] == ["a", "c", "d"]
    assert [(each.newer, each.older) for each in parts] == [
        ("", "history-2.html"),
        ("history.html", "history-3.html"),
        ("history-2.html", ""),
    ]
    assert [each.name for each in split_blocks("x", [])] == ["x.html"]


def test_feed_follows_rfc_4287() -> None:
    """Rules of sections 4.1.1, 4.1.2, 4.2.6 and 3.3."""
    correction = update("outage", 3, "identified", {"Shop": MAJOR}, "Both ovens.", ago=10, corrects=2)
    files = render_site(overview(ALL_WORK, *OUTAGE, correction))
    feed = ET.fromstring(files["feed.atom"])
    entries = feed.findall(f"{ATOM}entry")

    assert feed.tag == f"{ATOM}feed"
    for each in (feed, *entries):
        for required in ("id", "title", "updated"):
            assert len(each.findall(f"{ATOM}{required}")) == 1, (each.tag, required)
            assert each.findtext(f"{ATOM}{required}")
        for moment in (*each.findall(f"{ATOM}updated"), *each.findall(f"{ATOM}published")):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", moment.text or "")
        assert str(each.findtext(f"{ATOM}id")).startswith("urn:uuid:")
    ids = [each.findtext(f"{ATOM}id") for each in (feed, *entries)]
    assert len({*ids}) == len(ids) == 5
    assert feed.findtext(f"{ATOM}author/{ATOM}name") == SETTINGS.title
    relations = {each.get("rel"): each.get("href") for each in feed.findall(f"{ATOM}link")}
    assert relations == {"self": f"{SETTINGS.url}/feed.atom", "alternate": f"{SETTINGS.url}/"}
    times = [datetime.fromisoformat(str(each.findtext(f"{ATOM}updated"))) for each in entries]
    assert times == sorted(times, reverse=True)
    assert feed.findtext(f"{ATOM}updated") == entries[0].findtext(f"{ATOM}updated")
    for entry in entries:
        address, _, place = str(entry.find(f"{ATOM}link").get("href")).partition("#")  # type: ignore[union-attr]
        assert place in Page(files[address.removeprefix(f"{SETTINGS.url}/")]).ids


def test_feed_ids_survive_another_address_and_a_later_build() -> None:
    def ids(**changes: Any) -> list[str | None]:
        shown = overview(*OUTAGE, settings=replace(SETTINGS, **changes), built_at=NOW + timedelta(days=len(changes)))
        feed = ET.fromstring(render_site(shown)["feed.atom"])
        return [each.text for each in feed.iter(f"{ATOM}id")]

    assert ids() == ids(url="https://new.example")


TRUTH = {"type": "boolean"}
TEXT, TIME, MAYBE = {"type": "string"}, {"type": "string", "format": "date-time"}, {"type": ["string", "null"]}


def fields(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": [*properties], "properties": properties}


UPDATE = fields(
    **dict.fromkeys(("body", "id", "incident_id", "status"), TEXT),
    **dict.fromkeys(("created_at", "display_at", "updated_at"), TIME),
)
INCIDENT: dict[str, Any] = fields(
    **dict.fromkeys(("id", "name", "page_id", "shortlink"), TEXT),
    impact={"enum": ["none", "minor", "major", "critical", "maintenance"]},
    status={"enum": ["investigating", "identified", "monitoring", "resolved", "scheduled", "in_progress"]},
    **dict.fromkeys(("created_at", "updated_at"), TIME),
    **dict.fromkeys(("monitoring_at", "resolved_at"), MAYBE),
    incident_updates={"type": "array", "items": UPDATE, "minItems": 1},
)
SUMMARY = fields(
    page=fields(**dict.fromkeys(("id", "name", "time_zone", "url"), TEXT), updated_at=TIME),
    status=fields(description=TEXT, indicator=TEXT),
    components={
        "type": "array",
        "items": fields(
            **dict.fromkeys(("id", "name", "page_id", "status"), TEXT),
            **dict.fromkeys(("created_at", "updated_at"), TIME),
            **dict.fromkeys(("group", "only_show_if_degraded", "showcase"), TRUTH),
            **dict.fromkeys(("description", "group_id", "start_date"), MAYBE),
            position={"type": "integer", "maximum": 255},
        ),
    },
    incidents={"type": "array", "items": INCIDENT},
    scheduled_maintenances={
        "type": "array",
        "items": {"allOf": [INCIDENT, fields(scheduled_for=MAYBE, scheduled_until=MAYBE)]},
    },
)
"""Fields that the client `statuspage.io` of npm reads: github.com/ffflorian/api-clients, packages/statuspage.io,
src/interfaces/Result.ts."""


@pytest.mark.parametrize("updates", [(), (ALL_WORK,), (ALL_WORK, *OUTAGE, PLANNED)])
def test_status_json_has_the_fields_that_a_client_of_statuspage_reads(updates: tuple[Any, ...]) -> None:
    files = render_site(overview(*updates))
    document = json.loads(files["status.json"])

    assert [files[name] for name in STATUS_FILES] == [files["status.json"]] * 2
    jsonschema.validate(document, SUMMARY, format_checker=jsonschema.FormatChecker())
    assert [each["name"] for each in document["components"]] == [*SETTINGS.components]
    assert document["build"] == {"at": "2026-11-25T03:00:00Z", "late_after": 2400.0}


def test_status_json_shows_incident_and_planned_maintenance() -> None:
    document = json.loads(render_site(overview(ALL_WORK, *OUTAGE, PLANNED))["status.json"])
    (incident,), (maintenance,) = document["incidents"], document["scheduled_maintenances"]

    assert (incident["status"], incident["impact"], incident["resolved_at"]) == ("identified", "critical", None)
    assert [each["body"] for each in incident["incident_updates"]] == ["The oven is at fault.", "Orders fail."]
    assert [
        (each["name"], each["old_status"], each["new_status"])
        for one in incident["incident_updates"]
        for each in one["affected_components"]
    ] == [("Shop", "major_outage", "partial_outage"), ("Shop", "unknown", "major_outage")]
    assert (maintenance["status"], maintenance["scheduled_for"], maintenance["scheduled_until"]) == (
        "scheduled",
        "2026-11-25T08:00:00Z",
        "2026-11-25T09:00:00Z",
    )
    assert document["status"] == {"indicator": "major", "description": "Partial outage"}

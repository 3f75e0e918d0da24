"""Numbers of the impact: window, counts, chart, and what is said without data."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import strategies as st

from ops.cloudflare.types.records import VersionRequests, WorkerTraffic
from ops.core.clock import Period, parse_utc
from ops.report.impact import LONGEST, MAX_POINTS, ImpactSources, ImpactView, find_window
from tests.conftest import Incident, World
from tests.support.properties import holds_for
from tests.support.shop import WORKER, Shop, open_shop

NOW = parse_utc("2026-11-24T03:20:00Z")
READER = "Account Analytics Read"
FORM = "### Service\n\nweb\n\n### When it began (UTC)\n\n2026-11-24 03:11\n"


def minutes(*numbers: tuple[int, int, int], start: datetime = NOW) -> tuple[VersionRequests, ...]:
    """Return rows of (minutes after the start, requests, errors)."""
    return tuple(
        VersionRequests(start + timedelta(minutes=at), "bad", requests, errors) for at, requests, errors in numbers
    )


def view(rows: tuple[VersionRequests, ...], *, length: int = 10, **more: Any) -> ImpactView:
    window = Period(NOW, NOW + timedelta(minutes=length))
    recent = Period(NOW - timedelta(minutes=10), window.until + timedelta(minutes=10))
    traffic = WorkerTraffic(recent, rows, (), 1.0, more.pop("complete_until", recent.until), may_be_cut=False)
    return ImpactView(ImpactSources("web", window, more.pop("ended", window.until), traffic, **more))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "end", "read", "window"),
    [
        (0, 10, 20, (0, 10)),
        (0.5, 9.5, 20, (0, 10)),
        (0, None, 20, (0, 20)),
        (None, 10, 20, None),
        (10, 10, 20, None),
        (11, 10, 20, None),
        (0, 2000, 3000, (2000 - LONGEST / timedelta(minutes=1), 2000)),
    ],
)
def test_window_is_whole_minutes_until_the_recovery(
    start: float | None, end: float | None, read: float, window: tuple[float, float] | None
) -> None:
    def at(minute: float | None) -> Any:
        return None if minute is None else NOW + timedelta(minutes=minute)

    found = find_window(at(start), at(end), at(read))

    assert (found and (found.since, found.until)) == (window and (at(window[0]), at(window[1])))


def test_numbers_count_the_window_only() -> None:
    found = view(minutes((-5, 100, 50), (0, 100, 4), (1, 100, 6), (9, 60, 60), (10, 100, 90)))

    assert (found.requests, found.failed, found.error_minutes) == (260, 70, 2)


def test_versions_of_one_minute_are_one_error_minute() -> None:
    assert view(minutes((3, 100, 10), (3, 100, 10), (4, 100, 10), (4, 900, 0))).error_minutes == 1


def test_incomplete_minutes_are_named() -> None:
    late = NOW + timedelta(minutes=6)

    assert view(minutes((0, 1, 0)), complete_until=late).incomplete_from == late
    assert view(minutes((0, 1, 0))).incomplete_from is None


def test_chart_marks_the_recovery() -> None:
    chart = view(minutes((0, 100, 4), (5, 100, 60))).chart

    assert chart[0] == "xychart-beta"
    assert chart[1] == '  title "Failed requests, by estimate, and the recovery at 03:30 UTC"'
    labels, bars, line = (re.findall(r"[\d:]+", each) for each in (chart[2], chart[4], chart[5]))
    assert labels[0] == "03:10"
    assert [labels[at] for at, bar in enumerate(bars) if bar != "0"] == ["03:30"]
    assert sum(map(int, line)) == 64


def test_chart_needs_failures() -> None:
    assert view(minutes((0, 100, 0))).chart == []
    assert not any(line.startswith("  bar") for line in view(minutes((0, 9, 9)), ended=None).chart)


ROWS = st.lists(st.tuples(st.integers(-10, 200), st.integers(0, 10_000), st.integers(0, 10_000)), max_size=40)


@pytest.mark.slow
@holds_for(100, 2000, rows=ROWS, length=st.integers(1, 24 * 60))
def test_chart_is_small_and_loses_no_failure(rows: list[tuple[int, int, int]], length: int) -> None:
    rows = [row for row in rows if row[0] < length + 10]  # as the query asks
    found = view(minutes(*rows), length=length)
    inside = sum(failed for _, _, failed in rows)

    chart = found.chart

    assert bool(chart) == bool(inside)
    if chart:
        points = [int(each) for each in re.findall(r"\d+", chart[-1])]
        assert len(points) <= MAX_POINTS
        assert sum(points) == inside


@pytest.fixture
def shop(world: World) -> Shop:
    world.sandbox.clock.set(NOW)
    return open_shop(world)


@pytest.fixture
def outage(shop: Shop) -> Incident:
    """Open an incident on the shop, and roll its Worker back."""
    sandbox, hub = shop.world.sandbox, shop.world.sandbox.github
    sandbox.add_token(sandbox.token, ["Workers Scripts Write", "Pages Write", "Zone Read", "Analytics Read", READER])
    sandbox.switches.analytics_sample_interval = 1
    zone = sandbox.zones.add("shop.example")
    sandbox.zones.add_route(sandbox.zones.all[zone], "web.shop.example/*", WORKER)
    for minute in range(1, 9):
        at = NOW - timedelta(minutes=minute, seconds=30)
        for number in range(60):
            status = "scriptThrewException" if number % 3 == 0 else "success"
            sandbox.analytics.record_invocation(
                sandbox.account_id, WORKER, shop.bad, status, at=at, seconds=0.01, size=10
            )
        sandbox.analytics.add_requests(zone, "web.shop.example", "/cart", f"203.0.113.{minute}", at=at, status=500)
        sandbox.analytics.add_requests(zone, "web.shop.example", "/cart", "203.0.113.1", at=at, status=429, count=2)
    hub.add_user("mai")
    number = hub.open_issue("Cart is down", FORM, ["incident"], "mai", at=NOW - timedelta(minutes=5))
    incident = Incident(shop.world, number)
    where = ("--config", str(shop.world.config), "--service", "web", "--environment", "live", "--yes")
    assert incident.ops("rollback-worker", *where, "--incident", str(number), **shop.environ()).code == 0
    sandbox.clock.advance(900)
    return incident


def report(incident: Incident, shop: Shop) -> str:
    where = ("--config", str(shop.world.config))
    outcome = incident.ops("incident", "report", str(incident.number), *where, **shop.environ())
    assert outcome.code == 0, outcome.err
    (page,) = [issue for issue in incident.github.issues if issue.find_label("post-incident")]
    text = (page.body or "").replace("\u200b", "").replace("&#8203;", "")
    return text.partition("## Impact")[2].partition("**How many users")[0]


def test_report_has_numbers_with_window_and_source(outage: Incident, shop: Shop) -> None:
    text = report(outage, shop)

    assert "| web, 03:11 to 03:21 UTC | estimate |" in text
    assert re.search(r"\| requests \| 48[1-9] \|", text)  # with the probes of the run
    assert "| failed: exception or limit | 160 |" in text
    assert "| error minutes: more than 5 % failed | 8 |" in text
    assert re.search(r"\| responses with status 5xx \| (9|1\d) \|", text)
    assert "| clients (IP addresses) that got one | 9 |" in text
    assert "| responses with status 429 | 16 |" in text
    assert "workersInvocationsAdaptive, not sampled; an error that the code catches counts" in text
    assert "web.shop.example: httpRequestsAdaptiveGroups, sampled." in text
    assert "```mermaid\nxychart-beta\n" in text
    assert "203.0.113" not in text


@pytest.mark.slow
def test_report_names_the_missing_permission(outage: Incident, shop: Shop) -> None:
    sandbox = shop.world.sandbox
    sandbox.add_token(sandbox.token, ["Workers Scripts Read", "Pages Read"])

    text = report(outage, shop)

    assert "- Requests and failures unknown: the token needs Account Analytics Read" in text
    assert "- Clients and responses with 429 unknown: the token needs Analytics Read and Zone Read" in text
    assert "| estimate |" not in text


def test_report_of_a_host_without_a_zone_has_numbers_of_the_worker(outage: Incident, shop: Shop) -> None:
    shop.world.sandbox.zones.all.clear()

    text = report(outage, shop)

    assert re.search(r"\| requests \| 48[1-9] \|", text)  # with the probes of the run
    assert "status 429 |" not in text
    assert re.search(r"- Clients and responses with 429 unknown: .*\bweb\.shop\.example$", text, re.MULTILINE)


def test_report_of_empty_and_failing_analytics(outage: Incident, shop: Shop) -> None:
    shop.world.sandbox.switches.analytics_empty = True
    assert "| requests | 0 |" in report(outage, shop)

    shop.world.sandbox.switches.analytics_down = True
    assert "unknown: Cloudflare answered POST /graphql with HTTP 200, Internal server error" in report(outage, shop)

"""Numbers of the impact: window, counts, chart, and what is said without data."""

import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import strategies as st

from ops.cloudflare.types.records import HostMinute, HostTraffic, VersionRequests, WorkerTraffic
from ops.config.probes import CommandProbe, Probe
from ops.core.clock import Period, parse_utc
from ops.report.impact import (
    LONGEST,
    ImpactView,
    ServiceImpact,
    ServiceWrite,
    describe_own_requests,
    find_impact_window,
)
from ops.report.pictures import MAX_POINTS, draw_requests
from tests.conftest import Incident, World
from tests.support.properties import holds_for
from tests.support.shop import WORKER, Shop, open_shop

NOW = parse_utc("2026-11-24T03:20:00Z")
READER = "Account Analytics Read"
FORM = "### Service\n\nweb\n\n### When it began (UTC)\n\n2026-11-24 03:11\n"


WINDOW = Period(NOW, NOW + timedelta(minutes=10))


def minutes(*numbers: tuple[int, int, int]) -> tuple[VersionRequests, ...]:
    """Return rows of (minutes after the start, requests, errors)."""
    return tuple(
        VersionRequests(NOW + timedelta(minutes=at), "bad", requests, errors) for at, requests, errors in numbers
    )


def worker_view(rows: tuple[VersionRequests, ...], *, length: int = 10, **more: Any) -> ImpactView:
    window = Period(NOW, NOW + timedelta(minutes=length))
    shown = Period(NOW - timedelta(minutes=10), window.until + timedelta(minutes=10))
    traffic = WorkerTraffic(shown, rows, (), 1.0, more.pop("complete_until", shown.until), may_be_cut=False)
    return ImpactView(ServiceImpact("live", "web", window, shown, worker="shop-web", traffic=traffic, **more))


def host_view(*rows: tuple[int, int, int], **more: Any) -> ImpactView:
    """Return a view of rows of (minutes after the start, status, requests)."""
    inside = [row for row in rows if 0 <= row[0] < 10]
    by_status = {status: sum(each[2] for each in inside if each[1] == status) for _, status, _ in inside}
    responses = HostTraffic(
        by_status,
        tuple(HostMinute(NOW + timedelta(minutes=at), status, requests) for at, status, requests in sorted(rows)),
        clients=more.pop("clients", 1),
        has_more_clients=more.pop("has_more_clients", False),
        own_requests=more.pop("own_requests", 0),
        sample_interval=1.0,
        complete_until=more.pop("complete_until", WINDOW.until),
        may_be_cut=more.pop("may_be_cut", False),
    )
    return ImpactView(
        ServiceImpact("live", "web", WINDOW, WINDOW, host="web.shop.example", responses=responses, **more)
    )


def figures(view: ImpactView) -> dict[str, str]:
    """Return the figures by the first word of their name."""
    return {figure.name.partition(" (")[0]: figure.value for figure in view.figures}


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

    found = find_impact_window(at(start), at(end), at(read))

    assert (found and (found.since, found.until)) == (window and (at(window[0]), at(window[1])))


def test_numbers_count_the_window_only() -> None:
    of_worker = figures(worker_view(minutes((-5, 100, 50), (0, 100, 4), (1, 100, 6), (9, 60, 60), (10, 100, 90))))
    of_host = figures(host_view((-5, 500, 50), (0, 200, 96), (0, 500, 4), (1, 200, 9), (1, 502, 1), (10, 500, 9)))

    assert (of_worker["requests to the Worker"], of_worker["exceptions and exceeded limits"]) == ("260", "70")
    assert of_worker["error minutes"] == "at least 2"
    assert (of_host["requests"], of_host["5xx"], of_host["error minutes"]) == ("110", "5", "1")


def test_versions_of_one_minute_are_one_error_minute() -> None:
    rows = minutes((3, 100, 10), (3, 100, 10), (4, 100, 10), (4, 900, 0))

    assert len(worker_view(rows).error_minutes) == 1


@pytest.mark.parametrize(
    ("view", "requests", "failed", "error_minutes"),
    [
        (host_view((0, 200, 9)), "9", "0", "0"),
        (host_view(own_requests=3), "0", "0", "0"),
        (host_view(), "unknown", "unknown", "unknown"),
        (host_view((0, 200, 9), complete_until=NOW), "at least 9", "unknown", "unknown"),
        (host_view((0, 500, 9), complete_until=NOW), "at least 9", "at least 9", "at least 1"),
        (host_view((0, 200, 9), may_be_cut=True), "9", "0", "unknown"),
        (host_view((0, 500, 9), may_be_cut=True), "9", "9", "at least 1"),
    ],
)
def test_zero_needs_complete_data(view: ImpactView, requests: str, failed: str, error_minutes: str) -> None:
    found = figures(view)

    assert (found["requests"], found["5xx"], found["error minutes"]) == (requests, failed, error_minutes)


@pytest.mark.parametrize(
    ("rows", "more", "is_calm"),
    [
        (((12, 200, 9), (12, 500, 0)), {}, True),
        (((12, 200, 9), (13, 500, 9)), {}, False),
        (((5, 500, 9),), {}, False),
        (((12, 200, 9),), {"has_recovered": False}, False),
        (((12, 200, 9),), {"complete_until": WINDOW.until}, False),
        (((12, 200, 9),), {"may_be_cut": True}, False),
    ],
)
def test_calm_needs_complete_minutes_after_the_recovery(
    rows: tuple[tuple[int, int, int], ...], more: dict[str, Any], is_calm: bool
) -> None:
    usual = {"has_recovered": True, "complete_until": NOW + timedelta(minutes=20), "own_requests": 1}

    assert host_view(*rows, **{**usual, **more}).is_calm_afterwards == is_calm


def test_source_says_from_when_on_it_is_incomplete() -> None:
    early = NOW + timedelta(minutes=4)
    of_worker = worker_view(minutes((0, 100, 4)), complete_until=early)

    for view in (of_worker, host_view((0, 200, 96), complete_until=early)):
        assert "incomplete from 03:24 on" in view.sources[0]


def test_few_exceptions_of_a_worker_prove_no_calm() -> None:
    assert not worker_view(minutes((5, 100, 50), (12, 100, 0)), has_recovered=True).is_calm_afterwards


def test_caught_errors_leave_the_error_minutes_of_a_worker_unknown() -> None:
    assert figures(worker_view(minutes((0, 20, 0))))["error minutes"] == "unknown"


def test_figures_of_a_worker_without_rows_are_unknown() -> None:
    assert set(figures(worker_view(())).values()) == {"unknown"}


def test_failures_are_counted_between_writes() -> None:
    writes = tuple(
        ServiceWrite(NOW + timedelta(minutes=at, seconds=9), name) for at, name in ((2, "first"), (5, "second"))
    )

    found = figures(host_view((0, 500, 1), (2, 500, 2), (3, 500, 4), (5, 500, 8), (6, 500, 16), writes=writes))

    assert found["5xx"] == "31"
    assert [value for name, value in found.items() if name.startswith("5xx ")] == ["3", "12", "16"]


def test_uncountable_probes_of_ours_are_named() -> None:
    probe = Probe(name="smoke", command=CommandProbe(run=("true",)))

    said = describe_own_requests((), {"web": (probe,)}, "live", WINDOW, timedelta(seconds=1))

    assert "smoke" in said


def test_picture_marks_each_write() -> None:
    writes = tuple(ServiceWrite(NOW + timedelta(minutes=at, seconds=9), "x") for at in (2, 5))

    picture = draw_requests(host_view((0, 200, 9), (0, 500, 3), (9, 200, 4), writes=writes))

    bars, requests, failed = ([int(each) for each in re.findall(r"\d+", line)] for line in picture[-3:])
    assert bars == [0, 0, 12, 0, 0, 12, 0, 0, 0, 0]
    assert requests == [12, 0, 0, 0, 0, 0, 0, 0, 0, 4]
    assert failed == [3, *[0] * 9]


def test_picture_needs_failures() -> None:
    assert draw_requests(worker_view(minutes((0, 100, 0)))) == ()
    assert not any(line.startswith("  bar") for line in draw_requests(worker_view(minutes((0, 9, 9)))))


ROWS = st.lists(st.tuples(st.integers(-10, 200), st.integers(0, 10_000), st.integers(0, 10_000)), max_size=40)


@pytest.mark.slow
@holds_for(100, 2000, rows=ROWS, length=st.integers(1, 24 * 60))
def test_picture_is_small_and_loses_no_failure(rows: list[tuple[int, int, int]], length: int) -> None:
    rows = [row for row in rows if row[0] < length + 10]  # as the query asks
    view = worker_view(minutes(*rows), length=length)
    inside = sum(failed for _, _, failed in rows)

    picture = draw_requests(view)

    assert bool(picture) == bool(inside)
    if picture:
        points = [int(each) for each in re.findall(r"\d+", picture[-1])]
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
    return text.partition("## Impact")[2].partition("## Timeline")[0]


def rows_of(text: str) -> dict[str, str]:
    """Return the figures in a report by their name, without the brackets of a name."""
    return {name.partition(" (")[0]: value for name, value in re.findall(r"^\| (.+) \| (.+) \|$", text, re.MULTILINE)}


def test_report_has_numbers_with_window_and_source(outage: Incident, shop: Shop) -> None:
    text = report(outage, shop)
    found = rows_of(text)

    assert "web in live, 03:11 to 03:21 UTC" in text.replace("**", "")
    assert (found["requests"], found["5xx"], found["429"]) == ("24", "8", "16")
    assert (found["error minutes"], found["clients"]) == ("8", "8")
    assert found["exceptions and exceeded limits"] == "160"
    worker = re.fullmatch(r"(48\d), includes up to (\d+) of ours", found["requests to the Worker"])
    assert worker
    assert 480 < int(worker[1]) <= 480 + int(worker[2])
    own = re.search(r"without (\d+) requests of our probes", text)
    assert own
    assert 480 + int(own[1]) == int(worker[1])
    assert "workersInvocationsAdaptive; not sampled" in text
    assert "httpRequestsAdaptiveGroups; not sampled" in text
    assert "xychart-beta\n" in text
    assert "203.0.113" not in text


@pytest.mark.slow
def test_report_names_the_missing_permission(outage: Incident, shop: Shop) -> None:
    sandbox = shop.world.sandbox
    sandbox.add_token(sandbox.token, ["Workers Scripts Read", "Pages Read"])

    text = report(outage, shop)

    assert "the token needs Account Analytics Read" in text
    assert "the token needs Analytics Read and Zone Read" in text
    assert rows_of(text) == {}


def test_report_of_a_host_without_a_zone_has_numbers_of_the_worker(outage: Incident, shop: Shop) -> None:
    shop.world.sandbox.zones.all.clear()

    text = report(outage, shop)

    assert set(rows_of(text)) == {"requests to the Worker", "exceptions and exceeded limits", "error minutes", "---"}
    assert re.search(r"^- 5xx, clients and 429 unknown: .*\bweb\.shop\.example$", text, re.MULTILINE)


def test_report_of_empty_and_failing_analytics(outage: Incident, shop: Shop) -> None:
    shop.world.sandbox.switches.analytics_empty = True
    found = rows_of(report(outage, shop))
    assert (found["requests"], found["5xx"], found["exceptions and exceeded limits"]) == ("unknown",) * 3

    shop.world.sandbox.switches.analytics_down = True
    assert "unknown: Cloudflare answered POST /graphql with HTTP 200, Internal server error" in report(outage, shop)


@pytest.mark.parametrize(("status", "is_proved"), [(200, True), (500, False), (None, False)])
def test_error_rates_are_checked_if_requests_after_the_recovery_succeed(
    outage: Incident, shop: Shop, status: int | None, is_proved: bool
) -> None:
    sandbox = shop.world.sandbox
    (zone,) = sandbox.zones.all
    at = NOW + timedelta(minutes=5)
    if status:
        sandbox.analytics.add_requests(zone, "web.shop.example", "/cart", "203.0.113.1", at=at, status=status, count=9)

    report(outage, shop)

    (page,) = [issue for issue in outage.github.issues if issue.find_label("post-incident")]
    assert ("- [x] Check error rates" in (page.body or "")) == is_proved


def test_long_incident_shows_its_end(outage: Incident, shop: Shop) -> None:
    """A query covers a day at most, with the minutes that the picture shows around the window."""
    issue = outage.github.issue(outage.number)
    issue.body = FORM.replace("2026-11-24 03:11", "2026-11-22 20:00")

    text = report(outage, shop)

    assert "the end of a longer incident" in text
    assert rows_of(text)["5xx"] == "8"


def test_each_service_has_numbers_of_its_own(outage: Incident, shop: Shop) -> None:
    """The Worker catches its errors, and a site is recovered ten minutes later."""
    sandbox = shop.world.sandbox
    sandbox.analytics.samples = [each for each in sandbox.analytics.samples if each.dataset.startswith("http")]
    where = ("--config", str(shop.world.config), "--service", "docs", "--environment", "live", "--yes")
    run = outage.ops("rollback-pages", *where, "--incident", str(outage.number), **shop.environ())
    assert run.code == 0, run.err
    sandbox.clock.advance(900)

    docs, web = report(outage, shop).split("**web**")

    found = rows_of(web)
    assert (found["5xx"], found["error minutes"], found["exceptions and exceeded limits"]) == ("8", "8", "unknown")
    assert "5xx" in rows_of(docs)


def test_requests_of_ours_count_for_each_service_of_the_host(outage: Incident, shop: Shop) -> None:
    """Two services share host and Worker; only the probe of the one with the run has another user agent."""
    other = "request_headers: {user-agent: SHOP_AGENT}, "
    cart = """\
      cart:
        worker: shop-web
        url: https://web.shop.example
        probes:
          - name: sum
            http: {path: /cart, status: 200, version: version}
"""
    alike = shop.world.config.read_text() + cart
    shop.world.config.write_text(alike.replace("http: {path: /cart", f"http: {{{other}path: /cart", 1))
    body = FORM.replace("\nweb\n", "\ncart\n")
    outage.github.issue(outage.number).body = body

    cart_text, web_text = report(outage, shop).split("**web**")

    for text in (cart_text, web_text):
        assert "of ours" in text.partition("httpRequestsAdaptiveGroups")[2]

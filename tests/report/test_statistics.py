"""`ops stats`: the statistics of played incidents equal a table that was computed by hand."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.report.facts import IncidentFacts, embed_incident_facts
from ops.report.issue import FACTS, build_report_region
from tests.conftest import Outcome, World, job_environ
from tests.support.hostile import skeleton
from tests.support.incident_days import IncidentDays
from tests.support.long_incidents import parse_time
from tests.support.shop import SITE, WORKER, Shop, answering, open_shop

TABLE: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "statistics.yml").read_text())
NAMES = ("detect", "acknowledge", "decide", "write", "recover", "restore")


class Month:
    """A shop with the incidents of the table, read on 25 November."""

    def __init__(self, world: World) -> None:
        world.sandbox.clock.set(parse_time("11-25 12:00"))
        self.shop = open_shop(world)
        self.hub = world.sandbox.github
        for login in ("mai", "alice", "bo"):
            self.hub.add_user(login)
        self.hub.add_user("mallory", "read")
        self.days = IncidentDays(self.hub)
        for row in TABLE["incidents"]:
            self.days.play(row)

    def stats(self, *arguments: str, **environ: Any) -> Outcome:
        period = TABLE["period"]
        where = ("--since", period["since"], "--until", period["until"])
        return self.shop.ops("stats", *where, *arguments, **{**self.hub.environ(), **environ})

    def report(self, number: int) -> None:
        done = self.shop.ops("incident", "report", str(number), **job_environ(self.hub))
        assert done.code == 0, done.err


@pytest.fixture
def month(world: World) -> Month:
    return Month(world)


def wanted_points(drill: bool) -> dict[str, dict[str, float]]:
    """Return measure → day → seconds, of the incidents or drills of the table."""
    rows = [row for row in TABLE["incidents"] if bool(row.get("drill")) is drill and not row.get("outside")]
    return {name: {row["day"]: row["points"][name] for row in rows if name in row.get("points", {})} for name in NAMES}


def assert_table(month: Month, result: dict[str, Any]) -> None:
    days = {number: day for day, number in month.days.numbers.items()}
    for name, figures, drill in (("incidents", "incident_figures", False), ("drills", "drill_figures", True)):
        shown, wanted = result[name], TABLE[figures]
        points = {
            measure: {days[each["incident"]]: each["seconds"] for each in times["points"]}
            for measure, times in shown["times"].items()
        }
        assert points == wanted_points(drill)
        assert shown["count"] == wanted["count"]
        for mark in ("open", "reopened", "relapsed"):
            assert len(shown[mark]) == wanted[mark], mark
        for measure in NAMES:
            times = shown["times"][measure]
            counted = {"known": len(times["points"]), "unknown": len(times["unknown"])}
            assert {**counted, "median": times["median"], "p90": times["p90"]} == wanted[measure], measure
        causes = {each["cause"]: [days[number] for number in each["incidents"]] for each in shown["repeated_causes"]}
        assert causes == wanted["causes"]


def test_statistics_from_records_equal_the_table(month: Month) -> None:
    done = month.stats("--json")

    assert done.code == 0, done.err
    assert_table(month, done.result)
    assert month.shop.world.writes() == []


def test_statistics_of_deleted_runs_equal_the_table(month: Month) -> None:
    """GitHub deletes workflow runs after 90 days, and their records still count in statistics."""
    month.hub.clock.advance(timedelta(days=120).total_seconds())

    done = month.stats("--json")

    assert done.code == 0, done.err
    assert_table(month, done.result)


@pytest.mark.slow
def test_statistics_from_reports_equal_the_table(month: Month) -> None:
    """With reports, no record of a closed incident is read."""
    for number in month.days.numbers.values():
        month.report(number)
    month.hub.requests.clear()

    done = month.stats("--json")

    assert_table(month, done.result)
    assert not [each for each in month.hub.requests if "/timeline" in each.path]


def test_report_that_is_older_than_the_last_act_on_the_issue_does_not_count(month: Month) -> None:
    number = month.days.numbers["11-18"]
    month.report(number)
    month.hub.reopen(number, "mai")

    (restored,) = [month.stats("--json").result["incidents"]["times"]["restore"]]

    assert number in restored["unknown"]


def test_note_after_the_report_counts(month: Month) -> None:
    number = month.days.numbers["11-18"]
    month.report(number)
    month.hub.clock.advance(600)
    month.days.act(number, {"at": "02:00", "note": "00:02 detected: by the pager"}, "11-18", is_late=True)

    detect = month.stats("--json").result["incidents"]["times"]["detect"]["points"]

    assert {"incident": number, "seconds": 720} in detect


@pytest.mark.parametrize("change", ["an older release wrote it", "a person edited the region"])
def test_next_report_has_the_facts_again(month: Month, change: str) -> None:
    number = month.days.numbers["11-18"]
    month.report(number)
    (page,) = (issue for issue in month.hub.issues if issue.find_label("post-incident"))
    body = page.body or ""
    former = (
        body.partition("<!-- backout:region facts")[0] if change.startswith("an") else body.replace('"v":1', '"v":0')
    )
    month.hub.edit_issue(page.number, former, "mai")

    month.report(number)
    month.hub.requests.clear()
    points = month.stats("--json").result["incidents"]["times"]["restore"]["points"]

    assert {"incident": number, "seconds": 1206} in points
    assert not [each for each in month.hub.requests if f"/{number}/timeline" in each.path]


def test_facts_that_a_person_edited_do_not_count(month: Month) -> None:
    number = month.days.numbers["11-18"]
    month.report(number)
    (page,) = (issue for issue in month.hub.issues if issue.find_label("post-incident"))
    month.hub.edit_issue(page.number, (page.body or "").replace("2026-11-18T00:10:06Z", "2026-11-17T23:50:01Z"), "mai")

    points = month.stats("--json").result["incidents"]["times"]["restore"]["points"]

    assert {"incident": number, "seconds": 1206} in points


def test_report_by_a_person_who_cannot_write_does_not_count(month: Month) -> None:
    number, at = month.days.numbers["11-18"], month.hub.clock.now()
    facts = IncidentFacts(at, parse_time("11-18 01:00"), None, None, None, None, None, None, None)
    forged = build_report_region(FACTS, number, embed_incident_facts(facts))
    month.hub.open_issue("Incident report", forged, ["post-incident"], "mallory")

    result = month.stats("--json").result

    assert {"incident": number, "seconds": 1206} in result["incidents"]["times"]["restore"]["points"]
    assert result["action_items"]["without_report"] == 16


def test_incident_that_cannot_be_read_is_named(month: Month) -> None:
    number = month.days.numbers["11-01"]
    month.hub.fault(path=f"/repos/**/issues/{number}/timeline", status=500, times=None)

    done = month.stats("--json")

    assert [each["number"] for each in done.result["incidents"]["unread"]] == [number]
    assert number in done.result["incidents"]["times"]["restore"]["unknown"]
    assert month.stats("--json", GITHUB_TOKEN=None).code == 2
    month.hub.fault(path="/repos/**", status=500, times=None)
    assert month.stats("--json").code == 4


def test_open_action_items_are_counted(month: Month) -> None:
    number = month.days.numbers["11-01"]
    month.report(number)
    (page,) = (issue for issue in month.hub.issues if issue.find_label("post-incident"))
    done, todo = (month.hub.open_issue(text, "", [], "mai") for text in ("Alert on tax", "Test the table"))
    month.hub.close(done, "mai")
    rows = (
        f"| Alert on an empty table | detect | mai | | #{done} |",
        f"| Test the table | prevent | bo | 2026-12-24 | #{todo} |",
        f"| Check the import | prevent | bo | | https://github.com/{month.hub.repository}/issues/{done} |",
        f"| Fix the application | prevent | bo | | acme/shop#{done} |",
        f"| Test the application | prevent | bo | | https://github.com/acme/shop/issues/{done} |",
        "| Refuse an empty table | prevent | | | |",
        "| ~~Rewrite it all~~ | prevent | | | |",
        "| Page two people | process | mai | done | |",
    )
    before = "| _TODO_ | detect | | | |"
    month.hub.edit_issue(page.number, (page.body or "").replace(before, "\n".join((*rows, before))), "mai")

    items = month.stats("--json").result["action_items"]

    assert items == {"open": 4, "incidents": [{"number": number, "open": 4}], "without_report": 15}
    (counted,) = (line for line in month.stats().out.splitlines() if "4 action items" in line)
    known, _, unknown = counted.partition(";")
    assert re.findall("#[0-9]+", known) == [f"#{number}"]
    assert f"#{number}" not in re.findall("#[0-9]+", unknown)


def test_action_items_under_another_heading_are_unknown(month: Month) -> None:
    month.report(month.days.numbers["11-01"])
    (page,) = (issue for issue in month.hub.issues if issue.find_label("post-incident"))
    month.hub.edit_issue(page.number, (page.body or "").replace("## Prevention", "## Actions"), "mai")

    items = month.stats("--json").result["action_items"]

    assert items == {"open": 0, "incidents": [], "without_report": 16}


def test_change_failure_rate_has_its_denominator(shop: Shop) -> None:
    """Of three versions and two deployments of the site, a rollback took one version away."""
    hub = shop.world.sandbox.github
    rolled_back = shop.ops("rollback-worker", "--service", "web", "--yes", "--json")
    assert rolled_back.code == 0, rolled_back.err

    rate = shop.ops("stats", "--json", "--since", "7d", **hub.environ()).result["change_failure_rate"]

    assert (rate["failed"], rate["changes"], rate["rate"]) == (1, 5, 0.2)
    assert [(each["service"], each["changes"], each["failed"]) for each in rate["services"]] == [
        ("web", 3, [shop.bad]),
        ("docs", 2, []),
    ]


def test_rollback_of_a_site_is_a_failed_change_by_its_incident(shop: Shop) -> None:
    """Cloudflare does not list it."""
    hub = shop.world.sandbox.github
    hub.add_user("mai")
    incident, live = hub.open_issue("Lost", "", ["incident"], "mai"), shop.world.sandbox.pages.live(SITE)
    where = ("--service", "docs", "--incident", str(incident))
    rolled_back = shop.ops("rollback-pages", *where, "--yes", "--json", **job_environ(hub))
    assert rolled_back.code == 0, rolled_back.err
    hub.clock.advance(60)

    (web, docs) = shop.ops("stats", "--json", "--since", "7d", **hub.environ()).result["change_failure_rate"][
        "services"
    ]

    assert (web["failed"], docs["failed"], docs["changes"]) == ([], [live], 2)


def test_rollback_in_a_drill_is_no_failed_change(shop: Shop) -> None:
    hub = shop.world.sandbox.github
    hub.add_user("mai")
    drill = hub.open_issue("Drill", "", ["incident", "drill"], "mai")
    rolled_back = shop.ops("rollback-worker", "--service", "web", "--yes", "--json", "--incident", str(drill))
    assert rolled_back.code == 0, rolled_back.err
    hub.clock.advance(60)

    rate = shop.ops("stats", "--json", "--since", "7d", **hub.environ()).result["change_failure_rate"]

    assert (rate["failed"], rate["changes"]) == (0, 5)


def test_drill_after_the_period_is_no_failed_change_of_it(shop: Shop) -> None:
    hub = shop.world.sandbox.github
    hub.add_user("mai")
    hub.clock.advance(600)
    drill = hub.open_issue("Drill", "", ["incident", "drill"], "mai")
    rolled_back = shop.ops("rollback-worker", "--service", "web", "--yes", "--json", "--incident", str(drill))
    assert rolled_back.code == 0, rolled_back.err
    hub.clock.advance(60)

    result = shop.ops("stats", "--json", "--since", "7d", "--until", "5m", **hub.environ()).result

    assert result["drills"]["count"] == 0
    assert (result["change_failure_rate"]["failed"], result["change_failure_rate"]["changes"]) == (0, 5)


def test_gradual_rollout_and_a_second_deployment_are_one_change(shop: Shop) -> None:
    sandbox, hub = shop.world.sandbox, shop.world.sandbox.github
    new = sandbox.upload(WORKER, code="new", behaviour=answering())
    for percent in (10, 50):
        sandbox.deploy(WORKER, {new: percent, shop.bad: 100 - percent})
    sandbox.deploy(WORKER, new)
    sandbox.clock.advance(60)

    (web, _) = shop.ops("stats", "--json", "--since", "20h", **hub.environ()).result["change_failure_rate"]["services"]

    assert (web["changes"], web["failed"]) == (2, [])


def test_unknown_changes_are_no_rate(shop: Shop) -> None:
    hub = shop.world.sandbox.github

    done = shop.ops("stats", "--json", "--since", "7d", **hub.environ(), SHOP_TOKEN=None)

    rate = done.result["change_failure_rate"]
    assert (done.code, rate["rate"], rate["changes"]) == (0, None, 0)
    assert all("SHOP_TOKEN" in each["unread"] and each["since"] is None for each in rate["services"])


def test_period_without_a_change_has_no_rate(shop: Shop) -> None:
    result = shop.ops("stats", "--json", "--since", "10m", **shop.world.sandbox.github.environ()).result

    assert result["change_failure_rate"]["rate"] is None
    assert result["incidents"]["count"] == 0


def test_list_that_does_not_reach_the_period_says_since_when_it_counts(shop: Shop) -> None:
    hub = shop.world.sandbox.github

    done = shop.ops("stats", "--since", "30d", **hub.environ())

    for hours in (60, 40):  # the Worker and the site
        assert f"since {shop.world.sandbox.clock.now() - timedelta(hours=hours):%Y-%m-%d %H:%M} UTC" in done.out


def test_lines_and_markdown_hold_each_measure(month: Month) -> None:
    text, markdown = month.stats(), month.stats("--markdown")

    for name in NAMES:
        assert re.search(rf"^  {name} ", text.out, re.MULTILINE)
        assert f"| **{name}**: " in markdown.out
    restore = next(line for line in text.out.splitlines() if line.startswith("  restore "))
    assert restore.split()[1:7] == ["25", "min", "40", "min", "11", "5"]
    assert "unknown" in next(line for line in markdown.out.splitlines() if line.startswith("- change failure rate"))


def test_hostile_cause_changes_no_markdown(month: Month) -> None:
    plain = skeleton(month.stats("--markdown").out)
    hostile = "root cause: @acme/all <img src=x> [a](https://evil.example) | #12"
    for day in ("11-13", "11-14"):
        act = {"at": "05:00", "note": f"03:30 {hostile}"}
        month.days.act(month.days.numbers[day], act, day)

    shown = month.stats("--markdown").out

    assert "evil" in shown
    assert [each for each in skeleton(shown) if each not in plain] == []


def test_markdown_and_json_exclude_each_other(month: Month) -> None:
    assert month.stats("--json", "--markdown").code == 2

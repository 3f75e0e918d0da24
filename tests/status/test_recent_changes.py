"""What changed before it broke: the audit logs of Cloudflare and our own workflows, in at most four requests."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sandbox.cloudflare.audit.state import FakeAuditEntry
from tests.conftest import ACCOUNT, World, job_environ
from tests.support.hostile import skeleton
from tests.support.incident_days import IncidentDays
from tests.support.long_incidents import parse_time
from tests.support.shop import OPS_YML, WORKER, open_shop

START = parse_time("11-18 03:00")
INCIDENT = {"day": "11-18", "opened": "03:05", "began": "03:00"}
ENTRY = FakeAuditEntry(
    id="1",
    at=START,
    email="dev@shop.example",
    token_id="token-1",
    token_name="ci",
    owner="user",
    method="POST",
    uri="",
    status=200,
    ray="r",
    user_agent="wrangler",
    product="workers",
    type="x",
    resource_id="x",
    zone="",
)
SCRIPT = f"/client/v4/accounts/{ACCOUNT}/workers/scripts/{WORKER}"


class Night:
    """An incident of the shop that began at 03:00, read at 03:20."""

    def __init__(self, world: World) -> None:
        world.sandbox.clock.set(parse_time("11-18 03:20"))
        self.world, self.shop, self.hub = world, open_shop(world), world.sandbox.github
        self.hub.add_user("mai")
        self.token = world.sandbox.add_token(
            "shop-reader", ["Workers Scripts Read", "Pages Read", "Account Settings Read"]
        )
        self.number = IncidentDays(self.hub).play(INCIDENT)
        world.sandbox.audit.clear()
        self.cloudflare: list[Any] = world.sandbox.requests

    def log(self, minutes: float, uri: str, method: str = "POST", **changes: Any) -> None:
        """Add an entry of so many minutes before the start."""
        at = START - timedelta(minutes=minutes)
        self.world.sandbox.audit.append(replace(ENTRY, at=at, uri=uri, method=method, **changes))

    def read(self, **environ: Any) -> dict[str, Any]:
        self.hub.requests.clear()
        self.cloudflare.clear()
        where = ("incident", "changes", str(self.number), "--json")
        done = self.shop.ops(*where, **{**job_environ(self.hub), "SHOP_TOKEN": self.token, **environ})
        assert done.code == 0, done.err
        return done.result


@pytest.fixture
def night(world: World) -> Night:
    return Night(world)


def whats(result: dict[str, Any]) -> list[str]:
    return [each["what"] for each in result["changes"]]


def test_changes_of_the_hour_before_the_start_are_listed_newest_first(night: Night) -> None:
    night.log(61, f"{SCRIPT}/deployments")
    night.log(50, f"{SCRIPT}/secrets", "PUT")
    night.log(40, f"{SCRIPT}/schedules", "PUT")
    night.log(30, "/client/v4/zones/abc/workers/routes")
    night.log(20, f"/client/v4/accounts/{ACCOUNT}/pages/projects/shop-docs/deployments")
    night.log(10, f"{SCRIPT}/deployments")
    night.log(9, f"{SCRIPT}/deployments", status=403)
    night.log(8, f"/client/v4/accounts/{ACCOUNT}/queues/q")
    night.log(-5, f"{SCRIPT}/deployments")

    result = night.read()

    assert whats(result) == [
        "POST /queues/q",
        f"deployment of Worker {WORKER} (web in live)",
        "deployment of site shop-docs (docs in live)",
        "route of a Worker",
        f"cron triggers of Worker {WORKER} (web in live)",
        f"secret of Worker {WORKER} (web in live)",
    ]
    assert {each["who"] for each in result["changes"]} == {"d…@shop.example, ci (token-1)"}
    assert all(each["url"].startswith(f"https://dash.cloudflare.com/{ACCOUNT}/") for each in result["changes"])
    assert (result["since"], result["until"]) == ("2026-11-18T02:00:00Z", "2026-11-18T03:01:00Z")
    assert night.world.writes() == []


def test_buttons_and_merged_limits_are_listed_with_their_person(night: Night) -> None:
    files = {f".github/workflows/{name}.yml": f"name: {name}\non: push\n" for name in ("feature", "limits", "ci")}
    night.hub.add_commit("workflows", "mai", files=files, at=START - timedelta(hours=2))
    for name, minutes in (("feature", 30), ("limits", 20), ("ci", 10)):
        run = night.hub.start_run(f"{name}.yml", "push", {}, "mai")
        run.created_at = START - timedelta(minutes=minutes)

    result = night.read()

    assert [each["what"].partition(" ")[0] for each in result["changes"]] == ["limits", "feature"]
    assert {each["who"] for each in result["changes"]} == {"mai"}
    assert all("/actions/runs/" in each["url"] for each in result["changes"])


@pytest.mark.parametrize("accounts", [1, 2, 3])
def test_at_most_four_requests_are_sent(night: Night, accounts: int) -> None:
    more = "".join(
        f"  other{n}:\n    account_id: {'abcdef'[n] * 32}\n    token: SHOP_TOKEN\n    services:\n      api: {{worker: api{n}}}\n"
        for n in range(1, accounts)
    )
    night.world.config.write_text(OPS_YML + more)

    result = night.read()

    sent = [each.path for each in (*night.cloudflare, *night.hub.requests)]
    assert len(sent) == 2 + min(accounts, 2) <= 4, sent
    assert any("other2" in each for each in result["unread"]) is (accounts == 3)


def test_full_page_and_late_entries_are_named(night: Night) -> None:
    for n in range(120):
        night.log(30 - n / 10, f"{SCRIPT}/deployments")

    result = night.read()

    assert len(result["changes"]) == 100
    assert any("newest 100" in each for each in result["unread"])
    night.world.sandbox.clock.set(START + timedelta(minutes=2))
    assert any("minutes late" in each for each in night.read()["unread"])


def test_what_cannot_be_read_is_named(night: Night) -> None:
    night.log(10, f"{SCRIPT}/deployments")
    small = night.world.sandbox.add_token("small", ["Workers Scripts Read"])
    night.hub.fault(path="/repos/**/actions/runs", status=403, times=None)

    result = night.read(SHOP_TOKEN=small)

    assert result["changes"] == []
    assert "Account Settings Read" in result["unread"][0]
    assert "403" in result["unread"][1]
    assert "KV" in result["unread"][2]


@pytest.mark.parametrize("options", [(), ("--incident",)])
def test_plan_of_an_incident_has_the_list(night: Night, options: tuple[str, ...]) -> None:
    night.log(10, f"{SCRIPT}/deployments")
    given = (*options, str(night.number)) if options else ()
    token = night.world.sandbox.add_token("planner", ["Workers Scripts Read", "Account Settings Read"])

    done = night.shop.ops(
        "rollback-worker", "--service", "web", "--dry-run", *given, **job_environ(night.hub), SHOP_TOKEN=token
    )

    assert done.code == 0, done.err
    assert (f"02:50:00 deployment of Worker {WORKER} (web in live)" in done.out) is bool(options)
    assert [each for each in night.world.sandbox.requests if "/logs/audit" in each.path][1:] == []


def test_plan_names_a_list_that_could_not_be_read(night: Night) -> None:
    night.hub.fault(path=f"/repos/*/*/issues/{night.number}", status=500, times=None)

    done = night.shop.ops(
        "rollback-worker", "--service", "web", "--dry-run", "--incident", str(night.number), **job_environ(night.hub)
    )

    assert f"ops incident changes {night.number}" in done.out


def test_run_that_writes_reads_no_list(night: Night) -> None:
    """It must not delay the recovery."""
    done = night.shop.ops(
        "rollback-worker", "--service", "web", "--yes", "--incident", str(night.number), **job_environ(night.hub)
    )

    assert done.code == 0, done.err
    assert [each for each in night.world.sandbox.requests if "/logs/audit" in each.path] == []


def test_menu_folds_the_list(night: Night) -> None:
    for minutes in range(1, 9):
        night.log(minutes, f"{SCRIPT}/secrets", "PUT")

    done = night.shop.ops("incident", "menu", str(night.number), **job_environ(night.hub), SHOP_TOKEN=night.token)

    assert done.code == 0, done.err
    menu = night.hub.issue(night.number).comments[-1].body
    folded = menu.partition("<summary>Changed in the hour before: 8</summary>")[2].partition("</details>")[0]
    assert folded.count(f"secret of Worker {WORKER}") == 5
    assert "3 more" in folded


def test_report_has_the_list_and_escapes_it(night: Night) -> None:
    night.log(10, f"{SCRIPT}/deployments", email="@acme/all <img src=x>", token_name="`x` #12 \u202e")
    night.log(5, "/client/v4/zones/@acme/all|<b>#12/dns_records")

    done = night.shop.ops("incident", "report", str(night.number), **job_environ(night.hub), SHOP_TOKEN=night.token)

    assert done.code == 0, done.err
    (report,) = (each.body or "" for each in night.hub.issues if each.find_label("post-incident"))
    assert f"deployment of Worker {WORKER}" in report
    assert not [each for each in skeleton(report) if each in {"@acme/all", "acme/all", "img", "12"}]
    assert "\u202e" not in report

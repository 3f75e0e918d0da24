"""A mill: a Worker that only a cron trigger starts, without a url and without a probe, beside one with both."""

import re
from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import ACCOUNT, Incident, Outcome, World

CRON = "mill-nightly"
OPS_YML = f"""\
environments:
  live:
    account_id: {ACCOUNT}
    token: MILL_TOKEN
    services:
      nightly: {{worker: {CRON}}}
      shop:
        worker: mill-shop
        url: https://shop.mill.example
        verify: {{successes: 1, interval: 500ms, deadline: 1s}}
        probes: [{{name: home, http: {{path: /, status: 200}}}}]
"""


class Mill:
    def __init__(self, incident: Incident) -> None:
        self.incident, self.world, self.sandbox = incident, incident.world, incident.world.sandbox
        self.world.config.write_text(OPS_YML)
        self.sandbox.switches.analytics_delay_seconds = 0
        now = self.sandbox.clock.now()
        self.sandbox.route("shop.mill.example", "mill-shop")
        old = now - timedelta(hours=90)
        shop = self.sandbox.upload("mill-shop", code="shop", behaviour={"status": 200}, at=old)
        self.sandbox.deploy("mill-shop", shop, at=old)
        rights = ["Workers Scripts Write", "Account Analytics Read", "Workers KV Storage Read"]
        self.sandbox.add_token("miller", rights)
        self.versions = []
        for hours, behaviour in ((60, {}), (30, {}), (1, {"throws": "no flour"})):
            at = now - timedelta(hours=hours)
            version = self.sandbox.upload(CRON, code=str(hours), behaviour=behaviour, handlers=("scheduled",), at=at)
            self.sandbox.deploy(CRON, version, at=at)
            self.versions.append(version)

    def ops(self, name: str, *more: str, **environ: Any) -> Outcome:
        where = ("--config", str(self.world.config))
        token = {"MILL_TOKEN": "miller", "CLOUDFLARE_API_TOKEN": None}
        return self.incident.ops(name, *more, *where, **{**token, **environ})

    def on(self, name: str, *more: str) -> Outcome:
        return self.ops(name, "--service", "nightly", "--environment", "live", "--incident", "1", "--json", *more)

    def run_each_minute(self, minutes: int) -> None:
        """Let the cron trigger fire in each minute while a command waits."""
        left = [minutes]

        def fire() -> None:
            if left[0] > 0:
                left[0] -= 1
                self.sandbox.run_events(CRON, 3)

        self.sandbox.clock.on_sleep = fire


@pytest.fixture
def mill(incident: Incident) -> Mill:
    return Mill(incident)


def test_rollback_says_at_once_that_nothing_proves_it_and_the_watch_does(mill: Mill) -> None:
    began = mill.sandbox.clock.now()

    first = mill.on("rollback-worker", "--yes")

    assert (first.code, first.result["decision"]) == (8, "no_evidence"), first.err
    assert mill.sandbox.clock.now() - began < timedelta(seconds=20)
    assert mill.sandbox.live(CRON) == {mill.versions[1]: 100}
    again = mill.on("rollback-worker", "--yes")
    assert (again.result["decision"], again.result["wrote"]) == ("no_evidence", False), again.err
    mill.run_each_minute(200)
    watched = mill.on("watch", "--for", "30m")
    assert (watched.code, watched.result["decision"]) == (0, "mitigated"), watched.out
    assert not any("probes decide" in each for each in watched.result["notes"])
    assert len(mill.world.writes()) == 1


def test_watch_finds_runs_that_fail_and_says_when_there_is_none(mill: Mill) -> None:
    silent = mill.on("watch", "--for", "10m")
    assert (silent.code, silent.result["decision"]) == (8, "no_evidence"), silent.out
    assert "nothing decides" in " ".join(silent.result["notes"])

    mill.run_each_minute(200)
    failing = mill.on("watch", "--for", "30m")

    assert (failing.code, failing.result["decision"]) == (7, "relapsed"), failing.out
    assert "requests to " in failing.result["cause"]


def test_each_command_holds_with_a_worker_without_a_url(mill: Mill) -> None:
    where = ("--environment", "live")
    status = mill.ops("status", *where, "--json")
    assert status.code == 0, status.err
    outage = mill.ops("check-outage", *where, "--json")
    assert (outage.code, outage.result["verdict"]) == (0, "unclear"), outage.err
    assert mill.ops("versions", "nightly", *where, "--json").code == 0
    closed = mill.on("maintenance", "--state", "on", "--yes")
    assert (closed.code, closed.result["reason"]) == (3, "no_way_in"), closed.err
    assert "nightly has no url" in closed.result["message"]
    report = mill.ops("incident", "report", "1")
    assert report.code == 0, report.err
    evidence = mill.ops("evidence", *where, "--since", "2h")
    assert evidence.code == 0, evidence.err
    doctor = mill.ops("doctor", *where)
    assert re.search("nightly.*no url", doctor.out), doctor.out
    assert "Traceback" not in doctor.out + doctor.err


@pytest.mark.parametrize("drill", ["rollback-worker", "cloudflare-outage"])
def test_drill_of_a_worker_without_a_url_names_the_others(world: World, drill: str) -> None:
    world.config.write_text(OPS_YML)

    done = world.ops(
        "drill", drill, "--service", "nightly", "--environment", "live", "--config", str(world.config), "--json"
    )

    assert done.code == 2, done.out
    assert "nightly has no url" in done.err
    assert "shop" in done.err

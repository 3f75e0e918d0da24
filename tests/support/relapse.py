"""A relapse on the incident of a shop, after which a job may make the automatic step."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ops.app.scope import Place
from ops.core.errors import Decision
from ops.core.redaction import Redactor
from ops.core.run_record import read_record
from ops.watch.judgment import WatchResult
from ops.watch.start import WatchPlace, watch_services
from sandbox.cloudflare.analytics.state import SUCCESS, THREW
from sandbox.faults import Fault
from tests.conftest import ACCOUNT, Incident, Outcome, World, job_environ
from tests.support.shop import WORKER, Shop, open_shop

APPROVED = (
    *("--attempt", "1", "--approved-runbook", "rollback-worker"),
    *("--approved-environment", "live", "--approved-for", "recovery", "--requested-by", "mai"),
)
HOST = "web.shop.example"
PROBE = "http: {path: /cart, status: 200, version: version}"
REPORT = ("Workers Scripts Read", "Account Analytics Read", "Analytics Read", "Zone Read")
"""Permissions of the token of the job that watches."""
NEXT = "watch: {for: 30m, on_relapse: next}\n"


@dataclass
class Relapse:
    """A shop whose rollback to `good` relapsed, as the watch on the incident says; `old` is the next older version."""

    shop: Shop
    incident: Incident
    fault: Fault = field(default_factory=Fault)
    others: int = 9
    """Other clients, each of which sends a request at the end of each pause of a run or watch."""
    share: int = 100
    """Percent of their requests that fail while the page fails."""
    status: int = 500
    """Status of the failing page."""
    watched_result: WatchResult | None = None
    seen: list[str] = field(default_factory=list)
    """Comments of the incident at each pause."""

    def recover(self, *more: str, params: Any = None, run: int = 7001, **environ: str | None) -> Outcome:
        where = ("--environment", "live", "--incident", str(self.incident.number), "--yes", "--json")
        given = json.dumps({"service": "web", **(params or {})})
        job = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": str(run), "GITHUB_RUN_ATTEMPT": "1", "GITHUB_ACTOR": "mai"}
        github = {"SHOP_AGENT": "shop-check", **self.incident.github.environ(), **job, **environ}
        arguments = ("--runbook", "rollback-worker", "--params", given, *where, *APPROVED, *more)
        return self.shop.ops("recover", *arguments, **github)

    def step(self, *more: str, relapsed: str = "", **given: Any) -> Outcome:
        return self.recover("--relapsed", relapsed or self.deployment, *more, **given)

    def watch(self, actions: dict[int, Callable[[], object]] | None = None, *, token: str = "") -> WatchResult:
        sandbox = self.shop.world.sandbox
        environ = {
            **sandbox.environ(),
            **job_environ(sandbox.github),
            "SHOP_TOKEN": token or "report",
            "SHOP_AGENT": "shop-check",
        }
        (result,) = watch_services(
            [WatchPlace(Place("live", "web"), self.incident.number)],
            self.shop.world.config,
            environ,
            Redactor(),
            duration=timedelta(minutes=10),
            on_round=lambda result: (actions or {}).get(len(result.state.rounds), lambda: None)(),
        )
        return result

    def break_version(self, version: str) -> None:
        """Let the page fail while the version is live, for other clients too."""
        sandbox = self.shop.world.sandbox

        def look() -> None:
            """Answer a request of our own. The code throws for it too, before the fault of the edge replaces that."""
            self.fault.status = self.status if self.shop.live == {version: 100} else None
            record(THREW if self.fault.status and sandbox.zones.find(HOST) is None else SUCCESS)

        def record(outcome: str) -> None:
            at = sandbox.clock.now()
            sandbox.analytics.record_invocation(ACCOUNT, WORKER, version, outcome, at=at, seconds=0.01, size=9)

        def request() -> None:
            zone, now = sandbox.zones.find(HOST), sandbox.clock.now()
            self.seen += self.incident.bodies
            for number in range(self.others):
                status = self.fault.status if 100 * number < self.share * self.others else None
                if zone is not None:
                    address = f"198.51.100.{number}"
                    sandbox.analytics.add_requests(zone.id, HOST, "/cart", address, at=now, status=status or 200)
                record(THREW if status and zone is None else SUCCESS)

        sandbox.clock.on_sleep = request
        self.fault = self.shop.world.sandbox.edge_fault(path="/cart", times=None, before=look)

    @property
    def deployment(self) -> str:
        return str(self.shop.world.sandbox.deployments(WORKER)[0].id)

    @property
    def watched(self) -> str:
        """Return the comment of the watch."""
        return next(body for body in self.incident.bodies if (read := read_record(body)) and read.source == "watch")

    @property
    def claim(self) -> str:
        """Return the comment that records the step; empty if there is none."""
        return next(
            (body for body in self.incident.bodies if (read := read_record(body)) and read.source == "step"), ""
        )

    def refuses(self, said: str, outcome: Outcome, *, reason: str = "no_automatic_step") -> None:
        """Require a refusal on the incident that changed nothing."""
        assert (outcome.code, outcome.result["reason"]) == (3, reason), outcome.err
        assert said in outcome.result["message"]
        assert self.shop.live == {self.shop.good: 100}
        runs = [read for body in self.incident.bodies if (read := read_record(body)) and read.source == "run"]
        record = runs[-1]
        assert (record.runbook, record.decision, record.reason) == ("rollback-worker", "refused", reason)


def open_relapse(
    world: World,
    *,
    others: int = 9,
    share: int = 100,
    status: int = 500,
    rights: Iterable[str] = REPORT,
    has_zone: bool = True,
    probe: str = PROBE,
) -> Relapse:
    """Return a shop whose watch has ended: relapsed. `share`: percent of the requests of others that fail too.

    Without a zone, the code throws what it does not catch; with one, it answers 500, which is no error of the Worker.
    """
    shop, hub = open_shop(world), world.sandbox.github
    world.sandbox.switches.propagation_seconds = 0
    if has_zone:
        zone = world.sandbox.zones.all[world.sandbox.zones.add(HOST)]
        world.sandbox.zones.add_domain(zone, HOST, WORKER)
    world.sandbox.add_token("report", rights)
    world.config.write_text(NEXT + world.config.read_text())
    hub.add_user("mai")
    hub.add_commit("Configuration", "mai", files={"ops.yml": world.config.read_text()})
    incident = Incident(world, hub.open_issue("Cart fails", "", ["incident"], "mai"))
    found = Relapse(shop, incident, others=others, share=share, status=status)
    done = found.recover()
    assert done.code == 0, done.err
    found.break_version(shop.good)
    world.config.write_text(world.config.read_text().replace(PROBE, probe))
    found.watched_result = found.watch()
    assert found.watched_result.decision == Decision.RELAPSED
    assert shop.live == {shop.good: 100}
    return found

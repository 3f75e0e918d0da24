"""Offers of the next label: at the end of a run, and in the comment with the state of the incident."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ops.core.incident_state import IncidentState, ServiceHealth
from ops.core.public_update import offer_after_run, offer_update
from ops.core.run_record import STATE_SOURCE, RunRecord, embed_record, read_record
from ops.github.comments import BOT
from sandbox.github import GitHub
from tests.conftest import Outcome, job_environ
from tests.core.test_public_update import update
from tests.support.shop import WORKER, Shop

PAGE = """\
status_page:
  url: https://status.shop.example
  title: Shop status
  components: [{name: Shop, services: [web]}]
"""


@dataclass
class Night:
    """An incident of a shop with a status page."""

    shop: Shop
    number: int

    @property
    def hub(self) -> GitHub:
        return self.shop.world.sandbox.github

    def run(self, *options: str) -> Outcome:
        self.shop.world.sandbox.deploy(WORKER, self.shop.bad)
        where = ("--service", "web", "--environment", "live", "--incident", str(self.number), "--yes", "--json")
        return self.shop.ops("rollback-worker", *where, *options, **job_environ(self.hub))

    def publish(self, state: str, number: int = 1) -> None:
        run = self.hub.add_run("publish-update.yml", conclusion="success")
        record = RunRecord(f"update-{run}.1", source="update", update=update(state, number).to_json(), job=f"{run}.1")
        self.hub.comment(self.number, embed_record("An update.", record), BOT)

    def comment(self, source: str) -> str:
        """Return the newest comment with a record of that source, after the report renewed the state."""
        if source == STATE_SOURCE:
            job = {**job_environ(self.hub), "GITHUB_ACTIONS": "true"}
            done = self.shop.ops("incident", "report", str(self.number), **job)
            assert done.code == 0, done.err
        bodies = [each.body for each in self.hub.issue(self.number).comments]
        return next(body for body in reversed(bodies) if (record := read_record(body)) and record.source == source)


@pytest.fixture
def night(shop: Shop) -> Night:
    shop.world.config.write_text(shop.world.config.read_text() + PAGE)
    hub = shop.world.sandbox.github
    hub.add_user("mai")
    return Night(shop, hub.open_issue("Cart fails", "### Service\n\nweb\n", ["incident"], "mai"))


def test_recovery_offers_monitoring_on_run_and_state(night: Night) -> None:
    assert night.run().code == 0
    assert "`status:monitoring`" in night.comment("run")
    assert "`status:monitoring`" in night.comment(STATE_SOURCE)


def test_state_names_what_is_public_and_why_it_differs(night: Night) -> None:
    night.publish("identified")
    assert "`status:monitoring`" in night.comment(STATE_SOURCE)

    night.run()
    night.publish("monitoring", 2)
    assert "`status:resolved`" in night.comment(STATE_SOURCE)


def test_failing_service_after_resolved_suggests_to_investigate(night: Night) -> None:
    night.publish("resolved")
    night.run("--to", night.shop.bad)
    shown = night.comment(STATE_SOURCE)
    assert "`status:investigating`" in shown, shown
    assert "fails" in shown


def test_edited_update_is_not_what_is_public(night: Night) -> None:
    night.publish("monitoring")
    comment = night.hub.issue(night.number).comments[-1]
    night.hub.edit_comment(night.number, comment.id, comment.body + " ", "mai")
    assert "`status:investigating`" in night.comment(STATE_SOURCE)


def test_team_without_a_page_gets_no_offer(night: Night) -> None:
    night.shop.world.config.write_text(night.shop.world.config.read_text().partition("status_page:")[0])
    night.run()
    assert "status:" not in night.comment("run")
    assert "status:" not in night.comment(STATE_SOURCE)


@pytest.mark.parametrize(
    ("decision", "proves_health", "state"),
    [
        ("recovered", True, "monitoring"),
        ("recovered", False, "identified"),
        ("still_unhealthy", True, "investigating"),
        ("refused", True, None),
        ("", True, None),
    ],
)
def test_end_of_a_run_decides_its_offer(decision: str, proves_health: bool, state: Any) -> None:
    assert offer_after_run(decision, proves_health=proves_health) == state


@pytest.mark.parametrize(
    ("health", "held", "now", "offered"),
    [
        (ServiceHealth.MITIGATED, "", "monitoring", "resolved"),  # a watch ended well
        (ServiceHealth.MITIGATED, "", "investigating", "resolved"),
        (ServiceHealth.MITIGATED, "", "resolved", None),
        (ServiceHealth.RECOVERED, "", "investigating", "monitoring"),
        (ServiceHealth.RELAPSED, "", "monitoring", "investigating"),
        (ServiceHealth.BROKEN, "maintenance", "investigating", "identified"),
        (ServiceHealth.BROKEN, "switch", "resolved", "investigating"),
        (ServiceHealth.BROKEN, "", "scheduled", "in_progress"),
        (ServiceHealth.RECOVERED, "", "in_progress", "completed"),
        (ServiceHealth.RECOVERED, "", "completed", None),
    ],
)
def test_what_is_known_decides_the_offer(health: ServiceHealth, held: str, now: str, offered: str | None) -> None:
    known: Any = SimpleNamespace(
        state="open", services=[SimpleNamespace(state=health)], held=[SimpleNamespace(kind=held)] if held else []
    )
    offer = offer_update(cast("IncidentState", known), [update(now)])
    assert (offer.state if offer else None) == offered
    closed: Any = SimpleNamespace(**{**vars(known), "state": "closed"})
    assert offer_update(cast("IncidentState", closed), [update(now)]) is None

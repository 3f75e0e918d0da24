"""Every run reads Cloudflare's status page beside its plan, and waits for nothing."""

import json

import pytest

from ops.probes.provider_status import read_report
from tests.support.commands import LIST, texts
from tests.support.in_process import held
from tests.support.read_order import answer_first
from tests.support.shop import Shop

ROLLBACK = ("rollback-worker", "--service", "web", "--environment", "live", "--json")
PAGE = {"host": "www.cloudflarestatus.com"}
SITE = ("rollback-pages", "--service", "docs", "--environment", "live", "--json", "--dry-run")


@pytest.fixture
def outage(shop: Shop) -> Shop:
    """Report an outage of Workers, and answer the history after the status page."""
    sandbox = shop.world.sandbox
    sandbox.switches.status_pages_lag_seconds = 0
    sandbox.status_pages.begin_incident("cloudflare", "Workers errors", {"Workers": "major_outage"})
    answer_first(sandbox.edge_faults, PAGE, sandbox.faults, LIST, reader=read_report)
    return shop


def status_warnings(events: list[str]) -> list[str]:
    return [each for each in events if each.startswith("www.cloudflarestatus.com ")]


@pytest.mark.parametrize("option", ["--dry-run", "--yes"])
def test_reported_outage_is_a_warning_of_the_plan(outage: Shop, option: str) -> None:
    outcome = outage.ops(*ROLLBACK, option)

    (warning,) = status_warnings(texts(outcome, "warning"))
    assert ": Workers: major outage" in warning
    assert [event["kind"] for event in outcome.events].index("warning") <= 2


def test_outage_of_an_unused_product_is_no_warning(outage: Shop) -> None:
    assert status_warnings(texts(outage.ops(*SITE), "warning")) == []


def test_calm_page_is_no_warning(shop: Shop) -> None:
    assert status_warnings(texts(shop.ops(*ROLLBACK, "--yes"), "warning")) == []


def test_page_that_fails_or_hangs_changes_nothing(outage: Shop) -> None:
    switches = outage.world.sandbox.switches
    switches.status_pages_unreachable = True
    assert status_warnings(texts(outage.ops(*ROLLBACK, "--dry-run"), "warning")) == []

    switches.status_pages_unreachable = False
    outage.world.sandbox.faults.clear()
    outage.world.sandbox.edge_faults.clear()
    with held(outage.world.sandbox.edge_faults, **PAGE):
        outcome = outage.ops(*ROLLBACK, "--yes")

    assert (outcome.result["decision"], status_warnings(texts(outcome, "warning"))) == ("recovered", [])


def test_hostile_text_of_the_page_costs_no_record(outage: Shop) -> None:
    name = "\ud800 \x1b[31m ::error::x\n" + "y" * 90_000
    outage.world.sandbox.status_pages.begin_incident("cloudflare", name, {"Workers": "major_outage"})

    outcome = outage.ops(*ROLLBACK, "--yes")

    assert outcome.result["decision"] == "recovered"
    (warning,) = status_warnings(texts(outcome, "warning"))
    assert len(warning) < 1000
    (record,) = outage.folder.glob(".ops/runs/*/timeline.jsonl")
    assert json.loads(record.read_text().splitlines()[-1])["kind"] == "ended"
    assert (record.parent / "record.md").exists()

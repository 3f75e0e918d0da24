"""Watch a shop after a run that ended still unhealthy, and several services of one incident side by side."""

import json
import re
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from ops.app.configuration import load_config
from ops.app.registry import load_runbook
from ops.app.run import watched_services
from ops.app.scope import Place
from ops.core.errors import Decision
from ops.core.redaction import Redactor
from ops.core.run_record import read_record
from ops.engine.runbook import params_type
from ops.watch.start import WatchPlace, watch_services
from tests.conftest import ACCOUNT, Incident, Outcome, World, job_environ
from tests.gate.support import parse_outputs
from tests.support.shop import Shop
from tests.watch.test_watch import Killed, at_round, incident, kill, shop

__all__ = ["incident", "shop"]


def broken_run(shop: Shop, incident: Incident) -> dict[str, str]:
    """Roll back while the page fails with each version, and return the outputs of the job."""
    shop.world.sandbox.deploy("shop-web", shop.bad, author="bot@shop.example")
    shop.world.sandbox.edge_fault(path="/cart", status=500, times=None)
    output = shop.world.folder / "output"
    given = ("--runbook", "rollback-worker", "--params", json.dumps({"service": "web"}), "--environment", "live")
    done = shop.ops("recover", *given, "--incident", str(incident.number), "--yes", **environ(shop, str(output)))
    assert done.code == 6, done.err
    shop.world.sandbox.clock.advance(30)
    return parse_outputs(output.read_text())


def environ(shop: Shop, output: str = "") -> dict[str, str]:
    return {**job_environ(shop.world.sandbox.github), **({"GITHUB_OUTPUT": output} if output else {})}


def watch(shop: Shop, *more: str, output: str = "") -> Outcome:
    return shop.ops("watch", "--incident", "1", "--for", "10m", *more, **environ(shop, output))


def test_watch_after_an_unhealthy_run_escalates_and_never_says_relapsed(shop: Shop, incident: Incident) -> None:
    outputs = broken_run(shop, incident)
    assert (outputs["decision"], outputs["watch"]) == ("still_unhealthy", "web")
    issue, writes = shop.world.sandbox.github.issue(incident.number), len(shop.world.writes())
    issue.state, before = "closed", len(incident.bodies)

    for press in (1, 2):
        found = watch(shop, "--service", "web", "--json")

        assert (found.code, found.result["decision"]) == (6, "still_unhealthy"), found.err
        assert found.result["rounds"] == "uuuuu"
        notice = [each for each in incident.bodies[before:] if read_record(each) is None]
        assert (len(notice), issue.state) == (press, "open")
        assert "web in live is still unhealthy: probes: 5 of 5 rounds failed since " in notice[-1]
        assert "ops rollback-worker --service web" in notice[-1]
    shop.world.sandbox.edge_faults.clear()
    last = watch(shop, "--service", "web", "--json")

    assert (last.code, last.result["decision"]) == (0, "mitigated"), last.err
    assert not any("live relapsed" in each for each in incident.bodies[before:])
    assert len(shop.world.writes()) == writes


def test_service_that_was_healthy_for_a_while_is_not_still_unhealthy(shop: Shop, incident: Incident) -> None:
    broken_run(shop, incident)
    sandbox, before = shop.world.sandbox, len(incident.bodies)
    sandbox.edge_faults.clear()
    fails_at = sandbox.clock.now() + timedelta(minutes=5)
    fault = sandbox.edge_fault(path="/cart", status=None, times=None)

    def fail() -> None:
        fault.status = 500 if sandbox.clock.now() >= fails_at else None

    sandbox.clock.on_sleep = fail
    found = watch(shop, "--service", "web", "--json")

    assert (found.code, found.result["decision"]) == (6, "still_unhealthy"), found.err
    assert re.fullmatch("h+u+", found.result["rounds"])
    (notice,) = (each for each in incident.bodies[before:] if read_record(each) is None)
    assert "web in live is unhealthy again: probes: " in notice


def test_killed_watch_still_knows_that_the_run_failed(shop: Shop, incident: Incident) -> None:
    broken_run(shop, incident)
    sandbox = shop.world.sandbox
    places = [WatchPlace(Place("live", "web"), incident.number)]

    with pytest.raises(Killed):
        watch_services(
            places,
            shop.world.config,
            {**sandbox.environ(), **environ(shop), "SHOP_TOKEN": sandbox.token},
            Redactor(),
            duration=timedelta(minutes=10),
            on_round=at_round({3: kill}),
        )
    sandbox.github.issue(incident.number).comments[0].body = "gone"  # the record of the run
    found = watch(shop, "--service", "web", "--json")

    assert (found.code, found.result["decision"], found.result["rounds"]) == (6, "still_unhealthy", "uuuuu")


def test_services_of_an_incident_are_watched_side_by_side(shop: Shop, incident: Incident) -> None:
    """The site shows another text; the job's outputs are those of the relapse."""
    output = shop.world.folder / "output"

    found = watch(shop, "--service", "web docs", output=str(output))

    assert found.code == 7, found.err
    outputs = parse_outputs(output.read_text())
    assert (outputs["decision"], outputs["answered"]) == ("relapsed", "true")
    assert outputs["message"].startswith("docs in live relapsed: probes: 5 of 5 ")
    records = {each.service: each for each in map(read_record, incident.bodies) if each and each.source == "watch"}
    assert {name: each.decision for name, each in records.items()} == {"web": "mitigated", "docs": "relapsed"}
    assert set(records["web"].watch["rounds"]) == {"h"}
    assert records["web"].watch["started_at"] == records["docs"].watch["started_at"]
    lines = [line.partition(" UTC  ")[2] for line in found.out.splitlines()]
    assert set(lines[:2]) == {"web: probes healthy", "docs: probes unhealthy"}


def test_service_that_fails_is_more_urgent_than_one_without_evidence(shop: Shop, incident: Incident) -> None:
    broken_run(shop, incident)
    challenge = {"cf-mitigated": "challenge"}
    shop.world.sandbox.edge_fault(host="docs.shop.example", path="/", status=403, headers=challenge, times=None)
    output = shop.world.folder / "watch"

    found = watch(shop, "--service", "web docs", output=str(output))

    records = {each.service: each for each in map(read_record, incident.bodies) if each and each.source == "watch"}
    assert {name: each.decision for name, each in records.items()} == {"web": "still_unhealthy", "docs": "no_evidence"}
    assert (found.code, parse_outputs(output.read_text())["decision"]) == (6, "still_unhealthy"), found.err


TWO = f"""\
environments:
  live:
    account_id: {ACCOUNT}
    token: SHOP_TOKEN
    services:
      web: {{worker: shop-web, url: "https://web.shop.example", probes: [{{name: x, http: {{path: /}}}}]}}
      mail: {{worker: shop-mail, url: "https://mail.shop.example", probes: [{{name: x, http: {{path: /}}}}]}}
      bare: {{worker: shop-bare, url: "https://bare.shop.example"}}
    databases:
      orders: {{id: 11111111-2222-3333-4444-555555555555, services: [mail, web, bare]}}
    secrets:
      KEY: {{rotate: generate, consumers: [web, mail]}}
      OTHER: {{rotate: generate, consumers: [web]}}
"""


@pytest.mark.parametrize(
    ("runbook", "params", "changed"),
    [
        ("restore-database", {"database": "orders", "to": "2026-11-24 03:00"}, "mail web bare"),
        ("rotate-secrets", {"service": "web"}, "web mail"),
        ("rotate-secrets", {"service": "web", "only": ("OTHER",)}, "web"),
        ("rollback-worker", {"service": "mail"}, "mail"),
    ],
)
def test_each_service_that_a_run_changed_is_watched(
    world: World, runbook: str, params: dict[str, object], changed: str
) -> None:
    world.config.write_text(TWO)
    found = load_runbook(runbook)
    request: Any = SimpleNamespace(runbook=found, params=params_type(found)(**params), environment="live")
    result: Any = SimpleNamespace(wrote=True, decision=Decision.STILL_UNHEALTHY)

    assert watched_services(request, result, load_config(world.config, {}, Redactor())) == changed

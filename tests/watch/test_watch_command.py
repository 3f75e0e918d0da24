"""`ops watch`: its options, its refusals and the outputs of its job."""

from pathlib import Path

import pytest

from ops.core.run_record import RecordRow, RunRecord, embed_record
from tests.conftest import Incident
from tests.gate.support import parse_outputs
from tests.support.shop import Shop
from tests.watch.test_watch import command, incident, shop

__all__ = ["incident", "shop"]


def test_outputs_of_a_job_say_how_the_watch_ended(shop: Shop, incident: Incident, tmp_path: Path) -> None:
    shop.world.sandbox.edge_fault(path="/cart", status=500, times=None)

    done = command(shop, GITHUB_OUTPUT=str(tmp_path / "outputs"))

    assert done.code == 7
    outputs = parse_outputs((tmp_path / "outputs").read_text())
    assert (outputs["decision"], outputs["reason"], outputs["answered"]) == ("relapsed", "relapsed", "true")
    assert "relapsed: probes: 5 of 5 rounds failed since " in outputs["message"]
    assert "rollback-worker --service web" in outputs["hint"]


def test_mitigated_service_does_not_close_an_incident_with_a_broken_one(shop: Shop, incident: Incident) -> None:
    row = RecordRow(shop.world.sandbox.clock.now(), "note", "broken docs: 404 everywhere")
    note = RunRecord("note-1", source="note", rows=(row,))
    incident.github.comment(incident.number, embed_record("x", note), "mai")

    result = command(shop, "--json", "--for", "2m").result

    assert result["decision"] == "mitigated"
    assert ("docs" in result["next"], "Close the incident" in result["next"]) == (True, False)
    assert "docs" in incident.bodies[-1]


def test_only_an_incident_without_a_broken_service_is_to_be_closed(shop: Shop, incident: Incident) -> None:
    of_incident = command(shop, "--json", "--for", "2m").result
    alone = shop.ops("watch", "--service", "web", "--json", "--for", "2m").result

    assert {of_incident["decision"], alone["decision"]} == {"mitigated"}
    assert ("Close the incident" in of_incident["next"], alone["next"]) == (True, "")


@pytest.mark.slow
def test_failed_start_is_an_output_of_the_job(shop: Shop, incident: Incident, tmp_path: Path) -> None:
    done = command(shop, number=77, GITHUB_OUTPUT=str(tmp_path / "outputs"))

    assert done.code == 4
    outputs = parse_outputs((tmp_path / "outputs").read_text())
    assert (outputs["reason"], "decision" in outputs) == ("provider_refused", False)


@pytest.mark.slow
@pytest.mark.parametrize(("more", "rounds"), [("", 60), ("watch: 4m\n", 40), ('watch: "off"\n', 60)])
def test_length_is_that_of_ops_yml(shop: Shop, more: str, rounds: int) -> None:
    shop.world.config.write_text(shop.world.config.read_text() + more)

    assert len(shop.ops("watch", "--service", "web", "--json").result["rounds"]) == rounds


def test_missing_permission_is_named(shop: Shop) -> None:
    outcome = shop.ops("watch", "--service", "web", "--for", "2m")

    assert outcome.code == 0, outcome.err
    assert "No error rate, so only the probes decide: Cloudflare answered POST /graphql with HTTP 403" in outcome.out
    assert "MITIGATED" in outcome.out


@pytest.mark.slow
def test_unknown_incident_starts_no_watch(shop: Shop) -> None:
    outcome = command(shop, number=77)

    assert outcome.code == 4
    assert shop.world.sandbox.edge_counts == {}


def test_issue_that_is_no_incident_is_refused(shop: Shop, incident: Incident) -> None:
    number = shop.world.sandbox.github.open_issue("A question", "", [], "mai")

    outcome = command(shop, number=number)

    assert outcome.code == 2
    assert f"error: #{number} " in outcome.err


@pytest.mark.parametrize("length", ["1m", "3h", "soon"])
def test_length_is_limited(shop: Shop, length: str) -> None:
    outcome = shop.ops("watch", "--service", "web", "--for", length)

    assert outcome.code == 2
    assert "Use 2m to 2h" in outcome.err

"""`ops incident close`: a last note, the open run, and what stays active."""

from datetime import timedelta

import pytest

from ops.core.run_record import RecordRow, RunRecord, embed_record
from tests.conftest import Incident, Outcome, Releases, World
from tests.support.switches import prepared


def close(incident: Incident, *arguments: str, **environ: str) -> Outcome:
    config = str(incident.world.config)
    return incident.ops("incident", "close", str(incident.number), *arguments, "--config", config, **environ)


@pytest.mark.slow
def test_incident_is_closed_once_with_a_note(incident: Incident, releases: Releases) -> None:
    incident.rollback()

    done = close(incident, "reverted the release")
    again = close(incident, "")

    assert (done.code, again.code) == (0, 0), done.err
    assert "/issues/1 closed\n" in done.out
    assert again.out.endswith("/issues/1 was closed already\n")
    assert (incident.github.issue(1).state, incident.github.issue(1).state_reason) == ("closed", "completed")
    assert len(incident.bodies) == 2
    assert "reverted the release" in incident.bodies[-1]
    assert "reverted the release [note" in incident.timeline[-1]


def test_close_without_a_run_reads_every_environment(incident: Incident) -> None:
    lines = close(incident).out.splitlines()[1:]

    assert {line.partition("unknown in ")[2].partition(":")[0] for line in lines} == {"production", "staging"}


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ("production", "nothing stays on in production"),
        ("gone", "still active, or unknown: unknown in gone: ops.yml has no such environment"),
    ],
)
def test_close_says_where_nothing_stays_on(world: World, environment: str, line: str) -> None:
    prepared(world)
    world.sandbox.github.add_user("alice")
    incident = Incident(world, world.sandbox.github.open_issue("Sessions fail", "", ["incident"], "alice"))
    record = RunRecord("run-1", runbook="feature", environment=environment, decision="recovered")
    incident.github.comment(incident.number, embed_record("x", record), "alice")

    done = close(incident)

    assert done.out.splitlines()[1:] == [f"  {line}"]


@pytest.mark.parametrize(("age", "decision", "code"), [(29, "", 3), (30, "", 0), (1, "recovered", 0)])
def test_open_run_refuses_closing(incident: Incident, age: int, decision: str, code: int) -> None:
    began = incident.world.sandbox.clock.now() - timedelta(minutes=age)
    row = RecordRow(began, "requested", "rollback-worker service=api")
    record = RunRecord("run-1", runbook="rollback-worker", decision=decision, rows=(row,))
    incident.github.comment(incident.number, embed_record("x", record), "alice")

    done = close(incident)

    assert done.code == code, done.err
    assert (incident.github.issue(1).state == "open") == (code == 3)
    if code:
        assert f"rollback-worker of {began:%Y-%m-%d %H:%M:%S} UTC" in done.err
        assert len(incident.bodies) == 1
        assert close(incident, "--anyway").code == 0
        assert incident.github.issue(1).state == "closed"


def test_active_switch_is_listed_and_stays(world: World) -> None:
    there = prepared(world)
    world.sandbox.github.add_user("alice")
    incident = Incident(world, world.sandbox.github.open_issue("Sessions fail", "", ["incident"], "alice"))
    ran = RunRecord("run-1", runbook="feature", environment="production", decision="recovered")
    incident.github.comment(incident.number, embed_record("x", ran), "alice")
    there.put(incident=incident.number)

    result = close(incident, "--json", CLOUDFLARE_API_TOKEN="switching").result

    reset = f"ops all-clear --environment production --incident {incident.number}"
    assert result["was_open"]
    assert result["leftovers"][0].startswith("switch session-do: off")
    assert result["reset_commands"][0].endswith(
        f"the label recover:all-clear on the incident, within 7 days of its closing; or {reset}"
    )
    assert (there.value() or {})["state"] == "off"


@pytest.mark.sampled
@pytest.mark.parametrize("label", ["bug", "post-incident"])
def test_other_issue_is_not_closed(incident: Incident, label: str) -> None:
    number = incident.github.open_issue("Another", "", [label], "alice")

    done = close(Incident(incident.world, number))

    assert (done.code, incident.github.issue(number).state) == (2, "open")
    assert f"error: #{number} " in done.err

"""State of an incident: folded from all records that count, and printed by `ops incident show --json`."""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from ops.core.run_record import RecordRow, RunRecord, embed_record
from ops.github.comments import BOT
from tests.conftest import Incident, World

START = datetime.fromisoformat("2026-11-24T03:00:00+00:00")
FORM = "### Service\n\napi\n\n### When it began (UTC)\n\n2026-11-24 02:50\n"


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def stamp(minute: float) -> str:
    return at(minute).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def incident(world: World) -> Incident:
    """An incident of three o'clock; it is five now."""
    world.sandbox.clock.set(at(120))
    hub = world.sandbox.github
    hub.add_user("alice")
    hub.add_user("bob")
    return Incident(world, hub.open_issue("Checkout is down", FORM, ["incident", "sev2"], "alice", at=START))


def recovery(run: str, service: str, minute: float, decision: str = "recovered", **fields: Any) -> RunRecord:
    """Return the record of a run: requested at that minute, written after 6 s, verified after 30 s, ended after 36 s."""
    began = at(minute)
    steps = {"requested": 0, "writing": 5, "written": 6, "verified": 30}
    if decision == "failed":
        steps = {"requested": 0, "writing": 5}
    texts = {"requested": f"{fields.get('runbook', 'rollback-worker')} in production (alice)"}
    rows = [RecordRow(began + timedelta(seconds=s), kind, texts.get(kind, kind)) for kind, s in steps.items()]
    rows.append(RecordRow(began + timedelta(seconds=36), "ended", decision))
    record = RunRecord(
        run,
        runbook="rollback-worker",
        environment="production",
        service=service,
        decision=decision,
        rows=tuple(rows),
        durations={"total": 36.0},
    )
    return replace(record, **fields)


def watch(service: str, began: float, ended: float, decision: str) -> RunRecord:
    """Return the record of a watch; a good one saw no failure."""
    kind = {"mitigated": "verified", "relapsed": "failed"}[decision]
    shown = RecordRow(at(began if decision == "mitigated" else ended), kind, kind)
    rows = (RecordRow(at(began), "requested", "watch"), shown, RecordRow(at(ended), "ended", decision))
    name = f"watch-{at(began):%Y%m%dT%H%M%S}-{service}"
    return RunRecord(
        name, source="watch", environment="production", service=service, decision=decision, rows=rows, job="5001.1"
    )


def note(minute: float, text: str) -> RunRecord:
    return RunRecord(f"note-{minute}", source="note", rows=(RecordRow(at(minute), "note", text),))


def post(incident: Incident, *records: RunRecord, by: str = BOT) -> None:
    """Write the records as comments; those of the bot come from a run of one of our workflows."""
    incident.github.add_run("rollback-worker.yml", 5001)
    for record in records:
        incident.github.comment(incident.number, embed_record("### shown", record), by, at=record.rows[-1].at)


def state(incident: Incident) -> dict[str, Any]:
    return incident.show("--json").result


def services(shown: Mapping[str, Any]) -> dict[str, str]:
    return {each["service"]: each["state"] for each in shown["services"]}


def test_incident_is_mitigated_when_its_last_service_recovered(incident: Incident) -> None:
    """The all-clear after it, which found everything healthy, is no recovery."""
    clear = recovery("5001.1-000c", "api", 50, runbook="all-clear")
    post(
        incident,
        recovery("5001.1-000a", "api", 20),
        recovery("5001.1-000b", "frontend", 30, runbook="rollback-pages"),
        recovery("5001.1-000d", "api", 40, decision="healthy_as_before"),
        clear,
    )

    shown = state(incident)

    api, frontend = shown["services"]
    assert services(shown) == {"api": "recovered", "frontend": "recovered"}
    assert (api["recovered"]["at"], api["recovered"]["run"]) == (stamp(20.5), "5001.1-000a")
    assert (frontend["requested"]["at"], frontend["recovered"]["at"]) == (stamp(30), stamp(30.5))
    assert (shown["state"], shown["mitigated"]["at"]) == ("mitigated", stamp(30.5))
    assert (api["broken_since"]["at"], frontend["broken_since"]["at"]) == (stamp(-10), None)


def test_incident_stays_open_while_one_service_is_broken(incident: Incident) -> None:
    post(incident, recovery("5001.1-000a", "frontend", 20), recovery("5001.1-000b", "api", 25, decision="failed"))

    shown = state(incident)

    assert services(shown) == {"api": "broken", "frontend": "recovered"}
    assert (shown["state"], shown["mitigated"]["at"]) == ("open", None)
    assert "api" in shown["mitigated"]["source"]


def test_second_recovery_after_a_relapse_counts(incident: Incident) -> None:
    relapse = watch("api", 21, 30, "relapsed")
    post(incident, recovery("5001.1-000a", "api", 20), relapse)
    (broken,) = state(incident)["services"]
    assert (broken["state"], broken["recovered"]["at"], broken["mitigated"]["at"]) == ("relapsed", stamp(20.5), None)

    post(incident, recovery("5001.1-000b", "api", 40), watch("api", 41, 70, "mitigated"))

    (api,) = state(incident)["services"]
    assert (api["state"], api["mitigated"]["at"], api["relapsed"]["at"]) == ("mitigated", stamp(40.5), stamp(30))
    assert (api["requested"]["at"], api["recovered"]["run"]) == (stamp(20), "5001.1-000b")


def test_reopened_incident_keeps_both_periods(incident: Incident) -> None:
    hub = incident.github
    post(incident, recovery("5001.1-000a", "api", 20))
    hub.close(incident.number, "alice", at=at(60))
    hub.reopen(incident.number, "bob", at=at(80))

    shown = state(incident)

    assert shown["periods"] == [
        {"opened_at": stamp(0), "closed_at": stamp(60), "by": "alice"},
        {"opened_at": stamp(80), "closed_at": None, "by": "bob"},
    ]
    assert (shown["state"], services(shown)) == ("open", {"api": "unknown"})


def test_merged_limits_are_the_write_of_their_request_and_are_held(incident: Incident) -> None:
    proposed = recovery("5001.1-000a", "api", 5, decision="planned", runbook="propose-limits")
    text = "production: calc raised to 60 until 2026-11-24 09:00:00 UTC: in effect, seen from FRA"
    post(incident, proposed, replace(note(30, text), job="5001.1"), note(31, "broken api: too many clients"))

    shown = state(incident)

    (api,) = shown["services"]
    assert (api["requested"]["at"], api["written"]["at"]) == (stamp(5), stamp(30))
    assert [(each["kind"], each["until"]) for each in shown["held"]] == [("limits", "2026-11-24T09:00:00Z")]

    removed = "production: calc: the raise to 60 until 2026-11-24 09:00:00 UTC is removed from limits.yml"
    post(
        incident, *(replace(note(60, text), job="5001.1") for text in (f"{removed}: not confirmed", "production: calc"))
    )
    assert len(state(incident)["held"]) == 1

    ended = "production: calc: the raise to 60 ended; 30 in 60 s applies"
    post(incident, replace(note(70, ended), job="5001.1"))
    assert state(incident)["held"] == []


@pytest.mark.parametrize(
    ("value", "until"),
    [
        ("off, for /until 2026-11-24 03:30:00 UTC", None),
        ("off, until 2026-11-24 09:00:00 UTC", "2026-11-24T09:00:00Z"),
        ("off, held by #77 (bob, until 2026-11-24 03:30:00 UTC) and #{} (alice)", None),
        ("off, held by #{} (alice, until 2026-11-24 09:00:00 UTC) and #77 (bob)", "2026-11-24T09:00:00Z"),
    ],
)
def test_end_of_another_owner_ends_no_hold(incident: Incident, value: str, until: str | None) -> None:
    change = ("Switch ai", "auto", value.format(incident.number))
    post(incident, recovery("5001.1-000a", "api", 5, runbook="feature", versions=(change,)))

    assert [(each["kind"], each["until"]) for each in state(incident)["held"]] == [("switches", until)]


def test_note_of_a_responder_recovers_a_service(incident: Incident) -> None:
    post(incident, note(13, "detected by a customer"), note(40, "recovered api: restarted by hand"), by="bob")

    (api,) = state(incident)["services"]

    assert (api["state"], api["recovered"]["at"], api["recovered"]["run"]) == ("mitigated", stamp(40), "")
    assert (api["detected"]["at"], api["broken_since"]["at"]) == (stamp(13), stamp(-10))
    assert "bob" in api["recovered"]["source"]


@pytest.mark.parametrize(
    "text",
    [
        "recovered api is not true",
        "recovered api? no",
        "recovered api in production not yet",
        "detected nothing so far",
    ],
)
def test_note_with_other_words_behind_says_nothing(incident: Incident, text: str) -> None:
    post(incident, recovery("5001.1-000a", "api", 5, decision="still_unhealthy"), note(40, text))

    (api,) = state(incident)["services"]
    assert (api["state"], api["detected"]["at"]) == ("broken", None)


def test_end_of_a_provider_outage_recovers_a_service(incident: Incident) -> None:
    check = RunRecord("outage-1", source="outage", environment="production", job="5001.1", decision="theirs")
    begins = replace(check, rows=(RecordRow(at(10), "note", "outage check"),))
    ends = replace(check, run="outage-2", decision="unclear", state="Healthy", rows=(RecordRow(at(50), "note", "x"),))
    post(incident, recovery("5001.1-000a", "api", 5, decision="still_unhealthy"), begins)
    assert services(state(incident)) == {"api": "broken"}

    post(incident, ends)

    (api,) = state(incident)["services"]
    assert (api["state"], api["mitigated"]["at"]) == ("mitigated", stamp(50))


@pytest.mark.parametrize("decision", ["unknown_outcome", "no_evidence", ""])
def test_run_without_a_clear_result_leaves_the_service_unknown(incident: Incident, decision: str) -> None:
    run = recovery("5001.1-000a", "api", 20, decision=decision)
    post(incident, run if decision else replace(run, rows=run.rows[:-2], durations={}))

    shown = state(incident)

    assert (services(shown), shown["state"]) == ({"api": "unknown"}, "open")
    assert (not decision) == any("rollback-worker" in each["what"] for each in shown["unknown"])


def test_records_that_do_not_count_are_named(incident: Incident) -> None:
    incident.github.add_user("zoe", "read")
    hub, forged = incident.github, recovery("5001.1-0bad", "api", 20)
    hub.add_run("other.yml", 5002)
    post(incident, replace(forged, run="5002.1-0bad"))
    post(incident, recovery("5001.1-0fed", "api", 600))
    post(incident, recovery("20261124T032000-0aaa", "api", 20), by="zoe")
    comment = hub.comment(incident.number, embed_record("x", forged), BOT)
    hub.edit_comment(incident.number, comment, embed_record("x", forged).replace("x", "y", 1), "bob")

    shown = state(incident)

    assert (services(shown), shown["state"]) == ({"api": "broken"}, "open")
    named = " ".join(f"{each['what']} {each['why']}" for each in shown["unknown"])
    assert all(each in named for each in ("5002.1-0bad", "5001.1-0fed", "future", "5001.1-0bad", "@bob", "1 of them"))


@pytest.mark.parametrize("total", [1e30, -5.0])
@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00"])
def test_strange_record_is_no_crash(incident: Incident, total: float, moment: str) -> None:
    change = ("Switch ai", "auto", "off, until 2026-99-99 99:99:99 UTC")
    run = recovery("5001.1-000a", "api", 20, durations={"total": total}, versions=(change,), decision="recovered")
    rows = (RecordRow(datetime.fromisoformat(moment), "requested", "(" * 9), *run.rows)
    post(incident, run, replace(run, run="5001.1-000b", rows=rows))

    shown = state(incident)

    assert services(shown) == {"api": "recovered" if total == -5.0 else "broken"}
    assert incident.show().code == 0


@pytest.mark.slow
def test_incident_with_two_thousand_comments_takes_sixty_calls(incident: Incident) -> None:
    hub = incident.github
    for number in range(2000):
        text, by = f"comment {number}", "bob"
        if number % 40 == 0:
            hub.add_run("rollback-worker.yml", 6000 + number)
            record = recovery(f"{6000 + number}.1-{number:04x}", "api", number / 60, decision="failed")
            text, by = embed_record("### run", record), BOT
        elif number % 10 == 5:
            text = embed_record("### note", replace(note(number / 60, "seen"), run=f"note-{number}"))
        hub.comment(incident.number, text, by)
    before, cpu = len(hub.requests), time.process_time()

    shown = state(incident)

    assert (len(hub.requests) - before <= 60, time.process_time() - cpu < 3) == (True, True)
    assert len(shown["actions"]) == 50 + 200 + 2  # runs, notes, and two labels
    assert not any("does not count" in each["why"] for each in shown["unknown"])


def test_record_that_a_responder_completed_is_the_word_of_that_person(incident: Incident) -> None:
    """As `ops incident import` does with the comment of a job that could not write its end."""
    hub, run = incident.github, recovery("5001.1-000a", "api", 20)
    post(incident)
    comment = hub.comment(incident.number, embed_record("x", replace(run, decision="", rows=run.rows[:1])), BOT)
    hub.edit_comment(incident.number, comment, embed_record("y", run), "bob")

    shown = state(incident)

    assert services(shown) == {"api": "recovered"}
    (action,) = [each for each in shown["actions"] if each["run"]]
    assert action["who"] == "alice; recorded by bob, from a laptop"

    incident.world.edit_config("responders: []", "responders: [alice]")
    assert services(state(incident)) == {"api": "broken"}


def test_run_recorded_twice_counts_once(incident: Incident) -> None:
    run = recovery("20261124T032000-0aaa", "api", 20, source="laptop")
    post(incident, run, replace(run, decision=""), by="alice")

    shown = state(incident)

    assert services(shown) == {"api": "recovered"}
    assert [each["who"] for each in shown["actions"] if each["run"]] == ["alice, from a laptop"]


def test_state_is_shown_without_a_valid_configuration(incident: Incident) -> None:
    post(incident, recovery("5001.1-000a", "api", 20))
    incident.world.config.write_text("environments: {}\n")

    shown = state(incident)

    assert (services(shown), shown["held"]) == ({"api": "recovered"}, [])
    assert "ops.yml" in " ".join(each["why"] for each in shown["unknown"])

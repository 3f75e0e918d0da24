"""Automatic reopening of maintenance windows at their end."""

import json
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ops.core.clock import parse_utc
from ops.maintenance.plan_text import END_SECTION
from ops.maintenance.state import MaintenanceState, MaintenanceWindow, merge_states
from tests.conftest import ACCOUNT, WORKER, Outcome, World
from tests.support.commands import ended
from tests.support.offline import ALSO, HOST, MAINTENANCE_WORKER, PERMISSIONS, MaintenanceWorld, account, prepared
from tests.support.webhooks import receiving

REOPEN_AT_END = ("--until", "2h", "--reopen-at-end")
NOTHING_DUE = "nothing is due\n"


@pytest.fixture
def place(world: World) -> Iterator[MaintenanceWorld]:
    with prepared(world) as found:
        yield found


def run_due_later(place: MaintenanceWorld, *, after: timedelta = timedelta(), **environ: str) -> Outcome:
    """Advance the clock, and run the scheduled command."""
    place.world.sandbox.clock.advance(after.total_seconds())
    return run_due(place, **environ)


def run_due(place: MaintenanceWorld, **environ: str) -> Outcome:
    place.world.sandbox.requests.clear()
    token = {"CLOUDFLARE_API_TOKEN": "security"}
    return place.world.ops("maintenance", "due", "--yes", "--config", str(place.world.config), **{**token, **environ})


def stored_window(place: MaintenanceWorld, name: str = "BLOCK_00") -> dict[str, Any]:
    """Return the stored window of the live ops-maintenance version, to be edited in place."""
    (live,) = place.world.sandbox.live(MAINTENANCE_WORKER)
    bindings = account(place).workers[MAINTENANCE_WORKER].versions[live].upload.bindings
    found: dict[str, Any] = next(each["json"] for each in bindings if each["name"] == name)
    return found


def time_to_end(place: MaintenanceWorld) -> timedelta:
    return parse_utc(stored_window(place)["until"]) - place.world.sandbox.clock.now()


def test_due_window_is_reopened_once_and_reported(place: MaintenanceWorld) -> None:
    before, github = place.ways, place.world.sandbox.github
    github.add_user("alice")
    number = github.open_issue("A key has leaked", labels=["incident"], author="alice")
    closed = place.on(*REOPEN_AT_END, "--incident", str(number))
    told = len(github.issue(number).comments)

    early = run_due_later(place, after=time_to_end(place), **github.environ())
    assert (early.code, early.out, place.world.writes(), place.serves(f"{HOST}/")) == (0, NOTHING_DUE, [], "off")
    opened = run_due_later(place, after=timedelta(seconds=1), GITHUB_EVENT_NAME="schedule", **github.environ())

    assert ended(closed) == (0, "recovered", "verified")
    assert opened.code == 0, opened.out
    assert re.search(
        "\n✔ RECOVERED  .*\\bapi\\b.* ops-maintenance .* healthy, seen from FRA, proved after ", opened.out
    )
    assert "(a schedule)" in opened.out
    assert place.ways == before
    comments = [comment.body for comment in github.issue(number).comments]
    assert len(comments) == told + 1
    assert "has passed" in comments[-1]
    assert len(github.issues) == 1

    again = run_due_later(place, after=timedelta(hours=1), **github.environ())

    assert (again.code, again.out, place.world.writes()) == (0, NOTHING_DUE, [])
    assert len(github.issue(number).comments) == told + 1


@pytest.mark.slow
def test_due_window_is_reopened_in_an_outage_with_a_warning(place: MaintenanceWorld) -> None:
    """An outage that users see is no reason to keep them out longer than a person planned."""
    sandbox = place.world.sandbox
    place.on(*REOPEN_AT_END)
    later = time_to_end(place) + timedelta(seconds=1)
    sandbox.switches.status_pages_lag_seconds = 0
    sandbox.status_pages.begin_incident("cloudflare", "Workers errors", {"Workers": "major_outage"})

    opened = run_due_later(place, after=later, GITHUB_EVENT_NAME="schedule")

    assert opened.code == 0, opened.out
    assert re.search("\n✔ RECOVERED  .*\\bapi\\b.* ops-maintenance ", opened.out)
    assert place.serves(f"{HOST}/") != "off"


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize("options", [(), ("--until", "2h")], ids=["no end", "end with a reminder"])
def test_maintenance_stays_closed_without_the_flag(place: MaintenanceWorld, options: tuple[str, ...]) -> None:
    plan = place.on(*options).result["plan"]

    outcome = run_due_later(place, after=timedelta(days=30))

    assert (outcome.code, outcome.out, place.world.writes()) == (0, NOTHING_DUE, [])
    assert place.serves(f"{HOST}/") == "off"
    assert not [line for line in plan["follows"] if "automatically" in line]
    assert [line for line in plan["sections"].get(END_SECTION, []) if "nothing reopens it" not in line] == []


def run_in_job(place: MaintenanceWorld, ends_by: str) -> Outcome:
    """Run the acting job of a button for two hours, with the end that the gate passes on."""
    github = place.world.sandbox.github
    token = place.world.sandbox.add_token("held-by-the-job", permissions=PERMISSIONS)
    params = {"service": "api", "state": "on", "until": "2h", "reopen_at_end": True}
    approved = [
        "--attempt",
        "1",
        "--approved-runbook",
        "maintenance",
        "--approved-environment",
        "production",
        "--approved-for",
        "security",
    ]
    job = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "7001", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_ACTOR": "alice"}
    where = ["--environment", "production", "--config", str(place.world.config), "--yes", "--json"]
    return place.world.ops(
        "recover",
        *("--runbook", "maintenance", "--params", json.dumps(params), "--ends-by", ends_by),
        *where,
        *approved,
        CLOUDFLARE_API_TOKEN=token,
        GITHUB_OUTPUT=str(place.world.folder / "outputs"),
        **github.environ(),
        **job,
    )


def end_text(place: MaintenanceWorld) -> str:
    end = stored_window(place)["until"]
    return f"{end[:10]} {end[11:19]} UTC"


@pytest.mark.slow
def test_plan_warns_if_nothing_reopens_it(place: MaintenanceWorld) -> None:
    plan = place.on(*REOPEN_AT_END).result["plan"]

    assert plan["sections"][END_SECTION] == [f"{end_text(place)}; reopens automatically"]
    (warning,) = [line for line in plan["warnings"] if line.startswith("nothing reopens it at its end: ")]
    assert "ops.yml has no github.schedules.reopen-maintenance" in warning
    assert "maintenance due --environment production` then" in warning


@pytest.mark.slow
def test_plan_names_the_schedule(place: MaintenanceWorld) -> None:
    config = place.world.config
    config.write_text(f"{config.read_text()}\ngithub: {{schedules: {{reopen-maintenance: 1h}}}}\n")

    plan = place.on(*REOPEN_AT_END).result["plan"]

    said = f"the first scheduled run after {end_text(place)} reopens it (every 1h; GitHub may skip runs)"
    assert any(line.startswith(f"{said}. To reopen it earlier: ") for line in plan["follows"])
    assert not [line for line in plan["warnings"] if "nothing reopens it" in line]


def test_plan_of_a_job_names_cost_and_next_job(place: MaintenanceWorld) -> None:
    ends_by = (place.world.sandbox.clock.now() + timedelta(hours=2, minutes=30)).isoformat()

    done = run_in_job(place, ends_by)

    end = parse_utc(stored_window(place)["until"])
    (line,) = [line for line in done.result["plan"]["follows"] if "a job of this workflow run" in line]
    assert line.startswith(
        f"a job of this workflow run reopens it at {end_text(place)}, at most 2 minutes late. It waits 120 minutes, "
        "which a private repository pays for as Actions minutes. If it is late: "
    )
    assert f"\n{end.isoformat()}\n" in (place.world.folder / "outputs").read_text()


@pytest.mark.slow
def test_end_after_approved_time_is_not_automatic(place: MaintenanceWorld) -> None:
    done = run_in_job(place, (place.world.sandbox.clock.now() + timedelta(hours=1)).isoformat())

    assert [line for line in done.result["plan"]["warnings"] if line.startswith("nothing reopens it at its end")]
    assert "+00:00" not in (place.world.folder / "outputs").read_text()


def test_reopening_job_refuses_if_late_or_unauthorized(place: MaintenanceWorld) -> None:
    github, clock = place.world.sandbox.github, place.world.sandbox.clock
    place.on(*REOPEN_AT_END)
    clock.advance(2 * 3600 + 1)
    github.add_user("alice")
    github.add_user("tina", "triage")
    github.add_commit("Configuration", "alice", files={"ops.yml": place.world.config.read_text()})
    latest = ["--environment", "production", "--latest", (clock.now() + timedelta(minutes=30)).isoformat()]
    due = ["maintenance", "due", "--yes", "--config", str(place.world.config)]
    held = {"CLOUDFLARE_API_TOKEN": "security", **github.environ()}

    refused = place.world.ops(*due, *latest, "--requested-by", "tina", **held)
    assert (refused.code, place.serves(f"{HOST}/")) == (3, "off")
    assert "tina requested this: " in refused.err
    assert place.world.ops(*due, *latest, "--requested-by", "", **held).code == 3
    github.fault(path="/repos/*/*/contents/ops.yml", status=500, times=None)
    unknown = place.world.ops(*due, *latest, "--requested-by", "alice", **held)
    assert (unknown.code, place.serves(f"{HOST}/")) == (3, "off")
    github.faults.clear()

    clock.advance(1801)
    late = place.world.ops(*due, *latest, "--requested-by", "alice", **held)
    assert (late.code, place.serves(f"{HOST}/")) == (3, "off")
    assert "#request_too_old\n" in late.err
    assert "maintenance due --environment production" in late.err

    clock.advance(-1801)
    assert place.world.ops(*due, *latest, "--requested-by", "alice", **held).code == 0
    assert place.serves(f"{HOST}/") == "home"


@pytest.mark.slow
def test_each_due_window_is_reopened_alone(place: MaintenanceWorld) -> None:
    place.on("--path", "/api/ai")
    place.on("--path", "/admin", "--until", "1h")
    place.on("--path", "/shop", *REOPEN_AT_END)
    place.on(*REOPEN_AT_END)

    outcome = run_due_later(place, after=timedelta(hours=3))

    assert outcome.code == 0, outcome.out + outcome.err
    assert place.serves(f"{HOST}/") == place.serves(f"{ALSO}/") == "home"
    assert place.serves(f"{HOST}/shop") != "off"
    for path in ("/api/ai", "/admin"):
        assert place.serves(f"{HOST}{path}") == place.serves(f"{ALSO}{path}") == "off"


@pytest.mark.slow
def test_newest_request_decides_on_automatic_reopening(place: MaintenanceWorld) -> None:
    place.on(*REOPEN_AT_END)

    again = place.on()

    (warning,) = [line for line in again.result["plan"]["warnings"] if "automatically" in line]
    assert warning.startswith("it no longer reopens automatically after ")
    assert run_due_later(place, after=timedelta(hours=3)).out == NOTHING_DUE
    assert place.serves(f"{HOST}/") == "off"

    assert place.on("--until", "1h", "--reopen-at-end").code == 0
    assert run_due_later(place, after=timedelta(hours=2)).code == 0
    assert place.serves(f"{HOST}/") == "home"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--state", "on", "--reopen-at-end"), "`--reopen-at-end`"),
        (("--state", "off", "--reopen-at-end"), "`--state off`"),
    ],
)
def test_flag_without_end_is_an_error(place: MaintenanceWorld, options: tuple[str, ...], said: str) -> None:
    outcome = place.ops(*options, "--service", "api")

    assert (outcome.code, outcome.result["reason"]) == (2, "config_invalid")
    assert said in outcome.result["message"]
    assert place.world.writes() == []


@pytest.mark.slow
def test_old_windows_without_flag_stay_closed(place: MaintenanceWorld) -> None:
    place.on("--until", "2h")
    del stored_window(place)["reopen_at_end"]

    assert run_due_later(place, after=timedelta(hours=3)).out == NOTHING_DUE
    assert place.off().code == 0
    assert place.serves(f"{HOST}/") == "home"


@pytest.mark.slow
@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("key", "value"),
    [("reopen_at_end", "true"), ("reopen_at_end", 1), ("until", "soon"), ("since", ""), ("incident", "1/comments")],
)
def test_malformed_window_reopens_nothing(place: MaintenanceWorld, key: str, value: Any) -> None:
    place.on("--until", "2h", "--reopen-at-end")
    stored_window(place)[key] = value

    outcome = run_due_later(place, after=timedelta(hours=3))

    assert (outcome.code, place.world.writes()) == (3, [])
    assert "malformed maintenance state" in outcome.err
    assert place.routes[f"{HOST}/*"] == MAINTENANCE_WORKER


@pytest.mark.slow
def test_window_with_foreign_target_needs_a_person(place: MaintenanceWorld) -> None:
    place.on("--until", "2h", "--reopen-at-end")
    stored_window(place)["closed"][0][3] = "other"

    outcome = run_due_later(place, after=timedelta(hours=3))

    assert (outcome.code, place.world.writes()) == (3, [])
    assert re.search(rf"\bapi\b.*\bother\b.*\b{WORKER}\b", outcome.out)
    assert place.serves(f"{HOST}/") == "off"


@pytest.mark.slow
def test_window_with_changed_end_stays_closed(place: MaintenanceWorld) -> None:
    place.on("--until", "2h", "--reopen-at-end")
    block = stored_window(place)
    listed = {"method": "GET", "path": f"/accounts/*/workers/scripts/{MAINTENANCE_WORKER}/deployments"}
    fault = place.world.sandbox.fault
    fault(**listed, after=lambda: fault(**listed, before=lambda: block.update(reopen_at_end=False)))

    outcome = run_due_later(place, after=timedelta(hours=3))

    assert (outcome.code, place.world.writes()) == (3, [])
    assert "api no longer reopens automatically" in outcome.out
    assert place.serves(f"{HOST}/") == "off"


@pytest.mark.slow
def test_failed_window_or_environment_does_not_stop_others(place: MaintenanceWorld) -> None:
    place.world.sandbox.add_token("staging", PERMISSIONS)
    place.on("--path", "/shop", *REOPEN_AT_END)
    place.on("--path", "/admin", *REOPEN_AT_END)
    stored_window(place).update(service="gone", worker="gone")

    outcome = run_due_later(place, after=timedelta(hours=3), STAGING_CLOUDFLARE_API_TOKEN="")

    assert "staging is passed over: STAGING_CLOUDFLARE_API_TOKEN is not set" in outcome.err
    assert outcome.code == 2
    assert 'no service "gone" in production' in outcome.out
    assert place.routes == {
        f"{HOST}/*": WORKER,
        f"{HOST}/shop*": MAINTENANCE_WORKER,
        f"{ALSO}/shop*": MAINTENANCE_WORKER,
    }


@pytest.mark.slow
def test_signal_stops_all_windows(place: MaintenanceWorld) -> None:
    place.on("--path", "/shop", *REOPEN_AT_END)
    place.on("--path", "/admin", *REOPEN_AT_END)
    place.world.sandbox.fault(
        method="DELETE", path="/zones/*/workers/routes/*", before=lambda: os.kill(os.getpid(), signal.SIGINT)
    )

    outcome = run_due_later(place, after=timedelta(hours=3))

    assert outcome.code == 130
    assert outcome.out.count("  requested  ") == 1
    assert sum(script == MAINTENANCE_WORKER for script in place.routes.values()) == 3


@pytest.mark.slow
def test_no_token_is_reported_without_requests(place: MaintenanceWorld) -> None:
    outcome = run_due_later(place, CLOUDFLARE_API_TOKEN="")

    assert (outcome.code, outcome.out, place.world.sandbox.requests) == (0, NOTHING_DUE, [])
    assert "production is passed over: CLOUDFLARE_API_TOKEN is not set" in outcome.err
    assert ACCOUNT not in outcome.err


@pytest.mark.slow
def test_failed_read_is_an_error(place: MaintenanceWorld) -> None:
    place.on(*REOPEN_AT_END)
    place.world.sandbox.fault(method="GET", path="/accounts/**", status=403, code=10000, times=None)

    outcome = run_due_later(place, after=timedelta(hours=3))

    assert outcome.code == 4
    assert NOTHING_DUE not in outcome.out


@pytest.mark.slow
def test_dry_run_reopens_nothing(place: MaintenanceWorld) -> None:
    place.on(*REOPEN_AT_END)

    place.world.sandbox.clock.advance(3 * 3600)
    where = ["--config", str(place.world.config)]
    requested, implicit = (
        place.world.ops("maintenance", "due", *where, *more, CLOUDFLARE_API_TOKEN="security")
        for more in (["--dry-run"], [])
    )

    assert (requested.code, implicit.code) == (0, 9)
    assert "PLANNED" in requested.out
    assert "PLANNED" in implicit.out
    assert place.serves(f"{HOST}/") == "off"


TWO, THREE = "2026-11-24T07:00:00Z", "2026-11-24T08:00:00Z"


@pytest.mark.parametrize(
    ("one", "other", "opens"),
    [
        ((True, TWO), (True, TWO), True),
        ((True, TWO), (False, TWO), False),
        ((False, TWO), (True, TWO), False),
        ((True, TWO), (True, THREE), False),
    ],
)
def test_merged_windows_reopen_only_if_both_agree(one: tuple[bool, str], other: tuple[bool, str], opens: bool) -> None:
    both = [
        MaintenanceWindow("api", WORKER, "", "m", until, "2026-11-24T05:00:00Z", "r", None, (), reopen_at_end=reopens)
        for reopens, until in (one, other)
    ]

    (block,) = merge_states(MaintenanceState((both[0],), "1"), [MaintenanceState((both[1],), "2")]).windows

    assert block.reopen_at_end is opens


def open_by_deployment(place: MaintenanceWorld) -> None:
    routes = place.zone.routes
    (former,) = (each for each in routes.values() if each.pattern == f"{HOST}/*")
    routes[former.id] = replace(former, script=WORKER)


def test_schedule_reports_an_opening_once_and_closes_nothing(place: MaintenanceWorld) -> None:
    github = place.world.sandbox.github
    github.add_user("alice")
    number = github.open_issue("A key has leaked", labels=["incident"], author="alice")
    place.on("--incident", str(number))
    issue = github.issue(number)
    calm = run_due(place, **github.environ())
    assert (calm.code, calm.out) == (0, NOTHING_DUE)
    open_by_deployment(place)
    issue.state, told = "closed", len(issue.comments)

    with receiving() as chat:
        environ = {**github.environ(), **chat.environ}
        dry = place.world.ops(
            "maintenance",
            "due",
            "--dry-run",
            "--config",
            str(place.world.config),
            **{**environ, "CLOUDFLARE_API_TOKEN": "security"},
        )
        assert (dry.code, len(issue.comments), chat.texts) == (7, told, [])
        first, second = run_due(place, **environ), run_due(place, **environ)

    text = f"api in production is OPEN although closed: {HOST} leads to {WORKER}"
    assert (first.code, first.out) == (7, f"{text}\nreported on #{number}\n")
    assert (second.code, second.out) == (7, f"{text}\nreported before on #{number}\n")
    assert (issue.state, len(issue.comments)) == ("open", told + 1)
    assert f"{text}. Close it again: `./run ops maintenance --state on --service api" in issue.comments[-1].body
    assert len(chat.texts) == 1
    assert place.world.writes() == []
    assert place.routes[f"{HOST}/*"] == WORKER


def test_advice_of_the_schedule_names_the_run_that_reopens_the_service(place: MaintenanceWorld) -> None:
    github = place.world.sandbox.github
    github.add_user("alice")
    number = github.open_issue("Rows are wrong", labels=["incident"], author="alice")
    place.on("--incident", str(number))
    stored_window(place)["reopened_by"] = "20261124T030000-a1b2"
    open_by_deployment(place)

    assert run_due(place, **github.environ()).code == 7
    said = github.issue(number).comments[-1].body
    assert "Run 20261124T030000-a1b2 reopens it at its end. If that run has ended, close it again: `./run ops" in said


def test_schedule_names_a_closed_service_without_an_incident(place: MaintenanceWorld) -> None:
    place.on()
    open_by_deployment(place)

    outcome = run_due(place)

    assert outcome.code == 7
    assert "api was closed without an incident, so only the chat can show it" in outcome.out


def test_schedule_says_unknown_and_not_closed(place: MaintenanceWorld) -> None:
    place.on()
    place.world.sandbox.fault(method="GET", path="/accounts/*/workers/domains", status=403, code=10000, times=None)

    outcome = run_due(place)

    assert outcome.code == 8
    assert outcome.out.startswith("unknown whether closed services are closed: ")


def test_opening_is_reported_on_each_incident_that_needs_the_service_closed(place: MaintenanceWorld) -> None:
    github = place.world.sandbox.github
    github.add_user("alice")
    first, second = (github.open_issue("A key has leaked", labels=["incident"], author="alice") for _ in range(2))
    place.on("--incident", str(first))
    place.on("--incident", str(second))
    open_by_deployment(place)

    outcome = run_due(place, **github.environ())

    assert outcome.out.endswith(f"reported on #{first}; reported on #{second}\n")
    assert all("OPEN although closed" in github.issue(number).comments[-1].body for number in (first, second))

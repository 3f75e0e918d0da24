"""Play an incident at times of the sandbox's clock, and compare what Backout says of it with a truth table."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from ops.core.clock import parse_utc
from ops.core.run_record import RecordRow, RunRecord, embed_record, read_record
from sandbox.github import GitHub
from sandbox.github.users.state import ACTIONS_BOT
from tests.conftest import Outcome, World

DAY = "2026-11-24"
"""Day of a time without a date."""
FORM = "### Service\n\n{service}\n\n### When it began (UTC)\n\n{began}\n"
MOMENTS = ("broken_since", "detected", "acknowledged", "requested", "written", "recovered", "relapsed", "mitigated")


def parse_time(text: str) -> datetime:
    """Return the time of `03:20`, `03:20:05` or `11-25 00:10`."""
    date, _, clock = text.rpartition(" ")
    return parse_utc(f"{f'2026-{date}' if date else DAY}T{clock}{'' if clock.count(':') == 2 else ':00'}Z")


@dataclass
class LongIncident:
    """An incident of any configuration. People press, label and type; the clock moves only by `wait_until`."""

    world: World
    environment: str
    tokens: Mapping[str, str | None]
    """Variables with the tokens of Cloudflare."""
    number: int = 0
    runs: list[str] = field(default_factory=list)
    """Runs in the order of their start; a table says `by 1` for the first one."""

    @property
    def hub(self) -> GitHub:
        return self.world.sandbox.github

    def wait_until(self, time: str) -> None:
        wait = (parse_time(time) - self.world.sandbox.clock.now()).total_seconds()
        assert wait >= 0, f"it is past {time} already"
        self.world.sandbox.clock.advance(wait)

    def open(self, time: str, by: str, *, service: str = "", began: str = "", labels: tuple[str, ...] = ()) -> None:
        """Open the incident with the issue form."""
        self.wait_until(time)
        self.hub.add_user(by)
        start = f"{parse_time(began):%Y-%m-%d %H:%M}" if began else "_No response_"
        body = FORM.format(service=service or "_No response_", began=start)
        self.number = self.hub.open_issue("It fails", body, ["incident", *labels], by)

    def ops(self, *arguments: str, **environ: str | None) -> Outcome:
        given = {**self.hub.environ(), **self.tokens, **environ}
        return self.world.ops(*arguments, "--config", str(self.world.config), **given)

    def press(self, time: str, by: str, runbook: str, *arguments: str, code: int = 0, **environ: str | None) -> Outcome:
        """Run a runbook in the job of a button that a person pressed."""
        self.wait_until(f"{time}:30")
        self.hub.add_user(by)
        number = self.hub.add_run(f"{runbook}.yml", 7000 + len(self.runs))
        return self._run(runbook, arguments, {**_job(number, by), **environ}, code=code)

    def label(self, time: str, by: str, label: str, runbook: str, *arguments: str, **environ: str | None) -> Outcome:
        """Run a runbook in the job of a label that a person put on the incident 20 seconds before."""
        self.wait_until(f"{time}:10")
        self.hub.add_user(by)
        self.hub.add_commit(
            "The workflow", by, files={".github/workflows/incident.yml": "name: incident\non: issues\n"}
        )
        run = self.hub.start_run("incident.yml", "issues", self.hub.label(self.number, label, by), by)
        requested = self.world.sandbox.clock.now()
        self.wait_until(f"{time}:30")
        return self._run(runbook, arguments, {**_job(run.id, by), **environ}, requested=requested)

    def type(self, time: str, by: str, runbook: str, *arguments: str, code: int = 0, **environ: str | None) -> Outcome:
        """Run a runbook on the laptop of a person."""
        self.wait_until(f"{time}:30")
        return self._run(runbook, arguments, {**self.laptop(by), "USER": by, **environ}, code=code)

    def laptop(self, by: str) -> dict[str, str]:
        """Return the variables of a person's laptop."""
        self.hub.add_user(by)
        return {"GITHUB_TOKEN": self.hub.add_token(f"ghp_{by}-0123456789", by, ["repo"])}

    def _run(
        self,
        runbook: str,
        arguments: tuple[str, ...],
        environ: Mapping[str, str | None],
        *,
        code: int = 0,
        requested: datetime | None = None,
    ) -> Outcome:
        where = ("--environment", self.environment, "--incident", str(self.number), "--yes", "--json")
        # Without that option a command counts from the start of its process, which is the one of the tests.
        since = ("--requested-at", (requested or self.world.sandbox.clock.now()).isoformat())
        done = self.ops(runbook, *arguments, *where, *since, **environ)
        assert done.code == code, (done.code, done.out[-400:], done.err[-400:])
        self.runs.append(done.result["run"])
        return done

    def watch(self, service: str, *, lasts: str = "20m", code: int = 0) -> None:
        number = self.hub.add_run("rollback-worker.yml", 7100 + len(self.runs))
        where = ("--service", service, "--environment", self.environment, "--for", lasts)
        done = self.ops("watch", *where, "--incident", str(self.number), GITHUB_RUN_ID=str(number))
        assert done.code == code, done.err[-400:]

    def note(self, time: str, by: str, text: str) -> None:
        """Add a note, which names its own time."""
        self.wait_until(time)
        assert self.ops("incident", "note", str(self.number), text, **self.laptop(by)).code == 0

    def post(
        self,
        time: str,
        rows: Mapping[str, str],
        *,
        by: str = "",
        workflow: str = "rollback-worker.yml",
        **fields: Any,
    ) -> int:
        """Post the record of a run or watch, as its job (or the laptop `by`) does, and return the ID of the comment.

        `rows`: time and kind → text.
        """
        self.wait_until(time)
        number = 7000 + len(self.runs)
        name = f"laptop-{number}" if by else f"{number}.1-abcd"
        if not by and workflow:
            self.hub.add_run(workflow, number)
        entries = [(*each.rpartition(" ")[::2], text) for each, text in rows.items()]
        record = RunRecord(
            **{
                "run": name,
                "source": "run",
                "runbook": "rollback-worker",
                "environment": self.environment,
                "rows": tuple(RecordRow(parse_time(when), kind, text) for when, kind, text in entries),
                **fields,
            }
        )
        if record.source in {"run", "laptop"}:
            self.runs.append(record.run)
        return self.hub.comment(self.number, embed_record("A comment.", record), by or ACTIONS_BOT)

    def post_rollback(
        self,
        time: str,
        service: str,
        *,
        by: str = "",
        asked: str = "mai",
        ended: str = "recovered",
        posted: str = "",
        **fields: Any,
    ) -> int:
        """Post the record of a rollback that ended in the minute of its request."""
        who = f"laptop, by {asked} as GITHUB_TOKEN says, local user {asked}" if by else asked
        environment = fields.get("environment", self.environment)
        worker, health = f"Worker shop-{service}", "healthy" if ended == "recovered" else "unhealthy"
        rows = {
            f"{time}:00 requested": f"rollback-worker service={service} in {environment} ({who})",
            f"{time}:01 planned": f"{worker}: bad00000 → good0000",
            f"{time}:01 probed": "before: cart unhealthy: status 500, wanted 200",
            f"{time}:02 writing": f"{worker}: bad00000 → good0000",
            f"{time}:02 written": "deployment a737e5df-02e1-4bcd-a629-a7eb49e21564",
            f"{time}:03 read_back": "good0000 is live",
            f"{time}:06 verified": f"{health}, seen from FRA",
            f"{time}:06 ended": ended,
        }
        given = {
            "service": service,
            "source": "laptop" if by else "run",
            "decision": ended,
            "reason": "verified" if ended == "recovered" else ended,
            "state": "Recovered" if ended == "recovered" else "Still unhealthy",
            "live": "live",
            "versions": ((worker, "bad00000", "good0000"),),
            "headline": f"Rolled back {service} to good0000: {health} after 6.0 s, seen from FRA",
        }
        return self.post(posted or f"{time}:06", rows, by=by, **{**given, **fields})

    @property
    def bodies(self) -> list[str]:
        return [comment.body for comment in self.hub.issue(self.number).comments]

    def show(self) -> dict[str, Any]:
        """Return the state that `ops incident show --json` prints."""
        done = self.ops("incident", "show", str(self.number), "--json")
        assert done.code == 0, done.err
        return done.result


def _job(number: int, by: str) -> dict[str, str]:
    """Return the variables of a job of that workflow run, which a person started."""
    run = {"GITHUB_RUN_ID": str(number), "GITHUB_RUN_ATTEMPT": "1"}
    return {"GITHUB_ACTIONS": "true", **run, "GITHUB_ACTOR": by}


def read_truths(module: str) -> dict[str, Any]:
    """Return the truth tables beside a test module, by the names of their incidents."""
    truths: dict[str, Any] = yaml.safe_load((Path(module).parent / "truth.yml").read_text())
    return truths


def assert_truth(night: LongIncident, truth: Mapping[str, Any]) -> None:
    """Require that each surface says what the table says. It closes the incident."""
    state = night.show()
    shown, true = list_figures(describe_state(state, night.runs)), list_figures(complete_table(truth))
    names = [name for name in {**shown, **true} if shown.get(name) != true.get(name)]
    assert not names, [f"{name}: {shown.get(name)!r} instead of {true.get(name)!r}" for name in names]
    named = " ".join(f"{each['what']} {each['why']}" for each in state["unknown"])
    assert not [each for each in truth.get("unknown", ()) if each not in named], state["unknown"]
    _assert_held_in_status(night, truth)
    _assert_report(night, truth)
    _assert_closing(night, truth)


def _assert_held_in_status(night: LongIncident, truth: Mapping[str, Any]) -> None:
    """Require that `ops status` shows the incident's state and what the table holds, and nothing else of it."""
    status = json.loads(night.ops("status", "--environment", night.environment, "--json").out)
    (state,) = (each["state"] for each in status["incidents"] if each["number"] == night.number)
    assert state == ("mitigated" if truth["mitigated"] else "open")
    held = [each for each in status["held"] if each["kind"] != "hold"]  # a hold of code outlives the incident
    ours = [each for each in held if any(name.startswith(f"#{night.number} ") for name in each["held_by"])]
    shown = [f"{each['kind']} {each['what']}: {each['state']}" for each in ours]
    assert shown == [each.partition(", #")[0] for each in truth.get("held", ())]


def _assert_report(night: LongIncident, truth: Mapping[str, Any]) -> None:
    """Require that the report of a job, and the comment with the state that it keeps, say what the table says."""
    number = night.hub.add_run("report.yml", 7900)
    job = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": str(number), "GITHUB_RUN_ATTEMPT": "1"}
    done = night.ops("incident", "report", str(night.number), **job)
    assert (done.code, "warning" in done.err) == (0, False), done.err
    (page,) = (issue.body or "" for issue in night.hub.issues if issue.find_label("post-incident"))
    services = truth["services"].values()
    first = {name: min((row[name] for row in services if row.get(name)), default="") for name in MOMENTS}
    moments = {
        "Started": first["broken_since"],
        "Detected": first["detected"],
        "Acknowledged": first["acknowledged"],
        "Recovery requested": first["requested"],
        "Mitigated": truth["mitigated"],
    }
    shown = {name: _find_moment(page, name) for name in moments}
    assert shown == moments, shown
    sentences = page.partition("<!-- backout:region summary")[2].partition("<!-- backout:region end")[0]
    is_one = len({name.split()[0] for name in truth["services"]}) == 1
    for name, row in truth["services"].items():
        (environment, service), since = name.split(), _healthy_since(row)
        says = rf"\b{service if is_one else f'{service} in {environment}'} (at|works since) [^;]*{since[-5:]} UTC"
        assert bool(re.search(says, sentences)) == bool(since), sentences
    _assert_comment(night, truth)


def _assert_comment(night: LongIncident, truth: Mapping[str, Any]) -> None:
    (comment,) = (body for body in night.bodies if (read := read_record(body)) and read.source == "state")
    assert comment.startswith("### Mitigated" if truth["mitigated"] else "### Open"), comment
    for name, row in truth["services"].items():
        environment, service = name.split()
        place = service if environment == "some" else f"{service} in {environment}"
        since = _healthy_since(row)
        works = f", works since {parse_time(since):%Y-%m-%d %H:%M} UTC" if since else ""
        assert f" {place}: **{row['state']}**{works}." in comment
    assert all(each.split(":")[0].split(" ", 1)[1] in comment for each in truth.get("held", ())), comment


def _assert_closing(night: LongIncident, truth: Mapping[str, Any]) -> None:
    """Require that closing names what stays held, what is unknown of that, and nothing else."""
    unknown = {each["why"].partition(" (cf-ray")[0] for each in night.show()["unknown"]}
    done = night.ops("incident", "close", str(night.number), "--anyway", "--json")
    assert done.code == 0, done.err
    active = [line for line in done.result["leftovers"] if line.partition(" (cf-ray")[0] not in unknown]
    held = [each.split(":")[0].split(" ", 1)[1] for each in truth.get("held", ())]
    assert len(active) == len(held), active
    assert all(name in line for name, line in zip(held, active, strict=True)), active
    assert night.show()["state"] == "closed"


def _find_moment(page: str, name: str) -> str:
    """Return the time of a moment in the report, in the form of a table; empty if it is unknown."""
    found = re.search(rf"^\| (?:(\d\d-\d\d) )?(\d\d:\d\d):\d\d \| \*\*{name}\*\*: ", page, re.MULTILINE)
    assert found or f"\n- {name}: " in page
    return " ".join(filter(None, found.groups())).removeprefix(f"{DAY[5:]} ") if found else ""


def _healthy_since(row: Mapping[str, str]) -> str:
    """Return since when a service of the table works; empty if it does not."""
    works = row["state"] in {"recovered", "mitigated"}
    return (row.get("mitigated") or row["recovered"].partition(" by ")[0]) if works else ""


def list_figures(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table with one key for each figure."""
    services = table["services"].items()
    figures = {f"{service} {name}": value for service, row in services for name, value in row.items()}
    return {**figures, **{name: value for name, value in table.items() if name != "services"}}


def complete_table(truth: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table with every moment."""
    services = {name: {**dict.fromkeys(MOMENTS, ""), **row} for name, row in truth["services"].items()}
    return {
        "services": services,
        "mitigated": truth["mitigated"],
        "held": truth.get("held", []),
        "who": truth.get("who", []),
        "periods": truth.get("periods", [f"{next(iter(services.values()))['acknowledged']} to"]),
    }


def describe_state(state: Mapping[str, Any], runs: list[str]) -> dict[str, Any]:
    """Return the state in the words of a table."""

    def moment(name: str, value: Mapping[str, Any]) -> str:
        run = f" by {runs.index(value['run']) + 1}" if name == "recovered" and value.get("run") else ""
        return f"{format_minute(value['at'])}{run}"

    services = {
        f"{each['environment'] or 'some'} {each['service']}": {
            "state": each["state"],
            **{name: moment(name, each[name]) for name in MOMENTS},
        }
        for each in state["services"]
    }
    held = [
        f"{each['kind']} {each['what']}, {' and '.join(name.split()[0] for name in each['by'])}, {format_minute(each['until'])}"
        for each in state["held"]
    ]
    who = [each["who"] for each in state["actions"] if each["run"]]
    times = ((format_minute(each["opened_at"]), format_minute(each["closed_at"])) for each in state["periods"])
    periods = [f"{opened} to {closed}".rstrip() for opened, closed in times]
    mitigated = format_minute(state["mitigated"]["at"])
    return {"services": services, "mitigated": mitigated, "held": held, "who": who, "periods": periods}


def format_minute(time: str | None) -> str:
    """Return a time to the minute, without the date of `DAY`; empty if it is unknown."""
    return f"{parse_utc(time):%m-%d %H:%M}".removeprefix(f"{DAY[5:]} ") if time else ""

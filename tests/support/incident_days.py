"""Play the incidents of a table such as tests/report/statistics.yml, one a day."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from ops.core.run_record import RecordRow, RunRecord, embed_record
from sandbox.github import GitHub
from sandbox.github.users.state import ACTIONS_BOT
from tests.support.long_incidents import FORM, parse_time

ENVIRONMENT = "live"


@dataclass
class IncidentDays:
    """A repository with the incidents of a table. `numbers`: day → issue."""

    hub: GitHub
    numbers: dict[str, int] = field(default_factory=dict)
    _runs: "count[int]" = field(default_factory=lambda: count(9000))

    def play(self, row: Mapping[str, Any]) -> int:
        """Post the issue, its records and what people do, and return the number of the issue."""
        day, opener = row["day"], ACTIONS_BOT if row.get("by") == "bot" else "mai"
        began = row.get("began", "_No response_")
        is_time = began[-5:-3].isdigit()
        start = f"{parse_time(began if ' ' in began else f'{day} {began}'):%Y-%m-%d %H:%M}" if is_time else began
        body = FORM.format(service=row.get("service", "web") or "_No response_", began=start)
        labels = ["incident", *(["drill"] if row.get("drill") else [])]
        opened = parse_time(f"{day} {row['opened']}")
        number = self.hub.open_issue(f"It fails on {day}", body, labels, opener, at=opened)
        self.numbers[day] = number
        for act in row.get("acts", ()):
            self.act(number, act, day)
        return number

    def act(self, number: int, act: Mapping[str, Any], day: str, *, is_late: bool = False) -> None:
        """Do one act of the table on an issue; `is_late`: a note that is written now."""
        at, name = parse_time(f"{day} {act['at']}"), f"{next(self._runs)}.1-abcd"
        if "close" in act:
            self.hub.close(number, act["close"], at=at)
        elif "reopen" in act:
            self.hub.reopen(number, act["reopen"], at=at)
        elif "label" in act:
            self.hub.label(number, act["label"], act["by"], at=at)
        elif "note" in act:
            time, _, text = act["note"].partition(" ")
            moment = datetime.combine(at.date(), parse_time(time).timetz())
            self._post(
                number,
                RunRecord(f"note-{name}", source="note", rows=(RecordRow(moment, "note", text),)),
                "mai",
                self.hub.clock.now() if is_late else at,
            )
        elif "relapse" in act:
            began = datetime.combine(at.date(), parse_time(act["relapse"]).timetz())
            ends = [RecordRow(at, kind, "relapsed") for kind in ("failed", "ended")]
            rows = (RecordRow(began, "requested", "watch"), *ends)
            self._post(number, self._record(f"watch-{name}", act, rows, source="watch", decision="relapsed"), "", at)
        else:
            self._post(number, self._run(name, at, act), act.get("by", ""), at)

    def _run(self, name: str, at: datetime, act: Mapping[str, Any]) -> RunRecord:
        """Return the record of a rollback that ended, was killed, or had nothing to do."""
        by = act.get("by", "")
        who = f"laptop, by {by} as GITHUB_TOKEN says, local user {by}" if by else "mai"
        rows = [RecordRow(at, "requested", f"rollback-worker service=web in {ENVIRONMENT} ({who})")]
        if act.get("confirm"):
            rows.append(RecordRow(at, "ended", "nothing_to_do"))
            return self._record(
                name, act, tuple(rows), decision="nothing_to_do", state="Nothing to do", live="unchanged"
            )
        (kind,) = {"recover", "fail", "begin"} & set(act)
        write, prove = (timedelta(seconds=seconds) for seconds in act[kind])
        rows += [RecordRow(at + write, each, "deployment a737e5df") for each in ("writing", "written")]
        if kind == "begin":
            return self._record(name, act, tuple(rows))
        decision = "recovered" if kind == "recover" else "still_unhealthy"
        rows += [RecordRow(at + prove, "verified", "seen from FRA"), RecordRow(at + prove, "ended", decision)]
        more = {"decision": decision, "state": decision.replace("_", " ").capitalize(), "live": "live"}
        return self._record(name, act, tuple(rows), **more)

    def _record(
        self, name: str, act: Mapping[str, Any], rows: tuple[RecordRow, ...], *, source: str = "run", **more: Any
    ) -> RunRecord:
        by = act.get("by", "")
        return RunRecord(
            f"laptop-{name.partition('.')[0]}" if by else name,
            source="laptop" if by else source,
            runbook="rollback-worker" if source == "run" else "",
            environment=ENVIRONMENT,
            service=act.get("service", "web"),
            versions=(("Worker shop-web", "bad00000", "good0000"),) if source == "run" else (),
            rows=rows,
            job="" if by else name.rpartition("-")[0].removeprefix("watch-"),
            **more,
        )

    def _post(self, number: int, record: RunRecord, by: str, at: datetime) -> None:
        if not by:
            self.hub.add_run("rollback-worker.yml", int(record.job.partition(".")[0]))
        self.hub.comment(number, embed_record("A comment.", record), by or ACTIONS_BOT, at=at)

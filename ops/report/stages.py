"""How the time of a recovery was spent, stage after stage, from the request to the proof, with nothing left out."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ops.report.evidence import Evidence

NAMES = {"plan": "set-up and plan", "write": "write", "read back": "read back", "verified": "probes"}


@dataclass(frozen=True)
class Stage:
    """Seconds since the request."""

    name: str
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass(frozen=True)
class Recovery:
    """One run. `requested_at` is its clock's, to the second."""

    run: str
    requested_at: datetime
    stages: tuple[Stage, ...]


def recovery(evidence: Evidence) -> Recovery | None:
    """Of the run that counts; None where it recorded no durations."""
    main = evidence.main_run
    ended, total = (main.at("ended"), main.block.durations.get("total")) if main else (None, None)
    if main is None or ended is None or total is None:
        return None
    requested_at = ended - timedelta(seconds=total)
    run = evidence.workflow_run(main)
    job = run.acting if run else None
    marks: list[tuple[str, float]] = []
    if job is not None and job.started_at is not None and job.started_at > requested_at:
        marks.append(("until GitHub started the job", (job.started_at - requested_at).total_seconds()))
    marks += [(NAMES[name], at) for name in NAMES if (at := main.block.durations.get(name)) is not None]
    stages, before = [], 0.0
    for name, at in marks:
        if at < before:  # GitHub's clock is only good to the second, and another
            continue
        stages.append(Stage(name, before, at))
        before = at
    return Recovery(main.block.run, requested_at, tuple(stages)) if stages else None

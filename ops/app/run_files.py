"""Folders of runs in `.ops/runs`: which one is published, and which old ones are deleted.

A run leaves `timeline.jsonl`, `record.md` and, once nothing of it has to be published any more, `published`.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from ops.core.client_guards import is_loopback
from ops.core.errors import Decision
from ops.core.redaction import Redactor
from ops.core.run import EndedRun, Run
from ops.core.run_record import RUN_ID_PATTERN, RunRecord
from ops.core.timeline import RunEvent, event_from_json
from ops.tools.process import open_private_file

RUNS = Path(".ops", "runs")
TIMELINE = "timeline.jsonl"
PUBLISHED = "published"
DELETED = ".deleted"
"""End of the name of a folder that is being deleted."""
KEPT_RUNS = 50
KEPT_SECONDS = 40 * 24 * 3600.0
"""A drill in this time counts as recent, so its record must still be there."""


def close_run(folder: Path, result: EndedRun) -> None:
    """Mark an ended run whose record is on GitHub or does not belong there, and delete old runs. Never raises."""
    if result.is_recorded:
        mark_published(folder, result.links.get("journal") or result.links.get("incident", ""))
    elif not belongs_on_github(result.decision, wrote=result.wrote, incident=result.incident):
        mark_published(folder, "")
    prune_runs(folder.parent)


def belongs_on_github(decision: str, *, wrote: bool, incident: int | None) -> bool:
    """Return whether an incident must hold the record of an ended run."""
    return decision != Decision.PLANNED and (wrote or incident is not None)


def may_be_imported(sandbox: str, environ: Mapping[str, str]) -> bool:
    """Return whether GITHUB_API_URL may get the record of a run: the record of a drill only if it is a sandbox's."""
    return not sandbox or is_loopback(environ.get("GITHUB_API_URL", ""))


def mark_published(folder: Path, link: str) -> None:
    """Note the URL of a run on GitHub; empty if it does not belong there. Never raises."""
    with contextlib.suppress(OSError), open_private_file(folder / PUBLISHED) as file:
        file.write(link)


def import_command(program: str, folder: Path, incident: int | None) -> str:
    """Return the command that posts the record of a run, for this working folder."""
    return f"{program} incident import {shlex.quote(os.path.relpath(folder))} --incident {incident or 'NUMBER'}"


def is_marked_published(folder: Path) -> bool:
    """Return whether nothing of the run has to be published any more."""
    return (folder / PUBLISHED).exists()


def read_published_link(folder: Path) -> str:
    """Return the URL of a run on GitHub; empty if it has none."""
    try:
        return (folder / PUBLISHED).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def list_run_folders(runs: Path) -> list[Path]:
    """Return the folders of the runs, the most recently active first."""
    folders = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(runs):
            is_run = re.fullmatch(RUN_ID_PATTERN, entry.name) and not entry.name.endswith(DELETED)
            if is_run and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(OSError):  # another process deletes it
                    folders.append((Path(entry, TIMELINE).stat().st_mtime, Path(entry)))
    return [folder for _, folder in sorted(folders, reverse=True)]


def read_run_events(folder: Path, redactor: Redactor) -> Iterator[RunEvent]:
    """Yield the events of a run; a line that is being written, or that somebody edited, is left out."""
    try:
        lines = (folder / TIMELINE).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            yield event_from_json(redactor.redact_json(json.loads(line)))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError, AttributeError):
            continue


def read_records(runs: Path, runbook: str, sandbox: str, redactor: Redactor) -> tuple[RunRecord, ...]:
    """Return the records of a runbook among the newest runs of this machine, oldest first.

    Only runs against the same sandbox count, or against Cloudflare if it is "": a drill says nothing about production.
    """
    runs_here = (
        Run(folder.name, tuple(read_run_events(folder, redactor))) for folder in list_run_folders(runs)[:KEPT_RUNS]
    )
    return tuple(
        run.to_record(part=1) for run in reversed([*runs_here]) if (run.runbook, run.sandbox) == (runbook, sandbox)
    )


def prune_runs(runs: Path) -> None:
    """Delete published runs, except the newest 50 and those of the last 40 days. Never raises.

    A run without its mark is open, was killed, or is missing on GitHub: it stays until somebody imports it. Two
    processes may prune at once: a folder gets another name first, and then only one of them has it.
    """
    oldest = time.time() - KEPT_SECONDS
    for folder in list_run_folders(runs)[KEPT_RUNS:]:
        with contextlib.suppress(OSError):
            if is_marked_published(folder) and (folder / TIMELINE).stat().st_mtime < oldest:
                folder.rename(folder.with_name(f"{folder.name}{DELETED}"))
    for folder in runs.glob(f"*{DELETED}"):
        if re.fullmatch(RUN_ID_PATTERN, folder.name.removesuffix(DELETED)):
            shutil.rmtree(folder, ignore_errors=True)

"""Read the held commits of services that run the hold check, and the held migrations."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from ops.app.session import Session
from ops.core.clock import parse_utc
from ops.core.next_step import build_command
from ops.core.owners import StateOwner
from ops.core.redaction import Redactor
from ops.core.standing_rollback import CommitHoldLift
from ops.core.threads import run_parallel
from ops.database.migration_holds import MigrationHold, read_migration_holds
from ops.github.client import connect
from ops.github.lift_labels import LiftLabels
from ops.status.held_states import HeldState, UnreadSource, try_status_read
from ops.status.last_runs import start_github_read
from ops.workers.commit_holds import CommitHold, read_commit_holds

if TYPE_CHECKING:
    from ops.config import Service

T = TypeVar("T", CommitHold, MigrationHold)
GITHUB_SECONDS = 3.0
"""Longest wait for GitHub, which knows whether a hold was lifted."""
KIND, HELD = "hold", "must not be deployed again"
LIFTS = "whether holds were lifted"
SECTIONS = ("held",)
"""Keys of the JSON result that list holds."""


def read_all_holds(
    session: Session,
    deployed: Collection[str],
    environ: Mapping[str, str],
    redactor: Redactor,
    program: str,
) -> tuple[tuple[HeldState, ...], tuple[UnreadSource, ...]]:
    """Return the holds of an environment, and what is unknown of them.

    Nothing that fails is an error: the token may lack a right that nothing else of `ops status` needs.

    `deployed`: names of the services that have a deployment; others are left out.
    """
    environment = session.environment
    commits = {
        each.name: partial(_read_held_commits, session, each)
        for each in environment.services.values()
        if each.worker and each.hold_check and each.name in deployed
    }
    migrations = {
        name: partial(_read_migration_holds, session, each.id)
        for name, each in environment.databases.items()
        if each.guard
    }
    code, unread_code = _read_each_hold(commits, "held commits")
    files, unread_files = _read_each_hold(migrations, "held migrations")
    lifts, unread_lifts = _read_lifts([each for found in code.values() for each in found], environ, redactor)
    where = {"environment": environment.name}
    held = [_held_commit(each, program, where) for found in code.values() for each in found if each not in lifts]
    held += [_held_migration(each, name, program, where) for name, found in files.items() for each in found]
    return tuple(held), (*unread_code, *unread_files, *unread_lifts)


def _read_held_commits(session: Session, service: "Service") -> tuple[tuple[CommitHold, ...], str]:
    """Return the holds of a Worker, and how far they were read. Raises OpsError, also without a token."""
    return read_commit_holds(session.cloudflare.workers, service)


def _read_migration_holds(session: Session, database: str) -> tuple[tuple[MigrationHold, ...], str]:
    return read_migration_holds(session.cloudflare.d1, database), ""


def _read_each_hold(
    reads: Mapping[str, Callable[[], tuple[tuple[T, ...], str]]], what: str
) -> tuple[dict[str, tuple[T, ...]], list[UnreadSource]]:
    """Return name → holds, and why others are unknown."""
    results = run_parallel(
        [partial(try_status_read, read, f"{what} of {name}", SECTIONS) for name, read in reads.items()]
    )
    holds, lacks = dict[str, tuple[T, ...]](), list[UnreadSource]()
    for name, (found, lack) in zip(reads, results, strict=True):
        holds[name], limit = found or ((), "")
        if lack:
            lacks.append(replace(lack, exit_code=0))
        elif limit:
            lacks.append(UnreadSource(SECTIONS, f"{what} of {name}", limit))
    return holds, lacks


def _read_lifts(
    holds: Sequence[CommitHold], environ: Mapping[str, str], redactor: Redactor
) -> tuple[set[CommitHold], tuple[UnreadSource, ...]]:
    """Return the holds that were lifted, and why that is unknown."""
    numbers = list(dict.fromkeys(each.incident for each in holds if each.incident is not None))
    if not numbers:
        return set(), ()
    labels = LiftLabels(partial(connect, environ, redactor, read_only=True))
    reads = [partial(_try_lift, labels, each) for each in numbers]
    results, problem = start_github_read(partial(run_parallel, reads), environ, GITHUB_SECONDS)()
    if results is None:
        return set(), (UnreadSource(SECTIONS, LIFTS, problem),)
    lifts = dict(zip(numbers, (lift for lift, _ in results), strict=True))
    lifted = {each for each in holds if (lift := lifts.get(each.incident or 0)) and lift.ends(each.since)}
    return lifted, tuple(replace(lack, exit_code=0, hint="") for _, lack in results if lack)


def _try_lift(labels: LiftLabels, incident: int) -> tuple[CommitHoldLift | None, UnreadSource | None]:
    return try_status_read(lambda: labels.read_lift(incident), f"{LIFTS} in incident {incident}", SECTIONS)


def _held_commit(hold: CommitHold, program: str, where: Mapping[str, str]) -> HeldState:
    command = build_command(program, "hold lift", {**where, "incident": hold.incident}) if hold.incident else ""
    return HeldState(
        KIND,
        hold.service,
        hold.code,
        HELD,
        (StateOwner(hold.incident, "", hold.since),) if hold.incident else (),
        hold.since,
        None,
        command,
        step="" if command else f"end the message of the fix with `Fixes-Incident: {hold.run}`",
    )


def _held_migration(hold: MigrationHold, database: str, program: str, where: Mapping[str, str]) -> HeldState:
    incident = int(hold.incident) if hold.incident.isdigit() else None
    since = parse_utc(hold.held_at)
    options = {**where, "database": database, "name": hold.migration, "incident": incident}
    return HeldState(
        KIND,
        database,
        f"migration {hold.migration} of {database}",
        HELD,
        (StateOwner(incident, "", since),) if incident else (),
        since,
        None,
        build_command(program, "hold lift-migration", options),
    )

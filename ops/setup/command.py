"""Write, remove or keep each generated file, and print why: `ops workflows sync`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.registry import added_runbook_names, discover_runbooks, list_runbook_facts, runbook_names
from ops.core.errors import ConfigError
from ops.setup import issue_form, jobs, workflows
from ops.setup.workflows import FileAction, FileDifference

if TYPE_CHECKING:
    from ops.config import Config

Say = Callable[[str], object]
DIFFERS = 2
DONE = {FileAction.WRITE: "written", FileAction.REMOVE: "removed", FileAction.KEEP: "kept"}


def sync(root: Path, config: "Config", *, check: bool, force: bool, echo: Say) -> int:
    """Return the exit code: 0, or DIFFERS if `check` found a difference or a file was kept. Raises ConfigError."""
    runbooks = {name: discover_runbooks()[name] for name in runbook_names() if name not in added_runbook_names()}
    _check_minutes(jobs.scheduled_tasks(config), config)
    found = workflows.differences(root / workflows.FOLDER, config, runbooks)
    form = issue_form.difference(root / issue_form.PATH, config, list_runbook_facts())
    kept = 0
    for each in [*found, *([form] if form else [])]:
        is_kept = each.action is FileAction.KEEP and not force
        kept += is_kept
        if check or is_kept:
            echo(each.diff)
        if not check and not is_kept:
            workflows.apply(each)
        echo(_line(each, root, check=check, is_kept=is_kept))
    if not found and not form:
        echo("Every file is as ops.yml has it.")
    elif check:
        echo("Run `./run ops workflows sync`, then commit the files.")
    elif kept:
        echo("Move your changes into ops.yml, or run `./run ops workflows sync --force` to overwrite them.")
    else:
        echo(f"Commit .github and push it to {config.github.branch}: only what is there may act.")
    _print_costs(config, echo)
    return DIFFERS if kept or (check and (found or form)) else 0


def _line(each: FileDifference, root: Path, *, check: bool, is_kept: bool) -> str:
    step = FileAction.KEEP if is_kept else FileAction.WRITE if each.desired else FileAction.REMOVE
    verb = f"would {step.value}" if check and not is_kept else DONE[step]
    return f"{verb}: {each.path.relative_to(root)} ({each.why})"


def _check_minutes(tasks: list[jobs.ScheduledTask], config: "Config") -> None:
    used, included = sum(task.minutes for task in tasks), config.github.included_minutes
    if not included or used * 2 <= included or used <= config.github.accept_minutes:
        return
    raise ConfigError(
        f"the schedules would use {used:,} minutes a month, more than half of the {included:,} that the plan includes; "
        "when they are used up, GitHub starts no job, and no recovery either",
        hint=f"Write longer intervals under github.schedules, or github.accept_minutes: {used}.",
    )


def _print_costs(config: "Config", echo: Say) -> None:
    tasks = jobs.scheduled_tasks(config)
    if tasks:
        used = sum(task.minutes for task in tasks)
        echo(f"Schedules: {', '.join(f'{task.name} every {task.every}' for task in tasks)}: {used:,} minutes a month.")
    else:
        echo("Schedules: none, so they use 0 minutes a month.")
    approval_environments = [each.approval_environment for each in config.environments.values() if each.approval]
    if approval_environments:
        echo(
            f"Approval: give required reviewers to the GitHub environment{'s' * (len(approval_environments) > 1)} "
            f"{', '.join(approval_environments)}. Without an approval the jobs behind refuse."
        )
    if not config.github.environments:
        echo(
            "Without environments the secrets stand in the repository, and everyone who can push can read all of them. "
            "Each name begins with its environment: RECOVERY_…, SECURITY_…, REPORT_…"
        )
    if config.github.enterprise_server:
        echo(
            "GitHub Enterprise Server: the keys `queue` and `deployment` are left out. Of the requests that wait, the "
            "server keeps only the newest, and each scheduled run counts as a deployment."
        )

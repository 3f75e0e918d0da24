"""Write, remove or keep each generated file, and print why: `ops workflows sync`.

Of the issue form, only the services and environments are generated. The team owns the rest of the form.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.registry import button_runbooks
from ops.core.errors import ConfigError
from ops.core.names import PUBLISH_UPDATE
from ops.core.version import __version__
from ops.github.issues import NOT_SURE
from ops.setup import action_pins, publish_update_job, team_file, workflow_jobs, workflows
from ops.setup.server import ONLY
from ops.setup.workflows import FileAction, FileDifference, quote_yaml

if TYPE_CHECKING:
    from ops.config import Config

FORM_PATH = Path(".github", "ISSUE_TEMPLATE", "incident.yml")
QUESTION = re.compile(r"^(?P<indent> *)- .*\n(?:(?P=indent)  .*\n)*", re.MULTILINE)
MARK = "# generated from ops.yml"
GENERATED_PART = re.compile(
    rf"^(?P<head>(?P<indent> +){MARK} .*\n)(?P=indent)(?:options:|placeholder: .*)\n"
    r"(?:(?P=indent) +.*\n)*(?:(?P=indent)default: 0\n)?",
    re.MULTILINE,
)
"""The answers to a question. The team owns its other lines."""
MOST_OPTIONS = 20
"""Services that the form lists; with more of them, people type the name."""
SERVICE = f"""\
  - type: dropdown
    id: service
    attributes:
      label: Service
      # generated from ops.yml by `ops workflows sync`
      options:
        - {NOT_SURE}
"""
ENVIRONMENT = """\
  - type: dropdown
    id: environment
    attributes:
      label: Environment
      # generated from ops.yml by `ops workflows sync`
      options:
    validations:
      required: true
"""
INTRODUCTION = """\
      value: |
        Open the issue. A comment then lists the recoveries of the service. Text in this form starts nothing.
"""
FORMER_PARTS = (
    (r" +# generated from ops\.yml .*\n +value: \|\n(?: {7,}.*\n|\n)+", INTRODUCTION),
    (
        r"  - type: input\n    id: service\n    attributes:\n      label: Service\n(?:      \w+: .*\n)*(?!      # gen)",
        SERVICE,
    ),
)
"""Parts of earlier forms: the list of recoveries, which is now in a comment, and the service as text."""
Say = Callable[[str], object]
DIFFERS = 2
DONE = {FileAction.WRITE: "written", FileAction.REMOVE: "removed", FileAction.KEEP: "kept"}


def issue_form_difference(path: Path, config: "Config") -> FileDifference | None:
    """Return the change that the form needs; None if there is no form or no difference. Writes nothing.

    Raises ConfigError if the form cannot be read.
    """
    text = team_file.read_utf8(path)
    desired = rewrite_issue_form(text, config)
    if desired == text:
        return None
    return FileDifference(path, FileAction.WRITE, "names the services", text, desired)


def rewrite_issue_form(text: str, config: "Config") -> str:
    """Return the form with the services and environments of ops.yml.

    A single service is the default. With more than MOST_OPTIONS, people type the name. A single environment is left
    out.
    """
    for former, new in FORMER_PARTS:
        text = re.sub(former, lambda _: new, text)  # noqa: B023  called at once
    environments = list(config.environments)
    has_several = len(environments) > 1
    is_missing = has_several and "\n    id: environment\n" not in text

    def ask_for_place(match: re.Match[str]) -> str:
        if MARK not in match[0]:
            return match[0]
        if "id: environment\n" in match[0]:
            return _question_with_answers(match[0], environments) if has_several else ""
        added = _question_with_answers(ENVIRONMENT, environments) if is_missing else ""
        return _question_with_answers(match[0], config.service_names) + added

    return QUESTION.sub(ask_for_place, text)


def _question_with_answers(question: str, names: Sequence[str]) -> str:
    """Return the question with these names as answers, or as a field to type one of many."""
    kind, lines = "dropdown", ["options:", *(f"  - {quote_yaml(name)}" for name in (*names, NOT_SURE))]
    if len(names) > MOST_OPTIONS:
        kind, lines = "input", [f"placeholder: {quote_yaml(f'{names[0]}, or: {NOT_SURE}')}"]
    lines += ["default: 0"] * (len(names) == 1)

    def replace_part(match: re.Match[str]) -> str:
        return match["head"] + "".join(f"{match['indent']}{line}\n" for line in lines)

    return re.sub("type: (?:dropdown|input)\n", f"type: {kind}\n", GENERATED_PART.sub(replace_part, question), count=1)


def sync_files(
    root: Path,
    config: "Config",
    *,
    check: bool,
    force: bool,
    echo: Say,
    environ: Mapping[str, str],
    actions: str = "",
) -> int:
    """Return the exit code: 0, or DIFFERS if `check` found a difference or a file was kept.

    `actions` is the commit of our actions to use, as OWNER/NAME@SHA.

    Raises:
        ConfigError: the files use several commits of our actions, or those of another minor version.
    """
    _check_minutes(config)
    differences = find_generated_differences(root, config, environ, actions)
    _check_actions(root, config)
    if not actions:
        _refuse_other_release(root, config)
    program, kept = config.github.laptop_program, 0
    older = older_generator(root, differences) if check else ""
    for each in differences:
        is_kept = each.action is FileAction.KEEP and not force
        kept += is_kept
        if check or is_kept:
            echo(each.diff)
        if not check and not is_kept:
            workflows.apply_difference(each)
        echo(_difference_line(each, root, check=check, is_kept=is_kept))
    if not differences:
        echo("Every file is as ops.yml has it.")
    elif older:
        echo(f"These workflows were generated by {older}, and {__version__} still runs them. Sync is due:")
        echo(f"run `{program} workflows sync`, and merge the result.")
    elif check:
        echo(f"Run `{program} workflows sync`, then commit the files.")
    elif kept:
        echo(f"Move your changes into ops.yml, or run `{program} workflows sync --force` to overwrite them.")
    else:
        echo(f"Commit .github and push it to {config.github.branch}: only what is there may act.")
        echo("Way back: `git revert` of that commit, or *Revert* on its pull request.")
    _print_costs(config, echo)
    return DIFFERS if kept or (check and not older and differences) else 0


def _refuse_other_release(root: Path, config: "Config") -> None:
    """Raise ConfigError if the workflows use actions of another minor version, which read other inputs."""
    pins = workflows.own_pins(root / workflows.FOLDER, config.github.actions).values()
    for version in sorted({action_pins.other_pinned_version(pin) for pin in pins} - {""}):
        raise ConfigError(
            f"the workflows use the actions of v{version}, and this program is {__version__}",
            hint=f"Install v{version}, or move the workflows with the full SHA of this release: "
            f"`{config.github.laptop_program} workflows sync --actions {config.github.actions}@SHA`.",
        )


def find_generated_differences(
    root: Path, config: "Config", environ: Mapping[str, str], actions: str = ""
) -> list[FileDifference]:
    """Return the generated files that differ from `ops.yml`. Raises ConfigError if they use several commits of ours."""
    pins = workflows.own_pins(root / workflows.FOLDER, config.github.actions)
    pin = action_pins.choose_pin(config.github.actions, pins, actions, environ)
    form = issue_form_difference(root / FORM_PATH, config)
    return [*workflows.compare_workflows(root, config, button_runbooks(), pin), *filter(None, [form])]


def older_generator(root: Path, differences: Sequence[FileDifference]) -> str:
    """Return the older version that generated all the workflows and that this version still runs; else ""."""
    names = list_generators(root)
    if any(each.action is FileAction.KEEP for each in differences) or len(names) != 1:
        return ""
    (name,) = names
    (major, minor, *_), (own_major, own_minor, *_) = (each.split(".") for each in (name, __version__))
    is_supported = major == own_major and int(own_minor) - int(minor) in {0, 1}
    return name if is_supported and name != __version__ else ""


def list_generators(root: Path) -> dict[str, list[str]]:
    """Return version of ops → workflow files that it generated, without those that only call others."""
    found: dict[str, list[str]] = {}
    for name, text in workflows.read_workflow_files(root / workflows.FOLDER).items():
        if version := workflows.workflow_generator(text):
            found.setdefault(version, []).append(f"{name}.yml")
    return dict(sorted(found.items()))


def _difference_line(each: FileDifference, root: Path, *, check: bool, is_kept: bool) -> str:
    step = FileAction.KEEP if is_kept else FileAction.WRITE if each.desired else FileAction.REMOVE
    verb = f"would {step.value}" if check and not is_kept else DONE[step]
    return f"{verb}: {each.path.relative_to(root)} ({each.why})"


def _check_actions(root: Path, config: "Config") -> None:
    if missing := workflows.missing_actions(root, config):
        listed = ", ".join(missing)
        raise ConfigError(
            f"the workflows would use actions that this folder does not have: {listed}; nothing was written",
            hint="Write `github: {actions: OWNER/NAME}` in ops.yml, the repository of Backout. Or use a copy of it.",
        )


def _count_scheduled_minutes(config: "Config") -> int:
    """Return the minutes that all schedules use in a month."""
    tasks = sum(task.minutes for task in workflow_jobs.scheduled_tasks(config))
    return tasks + workflow_jobs.staging_drill_minutes(config) + publish_update_job.monthly_minutes(config)


def _check_minutes(config: "Config") -> None:
    used = _count_scheduled_minutes(config)
    if not workflow_jobs.uses_too_many_minutes(config, used):
        return
    raise ConfigError(
        f"the schedules would use {used:,} minutes a month, more than half of the "
        f"{config.github.included_minutes:,} that the plan includes; "
        "when they are used up, GitHub starts no job, and no recovery either",
        hint=f"Write longer intervals under github.schedules, or github.accept_minutes: {used}.",
    )


def _print_costs(config: "Config", echo: Say) -> None:
    tasks = [f"{task.name} every {task.every}" for task in workflow_jobs.scheduled_tasks(config)]
    if config.staging_drill and config.staging_drill.schedule:
        tasks.append(f"staging-drill at {config.staging_drill.schedule}")
    if (page := config.status_page) and publish_update_job.monthly_minutes(config):
        tasks.append(f"{PUBLISH_UPDATE} every {page.rebuilt}")
    if tasks:
        echo(f"Schedules: {', '.join(tasks)}: {_count_scheduled_minutes(config):,} minutes a month.")
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
            "Without environments all secrets belong to the repository, and everyone who can push can read them. "
            "Each name begins with its environment: RECOVERY_…, SECURITY_…, REPORT_…"
        )
    if config.github.enterprise_server:
        echo(
            "`github.enterprise_server`: the keys `queue` and `deployment` are left out. Of the requests that wait, "
            "GitHub keeps only the newest, and each scheduled run counts as a deployment. No Enterprise Server was "
            f"tried: {ONLY}."
        )

"""Checks of the files in the repository, also of `platform.json`. They send no request."""

import importlib.util
import re
import shutil
from collections.abc import Collection, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Final

from ops.core.clock import format_age
from ops.core.errors import ConfigError
from ops.core.names import LIMITS_FILE, first_of
from ops.core.version import __version__
from ops.platform.measurements import Measurement, MeasurementKind, describe_expected
from ops.platform.platform_file import PLATFORM_FILE, RecordedPlatform, read_platform_file
from ops.setup import on_call_card, sync, team_file, workflow_jobs, workflows
from ops.setup.doctor.check import Answer, Finding, Findings, NotProvable, check
from ops.setup.doctor.facts import (
    EnvironmentFacts,
    Facts,
    ServiceFacts,
    environments,
    repository,
    services,
)
from ops.setup.labels import check_template_labels

FIRST_NODE24: Final = {
    "actions/attest": 4,
    "actions/cache": 5,
    "actions/checkout": 5,
    "actions/download-artifact": 8,
    "actions/github-script": 8,
    "actions/setup-node": 6,
    "actions/setup-python": 6,
    "actions/upload-artifact": 7,
}
"""Action → first major version that runs on Node 24. GitHub's runners removed Node 20 in September 2026.

github.blog/changelog/2025-09-19-deprecation-of-node-20-on-github-actions-runners
"""
USES = re.compile(r"^\s*(?:- )?uses:\s*([\w.-]+/[\w./-]+)@(?:v(\d+)|\S+\s*#\s*v(\d+))", re.MULTILINE)
"""An action with its major version, from a tag or from the comment behind a commit."""
CONTACTS, NO_LOCATION = " contacts[", "no token_location"
"""Parts of warnings that the checks `contacts` and `token-location` report."""


@check("config", repository, why="Every recovery reads ops.yml first, and refuses a file with a problem.")
def examine_config(facts: Facts) -> Findings:
    """Is ops.yml free of errors?"""
    if (error := facts.config_error) is not None:
        yield Finding("; ".join([error.message, *error.problems]), error.hint)


@check(
    "config-warnings",
    repository,
    needs=("config",),
    why="A service without probes cannot be proved healthy, and a shared token lets one mistake hit two environments.",
)
def examine_config_warnings(facts: Facts) -> Findings:
    """Is ops.yml free of warnings?"""
    for warning in facts.warnings:
        if CONTACTS not in warning and NO_LOCATION not in warning:
            yield Finding(warning, f"Correct this line, then run `{facts.program} config check`.")


@check(
    "token-location",
    repository,
    needs=("config",),
    why="GitHub never shows a secret again: without it nobody can recover from a laptop.",
)
def examine_token_location(facts: Facts) -> Findings:
    """Does ops.yml say where people find each token?"""
    for warning in facts.warnings:
        if NO_LOCATION in warning:
            yield Finding(warning, 'Add it, such as token_location: "1Password: cloudflare-recovery".')


@check("contacts", repository, needs=("config",), why="After a failed recovery, nobody knows whom to call.")
def examine_contacts(facts: Facts) -> Findings:
    """Are the contacts in ops.yml filled in?"""
    for each in facts.config.contacts:
        if not each.is_named:
            yield Finding(f"{each.role} is still the placeholder {each.contact}", "Replace it under `contacts`.")


@check(
    "issue-templates",
    repository,
    needs=("config",),
    why="GitHub adds a template's labels for everybody who opens the form, so a stranger starts a recovery.",
)
def examine_issue_templates(facts: Facts) -> Findings:
    """Are the issue templates free of labels that start a recovery?"""
    try:
        check_template_labels(facts.root, facts.config)
    except ConfigError as error:
        for problem in error.problems:
            yield Finding(problem, "Remove the label from the template.")


@check(
    "workflows",
    repository,
    needs=("config",),
    why="A button or label starts another job than ops.yml says, or none.",
)
def examine_generated_files(facts: Facts) -> Findings:
    """Are the workflows and the issue form as ops.yml has them?"""
    try:
        differences = facts.file_differences
    except ConfigError as error:
        yield Finding(error.message, error.hint)
        return
    command = f"{facts.program} workflows sync"
    if older := sync.older_generator(facts.root, differences):
        text = f"version {older} generated the workflows, and {__version__} still runs them"
        yield Finding(text, "Merge the result.", Answer.NOT_PROVABLE, command)
        return
    generators = sync.list_generators(facts.root)
    if len(generators) > 1:
        parts = " and ".join(f"{version} ({', '.join(first_of(names, 3))})" for version, names in generators.items())
        yield Finding(f"the workflows are a mix of versions {parts}", "Merge all files of one sync.", command=command)
        differences = [each for each in differences if each.action is workflows.FileAction.KEEP]
    for each in differences:
        yield _describe_difference(each, facts.root, command)


def _describe_difference(difference: workflows.FileDifference, root: Path, command: str) -> Finding:
    """Return the finding; only with --force does the command write a file that a person changed."""
    force = " --force" if difference.action is workflows.FileAction.KEEP else ""
    return Finding(f"{difference.path.relative_to(root)} {difference.why}", command=f"{command}{force}")


SERVER_ACTIONS = re.compile("|".join(map(re.escape, workflows.SERVER_PINS.values())))
"""Whether the server needs them is a question of the check `workflows`."""


@check(
    "action-runtimes",
    repository,
    why="GitHub's runners no longer have Node 20: the job fails before its first step.",
)
def examine_action_runtimes(facts: Facts) -> Findings:
    """Do the workflows use actions that GitHub's runners can still run?"""
    for name, text in workflows.read_workflow_files(facts.root / workflows.FOLDER).items():
        used = USES.findall(SERVER_ACTIONS.sub("", text))
        for action, major in sorted({(action, int(tag or comment)) for action, tag, comment in used}):
            if major < (first := FIRST_NODE24.get(action, 0)):
                problem = f"{name}.yml uses {action} v{major}, which needs Node 20"
                yield Finding(problem, f"Update it to v{first} or later, by its commit.")


@check(
    "minutes",
    repository,
    needs=("config",),
    why="When the included minutes are used up, GitHub starts no job, and no recovery either.",
)
def examine_minutes(facts: Facts) -> Findings:
    """Do the schedules leave enough minutes for recoveries?"""
    used = sum(task.minutes for task in workflow_jobs.scheduled_tasks(facts.config))
    if workflow_jobs.uses_too_many_minutes(facts.config, used):
        yield Finding(
            f"the schedules use {used:,} of {facts.config.github.included_minutes:,} included minutes a month",
            f"Write longer intervals under github.schedules, or github.accept_minutes: {used}.",
        )


@check("on-call-card", repository, needs=("config",), why="People on call press what no longer exists.")
def examine_on_call_card(facts: Facts) -> Findings:
    """Is the on-call card, if there is one, as ops.yml has it?"""
    if not on_call_card.has_card(facts.root):
        return
    for each in on_call_card.find_card_differences(facts.root, facts.config, facts.environ, None):
        yield _describe_difference(each, facts.root, f"{facts.program} on-call-card")


@check("limits-file", environments, needs=("config",), why="No change of limits.yml takes effect until it is valid.")
def examine_limits_file(environment: EnvironmentFacts) -> Findings:
    """Is limits.yml free of errors?"""
    runtime = environment.config.runtime
    if runtime is None or runtime.limits is None:
        return
    from ops.limits.file import parse_limits

    path = environment.facts.root / LIMITS_FILE
    if not path.is_file():
        yield Finding("limits.yml is missing, but ops.yml names limits", "Write limits.yml, or remove runtime.limits.")
        return
    now = environment.session.clock.now()
    try:
        text = team_file.read_text(path, errors="surrogateescape")
        parse_limits(text, path=LIMITS_FILE, names=runtime.limits.names, now=now)
    except ConfigError as error:
        yield Finding("; ".join([error.message, *error.problems]), error.hint)


@check(
    "probe-tools",
    services,
    needs=("config",),
    why="The probe stays inconclusive, so no recovery of the service counts as proved.",
)
def examine_probe_tools(service: ServiceFacts) -> Findings:
    """Are the programs of the probes installed here?"""
    for probe in service.config.probes:
        if probe.command is not None and not _is_probe_program(probe.command.run[0], service.facts.root):
            yield Finding(
                f"probe {probe.name}: {probe.command.run[0]} is not installed here", "Install it, or correct its path."
            )
        if probe.browser is not None and importlib.util.find_spec("playwright") is None:
            text = f"probe {probe.name} needs Playwright, which is not installed here"
            yield Finding(text, "pip install --requirement locks/browser.txt, then playwright install chromium")


def _is_probe_program(name: str, root: Path) -> bool:
    return shutil.which(name if "/" not in name else str(root / name)) is not None


LONGEST_AGE = timedelta(days=90)
"""Age from which a measurement says too little: providers change without notice."""
MOST_NAMED = 3
NAMES = {
    MeasurementKind.CONFIRMED: "confirmed",
    MeasurementKind.DIFFERS: "different",
    MeasurementKind.NOT_PROVABLE: "not provable there",
}
REMARK = "Commit the file beside ops.yml. How to: docs/how-to/first-day.md."


@check(
    "platform",
    repository,
    needs=("config",),
    why="Backout was built from documentation: a recovery fails where Cloudflare or GitHub behaves in another way.",
)
def examine_platform(facts: Facts) -> Findings:
    """Did Cloudflare and GitHub behave as Backout assumes when they were last measured?"""
    command = f"{facts.program} verify-platform --account ACCOUNT_ID --repository OWNER/NAME"
    try:
        recorded = read_platform_file(facts.root / PLATFORM_FILE, facts.clock.now())
    except ConfigError as error:
        yield Finding("; ".join([error.message, *error.problems]), error.hint)
        return
    if recorded is None:
        raise NotProvable(f"nothing was measured: no {PLATFORM_FILE} is beside {facts.path.name}", REMARK, command)
    used = {runbook.name for environment in facts.environments for runbook in environment.runbooks}
    age = facts.clock.now() - recorded.at
    summary = _describe_measurement(recorded, facts)
    affecting = [
        (each, names)
        for each in recorded.of(MeasurementKind.DIFFERS)
        if (names := used.intersection(each.assumption.runbooks))
    ]
    for each, names in affecting:
        yield _describe_answer(each, names, summary, facts)
    if reason := _find_reason_to_repeat(recorded, age, used):
        yield Finding(f"{reason}; {summary}", REMARK, Answer.NOT_PROVABLE, command)
    elif not affecting:
        yield Finding(summary, answer=Answer.RIGHT)


def _describe_answer(measurement: Measurement, runbooks: Iterable[str], summary: str, facts: Facts) -> Finding:
    expected, affected = describe_expected(measurement.assumption), ", ".join(sorted(runbooks))
    text = f"{measurement.assumption.text}: expected {expected}, got {measurement.measured}. It affects {affected}"
    fix = f"Drill these runbooks with this answer before you rely on them: docs/how-to/drills.md. The file: {summary}."
    command = f"{facts.program} drill all --config {facts.path.name} --platform {PLATFORM_FILE}"
    return Finding(text, fix, command=command)


def _describe_measurement(recorded: RecordedPlatform, facts: Facts) -> str:
    counts = ", ".join(f"{len(recorded.of(kind))} {name}" for kind, name in NAMES.items())
    text = f"measured {format_age(facts.clock.now() - recorded.at)} by Backout {recorded.program}: {counts}"
    accounts = {each.config.account_id for each in facts.environments}
    return (
        text if len(accounts) < 2 else f"{text}; the file names no account, and {facts.path.name} has {len(accounts)}"
    )


def _find_reason_to_repeat(recorded: RecordedPlatform, age: timedelta, used: Collection[str]) -> str:
    """Return why a new measurement is needed; empty if none is."""
    if recorded.missing:
        names = ", ".join(first_of([each.id for each in recorded.missing], MOST_NAMED))
        return f"Backout {__version__} assumes more than was measured: {names}"
    if age > LONGEST_AGE:
        return f"the measurement is older than {LONGEST_AGE.days} days"
    if relied_on := [each.id for each in recorded.unproved if not {*each.runbooks}.isdisjoint(used)]:
        return f"your recoveries rely on what was not provable: {', '.join(first_of(relied_on, MOST_NAMED))}"
    return ""


CHECKS = (
    examine_config,
    examine_config_warnings,
    examine_token_location,
    examine_contacts,
    examine_issue_templates,
    examine_generated_files,
    examine_action_runtimes,
    examine_minutes,
    examine_on_call_card,
    examine_limits_file,
    examine_probe_tools,
)

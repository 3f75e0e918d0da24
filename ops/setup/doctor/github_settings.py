"""Checks of the operations repository on GitHub."""

import hashlib
import shlex
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.registry import list_runbook_facts, record_rules
from ops.app.scope import scope_of
from ops.config.labels import list_recovery_options
from ops.core.approval import APPROVE_LABEL, LABEL_PURPOSE
from ops.core.clock import format_duration, format_utc
from ops.core.drill_result import DRILL_EVERY
from ops.core.errors import ConfigError, Decision, ProviderError
from ops.core.names import DRILL_LABEL, LIMITS_FILE
from ops.core.responders import RequestScope, ResponderList, find_lists, permitted_logins
from ops.core.threads import run_parallel
from ops.github import actions, client, drill_results, files, issues, protection
from ops.github.permissions import CONFIG_FILE, has_write_access
from ops.setup import workflows
from ops.setup.doctor.check import Answer, Finding, Findings, NotProvable, check
from ops.setup.doctor.facts import Facts, repository
from ops.setup.github_secrets import list_missing
from ops.setup.github_setup import USE_ENVIRONMENTS
from ops.setup.labels import desired_labels
from ops.setup.server import ELSEWHERE, ONLY, other_server

if TYPE_CHECKING:
    from ops.config import Config
    from ops.github.client import Repository

PRACTICED = {Decision.RECOVERED.value, Decision.HEALTHY_AS_BEFORE.value}


@check("github", repository, needs=("internet",), why="The settings that labels and buttons need were not checked.")
def examine_github(facts: Facts) -> Findings:
    """Can this machine read the operations repository?"""
    try:
        facts.repository  # noqa: B018  the read is the question
    except NotProvable as unknown:
        if isinstance(unknown.__cause__, client.GitHubApiError) and unknown.__cause__.status == 404:
            name = facts.environ["GITHUB_REPOSITORY"]
            yield Finding(
                f"GitHub does not show {name} to this token", "Correct GITHUB_REPOSITORY, or use another token."
            )
            return
        raise
    except ProviderError as error:
        yield Finding(error.message, error.hint)


@check(
    "default-branch",
    repository,
    needs=("config", "github"),
    why="The gate refuses every run, because only `github.branch` may act.",
)
def examine_default_branch(facts: Facts) -> Findings:
    """Is `github.branch` the default branch?"""
    own, configured = facts.repository.default_branch, facts.config.github.branch
    if own != configured:
        yield Finding(
            f"the default branch is {own}, and ops.yml has {configured}",
            f"Write github.branch: {own}.",
            command=f"{facts.program} workflows sync",
        )


@check(
    "enterprise-server",
    repository,
    needs=("config",),
    why="The workflows may not start, or drop waiting recoveries.",
)
def examine_enterprise_server(facts: Facts) -> Findings:
    """Is the repository on github.com, and `github.enterprise_server` false?"""
    if host := other_server(facts.environ):
        yield Finding(f"the repository is on {host}, and {ONLY}", ELSEWHERE)
    elif facts.config.github.enterprise_server:
        advice = "Write github.enterprise_server: false."
        yield Finding("this is not a GitHub Enterprise Server", advice, command=f"{facts.program} workflows sync")


@check("actions", repository, needs=("config", "github"), why="No job starts: GitHub cannot download its actions.")
def examine_actions_repository(facts: Facts) -> Findings:
    """Do the actions that the workflows use exist, in `github.actions` or in this copy?"""
    name, command = facts.config.github.actions, f"{facts.program} workflows sync --actions OWNER/NAME@SHA"
    if missing := workflows.missing_actions(facts.root, facts.config):
        advice = "Write `github: {actions: OWNER/NAME}` in ops.yml, and run the command. Or use a copy of Backout."
        yield Finding(f"this folder does not have {', '.join(missing)}", advice, command=command)
    if name is None or facts.is_job:  # a job has them already
        return
    if not facts.github(partial(protection.may_read, name=name)):
        raise NotProvable(
            f"GitHub does not show {name} to this token: it is private, or does not exist",
            "Open its page. If it is missing, correct `github.actions` in ops.yml, and run the command.",
            command,
        )
    for sha in sorted({pin[:40] for pin in workflows.own_pins(facts.root / workflows.FOLDER, name).values()}):
        if not facts.github(partial(protection.has_commit, name=name, sha=sha)):
            yield Finding(f"{name} has no commit {sha[:8]}, which the workflows use", command=command)


@check(
    "branch-protection",
    repository,
    needs=("default-branch",),
    why="Everyone with write access can change code that runs beside a token.",
)
def examine_branch_protection(facts: Facts) -> Findings:
    """Is the default branch protected?"""
    branch = facts.config.github.branch
    try:
        rules = facts.github(partial(protection.branch_rules, branch=branch))
    except protection.NotInPlan as error:
        raise NotProvable(error.message, error.hint) from None
    if not any(rule["type"] == "pull_request" for rule in rules):
        fix = f"Add one at {actions.repository_page(facts.environ)}/settings/rules, or run the command."
        yield Finding(f"no rule requires a pull request for {branch}", fix, command=f"{facts.program} setup github")


@check(
    "pushed",
    repository,
    needs=("default-branch", "workflows"),
    why="Only files on the default branch act: GitHub runs an older set-up.",
)
def examine_pushed(facts: Facts) -> Findings:
    """Are ops.yml, the workflows and their programs on the default branch?"""
    if facts.is_job:
        return
    branch = facts.config.github.branch
    of_folders = {"": {CONFIG_FILE, LIMITS_FILE}, workflows.FOLDER.as_posix(): set[str]()}
    for path in workflows.SCRIPTS.values():
        of_folders.setdefault(path.parent.as_posix(), set()).add(path.name)
    for folder, names in of_folders.items():
        there = facts.github(partial(files.list_file_digests, folder=folder, branch=branch))
        if not folder and CONFIG_FILE not in there:
            raise NotProvable(f"{CONFIG_FILE} is not on the branch {branch} yet", "Commit the folder, and push it.")
        for path in sorted(_local_files(facts.root / folder, names)):
            place = path.relative_to(facts.root).as_posix()
            if there.get(place) != _git_blob_digest(path):
                state = "differs from" if place in there else "is not on"
                yield Finding(f"{place} {state} the branch {branch}", "Commit it, and merge it there.")


def _local_files(folder: Path, names: Collection[str]) -> Iterator[Path]:
    """Yield the files with these names in the folder; without `names`, its YAML files."""
    paths = [folder / name for name in names] if names else folder.glob("*.yml")
    yield from (path for path in paths if path.is_file())


def _git_blob_digest(path: Path) -> str:
    """Return the digest that Git gives the content of the file (git-scm.com/book/en/v2/Git-Internals-Git-Objects)."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@check(
    "workflows-enabled",
    repository,
    needs=("github",),
    why="GitHub starts no disabled workflow: a label does nothing.",
)
def examine_workflows_enabled(facts: Facts) -> Findings:
    """Are all workflows enabled?"""
    for each in facts.github(files.list_workflows):
        if each.state != "active":
            name, state = each.path.rpartition("/")[2], each.state.replace("_", " ")
            yield Finding(f"{name} is {state}", command=f"gh workflow enable {shlex.quote(name)}")


@check(
    "environments",
    repository,
    needs=("config", "github"),
    why="GitHub creates a missing environment without secrets or rules when a job names it.",
)
def examine_github_environments(facts: Facts) -> Findings:
    """Do the GitHub environments exist that the workflows name?"""
    for each in facts.needed_environments:
        if each.name in facts.protections and facts.protections[each.name] is None:
            text = f"the repository has no environment {each.name}, for {', '.join(each.used_by)}"
            yield Finding(text, command=f"{facts.program} setup github")


@check(
    "environments-unused",
    repository,
    needs=("config", "github"),
    why="Everyone who can push reads the secrets of the repository, and a job on any branch gets them.",
)
def examine_unused_environments(facts: Facts) -> Findings:
    """Does ops.yml use the GitHub environments that the plan has?"""
    if facts.config.github.environments:
        return
    try:
        facts.github(partial(protection.branch_rules, branch=facts.config.github.branch))
    except protection.NotInPlan:
        return  # a plan without rulesets has no environments either
    yield Finding("the repository can have GitHub environments, and ops.yml does not use them", USE_ENVIRONMENTS)


@check(
    "environment-branches",
    repository,
    needs=("environments", "default-branch"),
    why="A person can run changed code with the secrets, from any branch.",
)
def examine_environment_branches(facts: Facts) -> Findings:
    """May only the default branch use each GitHub environment?"""
    branch = facts.config.github.branch
    for name, rules in facts.protections.items():
        if rules is not None and not rules.admits_only(branch):
            allowed = ", ".join([*(rules.branches or ("every branch",)), *rules.tags])
            yield Finding(f"the environment {name} allows {allowed}", command=f"{facts.program} setup github")


@check(
    "reviewers",
    repository,
    needs=("environments",),
    why="A job that waits for a reviewer holds the queue: no recovery behind it starts.",
)
def examine_reviewers(facts: Facts) -> Findings:
    """Do reviewers approve only where ops.yml asks for it?"""
    page = f"{actions.repository_page(facts.environ)}/settings/environments"
    for each in facts.needed_environments:
        if (rules := facts.protections.get(each.name)) is None:
            continue
        if rules.reviewers and not each.has_reviewers:
            fix = f"Remove the reviewers at {page}, and use `approval` of ops.yml."
            yield Finding(f"the environment {each.name} has required reviewers", fix)
        if rules.wait_minutes:
            text = f"the environment {each.name} waits {format_duration(60 * rules.wait_minutes)}"
            yield Finding(text, f"Remove the wait timer at {page}.")
        if each.has_reviewers and not rules.reviewers:
            text = f"the environment {each.name} has no reviewer, so nobody can approve"
            fix = f"Add required reviewers at {page}, or run the command."
            yield Finding(text, fix, command=f"{facts.program} setup github")
        if each.has_reviewers and rules.reviewers and not rules.prevents_self_review:
            text = f"the environment {each.name} lets people approve their own requests, which the job then refuses"
            fix = f"Turn on *Prevent self-review* at {page}, or run the command."
            yield Finding(text, fix, command=f"{facts.program} setup github")
        alone = [login.lower() for login in facts.config.responders]
        if each.has_reviewers and len(alone) == 1 and alone == [reviewer.name.lower() for reviewer in rules.reviewers]:
            text = f"the only reviewer of {each.name} is the only responder, so nobody can approve"
            yield Finding(text, f"Add another reviewer at {page}, or remove `approval` from ops.yml.")


@check(
    "secrets",
    repository,
    needs=("environments",),
    why="The job of a label or button starts, and fails without its token.",
)
def examine_secrets(facts: Facts) -> Findings:
    """Are the secrets of the jobs stored on GitHub?"""
    if facts.is_job:
        raise NotProvable(
            "a job cannot read which secrets the GitHub environment evidence has", "Run doctor on a laptop."
        )
    needed, name = facts.needed_environments, facts.environ.get("GITHUB_REPOSITORY", "")
    places = [each.name for each in needed] if facts.config.github.environments else [""]
    stored = dict(zip(places, run_parallel([partial(facts.stored_secrets, place) for place in places]), strict=True))
    for each in list_missing(facts.config, needed, stored, name):
        if not each.is_optional:
            where = f"the environment {each.github_environment}" if each.github_environment else "the repository"
            yield Finding(
                f"{where} has no secret {each.name}, {each.about}",
                each.url and f"Create it: {each.url}",
                command=each.command,
            )


@check(
    "repository-secrets",
    repository,
    needs=("environments",),
    why="A job on any branch gets it, so everyone who can push can read its value.",
)
def examine_repository_secrets(facts: Facts) -> Findings:
    """Are the secrets of the jobs only in GitHub environments?"""
    if not facts.config.github.environments:
        return
    chats = set(facts.config.notify.secret_names)
    names = {name for each in facts.needed_environments for name in each.secrets}
    for name in sorted((names - chats) & facts.stored_secrets("")):
        yield Finding(f"the repository has the secret {name}", command=f"gh secret delete {name}")


@check("labels", repository, needs=("config", "github"), why="A person cannot choose a label that does not exist.")
def examine_labels(facts: Facts) -> Findings:
    """Does the repository have the labels of ops.yml?"""
    wanted, command = desired_labels(facts.config), f"{facts.program} labels sync"

    def read_workflow_settings(repository: "Repository") -> tuple[list[str], bool]:
        with client.provider_errors():
            changes = {each.name: each for each in issues.label_changes(repository, wanted)}
            is_other = APPROVE_LABEL in changes and not changes[APPROVE_LABEL].is_new
            is_renamed = is_other and repository.get_label(APPROVE_LABEL).description != LABEL_PURPOSE
            return [name for name, each in changes.items() if each.is_new], is_renamed

    missing, is_renamed = facts.github(read_workflow_settings)
    if missing:
        yield Finding(f"the repository has no label{'s' * (len(missing) > 1)} {', '.join(missing)}", command=command)
    if is_renamed:
        text = f"the label {APPROVE_LABEL} has another description, and approves nothing"
        yield Finding(text, command=command)


@check("responders", repository, needs=("config", "github"), why="The gate refuses this person.")
def examine_responders(facts: Facts) -> Findings:
    """May every responder and lead of ops.yml write to the repository, and may somebody start each recovery?"""
    lists = [each for option in _recoveries_with_responders(facts.config) for each in option[1]]
    listed = [login for each in lists for login in each.logins]
    for login in dict.fromkeys((*listed, *facts.config.github.leads)):
        if not facts.github(partial(_responder_may_write, login=login)):
            yield Finding(
                f"{login} cannot write to the repository", f"Give {login} the role write, or remove the login."
            )
    for name, applying in _recoveries_with_responders(facts.config):
        if applying and not permitted_logins(applying):
            places = " and ".join(each.place for each in applying)
            text = f"nobody may start {name} by button or label: {places} have no common login"
            yield Finding(text, "Add a person to each of these lists of `responders`.")


def _recoveries_with_responders(config: "Config") -> Iterator[tuple[str, tuple[ResponderList, ...]]]:
    """Yield each recovery of ops.yml, for people, and the lists of responders that apply to it."""
    yield "a report or a check for an outage", find_lists(config, RequestScope())
    for option in list_recovery_options(config, list_runbook_facts()):
        scope = scope_of(config.environments[option.environment], option.runbook, option.params)
        scope = replace(scope, services=tuple(dict.fromkeys((option.service, *scope.services))))
        yield f"{option.runbook} for {option.service} in {option.environment}", find_lists(config, scope)


def _responder_may_write(repository: "Repository", login: str) -> bool:
    with client.provider_errors():
        return has_write_access(repository, login)


@check(
    "artifact-privacy",
    repository,
    needs=("config", "github"),
    why="Artifacts of redeploy-pages would publish the source of a private site.",
)
def examine_artifact_privacy(facts: Facts) -> Findings:
    """Are artifacts with the source of a site private?"""
    if facts.repository.is_private and not facts.repository.is_internal:
        return
    own = facts.environ.get("GITHUB_REPOSITORY", "").lower()
    for service in facts.services:
        source = service.config.repository or ""
        if service.config.build and source.lower() not in {"", own}:
            text = f"the operations repository is not private, and {service.name} builds {source}"
            yield Finding(text, "Make the operations repository private, or remove `build`.")


@check("drill", repository, needs=("github",), why="Nobody knows whether a recovery still works, or remembers how.")
def examine_drill(facts: Facts) -> Findings:
    """Was a recovery practiced in the last 40 days?"""
    records = [each.record for issue in facts.records(DRILL_LABEL) for each in issue if each.record.is_run]
    done = [each.rows[0].at for each in records if each.decision in PRACTICED and each.rows]
    fix = f"Recover a service on an issue with the labels incident and {DRILL_LABEL}."
    if not done:
        raise NotProvable(f"no recovery on an issue with the label {DRILL_LABEL} yet", fix)
    if facts.clock.now() - max(done) > DRILL_EVERY:
        yield Finding(f"the last drill was at {format_utc(max(done))}", fix)


@check(
    "staging-drill",
    repository,
    needs=("config", "github"),
    why="The times of the last drill are those to expect of the next recovery.",
)
def examine_staging_drill(facts: Facts) -> Findings:
    """Did the last staging drill, if ops.yml has any, reach its targets within the last 40 days?"""
    drill = facts.config.staging_drill
    if drill is None:
        return
    rules, now = record_rules(facts.config), facts.clock.now()
    try:
        trend = facts.github(lambda repository: drill_results.read_trend(repository, drill.tracking_issue, rules, now))
    except ConfigError as error:
        yield Finding(error.message, error.hint)
        return
    fix = f"Read the results at {trend.url}, and drill again." if trend.url else "Drill on staging."
    for warning in trend.warnings():
        yield Finding(warning, fix, command=f"{facts.program} staging-drill run")
    if trend.doubts:
        yield Finding(trend.doubts, answer=Answer.NOT_PROVABLE)


CHECKS = (
    examine_github,
    examine_default_branch,
    examine_enterprise_server,
    examine_actions_repository,
    examine_branch_protection,
    examine_pushed,
    examine_workflows_enabled,
    examine_github_environments,
    examine_unused_environments,
    examine_environment_branches,
    examine_reviewers,
    examine_secrets,
    examine_repository_secrets,
    examine_labels,
    examine_responders,
    examine_artifact_privacy,
    examine_drill,
    examine_staging_drill,
)

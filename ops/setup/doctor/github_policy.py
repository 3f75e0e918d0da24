"""Checks of GitHub's rules that decide whether a workflow starts, and who may change it."""

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ops.app.registry import FIXED_WORKFLOWS, runbook_names
from ops.core.names import count_of
from ops.github import actions, actions_policy, protection
from ops.setup import team_file, workflows
from ops.setup.doctor.check import Finding, Findings, NotProvable, check
from ops.setup.doctor.facts import Facts, repository
from ops.setup.github_setup import CODEOWNERS

if TYPE_CHECKING:
    from ops.github.client import Repository

T = TypeVar("T")

GITHUBS_OWN = ("actions", "github")
"""Owners of GitHub's own actions (docs.github.com, "Managing GitHub Actions settings for a repository")."""
LEAST_RUNNERS = 2
"""A watch or a program that waits occupies one of them while a recovery starts."""
LEAST_RETENTION = 30
"""Days; an incident is rarely open for longer. GitHub's default is 90."""
NEW_TO_GITHUB = "first_time_contributors_new_to_github"


def _settings_page(facts: Facts, page: str) -> str:
    return f"{actions.repository_page(facts.environ)}/settings/{page}"


def _read_repository_setting(facts: Facts, read: "Callable[[Repository], T | None]", what: str) -> T:
    """Return the setting. Raises NotProvable if the token may not read it."""
    found = facts.github(read)
    if found is None:
        page = _settings_page(facts, "actions")
        raise NotProvable(
            f"this token may not read {what}", f"Look at {page}, or run doctor with the token of an admin."
        )
    return found


@check(
    "workflow-review",
    repository,
    needs=("branch-protection",),
    why="One person alone can change the code that runs beside a token.",
)
def examine_workflow_review(facts: Facts) -> Findings:
    """Does a change of the workflows need a review by another person?"""
    rules = facts.github(partial(protection.branch_rules, branch=facts.config.github.branch))
    reviews = [rule.get("parameters") or {} for rule in rules if rule["type"] == "pull_request"]
    if any(each.get("required_approving_review_count", 0) >= 1 for each in reviews):
        return
    page = _settings_page(facts, "rules")
    files = [workflows.FOLDER / "incident.yml", *workflows.SCRIPTS.values()]
    is_owned = any(each.get("require_code_owner_review") is True for each in reviews)
    unowned = [path.parent for path in files if not is_owned or not _has_owner(facts, path.as_posix())]
    if not unowned:
        return
    text = f"{unowned[0].as_posix()} can be changed without a review"
    fix = f"Require an approval at {page}, or the review of code owners and an owner of that folder in CODEOWNERS."
    yield Finding(text, f"{fix} Or run the command.", command=f"{facts.program} setup github")


def _has_owner(facts: Facts, path: str) -> bool:
    """Return whether CODEOWNERS names an owner of the file. The last line that matches counts.

    docs.github.com/repositories, "About code owners"
    """
    file = next((facts.root / name for name in CODEOWNERS if (facts.root / name).is_file()), None)
    lines = team_file.read_text(file).splitlines() if file else []
    owners = False
    for line in lines:
        pattern, *named = line.partition("#")[0].split() or [""]
        if pattern and _matches_code_owner(pattern, path):
            owners = bool(named)
    return owners


def _matches_code_owner(pattern: str, path: str) -> bool:
    """Return whether a pattern of CODEOWNERS covers the path; a folder covers what is in it."""
    bare = pattern.strip("/")
    anywhere = not pattern.startswith("/") and "/" not in bare
    return any(
        fnmatchcase(path, each) for each in (bare, f"{bare}/*", *((f"*/{bare}", f"*/{bare}/*") if anywhere else ()))
    )


@check("actions-policy", repository, needs=("config", "github"), why="GitHub starts no job, and nobody is answered.")
def examine_actions_policy(facts: Facts) -> Findings:
    """Do the rules of the repository allow its workflows to start?"""
    policy = _read_repository_setting(facts, actions_policy.read_actions_policy, "which actions the repository allows")
    page = _settings_page(facts, "actions")
    if not policy.is_enabled:
        yield Finding("GitHub Actions are turned off for the repository", f"Turn them on at {page}.")
        return
    own = facts.environ.get("GITHUB_REPOSITORY", "").partition("/")[0].lower()
    used = sorted(_used_actions(facts))
    denied = [name for name in used if _is_denied(policy, name, own, is_public=not facts.repository.is_private)]
    if denied and policy.allowed == "selected" and policy.allows_verified:
        text = f"it is unknown whether GitHub counts the owners of {', '.join(denied)} as verified creators"
        raise NotProvable(text, f"Allow these actions by name at {page}.")
    if denied:
        text = f"the repository does not allow {', '.join(denied)}, which the workflows use"
        yield Finding(text, f"Allow them at {page}.")


def _used_actions(facts: Facts) -> Iterator[str]:
    """Yield owner/name of the actions in the generated workflows, and in ours that they use from this folder."""
    names = {*runbook_names(), *FIXED_WORKFLOWS}
    texts = [
        text for name, text in workflows.read_workflow_files(facts.root / workflows.FOLDER).items() if name in names
    ]
    texts += [team_file.read_text(path) for path in _own_actions(facts)]
    found = {"/".join(each["action"].split("/")[:2]) for text in texts for each in workflows.ANY_USES.finditer(text)}
    yield from found


def _own_actions(facts: Facts) -> Iterator[Path]:
    for name in workflows.OUR_ACTIONS:
        path = facts.root / workflows.OUR_FOLDER / name / "action.yml"
        if path.is_file():
            yield path


def _is_denied(policy: actions_policy.ActionsPolicy, action: str, own: str, *, is_public: bool) -> bool:
    owner = action.partition("/")[0].lower()
    if policy.allowed == "all" or owner == own:
        return False
    if policy.allowed != "selected":
        return True
    if owner in GITHUBS_OWN and policy.allows_github:
        return False
    patterns = [each.partition("@")[0].lower() for each in policy.patterns] if is_public else []
    return not any(fnmatchcase(action.lower(), each) for each in patterns)


@check(
    "workflow-token",
    repository,
    needs=("config", "github"),
    why="Any workflow may change the repository, or the pull request of propose-limits is refused.",
)
def examine_workflow_token(facts: Facts) -> Findings:
    """Does GITHUB_TOKEN have the rights that the workflows need, and no more?"""
    rights = _read_repository_setting(facts, actions_policy.read_workflow_token, "the rights of GITHUB_TOKEN")
    page = _settings_page(facts, "actions")
    needs_pulls = (facts.root / workflows.FOLDER / "propose-limits.yml").is_file()
    if rights.writes_by_default:
        text = "a workflow that states no permissions gets a token that may write the repository"
        yield Finding(text, f"Choose *Read repository contents* at {page}. The generated workflows state their own.")
    if needs_pulls and not rights.may_open_pulls:
        text = "workflows may not open pull requests, so propose-limits fails at its last step"
        yield Finding(text, f"Turn on *Allow GitHub Actions to create and approve pull requests* at {page}.")
    if rights.may_open_pulls and not needs_pulls:
        text = "workflows may approve pull requests, and none of yours needs that"
        yield Finding(text, f"Turn off *Allow GitHub Actions to create and approve pull requests* at {page}.")


@check(
    "fork-approval",
    repository,
    needs=("github",),
    why="A stranger's pull request runs changed workflows, and uses up the jobs that recoveries wait for.",
)
def examine_fork_approval(facts: Facts) -> Findings:
    """Do workflows of pull requests from strangers wait for an approval?"""
    if facts.repository.is_private:
        return
    whose = "whose pull requests wait for an approval"
    policy = _read_repository_setting(facts, actions_policy.read_fork_approval, whose)
    if policy == NEW_TO_GITHUB:
        text = "only people who are new to GitHub need an approval for the workflows of their pull requests"
        fix = f"Choose *Require approval for first-time contributors* or more at {_settings_page(facts, 'actions')}."
        yield Finding(text, fix)


@check(
    "run-retention",
    repository,
    needs=("github",),
    why="GitHub deletes workflow runs after that time, and a recovery does not act on their records.",
)
def examine_run_retention(facts: Facts) -> Findings:
    """Does GitHub keep workflow runs for as long as an incident may last?"""
    days = _read_repository_setting(facts, actions_policy.read_run_retention, "for how long GitHub keeps workflow runs")
    if days < LEAST_RETENTION:
        page = _settings_page(facts, "actions")
        yield Finding(
            f"GitHub deletes workflow runs after {count_of(days, 'day')}",
            f"Set the retention of workflow runs, artifacts and logs to {LEAST_RETENTION} days or more at {page}.",
        )


@check(
    "runners",
    repository,
    needs=("config", "github"),
    why="GitHub keeps the jobs waiting for a day, and no recovery starts.",
)
def examine_runners(facts: Facts) -> Findings:
    """Do enough runners take the jobs, if `github.runs_on` names other ones than GitHub's?"""
    settings = facts.config.github
    wanted = {"runs_on": settings.runs_on, "watch_runner": settings.watch_runner}
    own = {f"github.{key}": runner for key, runner in wanted.items() if runner and not runner.is_standard}
    if not own:
        return
    page = _settings_page(facts, "actions/runners")
    if not facts.repository.is_private:
        text = "the repository is public, so a pull request of a stranger can start a program on a runner of yours"
        yield Finding(text, "Make the repository private, or remove `github.runs_on` and `watch_runner` from ops.yml.")
    known = _read_repository_setting(facts, actions_policy.read_runners, "the runners")
    unseen = []
    for key, runner in own.items():
        labels = {label.lower() for label in runner.labels}
        matching = [each for each in known if labels <= each.labels]
        online, least = sum(each.is_online for each in matching), LEAST_RUNNERS if runner == settings.runs_on else 1
        if runner.group is not None or not matching:
            unseen.append(key)
        elif online < least:
            text = f"{online} of the {len(matching)} runners for `{key}` are online, and the jobs need {least}"
            yield Finding(text, f"Start one, or remove the key from ops.yml. The runners are at {page}.")
    if unseen:
        text = f"the repository lists no runner for {' and '.join(unseen)}: its owner or a group may have one"
        raise NotProvable(text, f"Look for runners that are idle or active at {page}.")


CHECKS = (
    examine_workflow_review,
    examine_actions_policy,
    examine_workflow_token,
    examine_fork_approval,
    examine_run_retention,
    examine_runners,
)

"""Set up the operations repository on GitHub: environments, labels and ruleset.

Reads first and returns a plan. Each change is read back after its write. A write whose answer was lost is read too, and
sent once more only if it is not in effect.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ops.app.configuration import choose_repository, find_person_token, read_config
from ops.app.registry import button_runbooks
from ops.config.strict_yaml import set_nested
from ops.core.errors import ConfigError, OpsError, ProviderError, Reason, UnclearWrite
from ops.core.names import quote_name
from ops.core.redaction import Redactor, Secret
from ops.github import protection
from ops.github.actions import is_job
from ops.github.client import ACCESS_HINT, GitHubApiError, connect, provider_errors, token_command, write_errors
from ops.github.issues import is_label_current, label_changes
from ops.github.secrets import write_secret
from ops.setup import team_file
from ops.setup.github_environments import GitHubEnvironment, needed_environments
from ops.setup.github_secrets import MissingSecret, list_missing
from ops.setup.labels import desired_labels
from ops.setup.server import require_github_com
from ops.setup.sync import find_generated_differences, sync_files
from ops.setup.workflows import FileAction

if TYPE_CHECKING:
    from ops.config import Config
    from ops.github.client import Repository

RULESET = "Backout: default branch"
REVIEW = {
    "required_approving_review_count": 1,
    "require_code_owner_review": True,
    "dismiss_stale_reviews_on_push": True,
    "require_last_push_approval": False,
    "required_review_thread_resolution": False,
}
ADMINS = {"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"}
"""The role admin: they can change the ruleset anyway, and in an emergency nobody else may be awake.

5 is the ID in registry.terraform.io/providers/integrations/github/latest/docs/resources/repository_ruleset.
"""
MOST_ERRORS = 5
ACTING = ("recovery", "security", "database")
CODEOWNERS = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")
"""The places where GitHub looks (docs.github.com/repositories, "About code owners")."""
NO_ENVIRONMENTS = (
    "This plan has no GitHub environments for a private repository. So everyone who can push reads every secret of the "
    "repository, a job on any branch gets them, and no approval is possible. Give write access to few people, or make "
    "the repository public, or use GitHub Pro, Team or Enterprise."
)
USE_ENVIRONMENTS = (
    "Remove `environments: false` from ops.yml, run `workflows sync` and `setup github`, store the secrets that it "
    "lists, push, and then delete the secrets of the repository."
)
READ_HINT = (
    "Check the name of the repository, and that the token may read it: the scope `repo`, or Actions, Environments and "
    "Metadata: read."
)
AskReviewers = Callable[[str, tuple[str, ...]], tuple[str, ...]]
"""Ask a person for the reviewers of a GitHub environment; the second argument is the default."""


@dataclass(frozen=True)
class SettingChange:
    """One planned change: its name for people, its write, and a read that tells whether it is in effect."""

    kind: Literal["environment", "label", "ruleset", "file", "secret"]
    name: str
    action: Literal["create", "change"]
    details: str
    apply: Callable[[], object]
    is_done: Callable[[], bool]


@dataclass(frozen=True)
class ChangeResult:
    """`problem` is "" if the change is in effect."""

    change: SettingChange
    problem: str = ""
    is_unclear: bool = False
    ends_its_kind: bool = False
    """Whether further changes of its kind are refused: the token lacks a permission, or reached a rate limit."""


@dataclass
class SetupPlan:
    """The plan for a repository. `impossible` holds what this token or plan cannot do, with the next step."""

    repository: protection.OwnRepository
    changes: list[SettingChange] = field(default_factory=list)
    impossible: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    secrets: list[MissingSecret] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    """Files that were written or removed, for a commit."""
    laptop_variables: list[str] = field(default_factory=list)
    """Variables that a laptop needs in an incident, with the places of their values."""


def require_laptop(environ: Mapping[str, str], folder: Path, redactor: Redactor) -> Mapping[str, str]:
    """Return the variables with GITHUB_SERVER_URL. Raises ConfigError in a job, or for another server."""
    if is_job(environ):
        hint = "Run it on a laptop, with the token of a person who is an admin of the repository."
        raise ConfigError("set-up does not run inside GitHub Actions", hint=hint)
    return require_github_com(environ, folder, redactor)


def laptop_environ(environ: Mapping[str, str], repo: str, folder: Path, redactor: Redactor) -> dict[str, str]:
    """Return the variables for `connect`, with the person's token. `folder` is that of ops.yml. Raises ConfigError."""
    environ = require_laptop(environ, folder, redactor)
    repository, token = choose_repository(repo, environ, folder, redactor), find_person_token(environ)
    if not token:
        raise ConfigError(
            "neither GITHUB_TOKEN nor GH_TOKEN is set",
            reason=Reason.TOKEN_MISSING,
            hint=f"Run `{token_command(environ)}`, or create a fine-grained token for this repository with "
            "Administration, Environments and Issues: write, and Actions: read.",
        )
    return {**environ, "GITHUB_TOKEN": token, "GITHUB_REPOSITORY": repository}


class GitHubSetup:
    """Reads the settings of one repository, and plans and makes the changes to them."""

    def __init__(self, path: Path, environ: Mapping[str, str], redactor: Redactor) -> None:
        """`environ` is that of `laptop_environ`."""
        self._path, self._environ = path, environ
        self._config, _ = read_config(path, labels=None)
        self._github: Repository = connect(environ, redactor)

    def plan(self, reviewers: tuple[str, ...], ask: AskReviewers | None) -> SetupPlan:
        """Read everything and return the plan. Raises ConfigError and ProviderError."""
        try:
            return self._plan_settings(reviewers, ask)
        except ProviderError as error:
            error.hint = READ_HINT if error.hint in {"", ACCESS_HINT} else error.hint
            raise

    def _plan_settings(self, reviewers: tuple[str, ...], ask: AskReviewers | None) -> SetupPlan:
        plan = SetupPlan(self._read_repository())
        config: Config | None = self._config
        rules = self._read_rules(plan)
        if rules is None and plan.repository.is_private and self._config.github.environments:
            config = self._plan_without_environments(plan)
        elif self._config.github.environments:
            self._plan_environments(plan, reviewers, ask)
        elif rules is not None or not plan.repository.is_private:
            plan.notices.append(f"The repository can have GitHub environments. {USE_ENVIRONMENTS}")
        self._plan_labels(plan)
        if rules is not None:
            self._plan_ruleset(plan, rules)
        if config is not None:
            self._list_secrets(plan, config)
        return plan

    def _read_repository(self) -> protection.OwnRepository:
        repository = protection.read_own_repository(self._github)
        branch, live = self._config.github.branch, repository.default_branch
        if live != branch:
            hint = f"Write `branch: {live}` under `github` in ops.yml, and run `workflows sync`."
            text = f"the default branch of {repository.full_name} is {live}, and ops.yml says {branch}"
            raise ConfigError(text, hint=hint)
        return repository

    def _read_rules(self, plan: SetupPlan) -> tuple[Mapping[str, Any], ...] | None:
        """Return the rules of the default branch; None if the plan has none, or GitHub does not tell."""
        try:
            return protection.branch_rules(self._github, self._config.github.branch)
        except protection.NotInPlan:
            plan.notices.append(
                "This plan has no rulesets for a private repository: everyone who can push can change the jobs and "
                "ops.yml. CODEOWNERS has no effect either."
            )
        return None

    def _plan_without_environments(self, plan: SetupPlan) -> "Config | None":
        """Plan `github.environments: false`. Returns the configuration with it; None if ops.yml needs environments."""
        plan.notices.append(NO_ENVIRONMENTS)
        if approved := [each.name for each in self._config.environments.values() if each.approval]:
            plan.impossible.append(
                f"`approval` under {', '.join(approved)} in ops.yml needs GitHub environments: remove it, or change "
                "the plan or the visibility of the repository. Then run this command again."
            )
            return None
        text = self._path.read_bytes().decode()  # with its line ends
        edited = set_nested(text, "github", "environments", value=False)
        plan.changes.append(
            SettingChange(
                "file",
                self._path.name,
                "change",
                "github.environments: false, then write the workflows again",
                partial(self._write_file, plan, edited),
                lambda: not read_config(self._path, labels=None)[0].github.environments,
            )
        )
        github = self._config.github.model_copy(update={"environments": False})
        return self._config.model_copy(update={"github": github})

    def _write_file(self, plan: SetupPlan, text: str) -> None:
        self._path.write_bytes(text.encode())
        self._config, _ = read_config(self._path, labels=None)
        root = self._path.resolve().parent
        differences = find_generated_differences(root, self._config, self._environ)
        changed = [self._path.resolve(), *(each.path for each in differences if each.action is not FileAction.KEEP)]
        plan.files += [path.relative_to(root).as_posix() for path in changed]
        lines: list[str] = []
        if sync_files(root, self._config, check=False, force=False, echo=lines.append, environ=self._environ):
            text = "a person changed a workflow that must be written again"
            program = self._config.github.laptop_program
            raise ConfigError(text, hint=f"Run `{program} workflows sync`, which shows the difference.")

    def _plan_environments(self, plan: SetupPlan, reviewers: tuple[str, ...], ask: AskReviewers | None) -> None:
        for needed in self._needed_environments(self._config):
            live = protection.read_environment(self._github, needed.name)
            has_choice = needed.has_reviewers and plan.repository.may_administer
            chosen = self._choose_reviewers(plan, needed, live, reviewers, ask) if has_choice else ()
            if live and live.reviewers and needed.name in ACTING:
                plan.notices.append(
                    f"`{needed.name}` has required reviewers, so every recovery waits for one. Remove them in the "
                    "settings, and use `approval` in ops.yml."
                )
            present = chosen or (live.reviewers if live else ())
            approves = needed.has_reviewers and bool(present)
            if approves and len(present) == 1 and not present[0].is_team:
                plan.notices.append(_one_reviewer(needed.name, present[0].name))
            is_open = approves and not (live and live.prevents_self_review)
            if live is None or chosen or is_open or not live.admits_only(self._config.github.branch):
                details = f"branch {self._config.github.branch} only"
                if chosen:
                    details += f", reviewers {', '.join(each.name for each in chosen)}"
                if is_open:
                    details += ", nobody approves an own request"
                self._add_setting(
                    plan,
                    SettingChange(
                        "environment",
                        needed.name,
                        "change" if live else "create",
                        details,
                        partial(self._write_environment, needed.name, chosen, approves=approves),
                        partial(self._is_environment_done, needed.name, chosen, approves=approves),
                    ),
                )

    def _choose_reviewers(
        self,
        plan: SetupPlan,
        needed: GitHubEnvironment,
        live: protection.EnvironmentProtection | None,
        given: tuple[str, ...],
        ask: AskReviewers | None,
    ) -> tuple[protection.Reviewer, ...]:
        """Return the reviewers to set; none if the present ones stay. Raises ConfigError."""
        present = live.reviewers if live else ()
        if present and not given:
            return ()
        default = self._config.responders
        names = given or (ask(needed.name, default) if ask else default)
        if len(names) > protection.MOST_REVIEWERS:
            hint = "Name the people who are on call, with `--reviewer LOGIN`."
            raise ConfigError(f"GitHub allows {protection.MOST_REVIEWERS} reviewers, not {len(names)}", hint=hint)
        chosen = tuple(map(self._find_reviewer, names))
        if not chosen:
            text = "Until then every run that needs an approval is refused."
            plan.impossible.append(f"`{needed.name}` has no reviewers: add `--reviewer LOGIN`. {text}")
        return () if {*chosen} == {*present} else chosen

    def _find_reviewer(self, login: str) -> protection.Reviewer:
        if "/" in login:
            return self._find_team(login)
        reviewer = protection.find_reviewer(self._github, login)
        if reviewer is None:
            hint = "Name GitHub logins of people who can read the repository."
            raise ConfigError(f'GitHub knows no user "{login}"', reason=Reason.UNKNOWN_NAME, hint=hint)
        return reviewer

    def _find_team(self, name: str) -> protection.Reviewer:
        owner, _, slug = name.removeprefix("@").partition("/")
        repository = protection.read_own_repository(self._github).full_name
        if owner.lower() != repository.partition("/")[0].lower():
            text = f'"{quote_name(name)}" is a team of another owner than {repository}'
            hint = "Name a team of that owner, or a person: `ops setup github --reviewer LOGIN`."
            raise ConfigError(text, reason=Reason.UNKNOWN_NAME, hint=hint)
        if (team := protection.find_team(self._github, slug)) is None:
            text = f'no team "{quote_name(name)}" has access to {repository}'
            hint = f"Give it access: `gh api -X PUT orgs/{owner}/teams/{slug}/repos/{repository} -f permission=pull`."
            raise ConfigError(text, reason=Reason.UNKNOWN_NAME, hint=hint)
        return team

    def _write_environment(self, name: str, reviewers: Sequence[protection.Reviewer], *, approves: bool) -> None:
        """Write branch and reviewers. `approves`: they approve requests, and none may approve an own one."""
        branch = self._config.github.branch
        with _explain_missing_plan(
            "GitHub refused a rule for the environment", "Write `github: {environments: false}` in ops.yml."
        ):
            protection.write_environment(self._github, name, branch, prevents_self_review=approves)
        if reviewers:
            hint = "Check that each can read the repository. Otherwise remove `approval` from ops.yml."
            with _explain_missing_plan(
                "GitHub refused the reviewers; a private repository needs Enterprise for them", hint
            ):
                protection.write_environment(self._github, name, branch, reviewers, prevents_self_review=approves)

    def _is_environment_done(self, name: str, reviewers: Sequence[protection.Reviewer], *, approves: bool) -> bool:
        live = protection.read_environment(self._github, name)
        if live is None or not live.admits_only(self._config.github.branch):
            return False
        if approves and not live.prevents_self_review:
            return False
        return not reviewers or {*live.reviewers} == {*reviewers}

    def _plan_labels(self, plan: SetupPlan) -> None:
        if not plan.repository.may_write:
            plan.impossible.append(f"labels: the owner of this token may not write to {plan.repository.full_name}")
            return
        with provider_errors():
            changes = list(label_changes(self._github, desired_labels(self._config)))
        for each in changes:
            action: Literal["create", "change"] = "create" if each.is_new else "change"
            is_done = partial(self._is_label_done, each.name)
            plan.changes.append(
                SettingChange("label", each.name, action, "", partial(_apply_label_change, each.apply), is_done)
            )

    def _is_label_done(self, name: str) -> bool:
        with provider_errors():
            return is_label_current(self._github, name, desired_labels(self._config)[name])

    def _plan_ruleset(self, plan: SetupPlan, rules: Sequence[Mapping[str, Any]]) -> None:
        root = self._path.resolve().parent
        if not names_code_owners([root / name for name in CODEOWNERS]):
            plan.notices.append(
                "CODEOWNERS names nobody, so no pull request needs the review of an owner. Write your team into "
                ".github/CODEOWNERS."
            )
        if errors := protection.code_owner_errors(self._github):
            lines = "; ".join(f"line {number}: {kind}" for number, kind in errors[:MOST_ERRORS])
            plan.notices.append(f"GitHub ignores lines of CODEOWNERS: {lines}. An owner needs write access.")
        if satisfies_setup_rules(rules):
            return
        exists = protection.find_ruleset(self._github, RULESET) is not None
        self._add_setting(
            plan,
            SettingChange(
                "ruleset",
                RULESET,
                "change" if exists else "create",
                "pull request with 1 approval and code owners; no force push, no deletion; admins may bypass it",
                partial(protection.write_ruleset, self._github, default_branch_ruleset()),
                lambda: satisfies_setup_rules(protection.branch_rules(self._github, self._config.github.branch)),
            ),
        )

    def _add_setting(self, plan: SetupPlan, change: SettingChange) -> None:
        """Add a change that needs an admin."""
        if plan.repository.may_administer:
            plan.changes.append(change)
        else:
            plan.impossible.append(
                f"{change.kind} {change.name} ({change.action}): only an admin of {plan.repository.full_name} may do it"
            )

    def _list_secrets(self, plan: SetupPlan, config: "Config") -> None:
        needed = self._needed_environments(config)
        places = [each.name for each in needed] if config.github.environments else [""]
        read = {place: protection.read_secret_names(self._github, place) for place in places}
        if None in read.values():
            plan.notices.append("This token may not read names of secrets, so some of these may exist already.")
        present = {place: names or frozenset() for place, names in read.items()}
        plan.laptop_variables += dict.fromkeys(each.laptop_variables() for each in config.environments.values())
        plan.secrets += list_missing(config, needed, present, plan.repository.full_name)

    def store(self, needed: MissingSecret, value: Secret) -> ChangeResult:
        """Write the secret, and read its name back."""
        place = needed.github_environment
        change = SettingChange(
            "secret",
            needed.name,
            "create",
            place or "repository",
            partial(write_secret, self._github, place, needed.name, value),
            lambda: needed.name in (protection.read_secret_names(self._github, place) or ()),
        )
        return _apply_setting(change)

    def token_location(self, needed: MissingSecret) -> str:
        """Return where ops.yml says that people find the token; empty if it does not say."""
        of_account = (each for each in self._config.environments.values() if each.account_id == needed.account_id)
        return next((each.token_location for each in of_account if each.token_location), "")

    def _needed_environments(self, config: "Config") -> list[GitHubEnvironment]:
        return needed_environments(config, button_runbooks())


@contextmanager
def _explain_missing_plan(text: str, hint: str) -> Iterator[None]:
    """Replace the error of a 422, which GitHub answers where the plan lacks a rule."""
    try:
        yield
    except GitHubApiError as error:
        if error.status != 422:
            raise
        raise ProviderError(text, reason=Reason.PROVIDER_REFUSED, hint=hint) from None


def _apply_label_change(apply: Callable[[], object]) -> None:
    with write_errors():
        apply()


def names_code_owners(paths: Sequence[Path]) -> bool:
    """Return whether one of the files has a line that is no comment."""
    texts = (team_file.read_text(path) for path in paths if path.is_file())
    return any(line.strip() and not line.lstrip().startswith("#") for text in texts for line in text.splitlines())


def default_branch_ruleset() -> dict[str, Any]:
    """Return the ruleset for the default branch (docs.github.com/rest/repos/rules#create-a-repository-ruleset)."""
    return {
        "name": RULESET,
        "target": "branch",
        "enforcement": "active",
        "bypass_actors": [ADMINS],
        "conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}},
        "rules": [
            {"type": "deletion"},
            {"type": "non_fast_forward"},
            {"type": "pull_request", "parameters": REVIEW},
        ],
    }


def satisfies_setup_rules(rules: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the active rules are at least as strict as ours; they may come from any ruleset."""
    kinds = {rule["type"] for rule in rules}
    reviews = [rule.get("parameters") or {} for rule in rules if rule["type"] == "pull_request"]
    return (
        {"deletion", "non_fast_forward"} <= kinds
        and any(each.get("required_approving_review_count", 0) >= 1 for each in reviews)
        and any(each.get("require_code_owner_review") is True for each in reviews)
    )


def _one_reviewer(environment: str, login: str) -> str:
    return (
        f"`{environment}` has one reviewer, so nobody can approve a request of {login}: name another with "
        "`--reviewer LOGIN`. A command on a laptop needs no reviewer."
    )


def apply_changes(plan: SetupPlan) -> Iterator[ChangeResult]:
    """Make each change and read it back. After a refusal that others of its kind would get too, they are skipped."""
    refused: dict[str, str] = {}
    for change in plan.changes:
        if change.kind in refused:
            yield ChangeResult(change, refused[change.kind])
            continue
        result = _apply_setting(change)
        if result.ends_its_kind:
            refused[change.kind] = result.problem
        yield result


def _apply_setting(change: SettingChange) -> ChangeResult:
    is_unclear = False
    try:
        for _ in range(2):
            try:
                change.apply()
                is_unclear = False
            except UnclearWrite:
                is_unclear = True
            if change.is_done():
                return ChangeResult(change)
            if not is_unclear:
                return ChangeResult(change, "it was accepted, but is not in effect")
    except OpsError as error:
        is_limit = isinstance(error, GitHubApiError) and error.is_limit
        is_forbidden = isinstance(error, GitHubApiError) and error.is_forbidden
        advice = "Use a token with Administration and Issues: write." if is_forbidden else error.hint
        return ChangeResult(change, f"{error.message}. {advice}".strip(), is_unclear, is_forbidden or is_limit)
    return ChangeResult(change, "GitHub gave no answer, and the change is not in effect", is_unclear=True)

"""Adopt Backout in seven steps. Each one reads first, and does only what is missing."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ops.app.configuration import read_config
from ops.app.session import find_addresses
from ops.core.client_guards import parse_token
from ops.core.errors import ConfigError, Interrupted, OpsError, Reason, UnclearWrite
from ops.core.names import DRILL_TOKEN, RECOVERY_TOKEN, count_of
from ops.core.redaction import Redactor, Secret
from ops.github.client import GitHubApiError, connect
from ops.github.list_lag import await_listed
from ops.github.protection import has_commit
from ops.github.repositories import FoundRepository, RepositoryApi
from ops.setup.adopt.git_folder import GitFolder
from ops.setup.adopt.label_drill import COST, LabelDrill, choose_drill_account, needed_token
from ops.setup.adopt.own_repository import (
    choose_own_repository,
    find_or_require_free,
    find_unarchived,
    repository_name_taken,
)
from ops.setup.adopt.person import Person
from ops.setup.adopt.record import Kind, OwnThing, read_adopt_record
from ops.setup.doctor.check import Answer
from ops.setup.doctor.examination import examine
from ops.setup.doctor.facts import Facts, FactScope
from ops.setup.doctor.results import result_lines
from ops.setup.github_setup import GitHubSetup, SetupPlan, apply_changes
from ops.setup.init.command import CONFIG, complete_files, init_repository
from ops.setup.init.github_findings import find_on_github
from ops.tools.git import GitError

if TYPE_CHECKING:
    from ops.config import Config, Environment, RecoveryLabel
    from ops.setup.github_secrets import MissingSecret
    from ops.setup.init.command import InitTarget
    from ops.setup.init.discovery import InitRequest

State = Literal["done", "already done", "checked", "skipped", "failed", "planned"]
INCOMPLETE = 4
TITLES = (
    "Describe the application",
    "Create the private repository",
    "Commit and push",
    "Set up GitHub",
    "Store the token of the first label",
    "Check the set-up",
    "Drill the first label",
)
SECRETS = "secrets"
"""Check of `ops doctor` about stored secrets. Step 5 stores the only one that the first label needs."""
OFFER = f"To prove it on GitHub with a throw-away Worker: `ops adopt --drill-account ID` ({COST})."
GO_ON = "Run `ops adopt` again: it goes on from there."
CORRECT = "Correct the error below first. Then run `ops adopt` again: it goes on from there."


@dataclass(frozen=True)
class AdoptRequest:
    """The options of the command."""

    describe: "InitRequest"
    target: "InitTarget"
    repo: str = ""
    """OWNER/NAME of the operations repository; empty: ask, or propose one."""
    reviewers: tuple[str, ...] = ()
    drill_account: str = ""
    """Account of a drill on GitHub; empty: that of the first label with `same_account`, else the sandbox."""
    same_account: bool = False
    """Whether the drill may use an account that holds a service of ops.yml."""

    @property
    def default_owner(self) -> str:
        """Owner of the application's repository; empty if it is not given."""
        return self.describe.repository.partition("/")[0]

    def find_drill_account(self, config: "Config") -> str:
        """Return the account of a drill on GitHub; empty for the sandbox. Raises Refused."""
        home = first_account(config).account_id
        return choose_drill_account(config, home, self.drill_account, same_account=self.same_account)


@dataclass(frozen=True)
class StepResult:
    title: str
    state: State
    details: str = ""


@dataclass
class AdoptResult:
    repository: str
    steps: list[StepResult]

    @property
    def decision(self) -> str:
        states = {each.state for each in self.steps}
        if "planned" in states:
            return "planned"
        if "failed" in states:
            return "incomplete"
        return "done" if "done" in states else "nothing_to_do"

    @property
    def open_answers(self) -> str:
        """What the check of the set-up found open; empty if nothing."""
        return next((each.details for each in self.steps if each.state == "checked"), "")

    @property
    def exit_code(self) -> int:
        return INCOMPLETE if self.decision == "incomplete" else 0

    def to_json(self) -> dict[str, Any]:
        steps = [{"title": each.title, "state": each.state, "details": each.details} for each in self.steps]
        return {
            "decision": self.decision,
            "exit_code": self.exit_code,
            "repository": self.repository,
            "steps": steps,
        }


class Adoption:
    """The steps of one folder. `environ` is that of `person_environ`."""

    def __init__(
        self,
        request: AdoptRequest,
        person: Person,
        environ: Mapping[str, str],
        redactor: Redactor,
        say: Callable[[str], object],
    ) -> None:
        self._request, self._person, self._redactor, self._say = request, person, redactor, say
        self._folder = request.target.folder
        self._environ = dict(environ)
        self._record = read_adopt_record(self._folder)
        self._api = RepositoryApi(environ, redactor)
        _, _, self._clock = find_addresses(environ)
        self._missing: list[MissingSecret] = []
        self._recovery: Secret | None = None
        """Token of the first label, if this run stored it."""

    def run(self) -> AdoptResult:
        """Take each step. An error ends them; the same command goes on. Raises OpsError."""
        steps = (
            self._write_repository_files,
            self._create_repository,
            self._push_files,
            self._set_up,
            self._store_token,
            self._check_with_doctor,
            self._run_label_drill,
        )
        result = AdoptResult(self._record.repository, [])
        for number, (title, step) in enumerate(zip(TITLES, steps, strict=True), 1):
            self._say(f"{number} of {len(TITLES)} · {title}")
            try:
                state, details = step()
            except GitError as error:
                raise ConfigError(str(error), hint="Correct this, then run `ops adopt` again.") from None
            except OpsError as error:
                self._say(f"  stopped in step {number}. {GO_ON if _may_repeat_adoption(error) else CORRECT}")
                raise
            self._say(f"  {state}{f': {details}' if details else ''}")
            result.steps.append(StepResult(title, state, details))
        if self._person.drill and not self._drill_account:
            self._say(f"  {OFFER}")
        result.repository = self._record.repository
        return result

    # Files

    @property
    def _config_path(self) -> Path:
        return self._folder / CONFIG

    @property
    def _adopted_config(self) -> "Config":
        """The configuration as it is now: the set-up writes it too."""
        return read_config(self._config_path, labels=None)[0]

    def _write_repository_files(self) -> tuple[State, str]:
        target = replace(self._request.target, is_adopted=True)
        if self._record.is_set_up:
            return "already done", CONFIG
        if self._config_path.exists():
            written = complete_files(target, self._environ)
            return ("done", f"wrote {', '.join(written)}") if written else ("already done", CONFIG)
        self._environ |= self._person.paste_readers()
        application = self._request.describe.repository
        found = find_on_github(self._environ, self._folder, application, self._redactor)
        target = replace(target, found=found)
        result = init_repository(self._request.describe, target, self._person.questions, self._environ, self._say)
        if "kept" in result.files.values():
            self._say("  Files that differ were kept. They are committed as they are.")
        return "done", count_of(len(result.files), "file")

    # The repository

    def _create_repository(self) -> tuple[State, str]:
        self._request.find_drill_account(self._adopted_config)  # refuses an account before the first write
        login = self._api.read_login()
        name = choose_own_repository(
            self._record, self._request.repo, self._request.default_owner or login, self._person.questions
        )
        self._environ["GITHUB_REPOSITORY"] = name
        GitFolder(self._folder, self._environ, self._redactor).has_own_origin()
        if found := find_or_require_free(self._api, self._record, name):
            self._record.choose(name)
            return "already done", found.full_name
        self._record.choose(name)
        for _ in range(2):
            try:
                if self._api.create(name, login, self._record.description):
                    return "done", name
            except UnclearWrite:
                if await_listed(self._find_own, self._clock):
                    return "done", name
                continue
            except OpsError:
                self._record.forget()
                raise
            if await_listed(self._find_own, self._clock):
                return "done", name
            self._record.forget()
            raise repository_name_taken(name)
        hint = f"Check https://www.githubstatus.com. {GO_ON}"
        raise ConfigError(f"GitHub gave no answer, and {name} does not exist", reason=Reason.UNCLEAR, hint=hint)

    def _find_own(self) -> FoundRepository | None:
        return find_unarchived(self._api, self._record, self._record.repository)

    def _push_files(self) -> tuple[State, str]:
        if self._record.is_set_up:
            return "already done", ""
        return ("done", "") if self._commit_and_push() else ("already done", "")

    def _commit_and_push(self) -> bool:
        """Commit and push what changed; return whether anything was missing on GitHub."""
        branch = self._adopted_config.github.branch
        git = GitFolder(self._folder, self._environ, self._redactor)
        git.prepare(branch)
        git.commit(self._api.read_login())
        head, name = git.head(), self._environ["GITHUB_REPOSITORY"]
        if head and has_commit(connect(self._environ, self._redactor), name, head):
            return False
        git.push(branch)
        return True

    # Settings

    @cached_property
    def _start_github_setup(self) -> GitHubSetup:
        return GitHubSetup(self._config_path, self._environ, self._redactor)

    def _set_up(self) -> tuple[State, str]:
        plan = self._start_github_setup.plan(self._request.reviewers, None)
        for text in (*plan.notices, *plan.impossible):
            self._say(f"  {text}")
        self._missing = plan.secrets
        self._record.add(*_own_things(plan))
        problems = list(plan.impossible)
        for result in apply_changes(plan):
            if result.problem:
                self._say(f"  NOT done: {result.change.kind} {result.change.name}: {result.problem}")
                problems.append(result.change.name)
        if plan.files:
            self._commit_and_push()
        if problems:
            return "failed", f"{count_of(len(problems), 'setting')} not done. Correct this. {GO_ON}"
        is_new = not self._record.is_set_up
        self._record.is_set_up = True
        self._record.save()
        counts = Counter(each.kind for each in plan.changes)
        details = ", ".join(count_of(count, kind) for kind, count in counts.items())
        return ("done", details) if is_new or plan.changes else ("already done", "")

    def _store_token(self) -> tuple[State, str]:
        needed = find_needed_token(self._adopted_config, self._missing)
        if needed is None:
            return "already done", ""
        value = self._person.paste_token(needed)
        if value is None:
            return "failed", f"`{needed.command}` is missing. {GO_ON}"
        self._record.add(OwnThing("secret", needed.name, needed.github_environment))
        result = self._start_github_setup.store(needed, value)
        if result.problem:
            return "failed", f"{needed.name}: {result.problem}"
        self._environ[first_account(self._adopted_config).token] = value.reveal()
        self._recovery = value
        return "done", f"{needed.name} in {result.change.details}"

    # Proof

    def _check_with_doctor(self) -> tuple[State, str]:
        with ExitStack() as ending:
            results = examine(Facts(self._config_path, self._environ, self._redactor, ending, FactScope()))
        results = tuple(each.redacted(self._redactor) for each in results)
        later = [each for each in results if each.id == SECRETS and each.answer is Answer.WRONG]
        shown = [each for each in results if each not in later]
        for line in result_lines(shown):
            self._say(f"  {line}")
        wrong = sum(each.answer is Answer.WRONG for each in shown)
        open_parts = [
            f"{count_of(wrong, 'answer')} to correct, listed above" if wrong else "",
            f"{count_of(len(later), 'secret')} not stored: `ops setup github` lists them" if later else "",
        ]
        return "checked", "; ".join(filter(None, open_parts))

    @property
    def _drill_account(self) -> str:
        return self._request.find_drill_account(self._adopted_config)

    def _run_label_drill(self) -> tuple[State, str]:
        if self._record.drill and not (token := self._find_drill_token(self._record.drill_account)):
            return "failed", f"{self._record.drill} is left of a drill: its token is missing in {DRILL_TOKEN}. {GO_ON}"
        if self._record.drill and token:
            self._open_drill().take_back(token)
        return self._drill_on_github(self._drill_account) if self._drill_account else self._drill_in_sandbox()

    def _drill_on_github(self, account: str) -> tuple[State, str]:
        proof = f"{digest_of(self._config_path)} {account}"
        if self._record.drilled == proof:
            return "already done", f"on GitHub and in account {account}"
        home = first_account(self._adopted_config)
        stored = home.token if account == home.account_id else ""
        if stored and self._recovery is None and find_needed_token(self._adopted_config, self._missing):
            return "failed", f"step 5 is not done. {GO_ON}"
        if not (token := self._find_drill_token(account)):
            return "failed", f"its token is missing in {DRILL_TOKEN}. {GO_ON}"
        result = self._open_drill().run(account, token, stored)
        if result.problem:
            return "failed", result.problem
        self._record.drilled = proof
        self._record.save()
        return "done", result.text

    def _open_drill(self) -> LabelDrill:
        return LabelDrill(self._folder, self._record, self._environ, self._redactor, self._say)

    def _find_drill_token(self, account: str) -> Secret | None:
        """Return the token that makes and deletes the Worker: that of the first label if this run stored it."""
        home = first_account(self._adopted_config)
        if account == home.account_id:
            if self._recovery:
                return self._recovery
            if given := self._environ.get(RECOVERY_TOKEN):
                self._redactor.add_secret(given)
                return parse_token(RECOVERY_TOKEN, given)
        return self._person.paste_token(needed_token(account))

    def _drill_in_sandbox(self) -> tuple[State, str]:
        if (found := first_label(self._adopted_config)) is None:
            return "skipped", "ops.yml has no label"
        name, label = found
        digest = digest_of(self._config_path)
        if self._record.drilled.partition(" ")[0] == digest:
            return "already done", name
        if self._person.drill is None:
            return "skipped", f"`ops drill {label.runbook} --trigger label --config {self._config_path}`"
        result = self._person.drill(self._config_path, label)
        if result["exit_code"]:
            return "failed", f"{name}: {result['message']}"
        self._record.drilled = digest
        self._record.save()
        return "done", f"{name}: {result['message']}"


def _may_repeat_adoption(error: OpsError) -> bool:
    """Return whether the same command may succeed later without a correction."""
    is_server_fault = isinstance(error, GitHubApiError) and (error.is_limit or error.status >= 500)
    is_outage = error.reason in {Reason.UNCLEAR, Reason.PROVIDER_UNAVAILABLE}
    return is_server_fault or is_outage or isinstance(error, Interrupted)


def digest_of(config: Path) -> str:
    """Return the digest of an ops.yml that a drill recovers."""
    return hashlib.sha256(config.read_bytes()).hexdigest()


def first_label(config: "Config") -> "tuple[str, RecoveryLabel] | None":
    """Return name and settings of the label that is drilled, and whose token is stored."""
    return next(iter(config.labels.items()), None)


def first_account(config: "Config") -> "Environment":
    """Return the environment of the first label, else the first one of ops.yml."""
    label = first_label(config)
    return config.environments[label[1].environment if label else next(iter(config.environments))]


def find_needed_token(config: "Config", missing: "Iterable[MissingSecret]") -> "MissingSecret | None":
    """Return the missing token of the first label: that of `recovery` for its account."""
    account = first_account(config).account_id
    return next((each for each in missing if (each.purpose, each.account_id) == ("recovery", account)), None)


def _own_things(plan: SetupPlan) -> Iterator[OwnThing]:
    """Yield what the plan creates and a removal deletes."""
    kinds: Sequence[Kind] = get_args(Kind)
    for change in plan.changes:
        if change.action == "create" and change.kind in kinds:
            yield OwnThing(change.kind, change.name)  # type: ignore[arg-type]

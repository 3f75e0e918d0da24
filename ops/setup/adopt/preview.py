"""Show what `ops adopt` would do, without a write."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ops.app.configuration import read_config
from ops.app.registry import button_runbooks
from ops.core.names import count_of
from ops.core.redaction import Redactor
from ops.github.repositories import RepositoryApi
from ops.setup.adopt.adoption import (
    TITLES,
    AdoptRequest,
    AdoptResult,
    State,
    StepResult,
    digest_of,
    find_needed_token,
    first_label,
)
from ops.setup.adopt.git_folder import COMMITTED, copy_committed
from ops.setup.adopt.label_drill import COST
from ops.setup.adopt.own_repository import choose_own_repository, find_or_require_free
from ops.setup.adopt.person import Person
from ops.setup.adopt.record import AdoptRecord, read_adopt_record
from ops.setup.github_environments import needed_environments
from ops.setup.github_secrets import list_missing
from ops.setup.github_setup import RULESET, GitHubSetup, SetupPlan
from ops.setup.init.command import CONFIG, complete_files, init_repository
from ops.setup.init.github_findings import find_on_github
from ops.setup.init.questions import Questions
from ops.setup.labels import desired_labels
from ops.tools.process import scratch_folder

if TYPE_CHECKING:
    from ops.config import Config

Say = Callable[[str], object]


def preview_adoption(
    request: AdoptRequest, person: Person, environ: Mapping[str, str], redactor: Redactor, say: Say
) -> AdoptResult:
    """Read the account, and print each step. The files are written to a temporary folder. Raises OpsError."""
    folder, record = request.target.folder, read_adopt_record(request.target.folder)
    api = RepositoryApi(environ, redactor)
    owner = request.default_owner or api.read_login()
    name = choose_own_repository(record, request.repo, owner, Questions(None))
    exists = find_or_require_free(api, record, name) is not None
    if not (folder / CONFIG).exists():
        found = find_on_github(environ, folder, request.describe.repository, redactor)
        request = replace(request, target=replace(request.target, found=found))
    files, config = _preview_files(request, person, environ, say)
    plan = None
    if record.is_set_up:
        own = GitHubSetup(folder / CONFIG, {**environ, "GITHUB_REPOSITORY": name}, redactor)
        plan = own.plan(request.reviewers, None)
    texts = (
        f"write {count_of(len(files), 'file')} to {folder}: {', '.join(files)}" if files and plan is None else "",
        "" if exists else f"create the private repository {name}",
        f"commit {', '.join(COMMITTED)} and push {config.github.branch}" if plan is None else "",
        _settings_text(config, plan),
        _token_text(config, plan, name),
        "read the settings and the account with `ops doctor`",
        _drill_text(config, request, person, record),
    )
    steps = []
    for number, (title, text) in enumerate(zip(TITLES, texts, strict=True), 1):
        state: State = "planned" if text else "skipped" if number == len(TITLES) else "already done"
        say(f"{number} of {len(TITLES)} · {title}")
        say(f"  would {text}" if text else f"  {state}")
        steps.append(StepResult(title, state, text))
    return AdoptResult(name, steps)


def _preview_files(
    request: AdoptRequest, person: Person, environ: Mapping[str, str], say: Say
) -> "tuple[list[str], Config]":
    """Return the names of the missing files, and the configuration. Raises OpsError."""
    folder = request.target.folder
    with scratch_folder() as scratch:
        copy_committed(folder, scratch)
        target = replace(request.target, folder=scratch, is_adopted=True)
        if (scratch / CONFIG).exists():
            files = complete_files(target, environ)
        else:
            known = {**environ, **person.paste_readers()}
            files = list(init_repository(request.describe, target, Questions(None), known, _without_files(say)).files)
        return files, read_config(scratch / CONFIG, labels=None)[0]


def _settings_text(config: "Config", plan: SetupPlan | None) -> str:
    if plan:
        return ", ".join([*(f"{each.action} {each.kind} {each.name}" for each in plan.changes), *plan.impossible])
    environments = needed_environments(config, button_runbooks()) if config.github.environments else ()
    names = (*(each.name for each in environments), *desired_labels(config), RULESET)
    return f"create what is missing of {', '.join(names)}"


def _token_text(config: "Config", plan: SetupPlan | None, repository: str) -> str:
    missing = (
        plan.secrets if plan else list_missing(config, needed_environments(config, button_runbooks()), {}, repository)
    )
    needed = find_needed_token(config, missing)
    return f"ask for one Cloudflare token and store it: {needed.command}; {needed.about}" if needed else ""


def _drill_text(config: "Config", request: AdoptRequest, person: Person, record: AdoptRecord) -> str:
    label, path = first_label(config), request.target.folder / CONFIG
    digest, _, drilled_account = record.drilled.partition(" ")
    is_drilled = bool(digest) and digest == digest_of(path)
    left = f"take back {record.drill}, which a drill left, then " if record.drill else ""
    if account := request.find_drill_account(config):
        if is_drilled and drilled_account == account:
            return ""
        return f"{left}recover a throw-away Worker in account {account} with a label on GitHub ({COST})"
    if label is None or person.drill is None or is_drilled:
        return ""
    return f"recover a broken release in the sandbox with the label {label[0]}"


def _without_files(say: Say) -> Say:
    """Return `say` for the lines that are about services: those about files name the temporary folder's writes."""

    def say_service(line: str) -> object:
        return None if line.startswith(("written:", "overwritten:", "kept:")) else say(line)

    return say_service

"""Show what `ops adopt` would do, without a write."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace

from ops.app.configuration import read_config
from ops.app.registry import button_runbooks
from ops.core.names import count_of
from ops.core.redaction import Redactor
from ops.github.repositories import RepositoryApi
from ops.setup.adopt.adoption import DEFAULT_NAME, TITLES, AdoptRequest, AdoptResult, State, StepResult
from ops.setup.adopt.git_folder import COMMITTED
from ops.setup.adopt.record import read_record
from ops.setup.github_environments import needed_environments
from ops.setup.github_secrets import list_missing
from ops.setup.github_setup import RULESET
from ops.setup.init.accounts import token_variables
from ops.setup.init.command import CONFIG, complete_files, init_repository
from ops.setup.init.questions import Questions
from ops.setup.labels import desired_labels
from ops.tools.process import scratch_folder

Say = Callable[[str], object]


def preview_adoption(
    request: AdoptRequest,
    environ: Mapping[str, str],
    redactor: Redactor,
    say: Say,
    paste_readers: Callable[[], Mapping[str, str]],
) -> AdoptResult:
    """Read the account, and print each step. The files are written to a temporary folder. Raises OpsError."""
    folder, record = request.target.folder, read_record(request.target.folder)
    api = RepositoryApi(environ, redactor)
    with scratch_folder() as scratch:
        for name in COMMITTED:
            if (folder / name).is_dir():
                shutil.copytree(folder / name, scratch / name)
            elif (folder / name).exists():
                shutil.copy(folder / name, scratch / name)
        target = replace(request.target, folder=scratch, is_adopted=True)
        if (scratch / CONFIG).exists():
            files = complete_files(target, environ)
        else:
            asks = not token_variables(environ, ()) and not request.describe.wrangler
            known = {**environ, **(paste_readers() if asks else {})}
            files = list(init_repository(request.describe, target, Questions(None), known, _without_files(say)).files)
        config = read_config(scratch / CONFIG, labels=None)[0]
    name = record.repository or request.repo
    name = name or f"{request.describe.repository.partition('/')[0] or api.read_login()}/{DEFAULT_NAME}"
    exists = bool(record.repository) and api.find(name) is not None
    environments = needed_environments(config, button_runbooks())
    secret = next((each for each in list_missing(config, environments, {}, name) if each.account_id), None)
    label = next(iter(config.labels), "")
    names = [each.name for each in environments] if config.github.environments else []
    texts = (
        f"write {count_of(len(files), 'file')} to {folder}: {', '.join(files)}" if files else "",
        "" if exists else f"create the private repository {name}",
        f"commit {', '.join(COMMITTED)} and push {config.github.branch}",
        f"create what is missing of {', '.join((*names, *desired_labels(config), RULESET))}",
        f"ask for one Cloudflare token and store it: {secret.command}; {secret.about}" if secret else "",
        "read the settings and the account with `ops doctor`",
        f"recover a broken release in the sandbox with the label {label}" if label else "",
    )
    steps = []
    for number, (title, text) in enumerate(zip(TITLES, texts, strict=True), 1):
        state: State = "planned" if text else "skipped" if number == len(TITLES) else "already done"
        say(f"{number} of {len(TITLES)} · {title}")
        say(f"  would {text}" if text else f"  {state}")
        steps.append(StepResult(title, state, text))
    return AdoptResult(name, steps)


def _without_files(say: Say) -> Say:
    """Return `say` for the lines that are about services: those about files name the temporary folder's writes."""

    def say_service(line: str) -> object:
        return None if line.startswith(("written:", "overwritten:", "kept:")) else say(line)

    return say_service

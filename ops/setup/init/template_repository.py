"""Write the folder of a template repository: an example Worker instead of a team's services.

The workflows depend on the names of services and environments alone, so they stay valid when a team edits the rest.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from ops.app import registry
from ops.config import parse_config
from ops.core.errors import ConfigError
from ops.setup.init.command import (
    CONFIG,
    InitResult,
    RepositoryFacts,
    Say,
    apply_file,
    choose_actions_repository,
    compare_file,
    compare_repository,
    is_copy,
    reference_url,
    render_readme,
)
from ops.setup.init.proposal import (
    ConfigProposal,
    EnvironmentProposal,
    ProbeProposal,
    ServiceProposal,
    render_config,
)
from ops.setup.init.resources import Address, Resource
from ops.setup.workflows import FileAction, FileDifference

README = "README.md"
SERVICE, ACCOUNT, WORKER, URL = "app", "0a" * 16, "my-worker", "https://my-worker.example.com"
"""Names and values of the example."""
EDITS = {
    f"account_id: {ACCOUNT}": "ID of your account, on the Workers & Pages page of the dashboard",
    f"worker: {WORKER}": "your Worker",
    f"url: {URL}": "its address",
}
"""Text in ops.yml → comment for the person who edits it."""


def write_template(folder: Path, given_actions: str, environ: Mapping[str, str], say: Say) -> InitResult:
    """Write the files that are missing. A file that differs is shown and kept.

    `given_actions`: commit of the actions as OWNER/NAME@SHA; empty: the one in use, or that of this program.

    Raises:
        ConfigError: no commit of the actions is known, or the folder is a checkout of Backout. Nothing was written.
    """
    if is_copy(folder):
        raise ConfigError(
            f"{folder} is a checkout of Backout", hint="Name another folder: `ops setup template operations-template`."
        )
    actions = choose_actions_repository("", given_actions, environ)
    service = ServiceProposal(
        SERVICE, Resource("worker", WORKER, ACCOUNT), Address(URL), probe=ProbeProposal("home", "/", 200)
    )
    environments = (EnvironmentProposal("production", ACCOUNT, (service,)),)
    text = render_config(ConfigProposal(environments, actions, docs=reference_url(actions), labeled={SERVICE}))
    for line, comment in EDITS.items():
        text = text.replace(f"{line}\n", f"{line} # EDIT: {comment}\n", 1)
    result = InitResult(environments)
    for each in _file_differences(folder, text, given_actions, environ):
        name = each.path.relative_to(folder).as_posix()
        is_kept = each.action is FileAction.KEEP
        if is_kept:
            say(each.diff)
        else:
            apply_file(each)
        result.files[name] = "kept" if is_kept else "written"
        say(f"{result.files[name]}: {name}")
    say(f"Edit in each new repository: {CONFIG}, .github/CODEOWNERS" if result.files else "Every file is up to date.")
    return result


def _file_differences(
    root: Path, text: str, given_actions: str, environ: Mapping[str, str]
) -> Iterator[FileDifference]:
    config, _ = parse_config(text, path=str(root / CONFIG), rules=registry.label_rules())
    compare = partial(compare_file, root)
    others = compare_repository(root, config, RepositoryFacts(given_actions), environ)
    own = (compare(CONFIG, text), compare(README, render_readme(config, is_template=True)))
    yield from filter(None, own)
    yield from (each for each in others if each.path != root / README)

"""Run `ops init`: check options, discover, ask, show the differences, write the files."""

import functools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app import registry
from ops.app.session import find_addresses
from ops.config import parse_config
from ops.config.strict_yaml import as_items, as_mapping, get_nested, read_yaml
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.names import quote_name
from ops.core.next_step import build_command
from ops.probes.http import ProbeClient
from ops.render import TEMPLATES, load_templates, to_one_line
from ops.setup import action_pins, sync, team_file, workflows
from ops.setup.github_secrets import token_url
from ops.setup.init.accounts import open_clients, split_account_name, token_variables
from ops.setup.init.answers import OWNER, check_contact, check_location, check_owner
from ops.setup.init.discovery import Discovery, InitRequest
from ops.setup.init.earlier_config import EXAMPLE, ExistingEnvironment, merge_config, read_environments
from ops.setup.init.github_findings import NOTHING_FOUND, GitHubFindings
from ops.setup.init.proposal import RUNBOOKS, ConfigProposal, EnvironmentProposal, ServiceProposal, unset_lines
from ops.setup.init.questions import Questions, split_answer_list
from ops.setup.workflows import FileAction, FileDifference

if TYPE_CHECKING:
    from ops.config import Config

CONFIG = "ops.yml"
NAMED = 3
"""Services in the title of the README."""
OWNED = "*"
"""All files: also a program that a probe starts runs beside the token."""
CODE_OWNERS_PATH = ".github/CODEOWNERS"
CODE_OWNERS = """\
# These files decide what the jobs with the tokens do.
# Require a review from Code Owners in the ruleset of the default branch.
"""
Say = Callable[[str], object]
OWNER_QUESTION = "GitHub user or team that reviews changes, such as @acme/on-call (Enter: none yet)"
LOCATION_QUESTION = (
    "Place where people on call find the API token, such as 1Password: cloudflare-recovery (Enter: none)"
)
CONTACT_QUESTION = "Person to call when a recovery fails: name, number or link (Enter: none yet)"
KEPT = 2
"""Exit code if a file differs and was kept."""
READS = (
    *("Workers Scripts Read", "Workers Routes Read", "Pages Read", "Zone Read"),
    *("Account Settings Read", "D1 Read", "Workers KV Storage Read"),
)
"""Permission groups of the token that finds services and their URLs."""


@dataclass(frozen=True)
class RepositoryFacts:
    """Facts for the files that no setting of ops.yml holds."""

    given_actions: str = ""
    """Commit of the actions to use, as OWNER/NAME@SHA; empty: the one in use, or that of this program."""
    owner: str = ""
    is_copy: bool = False
    """Whether the folder is a copy of Backout, which has files of its own."""
    added: tuple[str, ...] = ()
    """Environments that are added to an ops.yml of an earlier run."""


def is_copy(folder: Path) -> bool:
    """Return whether the folder is a checkout of Backout."""
    return (folder / "ops" / "__init__.py").is_file() and (folder / "templates" / "workflows").is_dir()


def read_repository_text(root: Path, name: str) -> str | None:
    """Return the text of a file below the folder; None if it is missing. Raises ConfigError."""
    path = root / name
    _require_inside(root, path)
    return team_file.find_text(path)


def _require_inside(root: Path, path: Path) -> None:
    if not path.resolve().is_relative_to(root.resolve()):
        name = path.relative_to(root)
        raise ConfigError(
            f"{name} is a link to a place outside of {root}", hint="Replace the link by a file or folder."
        )


@dataclass(frozen=True)
class KnownFacts:
    """Facts in the files of the folder: defaults of a second run. Empty if unknown."""

    owner: str = ""
    token_location: str = ""
    contact: str = ""
    actions: str = ""


def read_known(root: Path) -> KnownFacts:
    match = re.search(rf"^[*/]\S* ({OWNER})$", read_repository_text(root, CODE_OWNERS_PATH) or "", re.MULTILINE)
    data = read_yaml(read_repository_text(root, CONFIG) or "").data
    places = (get_nested(each, "token_location") for each in as_mapping(get_nested(data, "environments")).values())
    contacts = (get_nested(each, "contact") for each in as_items(get_nested(data, "contacts")))
    return KnownFacts(
        owner=match[1] if match else "",
        token_location=_first_init_answer(places),
        contact=_first_init_answer(contacts),
        actions=_first_init_answer([get_nested(data, "github", "actions")]),
    )


def _first_init_answer(values: Iterable[Any]) -> str:
    return next((value for value in values if isinstance(value, str)), "")


def compare_file(root: Path, name: str, desired: str, former: str = "") -> FileDifference | None:
    """Return the difference of one file; None if it has the desired text. It is kept unless it has the former text."""
    old = read_repository_text(root, name)
    if old == desired:
        return None
    if old is None or (former and old == former):
        return FileDifference(root / name, FileAction.WRITE, "is missing or out of date", old or "", desired)
    return FileDifference(root / name, FileAction.KEEP, "exists, and differs", old, desired)


def compare_repository(
    root: Path, config: "Config", facts: RepositoryFacts, environ: Mapping[str, str], former: "Config | None" = None
) -> list[FileDifference]:
    """Return the differences of all files but ops.yml. `former` is the configuration before environments were added.

    Raises ConfigError if no commit of the actions is known.
    """
    differences_of_files = sync.find_generated_differences(root, config, environ, facts.given_actions)
    for each in differences_of_files:
        _require_inside(root, each.path)
    others = [] if facts.is_copy else list(_own_files(config, facts))
    if read_repository_text(root, str(sync.FORM_PATH)) is None:
        others.append((str(sync.FORM_PATH), sync.rewrite_issue_form(_read_init_template("incident.yml"), config)))
    before = dict(_own_files(former, facts)) if former else {}
    own = (compare_file(root, name, text, before.get(name, "")) for name, text in others)
    return [*differences_of_files, *filter(None, own)]


def complete_files(target: "InitTarget", environ: Mapping[str, str]) -> list[str]:
    """Write the files that are missing beside an ops.yml, as after an `ops init` that was killed; return their names.

    Raises ConfigError.
    """
    root = target.folder
    text = read_repository_text(root, CONFIG) or ""
    config, _ = parse_config(text, path=str(root / CONFIG), rules=registry.label_rules())
    owner = target.owner or read_known(root).owner
    facts = RepositoryFacts(target.actions, owner, is_copy=is_copy(root))
    missing = [
        each
        for each in compare_repository(root, config, facts, environ)
        if each.action is FileAction.WRITE and not each.path.exists()
    ]
    for each in missing:
        apply_file(each)
    return [each.path.relative_to(root).as_posix() for each in missing]


def _own_files(config: "Config", facts: RepositoryFacts) -> Iterator[tuple[str, str]]:
    yield "README.md", render_readme(config)
    yield ".gitignore", _read_init_template("gitignore")
    yield CODE_OWNERS_PATH, _code_owners(facts.owner)
    yield (
        ".github/dependabot.yml",
        _read_init_template("dependabot.yml").replace("OWNER/NAME", config.github.actions or "OWNER/NAME"),
    )


def _code_owners(owner: str) -> str:
    """Return the file; without an owner its rule is a comment, because GitHub refuses an unknown owner."""
    return CODE_OWNERS + (f"{OWNED} {owner}\n" if owner else f"#{OWNED} @OWNER/TEAM\n")


def render_readme(config: "Config", *, is_template: bool = False) -> str:
    """Return the README of the operations repository; in a template, with the two files to edit."""
    rows = [
        {
            "service": each.params.get("service", ""),
            "environment": each.environment,
            "label": name,
            "runbook": each.runbook,
        }
        for name, each in config.labels.items()
    ]
    name, place = next(iter(config.environments.items()))
    service, first = next(iter(place.services.items()))
    return (
        load_templates()
        .get_template("repository_readme.md.j2")
        .render(
            title=_repository_title(config.service_names),
            docs=f"https://github.com/{config.github.actions}",
            rows=rows,
            is_template=is_template,
            command=build_command(
                config.github.laptop_program, RUNBOOKS[first.kind], {"service": service, "environment": name}
            ),
            tokens=list(dict.fromkeys(each.laptop_variables() for each in config.environments.values())),
            install=f"pipx install git+https://github.com/{config.github.actions}@TAG",
        )
        + "\n"
    )


def _repository_title(services: Sequence[str]) -> str:
    more = len(services) - NAMED
    return ", ".join(services[:NAMED]) + (f" and {more} more" if more > 0 else "")


def reference_url(actions: str) -> str:
    """Return the page with all keys of ops.yml. A copy of Backout has its own."""
    page = "docs/reference/ops-yml.md"
    return f"https://github.com/{actions}/blob/HEAD/{page}" if actions else page


@functools.cache
def _read_init_template(name: str) -> str:
    return (TEMPLATES / "repository" / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class InitTarget:
    """The folder to write, and its facts that the account does not show. Empty: ask, or leave out."""

    folder: Path
    owner: str = ""
    token_location: str = ""
    contact: str = ""
    actions: str = ""
    """Commit of the actions to use, as OWNER/NAME@SHA."""
    force: frozenset[str] = frozenset()
    """Files to overwrite, relative to the folder."""
    labels: tuple[str, ...] = ()
    """Services that get a label; empty: an only one."""
    is_adopted: bool = False
    """Whether `ops adopt` goes on: of several services the first one gets a label, and no next step is printed."""
    found: GitHubFindings = NOTHING_FOUND


@dataclass
class InitResult:
    environments: tuple[EnvironmentProposal, ...]
    files: dict[str, str] = field(default_factory=dict)
    """Path → written, overwritten, removed or kept. Unchanged files are left out."""
    unchecked: tuple[str, ...] = ()
    not_set: tuple[str, ...] = ()
    """Settings that a team may need and that were not written."""

    @property
    def exit_code(self) -> int:
        return KEPT if "kept" in self.files.values() else 0

    def to_json(self) -> dict[str, Any]:
        return {
            "environments": {each.name: _environment_json(each) for each in self.environments},
            "files": self.files,
            "unchecked": list(self.unchecked),
            "not_set": list(self.not_set),
            "exit_code": self.exit_code,
        }


def read_only_token_url() -> str:
    """Return Cloudflare's form for a token with which `ops init` can read all accounts of a person."""
    return token_url(READS, "*", "Backout init")


def init_repository(
    request: InitRequest, target: InitTarget, questions: Questions, environ: Mapping[str, str], say: Say
) -> InitResult:
    """Write the files. An existing file that differs is shown, and kept unless `force` or an answer names it.

    Raises:
        ConfigError: a flag is wrong, or something needed is unknown. Nothing was written.
    """
    _check_actions(target, environ)
    base_url, edge_url, clock = find_addresses(environ)
    earlier = _read_earlier(target.folder)
    named = (*(split_account_name(each, "")[1] for each in request.tokens), *(each.token for each in earlier.values()))
    with ExitStack() as ending:
        clients = open_clients(token_variables(environ, named), environ, base_url, clock, ending)
        web = ProbeClient(edge_url)
        ending.callback(web.close)
        account = environ.get("CLOUDFLARE_ACCOUNT_ID", "")
        discovery = Discovery(request, questions, clients, web, clock, account, existing=earlier)
        environments = discovery.propose()
    labeled = _choose_labeled(target, [each for place in environments for each in place.services])
    not_set = tuple(unset_lines(environments, labeled, target.found))
    result = InitResult(environments, unchecked=tuple(dict.fromkeys(discovery.unchecked)), not_set=not_set)
    _show_init_result(result, say)
    _write_initial_files(result, target, questions, environ, say)
    return result


def _read_earlier(root: Path) -> dict[str, ExistingEnvironment]:
    """Return the environments of the ops.yml in the folder, without those of the shipped example."""
    example = read_repository_text(root, str(EXAMPLE)) if is_copy(root) else ""
    return read_environments(read_repository_text(root, CONFIG) or "", example or "")


def _check_actions(target: InitTarget, environ: Mapping[str, str]) -> None:
    """Raise ConfigError before the first question if the commit of the actions is unknown or wrong."""
    root = target.folder
    if not is_copy(root):
        repository = choose_actions_repository(read_known(root).actions, target.actions, environ)
        action_pins.choose_pin(
            repository, workflows.own_pins(root / workflows.FOLDER, repository), target.actions, environ
        )


def _show_init_result(result: InitResult, say: Say) -> None:
    for environment in result.environments:
        say(f"{environment.name}: account {environment.account_id}, token {environment.token}")
        for each in environment.services:
            probe = f"probe {each.probe.path}" if each.probe else "no probe"
            at = each.address or "no url"
            say(f"  {each.name}: {each.resource.kind} {each.resource.name}, {at}, {probe}")
    if result.unchecked:
        say("Not checked, or left out:")
    for line in result.unchecked:
        say(to_one_line(f"  {line}"))
    say("Not set (all keys are in the reference of ops.yml):")
    for line in result.not_set:
        say(f"  {line}")


def _write_initial_files(
    result: InitResult, target: InitTarget, questions: Questions, environ: Mapping[str, str], say: Say
) -> None:
    root = target.folder
    facts, text = _describe_repository(result, target, questions, environ)
    find = partial(_file_differences, root, text, facts, environ)
    different = find(target.force)
    force = target.force
    if named := _ask_to_write(different, target, questions, say):
        force |= named
        different = find(force)
    for each in different:
        name = each.path.relative_to(root).as_posix()
        is_kept = each.action is FileAction.KEEP and name not in force
        if not is_kept:
            apply_file(each)
        elif not questions.is_interactive:
            say(each.diff)
        state = "kept" if is_kept else "removed" if not each.desired else "overwritten" if each.old else "written"
        if name == CONFIG and facts.added:
            state = "extended"
        result.files[name] = state
        say(f"{state}: {name}")
    if not different:
        say("Every file is up to date.")
    elif result.files.get(CONFIG) in {"written", "extended"} and not target.is_adopted:
        say(_describe_next_commands(result, "./run ops" if is_copy(root) else "ops"))
    kept = [name for name, state in result.files.items() if state == "kept"]
    if kept:
        say(f"To overwrite: {' '.join(f'--force {name}' for name in kept)}")


def _describe_next_commands(result: InitResult, program: str) -> str:
    kind = next(each.resource.kind for environment in result.environments for each in environment.services)
    steps = ("setup github", f"drill rollback-{kind} --config ops.yml", "doctor")
    commands = ", ".join(f"`{program} {step}`" for step in steps)
    return f"Next: commit and push the folder to a private repository on GitHub. Then run in it: {commands}."


def _describe_repository(
    result: InitResult, target: InitTarget, questions: Questions, environ: Mapping[str, str]
) -> tuple[RepositoryFacts, str]:
    """Return the facts for the files, and the text of ops.yml. Existing files give the default answers."""
    root, copied = target.folder, is_copy(target.folder)
    known = read_known(root)
    owner = check_owner(target.owner)
    if not owner and not copied:
        owner = questions.answer(OWNER_QUESTION, check_owner, known.owner)
    place = check_location(target.token_location)
    place = place or questions.answer(LOCATION_QUESTION, check_location, known.token_location)
    contact = check_contact(target.contact)
    contact = contact or questions.answer(CONTACT_QUESTION, check_contact, known.contact)
    actions = "" if copied else choose_actions_repository(known.actions, target.actions, environ)
    program, docs = "ops" if actions else "./run ops", reference_url(actions)
    labeled = _choose_labeled(target, [each for place in result.environments for each in place.services])
    proposal = ConfigProposal(result.environments, actions, program, docs, place, contact, labeled, target.found)
    old, is_forced = read_repository_text(root, CONFIG) or "", CONFIG in target.force
    merged = merge_config(old, _read_earlier(root), proposal, is_forced=is_forced)
    return RepositoryFacts(target.actions, owner, is_copy=copied, added=merged.added), merged.text


def _choose_labeled(target: InitTarget, services: Iterable[ServiceProposal]) -> frozenset[str]:
    """Return the services that get a label: those that the team names, else an only one. Raises ConfigError."""
    names = list(dict.fromkeys(each.name for each in services))
    if unknown := sorted(set(target.labels) - set(names)):
        raise ConfigError(
            f'--label names "{quote_name(unknown[0])}", which is no service here',
            hint=f"Choose one of: {', '.join(sorted(names))}.",
        )
    return frozenset(target.labels or (names[:1] if target.is_adopted or len(names) == 1 else ()))


def choose_actions_repository(known: str, given: str, environ: Mapping[str, str]) -> str:
    """Return the repository of Backout: the given one, the one in ops.yml, or that of this program."""
    if given:
        return given.partition("@")[0]
    own = next(action_pins.find_releases(environ), None)
    if repository := known or (own.repository if own else ""):
        return repository
    raise ConfigError(
        "this program is not from a repository on github.com, so the one with the actions is not known",
        hint="Add --actions OWNER/NAME@SHA, with the full commit SHA of a release of Backout. Nothing was written.",
    )


def _file_differences(
    root: Path, text: str, facts: RepositoryFacts, environ: Mapping[str, str], force: Collection[str]
) -> list[FileDifference]:
    """Return the differences of all files. The others follow the ops.yml that is there afterwards."""
    own, former = compare_file(root, CONFIG, text), None
    parse = partial(parse_config, path=str(root / CONFIG), rules=registry.label_rules())
    if own and facts.added:
        own = replace(own, action=FileAction.WRITE, why=f"gets {', '.join(facts.added)}")
        former = parse(own.old)[0]
    if own and own.action is FileAction.KEEP and CONFIG not in force:
        text = own.old
    return [*([own] if own else []), *compare_repository(root, parse(text)[0], facts, environ, former)]


def _ask_to_write(
    different: Sequence[FileDifference], target: InitTarget, questions: Questions, say: Say
) -> frozenset[str]:
    """Show what differs, and return the files to overwrite. Raises Refused if nothing may be written."""
    if not questions.is_interactive or not different:
        return frozenset()
    names = {each.path.relative_to(target.folder).as_posix(): each for each in different}
    kept = [n for n, each in names.items() if each.action is FileAction.KEEP and n not in target.force]
    for each in names.values():
        if each.action is FileAction.KEEP or (each.old and each.path.name == CONFIG):
            say(each.diff)
    text = f"Write {len(different) - len(kept)} files to {target.folder.resolve()}? yes or no"
    if kept:
        text += f"; or the names of files to overwrite too: {', '.join(kept)}"
    named = questions.answer(text, partial(_parse_files, kept), "yes")
    if named is None:
        hint = "Run `ops init` again, and answer yes."
        raise Refused("not confirmed; nothing was written", reason=Reason.NOT_CONFIRMED, hint=hint)
    return named


def _parse_files(kept: Sequence[str], answer: str) -> frozenset[str] | None:
    """Return the named files; none of them for yes, and None for no."""
    if answer.casefold() in {"yes", "y"}:
        return frozenset()
    if answer.casefold() in {"no", "n"}:
        return None
    if unknown := next((name for name in split_answer_list(answer) if name not in kept), None):
        raise ConfigError(
            f'"{quote_name(unknown)}" is not a file of the list', hint="Write yes, no or names of the list."
        )
    return frozenset(split_answer_list(answer))


def apply_file(difference: FileDifference) -> None:
    try:
        workflows.apply_difference(difference)
    except OSError as error:
        raise ConfigError(
            f"{difference.path} cannot be written ({error.strerror})", hint="Run `ops init` for a folder of your own."
        ) from None


def _environment_json(environment: EnvironmentProposal) -> dict[str, Any]:
    return {
        "account_id": environment.account_id,
        "token": environment.token,
        "services": {
            each.name: {
                each.resource.kind: each.resource.name,
                "url": each.address.origin if each.address else "",
                "probe": each.probe.path if each.probe else None,
            }
            for each in environment.services
        },
    }

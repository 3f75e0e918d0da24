"""Files of an operations repository, and how they differ from those in a folder."""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.config.strict_yaml import as_items, as_mapping, get_nested, read_yaml
from ops.core.errors import ConfigError
from ops.core.next_step import build_command
from ops.render.markdown import TEMPLATES, load_templates
from ops.setup import issue_form, sync
from ops.setup.workflows import FileAction, FileDifference

if TYPE_CHECKING:
    from ops.config import Config

CONFIG = "ops.yml"
NAMED = 3
"""Services in the title of the README."""
OWNED = "*"
"""All files: also a program that a probe starts runs beside the token."""
OWNER = r"@[A-Za-z0-9][A-Za-z0-9-]*(?:/[A-Za-z0-9._-]+)?"
CODE_OWNERS_PATH = ".github/CODEOWNERS"
CODE_OWNERS = """\
# These files decide what the jobs with the tokens do.
# Require a review from Code Owners in the ruleset of the default branch.
"""


@dataclass(frozen=True)
class RepositoryFacts:
    """Facts for the files that no setting of ops.yml holds."""

    given_actions: str = ""
    """Commit of the actions to use, as OWNER/NAME@SHA; empty: the one in use, or that of this program."""
    owner: str = ""
    is_copy: bool = False
    """Whether the folder is a copy of Backout, which has files of its own."""


def is_copy(folder: Path) -> bool:
    """Return whether the folder is a checkout of Backout."""
    return (folder / "ops" / "__init__.py").is_file() and (folder / "templates" / "workflows").is_dir()


def read_text(root: Path, name: str) -> str | None:
    """Return the text of a file below the folder; None if it is missing. Raises ConfigError."""
    path = root / name
    _require_inside(root, path)
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror})", hint="Remove it, or use another folder."
        ) from None


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
    found = re.search(rf"^[*/]\S* ({OWNER})$", read_text(root, CODE_OWNERS_PATH) or "", re.MULTILINE)
    data = read_yaml(read_text(root, CONFIG) or "").data
    places = (get_nested(each, "token_location") for each in as_mapping(get_nested(data, "environments")).values())
    contacts = (get_nested(each, "contact") for each in as_items(get_nested(data, "contacts")))
    return KnownFacts(
        owner=found[1] if found else "",
        token_location=_first_text(places),
        contact=_first_text(contacts),
        actions=_first_text([get_nested(data, "github", "actions")]),
    )


def _first_text(values: Iterable[Any]) -> str:
    return next((value for value in values if isinstance(value, str)), "")


def compare(root: Path, name: str, desired: str) -> FileDifference | None:
    """Return the difference of one file; None if it has the desired text. An existing file is kept."""
    old = read_text(root, name)
    if old == desired:
        return None
    if old is None:
        return FileDifference(root / name, FileAction.WRITE, "is missing", desired=desired)
    return FileDifference(root / name, FileAction.KEEP, "exists, and differs", old, desired)


def differences(
    root: Path, config: "Config", facts: RepositoryFacts, environ: Mapping[str, str]
) -> list[FileDifference]:
    """Return the differences of all files but ops.yml. Raises ConfigError if no commit of the actions is known."""
    found = sync.find_differences(root, config, environ, facts.given_actions)
    for each in found:
        _require_inside(root, each.path)
    others = [] if facts.is_copy else list(_own_files(config, facts))
    if read_text(root, str(issue_form.PATH)) is None:
        others.append((str(issue_form.PATH), issue_form.rewrite_form(_template("incident.yml"), config)))
    return [*found, *filter(None, (compare(root, name, text) for name, text in others))]


def _own_files(config: "Config", facts: RepositoryFacts) -> Iterator[tuple[str, str]]:
    yield "README.md", _readme(config)
    yield ".gitignore", _template("gitignore")
    yield CODE_OWNERS_PATH, _code_owners(facts.owner)
    yield (
        ".github/dependabot.yml",
        _template("dependabot.yml").replace("OWNER/NAME", config.github.actions or "OWNER/NAME"),
    )


def _code_owners(owner: str) -> str:
    """Return the file; without an owner its rule is a comment, because GitHub refuses an unknown owner."""
    return CODE_OWNERS + (f"{OWNED} {owner}\n" if owner else f"#{OWNED} @OWNER/TEAM\n")


def _readme(config: "Config") -> str:
    rows = [
        {
            "service": each.params.get("service", ""),
            "environment": each.environment,
            "label": name,
            "runbook": each.runbook,
        }
        for name, each in config.labels.items()
    ]
    first = next(iter(config.labels.values()), None)
    options = {**first.params, "environment": first.environment} if first else {}
    return (
        load_templates()
        .get_template("repository_readme.md.j2")
        .render(
            title=_title(config.service_names),
            docs=f"https://github.com/{config.github.actions}",
            rows=rows,
            command=build_command(config.github.laptop_program, first.runbook if first else "--help", options),
            tokens=list(dict.fromkeys(each.laptop_variables() for each in config.environments.values())),
            install=f"pipx install git+https://github.com/{config.github.actions}@TAG",
        )
        + "\n"
    )


def _title(services: Sequence[str]) -> str:
    more = len(services) - NAMED
    return ", ".join(services[:NAMED]) + (f" and {more} more" if more > 0 else "")


def reference_url(actions: str) -> str:
    """Return the page with all keys of ops.yml. A copy of Backout has its own."""
    page = "docs/reference/ops-yml.md"
    return f"https://github.com/{actions}/blob/HEAD/{page}" if actions else page


@functools.cache
def _template(name: str) -> str:
    return (TEMPLATES / "repository" / name).read_text(encoding="utf-8")

"""The ops.yml of an earlier `ops init`: its environments, and its text with new ones added."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ops.config.checks import DEFAULT_TOKEN
from ops.config.strict_yaml import as_mapping, get_nested, read_yaml
from ops.config.types import ACCOUNT
from ops.core.errors import ConfigError
from ops.core.names import quote_name
from ops.setup.init.proposal import ConfigProposal, environment_lines, label_lines, render_config

EXAMPLE = Path("examples", "fortunet", "ops.yml")
"""Configuration of the reference application, which a copy of Backout has until its team replaces it."""


@dataclass(frozen=True)
class ExistingEnvironment:
    account_id: str
    token: str = DEFAULT_TOKEN
    """NAME of the variable with its token."""


def read_environments(text: str, example: str = "") -> dict[str, ExistingEnvironment]:
    """Return the environments of the text, without those of the example. Empty for text that is not YAML."""
    shipped = {each.account_id for each in read_environments(example).values()} if example else set()
    found = {}
    for name, each in as_mapping(get_nested(read_yaml(text).data, "environments")).items():
        account, token = get_nested(each, "account_id"), get_nested(each, "token")
        if isinstance(account, str) and re.fullmatch(ACCOUNT, account) and account not in shipped:
            found[name] = ExistingEnvironment(account, token if isinstance(token, str) else DEFAULT_TOKEN)
    return found


@dataclass(frozen=True)
class ConfigText:
    """Text of ops.yml as it should be."""

    text: str
    added: tuple[str, ...] = ()
    """Environments that are added to the existing text; empty if the whole text is a proposal."""


def merge_config(
    old: str, existing: Mapping[str, ExistingEnvironment], proposal: ConfigProposal, *, is_forced: bool
) -> ConfigText:
    """Return the proposal as text; where it lacks or adds environments, the old text with the new ones added.

    Raises:
        ConfigError: `is_forced`, and the proposal lacks an environment of ops.yml; or the text has another form.
    """
    names = [each.name for each in proposal.environments]
    lacking = [name for name in existing if name not in names]
    new = [each for each in proposal.environments if each.name not in existing]
    if is_forced and lacking:
        account = existing[lacking[0]].account_id
        raise ConfigError(
            f"--force ops.yml would remove {', '.join(map(quote_name, lacking))}, which this run did not read",
            hint=f"Read it too: `ops init --account {quote_name(lacking[0])}={account}`. Or remove it by hand.",
        )
    if is_forced or not (existing and (lacking or new)):
        return ConfigText(render_config(proposal))
    if not new:
        return ConfigText(old)
    text = _add_environments(old, replace(proposal, environments=tuple(new)))
    return ConfigText(text, tuple(each.name for each in new))


def _add_environments(old: str, proposal: ConfigProposal) -> str:
    """Return the text with new environments and their labels. Raises ConfigError if it would change anything else."""
    lines = [line for each in proposal.environments for line in environment_lines(each, proposal.token_location)]
    labels = list(label_lines(proposal.environments, proposal.labeled, has_others=True))
    return insert_environments(old, [each.name for each in proposal.environments], lines, labels)


def insert_environments(old: str, names: Sequence[str], lines: Sequence[str], labels: Sequence[str]) -> str:
    """Return the text with the lines of new environments, named `names`, and of labels.

    Raises ConfigError if it would change anything else.
    """
    text = _insert_config_lines(old, "environments", lines)
    text = _insert_config_lines(text, "labels", labels) if labels else text
    before, after = (as_mapping(read_yaml(each).data) for each in (old, text))
    if read_yaml(text).problems or before != _without_new(after, names, set(as_mapping(before.get("labels")))):
        raise ConfigError(
            f"ops.yml has another form than `ops init` writes, so {', '.join(names)} cannot be added to it",
            hint="Run `ops init` for an empty folder with the same --account, and copy the environment by hand.",
        )
    return text


def _without_new(data: Mapping[str, Any], environments: Iterable[str], labels: set[str]) -> dict[str, Any]:
    """Return the document without the new environments, and with the old labels alone."""
    left = set(environments)
    kept = {key: value for key, value in as_mapping(data.get("environments")).items() if key not in left}
    old = {key: value for key, value in as_mapping(data.get("labels")).items() if key in labels}
    return {
        key: kept if key == "environments" else old if key == "labels" else value
        for key, value in data.items()
        if key != "labels" or old
    }


def _insert_config_lines(text: str, key: str, new: Sequence[str]) -> str:
    """Add lines to the end of a block of the top level; add the block if it is missing."""
    lines = text.splitlines()
    start = next((at for at, line in enumerate(lines) if line.partition("#")[0].rstrip() == f"{key}:"), None)
    if start is None:
        return "\n".join([*lines, "", f"{key}:", *new]) + "\n"
    end = next((at for at in range(start + 1, len(lines)) if re.match(r"[^\s#]", lines[at])), len(lines))
    while end > start + 1 and not re.match(r"\s+\S", lines[end - 1]):
        end -= 1
    indent = next((each[0] for line in lines[start + 1 : end] if (each := re.match(r" +(?=[^\s#])", line))), "  ")
    return "\n".join([*lines[:end], *(indent + line.removeprefix("  ") for line in new), *lines[end:]]) + "\n"

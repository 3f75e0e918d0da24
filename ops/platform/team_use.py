"""Refuse an account or a repository that the team uses, for a measurement and for a drill."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from ops.core.errors import Reason, Refused

if TYPE_CHECKING:
    from ops.config import Config


def require_unused_account(account: str, config: "Config", file: str) -> None:
    """Raise Refused if the account holds a service of `file`, which is ops.yml."""
    holding = [
        f"{each.name} ({', '.join(each.services)})"
        for each in config.environments.values()
        if each.account_id == account and each.services
    ]
    if holding:
        raise Refused(
            f"the account holds services of {file}: {'; '.join(holding)}",
            reason=Reason.NOT_AUTHORISED,
            hint="Take an empty account, or add `--same-account`: a run writes only to resources of its own.",
        )


def require_unused_repository(repository: str, used: Iterable[str], file: str) -> None:
    """Raise Refused if the repository is one of those that `file`, which is ops.yml, or the checkout uses."""
    if repository.lower() not in {each.lower() for each in used}:
        return
    raise Refused(
        f"{file} or this checkout uses the repository {repository}",
        reason=Reason.NOT_AUTHORISED,
        hint=(
            "Take an empty private repository of the same owner, or add `--same-repository`: a run changes only what "
            "it makes, and you merge two pull requests into the default branch."
        ),
    )


def list_repositories(config: "Config") -> Iterator[str]:
    """Yield the repositories that ops.yml names in any section."""
    yield from _find_field_texts(config.model_dump(), "repository")


def _find_field_texts(value: object, name: str) -> Iterator[str]:
    """Yield the texts of every field with this name, at any depth."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key == name and isinstance(each, str):
                yield each
            else:
                yield from _find_field_texts(each, name)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _find_field_texts(each, name)

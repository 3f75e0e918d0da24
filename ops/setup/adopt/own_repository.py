"""Choose the name of a folder's repository, and find the one that its `ops adopt` created."""

from ops.core.errors import ConfigError
from ops.github.repositories import FoundRepository, RepositoryApi
from ops.setup.adopt.record import AdoptRecord
from ops.setup.init.answers import parse_repository
from ops.setup.init.questions import Questions

REPOSITORY_QUESTION = "Private repository to create on GitHub, OWNER/NAME"
DEFAULT_NAME = "operations"


def choose_own_repository(record: AdoptRecord, given: str, default_owner: str, questions: Questions) -> str:
    """Return the recorded name, else the given one, else ask. Raises ConfigError."""
    if known := record.repository:
        if given and given.lower() != known.lower():
            text = f"this folder belongs to {known}, not to {given}"
            raise ConfigError(text, hint="Choose another folder: `ops adopt FOLDER`.")
        return known
    if given:
        return parse_repository(given)
    return questions.answer(REPOSITORY_QUESTION, parse_repository, f"{default_owner}/{DEFAULT_NAME}")


def repository_name_taken(name: str) -> ConfigError:
    hint = (
        "Choose another name: `ops adopt --repo OWNER/NAME`. For a repository that exists, use the single commands "
        "of docs/how-to/set-up.md."
    )
    return ConfigError(f"the name {name} is in use, and this folder's `ops adopt` did not create it", hint=hint)


def find_or_require_free(api: RepositoryApi, record: AdoptRecord, name: str) -> FoundRepository | None:
    """Return the own repository; None if the name is free. Raises ConfigError if it is archived, or of others."""
    if found := find_unarchived(api, record, name):
        return found
    if api.find(name) is not None:
        raise repository_name_taken(name)
    return None


def find_unarchived(api: RepositoryApi, record: AdoptRecord, name: str) -> FoundRepository | None:
    """Return the result of `find_own`. Raises ConfigError if it is archived."""
    found = find_own(api, record, name)
    if found and found.is_archived:
        raise ConfigError(
            f"{found.full_name} is archived",
            hint="Unarchive it in its settings, or choose another folder: `ops adopt FOLDER`.",
        )
    return found


def find_own(api: RepositoryApi, record: AdoptRecord, name: str) -> FoundRepository | None:
    """Return the repository if its description has the id of the record; None if it was not created.

    Raises ConfigError if it was created and is missing or changed: GitHub also hides it from a token without access.
    """
    found = api.find(name)
    if found is not None and record.id in found.description:
        return found
    if not record.was_created:
        return None
    if found is None:
        text = f"{name} was deleted, or this token cannot read it"
        worker = f"the Worker {record.drill} of account {record.drill_account}, then " if record.drill else ""
        deleted = f"If it was deleted, delete {worker}{record.path}, and start again."
        hint = f"Use the token of a person who can read it. {deleted}"
        raise ConfigError(text, hint=hint)
    text = f"{name} is not the repository that `ops adopt` made: its description changed"
    raise ConfigError(text, hint=f"Write `{record.description}` as its description, then run the same command again.")

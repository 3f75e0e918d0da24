"""Find the repository that a folder's `ops adopt` created."""

from ops.core.errors import ConfigError
from ops.github.repositories import FoundRepository, RepositoryApi
from ops.setup.adopt.record import AdoptRecord


def find_own(api: RepositoryApi, record: AdoptRecord) -> FoundRepository | None:
    """Return the repository of the record; None if it was not created.

    Raises ConfigError if it was created and is missing or changed: GitHub also hides it from a token without access.
    """
    name = record.repository
    found = api.find(name) if name else None
    if found is not None and record.id in found.description:
        return found
    if not record.was_created:
        return None
    if found is None:
        text = f"{name} was deleted, or this token cannot read it"
        hint = f"Use the token of a person who can read it. If it was deleted, delete {record.path}, and start again."
        raise ConfigError(text, hint=hint)
    text = f"{name} is not the repository that `ops adopt` made: its description changed"
    raise ConfigError(text, hint=f"Write `{record.description}` as its description, then run the same command again.")

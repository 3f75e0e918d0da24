"""Check answers of `ops init` that no account shows: owner, contact, token, repository."""

import re

from ops.config.types import LONGEST_PLACE, REPOSITORY, looks_like_a_value
from ops.core.errors import ConfigError
from ops.core.names import quote_name

OWNER = r"@[A-Za-z0-9][A-Za-z0-9-]*(?:/[A-Za-z0-9._-]+)?"
LONGEST_CONTACT = 200


def parse_repository(name: str) -> str:
    """Return OWNER/NAME of a repository on GitHub. Raises ConfigError."""
    if not re.fullmatch(REPOSITORY, name):
        hint = "Write OWNER/NAME, such as acme/operations."
        raise ConfigError(f'"{quote_name(name)}" is not a repository', hint=hint)
    return name


def check_owner(owner: str) -> str:
    if owner and not re.fullmatch(OWNER, owner):
        raise ConfigError(
            f'"{quote_name(owner)}" is not an owner for CODEOWNERS', hint="Write @LOGIN or @ORGANIZATION/TEAM."
        )
    return owner


def check_location(place: str) -> str:
    if len(place) > LONGEST_PLACE or looks_like_a_value(place):
        hint = "Write the place, such as 1Password: cloudflare-recovery, never the token."
        raise ConfigError("the place of the token is too long, or looks like a token", hint=hint)
    return place


def check_contact(contact: str) -> str:
    if len(contact) > LONGEST_CONTACT:
        raise ConfigError(f"the contact has more than {LONGEST_CONTACT} characters", hint="Write a name or number.")
    return contact

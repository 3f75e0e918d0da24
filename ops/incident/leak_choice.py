"""What replaces a secret of `ops.yml` that has leaked: a runbook where there is one for it, else words for a person."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops.config import Config

RUNBOOK = "rotate-secrets"


@dataclass(frozen=True)
class Replacement:
    """`service` is one for which the runbook replaces it; without one, `by_hand` says what a person does."""

    environment: str
    service: str = ""
    by_hand: str = ""


def names(config: "Config") -> frozenset[str]:
    """Every secret that ops.yml names."""
    found = {*config.notify.webhooks.values(), *config.logins}
    for environment in config.environments.values():
        found |= {environment.token, *environment.secrets}
    return frozenset(found)


def replacements(config: "Config", name: str) -> Iterator[Replacement]:
    """In the order of ops.yml."""
    for environment in config.environments.values():
        declared = environment.secrets.get(name)
        if declared is not None and declared.rotate == "never":
            yield Replacement(environment.name, by_hand=NEVER)
        elif declared is not None:
            yield Replacement(environment.name, service=declared.consumers[0])
        if environment.token == name:
            yield Replacement(environment.name, by_hand=BY_DASHBOARD)
    if name in config.notify.webhooks.values():
        yield Replacement("", by_hand=WEBHOOK)
    if name in config.logins:
        yield Replacement("", by_hand=LOGIN)


NEVER = "ops.yml says rotate: never. Decide who replaces it, and what is lost by that."
LOGIN = "Change the password of the account with which the probes log in, then the secret."
BY_DASHBOARD = (
    "Roll the token at dash.cloudflare.com → Manage account → API tokens, "
    "then set the secret anew in every GitHub environment that has it."
)
WEBHOOK = "Delete the webhook in the chat's settings, make a new one, then set the secret anew."

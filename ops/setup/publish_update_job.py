"""Values of the generated workflow that publishes updates. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.core.names import STATUS_LABEL
from ops.core.public_update import CONDITIONS, PublicState
from ops.gate.update import BY_STATE
from ops.setup.workflow_jobs import secret_expressions

if TYPE_CHECKING:
    from ops.config import Config

GITHUB_ENVIRONMENT = "report"
MOST_NAMES = 150
"""Characters of the names of components in a description."""


@dataclass(frozen=True)
class PublishUpdateJob:
    components: str
    """Description of the field, with the names of the components."""
    secrets: Mapping[str, str]
    """Variable → expression of its secret: key of a provider's page, and the team's chats."""
    states: tuple[str, ...] = tuple(each.words for each in PublicState)
    conditions: tuple[str, ...] = (BY_STATE, *(each.words for each in CONDITIONS))
    label: str = STATUS_LABEL


def publish_update_job(config: "Config") -> PublishUpdateJob | None:
    """Return the values of the workflow; None if ops.yml has no status page."""
    if (page := config.status_page) is None:
        return None
    names = ", ".join(page.component_names)
    shown = names if len(names) <= MOST_NAMES else f"{names[:MOST_NAMES].rpartition(',')[0]}, …"
    described = f"Components, separated by commas: {shown} (default: those of the incident)".replace('"', "'")
    tokens = [page.token] if page.token else []
    secrets = secret_expressions(config, GITHUB_ENVIRONMENT, [*tokens, *config.notify.secret_names])
    return PublishUpdateJob(described.replace("${{", "$ {{").replace("\\", "/"), secrets)


def list_update_secrets(config: "Config") -> tuple[str, ...]:
    """Return the names of the secrets that only this workflow needs."""
    return (config.status_page.token,) if config.status_page and config.status_page.token else ()

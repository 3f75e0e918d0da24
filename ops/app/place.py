"""Choose environment and service for a command without them: the only ones that fit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.app.buttons import AnyRunbook, fitting_environments, fitting_services
from ops.core.errors import ConfigError, Reason
from ops.core.names import did_you_mean, quote_name

if TYPE_CHECKING:
    from ops.config import Config

SERVICE, ENVIRONMENT = "service", "environment"
NEEDS = {
    "worker": "a service with `worker`",
    "pages": "a service with `pages`",
    "runtime": "an environment with `runtime`",
}
"""Kind of a runbook → the part of ops.yml that it needs."""
LISTED = 12
"""Commands that a refusal lists at most."""


@dataclass(frozen=True)
class Place:
    """Environment and service of a run. An empty text is not chosen yet, or not needed."""

    environment: str = ""
    service: str = ""

    def __str__(self) -> str:
        return f"{self.service} in {self.environment}" if self.service else self.environment

    def matches(self, other: "Place") -> bool:
        """Return whether the other place has every name that this one gives."""
        return self.environment in ("", other.environment) and self.service in ("", other.service)


def runbook_places(config: "Config", runbook: AnyRunbook, *, with_service: bool) -> list[Place]:
    """Return the places that fit a runbook, in the order of `ops.yml`."""
    if not with_service:
        return [Place(each.name) for each in fitting_environments(config, runbook)]
    return [
        Place(each.name, service)
        for each in fitting_environments(config, runbook)
        for service in fitting_services(each, runbook)
    ]


def choose_place(
    name: str, given: Place, places: Sequence[Place], command: Callable[[Place], str], *, needs: str = ""
) -> Place:
    """Return the only place that fits the given names.

    `name` is that of the command, and `needs` the part of ops.yml that it needs, both for people. `command` returns
    the full command for a place.

    Raises:
        ConfigError: none fits, or several do.
    """
    fitting = [place for place in places if given.matches(place)]
    if len(fitting) == 1:
        return fitting[0]
    if not places:
        raise ConfigError(
            f"nothing in ops.yml fits {name}",
            reason=Reason.UNKNOWN_NAME,
            hint=f"It needs {needs} with the settings for it: see the reference of ops.yml.",
        )
    if not fitting:
        typed, known = (given.service, SERVICE) if given.service else (given.environment, ENVIRONMENT)
        near = did_you_mean(typed, dict.fromkeys(getattr(place, known) for place in places))
        raise ConfigError(
            f'no {known} "{quote_name(typed)}" that fits {name}{near}',
            reason=Reason.UNKNOWN_NAME,
            hint=f"These fit: {_list(places)}.",
        )
    missing = [
        f"no {option}"
        for option in (SERVICE, ENVIRONMENT)
        if not getattr(given, option) and len({getattr(place, option) for place in fitting}) > 1
    ]
    raise ConfigError(
        f"{' and '.join(missing)} given, and ops.yml has {len(fitting)} choices: {_list(fitting)}",
        reason=Reason.UNKNOWN_NAME,
        problems=tuple(command(place) for place in fitting[:LISTED]),
        hint="Run one of these commands.",
    )


def _list(places: Sequence[Place]) -> str:
    return ", ".join([*map(str, places[:LISTED]), *(["…"] if places[LISTED:] else [])])

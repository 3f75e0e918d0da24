"""Lists of responders: those that apply to a request, and the people who are in all of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KEY = "responders"


@dataclass(frozen=True)
class ResponderList:
    """Logins of one list in ops.yml; `place` names it for people."""

    place: str
    logins: tuple[str, ...]

    def includes(self, login: str) -> bool:
        return login.lower() in {each.lower() for each in self.logins}


@dataclass(frozen=True)
class RequestScope:
    """The part of ops.yml that a request concerns. Empty: none of that kind."""

    environment: str = ""
    services: tuple[str, ...] = ()
    runbook: str = ""


def find_lists(config: Any, scope: RequestScope) -> tuple[ResponderList, ...]:
    """Return the lists of ops.yml that apply, the widest first; an empty list does not restrict.

    `config` is the configuration, or the data of its file. Raises TypeError if a list of the data holds no texts.
    """
    lists = (
        ResponderList(place, _parse_logins(_config_value(config, *path))) for place, path in _responder_places(scope)
    )
    return tuple(each for each in lists if each.logins)


def permitted_logins(lists: Sequence[ResponderList]) -> tuple[str, ...]:
    """Return the people who are in all lists, in the order of the narrowest one; empty if no list applies."""
    return tuple(login for login in (lists[-1].logins if lists else ()) if all(each.includes(login) for each in lists))


def describe_permitted(lists: Sequence[ResponderList]) -> str:
    """Return the people who are in all lists, for people."""
    return ", ".join(permitted_logins(lists)) or "nobody, because these lists have no common login"


def _responder_places(scope: RequestScope) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "ops.yml", (KEY,)
    if scope.environment:
        yield f"environment {scope.environment} in ops.yml", ("environments", scope.environment, KEY)
    for service in scope.services:
        place = f"service {service} of {scope.environment} in ops.yml"
        yield place, ("environments", scope.environment, "services", service, KEY)
    if scope.runbook:
        yield f"runbook {scope.runbook} in ops.yml", ("runbooks", scope.runbook, KEY)


def _config_value(config: Any, *path: str) -> Any:
    for name in path:
        config = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
    return config


def _parse_logins(value: Any) -> tuple[str, ...]:
    if not isinstance(value, Iterable) or isinstance(value, str | Mapping):
        if value is not None:
            raise TypeError("no list of logins")
        return ()
    logins = tuple(value)
    if not all(isinstance(login, str) for login in logins):
        raise TypeError("no list of logins")
    return logins

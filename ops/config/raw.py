"""Looking into the plain data of `ops.yml` while it may have any shape: what is not there is empty."""

from collections.abc import Iterator, Mapping
from typing import Any

from ops.config.strict_yaml import Path

Finding = tuple[Path, str]


def at(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = mapping(value).get(key) if isinstance(key, str) else None
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def items(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else ()


def services(data: Any) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Of all environments, each with its path."""
    for environment, holder in mapping(at(data, "environments")).items():
        for name, service in mapping(at(holder, "services")).items():
            if isinstance(service, dict):
                yield ("environments", environment, "services", name), service

"""The lists in the button workflows that come from ops.yml: services and environments."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops.model.config import Config

FOLDER = Path(".github", "workflows")
LIST = re.compile(
    r"^(?P<head> +(?P<name>\w+):\n(?: +(?!options:)\w+: .*\n)* +options: # generated .*\n)"
    r"(?P<items>(?P<indent> +)- .*\n(?: +- .*\n)*)",
    re.MULTILINE,
)


def sync(folder: Path, config: "Config", kinds: Mapping[str, str]) -> tuple[Path, ...]:
    """Rewrite the generated lists of every workflow in `folder`; answers the files that changed.

    `kinds`: runbook → what its services are, worker or pages.
    """
    changed = []
    for path in sorted(folder.glob("*.yml")):
        text = path.read_text(encoding="utf-8")
        if (wanted := synced(text, config, kinds.get(path.stem))) != text:
            path.write_text(wanted, encoding="utf-8")
            changed.append(path)
    return tuple(changed)


def synced(text: str, config: "Config", kind: str | None) -> str:
    """The text of a workflow with its generated lists as ops.yml has them. Without a kind: services of every kind."""
    lists = {
        "service": dict.fromkeys(
            name
            for env in config.environments.values()
            for name, service in env.services.items()
            if kind in {None, service.kind}
        ),
        "environment": config.environments,
    }
    return LIST.sub(lambda found: found["head"] + _items(found, lists.get(found["name"])), text)


def _items(found: re.Match[str], names: Iterable[str] | None) -> str:
    if names is None:
        return found["items"]
    return "".join(f"{found['indent']}- {name}\n" for name in names)

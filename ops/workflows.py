"""What in the button workflows comes from ops.yml: lists of services and environments, names of secrets."""

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


VALUES = re.compile(r"^(?P<head>(?P<indent> +)# generated .*: values\n)(?: +(?:NEW|OLD)_\w+: .*\n)*", re.MULTILINE)


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
    """The text of a workflow with what is generated as ops.yml has it. Without a kind: services of every kind."""
    lists = {
        "service": dict.fromkeys(
            name
            for env in config.environments.values()
            for name, service in env.services.items()
            if kind in {None, service.kind}
        ),
        "environment": config.environments,
    }
    text = LIST.sub(lambda found: found["head"] + _items(found, lists.get(found["name"])), text)
    rules = {name: rule for env in config.environments.values() for name, rule in env.secrets.items()}
    # Of what is generated a former value may be held, and a new one is made.
    values = [f"NEW_{name}" for name, rule in rules.items() if rule.rotate == "provided"]
    values += [f"OLD_{name}" for name, rule in rules.items() if rule.rotate != "never"]
    return VALUES.sub(lambda found: found["head"] + "".join(_variable(found["indent"], each) for each in values), text)


def _variable(indent: str, name: str) -> str:
    """One by one: never all secrets at once, which would hand over the others too."""
    return f"{indent}{name}: ${{{{ secrets.{name} }}}}\n"


def _items(found: re.Match[str], names: Iterable[str] | None) -> str:
    if names is None:
        return found["items"]
    return "".join(f"{found['indent']}- {name}\n" for name in names)

"""Rules of faults from a file, in force in a sandbox: for `ops sandbox --faults`."""

from pathlib import Path
from typing import TYPE_CHECKING

from ops.core.errors import ConfigError
from ops.drills.fault_rules import Rule, parse

if TYPE_CHECKING:
    from sandbox import Sandbox


def read_rules(path: Path) -> tuple[Rule, ...]:
    """Return the rules of a YAML or JSON file. Raises ConfigError with every problem and its line."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        hint = "Write the path of a file with rules: docs/reference.md has an example."
        raise ConfigError(f"{path} cannot be read ({error.strerror})", hint=hint) from None
    return parse(text, path=str(path))


def add_rules(sandbox: "Sandbox", rules: tuple[Rule, ...]) -> None:
    """Put them in force, in the order of the file."""
    parts = {"cloudflare": sandbox.fault, "github": sandbox.github.fault, "edge": sandbox.edge_fault}
    for rule in rules:
        given = rule.model_dump(exclude={"part"}, exclude_unset=True)
        parts[rule.part](**given)

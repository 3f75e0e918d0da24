"""Write the list of recoveries in the issue form. The team owns the rest of the form."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ops.config.labels import RunbookFacts, format_params, list_recovery_options
from ops.setup.workflows import FileAction, FileDifference

if TYPE_CHECKING:
    from ops.config import Config

PATH = Path(".github", "ISSUE_TEMPLATE", "incident.yml")
GENERATED_PART = re.compile(
    r"^(?P<head>(?P<indent> +)# generated from ops\.yml .*\n +value: \|\n)(?:(?P=indent) +.*\n|\n)+", re.MULTILINE
)


def difference(path: Path, config: "Config", recoveries: Sequence[RunbookFacts]) -> FileDifference | None:
    """Return the change that the form needs; None if there is no form or no difference. Writes nothing."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    desired = rewrite_form(text, config, recoveries)
    if desired == text:
        return None
    return FileDifference(path, FileAction.WRITE, "says what starts which recovery", text, desired)


def rewrite_form(text: str, config: "Config", recoveries: Sequence[RunbookFacts]) -> str:
    """Return the form with the recoveries of ops.yml."""
    lines = ["Open the issue, then start a recovery with one of these. Text in this form starts nothing.", ""]
    labels: dict[tuple[str, str], list[str]] = {}
    for option in list_recovery_options(config, recoveries):
        params = format_params({name: value for name, value in option.params.items() if name != "service"})
        found = labels.setdefault((f"**{option.service} in {option.environment}.** {option.when}", option.runbook), [])
        found += [f"`{label}`{f' ({params})' if params else ''}" for label in option.labels]
    for (what, runbook), names in labels.items():
        label = f"the label {' or '.join(names)} on the issue, or " if names else ""
        lines.append(f"- {what}: {label}the button Actions → {runbook} → Run workflow")
    return GENERATED_PART.sub(
        lambda found: found["head"] + "".join(f"{found['indent']}  {line}".rstrip() + "\n" for line in lines), text
    )

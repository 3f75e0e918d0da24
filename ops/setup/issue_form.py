"""Write the services in the issue form. The team owns the rest of the form."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ops.setup.workflows import FileAction, FileDifference, quoted

if TYPE_CHECKING:
    from ops.config import Config

PATH = Path(".github", "ISSUE_TEMPLATE", "incident.yml")
GENERATED_PART = re.compile(
    r"^(?P<head>(?P<indent> +)# generated from ops\.yml .*\n +options:\n)"
    r"(?:(?P=indent) +.*\n)+(?:(?P=indent)default: 0\n)?",
    re.MULTILINE,
)
NOT_SURE = "not sure"
SERVICE = f"""\
  - type: dropdown
    id: service
    attributes:
      label: Service
      # generated from ops.yml by `ops workflows sync`
      options:
        - {NOT_SURE}
"""
INTRODUCTION = """\
      value: |
        Open the issue. A comment then lists the recoveries of the service. Text in this form starts nothing.
"""
FORMER_PARTS = (
    (r" +# generated from ops\.yml .*\n +value: \|\n(?: {7,}.*\n|\n)+", INTRODUCTION),
    (
        r"  - type: input\n    id: service\n    attributes:\n      label: Service\n(?:      \w+: .*\n)*",
        SERVICE,
    ),
)
"""Parts of earlier forms: the list of recoveries, which is now in a comment, and the service as text."""


def difference(path: Path, config: "Config") -> FileDifference | None:
    """Return the change that the form needs; None if there is no form or no difference. Writes nothing."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    desired = rewrite_form(text, config)
    if desired == text:
        return None
    return FileDifference(path, FileAction.WRITE, "names the services", text, desired)


def rewrite_form(text: str, config: "Config") -> str:
    """Return the form with the services of ops.yml. A single service is the default."""
    for former, new in FORMER_PARTS:
        text = re.sub(former, lambda _: new, text)  # noqa: B023  called at once
    names = config.service_names

    def part(found: re.Match[str]) -> str:
        lines = [f"  - {quoted(name)}" for name in (*names, NOT_SURE)] + ["default: 0"] * (len(names) == 1)
        return found["head"] + "".join(f"{found['indent']}{line}\n" for line in lines)

    return GENERATED_PART.sub(part, text)

"""A result as Markdown, by the templates in `templates/`. The only importer of jinja2.

Whatever people or providers wrote is inert: no mention, reference, link, HTML or table break-out.
"""

import re
from pathlib import Path

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from ops.model.result import Result
from ops.render.terminal import one_line

HERE = Path(__file__).parent.parent
FOLDERS = (HERE / "templates", HERE.parent / "templates")
"""In an installed wheel, and in a checkout."""

ZERO_WIDTH = "\u200b"
SPECIAL = re.compile(r"[\\`*_{}\[\]()<>#+!|~&$]")


def run_record(result: Result) -> str:
    return _templates().get_template("run.md.j2").render(result=result)


def _templates() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader([str(folder) for folder in FOLDERS])
    # Markdown is no HTML: each value passes `inert` or `fenced` in the template, and a test finds one that does not.
    environment = SandboxedEnvironment(loader=loader, undefined=jinja2.StrictUndefined, autoescape=False)
    environment.filters |= {"inert": inert, "fenced": fenced}
    return environment


def inert(text: object) -> str:
    """Text that GitHub shows letter by letter.

    A character reference keeps Markdown and HTML from being read; mentions, references and bare addresses are found
    after that, in the text itself, so these are broken by a zero-width space.
    """
    escaped = SPECIAL.sub(lambda found: f"&#{ord(found[0])};", one_line(str(text)))
    broken = re.sub(r"@(?=\w)", f"@{ZERO_WIDTH}", escaped)
    broken = re.sub(r"(?i)\b(https?|ftp|mailto)(?=:)|\bwww(?=\.)", lambda found: found[0] + ZERO_WIDTH, broken)
    return re.sub(r"(&#35;|\bGH-)(?=\d)", lambda found: found[0] + ZERO_WIDTH, broken)


def fenced(text: object) -> str:
    """Text inside a code fence: one line, and nothing that could end the fence."""
    return one_line(str(text)).replace("```", "` ` `")

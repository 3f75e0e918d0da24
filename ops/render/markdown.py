"""A result as Markdown, by the templates in `templates/`. The only importer of jinja2.

Whatever people or providers wrote is inert: no mention, reference, link, HTML or table break-out.
"""

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from ops.cloudflare.types.workers import describe_split
from ops.core.clock import format_duration
from ops.core.result import RunResult
from ops.render.terminal import to_one_line

if TYPE_CHECKING:
    from ops.config.types import Contact

HERE = Path(__file__).parent.parent
FOLDERS = (HERE / "templates", HERE.parent / "templates")
"""In an installed wheel, and in a checkout."""

LONGEST = 1000


def render_result(result: RunResult, contacts: "Iterable[Contact]") -> str:
    links = {name: link for name, link in result.links.items() if re.fullmatch(r"https?://[!#-;=?-~]+", link)}
    text = load_templates().get_template("run.md.j2").render(result=result, contacts=list(contacts), links=links)
    return collapse_blank_lines(text)


def collapse_blank_lines(text: str) -> str:
    """One empty line where a part that is missing leaves two."""
    return re.sub(r"\n{3,}", "\n\n", text)


@functools.cache
def load_templates() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader([str(folder) for folder in FOLDERS])
    # Markdown is no HTML: each value passes one of these filters in the template, and a test finds one that does not.
    environment = SandboxedEnvironment(loader=loader, undefined=jinja2.StrictUndefined, autoescape=False)
    environment.filters |= {"inert": inert, "cell": cell, "fenced": fenced, "linked": linked}
    environment.filters |= {"span": format_duration, "split_prose": describe_split}
    return environment


def inert(text: object, longest: int = LONGEST) -> str:
    """Somebody's words as inline code: the one form in which GitHub finds no mention, reference, link or markup.

    Escapes are not enough, since mentions and references are looked for after they are undone.
    """
    line = to_one_line(str(text)).strip()[:longest] or " "
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    pad = " " if line[0] == "`" or line[-1] == "`" else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def cell(text: object, longest: int = LONGEST) -> str:
    """The same in a table: there a pipe ends the cell even inside code, and even escaped, after a backslash."""
    return inert(str(text).replace("|", "¦"), longest)


def linked(text: object, url: str) -> str:
    """Words of ours, as a link where the address is a plain one."""
    return f"[{text}]({url})" if re.fullmatch(r"https?://[A-Za-z0-9.:/_~#?=&%-]+", url) else str(text)


def fenced(text: object) -> str:
    """Text inside a code fence: one line, and nothing that could end the fence."""
    return to_one_line(str(text)).replace("```", "` ` `")

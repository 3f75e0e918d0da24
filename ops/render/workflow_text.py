"""Templates of GitHub Actions workflows, and quoting for YAML and GitHub's expressions."""

import functools
import json
import re

import jinja2

from ops.render.markdown import FOLDERS

SHARED = re.compile(r"^from _request import .*\n", re.MULTILINE)


@functools.cache
def load_scripts() -> dict[str, str]:
    """Return name → text of the programs that a workflow contains."""
    folder = next(each for each in FOLDERS if (each / "workflows").is_dir()) / "workflows"
    _, _, shared = (folder / "_request.py").read_text(encoding="utf-8").partition('"""\n\n')
    texts = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("[a-z]*.py")}
    return {name: SHARED.sub(lambda _: shared, text).rstrip() for name, text in texts.items()}


@functools.cache
def load_templates() -> jinja2.Environment:
    """Return the templates. They use `[[` and `[%`, because `{{` is GitHub's in a workflow."""
    environment = jinja2.Environment(  # noqa: S701 - YAML, and no HTML
        loader=jinja2.FileSystemLoader([str(folder) for folder in FOLDERS]),
        undefined=jinja2.StrictUndefined,
        variable_start_string="[[",
        variable_end_string="]]",
        block_start_string="[%",
        block_end_string="%]",
        comment_start_string="[#",
        comment_end_string="#]",
    )
    environment.filters |= {"quoted": quoted, "literal": literal}
    return environment


def quoted(value: str | bool, /) -> str:  # noqa: FBT001  a filter
    """Return a YAML scalar. `${{` is written so that GitHub reads no expression in it."""
    if isinstance(value, bool):
        return str(value).lower()
    if re.fullmatch(r"[A-Za-z][\w./ -]*", value) and value.lower() not in {
        "on",
        "off",
        "yes",
        "no",
        "true",
        "false",
        "null",
    }:
        return value
    return json.dumps(value, ensure_ascii=False)


def literal(value: str) -> str:
    """Return a string literal of GitHub's expressions."""
    return "'" + value.replace("'", "''") + "'"

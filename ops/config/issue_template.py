"""The labels that an issue template puts on: a form, or the front matter of a Markdown template."""

import re
from collections.abc import Iterator
from typing import Any

import yaml


def read_template_labels(text: str, suffix: str) -> Iterator[str]:
    """Yield the labels of a template; `suffix` is that of its file. None where GitHub could not read it either."""
    text = text.removeprefix("\ufeff")
    if suffix == ".md":
        front = re.match(r"---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", text, re.DOTALL | re.MULTILINE)
        text = front[1] if front else ""
    try:
        data: Any = yaml.BaseLoader(text).get_single_data()  # texts alone: no date and no tag ends the search
    except yaml.YAMLError:
        return
    found = data.get("labels", []) if isinstance(data, dict) else []
    listed = found.split(",") if isinstance(found, str) else found if isinstance(found, list) else []
    yield from (str(label).strip() for label in listed)

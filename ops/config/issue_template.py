"""The labels that an issue template puts on: a form, or the front matter of a Markdown template."""

from collections.abc import Iterator
from typing import Any

import yaml


def template_labels(text: str, suffix: str) -> Iterator[str]:
    """Yield the labels of a template; `suffix` is that of its file. None where GitHub could not read it either."""
    if suffix == ".md":
        text = text.split("---", 2)[1] if text.startswith("---") and text.count("---") > 1 else ""
    try:
        data: Any = yaml.safe_load(text)
    except yaml.YAMLError:
        return
    found = data.get("labels", []) if isinstance(data, dict) else []
    listed = found.split(",") if isinstance(found, str) else found if isinstance(found, list) else []
    yield from (str(label).strip() for label in listed)

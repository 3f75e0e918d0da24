"""Labels of the operations repository: those of ops.yml and the fixed ones."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.configuration import read_config
from ops.config.labels import format_params
from ops.core.approval import APPROVE_LABEL, LABEL_PURPOSE
from ops.core.redaction import Redactor
from ops.github.client import CHECK_HINT, connect, provider_errors

if TYPE_CHECKING:
    from ops.config import Config
    from ops.github.issues import LabelStyle

MAX_LABEL_DESCRIPTION = 100
"""Longest description of a label, in characters (docs.github.com/rest/issues/labels)."""


def sync_labels(config: Path, environ: Mapping[str, str], redactor: Redactor, say: Callable[[str], None]) -> None:
    """Create and correct the labels of ops.yml and the fixed ones; report each change to `say`."""
    from ops.github.issues import sync_labels as sync

    settings, _ = read_config(config, labels=None)
    with provider_errors(CHECK_HINT):
        sync(connect(environ, redactor), desired_labels(settings), say)


def desired_labels(config: "Config") -> "dict[str, LabelStyle]":
    """Return the labels of ops.yml and the fixed ones, by name."""
    from ops.github.issues import LABELS, LabelStyle

    wanted = dict(LABELS)
    if any(each.databases for each in config.environments.values()):
        wanted[APPROVE_LABEL] = LabelStyle("0e8a16", LABEL_PURPOSE)
    for name, label in config.labels.items():
        text = f"Runs {label.runbook} in {label.environment}: {format_params(label.params)}"
        wanted[name] = LabelStyle("1d76db", text[:MAX_LABEL_DESCRIPTION])
    return wanted

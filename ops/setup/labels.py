"""Labels of the operations repository: of ops.yml, the fixed ones, and those of templates.

No label of an issue template may start a recovery: GitHub adds it for everybody who opens an issue.
docs.github.com/communities/using-templates-to-encourage-useful-issues-and-pull-requests/syntax-for-issue-forms
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app.configuration import read_config
from ops.config import Config
from ops.config.checks import RESERVED_LABELS
from ops.config.labels import format_params
from ops.config.sections import read_template_labels
from ops.core.approval import APPROVE_LABEL, LABEL_PURPOSE
from ops.core.errors import ConfigError
from ops.core.names import (
    ACTION_ITEM_LABEL,
    ACTIONS_LABEL,
    HOLD_LIFT,
    LEAD_LABEL,
    RECOVERY_PREFIX,
    count_of,
    quote_name,
)
from ops.core.public_update import PublicState
from ops.core.redaction import Redactor
from ops.setup import team_file

if TYPE_CHECKING:
    from ops.github.issues import LabelStyle

MAX_LABEL_DESCRIPTION = 100
"""Longest description of a label, in characters (docs.github.com/rest/issues/labels)."""
TEMPLATE_FOLDER = Path(".github", "ISSUE_TEMPLATE")
SINGLE_TEMPLATE = Path(".github", "ISSUE_TEMPLATE.md")


def sync_repository_labels(
    config: Path, environ: Mapping[str, str], redactor: Redactor, say: Callable[[str], None]
) -> None:
    """Create and correct the labels of ops.yml and the fixed ones; report each change to `say`."""
    from ops.github.client import CHECK_HINT, connect, provider_errors
    from ops.github.issues import sync_labels

    settings, _ = read_config(config, labels=None)
    with provider_errors(CHECK_HINT):
        sync_labels(connect(environ, redactor), desired_labels(settings), say)


def desired_labels(config: "Config") -> "dict[str, LabelStyle]":
    """Return the labels of ops.yml and the fixed ones, by name."""
    from ops.github.issues import LABELS, LabelStyle

    wanted = dict(LABELS)
    if any(each.databases for each in config.environments.values()):
        wanted[APPROVE_LABEL] = LabelStyle("0e8a16", LABEL_PURPOSE)
    if config.action_items is not None:
        wanted[ACTIONS_LABEL] = LabelStyle("c5def5", "Makes an issue of each action item of the report")
        wanted[ACTION_ITEM_LABEL] = LabelStyle("c2e0c6", "Work that a post-incident report asks for")
    if config.status_page is not None:
        wanted |= {each.label: LabelStyle("5319e7", f"Tells users: {each.words}") for each in PublicState}
    for login in config.github.leads:
        wanted[f"{LEAD_LABEL}{login}"] = LabelStyle("d4c5f9", f"Hands the lead of the incident over to {login}")
    for name, label in config.labels.items():
        text = f"Runs {label.runbook} in {label.environment}: {format_params(label.params)}"
        wanted[name] = LabelStyle("1d76db", text[:MAX_LABEL_DESCRIPTION])
    return wanted


def check_template_labels(root: Path, config: Config) -> None:
    """Raise ConfigError if a template has a label that starts or approves a recovery."""
    files = [path for pattern in ("*.yml", "*.yaml", "*.md") for path in sorted((root / TEMPLATE_FOLDER).glob(pattern))]
    names = {name.casefold() for name in config.labels}
    problems = [
        f'{path.relative_to(root)}: the label "{quote_name(label)}" starts a recovery for everybody '
        "who opens this form; take it out of the template"
        for path in [*files, *([root / SINGLE_TEMPLATE] if (root / SINGLE_TEMPLATE).is_file() else [])]
        for label in read_template_labels(team_file.read_text(path), path.suffix)
        if label.casefold() in names or label.casefold().startswith((RECOVERY_PREFIX, HOLD_LIFT, *RESERVED_LABELS))
    ]
    if problems:
        count = count_of(len(problems), "problem")
        hint = "GitHub adds them for everyone who opens the form, and checks no permission."
        raise ConfigError(f"issue templates have {count}", hint=hint, problems=tuple(problems))

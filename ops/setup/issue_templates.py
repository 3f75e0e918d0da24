"""Check the labels in issue templates: none of them may start a recovery.

GitHub adds a template's labels for everybody who opens an issue.
docs.github.com/communities/using-templates-to-encourage-useful-issues-and-pull-requests/syntax-for-issue-forms
"""

from pathlib import Path

from ops.config import Config
from ops.config.checks import RESERVED_LABELS, STARTS
from ops.config.github import read_template_labels
from ops.core.errors import ConfigError
from ops.core.suggestions import count_of, quote_name

FOLDER = Path(".github", "ISSUE_TEMPLATE")
SINGLE_TEMPLATE = Path(".github", "ISSUE_TEMPLATE.md")


def check_template_labels(root: Path, config: Config) -> None:
    """Raise ConfigError if a template has a label that starts or approves a recovery."""
    files = [path for pattern in ("*.yml", "*.yaml", "*.md") for path in sorted((root / FOLDER).glob(pattern))]
    names = {name.casefold() for name in config.labels}
    problems = [
        f'{path.relative_to(root)}: the label "{quote_name(label)}" starts a recovery for everybody '
        "who opens this form; take it out of the template"
        for path in [*files, *([root / SINGLE_TEMPLATE] if (root / SINGLE_TEMPLATE).is_file() else [])]
        for label in read_template_labels(path.read_text(encoding="utf-8", errors="replace"), path.suffix)
        if label.casefold() in names or label.casefold().startswith((STARTS, *RESERVED_LABELS))
    ]
    if problems:
        count = count_of(len(problems), "problem")
        hint = "GitHub adds them for everyone who opens the form, and checks no permission."
        raise ConfigError(f"issue templates have {count}", hint=hint, problems=tuple(problems))

"""Names in `ops.yml` that GitHub, or this program, gives another meaning: labels and variables; on the plain data."""

from collections.abc import Iterator
from typing import Any

from ops.config.raw import Finding, at, mapping
from ops.config.strict_yaml import Path
from ops.core.suggestions import shown

STARTS = "recover:"
"""Of each label that starts a runbook; the workflow looks at no other."""
RESERVED_LABELS = ("approve:", "ops:")
RESERVED_BEGINNINGS = ("GITHUB_", "ACTIONS_", "RUNNER_", "INPUT_", "OPS_")
"""The first four are GitHub's (docs.github.com/actions/reference/workflows-and-actions/variables), the last is ours."""
RESERVED = {"GH_TOKEN", "GH_SECRETS_TOKEN", "GH_SECRETS_APP_ID", "GH_SECRETS_APP_KEY", "APP_REPO_TOKEN", "CI"}
LONGEST_LABEL = 50


def errors(data: Any) -> Iterator[Finding]:
    yield from _labels(data)
    for path, name in _variables(data):
        if isinstance(name, str) and (name in RESERVED or name.startswith(RESERVED_BEGINNINGS)):
            yield path, f'"{shown(name)}" has another meaning in a job; name a secret of its own'


def _labels(data: Any) -> Iterator[Finding]:
    first: dict[str, str] = {}
    for name in mapping(at(data, "labels")):
        if not name or len(name) > LONGEST_LABEL:
            continue
        folded, path = name.casefold(), ("labels", name)
        if not name.isascii():
            yield path, "has letters that are not ASCII, and some look like others; write ASCII letters only"
        elif reserved := next((each for each in RESERVED_LABELS if folded.startswith(each)), None):
            yield path, f"begins with {reserved}, which is reserved; begin it with {STARTS}"
        elif not name.startswith(STARTS) or name == STARTS:
            yield path, f"starts nothing: a label that starts a runbook begins with {STARTS}"
        elif folded in first:
            yield path, f"is {shown(first[folded])} to GitHub, which ignores case; rename one of them"
        first.setdefault(folded, name)


def _variables(data: Any) -> Iterator[tuple[Path, Any]]:
    for name, environment in mapping(at(data, "environments")).items():
        yield ("environments", name, "token"), at(environment, "token")
    for name, target in mapping(at(data, "notify")).items():
        yield ("notify", name, "webhook"), at(target, "webhook")

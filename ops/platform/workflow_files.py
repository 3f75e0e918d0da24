"""Workflow files of a verification, for the default branch and for its own branch."""

from collections.abc import Mapping
from pathlib import Path

from ops.github.own_writes import FOLDER, WORKFLOW

TEMPLATES = Path(__file__).with_name("workflows")
MARK = "# Made by ops verify-platform; it may be deleted."
"""First line of each file, by which a later run knows it."""
PATH = f"{FOLDER}{WORKFLOW}"
"""On the default branch, and with other contents on the branch of the run."""
CALLED = f"{FOLDER}verify-platform-called.yml"
"""Only on the branch of the run."""
ASKING = "The workflow of `ops verify-platform` answers the next label."
"""Text of the issue for whose labels the workflow runs its job: other steps put labels on too."""
ANSWER = "The workflow of `ops verify-platform` saw the label."
"""Comment of the workflow."""
PUSHED_TITLE = "The title that the refused file states"
LONGEST_EXPRESSION = 21_000
"""Characters of a text with an expression: docs.github.com/actions/reference/limits."""
_NAME, _TEXT, _EXPRESSION = "backout-verify-run", "LONG_TEXT", "${{ github.sha }}"


def render_verification_workflow() -> str:
    """Return the workflow of the default branch, the same in each run."""
    return _read_workflow_template("verify-platform")


def render_measured_workflow(name: str) -> dict[str, str]:
    """Return the files whose jobs are measured. The one that is called comes first."""
    return {
        CALLED: _read_workflow_template("called").replace(_NAME, name),
        PATH: _read_workflow_template("measured").replace(_NAME, name),
    }


def render_refused_workflow(name: str) -> dict[str, str]:
    """Return files that GitHub refuses: the called job asks for more permissions than the calling job has."""
    texts = {CALLED: _read_workflow_template("refused_called"), PATH: _read_workflow_template("refused")}
    return {path: text.replace(_NAME, name) for path, text in texts.items()}


def render_expression_workflow(name: str, length: int) -> Mapping[str, str]:
    """Return a workflow with a text of that length that has an expression. Its job never runs."""
    text = "x" * (length - len(_EXPRESSION)) + _EXPRESSION
    return {PATH: _read_workflow_template("expression").replace(_NAME, name).replace(_TEXT, f'"{text}"')}


def _read_workflow_template(name: str) -> str:
    return (TEMPLATES / f"{name}.yml").read_text(encoding="utf-8")

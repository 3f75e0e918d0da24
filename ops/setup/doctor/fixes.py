"""Repair what is safe to repair: generated files and missing labels. Nothing at Cloudflare."""

from collections.abc import Callable, Iterable

from ops.core.approval import APPROVE_LABEL
from ops.github import client, issues
from ops.setup import workflows
from ops.setup.doctor.examination import CheckResult
from ops.setup.doctor.facts import Facts
from ops.setup.doctor.finding import Answer
from ops.setup.labels import desired_labels

Say = Callable[[str], None]


def apply(facts: Facts, results: Iterable[CheckResult], say: Say) -> bool:
    """Repair the wrong answers that have a safe repair; return whether there was one. Raises ProviderError."""
    wrong = {each.id for each in results if each.answer is Answer.WRONG}
    repairs = {"workflows": _write_files, "labels": _create_labels}
    for name in (chosen := sorted(wrong & repairs.keys())):
        repairs[name](facts, say)
    return bool(chosen)


def _write_files(facts: Facts, say: Say) -> None:
    """Write the generated files, but keep those that a person changed."""
    for each in facts.file_differences:
        if each.action is not workflows.FileAction.KEEP:
            workflows.apply(each)
            say(f"fixed: {each.path.relative_to(facts.root)}")


def _create_labels(facts: Facts, say: Say) -> None:
    with client.provider_errors(client.CHECK_HINT):
        for change in issues.label_changes(client.connect(facts.environ, facts.redactor), desired_labels(facts.config)):
            if change.is_new or change.name == APPROVE_LABEL:
                change.apply()
                say(f"fixed: label {change.name}")

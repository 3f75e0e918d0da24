"""Run the checks in parallel, each within a time limit, and repair what is safe to repair."""

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from ops.core.approval import APPROVE_LABEL
from ops.core.clock import find_clock
from ops.core.errors import ConfigError, OpsError
from ops.core.names import did_you_mean, quote_name
from ops.core.redaction import Redactor
from ops.core.threads import run_in_background
from ops.github import client, issues
from ops.github.list_lag import await_listed
from ops.setup import workflows
from ops.setup.doctor import (
    cloudflare_account,
    github_policy,
    github_settings,
    machine,
    repository_files,
    services,
)
from ops.setup.doctor.check import Answer, Check, Examination, Finding, NotProvable, describe_blocked
from ops.setup.doctor.facts import Facts
from ops.setup.labels import desired_labels

CHECKS: tuple[Check[Facts], ...] = (
    *repository_files.CHECKS,
    *cloudflare_account.CHECKS,
    *services.CHECKS,
    *github_settings.CHECKS,
    *github_policy.CHECKS,
    *machine.CHECKS,
    repository_files.examine_platform,
)
TIME_LIMIT = 9.0
"""Real seconds for all checks together, which run in parallel."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class CheckResult:
    """The answer to one question about one subject."""

    id: str
    question: str
    subject: str
    """`ENVIRONMENT`, or `ENVIRONMENT/` with a service or database; empty for the repository and this machine."""
    answer: Answer
    text: str = ""
    why: str = ""
    fix: str = ""
    command: str = ""
    blocked_by: str = ""
    """The check that must be right first; empty if this one was examined."""

    @property
    def url(self) -> str:
        """The first address in the fix; empty if it has none."""
        match = re.search(r"https?://\S+[^\s.,:;]", self.fix)
        return match[0] if match else ""

    def redacted(self, redactor: Redactor) -> "CheckResult":
        """Return the result with masked secrets. Texts of our own stay: an id such as `secrets` may hold a value."""
        mask = redactor.redact_text
        subject, text, fix, command = mask(self.subject), mask(self.text), mask(self.fix), mask(self.command)
        return replace(self, subject=subject, text=text, fix=fix, command=command)

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "answer": self.answer.value}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "CheckResult":
        """Raises LookupError, TypeError or ValueError if it is malformed."""
        texts = {name: str(value[name]) for name in cls.__dataclass_fields__ if name != "answer"}
        return cls(**texts, answer=Answer(value["answer"]))


Key = tuple[str, str]
"""Id of a check and name of a subject."""
Pending = Mapping[Key, "Future[tuple[Finding, ...]]"]


def examine(facts: Facts, only: Collection[str] = ()) -> tuple[CheckResult, ...]:
    """Return the results of all checks, or of those in `only` (what they need is examined too).

    A check has several results if it found several problems.

    Raises:
        ConfigError: `only` names no check.
    """
    known = {each.id: each for each in CHECKS}
    for name in only:
        if name not in known:
            raise ConfigError(
                f'no check "{quote_name(name)}"{did_you_mean(name, known)}', hint=f"Checks: {', '.join(known)}."
            )
    selected = _with_needs(only or known, known)
    examinations = {
        (each.id, name): (each, examination) for each in selected for name, examination in each.examinations(facts)
    }
    pending: dict[Key, Future[tuple[Finding, ...]]] = {key: Future() for key in examinations}
    for key, (each, examination) in examinations.items():
        run_in_background(_CheckWork(each, key[1], examination, pending))
    deadline = time.monotonic() + TIME_LIMIT
    return tuple(
        result
        for key, (each, _) in examinations.items()
        for result in _check_results(each, key[1], pending[key], deadline)
        if not only or each.id in only
    )


def _with_needs(names: Iterable[str], known: Mapping[str, Check[Facts]]) -> list[Check[Facts]]:
    """Return the named checks and all that they need, in the order of the list."""
    wanted: set[str] = set()
    ahead = list(names)
    while ahead:
        name = ahead.pop()
        if name not in wanted:
            wanted.add(name)
            ahead += known[name].needs
    return [each for each in known.values() if each.id in wanted]


@dataclass(frozen=True)
class _CheckWork:
    """One examination, which waits for the checks that it needs."""

    check: Check[Facts]
    subject: str
    examination: Examination
    pending: Pending

    def __call__(self) -> None:
        future = self.pending[self.check.id, self.subject]
        try:
            blocker = next(self._find_blocking_checks(), None)
            future.set_result((blocker,) if blocker else tuple(self.examination()))
        except NotProvable as unknown:
            future.set_result((unknown.finding,))
        except OpsError as error:
            future.set_result((Finding(error.message, error.hint, Answer.NOT_PROVABLE),))
        except BaseException as error:  # noqa: BLE001  a bug in one check must not hide the others, which wait for it
            text = f"this check failed with {type(error).__name__}, a bug of Backout"
            future.set_result((Finding(text, "", Answer.NOT_PROVABLE),))

    def _find_blocking_checks(self) -> Iterator[Finding]:
        """Yield a finding for each needed check that is wrong or blocked itself."""
        environment = self.subject.partition("/")[0]
        for name in self.check.needs:
            for subject in dict.fromkeys((self.subject, environment, "")):
                findings = needed.result() if (needed := self.pending.get((name, subject))) else ()
                root = next((each.blocked_by or name for each in findings if _blocks_others(each)), "")
                if root:
                    yield Finding(describe_blocked(root), answer=Answer.NOT_PROVABLE, blocked_by=root)


def _blocks_others(finding: Finding) -> bool:
    return finding.answer is Answer.WRONG or bool(finding.blocked_by)


def _check_results(
    check: Check[Facts], subject: str, pending: "Future[tuple[Finding, ...]]", deadline: float
) -> Iterator[CheckResult]:
    try:
        findings = pending.result(timeout=max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        findings = (Finding(f"no answer within {TIME_LIMIT:.0f} s", "", Answer.NOT_PROVABLE),)
    if not findings:
        yield CheckResult(check.id, check.question, subject, Answer.RIGHT)
    for each in findings:
        yield CheckResult(
            check.id,
            check.question,
            subject,
            each.answer,
            each.text,
            check.why,
            each.fix,
            each.command,
            each.blocked_by,
        )


def repair_findings(facts: Facts, results: Iterable[CheckResult], say: Say) -> bool:
    """Repair the wrong answers that have a safe repair; return whether there was one. Raises ProviderError."""
    wrong = {each.id for each in results if each.answer is Answer.WRONG}
    repairs = {"workflows": _repair_generated_files, "labels": _create_labels}
    for name in (chosen := sorted(wrong & repairs.keys())):
        repairs[name](facts, say)
    return bool(chosen)


def _repair_generated_files(facts: Facts, say: Say) -> None:
    """Write the generated files, but keep those that a person changed."""
    for each in facts.file_differences:
        if each.action is not workflows.FileAction.KEEP:
            workflows.apply_difference(each)
            say(f"fixed: {each.path.relative_to(facts.root)}")


def _create_labels(facts: Facts, say: Say) -> None:
    with client.provider_errors(client.CHECK_HINT):
        repository, desired = client.connect(facts.environ, facts.redactor), desired_labels(facts.config)

        def list_missing() -> list[issues.LabelChange]:
            changes = issues.label_changes(repository, desired)
            return [each for each in changes if each.is_new or each.name == APPROVE_LABEL]

        for change in list_missing():
            change.apply()
            say(f"fixed: label {change.name}")
        await_listed(lambda: not list_missing(), find_clock(facts.environ))  # they are examined again

"""Results of `ops doctor`: on a terminal, as Markdown, and passed on between jobs.

The jobs of the workflow *doctor* pass their results to its last job, which publishes them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from ops.core.errors import ConfigError
from ops.core.redaction import Redactor
from ops.github import actions, client, comments
from ops.render import collapse_blank_lines, load_templates, to_one_line
from ops.setup.doctor.check import Answer, describe_blocked
from ops.setup.doctor.examination import CHECKS, CheckResult

HEADINGS = {Answer.WRONG: "wrong", Answer.NOT_PROVABLE: "not provable here", Answer.RIGHT: "right"}
EXIT_CODE_WRONG = 2
OUTPUT, VARIABLE = "results", "NEEDS"
LABEL, MARKER = "backout-doctor", "<!-- backout-doctor -->"
TITLE = "The set-up of recoveries has a problem"
SENT = ("id", "subject", "answer", "text", "fix", "command", "blocked_by")
"""Fields of a result that a job passes on if they have a value. The last job gets all in one variable of 128 kB."""
MAX_TEXT = 500
"""Characters of a field that a job passes on."""
JOB_QUESTION = "Did the job reach its checks?"
JOB_WHY = "A recovery with the same GitHub environment will end in the same way."


def doctor_exit_code(results: Iterable[CheckResult]) -> int:
    """Return 2 if an answer is wrong, else 0."""
    return EXIT_CODE_WRONG if any(each.answer is Answer.WRONG for each in results) else 0


def result_lines(results: Sequence[CheckResult]) -> Iterator[str]:
    """Yield the lines for a terminal: wrong answers, those that are not provable here, and the counts."""
    for groups in wrong_groups(results):
        for number, group in enumerate(groups):
            yield from (f"✘ {each.id}{_subject_suffix(each)}: {to_one_line(each.text)}" for each in group)
            if number == 0:
                yield f"    {group[0].why}"
            yield from _ways_to_repair(group[0], "fix")
    for names, each in unproved_groups(results):
        yield f"? {', '.join(names)}: {to_one_line(each.text)}"
        yield from _ways_to_repair(each, "to prove it")
    if blocked := blocked_text(results):
        yield f"? {blocked}"
    yield from (f"✔ {each.id}: {to_one_line(each.text)}" for each in described_answers(results))
    yield summarize_results(results)


def described_answers(results: Iterable[CheckResult]) -> list[CheckResult]:
    """Return the right answers that say more than "yes"."""
    return [each for each in results_with_answer(results, Answer.RIGHT) if each.text]


def wrong_groups(results: Iterable[CheckResult]) -> Iterator[list[list[CheckResult]]]:
    """Yield the wrong answers of each check, grouped by their fix."""
    for _, found in groupby(results_with_answer(results, Answer.WRONG), key=lambda each: each.id):
        yield [list(group) for _, group in groupby(found, key=lambda each: (each.fix, each.command))]


def blocked_text(results: Iterable[CheckResult]) -> str:
    """Return how many checks wait for the repair of others; empty if none does."""
    blocked = [each for each in results if each.blocked_by]
    roots = " and ".join(dict.fromkeys(each.blocked_by for each in blocked))
    more = "1 more check needs" if len(blocked) == 1 else f"{len(blocked)} more checks need"
    return f"{more} a right answer to {roots} first" if blocked else ""


def _ways_to_repair(result: CheckResult, title: str) -> Iterator[str]:
    """Yield what a person does, and the command on a line of its own."""
    ways = [to_one_line(each) for each in (result.fix, result.command) if each]
    for number, way in enumerate(ways):
        yield f"      {way}" if number else f"    {title}: {way}"


def unproved_groups(results: Iterable[CheckResult]) -> Iterator[tuple[list[str], CheckResult]]:
    """Yield the checks without an answer here, except blocked ones; equal reasons become one group."""
    unknown = results_with_answer(results, Answer.NOT_PROVABLE)
    unproved = sorted((each for each in unknown if not each.blocked_by), key=_advice_of_result)
    for _, group in groupby(unproved, key=_advice_of_result):
        members = list(group)
        yield list(dict.fromkeys(f"{each.id}{_subject_suffix(each)}" for each in members)), members[0]


def _advice_of_result(result: CheckResult) -> tuple[str, str, str]:
    return result.text, result.fix, result.command


def results_with_answer(results: Iterable[CheckResult], answer: Answer) -> list[CheckResult]:
    return [each for each in results if each.answer is answer]


def summarize_results(results: Sequence[CheckResult]) -> str:
    counts = [f"{len(results_with_answer(results, answer))} {name}" for answer, name in HEADINGS.items()]
    return ", ".join(counts)


def _subject_suffix(result: CheckResult) -> str:
    return f" ({result.subject})" if result.subject else ""


def write_results(results: Iterable[CheckResult], github_environment: str, environ: Mapping[str, str]) -> None:
    """Write the redacted results as an output of this job. Raises ConfigError if the file cannot be written.

    An answer about an environment is about the secrets of this job, so that its subject names both.
    """
    named = [
        replace(each, subject=actions.acting_job_id(github_environment, each.subject))
        if each.subject and "/" not in each.subject
        else each
        for each in results
    ]
    short = [replace(each, text="") if each.text == describe_blocked(each.blocked_by) else each for each in named]
    rows = [
        {name: value[:MAX_TEXT] for name, value in each.to_json().items() if name in SENT and value} for each in short
    ]
    actions.write_outputs(environ, {OUTPUT: json.dumps(rows, separators=(",", ":"))})


def collect_results(environ: Mapping[str, str]) -> tuple[CheckResult, ...]:
    """Return the results of the jobs before; a job without results is a wrong answer.

    Raises:
        ConfigError: the variable does not hold the outputs of jobs.
    """
    try:
        jobs = json.loads(environ.get(VARIABLE, ""))
        collected = [result for name, job in jobs.items() for result in _results_of_job(name, job)]
    except (ValueError, LookupError, TypeError, AttributeError):
        hint = f"Write `{VARIABLE}: ${{{{ toJSON(needs) }}}}` under `env:` of the step."
        raise ConfigError(f"{VARIABLE} does not hold the results of jobs", hint=hint) from None
    return tuple(dict.fromkeys(collected))


def _results_of_job(name: str, job: Mapping[str, Any]) -> Iterator[CheckResult]:
    """Yield the results of a job, or a wrong answer if it has none."""
    if not (output := job["outputs"].get(OUTPUT)):
        reason = f"it ended with {job['result']} before its first check"
        yield CheckResult("job", JOB_QUESTION, name, Answer.WRONG, reason, JOB_WHY, "Look at the log of this run.")
        return
    known = {each.id: each for each in CHECKS}
    for sent in json.loads(output):
        row = {**dict.fromkeys(SENT, ""), **sent}
        check = known[row["id"]]
        row["text"] = row["text"] or (describe_blocked(row["blocked_by"]) if row["blocked_by"] else "")
        yield CheckResult.from_json({**row, "question": check.question, "why": check.why})


def publish_results(
    results: tuple[CheckResult, ...], environ: Mapping[str, str], redactor: Redactor, *, with_issue: bool
) -> str:
    """Write the summary of the job, and keep one issue while an answer is wrong. Return what was done with the issue.

    `results` are redacted.

    Raises ProviderError.
    """
    body = render_results(results)
    actions.write_summary(environ, f"## Doctor\n\n{body}")
    if not with_issue:
        return ""
    repository = client.connect(environ, redactor)
    if doctor_exit_code(results):
        saved = comments.save_issue(repository, LABEL, MARKER, TITLE, f"{MARKER}\n{body}")
        return f"reported at {saved.url}"
    issue = comments.open_issue(repository, LABEL, MARKER)
    if issue is None:
        return ""
    comments.close_issue(repository, issue.number, "Nothing is wrong any more.")
    return f"closed {issue.url}"


def render_results(results: tuple[CheckResult, ...]) -> str:
    """Return the results as Markdown."""
    body = load_templates().get_template("doctor.md.j2")
    text = body.render(
        summary=summarize_results(results),
        checks=list(wrong_groups(results)),
        unproved=list(unproved_groups(results)),
        blocked=blocked_text(results),
        described=described_answers(results),
    )
    return collapse_blank_lines(text)

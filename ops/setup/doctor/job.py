"""Pass results from the jobs of the workflow *doctor* to its last job, which publishes them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ops.core.errors import ConfigError
from ops.core.redaction import Redactor
from ops.github import actions, client, comments
from ops.render.markdown import collapse_blank_lines, load_templates
from ops.setup.doctor import text
from ops.setup.doctor.examination import CHECKS, CheckResult
from ops.setup.doctor.finding import Answer

OUTPUT, VARIABLE = "results", "NEEDS"
LABEL, MARKER = "backout-doctor", "<!-- backout-doctor -->"
TITLE = "The set-up of recoveries has a problem"
SENT = ("id", "subject", "answer", "text", "fix", "command", "blocked_by")
"""Fields of a result that a job passes on if they have a value. The last job gets all in one variable of 128 kB."""
MAX_TEXT = 500
"""Characters of a field that a job passes on."""
JOB_QUESTION = "Did the job reach its checks?"
JOB_WHY = "A recovery with the same GitHub environment will end in the same way."


def write_results(results: Iterable[CheckResult], environ: Mapping[str, str]) -> None:
    """Write the redacted results as an output of this job. Raises ConfigError if the file cannot be written."""
    rows = [
        {name: value[:MAX_TEXT] for name, value in each.to_json().items() if name in SENT and value} for each in results
    ]
    actions.write_outputs(environ, {OUTPUT: json.dumps(rows, separators=(",", ":"))})


def collect_results(environ: Mapping[str, str]) -> tuple[CheckResult, ...]:
    """Return the results of the jobs before; a job without results is a wrong answer.

    Raises:
        ConfigError: the variable does not hold the outputs of jobs.
    """
    try:
        jobs = json.loads(environ.get(VARIABLE, ""))
        found = [result for name, job in jobs.items() for result in _of_job(name, job)]
    except (ValueError, LookupError, TypeError, AttributeError):
        hint = f"Write `{VARIABLE}: ${{{{ toJSON(needs) }}}}` under `env:` of the step."
        raise ConfigError(f"{VARIABLE} does not hold the results of jobs", hint=hint) from None
    return tuple(dict.fromkeys(found))


def _of_job(name: str, job: Mapping[str, Any]) -> Iterator[CheckResult]:
    """Yield the results of a job. Answers about an environment are about the secrets of the job, so they name it."""
    if not (output := job["outputs"].get(OUTPUT)):
        reason = f"it ended with {job['result']} before its first check"
        yield CheckResult("job", JOB_QUESTION, name, Answer.WRONG, reason, JOB_WHY, "Look at the log of this run.")
        return
    known = {each.id: each for each in CHECKS}
    for sent in json.loads(output):
        row = {**dict.fromkeys(SENT, ""), **sent}
        check = known[row["id"]]
        subject = row["subject"] if "/" in row["subject"] else name
        result = CheckResult.from_json({**row, "question": check.question, "why": check.why})
        yield replace(result, subject=subject)


def publish(
    results: tuple[CheckResult, ...], environ: Mapping[str, str], redactor: Redactor, *, with_issue: bool
) -> str:
    """Write the summary of the job, and keep one issue while an answer is wrong. Return what was done with the issue.

    `results` are redacted.

    Raises ProviderError.
    """
    body = render(results)
    actions.write_summary(environ, f"## Doctor\n\n{body}")
    if not with_issue:
        return ""
    repository = client.connect(environ, redactor)
    if text.exit_code(results):
        saved = comments.save_issue(repository, LABEL, MARKER, TITLE, f"{MARKER}\n{body}")
        return f"reported at {saved.url}"
    issue = comments.open_issue(repository, LABEL, MARKER)
    if issue is None:
        return ""
    comments.close_issue(repository, issue.number, "Nothing is wrong any more.")
    return f"closed {issue.url}"


def render(results: tuple[CheckResult, ...]) -> str:
    """Return the results as Markdown."""
    body = load_templates().get_template("doctor.md.j2")
    found = body.render(
        summary=text.summary(results),
        checks=list(text.wrong_groups(results)),
        unproved=list(text.unproved_groups(results)),
        blocked=text.blocked_text(results),
    )
    return collapse_blank_lines(found)

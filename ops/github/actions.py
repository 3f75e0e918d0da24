"""Read and write the files of a GitHub Actions job, and its log commands.

No other module touches these files or prints workflow commands. Sources:
docs.github.com/actions/reference/workflows-and-actions/variables and …/workflow-commands.
"""

import contextlib
import json
import re
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from ops.core.errors import ConfigError, OpsError

UNREADABLE = object()
"""Returned in place of a payload that is not JSON."""
RUN_OUTPUTS = ("decision", "reason", "run", "message", "hint", "incident", "ends_at", "watch", "closed", "answered")
"""Outputs of a step that executes a runbook. `run` is missing if no run began. `watch`: service to watch afterwards.
`closed`: service that stays closed, to be watched for that.

`answered`: `true` if the incident shows the end, or needs no comment.
"""
GATE_OUTPUTS = {
    "go": "`true` if the recovery may start, else `false`",
    "report": "`true` if a report is due afterwards, else `false`",
    "check": "`true` if a check for an outage is due; it only reads. `actions` if issues for action items are due",
    "job": "id of the job that recovers; empty if none may start",
    "runbook": "runbook of the run",
    "power": "GitHub environment with the secrets of the runbook: `recovery`, `security` or `database`",
    "params": "parameters of the runbook, as a JSON object",
    "environment": "environment of `ops.yml`",
    "incident": "number of the incident issue",
    "dry_run": "`true` or `false`",
    "requested_at": "time of the label or button, for `--requested-at`",
    "permission": "`checked`, `not checked`, or `refused` if only a report is due",
    "began": "start of the incident from the issue form, for `--began`",
    "reason": "reason of the refusal",
    "message": "text of the refusal",
    "hint": "next step after the refusal",
    "attempt": "attempt of the workflow run",
    "actor": "person who started this attempt, for `--requested-by`",
    "comment": "id of the comment that the run continues",
    "requesters": "numeric ids of the requesters, none of whom can be the second person",
    "approval": "approval by a second person, as JSON",
    "ends_by": "latest time at which the run may reopen a service by itself",
    "repository": "repository with the site or the migrations of the run; empty if no job reads it",
    "stop": "`not read` if GitHub did not say whether recoveries are stopped",
    "answered": "`true` once a refusal is on the issue",
}
"""Output of the gate's step → its meaning, shown in docs/reference/gate.md. `answered` is written last."""
LONGEST_SUMMARY = 200_000
"""Bytes. GitHub drops a step summary that is larger than 1 MiB."""
CUT = "\n```\n\nCut here: the whole of it is in the job's log.\n"
"""Closes an open code fence; if none is open, it adds an empty one."""


def require_variable(environ: Mapping[str, str], *names: str) -> str:
    """Return the value of the first variable that is set. Raises ConfigError if none is set."""
    for name in names:
        if value := environ.get(name):
            return value
    hint = "On a laptop, type the command of the runbook, such as `ops rollback-worker`."
    raise ConfigError(f"{names[0]} is not set: this command runs in a job of GitHub Actions", hint=hint)


def job_number(environ: Mapping[str, str]) -> str:
    """Return number and attempt of the workflow run, as records hold them; empty on a laptop."""
    number = run_id(environ)
    return f"{number}.{environ.get('GITHUB_RUN_ATTEMPT', '1')}" if number else ""


def run_attempt(environ: Mapping[str, str]) -> int:
    """Return the number of this attempt of the workflow run. Raises ConfigError outside of a job."""
    text = require_variable(environ, "GITHUB_RUN_ATTEMPT")
    if not re.fullmatch("[1-9][0-9]{0,5}", text):
        raise ConfigError("GITHUB_RUN_ATTEMPT is not a number", hint="Leave it as GitHub Actions sets it.")
    return int(text)


def acting_job_id(github_environment: str, environment: str, *, builds_site: bool = False) -> str:
    """Return the id of the job that recovers with the secrets of these; "unprivileged" without a GitHub environment.

    `builds_site`: whether jobs before it fetch and build a commit.
    """
    if builds_site:
        return f"redeploy-{environment}"
    return f"{github_environment}-{environment}" if github_environment else "unprivileged"


def job_id(name: str) -> str:
    """Return the id of a job from its name in the API, which is `caller / id` if a called workflow has it.

    docs.github.com/actions/how-tos/reuse-automations/reuse-workflows
    """
    return name.rpartition(" / ")[2]


def run_id(environ: Mapping[str, str]) -> str:
    """Return the id of the workflow run; "" outside of GitHub Actions."""
    text = environ.get("GITHUB_RUN_ID", "")
    return text if re.fullmatch("[0-9]{1,20}", text) else ""


def read_payload(environ: Mapping[str, str]) -> Any:
    """Return the webhook payload, or UNREADABLE if it is not JSON. Raises ConfigError if the file cannot be read."""
    path = Path(require_variable(environ, "GITHUB_EVENT_PATH"))
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        hint = "Leave GITHUB_EVENT_PATH as GitHub Actions sets it."
        raise ConfigError(f"the event cannot be read ({error.strerror})", hint=hint) from None
    except (ValueError, RecursionError):
        return UNREADABLE


def is_event_about(environ: Mapping[str, str], event: str, action: str, number: int) -> bool:
    """Return whether this job was started by this event of this issue."""
    if not is_job(environ) or environ.get("GITHUB_EVENT_NAME") != event:
        return False
    payload = read_payload(environ)
    issue = payload.get("issue") if isinstance(payload, dict) else None
    return isinstance(issue, dict) and (payload.get("action"), issue.get("number")) == (action, number)


def write_outputs(
    environ: Mapping[str, str], values: Mapping[str, str], *, token: Callable[[], str] = lambda: secrets.token_hex(16)
) -> None:
    """Append the values to the outputs of the step.

    Each value stands between random delimiters, so that no value can end early and add another output. Raises
    ConfigError if the file cannot be written.
    """
    lines = []
    for name, value in values.items():
        delimiter = _output_delimiter(value, token)
        lines.append(f"{name}<<{delimiter}\n{value}\n{delimiter}\n")
    path = Path(require_variable(environ, "GITHUB_OUTPUT"))
    try:
        with path.open("a", encoding="utf-8", errors="replace", newline="") as file:
            file.write("".join(lines))
    except OSError as error:
        hint = "Leave GITHUB_OUTPUT as GitHub Actions sets it."
        raise ConfigError(f"the job's outputs cannot be written ({error.strerror})", hint=hint) from None


def write_job_outputs(environ: Mapping[str, str], values: Mapping[str, str]) -> None:
    """Append the outputs of a finished run, if the process runs in a job.

    A file that cannot be written is no error, because the recovery is over. The next job then finds no outputs and does
    nothing.
    """
    if environ.get("GITHUB_OUTPUT"):
        with contextlib.suppress(ConfigError):
            write_outputs(environ, values)


def failure_outputs(error: OpsError) -> dict[str, str]:
    """Return the outputs of a step that failed before its decision, for the job that answers the requester."""
    problems = error.problems if isinstance(error, ConfigError) else ()
    return {"reason": error.reason.value, "message": "; ".join([error.message, *problems]), "hint": error.hint}


def _output_delimiter(value: str, token: Callable[[], str]) -> str:
    while (delimiter := f"ops_{token()}") in value:
        continue
    return delimiter


def is_job(environ: Mapping[str, str]) -> bool:
    return environ.get("GITHUB_ACTIONS") == "true"


def use_operations_repository(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables for the repository in OPERATIONS_REPOSITORY; unchanged without it.

    A job of the application's repository sets it. Its run is none of the operations repository, so its number is left
    out: records and links would name another run.
    """
    operations = environ.get("OPERATIONS_REPOSITORY", "")
    if not operations or operations.lower() == environ.get("GITHUB_REPOSITORY", "").lower():
        return environ
    kept = {name: value for name, value in environ.items() if name not in {"GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT"}}
    return {**kept, "GITHUB_REPOSITORY": operations}


def run_links(environ: Mapping[str, str], incident: int | None) -> dict[str, str]:
    """Return the URLs of the incident and of the workflow run, as far as they are known."""
    page, run = repository_page(environ), run_id(environ)
    if not page:
        return {}
    links = {"incident": f"{page}/issues/{incident}"} if incident else {}
    if is_job(environ) and run:
        links["run"] = f"{page}/actions/runs/{run}"
    return links


def repository_page(environ: Mapping[str, str]) -> str:
    """Return the URL of the operations repository; "" if the environment does not name it."""
    server = (environ.get("GITHUB_SERVER_URL") or "https://github.com").rstrip("/")
    repository = environ.get("GITHUB_REPOSITORY", "")
    if not re.fullmatch(r"https?://[A-Za-z0-9.:-]+", server) or not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        return ""
    return f"{server}/{repository}"


def docs_base(environ: Mapping[str, str], actions: str | None) -> str:
    """Return the URL before `docs/`: in the repository of the actions, else in this copy; empty if it is unknown."""
    page = f"https://github.com/{actions}" if actions else repository_page(environ)
    return f"{page}/blob/HEAD/" if page else ""


def write_summary(environ: Mapping[str, str], text: str) -> bool:
    """Append to the summary of this step. Return False if the process has no summary file. Raises OSError."""
    path = environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return False
    data = text.encode("utf-8", "replace")
    if len(data) > LONGEST_SUMMARY:
        data = data[: data.rfind(b"\n", 0, LONGEST_SUMMARY - len(CUT)) + 1] + CUT.encode()
    with Path(path).open("ab") as file:
        file.write(data)
    return True


def mask_command(environ: Mapping[str, str], secret: str) -> None:
    """Mask a value in the job log, also in the output of programs that we start. Does nothing outside of a job."""
    if is_job(environ):
        for line in secret.splitlines():
            if line.strip():
                print(f"::add-mask::{_escape_data(line)}", file=sys.stderr, flush=True)


def log_text(environ: Mapping[str, str], text: str) -> str:
    """Return the text without workflow commands, for the job log.

    GitHub reads `::name::` at the start of a line, and `##[` at any place, as a command.
    """
    if not is_job(environ):
        return text
    lines = text.replace("##[", "## [").replace("\r", "\n")
    return re.sub(r"(?m)^(?=[^!-~\n]*::)", "| ", lines)


def fold_log(title: str, content: str) -> str:
    """Return a group for the job log: a title that opens to the content."""
    return f"::group::{_escape_data(title)}\n{content}\n::endgroup::"


def annotation(level: Literal["notice", "warning", "error"], title: str, text: str) -> str:
    """Return the command that puts an annotation on the page of the workflow run."""
    name = _escape_data(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={name}::{_escape_data(text)}".replace("##[", "## [")


def _escape_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")

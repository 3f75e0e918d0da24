"""Read what changed in the hour before an incident: audit logs and our own workflows.

At most four requests: one page of the audit log of each of two accounts, and one list of workflow runs; the caller may
have read the incident. It runs after a write or in a job beside the recovery, never before it, and only informs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.app.configuration import load_config
from ops.app.registry import button_runbooks
from ops.app.session import Session
from ops.cloudflare.records import AUDIT_PAGE_SIZE, read_audit_log
from ops.cloudflare.types.records import NOT_LOGGED, read_audit_change
from ops.core.anonymization import anonymize_text
from ops.core.clock import Period, current_time, parse_utc
from ops.core.errors import OpsError, ProviderError
from ops.core.names import RECOVERY_PREFIX
from ops.core.recent_change import RecentChange, RecentChanges
from ops.core.redaction import Redactor
from ops.core.threads import run_parallel
from ops.github.actions import run_id
from ops.github.client import CHECK_HINT, connect, is_configured, provider_errors, read_json
from ops.github.issues import get_incident, parse_form
from ops.status.incident import find_environments

if TYPE_CHECKING:
    from ops.config import Config, Environment
    from ops.core.incident_state import IncidentJournal
    from ops.github.issues import Issue

BEFORE = timedelta(hours=1)
LATENESS = timedelta(minutes=5)
"""Age from which Cloudflare's audit log counts as complete. It lists an entry a minute or more after its event."""
SECONDS = 5.0
"""Real seconds after which a plan and a menu do without the list."""
MAX_ACCOUNTS = 2
MOST_RUNS = 100
"""Workflow runs of one page."""
LIMITS, LABELS = "limits", "incident"
"""Workflows besides the buttons: of merged limits, and of labels."""
Source = tuple[list[RecentChange], list[str]]
"""Changes, and why some are unknown."""


def read_recent_changes(
    config: "Config", environments: Iterable[str], start: datetime, environ: Mapping[str, str], redactor: Redactor
) -> RecentChanges:
    """Return the changes in the hour before the start. Nothing that fails is an error: it is named.

    `environments`: those of the incident come first; the others follow as far as the requests reach.
    """
    now = current_time(environ)
    period = Period(start - BEFORE, min(start + timedelta(minutes=1), now))
    accounts = _group_accounts(config, environments)
    with ExitStack() as ending:
        reads = [
            partial(
                _try_change_source,
                _name_account(each),
                partial(
                    _read_account_changes, partial(Session, config, each[0].name, environ, ending), each, period, now
                ),
            )
            for each in accounts[:MAX_ACCOUNTS]
        ]
        reads.append(partial(_try_change_source, "workflow runs", partial(_read_runs, period, environ, redactor)))
        sources = run_parallel(reads)
    unread = [each for _, problems in sources for each in problems]
    unread += [f"{_name_account(each)}: only {MAX_ACCOUNTS} accounts are read" for each in accounts[MAX_ACCOUNTS:]]
    found = sorted((each for changes, _ in sources for each in changes), key=lambda each: each.at, reverse=True)
    redacted: RecentChanges = redactor.redact_value(RecentChanges(period, tuple(found), (*unread, NOT_LOGGED)))
    return redacted


def read_changes_before(
    number: int, config_path: Path, environ: Mapping[str, str], redactor: Redactor
) -> RecentChanges:
    """Return the changes in the hour before an incident began, by its form, else before it was opened.

    Raises ConfigError and ProviderError if the incident cannot be read.
    """
    config = load_config(config_path, environ, redactor)
    with provider_errors(CHECK_HINT):
        issue = get_incident(connect(environ, redactor, read_only=True), number)
    return read_changes_of_issue(issue, config, environ, redactor)


def read_changes_of_issue(
    issue: "Issue", config: "Config", environ: Mapping[str, str], redactor: Redactor
) -> RecentChanges:
    """Return the changes in the hour before an incident whose issue was read."""
    form = parse_form(issue.body, now=current_time(environ), opened=issue.created_at)
    named = [name for name, service in config.places if service == form.service]
    return read_recent_changes(config, named, form.began or issue.created_at, environ, redactor)


def read_changes_of(
    journal: "IncidentJournal", start: datetime, config: "Config", environ: Mapping[str, str], redactor: Redactor
) -> RecentChanges:
    """Return the changes in the hour before an incident whose journal was read."""
    return read_recent_changes(config, find_environments(journal, config), start, environ, redactor)


def _group_accounts(config: "Config", first: Iterable[str]) -> "list[list[Environment]]":
    """Return the environments by account, those of the first ones first."""
    accounts = dict[str, list["Environment"]]()
    for name in dict.fromkeys([*first, *config.environments]):
        if name in config.environments:
            environment = config.environments[name]
            accounts.setdefault(environment.account_id, []).append(environment)
    return list(accounts.values())


def _name_account(environments: "list[Environment]") -> str:
    return f"audit log of the account of {' and '.join(each.name for each in environments)}"


def _try_change_source(name: str, read: Any) -> Source:
    try:
        changes, problems = read()
    except OpsError as error:
        needed = error.permission if isinstance(error, ProviderError) else ""
        return [], [f'{name}: the token needs "{needed}" for it' if needed else f"{name}: {error.message}"]
    return changes, [f"{name}: {each}" for each in problems]


def _read_account_changes(
    open_session: Callable[[], Session], environments: "list[Environment]", period: Period, now: datetime
) -> Source:
    """Read the newest page of the audit log. The token is that of the first environment in the account."""
    session = open_session()
    log = read_audit_log(session.client, session.account_id, period, most=AUDIT_PAGE_SIZE)
    services = {
        (each.worker, each.pages): f"{name} in {place.name}"
        for place in environments
        for name, each in place.services.items()
    }
    changes = []
    for entry in log.entries:
        change = read_audit_change(entry)
        if change is not None:
            service = services.get((change.worker, change.site), "")
            what = f"{change.what} ({service})" if service else change.what
            who = anonymize_text(", ".join(filter(None, (entry.actor, entry.token))))
            changes.append(RecentChange(entry.at, what, who, change.page(session.account_id)))
    problems = []
    if len(log.entries) >= AUDIT_PAGE_SIZE:
        problems.append(f"only its newest {AUDIT_PAGE_SIZE} entries were read")
    if now - period.until < LATENESS:
        problems.append("it lists entries minutes late: the newest may be missing")
    return changes, problems


def _read_runs(period: Period, environ: Mapping[str, str], redactor: Redactor) -> Source:
    """Read the runs of our buttons and of merged limits.

    docs.github.com/rest/actions/workflow-runs#list-workflow-runs-for-a-repository
    """
    if not is_configured(environ):
        return [], ["GITHUB_TOKEN or GITHUB_REPOSITORY is not set"]
    repository = connect(environ, redactor, read_only=True)
    created = f"{period.since:%Y-%m-%dT%H:%M:%SZ}..{period.until:%Y-%m-%dT%H:%M:%SZ}"
    with provider_errors():
        rows = read_json(repository, f"/actions/runs?per_page={MOST_RUNS}&created={created}")["workflow_runs"]
    problems = [f"only the newest {MOST_RUNS} were read"] if len(rows) >= MOST_RUNS else []
    return list(_list_workflow_runs(each for each in rows if str(each["id"]) != run_id(environ))), problems


def _list_workflow_runs(rows: Iterable[Mapping[str, Any]]) -> Iterator[RecentChange]:
    buttons = {*button_runbooks(), LIMITS}
    for row in rows:
        name = Path(str(row["path"]).partition("@")[0]).stem
        title = str(row.get("display_title") or "")
        is_label = name == LABELS and f" {RECOVERY_PREFIX}" in title
        if name in buttons or is_label:
            what = f"{title if is_label else name} ({row.get('conclusion') or row.get('status') or 'unknown'})"
            who = (row.get("triggering_actor") or row.get("actor") or {}).get("login", "")
            yield RecentChange(parse_utc(row["created_at"]), what, who, row["html_url"])

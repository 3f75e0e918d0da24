"""The exceptions of a run as one tree, and the closed lists of decisions and reasons.

    OpsError
    ├── ConfigError       2   wrong ops.yml or command line, or a missing or malformed token
    ├── Refused           3   nothing was changed
    │   ├── NeedsAcceptance   a person must accept something by name first
    │   ├── SecretsChanged    Cloudflare rejected a version because secrets changed after its upload
    │   └── LatestNotDeployed Cloudflare rejected a secret edit because the latest upload is not deployed
    ├── ProviderError     4   the provider rejected the request or failed; the live state is known
    │   ├── NotApplied        the provider did not apply the write (rate limit, concurrent change)
    │   └── UnclearWrite      a write whose answer was lost or unreadable; the engine re-reads and decides
    ├── UnknownOutcome    5   the state is not known
    ├── StillUnhealthy    6   a check after the change failed
    ├── NoEvidence        8   a check after the change gave no verdict
    └── Interrupted     130   a signal; the timeline is flushed

A message states the problem with the names and values that the user typed. It starts in lower case and has no full
stop. A hint is an instruction with a full stop. Only `ops/cli` turns an error into text and an exit code.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, ClassVar

from ops.core.next_step import SuggestedCommand


class Decision(StrEnum):
    """How a run ended: the value of `decision` in the JSON result."""

    RECOVERED = "recovered"
    """Changed, read back, and healthy several times in a row. Before, the service was unhealthy or not seen."""
    HEALTHY_AS_BEFORE = "healthy_as_before"
    """Changed and healthy, but it was healthy before too. Check that it is the right service."""
    NOTHING_TO_DO = "nothing_to_do"
    """Nothing was changed, and the probes are healthy."""
    PLANNED = "planned"
    """A dry run, the first job of redeploy-pages, or a pull request for a person to merge."""
    REFUSED = "refused"
    """Nothing was changed."""
    FAILED = "failed"
    """Cloudflare rejected the change or failed, or somebody else's change is live. Ours is not live."""
    UNKNOWN_OUTCOME = "unknown_outcome"
    """It is unknown whether the change was made."""
    STILL_UNHEALTHY = "still_unhealthy"
    """The service is unhealthy at the end."""
    RELAPSED = "relapsed"
    """A watch saw the service become unhealthy again after a recovery."""
    MITIGATED = "mitigated"
    """A watch ended, and the service stayed healthy."""
    INTERRUPTED = "interrupted"
    """A signal ended the run. A write in progress was answered first, and the record is complete."""
    NO_EVIDENCE = "no_evidence"
    """The probes gave no evidence. This is not a success."""


PROVED = {Decision.RECOVERED, Decision.HEALTHY_AS_BEFORE}
"""Decisions of a run whose change was proved."""
UNFINISHED = {Decision.REFUSED, Decision.FAILED, Decision.UNKNOWN_OUTCOME, Decision.INTERRUPTED}
"""Decisions of a run that ended before its change was judged."""
_FORMER_NAMES = {
    "ambiguous": Decision.UNKNOWN_OUTCOME,
    "unverified": Decision.STILL_UNHEALTHY,
    "inconclusive": Decision.NO_EVIDENCE,
}


def current_decision_name(decision: str) -> str:
    """Return the current name of a decision from a record, which may use a former name."""
    return _FORMER_NAMES.get(decision, decision)


EXIT_CODES: dict[Decision, int] = {
    Decision.RECOVERED: 0,
    Decision.HEALTHY_AS_BEFORE: 0,
    Decision.NOTHING_TO_DO: 0,
    Decision.PLANNED: 0,
    Decision.REFUSED: 3,
    Decision.FAILED: 4,
    Decision.UNKNOWN_OUTCOME: 5,
    Decision.MITIGATED: 0,
    Decision.STILL_UNHEALTHY: 6,
    Decision.RELAPSED: 7,
    Decision.NO_EVIDENCE: 8,
    Decision.INTERRUPTED: 130,
}
"""Exit code by decision. 1 is a bug and 2 a configuration or usage error: neither reaches a decision."""
IMPLICIT_DRY_RUN = 9
"""Exit code of a dry run without `--dry-run`: there was no `--yes` and no terminal to confirm on."""
EXIT_CODES_BY_URGENCY = (130, 1, 5, 6, 7, 8, 4, 2, 3, 9, 0)
"""Every exit code of a run, the most urgent for people first."""


def exit_code_for(decision: "Decision", reason: str) -> int:
    """Return the exit code of a run that ended with this decision for this reason."""
    return IMPLICIT_DRY_RUN if reason == Reason.IMPLICIT_DRY_RUN else EXIT_CODES[decision]


def most_urgent_exit_code(codes: Iterable[int]) -> int:
    """Return the most urgent of the exit codes of several runs, or 0 if there was no run."""
    return min(codes, key=EXIT_CODES_BY_URGENCY.index, default=0)


def needs_people(decision: str) -> bool:
    """Return whether people must be called after this decision. False for an unknown word."""
    return decision in [*Decision] and EXIT_CODES[Decision(decision)] in {4, 5, 6, 7, 8}


EXIT_5_PAGE = "docs/how-to/exit-5.md"


def page_of(reason: str) -> str:
    """Return the page about a reason: its meaning, the state now, the next step, and the evidence.

    After an unknown outcome it is the page that says what to do now.
    """
    return EXIT_5_PAGE if reason == Reason.UNCLEAR else f"docs/reference/reasons.md#{reason}"


class Reason(StrEnum):
    """Why a run ended: the value of `reason` in the JSON result. The list is closed.

    The text below each reason is its row in docs/reference/results.md.
    """

    VERIFIED = "verified"
    """The probes were healthy several times in a row."""
    NOT_SEEN_FAILING = "not_seen_failing"
    """The service is healthy now. Before the change the probes had no answer."""
    ALREADY_STEPPED_BACK = "already_stepped_back"
    """Somebody already rolled back, and that rollback still holds."""
    ALREADY_LIVE = "already_live"
    """The requested version is live, also if another run made the same change meanwhile."""
    ALREADY_OFF = "already_off"
    """The service or path is already offline."""
    NOT_OFF = "not_off"
    """Nothing is offline that could be opened."""
    ALREADY_SET = "already_set"
    """The switch already has that state, incident and end."""
    NOTHING_LEFT = "nothing_left"
    """No switch that is on names the incident."""
    NOT_DUE = "not_due"
    """Since the check, maintenance was ended or got another end, or its route leads to an unknown Worker."""
    ALREADY_PREPARED = "already_prepared"
    """`ops-maintenance` is up to date, or every switch has its key."""
    SUPERSEDED = "superseded"
    """A newer commit changed `limits.yml` again, and applies itself."""
    NEVER_APPLIED = "never_applied"
    """KV holds no limits yet."""
    DRIFTED = "drifted"
    """KV differs from `limits.yml`. The difference is reported and left as it is."""
    WOULD_LOWER = "would_lower"
    """A raise would lower a limit: `limits.yml` or the application has a higher value."""
    LATEST_BUILD_FAILED = "latest_build_failed"
    """The newest deployment of the site failed, so the previous one still serves."""
    DRY_RUN = "dry_run"
    """`--dry-run` was given."""
    IMPLICIT_DRY_RUN = "implicit_dry_run"
    """Nothing was changed: no `--yes`, and no terminal to confirm on."""
    PROVIDER_OUTAGE = "provider_outage"
    """Cloudflare has an outage, so the schedule changed nothing. Its next run tries again."""
    HANDED_ON = "handed_on"
    """The next job of the workflow continues the run, or a person merges the pull request."""
    STILL_UNHEALTHY = "still_unhealthy"
    """The probes fail."""
    RELAPSED = "relapsed"
    """Too many probes failed, or too many requests, while the service was watched."""
    OPEN_ALTHOUGH_CLOSED = "open_although_closed"
    """A way into a closed service is open, for example after a deployment."""
    CONTINUED_ELSEWHERE = "continued_elsewhere"
    """Another runner continues the watch."""
    GOOD_DEPLOYMENT = "good_deployment"
    """A guard ended, and the deployment fails no more than it may."""
    BAD_DEPLOYMENT = "bad_deployment"
    """Too many probes failed, or too many requests, while the deployment was guarded."""
    REPLACED = "replaced"
    """A newer deployment is live, so the guard judges this one no longer."""
    NO_AUTOMATIC_STEP = "no_automatic_step"
    """After a relapse, the incident or a provider's outage forbids the automatic step. A person decides."""
    NO_EVIDENCE = "no_evidence"
    """The probes could not tell, or there are none, or nothing proves that the change is live."""
    CONFIG_INVALID = "config_invalid"
    """`ops.yml` has errors."""
    UNKNOWN_NAME = "unknown_name"
    """No such service, environment, runbook, version or deployment, or a service of the other kind."""
    TOKEN_MISSING = "token_missing"
    """The variable that `ops.yml` names holds no token."""
    TOKEN_MALFORMED = "token_malformed"
    """The token holds a character that no token has."""
    NOT_LOOPBACK = "not_loopback"
    """An address is neither a sandbox's on this machine nor one that may get the token."""
    NOT_CONFIRMED = "not_confirmed"
    """The person did not type the service's name."""
    NO_TARGET = "no_target"
    """No version or deployment qualifies. The message gives the reason for each."""
    UNCONFIRMED_MARK = "unconfirmed_mark"
    """Messages of deployments decide, and no record of a workflow of ours confirms them. The hint has both commands."""
    NOT_DEPLOYABLE = "not_deployable"
    """Cloudflare no longer deploys that version, or that deployment cannot serve production."""
    LIVE_UNKNOWN = "live_unknown"
    """The live deployment, the closed paths, the switches of the incident or an earlier restore could not be read."""
    NOT_PREPARED = "not_prepared"
    """The account has no `ops-maintenance`, or a Worker of that name that is not Backout's."""
    HELD_BY_OTHERS = "held_by_others"
    """Another incident needs the current state of the switch, or needs the service closed. The message names each."""
    ENDS_TOO_LATE = "ends_too_late"
    """The switch would stay set for longer than its `longest` after its first start."""
    OTHER_NAMESPACE = "other_namespace"
    """The application reads another KV namespace than the one in ops.yml."""
    UNKNOWN_VALUE = "unknown_value"
    """KV holds a value that this version of Backout does not understand. It is left as it is."""
    NO_WAY_IN = "no_way_in"
    """No visible route or custom domain leads to the service, or the switch may not close that path."""
    TOO_MANY_ROUTES = "too_many_routes"
    """The previous routes do not fit into the variables of `ops-maintenance`; about 2,000 do."""
    NOT_ON_BRANCH = "not_on_branch"
    """The commit is not on the production branch of the project."""
    TOOL_MISSING = "tool_missing"
    """A program, or the checkout of the site's repository, is missing here. Nothing was sent."""
    BUILD_FAILED = "build_failed"
    """The build failed or took too long. Nothing was sent."""
    BUILD_UNUSABLE = "build_unusable"
    """The build output or the commit cannot be deployed safely. Nothing was sent."""
    TARGET_UNHEALTHY = "target_unhealthy"
    """The target failed its rehearsal, so the traffic stays where it is."""
    MIGRATION_BETWEEN = "migration_between"
    """A Durable Object migration separates the two versions."""
    MIGRATION_HELD = "migration_held"
    """A run took the migration back. It is held until its content changes or the hold is lifted."""
    COMMIT_HELD = "commit_held"
    """The commit contains a version that was rolled back, and no later commit names its incident as fixed."""
    HOLD_UNREAD = "hold_unread"
    """Nothing shows whether the commit contains a version that was rolled back."""
    MIGRATION_FAILS = "migration_fails"
    """A migration, or a check after it, fails on a local copy of the schema."""
    MIGRATION_LOSES = "migration_loses"
    """A migration or down file loses rows or values, and its file does not accept that by the table's name."""
    ROWS_NOT_KEPT = "rows_not_kept"
    """Rows of a table that `ops.yml` keeps cannot be kept before the restore. Accept that by the table's name."""
    BREAKING_MIGRATION = "breaking_migration"
    """`ops.yml` marks a migration as breaking, and the target's code is older. Accept it by name."""
    SECRETS_CHANGED = "secrets_changed"
    """Secrets changed after the target was uploaded. The message names them."""
    NEVER_ROTATED = "never_rotated"
    """`ops.yml` has `rotate: never` for the secret, or names no secret of the service."""
    VALUES_UNUSABLE = "values_unusable"
    """A new value is missing or not allowed. Every problem is listed. Nothing was sent."""
    KEY_REFUSED = "key_refused"
    """The provider does not accept the new key."""
    KEY_STILL_ACCEPTED = "key_still_accepted"
    """The provider still accepts the previous key: it is not revoked."""
    SECRET_ROTATED = "secret_rotated"
    """The target has, or may have, the value of a secret from before its rotation. Use `--current-secrets`."""
    OLD_VALUE_LIVE = "old_value_live"
    """The live version has the value of a secret from before its rotation again. Rotate again."""
    SECRET_REVOKED = "secret_revoked"
    """The target needs a secret whose previous value was revoked. Use `--current-secrets`."""
    SECRET_MISSING = "secret_missing"
    """The latest upload lacks a secret of the version, so that version cannot be uploaded again."""
    INHERIT_NOT_ACCEPTED = "inherit_not_accepted"
    """Secrets would come from a latest upload that does not serve. Accept each by name."""
    NOT_REBUILDABLE = "not_rebuildable"
    """The version cannot be uploaded again. The message names the cause."""
    REBUILD_DIFFERS = "rebuild_differs"
    """The new upload differs from the version. It was not deployed, and the live version is unchanged."""
    NO_ENDPOINT = "no_endpoint"
    """`ops.yml` names no reset endpoint for the object, or the application answers 404 or is off on purpose."""
    TOKEN_REFUSED = "token_refused"
    """The application does not accept the token of its endpoints."""
    LATEST_NOT_DEPLOYED = "latest_not_deployed"
    """Cloudflare cannot edit the secret, and no version has more than half of the traffic."""
    WORLD_MOVED = "world_moved"
    """Somebody else deployed, or set the switch, after the request or during the run."""
    STOPPED = "stopped"
    """A responder stopped all recoveries. Lift the stop, or override it on a laptop."""
    REQUEST_TOO_OLD = "request_too_old"
    """The request is more than 30 minutes old."""
    NOT_REVIEWED = "not_reviewed"
    """`ops.yml` requires an approval, and no reviewer approved within 30 minutes."""
    NEEDS_TWO_PEOPLE = "needs_two_people"
    """The run loses data: it waits for a second person, or for `--one-person` on a laptop."""
    NO_REQUEST = "no_request"
    """No request with this digest waits on the incident for a second person."""
    SAME_PERSON = "same_person"
    """The person who made the request approved it."""
    APPROVAL_USED = "approval_used"
    """The request was approved before. An approval counts once."""
    REQUEST_CHANGED = "request_changed"
    """The approved request was edited, the approval is older than its plan, or the plan is another one now."""
    LOSS_GREW = "loss_grew"
    """The run would lose more than the second person approved, or than its plan accepted."""
    LABEL_CHANGED = "label_changed"
    """The label `approve:restore` approves nothing: press the button *approve-restore* with the digest."""
    READ_ONLY = "read_only"
    """A write was attempted during planning, and was blocked."""
    NOT_AUTHORISED = "not_authorised"
    """Cloudflare did not accept the token for this request."""
    PROVIDER_REFUSED = "provider_refused"
    """Cloudflare rejected the request. The message gives Cloudflare's reason."""
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    """Cloudflare could not be reached, or failed at every try."""
    MALFORMED_ANSWER = "malformed_answer"
    """An answer was not JSON, was cut off, or had an unknown shape."""
    RATE_LIMITED = "rate_limited"
    """Cloudflare's rate limit lasts longer than an emergency can wait."""
    NOT_APPLIED = "not_applied"
    """The write did not take effect in two attempts."""
    UNCLEAR = "unclear"
    """The answer to the write was lost, and reading did not settle it."""
    SIGNAL = "signal"
    """The run received SIGINT, SIGTERM or SIGHUP (the terminal was closed)."""
    EVENT_MALFORMED = "event_malformed"
    """A GitHub event lacks a field, or a field has the wrong type."""
    NOT_PUBLISHABLE = "not_publishable"
    """A public update has a text, a component or a state that cannot become public. Nothing became public."""
    UNKNOWN_LABEL = "unknown_label"
    """`ops.yml` does not have this `recover:` label, or spells it with other capitals."""
    LABEL_TAKEN = "label_taken"
    """The label was gone before the gate read it: another run took it, or a person removed it."""
    LABELS_AT_ONCE = "labels_at_once"
    """One person added two recovery labels within one second, so their order is unknown."""
    INCIDENT_CLOSED = "incident_closed"
    """The incident was closed when the request came."""
    RUN_OPEN = "run_open"
    """A run on the incident has no result yet, so the incident was not closed."""
    UNKNOWN_INCIDENT = "unknown_incident"
    """The number given with the button is no issue here, or is a pull request."""
    RERUN = "rerun"
    """One job was started again, or all jobs after something had changed."""
    OTHER_REF = "other_ref"
    """The run is not of the workflow for this request that `ops workflows sync` writes, on the default branch."""
    NOT_A_PERSON = "not_a_person"
    """A bot or an app made the request."""
    NO_WRITE_ACCESS = "no_write_access"
    """The requester may not write to the operations repository."""
    NOT_A_RESPONDER = "not_a_responder"
    """The requester is not among the `responders` of `ops.yml`."""
    PERMISSION_UNREADABLE = "permission_unreadable"
    """GitHub answered 403 to the question for the requester's permission."""
    PERMISSION_UNKNOWN = "permission_unknown"
    """GitHub could not say whether the requester may write."""


class OpsError(Exception):
    """A failure with a hint and perhaps a suggested command.

    `reason` is from the closed list. `decision` is None if no run made a decision.
    """

    decision: ClassVar[Decision | None] = None
    exit_code: ClassVar[int] = 1

    def __init__(
        self, message: str, *, reason: Reason, hint: str = "", suggested_command: SuggestedCommand | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.hint = hint
        self.suggested_command = suggested_command


class ConfigError(OpsError):
    """Wrong configuration or usage; nothing was changed. `problems` has one line for each problem found."""

    decision = Decision.REFUSED
    exit_code = 2

    def __init__(
        self, message: str, *, reason: Reason = Reason.CONFIG_INVALID, hint: str = "", problems: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, reason=reason, hint=hint)
        self.problems = problems


class Refused(OpsError):
    """The run stopped before any change."""

    decision = Decision.REFUSED
    exit_code = EXIT_CODES[Decision.REFUSED]


class NeedsAcceptance(Refused):
    """The run stopped because a person must accept something by name; `accept` has the parameters that do so."""

    def __init__(self, message: str, *, reason: Reason, hint: str, accept: Mapping[str, Any]) -> None:
        super().__init__(message, reason=reason, hint=hint)
        self.accept = accept


class SecretsChanged(Refused):
    """Cloudflare rejected a version because secrets changed after its upload; nothing was changed.

    `names` holds names of secrets, never their values.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        listed = ", ".join(names) or "Cloudflare named none"
        hint = "Somebody edited a secret. Start the same command again: it reads the values that are live now."
        super().__init__(f"secrets have changed since that version: {listed}", reason=Reason.SECRETS_CHANGED, hint=hint)


class LatestNotDeployed(Refused):
    """Cloudflare rejected a secret edit because the latest upload is not deployed; nothing was changed."""

    def __init__(self, worker: str) -> None:
        super().__init__(
            f"the latest version of {worker} is not deployed, so Cloudflare cannot edit its secrets",
            reason=Reason.LATEST_NOT_DEPLOYED,
            hint="Upload the deployed code again with the changed secret, and deploy that version.",
        )


class ProviderError(OpsError):
    """The provider rejected the request or failed; the live state is known."""

    decision = Decision.FAILED
    exit_code = EXIT_CODES[Decision.FAILED]
    permission = ""
    """Permission that the request needs, if the provider rejected the token."""


class NotApplied(ProviderError):
    """The provider did not apply the write. `retry_after` is in seconds, 0 if the provider named none."""

    def __init__(self, message: str, *, reason: Reason, hint: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message, reason=reason, hint=hint)
        self.retry_after = retry_after


class UnclearWrite(ProviderError):
    """A write without a readable answer: it may have been applied. The engine reads the state and decides."""


class UnknownOutcome(OpsError):
    """A write may have been applied, and reading the live state did not settle it."""

    decision = Decision.UNKNOWN_OUTCOME
    exit_code = EXIT_CODES[Decision.UNKNOWN_OUTCOME]


class StillUnhealthy(OpsError):
    """A check after the change failed, and the run ends before its last steps."""

    decision = Decision.STILL_UNHEALTHY
    exit_code = EXIT_CODES[Decision.STILL_UNHEALTHY]

    def __init__(self, message: str, *, hint: str, suggested_command: SuggestedCommand | None = None) -> None:
        super().__init__(message, reason=Reason.STILL_UNHEALTHY, hint=hint, suggested_command=suggested_command)


class NoEvidence(OpsError):
    """A check after the change gave no verdict, and the run ends before its last steps."""

    decision = Decision.NO_EVIDENCE
    exit_code = EXIT_CODES[Decision.NO_EVIDENCE]

    def __init__(self, message: str, *, hint: str, suggested_command: SuggestedCommand | None = None) -> None:
        super().__init__(message, reason=Reason.NO_EVIDENCE, hint=hint, suggested_command=suggested_command)


class Interrupted(OpsError):
    """SIGINT, SIGTERM or SIGHUP. Raised between steps only: a started write gets its answer first."""

    decision = Decision.INTERRUPTED
    exit_code = EXIT_CODES[Decision.INTERRUPTED]

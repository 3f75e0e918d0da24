"""Every way a run can end badly, as one tree; and the closed lists of decisions and reasons.

    OpsError
    ├── ConfigError       2   ops.yml, the command line, a token that is missing or malformed
    ├── Refused           3   nothing was changed
    │   └── SecretsChanged    Cloudflare stops at a version whose secrets have changed since
    ├── ProviderError     4   the provider refused or failed; the state is known
    │   ├── NotApplied        a write that was certainly not applied (rate limit, concurrent change)
    │   └── Unclear           a write whose answer was lost or unreadable; the engine re-reads and decides
    ├── UnknownOutcome    5   the state is not known
    └── Interrupted     130   a signal; the timeline is flushed

A message says what is, with the names and numbers the user typed: lower case at the start, no full stop. A hint says
what to do next: the imperative, full stop at the end. Only `ops/cli` turns one into text and an exit code.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar

from ops.core.next_step import SuggestedCommand


class Decision(StrEnum):
    """How a run ended; the word in `result.decision`."""

    RECOVERED = "recovered"
    HEALTHY_AS_BEFORE = "healthy_as_before"
    NOTHING_TO_DO = "nothing_to_do"
    PLANNED = "planned"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN_OUTCOME = "unknown_outcome"
    STILL_UNHEALTHY = "still_unhealthy"
    INTERRUPTED = "interrupted"
    NO_EVIDENCE = "no_evidence"


_FORMER_NAMES = {
    "ambiguous": Decision.UNKNOWN_OUTCOME,
    "unverified": Decision.STILL_UNHEALTHY,
    "inconclusive": Decision.NO_EVIDENCE,
}


def current_decision_name(decision: str) -> str:
    """Return the name of a decision in a record that may be older than the names of today."""
    return _FORMER_NAMES.get(decision, decision)


EXIT_CODES: dict[Decision, int] = {
    Decision.RECOVERED: 0,
    Decision.HEALTHY_AS_BEFORE: 0,
    Decision.NOTHING_TO_DO: 0,
    Decision.PLANNED: 0,
    Decision.REFUSED: 3,
    Decision.FAILED: 4,
    Decision.UNKNOWN_OUTCOME: 5,
    Decision.STILL_UNHEALTHY: 6,
    Decision.NO_EVIDENCE: 8,
    Decision.INTERRUPTED: 130,
}
"""Exit code by decision. 1 is a bug and 2 a configuration or usage error: neither reaches a decision.

7 is reserved for a service that was healthy after a run and failed again; nothing ends with it yet.
"""
IMPLICIT_DRY_RUN = 9
"""Exit code of a dry run that nobody requested: no `--yes`, and no terminal to confirm on."""
EXIT_CODES_BY_URGENCY = (130, 1, 5, 6, 8, 4, 2, 3, 9, 0)
"""Every exit code of a run, by what is most urgent for people."""


def exit_code_for(decision: "Decision", reason: str) -> int:
    """Return the exit code of a run that ended with this decision for this reason."""
    return IMPLICIT_DRY_RUN if reason == Reason.IMPLICIT_DRY_RUN else EXIT_CODES[decision]


def most_urgent_exit_code(codes: Iterable[int]) -> int:
    """Return the exit code of a command that made several runs: the most urgent of theirs; 0 if it made none."""
    return min(codes, key=EXIT_CODES_BY_URGENCY.index, default=0)


def needs_people(decision: str) -> bool:
    """Whether people must be called after a run that ended so. False for a word that is no decision."""
    return decision in [*Decision] and EXIT_CODES[Decision(decision)] in {4, 5, 6, 8}


class Reason(StrEnum):
    """Why a run ended as it did; the word in `result.reason`. Closed, and documented in docs/reference/results.md."""

    VERIFIED = "verified"
    NOT_SEEN_FAILING = "not_seen_failing"
    ALREADY_STEPPED_BACK = "already_stepped_back"
    ALREADY_LIVE = "already_live"
    ALREADY_OFF = "already_off"
    NOT_OFF = "not_off"
    ALREADY_SET = "already_set"
    NOTHING_LEFT = "nothing_left"
    NOT_DUE = "not_due"
    ALREADY_PREPARED = "already_prepared"
    SUPERSEDED = "superseded"
    NEVER_APPLIED = "never_applied"
    DRIFTED = "drifted"
    LATEST_BUILD_FAILED = "latest_build_failed"
    DRY_RUN = "dry_run"
    IMPLICIT_DRY_RUN = "implicit_dry_run"
    HANDED_ON = "handed_on"
    STILL_UNHEALTHY = "still_unhealthy"
    NO_EVIDENCE = "no_evidence"
    CONFIG_INVALID = "config_invalid"
    UNKNOWN_NAME = "unknown_name"
    TOKEN_MISSING = "token_missing"
    TOKEN_MALFORMED = "token_malformed"
    NOT_LOOPBACK = "not_loopback"
    NOT_CONFIRMED = "not_confirmed"
    NO_TARGET = "no_target"
    NOT_DEPLOYABLE = "not_deployable"
    LIVE_UNKNOWN = "live_unknown"
    NOT_PREPARED = "not_prepared"
    UNKNOWN_VALUE = "unknown_value"
    NO_WAY_IN = "no_way_in"
    TOO_MANY_ROUTES = "too_many_routes"
    NOT_ON_BRANCH = "not_on_branch"
    TOOL_MISSING = "tool_missing"
    BUILD_FAILED = "build_failed"
    BUILD_UNUSABLE = "build_unusable"
    MIGRATION_BETWEEN = "migration_between"
    SECRETS_CHANGED = "secrets_changed"
    NEVER_ROTATED = "never_rotated"
    VALUES_UNUSABLE = "values_unusable"
    KEY_REFUSED = "key_refused"
    KEY_STILL_ACCEPTED = "key_still_accepted"
    SECRET_REVOKED = "secret_revoked"
    SECRET_MISSING = "secret_missing"
    INHERIT_NOT_ACCEPTED = "inherit_not_accepted"
    NOT_REBUILDABLE = "not_rebuildable"
    REBUILD_DIFFERS = "rebuild_differs"
    NO_ENDPOINT = "no_endpoint"
    TOKEN_REFUSED = "token_refused"
    LATEST_NOT_DEPLOYED = "latest_not_deployed"
    WORLD_MOVED = "world_moved"
    REQUEST_TOO_OLD = "request_too_old"
    NOT_REVIEWED = "not_reviewed"
    READ_ONLY = "read_only"
    NOT_AUTHORISED = "not_authorised"
    PROVIDER_REFUSED = "provider_refused"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    MALFORMED_ANSWER = "malformed_answer"
    RATE_LIMITED = "rate_limited"
    NOT_APPLIED = "not_applied"
    UNCLEAR = "unclear"
    SIGNAL = "signal"
    EVENT_MALFORMED = "event_malformed"
    UNKNOWN_LABEL = "unknown_label"
    LABEL_TAKEN = "label_taken"
    LABELS_AT_ONCE = "labels_at_once"
    INCIDENT_CLOSED = "incident_closed"
    UNKNOWN_INCIDENT = "unknown_incident"
    RERUN = "rerun"
    OTHER_REF = "other_ref"
    NOT_A_PERSON = "not_a_person"
    NO_WRITE_ACCESS = "no_write_access"
    NOT_A_RESPONDER = "not_a_responder"
    PERMISSION_UNREADABLE = "permission_unreadable"
    PERMISSION_UNKNOWN = "permission_unknown"


class OpsError(Exception):
    """A failure with a next step, which may be something to press.

    `reason` is from the closed list; `decision` is None where no run was decided.
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
    """Configuration or usage: nothing was changed. `problems` holds every error found, one line each."""

    decision = Decision.REFUSED
    exit_code = 2

    def __init__(
        self, message: str, *, reason: Reason = Reason.CONFIG_INVALID, hint: str = "", problems: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, reason=reason, hint=hint)
        self.problems = problems


class Refused(OpsError):
    """Stopped before any change."""

    decision = Decision.REFUSED
    exit_code = EXIT_CODES[Decision.REFUSED]


class SecretsChanged(Refused):
    """Cloudflare refused to deploy a version because secrets changed since; nothing was changed. Names only."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        listed = ", ".join(names) or "Cloudflare named none"
        super().__init__(f"secrets have changed since that version: {listed}", reason=Reason.SECRETS_CHANGED)


class LatestNotDeployed(Refused):
    """Cloudflare refused to edit secrets, since the latest upload is not what serves; nothing was changed."""

    def __init__(self, worker: str) -> None:
        super().__init__(
            f"the latest upload of {worker} is not what serves, so its secrets cannot be edited",
            reason=Reason.LATEST_NOT_DEPLOYED,
            hint="Upload a new version of the one that serves, with the secret changed, and deploy that.",
        )


class ProviderError(OpsError):
    """The provider refused or failed, and what is live is known."""

    decision = Decision.FAILED
    exit_code = EXIT_CODES[Decision.FAILED]


class NotApplied(ProviderError):
    """The provider said that it did not apply the write. `retry_after` is in seconds, 0 where it named none."""

    def __init__(self, message: str, *, reason: Reason, hint: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message, reason=reason, hint=hint)
        self.retry_after = retry_after


class UnclearWrite(ProviderError):
    """A write without a readable answer: it may have been applied. Never the end of a run; the engine re-reads."""


class UnknownOutcome(OpsError):
    """A write may or may not have been applied, and reading did not settle it."""

    decision = Decision.UNKNOWN_OUTCOME
    exit_code = EXIT_CODES[Decision.UNKNOWN_OUTCOME]


class Interrupted(OpsError):
    """SIGINT or SIGTERM. Raised between steps only: a write under way is answered first."""

    decision = Decision.INTERRUPTED
    exit_code = EXIT_CODES[Decision.INTERRUPTED]

"""A rollback that still stands, what the next merge does about it, and the lift of its hold."""

from dataclasses import dataclass
from datetime import datetime

from ops.core.clock import format_rfc3339, format_utc

HOLD_PAGE = "docs/how-to/hold.md"


@dataclass(frozen=True)
class HoldSetup:
    """Whether the deployments of a service run the hold check, and what its three lines need."""

    option: str
    """Input of the action that names the service, such as `worker: shop-api`."""
    is_checked: bool

    @property
    def lines(self) -> tuple[str, str, str]:
        return (
            "- uses: OWNER/backout/.github/actions/hold-check@SHA",
            f"with: {{{self.option}, account-id: ACCOUNT}}",
            'env: {CLOUDFLARE_API_TOKEN: "${{ secrets.HOLD_CHECK_TOKEN }}"}',
        )


def describe_next_merge(setup: HoldSetup, commit: str, key: str) -> tuple[str, ...]:
    """Return what the next merge does, and what stops it.

    `commit`: that of the removed code; empty if unknown.
    `key`: what a trailer names to end the hold; empty if nothing holds the commit.
    """
    bad = f" (commit {commit[:12]})" if commit else ""
    ships = f"the next merge deploys the removed code again: revert it first{bad}"
    if not setup.is_checked:
        lines = ", ".join(f"`{each}`" for each in setup.lines)
        return ships, f"to refuse that merge, add three lines before the step that deploys ({HOLD_PAGE}): {lines}"
    if not key:
        return (f"{ships}. `ops hold check` does not refuse it, because no run of ours rolled it back",)
    if not commit:
        why = 'the removed version names no commit: deploy with `--tag "$GITHUB_SHA"`'
        return (f"{ships}. `ops hold check` only warns of it, because {why}",)
    lift = f", or `ops hold lift --incident {key}` has lifted the hold" if key.isdigit() else ""
    ends = f"unless a later commit ends with `Fixes-Incident: {key}`{lift}"
    return (f"`ops hold check` refuses to deploy the removed code{bad}, {ends}",)


@dataclass(frozen=True)
class StandingRollback:
    """An older version that is live in place of a newer one."""

    service: str
    live: str
    """Version or deployment, for people, as the next one."""
    newer: str
    """The newest one that was live before."""
    since: datetime
    by: str
    """Who rolled back, for people."""
    setup: HoldSetup
    commit: str = ""
    """Commit of the newer one; empty if it names none."""
    incident: int | None = None
    run: str = ""
    """Run whose mark says so; empty for a rollback by other means."""
    key: str = ""
    """What a trailer names to end the hold; empty if nothing holds the commit."""
    is_exact: bool = True
    """Whether `since` is the time of the rollback, and not only a time before it."""

    def __str__(self) -> str:
        because = f", incident {self.incident}" if self.incident else ""
        since = f"since {format_utc(self.since)}" if self.is_exact else f"at some time after {format_utc(self.since)}"
        who = f", by {self.by}" if self.by else ""
        return f"{self.service} is rolled back: {self.live} is live, not the newer {self.newer}, {since}{who}{because}"

    @property
    def next_merge(self) -> tuple[str, ...]:
        """Return what the next merge does, and what stops it."""
        return describe_next_merge(self.setup, self.commit, self.key)

    def to_json(self) -> dict[str, object]:
        names = ("service", "live", "newer", "commit", "by", "incident", "run")
        facts = {name: getattr(self, name) for name in names}
        return {**facts, "since": format_rfc3339(self.since), "next_merge": list(self.next_merge)}


LIFTED = "hold:lifted"


@dataclass(frozen=True)
class CommitHoldLift:
    """The label LIFTED on an incident, and who added it last."""

    by: str
    """Login; empty if the account was deleted."""
    at: datetime
    is_by_bot: bool
    """Whether a workflow added it. Only this lifts: the gate has authorized a responder before."""

    def ends(self, since: datetime) -> bool:
        """Return whether it lifts the hold of a rollback at that time. A later rollback holds again."""
        return self.is_by_bot and self.at > since

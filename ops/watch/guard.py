"""Guard a deployment: judge it by its probes and its error rate in its first minutes.

It changes nothing. Cloudflare's history is its only state: the window begins with the deployment, so that a second
guard, and one after a kill, judges the same requests.

Calls of an API in a minute, in steady state: one query of the analytics, and one list of the deployments.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ops.app.session import Session
from ops.cloudflare.types.workers import describe_split, short_id
from ops.core.clock import format_rfc3339, format_utc
from ops.core.errors import ConfigError, Decision, ProviderError, Reason, Refused
from ops.core.names import first_of, is_same_commit, is_sha, leading_commit, quote_name
from ops.core.redaction import Redactor
from ops.core.verdict import ProbeObservation, Verdict
from ops.pages.snapshot import find_shown_instead
from ops.watch.judgment import GuardedDeployment, LiveVersions, ObservedService, judge_watch
from ops.watch.state import WatchState, new_watch_owner
from ops.watch.watch import WatchObserver

if TYPE_CHECKING:
    from ops.cloudflare.types.pages import PagesDeployment
    from ops.cloudflare.types.workers import WorkerDeployment
    from ops.config import Service

INTERVAL = timedelta(seconds=10)
"""Time from round to round: ten minutes of them can show that a deployment is good, also if one round fails."""
LEAST_ROUNDS = timedelta(minutes=5)
"""Time for which a guard that starts late probes, at least: 30 rounds can show that a deployment is good."""
LONGEST = timedelta(hours=1)
"""Longest window. Of an older deployment, the figures of this time count."""
FIRST_ROUND = timedelta(minutes=1) // INTERVAL
"""Number of the first round. Before it, the version before may still answer, and not every answer names its version."""
PARTIAL = "other versions serve too: rounds count only if each probe names a new version (`version` of an http probe)"
ROUNDS_PER_MINUTE = timedelta(minutes=1) // INTERVAL


@dataclass(frozen=True)
class GuardState(WatchState):
    """Rounds of the probes since the deployment."""

    @property
    def interval(self) -> timedelta:
        return INTERVAL


@dataclass(frozen=True)
class GuardRequest:
    """The deployment to guard: by its ID, of a version or of a commit, else the one that is live."""

    deployment: str = ""
    version: str = ""
    commit: str = ""
    may_lack_commit: bool = False
    """Whether the live deployment is guarded if none names the commit."""


@dataclass(frozen=True, kw_only=True)
class GuardResult(ObservedService):
    deployment: GuardedDeployment

    @property
    def is_bad(self) -> bool:
        return self.reason == Reason.BAD_DEPLOYMENT

    @property
    def verdict(self) -> str:
        """Return the word of the end for people."""
        words = {Reason.GOOD_DEPLOYMENT: "good", Reason.BAD_DEPLOYMENT: "bad"}
        return words.get(self.reason, str(self.decision)) if self.reason else ""

    @property
    def is_replaced(self) -> bool:
        return bool(self.deployment.replacement)

    def to_json(self) -> dict[str, Any]:
        return {
            **super().to_json(),
            "deployment": self.deployment.id,
            "versions": list(self.deployment.versions),
            "deployed_at": format_rfc3339(self.deployment.created_on),
            "replaced_by": self.deployment.replacement,
        }


Rounds = Generator[datetime, None, GuardResult]
"""Yields the time of each next round, until which its caller waits, and returns the result."""


class Guard(WatchObserver):
    """A guard of one service, by one runner."""

    def __init__(
        self,
        session: Session,
        service: "Service",
        probe: Callable[[frozenset[str]], ProbeObservation],
        *,
        redactor: Redactor,
        on_round: Callable[[GuardResult], object],
    ) -> None:
        """`probe` runs one round, in which only these versions count; `on_round` gets each state."""
        super().__init__(session, service, redactor)
        self._probe, self._on_round = probe, on_round

    def rounds(self, request: GuardRequest, duration: timedelta) -> Rounds:
        """Guard the deployment until the end of its window.

        A guard that starts late goes on until its own probes can show something; a bad deployment ends it at once.

        Raises:
            ProviderError: the deployments cannot be read.
            Refused: there is no such deployment.
        """
        now = self._clock.now()
        deployment = choose_deployment(self._session, self._service, request)
        start = max(deployment.created_on, now - LONGEST)
        until = max(deployment.created_on + duration, now + LEAST_ROUNDS)
        state = GuardState(
            new_watch_owner(now), start, until, deployment.id, usual_failures=self._service.verify.usual_failures
        )
        self._read_rates(state)
        self._on_round(self._build_guard_result(deployment, state))
        while not deployment.replacement and (number := (yield from self._next_round(state))) is not None:
            state = state.with_round(number, self._run_probes(state.time_of(number), deployment))
            if number % ROUNDS_PER_MINUTE == 0:
                self._read_rates(state)
            elif number % ROUNDS_PER_MINUTE == ROUNDS_PER_MINUTE // 2:
                deployment = self.look_again(deployment)
            result = self._build_guard_result(deployment, state)
            self._on_round(result)
            if result.judgment.is_relapse:
                return self._end_guard(self.look_again(deployment), state)
        if not deployment.replacement:
            self._read_rates(state)
            deployment = self.look_again(deployment)
        return self._end_guard(deployment, state)

    def look_again(self, deployment: GuardedDeployment) -> GuardedDeployment:
        """Return the deployment with the one that replaced it, if any. It stays as it is if that cannot be read."""
        try:
            seen = find_replacement(deployment, list_deployed(self._session, self._service))
        except (ProviderError, ConfigError) as error:
            self._problem = f"the deployments cannot be read: {error.message}"
            return deployment
        self._problem = ""
        return seen

    def is_healthy_now(self, deployment: GuardedDeployment) -> bool:
        """Return whether one more round of the probes is healthy."""
        return self._run_probes(self._clock.now(), deployment) == Verdict.HEALTHY

    def _next_round(self, state: GuardState) -> Generator[datetime, None, int | None]:
        """Wait for the next round, and return its number; None at the end. A suspended machine wakes up late."""
        yield min(state.time_of(self._due_round(state)), state.until)
        number = self._due_round(state)
        return number if state.time_of(number) < state.until else None

    def _due_round(self, state: GuardState) -> int:
        return max(state.due_round(self._clock.now()), FIRST_ROUND)

    def _run_probes(self, at: datetime, deployment: GuardedDeployment) -> Verdict:
        """Run one round. An answer of another version makes it inconclusive, and in a split one without a version."""
        seen = self._probe(frozenset(deployment.versions))
        self._note_round(seen, at)
        named = {each.echoed_version or "" for each in seen.results}
        other = named - {*deployment.versions, *([] if deployment.is_partial else [""])}
        return Verdict.INCONCLUSIVE if deployment.versions and other else seen.verdict

    def _build_guard_result(
        self,
        deployment: GuardedDeployment,
        state: GuardState,
        decision: Decision | None = None,
        reason: Reason | None = None,
    ) -> GuardResult:
        live = LiveVersions(deployment.versions, predecessors=deployment.predecessors)
        judgment = judge_watch(state, live, self._rates, has_probes=bool(self._service.watched_probes))
        partial = PARTIAL if deployment.is_partial and self._service.watched_probes else ""
        result: GuardResult = self._redactor.redact_value(
            GuardResult(
                service=self._service.name,
                environment=self._session.environment.name,
                kind=self._service.kind,
                deployment=deployment,
                state=state,
                judgment=judgment,
                rates=self._rates,
                notes=(*judgment.notes, *filter(None, [partial]), *self._list_notes()),
                decision=decision,
                reason=reason,
                ended_at=self._clock.now() if decision else None,
            )
        )
        return result

    def _end_guard(self, deployment: GuardedDeployment, state: GuardState) -> GuardResult:
        if deployment.is_rolled_back:
            return self._build_guard_result(deployment, state, Decision.NO_EVIDENCE, Reason.ALREADY_STEPPED_BACK)
        if deployment.replacement:
            return self._build_guard_result(deployment, state, Decision.NOTHING_TO_DO, Reason.REPLACED)
        verdict = self._build_guard_result(deployment, state).judgment.verdict
        if verdict == Verdict.HEALTHY and self._site_shows_other(deployment):
            verdict = Verdict.INCONCLUSIVE
        decision, reason = {
            Verdict.UNHEALTHY: (Decision.STILL_UNHEALTHY, Reason.BAD_DEPLOYMENT),
            Verdict.HEALTHY: (Decision.NOTHING_TO_DO, Reason.GOOD_DEPLOYMENT),
            Verdict.INCONCLUSIVE: (Decision.NO_EVIDENCE, Reason.NO_EVIDENCE),
        }[verdict]
        return self._build_guard_result(deployment, state, decision, reason)

    def _site_shows_other(self, deployment: GuardedDeployment) -> bool:
        """Return whether a site shows another deployment, and note it; also if that is unknown.

        Cloudflare lists no rollback of a site, and does not document that `canonical_deployment` follows one, so only
        the content shows it [unsure: pages-canonical].
        """
        if not self._service.pages:
            return False
        others = find_shown_instead(self._session, self._service, deployment.id)
        if others is None:
            self._problem = self._problem or "whether the site shows this deployment is unknown"
        elif others:
            names = ", ".join(first_of([short_id(each) for each in others]))
            self._problem = (
                f"the site shows the content of {names}, not of this deployment: it was rolled back, or a cache answers"
            )
        return bool(others)


@dataclass(frozen=True)
class Deployed:
    """A deployment of a Worker or site that served, in one form. `text` is untrusted."""

    id: str
    created_on: datetime
    text: str
    versions: tuple[str, ...] = ()
    """Versions with traffic; empty for a site."""
    commits: tuple[str, ...] = ()
    """Commits that it names itself."""
    blames: str = ""
    """Version that our mark says it took out of service; a hint."""
    is_ours: bool = False
    """Whether it has our mark; a hint."""


def list_deployed(session: Session, service: "Service") -> list[Deployed]:
    """Return the deployments, newest first; the first one is live. Raises ProviderError."""
    if service.worker:
        return [
            _deployed_from_worker(each)
            for each in session.cloudflare.workers.list_deployments(service.worker)
            if each.split
        ]
    sites = (each for each in session.cloudflare.pages.list_deployments(service.pages) if each.can_serve_production)
    return [_deployed_from_site(each) for each in sorted(sites, key=lambda each: each.created_on, reverse=True)]


def _deployed_from_worker(each: "WorkerDeployment") -> Deployed:
    by = f" by {each.author}" if each.author else ""
    text = f"{describe_split(each.split)}, deployed at {format_utc(each.created_on)}{by}"
    blames = each.mark.blames or "" if each.mark else ""
    return Deployed(
        each.id,
        each.created_on,
        text,
        each.serving_versions,
        (leading_commit(each.message),),
        blames,
        each.mark is not None,
    )


def _deployed_from_site(each: "PagesDeployment") -> Deployed:
    text = f"{short_id(each.id)}, deployed at {format_utc(each.created_on)}"
    return Deployed(each.id, each.created_on, text, commits=(each.commit,))


def choose_deployment(session: Session, service: "Service", request: GuardRequest) -> GuardedDeployment:
    """Return the newest deployment of the request. Raises Refused and ProviderError."""
    deployed = list_deployed(session, service)
    if not deployed:
        raise Refused(
            f"{service.name} has no deployment",
            reason=Reason.NO_TARGET,
            hint=f"Deploy {service.name} first, then run `ops guard` again.",
        )
    if not request.version and not request.commit:
        place = next((place for place, each in enumerate(deployed) if each.id == request.deployment), 0)
        return find_replacement(_guarded_deployment(deployed, place), deployed)
    named = f"version {quote_name(request.version)}" if request.version else f"commit {quote_name(request.commit)}"
    wanted = _versions_of(session, service, request, deployed)
    for place, each in enumerate(deployed):
        names_commit = not request.version and any(is_same_commit(request.commit, name) for name in each.commits)
        if names_commit or wanted & {*each.versions, *([] if service.worker else [each.id])}:
            return find_replacement(_guarded_deployment(deployed, place), deployed)
    if request.may_lack_commit:
        return _guarded_deployment(deployed, 0)
    hint = f"The live one is {deployed[0].text}. To guard that one: `ops guard` without `--version` and `--commit`."
    raise Refused(f"no deployment of {service.name} has {named}", reason=Reason.UNKNOWN_NAME, hint=hint)


def _versions_of(
    session: Session, service: "Service", request: GuardRequest, deployed: Sequence[Deployed]
) -> frozenset[str]:
    """Return the IDs of the versions of the request; for a site, of its deployments."""
    if request.version:
        known = (name for each in deployed for name in (each.versions if service.worker else (each.id,)))
        return frozenset(name for name in known if name.startswith(request.version))
    if not service.worker:
        return frozenset()
    uploads = session.cloudflare.workers.list_uploads(service.worker)
    names = {each.id: (each.tag, "" if is_sha(each.tag) else leading_commit(each.message)) for each in uploads}
    return frozenset(
        version for version, own in names.items() if any(is_same_commit(request.commit, name) for name in own)
    )


def _guarded_deployment(deployed: Sequence[Deployed], place: int) -> GuardedDeployment:
    chosen, before = deployed[place], deployed[place + 1].versions if place + 1 < len(deployed) else ()
    new = tuple(each for each in chosen.versions if each not in before) or chosen.versions
    predecessors = tuple(each for each in before if each not in new)
    is_partial = new != chosen.versions
    return GuardedDeployment(chosen.id, chosen.created_on, chosen.text, new, predecessors, is_partial=is_partial)


def find_replacement(guarded: GuardedDeployment, deployed: Sequence[Deployed]) -> GuardedDeployment:
    """Return the deployment with the newer one that is live, if any.

    It was rolled back if the live one only has versions from before it; a mark of ours is a hint of that.
    """
    if not deployed or deployed[0].id == guarded.id:
        return guarded
    live = deployed[0]
    older = {name for each in deployed if each.created_on < guarded.created_on for name in each.versions}
    is_back = bool(live.versions) and {*live.versions} <= older and not {*live.versions} & {*guarded.versions}
    return replace(guarded, replacement=live.text, is_rolled_back=is_back or live.blames in guarded.versions)

"""Scenarios of a bad night: more than the release is broken, or somebody errs.

Each request first gets its expected answer, which recovers nothing by mistake. Then the responder does what it says.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ops.app import registry
from ops.core.errors import Decision, Reason
from ops.core.verdict import ProbeObservation, Verdict
from ops.drills import github, scenario_release
from ops.drills.command import NO_LIMITS, DrillWorld, Say
from ops.drills.score import mark_drill_unhealthy
from ops.drills.support import find_label

if TYPE_CHECKING:
    from ops.config import Environment, Service
    from sandbox import Sandbox

RUNBOOK = "rollback-worker"
STRANGER = "drill-stranger"
"""May add labels, and has no write access."""
FRESH_TOKEN = "sandbox-fresh"  # noqa: S105  opens nothing but the sandbox
PERMISSIONS = ("Workers Scripts Write",)
OLDER_AGE = timedelta(hours=8)
CACHED_SECONDS = 3600.0
BROKEN_FOR = timedelta(minutes=10)
NO_RUNTIME = {"workerd": "the runtime of the Workers does not matter"}


@dataclass
class BadNight:
    """The world of one drill, and the problems that it found."""

    world: DrillWorld
    service: "Service"
    probe: Callable[[], ProbeObservation]
    start_runbook: Any
    """Starts the runbook by the trigger of the drill."""
    say: Say
    problems: list[str] = field(default_factory=list)

    @property
    def sandbox(self) -> "Sandbox":
        return self.world.sandbox

    @property
    def incident(self) -> github.DrillIncident:
        incident = self.start_runbook.incident
        assert isinstance(incident, github.DrillIncident), "the scenario needs an incident"
        return incident

    @property
    def live(self) -> Mapping[str, float]:
        return self.sandbox.live(self.service.worker)

    def act(self, person: str, text: str, action: Callable[[Any], object]) -> dict[str, Any]:
        """Let a person act on GitHub, and return the result of the workflow."""
        changed_at = self.start_runbook.scenario.changed_at
        return github.run_action(self.incident, person, (text, action), self.say, changed_at=changed_at)

    def expect(self, request: Callable[[], dict[str, Any]], expected: Decision, *reasons: Reason) -> dict[str, Any]:
        """Make a request that must end like this without a change, with an answer that names each reason."""
        before, known = dict(self.live), len(self.incident.github.issue(self.incident.number).comments)
        result = request()
        self.say(f"{result['decision']}: {result['message']}")
        if result["decision"] != expected:
            self.problems.append(f"the request ended {result['decision']} instead of {expected}")
        if dict(self.live) != before:
            self.problems.append("the request changed the live version")
        comments = self.incident.github.issue(self.incident.number).comments[known:]
        answer = "\n".join([str(result["reason"]), *(comment.body for comment in comments)])
        self.problems += [f"no answer says {reason}" for reason in reasons if reason not in answer]
        if not comments:
            self.problems.append("the incident has no answer")
        return result

    def end(self, result: Mapping[str, Any], said: str, good: Mapping[str, float] | None = None) -> dict[str, Any]:
        """Return the result of the last request, compared with the sandbox. `good`: the version that must serve."""
        first = good or self.sandbox.deployments(self.service.worker)[-1].percentages
        live = "good" if self.live == first else "wrong"
        is_healthy = self.probe().verdict == Verdict.HEALTHY
        compared = github.compare_with_sandbox(result, live_release=live, is_healthy=is_healthy)
        if self.problems:
            return mark_drill_unhealthy(compared, "; ".join([compared["message"], *self.problems]))
        return {**compared, "message": f"{compared['message']}; {said}"}


def _refuse_stranger(night: BadNight) -> dict[str, Any]:
    """Let somebody without write access add the label, then the responder."""
    incident = night.incident
    incident.github.add_user(STRANGER, "triage")
    label = _find_night_label(night)
    add = partial(_add_labels, number=incident.number, labels=[label], person=STRANGER)
    text = f'put the label "{label}" on it'
    night.expect(lambda: night.act(STRANGER, text, add), Decision.REFUSED, Reason.NO_WRITE_ACCESS)
    return night.end(night.start_runbook({}), "the label of a stranger started nothing")


def _refuse_two_labels(night: BadNight) -> dict[str, Any]:
    """Add two labels in one click, then one."""
    person, label = night.world.responder, _find_night_label(night)
    others = [name for name in night.start_runbook.config.labels if name != label]
    add = partial(_add_labels, number=night.incident.number, labels=[others[0], label], person=person)
    text = f'put "{others[0]}" and "{label}" on it at once'
    night.expect(lambda: night.act(person, text, add), Decision.REFUSED, Reason.LABELS_AT_ONCE)
    night.sandbox.clock.advance(60)
    return night.end(night.start_runbook({}), "two labels at once started nothing")


def _find_night_label(night: BadNight) -> str:
    world = night.world
    return find_label(night.start_runbook.config, RUNBOOK, world.environment.name, world.service_param)


def _add_labels(hub: Any, *, number: int, labels: list[str], person: str) -> None:
    hub.label_at_once(number, labels, person)


def _lose_github(night: BadNight) -> dict[str, Any]:
    """Recover while GitHub answers nothing but the permission, and import the record afterwards."""
    result = night.start_runbook({})
    if (result["journal"], result["imported"]) != (False, True):
        night.problems.append("the record was not imported after the outage of GitHub")
    return night.end(result, "GitHub was down, and got the record afterwards")


def _revoke_token(night: BadNight) -> dict[str, Any]:
    """Recover with a revoked token, then with a new one."""
    sandbox, world = night.sandbox, night.world
    sandbox.revoke_token(world.token)
    night.say("somebody revoked the token of the recovery")
    night.expect(lambda: night.start_runbook({}), Decision.FAILED)
    fresh = replace(world, token=sandbox.add_token(FRESH_TOKEN, PERMISSIONS))
    if night.start_runbook.drill.trigger != "command":
        github.put_token(fresh, registry.load_runbook(RUNBOOK).github_environment)
    night.say(f"{world.responder} made a new token")
    return night.end(replace(night.start_runbook, world=fresh)({}), "a revoked token changed nothing")


def _lose_target(night: BadNight) -> dict[str, Any]:
    """Delete the last good version, so that the one before it is the target."""
    worker = night.service.worker
    older, good, _ = reversed([dict(each.percentages) for each in night.sandbox.deployments(worker)])
    night.sandbox.delete_version(worker, next(iter(good)))
    night.say("Cloudflare lists the last good version no more")
    return night.end(night.start_runbook({}), "the version before the missing one serves", good=older)


def _recover_behind_cache(night: BadNight) -> dict[str, Any]:
    """Recover while a cache answers every probe with an old page, then without the cache."""
    from sandbox.edge.cache import CacheRule

    sandbox, worker = night.sandbox, night.service.worker
    bad, good = (dict(each.percentages) for each in sandbox.deployments(worker)[:2])
    rules, host = sandbox.edge.cache_rules, urlsplit(night.service.url).hostname or ""
    rules[host] = CacheRule(CACHED_SECONDS, ignores_query=True)
    sandbox.deploy(worker, good)
    night.probe()
    sandbox.deploy(worker, bad)
    sandbox.clock.advance(BROKEN_FOR.total_seconds())
    night.say("a cache in front of the service answers with pages of the good release")
    first = night.start_runbook({})
    night.say(f"{first['decision']}: {first['message']}")
    if first["decision"] != Decision.NO_EVIDENCE:
        night.problems.append(f"the cached answers ended {first['decision']} instead of {Decision.NO_EVIDENCE}")
    del rules[host]
    night.say("somebody turned the cache off")
    second = night.start_runbook({})
    written = {name: first["durations"][name] for name in ("trigger_to_write", "trigger_to_read_back")}
    return night.end({**second, "durations": {**second["durations"], **written}}, "cached answers proved nothing")


def _lose_index(night: BadNight) -> dict[str, Any]:
    """Let the jobs find no package index, and recover on a laptop."""
    world, start = night.world, night.start_runbook
    offline = replace(start.incident, world=replace(world, has_package_index=False))
    night.say("the package index is down, and no runner has the packages")
    night.expect(lambda: replace(start, incident=offline)({}), Decision.FAILED)
    laptop = replace(start, drill=replace(start.drill, trigger="command"))
    return night.end(laptop({}), "the jobs installed nothing, and the laptop recovered")


def _run_scene(
    world: DrillWorld,
    service: "Service",
    probe: Callable[[], ProbeObservation],
    start_runbook: Any,
    say: Say,
    *,
    scene: Callable[[BadNight], dict[str, Any]],
) -> dict[str, Any]:
    return scene(BadNight(world, service, probe, start_runbook, say))


def _deploy_older(sandbox: "Sandbox", _environment: "Environment", service: "Service") -> None:
    """Deploy a release before the good one."""
    sandbox.clock.advance(-OLDER_AGE.total_seconds())
    scenario_release.WORKER.release(sandbox, service, "good", "embedded", Path())
    sandbox.clock.advance(OLDER_AGE.total_seconds())


def _make_scenario(
    scene: Callable[[BadNight], dict[str, Any]], unsupported: Mapping[str, str] = NO_LIMITS, **more: Any
) -> scenario_release.Scenario:
    return replace(
        scenario_release.WORKER,
        runbook=RUNBOOK,
        run=partial(_run_scene, scene=scene),
        needs_incident=True,
        permissions=PERMISSIONS,
        unsupported={**NO_RUNTIME, **unsupported},
        **more,
    )


ONLY_LABEL = dict.fromkeys(("button", "command"), "only a label can be added without write access")
ANY_TRIGGER = dict.fromkeys(("label", "button"), "no trigger changes the probes, and the first run waits two minutes")
SCENARIOS: Mapping[str, scenario_release.Scenario] = {
    "unauthorized-label": _make_scenario(_refuse_stranger, ONLY_LABEL),
    "two-labels": _make_scenario(_refuse_two_labels, dict.fromkeys(ONLY_LABEL, "it adds two labels in one click")),
    "github-down": _make_scenario(_lose_github, github_fails=github.AFTER_PERMISSION),
    "token-revoked": _make_scenario(_revoke_token),
    "target-gone": _make_scenario(_lose_target, prepare=_deploy_older),
    "lying-probe": _make_scenario(_recover_behind_cache, ANY_TRIGGER, expected=Decision.NOTHING_TO_DO),
    "package-index-down": _make_scenario(_lose_index, {"command": "a laptop installs nothing"}),
}
"""Name of the drill → its scenario."""

"""Scenarios of the watch after a rollback: a relapse, and noise that is none.

In the relapse the first watch is killed after four minutes. The responder closes the incident, and continues the watch
at once: by command, or by running its job again. After twelve minutes the service fails. In the noise three rounds of
probes fail, and one of 40 requests of others, as before the bad release.
"""

import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ops.core.errors import EXIT_CODES, Decision, Reason
from ops.core.run_record import RunRecord, read_record
from ops.core.verdict import ProbeObservation
from ops.drills import command, github, scenario_release
from ops.drills.command import DrillWorld, Say
from ops.drills.score import mark_drill_unhealthy

if TYPE_CHECKING:
    from ops.config import Service
    from sandbox.faults import Fault
    from sandbox.github.actions.state import FakeRun

NAME, NOISY = "relapse", "noisy-watch"
EXPECTED = Decision.RELAPSED
RUNBOOK = "rollback-worker"
KILLED_AFTER, FAILS_AFTER = timedelta(minutes=4), timedelta(minutes=12)
"""Time from the first round of the watch."""
MOST_ROUNDS = 8
"""Most rounds in which the watch must find the relapse."""
MOST_MISSED = 3
"""Most rounds between the two watches; between two jobs also those in which GitHub waits for the lost runner."""
LOST_ROUNDS = 20
"""Rounds of 30 s in the ten minutes until GitHub fails the job of a lost runner."""
NOISE = tuple((timedelta(minutes=at), timedelta(minutes=at, seconds=30)) for at in (4, 11, 19))
"""Times from the first round of the watch in which the service fails: one round each."""
OTHERS, FAILED_OTHERS = 40, 1
"""Requests of other clients in each pause of the watch, and those that throw."""
LONGEST_SLEEP = 5.0
"""Longest real seconds that a command of the drill sleeps; a longer sleep moves the clock."""


@dataclass
class _Night:
    """Acts at times of the sandbox's clock, before the sleep of the watch ends."""

    world: DrillWorld
    service: "Service"
    say: Say
    kill: Callable[[], object] | None = None
    began: datetime | None = None
    has_failed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    is_noisy: bool = False
    noise: "Fault | None" = None
    """What makes rounds fail now and then, once the watch has begun."""

    def pass_time(self) -> None:
        with self.lock:
            now = self.world.sandbox.clock.now()
            self.began = self.began or now
            if self.kill and now - self.began >= KILLED_AFTER:
                kill, self.kill = self.kill, None
                self.say("the runner of the watch is gone")
                kill()
            if self.is_noisy and now - self.began >= NOISE[0][0]:
                self._make_noise(now, now - self.began)
            elif not self.is_noisy and not self.has_failed and now - self.began >= FAILS_AFTER:
                self.has_failed = True
                self.say(f"{self.service.name} fails again")
                self._add_fault(500)

    def _add_fault(self, status: int | None) -> "Fault":
        host = urlsplit(self.service.url).hostname
        return self.world.sandbox.edge_fault(host=host, status=status, times=None)

    def _make_noise(self, now: datetime, passed: timedelta) -> None:
        """Let few rounds and requests fail; at its first time, as many requests as on the days before too."""
        if self.noise is None:
            self.noise = self._add_fault(None)
            for day in range(2, 7):
                self._add_requests(now - timedelta(days=day), times=50)
        is_bad = any(start <= passed < end for start, end in NOISE)
        if is_bad and self.noise.status is None:
            self.say(f"{self.service.name} fails for half a minute")
        self.noise.status = 500 if is_bad else None
        self._add_requests(now)

    def _add_requests(self, at: datetime, *, times: int = 1) -> None:
        from sandbox.cloudflare.analytics.state import SUCCESS, THREW

        sandbox, worker = self.world.sandbox, self.service.worker
        (version,) = sandbox.live(worker)
        for number in range(OTHERS * times):
            outcome = THREW if number % OTHERS < FAILED_OTHERS else SUCCESS
            account = self.world.environment.account_id
            sandbox.analytics.record_invocation(account, worker, version, outcome, at=at, seconds=0.01, size=9)


def run(
    world: DrillWorld,
    service: "Service",
    _probe: Callable[[], ProbeObservation],
    start_runbook: github.DrillTrigger,
    say: Say,
    *,
    is_noisy: bool = False,
) -> dict[str, Any]:
    """Recover, watch, and return the result with what the watch found. The watch of a relapse loses its runner."""
    sandbox, night = world.sandbox, _Night(world, service, say, is_noisy=is_noisy)
    sandbox.clock.longest_sleep, sandbox.clock.on_sleep = LONGEST_SLEEP, night.pass_time
    incident = start_runbook.incident
    if incident is None or start_runbook.drill.trigger == "command":
        result = start_runbook({})
        if result["decision"] != Decision.RECOVERED:
            return result
        night.began = None
        if incident is not None and not is_noisy:
            _run_watch(world, night, incident, say, is_killed=True)
            _close_incident(world, incident, say)
        code = _run_watch(world, night, incident, say)
    else:
        result, code = _by_workflow(world, night, start_runbook, incident, say), None
    return _end_noisy(result, code, incident) if is_noisy else _end_relapsed(result, code, incident)


def _end_noisy(result: dict[str, Any], code: int | None, incident: github.DrillIncident | None) -> dict[str, Any]:
    """Return the result with what the watch said of the noise. `code`: of the command; None for a job."""
    problems = [] if code in {None, 0} else [f"the watch ended with exit code {code}"]
    if incident is not None:
        ended = [each.decision or "open" for each in _incident_records(incident) if each.source == "watch"]
        problems += [] if ended == [Decision.MITIGATED] else [f"the incident has these watches: {', '.join(ended)}"]
    if problems:
        return mark_drill_unhealthy(result, "; ".join([result["message"], *problems]))
    return {**result, "message": f"{result['message']}; the watch saw the noise, and said mitigated"}


def _end_relapsed(result: dict[str, Any], code: int | None, incident: github.DrillIncident | None) -> dict[str, Any]:
    """Return the result with what the watch found. `code`: of the command; None for a job."""
    problems = [] if code in {None, EXIT_CODES[EXPECTED]} else [f"the watch ended with exit code {code}"]
    problems += _find_problems(incident, by_job="workflow_run" in result) if incident is not None else []
    if problems:
        return mark_drill_unhealthy(result, "; ".join([result["message"], *problems]))
    found = {"decision": EXPECTED.value, "reason": Reason.RELAPSED.value, "exit_code": EXIT_CODES[EXPECTED]}
    return {**result, **found, "message": f"{result['message']}; the watch found the relapse, and said so"}


def _run_watch(
    world: DrillWorld, night: _Night, incident: github.DrillIncident | None, say: Say, *, is_killed: bool = False
) -> int:
    """Run `ops watch`, and return its exit code."""
    arguments = ["watch", "--service", world.service, "--environment", world.environment.name, "--for", "30m"]
    arguments += ["--incident", str(incident.number)] if incident else []
    say(f"$ ops {' '.join(arguments)}")
    environ = incident.environ() if incident else {}
    argv, variables = command.command_line(world, [*arguments, "--config", str(world.config)], environ)
    with command.start_drilled_command(argv, variables, stderr=subprocess.STDOUT) as watch:
        night.kill = watch.kill if is_killed else None
        assert watch.stdout is not None
        for line in watch.stdout:
            say(line.rstrip())
    return watch.returncode


def _by_workflow(
    world: DrillWorld, night: _Night, trigger: github.DrillTrigger, incident: github.DrillIncident, say: Say
) -> dict[str, Any]:
    """Recover by label or button; run a watch again that is gone. Return the result of the rollback."""
    hub = world.sandbox.github
    text, act = github.requester_action(incident, trigger.config, trigger.drill.trigger, {})
    with github.open_runner(world, say) as runner:
        if not night.is_noisy:
            night.kill = lambda: runner.crash_job(github.list_drilled_runs(hub)[-1].id, "watch")
        say(f"{world.responder} {text}")
        act(hub)
        github.wait_for_runs(runner, hub)
        first = github.list_drilled_runs(hub)[-1]
        described = github.describe_run(first)
        _say_jobs(first, say)
        if not night.is_noisy:
            _close_incident(world, incident, say)
            say(f'{world.responder} ran the job "watch" again')
            watch = next(each for each in first.jobs if each.name.endswith(" / watch"))
            hub.rerun(first.id, world.responder, only=watch)
            github.wait_for_runs(runner, hub)
    for each in dict.fromkeys((first, github.list_drilled_runs(hub)[-1])):
        _say_jobs(each, say)
    records = [each for each in _incident_records(incident) if each.source == "run" and each.decision]
    result = github.result_from_record(records[-1]) if records else dict(command.NO_RESULT)
    return {**result, "workflow_run": described, "journal": bool(records)}


def _say_jobs(run: "FakeRun", say: Say) -> None:
    for job in run.jobs:
        say(f'{run.event}: the job "{job.name}" ended: {job.conclusion}')


def _close_incident(world: DrillWorld, incident: github.DrillIncident, say: Say) -> None:
    say(f"{world.responder} closed the incident")
    incident.github.close(incident.number, world.responder)


def _incident_records(incident: github.DrillIncident) -> list[RunRecord]:
    bodies = (comment.body for comment in incident.github.issue(incident.number).comments)
    return [record for body in bodies if (record := read_record(body))]


def _find_problems(incident: github.DrillIncident, *, by_job: bool) -> list[str]:
    """Return what the incident lacks after a relapse. `by_job`: the first watch was a job."""
    issue = incident.github.issue(incident.number)
    watches = [each for each in _incident_records(incident) if each.source == "watch"]
    if [each.decision for each in watches] != [EXPECTED]:
        return [f"the incident has {len(watches)} watches: {', '.join(each.decision or 'open' for each in watches)}"]
    rounds = str(watches[0].watch["rounds"])
    unhealthy = len(rounds) - len(rounds.rstrip("u"))
    problems = [] if 0 < unhealthy <= MOST_ROUNDS else [f"the relapse took {unhealthy} rounds: {rounds}"]
    shown = sum(row.text.startswith("not probed") for row in watches[0].rows)
    problems += [f"a gap of the watch is not shown: {rounds}"] if ("." in rounds) != bool(shown) else []
    longest = MOST_MISSED + (LOST_ROUNDS if by_job else 0)
    problems += [f"the watch has a long gap: {rounds}"] if rounds.count(".") > longest else []
    problems += [] if issue.state == "open" else ["the incident is closed"]
    notices = [each.body for each in issue.comments if "relapsed" in each.body and not read_record(each.body)]
    problems += [] if any("rollback-worker" in each for each in notices) else ["no notice names the next step"]
    is_answered = any(each.body.startswith("**The watch stopped early") for each in issue.comments)
    return [*problems, "nobody was told that the watch stopped"] if by_job and not is_answered else problems


SCENARIO = replace(
    scenario_release.WORKER,
    runbook=RUNBOOK,
    run=run,
    expected=EXPECTED,
    is_watched=True,
    unsupported={"workerd": "a watch sees only answers, so the runtime of the Workers does not matter"},
)
NOISY_SCENARIO = replace(
    SCENARIO,
    run=partial(run, is_noisy=True),
    expected=Decision.RECOVERED,
    permissions=("Workers Scripts Write", "Account Analytics Read"),
)

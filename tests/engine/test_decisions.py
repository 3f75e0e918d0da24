"""Decision table of a run: probe verdicts before and after, and whether the run wrote."""

import shlex
import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from ops.core.verdict import Verdict, decide_by_verdicts
from tests.conftest import ACCOUNT, Outcome, Releases, World
from tests.support.commands import LIST, WRITE, ended, ours

HEALTHY, UNHEALTHY, INCONCLUSIVE = "0", "1", "2"
"""As the exit code of the one probe, which reads it from a file."""
VERDICTS = {HEALTHY: Verdict.HEALTHY, UNHEALTHY: Verdict.UNHEALTHY, INCONCLUSIVE: Verdict.INCONCLUSIVE}

CONFIG = f"""
environments:
  production:
    account_id: {ACCOUNT}
    services:
      api:
        worker: fortunet-api
        url: https://api.fortunet.example
        verify: {{successes: 1, interval: 500ms, deadline: 1s}}
        probes:
          - name: script
            command: {{run: [sh, -c, "echo >> probed; exit $(cat verdict)"]}}
contacts:
  - {{role: On-call, contact: "+49 1", availability: 24/7}}
"""

WROTE: dict[tuple[str, str], tuple[int, str, str, str]] = {
    (UNHEALTHY, HEALTHY): (0, "recovered", "verified", "failed before and are healthy now"),
    (INCONCLUSIVE, HEALTHY): (0, "recovered", "not_seen_failing", "whether they failed before is unknown"),
    (HEALTHY, HEALTHY): (0, "healthy_as_before", "verified", "this may be the wrong service"),
    (UNHEALTHY, UNHEALTHY): (6, "still_unhealthy", "still_unhealthy", "unhealthy as before: it did not help"),
    (INCONCLUSIVE, UNHEALTHY): (6, "still_unhealthy", "still_unhealthy", "whether it was healthy before is unknown"),
    (HEALTHY, UNHEALTHY): (6, "still_unhealthy", "still_unhealthy", "now, though it was healthy before: undo it"),
    (UNHEALTHY, INCONCLUSIVE): (
        8,
        "no_evidence",
        "no_evidence",
        "written and live, not proved: the probes gave no verdict",
    ),
    (INCONCLUSIVE, INCONCLUSIVE): (8, "no_evidence", "no_evidence", "this is not a success"),
    (HEALTHY, INCONCLUSIVE): (8, "no_evidence", "no_evidence", "this is not a success"),
}

WROTE_NOTHING: dict[str, tuple[int, str, str]] = {
    HEALTHY: (0, "nothing_to_do", "the probes are healthy"),
    UNHEALTHY: (6, "still_unhealthy", "nothing was changed, and it is unhealthy: "),
    INCONCLUSIVE: (8, "no_evidence", "; the probes gave no verdict, so this is not a success"),
}


@pytest.fixture
def set_verdict(world: World, releases: Releases) -> Callable[[str], object]:
    """Return a function that sets the verdict of the service's probe."""
    world.config.write_text(CONFIG)
    world.release(timedelta(hours=9), code="older")
    return (world.folder / "verdict").write_text


def rollback(world: World) -> Outcome:
    """Delay Cloudflare's answer until the program of the probe runs: the run waits a quarter of a second for its end."""
    probed = world.folder / "probed"

    def wait_for_probe() -> None:
        end = time.monotonic() + 60
        while not probed.exists() and time.monotonic() < end:
            time.sleep(0.005)

    world.sandbox.fault(**LIST, skip=1, before=wait_for_probe)
    return world.rollback()


QUICK = [
    (UNHEALTHY, HEALTHY),
    (INCONCLUSIVE, HEALTHY),
    (HEALTHY, HEALTHY),
    (UNHEALTHY, UNHEALTHY),
    (HEALTHY, UNHEALTHY),
    (HEALTHY, INCONCLUSIVE),
]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("before", "after"), [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in WROTE]
)
def test_decision_after_a_write(world: World, set_verdict: Callable[[str], object], before: str, after: str) -> None:
    code, decision, reason, said = WROTE[before, after]
    set_verdict(before)
    world.sandbox.fault(**WRITE, after=lambda: set_verdict(after))

    outcome = rollback(world)

    assert ended(outcome) == (code, decision, reason), outcome.err
    assert said in outcome.result["message"]
    assert outcome.result["wrote"]
    assert "--to" in outcome.result["undo"][0]


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), WROTE)
def test_decide_by_verdicts_after_a_write(before: str, after: str) -> None:
    _, decision, reason, _ = WROTE[before, after]

    assert decide_by_verdicts(VERDICTS[before], wrote=True, after=VERDICTS[after]) == (decision, reason)


@pytest.mark.slow
@pytest.mark.parametrize("press", ["second press", pytest.param("--to what is live", marks=pytest.mark.slow)])
@pytest.mark.parametrize("after", WROTE_NOTHING)
def test_decision_without_a_write(
    world: World, set_verdict: Callable[[str], object], releases: Releases, press: str, after: str
) -> None:
    code, decision, said = WROTE_NOTHING[after]
    set_verdict(HEALTHY)
    world.rollback()
    set_verdict(after)

    outcome = world.rollback(*([] if press == "second press" else ["--to", releases.good]))

    assert (outcome.code, outcome.result["decision"]) == (code, decision)
    assert said in outcome.result["message"]
    assert outcome.result["plan"]["summary"] in outcome.result["message"]
    assert not outcome.result["wrote"]
    assert outcome.result["undo"] == []
    assert len(world.writes()) == 1


@pytest.mark.slow
def test_run_without_probes_ends_with_no_evidence(world: World, set_verdict: Callable[[str], object]) -> None:
    world.config.write_text(CONFIG.partition("        probes:")[0])

    outcome = world.rollback()

    assert ended(outcome) == (8, "no_evidence", "no_evidence")
    assert outcome.result["wrote"]
    assert outcome.result["durations"]["trigger_to_verified"] is None


@pytest.mark.slow
@pytest.mark.parametrize("press", ["first", "second"])
def test_unhealthy_run_suggests_older_version_and_contacts(
    world: World, set_verdict: Callable[[str], object], press: str
) -> None:
    (older,) = (d for d in world.sandbox.deployments("fortunet-api")[-1].percentages)
    set_verdict(UNHEALTHY)
    if press == "second":
        world.rollback()

    where = ["--service", "api", "--environment", "production", "--config", str(world.config)]
    outcome = world.ops("rollback-worker", *where, "--incident", "42", "--yes", OPS_PROGRAM=None)
    command, button = map(str.strip, outcome.out.rpartition("If it does not help\n")[2].splitlines()[:2])
    followed = world.ops(*shlex.split(command)[1:], "--yes")

    assert outcome.code == followed.code == 6
    assert "✖ STILL UNHEALTHY  " in outcome.out
    place = "Actions → rollback-worker → Run workflow: service = api; environment = production; incident = 42"
    assert button == f"or the button: {place}; to = {older[:8]}"
    assert "On-call: +49 1 (24/7)" in outcome.out
    assert world.live == {older: 100}
    assert ours(world)[0].annotations["workers/message"].startswith("ops1 incident=42 ")

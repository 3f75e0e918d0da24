"""`ops drill`, and the runs that each drill supports.

The configuration is the reference application's ops.yml.
"""

import json
from collections.abc import Iterator
from typing import Any

from click.testing import CliRunner

from ops import cli, drills
from ops.app.configuration import read_config
from ops.core.errors import ConfigError
from ops.drills.settings import DrillSettings
from ops.drills.support import EDGES, TRIGGERS, Edge, Trigger
from tests.conftest import REFERENCE
from tests.support.forked_jobs import job_cache
from tests.support.forked_ops import forked_commands

CONFIG = REFERENCE / "ops.yml"
OPS, _ = read_config(CONFIG)
IN_A_JOB = {"label": "issues", "button": "workflow_dispatch"}
"""Event that starts the workflow, by trigger."""
Run = tuple[str, Edge, Trigger | None]
MOST_ROUNDS = 10
"""One before the change and one a second after it: a quiet machine needs less than 10 seconds."""
BY_BUTTON = frozenset(
    {
        *("maintenance", "feature", "ai-failover", "reset-durable-object", "revert-migration"),
        "rollback-pages",  # tests/acceptance adds its label, in other configurations
    }
)
"""Drills whose label is added in no test of each trigger.

The gate turns each label of ops.yml into a runbook and its parameters, as tests/gate shows. From there on the jobs are
those of the button. The labels of the other drills take that way, with each kind of acting job and of approval.
"""
_tested: set[Run] = set()


def unsupported_reason(name: str, edge: Edge, trigger: Trigger | None) -> str:
    """Return the reason why the drill cannot run with this edge and trigger; empty if it can."""
    drill = DrillSettings(edge, CONFIG, next(iter(OPS.environments)), service="")
    try:
        return drills.support(name, drill, OPS).reason(OPS, edge, trigger)
    except ConfigError as error:  # ops.yml has no service of that kind
        return error.message


def matrix() -> Iterator[Run]:
    """Yield every drill with every edge and trigger."""
    return ((name, edge, trigger) for name in drills.names() for edge in EDGES for trigger in (None, *TRIGGERS))


def supported(name: str) -> list[Run]:
    """Return the runs of a drill in tests: each trigger on the first edge, and each other edge.

    The trigger `command` starts the same command as no trigger, and a label the jobs of a button.
    """
    triggers = [each for each in TRIGGERS if each != "label" or name not in BY_BUTTON]
    made: list[Run] = [(name, EDGES[0], trigger) for trigger in triggers]
    made += [(name, edge, None) for edge in EDGES[1:]]
    return [run for run in made if not unsupported_reason(*run)]


def runs(name: str, *edges: Edge) -> list[Run]:
    """Return the supported runs of a drill (default: on every edge) for a test about it."""
    return taken(*(run for run in supported(name) if run[1] in (edges or EDGES)))


def taken(*wanted: Run) -> list[Run]:
    """Return the supported ones of these runs, for a test about them; `others` skips them."""
    found = [run for run in wanted if not unsupported_reason(*run)]
    _tested.update(found)
    return found


def untested_runs() -> list[Run]:
    """Return every supported run that no earlier test has taken.

    In a job, one drill stands for the others of its runbook: they start the same workflow.
    """
    found: list[Run] = []
    for name in drills.names():
        for run in supported(name):
            others = {(runbook_of(other), trigger) for other, _, trigger in (*_tested, *found)}
            is_repeated = run[2] in IN_A_JOB and (runbook_of(name), run[2]) in others
            found += [] if run in _tested or is_repeated else [run]
    return found


def runbook_of(name: str) -> str:
    """Return the runbook of a drill; that of a drill which is no scenario has its name."""
    return (name in drills.DRILLS and drills.DRILLS[name].runbook) or name


def run_id(value: object) -> str:
    """Return the test ID of a run, or of the switches next to it."""
    return " ".join(str(each) for each in value if each) if isinstance(value, tuple | list) else str(value)


def drill(*arguments: str, name: str = "rollback-worker", ok: bool = True) -> dict[str, Any]:
    """Run `ops drill` in this process. The commands and jobs that it starts are processes of their own, and forks.

    A drill of `all` starts its command as users do, by a new Python. So do those of test_over_sockets.py.
    """
    has_jobs = name == "bad-deploy-guarded" or not IN_A_JOB.keys().isdisjoint(arguments)
    environ = {"PIP_CACHE_DIR": str(job_cache())} if has_jobs else {}
    with CliRunner().isolation(env=environ) as (out, err, _), forked_commands():
        code = cli.run(["drill", name, "--json", *arguments])
    said = out.getvalue().decode()
    assert (code == 0) is ok, said + err.getvalue().decode()
    result: dict[str, Any] = json.loads(said)
    return result


def assert_recovered(run: Run, *more: str) -> dict[str, Any]:
    """Run the drill, and check the properties of every recovery. KV has no delay."""
    name, edge, trigger = run
    given = ["--trigger", trigger] if trigger else []
    result = drill("--edge", edge, *given, *switch_arguments("kv_staleness_seconds=0"), *more, name=name)

    assert (result["decision"], result["drill"], result["edge"]) == ("recovered", name, edge), result
    assert 0 < result["durations"]["trigger_to_write"] <= result["durations"]["trigger_to_verified"], result
    wanted = OPS.recovery_targets.get(result["runbook"])
    longest = wanted.recovery if wanted else 60
    assert trigger in {"label", "button"} or result["durations"]["trigger_to_verified"] <= longest, result
    targets = {} if wanted is None else {"trigger_to_write": wanted.write, "trigger_to_verified": wanted.recovery}
    assert {each: target["seconds"] for each, target in result["targets"].items()} == {
        each: seconds for each, seconds in targets.items() if seconds is not None
    }
    assert result["within_target"] is (None if wanted is None else True)
    if trigger:
        assert (result["trigger"], result["journal"]) == (trigger, True)
        assert result["incident"]["url"].endswith("/acme/operations/issues/1")
        assert result["report"]["url"].endswith(f"/acme/operations/issues/{result['report']['number']}")
    return result


def assert_prompt(result: dict[str, Any]) -> None:
    """Check that a recovery on the sandbox's quick edge took few rounds: its seconds depend on the machine's load."""
    rounds = [each["text"] for each in result["timeline"] if each["kind"] == "probed"]

    assert 0 < result["durations"]["trigger_to_write"] < result["durations"]["trigger_to_verified"]
    assert len(rounds) <= MOST_ROUNDS, rounds


def switch_arguments(*switches: str) -> list[str]:
    return [argument for switch in switches for argument in ("--switch", switch)]

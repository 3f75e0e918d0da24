"""Requests of every runbook while recoveries are stopped: only those that end a state pass, and dry runs."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ops.app.configuration import read_config
from ops.app.registry import DIRECT, DIRECT_RUNBOOK, load_runbook
from ops.engine.runbook import Runbook, job_parameters, parameter_choices, params_type
from ops.switches.steps import SwitchRunbook
from tests.conftest import REFERENCE, Outcome
from tests.gate.support import Job
from tests.support.scenarios import SECRETS, Given, arguments, cases, options_of, reference_world, shipped

CONFIG = read_config(REFERENCE / "ops.yml", labels=None)[0]
PLACE = CONFIG.environment("production")


def offered_params(runbook: Runbook[Any]) -> Iterator[Any]:
    """Yield the parameters of each scenario, and each combination of values that the button offers."""
    yield from (case.params for case in cases(runbook.name))
    choices = parameter_choices(params_type(runbook), PLACE)
    for values in itertools.product(*choices.values()):
        yield replace(runbook.example, **dict(zip(choices, values, strict=True)))


def press(job: Job, runbook: Runbook[Any], params: Any, *, file: str = "", **more: str) -> Outcome:
    """Press the button of the runbook with these parameters."""
    known = {each.name for each in job_parameters(params_type(runbook))}
    given = {name: value for name, value in vars(params).items() if name in known and value not in ("", (), False)}
    inputs = {name: ",".join(value) if isinstance(value, tuple) else str(value) for name, value in given.items()}
    inputs |= {"environment": "production", "incident": str(job.incident), **more}
    button = "on:\n  workflow_dispatch:\n    inputs: {" + ", ".join(f"{name}: {{}}" for name in inputs) + "}\n"
    file = file or f"{runbook.name}.yml"
    job.github.add_commit("Add the button", "alice", files={f".github/workflows/{file}": button})
    run = job.github.dispatch(
        file, {name: value.lower() if value == "True" else value for name, value in inputs.items()}, by="alice"
    )
    return job.gate(run.payload, "workflow_dispatch", GITHUB_RUN_ID=str(run.id))


@pytest.fixture
def stopped(job: Job) -> Job:
    """Return the job of the reference application, healthy and with nothing to end, while recoveries are stopped."""
    reference_world(job.world, Given(incident=job.incident))
    assert job.gate(job.label("alice", "ops:stop")).code == 0
    return job


def one_of_each_kind() -> Iterator[Any]:
    """Yield all runbooks. The fast set has the first of each kind: the test asserts by these facts only."""
    kinds = set()
    for name in shipped():
        runbook = load_runbook(name)
        kind = runbook.job.timed_end is not None, isinstance(runbook, SwitchRunbook), runbook.incident_use.is_required
        yield pytest.param(name, marks=[pytest.mark.slow] if kind in kinds else [])
        kinds.add(kind)


@pytest.mark.parametrize("name", list(one_of_each_kind()))
def test_request_passes_a_stop_only_if_it_ends_a_state(stopped: Job, name: str) -> None:
    runbook, passed = load_runbook(name), []
    requests = {json.dumps(vars(params)): params for params in offered_params(runbook)}

    for params in requests.values():
        done = press(stopped, runbook, params)
        assert (done.code, stopped.outputs["reason"]) in {(0, ""), (3, "stopped")}, done.err
        if done.code == 0:
            passed.append(params)
        else:
            assert press(stopped, runbook, params, dry_run="true").code == 0

    has_end = runbook.job.timed_end is not None or isinstance(runbook, SwitchRunbook)
    assert bool(passed) == has_end
    assert len(passed) < len(requests) or runbook.incident_use.is_required
    where = ("--environment", "production", "--incident", str(stopped.incident), "--config", str(stopped.world.config))
    for params in passed:
        stopped.world.sandbox.requests.clear()
        stopped.world.ops(name, *arguments(params, options_of(name)), *where, "--yes", "--json", **SECRETS)
        assert stopped.world.writes() == [], params


def test_each_label_is_judged_as_its_button(stopped: Job) -> None:
    """Also the button that calls no other file."""
    answers = {}
    for name, label in CONFIG.labels.items():
        runbook = load_runbook(label.runbook)
        stopped.gate(stopped.label("alice", name))
        by_label = stopped.outputs["reason"]
        press(stopped, runbook, params_type(runbook)(**label.params))
        answers[name] = (by_label, stopped.outputs["reason"])

    assert {name for name, (by_label, by_button) in answers.items() if by_label != by_button} == set()
    assert {by_label for by_label, _ in answers.values()} == {"", "stopped"}
    rollback = load_runbook(DIRECT_RUNBOOK)
    press(stopped, rollback, rollback.example, file=f"{DIRECT_RUNBOOK}{DIRECT}.yml")
    assert stopped.outputs["reason"] == "stopped"

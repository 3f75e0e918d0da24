"""Workflow files that jobs call: names, needs, inputs, outputs, groups, reviewers. No process starts."""

from typing import Any

import httpx
import pytest

from sandbox.actions import Runner
from sandbox.github import GitHub
from tests.support.called_files import CALL, ONE, commit, hub, latest, runner, start, statuses, workflow_file
from tests.support.github import conformity

__all__ = ["hub", "runner"]


def test_jobs_of_called_file_have_names_inputs_and_outputs(hub: GitHub, runner: Runner) -> None:
    declared = {
        "who": {"type": "string", "required": True},
        "dry": {"type": "boolean"},
        "count": {"type": "number", "default": 3},
        "note": {"type": "string"},
    }
    outputs = {"said": {"value": "${{ jobs.say.outputs.said }} at ${{ jobs.say.result }}"}}
    said = "${{ inputs.who }} ${{ inputs.dry }} ${{ inputs.count }} [${{ inputs.note }}] ${{ github.workflow_ref }}"
    jobs = {
        "say": {"name": "Say ${{ inputs.who }}", "outputs": {"said": said}},
        "after": {"needs": "say", "if": "inputs.dry && inputs.count > 2"},
    }
    called = workflow_file(jobs, on={"workflow_call": {"inputs": declared, "outputs": outputs}}, name="Called")
    gate = {"outputs": {"dry": "true", "who": "mia"}}
    given = {"WHO": "${{ needs.gate.outputs.who }}", "dry": "${{ fromJSON(needs.gate.outputs.dry) }}"}
    commit(
        hub,
        called,
        {
            "gate": gate,
            "call": {"name": "Recover", "needs": "gate", "uses": CALL, "with": given},
            "end": {"needs": "call", "name": "${{ needs.call.result }}: ${{ needs.call.outputs.said }}"},
        },
    )

    run = start(hub)
    runner.wait()

    assert run.conclusion == "success"
    assert list(latest(run)) == [
        "gate",
        "Recover / Say mia",
        "Recover / after",
        "success: mia true 3 [] acme/operations/.github/workflows/main.yml@refs/heads/main at ",
    ]


def test_skipped_call_is_one_job(hub: GitHub, runner: Runner) -> None:
    commit(
        hub,
        workflow_file({"one": {}, "two": {"if": "false"}}),
        {
            "off": {"if": "github.ref == 'x'", "uses": CALL},
            "on": {"uses": CALL},
            "after": {"needs": "off"},
            "always": {"needs": "off", "if": "always() && needs.off.result == 'skipped'"},
        },
    )

    run = start(hub)
    runner.wait()

    assert latest(run) == {
        "off": "skipped",
        "on / one": "success",
        "on / two": "skipped",
        "after": "skipped",
        "always": "success",
    }


def test_input_of_wrong_type_fails_the_call(hub: GitHub, runner: Runner) -> None:
    """The type of an expression is known only after the jobs before the call."""
    called = workflow_file(ONE, on={"workflow_call": {"inputs": {"a": {"type": "boolean"}}}})
    call = {"needs": "gate", "uses": CALL, "with": {"a": "${{ needs.gate.outputs.a }}"}}
    tell = {"needs": "call", "if": "failure()"}
    commit(hub, called, {"gate": {"outputs": {"a": "true"}}, "call": call, "tell": tell})

    run = start(hub)
    runner.wait()

    assert latest(run) == {"gate": "success", "call": "failure", "tell": "success"}


def test_status_of_called_job_covers_jobs_before_its_caller(hub: GitHub, runner: Runner) -> None:
    hub.add_environment("closed", branches=[])
    inner = {"plain": {}, "always": {"if": "always()"}, "failed": {"if": "failure()"}}
    call = {"needs": "before", "if": "always()", "uses": CALL}
    after = {"needs": "call", "if": "needs.call.result == 'success' && !cancelled()"}
    commit(hub, workflow_file(inner), {"before": {"environment": "closed"}, "call": call, "after": after})

    run = start(hub)
    runner.wait()

    assert latest(run) == {
        "before": "failure",
        "call / plain": "skipped",
        "call / always": "success",
        "call / failed": "success",
        "after": "success",
    }


def test_failed_called_job_fails_the_call(hub: GitHub, runner: Runner) -> None:
    hub.add_environment("closed", branches=[])
    jobs = {"gate": {}, "act": {"needs": "gate", "environment": "closed"}, "tell": {"needs": "act", "if": "always()"}}
    tell = {"needs": "call", "if": "always()", "name": "call: ${{ needs.call.result }}"}
    commit(hub, workflow_file(jobs), {"call": {"uses": CALL}, "then": {"needs": "call"}, "tell": tell})

    run = start(hub)
    runner.wait()

    assert latest(run) == {
        "call / gate": "success",
        "call / act": "failure",
        "call / tell": "success",
        "then": "skipped",
        "call: failure": "success",
    }
    assert run.conclusion == "failure"


QUEUE = {"queue": "max"}


@pytest.mark.parametrize("where", ["call", "file", "job"])
def test_groups_of_call_file_and_job_delay(hub: GitHub, runner: Runner, where: str) -> None:
    group = {"concurrency": {"group": "recover-${{ inputs.environment || 'live' }}", "queue": "max"}}
    on = {"workflow_call": {"inputs": {"environment": {"type": "string"}}}}
    act = {"needs": "gate", **(group if where == "job" else {})}
    called = workflow_file({"gate": {}, "act": act}, on=on, **(group if where == "file" else {}))
    given = {} if where == "call" else {"with": {"environment": "live"}}
    commit(hub, called, {"first": {}, "call": {"uses": CALL, **given, **(group if where == "call" else {})}})
    runner.hold_jobs("act")

    one, two = start(hub), start(hub)

    assert statuses(one) == {"first": "completed", "call / gate": "completed", "call / act": "queued"}
    waiting = {"call / gate": "completed", "call / act": "pending"} if where == "job" else {}
    assert statuses(two) == {"first": "completed", **waiting}
    runner.hold_jobs()
    runner.wait()
    assert [run.conclusion for run in (one, two)] == ["success", "success"]


@pytest.mark.parametrize("where", ["run", "call", "file"])
def test_group_of_own_caller_is_a_deadlock(hub: GitHub, runner: Runner, where: str) -> None:
    """GitHub cancels the inner job: github.com/rhysd/actionlint/issues/538."""
    called = workflow_file({"one": {"concurrency": "Same"}}, **({"concurrency": "same"} if where == "file" else {}))
    main = {"call": {"uses": CALL, **({"concurrency": "same"} if where == "call" else {})}}
    top: dict[str, Any] = {"concurrency": "same"} if where == "run" else {}
    commit(hub, called, main, **top)

    run = start(hub)
    runner.wait()

    assert (run.conclusion, latest(run)) == ("cancelled", {"call / one": "cancelled"})
    assert "a deadlock for concurrency group 'Same'" in runner.log(run.id)[0]


def test_new_call_cancels_running_call_with_its_jobs(hub: GitHub, runner: Runner) -> None:
    jobs = {"act": {}, "rest": {"needs": "act"}, "tell": {"needs": "act", "if": "always()"}}
    newest = {"concurrency": {"group": "one", "cancel-in-progress": True}}
    commit(hub, workflow_file(jobs, **newest), {"call": {"uses": CALL}, "after": {"needs": "call", "if": "always()"}})
    runner.hold_jobs("act")

    first = start(hub)
    second = start(hub)
    runner.hold_jobs()
    runner.wait()

    assert latest(first) == {
        "call / act": "cancelled",
        "call / rest": "skipped",
        "call / tell": "success",
        "after": "success",
    }
    assert second.conclusion == "success"


@pytest.mark.parametrize(
    ("ends_calls", "condition", "tells"), [(True, None, False), (True, "always()", True), (False, None, True)]
)
def test_cancel_spares_called_jobs_only_if_their_caller_continues(
    hub: GitHub, runner: Runner, ends_calls: bool, condition: str | None, tells: bool
) -> None:
    hub.switches.cancel_ends_calls = ends_calls
    jobs = {"act": {}, "rest": {"needs": "act"}, "tell": {"needs": "act", "if": "always()"}}
    commit(hub, workflow_file(jobs), {"call": {"uses": CALL, **({"if": condition} if condition else {})}})
    runner.hold_jobs("act")
    run = start(hub)

    runner.cancel(run.id)
    runner.hold_jobs()
    runner.wait()

    ended = latest(run)
    assert (run.conclusion, ended["call / act"]) == ("cancelled", "cancelled")
    assert (ended["call / tell"] == "success") is tells
    assert ended["call / rest"] in {"skipped", "cancelled"}


def test_cancelled_call_that_waits_is_one_job(hub: GitHub, runner: Runner) -> None:
    commit(hub, workflow_file({"act": {}}, concurrency={"group": "one", "queue": "max"}), {"call": {"uses": CALL}})
    runner.hold_jobs("act")
    holder, run = start(hub), start(hub)
    assert run.jobs == []

    runner.cancel(run.id)
    runner.hold_jobs()
    runner.wait()

    assert (run.conclusion, latest(run)) == ("cancelled", {"call": "cancelled"})
    assert holder.conclusion == "success"


def test_called_job_waits_for_its_reviewer(hub: GitHub, runner: Runner) -> None:
    hub.add_environment("recovery", reviewers=["tina"])
    jobs = {"gate": {}, "act": {"needs": "gate", "environment": "${{ inputs.where }}"}}
    called = workflow_file(jobs, on={"workflow_call": {"inputs": {"where": {"type": "string"}}}})
    commit(hub, called, {"call": {"uses": CALL, "with": {"where": "recovery"}}})

    run = start(hub)
    assert (run.status, statuses(run)["call / act"]) == ("waiting", "waiting")
    hub.review(run.id, "tina")
    runner.wait()

    assert latest(run) == {"call / gate": "success", "call / act": "success"}


def test_run_lists_the_files_that_it_calls(hub: GitHub, runner: Runner) -> None:
    inner = {"in": {"uses": "./.github/workflows/inner.yml"}}
    commit(hub, workflow_file({**inner, "again": inner["in"]}), {"call": {"uses": CALL}}, {"inner": workflow_file(ONE)})
    run = start(hub)
    runner.wait()

    url = f"{hub.api_url}/repos/{hub.repository}/actions/runs/{run.id}"
    token = {"authorization": f"token {hub.add_token('ghp_alice', 'alice')}"}
    answers = [httpx.get(address, headers=token) for address in (url, f"{url}/jobs")]
    listed = answers[0].json()

    assert [list(conformity.exchange(answer)) for answer in answers] == [[], []]
    assert listed["referenced_workflows"] == [
        {"path": f"acme/operations/.github/workflows/{name}@{run.head.sha}", "sha": run.head.sha}
        for name in ("called.yml", "inner.yml")
    ]

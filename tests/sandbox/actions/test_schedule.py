"""Scheduling of jobs, their dependencies and concurrency groups. Jobs without steps need no act process."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from sandbox import Sandbox
from sandbox.actions import Runner
from sandbox.actions.plan import GroupClaim
from sandbox.actions.schedule import MAX_PENDING, ConcurrencyGroups
from sandbox.github import GitHub
from sandbox.github.actions.state import FakeRun
from tests.support.actions import conclusions, when

ONE, ALL = (
    GroupClaim("Group", cancels_running=False, queues_all=False),
    GroupClaim("group", cancels_running=False, queues_all=True),
)
CANCELS = GroupClaim("group", cancels_running=True, queues_all=False)


def test_group_is_held_in_joining_order() -> None:
    groups: ConcurrencyGroups[str] = ConcurrencyGroups()

    assert [groups.join(ALL, name) for name in ("a", "b", "c")] == [[], [], []]
    assert [groups.holds(ALL, name) for name in ("a", "b", "c")] == [True, False, False]
    groups.leave(ALL, "b")
    groups.leave(ALL, "a")
    assert groups.holds(ALL, "c")


def test_new_member_cancels_waiting_member_and_optionally_holder() -> None:
    groups: ConcurrencyGroups[str] = ConcurrencyGroups()

    assert groups.join(ONE, "a") + groups.join(ONE, "b") == []
    assert groups.join(ONE, "c") == ["b"]
    groups.leave(ONE, "b")
    assert groups.join(CANCELS, "d") == ["c", "a"]


def test_groups_are_independent_and_ignore_case() -> None:
    groups: ConcurrencyGroups[str] = ConcurrencyGroups()

    groups.join(ONE, "a")
    groups.join(GroupClaim("other", cancels_running=False, queues_all=False), "x")

    assert not groups.holds(ALL, "b")
    assert groups.holds(ONE, "a")
    assert groups.holds(GroupClaim("other", cancels_running=False, queues_all=False), "x")
    assert groups.holds(None, "anybody")


def test_full_queue_rejects_new_members() -> None:
    groups: ConcurrencyGroups[int] = ConcurrencyGroups()

    cancelled = [groups.join(ALL, number) for number in range(MAX_PENDING + 3)]

    assert cancelled[: MAX_PENDING + 1] == [[]] * (MAX_PENDING + 1)
    assert cancelled[MAX_PENDING + 1 :] == [[MAX_PENDING + 1], [MAX_PENDING + 2]]


@pytest.fixture
def hub(sandbox: Sandbox) -> GitHub:
    sandbox.github.add_user("alice")
    return sandbox.github


@pytest.fixture
def runner(hub: GitHub) -> Iterator[Runner]:
    """Yield a runner whose time limits count a second as a minute."""
    with Runner(hub, {}, minute=1.0) as started:
        yield started


def commit(hub: GitHub, *, name: str = "a.yml", **jobs: Any) -> None:
    """Commit a workflow with a button. A job without steps ends at once."""
    whole = {job: {"runs-on": "ubuntu-latest", "steps": [], **rules} for job, rules in jobs.items()}
    text = yaml.safe_dump({"on": "workflow_dispatch", "jobs": whole}, sort_keys=False)
    hub.add_commit(name, "alice", files={f".github/workflows/{name}": text})


def start(hub: GitHub, name: str = "a.yml") -> FakeRun:
    return hub.dispatch(name, by="alice")


def api_jobs(hub: GitHub, run: FakeRun) -> dict[str, Any]:
    """Return name → job, as the API lists them."""
    url = f"{hub.api_url}/repos/{hub.repository}/actions/runs/{run.id}/jobs"
    answer = httpx.get(url, headers={"authorization": f"token {hub.add_token('ghp_alice', 'alice')}"})
    return {job["name"]: job for job in answer.json()["jobs"]}


def statuses(run: FakeRun) -> dict[str, str]:
    return {job.name: job.status for job in run.jobs}


GROUP = {"concurrency": {"group": "recover", "queue": "max"}}


def test_group_delays_only_its_jobs(hub: GitHub, runner: Runner) -> None:
    commit(hub, gate={}, recover={"needs": "gate", **GROUP})
    runner.hold_jobs("recover")

    first, second = start(hub), start(hub)

    assert (statuses(first), statuses(second)) == (
        {"gate": "completed", "recover": "queued"},
        {"gate": "completed", "recover": "pending"},
    )
    runner.hold_jobs()
    runner.wait()
    assert [run.conclusion for run in (first, second)] == ["success", "success"]
    ended, began = first.jobs[1].completed_at, second.jobs[1].started_at
    assert ended is not None
    assert began is not None
    assert ended <= began


def test_skipped_job_joins_no_group(hub: GitHub, runner: Runner) -> None:
    commit(hub, recover=GROUP)
    commit(hub, name="b.yml", gate={}, recover={"needs": "gate", "if": "needs.gate.result == 'failure'", **GROUP})
    runner.hold_jobs("recover")

    holder, other = start(hub), start(hub, "b.yml")
    runner.wait_until(lambda: other.status == "completed")

    assert (holder.status, conclusions(other)) == ("queued", {"gate": "success", "recover": "skipped"})


def test_new_job_cancels_waiting_job_but_not_its_run(hub: GitHub, runner: Runner) -> None:
    commit(hub, recover={"concurrency": "one"}, tell={"needs": "recover", "if": "needs.recover.result == 'cancelled'"})
    commit(hub, name="b.yml", recover={"concurrency": "one"}, tell={"needs": "recover", "if": "always()"})
    runner.hold_jobs("recover")

    first, second, third, fourth = start(hub), start(hub), start(hub, "b.yml"), start(hub)
    runner.hold_jobs()
    runner.wait()

    assert conclusions(first) == {"recover": "success", "tell": "skipped"}
    # An `if` without a status function also requires success.
    assert conclusions(second) == {"recover": "cancelled", "tell": "skipped"}
    assert conclusions(third) == {"recover": "cancelled", "tell": "success"}
    assert [run.conclusion for run in (second, third, fourth)] == ["cancelled", "cancelled", "success"]


def test_queue_holds_100_jobs_and_cancels_further_ones(hub: GitHub, runner: Runner) -> None:
    commit(hub, recover=GROUP)
    runner.hold_jobs("recover")

    runs = [start(hub) for _ in range(103)]

    assert [run.conclusion for run in runs[101:]] == ["cancelled"] * 2
    assert {run.jobs[0].status for run in runs[1:101]} == {"pending"}


@pytest.mark.parametrize("where", ["pending", "queued"])
def test_waiting_job_of_canceled_run_does_no_step(hub: GitHub, runner: Runner, where: str) -> None:
    steps = [{"run": "echo never"}, {"if": "always()", "run": "echo never"}]
    rest = {"needs": "recover", "if": "success() || failure()"}
    commit(hub, recover={"steps": steps, **GROUP}, rest=rest, tell={"needs": ["recover", "rest"], "if": "always()"})
    runner.hold_jobs("recover")
    holder, run = start(hub), start(hub)
    cancelled = run if where == "pending" else holder
    assert statuses(cancelled) == {"recover": where}

    runner.cancel(cancelled.id)
    runner.wait_until(lambda: cancelled.status == "completed")

    assert conclusions(cancelled) == {"recover": "cancelled", "rest": "skipped", "tell": "success"}
    assert (cancelled.conclusion, cancelled.jobs[0].steps, runner.log(cancelled.id)) == ("cancelled", [], [])


def test_always_job_survives_cancellation(hub: GitHub, runner: Runner) -> None:
    commit(hub, recover={"if": "always()"}, other={})
    runner.hold_jobs("recover", "other")
    run = start(hub)

    runner.cancel(run.id)
    assert statuses(run) == {"recover": "queued", "other": "completed"}
    runner.hold_jobs()
    runner.wait()

    assert conclusions(run) == {"recover": "success", "other": "cancelled"}


def test_run_canceled_in_its_group_starts_no_job(hub: GitHub, runner: Runner) -> None:
    jobs = {"one": {"runs-on": "ubuntu-latest", "if": "always()", "steps": []}}
    text = yaml.safe_dump({"on": "workflow_dispatch", "concurrency": "run", "jobs": jobs})
    hub.add_commit("a", "alice", files={".github/workflows/a.yml": text})
    runner.hold_jobs("one")

    _, second, third = start(hub), start(hub), start(hub)

    assert (second.conclusion, conclusions(second)) == ("cancelled", {"one": "cancelled"})
    assert (third.status, third.jobs) == ("pending", [])


def test_skipped_job_skips_indirect_dependents(hub: GitHub, runner: Runner) -> None:
    commit(
        hub,
        first={"if": "false"},
        second={"needs": "first", "if": "always()"},
        third={"needs": "second"},
        fourth={"needs": "second", "if": "!failure() && !cancelled()"},
    )

    run = start(hub)
    runner.wait()

    assert conclusions(run) == {"first": "skipped", "second": "success", "third": "skipped", "fourth": "success"}


def test_continue_on_error_counts_as_success(hub: GitHub, runner: Runner) -> None:
    broken = {"uses": "actions/checkout@v5", "with": {"ref": "${{ needs.gate.outputs.ref || 'nowhere' }}"}}
    commit(hub, gate={}, may={"needs": "gate", "steps": [broken], "continue-on-error": True}, after={"needs": "may"})

    run = start(hub)
    runner.wait_until(lambda: run.status == "completed")

    assert (run.conclusion, conclusions(run)) == ("success", {"gate": "success", "may": "failure", "after": "success"})


HOSTILE = "it's $(touch pwned) `x` }} ${{ github.actor }} \\ \" é"
SAY = "import json, os; print('said', json.dumps([os.environ[n] for n in 'ABCD'] + [json.loads(os.environ['ALL'])]))"


@pytest.mark.slow
def test_job_outputs_are_data_and_contain_no_secrets(hub: GitHub, runner: Runner) -> None:
    hub.put_secret("TOKEN", "t0p-secret\nsecond-line")
    gate: dict[str, Any] = {
        "outputs": {name: f"${{{{ steps.say.outputs.{name} }}}}" for name in ("text", "lines", "secret", "none")},
        "steps": [
            {
                "id": "say",
                "env": {"TEXT": "${{ github.event.inputs.text }}", "TOKEN": "${{ secrets.TOKEN }}"},
                "run": 'printf "text=%s\\nlines<<EOF\\n1\\n2\\nEOF\\nsecret=x%s\\n" "$TEXT" second-line >> "$GITHUB_OUTPUT"',
            }
        ],
    }
    use: dict[str, Any] = {
        "needs": ["gate"],
        "concurrency": "group-${{ needs.gate.outputs.lines }}",
        "env": {"A": "${{ needs.gate.outputs.text }}", "B": "${{ needs.gate.outputs.lines }}"},
        "steps": [
            {
                "if": "needs.gate.outputs.secret == '' && needs.gate.result == 'success'",
                "shell": "python3 -I {0}",
                "env": {
                    "C": "[${{ needs.gate.outputs.secret }}${{ needs.gate.outputs.none }}]",
                    "D": "${{ contains(needs.*.result, 'success') }}",
                    "ALL": "${{ toJSON(needs) }}",
                },
                "run": SAY,
            }
        ],
    }
    on = {"workflow_dispatch": {"inputs": {"text": {"type": "string"}}}}
    jobs = {name: {"runs-on": "ubuntu-latest", **rules} for name, rules in {"gate": gate, "use": use}.items()}
    text = yaml.safe_dump({"on": on, "jobs": jobs}, sort_keys=False)
    hub.add_commit("a", "alice", files={".github/workflows/a.yml": text})

    run = hub.dispatch("a.yml", {"text": HOSTILE}, by="alice")
    runner.wait()

    (said,) = [line.removeprefix("said ") for line in runner.log(run.id) if line.startswith("said ")]
    outputs = {"text": HOSTILE, "lines": "1\n2"}
    assert json.loads(said) == [HOSTILE, "1\n2", "[]", "true", {"gate": {"result": "success", "outputs": outputs}}]
    assert run.conclusion == "success"
    assert not any("second-line" in line for line in runner.log(run.id))
    assert [step.name for step in run.jobs[1].steps] == ["Set up job", f"Run {SAY}"[:100], "Complete job"]


@pytest.mark.slow
def test_timed_out_job_is_canceled_and_later_jobs_run(hub: GitHub, runner: Runner) -> None:
    steps = [{"run": "exec sleep 600"}, {"if": "always()", "run": "echo cleaned up"}, {"run": "echo never"}]
    commit(
        hub,
        recover={"steps": steps, "timeout-minutes": 5},
        tell={"needs": "recover", "if": "always() && contains(needs.*.result, 'cancelled')"},
        quiet={"needs": "recover", "if": "failure() || cancelled()"},
    )

    run = start(hub)
    runner.wait()

    assert conclusions(run) == {"recover": "cancelled", "tell": "success", "quiet": "skipped"}
    steps_ended = [(step.name, step.conclusion) for step in run.jobs[0].steps]
    assert steps_ended[1:-1] == [
        ("Run exec sleep 600", "cancelled"),
        ("Run echo cleaned up", "success"),
        ("Run echo never", "skipped"),
    ]
    began, ended = run.jobs[0].started_at, run.jobs[0].completed_at
    assert began is not None
    assert ended is not None
    assert (ended - began).total_seconds() >= 300  # on the sandbox's clock
    assert run.conclusion == "cancelled"
    log = runner.log(run.id)
    assert "The job has exceeded the maximum execution time of 5 minutes." in log
    assert ("cleaned up" in log, "never" in log) == (True, False)


@pytest.mark.slow
def test_lost_runner_leaves_step_without_end(hub: GitHub, runner: Runner) -> None:
    """github.com/xroche/httrack/issues/795: no later step runs, also with `always()`, and the job fails later."""
    steps = [{"run": "echo up; exec sleep 600"}, {"if": "always()", "run": "echo never"}]
    commit(
        hub, recover={"steps": steps}, tell={"needs": "recover", "if": "needs.recover.result == 'failure' || failure()"}
    )
    runner.on_line = when("up", lambda run_id: runner.crash_job(run_id, "recover"))

    run = start(hub)
    began = hub.clock.now()
    runner.wait()

    listed = api_jobs(hub, run)["recover"]
    assert [(step["status"], step["conclusion"], step["completed_at"]) for step in listed["steps"][1:]] == [
        ("in_progress", None, None)
    ]
    assert (listed["conclusion"], conclusions(run)["tell"]) == ("failure", "success")
    assert (hub.clock.now() - began).total_seconds() >= 600
    assert "never" not in runner.log(run.id)


@pytest.mark.slow
def test_canceled_run_stops_job_and_runs_cleanup_jobs(hub: GitHub, runner: Runner) -> None:
    commit(
        hub,
        recover={"steps": [{"run": "echo up; exec sleep 600"}]},
        tell={"needs": "recover", "if": "cancelled()", "steps": [{"run": "echo told ${{ needs.recover.result }}"}]},
    )
    runner.on_line = when("up", runner.cancel)

    run = start(hub)
    runner.wait()

    assert (run.conclusion, conclusions(run)) == ("cancelled", {"recover": "cancelled", "tell": "success"})
    assert "told cancelled" in runner.log(run.id)


@pytest.mark.slow
def test_independent_jobs_run_in_parallel(hub: GitHub, runner: Runner, tmp_path: Any) -> None:
    meets = "touch {0}/{1}; for i in $(seq 1200); do test -e {0}/{2} && exit 0; sleep 0.05; done; exit 1"
    commit(
        hub,
        a={"steps": [{"run": meets.format(tmp_path, "a", "b")}]},
        b={"steps": [{"run": meets.format(tmp_path, "b", "a")}]},
    )

    run = start(hub)
    runner.wait()

    assert conclusions(run) == {"a": "success", "b": "success"}


@pytest.mark.slow
def test_secrets_are_absent_from_process_arguments_and_variables(hub: GitHub, runner: Runner) -> None:
    hub.put_secret("TOKEN", "t0p-secret-value")
    look = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c t0p-[s]ecret-value"
    unused = {"if": "always()", "env": {"T": "${{ secrets.TOKEN }}"}, "run": "true"}
    commit(hub, one={"steps": [{"run": f"echo found $({look})"}, unused]})

    run = start(hub)
    runner.wait()

    assert "found 0" in runner.log(run.id)

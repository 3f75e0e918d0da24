"""Measure the time that GitHub adds to a recovery: gate, issue updates, watch and report.

    ./run benchmarks.incident [--rounds N]

Runs the public commands as whole processes against a local Cloudflare and GitHub, as the jobs of incident.yml start
them. The time of the runner itself is not included. The report's own time is that of its process, less the time that
the same requests take from another client.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import click
import httpx
import yaml

from ops.core.run_record import RecordRow, RunRecord, embed_record
from sandbox import Sandbox
from sandbox.switches import Switches

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "examples" / "fortunet"
WORKER = "fortunet-api"
WITHOUT_CRYPTOGRAPHY = "import runpy, sys; sys.modules['cryptography'] = None; "
"""PyGithub loads cryptography if it is installed. Jobs have it only for rotate-secrets."""
JOB = (
    "-c",
    f"{WITHOUT_CRYPTOGRAPHY} sys.argv[0] = 'ops'; runpy.run_module('ops', run_name='__main__', alter_sys=True)",
)
ACCOUNT = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
EVENTS, RUNS = 2000, 100


@click.command()
@click.option("--rounds", default=5, help="Rounds per measurement (default: 5)")
def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(REFERENCE / "ops.yml", folder / "ops.yml")
        print("| measurement | median |\n| --- | ---: |")
        for delay in (0.0, 0.1):
            times = [from_label_to_write(folder, delay) for _ in range(rounds)]
            at = f"{delay * 1000:.0f} ms per call to either API"
            print(f"| label event to answered write, {at} | {statistics.median(times):.2f} s |", flush=True)
        print(f"| delay of a run by a GitHub that hangs | {hanging(folder):.2f} s |", flush=True)
        seconds, cpu, memory = a_watch(folder)
        print(f"| 30 minutes of watch by the sandbox's clock | {seconds:.2f} s |")
        print(f"| 30 minutes of watch, CPU time of its process | {cpu:.2f} s |")
        print(f"| 30 minutes of watch, peak memory in a job | {memory / 1e6:.0f} MB |", flush=True)
        print(f"| setup step of a job, cached wheels | {set_up(folder):.2f} s |", flush=True)
        whole, api, size = a_large_report(folder)
        report = f"report over {EVENTS} entries and {RUNS} runs"
        print(f"| {report}, beyond the API's {api:.1f} s | {whole - api:.2f} s |")
        print(f"| {report}, peak memory | {size / 1e6:.0f} MB |")


def world(*, virtual_clock: bool = False) -> Sandbox:
    switches = Switches(propagation_seconds=0)
    sandbox = Sandbox(account_id=ACCOUNT, switches=switches, virtual_clock=virtual_clock).__enter__()
    now = sandbox.clock.now()
    for code, ago in (("good", timedelta(hours=2)), ("bad", timedelta(minutes=10))):
        behaviour = None if code == "good" else {"status": 500}
        sandbox.deploy(WORKER, sandbox.upload(WORKER, code=code, behaviour=behaviour, at=now - ago), at=now - ago)
    sandbox.github.add_user("alice")
    return sandbox


def environ(sandbox: Sandbox, folder: Path, **more: str) -> dict[str, str]:
    found = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(ROOT), **sandbox.environ()}
    return {**found, **sandbox.github.environ(), **more}


def ops(
    arguments: Sequence[str], variables: Mapping[str, str], folder: Path, program: Sequence[str] = ("-m", "ops")
) -> tuple[float, int, float]:
    """Return the seconds of the whole process, its peak memory in bytes, and its CPU seconds."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *program, *arguments],
        env=dict(variables),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{arguments} ended with {process.returncode}"
    return time.perf_counter() - began, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime


def from_label_to_write(folder: Path, delay: float) -> float:
    """Return the seconds from the start of the gate to Cloudflare's answer in the next job."""
    sandbox = world()
    try:
        number = sandbox.github.open_issue("The API answers 500", "", ["incident"], "alice")
        event = folder / "event.json"
        event.write_text(json.dumps(sandbox.github.label(number, "recover:rollback-api", "alice")))
        if delay:
            sandbox.fault(path="/client/**", times=None, delay=delay)
            sandbox.github.fault(path="/repos/**", times=None, delay=delay)
        output = folder / "output"
        output.unlink(missing_ok=True)
        job = {"GITHUB_EVENT_NAME": "issues", "GITHUB_EVENT_PATH": str(event), "GITHUB_OUTPUT": str(output)}
        job |= {"GITHUB_REF": "refs/heads/main", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_TRIGGERING_ACTOR": "alice"}
        job |= {"GITHUB_WORKFLOW_REF": "acme/operations/.github/workflows/incident.yml@refs/heads/main"}
        answered: list[float] = []
        sandbox.fault(method="POST", path="/client/**", times=None, after=lambda: answered.append(time.perf_counter()))
        began = time.perf_counter()
        ops(["gate"], environ(sandbox, folder, **job), folder)
        where = ["--environment", "production", "--incident", str(number)]
        recover = ["recover", "--yes", "--runbook", "rollback-worker", "--params", '{"service": "api"}', *where]
        ops(recover, environ(sandbox, folder), folder)
        return answered[-1] - began
    finally:
        sandbox.__exit__(None, None, None)


def hanging(folder: Path) -> float:
    """Return the seconds that a run takes longer if GitHub accepts every request without answering."""
    return _with_github(folder, delay=30.0) - _with_github(folder, delay=0.0)


def _with_github(folder: Path, delay: float) -> float:
    sandbox = world()
    try:
        number = sandbox.github.open_issue("The API answers 500", "", ["incident"], "alice")
        if delay:
            sandbox.github.fault(path="/repos/**", times=None, delay=delay)
        where = ["--service", "api", "--environment", "production", "--incident", str(number)]
        return ops(["rollback-worker", "--yes", "--json", *where], environ(sandbox, folder), folder)[0]
    finally:
        sandbox.__exit__(None, None, None)


def a_watch(folder: Path) -> tuple[float, float, int]:
    """Return the seconds of the process, its CPU seconds, and its peak memory in bytes."""
    sandbox = world(virtual_clock=True)
    try:
        number = sandbox.github.open_issue("The API answered 500", "", ["incident"], "alice")
        sandbox.deploy(WORKER, sandbox.upload(WORKER, code="good"))
        where = ["--service", "api", "--environment", "production", "--incident", str(number)]
        seconds, memory, cpu = ops(["watch", *where], environ(sandbox, folder), folder, JOB)
        return seconds, cpu, memory
    finally:
        sandbox.__exit__(None, None, None)


def set_up(folder: Path) -> float:
    """Return the median seconds of the script in .github/actions/setup, with wheels cached by a first run."""
    action = ROOT / ".github/actions/setup"
    script = yaml.safe_load((action / "action.yml").read_text())["runs"]["steps"][0]["run"]
    times = []
    for attempt in range(4):
        variables = {**os.environ, "RUNNER_TEMP": str(folder / f"set-up-{attempt}"), "GITHUB_OUTPUT": os.devnull}
        variables |= {"GITHUB_ACTION_PATH": str(action), "LOCKS": "runtime", "OPS_WHEELS": str(folder / "wheels")}
        began = time.perf_counter()
        subprocess.run(["bash", "-euc", script], cwd=ROOT, env=variables, check=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def a_large_report(folder: Path) -> tuple[float, float, int]:
    """Return the seconds of the process, the seconds of its requests alone, and the peak memory in bytes."""
    sandbox = world()
    try:
        hub = sandbox.github
        hub.add_commit(
            "the workflow", "alice", files={".github/workflows/incident.yml": "name: incident\non: issues\n"}
        )
        number = hub.open_issue("The API answers 500", "", ["incident"], "alice")
        label = hub.label(number, "recover:rollback-api", "alice")
        now = sandbox.clock.now()
        for index in range(RUNS):
            run = hub.start_run("incident.yml", "issues", label, "alice")
            hub.add_job(run.id, "recover")
            at = now + timedelta(seconds=index)
            rows = tuple(
                RecordRow(at, kind, f"{kind} {index}") for kind in ("requested", "planned", "written", "ended")
            )
            block = RunRecord(
                f"{run.id}.1-abcd", environment="production", service="api", decision="recovered", rows=rows
            )
            hub.comment(number, embed_record("A run.", block), "github-actions[bot]")
        for index in range(EVENTS - RUNS):
            hub.comment(number, f"comment {index} " + "x" * 100, "alice")
        hub.requests.clear()
        whole, memory, _ = ops(["incident", "report", str(number)], environ(sandbox, folder), folder)
        reads = [record for record in hub.requests if record.method == "GET"]
        began = time.perf_counter()
        headers = {"Authorization": f"Bearer {hub.token}"}
        with httpx.Client(base_url=hub.environ()["GITHUB_API_URL"], headers=headers) as client:
            for record in reads:
                client.get(record.path, params=record.query)
        return whole, time.perf_counter() - began, memory
    finally:
        sandbox.__exit__(None, None, None)


if __name__ == "__main__":
    main()

"""Time a label recovery: the current workflows against those of an older commit.

    ./run benchmarks.label [--rounds N] [--before COMMIT] [--folder FOLDER]

Measures from the label to the answered write and to the verified recovery. Both sides run alternately in the local
runner of this checkout, on a local Cloudflare and GitHub; the older commit runs with its own files, tool and setup. A
first uncounted run caches the wheels. GitHub's time to start a job is not included. Each round also times the current
workflows without cached wheels: setup and gate, and the workflow ops-check, which is the whole CI of a team that uses
them.

The runner's folders are in memory if there is room. On a disk, act takes up to 2 s to copy a checkout in each job.
"""

import io
import re
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import click

from ops.github.actions import job_id
from sandbox import Sandbox
from sandbox.actions import Runner, tracked_files
from sandbox.github import GitHub
from sandbox.github.actions.state import FakeJob
from sandbox.switches import Switches

ROOT = Path(__file__).parent.parent
WORKER = "fortunet-api"
ACCOUNT = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"
LABEL = "recover:rollback-api"
LEFT_OUT = ".github/workflows/ci.yml"
"""Not included, because a push would run all tests."""
BEFORE = "7ce9a0256153d3957a176f8f271f887d3c5f56f7"
TARGETS = {"answered write": 0.6, "verified": 0.7}
GATE = ("gate: Set up ops", "gate: Check the request and the requester's permission")
LIMITS = {"set-up and gate": 1.5, "set-up and gate, cold": 4.0, "ops-check, cold": 30.0}
"""Seconds. "Cold" is without cached wheels."""
MEMORY, ROOM = Path("/dev/shm"), 2_000_000_000
"""A folder in memory, and the bytes that the runs need."""
STEP = re.compile(
    r"Run (?P<job>Set up job)$|Success - Main (?P<name>[^\n]+?)(?:\n[^⭐]*?)? \[(?P<took>[\dhmsµn.]+)\]$", re.MULTILINE
)
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


@dataclass
class Times:
    """Seconds of each step by job and name, and seconds from the label to each moment, per counted round."""

    steps: dict[str, list[float]] = field(default_factory=dict)
    moments: dict[str, list[float]] = field(default_factory=dict)


@click.command()
@click.option("--rounds", default=5, help="Counted rounds (default: 5)")
@click.option("--before", default=BEFORE, help="Older commit to compare with")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Folder of the runner (default: in memory, if there is room)"
)
def main(rounds: int, before: str, folder: Path | None) -> None:
    sides = {before[:7]: archived(before), "now": tracked_files(ROOT)}
    found = {side: Times() for side in sides}
    parts: dict[str, list[float]] = {name: [] for name in LIMITS}
    tempfile.tempdir = str(folder or chosen_folder())
    with tempfile.TemporaryDirectory() as name:
        for number in range(rounds + 1):
            for side, files in sides.items():
                steps, moments = measured(files, Path(name) / side)
                if number:
                    for into, took in ((found[side].steps, steps), (found[side].moments, moments)):
                        for key, value in took.items():
                            into.setdefault(key, []).append(value)
            if number:
                cold, _ = measured(sides["now"], Path(name) / f"cold-{number}")
                parts["set-up and gate, cold"].append(sum(cold[step] for step in GATE))
                parts["ops-check, cold"].append(checked(sides["now"], Path(name) / f"check-{number}"))
    show(found, parts)


def chosen_folder() -> Path:
    """Return the folder in memory, or the default one if it lacks room."""
    try:
        return MEMORY if shutil.disk_usage(MEMORY).free > ROOM else Path(tempfile.gettempdir())
    except OSError:
        return Path(tempfile.gettempdir())


def show(found: Mapping[str, Times], parts: dict[str, list[float]]) -> None:
    for side, times in found.items():
        print(f"| step, {side} | median |\n| --- | ---: |")
        for step, lasted in times.steps.items():
            print(f"| {step} | {statistics.median(lasted):.2f} s |")
        print()
    (older, old), (_, new) = found.items()
    print(f"| label to | {older} | now | ratio | target |\n| --- | ---: | ---: | ---: | ---: |")
    for moment, target in TARGETS.items():
        was, by_now = (statistics.median(times.moments[moment]) for times in (old, new))
        print(f"| {moment} | {was:.2f} s | {by_now:.2f} s | {by_now / was:.2f} | ≤ {target} |")
    parts["set-up and gate"] = [sum(each) for each in zip(*(new.steps[step] for step in GATE), strict=True)]
    print("\n| part | now | limit |\n| --- | ---: | ---: |")
    for part, limit in LIMITS.items():
        print(f"| {part} | {statistics.median(parts[part]):.2f} s | ≤ {limit:g} s |")


def archived(commit: str) -> dict[str, bytes]:
    """Return path → content of a commit of this repository."""
    packed = subprocess.run(["git", "archive", "--format=tar", commit], cwd=ROOT, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        files = ((member.name, archive.extractfile(member)) for member in archive if member.isfile())
        return {name: file.read() for name, file in files if file is not None}


def measured(files: Mapping[str, bytes], cache: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Return the seconds of each step, and from the label to each moment."""
    moments: dict[str, float] = {}
    switches = Switches(propagation_seconds=0)
    with Sandbox(account_id=ACCOUNT, switches=switches) as sandbox:
        hub = prepared(sandbox, files)
        environ = {name: value for name, value in sandbox.environ().items() if name != "CLOUDFLARE_API_TOKEN"}
        number = hub.open_issue("The API answers 500", labels=["incident"], author="alice")

        def note(moment: str) -> None:
            moments.setdefault(moment, time.perf_counter())

        sandbox.fault(method="POST", path="/client/**/deployments", times=None, after=lambda: note("answered write"))
        with Runner(
            hub, environ, pip_cache=cache, on_line=lambda _, text: note("verified") if "RECOVERED" in text else None
        ) as runner:
            began = time.perf_counter()
            hub.label(number, LABEL, "alice")
            runner.wait()
            log = runner.log(hub.runs[-1].id)
        if hub.runs[-1].conclusion != "success" or moments.keys() != TARGETS.keys():
            raise SystemExit("\n".join(log))
        ran = [job for job in hub.runs[-1].jobs if job.conclusion == "success"]
    return dict(steps_of("\n".join(log), ran)), {moment: at - began for moment, at in moments.items()}


def checked(files: Mapping[str, bytes], cache: Path) -> float:
    """Return the seconds from a push to the end of its ops-check."""
    with Sandbox(account_id=ACCOUNT) as sandbox:
        hub = prepared(sandbox, files)
        with Runner(hub, sandbox.environ(), pip_cache=cache) as runner:
            began = time.perf_counter()
            hub.add_commit("A change", "alice", files={"README.md": "changed"})
            runner.wait()
            ended = time.perf_counter()
            run = next(run for run in hub.runs if run.workflow.path.endswith("/ops-check.yml"))
            if run.conclusion != "success":
                raise SystemExit("\n".join(runner.log(run.id)))
    return ended - began


def prepared(sandbox: Sandbox, files: Mapping[str, bytes]) -> GitHub:
    """Seed a bad release after a good one, and a repository with these files."""
    now, hub = sandbox.clock.now(), sandbox.github
    hub.switches.plan = "team"
    for code, ago in (("good", timedelta(hours=2)), ("bad", timedelta(minutes=10))):
        behaviour = None if code == "good" else {"status": 500}
        sandbox.deploy(WORKER, sandbox.upload(WORKER, code=code, behaviour=behaviour, at=now - ago), at=now - ago)
    hub.add_user("alice")
    sandbox.clock.longest_sleep = 5.0  # the watch after the recovery takes half an hour
    own = {"ops.yml": files.get("examples/fortunet/ops.yml", files["ops.yml"])}
    hub.add_commit("All of it", "alice", files={name: text for name, text in files.items() if name != LEFT_OUT} | own)
    reading = sandbox.add_token("sandbox-reading", permissions=["Workers Scripts Read"])
    for environment, token in (("recovery", sandbox.token), ("report", reading)):
        hub.add_environment(environment)
        hub.put_secret("CLOUDFLARE_API_TOKEN", token, environment)
    return hub


def steps_of(log: str, jobs: list[FakeJob]) -> Iterator[tuple[str, float]]:
    """Yield "job: step" and its seconds. `jobs` ran one after another. Steps of an action count for its own step."""
    number = -1
    for found in STEP.finditer(log):
        if found["job"]:
            number += 1
        elif number < len(jobs) and {found["name"], f"Run {found['name']}"} & {
            step.name for step in jobs[number].steps
        }:
            yield f"{job_id(jobs[number].name)}: {found['name'].partition('@')[0][:60]}", seconds(found["took"])


def seconds(text: str) -> float:
    """Parse seconds from a Go duration such as `1m2.5s` or `57.4ms`."""
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ms|µs|ns|h|m|s)", text))


if __name__ == "__main__":
    main()

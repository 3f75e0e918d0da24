"""Time a label recovery: the current workflows against those of older commits.

    ./run benchmarks.label [--rounds N] [--before COMMIT] [--folder FOLDER]

Measures from the label to the answered write and to the verified recovery, and the steps of setup and gate. All sides
run alternately in the local runner of this checkout, on a local Cloudflare and GitHub; an older commit runs with its
own files, tool and setup. A ratio is the median of those of each round, so that it holds on a busy machine. A first
uncounted run caches the wheels and compiled modules. GitHub's time to start a job is not included. Each round also
times the current workflows without these caches, as a runner of GitHub starts: setup and gate, and the workflow
ops-check, which is the whole CI of a team that uses them.

The runner's folders are in memory if there is room. On a disk, act takes up to 2 s to copy a checkout in each job.
"""

import io
import re
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
from ops.tools.process import memory_folder
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
FIRST, LATER = "7ce9a0256153d3957a176f8f271f887d3c5f56f7", "355086951e6e52f2c8d10c63e6a7415f4be596a2"
TARGETS = {
    "answered write": (FIRST, 0.48),
    "verified": (FIRST, 0.7),
    "set-up and gate": (LATER, 0.75),
}
"""Figure → older commit, and the target of the ratio to it."""
GATE = ("gate: Set up ops", "gate: Check the request and the requester's permission")
LIMITS = {"set-up and gate": 1.0, "set-up and gate, cold": 3.0, "ops-check, cold": 30.0}
"""Seconds. "Cold" is without cached wheels."""
STEP = re.compile(
    r"Run (?P<job>Set up job)$|Success - Main (?P<name>[^\n]+?)(?:\n[^⭐]*?)? \[(?P<took>[\dhmsµn.]+)\]$", re.MULTILINE
)
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


@dataclass
class Times:
    """Seconds of each step by job and name, and of each figure of TARGETS, per counted round."""

    steps: dict[str, list[float]] = field(default_factory=dict)
    figures: dict[str, list[float]] = field(default_factory=dict)


@click.command()
@click.option("--rounds", default=5, help="Counted rounds (default: 5)")
@click.option("--before", default="", help="Older commit to compare all figures with (default: those of TARGETS)")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Folder of the runner (default: in memory, if there is room)"
)
def main(rounds: int, before: str, folder: Path | None) -> None:
    targets = {figure: ((before or commit)[:7], target) for figure, (commit, target) in TARGETS.items()}
    sides = {commit: archived(commit) for commit, _ in targets.values()} | {"now": tracked_files(ROOT)}
    found = {side: Times() for side in sides}
    parts: dict[str, list[float]] = {name: [] for name in LIMITS}
    tempfile.tempdir = str(folder or memory_folder() or tempfile.gettempdir())
    with tempfile.TemporaryDirectory() as name:
        for number in range(rounds + 1):
            for side, files in sides.items():
                steps, figures = measured(files, Path(name) / side)
                if number:
                    for into, took in ((found[side].steps, steps), (found[side].figures, figures)):
                        for key, value in took.items():
                            into.setdefault(key, []).append(value)
            if number:
                cold, _ = measured(sides["now"], Path(name) / f"cold-{number}")
                parts["set-up and gate, cold"].append(sum(cold[step] for step in GATE))
                parts["ops-check, cold"].append(checked(sides["now"], Path(name) / f"check-{number}"))
    show(found, targets, parts)


def show(found: Mapping[str, Times], targets: Mapping[str, tuple[str, float]], parts: dict[str, list[float]]) -> None:
    for side, times in found.items():
        print(f"| step, {side} | median |\n| --- | ---: |")
        for step, lasted in times.steps.items():
            print(f"| {step} | {statistics.median(lasted):.2f} s |")
        print()
    print("| figure | before | seconds | now | ratio | target |\n| --- | --- | ---: | ---: | ---: | ---: |")
    for figure, (commit, target) in targets.items():
        if figure not in found[commit].figures:
            continue
        old, new = found[commit].figures[figure], found["now"].figures[figure]
        ratio = statistics.median(now / was for was, now in zip(old, new, strict=True))
        was, by_now = statistics.median(old), statistics.median(new)
        print(f"| {figure} | {commit} | {was:.2f} | {by_now:.2f} | {ratio:.2f} | ≤ {target} |")
    parts["set-up and gate"] = found["now"].figures["set-up and gate"]
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
    """Return the seconds of each step, and of each figure."""
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
        if hub.runs[-1].conclusion != "success" or len(moments) != 2:
            raise SystemExit("\n".join(log))
        ran = [job for job in hub.runs[-1].jobs if job.conclusion == "success"]
    steps = dict(steps_of("\n".join(log), ran))
    figures = {moment: at - began for moment, at in moments.items()}
    if steps.keys() >= {*GATE}:
        figures["set-up and gate"] = sum(steps[step] for step in GATE)
    return steps, figures


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

"""Measure `ops targets` without an ops.yml for an account with 40 Workers, without latency and at 100 ms a call.

    ./run benchmarks.targets [--rounds N]

Runs whole processes. Prints the median time, its processor time, and the calls.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from itertools import product
from pathlib import Path

import click

from sandbox import Sandbox

ROOT = Path(__file__).parent.parent
ACCOUNT = "1a" * 16
WORKERS, RELEASES = 40, (60, 30, 2)
"""Number of Workers, and hours since each release."""
DELAY = 0.1
"""Seconds of each call of API and application in the second measurement."""
TARGET = 3.0


@click.command()
@click.option("--rounds", type=click.IntRange(1, 3), default=3, help="Runs of each measurement (default: 3)")
def main(rounds: int) -> None:
    for delay in (0.0, DELAY):
        with Sandbox(account_id=ACCOUNT) as sandbox:  # a new one: it allows 1,200 calls in five minutes
            build(sandbox)
            if delay:
                sandbox.fault(path="/client/**", times=None, delay=delay)
                sandbox.edge_fault(times=None, delay=delay)
            report(sandbox, rounds, f"{delay * 1000:.0f} ms a call")


def build(sandbox: Sandbox) -> None:
    """Release each Worker three times. Every second one has a custom domain; the others have none."""
    zone, now = sandbox.zones.all[sandbox.zones.add("shop.example")], sandbox.clock.now()
    for number, hours in product(range(WORKERS), RELEASES):
        at, name = now - timedelta(hours=hours), f"shop-{number}"
        version = sandbox.upload(name, code=f"{hours}", behaviour={"status": 200}, secrets={"KEY": "1"}, at=at)
        sandbox.deploy(name, version, at=at)
    for number in range(0, WORKERS, 2):
        sandbox.zones.add_domain(zone, f"w{number}.shop.example", f"shop-{number}")
    sandbox.add_token("reader", ("Workers Scripts Read", "Workers Routes Read", "Zone Read", "Pages Read"))


def report(sandbox: Sandbox, rounds: int, conditions: str) -> None:
    """Print the figures of some runs."""
    before, used = len(sandbox.requests), _processor_seconds()
    seconds = [measure(sandbox) for _ in range(rounds)]
    calls, used = (len(sandbox.requests) - before) // rounds, (_processor_seconds() - used) / rounds
    click.echo(
        f"ops targets, {WORKERS} Workers, {conditions}: {statistics.median(seconds):.2f} s (target {TARGET:.0f} s)"
    )
    click.echo(f"  from {min(seconds):.2f} to {max(seconds):.2f} s; processor {used:.2f} s; {calls} calls of the API")


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(sandbox: Sandbox) -> float:
    """Return the seconds of one run in an empty folder."""
    environ = {**os.environ, **sandbox.environ(), "CLOUDFLARE_API_TOKEN": "reader", "PYTHONPATH": str(ROOT)}
    environ["CLOUDFLARE_ACCOUNT_ID"] = ACCOUNT
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        command = [sys.executable, "-m", "ops", "targets"]
        subprocess.run(command, env=environ, cwd=folder, check=True, capture_output=True)
        return time.monotonic() - started


if __name__ == "__main__":
    main()

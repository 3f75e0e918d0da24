"""Measure `ops init` with a token and ten services, at 100 ms for each call of the API and of the application.

    ./run benchmarks.init [--rounds N]

Runs whole processes. Prints the median, and the calls that it made.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import click

from sandbox import Sandbox

ACCOUNT, ACTIONS = "1a" * 16, f"acme/backout@{'5ea1' * 10}"
WORKERS, SITES = 7, 3
DELAY = 0.1
"""Seconds of each call."""
TARGET = 5.0


@click.command()
@click.option("--rounds", default=5, help="Runs (default: 5)")
def main(rounds: int) -> None:
    with Sandbox(account_id=ACCOUNT) as sandbox:
        build(sandbox)
        sandbox.fault(path="/client/**", times=None, delay=DELAY)
        sandbox.edge_fault(times=None, delay=DELAY)
        seconds = [measure(sandbox) for _ in range(rounds)]
        calls = len(sandbox.requests) // rounds
    click.echo(
        f"ops init, {WORKERS + SITES} services, {DELAY * 1000:.0f} ms a call: {statistics.median(seconds):.2f} s"
    )
    click.echo(f"  {calls} calls of the API; target {TARGET:.0f} s; from {min(seconds):.2f} to {max(seconds):.2f} s")


def build(sandbox: Sandbox) -> None:
    zone = sandbox.zones.all[sandbox.zones.add("shop.example")]
    now = sandbox.clock.now()
    for number in range(WORKERS):
        name = f"shop-{number}"
        version = sandbox.upload(name, behaviour={"status": 200}, secrets={"KEY": "1"}, at=now - timedelta(hours=2))
        sandbox.deploy(name, version, at=now - timedelta(hours=2))
        sandbox.zones.add_domain(zone, f"w{number}.shop.example", name)
    for number in range(SITES):
        sandbox.pages.add_project(f"site-{number}", domains=[f"s{number}.shop.example"])
        for hours in (9, 2):
            page = f"<h1>{hours}</h1>".encode()
            at = now - timedelta(hours=hours)
            sandbox.pages.add_deployment(f"site-{number}", files={"index.html": page}, at=at)
    sandbox.add_token("reader", ("Workers Scripts Read", "Workers Routes Read", "Zone Read", "Pages Read", "D1 Read"))


def measure(sandbox: Sandbox) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "operations")
        environ = {**os.environ, **sandbox.environ(), "CLOUDFLARE_API_TOKEN": "reader"}
        command = [sys.executable, "-m", "ops", "init", path, "--actions", ACTIONS]
        started = time.monotonic()
        subprocess.run(command, env=environ, check=True, capture_output=True)
        return time.monotonic() - started


if __name__ == "__main__":
    main()

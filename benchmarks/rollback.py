"""Compare `ops rollback-worker` with `wrangler rollback` on a fresh local Cloudflare.

    ./run benchmarks.rollback [--rounds N]

Runs whole processes alternately. Prints medians and ratios at 0 and 100 ms per API call, the calls made and the peak
memory; and `ops --help` against an import of click and httpx, with and without compiled files. Ratios compare programs
within one run because absolute times depend on the machine.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import click

from ops.tools import node
from sandbox import Sandbox
from sandbox.switches import Switches

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "examples" / "fortunet"
WORKER = "fortunet-api"
ACCOUNT = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"

WITHOUT_RICH = "import runpy, sys; sys.modules['pygments'] = sys.modules['rich'] = None; "
"""httpx loads pygments and rich if they are installed. Only the developers' lock file has them; users start without
them."""
OPS = ("-c", f"{WITHOUT_RICH} sys.argv[0] = 'ops'; runpy.run_module('ops', run_name='__main__', alter_sys=True)")
LIBRARIES = ("-c", f"{WITHOUT_RICH} import click, httpx")


@dataclass(frozen=True)
class Run:
    """Measurements of one process: seconds, `wrote` until the write was answered; peak memory in bytes."""

    whole: float
    wrote: float
    calls: int
    memory: int


@click.command()
@click.option("--rounds", default=7, help="Runs of each program at each latency (default: 7)")
def main(rounds: int) -> None:
    wrangler = [*node.wrangler_command(), "rollback", "--name", WORKER, "--message", "benchmark"]
    with tempfile.TemporaryDirectory() as folder:
        ours = [sys.executable, *OPS, *_our_arguments(Path(folder))]
        print("| per call | measurement | ops | wrangler | ratio |\n| ---: | --- | ---: | ---: | ---: |")
        for delay in (0.0, 0.1):
            pairs = [(measure(ours, delay, folder), measure(wrangler, delay, folder)) for _ in range(rounds)]
            _report(delay, [one for one, _ in pairs], [other for _, other in pairs])
    _report_help(rounds)


def _our_arguments(folder: Path) -> list[str]:
    """The shipped ops.yml with a single required success, because wrangler makes no probe."""
    config = folder / "ops.yml"
    config.write_text((REFERENCE / "ops.yml").read_text().replace("successes: 3", "successes: 1"))
    where = ["--service", "api", "--environment", "production", "--config", str(config)]
    return ["rollback-worker", *where, "--reason", "benchmark", "--yes", "--json"]


def measure(argv: Sequence[str], delay: float, home: str) -> Run:
    """Run one process from start to end against a bad release that is ten minutes old."""
    with Sandbox(account_id=ACCOUNT, switches=Switches(propagation_seconds=0)) as sandbox:
        now = sandbox.clock.now()
        good = sandbox.upload(WORKER, code="good", at=now - timedelta(hours=2))
        sandbox.deploy(WORKER, good, at=now - timedelta(hours=2))
        bad = sandbox.upload(WORKER, code="bad", behaviour={"status": 500}, at=now - timedelta(minutes=10))
        sandbox.deploy(WORKER, bad, at=now - timedelta(minutes=10))
        if delay:
            sandbox.fault(path="/client/**", times=None, delay=delay)
        environ = {"PATH": os.environ["PATH"], "HOME": home, "PYTHONPATH": str(ROOT), **sandbox.environ()}
        environ |= {"CI": "true", "NO_COLOR": "1", "WRANGLER_SEND_METRICS": "false"}
        environ.pop("OPS_CLOCK_URL")  # a real run does not read the time from a sandbox
        answered: list[float] = []
        sandbox.fault(
            method="POST", path="/client/**", times=None, after=lambda *_: answered.append(time.perf_counter())
        )
        began = time.perf_counter()
        whole, memory = _finish(argv, environ)
        calls = sum(1 for record in sandbox.requests if record.path.startswith("/client/"))
        assert sandbox.live(WORKER) == {good: 100}, f"{argv} did not roll back"
        return Run(whole, answered[-1] - began, calls, memory)


def _finish(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[float, int]:
    began = time.perf_counter()
    process = subprocess.Popen(list(argv), env=dict(environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{argv} ended with {process.returncode}"
    return time.perf_counter() - began, usage.ru_maxrss * 1024


def _report(delay: float, ours: Sequence[Run], theirs: Sequence[Run]) -> None:
    def median(runs: Sequence[Run], name: str) -> float:
        return float(statistics.median(getattr(run, name) for run in runs))

    whole = median(theirs, "whole")
    at = f"{delay * 1000:.0f} ms"
    for label, name in (
        ("start to answered write, against wrangler's process", "wrote"),
        ("whole run, proved", "whole"),
    ):
        mine = median(ours, name)
        print(f"| {at} | {label} | {mine:.2f} s | {whole:.2f} s | {mine / whole:.2f} |")
    print(f"| {at} | calls | {median(ours, 'calls'):.0f} | {median(theirs, 'calls'):.0f} | |")
    mine, other = (median(runs, "memory") / 1e6 for runs in (ours, theirs))
    print(f"| {at} | peak memory | {mine:.0f} MB | {other:.0f} MB | {mine / other:.2f} |", flush=True)


def _report_help(rounds: int) -> None:
    print("\n| .pyc | ops --help | import click, httpx | ratio |\n| --- | ---: | ---: | ---: |")
    for is_compiled in (True, False):
        start = partial(_start, is_compiled=is_compiled)
        pairs = [(start((*OPS, "--help")), start(LIBRARIES)) for _ in range(rounds)]
        mine, other = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(mine / other for mine, other in pairs)
        print(f"| {'with' if is_compiled else 'without'} | {mine:.2f} s | {other:.2f} s | {ratio:.2f} |", flush=True)


def _start(arguments: Sequence[str], *, is_compiled: bool) -> float:
    """Return the seconds of one Python process.

    Not compiled: also not the libraries and Python's own modules.
    """
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as empty:
        if not is_compiled:
            environ |= {"PYTHONPYCACHEPREFIX": empty, "PYTHONDONTWRITEBYTECODE": "1"}
        return _finish([sys.executable, *arguments], environ)[0]


if __name__ == "__main__":
    main()

"""Run the `command` probe: exit code 0 is healthy, 1 unhealthy, others inconclusive."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ops.core.redaction import Redactor
from ops.core.verdict import Assertion, ProbeResult, Verdict
from ops.tools import process

if TYPE_CHECKING:
    from ops.config.probes import CommandProbe


def run_command_probe(
    name: str, spec: "CommandProbe", environ: Mapping[str, str], redactor: Redactor, *, folder: Path
) -> ProbeResult:
    """Run the command once in `folder`. `environ` must not contain cloud secrets."""
    try:
        finished = process.run(spec.run, environ=environ, timeout=spec.timeout, redactor=redactor, folder=folder)
    except OSError as error:
        return _result(name, Verdict.INCONCLUSIVE, f"{spec.run[0]} could not be started ({error.strerror})")
    if finished.code is None:
        return _result(name, Verdict.INCONCLUSIVE, f"not finished within {spec.timeout:g} s")
    verdict = {0: Verdict.HEALTHY, 1: Verdict.UNHEALTHY}.get(finished.code, Verdict.INCONCLUSIVE)
    last = finished.output.strip().splitlines()[-1:] or ["no output"]
    return _result(name, verdict, f"exit {finished.code}: {last[0][:200]}")


def _result(name: str, verdict: Verdict, detail: str) -> ProbeResult:
    return ProbeResult(name, verdict, (Assertion("exit", verdict, detail),))

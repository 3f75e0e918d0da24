"""Run the `browser` probe: pages and steps in Chromium, by `ops.probes.browser_process`."""

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ops.core.redaction import Redactor
from ops.core.verdict import Assertion, ProbeResult, Verdict, worst_verdict
from ops.probes.edge_answer import BROWSER_HINT
from ops.tools import process

if TYPE_CHECKING:
    from ops.config.probes import BrowserProbe

PROGRAMS = ("google-chrome", "google-chrome-stable", "chrome", "chromium", "chromium-browser")
"""Program names; the last one is only a stub for a snap on Ubuntu."""
INSTALL_HINT = "run: pip install 'backout[browser]'; for jobs, run `ops workflows sync` and commit"
MAC_PROGRAM = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
STARTUP_SECONDS = 5.0
"""Seconds to start and end the process, in addition to the probe's timeout."""


def run_browser_probe(
    name: str,
    spec: "BrowserProbe",
    url: str,
    environ: Mapping[str, str],
    redactor: Redactor,
    *,
    edge_url: str | None,
    pictures: Path,
) -> ProbeResult:
    """Run the probe once. `environ` has the values to fill in; a screenshot of the first failure goes into `pictures`.

    A probe that is not `required` is at worst inconclusive.
    """
    for variable in spec.variables:
        redactor.add_secret(environ.get(variable, ""))
    missing = [variable for variable in spec.variables if not environ.get(variable)]
    browser = _find_browser(spec, environ)
    if missing:
        return _inconclusive_browser(name, f"{' and '.join(missing)} is not set, but its steps need it")
    playwright = importlib.util.find_spec("playwright")
    if playwright is None:
        return _inconclusive_browser(name, f"playwright is not installed; {INSTALL_HINT}")
    if browser is None:
        where = spec.path or "PATH"
        return _inconclusive_browser(name, f"no Chromium or Chrome at {where}; run: apt-get install chromium")
    picture = pictures / f"{name}.png"
    with process.scratch_folder() as folder:
        job = _build_job(spec, url, edge_url, browser=browser, folder=folder)
        program = Path(__file__).parents[2]
        places = (program, *(Path(found).parents[1] for found in (playwright.origin,) if found))
        seen = {**environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
        argv = [sys.executable, "-P", "-m", "ops.probes.browser_process", json.dumps(job)]
        finished = process.run_program(
            argv, environ=seen, timeout=spec.timeout + STARTUP_SECONDS, redactor=redactor, folder=folder
        )
        assertions = _read_browser_output(finished, spec)
        if (taken := folder / "picture.png").exists():
            process.make_private_folder(pictures)
            shutil.move(taken, picture)
            picture.chmod(0o600)
            said = f"{picture.parent.name}/{picture.name}"
            assertions = (*assertions, Assertion("picture", worst_verdict(a.verdict for a in assertions), said))
    if not spec.required:
        assertions = tuple(map(_soften_assertion, assertions))
    return ProbeResult(name, worst_verdict(a.verdict for a in assertions), assertions)


def _build_job(
    spec: "BrowserProbe", url: str, edge_url: str | None, *, browser: str, folder: Path
) -> dict[str, object]:
    (folder / "profile").mkdir()
    return {
        "url": url.rstrip("/"),
        "paths": spec.paths,
        "steps": [step.model_dump(exclude_unset=True) for step in spec.steps],
        "ignore": spec.ignore,
        "seconds": spec.timeout,
        "browser": browser,
        "profile": str(folder / "profile"),
        "screenshot": str(folder / "picture.png"),
        "variables": spec.variables,
        "edge": edge_url,
    }


def _find_browser(spec: "BrowserProbe", environ: Mapping[str, str]) -> str | None:
    for program in [spec.path] if spec.path else [*PROGRAMS, MAC_PROGRAM]:
        if file := shutil.which(program, path=environ.get("PATH")):
            return file
    return None


def _read_browser_output(finished: process.FinishedProcess, spec: "BrowserProbe") -> tuple[Assertion, ...]:
    """Parse the last line of the output; other output means that the program failed."""
    if finished.code is None:
        return (Assertion("browser", Verdict.INCONCLUSIVE, f"not finished within {spec.timeout:g} s"),)
    last = (finished.output.strip().splitlines() or ["no output"])[-1]
    try:
        return tuple(
            Assertion(name, Verdict(verdict), detail, BROWSER_HINT if name == "challenge" else "")
            for name, verdict, detail in json.loads(last)
        )
    except (ValueError, TypeError):
        said = f"its program failed (exit {finished.code}): {last[:200]}"
        return (Assertion("browser", Verdict.INCONCLUSIVE, said),)


def _soften_assertion(assertion: Assertion) -> Assertion:
    if assertion.verdict == Verdict.HEALTHY:
        return assertion
    return replace(assertion, verdict=Verdict.INCONCLUSIVE)


def _inconclusive_browser(name: str, detail: str) -> ProbeResult:
    return ProbeResult(name, Verdict.INCONCLUSIVE, (Assertion("browser", Verdict.INCONCLUSIVE, detail),))

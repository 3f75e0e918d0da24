"""Example site: its bad release returns 200 and fails the page and browser probes."""

import json
import os
import subprocess
from pathlib import Path

from ops.config import Service
from ops.config.probes import BrowserProbe, PageProbe
from ops.config.strict_yaml import read_yaml
from ops.core.redaction import Redactor
from ops.core.verdict import ProbeResult, Verdict
from ops.probes import browser, page
from ops.tools import node
from sandbox.server import HttpRequest, HttpResponse
from tests.conftest import ROOT
from tests.support.browser import needs_chromium
from tests.support.site import URL, Site, folder, served

FRONTEND = ROOT / "examples/fortunet/frontend"
LOGIN = {"DEMO_EMAIL": "mia@fortunet.example", "DEMO_PASSWORD": "the cat's birthday"}


def build_site(release: str, out: Path) -> Site:
    """Build a release with `npm run build`, as the README says, and serve it with its function."""
    environ = {**os.environ, "PATH": f"{node.find_node().parent}{os.pathsep}{os.environ['PATH']}"}
    options = ["--", f"--out={out}", *(["--bad"] if release == "bad" else [])]
    subprocess.run(
        [*node.npm_command(), "run", "build", *options], cwd=FRONTEND, env=environ, check=True, capture_output=True
    )
    return Site({**folder(out), "/api/session": session})


CALL = """
import { onRequestPost } from "./functions/api/session.js";
const request = new Request("https://fortunet.example/api/session", { method: "POST", body: process.env.BODY });
const answer = await onRequestPost({ request, env: process.env });
console.log(JSON.stringify([answer.status, [...answer.headers], await answer.text()]));
"""


def session(request: HttpRequest) -> HttpResponse:
    """Return the response of the real function, run by Node."""
    argv = [str(node.find_node()), "--input-type=module", "--eval", CALL]
    environ = {**LOGIN, "BODY": request.body.decode()}
    done = subprocess.run(argv, cwd=FRONTEND, env=environ, check=True, capture_output=True)
    status, headers, body = json.loads(done.stdout)
    return HttpResponse(status=status, headers=[(name, value) for name, value in headers], body=body.encode())


def probes() -> tuple[PageProbe, BrowserProbe]:
    """Return the probes of the README."""
    text = (FRONTEND / "README.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    data = read_yaml(text).data | {"worker": "fortunet-frontend", "url": URL}
    site, visit = Service.model_validate(data).probes
    assert site.page
    assert visit.browser
    return site.page, visit.browser


def test_page_probe_rejects_bad_release_with_details(tmp_path: Path) -> None:
    results = {}
    for release in ("good", "bad"):
        with served(build_site(release, tmp_path / release)) as web:
            results[release] = page.run_page_probe(web, "site", probes()[0], URL)

    assert (results["good"].verdict, results["good"].detail) == (Verdict.HEALTHY, "pages 4; assets 6; links 4")
    assert results["bad"].verdict == Verdict.UNHEALTHY
    assert "assets 1 of 6 failed: /assets/login." in results["bad"].detail
    assert ".js (from /login): text/html, wanted javascript" in results["bad"].detail


@needs_chromium
def test_browser_probe_logs_in_to_good_release(tmp_path: Path) -> None:
    result = visit("good", tmp_path)

    assert (result.verdict, result.detail) == (Verdict.HEALTHY, "pages 4")


@needs_chromium
def test_browser_probe_reports_script_error_of_bad_release(tmp_path: Path) -> None:
    result = visit("bad", tmp_path)

    assert result.verdict == Verdict.UNHEALTHY
    assert "console /: fortunet is not defined; /chart: fortunet is not defined" in result.detail
    assert "steps step 5, expect text=Welcome: not possible within 10 s" in result.detail
    assert (tmp_path / "visit.png").exists()


def visit(release: str, tmp_path: Path) -> ProbeResult:
    seen = {**LOGIN, **{name: os.environ[name] for name in ("PATH", "HOME")}}
    with served(build_site(release, tmp_path / release)) as web:
        return browser.run_browser_probe(
            "visit", probes()[1], URL, seen, Redactor(), edge_url=web.edge_url, pictures=tmp_path
        )

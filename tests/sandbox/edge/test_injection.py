"""Scripts that a zone injects into a page, as the browser gets them."""

import os
import re
from pathlib import Path

import httpx
import pytest

from ops.core.redaction import Redactor
from ops.core.verdict import Verdict
from ops.probes import browser
from sandbox import Sandbox
from tests.support.browser import needs_chromium, spec

HOST = "www.bakery.example"
PAGE = b"""<!DOCTYPE html><html><head><title>Bakery</title></head><body onload="greet()">
<p id="out"></p><a href="mailto:hi@bakery.example">hi@bakery.example</a>
<script>function greet() { document.getElementById("out").textContent = "Fresh " + kind }</script>
<script src="/kind.js"></script></body></html>"""
EVERY = ("edge_injects_beacon", "edge_obfuscates_emails", "edge_detects_bots_by_script", "edge_rocket_loader")


@pytest.fixture
def bakery(sandbox: Sandbox) -> Sandbox:
    sandbox.switches.pages_propagation_seconds = 0
    for name in EVERY:
        setattr(sandbox.switches, name, True)
    sandbox.pages.add_project("bakery", domains=[HOST])
    sandbox.pages.add_deployment("bakery", files={"index.html": PAGE, "kind.js": b'var kind = "bread";'})
    return sandbox


def test_injected_scripts_are_served(bakery: Sandbox, edge: httpx.Client) -> None:
    page = edge.get("/", headers={"host": HOST}).text

    files = set(re.findall(r"""(?:src="|src=')(/cdn-cgi/[^"']+)""", page))
    answers = {file: edge.get(file, headers={"host": HOST}) for file in files}

    assert len(files) == 3
    assert {answer.status_code for answer in answers.values()} == {200}
    assert {answer.headers["content-type"] for answer in answers.values()} == {"application/javascript"}
    subdomain = bakery.pages.projects["bakery"].subdomain
    assert edge.get("/", headers={"host": subdomain}).content == PAGE
    assert b"cfRLUnblock" not in edge.get(min(files), headers={"host": subdomain}).content


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("text", ["Fresh bread", "hi@bakery.example"], ids=["Rocket Loader", "email"])
def test_page_with_injected_scripts_works_in_a_browser(bakery: Sandbox, tmp_path: Path, text: str) -> None:
    environ = {name: os.environ[name] for name in ("PATH", "HOME")}
    visit = spec(steps=[{"goto": "/"}, {"expect": f"text={text}"}])

    result = browser.run_browser_probe(
        "visit", visit, f"https://{HOST}", environ, Redactor(), edge_url=bakery.edge_url, pictures=tmp_path
    )

    assert result.verdict == Verdict.HEALTHY, result

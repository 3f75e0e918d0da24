"""The `browser` probe with a real Chromium: findings, secrecy, and the end of its processes."""

import os
import re
import shutil
import signal
import subprocess
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops.core.redaction import Redactor
from ops.core.verdict import Verdict
from ops.probes import browser
from sandbox.server import HttpRequest, HttpResponse
from tests.conftest import World
from tests.support.browser import CHROMIUM, STEPS, add_probe, look, needs_chromium, spec
from tests.support.commands import Command
from tests.support.site import HOST, Answer, Site, redirect, served

pytestmark = needs_chromium

HEALTHY, UNHEALTHY, INCONCLUSIVE = Verdict.HEALTHY, Verdict.UNHEALTHY, Verdict.INCONCLUSIVE
LOGIN = """<input name=email><input name=password type=password><button onclick="enter()">Enter</button><pre></pre><script>
async function enter() {
  const password = document.querySelector("[name=password]").value;
  const answer = await fetch("/api/session?p=" + encodeURIComponent(password), {method: "POST"});
  document.querySelector("pre").textContent = answer.ok ? "Welcome " + password : "No";
}</script>"""


def session(status: int = 200) -> Answer:
    """Return a session response whose cookie requires HTTPS."""
    return HttpResponse(status=status, headers=[("set-cookie", "session=1; Path=/; Secure; HttpOnly; SameSite=Strict")])


LOOKS: dict[str, tuple[dict[str, str | bytes | Answer], dict[str, Any], Verdict, tuple[str, ...]]] = {
    "pages that work": (
        {
            "/works": "<script src=/a.js></script>",
            "/a.js": "1",
            "/cached": HttpResponse(headers=[("content-type", "text/html"), ("cf-cache-status", "HIT")], body=b"x"),
            "/ignored": "<script>console.error('broken')</script>",
            "/other-host-is-missing": "<script src=https://cdn.example/a.js></script>",
        },
        {"paths": ["/works", "/cached", "/ignored", "/other-host-is-missing"], "ignore": ["^bro"]},
        HEALTHY,
        ("pages 4", "cached /cached (cf-cache-status: HIT)"),
    ),
    "scripts and requests that fail": (
        {
            "/throws": "<script>fortunet.start()</script>",
            "/logs": "<script>console.error('broken')</script>",
            "/asks": "<script>fetch('/api?q=1')</script>",
            "/api": HttpResponse(status=500),
            "/gone": HttpResponse(status=404),
        },
        {"paths": ["/throws", "/logs", "/asks", "/gone"]},
        UNHEALTHY,
        (
            "console /throws: fortunet is not defined; /logs: broken",
            "requests /asks: /api status 500; /gone: /gone status 404",
        ),
    ),
    "a closed connection and a login that is refused": (
        {"/closes": None, "/login": LOGIN, "/api/session": session(401)},
        {"paths": ["/closes", "/closes"], "steps": [*STEPS[:4], {"expect": "text=No"}]},
        UNHEALTHY,
        ("requests /closes: /closes net::ERR_EMPTY_RESPONSE; step ", ": /api/session status 401"),
    ),
    "a failure that is not required": (
        {"/": "<script>fortunet.start()</script>"},
        {"required": False},
        INCONCLUSIVE,
        ("console /: fortunet is not defined",),
    ),
    "a failure of a cache and a selector that is none": (
        {"/": "<script src=/a.js></script>", "/a.js": HttpResponse(status=404, headers=[("age", "9")])},
        {"steps": [{"goto": "/empty"}, {"click": "[[["}]},
        INCONCLUSIVE,
        ("requests /: /a.js status 404, cached answer (age 9 s): proves nothing", "steps step 2, click [[["),
    ),
    "a page that never comes": (
        {"/": lambda _: (threading.Event().wait(12), None)[1]},
        {"timeout": "9s"},  # less than the 10 s of a page, more than the start of a browser on a busy machine
        INCONCLUSIVE,
        ("limits 9 s were over at /",),
    ),
}
"""A browser takes 2 s to start, so each opens all pages whose findings it names one by one."""


@pytest.mark.parametrize(("files", "fields", "verdict", "said"), LOOKS.values(), ids=LOOKS)
def test_browser_probe_gives_verdict_for_pages(
    files: dict[str, str | bytes | Answer],
    fields: dict[str, Any],
    verdict: Verdict,
    said: tuple[str, ...],
    tmp_path: Path,
) -> None:
    result = look({"/": "x", **files}, tmp_path, **fields)

    assert result.verdict == verdict, result.detail
    assert [each for each in said if each not in result.detail] == [], result.detail
    assert (tmp_path / "visit.png").exists() == said[0].startswith(("console", "requests")), result.detail


def test_browser_with_sandbox_reaches_no_other_host(
    tmp_path: Path,
) -> None:
    other = Site({"/": "x"})
    with served(other) as web:
        elsewhere = f"{web.edge_url}/pixel"
        page = f"<script>fetch('{elsewhere}', {{mode: 'no-cors'}}).catch(() => 0)</script>"
        kept_in = look({"/": page}, tmp_path)
        assert not other.asked
        environ = {name: os.environ[name] for name in ("PATH", "HOME")}
        direct = browser.run_browser_probe(
            "visit", spec(), str(web.edge_url), environ, Redactor(), edge_url=None, pictures=tmp_path
        )

    assert (kept_in.verdict, direct.verdict) == (HEALTHY, HEALTHY), (kept_in, direct)
    assert other.asked["/"] == 1


def test_session_cookie_is_kept_on_site_origin(tmp_path: Path) -> None:
    cookies: list[str | None] = []

    def home(request: HttpRequest) -> HttpResponse:
        cookies.append(request.headers["cookie"])
        assert request.headers["host"] == HOST
        return HttpResponse(
            headers=[("content-type", "text/html")], body=b"<script>console.assert(isSecureContext)</script>"
        )

    files = {"/": "x", "/login": LOGIN, "/api/session": session(), "/go": redirect("/home"), "/home": home}

    result = look(files, tmp_path, steps=[*STEPS, {"goto": "/go"}])

    assert (result.verdict, cookies) == (HEALTHY, ["session=1"]), result


def test_filled_in_values_are_redacted_in_text_and_picture(tmp_path: Path) -> None:
    """The page repeats the value in several forms. Pictures with different values must be equal."""
    says_all = LOGIN.replace(
        "const answer",
        "console.error(password, JSON.stringify(password)); console.error('.'.repeat(190) + password); const answer",
    )
    files = {"/": "x", "/login": f"<style>* {{ font: 20px monospace }}</style>{says_all}", "/api/session": session()}
    values = {"one": "aaaaa 1", "two": "bbbbb 2"}

    results = [
        look(files, tmp_path / name, steps=STEPS, environ={"DEMO_PASSWORD": value}) for name, value in values.items()
    ]

    assert [result.verdict for result in results] == [UNHEALTHY, UNHEALTHY], [result.detail for result in results]
    assert '*** "***"' in results[0].detail
    assert "aaa" not in str(results)  # nor a part of it at the cut of a long text
    assert not any(value in str(results) for value in values.values())
    first, second = ((tmp_path / name / "visit.png").read_bytes() for name in values)
    assert first == second


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_browser_processes_end_with_run(world: World, number: signal.Signals) -> None:
    world.release(timedelta(hours=2), code="good", behaviour={"paths": {"/slow": {"delay": 60}}})
    world.release(timedelta(minutes=10), code="bad", behaviour={"status": 500})
    program = world.folder / "chromium"
    program.write_text(f"""#!/bin/sh
        ps -o pgid= -p $$ >{world.folder}/group
        ops=$(ps -o ppid= -p $PPID)
        for flag; do echo "$flag" >>{world.folder}/flags; done
        (sleep 1; kill -{number.value} $ops) &
        exec {CHROMIUM} "$@"
    """)
    program.chmod(0o755)
    add_probe(world, f"{{paths: [/slow], required: true, timeout: 60s, path: {program}}}")

    outcome = Command(world).run()

    assert outcome.code == (-signal.SIGKILL if number == signal.SIGKILL else 130), outcome.err
    assert remaining_processes(int((world.folder / "group").read_text())) == []
    (profile,) = re.findall("--user-data-dir=(.*)", (world.folder / "flags").read_text())
    assert Path(profile).exists() == (number == signal.SIGKILL)
    shutil.rmtree(Path(profile).parent, ignore_errors=True)


def remaining_processes(group: int) -> list[str]:
    """Return the processes of the group that still run after some seconds, without zombies."""
    left: list[str] = []
    for _ in range(200):
        shown = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
        left = [line for line in shown.splitlines() if line.split()[0] == str(group) and line.split()[1][0] != "Z"]
        if not left:
            break
    return left

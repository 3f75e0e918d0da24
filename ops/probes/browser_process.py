"""Open pages in Chromium and print the assertions as one line of JSON.

`ops.probes.browser` runs this program in its own process group, so the browser and playwright's driver always end with
it. No browser is downloaded: the program starts an installed Chromium or Chrome, headless and with a new profile, and
connects to its DevTools. With the sandbox's edge, the browser reaches only the site's host there, through TLS.
"""

import contextlib
import json
import math
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import (
    BrowserContext,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    Request,
    Response,
    TimeoutError,  # noqa: A004
    sync_playwright,
)

from ops.core.redaction import Redactor
from ops.core.verdict import Verdict
from ops.probes.edge_answer import describe_no_proof, judge_answer
from ops.tools.own_program import hide_environment

MAX_STEP_SECONDS = 10.0
"""Most seconds for a page or a step."""
SETTLE_SECONDS = 1.0
"""Seconds for requests that scripts send after the page is loaded."""
SCREENSHOT_SECONDS = 3.0
"""Most seconds for a screenshot."""
MAX_NAMED = 3
MAX_TEXT_LENGTH = 2000
"""Characters that an `ignore` pattern searches; a slow pattern ends at the probe's `timeout`."""
CHALLENGE = "challenge"
FLAGS = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-features=Translate,MediaRouter,OptimizationHints",
    "--disable-sync",
    "--mute-audio",
    "--password-store=basic",
    "--use-mock-keychain",
)
BUFFER_SIZE = 65_536


@dataclass(frozen=True)
class BrowserJob:
    """Job from the command line. It names the variables of secrets, not their values."""

    url: str
    paths: Sequence[str]
    steps: Sequence[Mapping[str, Any]]
    ignore: Sequence[str]
    seconds: float
    browser: str
    profile: str
    screenshot: str
    """Path of the screenshot of the first failure."""
    variables: Sequence[str]
    edge: str | None = None


@dataclass
class BrowserFindings:
    """Problems by assertion, and the progress of the job."""

    job: BrowserJob
    deadline: float
    redactor: Redactor
    location: str = ""
    by_assertion: dict[str, list[tuple[Verdict, str]]] = field(default_factory=dict)
    cached: dict[str, str] = field(default_factory=dict)
    """Path of a page that a cache answered → the headers that show it. The other probes prove what is live."""

    def add(self, assertion: str, text: str, verdict: Verdict = Verdict.UNHEALTHY) -> None:
        """Add a problem. It is redacted before it is truncated, since half a secret would not be recognized."""
        text = self.redactor.redact_text(text)
        if assertion in {"pages", "steps", CHALLENGE} or not any(
            re.search(pattern, text[:MAX_TEXT_LENGTH]) for pattern in self.job.ignore
        ):
            self.by_assertion.setdefault(assertion, []).append(
                (verdict, f"{self.location}: {' '.join(text.split())[:200]}")
            )

    def is_own(self, url: str) -> bool:
        """Return whether a URL is on the site's host; other hosts say nothing about this service."""
        return urlsplit(url).netloc == urlsplit(self.job.url).netloc

    @property
    def count(self) -> int:
        return sum(map(len, self.by_assertion.values()))

    def milliseconds(self, longest: float = MAX_STEP_SECONDS) -> float:
        """Return the timeout of the next page or step, at most `longest` seconds. To playwright, 0 means no timeout."""
        return max(1.0, min(longest, self.deadline - time.monotonic()) * 1000)

    @property
    def is_expired(self) -> bool:
        return time.monotonic() >= self.deadline


def main(argument: str) -> None:
    job = BrowserJob(**json.loads(argument))
    # Remove secrets from the environment before a child process can inherit them.
    secrets = {name: os.environ.pop(name) for name in job.variables}
    hide_environment()
    redactor = Redactor(shortest=1)
    for secret in secrets.values():
        redactor.add_secret(secret)
    findings = BrowserFindings(job, time.monotonic() + job.seconds, redactor)
    try:
        with (
            start_browser(job.browser, Path(job.profile), job.url, job.edge, findings.deadline) as endpoint,
            sync_playwright() as playwright,
        ):
            # A busy machine may need longer than a step until the browser answers.
            browser = playwright.chromium.connect_over_cdp(endpoint, timeout=findings.milliseconds(math.inf))
            _visit_pages(browser.new_context(), findings, secrets)
    except (Error, OSError, BrowserNotStarted) as error:
        findings.location = "the browser failed"
        findings.add("pages", str(error).partition("\n")[0], Verdict.INCONCLUSIVE)
    print(json.dumps(_browser_assertions(findings)), flush=True)


def _visit_pages(context: BrowserContext, findings: BrowserFindings, secrets: Mapping[str, str]) -> None:
    """Open each path in a new page, then take all steps in one page."""
    for path in findings.job.paths:
        with _watched_page(context, findings, secrets) as page:
            findings.location = path
            _open_path(page, findings, path)
    if findings.job.steps:
        with _watched_page(context, findings, secrets) as page:
            _take_steps(page, findings, secrets)


@contextlib.contextmanager
def _watched_page(context: BrowserContext, findings: BrowserFindings, secrets: Mapping[str, str]) -> Iterator[Page]:
    """Open a page, record its problems, and take a screenshot if there are any."""
    before = findings.count
    page = context.new_page()
    page.on("pageerror", lambda error: findings.add("console", error.message))
    page.on("console", lambda message: _on_console(message, findings))
    page.on("requestfailed", lambda request: _on_failure(request, findings))
    page.on("response", lambda response: _on_response(response, findings))
    yield page
    if findings.count > before and not Path(findings.job.screenshot).exists():
        with contextlib.suppress(Error, OSError):
            page.screenshot(
                path=findings.job.screenshot,
                mask=_fields_to_mask(page, secrets.values()),
                timeout=SCREENSHOT_SECONDS * 1000,
            )
    page.close()


def _on_console(message: ConsoleMessage, findings: BrowserFindings) -> None:
    """Record a console error, except failed loads, which are recorded as requests."""
    if message.type == "error" and not message.text.startswith("Failed to load resource"):
        findings.add("console", message.text)


def _on_failure(request: Request, findings: BrowserFindings) -> None:
    """Record a failed request to the site, but not one that the page aborted."""
    if request.failure != "net::ERR_ABORTED" and findings.is_own(request.url):
        findings.add("requests", f"{urlsplit(request.url).path} {request.failure}")


def _on_response(response: Response, findings: BrowserFindings) -> None:
    """Record a response of the site. A subresource may lead to a login; a page that does shows nothing."""
    if not findings.is_own(response.url):
        return
    is_page, path = response.request.resource_type == "document", urlsplit(response.url).path
    answer = judge_answer(response.status, response.headers)
    if answer.obstacle and (is_page or response.status >= 400):
        findings.add(CHALLENGE, f"{path}: {answer.obstacle.detail}", Verdict.INCONCLUSIVE)
    else:
        cached = answer.cached
        if cached and is_page:
            findings.cached[path] = cached
        if response.status >= 400 and cached:
            findings.add(
                "requests", f"{path} status {response.status}, {describe_no_proof(cached)}", Verdict.INCONCLUSIVE
            )
        elif response.status >= 400:
            findings.add("requests", f"{path} status {response.status}")


def _fields_to_mask(page: Page, secrets: Iterable[str]) -> list[Locator]:
    """Return the form fields and the texts that contain a secret, to mask them in the screenshot."""
    fields = [frame.locator("input, textarea") for frame in page.frames]
    return fields + [frame.get_by_text(secret) for frame in page.frames for secret in secrets]


def _open_path(page: Page, findings: BrowserFindings, path: str) -> bool:
    if findings.is_expired:
        return False
    try:
        page.goto(findings.job.url + path, wait_until="load", timeout=findings.milliseconds())
    except TimeoutError:
        if not findings.is_expired:
            findings.add("pages", f"not loaded within {MAX_STEP_SECONDS:g} s")
        return False
    except Error as error:
        reason = re.search(r"net::\w+", error.message)
        findings.add("pages", f"could not be reached ({reason[0] if reason else 'no answer'})", Verdict.INCONCLUSIVE)
        return False
    with contextlib.suppress(TimeoutError):
        page.wait_for_load_state("networkidle", timeout=min(SETTLE_SECONDS * 1000, findings.milliseconds()))
    return True


def _take_steps(page: Page, findings: BrowserFindings, secrets: Mapping[str, str]) -> None:
    """Take the steps until one fails."""
    for number, step in enumerate(findings.job.steps, start=1):
        ((verb, what),) = step.items()
        shown = what["field"] if verb == "fill" else what
        findings.location = f"step {number}, {verb} {shown}"
        if findings.is_expired:
            return
        try:
            if verb == "goto" and not _open_path(page, findings, what):
                return
            _take_step(page, verb, what, findings, secrets)
        except TimeoutError:
            if not findings.is_expired:
                findings.add("steps", f"not possible within {MAX_STEP_SECONDS:g} s")
            return
        except Error as error:
            findings.add("steps", error.message.partition("\n")[0], Verdict.INCONCLUSIVE)
            return


def _take_step(page: Page, verb: str, what: Any, findings: BrowserFindings, secrets: Mapping[str, str]) -> None:
    match verb:
        case "fill":
            page.fill(what["field"], secrets[what["variable"]], timeout=findings.milliseconds())
        case "click":
            page.click(what, timeout=findings.milliseconds())
        case "expect":
            page.locator(what).filter(visible=True).first.wait_for(timeout=findings.milliseconds())
        case "wait":
            page.wait_for_timeout(min(what * 1000, findings.milliseconds()))


def _browser_assertions(findings: BrowserFindings) -> list[list[str]]:
    """Return name, verdict and detail of each assertion."""
    if challenged := findings.by_assertion.get(CHALLENGE):  # other assertions are then meaningless
        return [[CHALLENGE, Verdict.INCONCLUSIVE.value, challenged[0][1]]]
    whole = {"pages": f"{len(findings.job.paths)}", "console": "no error", "requests": "none failed"}
    if findings.job.steps:
        whole["steps"] = f"{len(findings.job.steps)}"
    if findings.is_expired:
        over = f"{findings.job.seconds:g} s were over at {findings.location or 'its start'}"
        findings.by_assertion.setdefault("limits", []).append((Verdict.INCONCLUSIVE, over))
        whole = {}
    said = []
    for name in dict.fromkeys([*whole, *findings.by_assertion]):
        wrong = findings.by_assertion.get(name, [])
        verdict = Verdict.UNHEALTHY if any(v == Verdict.UNHEALTHY for v, _ in wrong) else Verdict.INCONCLUSIVE
        texts = list(dict.fromkeys(text for each, text in wrong if each == verdict))  # Chromium tries some loads again
        more = f"; and {len(texts) - MAX_NAMED} more" if len(texts) > MAX_NAMED else ""
        detail = "; ".join(texts[:MAX_NAMED]) + more
        said.append([name, verdict.value, detail] if wrong else [name, Verdict.HEALTHY.value, whole[name]])
    if findings.cached:
        listed = ", ".join(f"{path} ({headers})" for path, headers in list(findings.cached.items())[:MAX_NAMED])
        said.append(["cached", Verdict.HEALTHY.value, listed])
    return said


class BrowserNotStarted(Exception):
    """The browser did not start."""


@contextmanager
def start_browser(program: str, profile: Path, url: str, edge_url: str | None, deadline: float) -> Iterator[str]:
    """Start the browser, yield the address of its DevTools, and kill it at the end.

    `deadline`: time of `time.monotonic()`. Raises BrowserNotStarted.
    """
    log = profile / "log.txt"
    with _chromium_flags(url, edge_url) as flags:
        argv = [program, *flags, f"--user-data-dir={profile}"]
        with log.open("wb") as output:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            yield _wait_for_chromium(process, profile / "DevToolsActivePort", log, deadline)
        finally:
            process.kill()
            process.wait()


@contextmanager
def _chromium_flags(url: str, edge_url: str | None) -> Iterator[list[str]]:
    # Chromium does not start with its sandbox as root.
    flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    if edge_url is None:
        yield flags
        return
    host = urlsplit(url).hostname or ""
    with _serve_tls_front(host, edge_url) as port:
        rules = f"MAP {host} 127.0.0.1:{port},MAP * ~NOTFOUND"  # the first match applies
        yield [*flags, f"--host-resolver-rules={rules}", "--ignore-certificate-errors"]


def _wait_for_chromium(process: "subprocess.Popen[bytes]", written: Path, log: Path, deadline: float) -> str:
    """Wait until Chromium writes its port and path to a file, and return the address."""
    while time.monotonic() < deadline:
        lines = written.read_text().splitlines() if written.exists() else []
        if len(lines) > 1:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        if process.poll() is not None:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise BrowserNotStarted(" ".join(["it did not start", f"(exit {process.returncode})", *last]))
        time.sleep(0.02)
    raise BrowserNotStarted("it did not start in time")


@contextmanager
def _serve_tls_front(host: str, edge_url: str) -> Iterator[int]:
    """Yield a port that accepts TLS as `host`, with a temporary certificate, and forwards to the edge."""
    import trustme

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert(host).configure_cert(context)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        threading.Thread(target=_accept_connections, args=(listening, context, edge_url), daemon=True).start()
        yield listening.getsockname()[1]


def _accept_connections(listening: socket.socket, context: ssl.SSLContext, edge_url: str) -> None:
    with suppress(OSError):  # the socket is closed at the end
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_forward_connection, args=(connection, context, edge_url), daemon=True).start()


def _forward_connection(connection: socket.socket, context: ssl.SSLContext, edge_url: str) -> None:
    """Forward one connection until either side closes it."""
    edge = urlsplit(edge_url)
    with (
        connection,
        suppress(OSError),
        context.wrap_socket(connection, server_side=True) as browser,
        socket.create_connection((edge.hostname or "", edge.port or 80)) as behind,
    ):
        threading.Thread(target=_copy_bytes, args=(behind, browser), daemon=True).start()
        _copy_bytes(browser, behind)


def _copy_bytes(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(BUFFER_SIZE):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    main(sys.argv[1])

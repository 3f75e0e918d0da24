"""Pages in a real Chromium: a program of its own, which says in one last line of JSON what it saw.

`ops.probes.browser` starts it in a process group of its own, and so the browser and playwright's driver end with it,
however that comes about. No browser is downloaded: it starts the one that it is told, and connects to it.
"""

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from ops.probes import chromium
from ops.tools.own_environment import hide_environment

MAX_STEP_SECONDS = 10.0
"""Seconds for one page or one step."""
SETTLE_SECONDS = 1.0
"""Seconds that a loaded page gets for what its scripts ask afterwards."""
SCREENSHOT_SECONDS = 3.0
"""Seconds for taking one."""
MAX_NAMED = 3
MAX_TEXT_LENGTH = 2000
"""Characters that a pattern of `ignore` sees; a slow one ends with the whole probe, at its `timeout`."""
CHALLENGE = "challenge"


@dataclass(frozen=True)
class BrowserJob:
    """What to do, as it stands on the command line. Seconds; secrets by the names of their variables only."""

    url: str
    paths: Sequence[str]
    steps: Sequence[Mapping[str, Any]]
    ignore: Sequence[str]
    seconds: float
    browser: str
    profile: str
    screenshot: str
    """Where a picture of the first failure goes."""
    variables: Sequence[str]
    edge: str | None = None


@dataclass
class BrowserFindings:
    """What went wrong, by assertion; and how far it came."""

    job: BrowserJob
    deadline: float
    redactor: Redactor
    location: str = ""
    by_assertion: dict[str, list[tuple[Verdict, str]]] = field(default_factory=dict)

    def add(self, assertion: str, text: str, verdict: Verdict = Verdict.UNHEALTHY) -> None:
        """Masked before it is cut: the start of a secret would slip through."""
        text = self.redactor.text(text)
        if assertion in {"pages", "steps", CHALLENGE} or not any(
            re.search(pattern, text[:MAX_TEXT_LENGTH]) for pattern in self.job.ignore
        ):
            self.by_assertion.setdefault(assertion, []).append(
                (verdict, f"{self.location}: {' '.join(text.split())[:200]}")
            )

    def is_own(self, url: str) -> bool:
        """On the site's host: what other hosts answer says nothing about this service."""
        return urlsplit(url).netloc == urlsplit(self.job.url).netloc

    @property
    def count(self) -> int:
        return sum(map(len, self.by_assertion.values()))

    def milliseconds(self) -> float:
        """For the next page or step; playwright takes 0 for ever."""
        return max(1.0, min(MAX_STEP_SECONDS, self.deadline - time.monotonic()) * 1000)

    @property
    def is_expired(self) -> bool:
        return time.monotonic() >= self.deadline


def main(argument: str) -> None:
    job = BrowserJob(**json.loads(argument))
    # Out of the environment, before anything is started that would inherit them.
    secrets = {name: os.environ.pop(name) for name in job.variables}
    hide_environment()
    redactor = Redactor(shortest=1)
    for secret in secrets.values():
        redactor.add(secret)
    findings = BrowserFindings(job, time.monotonic() + job.seconds, redactor)
    try:
        with (
            chromium.start_browser(job.browser, Path(job.profile), job.url, job.edge, findings.deadline) as endpoint,
            sync_playwright() as playwright,
        ):
            browser = playwright.chromium.connect_over_cdp(endpoint, timeout=findings.milliseconds())
            _visit(browser.new_context(), findings, secrets)
    except (Error, OSError, chromium.BrowserNotStarted) as error:
        findings.location = "the browser itself failed"
        findings.add("pages", str(error).partition("\n")[0], Verdict.INCONCLUSIVE)
    print(json.dumps(_assertions(findings)), flush=True)


def _visit(context: BrowserContext, findings: BrowserFindings, secrets: Mapping[str, str]) -> None:
    """Each page on its own, then the steps in one page."""
    for path in findings.job.paths:
        with _watched_page(context, findings, secrets) as page:
            findings.location = path
            _open(page, findings, path)
    if findings.job.steps:
        with _watched_page(context, findings, secrets) as page:
            _take_steps(page, findings, secrets)


@contextlib.contextmanager
def _watched_page(context: BrowserContext, findings: BrowserFindings, secrets: Mapping[str, str]) -> Iterator[Page]:
    """A page that is watched; where something is wrong with it, a picture."""
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
    """What is not loaded is a failed request already."""
    if message.type == "error" and not message.text.startswith("Failed to load resource"):
        findings.add("console", message.text)


def _on_failure(request: Request, findings: BrowserFindings) -> None:
    """Of the site's own; not what the page broke off itself, or was left in the middle of."""
    if request.failure != "net::ERR_ABORTED" and findings.is_own(request.url):
        findings.add("requests", f"{urlsplit(request.url).path} {request.failure}")


def _on_response(response: Response, findings: BrowserFindings) -> None:
    if findings.is_own(response.url) and "challenge" in response.headers.get("cf-mitigated", ""):
        text = f"{urlsplit(response.url).path} was stopped by a Cloudflare bot challenge (status {response.status})"
        findings.add(CHALLENGE, text, Verdict.INCONCLUSIVE)
    elif response.status >= 400 and findings.is_own(response.url):
        findings.add("requests", f"{urlsplit(response.url).path} status {response.status}")


def _fields_to_mask(page: Page, secrets: Iterable[str]) -> list[Locator]:
    """Every field of a form, and wherever a text repeats a value."""
    fields = [frame.locator("input, textarea") for frame in page.frames]
    return fields + [frame.get_by_text(secret) for frame in page.frames for secret in secrets]


def _open(page: Page, findings: BrowserFindings, path: str) -> bool:
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
    """Until the first that fails."""
    for number, step in enumerate(findings.job.steps, start=1):
        ((verb, what),) = step.items()
        shown = what["field"] if verb == "fill" else what
        findings.location = f"step {number}, {verb} {shown}"
        if findings.is_expired:
            return
        try:
            if verb == "goto" and not _open(page, findings, what):
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


def _assertions(findings: BrowserFindings) -> list[list[str]]:
    """Name, verdict and detail of each."""
    if challenged := findings.by_assertion.get(CHALLENGE):  # then nothing else says anything of the site
        return [[CHALLENGE, Verdict.INCONCLUSIVE.value, f"{challenged[0][1]}: the state of the service is unknown"]]
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
        texts = [text for each, text in wrong if each == verdict]
        more = f"; and {len(texts) - MAX_NAMED} more" if len(texts) > MAX_NAMED else ""
        detail = "; ".join(texts[:MAX_NAMED]) + more
        said.append([name, verdict.value, detail] if wrong else [name, Verdict.HEALTHY.value, whole[name]])
    return said


if __name__ == "__main__":
    main(sys.argv[1])

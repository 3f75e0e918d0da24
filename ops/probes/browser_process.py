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
from ops.tools.own_environment import conceal

LONGEST = 10.0
"""Seconds for one page or one step."""
QUIET = 1.0
"""Seconds that a loaded page gets for what its scripts ask afterwards."""
PICTURE = 3.0
"""Seconds for taking one."""
NAMED = 3
LONGEST_TEXT = 2000
"""Characters that a pattern of `ignore` sees; a slow one ends with the whole probe, at its `timeout`."""
CHALLENGE = "challenge"


@dataclass(frozen=True)
class Job:
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
class Seen:
    """What went wrong, by assertion; and how far it came."""

    job: Job
    deadline: float
    redactor: Redactor
    where: str = ""
    found: dict[str, list[tuple[Verdict, str]]] = field(default_factory=dict)

    def add(self, assertion: str, text: str, verdict: Verdict = Verdict.UNHEALTHY) -> None:
        """Masked before it is cut: the start of a secret would slip through."""
        text = self.redactor.text(text)
        if assertion in {"pages", "steps", CHALLENGE} or not any(
            re.search(pattern, text[:LONGEST_TEXT]) for pattern in self.job.ignore
        ):
            self.found.setdefault(assertion, []).append((verdict, f"{self.where}: {' '.join(text.split())[:200]}"))

    def is_own(self, url: str) -> bool:
        """On the site's host: what other hosts answer says nothing about this service."""
        return urlsplit(url).netloc == urlsplit(self.job.url).netloc

    @property
    def count(self) -> int:
        return sum(map(len, self.found.values()))

    def milliseconds(self) -> float:
        """For the next page or step; playwright takes 0 for ever."""
        return max(1.0, min(LONGEST, self.deadline - time.monotonic()) * 1000)

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.deadline


def main(argument: str) -> None:
    job = Job(**json.loads(argument))
    # Out of the environment, before anything is started that would inherit them.
    secrets = {name: os.environ.pop(name) for name in job.variables}
    conceal()
    redactor = Redactor(shortest=1)
    for secret in secrets.values():
        redactor.add(secret)
    seen = Seen(job, time.monotonic() + job.seconds, redactor)
    try:
        with (
            chromium.started(job.browser, Path(job.profile), job.url, job.edge, seen.deadline) as endpoint,
            sync_playwright() as playwright,
        ):
            browser = playwright.chromium.connect_over_cdp(endpoint, timeout=seen.milliseconds())
            _look(browser.new_context(), seen, secrets)
    except (Error, OSError, chromium.NotStarted) as error:
        seen.where = "the browser itself failed"
        seen.add("pages", str(error).partition("\n")[0], Verdict.INCONCLUSIVE)
    print(json.dumps(_assertions(seen)), flush=True)


def _look(context: BrowserContext, seen: Seen, secrets: Mapping[str, str]) -> None:
    """Each page on its own, then the steps in one page."""
    for path in seen.job.paths:
        with _page(context, seen, secrets) as page:
            seen.where = path
            _open(page, seen, path)
    if seen.job.steps:
        with _page(context, seen, secrets) as page:
            _take_steps(page, seen, secrets)


@contextlib.contextmanager
def _page(context: BrowserContext, seen: Seen, secrets: Mapping[str, str]) -> Iterator[Page]:
    """A page that is watched; where something is wrong with it, a picture."""
    before = seen.count
    page = context.new_page()
    page.on("pageerror", lambda error: seen.add("console", error.message))
    page.on("console", lambda message: _on_console(message, seen))
    page.on("requestfailed", lambda request: _on_failure(request, seen))
    page.on("response", lambda response: _on_response(response, seen))
    yield page
    if seen.count > before and not Path(seen.job.screenshot).exists():
        with contextlib.suppress(Error, OSError):
            page.screenshot(path=seen.job.screenshot, mask=_masked(page, secrets.values()), timeout=PICTURE * 1000)
    page.close()


def _on_console(message: ConsoleMessage, seen: Seen) -> None:
    """What is not loaded is a failed request already."""
    if message.type == "error" and not message.text.startswith("Failed to load resource"):
        seen.add("console", message.text)


def _on_failure(request: Request, seen: Seen) -> None:
    """Of the site's own; not what the page broke off itself, or was left in the middle of."""
    if request.failure != "net::ERR_ABORTED" and seen.is_own(request.url):
        seen.add("requests", f"{urlsplit(request.url).path} {request.failure}")


def _on_response(response: Response, seen: Seen) -> None:
    if seen.is_own(response.url) and "challenge" in response.headers.get("cf-mitigated", ""):
        text = f"{urlsplit(response.url).path} was stopped by a Cloudflare bot challenge (status {response.status})"
        seen.add(CHALLENGE, text, Verdict.INCONCLUSIVE)
    elif response.status >= 400 and seen.is_own(response.url):
        seen.add("requests", f"{urlsplit(response.url).path} status {response.status}")


def _masked(page: Page, secrets: Iterable[str]) -> list[Locator]:
    """Every field of a form, and wherever a text repeats a value."""
    fields = [frame.locator("input, textarea") for frame in page.frames]
    return fields + [frame.get_by_text(secret) for frame in page.frames for secret in secrets]


def _open(page: Page, seen: Seen, path: str) -> bool:
    if seen.is_over:
        return False
    try:
        page.goto(seen.job.url + path, wait_until="load", timeout=seen.milliseconds())
    except TimeoutError:
        if not seen.is_over:
            seen.add("pages", f"not loaded within {LONGEST:g} s")
        return False
    except Error as error:
        reason = re.search(r"net::\w+", error.message)
        seen.add("pages", f"could not be reached ({reason[0] if reason else 'no answer'})", Verdict.INCONCLUSIVE)
        return False
    with contextlib.suppress(TimeoutError):
        page.wait_for_load_state("networkidle", timeout=min(QUIET * 1000, seen.milliseconds()))
    return True


def _take_steps(page: Page, seen: Seen, secrets: Mapping[str, str]) -> None:
    """Until the first that fails."""
    for number, step in enumerate(seen.job.steps, start=1):
        ((verb, what),) = step.items()
        shown = what["field"] if verb == "fill" else what
        seen.where = f"step {number}, {verb} {shown}"
        if seen.is_over:
            return
        try:
            if verb == "goto" and not _open(page, seen, what):
                return
            _take(page, verb, what, seen, secrets)
        except TimeoutError:
            if not seen.is_over:
                seen.add("steps", f"not possible within {LONGEST:g} s")
            return
        except Error as error:
            seen.add("steps", error.message.partition("\n")[0], Verdict.INCONCLUSIVE)
            return


def _take(page: Page, verb: str, what: Any, seen: Seen, secrets: Mapping[str, str]) -> None:
    match verb:
        case "fill":
            page.fill(what["field"], secrets[what["variable"]], timeout=seen.milliseconds())
        case "click":
            page.click(what, timeout=seen.milliseconds())
        case "expect":
            page.locator(what).filter(visible=True).first.wait_for(timeout=seen.milliseconds())
        case "wait":
            page.wait_for_timeout(min(what * 1000, seen.milliseconds()))


def _assertions(seen: Seen) -> list[list[str]]:
    """Name, verdict and detail of each."""
    if challenged := seen.found.get(CHALLENGE):  # then nothing else says anything of the site
        return [[CHALLENGE, Verdict.INCONCLUSIVE.value, f"{challenged[0][1]}: the state of the service is unknown"]]
    whole = {"pages": f"{len(seen.job.paths)}", "console": "no error", "requests": "none failed"}
    if seen.job.steps:
        whole["steps"] = f"{len(seen.job.steps)}"
    if seen.is_over:
        over = f"{seen.job.seconds:g} s were over at {seen.where or 'its start'}"
        seen.found.setdefault("limits", []).append((Verdict.INCONCLUSIVE, over))
        whole = {}
    said = []
    for name in dict.fromkeys([*whole, *seen.found]):
        wrong = seen.found.get(name, [])
        verdict = Verdict.UNHEALTHY if any(v == Verdict.UNHEALTHY for v, _ in wrong) else Verdict.INCONCLUSIVE
        texts = [text for each, text in wrong if each == verdict]
        more = f"; and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
        detail = "; ".join(texts[:NAMED]) + more
        said.append([name, verdict.value, detail] if wrong else [name, Verdict.HEALTHY.value, whole[name]])
    return said


if __name__ == "__main__":
    main(sys.argv[1])

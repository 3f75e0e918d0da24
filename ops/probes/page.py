"""Run the `page` probe: request pages and their references on the same host.

Each URL is requested once, 16 in parallel. Redirects on the host are followed. URLs on other hosts are only counted,
since they say nothing about this service.
"""

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urldefrag, urljoin, urlsplit

import httpx

from ops.core.bounded_http import MAX_PAGE_URLS
from ops.core.threads import run_parallel
from ops.core.verdict import Assertion, ProbeResult, Verdict, worst_verdict
from ops.probes import http
from ops.probes.edge_answer import CachedContent, ContentComparison, EdgeAnswer, judge_answer, judge_error
from ops.probes.html_references import HtmlReference, ReferenceKind, find_references
from ops.probes.http import MAX_BYTES, MAX_SECONDS, NO_VARIABLES, ProbeClient, Redact, read_secret_headers

if TYPE_CHECKING:
    from ops.config.probes import PageProbe

MAX_PARALLEL = 16
MAX_REDIRECTS = 5
MAX_URL_LENGTH = 2000
"""Characters of a URL that an `ignore` pattern searches."""
NO_CONTENT_HINT = (
    "A cached page proves no recovery. Let the code answer it with `cache-control: no-store`, or replace this probe by "
    "an `http` probe of a path that the code answers."
)
MAX_NAMED = 3
"""Failures that a detail names; the others are counted."""

_CONTENT_TYPES: Mapping[ReferenceKind, tuple[str, str]] = {
    ReferenceKind.PAGE: ("HTML", r"text/html|application/xhtml\+xml"),
    ReferenceKind.SCRIPT: ("javascript", r"(text|application)/(x-)?(java|ecma)script"),
    ReferenceKind.STYLE: ("css", r"text/css"),
    ReferenceKind.IMAGE: ("an image", r"image/.+"),
    ReferenceKind.FONT: (
        "a font",
        r"font/.+|application/(x-)?font-.+|application/vnd\.ms-fontobject|application/octet-stream",
    ),
    ReferenceKind.MANIFEST: ("a manifest", r"application/(manifest\+)?json"),
    ReferenceKind.OTHER: ("no HTML", r"(?!text/html).*"),
}
"""Accepted content types, in words and as a pattern. Browsers reject scripts and styles of other types, and accept
fonts as octets. Links and frames may have any type."""
_DESTINATIONS = {
    ReferenceKind.PAGE: "document",
    ReferenceKind.LINK: "document",
    ReferenceKind.FRAME: "iframe",
    ReferenceKind.OTHER: "empty",
}


@dataclass(frozen=True)
class _PageAnswer:
    """Response to one URL. Without a response, `failure` has the reason and `verdict` its verdict."""

    status: int = 0
    content_type: str = ""
    location: str | None = None
    """Target of a redirect."""
    html: str = ""
    is_full_sha: bool = True
    failure: str = ""
    verdict: Verdict = Verdict.UNHEALTHY
    hint: str = ""
    cached: str = ""
    """Headers that show that a cache answered; empty if the service did."""
    content: CachedContent = CachedContent.UNKNOWN
    """Origin of a cached answer."""
    no_proof: str = ""
    """Why a cached answer proves nothing."""
    place: str = ""
    """Airport code of the data center that answered."""


@dataclass
class _Visit:
    """State of a probe: the references, the pages that name them, and the responses."""

    host: str | None
    deadline: float
    redact: "Redact"
    headers: Mapping[str, str]
    """Secret headers, sent only to the service's own origin."""
    origin: str
    comparison: ContentComparison | None = None
    """With the deployments of a site, for cached answers."""
    named_by: dict[HtmlReference, str] = field(default_factory=dict)
    """Reference → path of the first page that names it; empty for a probed page."""
    answers: dict[str, _PageAnswer] = field(default_factory=dict)
    """URL → response; without URLs beyond the time or the limit."""
    other_host_urls: set[str] = field(default_factory=set)


def run_page_probe(
    web: "ProbeClient",
    name: str,
    spec: "PageProbe",
    url: str,
    *,
    redact: "Redact" = str,
    environ: Mapping[str, str] = NO_VARIABLES,
    comparison: ContentComparison | None = None,
) -> ProbeResult:
    """Request every page once. `timeout` is in real seconds; no request starts after it.

    `comparison`: with the deployments of a site; without it no cached page counts.
    """
    headers = read_secret_headers(spec.request_headers, environ)
    if isinstance(headers, Assertion):
        return ProbeResult(name, headers.verdict, (headers,))
    began = time.monotonic()
    origin = url.rstrip("/")
    visit = _Visit(_page_host(origin), began + spec.timeout, redact, headers, origin, comparison)
    pages = [HtmlReference(origin + path, ReferenceKind.PAGE) for path in spec.paths]
    _request_urls(web, visit, dict.fromkeys(pages, ""))
    if (named := _collect_references(visit, pages, spec.ignore)) is None:
        slow = Assertion("ignore", Verdict.INCONCLUSIVE, http.PATTERN_TOO_SLOW)
        return ProbeResult(name, slow.verdict, (slow,), time.monotonic() - began)
    _request_urls(web, visit, named)
    assertions = tuple(_page_assertions(visit, spec))
    verdict, seconds = worst_verdict(a.verdict for a in assertions), time.monotonic() - began
    places = tuple(sorted({answer.place for answer in visit.answers.values() if answer.place}))
    return ProbeResult(name, verdict, assertions, seconds, places=places)


def _collect_references(
    visit: _Visit, pages: Iterable[HtmlReference], ignored: Sequence[str]
) -> dict[HtmlReference, str] | None:
    """Return reference → first page that names it, on the own host; None if an `ignored` pattern is too slow."""
    page_of: dict[HtmlReference, str] = {}
    for page in pages:
        last, answer = _final_answer(visit, page.url)
        for reference in find_references(answer.html, last) if answer else ():
            if _page_host(reference.url) not in {visit.host, None}:
                visit.other_host_urls.add(reference.url)
            else:
                page_of.setdefault(reference, _url_path(visit.redact(page.url)))
    passed = http.search_patterns(ignored, [reference.url[:MAX_URL_LENGTH] for reference in page_of])
    if passed is None:
        return None
    return {
        reference: page for (reference, page), is_ignored in zip(page_of.items(), passed, strict=True) if not is_ignored
    }


def _request_urls(web: "ProbeClient", visit: _Visit, named: Mapping[HtmlReference, str]) -> None:
    """Request the URLs that were not requested yet, and follow their redirects."""
    visit.named_by |= named
    todo = {reference.url: reference.kind for reference in named}
    for _ in range(MAX_REDIRECTS + 1):
        todo = {url: kind for url, kind in todo.items() if url not in visit.answers}
        answers = _ask_all(web, visit, list(todo.items())[: MAX_PAGE_URLS - len(visit.answers)])
        visit.answers |= answers
        redirects = ((answer.location, todo[url]) for url, answer in answers.items())
        todo = {to: kind for to, kind in redirects if to is not None and _page_host(to) == visit.host}


def _ask_all(web: "ProbeClient", visit: _Visit, todo: Sequence[tuple[str, ReferenceKind]]) -> dict[str, _PageAnswer]:
    """Return the responses and failures before the deadline."""
    waiting, answers = iter(todo), {}

    def ask_on() -> None:
        for url, kind in waiting:
            left = visit.deadline - time.monotonic()
            if left > 0 and (answer := _fetch_reference(web, visit, url, kind, left)):
                answers[url] = answer

    run_parallel([ask_on] * min(MAX_PARALLEL, len(todo)))
    return answers


def _fetch_reference(
    web: "ProbeClient", visit: _Visit, url: str, kind: ReferenceKind, left: float
) -> _PageAnswer | None:
    headers = {"sec-fetch-dest": _DESTINATIONS.get(kind, kind.value)}
    headers |= visit.headers if _has_origin(url, visit.origin) else {}
    if kind in {ReferenceKind.PAGE, ReferenceKind.LINK, ReferenceKind.FRAME}:
        # Cloudflare uses it to tell a page visit of a single-page application from a missing asset.
        headers |= {"sec-fetch-mode": "navigate", "accept": "text/html,*/*;q=0.8"}
    try:
        response, body = web.send("GET", url, headers=headers, within=min(MAX_SECONDS, left))
    except httpx.TimeoutException as error:
        if left < MAX_SECONDS:
            return None
        return _failed_answer(judge_error(error))
    except (httpx.InvalidURL, ValueError):
        return _PageAnswer(failure="invalid URL")
    except httpx.RequestError as error:
        return _failed_answer(judge_error(error))
    judged = judge_answer(response.status_code, response.headers, body)
    if judged.obstacle:
        return _failed_answer(judged.obstacle)
    return _with_origin(visit, url, kind, judged, (response, body))


def _with_origin(
    visit: _Visit, url: str, kind: ReferenceKind, judged: EdgeAnswer, received: tuple[httpx.Response, bytes]
) -> _PageAnswer:
    """Return the answer with the origin of its content, if it is cached. Linked pages are not compared."""
    response, body = received
    answer = replace(_page_answer(url, kind, response, body), place=judged.place)
    if not (cached := judged.cached):
        return answer
    if visit.comparison is None or kind == ReferenceKind.LINK:
        return replace(answer, cached=cached, no_proof=judged.doubt, hint=NO_CONTENT_HINT)
    content = visit.comparison.compare(url, response, body)
    text, hint = visit.comparison.explain(content, cached)
    return replace(answer, cached=cached, content=content, no_proof=text, hint=hint)


def _failed_answer(assertion: Assertion) -> _PageAnswer:
    return _PageAnswer(failure=assertion.detail, verdict=assertion.verdict, hint=assertion.hint)


def _page_answer(url: str, kind: ReferenceKind, response: httpx.Response, body: bytes) -> _PageAnswer:
    location = response.headers.get("location") if 300 <= response.status_code < 400 else None
    return _PageAnswer(
        status=response.status_code,
        content_type=response.headers.get("content-type", "").partition(";")[0].strip().lower(),
        location=_redirect_target(url, location) if location else None,
        html=_decode_page_text(response, body) if kind == ReferenceKind.PAGE else "",
        is_full_sha=len(body) < MAX_BYTES,
    )


def _redirect_target(url: str, location: str) -> str:
    try:
        return urldefrag(urljoin(url, location)).url
    except ValueError:
        return location


def _decode_page_text(response: httpx.Response, body: bytes) -> str:
    try:
        return body.decode(response.charset_encoding or "utf-8", errors="replace")
    except LookupError:
        return body.decode(errors="replace")


def _final_answer(visit: _Visit, url: str) -> tuple[str, _PageAnswer | None]:
    """Return the last URL of a redirect chain on the host, and its response; None if it was not requested."""
    passed: list[str] = []
    while (answer := visit.answers.get(url)) and answer.location and _page_host(answer.location) == visit.host:
        passed.append(url)
        url = answer.location
        if url in passed:
            return url, _PageAnswer(failure="a redirect loop")
        if len(passed) > MAX_REDIRECTS:
            return url, _PageAnswer(failure=f"more than {MAX_REDIRECTS} redirects")
    return url, answer


def _page_assertions(visit: _Visit, spec: "PageProbe") -> Iterator[Assertion]:
    is_proved = any(_is_proof(visit, reference) for reference in visit.named_by)
    judged = [(reference, *_judge_reference(visit, reference, is_proved=is_proved)) for reference in visit.named_by]
    groups = {
        "pages": {ReferenceKind.PAGE},
        "assets": {*ReferenceKind} - {ReferenceKind.PAGE, ReferenceKind.LINK},
        "links": {ReferenceKind.LINK},
    }
    for name, kinds in groups.items():
        mine = [(reference, verdict, said) for reference, verdict, said in judged if reference.kind in kinds]
        asked = [each for each in mine if _final_answer(visit, each[0].url)[1]]
        if asked:
            yield _group_references(visit, name, asked)
    if cached := [url for url, answer in visit.answers.items() if answer.cached]:
        yield Assertion("cached", Verdict.HEALTHY, _describe_cached(visit, cached))
    left_out = len({reference.url for reference in visit.named_by if not _final_answer(visit, reference.url)[1]})
    if left_out:
        why = f"at most {MAX_PAGE_URLS} are" if len(visit.answers) >= MAX_PAGE_URLS else f"{spec.timeout:g} s were over"
        yield Assertion("limits", Verdict.INCONCLUSIVE, f"{left_out} URLs were not requested: {why}")
    redirected = sum(
        1 for answer in visit.answers.values() if answer.location and _page_host(answer.location) != visit.host
    )
    if visit.other_host_urls or redirected:
        said = f"{len(visit.other_host_urls)} named and {redirected} redirected to, not requested"
        yield Assertion("other hosts", Verdict.HEALTHY, said)


def _group_references(visit: _Visit, name: str, judged: Sequence[tuple[HtmlReference, Verdict, str]]) -> Assertion:
    verdict = worst_verdict(each for _, each, _ in judged)
    if verdict == Verdict.HEALTHY:
        return Assertion(name, verdict, f"{len(judged)}")
    texts = [f"{_describe_reference(visit, reference)}: {said}" for reference, each, said in judged if each == verdict]
    more = f"; and {len(texts) - MAX_NAMED} more" if len(texts) > MAX_NAMED else ""
    answers = (_final_answer(visit, reference.url)[1] for reference, each, _ in judged if each == verdict)
    hint = next((answer.hint for answer in answers if answer and answer.hint), "")
    return Assertion(name, verdict, f"{len(texts)} of {len(judged)} failed: {'; '.join(texts[:MAX_NAMED])}{more}", hint)


def _is_proof(visit: _Visit, reference: HtmlReference) -> bool:
    """Return whether the answer shows what is live: a page from the service, or content of one deployment alone."""
    _, answer = _final_answer(visit, reference.url)
    if answer is None:
        return False
    return answer.content.is_proof if answer.cached else reference.kind == ReferenceKind.PAGE


def _judge_reference(visit: _Visit, reference: HtmlReference, *, is_proved: bool) -> tuple[Verdict, str]:
    """Return the verdict on a reference, with the reason if it is not healthy.

    A cached answer is neither healthy nor unhealthy, unless its content proves the deployment. A cached asset that
    looks healthy says nothing. A page that is equal in both deployments needs another answer as proof.
    """
    verdict, said = _judge_reference_answer(visit, reference)
    _, answer = _final_answer(visit, reference.url)
    if answer is None or not answer.cached or answer.content.is_proof:
        return verdict, said
    if verdict == Verdict.UNHEALTHY:
        return Verdict.INCONCLUSIVE, f"{said}; {answer.no_proof}"
    is_equal = answer.content == CachedContent.IN_BOTH and is_proved
    if answer.content == CachedContent.REPLACED or (reference.kind == ReferenceKind.PAGE and not is_equal):
        return Verdict.INCONCLUSIVE, answer.no_proof
    return verdict, said


def _judge_reference_answer(visit: _Visit, reference: HtmlReference) -> tuple[Verdict, str]:
    """Return the verdict on a reference, with the reason if it is not healthy."""
    _, answer = _final_answer(visit, reference.url)
    if answer is None:
        return Verdict.INCONCLUSIVE, "not requested"
    if answer.failure:
        return answer.verdict, answer.failure
    if answer.location:
        said = f"redirects to {_page_host(answer.location)}, which is not requested"
        return Verdict.INCONCLUSIVE if reference.kind == ReferenceKind.PAGE else Verdict.HEALTHY, said
    if answer.status != 200:
        return Verdict.UNHEALTHY, f"status {answer.status}"
    wanted, pattern = _CONTENT_TYPES.get(reference.kind, ("", ".*"))
    if not re.fullmatch(pattern, answer.content_type):
        return Verdict.UNHEALTHY, f"{answer.content_type or 'no content type'}, wanted {wanted}"
    if reference.kind == ReferenceKind.PAGE and not answer.is_full_sha:
        return Verdict.INCONCLUSIVE, "longer than the first megabyte, the only part that was read"
    return Verdict.HEALTHY, ""


def _describe_cached(visit: _Visit, urls: Sequence[str]) -> str:
    if len(urls) == len(visit.answers):
        return f"each of {len(urls)} answers" if len(urls) > 1 else "the answer"
    paths = [_url_path(visit.redact(url)) for url in urls]
    more = f" and {len(paths) - MAX_NAMED} more" if len(paths) > MAX_NAMED else ""
    return f"{len(urls)} of {len(visit.answers)} answers: {', '.join(paths[:MAX_NAMED])}{more}"


def _describe_reference(visit: _Visit, reference: HtmlReference) -> str:
    page, path = visit.named_by[reference], _url_path(visit.redact(reference.url))
    return f"{path} (from {page})" if page else path


def _url_path(url: str) -> str:
    """Return path of a URL on one line. A query is hidden, since it may contain a signature."""
    path, query, _ = url.removeprefix("https://").removeprefix("http://").partition("?")
    line = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in path)
    line = line[max(0, line.find("/")) :]
    return (line if len(line) <= 100 else f"{line[:99]}…") + ("?…" if query else "")


def _has_origin(url: str, origin: str) -> bool:
    """Return whether scheme, host and port equal the origin: plain HTTP would expose a secret header."""
    try:
        parts, own = urlsplit(url), urlsplit(origin)
    except ValueError:
        return False
    return (parts.scheme, parts.netloc) == (own.scheme, own.netloc)


def _page_host(url: str) -> str | None:
    """Return the host, with a port other than 80 and 443; None for an invalid URL."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname}" + ("" if parts.port in {None, 80, 443} else f":{parts.port}")
    except ValueError:
        return None

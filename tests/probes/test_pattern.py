"""Slow regular expressions of ops.yml are stopped and inconclusive."""

import time

import pytest

from ops.config.probes import HttpProbe, PageProbe
from ops.core.verdict import Verdict
from ops.probes import http, page
from sandbox.server import HttpResponse
from tests.probes.test_probes import service
from tests.support.site import URL, Site, served

ENDLESS = "(a+)+$"
WORST = "a" * 60 + "!"


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("patterns", "texts", "found"),
    [
        (["r[a]t"], ["a rat", "a dog"], [True, False]),
        (["^ok$", "v[0-9]+"], ["ok", "v12", "no"], [True, True, False]),
        (["é{2}"], ["éé", "é\nx"], [True, False]),
        ([], ["x"], [False]),
    ],
)
def test_search_patterns(patterns: list[str], texts: list[str], found: list[bool]) -> None:
    assert http.search_patterns(patterns, texts) == found


@pytest.mark.slow
def test_slow_body_pattern_is_inconclusive() -> None:
    spec, began = HttpProbe(path="/", body=ENDLESS), time.monotonic()
    with service(lambda _: HttpResponse(body=WORST.encode())) as web:
        result = http.run_http_probe(web, "home", spec, URL, versions=frozenset())

    assert result.verdict == Verdict.INCONCLUSIVE
    assert "make the pattern simpler" in result.detail
    assert time.monotonic() - began < 10 * http.SEARCH_SECONDS


@pytest.mark.slow
def test_slow_ignore_pattern_is_inconclusive() -> None:
    files = {"/": f'<a href="/{WORST}">x</a>'}
    with served(Site(files)) as web:
        result = page.run_page_probe(web, "site", PageProbe(ignore=(ENDLESS,)), URL)

    assert (result.verdict, result.assertions[0].name) == (Verdict.INCONCLUSIVE, "ignore")

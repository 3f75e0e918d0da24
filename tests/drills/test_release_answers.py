"""The good release of a drill passes the probes of any team's ops.yml, and the bad one does not."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ops import drills
from ops.config import Service
from ops.config.probes import ProbeSet
from ops.core.clock import Clock, SystemClock
from ops.core.redaction import Redactor
from ops.core.verdict import ProbeObservation, Verdict
from ops.drills import release_answers, scenario_release
from ops.drills.settings import DrillSettings
from ops.probes.http import ProbeClient
from ops.probes.runner import ProbeRunner
from sandbox import Sandbox

HOSTS = ("https://www.parcel.example", "https://parcel-web.acme.workers.dev")
HTTP: Mapping[str, Mapping[str, Any]] = {
    "status": {"path": "/"},
    "json": {"path": "/healthz", "json": {"ok": True}},
    "json and version": {"path": "/healthz", "json": {"status": "up", "db.ready": True}, "version": "release.id"},
    "version beside a value": {"path": "/v", "json": {"release.name": "x"}, "version": "release.id"},
    "html": {"path": "/", "headers": {"content-type": "text/html"}},
    "text": {"path": "/ping", "headers": {"content-type": "text/plain"}},
    "json without values": {"path": "/health", "headers": {"content-type": "application/json"}},
    "health with own values": {"path": "/health", "json": {"status": "healthy"}, "version": "id"},
    "own header": {"path": "/", "headers": {"X-Frame-Options": "DENY"}},
    "other status": {"path": "/admin", "status": 401},
    "gone": {"path": "/old", "status": 410, "body": "gone"},
    "no content": {"path": "/ping", "status": 204},
    "redirect": {"path": "/go", "status": 302},
    "words": {"path": "/", "body": "Track your parcel"},
    "markup": {"path": "/", "body": r"<title>\s*Parcels? (Web|App)</title>", "headers": {"content-type": "text/html"}},
    "anchors": {"path": "/version.txt", "body": r"^v\d+\.[0-9]+$"},
    "flags": {"path": "/", "body": r"(?i)\bwelcome\b"},
    "body of json": {"path": "/healthz", "json": {"ok": True}, "body": r'"ok":\s*true'},
    "body beside json": {"path": "/healthz", "json": {"ok": True}, "body": "ready"},
    "query": {"path": "/search?q=a", "json": {"hits": 3}},
    "list": {"path": "/list", "json": {"items.0.name": "first"}},
    "head": {"path": "/", "method": "HEAD"},
}


def observe(sandbox: Sandbox, service: Service, folder: Path) -> ProbeObservation:
    web = ProbeClient(sandbox.edge_url)
    clock: Clock = SystemClock()
    runner = ProbeRunner(
        web=lambda: web, environ=lambda _: {}, redactor=Redactor(), clock=clock, folder=folder, pictures=folder
    )
    try:
        content = partial(scenario_release.find_live_content, sandbox, service)
        return runner.run_round(ProbeSet(service.url, service.probes, service.verify, find_content=content))
    finally:
        web.close()


def observe_releases(
    scenario: scenario_release.Scenario, service: Mapping[str, Any], probes: Sequence[Mapping[str, Any]], folder: Path
) -> tuple[ProbeObservation, ProbeObservation]:
    """Return the observations of the good and the bad release."""
    named = [{"name": f"p{n}", **probe} for n, probe in enumerate(probes)]
    each = Service.model_validate_json(json.dumps({**service, "probes": named}))
    with Sandbox() as sandbox:
        good, bad = (observe_release(sandbox, scenario, each, release, folder) for release in ("good", "bad"))
    return good, bad


def observe_release(
    sandbox: Sandbox, scenario: scenario_release.Scenario, service: Service, release: str, folder: Path
) -> ProbeObservation:
    scenario.release(sandbox, service, release, "embedded", folder)
    sandbox.clock.advance(600)  # until every location serves it
    sandbox.edge.site.forget_files()
    return observe(sandbox, service, folder)


def assert_broken_by_bad_release(observations: tuple[ProbeObservation, ProbeObservation]) -> None:
    good, bad = observations
    assert (good.verdict, bad.verdict) == (Verdict.HEALTHY, Verdict.UNHEALTHY), f"{good.detail} / {bad.detail}"


@pytest.mark.sampled
@pytest.mark.parametrize("form", HTTP)
@pytest.mark.parametrize("url", HOSTS)
def test_worker_passes_each_http_probe(form: str, url: str, tmp_path: Path) -> None:
    service = {"worker": "parcel-web", "url": url}

    observed = observe_releases(scenario_release.WORKER, service, [{"http": HTTP[form]}], tmp_path)

    assert_broken_by_bad_release(observed)
    version = HTTP[form].get("version")
    assert version is None or [a.verdict for a in observed[0].results[0].assertions if a.name == "version"] == [
        Verdict.HEALTHY
    ]


def test_worker_passes_probes_of_one_path_together(tmp_path: Path) -> None:
    probes: list[dict[str, Any]] = [
        {"http": {"path": "/healthz", "json": {"ok": True}}},
        {"http": {"path": "/healthz", "version": "version.id"}},
        {"http": {"path": "/healthz?deep=1", "json": {"ok": "deep"}}},
        {"page": {"paths": ["/", "/shop"]}},
        {"http": {"path": "/", "body": "Parcels"}},
    ]

    assert_broken_by_bad_release(
        observe_releases(scenario_release.WORKER, {"worker": "parcel-web", "url": HOSTS[0]}, probes, tmp_path)
    )


def test_contradicting_probes_fail_with_good_release(tmp_path: Path) -> None:
    probes = [{"http": {"path": "/", "status": 200}}, {"http": {"path": "/", "status": 403}}]

    good, _ = observe_releases(scenario_release.WORKER, {"worker": "parcel-web", "url": HOSTS[0]}, probes, tmp_path)

    assert good.verdict == Verdict.UNHEALTHY


SITE_FORMS = ("status", "json", "html", "json without values", "words", "markup", "body of json", "text", "query")


@pytest.mark.parametrize("form", SITE_FORMS)
def test_site_passes_http_probe(form: str, tmp_path: Path) -> None:
    service = {"pages": "parcel-site", "url": "https://parcel-site.pages.dev"}

    assert_broken_by_bad_release(
        observe_releases(scenario_release.SITE, service, [{"http": HTTP[form]}, {"page": {"paths": ["/"]}}], tmp_path)
    )


@pytest.mark.parametrize("pattern", [r"a{3}b{3}", r"(?<=x)y\Z(?!z)q"])
def test_pattern_without_a_found_text(pattern: str) -> None:
    assert release_answers.find_match(pattern) is None


OPS = """\
environments:
  live:
    account_id: 1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a
    services:
      web:
        worker: parcel-web
        url: https://parcel.example
        probes:
          - {name: home, http: {path: /, headers: {content-type: text/html}}}
          - {name: ready, http: {path: /ready, body: 'a{3}b'}}
"""


def test_drill_stops_before_bad_release_if_good_one_fails_a_probe(tmp_path: Path) -> None:
    (tmp_path / "ops.yml").write_text(OPS)
    lines: list[str] = []

    result = drills.run(
        "rollback-worker", DrillSettings("embedded", tmp_path / "ops.yml", "live", ""), lines.append, print
    )

    assert result["decision"] == "no_evidence"
    assert result["message"] == (
        "the drill's own release does not pass the probes of ops.yml (ready unhealthy: body 29 bytes without it, wanted "
        "a{3}b); this says nothing about your real application"
    )
    assert lines[-1] == "deployed the good release 2 h ago"

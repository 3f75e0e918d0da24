"""`ops rollback-pages`: which deployment a site serves, after a write and without pages to compare."""

import itertools
import re
from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import SITE, Releases, World
from tests.runbooks.test_rollback_pages_writes import SLOW, WRITE, assert_recovered
from tests.support.commands import JSON, ended, texts
from tests.support.pages_reads import HOST, PROJECT

pytestmark = pytest.mark.usefixtures("one_machine")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [*(pytest.param(s, marks=SLOW) for s in (0, 0.5, 7)), 3])
def test_lagging_site_is_read_again(world: World, sites: Releases, seconds: float) -> None:
    world.sandbox.switches.pages_propagation_seconds = seconds

    assert_recovered(world, sites, world.rollback_pages(), sends=1)


@pytest.mark.slow
def test_unchanged_site_is_unknown_outcome(world: World, sites: Releases) -> None:
    world.sandbox.switches.pages_propagation_seconds = 100

    outcome = world.rollback_pages()

    assert ended(outcome) == (5, "unknown_outcome", "unclear")
    assert re.search(r" 10 s \(.*\).* inconclusive$", outcome.result["message"])
    assert len(world.writes()) == 1


@pytest.mark.slow
def test_unhealthy_and_unproved_site_reports_both(world: World, sites: Releases) -> None:
    world.sandbox.switches.pages_canonical_follows_rollbacks = True
    world.sandbox.switches.pages_propagation_seconds = 20
    world.sandbox.switches.static_files_answer_hit = False
    world.edit_config("body: good", "body: never")
    world.edit_config("deadline: 10s", "deadline: 3s")

    outcome = world.rollback_pages()

    assert ended(outcome) == (6, "still_unhealthy", "still_unhealthy"), outcome.err
    assert outcome.result["message"].startswith("written, not seen live: ")
    assert outcome.result["message"].endswith("; the probes are unhealthy")


@pytest.mark.slow
def test_canonical_deployment_alone_is_no_evidence(world: World, sites: Releases) -> None:
    world.sandbox.switches.pages_canonical_follows_rollbacks = True
    world.sandbox.switches.pages_propagation_seconds = 20
    world.edit_config("body: good", "body: h1")

    outcome = world.rollback_pages()

    assert ended(outcome) == (8, "no_evidence", "no_evidence"), outcome.err
    assert f"{sites.good[:8]} is canonical, but the site still matches {sites.bad[:8]}" in outcome.result["message"]
    assert outcome.result["wrote"]


@pytest.mark.sampled
@pytest.mark.parametrize("reads", [1, pytest.param(2, marks=SLOW), pytest.param(9, marks=SLOW)])
@pytest.mark.parametrize("follows", [True, False])
def test_lagging_canonical_deployment_is_a_warning(world: World, sites: Releases, reads: int, follows: bool) -> None:
    world.sandbox.switches.pages_canonical_follows_rollbacks = follows
    world.sandbox.switches.pages_canonical_lag_reads = reads

    outcome = world.rollback_pages()

    assert_recovered(world, sites, outcome, sends=1)
    lags = f"Cloudflare still names {sites.bad[:8]} as canonical: it does not follow rollbacks, or lags"
    assert (lags in texts(outcome, "warning")) is (not follows or reads > 4)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("follows", [True, False])
def test_equal_deployments_are_proved_only_by_canonical(world: World, follows: bool) -> None:
    world.sandbox.switches.pages_canonical_follows_rollbacks = follows
    world.sandbox.switches.static_files_answer_hit = False
    good, bad = world.site(timedelta(hours=2), "same"), world.site(timedelta(minutes=10), "same")

    outcome = world.rollback_pages()

    plan = outcome.result["plan"]
    assert any(f"no compared path distinguishes {good[:8]} from {bad[:8]}" in warning for warning in plan["warnings"])
    assert any(f"{good[:8]} have equal content" in warning for warning in plan["warnings"])
    assert world.served == good
    assert len(world.writes()) == 1
    if follows:
        assert ended(outcome)[:2] == (0, "healthy_as_before"), outcome.err
        assert any("Cloudflare names it as canonical" in text for text in texts(outcome, "warning"))
    else:
        assert ended(outcome) == (8, "no_evidence", "no_evidence")
        assert f"no compared path distinguishes {bad[:8]} from {good[:8]}" in outcome.result["message"]


@pytest.mark.slow
def test_unclear_write_between_equal_deployments_is_unknown(world: World) -> None:
    world.site(timedelta(hours=2), "same")
    world.site(timedelta(minutes=10), "same")
    world.sandbox.fault(**WRITE, lost="after")

    outcome = world.rollback_pages()

    assert ended(outcome) == (5, "unknown_outcome", "unclear"), outcome.err
    assert len(world.writes()) == 1


@pytest.mark.slow
def test_second_path_distinguishes_equal_deployments(world: World) -> None:
    world.edit_config("compare: [/]", "compare: [/, /version.txt]")
    good = world.site(timedelta(hours=2), "same", files={"version.txt": b"1"})
    world.site(timedelta(minutes=10), "same", files={"version.txt": b"2"})

    outcome = world.rollback_pages()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert world.served == good
    assert not any("no compared path" in warning for warning in outcome.result["plan"]["warnings"])


@pytest.mark.slow
def test_site_without_any_page_is_rolled_back(world: World, sites: Releases) -> None:
    """Every page is missing: the site and the deployment URL answer 404."""
    world.site(timedelta(minutes=5), None, files={"dist/index.html": b"one folder too deep", "404.html": b"nothing"})

    outcome = world.rollback_pages("--to", sites.good)

    assert_recovered(world, sites, outcome, sends=1)


@pytest.mark.slow
def test_page_only_in_the_bad_release_is_ignored(world: World) -> None:
    """The edge still serves it after the rollback."""
    world.edit_config("compare: [/]", "compare: [/, /new.txt]")
    good = world.site(timedelta(hours=2), "good", files={"404.html": b"nothing"})
    world.site(timedelta(minutes=10), "bad", files={"404.html": b"nothing", "new.txt": b"new"})

    outcome = world.rollback_pages()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert world.served == good


@pytest.mark.slow
def test_cached_page_does_not_identify_a_deployment(world: World) -> None:
    world.site(timedelta(hours=2), "good")
    world.ops("rollback-pages", "--service", "frontend", "--environment", "production", "--config", str(world.config))
    world.site(timedelta(minutes=10), None, files={"404.html": b"nothing"})

    outcome = world.rollback_pages()

    assert ended(outcome) == (3, "refused", "live_unknown"), outcome.err
    assert world.writes() == []


def test_project_without_a_canonical_deployment_is_refused(world: World, sites: Releases) -> None:
    project = '{"name": "x", "production_branch": "main", "canonical_deployment": null}'
    world.sandbox.fault(
        **PROJECT, body=f'{{"success": true, "errors": [], "messages": [], "result": {project}}}', times=None, **JSON
    )

    outcome = world.rollback_pages()

    assert ended(outcome) == (3, "refused", "live_unknown"), outcome.err
    assert "names no canonical deployment" in outcome.result["message"]
    assert world.writes() == []


CLOSED: dict[str, dict[str, Any]] = {
    "no answer": {"lost": "before"},
    "Access": {"status": 302, "body": "", "headers": {"location": "https://team.cloudflareaccess.com/login"}},
    "a firewall": {"status": 403, "body": "no"},
    "a challenge": {"status": 503, "body": "wait", "headers": {"cf-mitigated": "challenge"}},
    "a limit": {"status": 429, "body": "slow down"},
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("where", [HOST, "*.pages.dev"], ids=["the site", "the deployments"])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(answer, id=name, marks=() if name == "Access" else pytest.mark.slow)
        for name, answer in CLOSED.items()
    ],
)
def test_unreadable_site_or_deployments_are_refused(
    world: World, sites: Releases, where: str, answer: dict[str, Any]
) -> None:
    world.sandbox.edge_fault(host=where, times=None, **answer)

    outcome = world.rollback_pages()

    assert ended(outcome) == (3, "refused", "live_unknown"), outcome.err
    assert where.removeprefix("*.") in outcome.result["message"]
    assert world.writes() == []


@pytest.mark.slow
def test_site_without_a_matching_deployment_is_refused(world: World, sites: Releases) -> None:
    world.sandbox.edge_fault(host=HOST, body="<h1>good</h1><script>put in by the zone</script>", times=None)

    outcome = world.rollback_pages()

    assert ended(outcome) == (3, "refused", "live_unknown")
    assert "no deployment matches it" in outcome.result["message"]
    assert "to `compare` of" in outcome.result["hint"]


@pytest.mark.slow
def test_error_pages_with_different_texts_are_equal(world: World, sites: Releases) -> None:
    """A broken Function names the request in each failure."""
    numbers = itertools.count()
    bad = world.sandbox.pages.deployments(SITE)[0]
    rules = [
        world.sandbox.edge_fault(host=host, status=500, body=f"request {next(numbers)}", times=None)
        for host in (HOST, bad.host)
    ]
    world.sandbox.fault(**WRITE, after=rules[0].remove)

    assert_recovered(world, sites, world.rollback_pages(), sends=1)

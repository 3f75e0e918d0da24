"""`ops rollback-pages` and its watch, where each file answers from a cache. Not for FortuneT.

Only content that one deployment alone has shows which one is live.
"""

from collections.abc import Mapping
from datetime import timedelta

import httpx
import pytest
from hypothesis import strategies as st

from sandbox import Sandbox
from sandbox.edge.cache import CacheRule
from tests.conftest import ACCOUNT, Outcome, World
from tests.support.commands import ended, texts
from tests.support.properties import holds_for

HOST, SITE = "www.museum.example", "museum"
CONFIG = f"""\
environments:
  live:
    account_id: {ACCOUNT}
    token: MUSEUM_TOKEN
    services:
      tickets:
        pages: {SITE}
        url: https://{HOST}
        compare: [/version.txt]
        verify: {{successes: 2, interval: 500ms, deadline: 40s}}
        probes:
          - name: pages
            page: {{paths: [/, /visit]}}
"""
HOME = '<script src="/app.js"></script><img src="/logo.svg"><h1>{text}</h1>'
Files = Mapping[str, str]


def files(text: str, script: str = "start()") -> dict[str, str]:
    """Return a release. Only the home page, the script and the version differ from those of another one."""
    return {
        "index.html": HOME.format(text=text),
        "visit.html": "<h1>Open daily</h1>",
        "404.html": "nothing here",
        "app.js": script,
        "logo.svg": "<svg/>",
        "version.txt": text,
    }


def open_museum(world: World, good: Files, bad: Files) -> tuple[str, str]:
    """Deploy a good and a bad release, and return their IDs."""
    world.config.write_text(CONFIG)
    pages, now = world.sandbox.pages, world.sandbox.clock.now()
    pages.add_project(SITE, domains=[HOST])
    found = []
    for hours, release in ((30, good), (1, bad)):
        content = {name: text.encode() for name, text in release.items()}
        found.append(pages.add_deployment(SITE, files=content, at=now - timedelta(hours=hours), commit=f"{hours:040}"))
    return found[0], found[1]


def ops(world: World, *arguments: str) -> Outcome:
    where = ("--service", "tickets", "--environment", "live", "--config", str(world.config))
    return world.ops(*arguments, *where, "--json", MUSEUM_TOKEN=world.sandbox.token)


def rollback(world: World, *more: str) -> Outcome:
    return ops(world, "rollback-pages", "--yes", *more)


def look(sandbox: Sandbox, path: str) -> httpx.Response:
    with httpx.Client(base_url=sandbox.edge_url, headers={"host": HOST}) as client:
        return client.get(path)


def cache_in_zone(sandbox: Sandbox, *paths: str, seconds: float = 3600) -> None:
    """Cache the site in its zone from now on, and let a user request the paths."""
    sandbox.edge.cache_rules[HOST] = CacheRule(seconds)
    for path in paths:
        look(sandbox, path)


WITHOUT_SCRIPT = {name: text for name, text in files("new").items() if name != "app.js"}


@pytest.mark.slow
@pytest.mark.parametrize("bad", [files("new", "throw 1"), WITHOUT_SCRIPT], ids=["another script", "no script"])
def test_content_of_cached_answers_proves_a_recovery(world: World, bad: Files) -> None:
    good, _ = open_museum(world, files("old"), bad)
    assert look(world.sandbox, "/").headers["cf-cache-status"] == "HIT"

    outcomes = [rollback(world) for _ in range(3)]

    assert [ended(each)[:2] for each in outcomes] == [(0, "recovered"), *[(0, "nothing_to_do")] * 2], outcomes[0].err
    assert world.sandbox.pages.live(SITE) == good
    assert texts(outcomes[0], "probed")[-1] == (
        "after, 2 of 2 in a row: pages healthy: pages 2; assets 2; cached each of 4 answers"
    )


def test_recovery_without_evidence_is_none(world: World) -> None:
    """Only the script differs, and the deployments are equal in all that is compared."""
    same = {**files("same"), "version.txt": "1"}
    world.sandbox.switches.pages_canonical_follows_rollbacks = True
    open_museum(world, same, {**same, "visit.html": same["visit.html"]})

    outcome = rollback(world)

    assert ended(outcome)[:2] == (8, "no_evidence"), outcome.err
    assert "equal in" in texts(outcome, "probed")[-1]


def test_script_alone_proves_the_deployment(world: World) -> None:
    world.sandbox.switches.pages_canonical_follows_rollbacks = True
    same = {**files("same"), "version.txt": "1"}
    open_museum(world, same, {**same, "app.js": "throw 1"})

    assert ended(rollback(world))[:2] == (0, "recovered")


def test_bad_page_in_the_cache_of_the_zone_is_no_recovery(world: World) -> None:
    good, bad = open_museum(world, files("old"), files("new"))
    cache_in_zone(world.sandbox, "/", "/visit", "/app.js")

    outcome = rollback(world)

    assert ended(outcome)[:2] == (8, "no_evidence"), outcome.err
    assert f"of a replaced deployment, not of {good[:8]}" in texts(outcome, "probed")[-1]
    assert outcome.result["hint"].startswith("Purge the cache of the zone")
    assert ended(rollback(world))[:2] == (8, "no_evidence")
    world.sandbox.edge.cache.purge()
    assert [ended(rollback(world))[:2] for _ in range(2)] == [(0, "nothing_to_do")] * 2
    assert bad[:8] in outcome.result["plan"]["summary"]


@pytest.mark.slow
def test_bad_script_in_the_cache_of_the_zone_is_no_recovery(world: World) -> None:
    open_museum(world, files("old"), files("new", "throw 1"))
    cache_in_zone(world.sandbox, "/app.js")

    outcome = rollback(world)

    assert ended(outcome)[:2] == (8, "no_evidence"), outcome.err
    assert "/app.js (from /): cached answer (cf-cache-status: HIT, age " in texts(outcome, "probed")[-1]


@pytest.mark.slow
def test_old_page_in_the_cache_of_the_zone_does_not_hide_the_bad_release(world: World) -> None:
    """It is of the target, from the time before the bad release."""
    good, bad = open_museum(world, files("old"), files("new"))
    world.sandbox.pages.rollback(SITE, good)
    world.sandbox.clock.advance(60)
    cache_in_zone(world.sandbox, "/", "/visit", "/version.txt")
    world.sandbox.pages.rollback(SITE, bad)
    world.sandbox.clock.advance(60)

    outcome = rollback(world)

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert world.sandbox.pages.live(SITE) == good


@pytest.mark.parametrize("cached", [True, False])
def test_worker_with_a_cached_page_has_no_evidence(world: World, cached: bool) -> None:
    """Cached files of a page are a detail. The cached page itself proves nothing."""
    sandbox = world.sandbox
    world.config.write_text(CONFIG.replace(f"pages: {SITE}", "worker: museum").replace("compare: [/version.txt]", ""))
    html = {"status": 200, "content_type": "text/html", "body": HOME.format(text="x")}
    script = {"status": 200, "content_type": "text/javascript", "body": "1", "headers": {"cf-cache-status": "HIT"}}
    logo = {"status": 200, "content_type": "image/svg+xml", "body": "1"}
    home = {**html, "headers": {"cf-cache-status": "HIT", "age": "9"}} if cached else html
    paths = {"/": home, "/visit": html, "/app.js": script, "/logo.svg": logo}
    for hours, behaviour in ((9, {"paths": paths}), (1, {"status": 500})):
        at = sandbox.clock.now() - timedelta(hours=hours)
        sandbox.deploy("museum", sandbox.upload("museum", behaviour=behaviour, at=at), at=at)

    outcome = ops(world, "rollback-worker", "--yes")

    said = texts(outcome, "probed")[-1]
    if cached:
        assert ended(outcome)[:2] == (8, "no_evidence"), outcome.err
        assert "pages 1 of 2 failed: /: cached answer (cf-cache-status: HIT, age 9 s): proves nothing" in said
        assert "`http` probe" in outcome.result["hint"]
    else:
        assert ended(outcome)[:2] == (0, "recovered"), outcome.err
        assert said.endswith("pages healthy: pages 2; assets 2; cached 1 of 4 answers: /app.js")


@pytest.mark.slow
def test_deployments_that_cannot_be_read_leave_no_evidence(world: World) -> None:
    world.sandbox.switches.pages_canonical_follows_rollbacks = True
    world.sandbox.switches.edge_access_before_deployments = True
    good, _ = open_museum(world, files("old"), files("new"))

    outcome = rollback(world, "--to", good)

    assert ended(outcome)[:2] == (8, "no_evidence"), outcome.err
    assert f"it cannot be compared with {good[:8]}" in texts(outcome, "probed")[-1]
    assert "own URLs" in outcome.result["hint"]
    world.sandbox.switches.edge_access_before_deployments = False
    assert [ended(rollback(world, "--to", good))[:2] for _ in range(2)] == [(0, "nothing_to_do")] * 2


@pytest.mark.parametrize("broken", [True, False])
def test_watch_of_a_site_compares_cached_answers(world: World, broken: bool) -> None:
    good, _ = open_museum(world, files("old"), files("new"))
    world.sandbox.pages.rollback(SITE, good)
    world.sandbox.clock.advance(60)
    if broken:
        world.sandbox.edge_fault(host=HOST, path="/app.js", status=500, times=None)

    outcome = world.ops(
        *("watch", "--service", "tickets", "--environment", "live", "--for", "6m", "--json"),
        *("--config", str(world.config)),
        MUSEUM_TOKEN=world.sandbox.token,
    )

    assert outcome.result["decision"] == ("relapsed" if broken else "mitigated"), outcome.err


@pytest.mark.slow
@holds_for(
    3,
    40,
    seen=st.lists(st.sampled_from(["/", "/visit", "/app.js", "/logo.svg"]), unique=True),
    seconds=st.sampled_from([5, 3600]),
)
def test_stale_files_never_end_as_recovered(
    tmp_path_factory: pytest.TempPathFactory, seen: list[str], seconds: float
) -> None:
    """The zone caches each file, so that users still get those of the bad release for a while."""
    with Sandbox(account_id=ACCOUNT, virtual_clock=True) as sandbox:
        world = World(sandbox, tmp_path_factory.mktemp("museum"))
        open_museum(world, files("old"), files("new", "throw 1"))
        cache_in_zone(sandbox, *seen, seconds=seconds)

        decision = rollback(world).result["decision"]

        assert decision in ({"recovered", "healthy_as_before"} if seconds == 5 else {"no_evidence"})

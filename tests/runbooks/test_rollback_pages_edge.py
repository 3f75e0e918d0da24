"""`ops rollback-pages` behind zone additions, Access logins and flaky answers."""

import random
from datetime import timedelta
from typing import Any

import pytest

from ops.pages.plan_text import CONTENT_SECTION, LIVE_SECTION
from ops.probes.page_content import find_hashed_assets, normalize_html
from sandbox.edge.injection import inject_scripts
from sandbox.server import HttpRequest, HttpResponse
from sandbox.switches import Switches
from tests.conftest import Outcome, World
from tests.support.commands import ended, texts

pytestmark = pytest.mark.usefixtures("one_machine")
HOST = "www.bakery.example"
PROJECT = "bakery"
CONFIG = f"""
environments:
  live:
    account_id: 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f
    token: BAKERY_TOKEN
    services:
      shop:
        pages: {PROJECT}
        url: https://{HOST}
        verify: {{successes: 1, deadline: 5s}}
        probes:
          - name: home
            http: {{path: /, status: 200}}
"""
PAGE = """<!DOCTYPE html><html><head><title>Bakery</title>
<script type="module" crossorigin src="/assets/index-{hash}.js"></script><script src="/plain.js"></script>
<link rel="stylesheet" href="/assets/index-{hash}.css"></head><body onload="begin()">
<h1>{text}</h1><a href="mailto:hi@bakery.example?subject=Bread">hi@bakery.example</a> or sales@bakery.example
<script nonce="r4nd0m">start()</script>
</body></html>"""
ALL = ("edge_injects_beacon", "edge_obfuscates_emails", "edge_detects_bots_by_script", "edge_rocket_loader")


def page(digest: str, text: str = "Bread") -> bytes:
    return PAGE.format(hash=digest, text=text).encode()


@pytest.fixture
def bakery(world: World) -> World:
    world.config.write_text(CONFIG)
    world.sandbox.pages.add_project(PROJECT, domains=[HOST])
    return world


def deploy(world: World, ago: timedelta, home: bytes, **more: Any) -> str:
    at = world.sandbox.clock.now() - ago
    return world.sandbox.pages.add_deployment(PROJECT, files={"index.html": home}, at=at, **more)


def released(world: World) -> tuple[str, str]:
    """Deploy a good site and then a bad one."""
    return (
        deploy(world, timedelta(hours=3), page("BxK3a9_d"), commit="a" * 40),
        deploy(world, timedelta(minutes=8), page("Q7dK20fz"), commit="b" * 40),
    )


def roll_back(world: World, *arguments: str, runbook: str = "rollback-pages") -> Outcome:
    where = ["--service", "shop", "--environment", "live", "--config", str(world.config), "--yes", "--json"]
    return world.ops(runbook, *where, *arguments, BAKERY_TOKEN=world.sandbox.token)


def live(world: World) -> str | None:
    return world.sandbox.pages.live(PROJECT)


# Zone additions to a page


@pytest.mark.sampled
@pytest.mark.parametrize("on", [(), *((name,) for name in ALL), ALL], ids=lambda on: "+".join(on) or "nothing")
def test_zone_additions_do_not_change_the_normalized_page(on: tuple[str, ...]) -> None:
    switches = Switches()
    vars(switches).update({name: name in on for name in ALL})
    built = page("BxK3a9_d")
    html = [("content-type", "text/html; charset=utf-8")]

    served = inject_scripts(HttpResponse(headers=html, body=built), switches).body

    assert (served == built) is not bool(on)
    assert normalize_html(served) == normalize_html(built)
    assert (
        find_hashed_assets(served)
        == find_hashed_assets(built)
        == ("/assets/index-BxK3a9_d.css", "/assets/index-BxK3a9_d.js")
    )
    assert normalize_html(served) != normalize_html(page("BxK3a9_d", "Cake"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "is_hashed"),
    [
        ("/assets/index-BxK3a9_d.js", True),
        ("/main.8e0d62a03c.chunk.js", True),
        ("/_next/static/chunks/main-0123456789abcdef.js", True),
        ("/app.js?v=4f3a2b1c", True),
        ("/bootstrap.min.js", False),
        ("/app.js", False),
        ("/cdn-cgi/scripts/5c5dd728/cloudflare-static/email-decode.min.js", False),
    ],
)
def test_content_hash_in_a_file_name_is_recognized(name: str, is_hashed: bool) -> None:
    assert bool(find_hashed_assets(f'<script src="{name}"></script>'.encode())) is is_hashed


@pytest.mark.parametrize("on", [("edge_injects_beacon", "edge_obfuscates_emails"), ALL], ids=["as usual", "all"])
def test_rollback_ignores_zone_additions(bakery: World, on: tuple[str, ...]) -> None:
    for name in ALL:
        setattr(bakery.sandbox.switches, name, name in on)
    good, bad = released(bakery)

    outcome = roll_back(bakery)

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert live(bakery) == good
    assert "the site matches the canonical deployment" in outcome.result["plan"]["sections"][LIVE_SECTION][1]
    assert outcome.result["plan"]["sections"][CONTENT_SECTION] == ["/: equal content"]
    again = roll_back(bakery)
    assert again.result["reason"] == "already_stepped_back"
    assert bad[:8] in again.result["message"]


def unknown_addition(world: World) -> None:
    """Add an unknown text to each page that differs per answer; only hashed assets identify the deployment."""
    numbers = iter(range(10_000))
    original = world.sandbox.edge.answer

    def answer(request: HttpRequest) -> HttpResponse:
        response = original(request)
        if request.headers.get("host") == HOST and response.body.startswith(b"<!DOCTYPE"):
            response.body += b"<p>served %d</p>" % next(numbers)
        return response

    world.sandbox.edge.answer = answer  # type: ignore[method-assign]


def test_hashed_assets_identify_the_live_deployment(bakery: World) -> None:
    unknown_addition(bakery)
    good, bad = released(bakery)

    outcome = roll_back(bakery)

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert live(bakery) == good
    assert "uses the hashed assets of the canonical deployment" in outcome.result["plan"]["sections"][LIVE_SECTION][1]
    assert outcome.result["plan"]["sections"][CONTENT_SECTION] == ["/: other content, the same hashed assets"]
    assert bad[:8] == outcome.result["plan"]["changes"][0]["before"]


def test_shared_hashed_assets_do_not_identify_a_deployment(bakery: World) -> None:
    unknown_addition(bakery)
    deploy(bakery, timedelta(hours=3), page("BxK3a9_d", "Bread"))
    deploy(bakery, timedelta(minutes=8), page("BxK3a9_d", "Cake"))

    assert ended(roll_back(bakery)) == (3, "refused", "live_unknown")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("switch", "said"),
    [("", "/: equal content"), ("edge_access_before_deployments", "/: not read: https://")],
    ids=["as usual", "Access"],
)
def test_status_shows_which_path_identifies_the_deployment(bakery: World, switch: str, said: str) -> None:
    released(bakery)
    if switch:
        setattr(bakery.sandbox.switches, switch, True)
    where = ["--environment", "live", "--config", str(bakery.config)]

    as_json = bakery.ops("status", *where, "--json", BAKERY_TOKEN=bakery.sandbox.token)
    told = bakery.ops("status", *where, BAKERY_TOKEN=bakery.sandbox.token)

    (site,) = as_json.result["services"]
    assert site["compared"][0].startswith(said)
    assert f"compared with the deployment URL, {said}" in told.out


# Unknown live deployment


@pytest.fixture
def behind_access(bakery: World) -> tuple[str, str]:
    """Put Cloudflare Access before the deployment URLs."""
    bakery.sandbox.switches.edge_access_before_deployments = True
    return released(bakery)


def test_unknown_live_deployment_is_refused_with_a_hint(bakery: World, behind_access: tuple[str, str]) -> None:
    good, bad = behind_access

    outcome = roll_back(bakery)

    assert ended(outcome) == (3, "refused", "live_unknown")
    assert "a login page of Cloudflare Access" in outcome.result["message"]
    assert f"shows deployment {bad[:8]}" in outcome.result["hint"]
    assert f"--to {good[:8]}" in outcome.result["press"]
    assert bakery.writes() == []


@pytest.mark.parametrize("follows", [True, False])
def test_explicit_target_is_deployed_with_a_warning(
    bakery: World, behind_access: tuple[str, str], follows: bool
) -> None:
    bakery.sandbox.switches.pages_canonical_follows_rollbacks = follows
    bakery.sandbox.switches.static_files_answer_hit = False
    good, _ = behind_access

    outcome = roll_back(bakery, "--to", good)

    (warning,) = outcome.result["plan"]["warnings"]
    assert ("`to` " in warning, f" {good[:8]} " in warning) == (True, True)
    assert outcome.result["undo"] == []
    assert live(bakery) == good
    if follows:
        assert ended(outcome)[:2] == (0, "healthy_as_before"), outcome.err
        assert any("Cloudflare names it as canonical" in text for text in texts(outcome, "warning"))
    else:
        assert ended(outcome) == (8, "no_evidence", "no_evidence"), outcome.err


def test_failing_site_is_rolled_back_to_an_explicit_target(bakery: World) -> None:
    good, _ = released(bakery)
    fault = bakery.sandbox.edge_fault(host=HOST, status=500, body="down", times=None)

    refused = roll_back(bakery)
    bakery.sandbox.fault(method="POST", path="/**/rollback", after=fault.remove)
    outcome = roll_back(bakery, "--to", good)

    assert ended(refused) == (3, "refused", "live_unknown")
    assert f"https://{HOST} returns HTTP 500, but the deployment's own URL does not" in refused.result["message"]
    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert live(bakery) == good


@pytest.mark.parametrize("meanwhile", ["deployed", "rolled back"])
def test_concurrent_change_is_not_overwritten(bakery: World, behind_access: tuple[str, str], meanwhile: str) -> None:
    """After an unclear write the state has changed, so the write is not repeated."""
    good, _ = behind_access
    oldest = deploy(bakery, timedelta(days=2), page("Zz00zz11"))
    bakery.sandbox.switches.pages_canonical_follows_rollbacks = True

    def act() -> None:
        if meanwhile == "deployed":
            deploy(bakery, timedelta(), page("N3wN3wN3"))
        else:
            bakery.sandbox.pages.rollback(PROJECT, oldest)

    bakery.sandbox.fault(method="POST", path="/**/rollback", lost="before", before=act)

    outcome = roll_back(bakery, "--to", good)

    assert outcome.code in {4, 5}, outcome.err
    assert live(bakery) != good
    assert len(bakery.writes()) == 1


def test_wrong_url_is_named_as_the_cause(bakery: World) -> None:
    released(bakery)
    bakery.sandbox.pages.add_project("other", domains=["other.example"])
    bakery.sandbox.pages.add_deployment("other", files={"index.html": b"<h1>another site</h1>"})
    bakery.edit_config(f"url: https://{HOST}", "url: https://other.example")

    outcome = roll_back(bakery)

    assert ended(outcome) == (3, "refused", "live_unknown")
    project = bakery.sandbox.pages.projects[PROJECT]
    said = f"`url` in ops.yml has the host other.example, but the project serves {project.subdomain}, {HOST}"
    assert said in outcome.result["message"]


# A flaky site


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 10))])
@pytest.mark.parametrize("how", [{"status": 500}, {"status": 429}, {"lost": "before"}], ids=["500", "429", "drop"])
def test_flaky_site_is_rolled_back(bakery: World, seed: int, how: dict[str, Any]) -> None:
    draw = random.Random(seed)
    for number in range(7):
        deploy(bakery, timedelta(days=9 - number), page(f"0ld{number}0ld{number}"))
    good, _ = released(bakery)
    original = bakery.sandbox.edge_faults.wrap

    def around(answer: Any, request: HttpRequest) -> HttpResponse | None:
        if draw.random() < 0.3:
            return None if "lost" in how else HttpResponse(status=how["status"], body=b"%d" % draw.getrandbits(32))
        return original(answer, request)

    bakery.edit_config("deadline: 5s", "deadline: 1m")
    bakery.sandbox.edge_faults.wrap = around  # type: ignore[method-assign]

    outcome = roll_back(bakery)

    assert outcome.code in {0, 8}, outcome.err
    assert live(bakery) == good


# Changes by others during the probes


def act_during_probes(world: World, act: Any) -> None:
    """Act at the first probe after the write: the third request to that path, as two come before."""
    world.edit_config("path: /, status: 200", "path: /about, status: 200")
    world.edit_config("successes: 1", "successes: 2")
    world.sandbox.switches.pages_propagation_seconds = 0
    done = [False]

    def once() -> None:
        if world.writes() and not done[0]:
            done[0] = True
            act()

    world.sandbox.edge_fault(host=HOST, path="/about", times=None, before=once)


@pytest.mark.sampled
@pytest.mark.parametrize("to", ["another", "the former"])
def test_dashboard_rollback_during_the_probes_is_no_recovery(bakery: World, to: str) -> None:
    oldest = deploy(bakery, timedelta(days=2), page("Zz00zz11"), commit="c" * 40)
    _, bad = released(bakery)
    theirs = oldest if to == "another" else bad
    act_during_probes(bakery, lambda: bakery.sandbox.pages.rollback(PROJECT, theirs))

    outcome = roll_back(bakery)

    assert ended(outcome) == (4, "failed", "world_moved"), outcome.err
    assert "our change was made and then replaced" in outcome.result["message"]
    assert theirs[:8] in outcome.result["message"]
    assert outcome.result["outcome"]["replaced"] == [f"Pages {PROJECT}"]
    assert live(bakery) == theirs


def test_deployment_during_the_probes_is_no_recovery(bakery: World) -> None:
    released(bakery)
    act_during_probes(bakery, lambda: deploy(bakery, timedelta(), page("N3wN3wN3")))

    outcome = roll_back(bakery)

    assert ended(outcome) == (4, "failed", "world_moved"), outcome.err
    assert (live(bakery) or "")[:8] in outcome.result["message"]


def test_failed_final_comparison_is_a_warning(bakery: World) -> None:
    good, _ = released(bakery)
    fault = {"method": "GET", "path": "/accounts/*/pages/**", "status": 503, "times": None}
    act_during_probes(bakery, lambda: bakery.sandbox.fault(**fault))

    outcome = roll_back(bakery)

    assert outcome.code == 0, outcome.err
    assert live(bakery) == good
    assert any("could not be compared again" in text for text in texts(outcome, "warning"))

"""A run reports the state that its proof shows: a service that was closed is not healthy, and not recovered."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from ops.core.verdict import add_place
from tests.conftest import Incident, Outcome, World, assert_golden
from tests.support import switches
from tests.support.claims import case_world, run
from tests.support.offline import PERMISSIONS, prepared
from tests.support.scenarios import Case, all_cases
from tests.support.shop import WORKER as SHOP_WORKER
from tests.support.shop import Shop
from tests.support.webhooks import Receiver, receiving

HEALTH = re.compile("healthy|recovered", re.IGNORECASE)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def close_by_routes(world: World, *arguments: str, **environ: str) -> Outcome:
    with prepared(world):
        world.sandbox.clock.advance(60)
        return run_maintenance(world, *arguments, CLOUDFLARE_API_TOKEN="security", **environ)


def close_by_switch(world: World, *arguments: str, **environ: str) -> Outcome:
    switches.prepared(world).put("maintenance", state="off", incident=None)
    switches.deploy(world, paths={"/": {"status": 200}})
    world.edit_config("        worker: fortunet-api", "        maintenance: switch\n        worker: fortunet-api")
    world.sandbox.clock.advance(60)
    return run_maintenance(world, *arguments, **environ)


def run_maintenance(world: World, *arguments: str, **environ: str) -> Outcome:
    where = ("--environment", "production", "--service", "api", "--state", "on", "--config", str(world.config), "--yes")
    return world.ops("maintenance", *where, *arguments, **environ)


def texts_of(incident: Incident, closed: Outcome, summary: Path, receiver: Receiver) -> dict[str, str]:
    """Return what people read first, by place: everything that is not folded."""
    config = ("--config", str(incident.world.config))
    assert incident.ops("incident", "report", str(incident.number), *config).code == 0
    report = incident.github.issues[-1].body or ""
    return {
        "comment": incident.bodies[0].partition("<details>")[0],
        "terminal": closed.out[closed.out.index("✔") :],
        "chat": receiver.texts[-1],
        "summary": summary.read_text().partition("<details>")[0],
        "incident list": incident.ops("incident", "list", "--config", str(incident.world.config)).out,
        "last, here": incident.ops("last", *config).out,
        "report": report[report.index("## What was done") :].partition("---")[0],
    }


def claim(world: World) -> str:
    """Return the claim of the last plan, which its run proved."""
    files = (world.folder / ".ops" / "runs").glob("*/timeline.jsonl")
    events = [json.loads(line) for path in sorted(files) for line in path.read_text().splitlines()]
    claims: list[str] = [each["data"]["plan"]["proved"] for each in events if each["kind"] == "planned"]
    return add_place(claims[-1], "seen from FRA")


@pytest.mark.parametrize(
    ("close", "numbers"),
    [(close_by_routes, ["6", "503"]), (close_by_switch, ["503"])],
    ids=["routes", "switch"],
)
def test_closed_service_is_reported_offline_everywhere(
    incident: Incident,
    receiver: Receiver,
    tmp_path: Path,
    close: Callable[..., Outcome],
    numbers: list[str],
    update_golden: bool,
) -> None:
    summary = tmp_path / "summary.md"
    environ = {**incident.github.environ(), **receiver.environ, "GITHUB_STEP_SUMMARY": str(summary)}

    closed = close(incident.world, "--incident", str(incident.number), **environ)

    assert closed.code == 0, closed.err
    if close is close_by_routes:
        assert_golden("comment-offline", incident.bodies[0], update=update_golden)
    assert "- [ ] Verify recovery" in incident.bodies[0]
    assert "**ended** done" in incident.bodies[0]
    shown, proof = texts_of(incident, closed, summary, receiver), claim(incident.world)
    assert re.findall(r"\d+", proof) == numbers
    assert {place for place, text in shown.items() if proof not in re.sub("[Tt]he whole", "the whole", text)} == set()
    assert {place: found[0] for place, text in shown.items() if (found := HEALTH.search(text))} == {}


def test_other_application_closes_one_path_and_reopens_it(shop: Shop) -> None:
    """The first run closes everything, so that the path stays offline when only it is reopened."""
    sandbox = shop.world.sandbox
    zone = sandbox.zones.all[sandbox.zones.add("shop.example")]
    sandbox.zones.add_route(zone, "web.shop.example/*", SHOP_WORKER)
    sandbox.add_token("closing", PERMISSIONS)
    sandbox.switches.propagation_seconds = 0

    def maintenance(*options: str) -> Outcome:
        return shop.ops("maintenance", *options, "--yes", SHOP_TOKEN="closing")

    assert maintenance("prepare").code == 0
    whole = maintenance("--service", "web", "--state", "on")
    path = maintenance("--service", "web", "--state", "on", "--path", "/cart")
    stays = maintenance("--service", "web", "--state", "off", "--path", "/cart")
    opened = maintenance("--service", "web", "--state", "off")

    assert re.search("✔ DONE  (?!.*/cart).*\\bweb\\b.* offline .* 3 .* 503, seen from FRA, proved after ", whole.out)
    assert re.search("✔ DONE  web /cart .* offline .* 3 .* 503, seen from FRA, proved after ", path.out)
    assert re.search("✔ DONE  web /cart .* still offline, .*\\bweb\\b", stays.out)
    assert re.search("STILL UNHEALTHY  changed, .*: (?!.*offline).*\\bweb\\b", opened.out)
    for closed in (whole, path, stays):
        assert not HEALTH.search(closed.out[closed.out.index("✔") :]), closed.out


@pytest.mark.sampled
@pytest.mark.parametrize("case", [case for case in all_cases() if not case.scenario.is_slow], ids=str)
def test_heading_says_healthy_only_if_the_service_answers(case: Case) -> None:
    """A browser gets the answer of the edge, without any probe of the run."""
    with case_world(case) as world, httpx.Client(verify=False) as browser:
        assert run(world, case).outcome.code == 0
        found = world.ops("last", "--json", "--config", str(world.config)).result["runs"]

        closed = browser.get(world.sandbox.edge_url, headers={"host": "api.fortunet.example"}).status_code == 503

    assert found or not case.runbook.writes
    for each in found[:1]:
        assert not (closed and HEALTH.search(f"{each['state']} {each['headline']}")), each
        assert "healthy" in each["headline"] or each["state"] != "Recovered", each

"""`ops status-page build`: from the trusted records of all incidents to a folder of files."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from ops.core.public_update import PublicUpdate
from ops.core.run_record import RunRecord, embed_record
from ops.github.comments import BOT
from tests.conftest import ACCOUNT, Outcome, World
from tests.status_page.support import ALL_WORK, OUTAGE, SETTINGS, public_id, update

CONFIG = f"""
environments:
  live:
    account_id: {ACCOUNT}
    services:
      oven: {{worker: bakery-oven, url: "https://oven.bakery.example", probes: [{{name: up, http: {{path: /}}}}]}}
      till: {{worker: bakery-till, url: "https://till.bakery.example", probes: [{{name: up, http: {{path: /}}}}]}}
      bike: {{worker: bakery-bike, url: "https://bike.bakery.example", probes: [{{name: up, http: {{path: /}}}}]}}
responders: [mai]
status_page:
  url: {SETTINGS.url}
  title: {SETTINGS.title}
  rebuilt: 15m
  components:
    - {{name: Shop, services: [till]}}
    - {{name: Kitchen, services: [oven]}}
    - {{name: Delivery, services: [bike]}}
"""
HOSTED_PAGE = f"""status_page:
  url: {SETTINGS.url}
  title: {SETTINGS.title}
  components:
    - {{name: Shop, services: [till], id: abcd1234}}
"""
"""With an id, which only a page at a provider has."""
CANARIES = ("#4711", "mai", "2c8b7e91-0000-4000-8000-0ffae05a0000", "bakery-till", ACCOUNT, "ORDERS-K4NARY")


def publish(world: World, *updates: PublicUpdate, by: str = BOT, title: str = "Orders fail") -> int:
    """Record the updates on an incident of their own; return its number."""
    hub = world.sandbox.github
    number = hub.open_issue(title, " ".join(CANARIES), ["incident"], "mai")
    for each in updates:
        run = hub.add_run("publish-update.yml", conclusion="success")
        texts = {each.name for each in fields(RunRecord) if each.type is str} - {"run", "source", "job", "digest"}
        canaries: dict[str, Any] = dict.fromkeys(texts, CANARIES[-1])
        record = replace(RunRecord(f"{run}.1-abcd", source="update", update=each.to_json()), **canaries)
        hub.comment(number, embed_record(" ".join(CANARIES), record), by)
    return number


@pytest.fixture
def bakery(world: World) -> World:
    world.config.write_text(CONFIG)
    world.sandbox.github.add_user("mai")
    return world


def build(world: World, folder: Path | None = None) -> Outcome:
    target = folder or world.folder / "public"
    return world.ops(
        "status-page", "build", str(target), "--config", str(world.config), **world.sandbox.github.environ()
    )


def read_status(world: World) -> dict[str, object]:
    document: dict[str, object] = json.loads((world.folder / "public" / "status.json").read_text())
    return document


def test_page_has_the_updates_of_all_incidents_and_nothing_else(bakery: World) -> None:
    publish(bakery, update("forged", 1, "resolved", {"Shop": None}), by="mai")
    publish(bakery, ALL_WORK)
    publish(bakery, *OUTAGE, title="ORDERS-K4NARY fails")
    before = len(bakery.sandbox.github.requests)

    outcome = build(bakery)

    assert (outcome.code, outcome.err) == (0, ""), outcome.err
    assert {request.method for request in bakery.sandbox.github.requests[before:]} <= {"GET", "POST"}
    assert len(bakery.sandbox.github.requests) - before <= 20
    status = read_status(bakery)
    assert status["status"] == {"indicator": "major", "description": "Partial outage"}
    files = [path for path in (bakery.folder / "public").rglob("*") if path.is_file()]
    assert {path.stem for path in files if path.parent.name == "incidents"} == {public_id("calm"), public_id("outage")}
    for path in files:
        text = path.read_text()
        assert not [each for each in CANARIES if each in text.replace("main", "")], path.name


def test_page_of_a_repository_without_an_update_knows_nothing(bakery: World) -> None:
    assert build(bakery).code == 0
    assert read_status(bakery)["status"] == {"indicator": "unknown", "description": "No update yet"}


def test_failed_read_keeps_the_former_page(bakery: World) -> None:
    publish(bakery, ALL_WORK)
    assert build(bakery).code == 0
    before = (bakery.folder / "public" / "index.html").read_bytes()
    bakery.sandbox.github.fault(path="/graphql", status=502, times=None)

    assert build(bakery).code == 4
    assert (bakery.folder / "public" / "index.html").read_bytes() == before


def test_folder_of_something_else_is_refused(bakery: World) -> None:
    folder = bakery.folder / "notes"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")

    assert build(bakery, folder).code == 2
    assert [each.name for each in folder.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    "section",
    [
        "",
        f"{HOSTED_PAGE}  provider: instatus\n  page_id: abcd1234\n  token: PAGE_KEY\n",
    ],
)
def test_without_an_own_page_there_is_nothing_to_build(bakery: World, section: str) -> None:
    bakery.config.write_text(CONFIG.partition("status_page:")[0] + section)

    assert build(bakery).code == 2
    assert not (bakery.folder / "public").exists()

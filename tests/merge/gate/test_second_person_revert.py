"""A revert of a migration by two people, with the files that the fetching job saved."""

import json
from dataclasses import dataclass

import pytest

from ops.core.migrations_folder import hash_migration
from tests.conftest import Outcome, World
from tests.gate.support import parse_outputs
from tests.support import second_person
from tests.support.commands import ended
from tests.support.second_person import DATABASE, Desk
from tests.support.site_repository import SiteRepository

NAME = "0002_prices.sql"
UP = "ALTER TABLE sales ADD COLUMN price INTEGER;"
DOWN = "ALTER TABLE sales DROP COLUMN price;"


@dataclass
class Reverting:
    """The shop's database, whose label requests a revert of the last migration."""

    desk: Desk

    @property
    def repository(self) -> SiteRepository:
        return SiteRepository(self.desk.world.folder / "app")

    def commit(self, **files: str) -> None:
        for name, text in files.items():
            path = self.repository.folder / "db" / name / NAME
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.repository.commit("migrations")

    def act(self) -> Outcome:
        """Run the fetching and the acting job with the outputs of the last gate."""
        desk, saved = self.desk, self.desk.world.folder / "saved.json"
        run, into = desk.runs[-1], ["--into", str(saved), "--config", str(desk.world.config)]
        given = ["--params", desk.outputs["params"], "--environment", desk.outputs["environment"]]
        output = desk.world.folder / "output"
        output.unlink(missing_ok=True)
        job = desk.job(run, OPS_SOURCE="app", SHOP_TOKEN=None)
        fetched = desk.world.ops("database", "fetch", *given, *into, **job)
        assert fetched.code == 0, fetched.err
        digest = parse_outputs(output.read_text())["source"]
        return desk.act(run, OPS_SOURCE_FILES=str(saved), OPS_SOURCE_FILES_SHA256=digest)

    def ask(self) -> Outcome:
        desk = self.desk
        gate = desk.gate("issues", desk.hub.label(desk.incident, "recover:orders", "alice"), desk.new_run())
        assert gate.code == 0, gate.err
        done = self.act()
        desk.world.sandbox.clock.advance(60)
        return done

    def approve(self) -> Outcome:
        gate = self.desk.press_approve()
        assert (gate.code, self.desk.outputs["go"]) == (0, "true"), gate.err
        return self.act()

    @property
    def columns(self) -> list[str]:
        rows = self.desk.world.sandbox.d1.query(DATABASE, "SELECT name FROM pragma_table_info('sales')")
        return [row["name"] for row in rows]


@pytest.fixture
def reverting(world: World) -> Reverting:
    desk = second_person.open_desk(world)
    world.edit_config("runbook: restore-database", "runbook: revert-migration")
    world.edit_config("to: before-last-migration", "name: last")
    desk.hub.add_commit("Revert", "alice", files={"ops.yml": world.config.read_text()})
    found = Reverting(desk)
    found.repository.folder.mkdir()
    found.repository.git("init", "-q", "-b", "main")
    found.commit(migrations=UP, down=DOWN)
    return found


def test_label_requests_a_revert_and_another_person_approves(reverting: Reverting) -> None:
    desk = reverting.desk

    asked = reverting.ask()

    assert ended(asked) == (0, "planned", "needs_two_people"), asked.err
    assert "price" in reverting.columns
    assert desk.request["params"] == {"database": "orders", "name": NAME}
    assert desk.request["target"] == f"the revert of {NAME} on orders"
    (waiting,) = desk.comments
    assert "the rows and columns that its down file deletes" in waiting

    done = reverting.approve()

    assert done.result["wrote"], done.err
    assert reverting.columns == ["id", "item", "sold_at"]
    assert desk.tables == {"sales": 5, "applied": 1}
    (hold,) = desk.world.sandbox.d1.query(DATABASE, "SELECT * FROM backout_holds")
    assert (hold["migration"], hold["hash"], hold["incident"]) == (NAME, hash_migration(UP), str(desk.incident))


def test_content_that_changed_since_the_plan_needs_a_new_approval(reverting: Reverting) -> None:
    reverting.ask()
    code = reverting.desk.code
    reverting.commit(migrations=f"{UP} -- corrected")

    refused = reverting.approve()

    assert ended(refused) == (3, "refused", "request_changed")
    assert reverting.desk.code != code
    assert "price" in reverting.columns


def test_job_without_files_refuses(reverting: Reverting) -> None:
    desk = reverting.desk
    desk.source = {}
    desk.gate("issues", desk.hub.label(desk.incident, "recover:orders", "alice"), desk.new_run())
    assert json.loads(desk.outputs["params"]) == {"database": "orders", "name": "last"}

    refused = desk.act(desk.runs[-1])

    assert ended(refused)[1:] == ("refused", "config_invalid")
    assert "OPS_SOURCE_FILES_SHA256" in refused.result["message"]

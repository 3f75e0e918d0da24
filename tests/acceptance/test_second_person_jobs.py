"""A restore by two people in the generated workflows, requested by label and approved by button, under act.

tests/merge/drills/test_database_drills.py requests it by button, and reverts a migration.
"""

from pathlib import Path

from sandbox.actions import Runner
from tests.conftest import World
from tests.support.actions import CI, conclusions
from tests.support.second_person import DOWN, MIGRATION, TOKEN, UP, Desk, open_desk
from tests.support.workflows import operations_repository


def prepared(world: World) -> Desk:
    """Put the workflows and migrations of the shop into the repository, and the token into `database`."""
    desk = open_desk(world)
    files = {path: text for path, text in operations_repository(world.config).items() if path != CI}
    files |= {f"db/migrations/{MIGRATION}": UP.encode(), f"db/down/{MIGRATION}": DOWN.encode()}
    desk.hub.add_commit("All of it", "alice", files=files)
    desk.hub.add_environment("database")
    desk.hub.put_secret("SHOP_TOKEN", TOKEN, "database")
    return desk


def runner_of(desk: Desk, pip_cache: Path) -> Runner:
    environ = {name: value for name, value in desk.world.sandbox.environ().items() if name != "CLOUDFLARE_API_TOKEN"}
    return Runner(desk.hub, environ, pip_cache=pip_cache)


def ended(desk: Desk, runner: Runner) -> dict[str, str | None]:
    """Wait for the newest run, and return its jobs that ran; later events are a minute newer."""
    runner.wait()
    desk.world.sandbox.clock.advance(60)
    return {name: each for name, each in conclusions(desk.hub.runs[-1]).items() if each != "skipped"}


def log(desk: Desk, runner: Runner) -> str:
    return "\n".join(runner.log(desk.hub.runs[-1].id))


def approve(desk: Desk, runner: Runner, by: str) -> dict[str, str | None]:
    """Press the button with the digest that the comment shows, and return the jobs that ran."""
    desk.hub.dispatch("approve-restore.yml", {"incident": str(desk.incident), "digest": desk.digest}, by=by)
    return ended(desk, runner)


def test_label_of_a_second_person_is_answered_and_the_button_restores(world: World, pip_cache: Path) -> None:
    desk = prepared(world)
    with runner_of(desk, pip_cache) as runner:
        desk.hub.label(desk.incident, "recover:orders", "alice")
        asked = ended(desk, runner)
        assert (asked["gate"], asked["database-live"]) == ("success", "success"), log(desk, runner)

        desk.hub.label(desk.incident, "approve:restore", "bob")
        assert ended(desk, runner)["gate"] == "failure"
        (answer,) = [each for each in desk.comments if "`label_changed`" in each]
        assert "/actions/workflows/approve-restore.yml and press *Run workflow*" in answer
        assert "approve:restore" not in [each.name for each in desk.hub.issue(desk.incident).labels]

        assert approve(desk, runner, "alice")["gate"] == "failure"
        assert any("`same_person`" in comment for comment in desk.comments)
        assert desk.restores == []

        assert approve(desk, runner, "bob")["database-live"] == "success", log(desk, runner)
        assert desk.tables == {"sales": 3, "applied": 1}
        assert any("**Approved** by `@bob`" in comment for comment in desk.comments)

        assert approve(desk, runner, "carol")["gate"] == "failure"
        assert len(desk.restores) == 1

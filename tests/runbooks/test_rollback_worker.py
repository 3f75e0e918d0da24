"""`ops rollback-worker`: a bad release, the command, and the world afterwards."""

from tests.conftest import Releases, World


def test_puts_the_good_version_back_and_proves_it(world: World, releases: Releases) -> None:
    outcome = world.rollback("--reason", "checkout fails", "--incident", "42")

    assert outcome.code == 0, outcome.err
    assert outcome.result["decision"] == "recovered"
    assert world.live == {releases.good: 100}
    message = world.sandbox.deployments("fortunet-api")[0].annotations["workers/message"]
    assert message.startswith("ops1 incident=42 run=")
    assert message.endswith(f"blames={releases.bad}; checkout fails")


def test_a_second_press_does_nothing_and_names_the_next_older_version(world: World, releases: Releases) -> None:
    world.rollback()
    before = len(world.writes())

    outcome = world.rollback()

    assert outcome.result["decision"] == "nothing_to_do"
    assert outcome.result["reason"] == "already_stepped_back"
    assert len(world.writes()) == before
    assert world.live == {releases.good: 100}


def test_without_yes_and_without_a_terminal_it_only_plans(world: World, releases: Releases) -> None:
    where = ["--service", "api", "--environment", "production", "--config", str(world.config)]

    outcome = world.ops("rollback-worker", *where)

    assert outcome.code == 9
    assert "PLANNED" in outcome.out
    assert "Add --yes to make these changes" in outcome.out
    assert world.live == {releases.bad: 100}
    assert world.writes() == []

"""`ops rollback-pages`: a bad site, the command, and the world afterwards."""

from tests.conftest import Releases, World


def test_puts_the_good_deployment_back_and_proves_it(world: World, sites: Releases) -> None:
    outcome = world.rollback_pages("--reason", "blank page", "--incident", "42")

    assert outcome.code == 0, outcome.err
    assert outcome.result["decision"] == "recovered"
    assert world.served == sites.good
    (write,) = world.writes()
    assert write.path.endswith(f"/pages/projects/fortunet-frontend/deployments/{sites.good}/rollback")


def test_a_second_press_does_nothing_and_names_the_next_older_one(world: World, sites: Releases) -> None:
    world.rollback_pages()

    outcome = world.rollback_pages()

    assert outcome.result["decision"] == "nothing_to_do", outcome.err
    assert outcome.result["reason"] == "already_stepped_back"
    assert len(world.writes()) == 1
    assert world.served == sites.good

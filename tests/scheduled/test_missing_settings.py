"""Commands on an environment without the settings that they need."""

import json

import pytest

from tests.conftest import World
from tests.support import plain_yaml, switches
from tests.support.limits import limits_world


@pytest.mark.parametrize(
    ("command", "without"),
    [
        (["limits", "apply", "--yes"], "limits"),
        (["limits", "plan", "--base", ""], "limits"),
        (["ai-failback", "--yes"], "ai"),
        (["ai-failover", "--to", "groq", "--yes"], "ai"),
    ],
    ids=str,
)
def test_command_without_its_setting_is_refused(world: World, command: list[str], without: str) -> None:
    place = limits_world(world)
    switches.prepared(world)
    settings = plain_yaml.load(world.config.read_text())
    del settings["environments"]["production"]["runtime"][without]
    world.config.write_text(json.dumps(settings))
    where = ["--environment", "production", "--config", str(world.config)]

    refused = world.ops(*command, *where, **place.environ)

    assert refused.code == 2, refused.out + refused.err
    assert f"runtime.{without}" in refused.out + refused.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [["restore-database", "--to", "-90s"], ["revert-migration", "--name", "last"]], ids=str
)
def test_environment_without_databases_is_refused(world: World, command: list[str]) -> None:
    settings = plain_yaml.load(world.config.read_text())
    del settings["environments"]["production"]["databases"]
    world.config.write_text(json.dumps(settings))
    where = ["--environment", "production", "--config", str(world.config), "--yes", "--database", "main"]

    refused = world.ops(*command, *where)

    assert refused.code == 2, refused.out + refused.err
    assert "`databases`" in refused.out + refused.err

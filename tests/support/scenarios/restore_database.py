"""A library's database whose last migration is taken back, also with the rows that this loses kept in a file."""

from dataclasses import replace

from tests.conftest import World
from tests.support import databases
from tests.support.databases import Library
from tests.support.scenarios import Given, Scenario, deploy_hotfix


def _prepare(world: World, _given: Given) -> None:
    databases.prepared(world)
    world.edit_config("      lib:\n", "      fortunet:\n")


def _prepare_kept(world: World, given: Given) -> None:
    _prepare(world, given)
    world.edit_config("            at_least: 1\n", "            at_least: 1\n            keep: true\n")
    world.edit_config("        queries:\n", "          loans: {keep: true}\n        queries:\n")


_PLAIN = Scenario(
    _prepare,
    lambda world: Library(world).migrations == ["0001_first.sql"],
    (deploy_hotfix, lambda world: Library(world).lend()),
    options={"to": "-8m"},
)
SCENARIOS = {"": _PLAIN, "with kept rows": replace(_PLAIN, prepare=_prepare_kept, is_like_another=True)}

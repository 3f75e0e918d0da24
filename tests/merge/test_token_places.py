"""`token_location` of ops.yml: comments, refusals and errors name the variable and the place of its value."""

import ast
from typing import Any

import pytest

from tests.conftest import World
from tests.support.shop import Shop, open_shop
from tests.support.workflows import add_actions

PLACE = "1Password: shop-recovery"
NEEDS = f"`SHOP_TOKEN`: {PLACE}"


@pytest.fixture
def shop(world: World) -> Shop:
    opened = open_shop(world)
    world.edit_config("    token: SHOP_TOKEN\n", f'    token: SHOP_TOKEN\n    token_location: "{PLACE}"\n')
    world.edit_config(
        "    services:\n      web:\n",
        "    services:\n      web:\n        durable_objects:\n          till: {class: Till, reset: /reset, "
        "token: TILL_KEY, token_location: the safe}\n",
    )
    with world.config.open("a") as file:
        file.write(
            "labels:\n"
            "  recover:web: {runbook: rollback-worker, environment: live, params: {service: web}}\n"
            "  recover:till: {runbook: reset-durable-object, environment: live, params: {service: web}}\n"
        )
    return opened


def rollback(shop: Shop, *more: str, **environ: Any) -> Any:
    where = ("--service", "web", "--environment", "live", "--yes", "--json")
    return shop.ops("rollback-worker", *where, *more, **environ)


def test_comment_names_the_place_above_the_command(shop: Shop) -> None:
    hub = shop.world.sandbox.github
    hub.add_user("alice")
    number = hub.open_issue("The cart fails", "", ["incident"], "alice")

    done = rollback(shop, "--incident", str(number), **hub.environ())

    assert done.code == 0, done.err
    (body,) = [comment.body for comment in hub.issue(number).comments]
    head, _, command = body.partition("<summary>Laptop command</summary>")[2].partition("```")
    assert head.strip() == f"Set first: {NEEDS}"
    assert "rollback-worker" in command


@pytest.mark.parametrize("token", [None, ""])
def test_missing_token_is_an_error_with_the_place(shop: Shop, token: str | None) -> None:
    done = rollback(shop, SHOP_TOKEN=token)

    assert done.code == 2
    assert f"The token is here: {PLACE}. On a laptop: `export SHOP_TOKEN=…`." in done.err


def test_program_that_answers_names_the_places(shop: Shop) -> None:
    add_actions(shop.folder)
    assert shop.ops("workflows", "sync").code == 0

    program = (shop.folder / ".github" / "scripts" / "tell.py").read_text()
    dicts = (each for each in ast.walk(ast.parse(program)) if isinstance(each, ast.Dict))
    (settings,) = [each for each in dicts if any(ast.unparse(key) == "'VARIABLES'" for key in each.keys if key)]
    (variables,) = [each for each in settings.values if isinstance(each, ast.Dict) and "live" in ast.unparse(each)[:8]]
    assert ast.literal_eval(variables) == {"live": NEEDS}

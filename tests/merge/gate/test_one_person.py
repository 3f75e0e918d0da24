"""Restores that one person makes alone: on a laptop, or where nobody else can approve."""

import shlex

import pytest

from tests.gate.test_second_person import AFTER, desk
from tests.support.commands import ended, unwrapped
from tests.support.second_person import TOKEN, Desk

__all__ = ["desk"]


def test_one_person_on_a_laptop_is_named(desk: Desk) -> None:
    where = ["--environment", "live", "--config", str(desk.world.config), "--yes", "--json"]
    options = ["--database", "orders", "--to", "before-last-migration", "--incident", str(desk.incident)]
    laptop = {**desk.hub.environ(), "SHOP_TOKEN": TOKEN, "USER": "ana", "CLOUDFLARE_API_TOKEN": None}

    alone = desk.world.ops("restore-database", *options, *where, **laptop)
    desk.world.edit_config("        services: [web]\n", "        services: [web]\n        two_people: strict\n")
    strict = desk.world.ops("restore-database", *options, "--one-person", *where, **laptop)
    desk.world.edit_config("        two_people: strict\n", "")
    done = desk.world.ops("restore-database", *options, "--one-person", *where, **laptop)
    report = desk.world.ops("incident", "report", str(desk.incident), "--config", str(desk.world.config), **laptop)

    for outcome in (alone, strict):
        assert ended(outcome) == (3, "refused", "needs_two_people")
    assert "forbids --one-person" in strict.result["message"]
    assert done.result["outcome"]["changed"], done.err
    alone_text = "ana acts alone"
    assert any(alone_text in comment for comment in desk.comments)
    assert report.code == 0, report.err
    assert alone_text in (desk.hub.issues[-1].body or "")


def test_menu_shows_the_restore_without_one_person(desk: Desk) -> None:
    config = ["--config", str(desk.world.config)]
    environ = {**desk.hub.environ(), "SHOP_TOKEN": TOKEN, "CLOUDFLARE_API_TOKEN": None}
    opening = ["--service", "web", "--severity", "sev1", "--title", "orders are gone", *config]
    assert desk.world.ops("incident", "open", *opening, **environ).code == 0
    menu = unwrapped(desk.hub.issues[-1].comments[0].body)
    shown = next(line for line in menu.splitlines() if " restore-database " in line and "--" in line)

    pressed = desk.world.ops(*shlex.split(shown)[1:], "--yes", "--json", **environ)

    assert "--one-person" not in menu
    assert ended(pressed) == (3, "refused", "needs_two_people"), shown
    assert "--one-person" in pressed.result["hint"]


@pytest.mark.parametrize("strict", ["", "        two_people: strict\n"], ids=["default", "strict"])
def test_single_responder_learns_that_nobody_can_approve(desk: Desk, strict: str) -> None:
    desk.world.edit_config("        services: [web]\n", f"        services: [web]\n{strict}")
    desk.world.edit_config("labels:\n", "responders: [alice]\nlabels:\n")

    asked = desk.ask()

    assert ended(asked) == (0, "planned", "needs_two_people"), asked.err
    assert "ops.yml" in asked.result["message"]
    to = desk.request["params"]["to"]
    alone = f"restore-database --environment live --incident {desk.incident} --database orders --to {to} --one-person"
    assert (alone in asked.result["press"], "--one-person" in desk.comments[0]) == (not strict, not strict)


def test_single_responder_restores_alone_by_the_shown_command(desk: Desk) -> None:
    desk.world.edit_config("labels:\n", "responders: [alice]\nlabels:\n")
    _, *arguments = shlex.split(desk.ask().result["press"].replace("./run ops", "ops"))

    done = desk.world.ops(*arguments, "--yes", "--json", SHOP_TOKEN=TOKEN, CLOUDFLARE_API_TOKEN=None)

    assert done.result["outcome"]["changed"], done.err
    assert desk.tables == AFTER


def test_undo_of_a_strict_database_is_its_button(desk: Desk) -> None:
    desk.world.edit_config("        services: [web]\n", "        services: [web]\n        two_people: strict\n")
    desk.ask()

    (undo,) = desk.approve().result["undo"]

    assert undo.startswith("gh workflow run restore-database.yml -f database=orders -f to=")
    assert "one" not in undo


def test_restore_of_two_people_prints_no_command_of_one(desk: Desk) -> None:
    desk.ask()
    done = desk.approve()
    again = desk.ask()

    assert (done.result["decision"], again.result["reason"]) == ("healthy_as_before", "no_target")
    assert "ops restore-database" in done.err
    assert "--one-person" not in "".join((*desk.comments, done.out, done.err, again.out, again.err))

"""`ops on-call-card`: what to press for each symptom of this ops.yml, as a page and as a sheet of paper."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ACCOUNT, Outcome, World
from tests.status.test_incident_menu import forty_services
from tests.support.hostile import PIECES, skeleton
from tests.support.shop import open_shop
from tests.support.staging_drills import SECTION, open_drilled_shop, publish, result_of

PAGE, SHEET = "on-call.md", "on-call.html"
CONFIG = f"""
environments:
  live:
    account_id: {ACCOUNT}
    token: BAKERY_TOKEN
    token_location: "1Password: bakery"
    approval: [recovery]
    services:
      oven:
        worker: bakery-oven
        url: https://oven.bakery.example
        probes: [{{name: health, http: {{path: /health}}}}]
      shop:
        worker: bakery-shop
        url: https://shop.bakery.example
        responders: [dana]
        probes: [{{name: health, http: {{path: /health}}}}]
labels:
  recover:oven:
    runbook: rollback-worker
    environment: live
    params: {{service: oven}}
recovery_targets:
  rollback-worker: {{recovery: 90s}}
responders: [dana, mai]
contacts:
  - {{role: Baker on call, contact: "+44 20 7946 0000", availability: 24/7}}
  - {{role: Deputy, contact: "[TBD]", availability: nights}}
"""


def card(world: World, *arguments: str, **environ: Any) -> Outcome:
    given = {**world.sandbox.github.environ(), **environ}
    return world.ops("on-call-card", "--config", str(world.config), *arguments, **given)


def written(world: World) -> tuple[str, str]:
    """Write the card, and return page and sheet."""
    done = card(world)
    assert done.code == 0, done.err
    return (world.folder / PAGE).read_text(), (world.folder / SHEET).read_text()


def find_entry(page: str, symptom: str) -> str:
    return next(part for part in page.split("\n### ") if symptom in part.partition("\n")[0])


@pytest.fixture
def bakery(world: World) -> World:
    world.config.write_text(CONFIG)
    return world


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags, self.links = list[str](), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]


def parse(sheet: str) -> _Page:
    page = _Page()
    page.feed(sheet)
    return page


def find_structure(page: str) -> list[str]:
    """Return the structure below the mark, without code."""
    return [each for each in skeleton(page.partition("-->")[2]) if "code" not in each]


def test_card_says_what_to_press_who_may_whom_to_call_and_how_long_it_takes(bakery: World) -> None:
    page, sheet = written(bakery)

    entry = find_entry(page, "new version of a Worker")
    button = (
        f"{bakery.sandbox.github.environ()['GITHUB_SERVER_URL']}/acme/operations/actions/workflows/rollback-worker.yml"
    )
    assert "`recover:oven`" in entry
    assert f"({button})" in entry
    assert "--service SERVICE" in entry.replace("\\\n ", "")
    assert "not drilled; target 90s" in entry
    assert "responders differ" in entry  # the list of the shop is narrower
    assert ("dana" in page, "mai" in page, "+44 20 7946 0000" in page) == (True, True, True)
    assert "not filled in" in page.partition("Deputy")[2].partition("\n")[0]
    assert "approve-live" in page
    assert "1Password: bakery" in page
    for fact in ("recover:oven", button, "--service SERVICE", "target 90s", "+44 20 7946 0000", "approve-live"):
        assert fact in sheet


def test_services_with_other_typed_values_have_entries_of_their_own(bakery: World) -> None:
    """A command for all must not name the secrets of one service."""
    labels = "\n".join(
        f"  recover:{service}-keys:\n    runbook: rotate-secrets\n    environment: live\n"
        f"    params: {{service: {service}, only: {only}}}"
        for service, only in (("oven", "[OVEN_KEY, HEAT_KEY]"), ("shop", "[TILL_KEY]"))
    )
    text = CONFIG.replace("labels:\n", f"labels:\n{labels}\n")
    keys = (("OVEN_KEY", "oven"), ("HEAT_KEY", "oven"), ("TILL_KEY", "shop"))
    secrets = "".join(f"      {key}: {{rotate: generate, consumers: [{service}]}}\n" for key, service in keys)
    text = text.replace("    services:\n", f"    secrets:\n{secrets}    services:\n")
    bakery.config.write_text(text)

    page, sheet = written(bakery)

    entry = find_entry(page, "another secret leaked")
    command = " ".join(entry.replace("\\\n", "").split())
    for service, options in (("oven", "--only OVEN_KEY --only HEAT_KEY"), ("shop", "--only TILL_KEY")):
        assert f"--service {service} {options}" in command
        assert f"--service {service} {options}" in sheet
    assert "OVEN_KEY,HEAT_KEY" in entry.partition("<details>")[0]


def test_label_with_the_default_of_its_button_leaves_the_others_their_command(world: World) -> None:
    """The options of a command differ, and the button looks the same."""
    service = "        pages: {0}\n        url: https://{0}.bakery.example\n        compare: [/index.html]\n"
    sites = "".join(f"      {name}:\n{service.format(name)}" for name in ("bread", "cake"))
    labels = "".join(
        f"  recover:{name}:\n    runbook: redeploy-pages\n    environment: live\n    params: {{{params}}}\n"
        for name, params in (("bread", "service: bread, commit: previous"), ("cake", "service: cake"))
    )
    text = CONFIG.replace("    services:\n", f"    services:\n{sites}")
    world.config.write_text(text.replace("labels:\n", f"labels:\n{labels}"))

    page, _ = written(world)

    commands = " ".join(page.replace("\\\n", "").split())
    assert "redeploy-pages --service bread --commit previous" in commands
    assert "redeploy-pages --service cake --environment" in commands


def test_sheet_needs_no_script_and_no_other_host(bakery: World) -> None:
    _, sheet = written(bakery)

    page = parse(sheet)
    assert not {"script", "img", "link", "iframe"} & {*page.tags}
    server = bakery.sandbox.github.environ()["GITHUB_SERVER_URL"]
    assert {link for link in page.links if not link.startswith(f"{server}/acme/operations/")} == set()
    assert not re.search(r"url\(|@import", sheet)


def test_card_of_forty_services_is_short(world: World) -> None:
    world.config.write_text(forty_services())

    page, sheet = written(world)
    assert len(page) < 3_000
    assert len(sheet) < 5_000
    assert "checkout-" not in page


def test_time_is_that_of_the_last_passed_drill(world: World) -> None:
    shop = open_drilled_shop(world, SECTION)
    publish(shop, result_of(shop, 30, seconds=21))
    page, _ = written(world)
    assert "21 s in the drill of" in find_entry(page, "new version of a Worker")
    assert "not drilled" in find_entry(page, "Pages site breaks")

    publish(shop, result_of(shop, 1, seconds=33))
    check = card(world, "--check")
    assert (check.code, check.out.count("would write")) == (2, 2)
    assert "33 s in the drill of" in find_entry(written(world)[0], "new version of a Worker")


def test_check_writes_nothing_and_finds_a_former_ops_yml(bakery: World) -> None:
    assert card(bakery, "--check").code == 2
    assert not (bakery.folder / PAGE).exists()
    before = written(bakery)
    assert card(bakery, "--check").code == 0
    assert written(bakery) == before

    bakery.config.write_text(CONFIG.replace("recover:oven", "recover:baker"))
    check = card(bakery, "--check")
    assert (check.code, check.out.count("would write")) == (2, 2)
    assert written(bakery) != before
    assert card(bakery, "--check").code == 0


def test_file_of_a_person_is_kept_until_forced(bakery: World) -> None:
    (bakery.folder / PAGE).write_text("# Ours\n")

    kept = card(bakery)
    assert (kept.code, (bakery.folder / PAGE).read_text()) == (2, "# Ours\n")
    assert "--force" in kept.out
    assert card(bakery, "--force").code == 0
    assert (bakery.folder / PAGE).read_text() != "# Ours\n"


def test_edited_card_is_kept_and_named_only_when_ops_yml_changed(bakery: World) -> None:
    written(bakery)
    path = bakery.folder / PAGE
    path.write_text(path.read_text() + "\nThe key of the bakery is at the bar.\n")
    assert card(bakery, "--check").code == 0

    bakery.config.write_text(CONFIG.replace("recover:oven", "recover:baker"))
    assert card(bakery).code == 2
    assert "at the bar" in path.read_text()


def test_github_down_leaves_the_times_unknown_and_writes_the_card(world: World) -> None:
    open_drilled_shop(world, SECTION)
    world.sandbox.github.fault(method="*", path="/**", status=503, times=None)

    done = card(world)
    assert done.code == 0
    assert "unknown" in done.out
    assert "unknown" in find_entry((world.folder / PAGE).read_text(), "new version of a Worker")
    assert card(world, "--check").code == 0
    world.sandbox.github.faults.clear()
    assert card(world, "--check").code == 2  # its times can be written now


def test_card_without_the_name_of_the_repository_is_refused(bakery: World, tmp_path: Path) -> None:
    done = card(bakery, GITHUB_REPOSITORY=None)

    assert (done.code, (bakery.folder / PAGE).exists()) == (2, False)
    assert "GITHUB_REPOSITORY" in done.err


def examine(world: World) -> list[dict[str, Any]]:
    """Return what doctor says of the card."""
    arguments = ("--only", "on-call-card", "--json", "--config", str(world.config))
    return list(world.ops("doctor", *arguments, **world.sandbox.github.environ()).result["checks"])


def test_team_without_the_card_has_no_finding(world: World) -> None:
    open_shop(world)

    assert [each["answer"] for each in examine(world)] == ["right"]


def test_command_of_doctor_renews_an_edited_card(bakery: World) -> None:
    written(bakery)
    page = bakery.folder / PAGE
    page.write_text(page.read_text() + "\nThe key of the bakery is at the bar.\n")
    bakery.config.write_text(CONFIG.replace("recover:oven", "recover:baker"))

    commands = [each["command"].partition("on-call-card")[2].split() for each in examine(bakery)]

    assert commands == [["--force"], []]
    assert card(bakery, *commands[0]).code == 0
    assert [each["answer"] for each in examine(bakery)] == ["right"]


def test_hostile_contact_adds_no_markup(bakery: World) -> None:
    page, sheet = written(bakery)
    usual = find_structure(page), parse(sheet).tags
    for text in PIECES:
        if text.strip() == text:
            quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
            bakery.config.write_text(CONFIG.replace("Baker on call", f'"x {quoted}"'))

            page, sheet = written(bakery)
            assert (find_structure(page), parse(sheet).tags) == usual, text


def test_card_and_menu_say_that_nobody_may_start_a_recovery(bakery: World) -> None:
    """Two lists of responders without a common login: the gate refuses everybody."""
    bakery.config.write_text(CONFIG.replace("responders: [dana]\n", "responders: [zoe]\n"))
    shop_only = find_entry(written(bakery)[0], "new version of a Worker")
    assert "responders differ" in shop_only

    bakery.config.write_text(
        CONFIG.replace(
            "responders: [dana, mai]", "responders: [zoe]\nrunbooks: {rollback-worker: {responders: [dana]}}"
        )
    )
    page, sheet = written(bakery)
    assert "nobody" in find_entry(page, "new version of a Worker")
    assert "nobody" in sheet
    hub = bakery.sandbox.github
    hub.add_user("mai")
    number = hub.open_issue("Cold bread", "### Service\n\noven\n", ["incident"], "mai")
    assert bakery.ops("incident", "menu", str(number), "--config", str(bakery.config), **hub.environ()).code == 0
    assert "nobody" in hub.issue(number).comments[0].body

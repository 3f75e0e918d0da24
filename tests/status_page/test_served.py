"""`ops status-page compare`, and doctor: what a visitor gets, without a login and past caches."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import Outcome, World
from tests.status_page.support import SETTINGS
from tests.status_page.test_command import bakery, build

__all__ = ["bakery"]
HOST = urlsplit(SETTINGS.url).netloc


def read_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def built(bakery: World) -> World:
    """The page was built, and GitHub Pages serves it."""
    bakery.sandbox.github.enable_pages(HOST)
    assert build(bakery).code == 0
    bakery.sandbox.github.pages.files = read_files(bakery.folder / "public")
    return bakery


def compare(world: World, page: str = "") -> Outcome:
    return world.ops("status-page", "compare", page or str(world.folder / "public"), "--config", str(world.config))


def examine(world: World) -> Mapping[str, Any]:
    arguments = ("doctor", "--json", "--only", "status-page", "--config", str(world.config))
    outcome = world.ops(*arguments, **world.sandbox.github.environ())
    (check,) = json.loads(outcome.out)["checks"]
    return check  # type: ignore[no-any-return]


def test_served_page_is_compared_and_fresh(built: World) -> None:
    assert compare(built).code == 0
    assert examine(built)["answer"] == "right"


def test_a_newer_page_is_served_too(built: World) -> None:
    """Another job deployed it meanwhile, with all updates of this one."""
    first = (built.folder / "public").rename(built.folder / "first")
    built.sandbox.clock.advance(60)
    assert build(built).code == 0
    built.sandbox.github.pages.files = read_files(built.folder / "public")

    assert compare(built, str(first)).code == 0


def test_a_job_compares_by_the_output_of_the_build(built: World, tmp_path: Path) -> None:
    output = tmp_path / "output"
    environ = {**built.sandbox.github.environ(), "GITHUB_OUTPUT": str(output)}
    target = str(built.folder / "public")
    assert built.ops("status-page", "build", target, "--config", str(built.config), **environ).code == 0
    built.sandbox.github.pages.files = read_files(Path(target))
    (page,) = re.findall(r"\S+Z/[0-9a-f]{64}", output.read_text())

    assert compare(built, page).code == 0
    assert compare(built, f"{page[:-1]}{'0' if page[-1] != '0' else '1'}").code == 4
    assert compare(built, page.partition("/")[2]).code == 2


def test_another_page_is_waited_for_and_then_reported(built: World) -> None:
    built.sandbox.clock.advance(60)
    assert build(built).code == 0
    began = built.sandbox.clock.now()

    outcome = compare(built)

    assert outcome.code == 4
    assert SETTINGS.url in outcome.err
    assert timedelta(minutes=12) <= built.sandbox.clock.now() - began < timedelta(minutes=13)


def test_a_cache_that_ignores_queries_only_delays(built: World) -> None:
    hub = built.sandbox.github
    hub.switches.pages_cache_ignores_query = True
    assert compare(built).code == 0  # which stores the former page
    built.sandbox.clock.advance(60)
    assert build(built).code == 0
    hub.pages.files = read_files(built.folder / "public")
    began = built.sandbox.clock.now()

    assert compare(built).code == 0
    assert timedelta(minutes=8) < built.sandbox.clock.now() - began < timedelta(minutes=10)


def remove_page(world: World) -> None:
    world.sandbox.github.pages.files = {}


def ask_for_login(world: World) -> None:
    headers = {"location": "https://login.example/?to=status"}
    world.sandbox.edge_fault(host=HOST, status=302, headers=headers, times=None)


def challenge(world: World) -> None:
    world.sandbox.edge_fault(host=HOST, status=403, headers={"cf-mitigated": "challenge"}, times=None)


def serve_another_site(world: World) -> None:
    world.sandbox.github.pages.files = {"status.json": b"<h1>parked</h1>"}


def serve_another_page(world: World) -> None:
    world.sandbox.github.pages.files = {"status.json": b'{"page": {"name": "Butcher status"}, "build": []}'}


def serve_no_time(world: World) -> None:
    text = json.dumps({"page": {"name": SETTINGS.title}, "build": {"at": "noon"}})
    world.sandbox.github.pages.files = {"status.json": text.encode()}


def let_it_age(world: World) -> None:
    world.sandbox.clock.advance(41 * 60)


@pytest.mark.parametrize(
    ("break_page", "fact"),
    [
        (remove_page, "404"),
        (ask_for_login, "login.example"),
        (challenge, "challenge"),
        (serve_another_site, "document"),
        (serve_another_page, "title"),
        (serve_no_time, "built"),
        (let_it_age, "41 min"),
    ],
)
def test_doctor_finds_a_page_that_is_not_served_or_not_fresh(
    built: World, break_page: Callable[[World], None], fact: str
) -> None:
    break_page(built)

    check = examine(built)

    assert check["answer"] == "wrong"
    assert fact in check["text"]


def test_a_page_without_regular_builds_may_be_old(built: World) -> None:
    built.edit_config("  rebuilt: 15m\n", "")
    assert build(built).code == 0
    built.sandbox.github.pages.files = read_files(built.folder / "public")
    built.sandbox.clock.advance(90 * 86400)

    assert examine(built)["answer"] == "right"


def test_compare_without_a_built_page_is_refused(bakery: World) -> None:
    assert compare(bakery).code == 2

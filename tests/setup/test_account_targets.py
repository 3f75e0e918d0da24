"""`ops targets` without an ops.yml: every service that a read-only token finds, and nothing is written."""

import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from ops.setup.init.account_targets import HEADING
from sandbox import Sandbox
from tests.conftest import REFERENCE, ROOT, Outcome, World
from tests.support.adoption import ACTIONS, EVERY_READ, READER, release, releases
from tests.support.commands import Terminal
from tests.support.rollback_targets import targets_of
from tests.support.shop import answering

LIVE, TEST = "6c" * 16, "7d" * 16
FIRST_SERVICES = ["kite-shop in kite-works", "kite-shop-2 in kite-works", "kite-sweep in kite-works"]


@pytest.fixture
def kites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A company with a Worker, a Worker that only a cron trigger starts, a site, and a Worker in a second account."""
    monkeypatch.chdir(tmp_path)
    with Sandbox(account_id=LIVE, virtual_clock=True) as sandbox, Sandbox(account_id=TEST, virtual_clock=True) as test:
        sandbox.rename_account("Kite Works")
        zone = sandbox.zones.all[sandbox.zones.add("kites.example")]
        releases(sandbox, "kite-shop", behaviour=answering())
        release(sandbox, "kite-sweep", timedelta(days=3), handlers=("scheduled",))
        sandbox.zones.add_domain(zone, "kites.example", "kite-shop")
        sandbox.set_subdomain("kite-sweep", enabled=False)
        sandbox.pages.add_project("kite-shop", domains=["docs.kites.example"])
        for hours in (30, 2):
            at = sandbox.clock.now() - timedelta(hours=hours)
            sandbox.pages.add_deployment("kite-shop", files={"index.html": f"<h1>{hours}</h1>".encode()}, at=at)
        releases(test, "kite-shop", behaviour={"status": 503})
        test.set_subdomain("kite-shop", enabled=True)
        for each in (sandbox, test):
            each.add_token(READER, EVERY_READ)
        sandbox.add_account(test)
        yield World(sandbox, tmp_path)


def targets(world: World, *arguments: str, **environ: str | None) -> Outcome:
    given = {"CLOUDFLARE_API_TOKEN": READER, "CLOUDFLARE_ACCOUNT_ID": None, **environ}
    return world.ops("targets", *arguments, **given)


def rows(world: World, **environ: str | None) -> dict[str, dict[str, Any]]:
    return targets_of(lambda *words, **more: targets(world, *words[1:], **more), **environ)


def test_every_service_of_every_account_has_the_target_of_its_plan(kites: World) -> None:
    found = rows(kites)
    assert kites.ops(
        *("init", "operations", "--actions", ACTIONS, "--account", f"live={LIVE}", "--account", f"test={TEST}"),
        *("--worker", "shop=kite-shop", "--worker", "sweep=kite-sweep", "--pages", "docs=kite-shop"),
        *("--token-name", "test=CLOUDFLARE_API_TOKEN"),
        CLOUDFLARE_API_TOKEN=READER,
    ).code == 0  # fmt: skip

    planned = targets_of(lambda *words, **more: targets(kites, *words[1:], "--config", "operations/ops.yml", **more))

    same = dict(zip(FIRST_SERVICES, ("shop in live", "docs in live", "sweep in live"), strict=True))
    same["kite-shop in sandbox"] = "shop in test"
    assert set(found) == set(same)
    for name, service in same.items():
        for fact in ("kind", "state", "target", "live", "live_since", "releases", "oldest", "reason"):
            assert found[name][fact] == planned[service][fact], (name, fact)
    states = {name: (row["state"], row["health"]) for name, row in found.items()}
    assert states == {
        "kite-shop in kite-works": ("ready", "answers"),
        "kite-sweep in kite-works": ("blocked", "no URL known"),
        "kite-shop-2 in kite-works": ("ready", "answers"),
        "kite-shop in sandbox": ("ready", "no clear result"),
    }
    assert {(row["command"], row["hint"]) for row in found.values()} == {("", "")}


def test_it_only_reads_and_a_second_time_says_the_same(kites: World) -> None:
    first, again = targets(kites), targets(kites)

    assert (first.code, first.err, again.code) == (0, "", 0)
    assert re.sub(r"\d\d:\d\d:\d\d|\d+ h", "", first.out) == re.sub(r"\d\d:\d\d:\d\d|\d+ h", "", again.out)
    sent = kites.sandbox.requests
    assert {each.method for each in sent if not each.path.endswith("/graphql")} == {"GET"}
    assert not [each.path for each in sent if not each.path.startswith("/client/")]  # nothing to GitHub
    assert list(kites.folder.iterdir()) == []


def test_table_is_grouped_by_account_and_says_what_was_not_checked(kites: World) -> None:
    outcome = targets(kites)

    lines = outcome.out.splitlines()
    assert lines[0] == HEADING
    first, second = (
        lines.index(f"kite-works: Kite Works ({LIVE}), 3 services"),
        lines.index(f"sandbox: Sandbox ({TEST}), 1 service"),
    )
    assert [line.split()[0] for line in lines[first + 1 : second - 1]] == [
        "service",
        "kite-shop",
        "kite-sweep",
        "kite-shop-2",
    ]
    assert "kite-shop-2 (pages kite-shop)" in outcome.out
    unchecked = outcome.out.partition("Not checked:\n")[2]
    assert "kite-shop in sandbox: https://kite-shop." in unchecked
    assert "answers with status 503" in unchecked
    assert lines[-1].endswith("`ops adopt`")
    markdown = targets(kites, "--markdown").out
    assert f"**kite-works: Kite Works ({LIVE}), 3 services**" in markdown.replace("\\", "").replace("`", "")
    assert "| kite-sweep | **blocked**" in markdown.replace("`", "").replace("\\", "")


def test_account_variable_limits_the_accounts(kites: World) -> None:
    assert [*rows(kites, CLOUDFLARE_ACCOUNT_ID=TEST)] == ["kite-shop in sandbox"]

    wrong = targets(kites, CLOUDFLARE_ACCOUNT_ID="kite")
    assert (wrong.code, "32 hexadecimal digits" in wrong.err) == (2, True)


def test_each_account_may_have_a_token_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Sandbox(account_id=LIVE, virtual_clock=True) as live, Sandbox(account_id=TEST, virtual_clock=True) as test:
        for sandbox, token in ((live, "live-reader"), (test, "test-reader")):
            releases(sandbox, "kite-shop")
            sandbox.add_token(token, EVERY_READ)
        live.add_account(test)
        world = World(live, tmp_path)

        found = targets(world, "--json", CLOUDFLARE_API_TOKEN="live-reader", STAGING_CLOUDFLARE_API_TOKEN="test-reader")

    assert found.code == 0, found.err
    assert [each["id"] for each in found.result["accounts"]] == [LIVE, TEST]
    assert [row["state"] for row in found.result["services"]] == ["ready", "ready"]


def test_token_that_lists_no_account_is_named_beside_the_others(kites: World) -> None:
    kites.sandbox.add_token("old-reader", EVERY_READ, expired=True)

    outcome = targets(kites, STAGING_CLOUDFLARE_API_TOKEN="old-reader")
    limited = targets(kites, STAGING_CLOUDFLARE_API_TOKEN="old-reader", CLOUDFLARE_ACCOUNT_ID=LIVE)

    assert (outcome.code, limited.code) == (4, 0)
    assert "not read: accounts of STAGING_CLOUDFLARE_API_TOKEN" in outcome.err
    assert "  accounts of STAGING_CLOUDFLARE_API_TOKEN: " in outcome.out.partition("Not checked:")[2]
    assert "kite-works: Kite Works" in outcome.out


def test_list_of_accounts_that_fails_is_needed_for_no_given_account(kites: World) -> None:
    kites.sandbox.fault(path="/client/v4/accounts", status=503, times=None)

    assert targets(kites).code == 4
    assert [*rows(kites, CLOUDFLARE_ACCOUNT_ID=TEST)] == ["kite-shop in account-1"]


def test_account_that_cannot_be_read_is_named_beside_the_others(kites: World) -> None:
    kites.sandbox.fault(path=f"/client/v4/accounts/{TEST}/**", status=403, code=10000, times=None)

    outcome = targets(kites, "--json")

    assert outcome.code == outcome.result["exit_code"] == 4
    assert {row["environment"] for row in outcome.result["services"]} == {"kite-works"}
    unread = {each["environment"]: each["unread"] for each in outcome.result["accounts"]}
    assert unread["kite-works"] == []
    assert any(line.startswith("Workers: ") and "Workers Scripts Read" in line for line in unread["sandbox"])
    assert TEST in outcome.err


def test_service_that_cannot_be_read_is_named_beside_the_others(kites: World) -> None:
    path = f"/client/v4/accounts/{LIVE}/workers/scripts/kite-shop/deployments"
    kites.sandbox.fault(path=path, status=403, code=10000, times=None)

    outcome = targets(kites)

    assert outcome.code == 4
    assert "kite-shop in kite-works, unknown: " in outcome.out
    assert "not read: kite-shop in kite-works" in outcome.err
    assert "kite-sweep in kite-works, blocked: " in outcome.out


def test_narrow_token_shows_its_part_and_names_the_missing_permission(kites: World) -> None:
    kites.sandbox.add_token("workers-only", {"Workers Scripts Read"})

    outcome = targets(kites, CLOUDFLARE_API_TOKEN="workers-only", CLOUDFLARE_ACCOUNT_ID=LIVE)

    assert outcome.code == 4
    assert "no URL known" in outcome.out.partition("kite-sweep")[2].partition("\n")[0]  # its routes were not read
    assert '"Pages Read"' in outcome.out


def test_reasons_of_the_exit_code_are_shown_before_many_other_lines(kites: World) -> None:
    for number in range(22):
        releases(kites.sandbox, f"kite-{number}", behaviour={"status": 503})
        kites.sandbox.set_subdomain(f"kite-{number}", enabled=True)
    kites.sandbox.fault(path=f"/client/v4/accounts/{LIVE}/pages/projects", status=403, code=10000, times=None)

    outcome = targets(kites)

    assert outcome.code == 4
    assert f"Kite Works ({LIVE}), 24 services, others not read" in outcome.out
    assert f"not read: some services of Kite Works ({LIVE})" in outcome.err
    assert '"Pages Read"' in outcome.out


@pytest.mark.parametrize(
    ("token", "text"),
    [(None, "permissionGroupKeys="), ("wrong", "CLOUDFLARE_ACCOUNT_ID=ID"), ("a b", "U+0020")],
    ids=["missing", "unknown", "malformed"],
)
def test_unusable_token_is_refused_without_a_question(kites: World, token: str | None, text: str) -> None:
    outcome = targets(kites, "--json", CLOUDFLARE_API_TOKEN=token)

    assert (outcome.code, outcome.out, text in outcome.err) == (2, "", True)


def test_account_that_the_token_does_not_list_is_read_by_its_id(kites: World) -> None:
    kites.sandbox.fault(path="/client/v4/accounts", status=403, code=10000, times=None)

    assert targets(kites).code == 2
    assert [*rows(kites, CLOUDFLARE_ACCOUNT_ID=TEST)] == ["kite-shop in account-1"]


def test_account_without_services_says_so(kites: World) -> None:
    with Sandbox(account_id="8e" * 16, virtual_clock=True) as empty:
        empty.add_token(READER, EVERY_READ)

        outcome = targets(World(empty, kites.folder))

    assert outcome.code == 0
    assert ", 0 services" in outcome.out


def test_unedited_example_counts_as_no_configuration(kites: World) -> None:
    shutil.copy(REFERENCE / "ops.yml", kites.folder)
    assert len(rows(kites)) == 4

    with (kites.folder / "ops.yml").open("a") as file:
        file.write("# ours\n")
    assert "api in production" in targets(kites).out
    shutil.copy(REFERENCE / "ops.yml", kites.folder)
    assert "api in production" in targets(kites, "--config", "ops.yml").out


def test_example_of_another_version_counts_as_no_configuration(kites: World) -> None:
    shutil.copytree(REFERENCE, kites.folder / "examples" / "fortunet")
    for path in (kites.folder / "examples" / "fortunet" / "ops.yml", kites.folder / "ops.yml"):
        path.write_text((REFERENCE / "ops.yml").read_text() + "# of a later version\n")

    assert "kite-sweep in kite-works" in rows(kites)


@pytest.mark.parametrize("words", [("--environment", "live"), ("--config", "other.yml")], ids=lambda words: words[0])
def test_named_configuration_is_required(kites: World, words: tuple[str, ...]) -> None:
    outcome = targets(kites, *words)

    assert (outcome.code, "cannot be read" in outcome.err) == (2, True)


def test_hostile_name_of_an_account_changes_no_line(kites: World) -> None:
    kites.sandbox.rename_account("Kites\x1b[2J\n| <img src=x> @acme/all")

    outcome = targets(kites)

    assert outcome.code == 0
    assert "\x1b" not in outcome.out
    assert sum(LIVE in line for line in outcome.out.splitlines()) == 1
    assert "<img" not in targets(kites, "--markdown").out


@pytest.mark.slow
def test_more_services_than_the_limit_allows_are_named(kites: World) -> None:
    for number, hours in product(range(70), (30, 5)):
        release(kites.sandbox, f"kite-{number}", timedelta(hours=hours), code=f"{hours}")

    outcome = targets(kites, "--json")

    assert (outcome.code, len(outcome.result["services"])) == (4, 60)
    assert sum(each.path.startswith("/client/") for each in kites.sandbox.requests) <= 900
    assert any("One command reads 60 services" in line for line in outcome.result["unchecked"])


@pytest.mark.slow
def test_person_pastes_the_token_at_a_terminal(kites: World) -> None:
    kites.sandbox.fault(path="/client/**", times=None, delay=0.5)
    ours, theirs = pty.openpty()
    environ = {**os.environ, **kites.sandbox.environ(), "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    for name in ("CLOUDFLARE_API_TOKEN", "CLOUDFLARE_ACCOUNT_ID"):
        environ.pop(name, None)
    argv = [sys.executable, "-m", "ops", "targets"]
    with subprocess.Popen(
        argv, text=True, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, cwd=kites.folder
    ) as process:
        os.close(theirs)
        person = Terminal(process, ours)
        person.until("Enter to stop: ")
        person.type(f"{READER}\n")
        assert person.end() == 0, person.shown
    os.close(ours)

    assert "permissionGroupKeys=" in person.shown
    assert "reading … " in person.shown
    assert READER not in person.shown
    assert "kite-shop-2" in person.shown

"""`ops workflows sync` in a repository with the files of release 0.1.1. Real jobs: tests/acceptance/test_upgrade.py."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from ops.core.version import __version__
from tests.conftest import ROOT, Outcome, World
from tests.support.adoption import ACTIONS, SHOP, Team, build_shop, release, team
from tests.support.former_release import read_repository, read_workflows
from tests.support.workflows import add_actions

RELEASE, FOLDER = "0.1.1", Path(".github", "workflows")


@pytest.fixture
def former(world: World) -> World:
    """Return the folder of a ferry company, as the former release wrote it."""
    add_actions(world.folder)
    for path, text in read_workflows(RELEASE).items():
        (world.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (world.folder / path).write_text(text)
    return world


def sync(world: World, *options: str) -> Outcome:
    return world.ops("workflows", "sync", "--config", str(world.config), *options)


def read_folder(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_of_the_former_release_are_replaced_without_force(former: World) -> None:
    """All changes are in .github, so that the reversal of one commit takes all of them back."""
    before = read_folder(former.folder)

    done = sync(former)

    after = read_folder(former.folder)
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    assert (done.code, sync(former, "--check").code) == (0, 0), done.out
    assert "kept:" not in done.out
    assert "`git revert`" in done.out
    assert {path for path in changed if not path.startswith(".github/")} == set()
    assert f"{FOLDER}/incident.yml" in changed


def test_edited_file_of_the_former_release_is_kept_and_named(former: World) -> None:
    edited = former.folder / FOLDER / "rollback-worker.yml"
    edited.write_text(edited.read_text().replace("timeout-minutes: 15", "timeout-minutes: 20"))

    done = sync(former)

    assert done.code == 2
    assert "kept: .github/workflows/rollback-worker.yml (was edited since the last sync)" in done.out
    assert "written: .github/workflows/incident.yml" in done.out
    assert sync(former, "--force").code == 0
    assert "timeout-minutes: 20" not in edited.read_text()


def test_replaced_file_is_whole_at_each_moment(former: World) -> None:
    """A kill during the write leaves the former text, as a reader sees it that opened the file before."""
    path, linked = (former.folder / FOLDER / name for name in ("rollback-worker.yml", "incident.yml"))
    shared = linked.rename(former.folder / "shared.yml")
    linked.symlink_to(shared)
    path.chmod(0o640)
    before = path.read_text()

    with path.open() as reader:
        assert sync(former).code == 0
        assert reader.read() == before

    assert path.read_text() != before
    assert (path.stat().st_mode & 0o777, linked.is_symlink(), sync(former, "--check").code) == (0o640, True, 0)
    assert not [*path.parent.glob(".*")]


# The whole repository of a shop, by the commands of the page.


PAGE = ROOT / "docs" / "how-to" / "upgrade.md"
OLD, NEW = ACTIONS.partition("@")[2], "6fb2" * 10
OLD_PIN, NEW_PIN = f"@{OLD} # v{RELEASE}", f"@{NEW} # v{__version__}"
ACTING = ("Workers Scripts Write", "Workers Routes Write", "Workers KV Storage Write", "Pages Write", "Zone Read")
CONDITIONAL = {"maintenance", "switches"}
"""Commands of a step that the shop does not need: it has no Worker of maintenance and no switches."""
NOT_GENERATED = {"README.md", ".gitignore", ".github/CODEOWNERS", ".github/dependabot.yml"}


def page_commands() -> list[list[str]]:
    """Return the commands of the numbered steps, in their order."""
    steps = PAGE.read_text().partition("## What waits")[0]
    found = (line.split() for line in re.findall(r"^ +ops (.*)$", steps.replace("\\\n", " "), re.MULTILINE))
    return [words for words in found if words[0] not in CONDITIONAL]


@dataclass(frozen=True)
class Upgrade:
    team: Team
    laptop: dict[str, str | None]
    """Variables of an admin's laptop."""
    acting: str
    """The token of the jobs."""

    def ops(self, *arguments: str) -> Outcome:
        return self.team.ops(*arguments, **self.laptop)

    def push(self, subject: str) -> None:
        files = {name: text.encode() for name, text in self.team.files().items()}
        self.team.world.sandbox.github.add_commit(subject, "alice", files=files)


@pytest.fixture
def upgrade(tmp_path: Path) -> Iterator[Upgrade]:
    """Return a shop's repository as release 0.1.1 wrote it, with its secrets, after Dependabot's pull request."""
    with team(SHOP, tmp_path) as shop:
        build_shop(shop.world.sandbox)
        hub = shop.world.sandbox.github
        hub.switches.plan = "team"
        hub.add_user("alice", "admin")
        for name, text in read_repository(RELEASE).items():
            path = shop.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        admin, acting = hub.add_token("ghp_alice", "alice"), shop.world.sandbox.add_token("acts", ACTING)
        made = Upgrade(shop, {**hub.environ(), "GITHUB_TOKEN": admin, "CLOUDFLARE_API_TOKEN": acting}, acting)
        for secret in made.ops("setup", "github", "--yes", "--json").result["secrets"]:
            hub.put_secret(secret["name"], acting, secret["github_environment"] or None)
        for path in shop.folder.rglob("*.yml"):
            path.write_text(path.read_text().replace(OLD_PIN, NEW_PIN))
        made.push("Bump acme/backout")
        yield made


def test_repository_of_the_former_release_is_upgraded_by_the_commands_of_the_page(upgrade: Upgrade) -> None:
    before = upgrade.team.files()

    done = {" ".join(words): upgrade.ops(*words) for words in page_commands() if words != ["doctor"]}
    upgrade.push("Upgrade Backout")

    assert {command: outcome.code for command, outcome in done.items()} == dict.fromkeys(done, 0)
    assert [*done] == ["config check", "labels sync", "workflows sync --check", "workflows sync --force"]
    after = upgrade.team.files()
    assert "generated by 0.1.1" in done["workflows sync --check"].out
    assert {name for name in before if name not in after} == set()
    assert {name: after[name] for name in NOT_GENERATED} == {name: before[name] for name in NOT_GENERATED}
    assert upgrade.ops("workflows", "sync", "--check").code == 0
    found = {
        each["id"]: each["text"]
        for each in upgrade.ops("doctor", "--json").result["checks"]
        if each["answer"] == "wrong"
    }
    assert found == {}


def test_upgraded_repository_recovers_and_goes_back(upgrade: Upgrade) -> None:
    """The reversal of the commit of the upgrade is what release 0.1.1 had."""
    sandbox, before = upgrade.team.world.sandbox, upgrade.team.files()
    assert upgrade.ops("workflows", "sync", "--force").code == 0
    good = dict(sandbox.live("shop-web"))
    release(sandbox, "shop-web", timedelta(minutes=1), code="bad", behaviour={"status": 500})

    where = ("--service", "shop-web", "--environment", "production", "--yes")
    done = upgrade.ops("rollback-worker", *where)

    assert (done.code, dict(sandbox.live("shop-web"))) == (0, good), done.out + done.err
    changed = {name for name, text in upgrade.team.files().items() if before.get(name) != text}
    assert {name for name in changed if not name.startswith((".github/", ".ops/"))} == set()


def test_init_names_what_sync_does_not_write(upgrade: Upgrade) -> None:
    """Files that the team may have changed: `ops init` shows what the new version would write, and keeps them."""
    assert upgrade.ops("workflows", "sync", "--force").code == 0
    before = upgrade.team.files()

    shown = upgrade.team.init("--actions", f"{ACTIONS.partition('@')[0]}@{NEW}")

    kept = {line.removeprefix("kept: ") for line in shown.out.splitlines() if line.startswith("kept: ")}
    assert (shown.code, kept <= {*NOT_GENERATED, "ops.yml"}) == (2, True), shown.out
    assert upgrade.team.files() == before

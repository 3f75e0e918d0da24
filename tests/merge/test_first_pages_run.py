"""The pages of the first days run, each in a world of its own: README, set-up, first day."""

import re
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT, Outcome
from tests.setup.test_adopt import PERSON, TOKEN, shop
from tests.setup.test_init_accounts import TOKENS, tram
from tests.support import team_files
from tests.support.adoption import ACTIONS, READER, TRAM, TRAM_LABS, Team
from tests.support.page_commands import PageCommand, commands_of
from tests.support.verification import ACCOUNT, REPOSITORY, MeasuredRepository, measured_repository

__all__ = ["shop", "tram"]
HOW_TO = ROOT / "docs" / "how-to"


def command_of(page: str, beginning: str) -> PageCommand:
    return next(each for each in commands_of(HOW_TO / page) if each.text.startswith(beginning))


def give(team: Team, command: PageCommand, *answers: str, **environ: str | None) -> Outcome:
    """Give the command as somebody whose tokens are those of the shop. `answers`: options for questions."""
    given = {
        "CLOUDFLARE_API_TOKEN": READER,
        "CLOUDFLARE_ACCOUNT_ID": None,
        **team.world.sandbox.github.environ(),
        "GITHUB_REPOSITORY": None,
        "GITHUB_TOKEN": PERSON,
        **environ,
    }
    return team.world.ops(*command.words, *answers, **given)


def test_steps_of_the_readme_adopt_a_shop(shop: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.world.folder)
    steps = re.findall(r"^ +\./run (ops .*)$", team_files.readme(), re.MULTILINE) or ["ops targets", "ops adopt"]
    see, adopt = (PageCommand(each) for each in steps if "drill" not in each)

    shown = give(shop, see)
    adopted = give(shop, adopt, "--actions", ACTIONS, "--no-drill", "--yes", OPS_RECOVERY_TOKEN=TOKEN)

    assert (shown.code, adopted.code) == (0, 0), shown.err + adopted.err
    assert "shop-web" in shown.out
    assert "dana/operations is set up" in adopted.out


def test_single_commands_of_the_set_up_page(shop: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.world.folder)
    described = give(shop, command_of("set-up.md", "ops init operations"), "--actions", ACTIONS)
    files = {name: text.encode() for name, text in shop.files().items()}
    github = shop.world.sandbox.github.add_repository("dana/operations")
    github.add_user("dana", "admin")
    github.add_commit("Begin", "dana", files=files)
    monkeypatch.chdir(shop.folder)
    where = {"GITHUB_REPOSITORY": "dana/operations"}
    set_up = give(shop, command_of("set-up.md", "ops setup github"), "--yes", **where)
    checked = give(shop, command_of("set-up.md", "ops doctor"), **where)

    assert (described.code, set_up.code) == (0, 0), described.err + set_up.out + set_up.err
    assert sorted(github.environments) == ["evidence", "recovery", "report", "security"]
    assert checked.code == 2
    assert "gh secret set CLOUDFLARE_API_TOKEN --env recovery" in set_up.out


def test_command_for_several_accounts_of_the_set_up_page(tram: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tram.world.folder)
    text = command_of("set-up.md", "ops init operations --account").text
    for account in (TRAM, TRAM_LABS):
        text = text.replace("ACCOUNT_ID", account, 1)

    done = give(tram, PageCommand(text), "--actions", ACTIONS, **TOKENS)

    assert done.code == 0, done.err
    assert all(f"  {name}:\n    account_id: " in tram.config.read_text() for name in ("live", "labs"))


@pytest.fixture
def measured() -> Iterator[MeasuredRepository]:
    with measured_repository() as repository:
        yield repository


def test_commands_of_the_first_day(measured: MeasuredRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(measured.folder)
    measured.merge_on_request()
    results = []
    for command in commands_of(HOW_TO / "first-day.md"):
        if command.is_ops:
            text = command.text.replace("ACCOUNT_ID", ACCOUNT).replace("OWNER/NAME", REPOSITORY)
            results.append(measured.verify(*PageCommand(text).words[1:], "--yes"))

    assert [each.code for each in results] == [0, 0], results[0].out + results[0].err
    assert measured.output.exists()

"""`ops setup github` asks for each Cloudflare token, checks it and stores it on GitHub."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ops.core.errors import ConfigError
from ops.setup.github_secrets import UNPROVED, MissingSecret, check_token
from sandbox import Sandbox
from tests.conftest import ROOT, World
from tests.support.bakery import PERMISSIONS
from tests.support.commands import Terminal
from tests.support.configurations import CONFIGURATIONS

SHOP = next(path for path in CONFIGURATIONS if path.parent.name == "one_worker")
ACCOUNT = "3a" * 16
PERSON = "ghp_secretofdana"
TOKEN = "cfut_new-token-of-recovery"
PROMPT = "paste it here (it stays hidden): "
NEEDED = MissingSecret(
    "SHOPDESK_CLOUDFLARE_TOKEN", "recovery", "gh …", "", account_id=ACCOUNT, rights=("Workers Scripts Write",)
)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(account_id=ACCOUNT, virtual_clock=True) as made:
        made.github.switches.plan = "team"
        made.github.add_user("dana", "admin")
        made.github.add_token(PERSON, "dana")
        yield made


@pytest.mark.parametrize(
    ("permissions", "fields", "problems", "unproved"),
    [
        (["Workers Scripts Write", "API Tokens Read"], {}, [], ""),
        (["Workers Scripts Write"], {}, [], UNPROVED),
        (["Workers Scripts Read", "API Tokens Read"], {}, ["this token lacks Workers Scripts Write"], ""),
        (["Pages Write"], {}, ["this token lacks Workers Scripts Write"], UNPROVED),
        (["Workers Scripts Write"], {"expired": True}, ["Cloudflare does not accept this token"], ""),
    ],
    ids=["proved", "policies hidden", "read only", "another area", "expired"],
)
def test_token_is_checked_by_reads(
    sandbox: Sandbox, permissions: list[str], fields: dict[str, Any], problems: list[str], unproved: str
) -> None:
    sandbox.add_token(TOKEN, permissions, **fields)

    found, open_question = check_token(TOKEN, NEEDED, sandbox.environ())

    assert (found, open_question) == (problems, unproved)
    assert all(request.method == "GET" for request in sandbox.requests)


def test_token_of_another_account_or_form_is_refused(sandbox: Sandbox) -> None:
    sandbox.add_token(TOKEN, ["Workers Scripts Write", "Account Settings Read"])
    other = MissingSecret("X", "recovery", "", "", account_id="4b" * 16, rights=("Workers Scripts Write",))

    (problem,), _ = check_token(TOKEN, other, sandbox.environ())

    assert problem.startswith("this token belongs to ")
    assert problem.endswith(f", and not to {'4b' * 16}")
    assert check_token("cfut_unknown", NEEDED, sandbox.environ())[0] == ["Cloudflare does not accept this token"]
    with pytest.raises(ConfigError, match=r"U\+0020"):
        check_token("two words", NEEDED, sandbox.environ())


@pytest.mark.parametrize("config", CONFIGURATIONS, ids=lambda path: path.parent.name)
def test_token_that_counts_responses_of_a_host_may_find_its_zone(world: World, config: Path) -> None:
    done = world.ops("workflows", "environments", "--config", str(config))

    rows = [row.split(" | ") for row in done.out.splitlines() if ", Analytics Read" in row]
    assert {row[0].strip("| `") for row in rows} == {"report", "evidence"}, done.err
    assert [row[3] for row in rows if "Zone Read" not in row[3]] == []


@contextmanager
def on_terminal(sandbox: Sandbox, folder: Path) -> Iterator[Terminal]:
    """Start `ops setup github` as dana, and confirm the plan."""
    (folder / "ops.yml").write_text(SHOP.read_text().replace("branch: trunk", "branch: main"))
    ours, its = pty.openpty()
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **sandbox.environ(), **sandbox.github.environ()}
    argv = [sys.executable, "-m", "ops", "setup", "github"]
    environ["GITHUB_TOKEN"] = PERSON
    with subprocess.Popen(
        argv, env=environ, cwd=folder, text=True, stdin=its, stdout=its, stderr=its, start_new_session=True
    ) as process:
        os.close(its)
        terminal = Terminal(process, ours)
        name = environ["GITHUB_REPOSITORY"]
        terminal.until(f'Type "{name}" to go on')
        terminal.type(f"{name}\n")
        yield terminal
    os.close(ours)


def paste(person: Terminal, text: str) -> None:
    """Paste at the next prompt. Its start drops what was typed before it."""
    person.until(PROMPT)
    person.shown = person.shown.replace(PROMPT, "(asked) ")
    person.type(f"{text}\n")


@pytest.mark.slow
def test_person_pastes_tokens_and_skips_others(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.add_token(TOKEN, set(PERMISSIONS) - {"API Tokens Read"})
    sandbox.add_token("cfut_for-another-job", ["Pages Write"])

    with on_terminal(sandbox, tmp_path) as person:
        person.until("1 of 4: recovery")
        paste(person, "cfut_for-another-job")
        person.until("not stored: this token lacks")
        paste(person, TOKEN)
        person.until("Keep a copy now in: 1Password: shopdesk-cloudflare-token")
        for purpose in ("report", "security", "evidence"):
            person.until(f"of 4: {purpose}")
            paste(person, "")
        assert person.end() == 0, person.shown

    shown = person.shown
    assert "The first label needs only that of `recovery`." in shown
    assert sandbox.github.secrets("recovery")["SHOPDESK_CLOUDFLARE_TOKEN"] == TOKEN
    assert "SHOPDESK_CLOUDFLARE_TOKEN" not in sandbox.github.secrets("report")
    assert TOKEN not in shown
    commands = shown.rpartition("Secrets to set:")[2]
    assert "gh secret set SHOPDESK_CLOUDFLARE_TOKEN --env report" in commands
    assert "gh secret set SHOPDESK_CLOUDFLARE_TOKEN --env recovery" not in commands

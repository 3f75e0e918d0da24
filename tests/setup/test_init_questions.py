"""Questions of `ops init`, and its answers to wrong ones."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ops.core.errors import ConfigError, Reason, Refused
from ops.setup.init.command import READS, InitResult, InitTarget, init_repository, read_only_token_url
from ops.setup.init.discovery import InitRequest
from ops.setup.init.questions import MAX_QUESTIONS, Questions
from tests.conftest import ROOT
from tests.setup.test_init import HOSTILE, config, game, services, shop
from tests.setup.test_init_files import written
from tests.support.adoption import (
    ACTIONS,
    EVERY_READ,
    READER,
    Team,
)
from tests.support.commands import Terminal

__all__ = ["game", "shop", "written"]


@dataclass
class Person:
    """Answers in order; Enter for the rest."""

    answers: list[str]
    questions: list[str] = field(default_factory=list)

    def __call__(self, question: str, default: str) -> str:
        self.questions.append(question)
        return (self.answers.pop(0) if self.answers else "") or default


def ask(
    team: Team, answers: list[str], *, request: InitRequest | None = None, **repository: Any
) -> tuple[Person, InitResult]:
    person = Person(answers)
    environ = {**team.world.sandbox.environ(), "CLOUDFLARE_API_TOKEN": READER}
    target = InitTarget(team.folder, actions=ACTIONS, **repository)
    result = init_repository(request or InitRequest(), target, Questions(person), environ, lambda _: None)
    return person, result


@pytest.mark.slow
def test_unknown_commit_of_the_actions_is_refused_before_the_questions(shop: Team) -> None:
    person = Person([])
    target = InitTarget(shop.folder, actions="acme/backout@main")

    with pytest.raises(ConfigError, match="full commit SHA"):
        init_repository(InitRequest(), target, Questions(person), shop.world.sandbox.environ(), lambda _: None)

    assert person.questions == []


def test_person_answers_every_question(game: Team) -> None:
    answers = [
        "live=1, try=2",
        "arena=1, arena=2",
        "live/arena=https://arena.example",
        "@acme/on-call",
        "the safe",
        "Dana: +44 20 7946 0000",
        "yes",
    ]

    person, result = ask(game, answers)

    assert len(person.questions) == MAX_QUESTIONS
    assert "2. game (Worker in try)" in person.questions[1]
    assert services(game, "live")["arena"]["url"] == "https://arena.example"
    assert services(game, "try")["arena"]["url"] == "https://game.sandbox.workers.dev"
    assert "\n* @acme/on-call\n" in game.files()[".github/CODEOWNERS"]
    assert {each["token_location"] for each in config(game)["environments"].values()} == {"the safe"}
    assert config(game)["contacts"][0]["contact"] == "Dana: +44 20 7946 0000"
    assert result.exit_code == 0


def test_enter_accepts_every_proposal(shop: Team) -> None:
    person, _ = ask(shop, [])

    assert "1. shop-web (Worker)" in person.questions[0]
    assert "shop-mailer: no address known" in person.questions[1]
    assert set(services(shop)) == {"shop-web", "shop-api"}


def test_wrong_answer_repeats_the_question(shop: Team) -> None:
    person, _ = ask(shop, ["9", "1", "web=x"])

    assert re.match('"9" .*1 to 3', person.questions[1])
    assert re.match('.*"web"', person.questions[3])
    assert set(services(shop)) == {"shop-web"}


def test_no_writes_nothing(shop: Team) -> None:
    with pytest.raises(Refused) as refused:
        ask(shop, ["", "", "", "", "", "no"])
    assert refused.value.reason is Reason.NOT_CONFIRMED
    assert not shop.folder.exists()


def test_answer_names_the_files_to_overwrite(written: Team) -> None:
    for name in ("README.md", ".gitignore"):
        (written.folder / name).write_text("Ours\n")

    person, result = ask(written, ["", "", "", "", "", "README.md"])

    assert "names of files to overwrite too: README.md, .gitignore" in person.questions[-1]
    assert result.files == {"README.md": "overwritten", ".gitignore": "kept"}


@pytest.mark.slow
def test_questions_on_a_terminal(shop: Team) -> None:
    ours, theirs = os.openpty()
    environ = {"PATH": os.environ["PATH"], **shop.world.sandbox.environ(), "PYTHONPATH": str(ROOT)}
    del environ["CLOUDFLARE_API_TOKEN"]
    command = [sys.executable, "-m", "ops", "init", str(shop.folder), "--actions", ACTIONS]

    with subprocess.Popen(
        command, text=True, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, cwd=ROOT, start_new_session=True
    ) as process:
        os.close(theirs)
        person = Terminal(process, ours)
        person.until("Enter to type names and URLs: ")
        person.type(f"{READER}\n")
        person.until("Numbers to include")
        person.type("1\n\n@acme/on-call\n\n\nyes\n")
        assert person.end() == 0, person.shown
    os.close(ours)

    assert "permissionGroupKeys=" in person.shown
    assert READER not in person.shown
    assert "written: ops.yml" in person.shown
    assert set(services(shop)) == {"shop-web"}


def test_link_of_the_token_has_every_permission_to_read() -> None:
    assert set(READS) == set(EVERY_READ)
    assert read_only_token_url().count("%22key%22") == len(READS)
    assert "&accountId=*&" in read_only_token_url()


def test_hostile_account_of_a_wrangler_file_is_not_shown(shop: Team, tmp_path: Path) -> None:
    (tmp_path / "wrangler.json").write_text(json.dumps({"name": "shop-web", "account_id": HOSTILE}))

    person, _ = ask(shop, [], request=InitRequest(wrangler=(tmp_path / "wrangler.json",)))

    assert person.questions
    assert all(line.isprintable() for question in person.questions for line in question.split("\n"))


@pytest.mark.parametrize(("place", "answer", "fact"), [(0, ",", "1 to 3"), (5, "CHANGELOG", "CHANGELOG")])
def test_answer_outside_the_list_repeats_the_question(written: Team, place: int, answer: str, fact: str) -> None:
    (written.folder / "README.md").write_text("Ours\n")

    person, result = ask(written, [*[""] * place, answer])

    assert fact in person.questions[place + 1]
    assert result.files == {"README.md": "kept"}

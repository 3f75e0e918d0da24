"""`ops adopt` on a terminal: its questions, for a game in two accounts."""

import os
import subprocess
import sys
from pathlib import Path

from ops.setup.init.questions import MAX_QUESTIONS
from tests.conftest import ROOT
from tests.setup.test_init import game
from tests.support.adoption import ACTIONS, READER, Team
from tests.support.bakery import PERMISSIONS
from tests.support.commands import Terminal

__all__ = ["game"]
TOKEN = "cfut_new-token-of-recovery"
QUESTIONS = (
    ("Enter to type names and URLs: ", READER),
    ("for several environments [1]: ", "production=1, staging=2"),
    ("for another name [", "1,2"),
    ("(Enter: the first of each): ", ""),
    ("yes or no [yes]: ", ""),
    ("OWNER/NAME [dana/operations]: ", ""),
    ("paste it here (it stays hidden): ", TOKEN),
)
"""The end of each question, in order, and the answer. Enter accepts the proposal."""


def test_person_with_two_accounts_gets_seven_questions(game: Team, tmp_path: Path) -> None:
    sandbox = game.world.sandbox
    sandbox.github.switches.plan = "team"
    sandbox.github.add_user("dana", None)
    sandbox.github.add_token("ghp_secretofdana", "dana", ["repo", "workflow"])
    sandbox.add_token(TOKEN, set(PERMISSIONS) - {"API Tokens Read"})
    environ = {"PATH": os.environ["PATH"], **sandbox.environ(), **sandbox.github.environ(), "PYTHONPATH": str(ROOT)}
    del environ["CLOUDFLARE_API_TOKEN"], environ["CLOUDFLARE_ACCOUNT_ID"], environ["GITHUB_REPOSITORY"]
    environ["GITHUB_TOKEN"] = "ghp_secretofdana"
    command = [sys.executable, "-m", "ops", "adopt", "--actions", ACTIONS, "--no-drill"]
    ours, theirs = os.openpty()

    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, cwd=tmp_path, start_new_session=True
    ) as process:
        os.close(theirs)
        person = Terminal(process, ours)
        for question, answer in QUESTIONS:
            person.until(question)
            person.shown = person.shown.replace(question, "(asked) ")
            person.type(f"{answer}\n")
        assert person.end() == 0, person.shown
    os.close(ours)

    assert len(QUESTIONS) == MAX_QUESTIONS
    assert "7 of 7 · Drill the first label" in person.shown
    assert "dana/operations is set up." in person.shown
    assert TOKEN not in person.shown
    made = sandbox.github.open_repository("dana/operations")
    assert made.secrets("recovery") == {"CLOUDFLARE_API_TOKEN": TOKEN}
    assert (tmp_path / "operations" / "ops.yml").is_file()

"""`ops adopt` and its removal, killed at every write, end in the state of a run that was never killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, Outcome
from tests.setup.test_adopt import PERSON, TOKEN, adopt, repository, shop, shop_of_dana, state, written
from tests.support.adoption import ACTIONS, READER, Team
from tests.support.whole_state import account_states, repository_states
from tests.support.write_kills import WriteKills, name_write

__all__ = ["shop"]
MOMENTS: Mapping[str, Mapping[str, str]] = {
    "before": {"method": "POST", "path": "**/git-receive-pack"},
    "after": {"method": "PUT", "path": "/repos/*/*/environments/recovery/secrets/*"},
}
"""A kill of the process before and after a request. The test of every write tries both in process."""


def start(shop: Team) -> "subprocess.Popen[bytes]":
    environ = {**shop.world.sandbox.environ(), **shop.world.sandbox.github.environ(), "PYTHONPATH": str(ROOT)}
    environ |= {"GITHUB_TOKEN": PERSON, "CLOUDFLARE_API_TOKEN": READER, "OPS_RECOVERY_TOKEN": TOKEN}
    environ |= {"PATH": os.environ["PATH"], "GITHUB_REPOSITORY": ""}
    command = [sys.executable, "-m", "ops", "adopt", str(shop.folder), "--actions", ACTIONS, "--no-drill", "--yes"]
    return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_same_command_goes_on_after_sigkill(shop: Team) -> None:
    for when, moment in MOMENTS.items():
        running: list[subprocess.Popen[bytes]] = []
        hook: dict[str, Any] = {when: lambda running=running: os.kill(running[0].pid, signal.SIGKILL)}
        shop.world.sandbox.github.fault(**moment, **hook)
        running.append(start(shop))
        assert running[0].wait(timeout=60) == -signal.SIGKILL, moment

    done = adopt(shop, "--yes", "--json")

    assert (done.code, done.result["repository"]) == (0, "dana/operations"), done.err
    made = state(shop)
    assert made["secrets"]["recovery"] == {"CLOUDFLARE_API_TOKEN": TOKEN}
    assert made["files"].keys() == made["branch"].keys()
    assert len(repository(shop).rulesets) == 1


def whole_state(team: Team) -> Mapping[str, Any]:
    """Return everything on GitHub and in the folder, the record included."""
    record = json.loads((team.folder / ".ops" / "adopt.json").read_text())
    return {"github": repository_states(team.world.sandbox), "files": written(team), "record": {**record, "id": ""}}


def sent_writes(team: Team) -> set[str]:
    sandbox = team.world.sandbox
    sent = [*sandbox.requests, *sandbox.github.requests]
    return {name for each in sent if (name := name_write(each.method, each.path, each.body))}


def test_killed_at_every_write_it_ends_in_the_same_state(shop: Team, tmp_path: Path) -> None:
    sandbox = shop.world.sandbox
    accounts = account_states(sandbox)
    (tmp_path / "other").mkdir()
    with shop_of_dana(tmp_path / "other") as other:
        for options in ((), ("--remove",)):
            kills, known = WriteKills(sandbox, shop.folder), sent_writes(other)

            def press(options: tuple[str, ...] = options) -> Outcome:
                return adopt(shop, "--yes", "--json", *options)

            done = kills.press_to_the_end(press)

            assert (done.code, press().result["decision"]) == (0, "nothing_to_do"), done.err
            assert adopt(other, "--yes", *options).code == 0
            for moment in ("before", "after"):
                assert sent_writes(other) - known <= {write for when, write in kills.moments if when == moment}
            assert whole_state(shop) == whole_state(other)
            assert account_states(sandbox) == accounts

"""`ops adopt` as a process that gets SIGKILL: the same command again ends in the same state."""

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.setup.test_adopt import PERSON, TOKEN, adopt, repository, shop, state
from tests.support.adoption import ACTIONS, READER, Team

__all__ = ["shop"]
MOMENTS: tuple[dict[str, str], ...] = (
    {"method": "POST", "path": "/user/repos"},
    {"method": "POST", "path": "**/git-receive-pack"},
    {"method": "PUT", "path": "/repos/*/*/environments/recovery"},
    {"method": "POST", "path": "/repos/*/*/labels"},
    {"method": "PUT", "path": "/repos/*/*/environments/recovery/secrets/*"},
)


def start(shop: Team) -> "subprocess.Popen[bytes]":
    environ = {**shop.world.sandbox.environ(), **shop.world.sandbox.github.environ(), "PYTHONPATH": str(ROOT)}
    environ |= {"GITHUB_TOKEN": PERSON, "CLOUDFLARE_API_TOKEN": READER, "OPS_RECOVERY_TOKEN": TOKEN}
    environ |= {"PATH": os.environ["PATH"], "GITHUB_REPOSITORY": ""}
    command = [sys.executable, "-m", "ops", "adopt", str(shop.folder), "--actions", ACTIONS, "--no-drill", "--yes"]
    return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("when", ["before", "after"])
def test_same_command_goes_on_after_sigkill(shop: Team, when: str) -> None:
    for moment in MOMENTS:
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

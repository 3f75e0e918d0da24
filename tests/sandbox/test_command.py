"""`ops sandbox` as a process: one line with all that a client needs, then it serves until it is stopped."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import ROOT, World


@pytest.fixture
def running() -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "ops", "sandbox", "--json", "--switch", "propagation_seconds=0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_prints_one_line_serves_and_stops_at_a_signal(running: "subprocess.Popen[str]") -> None:
    assert running.stdout is not None
    told = json.loads(running.stdout.readline())

    answer = httpx.get(
        f"{told['api_url']}/user/tokens/verify", headers={"authorization": f"Bearer {told['tokens'][0]['token']}"}
    )

    assert answer.json()["result"]["status"] == "active"
    assert told["switches"]["propagation_seconds"] == 0
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=60) == 0


def test_an_unknown_switch_is_named_with_those_there_are(world: World) -> None:
    outcome = world.ops("sandbox", "--switch", "propagation=0")

    assert outcome.code == 2
    assert 'no switch "propagation"; there are: deployments_listed' in outcome.err

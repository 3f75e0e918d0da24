"""`ops sandbox` as a process: print connection data in one line, then serve until stopped."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sandbox.switches import parse
from tests.conftest import REFERENCE, ROOT, World

PLAIN = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
OPS_YML = str(REFERENCE / "ops.yml")


@pytest.fixture(params=[["ops", "sandbox"], ["sandbox"]], ids=" ".join)
def running(request: pytest.FixtureRequest) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", *request.param, "--json", "--switch", "propagation_seconds=0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_sandbox_prints_one_line_and_stops_on_signal(running: "subprocess.Popen[str]") -> None:
    assert running.stdout is not None
    told = json.loads(running.stdout.readline())
    assert {"Zone Read", "API Tokens Write", "Account Settings Read"} <= set(told["tokens"][-1]["permissions"])

    headers = {"authorization": f"Bearer {told['tokens'][0]['token']}"}
    answer = httpx.get(f"{told['api_url']}/user/tokens/verify", headers=headers, verify=False)

    assert answer.json()["result"]["status"] == "active"
    assert told["switches"]["propagation_seconds"] == 0
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=60) == 0


def test_unknown_switch_is_refused_with_known_names(world: World) -> None:
    outcome = world.ops("sandbox", "--switch", "propagation=0")

    assert outcome.code == 2
    assert 'no switch "propagation"; choose from: deployments_listed' in outcome.err


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("kv_staleness_seconds=soon", 'takes a number, not "soon"; the default is kv_staleness_seconds=60.0'),
        ("auth_error_status=401.5", 'takes a whole number, not "401.5"; the default is auth_error_status=403'),
        ("iflow_models_open=1", 'takes true or false, not "1"; the default is iflow_models_open=true'),
    ],
)
def test_switch_value_of_wrong_type_is_refused(world: World, assignment: str, said: str) -> None:
    outcome = world.ops("sandbox", "--switch", assignment)

    assert outcome.code == 2
    assert f"the switch {assignment.partition('=')[0]} {said}" in outcome.err


def test_null_switch_value_is_accepted() -> None:
    assert parse(["deployments_listed=null", "propagation_seconds=3"]).deployments_listed is None


def test_port_in_use_is_reported(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = world.ops("sandbox", "--port", str(port))

    assert outcome.code == 2
    error, hint, _ = outcome.err.splitlines()
    assert re.fullmatch(rf"error: .*\b{port} .*\(Address already in use\)", error)
    assert "--port" in hint


def test_example_has_a_bad_release_and_a_person_on_call(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ops", "sandbox", "--example"]
    with subprocess.Popen(command, cwd=tmp_path, env=PLAIN, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = [process.stdout.readline() for _ in range(12)]
        environ = dict(re.findall(r"^  export (\w+)=(\S+)$", "".join(printed), re.MULTILINE))
        argv = [sys.executable, "-m", "ops", "versions", "api", "--environment", "production", "--config", OPS_YML]
        shown = subprocess.run(argv, env={**PLAIN, **environ}, capture_output=True, text=True, check=True).stdout
        process.kill()

    assert {"GITHUB_TOKEN", "GITHUB_REPOSITORY", "CLOUDFLARE_API_TOKEN", "OPS_EDGE_URL"} <= environ.keys()
    assert re.search(r"live .* from bad .*target .* from good ", shown, re.DOTALL)


@pytest.mark.parametrize("other", [["--edge", "workerd"], ["--json"]], ids=" ".join)
def test_example_refuses_what_it_cannot_serve(world: World, other: list[str]) -> None:
    outcome = world.ops("sandbox", "--example", *other)

    assert outcome.code == 2
    assert "--example" in outcome.err

"""`ops sandbox --faults FILE`: fault rules for tests with the local Cloudflare and GitHub."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import ROOT, World

DEPLOYMENTS = "/workers/scripts/shopdesk-basket/deployments"
MORE_FAULTS = """\
- method: GET
  path: /accounts/*/workers/scripts/*/deployments
  skip: 2
  times: 2
  status: 503
- part: github
  method: POST
  path: /repos/*/*/issues/*/comments
  times: null
  status: 429
  headers: {retry-after: "60"}
"""
"""Follow the documented fault, which loses the answer to a deployment."""


@contextmanager
def serve_with_faults(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the connection data that the command prints."""
    command = [sys.executable, "-m", "ops", "sandbox", "--json", "--faults", str(file)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.kill()


def documented_faults() -> str:
    """Return the fault file of the documentation."""
    text = (ROOT / "docs" / "reference" / "sandbox.md").read_text()
    return text.partition("## Faults")[2].partition("```yaml\n")[2].partition("```")[0]


def test_documented_and_other_faults_apply_from_first_request(tmp_path: Path) -> None:
    (tmp_path / "faults.yml").write_text(documented_faults() + MORE_FAULTS)
    with serve_with_faults(tmp_path / "faults.yml") as told, httpx.Client(verify=False) as client:
        account = f"{told['api_url']}/accounts/{told['account_id']}"
        client.headers["authorization"] = f"Bearer {told['tokens'][0]['token']}"
        with pytest.raises(httpx.RemoteProtocolError):
            client.post(f"{account}{DEPLOYMENTS}", json={})
        listed = client.get(f"{account}{DEPLOYMENTS}")
        github = told["github"]
        comments = f"{github['api_url']}/repos/{github['repository']}/issues/1/comments"
        token = {"authorization": f"Bearer {github['tokens'][0]['token']}"}
        commented = [client.post(comments, json={"body": "x"}, headers=token) for _ in range(2)]
        seen = client.get(f"{told['control_url']}/requests").json()

    assert listed.status_code == 404, (listed.text, listed.request.url, told)
    assert [answer.status_code for answer in commented] == [429, 429]
    assert commented[0].headers["retry-after"] == "60"
    assert [(each["status"], each["effect"]) for each in seen] == [(None, 404), (404, 404)]


WRONG = """\
- method: FETCH
  path: /zones
  status: 500
- lost: during
- applied: true
  delay: 2
- {}
- part: edge
  code: 10013
- tries: 3
  status: 700
"""


def test_fault_file_errors_name_their_lines(world: World) -> None:
    file = world.folder / "faults.yml"
    file.write_text(WRONG)

    outcome = world.ops("sandbox", "--faults", str(file))

    assert outcome.code == 2
    for place in (
        "1 [0].method: ",
        "4 [1].lost: ",
        "5 [2]: applied without",
        "7 [3]: no effect",
        "8 [4]: code is of",
        "10 [5].tries: ",
    ):
        assert f"{file}:{place}" in outcome.err, outcome.err
    assert f"{file}:11 [5].status: " in outcome.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"status": 500}', ":1: "),
        ('[{"status": 500},\n {"status": 5}]', ":2 [1].status: "),
        (None, "cannot be read"),
        ("[]", ":1: "),
    ],
    ids=["JSON, but no list", "a mistake in JSON", "no file", "no rule"],
)
def test_unusable_fault_file_is_refused(world: World, text: str | None, said: str) -> None:
    file = world.folder / "faults.json"
    if text is not None:
        file.write_text(text)

    outcome = world.ops("sandbox", "--faults", str(file))

    assert outcome.code == 2
    assert str(file) in outcome.err
    assert said in outcome.err

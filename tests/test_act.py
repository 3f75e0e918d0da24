"""The real workflow files, run by act on this machine against the sandbox: from a button and from a label."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ops.sandbox import Sandbox
from tests.conftest import ACCOUNT, ROOT, WORKER

pytestmark = pytest.mark.slow
ACT = Path(sys.executable).parent / "act"
UNKNOWN_TO_ACT = re.compile(r"^ +queue: max\n", re.MULTILINE)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(account_id=ACCOUNT) as running:
        running.github.add_user("alice")
        running.github.add_user("tina", "triage")
        now = running.clock.now()
        for name, ago in (("good", timedelta(hours=2)), ("bad", timedelta(minutes=10))):
            behaviour = None if name == "good" else {"status": 500}
            version = running.upload(WORKER, code=name, tag=name, behaviour=behaviour, at=now - ago)
            running.deploy(WORKER, version, at=now - ago)
        yield running


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that git knows, as a repository of their own; of the workflows only what act rejects is left out."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folder = tmp_path / "repository"
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for path in (folder / ".github" / "workflows").glob("*.yml"):
        text = path.read_text()
        path.write_text(UNKNOWN_TO_ACT.sub("", text))
        assert set(text.splitlines()) - set(path.read_text().splitlines()) <= {"      queue: max"}
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "all"]):
        who = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
        subprocess.run(["git", *who, *command], cwd=folder, check=True)
    return folder


def act(sandbox: Sandbox, checkout: Path, event: str, workflow: str, *more: str) -> "subprocess.CompletedProcess[str]":
    """As GitHub would start it. The environment is empty but for what a runner has."""
    variables = {**sandbox.environ(), **sandbox.github.environ(), "GITHUB_RUN_ID": "1001"}
    secrets = {
        "CLOUDFLARE_API_TOKEN": variables.pop("CLOUDFLARE_API_TOKEN"),
        "GITHUB_TOKEN": variables.pop("GITHUB_TOKEN"),
    }
    arguments = [event, "-W", f".github/workflows/{workflow}", "-P", "ubuntu-latest=-self-hosted", "--no-cache-server"]
    arguments += [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    arguments += [word for name, value in secrets.items() for word in ("-s", f"{name}={value}")]
    path = f"{Path(sys.base_prefix) / 'bin'}:/usr/local/bin:/usr/bin:/bin"
    environ = {"HOME": str(checkout.parent), "PATH": path, "PIP_CACHE_DIR": str(checkout.parent / "pip")}
    return subprocess.run(
        [str(ACT), *arguments, *more],
        cwd=checkout,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def live_tag(sandbox: Sandbox) -> str:
    (version,) = sandbox.live(WORKER)
    (first,) = sandbox.deployments(WORKER)[-1].percentages
    return "good" if version == first else "bad"


def test_the_button_rolls_back(sandbox: Sandbox, checkout: Path) -> None:
    inputs = {"service": "api", "environment": "production", "reason": "it's $(touch pwned) `x`", "dry_run": "false"}
    payload = checkout.parent / "event.json"
    payload.write_text(json.dumps({**dispatched(sandbox), "inputs": inputs}))
    flags = [word for name, value in inputs.items() for word in ("--input", f"{name}={value}")]

    done = act(sandbox, checkout, "workflow_dispatch", "rollback-worker.yml", "-a", "alice", "-e", str(payload), *flags)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert live_tag(sandbox) == "good"
    assert "it's $(touch pwned) `x`" in sandbox.deployments(WORKER)[0].annotations["workers/message"]
    assert not list(checkout.parent.rglob("pwned"))


def dispatched(sandbox: Sandbox) -> dict[str, object]:
    """The part of a dispatch's payload that the gate reads."""
    owner, _, name = sandbox.github.repository.partition("/")
    return {
        "ref": "refs/heads/main",
        "repository": {
            "full_name": sandbox.github.repository,
            "name": name,
            "default_branch": "main",
            "owner": {"login": owner},
        },
        "sender": sandbox.github.label(sandbox.github.open_issue("Any", author="alice"), "question", "alice")["sender"],
        "workflow": ".github/workflows/rollback-worker.yml",
    }


@pytest.mark.parametrize(("who", "expected"), [("alice", "good"), ("tina", "bad")])
def test_a_label_rolls_back_for_those_who_may(sandbox: Sandbox, checkout: Path, who: str, expected: str) -> None:
    number = sandbox.github.open_issue("The API answers 500", labels=["incident"], author="alice")
    event = checkout.parent / "event.json"
    event.write_text(json.dumps(sandbox.github.label(number, "recover:rollback-api", who)))

    done = act(sandbox, checkout, "issues", "incident.yml", "-a", who, "-e", str(event))

    assert (done.returncode == 0) == (expected == "good"), done.stdout[-3000:] + done.stderr[-1000:]
    assert live_tag(sandbox) == expected
    assert "recover:rollback-api" not in {label.name for label in sandbox.github.issue(number).labels}

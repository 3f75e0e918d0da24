"""Configurations of other applications: recovery by label and button in the local runner."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ops.app.configuration import read_config
from ops.core.version import __version__
from ops.setup.init.proposal import ConfigProposal, EnvironmentProposal, ProbeProposal, ServiceProposal, render_config
from ops.setup.init.resources import Address, Resource
from sandbox.actions.local_files import write_files
from sandbox.actions.runner import TIMEOUT_SECONDS
from tests.conftest import ROOT
from tests.support.actions import conclusions, stage
from tests.support.configurations import (
    CONFIGURATIONS,
    ONE_URL,
    ONE_WORKER,
    PAGES_ONLY,
    SHOPDESK,
    SMALL_REPOSITORY,
    TEN_SERVICES,
)
from tests.support.drills import drill
from tests.support.workflows import generated

DRILLS = {
    ONE_WORKER: ("rollback-worker", "live"),
    PAGES_ONLY: ("rollback-pages", "production"),
    ONE_URL: ("rollback-worker", "production"),
    SHOPDESK: ("rollback-worker", "live"),
}
LABELS = """
labels:
  recover:{service}:
    runbook: {name}
    environment: {environment}
    params: {{service: {service}}}
"""
"""For a configuration that asks for no label."""
ELSEWHERE = {SMALL_REPOSITORY: "test_small_repository", TEN_SERVICES: "an approval, below"}
"""Configurations with a label drill of their own. The small repository's drill below is by button."""


def test_every_configuration_has_a_label_drill() -> None:
    assert {*CONFIGURATIONS, SHOPDESK} == {*DRILLS, *ELSEWHERE}


@pytest.mark.parametrize("config", DRILLS, ids=lambda config: config.parent.name)
def test_label_drill_of_other_config_recovers(config: Path, tmp_path: Path) -> None:
    name, environment = DRILLS[config]
    text = config.read_text()
    if "\nlabels:" not in text:
        service = next(iter(read_config(config)[0].environments[environment].services))
        text += LABELS.format(name=name, environment=environment, service=service)
    (tmp_path / "ops.yml").write_text(text)

    result = drill("--config", str(tmp_path / "ops.yml"), "--environment", environment, "--trigger", "label", name=name)

    assert (result["decision"], result["trigger"], result["journal"]) == ("recovered", "label", True)
    assert result["message"] == "the incident's journal says recovered; the sandbox serves the good release, healthy"


def test_drill_of_proposed_config_recovers(tmp_path: Path) -> None:
    """The ops.yml of `ops init`, for a repository of GitHub's Free plan and a Worker on workers.dev."""
    web, api = (
        ServiceProposal(name, Resource("worker", name, "1a" * 16), Address(f"https://{host}"), probe=probe)
        for name, host, probe in (
            ("parcel-web", "parcel-web.sandbox.workers.dev", ProbeProposal("home", "/", 200, "text/html")),
            ("parcel-api", "api.parcel.example", ProbeProposal("up", "/healthz", 200, json={"ok": True}, version="id")),
        )
    )
    proposal = ConfigProposal(
        (EnvironmentProposal("live", "1a" * 16, (web, api), token="PARCEL_TOKEN"),), labeled={"parcel-web"}
    )
    config = tmp_path / "ops.yml"
    often = (
        "        verify: {interval: 10ms, deadline: 20s} # 71 rounds: no answer names its version\n        probes:\n"
    )
    text = render_config(proposal).replace("        probes:\n", often, 1)
    config.write_text(f"{text}\ngithub:\n  environments: false\n")
    where = ("--config", str(config), "--environment", "live")

    by_label = drill(*where, "--trigger", "label", name="rollback-worker")
    by_command = drill(*where, "--service", "parcel-api", name="rollback-worker")
    in_workerd = drill(*where, "--service", "parcel-api", "--edge", "workerd", name="rollback-worker")

    assert (by_label["decision"], by_label["journal"], by_label["service"]) == ("recovered", True, "parcel-web")
    assert (by_command["decision"], by_command["service"]) == ("recovered", "parcel-api")
    assert (in_workerd["decision"], in_workerd["service"]) == ("recovered", "parcel-api")


def test_drill_uses_tracked_files_of_a_small_repository(tmp_path: Path) -> None:
    """The local program takes the place of the commit that the workflows pin."""
    written = generated(SMALL_REPOSITORY)
    files = {str(path.relative_to(written)): path.read_bytes() for path in written.rglob("*") if path.is_file()}
    folder = tmp_path / "operations"
    write_files({name: text for name, text in files.items() if "ci.yml" not in name}, folder)
    options = ["--trigger", "button", "--config", str(folder / "ops.yml")]
    argv = [sys.executable, "-m", "ops", "drill", "rollback-worker", *options]

    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "the sandbox serves the good release, healthy" in done.stdout
    assert f"this program, ops {__version__}, runs as backout-tools/backout, not the commit that" in done.stdout


def test_drill_approves_where_environment_requires_it() -> None:
    where = ("--config", str(TEN_SERVICES), "--environment", "prod", "--service", "cart", "--trigger", "label")

    result = drill(*where, name="rollback-worker")

    assert (result["decision"], result["journal"]) == ("recovered", True)
    assert "approved by drill-reviewer" in result["timeline"][0]["text"]


def test_recovery_waits_for_required_approval(pip_cache: Path) -> None:
    """Before the review, the run neither holds the recovery group nor changes anything."""
    cart: dict[str, Any] = {"account": "4c" * 16, "worker": "nordmart-cart", "token": "NORDMART_PROD_TOKEN"}
    with stage(pip_cache, {"status": 200}, config=TEN_SERVICES, **cart) as world:
        hub = world.github
        hub.add_user("ines")
        hub.add_user("rita", "read")
        hub.add_environment("approve-prod", reviewers=["rita"])
        number = world.incident()
        with world.runner() as runner:
            hub.label(number, "recover:prod-cart", "ines")
            (run,) = [each for each in hub.runs if each.status != "completed"]
            runner.wait_until(lambda: run.status == "waiting", TIMEOUT_SECONDS)
            waited = (world.live, "recovery-prod" in conclusions(run))
            hub.review(run.id, "rita")
            runner.wait()
            log = "\n".join(runner.log(run.id))

        assert waited == ({world.bad: 100}, False)
        assert world.live == {world.good: 100}, log
        assert run.conclusion == "success"
        assert "rita" in world.comments(number)

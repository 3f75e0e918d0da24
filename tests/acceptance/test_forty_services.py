"""Forty services in two environments: menu, label and button in the generated workflows, under act."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.status.test_incident_menu import forty_services
from tests.support.actions import conclusions, read_bodies, release, stage

ACCOUNT = "4f" * 16
SERVICE = "checkout-27"
HOSTS = {"production": "shop.example", "staging": "staging.shop.example"}
LABEL = f"""\
labels:
  recover:checkout:
    runbook: rollback-worker
    environment: production
    params: {{service: {SERVICE}}}
"""
FORM = f"### Service\n\n{SERVICE}\n\n### Severity\n\nsev1\n\n### What is seen\n\nHTTP 500"


def test_menu_label_and_button_of_one_of_forty_services(pip_cache: Path, tmp_path: Path) -> None:
    config = tmp_path / "ops.yml"
    quick, text = "        verify: {interval: 10ms, deadline: 20s}\n", forty_services(ACCOUNT)
    for host in HOSTS.values():
        url = f"        url: https://{SERVICE}.{host}\n"
        text = text.replace(url, url + quick)
    config.write_text(text + LABEL)
    names: Mapping[str, Any] = {"account": ACCOUNT, "worker": f"{SERVICE}-production", "token": "SHOP_TOKEN"}
    with stage(pip_cache, {"status": 200}, config=config, **names) as world:
        hub, sandbox = world.github, world.sandbox
        for environment, host in HOSTS.items():
            sandbox.route(f"{SERVICE}.{host}", f"{SERVICE}-{environment}")
        now, staged = sandbox.clock.now(), f"{SERVICE}-staging"
        good = release(sandbox, "good", now - timedelta(hours=2), {"status": 200}, staged)
        release(sandbox, "bad", now - timedelta(minutes=10), {"status": 500}, staged)

        with world.runner() as runner:
            number = hub.open_issue("It answers 500", FORM, ["incident", "sev1"], "alice")
            runner.wait()
            menu = conclusions(hub.runs[0])
            hub.label(number, "recover:checkout", "alice")
            runner.wait()
            by_label = hub.runs[-1]
            inputs = {"service": SERVICE, "environment": "staging", "incident": str(number)}
            by_button = hub.dispatch("rollback-worker.yml", inputs, by="alice")
            runner.wait()
            log = "\n".join(line for run in hub.runs for line in runner.log(run.id))

        assert (menu["menu"], menu["menu-fallback"]) == ("success", "skipped"), log
        bodies = read_bodies(hub, number)
        assert f"#### {SERVICE}" in bodies[0]
        assert "recover:checkout" in bodies[0]
        assert len(bodies[0]) <= 4_000
        for run, job in ((by_label, "recovery-production"), (by_button, "recovery-staging")):
            ran = {name: each for name, each in conclusions(run).items() if each != "skipped"}
            assert ran == dict.fromkeys(("gate", job, "report"), "success"), log
        assert (world.live, sandbox.live(staged)) == ({world.good: 100}, {good: 100})

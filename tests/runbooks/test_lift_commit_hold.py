"""Lift the holds of the commits of an incident: by label, button and laptop, and what lifts nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from ops.runbooks.lift_commit_hold import LIFTED_SECTION
from sandbox.github.users.state import ACTIONS_BOT
from tests.conftest import World
from tests.support.commands import ended
from tests.support.held_lifts import APPLICATION, LABEL, LIFTED, Operations, add_lifted, bury_hold, open_operations


@pytest.fixture
def operations(world: World) -> Operations:
    return open_operations(world)


@pytest.mark.parametrize("way", ["by_label", "by_button", "lift"])
def test_responder_lifts_the_hold_until_the_next_rollback(operations: Operations, way: str) -> None:
    refused = operations.answer()
    assert refused["decision"] == "refused"
    assert operations.hub.repository in refused["hint"], "a job may ask the wrong repository"

    done = getattr(operations, way)()

    assert ended(done) == (0, "healthy_as_before", "verified"), done.err
    shas = operations.shop.shas
    assert shas["B"][:12] in done.result["plan"]["sections"][LIFTED_SECTION][0]
    assert operations.labels == {"incident", LIFTED}
    answer = operations.answer()
    assert (answer["decision"], [each["state"] for each in answer["holds"]]) == ("go", ["lifted"])
    assert operations.world.writes() == []

    operations.world.sandbox.clock.advance(600)
    operations.shop.deploy(["B", {"rollback": "A", "blames": "B", "incident": operations.incident}])
    assert operations.answer()["decision"] == "refused"
    assert ended(operations.lift())[1] == "healthy_as_before"
    assert operations.answer()["decision"] == "go"


def test_second_request_leaves_nothing_to_do(operations: Operations) -> None:
    assert ended(operations.lift())[1] == "healthy_as_before"
    assert ended(operations.lift()) == (0, "nothing_to_do", "already_set")


def test_hold_below_many_deployments_is_listed_and_lifted(operations: Operations) -> None:
    """The check asks for pages of 100. Cloudflare documents no size of others."""
    operations.world.sandbox.switches.deployments_listed = 10
    operations.shop.deploy([{"many": 60, "of": "A"}])
    assert operations.answer()["decision"] == "refused"

    assert ended(operations.lift())[1] == "healthy_as_before"
    assert operations.answer()["decision"] == "go"


def test_lift_names_the_limit_of_what_it_read(operations: Operations) -> None:
    bury_hold(operations)

    done = operations.lift()
    assert ended(done) == (0, "nothing_to_do", "nothing_left")
    assert "40 deployments" in done.result["message"]
    assert operations.answer()["decision"] == "not_checked"

    operations.shop.deploy([{"rollback": "A", "blames": "B", "incident": operations.incident}])
    done = operations.lift()
    assert ended(done)[1] == "healthy_as_before"
    assert "40 deployments" in done.result["plan"]["warnings"][0]


def test_stranger_lifts_nothing(operations: Operations) -> None:
    refused = operations.by_label("zoe")

    assert refused.code == 3
    assert operations.labels == {"incident"}
    assert operations.answer()["decision"] == "refused"


def test_laptop_requests_the_label_and_waits_for_the_bot(operations: Operations) -> None:
    hub = operations.hub
    hub.add_token("ghp_alice", "alice", ["issues:write", "metadata:read"])

    def lift_by_workflow() -> None:
        assert LABEL in operations.labels
        add_lifted(operations)

    hub.fault(
        method="GET", path="/repos/*/*/issues/*", when=lambda _: LABEL in operations.labels, after=lift_by_workflow
    )
    done = operations.lift(GITHUB_TOKEN="ghp_alice")

    assert ended(done) == (0, "healthy_as_before", "verified"), done.err
    assert operations.answer()["decision"] == "go"


def test_laptop_without_an_answer_of_the_bot_lifts_nothing(operations: Operations) -> None:
    operations.hub.add_token("ghp_alice", "alice", ["issues:write", "metadata:read"])

    done = operations.lift(GITHUB_TOKEN="ghp_alice")

    assert ended(done)[1] == "unknown_outcome", done.err
    assert operations.labels == {"incident", LABEL}
    assert operations.answer()["decision"] == "refused"


def test_second_press_of_a_laptop_requests_the_label_again(operations: Operations) -> None:
    """GitHub starts no workflow for a label that is already there, such as after a broken one."""
    hub = operations.hub
    hub.add_token("ghp_alice", "alice", ["issues:write", "metadata:read"])
    hub.label(operations.incident, LABEL, "zoe")

    operations.lift(GITHUB_TOKEN="ghp_alice")

    added = [each for each in hub.issue(operations.incident).events if each.label and each.label.name == LABEL]
    assert [each.user.login for each in added if each.event == "labeled"] == ["zoe", "alice"]


def test_request_lifts_no_rollback_after_it(operations: Operations) -> None:
    """The job may have waited for a runner or a reviewer."""

    def roll_back_again() -> None:
        operations.world.sandbox.clock.advance(600)
        operations.shop.deploy([{"rollback": "A", "blames": "B", "incident": operations.incident}])

    operations.hub.fault(method="GET", path="/repos/*/*/collaborators/*/permission", after=roll_back_again)
    refused = operations.by_label()

    assert ended(refused) == (3, "refused", "world_moved"), refused.err
    assert operations.answer()["decision"] == "refused"
    assert ended(operations.by_label())[1] == "healthy_as_before"


def test_laptop_without_a_label_in_ops_yml_names_the_button(operations: Operations) -> None:
    operations.hub.add_token("ghp_alice", "alice", ["issues:write", "metadata:read"])
    config = operations.world.config
    config.write_text(config.read_text().partition("labels:\n")[0])

    refused = operations.lift(GITHUB_TOKEN="ghp_alice")

    assert ended(refused) == (3, "refused", "unknown_label")
    assert "lift-commit-hold" in refused.result["hint"]


def _remove(operations: Operations) -> None:
    add_lifted(operations)
    operations.hub.unlabel(operations.incident, LIFTED, "alice")


def _put_back(operations: Operations) -> None:
    _remove(operations)
    add_lifted(operations, "alice")


NOT_LIFTED: dict[str, tuple[Callable[[Operations], Any], str]] = {
    "a person added the label": (lambda operations: add_lifted(operations, "alice"), "alice"),
    "a person put the label of the bot back": (_put_back, "alice"),
    "the label was removed": (_remove, ""),
    "the label is older than the rollback": (
        lambda operations: operations.shop.deploy([{"rollback": "A", "blames": "B", "incident": operations.incident}]),
        "",
    ),
}


@pytest.mark.parametrize("case", NOT_LIFTED)
def test_what_no_workflow_lifted_stays_held(operations: Operations, case: str) -> None:
    change, named = NOT_LIFTED[case]
    if "older" in case:
        add_lifted(operations)
        operations.world.sandbox.clock.advance(600)
    change(operations)

    answer = operations.answer()

    assert (answer["decision"], answer["holds"][0]["state"]) == ("refused", "held")
    assert named in answer["holds"][0]["lift"]
    assert bool(answer["holds"][0]["lift"]) == (case != "the label was removed")
    assert f"Fixes-Incident: {operations.incident}" in answer["hint"]
    done = operations.lift()
    assert ended(done)[1] == "healthy_as_before", done.err
    assert operations.answer()["decision"] == "go"


def test_lift_of_another_incident_or_repository_lifts_nothing(operations: Operations) -> None:
    other = Operations(operations.shop, operations.hub.open_issue("Another", labels=["incident"]))
    add_lifted(other)
    assert operations.answer()["decision"] == "refused"

    add_lifted(operations)
    hub = operations.hub.environ()
    elsewhere = operations.shop.alone("C", "--operations", "shop/elsewhere", **hub)
    assert '"refused"' in elsewhere.out
    assert "shop/elsewhere" in elsewhere.out
    assert ended(other.lift()) == (0, "nothing_to_do", "nothing_left")


def test_bot_of_the_application_lifts_only_where_its_repository_is_read(operations: Operations) -> None:
    """Everyone who may add a workflow there acts as that bot. So the check names the operations repository."""
    application = operations.hub.add_repository(APPLICATION)
    application.add_user("zoe")
    numbers = [application.open_issue("Mine", author="zoe") for _ in range(operations.incident)]
    application.label(numbers[-1], LIFTED, ACTIONS_BOT)
    assert numbers[-1] == operations.incident

    assert operations.answer()["decision"] == "refused"
    own = operations.shop.alone("C", **application.environ())
    assert '"go"' in own.out, "the check of a team that does not name its operations repository"


def test_lift_is_read_from_an_enterprise_server(operations: Operations) -> None:
    """Its GraphQL API has another path than the REST API."""
    add_lifted(operations)
    operations.hub.switches.enterprise_server = True

    assert operations.answer()["decision"] == "go"


@pytest.mark.parametrize(("labels", "decision", "state"), [(100, "go", "lifted"), (1000, "refused", "held")])
def test_lift_counts_before_many_other_labels(operations: Operations, labels: int, decision: str, state: str) -> None:
    add_lifted(operations)
    for _ in range(labels):
        operations.hub.label(operations.incident, "noise", "alice")
        operations.hub.unlabel(operations.incident, "noise", "alice")

    answer = operations.answer()

    assert (answer["decision"], answer["holds"][0]["state"]) == (decision, state)


def test_unreadable_lift_lifts_nothing(operations: Operations) -> None:
    add_lifted(operations)
    bodies = ["[1]", "{}", '{"data": {"repository": {"issue": {"labels": {"nodes": [{"name": "hold:lifted"}]}}}}}']
    faults: list[dict[str, Any]] = [{"status": 403}, {"status": 502}, *({"body": each} for each in bodies)]
    for fault in faults:
        rule = operations.hub.fault(method="POST", path="/graphql", times=None, **fault)
        assert operations.answer()["decision"] == "refused"
        rule.remove()
    token = operations.hub.add_token("reads-contents", "alice", ["contents:read"])
    assert operations.answer(OPERATIONS_TOKEN=token)["decision"] == "refused"
    assert operations.answer()["decision"] == "go"

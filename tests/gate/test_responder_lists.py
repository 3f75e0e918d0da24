"""Who may act on what: lists of an environment, a service and a runbook narrow the responders of a bakery."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.conftest import Outcome, World
from tests.gate.support import Job

ACCOUNT = "b" * 32
BAKERY = f"""\
responders: [olga, anna, ben, Carl]
labels:
  recover:till: {{environment: live, runbook: rollback-worker, params: {{service: till}}}}
  recover:oven: {{environment: live, runbook: rollback-worker, params: {{service: oven}}}}
  recover:test: {{environment: test, runbook: rollback-worker, params: {{service: till}}}}
runbooks:
  rotate-secrets: {{responders: [olga]}}
environments:
  live:
    account_id: {ACCOUNT}
    responders: [olga, anna, ben]
    services:
      till:
        worker: bakery-till
        url: https://till.bakery.example
        responders: [Anna, olga]
      oven:
        worker: bakery-oven
        url: https://oven.bakery.example
        responders: [ben, carl]
      fridge:
        worker: bakery-fridge
        url: https://fridge.bakery.example
    secrets:
      OVEN_KEY: {{rotate: generate, consumers: [oven, fridge]}}
      TILL_KEY: {{rotate: generate, consumers: [till, fridge]}}
  test:
    account_id: {ACCOUNT}
    services:
      till: {{worker: test-till, url: https://test.bakery.example}}
"""


@pytest.fixture
def bakery(world: World) -> Job:
    """Return a job of a bakery with one team for the till and one for the oven."""
    hub = world.sandbox.github
    for login in ("olga", "anna", "ben", "carl", "dora"):
        hub.add_user(login)
    world.config.write_text(BAKERY)
    hub.add_commit("Configuration", "olga", files={"ops.yml": BAKERY})
    return Job(world, hub.open_issue("The till fails", "", ["incident"], "olga"))


def add_label(bakery: Job, by: str, label: str) -> Outcome:
    payload = bakery.github.label(bakery.incident, label, by)
    return bakery.gate(payload)


MAY = [
    ("recover:till", "anna", ""),
    ("recover:till", "olga", ""),
    ("recover:oven", "ben", ""),
    ("recover:test", "carl", ""),
    ("recover:till", "ben", "service till of live"),
    ("recover:oven", "anna", "service oven of live"),
    ("recover:oven", "carl", "environment live"),
    ("recover:till", "dora", "ops.yml"),
    ("recover:test", "dora", "ops.yml"),
]
PERMITTED = {"recover:till": "`Anna, olga`", "recover:oven": "`ben`", "recover:test": "`olga, anna, ben, Carl`"}


@pytest.mark.sampled(5)
@pytest.mark.parametrize(("label", "by", "refused_by"), MAY)
def test_person_must_be_in_each_list_that_applies(bakery: Job, label: str, by: str, refused_by: str) -> None:
    done = add_label(bakery, by, label)

    if not refused_by:
        bakery.assert_accepted(done)
        return
    assert (done.code, bakery.outputs["reason"]) == (3, "not_a_responder"), done.err
    assert f"is not among the responders of {refused_by}" in bakery.comments[-1]
    assert PERMITTED[label] in bakery.comments[-1]
    assert bakery.github.issue(bakery.incident).find_label(label) is None


def press(bakery: Job, by: str, runbook: str, **inputs: Any) -> Outcome:
    page: Mapping[str, Any] = {"inputs": {"environment": "live", "incident": str(bakery.incident), **inputs}}
    hub = bakery.github
    text = "on:\n  workflow_dispatch:\n    inputs:\n" + "".join(
        f"      {name}: {{type: string}}\n" for name in page["inputs"]
    )
    hub.add_commit("Button", "olga", files={f".github/workflows/{runbook}.yml": text})
    run = hub.dispatch(f"{runbook}.yml", page["inputs"], by)
    return bakery.gate(run.payload, "workflow_dispatch", GITHUB_RUN_ID=str(run.id))


@pytest.mark.parametrize(("by", "reason"), [("olga", ""), ("anna", "not_a_responder")])
def test_list_of_a_runbook_applies_to_its_button(bakery: Job, by: str, reason: str) -> None:
    done = press(bakery, by, "rotate-secrets", service="till", dry_run="true")

    assert (bakery.outputs["reason"], bakery.outputs["go"] == "true") == (reason, not reason), done.err
    if reason:
        assert "runbook rotate-secrets in ops.yml" in bakery.comments[-1]


@pytest.mark.parametrize(
    ("by", "secrets", "refused_by"),
    [
        ("anna", {"only": "TILL_KEY"}, ""),
        ("anna", {}, "service oven"),
        ("anna", {"restore": "OVEN_KEY"}, "service oven"),
    ],
)
def test_rotation_needs_the_lists_of_all_services_that_it_writes_to(
    bakery: Job, by: str, secrets: dict[str, str], refused_by: str
) -> None:
    """The fridge uses the keys of till and oven, so a rotation for the fridge writes to both."""
    bakery.world.edit_config(
        "  rotate-secrets: {responders: [olga]}\n", "  rotate-secrets: {responders: [anna, olga, ben]}\n"
    )

    done = press(bakery, by, "rotate-secrets", service="fridge", dry_run="true", **secrets)

    assert (bakery.outputs["reason"], bakery.outputs["go"] == "true") == (
        "not_a_responder" if refused_by else "",
        not refused_by,
    ), done.err
    assert not refused_by or refused_by in bakery.comments[-1]


def test_responder_who_was_removed_since_is_refused_on_a_rerun(bakery: Job) -> None:
    """The job has the file of the request's commit; the list on the default branch counts."""
    payload = bakery.github.label(bakery.incident, "recover:till", "anna")
    bakery.assert_accepted(bakery.gate(payload, GITHUB_RUN_ID="7001"))
    text = BAKERY.replace("[Anna, olga]", "[olga]")
    bakery.github.add_commit("Anna left", "olga", files={"ops.yml": text})
    again = {"GITHUB_RUN_ID": "7001", "GITHUB_RUN_ATTEMPT": "2", "GITHUB_ACTOR": "anna"}

    done = bakery.gate(payload, **again, GITHUB_TRIGGERING_ACTOR="anna")

    assert (done.code, bakery.outputs["reason"]) == (3, "not_a_responder")
    assert "service till of live" in bakery.outputs["message"]
    bakery.assert_accepted(bakery.gate(payload, **again, GITHUB_TRIGGERING_ACTOR="olga"))


def test_lists_without_a_common_person_permit_nobody(bakery: Job) -> None:
    bakery.world.edit_config("responders: [ben, carl]", "responders: [carl]")

    done = add_label(bakery, "carl", "recover:oven")

    assert (done.code, bakery.outputs["reason"]) == (3, "not_a_responder")
    assert "these lists have no common login" in bakery.comments[-1]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "responders: [olga]",
            "responders: [bakery/night-shift]",
            "a team; the token of a job cannot read its members",
        ),
        ("rotate-secrets:", "rotate-secret:", 'no runbook "rotate-secret"; did you mean "rotate-secrets"?'),
    ],
    ids=["a team", "an unknown runbook"],
)
def test_list_that_would_restrict_nobody_is_an_error(bakery: Job, old: str, new: str, said: str) -> None:
    bakery.world.edit_config(old, new)

    done = bakery.world.ops("config", "check", "--config", str(bakery.world.config))

    assert done.code == 2
    assert said in done.err + done.out


def test_menu_names_the_people_of_each_service(bakery: Job) -> None:
    done = bakery.world.ops(
        *("incident", "open", "Cold", "--severity", "sev1", "--service", "oven", "--config", str(bakery.world.config)),
        **bakery.github.environ(),
    )

    assert done.code == 0, done.err
    (menu,) = (each.body for each in bakery.github.issue(bakery.incident + 1).comments)
    assert "Only `olga`, `anna`, `ben`, `Carl` may start them." in menu
    assert "(only `ben`)" in menu


def test_doctor_names_recoveries_that_nobody_may_start(bakery: Job) -> None:
    bakery.world.edit_config("responders: [ben, carl]", "responders: [carl]")

    done = bakery.world.ops("doctor", "--json", "--config", str(bakery.world.config), **bakery.github.environ())

    found = [each for each in json.loads(done.out)["checks"] if each["id"] == "responders"]
    assert "nobody may start rollback-worker for oven in live" in json.dumps(found), done.err

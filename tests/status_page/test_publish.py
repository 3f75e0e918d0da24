"""Publish updates of a bakery by label and by button: who may, what becomes public, and what is refused."""

from typing import Any

import pytest

from ops.core.public_update import PublicState, current_conditions
from tests.conftest import Outcome, World
from tests.status_page.desk import FILE, Desk, open_desk
from tests.support.configurations import with_banner
from tests.support.webhooks import receiving


@pytest.fixture
def desk(world: World) -> Desk:
    return open_desk(world)


def told(desk: Desk) -> list[tuple[str, dict[str, str], str]]:
    """Return state, components and text of each update."""
    return [
        (each.state.value, {one.name: str(one.condition or "") for one in each.components}, each.text)
        for each in desk.updates
    ]


def test_label_publishes_the_text_of_ops_yml_with_the_components_of_the_incident(desk: Desk) -> None:
    done = desk.put_label("status:identified")

    assert (done.code, desk.outputs["published"]) == (0, "true"), done.err
    assert told(desk) == [("identified", {"Shop": "degraded"}, "We know why Shop fails, and are fixing it.")]
    assert desk.labels == ["incident"]
    (answer,) = desk.answers
    assert desk.updates[0].id in answer
    assert "status:monitoring" in answer


def test_course_of_an_incident_keeps_condition_and_page_until_its_end(desk: Desk) -> None:
    desk.press("investigating", components="shop = Major outage")
    for state in ("identified", "monitoring", "resolved"):
        assert desk.put_label(f"status:{state}").code == 0

    assert [(state, conditions["Shop"]) for state, conditions, _ in told(desk)] == [
        ("investigating", "major_outage"),
        ("identified", "major_outage"),
        ("monitoring", "major_outage"),
        ("resolved", "operational"),
    ]
    assert {each.incident for each in desk.updates} == {desk.updates[0].incident}
    assert [each.number for each in desk.updates] == [1, 2, 3, 4]
    assert {each.value for each in current_conditions(desk.updates).values()} == {"operational"}


def test_relapse_after_resolved_is_degraded_again(desk: Desk) -> None:
    for state in ("identified", "resolved", "investigating"):
        desk.put_label(f"status:{state}")
    assert told(desk)[-1][1] == {"Shop": "degraded"}


def test_button_publishes_own_words_for_chosen_components(desk: Desk) -> None:
    text = "Orders by <b>phone</b> work, **cards** do not: [help](javascript:alert(1))"
    done = desk.press(
        "monitoring", components="orders & delivery, Shop=operational", condition="partial outage", text=text
    )

    assert done.code == 0, done.err
    assert told(desk) == [("monitoring", {"Shop": "operational", "Orders & delivery": "partial_outage"}, text)]
    assert "<b>" not in desk.answers[0]
    assert "\\](javascript" in desk.answers[0]


def test_maintenance_has_states_and_times_of_its_own(desk: Desk) -> None:
    desk.press("scheduled", starts="2030-01-01T05:00Z", ends="2030-01-01T07:00Z")
    assert desk.put_label("status:in-progress").code == 0
    assert desk.press("completed").code == 0

    assert [conditions["Shop"] for _, conditions, _ in told(desk)] == ["", "under_maintenance", "operational"]
    assert f"{desk.updates[0].starts:%H}-{desk.updates[0].ends:%H}" == "05-07"


def test_second_press_says_what_is_public_already(desk: Desk) -> None:
    desk.put_label("status:identified")
    done = desk.put_label("status:identified", by="ben")

    assert (done.code, desk.outputs["published"]) == (0, "true"), done.err
    assert len(desk.updates) == 1
    assert "already" in desk.answers[-1]


def test_two_updates_within_a_second_are_both_kept_in_order(desk: Desk) -> None:
    desk.put_label("status:identified", by="anna")
    desk.put_label("status:monitoring", by="ben")

    assert [each.state.value for each in desk.updates] == ["identified", "monitoring"]
    assert desk.updates[0].at <= desk.updates[1].at


@pytest.mark.parametrize("named", ["last", "id"])
def test_correction_is_a_new_update(desk: Desk, named: str) -> None:
    desk.put_label("status:identified")
    wrong = desk.updates[0]
    desk.press("identified", text="Only orders by card fail.", corrects=wrong.id if named == "id" else named)

    assert [each.corrects for each in desk.updates] == ["", wrong.id]
    assert desk.updates[0] == wrong


@pytest.mark.parametrize("named", ["last", "id"])
def test_second_press_of_a_correction_says_what_is_public_already(desk: Desk, named: str) -> None:
    desk.put_label("status:identified")
    corrects = desk.updates[0].id if named == "id" else named
    for by in ("anna", "ben", "anna"):
        desk.press("identified", by, text="Only orders by card fail.", corrects=corrects)

    assert len(desk.updates) == 2
    assert "already" in desk.answers[-1]


def test_correction_of_an_earlier_update_does_not_reopen_the_incident_for_users(desk: Desk) -> None:
    desk.put_label("status:investigating")
    desk.put_label("status:resolved")
    first, _ = before = desk.updates

    back = desk.press("investigating", text="Orders by card failed.", corrects=first.id)
    shown, reason = desk.updates, desk.outputs["reason"]
    kept = desk.press("resolved", text="Orders by card failed, and work again.", corrects=first.id)
    again = desk.press("investigating", text="Orders by card failed.", corrects=first.id)

    assert (back.code, reason, shown) == (3, "not_publishable", before), back.err
    assert "resolved" in desk.answers[2]
    assert (kept.code, desk.updates[-1].state.value, desk.updates[-1].corrects) == (0, "resolved", first.id), kept.err
    assert (again.code, len(desk.updates)) == (3, 3), again.err
    assert desk.press("monitoring", corrects="last").code == 0, "the newest one was wrong"


def test_correction_of_a_correction_of_the_newest_update_may_change_the_state(desk: Desk) -> None:
    desk.put_label("status:investigating")
    wrong = desk.updates[0].id
    for state in ("identified", "monitoring"):
        assert desk.press(state, corrects=wrong).code == 0

    assert [each.state.value for each in desk.updates] == ["investigating", "identified", "monitoring"]


def test_lost_answer_of_the_comment_does_not_double_the_update(desk: Desk) -> None:
    desk.github.fault(method="POST", path="/repos/*/*/issues/*/comments", lost="after")
    desk.put_label("status:identified")
    assert len(desk.updates) == 1
    assert len(desk.answers) == 1


def test_repeated_attempt_does_not_double_the_update(desk: Desk) -> None:
    payload = desk.label("anna", "status:identified")
    for attempt in ("1", "2"):
        assert desk.publish(payload, "issues", 7100, GITHUB_RUN_ATTEMPT=attempt).code == 0
    assert len(desk.updates) == 1


@pytest.mark.parametrize("corrects", ["", "last"])
def test_repeated_attempt_never_replaces_a_later_update_of_a_colleague(desk: Desk, corrects: str) -> None:
    desk.put_label("status:investigating")
    run = desk.github.dispatch(
        FILE, {"incident": str(desk.incident), "state": "identified", "text": "A.", "corrects": corrects}, "anna"
    )
    desk.publish(run.payload, "workflow_dispatch", run.id)
    desk.put_label("status:monitoring", by="ben")
    before = desk.updates
    again = desk.publish(run.payload, "workflow_dispatch", run.id, GITHUB_RUN_ATTEMPT="2")

    assert again.code == 3
    assert "`rerun`" in desk.answers[-1]
    assert desk.updates == before


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("unknown component", {"components": "Shpo"}, "not_publishable", "Shop"),
    ("unknown condition", {"components": "Shop=on fire"}, "not_publishable", "partial outage"),
    ("too long", {"text": "x" * 10_000}, "not_publishable", "1,000"),
    ("right-to-left override", {"text": "Fixed \u202eyb"}, "not_publishable", "U+202E"),
    ("number of an issue", {"text": "See #42"}, "not_publishable", "issue"),
    ("login", {"text": "Ask @ben"}, "not_publishable", "login"),
    ("correction of nothing", {"corrects": "last"}, "not_publishable", "empty"),
    (
        "end before start",
        {"state": "scheduled", "starts": "2030-01-02", "ends": "2030-01-01"},
        "not_publishable",
        "end",
    ),
    ("start that is no time", {"state": "scheduled", "starts": "soon"}, "not_publishable", "UTC"),
    ("start of an incident", {"starts": "2030-01-02"}, "not_publishable", "maintenance"),
    ("text that is too large for its record", {"text": "\u3042" * 1000}, "not_publishable", "bytes"),
]


@pytest.mark.parametrize(("inputs", "reason", "named"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_wrong_input_of_the_button_is_refused_on_the_incident(
    desk: Desk, inputs: dict[str, Any], reason: str, named: str
) -> None:
    done = desk.press(**{"state": "identified", **inputs})

    assert (done.code, desk.outputs["reason"], desk.outputs["answered"]) == (3, reason, "true"), done.err
    assert desk.updates == ()
    assert named in desk.answers[0]
    assert "published" not in desk.outputs


def test_unknown_state_is_refused(desk: Desk) -> None:
    run = desk.github.dispatch("publish-update.yml", {"incident": f"#{desk.incident}", "state": "resolved"}, "anna")
    payload = {**run.payload, "inputs": {"incident": f"#{desk.incident}", "state": "fixed"}}
    done = desk.publish(payload, "workflow_dispatch", run.id)
    assert (done.code, desk.outputs["reason"]) == (3, "not_publishable"), done.err
    assert "resolved" in desk.answers[0]


@pytest.mark.parametrize(("by", "reason"), [("tina", "no_write_access"), ("zoe", "no_write_access")])
def test_person_without_permission_gets_an_answer(desk: Desk, by: str, reason: str) -> None:
    done = desk.put_label("status:resolved", by=by)

    assert (done.code, desk.outputs["reason"], desk.outputs["answered"]) == (3, reason, "true"), done.err
    assert desk.updates == ()
    assert desk.labels == ["incident"]


def test_closed_incident_is_refused(desk: Desk) -> None:
    desk.github.close(desk.incident, "anna")
    for done in (desk.put_label("status:resolved"), desk.press("resolved")):
        assert (done.code, desk.outputs["reason"], desk.outputs["answered"]) == (3, "incident_closed", "true"), done.err
    assert desk.updates == ()


def test_other_numbers_are_refused_without_a_comment_there(desk: Desk) -> None:
    done = desk.press("resolved", incident=99)
    assert (done.code, desk.outputs["reason"]) == (3, "unknown_incident"), done.err


def test_issue_that_is_no_incident_is_refused(desk: Desk) -> None:
    other = Desk(desk.world, desk.github.open_issue("A question", "", [], "anna"))
    done = other.put_label("status:resolved")
    assert (done.code, other.outputs["reason"], len(other.answers)) == (3, "unknown_incident", 1), done.err


def test_incident_without_a_service_needs_the_button(world: World) -> None:
    desk = open_desk(world, form="All is slow.")
    done = desk.put_label("status:investigating")

    assert (done.code, desk.outputs["reason"]) == (3, "not_publishable"), done.err
    assert "Orders" in desk.answers[0]
    assert "publish-update" in desk.answers[0]


def test_incident_does_not_mix_its_kinds(desk: Desk) -> None:
    desk.put_label("status:identified")
    done = desk.put_label("status:completed")
    assert (done.code, desk.outputs["reason"]) == (3, "not_publishable"), done.err
    assert "monitoring" in desk.answers[-1]


def test_unknown_label_is_refused(desk: Desk) -> None:
    done = desk.put_label("status:fixed")
    assert (done.code, desk.outputs["reason"]) == (3, "unknown_label"), done.err


@pytest.mark.parametrize("label", ["status", "sev1"])
def test_other_labels_publish_nothing(desk: Desk, label: str) -> None:
    assert desk.put_label(label).code == 0
    assert desk.updates == ()


def test_other_workflow_file_publishes_nothing(desk: Desk) -> None:
    file = f"{desk.github.repository}/.github/workflows/mine.yml@refs/heads/main"
    done = desk.put_label("status:identified", GITHUB_WORKFLOW_REF=file)
    assert (done.code, desk.outputs["reason"]) == (3, "other_ref"), done.err
    assert desk.updates == ()


def test_edited_update_counts_no_more(desk: Desk) -> None:
    desk.put_label("status:identified")
    comment = desk.github.issue(desk.incident).comments[-1]
    desk.github.edit_comment(desk.incident, comment.id, comment.body + " ", "ben")
    assert not desk.updates

    desk.put_label("status:identified")
    assert [each.number for each in desk.updates] == [1]


def test_nothing_of_the_issue_becomes_public(desk: Desk) -> None:
    for state in PublicState:
        if state.kind == PublicState.IDENTIFIED.kind:
            desk.put_label(state.label)
    public = repr([each.to_json() for each in desk.updates])
    assert len(desk.updates) == 4
    for private in ("anna", "bakery-shop", f"#{desk.incident}", "5d5d5d5d", "fails on", "BAKERY_TOKEN", ".example"):
        assert private not in public, private


def laptop(desk: Desk, *arguments: str) -> Outcome:
    environ = {**desk.github.environ(), "GITHUB_TOKEN": desk.github.add_token("ben's token", "ben")}
    where = ["--incident", str(desk.incident), "--config", str(desk.world.config)]
    return desk.world.ops("publish-update", *where, *arguments, **environ)


def test_laptop_shows_the_update_and_presses_the_button(desk: Desk) -> None:
    shown = laptop(desk, "--state", "monitoring", "--component", "Shop=partial outage", "--dry-run")
    assert (shown.code, desk.updates, desk.github.runs) == (0, (), []), shown.err
    assert "Shop" in shown.out

    done = laptop(
        desk, "--state", "monitoring", "--component", "Shop=partial outage", "--text", "Orders work.", "--yes"
    )

    assert done.code == 0, done.err
    (run,) = desk.github.runs
    assert desk.publish(run.payload, "workflow_dispatch", run.id).code == 0
    assert told(desk) == [("monitoring", {"Shop": "partial_outage"}, "Orders work.")]
    assert "`ben`" in desk.answers[0]


def test_laptop_names_the_missing_workflow(desk: Desk) -> None:
    desk.github.fault(method="POST", path="/repos/*/*/actions/workflows/*/dispatches", status=404)

    done = laptop(desk, "--state", "resolved", "--yes")

    assert (done.code, desk.github.runs) == (4, [])
    assert "push publish-update.yml to the default branch" in done.err
    assert "no such issue" not in done.err


def test_laptop_without_a_terminal_publishes_nothing(desk: Desk) -> None:
    assert laptop(desk, "--state", "resolved").code == 9
    assert desk.github.runs == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--state", "resolved", "--text", "See #42"], 3),
        (["--state", "resolved", "--component", "Shpo"], 3),
        ([], 2),
    ],
)
def test_laptop_refuses_before_it_presses(desk: Desk, arguments: list[str], code: int) -> None:
    done = laptop(desk, *arguments, "--yes")
    assert done.code == code, done.err
    assert desk.github.runs == []


def test_without_a_page_in_ops_yml_nothing_is_published(desk: Desk) -> None:
    desk.world.config.write_text(desk.world.config.read_text().partition("status_page:")[0])
    done = desk.put_label("status:identified")
    assert done.code == 2
    assert "status_page" in done.err


def test_failure_of_the_provider_of_a_page_is_on_the_incident_with_the_text(desk: Desk) -> None:
    text = desk.world.config.read_text().replace("    - name: Shop\n", "    - name: Shop\n      id: compshop1\n")
    text = text.replace("    - name: Orders & delivery\n", "    - name: Orders & delivery\n      id: comporders\n")
    keys = "status_page:\n  provider: statuspage\n  page_id: pagebakery1\n  token: STATUS_PAGE_TOKEN\n"
    desk.world.config.write_text(text.replace("status_page:\n", keys))

    done = desk.put_label("status:identified")

    assert (done.code, desk.outputs["published"]) == (4, "true"), done.err
    assert len(desk.updates) == 1
    assert "STATUS_PAGE_TOKEN" in desk.answers[-1]
    assert desk.updates[0].text in desk.answers[-1]


@pytest.mark.parametrize(("label", "state"), [("identified", "identified"), ("resolved", "off"), ("monitoring", "")])
def test_comment_offers_the_state_of_the_banner_that_fits(desk: Desk, label: str, state: str) -> None:
    desk.world.config.write_text(with_banner(desk.world.config.read_text()))

    assert desk.put_label(f"status:{label}").code == 0

    assert ("`feature`" in desk.answers[-1]) == bool(state)
    assert f"state `{state}`" in desk.answers[-1] or not state


def test_secret_that_a_person_types_is_masked_in_comment_and_record(desk: Desk) -> None:
    done = desk.press("monitoring", text=f"It works with {desk.github.token} again.")
    assert done.code == 0, done.err
    assert len(desk.updates) == 1
    assert desk.github.token not in desk.answers[0] + desk.updates[0].text


def test_bot_gets_an_answer(desk: Desk) -> None:
    desk.github.add_user("helper[bot]", kind="Bot")
    done = desk.put_label("status:resolved", by="helper[bot]")
    assert (done.code, desk.outputs["reason"], desk.updates) == (3, "not_a_person", ()), done.err


def test_team_gets_each_new_update_once(desk: Desk) -> None:
    desk.world.config.write_text(desk.world.config.read_text() + "\nnotify: {slack: {webhook: SLACK_WEBHOOK_URL}}\n")
    with receiving() as chat:
        for _ in range(2):
            desk.put_label("status:identified", **chat.environ)

    (message,) = chat.sent("slack")
    assert desk.updates[0].text in message["text"]
    assert f"/issues/{desk.incident}" in message["text"]


@pytest.mark.parametrize("is_said", [True, False])
@pytest.mark.parametrize("provider", ["statuspage", "instatus"])
def test_update_that_the_page_lacks_is_on_the_incident_once(desk: Desk, provider: str, is_said: bool) -> None:
    """The page of the team fails, and then the comment that says so. The next press makes up for the comment."""
    text = desk.world.config.read_text().replace("    - name: Shop\n", "    - name: Shop\n      id: compshop1\n")
    text = text.replace("    - name: Orders & delivery\n", "    - name: Orders & delivery\n      id: comporders\n")
    keys = f"status_page:\n  provider: {provider}\n  page_id: pagebakery1\n  token: PAGE_KEY\n"
    desk.world.config.write_text(text.replace("status_page:\n", keys))
    sandbox, components = desk.world.sandbox, {"compshop1": "Shop", "comporders": "Orders & delivery"}
    getattr(sandbox, provider).add_page("pagebakery1", "key-of-the-page", components)
    desk.environ["PAGE_KEY"] = "key-of-the-page"
    assert desk.put_label("status:investigating").code == 0
    host = {"statuspage": "api.statuspage.io", "instatus": "api.instatus.com"}[provider]
    sandbox.edge_fault(host=host, method="PATCH" if provider == "statuspage" else "POST", status=503)
    if not is_said:
        comments = "/repos/*/*/issues/*/comments"
        desk.github.fault(method="POST", path=comments, sends="may not show it", status=500, times=None)

    assert desk.put_label("status:identified").code == 4
    desk.github.faults.clear()
    later = [desk.put_label(f"status:{state}") for state in ("monitoring", "resolved")]

    assert [each.code for each in later] == [0, 0], later
    (problem,) = (each for each in desk.answers if "may not show it" in each)
    assert desk.updates[1].text in problem
    assert ("A later update is there" in problem) is not is_said

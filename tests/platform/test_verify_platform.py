"""`ops verify-platform` on the sandbox: what it finds, and what its report shows."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ops.core.verification_name import PREFIX, make_verification_name
from ops.platform.measurements import read_assumptions
from ops.platform.verification import STEPS
from sandbox.edge.places import EdgePlaces
from sandbox.switches import Switches
from tests.support.bakery import ACCOUNT as BAKERY_ACCOUNT
from tests.support.bakery import Bakery, bakery
from tests.support.verification import (
    ACCOUNT,
    READ_SECRET,
    SECRET,
    WRITING,
    MeasuredAccount,
    measured_account,
    outcomes_of,
)

MOST_REQUESTS = 650
CHECKED = {each.id for each in read_assumptions() if each.check in STEPS}
"""Of Cloudflare; tests/platform/test_verify_repository.py has those of GitHub."""
FIELDS = {
    *("schema", "program", "at", "seconds", "requests"),
    *("exit_code", "affected_runbooks", "assumptions"),
}
ROW_FIELDS = {
    *("id", "outcome", "text", "expected", "at_most", "measured", "seconds", "after", "reason", "switches", "runbooks")
}
OF_A_PERSON = "backout-verify-old-shop"
TURNED: dict[str, tuple[Any, set[str]]] = {
    "deployments_listed": (None, {"deployments-page"}),
    "deployments_paged": (False, {"deployments-paged"}),
    "has_assets_listed": (False, {"has-assets"}),
    "deployments_lag_reads": (2, {"deployment-listed"}),
    "version_visible_after_reads": (2, {"version-readable"}),
    "code_update_strategy_answered": (True, {"code-update-strategy"}),
    "forced_rollback_restores_secrets": (True, {"forced-secrets"}),
    "secrets_checked_without_traffic": (True, {"secrets-without-traffic"}),
    "variables_per_worker": (128, {"variables"}),
    "secret_edit_ends_split": (True, {"edit-in-split"}),
    "propagation_seconds": (300.0, {"worker-propagation"}),
    "pages_propagation_seconds": (300.0, {"pages-propagation"}),
    "edge_place": ("", {"edge-place"}),
    "static_files_answer_hit": (False, {"pages-static-hit"}),
    "edge_access_before_deployments": (True, {"pages-deployment-open"}),
    "pages_canonical_follows_rollbacks": (True, {"pages-canonical"}),
    "pages_canonical_lag_reads": (2, {"pages-canonical-lag"}),
    "pages_refusal_code": (8000009, {"pages-refusal"}),
    "kv_staleness_seconds": (300.0, {"kv-edge-lag"}),
    "kv_api_staleness_seconds": (300.0, {"kv-api-lag"}),
    "audit_lag_seconds": (600.0, {"audit-lag"}),
    "audit_cursor_after": (False, {"audit-pages"}),
    "audit_names_next_page": (False, {"audit-pages"}),
    "analytics_delay_seconds": (900.0, {"analytics-lag"}),
    "analytics_down": (True, {"analytics-lag", "analytics-history", "read-analytics"}),
    "analytics_empty": (True, {"analytics-lag"}),
    "worker_analytics_longest_seconds": (86400, {"analytics-history"}),
    "worker_analytics_kept_seconds": (86400, {"analytics-history"}),
    "telemetry_names_what_is_missing": (True, {"telemetry-groups"}),
    "d1_later_bookmarks_kept": (True, {"d1-later-bookmark"}),
    "d1_bookmark_shows_restore": (True, {"d1-bookmark-after-restore"}),
    "d1_stale_reads": (2, {"d1-read-after-write"}),
    "auth_error_status": (401, {"unknown-token"}),
    "d1_read_is_enough": (True, {"d1-read-permission"}),
    "telemetry_read_is_enough": (True, {"telemetry-permission"}),
}
"""Switch → another answer, and the assumptions that then differ."""
DEPENDENT = {"edge_place": {"pages-propagation"}}
"""Switch → further assumptions that may differ: an unnamed place has the longest lags."""
OCCASIONAL: dict[str, tuple[Any, str]] = {
    "edge_machines_differ": (False, "worker-mixing"),
    "pages_reads_until_deployed": (0, "pages-queued"),
    "kv_writes_per_key_limited": (False, "kv-write-rate"),
}
"""Switch → a value with which something never occurs, and its assumption: one sample cannot show "never"."""


@pytest.fixture
def measured() -> Iterator[MeasuredAccount]:
    with measured_account() as account:
        yield account


def test_each_checked_assumption_is_confirmed_and_nothing_is_left(measured: MeasuredAccount) -> None:
    measured.add(OF_A_PERSON)
    before = measured.names()

    result = measured.measure()

    assert {name for name, outcome in outcomes_of(result).items() if outcome == "confirmed"} == CHECKED
    assert {row["outcome"] for row in result["assumptions"] if row["id"] not in CHECKED} == {"not_provable"}
    assert all(row["reason"] for row in result["assumptions"] if row["id"] not in CHECKED)
    assert (result["exit_code"], result["affected_runbooks"]) == (0, [])
    assert {*result} == FIELDS, "others read platform.json"
    assert {*result["assumptions"][0]} == ROW_FIELDS
    assert result["requests"] <= MOST_REQUESTS
    assert measured.names() == before
    assert measured.sandbox.unknown_requests == []


def test_times_are_those_of_the_platform(measured: MeasuredAccount) -> None:
    measured.sandbox.switches.kv_staleness_seconds = 44.0
    measured.sandbox.switches.kv_api_staleness_seconds = 10.0
    measured.sandbox.switches.pages_propagation_seconds = 90.0
    measured.sandbox.switches.propagation_seconds = 12.0

    seconds = {row["id"]: row["seconds"] for row in measured.measure()["assumptions"]}

    assert 44.0 <= seconds["kv-edge-lag"] <= 46.0
    assert 10.0 <= seconds["kv-api-lag"] <= 12.0
    # A request reaches the last of four machines by chance; the one before it changes after three quarters.
    assert 60.0 <= seconds["pages-propagation"] <= 96.0
    assert 5.0 <= seconds["worker-propagation"] <= 13.0


def test_slow_machines_are_not_confirmed_by_chance() -> None:
    """A third of the machines has each change at once, the others after five minutes."""
    with measured_account(replace(Switches(), propagation_seconds=300.0)) as measured:
        measured.sandbox.edge.places = EdgePlaces({"FRA": [0.0, 1.0, 1.0]})

        outcome = outcomes_of(measured.measure())["worker-propagation"]

    assert outcome == "differs"


def test_turned_switches_are_those_that_a_check_measures() -> None:
    assert {*TURNED, *OCCASIONAL} == {
        name for each in read_assumptions() if each.check in STEPS for name in each.switches
    }


@pytest.mark.sampled(18)
@pytest.mark.parametrize("switch", TURNED)
def test_another_answer_of_the_platform_differs(switch: str) -> None:
    value, expected = TURNED[switch]
    with measured_account(replace(Switches(), **{switch: value})) as measured:
        result = measured.measure()

        left = measured.left()
    differing = {name for name, outcome in outcomes_of(result).items() if outcome == "differs"}
    assert expected <= differing <= expected | DEPENDENT.get(switch, set())
    relying = {name for each in read_assumptions() if each.id in differing for name in each.runbooks}
    assert result["affected_runbooks"] == sorted(relying)
    assert result["exit_code"] == (4 if relying else 0)
    assert result["requests"] <= MOST_REQUESTS
    assert left == []


@pytest.mark.parametrize("switch", OCCASIONAL)
def test_sample_in_which_it_did_not_occur_proves_nothing(switch: str) -> None:
    value, name = OCCASIONAL[switch]
    with measured_account(replace(Switches(), **{switch: value})) as measured:
        result = measured.measure()

    (row,) = (each for each in result["assumptions"] if each["id"] == name)
    assert (row["outcome"], row["measured"], result["exit_code"]) == ("not_provable", None, 0)
    assert row["reason"]


def test_report_names_nothing_of_the_account(measured: MeasuredAccount) -> None:
    outcomes = [measured.verify("--yes", "--markdown"), measured.verify("--yes", "--json")]

    texts = [measured.output.read_text(), *(each.out for each in outcomes)]
    hidden = (ACCOUNT, SECRET, READ_SECRET, PREFIX, "Measured", "workers.dev/", ".pages.dev/", "ci@example.com")
    assert [(text[:40], word) for text in texts for word in hidden if word in text] == []
    assert [re.findall(r"[0-9a-f]{8}-[0-9a-f]{4}|[0-9a-f]{16,}", text) for text in texts] == [[]] * 3
    assert outcomes[0].out.count("\n| ") == len(read_assumptions()) + 2


def test_missing_permissions_are_not_provable(measured: MeasuredAccount) -> None:
    measured.sandbox.revoke_token(SECRET)
    measured.sandbox.add_token(SECRET, WRITING)

    result = measured.measure()

    outcomes = outcomes_of(result)
    unread = {name for name in CHECKED if outcomes[name] != "confirmed"}
    assert {outcomes[name] for name in unread} == {"not_provable"}
    assert {"audit-lag", "analytics-lag", "telemetry-lag", "read-zones"} <= unread
    assert "worker-propagation" not in unread
    assert result["exit_code"] == 0


@pytest.mark.parametrize(
    "groups",
    [None, ["D1 Write", "Workers Observability Write"], ["Workers Scripts Read"]],
    ids=["no", "writing", "other"],
)
def test_only_a_token_that_reads_shows_whether_reads_are_enough(
    measured: MeasuredAccount, groups: list[str] | None
) -> None:
    measured.sandbox.revoke_token(READ_SECRET)
    if groups:
        measured.sandbox.add_token(READ_SECRET, groups)

    outcome = measured.verify("--yes", "--json", VERIFY_CLOUDFLARE_READ_TOKEN=READ_SECRET if groups else None)

    unproved = {name for name in CHECKED if outcomes_of(outcome.result)[name] != "confirmed"}
    assert unproved == {"telemetry-permission", "d1-read-permission"}
    assert outcome.code == 0


def test_without_permission_to_create_nothing_is_measured(measured: MeasuredAccount) -> None:
    measured.sandbox.revoke_token(SECRET)
    measured.sandbox.add_token(SECRET, [*WRITING[:2], "D1 Read", "Pages Write"])

    outcome = measured.verify("--yes")

    assert outcome.code == 4
    assert measured.left() == []
    assert not measured.output.exists()


def test_without_confirmation_nothing_is_made(measured: MeasuredAccount) -> None:
    outcome = measured.verify()

    assert outcome.code == 9
    assert measured.writes() == []


@pytest.mark.parametrize(
    ("arguments", "token", "code"),
    [
        (("--yes",), None, 2),
        (("--yes",), "two words", 2),
        (("--yes", "--account", "acme"), SECRET, 2),
        (("--yes", "--output", "/no/such/folder/platform.json"), SECRET, 2),
    ],
    ids=["no token", "a malformed token", "a name as the account", "no folder for the result"],
)
def test_wrong_input_is_refused(
    measured: MeasuredAccount, arguments: tuple[str, ...], token: str | None, code: int
) -> None:
    assert measured.verify(*arguments, VERIFY_CLOUDFLARE_API_TOKEN=token).code == code
    assert measured.sandbox.requests == []


@pytest.fixture
def own(tmp_path: Any) -> Iterator[Bakery]:
    with bakery(tmp_path) as made:
        made.sandbox.add_token(SECRET, WRITING)
        yield made


@pytest.mark.parametrize(("option", "code"), [([], 3), (["--same-account"], 9)])
def test_account_with_a_service_needs_an_option(own: Bakery, option: list[str], code: int) -> None:
    measured = MeasuredAccount(own.sandbox, own.folder)

    outcome = measured.verify("--account", BAKERY_ACCOUNT, *option)

    assert outcome.code == code, outcome.err
    assert measured.writes() == []


def test_leftovers_of_a_killed_run_are_found_and_deleted(measured: MeasuredAccount) -> None:
    measured.add(OF_A_PERSON)
    before = measured.names()
    created: list[bool] = []
    last = {"method": "POST", "path": "/accounts/*/pages/projects", "after": lambda: created.append(True)}
    measured.sandbox.fault(**last, lost="after")
    rest = measured.sandbox.fault(when=lambda _: bool(created), lost="before", times=None)
    killed = measured.verify("--yes")
    rest.remove()
    assert killed.code != 0
    assert len(measured.left()) == 4

    looked, cleaned = measured.verify(), measured.verify("--cleanup", "--yes", "--json")

    assert measured.left() == []
    assert looked.out.count("made by another run") == 4
    assert json.loads(cleaned.out) == {"schema": 1, "deleted": 4}
    assert measured.names() == before


def test_refused_deletion_is_named_and_repeated_by_cleanup(measured: MeasuredAccount) -> None:
    refused = measured.sandbox.fault(method="DELETE", lost="before", times=None)
    ended = measured.verify("--yes")
    refused.remove()

    cleaned = measured.verify("--cleanup", "--yes")

    assert (ended.code, cleaned.code) == (4, 0)
    assert f"ops verify-platform --account {ACCOUNT} --cleanup" in ended.err
    assert measured.left() == []


@pytest.mark.parametrize("path", ["/workers/scripts", "/pages/projects", "/storage/kv/namespaces", "/d1/database"])
def test_failing_product_does_not_keep_the_resources_of_the_others(measured: MeasuredAccount, path: str) -> None:
    name = make_verification_name()
    measured.add(name)
    failing = measured.sandbox.fault(method="GET", path=f"/accounts/*{path}", status=503, times=None)

    outcome = measured.verify("--cleanup", "--yes")
    left = measured.left()
    failing.remove()

    assert (outcome.code, left) == (4, [name])
    assert measured.verify("--cleanup", "--yes").code == 0
    assert measured.left() == []


@pytest.mark.slow
def test_slow_platform_takes_no_more_requests_than_promised() -> None:
    slow = Switches(
        propagation_seconds=100.0,
        pages_propagation_seconds=100.0,
        kv_staleness_seconds=300.0,
        kv_api_staleness_seconds=300.0,
        audit_lag_seconds=600.0,
        analytics_delay_seconds=900.0,
    )
    with measured_account(slow) as measured:
        assert measured.measure()["requests"] <= MOST_REQUESTS


def test_account_without_a_domain_of_workers_is_measured_by_the_api_alone(measured: MeasuredAccount) -> None:
    measured.sandbox.fault(path="/accounts/*/workers/subdomain", status=404, code=10007, times=None)
    measured.sandbox.fault(
        method="POST", path="/accounts/*/workers/scripts/*/subdomain", status=409, code=10063, times=None
    )

    result = measured.measure()

    outcomes = outcomes_of(result)
    unproved = {name for name in CHECKED if outcomes[name] == "not_provable"}
    of_records = {"audit-lag", "telemetry-lag", "analytics-lag", "telemetry-groups"}
    of_the_edge = {"worker-propagation", "worker-mixing", "edge-place", "forced-secrets", "override-header"}
    assert unproved == {*of_the_edge, *of_records, "kv-edge-lag"}
    assert (result["exit_code"], measured.left()) == (0, [])


OF_THE_EDGE = {
    *("worker-propagation", "worker-mixing", "edge-place", "forced-secrets", "override-header"),
    *("pages-propagation", "pages-static-hit", "pages-deployment-open", "kv-edge-lag"),
    *("telemetry-lag", "analytics-lag", "telemetry-groups"),
}


def test_edge_without_an_answer_proves_nothing(measured: MeasuredAccount) -> None:
    """A new domain without a certificate yet, or a network that blocks workers.dev, is no answer of Cloudflare."""
    measured.sandbox.edge_fault(lost="before", times=None)

    result = measured.measure()

    outcomes = outcomes_of(result)
    assert {name for name in CHECKED if outcomes[name] == "not_provable"} == OF_THE_EDGE
    assert [name for name, outcome in outcomes.items() if outcome == "differs"] == []
    assert (result["exit_code"], measured.left()) == (0, [])


@pytest.mark.parametrize(
    "failure",
    [{"lost": "before"}, {"status": 503}, {"status": 502, "body": "<html>bad gateway</html>"}],
    ids=["no answer", "an outage", "a proxy"],
)
def test_read_without_an_answer_proves_nothing(measured: MeasuredAccount, failure: dict[str, Any]) -> None:
    measured.sandbox.fault(method="GET", path="/accounts/*/logs/audit", times=None, **failure)

    outcomes = outcomes_of(measured.measure())

    assert {outcomes[name] for name in ("read-audit-log", "audit-lag", "audit-pages")} == {"not_provable"}
    assert "differs" not in outcomes.values()


def test_token_in_an_answer_is_not_shown(measured: MeasuredAccount) -> None:
    measured.sandbox.fault(path="/**", status=403, code=10000, message=f"no {SECRET}", times=None)

    outcome = measured.verify("--yes")

    assert outcome.code == 4
    assert SECRET not in outcome.out + outcome.err


def test_site_that_is_never_deployed_is_named(measured: MeasuredAccount) -> None:
    measured.sandbox.switches.pages_reads_until_deployed = 1000

    rows = {row["id"]: row for row in measured.measure()["assumptions"]}

    assert rows["pages-propagation"]["outcome"] == "not_provable"
    assert "request" not in rows["pages-propagation"]["reason"], "each request had its answer"

"""`ops verify-platform` where Cloudflare's lists are empty or late, and where a read fails while a run waits."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ops.core.verification_name import make_verification_name
from ops.platform.measurements import read_assumptions
from ops.platform.verification import STEPS
from sandbox.faults import Fault
from sandbox.server import HttpRequest
from tests.support.verification import ACCOUNT, MeasuredAccount, measured_account, outcomes_of

LISTS = ("/workers/scripts", "/pages/projects", "/storage/kv/namespaces", "/d1/database")
EMPTY: dict[str, object] = {
    "/workers/scripts/*/deployments": {"deployments": []},
    "/workers/scripts/*/versions": {"items": []},
    "/pages/projects/*/deployments": [],
}
EMPTY_ONES: dict[str, object] = {
    **{path: [] for path in LISTS},
    "/workers/scripts/*/secrets": [],
    "/workers/scripts/*/schedules": {"schedules": []},
    "/workers/domains": [],
    "/logs/audit": [],
    "/access/service_tokens": [],
}
"""Path of a list below the account → its empty answer. All of `EMPTY_ONES` are empty together."""


@pytest.fixture
def measured() -> Iterator[MeasuredAccount]:
    with measured_account() as account:
        yield account


def answer_with(measured: MeasuredAccount, result: object, path: str, **rule: Any) -> Fault:
    body = json.dumps({"success": True, "errors": [], "messages": [], "result": result})
    return measured.sandbox.fault(path=f"/accounts/*{path}", body=body, content_type="application/json", **rule)


@pytest.mark.parametrize("paths", [*((path,) for path in EMPTY), (*EMPTY_ONES,)], ids=lambda paths: paths[0])
def test_empty_list_ends_no_run(measured: MeasuredAccount, paths: tuple[str, ...]) -> None:
    """Neither does the run leave what no list shows."""
    for path in paths:
        answer_with(measured, {**EMPTY, **EMPTY_ONES}[path], path, method="GET", times=None)

    outcome = measured.verify("--yes", "--json")

    assert outcome.code in {0, 4}, outcome.err
    assert measured.left() == []


@pytest.mark.parametrize("path", [path for path in EMPTY if "/*/" in path and "workers" in path])
def test_late_list_of_a_new_worker_is_awaited(measured: MeasuredAccount, path: str) -> None:
    answer_with(measured, EMPTY[path], path, method="GET", times=1)

    result = measured.measure()

    assert "not_provable" not in {outcomes_of(result)[name] for name in checked()}


def checked() -> set[str]:
    return {each.id for each in read_assumptions() if each.check in STEPS}


def test_site_without_an_address_proves_nothing(measured: MeasuredAccount) -> None:
    def remove_addresses(request: HttpRequest) -> bool:
        for project in measured.sandbox.pages.projects.values():
            project.subdomain = ""
        return False

    measured.sandbox.fault(when=remove_addresses)

    outcome = measured.verify("--yes", "--json")

    assert outcome.code in {0, 4}, outcome.err


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("behind", [2, 4])
def test_list_behind_a_creation_leaves_nothing(measured: MeasuredAccount, path: str, behind: int) -> None:
    measured.add(make_verification_name())
    answer_with(measured, [], path, method="GET", times=behind)

    outcome = measured.verify("--cleanup", "--yes", "--json")

    assert outcome.code == 0, outcome.err
    assert measured.left() == []


RECORDS = {
    "audit-lag": {"method": "GET", "path": "/accounts/*/logs/audit"},
    "telemetry-lag": {"path": "/accounts/*/workers/observability/telemetry/query"},
    "analytics-lag": {"path": "/graphql"},
}


@pytest.mark.parametrize(("times", "outcome"), [(9, "confirmed"), (None, "not_provable")])
def test_failed_read_of_a_record_is_repeated(measured: MeasuredAccount, times: int | None, outcome: str) -> None:
    """A read has three retries of its own; nine faults outlast them."""
    for rule in RECORDS.values():
        measured.sandbox.fault(**rule, status=503, times=times)

    rows = {row["id"]: row for row in measured.measure()["assumptions"]}

    assert {rows[name]["outcome"] for name in RECORDS} == {outcome}
    assert all(times is None or rows[name]["seconds"] >= 20 for name in RECORDS)


@pytest.mark.parametrize("path", LISTS[2:])
def test_creation_without_an_answer_names_the_next_step(measured: MeasuredAccount, path: str) -> None:
    """Only a list shows its ID, and the list is behind."""
    lost: list[bool] = []
    measured.sandbox.fault(
        method="POST", path=f"/accounts/*{path}", lost="after", after=lambda: lost.append(True), is_prompt=True
    )
    late = answer_with(measured, [], path, method="GET", when=lambda _: bool(lost), times=None)

    ended = measured.verify("--yes")
    late.remove()

    assert ended.code == 4, ended.err
    assert f"ops verify-platform --account {ACCOUNT} --cleanup" in ended.err
    assert len(measured.left()) == 1
    assert measured.verify("--cleanup", "--yes").code == 0
    assert measured.left() == []

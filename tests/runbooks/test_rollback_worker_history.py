"""History that `ops rollback-worker` reads: how much of it, and what is unread or malformed."""

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest

from ops.workers.plan_text import HISTORY_SECTION, REJECTED_SECTION, TARGET_SECTION
from sandbox import Sandbox
from tests.conftest import ACCOUNT, WORKER, Releases, World
from tests.runbooks.test_rollback_worker_target import create_history, run_rollback, series, time_ago


def deployments_as_listed(world: World) -> list[dict[str, Any]]:
    """Return the rows of GET deployments."""
    path = f"/accounts/{ACCOUNT}/workers/scripts/{WORKER}/deployments"
    headers = {"Authorization": f"Bearer {world.sandbox.token}"}
    rows: list[dict[str, Any]] = httpx.get(world.sandbox.api_url + path, headers=headers, verify=False).json()[
        "result"
    ]["deployments"]
    return rows


ODD: dict[str, dict[str, Any]] = {
    "no versions": {"versions": None},
    "an empty split": {"versions": []},
    "an unknown strategy": {"strategy": "blue_green"},
    "no moment": {"created_on": None, "versions": None},
    "an odd id": {"id": 7},
}


@pytest.mark.sampled
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("to", [False, True], ids=["by rule", "--to"])
def test_malformed_old_deployment_is_a_warning(world: World, odd: dict[str, Any], to: bool) -> None:
    ids = create_history(world, "Z 9d · A 3d · B 2h · C 10m")
    rows = deployments_as_listed(world)
    rows[2] = {key: value for key, value in {**rows[2], **odd}.items() if value is not None}
    answer = json.dumps({"success": True, "errors": [], "messages": [], "result": {"deployments": rows}})
    world.sandbox.fault(
        method="GET", path="**/deployments", times=2, body=answer, headers={"content-type": "application/json"}
    )

    outcome = run_rollback(world, "--to Z" if to else "", ids)

    assert outcome.code == 0, outcome.err
    assert world.live == {ids["Z" if to else "B"]: 100}
    assert any("was ignored, because it has" in warning for warning in outcome.result["plan"]["warnings"])


def version_reads(sandbox: Sandbox) -> list[str]:
    return [r.path.rpartition("/")[2] for r in sandbox.requests if "/versions/" in r.path]


def deployment_reads_before_the_write(sandbox: Sandbox) -> int:
    requests = [r for r in sandbox.requests if r.path.endswith("/deployments")]
    return [r.method for r in requests].index("POST")


@pytest.mark.slow
def test_one_batch_of_16_versions_is_read_if_sufficient(world: World) -> None:
    versions = series(world, *[60] * 40)

    world.rollback()

    assert world.live == {versions[-2]: 100}
    assert sorted(version_reads(world.sandbox)) == sorted(versions[-16:])
    assert deployment_reads_before_the_write(world.sandbox) == 2


@pytest.mark.slow
def test_second_batch_is_read_if_the_first_is_rejected(world: World) -> None:
    versions = series(world, *[60] * 20, *[5] * 16)

    world.rollback()

    assert world.live == {versions[19]: 100}
    assert sorted(version_reads(world.sandbox)) == sorted(versions[-32:])
    assert deployment_reads_before_the_write(world.sandbox) == 3


@pytest.mark.slow
def test_all_versions_are_read_before_a_refusal(world: World) -> None:
    versions = series(world, *[5] * 35)

    outcome = world.rollback()

    assert outcome.result["reason"] == "no_target"
    assert sorted(version_reads(world.sandbox)) == sorted(versions)
    assert outcome.result["message"].count("less than 10 min") == 10
    assert "; and 24 more; " in outcome.result["message"]


def pages_read(world: World) -> list[str]:
    """Return the requested pages of deployments after the first."""
    asked = [r for r in world.sandbox.requests if r.path.endswith("/deployments")]
    return sorted(r.query["page"] for r in asked if "page" in r.query)


@pytest.mark.slow
def test_older_deployments_are_read_only_as_needed(world: World) -> None:
    """Ten secret edits fill the first page with one release."""
    ids = create_history(world, "Z 9d · A 3d · B 2h" + "".join(f" · B{'+' * n} {60 - n}m" for n in range(1, 11)))

    outcome = run_rollback(world, "", ids)

    assert outcome.code == 0, outcome.err
    assert world.live == {ids["A"]: 100}
    assert pages_read(world) == ["2"]


EDITS = "".join(f" · C{'+' * n} {60 - n}m" for n in range(1, 11))
"""Ten secret edits: they fill the first page, so it does not show what served before them."""
EDITED = "C" + "+" * 10


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("history", "pages", "live"),
    [
        (f"A 9d · B 3d (upload) · C 2d{EDITS} · B 10m", ["2"], EDITED),
        (f"A 9d · B 3d · C 2d{EDITS} · B 10m (dashboard)", ["2"], "B"),
        (f"A 9d · B 3d (upload) · C 2d{EDITS} · {EDITED}@90,B@10 10m", ["2"], EDITED),
        (f"A 9d · B 3d · C 2d{EDITS} · {EDITED}@90,B@10 10m", ["2"], "B"),
        (f"A 9d · B 3d (upload) · C 2d{EDITS} · D 10m", [], EDITED),
        (f"A 9d · B 3d (upload) · C 2d{EDITS} · {EDITED}@90,D@10 10m", [], EDITED),
    ],
    ids=["it never served", "it served", "a canary", "a canary that served", "no old upload is live", "a new canary"],
)
def test_older_page_tells_whether_an_old_upload_served(world: World, history: str, pages: list[str], live: str) -> None:
    ids = create_history(world, history)

    outcome = run_rollback(world, "", ids)

    assert outcome.code == 0, outcome.err
    assert world.live == {ids[live]: 100}
    assert pages_read(world) == pages


@pytest.mark.slow
def test_old_upload_may_have_served_before_a_list_without_pages(world: World) -> None:
    world.sandbox.switches.deployments_paged = False
    create_history(world, f"A 9d · B 3d · C 2d{EDITS} · B 10m (dashboard)")

    assert world.rollback().result["reason"] == "already_stepped_back"


@pytest.mark.slow
def test_sufficient_first_page_is_the_only_one_read(world: World, releases: Releases) -> None:
    for minutes in range(9):
        world.release(timedelta(minutes=100 - minutes), code=f"{minutes}")
    world.release(timedelta(minutes=5), code="worse")

    world.rollback()

    assert pages_read(world) == []
    assert deployment_reads_before_the_write(world.sandbox) == 2


@pytest.mark.slow
@pytest.mark.parametrize("listed", [10, 7])
def test_at_most_100_deployments_are_read(world: World, listed: int) -> None:
    world.sandbox.switches.deployments_listed = listed
    first = world.release(timedelta(days=9), code="first")
    for number in range(105):
        world.release(timedelta(minutes=210 - 2 * number), code=f"release {number}", deploy=number % 35 == 0)
        world.sandbox.deploy(WORKER, world.sandbox.latest(WORKER), at=time_ago(world, f"{210 - 2 * number}m"))

    outcome = world.rollback()

    assert outcome.result["reason"] == "no_target"
    read = {10: "100 deployments", 7: "70 deployments"}[listed]
    assert f"Cloudflare listed {read}, back to" in outcome.result["message"]
    assert "were not read" in outcome.result["message"]
    assert first not in outcome.result["message"]


@pytest.mark.slow
def test_plan_shows_how_far_back_the_history_goes(world: World) -> None:
    ids = create_history(world, "A 9d · B 8d · C 7d · D 6d · E 5d · F 4d · G 3d · H 2d · I 1d · J 9h · K 8h · L 10m")

    outcome = world.rollback("--dry-run")

    plan = outcome.result["plan"]
    oldest = f"{time_ago(world, '7d'):%Y-%m-%d %H:%M:%S} UTC"
    assert plan["sections"][HISTORY_SECTION] == [
        f"Cloudflare listed 10 deployments, back to {oldest}",
        f"10 releases that served all traffic can be deployed, the oldest from 7 d ago ({oldest})",
    ]
    assert ids["K"] in plan["sections"][TARGET_SECTION][0]


@pytest.mark.slow
def test_unread_version_is_no_target(world: World) -> None:
    world.sandbox.switches.deployments_paged = False
    ids = create_history(
        world, "A 9d · " + " · ".join(f"B{number or ''} {50 - number}m" for number in (0, *range(2, 11)))
    )

    outcome = world.rollback()

    assert outcome.result["reason"] == "no_target"
    assert "Cloudflare listed 10 deployments" in outcome.result["message"]
    assert "--to VERSION" in outcome.result["press"]
    assert world.rollback("--to", ids["A"]).code == 0


def test_deleted_version_is_rejected(world: World) -> None:
    ids = create_history(world, "A 3d · B 2h · C 10m")
    world.sandbox.delete_version(WORKER, ids["B"])

    outcome = world.rollback()

    assert world.live == {ids["A"]: 100}
    assert outcome.result["plan"]["sections"][REJECTED_SECTION] == [
        f"{ids['B'][:8]}: Cloudflare no longer lists it as deployable"
    ]


@pytest.mark.slow
def test_deployment_without_traffic_is_malformed(world: World) -> None:
    version = world.release(timedelta(hours=1))
    world.sandbox.deploy(WORKER, {version: 0})

    outcome = world.rollback()

    assert (outcome.code, outcome.result["reason"]) == (4, "malformed_answer")

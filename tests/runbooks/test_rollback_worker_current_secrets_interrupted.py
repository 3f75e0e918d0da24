"""`ops rollback-worker --current-secrets`: lost answers, concurrent changes and interruption."""

import base64
import json
from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import WORKER, Releases, World
from tests.runbooks.test_rollback_worker_current_secrets import (
    CODE,
    NEW,
    UPLOAD,
    assert_reuploaded,
    find_version,
    mark_others_slow,
    our_uploads,
    rotated,
    values,
    written_paths,
)
from tests.support.commands import JSON, LIST, WRITE, Command, ended, hotfix_by_colleague, ours

__all__ = ["rotated"]

UPLOADS = {"method": "GET", "path": "/accounts/*/workers/scripts/*/versions"}


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize("write", [UPLOAD, WRITE], ids=["upload", "deployment"])
@pytest.mark.parametrize(
    ("fault", "sends"),
    [
        ({"lost": "after"}, 1),
        ({"lost": "before"}, 2),
        pytest.param({"status": 429}, 2, marks=pytest.mark.slow),
        pytest.param({"status": 500, "applied": True}, 1, marks=pytest.mark.slow),
        pytest.param({"code": 10035}, 2, marks=pytest.mark.slow),
        pytest.param({"truncate": 20}, 1, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_lost_write_is_resolved_by_its_mark(
    world: World, rotated: Releases, write: dict[str, Any], fault: dict[str, Any], sends: int
) -> None:
    world.sandbox.fault(**write, **fault)

    outcome = world.rollback("--current-secrets")

    assert_reuploaded(world, rotated.good, outcome)
    (what,) = {
        path
        for path in written_paths(world)
        if {"method": "POST", "path": f"/accounts/*/workers/scripts/*/{path}"} == write
    }
    assert written_paths(world).count(what) == sends
    assert len(written_paths(world)) == sends + 1


def test_hint_of_an_unreadable_upload_says_that_the_same_command_uploads_again(world: World, rotated: Releases) -> None:
    world.sandbox.fault(**UPLOAD, lost="after", after=lambda: world.sandbox.fault(**UPLOADS, status=503, times=None))
    lost = world.rollback("--current-secrets")
    world.sandbox.faults.clear()

    again = world.rollback("--current-secrets")

    assert ended(lost) == (5, "unknown_outcome", "unclear"), lost.err
    assert "uploads the version again" in lost.result["hint"]
    assert_reuploaded(world, rotated.good, again, uploads=2)


@pytest.mark.slow
def test_two_lost_uploads_end_the_retries(world: World, rotated: Releases) -> None:
    world.sandbox.fault(**UPLOAD, lost="before", times=2)

    outcome = world.rollback("--current-secrets")

    assert ended(outcome) == (4, "failed", "not_applied")
    assert written_paths(world) == ["versions", "versions"]
    assert world.live == {rotated.bad: 100}


@pytest.mark.slow
def test_version_not_readable_at_once_is_read_again(world: World, rotated: Releases) -> None:
    world.sandbox.fault(**CODE, status=404, code=100146, skip=1, times=3)

    assert_reuploaded(world, rotated.good, world.rollback("--current-secrets"))


@pytest.mark.slow
def test_unreadable_version_is_not_deployed(world: World, rotated: Releases) -> None:
    world.sandbox.fault(**CODE, status=404, code=100146, skip=1, times=None)

    outcome = world.rollback("--current-secrets")

    assert ended(outcome) == (4, "failed", "rebuild_differs")
    assert written_paths(world) == ["versions"]
    assert world.live == {rotated.bad: 100}


def code_answer(world: World, of: str, **changes: Any) -> str:
    """Return the answer to a read of the version's code, with changes."""
    upload = find_version(world, of).upload
    module = {
        "name": "index.js",
        "content_type": "application/javascript+module",
        "content_base64": base64.b64encode(b"good").decode(),
    }
    bindings = [*upload.bindings, *({"name": name, "type": "secret_text"} for name in upload.secrets)]
    row = {
        "id": of,
        "main_module": "index.js",
        "modules": [module],
        "bindings": bindings,
        "compatibility_date": "2026-09-01",
        "usage_model": "standard",
    }
    for name, value in changes.items():
        row[name] = value(row[name]) if callable(value) else value
    return json.dumps({"success": True, "result": row})


CHANGED: dict[str, tuple[dict[str, Any], str]] = {
    "another module": ({"modules": lambda m: [{**m[0], "content_base64": "YmFk"}]}, "module index.js"),
    "one module more": ({"modules": lambda m: [*m, {**m[0], "name": "more.js"}]}, "module more.js"),
    "a module of another type": ({"modules": lambda m: [{**m[0], "content_type": "text/plain"}]}, "module index.js"),
    "another date": ({"compatibility_date": "2020-01-01"}, "setting compatibility_date"),
    "a limit": ({"limits": {"cpu_ms": 10}}, "setting limits"),
    "a usage model": ({"usage_model": "unbound"}, "setting usage_model"),
    "missing secret": ({"bindings": lambda b: b[:-1]}, "binding DB_URL (secret_text)"),
    "a binding more": (
        {"bindings": lambda b: [*b, {"name": "X", "type": "kv_namespace", "namespace_id": "1"}]},
        "binding X (kv_namespace)",
    ),
    "assets": ({"assets": {"config": {}}}, "assets"),
}


@pytest.mark.slow
@pytest.mark.sampled(3)
@pytest.mark.parametrize(("changes", "said"), mark_others_slow(CHANGED, "another module", "a limit", "missing secret"))
def test_changed_upload_is_not_deployed(world: World, rotated: Releases, changes: dict[str, Any], said: str) -> None:
    def spoil() -> None:
        made = our_uploads(world)[0].id
        world.sandbox.fault(**CODE, body=code_answer(world, made, **changes), **JSON, times=None)

    world.sandbox.fault(**UPLOAD, after=spoil)

    outcome = world.rollback("--current-secrets")

    assert ended(outcome) == (4, "failed", "rebuild_differs")
    assert f" differs from {rotated.good[:8]}: {said}; changed: " in outcome.result["message"]
    assert written_paths(world) == ["versions"]
    assert world.live == {rotated.bad: 100}


@pytest.mark.slow
def test_unchanged_upload_is_deployed(world: World, rotated: Releases) -> None:
    world.sandbox.fault(
        **UPLOAD,
        after=lambda: world.sandbox.fault(
            **CODE, body=code_answer(world, our_uploads(world)[0].id), **JSON, times=None
        ),
    )

    assert_reuploaded(world, rotated.good, world.rollback("--current-secrets"))


@pytest.mark.slow
def test_deployment_between_the_two_writes_is_kept(world: World, rotated: Releases) -> None:
    theirs = world.release(timedelta(hours=4), code="older", secrets=NEW, deploy=False)
    world.release(timedelta(minutes=20), code="bad again", behaviour={"status": 500}, secrets=NEW)
    world.sandbox.fault(**UPLOAD, after=lambda: world.sandbox.deploy(WORKER, theirs, author="dana@example.com"))

    outcome = world.rollback("--current-secrets", "--to", rotated.good)

    assert ended(outcome) == (4, "failed", "world_moved")
    assert "dana@example.com" in outcome.result["message"]
    said = f"changed: Worker {WORKER}, latest upload; not changed: Worker {WORKER}"
    assert outcome.result["message"].endswith(said)
    assert outcome.result["wrote"]
    assert written_paths(world) == ["versions"]
    assert ours(world) == []


def test_upload_before_ours_stops_the_deployment(world: World, rotated: Releases) -> None:
    world.sandbox.fault(
        **UPLOAD, before=lambda: world.sandbox.upload(WORKER, code="theirs", author="dana@example.com", secrets=NEW)
    )

    outcome = world.rollback("--current-secrets")

    assert ended(outcome) == (4, "failed", "world_moved")
    assert "dana@example.com" in outcome.result["message"]
    assert written_paths(world) == ["versions"]
    assert world.live == {rotated.bad: 100}


@pytest.mark.slow
def test_upload_after_ours_does_not_stop_the_deployment(world: World, rotated: Releases) -> None:
    world.sandbox.fault(**UPLOAD, after=lambda: world.sandbox.upload(WORKER, code="a preview", secrets={}))

    assert ended(world.rollback("--current-secrets"))[:2] == (0, "recovered")
    assert values(world) == NEW


@pytest.mark.sampled(2)
@pytest.mark.parametrize("read", [LIST, UPLOADS], ids=["a deployment", "an upload"])
def test_change_during_planning_is_refused(world: World, rotated: Releases, read: dict[str, str]) -> None:
    come_in = (
        hotfix_by_colleague(world) if read == LIST else lambda: world.sandbox.upload(WORKER, author="dana@example.com")
    )
    world.sandbox.fault(**read, skip=2, before=come_in)

    outcome = world.rollback("--current-secrets", *(["--inherit-latest", "AI_KEY,DB_URL"] if read == LIST else []))

    assert ended(outcome) == (3, "refused", "world_moved")
    assert "dana@example.com" in outcome.result["message"]
    assert world.writes() == []


def test_deployment_rejected_for_secrets_is_not_forced(world: World, rotated: Releases) -> None:
    world.sandbox.fault(**WRITE, code=10220, message="The following secrets have changed: AI_KEY")

    outcome = world.rollback("--current-secrets")

    assert ended(outcome) == (4, "failed", "secrets_changed")
    assert outcome.result["hint"]
    assert [write.query for write in world.writes()] == [{"bindings_inherit": "strict"}, {}]
    assert world.live == {rotated.bad: 100}


KILLS = [
    ("SIGKILL", UPLOAD, "after"),
    ("SIGTERM", UPLOAD, "before"),
    ("SIGKILL", WRITE, "before"),
    ("SIGKILL", WRITE, "after"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "write", "moment"), KILLS)
def test_run_interrupted_at_a_write_can_be_finished(
    world: World, rotated: Releases, number: str, write: dict[str, str], moment: str
) -> None:
    """Between the writes the latest upload is ours, is not live, and has the secrets of the live version."""
    import signal

    command = Command(world, more=("--current-secrets",))
    lost = {"lost": "before"} if (number, moment) == ("SIGKILL", "before") else {}
    world.sandbox.fault(**write, **{moment: command.send(signal.Signals[number])}, **lost)
    command.run()
    deployed = bool(ours(world))
    world.sandbox.faults.clear()

    again = world.rollback("--current-secrets")

    if deployed:
        assert ended(again) == (0, "nothing_to_do", "already_stepped_back")
        assert values(world) == NEW
    else:
        assert_reuploaded(world, rotated.good, again, uploads=len(our_uploads(world)))

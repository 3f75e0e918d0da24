"""`ops rollback-worker --current-secrets`: upload the target again with current secrets."""

import re
import shlex
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox.cloudflare.workers.state import FakeWorkerVersion
from tests.conftest import WORKER, Outcome, Releases, World
from tests.support.commands import LISTED_VERSIONS, WRITE, ended, ours
from tests.support.local_runs import record_local_run
from tests.support.marks import leaks, on_disk, secret
from tests.support.wrangler import run_wrangler

UPLOAD = {"method": "POST", "path": "/accounts/*/workers/scripts/*/versions"}
CODE = {"method": "GET", "path": "/accounts/*/workers/workers/*/versions/*"}
NEW = {"AI_KEY": "new", "DB_URL": "db"}
REVOKED = "ops1 incident=41 run=r9 blames=- revoked=AI_KEY; finished"


@pytest.fixture
def rotated(world: World) -> Releases:
    """Release a good and a bad version, then change AI_KEY; the latest upload is live."""
    good = world.release(timedelta(hours=3), code="good", secrets={"AI_KEY": "old", "DB_URL": "db"})
    world.release(timedelta(hours=2), code="bad", behaviour={"status": 500})
    at = world.sandbox.clock.now() - timedelta(hours=1)
    return Releases(good, world.sandbox.put_secret(WORKER, "AI_KEY", "new", at=at))


def find_version(world: World, wanted: str) -> FakeWorkerVersion:
    found: FakeWorkerVersion = world.sandbox.account.workers[WORKER].versions[wanted]
    return found


def live(world: World) -> FakeWorkerVersion:
    (only,) = world.live
    return find_version(world, only)


def values(world: World) -> Mapping[str, str]:
    """Return the secrets of the live version."""
    return world.sandbox.deployments(WORKER)[0].secrets[live(world).id]


def our_uploads(world: World) -> list[FakeWorkerVersion]:
    """Return our uploads, oldest first."""
    versions = world.sandbox.account.workers[WORKER].versions.values()
    return [each for each in versions if each.annotations.get("workers/message", "").startswith("ops1 ")]


def written_paths(world: World) -> list[str]:
    return [write.path.rpartition("/")[2] for write in world.writes()]


def assert_reuploaded(world: World, good: str, outcome: Outcome, *, uploads: int = 1) -> None:
    """Check that the good code is live with current secrets, deployed once by a version of ours."""
    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    made, source = live(world), find_version(world, good)
    assert made.id != good
    assert (made.upload.etag, made.upload.bindings) == (source.upload.etag, source.upload.bindings)
    assert values(world) == NEW
    assert [made.id in deployment.percentages for deployment in ours(world)].count(True) == 1
    assert [made.id] == [each.id for each in our_uploads(world)][-1:]
    assert len(our_uploads(world)) == uploads


def run_suggested_command(world: World, stopped: Outcome) -> Outcome:
    """Run the suggested command."""
    return world.ops(*shlex.split(stopped.result["press"])[1:], "--yes", "--json")


@pytest.mark.slow
@pytest.mark.parametrize(
    "restores",
    [
        pytest.param(False, id="previous values stay away", marks=pytest.mark.slow),
        pytest.param(True, id="previous values come back"),
    ],
)
def test_changed_secrets_suggest_current_secrets(world: World, rotated: Releases, restores: bool) -> None:
    world.sandbox.switches.forced_rollback_restores_secrets = restores

    stopped = world.rollback("--incident", "42")
    outcome = run_suggested_command(world, stopped)

    assert ended(stopped) == (3, "refused", "secrets_changed")
    assert "--accept-changed-secrets AI_KEY" in stopped.result["hint"]
    assert stopped.result["press_button"].endswith(f"; to = {rotated.good[:8]}; current_secrets = true")
    assert_reuploaded(world, rotated.good, outcome)
    assert ours(world)[0].annotations["workers/message"].endswith(f"blames={rotated.bad}")
    assert ours(world)[0].code_update_strategy == {"mode": "immediate"}
    assert written_paths(world) == ["deployments", "versions", "deployments"]


@pytest.mark.slow
def test_plan_lists_secrets_and_two_changes_with_one_undo(world: World, rotated: Releases) -> None:
    plan = world.rollback("--current-secrets", "--dry-run").result["plan"]

    rebuilt = f"{rotated.good[:8]} uploaded again with the current secrets"
    assert plan["summary"] == f"Worker {WORKER}: {rotated.bad[:8]} → {rebuilt}"
    assert plan["sections"][f"Secrets of {WORKER}"] == [
        f"{name}: value of the latest upload, {rotated.bad[:8]}, which is live" for name in NEW
    ]
    assert [change["after"] for change in plan["changes"]] == [f"{rebuilt}, not deployed", rebuilt]
    assert plan["changes"][0]["undo"] == ""
    assert not any("Cloudflare reports changed secrets" in warning for warning in plan["warnings"])
    assert written_paths(world) == []


@pytest.mark.slow
def test_undo_command_restores_the_previous_version(world: World, rotated: Releases) -> None:
    outcome = world.rollback("--current-secrets")
    (undo,) = outcome.result["undo"]

    world.ops(*shlex.split(undo)[1:], "--yes", "--json")

    assert world.live == {rotated.bad: 100}


@pytest.mark.slow
def test_repeated_run_does_nothing(world: World, rotated: Releases) -> None:
    world.rollback("--current-secrets")
    sent = len(world.writes())

    by_rule, by_name = world.rollback("--current-secrets"), world.rollback("--current-secrets", "--to", rotated.good)

    assert ended(by_rule) == (0, "nothing_to_do", "already_stepped_back")
    assert ended(by_name) == (0, "nothing_to_do", "already_live")
    assert len(world.writes()) == sent


def test_all_version_settings_are_copied(world: World) -> None:
    more = {
        "compatibility_flags": ("nodejs_compat",),
        "limits": {"cpu_ms": 50},
        "placement": {"mode": "smart", "last_analyzed_at": "2026-11-20T10:00:00Z", "status": "SUCCESS"},
        "usage_model": "bundled",
        "cache_options": {"enabled": True},
    }
    bindings = [
        {"type": "kv_namespace", "name": "CACHE", "namespace_id": "1"},
        {"type": "durable_object_namespace", "name": "ROOM", "class_name": "Room", "namespace_id": "2"},
        {"type": "json", "name": "LISTS", "json": [1, {"a": None}]},
    ]
    good = world.release(
        timedelta(hours=3), code="good", bindings=bindings, vars={"MODE": "x"}, secrets={"KEY": "1"}, more=more
    )
    world.release(timedelta(minutes=10), code="bad", behaviour={"status": 500})

    outcome = world.rollback("--current-secrets")

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    made, source = live(world).upload, find_version(world, good).upload
    for name in ("modules", "bindings", "secrets", "compatibility_date", *(more.keys() - {"placement"})):
        assert getattr(made, name) == getattr(source, name), name
    assert made.placement == {"mode": "smart"}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "static assets": ({"assets": True}, "its static assets cannot be downloaded"),
    "containers": ({"more": {"containers": ({"class_name": "Box"},)}}, "its containers cannot be uploaded"),
    "exports": ({"more": {"exports": {"Room": {"type": "durable-object"}}}}, "its exports cannot be uploaded"),
    "the service-worker format": ({"more": {"main_module": ""}}, "it is in the service-worker format"),
    "a kind of binding that is not known": (
        {"bindings": [{"type": "wasm_module", "name": "W"}]},
        "its binding W has an unsupported type (wasm_module)",
    ),
}


def mark_others_slow(cases: Mapping[str, tuple[Any, ...]], *quick: str) -> list[Any]:
    """Return all cases, and mark all but the named ones as slow."""
    return [
        pytest.param(*case, id=name, marks=() if name in quick else pytest.mark.slow) for name, case in cases.items()
    ]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("upload", "said"), mark_others_slow(REFUSED, "static assets", "exports", "a kind of binding that is not known")
)
def test_upload_obstacle_is_refused_with_a_fallback(world: World, upload: dict[str, Any], said: str) -> None:
    world.release(timedelta(hours=3), code="good", **upload)
    bad = world.release(timedelta(minutes=10), code="bad", assets=upload.get("assets", False))

    outcome = world.rollback("--current-secrets")

    assert ended(outcome) == (3, "refused", "not_rebuildable")
    assert said in outcome.result["message"]
    assert "Revert the bad commit in git" in outcome.result["hint"]
    assert world.writes() == []
    assert world.live == {bad: 100}


@pytest.mark.parametrize("lost", ["workers", "scripts"])
def test_version_that_is_gone_since_it_was_chosen_is_refused(world: World, rotated: Releases, lost: str) -> None:
    """Code and settings of a version come from two APIs; the choice reads the settings too."""
    path, reads = f"/accounts/*/workers/{lost}/*/versions/{rotated.good}", int(lost == "scripts")
    world.sandbox.fault(method="GET", path=path, status=404, code=10007, skip=reads)

    outcome = world.rollback("--current-secrets")

    assert ended(outcome) == (3, "refused", "not_rebuildable")
    assert rotated.good[:8] in outcome.result["message"]
    assert "Revert the bad commit in git" in outcome.result["hint"]
    assert world.writes() == []
    assert world.live == {rotated.bad: 100}


@pytest.mark.slow
def test_static_assets_in_ops_yml_are_refused(world: World, rotated: Releases) -> None:
    world.edit_config("min_served: 10m #", "static_assets: true\n        min_served: 10m #")

    outcome = world.rollback("--current-secrets")

    assert ended(outcome) == (3, "refused", "not_rebuildable")
    assert "it has static assets (`static_assets: true` in ops.yml)" in outcome.result["message"]


def test_secret_missing_in_the_latest_upload_is_refused(world: World, rotated: Releases) -> None:
    """A variable of the same name is no secret, but would be inherited in its place."""
    world.release(timedelta(minutes=10), code="bad", secrets={"AI_KEY": "new"}, vars={"DB_URL": "x"})

    outcome = world.rollback("--current-secrets", "--to", rotated.good)

    assert ended(outcome) == (3, "refused", "secret_missing")
    assert outcome.result["message"].endswith("lacks: DB_URL")
    assert world.writes() == []


@pytest.fixture
def rolled_back(world: World, rotated: Releases) -> Releases:
    """Force the good version live, so that the latest upload is not."""
    world.sandbox.deploy(WORKER, rotated.good)
    return rotated


@pytest.mark.slow
def test_values_of_an_undeployed_upload_need_acceptance(world: World, rolled_back: Releases) -> None:
    to = ["--to", rolled_back.good, "--current-secrets"]

    asked, half = world.rollback(*to), world.rollback(*to, "--inherit-latest", "DB_URL")
    assert world.writes() == []
    outcome = run_suggested_command(world, asked)

    assert ended(asked) == ended(half) == (3, "refused", "inherit_not_accepted")
    assert re.search(rf"\bAI_KEY, DB_URL\b.*\b{rolled_back.bad[:8]}\b", asked.result["message"])
    assert re.search(rf"\bAI_KEY (?!.*DB_URL).*\b{rolled_back.bad[:8]}\b", half.result["message"])
    assert asked.result["press_button"].endswith("; inherit_latest = AI_KEY,DB_URL")
    assert outcome.code == 0, outcome.err
    assert values(world) == NEW
    assert (live(world).upload.etag, len(our_uploads(world))) == (find_version(world, rolled_back.good).upload.etag, 1)
    accepted = outcome.result["plan"]["sections"][f"Secrets of {WORKER}"]
    assert all("is not live (accepted with --inherit-latest)" in line for line in accepted), accepted


@pytest.mark.slow
def test_canary_values_need_acceptance(world: World, rotated: Releases) -> None:
    world.sandbox.deploy(WORKER, {rotated.good: 90, rotated.bad: 10})

    outcome = world.rollback("--current-secrets")

    assert ended(outcome) == (3, "refused", "inherit_not_accepted")


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--current-secrets", "--to", "{good}@90,{bad}@10"], "--to"),
        (["--current-secrets", "--accept-changed-secrets", "AI_KEY"], "--accept-changed-secrets"),
        (["--inherit-latest", "AI_KEY"], "--inherit-latest"),
    ],
)
def test_contradictory_options_are_refused(world: World, rotated: Releases, options: list[str], said: str) -> None:
    outcome = world.rollback(*(option.format(good=rotated.good, bad=rotated.bad) for option in options))

    assert (outcome.code, outcome.result["exit_code"]) == (2, 2)
    assert said in outcome.result["message"]
    assert world.writes() == []


def test_reuploaded_version_keeps_its_tag(world: World) -> None:
    commit = "3f9c2ab41d07aa00bb11cc22dd33ee44ff556677"
    good = world.release(timedelta(hours=3), code="good", secrets={"AI_KEY": "old"}, tag=commit)
    world.release(timedelta(hours=2), code="bad", behaviour={"status": 500}, tag="4.2.0")

    outcome = world.rollback("--current-secrets", "--to", good)

    assert outcome.code == 0, outcome.err
    assert live(world).id != good
    assert live(world).annotations["workers/tag"] == commit


@pytest.mark.parametrize("tag", ["3f9c2ab41d07", pytest.param("4.1.0; rm -rf /", marks=pytest.mark.slow)])
def test_static_assets_are_refused_with_manual_commands(world: World, tag: str) -> None:
    good = world.release(timedelta(hours=3), code="good", assets=True, tag=tag)
    world.release(timedelta(hours=2), code="bad", assets=True, behaviour={"status": 500})

    outcome = world.rollback("--current-secrets", "--to", good)

    assert ended(outcome) == (3, "refused", "not_rebuildable")
    assert "its static assets cannot be downloaded" in outcome.result["message"]
    hint = outcome.result["hint"]
    commit = "COMMIT" if " " in tag else tag
    assert f"`git checkout {commit}`, build as CI does, then `npx wrangler deploy --name {WORKER}`" in hint
    assert (f"`npx wrangler versions view {good} --name {WORKER}`" in hint) is (commit == "COMMIT")
    assert "rm -rf" not in hint


# Revoked values


@pytest.fixture
def revoked(world: World, rotated: Releases) -> Releases:
    """Finish the rotation of AI_KEY: the mark on the live version says that its old value is revoked."""
    world.sandbox.deploy(WORKER, rotated.bad, message=REVOKED, at=world.sandbox.clock.now() - timedelta(minutes=50))
    return rotated


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "accepted",
    [pytest.param((), id="not accepted", marks=pytest.mark.slow), pytest.param(("AI_KEY",), id="accepted")],
)
def test_revoked_previous_value_cannot_be_accepted(world: World, revoked: Releases, accepted: tuple[str, ...]) -> None:
    outcome = world.rollback(*(f"--accept-changed-secrets={name}" for name in accepted))

    assert ended(outcome) == (3, "refused", "secret_revoked")
    assert "AI_KEY" in outcome.result["message"]
    assert "--accept-changed-secrets" not in outcome.result["hint"]
    assert outcome.result["press_button"].endswith(f"; to = {revoked.good[:8]}; current_secrets = true")
    assert any("AI_KEY" in warning for warning in outcome.result["plan"]["warnings"])
    assert [write.query for write in world.writes()] == [{}]
    assert_reuploaded(world, revoked.good, run_suggested_command(world, outcome))


@pytest.mark.slow
def test_unchanged_revoked_secret_does_not_stop_the_run(world: World, revoked: Releases) -> None:
    """The target was uploaded after the rotation."""
    later = world.release(timedelta(minutes=40), code="later")
    world.release(timedelta(minutes=10), code="bad again", behaviour={"status": 500})
    world.sandbox.put_secret(WORKER, "DB_URL", "other", at=world.sandbox.clock.now() - timedelta(minutes=5))

    outcome = world.rollback("--accept-changed-secrets", "DB_URL")

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert world.live == {later: 100}


@pytest.mark.slow
def test_unrevoked_secret_can_still_be_accepted(world: World, revoked: Releases) -> None:
    world.sandbox.fault(**WRITE, code=10220, message="The following secrets have changed: DB_URL")

    outcome = world.rollback("--accept-changed-secrets", "DB_URL")

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert [write.query for write in world.writes()] == [{}, {"force": "true"}]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("step", ["after a rotation", "after it was finished"])
def test_rollback_after_a_rotation_goes_no_further(world: World, step: str) -> None:
    """After a rollback for this incident and a rotation, the chosen version is still live."""
    world.release(timedelta(hours=9), code="older")
    good = world.release(timedelta(hours=3), code="good")
    bad = world.release(timedelta(hours=2), code="bad")
    at = world.sandbox.clock.now() - timedelta(hours=1)
    world.sandbox.deploy(WORKER, good, message=f"ops1 incident=42 run=r1 blames={bad}", at=at)
    record_local_run(world, "r1", [each.id for each in ours(world)])
    again = world.release(timedelta(minutes=50), deploy=False, code="good", secrets={"AI_KEY": "new"})
    messages = ["ops1 incident=42 run=r2 blames=- rotated=AI_KEY", REVOKED]
    for message in messages[: 1 if step == "after a rotation" else 2]:
        at += timedelta(minutes=5)
        world.sandbox.deploy(WORKER, again, message=message, at=at)

    outcome = world.rollback("--incident", "42")

    assert ended(outcome) == (0, "nothing_to_do", "already_stepped_back")
    assert world.live == {again: 100}


@pytest.mark.parametrize(
    "end", ["failed", *(pytest.param(e, marks=pytest.mark.slow) for e in ("recovered", "unclear"))]
)
def test_code_variables_and_secrets_stay_hidden(world: World, end: str) -> None:
    marked = {name: secret(name) for name in ("code", "variable", "value", "newer")}
    upload: dict[str, Any] = {"vars": {"MODE": marked["variable"]}, "secrets": {"AI_KEY": marked["value"]}}
    world.release(timedelta(hours=3), code=f"// {marked['code']}", **upload)
    world.release(timedelta(hours=2), code="bad", behaviour={"status": 500})
    world.sandbox.put_secret(WORKER, "AI_KEY", marked["newer"], at=world.sandbox.clock.now() - timedelta(hours=1))
    if end == "failed":
        world.sandbox.fault(**CODE, status=404, code=100146, skip=1, times=None)
    if end == "unclear":
        world.sandbox.fault(**UPLOAD, lost="after")

    outcome = world.rollback("--current-secrets")

    assert outcome.result["decision"] == ("failed" if end == "failed" else "recovered")
    assert leaks({"out": outcome.out, "err": outcome.err, **on_disk(world.folder)}) == []


@pytest.mark.slow
def test_wrangler_can_put_a_secret_afterwards(world: World, rotated: Releases, tmp_path: Path) -> None:
    world.rollback("--current-secrets")
    code = live(world).upload.etag

    run_wrangler(world.sandbox, tmp_path, "secret", "put", "AI_KEY", "--name", WORKER, home=tmp_path, stdin="newer\n")

    assert values(world) == {**NEW, "AI_KEY": "newer"}
    assert live(world).upload.etag == code


@pytest.mark.slow
def test_upload_that_is_not_listed_any_more_is_not_deployed(world: World, rotated: Releases) -> None:
    def lose() -> None:
        del world.sandbox.account.workers[WORKER].versions[our_uploads(world)[0].id]

    world.sandbox.fault(**LISTED_VERSIONS, skip=4, before=lose)

    outcome = world.rollback("--current-secrets")

    assert ended(outcome) == (4, "failed", "malformed_answer")
    assert live(world).id == rotated.bad

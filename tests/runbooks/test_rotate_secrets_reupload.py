"""`ops rotate-secrets` for Workers whose secrets cannot be edited: the live version is uploaded again."""

import os
import shlex
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import WORKER
from tests.runbooks.test_rotate_secrets import (
    FRESH,
    HELD,
    JOBS,
    KEY,
    LEAKED,
    OTHER,
    WORKS,
    Leak,
    assert_refused,
    both,
    leak,
    rotate_generated,
)
from tests.support.commands import LIST, WRITE, Command, ended
from tests.support.wrangler import run_wrangler

__all__ = ["both", "leak"]

UPLOAD = {"method": "POST", "path": "/accounts/*/workers/scripts/*/versions"}
INHERIT = ("--inherit-latest", f"{OTHER},X")
COMMIT = "4f1d2c3b5a697887766554433221100ffeeddccb"
NOW = {KEY: FRESH, OTHER: "kept", "X": "kept"}


def split(leak: Leak, canary_share: int = 10) -> None:
    """Split the traffic, so that an edit would promote the canary."""
    leak.world.sandbox.switches.secret_edit_ends_split = True
    canary = leak.world.sandbox.upload(WORKER, code="canary", behaviour=WORKS)
    (live,) = leak.world.live
    leak.world.sandbox.deploy(WORKER, {live: 100 - canary_share, canary: canary_share})


def rolled_back(leak: Leak, **upload: Any) -> None:
    (live,) = leak.world.live
    leak.world.release(timedelta(minutes=9), code="bad", behaviour={"status": 500}, **upload)
    leak.world.sandbox.deploy(WORKER, live)


def upload_without_deployment(leak: Leak) -> None:
    leak.world.sandbox.upload(WORKER, code="next")


def with_objects(leak: Leak) -> None:
    leak.world.release(timedelta(minutes=9), code="good", behaviour=WORKS, durable_objects=["Lock"])


def code_of(leak: Leak) -> str:
    (version,) = leak.world.live
    upload = leak.world.sandbox.account.workers[WORKER].versions[version].upload
    return upload.modules[0].content.decode()


def written_paths(leak: Leak) -> list[str]:
    return [write.path.rpartition("/")[2] for write in leak.world.writes()]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (rolled_back, "which was uploaded later"),
        (split, "at 10 % of fortunet-api, is removed; it"),
        pytest.param(upload_without_deployment, "which was uploaded later", marks=pytest.mark.slow),
        (with_objects, "busy Durable Objects (Lock) keep the previous values for up to 5 minutes"),
    ],
    ids=["after a rollback", "a canary", "an upload that waits", "Durable Objects"],
)
def test_live_version_is_uploaded_again_and_deployed(leak: Leak, prepare: Callable[[Leak], None], why: str) -> None:
    prepare(leak)

    outcome = leak.rotate_one(*(() if prepare is with_objects else INHERIT))

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert (code_of(leak), leak.values()) == ("good", NOW)
    assert written_paths(leak) == ["versions", "deployments"]
    plan = outcome.result["plan"]
    assert any(why in warning for warning in plan["warnings"])
    assert plan["sections"][f"Secrets of {WORKER}"][0] == f"{KEY}: new value"
    assert [bool(change["undo"]) for change in plan["changes"]] == [False, True]
    made = leak.world.sandbox.deployments(WORKER)[0]
    assert made.annotations["workers/message"].endswith(f"blames=- rotated={KEY}")
    assert made.code_update_strategy == {"mode": "immediate"}
    assert FRESH not in outcome.out + outcome.err


@pytest.mark.slow
def test_undo_of_a_reupload_restores_the_previous_value(leak: Leak) -> None:
    leak.world.sandbox.providers["groq"].add_key(LEAKED)
    rolled_back(leak)
    outcome = leak.rotate_one(*INHERIT)
    (undo,) = outcome.result["undo"]

    back = leak.world.ops(*shlex.split(undo)[1:], "--yes", "--json", **HELD)

    assert back.code == 0, back.err
    assert (code_of(leak), leak.values()[KEY]) == ("good", LEAKED)


@pytest.mark.slow
def test_values_of_an_undeployed_upload_need_acceptance(leak: Leak) -> None:
    rolled_back(leak)

    outcome = leak.rotate_one("--inherit-latest", "X")

    assert_refused(leak, outcome, "inherit_not_accepted", f" {OTHER} ")
    again = leak.world.ops(*shlex.split(outcome.result["press"])[1:], "--yes", "--json", **HELD)
    assert again.code == 0, again.err
    assert leak.values() == NOW


def test_even_split_is_refused(leak: Leak) -> None:
    split(leak, canary_share=50)
    before = leak.world.live

    outcome = leak.rotate_one(*INHERIT)

    assert_refused(leak, outcome, "latest_not_deployed", WORKER)
    assert "rollback-worker --service api" in outcome.result["press"]
    assert leak.world.live == before


def with_files_and_objects(leak: Leak, ago: timedelta = timedelta(minutes=9)) -> None:
    objects = ["Lock"]
    leak.world.release(ago, code="good", behaviour=WORKS, tag=COMMIT, durable_objects=objects, assets=True)


@pytest.mark.parametrize("third_press", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_worker_with_assets_and_objects_is_edited(leak: Leak, third_press: bool) -> None:
    """Assets cannot be downloaded, but the edit of the latest upload keeps them."""
    with_files_and_objects(leak)

    outcome = leak.rotate_one()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert "secrets-bulk" in written_paths(leak)
    assert "versions" not in written_paths(leak)
    assert (code_of(leak), leak.values()) == ("good", NOW)
    delay = f"{WORKER}: after an edit, busy Durable Objects (Lock) keep the previous values for up to 5 minutes"
    assert any(warning.startswith(delay) for warning in outcome.result["plan"]["warnings"])
    assert delay in outcome.result["message"]
    for _ in range(2 * third_press):
        again = leak.rotate_one()
        assert ended(again)[0] == 0, again.err
        assert (code_of(leak), leak.values()) == ("good", NOW)


def test_worker_that_can_be_neither_edited_nor_reuploaded_is_refused(leak: Leak) -> None:
    """After a rollback, the way is a deployment of the live commit, which makes it the latest upload."""
    with_files_and_objects(leak)
    rolled_back(leak, assets=True)

    outcome = leak.rotate_one()

    way = f"`git checkout {COMMIT}`", f"`npx wrangler deploy --name {WORKER}`"
    why = "its static assets", "an edit would build on"
    assert_refused(leak, outcome, "not_rebuildable", *why, *way)
    assert "bad commit" not in outcome.result["hint"]
    with_files_and_objects(leak, ago=timedelta(0))
    again = leak.rotate_one()
    assert ended(again)[0] == 0, again.err
    assert (code_of(leak), leak.values()) == ("good", NOW)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "rule",
    [
        {**UPLOAD, "lost": "before"},
        {**UPLOAD, "lost": "after"},
        pytest.param({**WRITE, "lost": "before"}, marks=pytest.mark.slow),
        pytest.param({**WRITE, "lost": "after"}, marks=pytest.mark.slow),
    ],
    ids=lambda rule: f"{rule['path'].rpartition('/')[2]} lost {rule['lost']}",
)
def test_lost_reupload_is_found_by_its_mark(leak: Leak, rule: dict[str, Any]) -> None:
    rolled_back(leak)
    leak.world.sandbox.fault(**rule)

    outcome = leak.rotate_one(*INHERIT)

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert (code_of(leak), leak.values()) == ("good", NOW)
    assert len(leak.world.writes()) == (2 if rule["lost"] == "after" else 3)


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize("has_it", [True, False])
def test_generated_value_is_in_the_new_version(leak: Leak, has_it: bool) -> None:
    """An upload cannot add a secret that the version lacks, so the edit creates it."""
    former = {KEY: LEAKED} | ({"JWT_SECRET": "former"} if has_it else {})
    leak.world.release(timedelta(minutes=9), code="good", behaviour=WORKS, durable_objects=["Lock"], secrets=former)
    leak.world.sandbox.providers["groq"].add_key(LEAKED)

    outcome = rotate_generated(leak)

    assert outcome.result["wrote"], outcome.err
    assert ("secrets-bulk" in written_paths(leak)) is not has_it
    assert len(leak.values()["JWT_SECRET"]) == 64
    assert leak.world.sandbox.github.secrets("production") == {"JWT_SECRET": leak.values()["JWT_SECRET"]}


@pytest.mark.slow
def test_plan_can_edit_one_worker_and_reupload_another(both: Leak) -> None:
    rolled_back(both)

    outcome = both.rotate_one(*INHERIT)

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert both.values()[KEY] == both.values(JOBS)[KEY] == FRESH
    assert sorted(written_paths(both)) == ["deployments", "deployments", "secrets-bulk", "versions"]


@pytest.mark.slow
@pytest.mark.parametrize("restores", [False, True])
def test_rollback_does_not_restore_a_revoked_key(leak: Leak, restores: bool) -> None:
    leak.world.sandbox.switches.forced_rollback_restores_secrets = restores
    (former,) = leak.world.live
    rolled_back(leak)
    leak.rotate_one(*INHERIT)
    leak.rotate("--confirm-revoked", KEY)
    leak.world.sandbox.requests.clear()

    outcome = leak.world.rollback("--to", former, "--accept-changed-secrets", f"{KEY},{OTHER},X")

    assert ended(outcome) == (3, "refused", "secret_revoked")
    assert [write.query for write in leak.world.writes()] == [{}]
    assert leak.values() == NOW
    kept = leak.world.ops(*shlex.split(outcome.result["press"])[1:], "--yes", "--json")
    assert kept.code == 0, kept.err
    assert leak.values() == NOW


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "moment"),
    [(LIST, "after"), (UPLOAD, "before"), (UPLOAD, "after"), (WRITE, "before"), (WRITE, "after")],
    ids=lambda value: value["path"].rpartition("/")[2] if isinstance(value, dict) else value,
)
def test_killed_reupload_can_be_finished(leak: Leak, where: dict[str, Any], moment: str) -> None:
    rolled_back(leak)
    command = Command(leak.world, "rotate-secrets", environ=HELD, more=("--only", KEY, *INHERIT))
    lost = {"lost": "before"} if moment == "before" else {}
    leak.world.sandbox.fault(**where, **{moment: command.send(signal.SIGKILL)}, **lost)
    command.run()
    leak.world.sandbox.faults.clear()

    assert ended(leak.rotate_one(*INHERIT))[0] == 0
    assert (code_of(leak), leak.values()) == ("good", NOW)


@pytest.mark.parametrize("only", [KEY, pytest.param(OTHER, marks=pytest.mark.slow)])
def test_undeployed_reupload_can_be_finished(leak: Leak, only: str) -> None:
    """A run for another secret would inherit this one from an upload that was never live."""
    with_objects(leak)
    leak.world.sandbox.fault(**UPLOAD, after=lambda: os.kill(os.getpid(), signal.SIGINT))
    assert ended(leak.rotate_one())[:2] == (130, "interrupted")
    leak.world.sandbox.providers["cerebras"].add_key(FRESH)

    again = leak.rotate("--only", only, **{f"NEW_{only}": FRESH})

    if only == KEY:
        assert ended(again)[:2] == (0, "recovered"), again.err
        assert (code_of(leak), leak.values()) == ("good", NOW)
    else:
        assert ended(again) == (3, "refused", "inherit_not_accepted")


@pytest.mark.slow
def test_wrangler_can_put_a_secret_after_a_reupload(leak: Leak, tmp_path: Path) -> None:
    rolled_back(leak)
    leak.rotate_one(*INHERIT)

    run_wrangler(leak.world.sandbox, tmp_path, "secret", "put", "X", "--name", WORKER, home=tmp_path, stdin="newer\n")

    assert (code_of(leak), leak.values()) == ("good", {**NOW, "X": "newer"})

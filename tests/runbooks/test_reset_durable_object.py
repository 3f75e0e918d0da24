"""`ops reset-durable-object`: restart all objects of a Worker."""

import json
import re
import shlex
import signal
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ops.app.configuration import read_config
from ops.drills import scenario_release
from ops.workers.object_reset import KEPT_SECTION, OTHERS_SECTION
from sandbox import Sandbox
from sandbox.edge.embedded import EmbeddedObjects, EmbeddedRuntime
from sandbox.switches import Switches
from tests.conftest import ACCOUNT, REFERENCE, WORKER, Outcome, World
from tests.support.commands import LIST, WRITE, Command, ended, ours, texts

TOKEN = "admin-0123456789-marked"
HELD = {"FORTUNET_ADMIN_TOKEN": TOKEN}
NAME, CLASS = "ai-mutex", "AiMutexDO"
HOST = {"host": "api.fortunet.example"}
LOCKED = 5
"""Number of requests in memory at which the object is stuck."""
BINDINGS = ({"type": "durable_object_namespace", "name": "AI_MUTEX", "class_name": CLASS, "namespace_id": "1"},)
UPLOAD = {"method": "POST", "path": "/accounts/*/workers/scripts/*/versions"}
STATE = {"method": "GET", "path": "/__ops/objects/ai-mutex"}
ENDPOINT = "            reset: /__ops/objects/ai-mutex/reset # POST: clears the memory\n"
SHOWN = """            state: /__ops/objects/ai-mutex # GET: shows the memory and the storage
            token: FORTUNET_ADMIN_TOKEN # NAME of the variable that holds the ADMIN_TOKEN of the application
            proof: instance # in memory: differs after each start
            keeps: quota.iflow.used # in storage: a reset must keep it
"""


@dataclass(frozen=True)
class StuckObject:
    world: World

    def reset(self, *arguments: str, **environ: str | None) -> Outcome:
        where = ["--service", "api", "--environment", "production", "--config", str(self.world.config)]
        return self.world.ops("reset-durable-object", *where, "--yes", "--json", *arguments, **{**HELD, **environ})

    def reset_one(self, *arguments: str, **environ: str | None) -> Outcome:
        return self.reset("--name", NAME, *arguments, **environ)

    def run_suggested_command(self, stopped: Outcome) -> Outcome:
        """Run the suggested command."""
        return self.world.ops(*shlex.split(stopped.result["press"])[1:], "--yes", "--json", **HELD)

    def use(self, times: int = 1) -> None:
        """Send user requests through the edge."""
        for _ in range(times):
            httpx.post(f"{self.world.sandbox.edge_url}/api/charts/interpret", headers=HOST, verify=False)

    @property
    def objects(self) -> EmbeddedObjects:
        runtime = self.world.sandbox._runtime
        assert isinstance(runtime, EmbeddedRuntime)
        return runtime.objects

    @property
    def memory(self) -> int:
        (version,) = self.world.live
        return self.objects.memory_of(WORKER, version, NAME)

    @property
    def quota(self) -> int:
        return self.objects.quota(WORKER, NAME)

    def posts(self) -> int:
        return sum(fault.hits for fault in self.world.sandbox.edge_faults.rules if fault.method == "POST")


def serve(world: World, ago: timedelta = timedelta(hours=2), **upload: Any) -> str:
    given = {
        "code": "good",
        "behaviour": {"objects": {NAME: {"stuck": LOCKED}}},
        "bindings": BINDINGS,
        "durable_objects": (CLASS,),
        "secrets": {"ADMIN_TOKEN": TOKEN, "AI_KEY": "k"},
    }
    return world.release(ago, **{**given, **upload})


@pytest.fixture
def stuck(world: World) -> StuckObject:
    serve(world)
    found = StuckObject(world)
    found.use(LOCKED)
    return found


def writes(world: World) -> list[str]:
    return [write.path.rpartition("/")[2] for write in world.writes()]


# Every object of the Worker


def test_reset_clears_memory_and_keeps_storage(stuck: StuckObject) -> None:
    world, (was,) = stuck.world, stuck.world.live

    outcome = stuck.reset("--reason", "AI requests time out")

    assert ended(outcome) == (0, "recovered", "verified"), outcome.err
    assert (stuck.memory, stuck.quota) == (0, LOCKED)
    (now,) = world.live
    versions = world.sandbox.account.workers[WORKER].versions
    assert now != was
    assert (versions[now].upload.etag, versions[now].upload.secrets) == (
        versions[was].upload.etag,
        versions[was].upload.secrets,
    )
    assert writes(world) == ["versions", "deployments"]
    (made,) = ours(world)
    assert made.code_update_strategy == {"mode": "immediate"}
    assert made.annotations["workers/message"].endswith(f"blames=- reset={CLASS}; AI requests time out")
    assert f"{NAME} restarted" in texts(outcome, "read_back")[-1]


def test_plan_lists_restarts_losses_and_kept_storage(stuck: StuckObject) -> None:
    more = {"type": "durable_object_namespace", "name": "ROOM", "class_name": "Room", "script_name": "chat"}
    serve(stuck.world, timedelta(minutes=9), bindings=(*BINDINGS, more), durable_objects=(CLASS, "SessionDO"))
    (live,) = stuck.world.live

    plan = stuck.reset("--dry-run").result["plan"]

    assert [f"{CLASS}, bound as AI_MUTEX", "SessionDO"] in plan["sections"].values()
    assert plan["sections"][OTHERS_SECTION] == ["ROOM: belongs to Worker chat, whose deployments restart it"]
    assert any("storage (SQLite or key-value)" in line for line in plan["sections"][KEPT_SECTION])
    assert any("alarms" in line for line in plan["sections"][KEPT_SECTION])
    assert any("WebSockets of the objects close, and requests in progress" in line for line in plan["follows"])
    assert any("nothing to undo" in line for line in plan["follows"])
    assert plan["changes"][-1]["undo"].startswith(
        f"ops rollback-worker --service api --environment production --to {live[:8]}"
    )
    assert plan["changes"][0]["undo"] == ""
    assert stuck.world.writes() == []


@pytest.mark.sampled(2)
@pytest.mark.parametrize("script", [{}, {"script_name": WORKER}], ids=["unnamed", "named"])
def test_class_without_exports_is_found_by_its_binding(stuck: StuckObject, script: dict[str, str]) -> None:
    serve(stuck.world, timedelta(minutes=9), durable_objects=(), bindings=({**BINDINGS[0], **script},))

    plan = stuck.reset("--dry-run").result["plan"]

    assert [f"{CLASS}, bound as AI_MUTEX"] in plan["sections"].values()


@pytest.mark.slow
def test_undo_command_restores_the_version(stuck: StuckObject) -> None:
    before = stuck.world.live
    (undo,) = stuck.reset().result["undo"]

    outcome = stuck.world.ops(*shlex.split(undo)[1:], "--yes", "--json", **HELD)

    assert outcome.result["wrote"], outcome.err
    assert stuck.world.live == before


@pytest.mark.slow
def test_reset_keeps_an_active_rollback(stuck: StuckObject) -> None:
    world = stuck.world
    good = next(iter(world.live))
    world.release(
        timedelta(minutes=20), code="bad", behaviour={"status": 500}, secrets={"ADMIN_TOKEN": TOKEN, "AI_KEY": "k"}
    )
    world.sandbox.deploy(WORKER, good, at=world.sandbox.clock.now() - timedelta(minutes=10))
    assert stuck.reset("--inherit-latest", "ADMIN_TOKEN,AI_KEY", "--incident", "42").result["wrote"]

    pressed = world.rollback("--incident", "42", **HELD)

    assert ended(pressed)[1:] == ("nothing_to_do", "already_stepped_back")


@pytest.mark.slow
def test_reset_after_a_rollback_needs_accepted_secrets(stuck: StuckObject) -> None:
    world, (good,) = stuck.world, stuck.world.live
    bad = world.release(timedelta(minutes=10), code="bad", behaviour={"status": 500})
    world.sandbox.deploy(WORKER, good)

    asked = stuck.reset()
    assert world.writes() == []
    outcome = stuck.run_suggested_command(asked)

    assert ended(asked) == (3, "refused", "inherit_not_accepted")
    assert re.search(rf"\bADMIN_TOKEN, AI_KEY\b.*\b{bad[:8]}\b", asked.result["message"])
    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    versions = world.sandbox.account.workers[WORKER].versions
    assert versions[next(iter(world.live))].upload.etag == versions[good].upload.etag
    assert (stuck.memory, stuck.quota) == (0, LOCKED)


@pytest.mark.slow
def test_split_is_refused(stuck: StuckObject) -> None:
    world, (good,) = stuck.world, stuck.world.live
    world.sandbox.deploy(WORKER, {good: 90, serve(world, timedelta(minutes=9), code="new"): 10})
    split = world.live

    outcome = stuck.reset()

    assert ended(outcome) == (3, "refused", "not_rebuildable")
    assert "--to VERSION" in outcome.result["press"]
    assert (world.writes(), world.live) == ([], split)


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "static assets": ({"assets": True}, "not_rebuildable", "assets"),
    "containers": ({"more": {"containers": ({"class_name": "Box"},)}}, "not_rebuildable", "containers"),
    "exports": ({"more": {"exports": {"R": {"type": "durable-object"}}}}, "not_rebuildable", "exports"),
    "no Durable Object": (
        {"bindings": (), "durable_objects": ()},
        "no_target",
        WORKER,
    ),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("upload", "reason", "said"), REFUSED.values(), ids=REFUSED)
def test_worker_whose_objects_cannot_restart_is_refused(
    stuck: StuckObject, upload: dict[str, Any], reason: str, said: str
) -> None:
    serve(stuck.world, timedelta(minutes=9), **upload)

    outcome = stuck.reset()

    assert ended(outcome) == (3, "refused", reason)
    assert said in outcome.result["message"]
    assert ("Deploy the live commit again through CI" in outcome.result["hint"]) is (reason == "not_rebuildable")
    assert stuck.world.writes() == []


def test_object_of_another_worker_is_not_reset_by_a_new_version_of_this_one(stuck: StuckObject) -> None:
    """The Worker has another class of its own, which would restart for nothing."""
    foreign = {**BINDINGS[0], "script_name": "locks"}
    serve(stuck.world, timedelta(minutes=9), bindings=(foreign,), durable_objects=["Room"])

    outcome = stuck.reset()

    assert ended(outcome) == (3, "refused", "no_target")
    assert re.search(rf"\blocks\b.*\b{NAME} of api\b", outcome.result["message"])
    assert "locks " in outcome.result["hint"]
    assert stuck.world.writes() == []


@pytest.mark.slow
def test_deployment_after_the_request_is_refused(stuck: StuckObject) -> None:
    asked = stuck.world.sandbox.clock.now() - timedelta(minutes=12)
    serve(stuck.world, timedelta(minutes=9))

    outcome = stuck.reset("--requested-at", asked.isoformat())

    assert ended(outcome) == (3, "refused", "world_moved")


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize("write", [UPLOAD, WRITE], ids=["upload", "deployment"])
def test_lost_write_is_found_by_its_mark(stuck: StuckObject, write: dict[str, str]) -> None:
    stuck.world.sandbox.fault(**write, lost="after")

    outcome = stuck.reset()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert writes(stuck.world) == ["versions", "deployments"]
    assert stuck.memory == 0


@pytest.mark.slow
@pytest.mark.sampled(1)
@pytest.mark.parametrize("write", [UPLOAD, WRITE], ids=["upload", "deployment"])
def test_hint_of_an_unreadable_reset_says_that_the_same_command_resets_again(
    stuck: StuckObject, write: dict[str, str]
) -> None:
    def hide() -> None:
        stuck.world.sandbox.fault(**LIST, status=503, times=None)

    stuck.world.sandbox.fault(**write, lost="after", after=hide)
    lost = stuck.reset()
    stuck.world.sandbox.faults.clear()
    stuck.use(LOCKED)

    again = stuck.reset()

    assert ended(lost) == (5, "unknown_outcome", "unclear"), lost.err
    assert "resets once more" in lost.result["hint"]
    assert ended(again)[0] == 0, again.err
    assert stuck.memory == 0


def test_unexported_class_in_ops_yml_is_a_warning(stuck: StuckObject) -> None:
    stuck.world.edit_config("class: AiMutexDO", "class: AiMutex")

    plan = stuck.reset("--dry-run").result["plan"]

    assert f"{NAME} is a AiMutex in ops.yml, but the live version does not export this class" in plan["warnings"]


UNSHOWN: dict[str, tuple[dict[str, str | None], dict[str, Any], str]] = {
    "no token here": ({"FORTUNET_ADMIN_TOKEN": None}, {}, "FORTUNET_ADMIN_TOKEN is not set"),
    "another token": ({"FORTUNET_ADMIN_TOKEN": "another-0123456789"}, {}, "rejected FORTUNET_ADMIN_TOKEN"),
    "a state that fails": ({}, {"status": 500}, "returned HTTP 500"),
    "no JSON": ({}, {"status": 200, "body": "<html>"}, "has neither a number nor a text at instance"),
    "another JSON": ({}, {"status": 200, "body": '{"instance": true}'}, "has neither a number nor a text"),
}


@pytest.mark.slow
@pytest.mark.sampled(3)
@pytest.mark.parametrize(("environ", "fault", "said"), UNSHOWN.values(), ids=UNSHOWN)
def test_unreadable_object_is_restarted_with_no_evidence(
    stuck: StuckObject, environ: dict[str, str | None], fault: dict[str, Any], said: str
) -> None:
    if fault:
        stuck.world.sandbox.edge_fault(**STATE, **fault, times=None)

    outcome = stuck.reset(**environ)

    assert ended(outcome) == (8, "no_evidence", "no_evidence"), outcome.err
    assert said in outcome.result["message"]
    assert any(said in warning for warning in outcome.result["plan"]["warnings"])
    assert (stuck.memory, stuck.quota) == (0, LOCKED)


@pytest.mark.slow
def test_new_version_is_the_proof_without_state_endpoint(stuck: StuckObject) -> None:
    stuck.world.edit_config(ENDPOINT + SHOWN, "")

    outcome = stuck.reset()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err


# Interruption


KILLS = [
    (signal.SIGKILL, UPLOAD, "after"),
    (signal.SIGTERM, UPLOAD, "before"),
    (signal.SIGKILL, WRITE, "before"),
    (signal.SIGKILL, WRITE, "after"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "write", "moment"), KILLS)
def test_run_interrupted_at_a_write_can_be_finished(
    stuck: StuckObject, number: signal.Signals, write: dict[str, str], moment: str
) -> None:
    """Between the writes the latest upload is ours, is not live, and has the secrets of the live version."""
    world = stuck.world
    command = Command(world, "reset-durable-object", environ=HELD)
    lost = {"lost": "before"} if (number, moment) == (signal.SIGKILL, "before") else {}
    world.sandbox.fault(**write, **{moment: command.send(number)}, **lost)
    command.run()
    world.sandbox.faults.clear()

    again = stuck.reset()

    assert again.code == 0, again.err
    assert (stuck.memory, stuck.quota) == (0, LOCKED)


def upload_like_live(world: World, message: str, *, deployed: bool = False, **changes: Any) -> str:
    """Upload the live code with this message and the secrets of the previous upload."""
    (live,) = world.live
    was = world.sandbox.account.workers[WORKER].versions[live].upload
    behaviour = {"objects": {NAME: {"stuck": LOCKED}}}
    given: dict[str, Any] = {"code": was.modules[0].content.decode(), "bindings": BINDINGS, "behaviour": behaviour}
    made = world.sandbox.upload(WORKER, **given | {"durable_objects": (CLASS,), "message": message} | changes)
    if deployed:
        world.sandbox.deploy(WORKER, made)
    return made


MARK = f"ops1 incident=42 run=killed blames=- reset={CLASS}"


def test_upload_of_a_killed_run_is_recognized(stuck: StuckObject) -> None:
    upload_like_live(stuck.world, MARK)
    upload_like_live(stuck.world, MARK)

    again = stuck.reset("--incident", "42")

    assert ended(again)[:2] == (0, "recovered"), again.err
    assert (stuck.memory, stuck.quota) == (0, LOCKED)
    (secret, *_) = again.result["plan"]["sections"][f"Secrets of {WORKER}"]
    assert "an earlier run for this incident uploaded with the secrets of" in secret


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("message", "changes"),
    [
        pytest.param(MARK.replace("42", "41"), {}, id="another incident"),
        pytest.param("release 4.2", {}, id="no mark"),
        pytest.param(MARK, {"code": "forged"}, id="other code", marks=pytest.mark.slow),
        pytest.param(MARK, {"vars": {"X": "forged"}}, id="another variable"),
        pytest.param(MARK, {"compatibility_date": "2025-01-01"}, id="another setting", marks=pytest.mark.slow),
        pytest.param(MARK.replace("reset=", "rotated="), {}, id="a changed secret"),
    ],
)
def test_foreign_upload_is_not_recognized_as_ours(stuck: StuckObject, message: str, changes: dict[str, Any]) -> None:
    upload_like_live(stuck.world, message, **changes)

    again = stuck.reset("--incident", "42")

    assert ended(again) == (3, "refused", "inherit_not_accepted")
    assert stuck.world.writes() == []


def test_upload_based_on_an_undeployed_one_needs_acceptance(stuck: StuckObject) -> None:
    stuck.world.sandbox.upload(WORKER, secrets={"ADMIN_TOKEN": TOKEN, "AI_KEY": "unproved"})
    between = upload_like_live(stuck.world, MARK)

    assert ended(stuck.reset("--incident", "42")) == (3, "refused", "inherit_not_accepted")
    stuck.world.sandbox.delete_version(WORKER, between)
    upload_like_live(stuck.world, MARK)
    assert ended(stuck.reset("--incident", "42")) == (3, "refused", "inherit_not_accepted")


@pytest.mark.slow
def test_reset_works_on_the_reference_application(tmp_path: Path) -> None:
    """Deployed by the real wrangler, then reset by a new upload, then by its own endpoint."""
    (tmp_path / "ops.yml").write_text((REFERENCE / "ops.yml").read_text().replace("successes: 3", "successes: 1"))
    at_once = Switches(propagation_seconds=0)
    with Sandbox(account_id=ACCOUNT, edge="workerd", switches=at_once) as sandbox:
        world = World(sandbox, tmp_path)
        service = read_config(world.config)[0].environment("production").service("api")
        scenario_release.WORKER.release(sandbox, service, "good", "workerd", tmp_path)
        for name, value in (("ADMIN_TOKEN", TOKEN), ("IFLOW_API_KEY", sandbox.providers["iflow"].add_key("k-0123456"))):
            sandbox.put_secret(WORKER, name, value)
        stuck = StuckObject(world)
        for arguments in ((), ("--name", NAME)):
            interpret(sandbox)
            before = mutex(sandbox)

            outcome = stuck.reset(*arguments)

            assert ended(outcome)[:2] == (0, "healthy_as_before"), outcome.err
            after = mutex(sandbox)
            assert (before["memory"]["answered"], after["memory"]["answered"]) == (1, 0)
            assert before["quota"]["iflow"]["used"] == after["quota"]["iflow"]["used"] > 0
        assert writes(world)[-2:] == ["versions", "deployments"]


def interpret(sandbox: Sandbox) -> None:
    body = json.dumps({"date": "1990-05-17", "time": "08:30"})
    answer = httpx.post(f"{sandbox.edge_url}/api/charts/interpret", content=body, headers=HOST, timeout=30)
    assert answer.status_code == 200, answer.text


def mutex(sandbox: Sandbox) -> Any:
    headers = {**HOST, "authorization": f"Bearer {TOKEN}"}
    return httpx.get(f"{sandbox.edge_url}/__ops/objects/ai-mutex", headers=headers, timeout=30).json()


def test_worker_without_a_deployment_has_no_target(world: World) -> None:
    serve(world, deploy=False)

    outcome = StuckObject(world).reset()

    assert ended(outcome) == (3, "refused", "no_target")


def test_challenge_before_the_reset_is_refused(stuck: StuckObject) -> None:
    stuck.world.sandbox.edge_fault(method="POST", status=403, body="<html>", headers={"cf-mitigated": "challenge"})

    outcome = stuck.reset_one()

    assert ended(outcome) == (3, "refused", "no_endpoint")
    assert stuck.memory == LOCKED


@pytest.mark.slow
def test_unreachable_application_was_not_reset(stuck: StuckObject) -> None:
    state, token, proof, keeps = SHOWN.splitlines(keepends=True)
    stuck.world.edit_config(state + token + proof + keeps, token)

    outcome = stuck.reset_one(OPS_EDGE_URL="http://127.0.0.1:9")

    assert ended(outcome) == (4, "failed", "not_applied"), outcome.err
    assert stuck.memory == LOCKED

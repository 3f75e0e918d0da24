"""`ops rotate-secrets`: replace a leaked key, verify it and copy it to GitHub."""

import os
import shlex
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox.github import GitHub
from tests.conftest import WORKER, Outcome, World
from tests.support.commands import JSON, LIST, WRITE, Command, ended, texts, timeline
from tests.support.wrangler import run_wrangler

BULK = {"method": "PATCH", "path": "/accounts/*/workers/scripts/*/secrets-bulk"}
LEAKED, FRESH = "gsk-leaked-0123456789-marked", "gsk-fresh-9876543210-marked"
KEY, OTHER = "GROQ_API_KEY", "CEREBRAS_API_KEY"
HELD = {f"NEW_{KEY}": FRESH, f"OLD_{KEY}": LEAKED}
UPSTREAM = {"provider": "groq", "secret": KEY}
WORKS = {"paths": {"/health/ai/groq": {"upstream": UPSTREAM}}}
REPOSITORY = "fortunet/fortunet"
JOBS = "fortunet-jobs"
SECOND = """      jobs:
        worker: fortunet-jobs
        url: https://jobs.fortunet.example
        probes: [{name: health, http: {path: /health, version: version.id}}]
      frontend:
        pages: fortunet-frontend"""


@dataclass(frozen=True)
class Leak:
    world: World

    def rotate(self, *arguments: str, **environ: str | None) -> Outcome:
        where = ["--service", "api", "--environment", "production", "--config", str(self.world.config)]
        return self.world.ops("rotate-secrets", *where, "--yes", "--json", *arguments, **{**HELD, **environ})

    def rotate_one(self, *arguments: str, **environ: str | None) -> Outcome:
        return self.rotate("--only", KEY, *arguments, **environ)

    def values(self, worker: str = WORKER) -> Mapping[str, str]:
        (version,) = self.world.sandbox.live(worker)
        return self.world.sandbox.deployments(worker)[0].secrets[version]


@pytest.fixture
def leak(world: World) -> Leak:
    """Deploy a leaked key that its provider already revoked, and prepare a new one."""
    groq = world.sandbox.providers["groq"]
    groq.add_key(LEAKED)
    groq.add_key(FRESH)
    groq.revoke(LEAKED)
    world.release(timedelta(hours=3), code="good", behaviour=WORKS, secrets={KEY: LEAKED, OTHER: "kept", "X": "kept"})
    return Leak(world)


def test_leaked_key_is_replaced_and_verified(leak: Leak) -> None:
    outcome = leak.rotate_one("--reason", "in a public commit")

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert leak.values() == {KEY: FRESH, OTHER: "kept", "X": "kept"}
    assert [write.method for write in leak.world.writes()] == ["PATCH"]
    plan = outcome.result["plan"]
    assert plan["tasks"][0].startswith(f"`gh secret set {KEY} --env production --repo {REPOSITORY}` (")
    assert plan["tasks"][2] == f"revoke the previous {KEY} at https://console.groq.com/keys"
    assert f"--confirm-revoked {KEY}" in plan["tasks"][-1]
    assert plan["changes"][0]["undo"].endswith(f"--restore {KEY} --config {leak.world.config}")
    assert FRESH not in outcome.out + outcome.err


def test_dry_run_only_checks_keys_with_the_provider(leak: Leak) -> None:
    outcome = leak.rotate_one("--dry-run")

    assert ended(outcome) == (0, "planned", "dry_run")
    assert leak.world.writes() == []
    assert sorted(
        r.status or 0 for r in leak.world.sandbox.providers["groq"].requests if r.path.endswith("models")
    ) == [
        200,
        401,
    ]


@pytest.mark.slow
def test_still_valid_previous_key_is_reported(leak: Leak) -> None:
    leak.world.sandbox.providers["groq"].add_key(LEAKED)

    outcome = leak.rotate_one()

    assert ended(outcome)[:2] == (0, "healthy_as_before")
    assert "the previous values are not proved revoked yet" in outcome.result["message"]


# Refusals before a write


def assert_refused(leak: Leak, outcome: Outcome, reason: str, *said: str) -> None:
    assert ended(outcome) == (3, "refused", reason), outcome.err
    for text in said:
        assert text in outcome.result["message"] + outcome.result["hint"]
    assert leak.world.writes() == []


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "is missing or empty"),
        ("", "is missing or empty"),
        (f"{FRESH}\n", "starts or ends with whitespace"),
        (f" {FRESH}", "starts or ends with whitespace"),
        ("sixteen\u201ccharacters", "contains a character that is not allowed in a provider key"),
        ("short-one", "has 9 characters, but ops.yml requires at least 16"),
        (LEAKED, f"equals OLD_{KEY}"),
    ],
)
def test_unusable_new_value_is_refused(leak: Leak, value: str | None, said: str) -> None:
    outcome = leak.rotate_one(**{f"NEW_{KEY}": value})

    assert_refused(leak, outcome, "values_unusable", f"NEW_{KEY} {said}")
    assert leak.world.sandbox.requests == []


def test_all_value_problems_are_reported_at_once(leak: Leak) -> None:
    outcome = leak.rotate(**{f"NEW_{OTHER}": FRESH})

    for text in ("NEW_IFLOW_API_KEY is missing", f"NEW_{OTHER} equals NEW_{KEY}", "GH_SECRETS_TOKEN is not set"):
        assert_refused(leak, outcome, "values_unusable", text)
    assert "PASSWORD_PEPPER" not in outcome.result["message"]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("arguments", "code", "reason", "said"),
    [
        (["--only", "PASSWORD_PEPPER"], 3, "never_rotated", "no stored password could be checked any more"),
        (["--only", "GROQ_API_KEYS"], 2, "unknown_name", f'did you mean "{KEY}"?'),
        (["--only", KEY, "--restore", KEY], 2, "config_invalid", "only and restore cannot be combined"),
        (["--only", KEY, "--confirm-revoked", KEY], 2, "config_invalid", "cannot be combined"),
        (["--confirm-revoked", KEY, "--inherit-latest", "X"], 2, "config_invalid", "`confirm_revoked` sets none"),
    ],
)
def test_secret_that_cannot_be_rotated_is_refused(
    leak: Leak, arguments: list[str], code: int, reason: str, said: str
) -> None:
    outcome = leak.rotate(*arguments)

    assert ended(outcome) == (code, "refused", reason)
    assert said in outcome.result["message"]
    assert leak.world.sandbox.requests == []


def test_secret_of_another_service_is_refused(leak: Leak) -> None:
    leak.world.edit_config("      frontend:\n        pages: fortunet-frontend", SECOND)
    where = ["--environment", "production", "--config", str(leak.world.config), "--yes", "--json"]

    outcome = leak.world.ops("rotate-secrets", "--service", "jobs", *where, "--only", KEY, **HELD)

    assert ended(outcome) == (2, "refused", "unknown_name")
    assert f"{KEY} is not a secret of jobs; its consumers are api" in outcome.result["message"]


def change_provider(**changes: Any) -> Callable[[Leak], None]:
    return lambda leak: vars(leak.world.sandbox.providers["groq"]).update(changes)


def use_open_provider(leak: Leak) -> None:
    """Use a provider whose list of models needs no key."""
    leak.world.edit_config("https://api.groq.com/openai/v1", "https://apis.iflow.cn/v1")


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("prepare", "reason", "said"),
    [
        (
            lambda leak: leak.world.sandbox.providers["groq"].revoke(FRESH),
            "key_refused",
            f"rejects NEW_{KEY} (status 401)",
        ),
        (change_provider(down=True), "no_evidence", f"gave no clear answer for NEW_{KEY} (status 503)"),
        (change_provider(delay=0.5), "no_evidence", "(no answer within 0.1 s)"),
        (use_open_provider, "no_evidence", "accepts a random key too, so its answer proves nothing"),
    ],
    ids=["refused", "down", "slow", "open"],
)
def test_value_without_provider_proof_is_not_set(
    leak: Leak, prepare: Callable[[Leak], None], reason: str, said: str
) -> None:
    if "no answer within" in said:
        leak.world.edit_config(
            "url: https://api.groq.com/openai/v1", "url: https://api.groq.com/openai/v1\n          timeout: 100ms"
        )
    prepare(leak)

    outcome = leak.rotate_one()

    assert_refused(leak, outcome, reason, said, "https://console.groq.com/keys")


# The write


@pytest.fixture
def both(leak: Leak) -> Leak:
    """Add a second Worker with the same key and a proof of its own."""
    world = leak.world
    world.edit_config("      frontend:\n        pages: fortunet-frontend", SECOND)
    api = "          api:\n            - path: /health/ai/groq\n              version: version.id\n"
    world.edit_config(api, api + api.replace("api:", "jobs:"))
    head = f"      {KEY}:\n        rotate: provided\n        consumers: [api"
    world.edit_config(head, f"{head}, jobs")
    at = world.sandbox.clock.now() - timedelta(hours=3)
    version = world.sandbox.upload(JOBS, code="jobs", behaviour=WORKS, secrets={KEY: LEAKED}, at=at)
    world.sandbox.deploy(JOBS, version, at=at)
    world.sandbox.route("api.fortunet.example", WORKER)
    world.sandbox.route("jobs.fortunet.example", JOBS)
    return leak


@pytest.mark.slow
def test_every_consumer_is_updated_and_verified(both: Leak) -> None:
    outcome = both.rotate_one()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert both.values()[KEY] == both.values(JOBS)[KEY] == FRESH
    (probed, *_) = [text for text in texts(outcome, "probed") if "1 of 1" in text]
    assert "jobs: groq_api_key healthy" in probed
    assert "api: groq_api_key healthy" in probed


LOST = [{"lost": "before"}, {"lost": "after"}, {"status": 500}, {"status": 500, "applied": True}, {"code": 10035}]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("rule", LOST, ids=str)
def test_unanswered_write_is_retried_once(leak: Leak, rule: dict[str, Any]) -> None:
    leak.world.sandbox.fault(**BULK, **rule)

    outcome = leak.rotate_one()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert leak.values()[KEY] == FRESH
    assert len(leak.world.writes()) == 2


@pytest.mark.slow
def test_two_lost_answers_are_unknown_outcome(leak: Leak) -> None:
    leak.world.sandbox.fault(**BULK, lost="after", times=2)

    outcome = leak.rotate_one()

    assert ended(outcome) == (5, "unknown_outcome", "unclear")
    assert "but its secret values cannot be read" in outcome.result["message"]
    assert len(leak.world.writes()) == 2


def test_foreign_release_during_an_unclear_write_is_kept(leak: Leak) -> None:
    fix = lambda: leak.world.release(timedelta(0), code="fix", author="dana@example.com")  # noqa: E731
    leak.world.sandbox.fault(**BULK, lost="before", before=fix)

    outcome = leak.rotate_one()

    assert ended(outcome) == (4, "failed", "world_moved")
    assert len(leak.world.writes()) == 1
    assert leak.values()[KEY] == LEAKED


@pytest.mark.slow
def test_change_of_the_second_worker_stops_the_rotation(both: Leak) -> None:
    def release() -> None:
        other = both.world.sandbox.upload(JOBS, code="other")
        both.world.sandbox.deploy(JOBS, other, author="dana@example.com")

    both.world.sandbox.fault(**BULK, after=release)

    outcome = both.rotate_one()

    assert ended(outcome) == (4, "failed", "world_moved")
    assert f"changed: Worker {WORKER}; not changed: Worker {JOBS}" in outcome.result["message"]
    assert outcome.result["wrote"]
    assert ended(both.rotate_one())[0] == 0
    assert both.values()[KEY] == both.values(JOBS)[KEY] == FRESH


@pytest.mark.slow
def test_rejection_at_the_second_worker_is_a_failure(both: Leak) -> None:
    both.world.sandbox.fault(**BULK, skip=1, code=10214)

    outcome = both.rotate_one()

    assert ended(outcome) == (4, "failed", "latest_not_deployed")
    assert f"changed: Worker {WORKER}; not changed: Worker {JOBS}" in outcome.result["message"]


# Workers whose secrets cannot be edited: the live version is uploaded again

UPLOAD = {"method": "POST", "path": "/accounts/*/workers/scripts/*/versions"}
INHERIT = ("--inherit-latest", f"{OTHER},X")
NOW = {KEY: FRESH, OTHER: "kept", "X": "kept"}


def split(leak: Leak, canary_share: int = 10) -> None:
    """Split the traffic, so that an edit would promote the canary."""
    leak.world.sandbox.switches.secret_edit_ends_split = True
    canary = leak.world.sandbox.upload(WORKER, code="canary", behaviour=WORKS)
    (live,) = leak.world.live
    leak.world.sandbox.deploy(WORKER, {live: 100 - canary_share, canary: canary_share})


def rolled_back(leak: Leak) -> None:
    (live,) = leak.world.live
    leak.world.release(timedelta(minutes=9), code="bad", behaviour={"status": 500})
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
        (with_objects, "it exports Durable Objects (Lock)"),
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

    assert_refused(leak, outcome, "inherit_not_accepted", f"the values of {OTHER} would come from the latest upload")
    again = leak.world.ops(*shlex.split(outcome.result["press"])[1:], "--yes", "--json", **HELD)
    assert again.code == 0, again.err
    assert leak.values() == NOW


def test_even_split_is_refused(leak: Leak) -> None:
    split(leak, canary_share=50)
    before = leak.world.live

    outcome = leak.rotate_one(*INHERIT)

    assert_refused(
        leak, outcome, "latest_not_deployed", "need a single version", "Roll the Worker back to one of these versions"
    )
    assert "rollback-worker --service api" in outcome.result["press"]
    assert leak.world.live == before


def test_worker_that_cannot_be_reuploaded_is_refused(leak: Leak) -> None:
    leak.world.release(timedelta(minutes=9), code="good", behaviour=WORKS, durable_objects=["Lock"], assets=True)

    outcome = leak.rotate_one()

    way = f"`npx wrangler deploy --name {WORKER}`", f"`npx wrangler secret put {KEY} --name {WORKER}`"
    assert_refused(leak, outcome, "not_rebuildable", "its static assets", "Revert the bad commit in git", *way)


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
def test_generated_value_is_in_the_reuploaded_version(leak: Leak, has_it: bool) -> None:
    former = {KEY: LEAKED} | ({"JWT_SECRET": "former"} if has_it else {})
    leak.world.release(timedelta(minutes=9), code="good", behaviour=WORKS, durable_objects=["Lock"], secrets=former)
    leak.world.sandbox.providers["groq"].add_key(LEAKED)

    outcome = rotate_generated(leak)

    if not has_it:
        assert_refused(leak, outcome, "not_rebuildable", "it has no secret JWT_SECRET")
        return
    assert outcome.result["wrote"], outcome.err
    assert len(leak.values()["JWT_SECRET"]) == 64
    assert leak.world.sandbox.github.secrets("production") == {"JWT_SECRET": leak.values()["JWT_SECRET"]}


@pytest.mark.slow
def test_plan_can_edit_one_worker_and_reupload_another(both: Leak) -> None:
    rolled_back(both)

    outcome = both.rotate_one(*INHERIT)

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert both.values()[KEY] == both.values(JOBS)[KEY] == FRESH
    assert sorted(written_paths(both)) == ["deployments", "secrets-bulk", "versions"]


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


BOUNDARIES = [(LIST, n) for n in range(2, 7)] + [(BULK, 0), (BULK, 1)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "skip"), BOUNDARIES, ids=lambda value: value["method"] if isinstance(value, dict) else str(value)
)
def test_killed_rotation_can_be_finished(both: Leak, where: dict[str, Any], skip: int) -> None:
    command = Command(both.world, "rotate-secrets", environ=HELD, more=("--only", KEY))
    both.world.sandbox.fault(**where, skip=skip, after=command.send(signal.SIGKILL))

    assert command.run().code == -signal.SIGKILL
    assert timeline(both.world)
    again = both.rotate_one()

    assert again.code == 0, again.err
    assert both.values()[KEY] == both.values(JOBS)[KEY] == FRESH


@pytest.mark.slow
def test_fifty_secrets_of_5_workers_are_live_in_5_seconds(leak: Leak) -> None:
    """Measured from the first write to the last read back, with 100 ms per call to Cloudflare."""
    world, names = leak.world, [f"SECRET_{number}" for number in range(10)]
    text = world.config.read_text()
    services = "".join(
        f"      s{n}:\n        worker: w{n}\n        url: https://s{n}.fortunet.example\n"
        "        probes: [{name: health, http: {path: /health}}]\n"
        for n in range(5)
    )
    text = text.replace("      frontend:\n", services + "      frontend:\n", 1)
    consumers = "consumers: [s0, s1, s2, s3, s4]"
    rules = "".join(f"      {name}: {{rotate: provided, {consumers}}}\n" for name in names)
    world.config.write_text(text.replace("    secrets:\n", f"    secrets:\n{rules}", 1))
    for n in range(5):
        world.sandbox.deploy(f"w{n}", world.sandbox.upload(f"w{n}", secrets=dict.fromkeys(names, "leaked")))
        world.sandbox.route(f"s{n}.fortunet.example", f"w{n}")
    world.sandbox.fault(path="/accounts/**", delay=0.1, times=None)
    where = ["--service", "s0", "--environment", "production", "--config", str(world.config), "--yes", "--json"]

    began = time.monotonic()
    outcome = world.ops("rotate-secrets", *where, **{f"NEW_{name}": f"{FRESH}-{name}" for name in names})
    took = time.monotonic() - began

    assert outcome.result["decision"] == "no_evidence"  # nothing proves them
    assert all(leak.values(f"w{n}") == {name: f"{FRESH}-{name}" for name in names} for n in range(5))
    assert len(world.writes()) == 5
    assert took < 5, f"{took:.1f} s with all reads and probes"


# Proof


def test_rotation_without_proof_has_no_evidence(leak: Leak) -> None:
    text = leak.world.config.read_text()
    at = text.index("      GROQ_API_KEY:")
    proof = "        proofs:\n          api:\n            - path: /health/ai/groq\n              version: version.id\n"
    leak.world.config.write_text(text[:at] + text[at:].replace(proof, "", 1))

    outcome = leak.rotate_one()

    assert ended(outcome) == (8, "no_evidence", "no_evidence")
    assert f"ops.yml has no `proofs` for {KEY} in api" in outcome.result["message"]
    assert leak.values()[KEY] == FRESH


@pytest.mark.slow
def test_proof_without_version_echo_has_no_evidence(leak: Leak) -> None:
    leak.world.release(timedelta(hours=1), code="mute", behaviour=WORKS, version_metadata=False)

    outcome = leak.rotate_one()

    assert ended(outcome) == (8, "no_evidence", "no_evidence")


@pytest.mark.slow
def test_undo_command_restores_the_previous_value(leak: Leak) -> None:
    groq = leak.world.sandbox.providers["groq"]
    groq.add_key(LEAKED)
    leak.world.sandbox.fault(**BULK, after=lambda: groq.revoke(FRESH))

    outcome = leak.rotate_one()

    assert ended(outcome) == (6, "still_unhealthy", "still_unhealthy")
    assert leak.values()[KEY] == FRESH
    (undo,) = outcome.result["undo"]
    back = leak.world.ops(*shlex.split(undo)[1:], "--yes", "--json", **HELD)
    assert ended(back)[:2] == (0, "recovered"), back.err
    assert leak.values()[KEY] == LEAKED


def test_revoked_previous_value_is_not_restored(leak: Leak) -> None:
    outcome = leak.rotate("--restore", KEY)

    assert_refused(leak, outcome, "key_refused", f"rejects OLD_{KEY}")


def test_undo_without_previous_value_is_a_rollback(leak: Leak) -> None:
    (live,) = leak.world.live

    outcome = leak.rotate_one(**{f"OLD_{KEY}": None})

    (undo,) = outcome.result["undo"]
    assert (
        f"rollback-worker --service api --environment production --to {live[:8]} --accept-changed-secrets {KEY}" in undo
    )
    assert any("trust it only after the probes" in text for text in outcome.result["plan"]["warnings"])


# Generated values


def rotate_generated(leak: Leak, *arguments: str) -> Outcome:
    leak.world.edit_config(REPOSITORY, leak.world.sandbox.github.describe()["repository"])
    return leak.rotate("--only", "JWT_SECRET", *arguments, **with_token(leak))


def with_token(leak: Leak, *permissions: str) -> dict[str, str]:
    hub: GitHub = leak.world.sandbox.github
    hub.add_user("rotator[bot]", "admin", "Bot")
    hub.add_environment("production")
    token = hub.add_token("ghs_rotator-0123456789", "rotator[bot]", permissions or ["environments:write"])
    return {**hub.environ(), "GH_SECRETS_TOKEN": token, "GITHUB_TOKEN": ""}


def test_generated_value_is_copied_to_github_and_hidden(leak: Leak) -> None:
    outcome = rotate_generated(leak)

    assert ended(outcome)[0] == 0, outcome.err
    made = leak.values()["JWT_SECRET"]
    assert len(made) == 64
    assert leak.world.sandbox.github.secrets("production") == {"JWT_SECRET": made}
    assert made not in outcome.out + outcome.err
    assert "JWT_SECRET: a new value signs everybody out" in outcome.result["plan"]["warnings"]


@pytest.mark.slow
def test_each_generated_value_is_new(leak: Leak) -> None:
    rotate_generated(leak)
    first = leak.values()["JWT_SECRET"]

    leak.rotate("--only", "JWT_SECRET", **with_token(leak))

    assert leak.values()["JWT_SECRET"] not in {first, None}


# GitHub's copy


@pytest.fixture
def copied(leak: Leak) -> Leak:
    leak.world.edit_config(REPOSITORY, leak.world.sandbox.github.describe()["repository"])
    return leak


def test_github_copy_is_written_after_verification(copied: Leak) -> None:
    outcome = copied.rotate_one(**with_token(copied))

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert copied.world.sandbox.github.secrets("production") == {KEY: FRESH}
    assert not [task for task in outcome.result["plan"]["tasks"] if task.startswith("`gh secret set")]


@pytest.mark.slow
def test_unverified_value_is_not_copied_to_github(copied: Leak) -> None:
    copied.world.sandbox.fault(**BULK, after=lambda: copied.world.sandbox.providers["groq"].revoke(FRESH))

    outcome = copied.rotate_one(**with_token(copied))

    assert outcome.code == 6
    assert copied.world.sandbox.github.secrets("production") == {}


@pytest.mark.slow
def test_token_without_secret_permission_fails_the_copy(copied: Leak) -> None:
    outcome = copied.rotate_one(**with_token(copied, "issues:write"))

    assert_copy_is_left(copied, outcome)


@pytest.mark.parametrize(("path", "times"), [(f"secrets/{KEY}", None), ("secrets/public-key", 3)])
def test_unreadable_copy_is_written_or_fails_the_run(copied: Leak, path: str, times: int | None) -> None:
    """Reads of GitHub are tried three times, so three failures affect only the plan."""
    environ, github = with_token(copied), copied.world.sandbox.github
    github.fault(method="GET", path=f"/repos/*/*/environments/*/{path}", status=502, times=times)
    if times is None:
        github.fault(method="PUT", path="/repos/**", status=403, body="{}", **JSON)

    outcome = copied.rotate_one(**environ)

    assert any(f"GitHub's copy of {KEY} cannot be read" in text for text in outcome.result["plan"]["warnings"])
    if times is None:
        assert_copy_is_left(copied, outcome)
    else:
        assert ended(outcome)[:2] == (0, "recovered"), outcome.err
        assert github.secrets("production") == {KEY: FRESH}


def assert_copy_is_left(copied: Leak, outcome: Outcome) -> None:
    """Check that the new value is live and that the result reports the old copy on GitHub."""
    assert ended(outcome)[:2] == (4, "failed"), outcome.err
    assert f"changed: Worker {WORKER}; not changed: GitHub secret {KEY} of production" in outcome.result["message"]
    assert f"gh secret set {KEY} --env production" in outcome.result["hint"]
    assert copied.values()[KEY] == FRESH
    assert copied.world.sandbox.github.secrets("production") == {}


def test_missing_github_token_reports_the_old_copy(leak: Leak) -> None:
    outcome = leak.rotate_one()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert f"GitHub's copy of {KEY} still has the previous value" in outcome.result["message"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("rule", [{"status": 502}, {"lost": "before"}])
def test_unanswered_copy_is_retried_once(copied: Leak, rule: dict[str, Any]) -> None:
    environ = with_token(copied)
    copied.world.sandbox.github.fault(method="PUT", path="/repos/**", **rule)

    outcome = copied.rotate_one(**environ)

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert copied.world.sandbox.github.secrets("production") == {KEY: FRESH}


@pytest.mark.slow
def test_rejected_copy_is_reported(copied: Leak) -> None:
    environ = with_token(copied)
    copied.world.sandbox.github.fault(method="PUT", path="/repos/**", status=403, body="{}", **JSON)

    outcome = copied.rotate_one(**environ)

    assert ended(outcome) == (4, "failed", "provider_refused")
    assert f"changed: Worker {WORKER}; not changed: GitHub secret {KEY} of production" in outcome.result["message"]
    assert f"gh secret set {KEY} --env production" in outcome.result["hint"]


@pytest.mark.slow
def test_manual_steps_appear_on_the_incident(leak: Leak) -> None:
    hub: GitHub = leak.world.sandbox.github
    hub.add_user("alice")
    number = hub.open_issue("A key leaked", "Since 10:00.", ["incident"], "alice")

    planned = leak.rotate_one("--incident", str(number), "--dry-run", **hub.environ())
    outcome = leak.rotate_one("--incident", str(number), **hub.environ())

    assert (planned.code, outcome.code) == (0, 0), outcome.err
    (comment,) = [comment.body for comment in hub.issue(number).comments]
    assert f"**Manual steps**\n\n- `gh secret set {KEY} --env production --repo {REPOSITORY}` (" in comment
    assert f"revoke the previous {KEY} at `https://console.groq.com/keys`" in comment


# The end of a rotation


@pytest.fixture
def rotated(leak: Leak) -> Leak:
    leak.rotate_one()
    leak.world.sandbox.requests.clear()
    return leak


def test_revoked_key_is_verified_and_marked(rotated: Leak) -> None:
    live = rotated.world.live

    outcome = rotated.rotate("--confirm-revoked", KEY, "--incident", "42")

    assert ended(outcome)[:2] == (0, "healthy_as_before"), outcome.err
    assert f"proved revoked: {KEY}" in outcome.result["message"]
    assert rotated.world.live == live
    assert [write.method for write in rotated.world.writes()] == ["POST"]
    message = rotated.world.sandbox.deployments(WORKER)[0].annotations["workers/message"]
    assert message.startswith("ops1 incident=42 run=")
    assert message.endswith(f"blames=- revoked={KEY}")


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("prepare", "environ", "reason", "said"),
    [
        (lambda leak: leak.world.sandbox.providers["groq"].add_key(LEAKED), {}, "key_still_accepted", "is not revoked"),
        (change_provider(down=True), {}, "no_evidence", "no clear answer"),
        (lambda leak: leak.world.sandbox.providers["groq"].revoke(FRESH), {}, "no_evidence", f"rejects NEW_{KEY} too"),
        (use_open_provider, {}, "no_evidence", "accepts a random key too"),
        (lambda _: None, {f"OLD_{KEY}": None}, "values_unusable", f"OLD_{KEY} is missing or empty"),
        (lambda _: None, {f"OLD_{KEY}": FRESH}, "values_unusable", f"equals OLD_{KEY}"),
    ],
    ids=["still valid", "down", "both revoked", "open", "previous value missing", "the same"],
)
def test_unproved_revocation_does_not_end_the_rotation(
    rotated: Leak, prepare: Callable[[Leak], None], environ: dict[str, str | None], reason: str, said: str
) -> None:
    prepare(rotated)

    outcome = rotated.rotate("--confirm-revoked", KEY, **environ)

    assert_refused(rotated, outcome, reason, said)

"""`ops rotate-secrets`: replace a leaked key, verify it and copy it to GitHub."""

import re
import shlex
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from sandbox.github import GitHub
from tests.conftest import WORKER, Outcome, World
from tests.support.commands import LIST, Command, ended, texts, timeline
from tests.support.in_process import answered_in_process
from tests.support.shop import Shop

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


@pytest.mark.slow
def test_leaked_key_is_replaced_and_verified(leak: Leak) -> None:
    outcome = leak.rotate_one("--reason", "in a public commit")

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert leak.values() == {KEY: FRESH, OTHER: "kept", "X": "kept"}
    assert [write.method for write in leak.world.writes()] == ["PATCH", "POST"]
    plan = outcome.result["plan"]
    assert plan["tasks"][0].startswith(f"`gh secret set {KEY} --env production --repo {REPOSITORY}` (")
    assert plan["tasks"][2] == f"revoke the previous {KEY} at https://console.groq.com/keys"
    assert f"--confirm-revoked {KEY}" in plan["tasks"][-1]
    assert plan["changes"][0]["undo"].endswith(f"--restore {KEY} --config {leak.world.config}")
    assert FRESH not in outcome.out + outcome.err


@pytest.mark.slow
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
    assert "bad commit" not in outcome.result["hint"]
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


def test_real_provider_beside_a_sandbox_is_refused(leak: Leak) -> None:
    outcome = leak.rotate_one(OPS_PROVIDERS_URL=None)

    assert ended(outcome) == (2, "refused", "not_loopback"), outcome.err
    assert "OPS_PROVIDERS_URL" in outcome.result["hint"]
    assert leak.world.writes() == []


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


def test_service_without_secrets_is_refused_with_the_way_by_hand(shop: Shop) -> None:
    outcome = shop.ops("rotate-secrets", "--service", "web", "--environment", "live", "--yes", "--json")

    assert ended(outcome) == (3, "refused", "never_rotated")
    assert re.search(r"\blive\b.*\bweb\b", outcome.result["message"])
    assert " --name shop-web`" in outcome.result["hint"]
    assert "`only`" not in outcome.result["hint"]


def test_secret_of_another_service_is_refused(leak: Leak) -> None:
    leak.world.edit_config("      frontend:\n        pages: fortunet-frontend", SECOND)
    where = ["--environment", "production", "--config", str(leak.world.config), "--yes", "--json"]

    outcome = leak.world.ops("rotate-secrets", "--service", "jobs", *where, "--only", KEY, **HELD)

    assert ended(outcome) == (2, "refused", "unknown_name")
    assert re.search(rf"\b{KEY} .*\bjobs; .* api$", outcome.result["message"])


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
        (change_provider(delay=60), "no_evidence", "(no answer within 0.1 s)"),
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
def test_fifty_secrets_of_5_workers_wait_for_44_calls_at_most(leak: Leak) -> None:
    """The plan reads the five Workers at once, in five rounds. All calls after it may wait for each other."""
    world, names = leak.world, [f"SECRET_{number}" for number in range(10)]
    text = world.config.read_text()
    services = "".join(
        f"      s{n}:\n        worker: w{n}\n        url: https://s{n}.fortunet.example\n"
        "        probes: [{name: health, http: {path: /health}}]\n"
        for n in range(5)
    )
    text = text.replace("      frontend:\n", services + "      frontend:\n", 1)
    rules = "".join(f"      {name}: {{rotate: provided, consumers: [s0, s1, s2, s3, s4]}}\n" for name in names)
    world.config.write_text(text.replace("    secrets:\n", f"    secrets:\n{rules}", 1))
    for n in range(5):
        world.sandbox.deploy(f"w{n}", world.sandbox.upload(f"w{n}", secrets=dict.fromkeys(names, "leaked")))
        world.sandbox.route(f"s{n}.fortunet.example", f"w{n}")
    where = ["--service", "s0", "--environment", "production", "--config", str(world.config), "--yes", "--json"]
    wanted, together = {each: f"{FRESH}-{each}" for each in names}, threading.Barrier(5, timeout=30)
    in_plan = world.sandbox.fault(path="/accounts/**", times=25, before=together.wait, is_prompt=True)
    world.sandbox.requests.clear()

    with answered_in_process():
        outcome = world.ops("rotate-secrets", *where, **{f"NEW_{each}": value for each, value in wanted.items()})

    assert outcome.result["decision"] == "no_evidence"  # nothing proves them
    assert all(leak.values(f"w{n}") == wanted for n in range(5))
    assert len(world.writes()) == 10
    assert (in_plan.hits, together.broken) == (25, False)
    calls = [each for each in world.sandbox.requests if each.path.startswith("/client/")]
    assert 5 + len(calls) - 25 <= 44


# Proof


@pytest.mark.slow
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


@pytest.mark.slow
def test_rotation_without_previous_value_has_no_undo(leak: Leak) -> None:
    outcome = leak.rotate_one(**{f"OLD_{KEY}": None})

    assert outcome.result["undo"] == []
    assert any("without the previous value there is no undo" in text for text in outcome.result["plan"]["warnings"])


def rotate_generated(leak: Leak, *arguments: str) -> Outcome:
    leak.world.edit_config(REPOSITORY, leak.world.sandbox.github.describe()["repository"])
    return leak.rotate("--only", "JWT_SECRET", *arguments, **with_token(leak))


def with_token(leak: Leak, *permissions: str) -> dict[str, str]:
    hub: GitHub = leak.world.sandbox.github
    hub.add_user("rotator[bot]", "admin", "Bot")
    hub.add_environment("production")
    token = hub.add_token("ghs_rotator-0123456789", "rotator[bot]", permissions or ["environments:write"])
    return {**hub.environ(), "GH_SECRETS_TOKEN": token, "GITHUB_TOKEN": ""}


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


@pytest.mark.sampled
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


def test_deployment_during_the_plan_is_refused(leak: Leak) -> None:
    listed = f"/accounts/*/workers/scripts/{WORKER}/deployments"
    leak.world.sandbox.fault(method="GET", path=listed, skip=1, before=lambda: leak.world.release(timedelta(0)))

    outcome = leak.rotate_one()

    assert ended(outcome) == (3, "refused", "world_moved")
    assert leak.world.writes() == []


def test_worker_without_a_deployment_has_no_target(world: World) -> None:
    world.release(timedelta(hours=1), deploy=False, secrets={KEY: LEAKED})

    outcome = Leak(world).rotate_one()

    assert ended(outcome) == (3, "refused", "no_target")
    assert WORKER in outcome.result["message"]


def test_more_secrets_than_one_edit_takes_are_refused(leak: Leak) -> None:
    names = [f"KEY_{number}" for number in range(101)]
    listed = "".join(f"      {name}: {{rotate: provided, consumers: [api]}}\n" for name in names)
    leak.world.edit_config("    secrets:", f"    secrets:\n{listed.rstrip()}")

    outcome = leak.rotate("--only", ",".join(names), **{f"NEW_{name}": f"value-{name}-0123456789" for name in names})

    assert ended(outcome) == (3, "refused", "values_unusable"), outcome.err
    assert "101" in outcome.result["message"]
    assert leak.world.writes() == []

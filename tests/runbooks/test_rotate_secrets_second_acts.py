"""A leaked key stays dead: what a deployment or a rollback does between a rotation and its end."""

import shlex
import signal
from dataclasses import dataclass
from datetime import timedelta

import pytest

from ops.rotation.selection import COPIES_SECTION
from tests.conftest import ACCOUNT, WORKER, Outcome, World
from tests.runbooks.test_rotate_secrets import BULK, FRESH, HELD, KEY, LEAKED, OTHER, WORKS, Leak, leak
from tests.support.commands import WRITE, Command, ended

__all__ = ["leak"]
CONFIRM = ("--confirm-revoked", KEY)
BAKERY = f"""
environments:
  live:
    account_id: {ACCOUNT}
    services:
      shop:
        worker: bakery-shop
        url: https://shop.bakery.example
        probes: [{{name: health, http: {{path: /health}}}}]
      blog:
        pages: bakery-blog
        url: https://blog.bakery.example
        probes: [{{name: home, http: {{path: /}}}}]
    secrets:
      OVEN_KEY: {{rotate: provided, consumers: [shop, blog], github: {{repository: bakery/shop, environment: live}}}}
"""


def without_proofs(leak: Leak) -> None:
    text = leak.world.config.read_text()
    at = text.index("      GROQ_API_KEY:")
    proof = "        proofs:\n          api:\n            - path: /health/ai/groq\n              version: version.id\n"
    leak.world.config.write_text(text[:at] + text[at:].replace(proof, "", 1))


def deploy_by_ci(leak: Leak, key: str, *, deploy: bool = True) -> str:
    secrets = {KEY: key, OTHER: "kept", "X": "kept"}
    version = leak.world.sandbox.upload(WORKER, code="by CI", behaviour=WORKS, secrets=secrets)
    if deploy:
        leak.world.sandbox.deploy(WORKER, version)
    return version


def marks(leak: Leak) -> list[str]:
    """Return the ends of our marks, newest first."""
    found = [each.annotations.get("workers/message", "") for each in leak.world.sandbox.deployments(WORKER)]
    return [message.partition("; ")[0].rpartition(" ")[2] for message in found if message.startswith("ops1 ")]


def press(leak: Leak, outcome: Outcome, **environ: str | None) -> Outcome:
    return leak.world.ops(*shlex.split(outcome.result["press"])[1:], "--yes", "--json", **{**HELD, **environ})


def told(outcome: Outcome) -> str:
    """Return everything that the run tells people to do."""
    result = outcome.result
    plan = result["plan"] or {}
    return "\n".join(
        [result["message"], result["hint"], result["press"], plan.get("next_step", "")]
        + plan.get("warnings", [])
        + plan.get("tasks", [])
        + result["undo"]
    )


# The mark of a rotation


@pytest.mark.slow
def test_secret_edit_leaves_a_mark_and_moves_no_traffic(leak: Leak) -> None:
    leak.rotate_one("--incident", "42")

    newest, edit, *_ = leak.world.sandbox.deployments(WORKER)
    assert newest.percentages == edit.percentages
    assert newest.annotations["workers/message"].startswith("ops1 incident=42 run=")
    assert marks(leak) == [f"rotated={KEY}"]
    assert leak.values()[KEY] == FRESH


# CI deploys the previous value before the rotation ends


@pytest.mark.slow
def test_confirmation_with_the_dead_key_live_marks_nothing(leak: Leak) -> None:
    leak.rotate_one()
    deploy_by_ci(leak, LEAKED)
    leak.world.sandbox.requests.clear()

    first, outcome = leak.rotate(*CONFIRM), leak.rotate(*CONFIRM)

    assert ended(first) == ended(outcome) == (6, "still_unhealthy", "still_unhealthy")
    assert leak.world.writes() == []
    assert f"rotate-secrets --service api --environment production --only {KEY}" in outcome.result["press"]
    again = press(leak, outcome)
    assert ended(again)[:2] == (0, "recovered"), again.err
    assert ended(leak.rotate(*CONFIRM))[0] == 0
    assert leak.values()[KEY] == FRESH


def test_later_upload_with_the_new_value_is_confirmed_by_its_proof(leak: Leak) -> None:
    leak.rotate_one()
    deploy_by_ci(leak, FRESH)

    outcome = leak.rotate(*CONFIRM)

    assert ended(outcome)[0] == 0, outcome.err
    assert marks(leak)[0] == f"revoked={KEY}"


def test_later_upload_without_proofs_needs_the_word_of_a_person(leak: Leak) -> None:
    without_proofs(leak)
    leak.rotate_one()
    later = deploy_by_ci(leak, FRESH)
    leak.world.sandbox.requests.clear()

    refused = leak.rotate(*CONFIRM)

    assert ended(refused) == (3, "refused", "no_evidence")
    assert leak.world.writes() == []
    assert f"--on-my-word {later[:8]}" in refused.result["hint"]
    outcome = leak.rotate(*CONFIRM, "--on-my-word", later[:8])
    assert outcome.code == 0, outcome.err
    assert f"has the new {KEY}, on the word of " in outcome.result["message"]
    assert "; on the word of " in leak.world.sandbox.deployments(WORKER)[0].annotations["workers/message"]


# A rollback between the rotation and its end


@pytest.mark.parametrize("incident", [(), ("--incident", "42")], ids=["alone", "in the incident"])
def test_rollback_to_the_leaked_key_is_refused_and_suggests_no_way_there(leak: Leak, incident: tuple[str, ...]) -> None:
    (leaked,) = leak.world.live
    worse = leak.world.release(timedelta(minutes=20), code="bad", behaviour={**WORKS, "status": 500})
    leak.rotate_one(*incident)
    leak.world.sandbox.requests.clear()

    outcome = leak.world.rollback(*incident)

    assert ended(outcome) == (3, "refused", "secret_rotated")
    assert leak.world.writes() == []
    assert worse[:8] not in told(outcome)
    assert "--current-secrets" in outcome.result["press"]
    kept = press(leak, outcome)
    assert kept.code == 0, kept.err
    assert leak.values()[KEY] == FRESH
    assert leaked not in leak.world.live


def test_leaked_key_goes_live_only_by_its_name(leak: Leak) -> None:
    (leaked,) = leak.world.live
    leak.world.sandbox.switches.forced_rollback_restores_secrets = True
    leak.rotate_one()

    unnamed = leak.world.rollback("--to", leaked, "--accept-changed-secrets", OTHER)
    named = leak.world.rollback("--to", leaked, "--accept-changed-secrets", KEY)

    assert ended(unnamed) == (3, "refused", "secret_rotated")
    assert named.result["wrote"], named.err
    assert f"from before the rotation of {KEY}" in named.result["message"]


def test_current_secrets_of_an_upload_with_the_leaked_key_are_not_offered(leak: Leak) -> None:
    (former,) = leak.world.live
    leak.rotate_one()
    (rotated,) = leak.world.live
    later = deploy_by_ci(leak, LEAKED)

    outcome = leak.world.rollback("--to", former)
    kept = leak.world.rollback("--to", rotated, "--current-secrets")

    assert ended(outcome) == (3, "refused", "secret_rotated")
    assert "--current-secrets" not in outcome.result["press"]
    assert later[:8] not in outcome.result["press"]
    assert ended(kept) == (3, "refused", "inherit_not_accepted")
    assert leak.values()[KEY] == LEAKED


def test_unknown_upload_that_never_served_needs_acceptance(leak: Leak) -> None:
    leak.rotate_one()
    later = deploy_by_ci(leak, LEAKED, deploy=False)

    outcome = leak.world.rollback("--to", later)

    assert ended(outcome) == (3, "refused", "secret_rotated")
    assert "it is unknown whether" in outcome.result["message"]
    assert leak.values()[KEY] == FRESH


# The end without the previous value


def test_rotation_without_the_previous_value_ends_on_the_word_of_a_person(leak: Leak) -> None:
    (leaked,) = leak.world.live
    outcome = leak.rotate_one(**{f"OLD_{KEY}": None})
    *_, last = outcome.result["plan"]["tasks"]
    command = shlex.split(last.split("`")[1])

    end = leak.world.ops(*command[1:], "--yes", "--json", **{f"NEW_{KEY}": FRESH})

    assert ended(end)[0] == 0, end.err
    assert "revoked, on the word of " in end.result["message"]
    assert "proved revoked" not in end.result["message"]
    assert marks(leak)[0] == f"revoked={KEY}"
    writes = len(leak.world.writes())
    again = leak.world.ops(*command[1:], "--yes", "--json", **{f"NEW_{KEY}": FRESH})
    assert ended(again)[:2] == (0, "nothing_to_do")
    assert len(leak.world.writes()) == writes
    refused = leak.world.rollback("--to", leaked)
    assert ended(refused) == (3, "refused", "secret_revoked")
    assert "(on the word of " in refused.result["message"]


# Another application, whose site has the key too


@dataclass(frozen=True)
class Bakery:
    world: World
    leaked: str
    """The version with the leaked key."""

    def run(self, runbook: str, *arguments: str) -> Outcome:
        where = ["--service", "shop", "--environment", "live", "--config", str(self.world.config), "--yes", "--json"]
        return self.world.ops(runbook, *where, *arguments, NEW_OVEN_KEY=FRESH)


@pytest.fixture
def bakery(world: World) -> Bakery:
    world.config.write_text(BAKERY)
    at = world.sandbox.clock.now() - timedelta(hours=3)
    leaked = world.sandbox.upload("bakery-shop", code="good", secrets={"OVEN_KEY": LEAKED}, at=at)
    world.sandbox.deploy("bakery-shop", leaked, at=at)
    return Bakery(world, leaked)


def test_site_with_the_key_is_in_the_plan_and_left_to_a_person(bakery: Bakery) -> None:
    outcome = bakery.run("rotate-secrets")
    end = bakery.run("rotate-secrets", "--confirm-revoked", "OVEN_KEY")

    plan = outcome.result["plan"]
    assert ["bakery-blog: OVEN_KEY"] in plan["sections"].values()
    assert plan["sections"][COPIES_SECTION] == ["OVEN_KEY of live in bakery/shop"]
    assert (
        "`npx wrangler pages secret put OVEN_KEY --project-name bakery-blog`, then deploy that site again"
        in (plan["tasks"])
    )
    assert ended(end)[0] == 0, end.err
    assert "revoked, on the word of " in end.result["message"]
    assert end.result["message"].endswith("not proved: that Pages has the new values (bakery-blog: OVEN_KEY)")


def test_rollback_of_another_application_sees_the_mark_too(bakery: Bakery) -> None:
    bakery.run("rotate-secrets")

    outcome = bakery.run("rollback-worker", "--to", bakery.leaked)

    assert ended(outcome) == (3, "refused", "secret_rotated")
    assert outcome.result["press"].endswith(
        f"--to {bakery.leaked[:8]} --current-secrets --config {bakery.world.config}"
    )


# A run that dies, a restore, and marks of earlier releases


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_rotation_killed_at_its_mark_is_finished_by_the_same_command(leak: Leak, moment: str) -> None:
    (leaked,) = leak.world.live
    command = Command(leak.world, "rotate-secrets", environ=HELD, more=("--only", KEY))
    lost = {"lost": "before"} if moment == "before" else {}
    leak.world.sandbox.fault(**WRITE, **{moment: command.send(signal.SIGKILL)}, **lost)

    assert command.run().code == -signal.SIGKILL
    assert leak.rotate_one().code == 0
    assert marks(leak)[0] == f"rotated={KEY}"
    assert ended(leak.world.rollback("--to", leaked)) == (3, "refused", "secret_rotated")
    assert leak.rotate(*CONFIRM).code == 0


def test_unanswered_edit_beside_another_edit_is_not_called_replaced(leak: Leak) -> None:
    edit = lambda: leak.world.sandbox.put_secret(WORKER, "X", "theirs", author="dana@example.com")  # noqa: E731
    leak.world.sandbox.fault(**BULK, lost="after", after=edit)

    outcome = leak.rotate_one()

    assert ended(outcome) == (5, "unknown_outcome", "unclear"), outcome.err
    assert "dana@example.com" in outcome.result["message"]
    assert "not ours" not in outcome.result["message"]
    assert "repeats nothing" not in outcome.result["hint"]
    again = leak.rotate_one()
    assert ended(again)[0] == 0, again.err
    assert leak.values()[KEY] == FRESH


def test_deployment_right_after_the_edit_is_not_overwritten_by_the_mark(leak: Leak) -> None:
    leak.world.sandbox.fault(**BULK, after=lambda: deploy_by_ci(leak, LEAKED))

    outcome = leak.rotate_one()

    assert ended(outcome) == (4, "failed", "world_moved")
    assert marks(leak) == []
    assert leak.values()[KEY] == LEAKED


@pytest.mark.slow
def test_restored_value_cannot_end_the_rotation(leak: Leak) -> None:
    leak.world.sandbox.providers["groq"].add_key(LEAKED)
    leak.rotate_one()
    leak.rotate("--restore", KEY)
    leak.world.sandbox.providers["groq"].revoke(LEAKED)

    outcome = leak.rotate(*CONFIRM)

    assert marks(leak)[0] == f"restored={KEY}"
    assert ended(outcome) == (3, "refused", "old_value_live")
    again = press(leak, outcome)
    assert again.code == 0, again.err
    assert leak.values()[KEY] == FRESH


def test_marks_of_release_0_1_0_are_read(leak: Leak) -> None:
    """It marked the end of a rotation, but no secret edit."""
    (leaked,) = leak.world.live
    at = leak.world.sandbox.clock.now() - timedelta(hours=1)
    rotated = leak.world.sandbox.put_secret(WORKER, KEY, FRESH, at=at)
    leak.world.sandbox.deploy(WORKER, rotated, message=f"ops1 incident=41 run=r9 blames=- revoked={KEY}")
    leak.world.sandbox.requests.clear()

    confirmed = leak.rotate(*CONFIRM)
    refused = leak.world.rollback("--to", leaked, "--accept-changed-secrets", KEY)

    assert ended(confirmed)[:2] == (0, "nothing_to_do"), confirmed.err
    assert ended(refused) == (3, "refused", "secret_revoked")


def test_statement_about_an_unknown_version_is_refused(leak: Leak) -> None:
    leak.rotate_one()

    outcome = leak.rotate(*CONFIRM, "--on-my-word", "00000000")
    alone = leak.rotate_one("--on-my-word", KEY)

    assert ended(outcome) == (2, "refused", "unknown_name")
    assert ended(alone) == (2, "refused", "config_invalid")


@pytest.mark.slow
def test_rotation_killed_before_its_mark_is_known_from_the_incident(leak: Leak) -> None:
    (leaked,) = leak.world.live
    hub = leak.world.sandbox.github
    hub.add_user("alice")
    number = hub.open_issue("A key leaked", "Since 10:00.", ["incident"], "alice")
    leak.world.sandbox.fault(**WRITE, code=10013, times=None)
    leak.rotate_one("--incident", str(number), **hub.environ())
    leak.world.sandbox.faults.clear()
    assert marks(leak) == []

    outcome = leak.world.rollback("--incident", str(number), **hub.environ())

    assert outcome.result["decision"] == "refused"
    assert leaked not in told(outcome)
    assert f"--to {leaked[:8]}" not in told(outcome)


# The same press again


@pytest.mark.slow
def test_end_of_one_secret_is_not_marked_again_after_the_end_of_another(leak: Leak) -> None:
    """Each mark restarts Durable Objects."""
    cerebras = leak.world.sandbox.providers["cerebras"]
    cerebras.add_key("kept")
    cerebras.revoke("kept")
    cerebras.add_key("fresh-cerebras-0123456789")
    both = {f"NEW_{OTHER}": "fresh-cerebras-0123456789", f"OLD_{OTHER}": "kept"}
    leak.rotate("--only", KEY, "--only", OTHER, **both)
    for name in (KEY, OTHER):
        assert leak.rotate("--confirm-revoked", name, **both).result["wrote"]
    leak.world.sandbox.requests.clear()

    again = [leak.rotate("--confirm-revoked", name, **both) for name in (KEY, OTHER, KEY)]

    assert [ended(each)[:2] for each in again] == [(0, "nothing_to_do")] * 3
    assert again[0].result["message"].startswith(f"the rotation of {KEY} ")
    assert again[0].result["plan"]["follows"] == []
    assert leak.world.writes() == []


# A proof that fails for another reason


@pytest.mark.slow
def test_proof_that_fails_with_the_new_value_does_not_ask_for_a_rotation(leak: Leak) -> None:
    broken = {"paths": {"/health/ai/groq": {"status": 500}}}
    leak.world.release(timedelta(hours=2), code="worse", behaviour=broken, secrets={KEY: LEAKED, OTHER: "kept"})
    leak.rotate_one()

    outcome = leak.rotate(*CONFIRM)

    assert ended(outcome) == (6, "still_unhealthy", "still_unhealthy")
    assert "groq_api_key is unhealthy: status 500, wanted 200" in outcome.result["message"]
    assert "otate again" not in outcome.result["message"]
    assert ended(press(leak, outcome)) == ended(outcome)
    assert marks(leak) == [f"rotated={KEY}"]


def test_failed_proof_of_an_unknown_version_names_what_failed(leak: Leak) -> None:
    leak.rotate_one()
    down = leak.world.sandbox.upload(WORKER, code="by CI", behaviour={"status": 500}, secrets={KEY: FRESH})
    leak.world.sandbox.deploy(WORKER, down)

    outcome = leak.rotate(*CONFIRM)

    assert ended(outcome) == (6, "still_unhealthy", "still_unhealthy")
    assert "status 500, wanted 200" in outcome.result["message"]
    assert KEY in outcome.result["message"]


def test_end_of_a_rotation_asks_the_required_browser_too(leak: Leak) -> None:
    look = "{name: look, browser: {path: no-such-browser, required: true}}"
    leak.world.edit_config("          - name: calculate\n", f"          - {look}\n          - name: calculate\n")
    leak.rotate_one()
    leak.world.sandbox.requests.clear()

    outcome = leak.rotate(*CONFIRM)

    assert ended(outcome) == (8, "no_evidence", "no_evidence"), outcome.err
    assert leak.world.writes() == []
    assert "the probes are healthy" not in outcome.result["message"]

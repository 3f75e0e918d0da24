"""`ops reset-durable-object --object`: one object, by the application itself."""

import json
import re
import signal
from datetime import timedelta
from typing import Any

import pytest

from ops.app import run
from ops.core.errors import Decision, Reason
from ops.core.redaction import Redactor
from ops.engine.context import Context
from ops.engine.engine import RunOptions
from ops.engine.signals import SignalHandler
from ops.engine.step import StepPlan
from ops.runbooks.reset_durable_object import ResetDurableObject
from tests.runbooks.test_reset_durable_object import (
    ENDPOINT,
    HELD,
    LOCKED,
    NAME,
    SHOWN,
    STATE,
    TOKEN,
    StuckObject,
    serve,
    stuck,
)
from tests.support.commands import Command, ended, texts
from tests.support.marks import on_disk

__all__ = ["stuck"]

RESET = {"method": "POST", "path": "/__ops/objects/ai-mutex/reset"}


def test_single_reset_clears_memory_without_deployment(stuck: StuckObject) -> None:
    before = stuck.world.live

    outcome = stuck.reset_one()

    assert ended(outcome) == (0, "recovered", "verified"), outcome.err
    assert (stuck.memory, stuck.quota) == (0, LOCKED)
    assert (stuck.world.writes(), stuck.world.live) == ([], before)
    plan = outcome.result["plan"]
    assert [change["before"] for change in plan["changes"]] == ["an unchanged instance"]
    assert plan["next_step"].startswith("ops reset-durable-object --service api")
    assert outcome.result["undo"] == []


def test_single_reset_dry_run_only_reads(stuck: StuckObject) -> None:
    stuck.world.sandbox.edge_fault(**RESET, times=None)

    outcome = stuck.reset_one("--dry-run")

    assert ended(outcome) == (0, "planned", "dry_run")
    assert (stuck.memory, stuck.posts()) == (LOCKED, 0)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("proof", ["instance", "memory.answered"])
def test_single_reset_of_an_object_in_use_is_proved(stuck: StuckObject, proof: str) -> None:
    stuck.world.edit_config("proof: instance", f"proof: {proof}")
    stuck.world.sandbox.edge_fault(**RESET, after=lambda: stuck.use(2))

    outcome = stuck.reset_one()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert (stuck.memory, stuck.quota) == (2, LOCKED + 2)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("proof", "decision"), [("instance", "no_evidence"), ("memory.answered", "recovered")])
def test_unread_object_is_proved_only_by_a_zero_count(stuck: StuckObject, proof: str, decision: str) -> None:
    stuck.world.edit_config("proof: instance", f"proof: {proof}")
    stuck.world.sandbox.edge_fault(**STATE, status=503)

    outcome = stuck.reset_one()

    assert outcome.result["decision"] == decision, outcome.err
    (warning,) = outcome.result["plan"]["warnings"]
    assert " 503" in warning
    assert (stuck.memory, stuck.quota) == (0, LOCKED)


@pytest.mark.slow
def test_unchanged_counter_is_reported(stuck: StuckObject) -> None:
    stuck.world.edit_config("proof: instance", "proof: memory.answered")
    stuck.world.sandbox.edge_fault(**RESET, status=200, body="{}", times=None)

    outcome = stuck.reset_one()

    assert f"{NAME} still has {LOCKED} at memory.answered" in " ".join(texts(outcome, "warning"))


@pytest.mark.slow
def test_lost_storage_is_no_recovery(stuck: StuckObject) -> None:
    lost = '{"instance": "another", "quota": {"iflow": {"used": 0}}}'
    stuck.world.sandbox.edge_fault(**STATE, status=200, body=lost, skip=1, times=None)

    outcome = stuck.reset_one()

    assert ended(outcome) == (8, "no_evidence", "no_evidence")
    assert f"quota.iflow.used of {NAME} changed, although a reset keeps storage" in outcome.result["message"]


@pytest.mark.slow
def test_ineffective_reset_is_not_recovered(stuck: StuckObject) -> None:
    stuck.world.sandbox.edge_fault(**RESET, status=200, body="{}", times=None)

    outcome = stuck.reset_one()

    assert ended(outcome)[1] in {"no_evidence", "still_unhealthy"}
    assert f"{NAME} still has an unchanged instance" in " ".join(texts(outcome, "warning"))
    assert stuck.memory == LOCKED


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("fault", "sends"),
    [({"lost": "after"}, 1), ({"lost": "before"}, 2), ({"status": 503}, 2), ({"status": 429}, 2)],
    ids=str,
)
def test_unclear_reset_is_resolved_by_the_state(stuck: StuckObject, fault: dict[str, Any], sends: int) -> None:
    stuck.world.sandbox.edge_fault(**RESET, **fault)

    outcome = stuck.reset_one()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert stuck.memory == 0
    assert len(texts(outcome, "writing")) == sends


@pytest.mark.slow
def test_two_lost_answers_end_the_retries(stuck: StuckObject) -> None:
    stuck.world.sandbox.edge_fault(**RESET, lost="before", times=2)

    outcome = stuck.reset_one()

    assert ended(outcome) == (4, "failed", "not_applied")
    assert len(texts(outcome, "writing")) == 2
    assert stuck.memory == LOCKED


@pytest.mark.slow
def test_reset_without_state_endpoint_has_no_evidence(stuck: StuckObject) -> None:
    token = "            token: FORTUNET_ADMIN_TOKEN\n"
    stuck.world.edit_config(SHOWN, token)

    answered = stuck.reset_one()
    stuck.use(LOCKED)
    stuck.world.sandbox.edge_fault(**RESET, lost="before", times=2)
    lost = stuck.reset_one()

    assert ended(answered) == (8, "no_evidence", "no_evidence")
    assert f"{NAME} has no `state` in ops.yml, so its reset cannot be proved" in answered.result["message"]
    assert ended(lost) == (5, "unknown_outcome", "unclear")
    assert "resets once more" in lost.result["hint"]


CLOSED: dict[str, tuple[dict[str, Any], dict[str, str | None], str, str]] = {
    "no ADMIN_TOKEN": ({"secrets": {"AI_KEY": "k"}}, {}, "no_endpoint", " ADMIN_TOKEN "),
    "another token": (
        {},
        {"FORTUNET_ADMIN_TOKEN": "another-0123456789"},
        "token_refused",
        "rejected FORTUNET_ADMIN_TOKEN",
    ),
    "no token here": ({}, {"FORTUNET_ADMIN_TOKEN": None}, "token_missing", "FORTUNET_ADMIN_TOKEN is not set"),
    "a token with a smart quote": ({}, {"FORTUNET_ADMIN_TOKEN": f"\u201c{TOKEN}"}, "token_malformed", "U+201C"),
    "a token with a line break": ({}, {"FORTUNET_ADMIN_TOKEN": f"{TOKEN}\n"}, "token_malformed", "U+000A"),
}


@pytest.mark.slow
@pytest.mark.sampled(4)
@pytest.mark.parametrize(("upload", "environ", "reason", "said"), CLOSED.values(), ids=CLOSED)
@pytest.mark.parametrize("is_shown", [True, False])
def test_denied_access_suggests_a_reset_of_the_worker(
    stuck: StuckObject, upload: dict[str, Any], environ: dict[str, str | None], reason: str, said: str, is_shown: bool
) -> None:
    if not is_shown:
        stuck.world.edit_config(SHOWN, "            token: FORTUNET_ADMIN_TOKEN\n")
    serve(stuck.world, timedelta(minutes=9), **upload)

    outcome = stuck.reset_one(**environ)

    assert ended(outcome) == (3, "refused", reason), outcome.err
    assert said in outcome.result["message"]
    assert outcome.result["press"].startswith("ops reset-durable-object --service api --environment production")
    assert "--name" not in outcome.result["press"]
    assert TOKEN not in outcome.out + outcome.err


@pytest.mark.slow
def test_maintenance_mode_does_not_count_as_stuck(stuck: StuckObject) -> None:
    stuck.world.sandbox.edge_fault(path="/__ops/**", status=503, headers={"ops-maintenance": "r1"}, times=None)

    outcome = stuck.reset_one()

    assert ended(outcome) == (3, "refused", "no_endpoint")
    assert "ops-maintenance" in outcome.result["message"]


@pytest.mark.slow
def test_missing_endpoint_suggests_resetting_the_worker(stuck: StuckObject) -> None:
    stuck.world.edit_config(ENDPOINT, "")

    refused = stuck.reset_one()
    outcome = stuck.run_suggested_command(refused)

    assert ended(refused) == (3, "refused", "no_endpoint")
    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert (stuck.memory, stuck.quota) == (0, LOCKED)


@pytest.mark.slow
@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "name",
    ["ai-mutx", "../ai-mutex", "ai-mutex/../x", "AI-MUTEX", "$(id)", "ai-mutex\n::error::x", "\u202exetum", "x" * 999],
)
def test_unknown_object_is_refused_without_requests(stuck: StuckObject, name: str) -> None:
    seen = stuck.world.sandbox.edge_fault(path="/__ops/**", times=None)

    outcome = stuck.reset("--name", name)

    assert ended(outcome) == (3, "refused", "unknown_name")
    assert "\n" not in outcome.result["message"]
    assert len(outcome.result["message"]) < 300
    assert name != "ai-mutx" or 'did you mean "ai-mutex"?' in outcome.result["message"]
    assert (seen.hits, stuck.world.writes()) == (0, [])


def test_inherit_option_is_refused_for_one_object(stuck: StuckObject) -> None:
    outcome = stuck.reset_one("--inherit-latest", "AI_KEY")

    assert outcome.code == 2
    assert re.search("`inherit_latest` .*`name`", outcome.result["message"])


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "fault", [{**RESET, "status": 500}, {**RESET, "status": 302}, {**STATE, "status": 200}], ids=str
)
def test_application_text_is_not_shown(stuck: StuckObject, fault: dict[str, Any]) -> None:
    """The application may echo the token."""
    said = json.dumps({"instance": f"one {TOKEN}", TOKEN: TOKEN, "quota": {"iflow": {"used": f"other {TOKEN}"}}})
    away = {"location": f"https://evil.example/{TOKEN}"}
    stuck.world.sandbox.edge_fault(**fault, body=said, headers=away, times=None)

    outcome = stuck.reset_one()

    assert outcome.code in {4, 8}, outcome.err
    assert "marked" not in outcome.out + outcome.err + "".join(on_disk(stuck.world.folder).values())


class ResetsWhilePlanning(ResetDurableObject):
    """Greedy."""

    def plan(self, ctx: Context[ResetDurableObject.Params]) -> StepPlan:
        service = ctx.environment.service("api")
        ctx.web.durable_objects.reset(service.url, service.durable_objects[NAME])
        return super().plan(ctx)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("dry_run", [True, False])
def test_early_reset_is_refused_by_the_client(stuck: StuckObject, dry_run: bool) -> None:
    options = RunOptions(dry_run=dry_run, confirm=lambda _: False, show_plan=lambda _: None, probe_wait=0.0)
    request = run.RunRequest(
        runbook=ResetsWhilePlanning(),
        params=ResetDurableObject.Params("api"),
        environment="production",
        config=stuck.world.config,
    )
    environ = {**stuck.world.sandbox.environ(), **HELD}

    result, _ = run.run_runbook(
        request, environ, Redactor(), sink=lambda _: None, options=options, signals=SignalHandler()
    )

    assert (result.decision, result.reason) == (Decision.REFUSED, Reason.READ_ONLY)
    assert stuck.memory == LOCKED


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_interrupted_single_reset_is_repeated(stuck: StuckObject, number: signal.Signals, moment: str) -> None:
    command = Command(stuck.world, "reset-durable-object", environ=HELD, more=("--name", NAME))
    stuck.world.sandbox.edge_fault(**RESET, **{moment: command.send(number)})
    command.run()
    stuck.world.sandbox.edge_faults.clear()

    again = stuck.reset_one()

    assert ended(again)[0] == 0, again.err
    assert (stuck.memory, stuck.quota) == (0, LOCKED)

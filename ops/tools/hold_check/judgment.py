"""Decide whether the commit may be deployed."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from ops.tools.hold_check import cloudflare, commits
from ops.tools.hold_check.lifts import read_hold_lift
from ops.tools.hold_check.values import (
    FIXED,
    GO,
    HELD,
    LIFTED,
    NOT_CHECKED,
    NOT_CONTAINED,
    REFUSED,
    SHA,
    TRAILER,
    UNKNOWN,
    Environ,
    HeldVersion,
    HoldAnswer,
    HoldLift,
    Question,
    UnreadError,
    UsageError,
    format_hold_time,
)

PERMIT = "Run it again, or permit it: `--on-unreadable warn`, in the action `on-unreadable: warn`."
DEEPEN = "Set `fetch-depth: 0` under `with:` of actions/checkout, or run `git fetch --unshallow` before this check."


def check_commit(question: Question, environ: Environ, *, token: str, refuses_unread: bool = False) -> HoldAnswer:
    """Return whether the commit may be deployed. Raises UsageError.

    `refuses_unread`: refuse if the holds cannot be read. A hold in a clone that is too short always refuses.
    """
    if question.commit and not SHA.fullmatch(question.commit):
        raise UsageError("the commit is not a SHA of 7 to 40 digits", "Pass it with `--commit`, in small letters.")
    if not re.fullmatch("[!-~]+", token):
        raise UsageError("CLOUDFLARE_API_TOKEN is missing, or has a forbidden character", "Set a token that reads.")
    try:
        read = cloudflare.cloudflare_reader(environ, token)
        answer = _judge_commit(question, environ, *cloudflare.read_marked_holds(question, read, environ))
    except UnreadError as unread:
        answer = HoldAnswer(NOT_CHECKED, f"{unread}.")
    if answer.decision != NOT_CHECKED:
        return answer
    if refuses_unread:
        return replace(answer, decision=REFUSED, hint=PERMIT)
    return replace(answer, hint="The deployment goes on. Compare its commit with the open incidents yourself.")


def _judge_commit(
    question: Question, environ: Environ, listed: list[HeldVersion], extent: str, missing: str
) -> HoldAnswer:
    if not listed and not missing:
        return HoldAnswer(GO, f"{question.target} has no hold: {extent}.")
    if not listed:
        raise UnreadError(missing)
    question = replace(question, commit=commits.find_head_to_deploy(question, environ))
    holds, short = _judge_commits(listed, question, environ)
    lifts = _read_lifts(holds, question, environ)
    holds = [_apply_lift(each, lifts.get(each.incident)) for each in holds]
    return _hold_answer(question, holds, lifts, short if any(each.state == UNKNOWN for each in holds) else "", missing)


def _judge_commits(
    listed: Iterable[HeldVersion], question: Question, environ: Environ
) -> tuple[list[HeldVersion], str]:
    """Return the holds with their states, and why the history is too short for one; empty if it is not."""
    holds, short = list[HeldVersion](), ""
    for hold in listed:
        try:
            holds.append(replace(hold, state=commits.judge_hold(hold, question, environ)))
        except commits.ShortHistoryError as why:
            holds.append(hold)
            short = str(why)
    return holds, short


def _read_lifts(holds: Iterable[HeldVersion], question: Question, environ: Environ) -> dict[str, HoldLift]:
    """Return incident → its lift, for the incidents that matter to the commit."""
    numbers = dict.fromkeys(each.incident for each in holds if each.incident and each.state in {HELD, UNKNOWN})
    return {number: read_hold_lift(question.operations, number, environ) for number in numbers}


def _apply_lift(hold: HeldVersion, lift: HoldLift | None) -> HeldVersion:
    """Return the hold, lifted if the lift is later. The next rollback of the incident holds again."""
    if lift is None or hold.state not in {HELD, UNKNOWN}:
        return hold
    if lift.at is None:
        return replace(hold, lift=lift.why)
    if lift.at > datetime.fromisoformat(hold.since):
        return replace(hold, state=LIFTED, lift=lift.at.isoformat())
    return replace(hold, lift=f"it was lifted at {format_hold_time(lift.at.isoformat())}, before this rollback")


def _hold_answer(
    question: Question, holds: Sequence[HeldVersion], lifts: Mapping[str, HoldLift], short: str, missing: str
) -> HoldAnswer:
    commit = question.commit[:12]
    if held := [each for each in holds if each.state == HELD]:
        return _refuse_commit(held, lifts, question, holds)
    if short:
        text = f"{question.target} is held, and nothing shows what {commit} contains: {short}."
        return HoldAnswer(REFUSED, text, DEEPEN, question.commit, tuple(holds))
    if unknown := [each for each in holds if each.state == UNKNOWN]:
        line = f"{TRAILER}: {', '.join(dict.fromkeys(each.key for each in unknown))}"
        missing = (
            f"the version that {_join_hold_names(unknown)} blames has no commit in this clone; `{line}` ends the hold"
        )
    if missing:
        return HoldAnswer(NOT_CHECKED, f"{missing}.", "", question.commit, tuple(holds))
    states = {state: [each for each in holds if each.state == state] for state in (FIXED, LIFTED, NOT_CONTAINED)}
    absent = dict.fromkeys(each.commit[:12] for each in states[NOT_CONTAINED])
    facts = [f"names {_join_hold_names(states[FIXED])} as fixed"] if states[FIXED] else []
    facts += [f"is permitted: the hold of {_join_hold_names(states[LIFTED])} was lifted"] if states[LIFTED] else []
    facts += [f"does not contain {', '.join(absent)}"] if absent else []
    return HoldAnswer(GO, f"{commit} {' and '.join(facts)}.", "", question.commit, tuple(holds))


def _refuse_commit(
    held: Sequence[HeldVersion], lifts: Mapping[str, HoldLift], question: Question, holds: Sequence[HeldVersion]
) -> HoldAnswer:
    times = [f" at {format_hold_time(each.since)}" if each.since else "" for each in held]
    pairs = zip(held, times, strict=True)
    causes = [f"{each.commit[:12]}, rolled back{at} ({each.name})" for each, at in pairs]
    doubts = dict.fromkeys(f" Not lifted: {each.lift}." for each in held if each.lift)
    text = f"{question.commit[:12]} contains {'; '.join(causes)}. It would ship the bug again.{''.join(doubts)}"
    line = f"{TRAILER}: {', '.join(dict.fromkeys(each.key for each in held))}"
    late = f"`git commit --allow-empty --message 'Name the fix' --message '{line}'`"
    hint = f"End the message of the fix or revert with the line `{line}`. If it is merged already: {late}."
    shown = dict.fromkeys(each.incident for each in held if each.incident and lifts[each.incident].is_shown)
    ways = [f" To deploy it as it is, a responder runs `ops hold lift --incident {number}`." for number in shown]
    ways += [f" This check reads lifts from {question.operations}."] if shown else []
    return HoldAnswer(REFUSED, text, f"{hint}{''.join(ways)}", question.commit, tuple(holds))


def _join_hold_names(holds: Iterable[HeldVersion]) -> str:
    return ", ".join(dict.fromkeys(each.name for each in holds))

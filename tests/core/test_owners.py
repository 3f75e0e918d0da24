"""Owners in words: who holds a state, read aloud at 3 a.m."""

from datetime import UTC, datetime

import pytest

from ops.core.owners import UNTIL_RUN_ENDS, StateOwner, StateRequester, describe_owners, refuse_held_state

AT = datetime(2026, 11, 25, 5, tzinfo=UTC)


def test_end_of_a_run_is_not_read_as_an_end_without_an_incident() -> None:
    run = StateOwner(None, f"dana{UNTIL_RUN_ENDS}", AT)

    assert run.describe() == "dana without an incident, until its run ends"
    assert StateOwner(7, run.by, AT).describe() == "#7 (dana, until its run ends)"
    assert StateOwner(None, "dana", AT, AT).describe() == "dana without an incident, until 2026-11-25 05:00:00 UTC"


def test_owner_of_several_paths_is_named_once() -> None:
    paths = [StateOwner(7, "alice", AT.replace(hour=hour)) for hour in (1, 2)]

    assert describe_owners(paths) == "#7 (alice)"


@pytest.mark.parametrize(
    ("owner", "requester", "first"),
    [
        (StateOwner(7, "alice", AT), StateRequester(None, "alice"), "Ask #7 first, or add `--incident 7`"),
        (StateOwner(None, "dana", AT), StateRequester(7, "Dana"), "Ask dana first, or omit `--incident`"),
        (StateOwner(None, "dana", AT), StateRequester(7, "erik"), "Ask dana first. "),
        (StateOwner(None, "dana", AT), StateRequester(None, "erik"), "Ask dana first. "),
        (StateOwner(8, "dana", AT), StateRequester(7, "dana"), "Ask #8 first. "),
    ],
)
def test_refusal_says_how_to_name_an_own_hold(owner: StateOwner, requester: StateRequester, first: str) -> None:
    refused = refuse_held_state("basket is off", [owner], requester=requester, effect="sets it to on")

    assert (refused.hint or "").startswith(first)

"""Recovered is claimed only if each machine that answered the last round serves the target. Not for FortuneT."""

from random import Random

import pytest
from hypothesis import strategies as st

from tests.support.edge_worlds import PLACE, EdgeWorld, draw_world, prove
from tests.support.properties import holds_for


@holds_for(fast=3, slow=100, random=st.randoms(use_true_random=False))
def test_recovered_is_never_said_of_an_asked_machine_with_another_version(random: Random) -> None:
    """The weekly tests draw 1,000 worlds. The proof ends in time, and no healthy edge waits for its deadline."""
    edge = draw_world(random)

    proof = prove(edge)

    assert not proof.is_false, (edge, proof)
    assert proof.seconds <= edge.deadline, (edge, proof)
    settled = max(edge.lags[PLACE]) + edge.successes * edge.interval
    assert proof.is_claimed or settled > edge.deadline - 3 * edge.interval, (edge, proof)


def test_acting_job_does_not_wait_for_other_places() -> None:
    proof = prove(EdgeWorld({PLACE: (1.0,), "SYD": (600.0,)}))

    assert proof.decision == "recovered"
    assert proof.seconds < 10
    assert proof.former == {PLACE: 0.0, "SYD": 1.0}


@pytest.mark.parametrize("seed", [4, 10])
def test_answer_without_a_version_does_not_count_after_one_with_the_version(seed: int) -> None:
    """The bad version fails seldom and names itself nowhere, so only the version shows which machine answered."""
    edge = EdgeWorld({PLACE: (0.0, 0.0, 20.0)}, seed, share=0.0, bad_names_itself=False, successes=2)

    proof = prove(edge)

    assert proof.is_claimed
    assert not proof.is_false, proof


def test_target_that_never_names_itself_is_proved_after_a_version_that_did() -> None:
    proof = prove(EdgeWorld({PLACE: (2.5,)}, good_names_itself=False))

    assert proof.decision == "recovered"

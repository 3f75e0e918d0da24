"""Recovered is claimed only if each machine that answered the last round serves the target. Not for FortuneT."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import strategies as st

from tests.support.edge_worlds import PLACE, EdgeWorld, draw_untold_world, draw_world, prove
from tests.support.in_process import answered_in_process
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
    assert not any("healthy rounds" in text for text in proof.warnings)
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


FLAKY = EdgeWorld({PLACE: (*[0.0] * 17, *[40.0] * 3)}, named=0, unnamed=2, share=0.5)
"""The bad version fails half of the time, and no probe sees a version."""


@pytest.mark.parametrize("seed", [2, 4, 15])
def test_more_healthy_rounds_prove_a_target_that_no_probe_can_tell(seed: int) -> None:
    proof = prove(replace(FLAKY, seed=seed))

    assert proof.decision == "recovered"
    assert not proof.is_false, proof
    assert 60 < proof.seconds <= FLAKY.deadline
    assert any("71 healthy rounds" in text for text in proof.warnings)


def test_no_evidence_where_too_few_rounds_fit_before_the_deadline() -> None:
    proof = prove(replace(FLAKY, interval=7.5))

    assert proof.decision == "no_evidence"
    assert proof.seconds <= FLAKY.deadline
    assert any("cannot prove" in text for text in proof.warnings)


@pytest.mark.slow
def test_recovered_is_seldom_false_where_no_probe_can_tell() -> None:
    """More than two of 80 have a chance of 5 % at FALSE_PROOF; the seeds stay the same."""
    worlds = [draw_untold_world(Random(seed)) for seed in range(80)]
    with answered_in_process():  # as the other worlds: sockets would double the time
        proofs = [prove(edge) for edge in worlds]

    assert len([proof for proof in proofs if proof.is_false]) <= 2
    assert {proof.decision for proof in proofs} <= {"recovered", "healthy_as_before", "still_unhealthy", "no_evidence"}
    for edge, proof in zip(worlds, proofs, strict=True):
        assert proof.is_claimed or max(edge.lags[PLACE]) > 40, (edge, proof)

"""The label `actions:create` on a report: from a finished incident to linked action items."""

from pathlib import Path

import pytest

from ops.setup.labels import desired_labels
from tests.conftest import World, job_environ
from tests.gate.support import Job
from tests.report.test_action_items import ROWS, Review, states
from tests.setup.test_workflows import CONFIGURATIONS, config, folder, workflow

LABEL = "actions:create"


@pytest.fixture
def review(world: World) -> Review:
    made = Review(world)
    made.write(*ROWS)
    made.hub.add_user("tina", "triage")
    return made


def job_of(review: Review) -> Job:
    return Job(review.shop.world, review.report.number)


@pytest.mark.parametrize("name", [LABEL, LABEL.upper()])
def test_one_label_makes_three_linked_issues(review: Review, name: str) -> None:
    job = job_of(review)

    done = job.gate(job.label("alice", name))

    assert (done.code, job.outputs["go"], job.outputs["check"]) == (0, "false", "actions"), done.err
    assert job.labels == ["post-incident"]
    step = workflow("recover", CONFIGURATIONS["ten_services"])["jobs"]["action-items"]["steps"][-1]
    assert step["with"]["incident"] == "${{ needs.gate.outputs.incident }}"
    made = review.shop.ops(
        *step["with"]["command"].split(), "--create", job.outputs["incident"], **job_environ(review.hub)
    )
    assert made.code == 0, made.err
    assert states(review.actions().result) == ["open"] * 3
    assert len(review.issues) == 3
    assert all(f"#{each.number} |" in review.body for each in review.issues)


@pytest.mark.parametrize(("by", "reason"), [("tina", "no_write_access"), ("zoe", "no_write_access")])
def test_label_of_a_person_who_may_not_write_is_refused(review: Review, by: str, reason: str) -> None:
    job = job_of(review)

    done = job.gate(job.label(by, LABEL))

    assert (done.code, job.outputs["reason"], job.outputs["check"]) == (3, reason, "")
    assert job.labels == ["post-incident"]
    assert len(job.comments) == 1


def test_label_means_nothing_without_the_section(world: World) -> None:
    job = job_of(Review(world, ""))

    done = job.gate(job.label("alice", LABEL))

    assert done.out.startswith("not for us: ")
    assert job.labels == ["post-incident", LABEL]


@pytest.mark.parametrize("path", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_only_a_configuration_with_the_section_has_label_and_job(path: Path) -> None:
    has_section = config(path).action_items is not None
    texts = {name: (folder(path) / f"{name}.yml").read_text() for name in ("incident", "answer", "recover")}

    assert {LABEL in texts[name].partition("PROGRAM'")[0] for name in ("incident", "answer")} == {has_section}
    assert ("action-items" in workflow("recover", path)["jobs"]) is has_section
    assert (LABEL in desired_labels(config(path))) is has_section
    assert ("action-item" in desired_labels(config(path))) is has_section

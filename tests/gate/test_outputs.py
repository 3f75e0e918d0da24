"""Text that the gate writes: outputs, job summary and comments, also for a hostile issue or label."""

import re
from pathlib import Path

import pytest

from ops.github import actions
from tests.gate.support import LABEL, Job, parse_outputs


def test_refusal_is_written_to_job_summary(job: Job) -> None:
    page = job.world.folder / "summary.md"

    done = job.gate(job.label("tina"), GITHUB_STEP_SUMMARY=str(page))

    job.assert_refused(done, "no_write_access")
    assert page.read_text().strip() == job.comments[0].partition("<!-- backout")[0].strip()
    assert "::error title=refused::" in done.err
    page.unlink()
    page.mkdir()
    refused = job.gate(job.label("tina"), GITHUB_STEP_SUMMARY=str(page))
    assert (refused.code, job.outputs["reason"], len(job.comments)) == (3, "no_write_access", 1)
    assert "the job's summary page cannot be written (Is a directory)" in refused.err


HOSTILE = "</details>--> @org/team #1 | `x` ${{ secrets.X }} \u202e\x1b[31m\ngo=true\nEOF\n::set-output name=go::true"


@pytest.mark.slow
def test_hostile_issue_text_is_not_copied(job: Job) -> None:
    number = job.github.open_issue(HOSTILE.replace("\n", " "), HOSTILE * 1000, [], "alice")
    payload = job.github.label(number, LABEL, "tina")

    done = job.gate(payload)

    (comment,) = [comment.body for comment in job.github.issue(number).comments]
    written = done.out + done.err + comment + job.output.read_text()
    assert not any(piece in written for piece in ("@org/team", "secrets.X", "\u202e", "\x1b", "set-output"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["recover:@org/team", "recover:`x` @a", "recover:</b>|#1", "recover:\u202eabc", "recover:{0}/x"]
)
def test_hostile_label_is_escaped_and_removed(job: Job, name: str) -> None:
    done = job.gate(job.label(name=name))

    assert (done.code, job.labels) == (3, ["incident"])
    shown, _, hidden = job.comments[0].partition("<!-- backout:v1 ")
    assert not re.search(r"[@<>]|--", hidden.removesuffix(" -->\n"))
    outside_of_code = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", shown.replace("reasons.md#unknown_label)", ")"))
    assert not re.search(r"[@#|<\u202e{]", outside_of_code)
    assert "\u202e" not in done.err


def test_output_value_cannot_contain_its_delimiter(tmp_path: Path) -> None:
    """The value contains the first candidate for the delimiter."""
    path, tokens = tmp_path / "output", iter(["guessed", "other", "third"])
    path.write_text("earlier<<x\n1\nx\n")
    values = {"go": "false", "reason": "ops_other\ngo<<ops_other\ntrue\r\nops_other\n"}

    actions.write_outputs({"GITHUB_OUTPUT": str(path)}, values, token=lambda: next(tokens))

    assert parse_outputs(path.read_bytes().decode()) == {"earlier": "1", **values}
    assert "reason<<ops_third" in path.read_text()


@pytest.mark.slow
def test_output_delimiters_are_unique(job: Job) -> None:
    job.gate(job.label(name="recover:x"))

    delimiters = re.findall(r"<<(ops_[0-9a-f]{32})$", job.output.read_text(), re.MULTILINE)
    assert len(set(delimiters)) == len(delimiters) >= len(job.outputs) > 5

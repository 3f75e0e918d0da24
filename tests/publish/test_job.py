"""Output of a run in a GitHub Actions job: summary, log and annotations."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.github import actions
from tests.conftest import WORKER, Incident, Outcome, Releases, World, assert_golden
from tests.support.commands import LIST, WRITE

JOB = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "77", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_ACTOR": "alice"}
OURS = r"::(group|endgroup|notice|warning|error|add-mask)\b"
EVIL = "##[debug]evil ::debug::evil " * 12


def rollback(world: World, *arguments: str, **environ: str | None) -> Outcome:
    """Run as a job does, without --json."""
    where = ["--service", "api", "--environment", "production", "--config", str(world.config), "--yes"]
    return world.ops("rollback-worker", *where, *arguments, **{**JOB, **environ})


def workflow_commands(outcome: Outcome) -> list[str]:
    """Return the lines that GitHub's runner reads as commands: leading `::`, or `##[` anywhere."""
    lines = re.split(r"[\r\n]+", outcome.out + outcome.err)
    return [line for line in lines if re.match(r"[^!-~]*::", line) or "##[" in line]


@pytest.mark.parametrize(
    ("name", "faults"), [("recovered", []), ("failed", [{**WRITE, "code": 10021, "message": "no"}])]
)
def test_job_summary_shows_result_and_next_step(
    incident: Incident, releases: Releases, update_golden: bool, name: str, faults: list[dict[str, Any]]
) -> None:
    incident.world.verify_three_rounds()
    page = incident.world.folder / "summary.md"
    for fault in faults:
        incident.world.sandbox.fault(**fault)

    incident.rollback("--reason", "checkout fails", GITHUB_STEP_SUMMARY=str(page))

    assert_golden(f"summary-{name}", page.read_text(), update=update_golden)
    (record,) = incident.world.folder.glob(".ops/runs/*/record.md")
    assert record.read_text() == page.read_text()


def test_unwritable_job_summary_is_a_warning(world: World, releases: Releases) -> None:
    outcome = rollback(world, GITHUB_STEP_SUMMARY=str(world.folder))

    assert outcome.code == 0
    assert "warning: the job's summary page cannot be written (Is a directory)" in outcome.err


@pytest.mark.sampled
@pytest.mark.parametrize("line", ["x" * 99, "é→" * 30, "`" * 9], ids=["ASCII", "two and three bytes", "fences"])
def test_long_summary_is_truncated_at_a_line(tmp_path: Path, line: str) -> None:
    page = tmp_path / "summary.md"

    assert actions.write_summary({"GITHUB_STEP_SUMMARY": str(page)}, f"{line}\n" * 30_000)

    text = page.read_bytes().decode("utf-8")
    assert len(text.encode()) <= actions.LONGEST_SUMMARY
    assert text.endswith(actions.CUT)
    assert set(text.removesuffix(actions.CUT).splitlines()) == {line}


def test_no_summary_outside_a_job() -> None:
    assert not actions.write_summary({}, "x")


ENDINGS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "recovered": ([], "::notice title=rollback-worker on api in production%3A recovered::"),
    "failed": ([{**WRITE, "code": 10021}], "::error title=rollback-worker on api in production%3A failed::"),
    "refused": ([{**WRITE, "code": 10220, "message": "changed: A"}], "::error title="),
    "unknown_outcome": (
        [{**WRITE, "lost": "after"}, {**LIST, "status": 503, "skip": 2, "times": None}],
        "::error title=",
    ),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("faults", "begins"), ENDINGS.values(), ids=ENDINGS)
def test_result_is_one_annotation(world: World, releases: Releases, faults: list[dict[str, Any]], begins: str) -> None:
    for fault in faults:
        world.sandbox.fault(**fault)

    outcome = rollback(world)

    notes = [line for line in outcome.err.splitlines() if re.match("::(notice|warning|error) ", line)]
    assert [note[: len(begins)] for note in notes] == [begins]


@pytest.mark.slow
def test_implicit_dry_run_fails_the_job(world: World, releases: Releases) -> None:
    where = ["--service", "api", "--environment", "production", "--config", str(world.config)]

    outcome = world.ops("rollback-worker", *where, GITHUB_ACTIONS="true")

    assert outcome.code == 9
    assert "::error title=rollback-worker on api in production%3A planned::nothing was changed" in outcome.err
    assert "Add --yes" in outcome.out
    assert world.live == {releases.bad: 100}


def test_start_failure_is_an_annotation(world: World) -> None:
    outcome = rollback(world, CLOUDFLARE_API_TOKEN=None)

    assert outcome.code == 2
    assert re.search("::error title=ops::.*CLOUDFLARE_API_TOKEN", outcome.err)


@pytest.mark.slow
def test_external_text_is_no_workflow_command(world: World, releases: Releases) -> None:
    world.release(timedelta(minutes=1), tag=EVIL[:90], author=EVIL, message=EVIL)
    world.sandbox.fault(**WRITE, code=10021, message=EVIL)

    outcome = rollback(world, "--reason", EVIL)

    assert "evil" in outcome.out
    found = workflow_commands(outcome)
    assert found
    assert [line for line in found if "##[" in line or not re.match(OURS, line)] == []


@pytest.mark.slow
@given(st.text(st.one_of(st.sampled_from(list(":#[ \t\r\n\x85\u2028\u200bad")), st.characters()), max_size=60))
def test_log_text_has_no_workflow_commands(text: str) -> None:
    shown = actions.log_text(JOB, text)

    assert workflow_commands(Outcome(0, shown, "")) == []
    assert actions.log_text({}, text) == text
    for line in (
        actions.annotation("error", text, text),
        actions.fold_log(actions.log_text(JOB, text), "{}").split("\n")[0],
    ):
        assert "\r" not in line
        assert "\n" not in line


@pytest.mark.slow
def test_no_workflow_commands_outside_a_job(world: World, releases: Releases) -> None:
    outcome = rollback(world, GITHUB_ACTIONS=None)

    assert workflow_commands(outcome) == []
    assert '{"schema"' not in outcome.out


@pytest.mark.slow
@pytest.mark.parametrize(("job", "program"), [("true", "./run ops"), (None, "ops")], ids=["job", "laptop"])
def test_job_shows_commands_for_a_checkout(world: World, releases: Releases, job: str | None, program: str) -> None:
    outcome = rollback(world, GITHUB_ACTIONS=job)

    undo = f"{program} rollback-worker --service api --environment production --to {releases.bad[:8]}"
    assert f"  {undo} " in outcome.out


@pytest.mark.slow
def test_secrets_are_masked_in_the_job_log(world: World, releases: Releases) -> None:
    outcome = rollback(world, STAGING_CLOUDFLARE_API_TOKEN="50%-of-a-key\nits-other-half")

    masks = [line for line in outcome.err.splitlines() if line.startswith("::add-mask::")]
    assert set(masks) == {
        f"::add-mask::{world.sandbox.token}",
        "::add-mask::50%25-of-a-key",
        "::add-mask::its-other-half",
    }
    assert world.sandbox.token not in outcome.out


def as_job_log(outcome: Outcome, names: str = "") -> str:
    """Return the output as GitHub serves a job log: byte order mark, time before each line, translated commands."""
    lines = (outcome.err + outcome.out).replace("::group::", "##[group]").replace("::endgroup::", "##[endgroup]")
    stamped = [f"2026-11-24T03:05:00.1234567Z {line}\r\n" for line in lines.splitlines()]
    return "".join([f"{names}\ufeff{stamped[0]}", *(names + line for line in stamped[1:])])


@pytest.mark.parametrize("names", ["", "recover\tRoll back\t"], ids=["GitHub", "gh"])
@pytest.mark.parametrize("is_lost", [False, True], ids=["whole", "lost"])
def test_run_can_be_imported_from_its_job_log(
    incident: Incident, releases: Releases, is_lost: bool, names: str
) -> None:
    """A runner that dies during the write leaves only the log."""
    text = as_job_log(rollback(incident.world, "--reason", EVIL), names)
    log = incident.world.folder / "log.txt"
    log.write_text(text[: text.index("read_back")] if is_lost else text, newline="")

    where = ("--incident", str(incident.number), "--config", str(incident.world.config))
    done = incident.ops("incident", "import", str(log), *where)

    assert done.code == 0, done.err
    (body,) = incident.bodies
    assert body.startswith("### ⏳ " if is_lost else "### ✅ ")
    assert "Run 77 of GitHub Actions, by github-actions\\[bot\\], imported at " in body
    assert re.search(r"Run `77\.1-[0-9a-f]{4}`", body)
    assert " [77.1-" in incident.show().out


@pytest.mark.slow
def test_events_in_the_log_equal_those_on_disk(world: World, releases: Releases) -> None:
    outcome = rollback(world, "--reason", EVIL)

    (path,) = world.folder.glob(".ops/runs/*/timeline.jsonl")
    events = [json.loads(line) for line in outcome.out.splitlines() if line.startswith('{"schema"')]
    assert events == [json.loads(line) for line in path.read_text().splitlines()]
    assert EVIL.strip() in events[0]["text"]


@pytest.mark.slow
def test_unchecked_permission_is_shown(incident: Incident, releases: Releases) -> None:
    incident.rollback("--permission", "not checked")

    assert "permission not checked: GitHub answered 403" in incident.bodies[0]
    assert "permission not checked" in incident.show().out


@pytest.mark.slow
def test_checked_permission_is_not_shown(incident: Incident, releases: Releases) -> None:
    incident.rollback("--permission", "checked")

    assert "permission not checked" not in incident.bodies[0]


@pytest.mark.slow
def test_incident_start_adds_a_plan_warning(world: World, releases: Releases) -> None:
    began = world.sandbox.deployments(WORKER)[0].created_on.replace(year=2026, month=1).isoformat()

    outcome = world.rollback("--began", began)

    assert outcome.code == 0
    assert any("began" in warning or "start" in warning for warning in outcome.result["plan"]["warnings"])


@pytest.mark.slow
def test_run_record_is_private_to_its_user(world: World) -> None:
    (world.folder / ".ops").mkdir(mode=0o755)

    world.rollback("--dry-run")

    paths = [world.folder / ".ops", *(world.folder / ".ops").rglob("*")]
    assert {path.stat().st_mode & 0o077 for path in paths} == {0}
    assert len(paths) >= 4

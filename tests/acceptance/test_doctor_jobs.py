"""Workflow `doctor` under act: a job for each secret, and one issue while an answer is wrong."""

from pathlib import Path

from sandbox.actions import Runner
from tests.support.actions import CI, conclusions
from tests.support.bakery import PERMISSIONS, TOKEN, bakery
from tests.support.workflows import operations_repository

JOBS = ("database", "recovery", "security", "limits", "report")


def test_job_finds_its_missing_secret_and_the_last_one_opens_the_issue(pip_cache: Path, tmp_path: Path) -> None:
    with bakery(tmp_path, virtual_clock=False) as made:
        github = made.sandbox.github
        made.edit("responders:", "github: {schedules: {doctor: 7d}}\nresponders:")
        files = {path: text for path, text in operations_repository(made.config).items() if path != CI}
        github.add_commit("All of it", "dana", files=files)
        reads = ("D1 Read", "Account Analytics Read", "Analytics Read")
        made.sandbox.add_token("bakery-recovery", [*reads, *(each for each in PERMISSIONS if each != "D1 Write")])
        github.put_secret("BAKERY_TOKEN", TOKEN, "database")
        for environment in ("recovery", "limits", "report"):
            github.put_secret("BAKERY_TOKEN", "bakery-recovery", environment)
        github.remove_secret("BAKERY_TOKEN", "security")
        environ = {name: text for name, text in made.sandbox.environ().items() if name != "CLOUDFLARE_API_TOKEN"}
        with Runner(github, environ, pip_cache=pip_cache) as runner:
            github.dispatch("doctor.yml", by="dana")
            runner.wait()
        (issue,) = [each for each in github.issues if each.find_label("backout-doctor")]

    assert conclusions(github.runs[-1]) == {**dict.fromkeys(JOBS, "success"), "doctor": "failure"}
    body = issue.body or ""
    assert [line for line in body.splitlines() if line.startswith("###")] == ["### ✘ `token`"]
    assert "- security-live: BAKERY_TOKEN is not set" in body

"""Repository rules: commit subjects, releases, and the hooks of contributors."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from ops.core.version import __version__
from tests.conftest import ROOT
from tests.support import plain_yaml
from tests.support.workflows import generated

SUBJECTS = ROOT / ".ci/commit_subjects.py"
LONG = "pages: " + "x" * 66


def check(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, str(SUBJECTS), *arguments]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("pages: refuse a rollback\n\n" + "x" * 200, ""),
        ("# a comment of Git\n" + LONG[:72], ""),
        (LONG, "73 characters"),
        (f'Revert "{LONG}"', ""),
        ("# only comments", "is empty"),
        ("fixup! pages: refuse a rollback", "not squashed"),
    ],
)
def test_commit_hook_checks_the_subject(tmp_path: Path, message: str, problem: str) -> None:
    (tmp_path / "message").write_text(message)

    done = check(tmp_path, "--message", "message")

    assert (done.returncode, problem in done.stderr) == (1 if problem else 0, True), done.stderr


@pytest.mark.slow
def test_pull_request_check_names_each_bad_commit(tmp_path: Path) -> None:
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", LONG)  # before the pull request
    for branch, subject in (("side", "pages: name it"), ("main", LONG + "!")):
        git(tmp_path, "checkout", "-B", branch)
        git(tmp_path, "commit", "--allow-empty", "-m", subject)
    git(tmp_path, "checkout", "-b", "other", "main~1")
    git(tmp_path, "commit", "--allow-empty", "-m", "docs: add a page")
    git(tmp_path, "merge", "--no-ff", "main", "-m", "Merge branch main")

    good, bad = check(tmp_path, "main~2..side"), check(tmp_path, "main~2..other")

    assert (good.returncode, good.stderr) == (0, "")
    assert bad.returncode == 1
    assert [line.split('"')[1] for line in bad.stderr.splitlines()] == ["Merge branch main", LONG + "!"]


@pytest.mark.slow
@pytest.mark.parametrize(("tag", "code"), [(f"v{__version__}", 0), ("v9.9.9", 1), (__version__, 1)])
def test_release_refuses_tag_that_differs_from_version(tag: str, code: int) -> None:
    steps = plain_yaml.load((generated() / ".github/workflows/release.yml").read_text())["jobs"]["build"]["steps"]
    (script,) = [step["run"] for step in steps if step.get("name", "").startswith("Compare the tag")]

    done = subprocess.run(["bash", "-e", "-c", script], cwd=ROOT, env={**os.environ, "TAG": tag}, check=False)

    assert done.returncode == code


GH = """#!/bin/sh
cd "$(dirname "$0")"
case "$2" in
  view) cat notes ;;
  edit) cat "$OLDPWD/$5" > notes ;;
  upload) case "$*" in *--clobber*) ;; *) [ ! -e files ] ;; esac && touch files ;;
esac
"""
"""GitHub's client with one release, whose notes are in a file beside it. It replaces files only if told."""


def test_release_attaches_the_hold_check_and_its_digest_also_if_started_again(tmp_path: Path) -> None:
    jobs = plain_yaml.load((generated() / ".github/workflows/release.yml").read_text())["jobs"]
    scripts = {step.get("name"): step["run"] for job in jobs.values() for step in job["steps"] if "run" in step}
    dist, bin_folder = tmp_path / "dist", tmp_path / "bin"
    dist.mkdir()
    bin_folder.mkdir()
    (bin_folder / "gh").write_text(GH)
    (bin_folder / "gh").chmod(0o755)
    (bin_folder / "notes").write_text("Fixes `this` and 100 %\n")
    environ = {**os.environ, "TAG": "v1", "PATH": f"{bin_folder}:{os.environ['PATH']}"}

    build = scripts["Write the hold check as one file"].replace(".ci/", f"{ROOT}/.ci/")
    publish = [scripts["Attach the files to the release"], scripts["Add the digest of the hold check to the notes"]]
    for script in (build, *publish, *publish):
        subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env=environ, check=True)

    program = dist / "hold_check.pyz"
    digest = sha256(program.read_bytes()).hexdigest()
    notes = (bin_folder / "notes").read_text()
    assert notes == f"Fixes `this` and 100 %\n\nSHA-256 of `hold_check.pyz`: `{digest}`\n"
    asked = subprocess.run(
        [sys.executable, "-I", program, "--worker", "x"], env={}, stderr=subprocess.PIPE, check=False
    )
    assert (asked.returncode, b"account" in asked.stderr) == (2, True)


def test_hooks_use_locked_tools() -> None:
    config = plain_yaml.load((ROOT / ".pre-commit-config.yaml").read_text())

    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    assert {hook["language"] for repo in config["repos"] for hook in repo["hooks"]} == {"system"}

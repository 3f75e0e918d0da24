"""Find out by git, else by GitHub, what a commit contains and names as fixed."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence

from ops.tools.hold_check.http_reads import fetch_for_hold_check, github_api
from ops.tools.hold_check.values import (
    FIXED,
    HELD,
    NOT_CONTAINED,
    SHA,
    TRAILER,
    UNKNOWN,
    Environ,
    HeldVersion,
    Question,
    UsageError,
)

GIT_TIMEOUT = 60.0
"""Seconds of a call of git."""
GIT = (
    *("git", "--no-pager", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}"),
    *("-c", "safe.directory=*", "-c", "protocol.allow=never", "-c", "log.showSignature=false"),
)
LOG = ("log", "--no-color", "--encoding=UTF-8", "--format=%B%x00", "--basic-regexp", "-i", f"--grep=^{TRAILER}")
GIT_VARIABLES = {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_GRAFT_FILE": os.devnull, "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}
"""Nothing of the repository runs: no hook, monitor, signature program or transport. No commit is replaced."""
Messages = list[str] | None


class ShortHistoryError(Exception):
    """Nothing shows what a commit contains; the text says why."""


def find_head_to_deploy(question: Question, environ: Environ) -> str:
    whole = _run_git(question.folder, "rev-parse", "--verify", "--quiet", f"{question.commit or 'HEAD'}^{{commit}}")
    commit = (whole or "").strip() or question.commit or environ.get("GITHUB_SHA", "")
    if not SHA.fullmatch(commit):
        raise UsageError("no commit is given, and none is checked out here", "Pass its SHA with `--commit`.")
    return commit


def judge_hold(hold: HeldVersion, question: Question, environ: Environ) -> str:
    """Return the state of a hold for the asked commit. Raises ShortHistoryError and UsageError."""
    listed, is_known = "", True
    try:
        messages, is_known = _local_range(question.folder, hold.commit, question.commit)
    except ShortHistoryError as short:
        token = environ.get("GITHUB_TOKEN") or environ.get("GH_TOKEN") or ""
        if not hold.commit:
            return UNKNOWN
        if not (token and question.repository):
            raise
        messages, listed = _github_range(question, environ, token, hold.commit)
        listed = listed and f"{short}, and GitHub lists only {listed}"
    if messages is None:
        return NOT_CONTAINED
    if any(hold.key in incidents_named_by_commit(message) for message in messages):
        return FIXED
    if listed:
        raise ShortHistoryError(listed)
    return HELD if is_known else UNKNOWN


def _local_range(folder: str, blamed: str, head: str) -> tuple[Messages, bool]:
    """Return the messages with trailers after the blamed commit, and whether the clone has it.

    Without it they are those of the whole history. None: `head` does not contain it. Raises ShortHistoryError.
    """
    is_shallow = _run_git(folder, "rev-parse", "--is-shallow-repository")
    if is_shallow is None or is_shallow.strip() != "false":
        raise ShortHistoryError("git finds no repository here" if is_shallow is None else "this clone is shallow")
    if _run_git(folder, "rev-parse", "--verify", "--quiet", f"{head}^{{commit}}") is None:
        raise ShortHistoryError("this clone does not have it")
    named = (
        (_run_git(folder, "rev-parse", f"--disambiguate={blamed}") or "").split() if blamed else []
    )  # no branch or tag
    known = [each for each in named if (_run_git(folder, "cat-file", "-t", each) or "").strip() == "commit"]
    whole = known[0] if len(known) == 1 else ""
    base = _run_git(folder, "merge-base", whole, head, answers=(0, 1)) if whole else ""
    if base is not None and base.strip() != whole:
        return None, True
    messages = _run_git(folder, *LOG, f"{whole}..{head}" if whole else head, "--")
    if base is None or messages is None:
        raise ShortHistoryError("git failed")
    return messages.split("\0"), bool(whole)


def _run_git(folder: str, *arguments: str, answers: Sequence[int] = (0,)) -> str | None:
    """Return the output of git; None if it failed, did not end in time, or is not installed."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | GIT_VARIABLES
    argv, none = [*GIT, "-C", folder, *arguments], subprocess.DEVNULL
    try:
        done = subprocess.run(argv, env=given, stdin=none, capture_output=True, timeout=GIT_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", errors="replace") if done.returncode in answers else None


def _github_range(question: Question, environ: Environ, token: str, blamed: str) -> tuple[Messages, str]:
    """Return the same from GitHub, and how many commits it lists of how many; empty if all.

    It lists the newest 250 (docs.github.com/rest/commits/commits#compare-two-commits). Raises ShortHistoryError.
    """
    url = f"{github_api(environ)}/repos/{question.repository}/compare/{blamed}...{question.commit}"
    status, answer = fetch_for_hold_check(
        url, {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}
    )
    if status != 200:
        raise ShortHistoryError(f"the clone is too short, and GitHub's comparison fails (HTTP {status})")
    try:
        if not str(answer["base_commit"]["sha"]).startswith(blamed):
            raise ShortHistoryError("the clone is too short, and GitHub knows another commit by that name")
        if answer["status"] in {"behind", "diverged"}:
            return None, ""
        messages, total = [str(each["commit"]["message"]) for each in answer["commits"]], int(answer["total_commits"])
    except (LookupError, TypeError, ValueError):
        raise ShortHistoryError("the clone is too short, and GitHub's comparison has an unknown shape") from None
    return messages, "" if len(messages) >= total else f"{len(messages)} of {total} commits"


def incidents_named_by_commit(message: str) -> set[str]:
    """Return the names after `Fixes-Incident:` in the trailers of a commit message."""
    values = (value for key, value in read_commit_trailers(message) if key.lower() == TRAILER.lower())
    return {name.removeprefix("#") for value in values for name in re.split(r"[\s,]+", value)} - {""}


def read_commit_trailers(message: str) -> Iterator[tuple[str, str]]:
    """Yield the trailers of a commit message by the rules of git: git-scm.com/docs/git-interpret-trailers.

    They are the last paragraph, but not the first. All its lines are trailers, or a quarter with one of git itself.
    A comment is no line of it, and ends a trailer: an indented line after the comment is another line.
    """
    lines, after_comments = list[str](), set[int]()
    for line in message.strip("\n").split("\n"):
        if line.startswith("#"):
            after_comments.add(len(lines))
        else:
            lines.append(line)
    while lines and not lines[-1].strip():
        lines.pop()
    start = next((number for number in range(len(lines), 0, -1) if not lines[number - 1].strip()), 0)
    pairs, others, is_by_git, goes_on = list[tuple[str, str]](), 0, False, False
    for number, line in enumerate(lines[start:], start):
        goes_on = goes_on and number not in after_comments
        if line[:1].isspace():
            if goes_on:
                pairs[-1] = pairs[-1][0], f"{pairs[-1][1]} {line.strip()}"
            others += not goes_on
            continue
        is_by_git |= (of_git := line.startswith(("Signed-off-by: ", "(cherry picked from commit ")))
        match = re.match(r"([A-Za-z0-9-]+)[ \t]*:(.*)", line)
        goes_on = bool(match or of_git)
        others += not goes_on
        pairs += [(match[1], match[2].strip()) if match else ("", line)] if goes_on else []
    if start and (not others or (is_by_git and len(pairs) * 3 >= others)):
        yield from (pair for pair in pairs if pair[0])

"""Refuse to deploy a commit that contains a version that was rolled back.

`ops hold check`, the action `hold-check`, and this file alone on any CI: `python3 hold_check.py --worker NAME`.
It needs Python 3.11, git and a token that reads. It imports no package, not even `ops`, and only reads.

The mark that a rollback leaves in the message of its deployment is the hold. Everyone who may deploy can write one, so
a mark can hold, and none can lift: a further deployment never turns a refusal into a permission.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib import parse, request

GO, REFUSED, NOT_CHECKED = "go", "refused", "not_checked"
HELD, FIXED, NOT_CONTAINED, UNKNOWN = "held", "fixed", "not_contained", "unknown"
CLOUDFLARE, TRAILER = "https://api.cloudflare.com/client/v4", "Fixes-Incident"
MARK = re.compile(r"ops1 incident=([0-9]{1,18}|-) run=([A-Za-z0-9._-]+) blames=([0-9a-f-]{36})(?![^ ;])")
"""Start of a mark that blames a version (`ops/cloudflare/marks.py`)."""
SHA = re.compile("[0-9a-f]{7,40}")
PAGES, PAGE_SIZE, SITE_PAGE_SIZE = 4, 100, 25
"""Most pages of a Worker's deployments that are read, their asked size, and the largest page of a site's (8000024)."""
TIMEOUT, GIT_TIMEOUT, MAX_BYTES = 10.0, 60.0, 30_000_000
"""Seconds of a request and of a call of git, and the largest answer that is read."""
GIT = (
    *("git", "--no-pager", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}"),
    *("-c", "safe.directory=*", "-c", "protocol.allow=never", "-c", "log.showSignature=false"),
)
LOG = ("log", "--no-color", "--encoding=UTF-8", "--format=%B%x00", "--basic-regexp", "-i", f"--grep=^{TRAILER}")
GIT_VARIABLES = {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_GRAFT_FILE": os.devnull, "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}
"""Nothing of the repository runs: no hook, monitor, signature program or transport. No commit is replaced."""
DEEPEN = "Set `fetch-depth: 0` under `with:` of actions/checkout, or run `git fetch --unshallow` before this check."

Environ = Mapping[str, str]
Messages = list[str] | None
Reader = Callable[[str], Any]
"""Returns Cloudflare's result at a path. Raises UnreadError and UsageError."""
Reading = tuple["list[Hold]", str, str]
"""Holds, newest first; for people what was read, and what was not."""


class UsageError(Exception):
    """Wrong arguments or token; the second argument is the next step."""


class UnreadError(Exception):
    """A fact could not be read; the text says which."""


class ShortHistoryError(Exception):
    """Nothing shows what a commit contains; the text says why."""


@dataclass(frozen=True)
class Question:
    """Whether `commit` may be deployed as the Worker, or as the Pages project `pages`."""

    account: str
    worker: str
    pages: str
    commit: str
    """Empty: the commit that is checked out in `folder`, else GITHUB_SHA."""
    folder: str
    repository: str

    @property
    def target(self) -> str:
        return f"Worker {self.worker}" if self.worker else f"Pages project {self.pages}"


@dataclass(frozen=True)
class Hold:
    """A blamed version, or deployment of a site. Its commit and the time of the rollback are empty if unknown."""

    name: str
    """Cause: `incident 42`; without an incident `run ID`, and of a site `deployment ID`."""
    version: str
    commit: str = ""
    since: str = ""
    state: str = UNKNOWN

    @property
    def key(self) -> str:
        return self.name.partition(" ")[2]


@dataclass(frozen=True)
class Answer:
    decision: str
    message: str
    hint: str = ""
    commit: str = ""
    holds: tuple[Hold, ...] = ()


def check(question: Question, environ: Environ, *, token: str, refuses_unread: bool = False) -> Answer:
    """Return whether the commit may be deployed. Raises UsageError.

    `refuses_unread`: refuse if the holds cannot be read. A hold in a clone that is too short always refuses.
    """
    if question.commit and not SHA.fullmatch(question.commit):
        raise UsageError("the commit is not a SHA of 7 to 40 digits", "Pass it with `--commit`, in small letters.")
    if not re.fullmatch("[!-~]+", token):
        raise UsageError("CLOUDFLARE_API_TOKEN is missing, or has a forbidden character", "Set a token that reads.")
    try:
        answer = _judge(question, environ, *_read_holds(question, _cloudflare_reader(environ, token)))
    except UnreadError as unread:
        answer = Answer(NOT_CHECKED, f"{unread}.")
    if answer.decision != NOT_CHECKED:
        return answer
    if refuses_unread:
        return replace(answer, decision=REFUSED, hint="Run it again, or permit it with `--on-unreadable warn`.")
    return replace(answer, hint="The deployment goes on. Compare its commit with the open incidents yourself.")


def _judge(question: Question, environ: Environ, listed: list[Hold], extent: str, missing: str) -> Answer:
    if not listed and not missing:
        return Answer(GO, f"{question.target} has no hold: {extent}.")
    if not listed:
        raise UnreadError(missing)
    question = replace(question, commit=_find_head(question, environ))
    commit, short, holds = question.commit[:12], "", list[Hold]()
    for hold in listed:
        try:
            holds.append(replace(hold, state=_judge_hold(hold, question, environ)))
        except ShortHistoryError as why:
            holds.append(hold)
            short = str(why)
    if held := [each for each in holds if each.state == HELD]:
        return _refuse(held, question.commit, holds)
    if short:
        text = f"{question.target} is held, and nothing shows what {commit} contains: {short}."
        return Answer(REFUSED, text, DEEPEN, question.commit, tuple(holds))
    if unknown := [each for each in holds if each.state == UNKNOWN]:
        line = f"{TRAILER}: {', '.join(dict.fromkeys(each.key for each in unknown))}"
        missing = f"the version that {_list_names(unknown)} blames has no commit in this clone; `{line}` ends the hold"
    if missing:
        return Answer(NOT_CHECKED, f"{missing}.", "", question.commit, tuple(holds))
    fixed = [each for each in holds if each.state == FIXED]
    absent = dict.fromkeys(each.commit[:12] for each in holds if each.state == NOT_CONTAINED)
    facts = [f"names {_list_names(fixed)} as fixed"] if fixed else []
    facts += [f"does not contain {', '.join(absent)}"] if absent else []
    return Answer(GO, f"{commit} {' and '.join(facts)}.", "", question.commit, tuple(holds))


def _refuse(held: Sequence[Hold], commit: str, holds: Sequence[Hold]) -> Answer:
    causes = [f"{each.commit[:12]}, rolled back{each.since and f' at {each.since}'} ({each.name})" for each in held]
    text = f"{commit[:12]} contains {'; '.join(causes)}. It would ship the bug again."
    line = f"{TRAILER}: {', '.join(dict.fromkeys(each.key for each in held))}"
    late = f"`git commit --allow-empty --message 'Name the fix' --message '{line}'`"
    hint = f"End the message of the fix or revert with the line `{line}`. If it is merged already: {late}."
    return Answer(REFUSED, text, hint, commit, tuple(holds))


def _list_names(holds: Iterable[Hold]) -> str:
    return ", ".join(dict.fromkeys(each.name for each in holds))


def _read_holds(question: Question, read: Reader) -> Reading:
    try:
        if question.worker:
            return _read_worker(read, f"/accounts/{question.account}/workers/scripts/{question.worker}")
        return _read_site(read, f"/accounts/{question.account}/pages/projects/{question.pages}")
    except (AttributeError, LookupError, TypeError, ValueError):
        raise UnreadError(f"Cloudflare's answer about {question.target} has an unknown shape") from None


def _read_worker(read: Reader, path: str) -> Reading:
    """Read the deployments until a page has no new one (developers.cloudflare.com/api/resources/workers)."""
    rows, new, size = dict[str, Any](), dict[str, Any](), f"&per_page={PAGE_SIZE}"
    for page in range(1, PAGES + 1):
        try:
            listed = read(f"{path}/deployments?page={page}{size}")["deployments"]
        except UnreadError:
            if page > 1:
                break  # a page of another size would skip deployments
            size = ""  # the reference does not name a largest page
            listed = read(f"{path}/deployments?page={page}")["deployments"]
        new = {row["id"]: row for row in listed if row["id"] not in rows}
        rows |= new
        if not new:
            break
    deployments = sorted(rows.values(), key=_moment, reverse=True)
    oldest = f" (back to {_shown(deployments[-1])})" if rows else ""
    extent = f"none of {len(deployments)} deployments{oldest} blames a commit"
    unread = f"{extent}, and older ones were not read" if new else ""
    marked = [(row, match) for row in deployments if (match := MARK.match(_annotation(row, "message")))]
    if not marked:
        return [], extent, unread
    versions = {row["id"]: row for row in read(f"{path}/versions?deployable=true")["items"]}
    for version in dict.fromkeys(match[3] for _, match in marked if match[3] not in versions):
        with suppress(UnreadError):
            versions[version] = read(f"{path}/versions/{version}")
    return list(_worker_holds(marked, versions)), extent, unread


def _worker_holds(marked: Sequence[tuple[Any, re.Match[str]]], versions: Mapping[str, Any]) -> Iterator[Hold]:
    """Yield the holds. A rollback within one commit, such as of a secret edit, blames no code."""
    by_number = {row["number"]: row for row in versions.values() if isinstance(row.get("number"), int)}

    def commit_of(version: str) -> str:
        """Return the commit that the deployer named. A secret edit has the code of the version before it."""
        row = versions.get(version)
        while row:
            if commit := _named_commit(_annotation(row, "tag"), _annotation(row, "message")):
                return commit
            is_edit = _annotation(row, "triggered_by") == "secret" and isinstance(row.get("number"), int)
            row = by_number.get(row["number"] - 1) if is_edit else None
        return ""

    for row, match in marked:
        incident, run, blamed = match.groups()
        commit, live = commit_of(blamed), [each["version_id"] for each in row["versions"] if each["percentage"]]
        if not commit or commit.isdigit() or commit not in map(commit_of, live):  # digits may be a shared date
            yield Hold(f"run {run}" if incident == "-" else f"incident {incident}", blamed, commit, _shown(row))


def _named_commit(tag: str, message: str) -> str:
    """Return the tag if it is a commit, else the commit that the message begins with."""
    first = message.strip().partition(" ")[0].partition("\n")[0].strip(":")
    return next((text for text in (tag, first) if SHA.fullmatch(text)), "")


def _annotation(row: Any, name: str) -> str:
    return str(_dig(row, "annotations", f"workers/{name}") or "")


def _read_site(read: Reader, path: str) -> Reading:
    """Return a hold of each production deployment that is newer than the live one (…/api/resources/pages).

    Cloudflare keeps no mark of a rollback, and does not document that `canonical_deployment` follows one.
    """
    live = read(path)["canonical_deployment"]
    rows = read(f"{path}/deployments?env=production&page=1&per_page={SITE_PAGE_SIZE}")
    if live is None:
        return [], "it has no production deployment", ""
    newer, own = [row for row in rows if _moment(row) > _moment(live)], _site_commit(live)
    able = [row for row in newer if _can_serve(row) and (_site_commit(row) != own or not own)]
    extent = f"Cloudflare names {live['id'][:8]} as live, and no newer production deployment"
    is_whole = len(newer) < len(rows) or len(rows) < SITE_PAGE_SIZE
    unread = "" if is_whole else f"only {len(rows)} of the deployments that are newer than the live one were read"
    return [Hold(f"deployment {row['id'][:8]}", row["id"], _site_commit(row)) for row in able], extent, unread


def _can_serve(row: Any) -> bool:
    stage = _dig(row, "latest_stage", "name"), _dig(row, "latest_stage", "status")
    return (*stage, row["environment"]) == ("deploy", "success", "production") and row.get("is_skipped") is not True


def _site_commit(row: Any) -> str:
    commit = str(_dig(row, "deployment_trigger", "metadata", "commit_hash"))
    return commit if SHA.fullmatch(commit) else ""


def _dig(value: Any, *keys: str) -> Any:
    for key in keys:
        value = (value or {}).get(key)
    return value


def _moment(row: Any) -> datetime:
    return datetime.fromisoformat(row["created_on"]).astimezone(UTC)


def _shown(row: Any) -> str:
    return f"{_moment(row):%Y-%m-%d %H:%M} UTC"


def _find_head(question: Question, environ: Environ) -> str:
    whole = _git(question.folder, "rev-parse", "--verify", "--quiet", f"{question.commit or 'HEAD'}^{{commit}}")
    commit = (whole or "").strip() or question.commit or environ.get("GITHUB_SHA", "")
    if not SHA.fullmatch(commit):
        raise UsageError("no commit is given, and none is checked out here", "Pass its SHA with `--commit`.")
    return commit


def _judge_hold(hold: Hold, question: Question, environ: Environ) -> str:
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
    if any(hold.key in named_incidents(message) for message in messages):
        return FIXED
    if listed:
        raise ShortHistoryError(listed)
    return HELD if is_known else UNKNOWN


def _local_range(folder: str, blamed: str, head: str) -> tuple[Messages, bool]:
    """Return the messages with trailers after the blamed commit, and whether the clone has it.

    Without it they are those of the whole history. None: `head` does not contain it. Raises ShortHistoryError.
    """
    is_shallow = _git(folder, "rev-parse", "--is-shallow-repository")
    if is_shallow is None or is_shallow.strip() != "false":
        raise ShortHistoryError("git finds no repository here" if is_shallow is None else "this clone is shallow")
    if _git(folder, "rev-parse", "--verify", "--quiet", f"{head}^{{commit}}") is None:
        raise ShortHistoryError("this clone does not have it")
    named = (_git(folder, "rev-parse", f"--disambiguate={blamed}") or "").split() if blamed else []  # no branch or tag
    known = [each for each in named if (_git(folder, "cat-file", "-t", each) or "").strip() == "commit"]
    whole = known[0] if len(known) == 1 else ""
    base = _git(folder, "merge-base", whole, head, answers=(0, 1)) if whole else ""
    if base is not None and base.strip() != whole:
        return None, True
    messages = _git(folder, *LOG, f"{whole}..{head}" if whole else head, "--")
    if base is None or messages is None:
        raise ShortHistoryError("git failed")
    return messages.split("\0"), bool(whole)


def _git(folder: str, *arguments: str, answers: Sequence[int] = (0,)) -> str | None:
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
    url = f"{_github_api(environ)}/repos/{question.repository}/compare/{blamed}...{question.commit}"
    status, answer = _get(url, {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"})
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


def named_incidents(message: str) -> set[str]:
    """Return the names after `Fixes-Incident:` in the trailers of a commit message."""
    values = (value for key, value in read_trailers(message) if key.lower() == TRAILER.lower())
    return {name.removeprefix("#") for value in values for name in re.split(r"[\s,]+", value)} - {""}


def read_trailers(message: str) -> Iterator[tuple[str, str]]:
    """Yield the trailers of a commit message by the rules of git: git-scm.com/docs/git-interpret-trailers.

    They are the last paragraph, but not the first. All its lines are trailers, or a quarter with one of git itself.
    """
    lines = [line for line in message.strip("\n").rstrip().split("\n") if not line.startswith("#")]
    start = next((number for number in range(len(lines), 0, -1) if not lines[number - 1].strip()), 0)
    pairs, others, is_by_git, goes_on = list[tuple[str, str]](), 0, False, False
    for line in lines[start:]:
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


class _AsItIs(request.HTTPErrorProcessor):
    """Returns each answer. A redirect would send the token to another address."""

    def http_response(self, _request: request.Request, response: Any) -> Any:
        return response

    https_response = http_response  # type: ignore[assignment]


def _get(url: str, headers: Mapping[str, str]) -> tuple[int, Any]:
    """Return status and JSON of the answer; status 0 without an answer, None without JSON. It is sent twice at most."""
    sent = request.Request(url, headers={**headers, "User-Agent": "backout-hold-check"})  # noqa: S310
    opener, status, body = request.build_opener(_AsItIs), 0, b""
    for attempt in range(2):
        time.sleep(attempt)
        with suppress(OSError, ValueError, HTTPException), opener.open(sent, timeout=TIMEOUT) as answer:
            status, body = answer.status, answer.read(MAX_BYTES)
        if status not in {0, 429, 500, 502, 503, 504}:
            break
    try:
        return status, json.loads(body)
    except ValueError:
        return status, None


def _cloudflare_reader(environ: Environ, token: str) -> Reader:
    base = (environ.get("CLOUDFLARE_API_BASE_URL") or CLOUDFLARE).rstrip("/")
    if base != CLOUDFLARE and not _is_loopback(base):
        raise UsageError("CLOUDFLARE_API_BASE_URL is another server", "Unset it: it may only name this machine.")

    def read(path: str) -> Any:
        status, answer = _get(f"{base}{path}", {"Authorization": f"Bearer {token}"})
        if status in {401, 403} and isinstance(answer, dict):  # a page is that of a firewall
            hint = "Give it *Workers Scripts Read* or *Pages Read* on this account."
            raise UsageError(f"Cloudflare does not accept the token (HTTP {status})", hint)
        if status == 404:
            raise UnreadError("Cloudflare does not know this name: it was never deployed, or the name is wrong")
        if status != 200 or not isinstance(answer, dict) or answer.get("success") is not True:
            raise UnreadError(f"Cloudflare cannot be read (HTTP {status})" if status else "Cloudflare does not answer")
        return answer["result"]

    return read


def _github_api(environ: Environ) -> str:
    """Return the URL of GitHub's API: that of the job's server, or of this machine. Raises UsageError."""
    api = (environ.get("GITHUB_API_URL") or "https://api.github.com").rstrip("/")
    server = parse.urlsplit(environ.get("GITHUB_SERVER_URL") or "https://github.com").hostname
    parts = parse.urlsplit(api)
    is_own = parts.scheme == "https" and parts.hostname in {server, f"api.{server}"} and "@" not in parts.netloc
    if not is_own and not _is_loopback(api):
        raise UsageError("GITHUB_API_URL is not the API of GITHUB_SERVER_URL", "Leave both as GitHub sets them.")
    return api


def _is_loopback(url: str) -> bool:
    parts = parse.urlsplit(url)
    return parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost"} and "@" not in parts.netloc


def main(arguments: Sequence[str] | None = None, environ: Environ = os.environ) -> int:
    """Print the answer and return the exit code: 0 go or not checked, 2 usage or token, 3 refused."""
    options = _parser().parse_args(arguments)
    try:
        question, token = _read_question(options, environ), environ.get("CLOUDFLARE_API_TOKEN", "")
        answer = check(question, environ, token=token, refuses_unread=options.on_unreadable == "refuse")
    except UsageError as wrong:
        print(f"error: {wrong.args[0]}\n hint: {wrong.args[1]}", file=sys.stderr)
        return 2
    text = f"{answer.decision.replace('_', ' ').capitalize()}: {answer.message} {answer.hint}".strip()
    print(json.dumps({"schema": 1, **asdict(answer)}) if options.json else text)
    level = {REFUSED: "error", NOT_CHECKED: "warning"}.get(answer.decision)
    if level and environ.get("GITHUB_ACTIONS") == "true":
        print(f"::{level} title=hold check::{text}", file=sys.stderr)
    if path := environ.get("GITHUB_OUTPUT"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(f"decision={answer.decision}\n")
    return 3 if answer.decision == REFUSED else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--worker", default="", help="Worker on Cloudflare")
    parser.add_argument("--pages", default="", help="Pages project on Cloudflare")
    parser.add_argument("--account-id", default="", help="Cloudflare account (default: CLOUDFLARE_ACCOUNT_ID)")
    parser.add_argument("--commit", default="", help="SHA to deploy (default: the commit that is checked out)")
    parser.add_argument("--folder", default="", help="Folder of the clone (default: here)")
    parser.add_argument("--repository", default="", help="GitHub owner/name (default: GITHUB_REPOSITORY)")
    parser.add_argument("--on-unreadable", default="warn", choices=["warn", "refuse"], help="(default: warn)")
    parser.add_argument("--json", action="store_true", help="Print one JSON result")
    return parser


def _read_question(options: argparse.Namespace, environ: Environ) -> Question:
    account = options.account_id or environ.get("CLOUDFLARE_ACCOUNT_ID", "")
    repository = options.repository or environ.get("GITHUB_REPOSITORY", "")
    if not re.fullmatch("[0-9a-f]{32}", account):
        raise UsageError("the account is not 32 digits", "Set CLOUDFLARE_ACCOUNT_ID, or pass `--account-id`.")
    if not re.fullmatch("[A-Za-z0-9_-]+ | [A-Za-z0-9_-]+", f"{options.worker} {options.pages}"):  # one, not both
        raise UsageError("the target is not one name", "Pass either `--worker NAME` or `--pages PROJECT`.")
    if repository and not re.fullmatch(r"[\w.-]+/[\w.-]+", repository, re.ASCII):
        raise UsageError("the repository is not owner/name", "Pass `--repository OWNER/NAME`.")
    return Question(account, options.worker, options.pages, options.commit, options.folder or ".", repository)


if __name__ == "__main__":
    sys.exit(main())

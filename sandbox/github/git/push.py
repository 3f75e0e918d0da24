"""Accept `git push` over HTTP: the smart protocol of git-receive-pack, without side bands.

git-scm.com/docs/http-protocol, git-scm.com/docs/pack-protocol. Git itself reads the packs.
"""

import base64
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sandbox.github.actions.state import FOLDER
from sandbox.github.git import changes
from sandbox.github.git.state import FakeCommit
from sandbox.github.repository import Repository
from sandbox.github.users.state import GitHubActor, includes_role
from sandbox.github.users.tokens import FakeGitHubToken, GitHubTokens
from sandbox.server import HttpRequest, HttpResponse

PATH = re.compile(r"/([^/]+/[^/]+)\.git/(info/refs|git-receive-pack)")
_NOTHING = "0" * 40
_CAPABILITIES = "report-status delete-refs ofs-delta agent=sandbox"
_FLUSH = b"0000"


@dataclass(frozen=True)
class PushServer:
    """Serves the pushes to all repositories of a GitHub."""

    repository: Repository
    tokens: GitHubTokens

    def is_for(self, request: HttpRequest) -> bool:
        return PATH.fullmatch(request.path) is not None

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Advertise the refs, or take a push. Without access, GitHub answers as if there were no repository."""
        found = PATH.fullmatch(request.path)
        assert found is not None
        with self.repository.lock:
            token = self._token(request)
            if token is None:
                return HttpResponse(status=401, headers=[("www-authenticate", 'Basic realm="GitHub"')])
            target = self.repository.host.repositories.get(found[1].lower())
            role = target.role(token.user) if target else None
            if target is None or role is None:
                return HttpResponse(status=404, body=b"Repository not found.")
            is_readable = token.may("contents:write") and token.is_for(target.id)
            if target.is_archived or not (is_readable and includes_role(role, "write")):
                return HttpResponse(status=403, body=b"Write access to repository not granted.")
            if found[2] == "info/refs":
                return _packets("advertisement", _advertise(target))
            return _packets("result", _receive(target, token, request.body))

    def _token(self, request: HttpRequest) -> FakeGitHubToken | None:
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        secret = base64.b64decode(encoded).decode().partition(":")[2]
        return self.tokens.find(f"token {secret}", self.repository.clock.now(), self.repository.bot_of)


def _packets(kind: str, body: bytes) -> HttpResponse:
    headers = [("content-type", f"application/x-git-receive-pack-{kind}"), ("cache-control", "no-cache")]
    return HttpResponse(headers=headers, body=body)


def _packet(line: str) -> bytes:
    return f"{len(line.encode()) + 4:04x}{line}".encode()


def _advertise(repository: Repository) -> bytes:
    refs = sorted(repository.git.refs.items()) or [("capabilities^{}", _NOTHING)]
    lines = [f"{sha} {ref}" for ref, sha in refs]
    lines[0] += f"\0{_CAPABILITIES}"
    service = _packet("# service=git-receive-pack\n") + _FLUSH
    return service + b"".join(_packet(f"{line}\n") for line in lines) + _FLUSH


def _receive(repository: Repository, token: FakeGitHubToken, body: bytes) -> bytes:
    """Take the commits, move the refs that may be moved, and report on each."""
    commands, pack = _split(body)
    if pack:
        repository.git.packs.append(pack)
    report = _packet("unpack ok\n")
    for old, new, ref in commands:
        if new != _NOTHING:
            for commit in _read_commits(repository, new, token):
                repository.git.commits.setdefault(commit.sha, commit)
        problem = _refusal(repository, token, old, new, ref)
        if not problem:
            by = GitHubActor(user=token.user, app=token.app)
            changes.move_ref(repository, by, ref, None if new == _NOTHING else new)
        report += _packet(f"ng {ref} {problem}\n" if problem else f"ok {ref}\n")
    return report + _FLUSH


def _split(body: bytes) -> tuple[list[tuple[str, str, str]], bytes]:
    """Return old SHA, new SHA and ref of each command, and the pack."""
    commands, at = [], 0
    while (size := int(body[at : at + 4], 16)) != 0:
        line = body[at + 4 : at + size].partition(b"\0")[0].decode().strip()
        old, new, ref = line.split(" ", 2)
        commands.append((old, new, ref))
        at += size
    return commands, body[at + 4 :]


def _refusal(repository: Repository, token: FakeGitHubToken, old: str, new: str, ref: str) -> str:
    """Return why the ref does not move; empty if it does."""
    git, branch = repository.git, ref.removeprefix("refs/heads/")
    if git.refs.get(ref, _NOTHING) != old:
        return "failed to update ref"
    files = git.commits[new].files if new in git.commits else {}
    before = git.commits[old].files if old in git.commits else {}
    changed = [path for path in {*files, *before} if files.get(path) != before.get(path)]
    if workflow := next((path for path in sorted(changed) if path.startswith(FOLDER)), ""):
        may = "workflow" in token.scopes if token.kind == "classic" else token.may("workflows:write")
        if not may:
            scope = "`workflow` scope" if token.kind == "classic" else "`workflows` permission"
            return (
                f"refusing to allow a Personal Access Token to create or update workflow `{workflow}` without {scope}"
            )
    role = repository.role(token.user)
    rules = (each for each in repository.rulesets.values() if each.applies_to(branch, git.default_branch))
    if any(each.rule("pull_request") and each.bypass_of(role) != "always" for each in rules):
        return "push declined due to repository rule violations"
    return ""


def _read_commits(repository: Repository, head: str, token: FakeGitHubToken) -> Iterator[FakeCommit]:
    """Yield the commits that the packs hold and the repository lacks, oldest first."""
    with tempfile.TemporaryDirectory() as folder:
        _git(folder, "init", "--bare", "--quiet", ".")
        for pack in repository.git.packs:
            _git(folder, "index-pack", "--stdin", "--fix-thin", stdin=pack)
        for sha in _git(folder, "rev-list", "--reverse", head).decode().split():
            if sha in repository.git.commits:
                continue
            about, _, message = _git(folder, "show", "--no-patch", "--format=%ct %P%n%B", sha).decode().partition("\n")
            seconds, *parents = about.split()
            yield FakeCommit(
                sha=sha,
                message=message.strip(),
                author=token.user,
                at=datetime.fromtimestamp(int(seconds), UTC),
                parents=tuple(parents),
                files=_read_files(folder, sha),
            )


def _read_files(folder: str, sha: str) -> Mapping[str, bytes]:
    listed = _git(folder, "ls-tree", "-r", "-z", "--name-only", sha).decode().split("\0")
    return {path: _git(folder, "cat-file", "blob", f"{sha}:{path}") for path in listed if path}


def _git(folder: str, *arguments: str, stdin: bytes = b"") -> bytes:
    environ = {"GIT_CONFIG_NOSYSTEM": "1", "HOME": str(Path(folder)), "PATH": "/usr/local/bin:/usr/bin:/bin"}
    command = ["git", "-C", folder, *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, check=True, env=environ).stdout

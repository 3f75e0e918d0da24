"""JSON of commits, refs, branches, files and comparisons.

docs.github.com/rest/commits/commits#get-a-commit
"""

import base64
from typing import Any
from urllib.parse import quote

from sandbox.github.git.state import FakeCommit, FileChange, Git, blob_sha, list_changes
from sandbox.github.urls import Urls, node_id, timestamp
from sandbox.github.users import serializers


def commit(commit: FakeCommit, urls: Urls) -> dict[str, Any]:
    url = urls.repo(f"/commits/{commit.sha}")
    author = serializers.user(commit.author, urls)
    return {
        "sha": commit.sha,
        "node_id": node_id("C", int(commit.sha[:15], 16)),
        "commit": git_commit(commit, urls) | {"url": urls.repo(f"/git/commits/{commit.sha}"), "comment_count": 0},
        "url": url,
        "html_url": urls.page(f"/commit/{commit.sha}"),
        "comments_url": f"{url}/comments",
        "author": author,
        "committer": author,
        "parents": _parents(commit, urls),
    }


def git_commit(commit: FakeCommit, urls: Urls) -> dict[str, Any]:
    """Return the git data of a commit."""
    signed = {"name": commit.author.login, "email": commit.email, "date": timestamp(commit.at)}
    unverified = {"verified": False, "reason": "unsigned", "signature": None, "payload": None, "verified_at": None}
    return {
        "author": signed,
        "committer": signed,
        "message": commit.message,
        "tree": {"sha": commit.tree, "url": urls.repo(f"/git/trees/{commit.tree}")},
        "verification": unverified,
    }


def _parents(commit: FakeCommit, urls: Urls) -> list[dict[str, Any]]:
    return [
        {"sha": sha, "url": urls.repo(f"/commits/{sha}"), "html_url": urls.page(f"/commit/{sha}")}
        for sha in commit.parents
    ]


def file_commit(one: FakeCommit, urls: Urls) -> dict[str, Any]:
    """Return the commit as in the response to a file change."""
    where = {"url": urls.repo(f"/git/commits/{one.sha}"), "html_url": urls.page(f"/commit/{one.sha}")}
    id_ = {"sha": one.sha, "node_id": node_id("C", int(one.sha[:15], 16))}
    return {**id_, **where, **git_commit(one, urls), "parents": _parents(one, urls)}


def commit_with_files(one: FakeCommit, git: Git, urls: Urls) -> dict[str, Any]:
    found = list(list_changes(git.parent_files(one), one.files))
    added, removed = (sum(change.count(sign) for change in found) for sign in "+-")
    stats = {"total": added + removed, "additions": added, "deletions": removed}
    return {**commit(one, urls), "stats": stats, "files": [change(item, one.sha, urls) for item in found]}


def change(change: FileChange, sha: str, urls: Urls) -> dict[str, Any]:
    path = quote(change.filename)
    return {
        "sha": change.sha,
        "filename": change.filename,
        "status": change.status,
        "additions": change.count("+"),
        "deletions": change.count("-"),
        "changes": change.count("+") + change.count("-"),
        "blob_url": urls.page(f"/blob/{sha}/{path}"),
        "raw_url": urls.page(f"/raw/{sha}/{path}"),
        "contents_url": urls.repo(f"/contents/{path}?ref={sha}"),
        "patch": change.patch,
    }


def ref(name: str, sha: str, urls: Urls) -> dict[str, Any]:
    pointed = {"type": "commit", "sha": sha, "url": urls.repo(f"/git/commits/{sha}")}
    url = urls.repo(f"/git/{quote(name)}")
    return {"ref": name, "node_id": node_id("REF", int(sha[:15], 16)), "url": url, "object": pointed}


def short_branch(name: str, sha: str, urls: Urls) -> dict[str, Any]:
    pointed = {"sha": sha, "url": urls.repo(f"/commits/{sha}")}
    return {"name": name, "commit": pointed, "protected": False}


def branch(name: str, head: FakeCommit, urls: Urls) -> dict[str, Any]:
    checks = {"enforcement_level": "off", "contexts": [], "checks": []}
    return {
        "name": name,
        "commit": commit(head, urls),
        "_links": {"self": urls.repo(f"/branches/{quote(name)}"), "html": urls.page(f"/tree/{quote(name)}")},
        "protected": False,
        "protection": {"enabled": False, "required_status_checks": checks},
        "protection_url": urls.repo(f"/branches/{quote(name)}/protection"),
    }


def file(path: str, content: bytes, name: str, urls: Urls, *, whole: bool = True) -> dict[str, Any]:
    """Return a file at the ref `name`; without content unless `whole`, as in a folder."""
    shown = _entry(path, name, urls, kind="file", sha=blob_sha(content), size=len(content))
    text = base64.encodebytes(content).decode()  # with line breaks, as on GitHub
    return {**shown, "content": text, "encoding": "base64"} if whole else shown


def folder(path: str, name: str, urls: Urls) -> dict[str, Any]:
    return _entry(path, name, urls, kind="dir", sha=blob_sha(path.encode()), size=0)


def _entry(path: str, name: str, urls: Urls, *, kind: str, sha: str, size: int) -> dict[str, Any]:
    is_file, where = kind == "file", f"{quote(name)}/{quote(path)}"
    url = urls.repo(f"/contents/{quote(path)}?ref={quote(name)}")
    page = urls.page(f"/{'blob' if is_file else 'tree'}/{where}")
    git_url = urls.repo(f"/git/{'blobs' if is_file else 'trees'}/{sha}")
    return {
        "name": path.rpartition("/")[2],
        "path": path,
        "sha": sha,
        "size": size,
        "url": url,
        "html_url": page,
        "git_url": git_url,
        "download_url": urls.page(f"/raw/{where}") if is_file else None,
        "type": kind,
        "_links": {"self": url, "git": git_url, "html": page},
    }

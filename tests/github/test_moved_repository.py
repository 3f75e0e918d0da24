"""A repository that was renamed: reads follow the redirect, and no write counts as made.

docs.github.com/rest/using-the-rest-api/best-practices-for-using-the-rest-api#follow-redirects: 301 is permanent, and
302 and 307 ask for the same request at another address. The status per method is what GitHub answers in practice.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from ops.core.redaction import Redactor
from ops.github.client import GitHubApiError, connect, write_errors

if TYPE_CHECKING:
    from ops.github.client import Repository

OLD = "/repos/shop/old"


class _Moved(BaseHTTPRequestHandler):
    """GitHub after a rename of shop/old, as the API of a server on loopback."""

    seen: list[str]

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append(f"{self.command} {self.path}")
        is_old = urlsplit(self.path).path.startswith(OLD)
        body = json.dumps({"message": "Moved Permanently"} if is_old else []).encode()
        self.send_response((301 if self.command == "GET" else 307) if is_old else 200)
        if is_old:
            self.send_header("Location", f"http://{self.headers['Host']}/repositories/7{self.path.removeprefix(OLD)}")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815  the names of http.server

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def renamed() -> Iterator["tuple[Repository, list[str]]"]:
    seen: list[str] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Moved", (_Moved,), {"seen": seen})) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        environ = {"GITHUB_TOKEN": "ghp_x", "GITHUB_REPOSITORY": "shop/old", "GITHUB_API_URL": address}
        yield connect(environ, Redactor()), seen
        server.shutdown()


def test_read_keeps_the_filters_of_a_list() -> None:
    with renamed() as (repository, seen):
        assert list(repository.get_issues(state="open", labels=["ops:stopped"])) == []

    assert [each for each in seen if "labels=ops%3Astopped" in each and "state=open" in each] == seen
    assert "/repositories/7/issues?" in seen[-1]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/actions/workflows/recover.yml/dispatches"),
        ("POST", "/issues/1/labels"),
        ("POST", "/issues/1/comments"),
        ("PUT", "/environments/live/secrets/TOKEN"),
        ("PATCH", "/issues/comments/5"),
        ("DELETE", "/issues/1/labels/ops%3Astopped"),
    ],
)
def test_no_write_counts_as_made(method: str, path: str) -> None:
    with renamed() as (repository, seen), pytest.raises(GitHubApiError) as caught, write_errors():
        repository.requester.requestJsonAndCheck(method, repository.url + path, input={"body": "x"})

    assert caught.value.status == 307
    assert "renamed or moved" in caught.value.hint
    assert len(seen) == 1

"""One connection to GitHub serves several threads."""

import threading
from typing import Any

import pytest
from github.Requester import HTTPRequestsConnectionClass

from ops.core.redaction import Redactor
from ops.core.threads import run_parallel
from ops.github.client import connect
from sandbox import Sandbox


def test_threads_get_the_answers_to_their_own_requests(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyGithub's connection holds the request; here both threads have written theirs before one is sent."""
    hub, written = sandbox.github, threading.Barrier(2)
    hub.add_user("alice")
    numbers = [hub.open_issue(title, "", [], "alice") for title in ("one", "two")]
    repository = connect(hub.environ(), Redactor(), read_only=True)
    write = HTTPRequestsConnectionClass.request

    def write_and_wait(*arguments: Any, **options: Any) -> None:
        write(*arguments, **options)
        written.wait(30)

    monkeypatch.setattr(HTTPRequestsConnectionClass, "request", write_and_wait)

    titles = run_parallel([lambda number=number: repository.get_issue(number).title for number in numbers])  # type: ignore[misc]

    assert titles == ["one", "two"]

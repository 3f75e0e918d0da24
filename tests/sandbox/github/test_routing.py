"""Routes of GitHub's API: methods, paths and numbers."""

import pytest

from tests.sandbox.github.conftest import Api


def test_wrong_method_returns_404(api: Api) -> None:
    assert api.refusal("PUT", "issues") == (404, "Not Found")
    assert [(record.method, record.unknown) for record in api.github.requests] == [("PUT", True)]


@pytest.mark.parametrize("path", ["labels/on%2Fcall", "labels/on%2Fcall/", "contents/docs/run%20book.md/"])
def test_path_is_decoded_and_may_end_in_slash(api: Api, path: str) -> None:
    api.ok("POST", "labels", json={"name": "on/call"})
    api.github.add_commit("Write it down", "acme", files={"docs/run book.md": "Roll back."})

    assert api.get(path)["name"] in {"on/call", "run book.md"}


def test_path_number_has_only_digits(api: Api, incident: int) -> None:
    assert api("GET", f"issues/{incident}").status_code == 200
    assert api.refusal("GET", "issues/first") == (404, "Not Found")
    assert [record.unknown for record in api.github.requests] == [False, True]

"""PyGithub's transport with a check of each response."""

import re
import threading
from typing import Any
from urllib.parse import urlsplit

import requests
from github import GithubException
from github.Requester import Requester

from ops.core.errors import Reason, Refused
from ops.github.answers import check_answer, expected_answer, malformed_answer, refusal_body

_HOST = re.compile(r"https?://[^/]+(?:/api/v3)?(?=/)")
"""github.com serves the API at the root of its host, an Enterprise Server below /api/v3."""


class TypedRequester(Requester):
    """A transport that rejects responses with an unexpected shape.

    A response may contain URLs on another host, for instance behind a proxy. Every request still goes to the configured
    API, because the token is for that host only.

    PyGithub keeps the request in its connection until it sends it, so two threads would get each other's answers. Here
    a thread uses another transport while this one is busy.

    Raises:
        Refused: `is_read_only` is set, and the request is no GET.
        ProviderError: the response to a read has an unexpected shape.
        UnclearWrite: the response to a write has one.
    """

    is_read_only = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._is_busy = threading.Lock()
        self._others: list[TypedRequester] = []

    def requestJsonAndCheck(  # noqa: N802  PyGithub's name
        self, verb: str, url: str, *arguments: Any, **options: Any
    ) -> tuple[dict[str, Any], Any]:
        return super().requestJsonAndCheck(verb, _HOST.sub("", url, count=1), *arguments, **options)

    def requestJson(  # noqa: N802  PyGithub's name
        self, verb: str, url: str, *arguments: Any, **options: Any
    ) -> tuple[int, dict[str, Any], str]:
        if not self._is_busy.acquire(blocking=False):
            return self._request_on_another(verb, url, *arguments, **options)
        try:
            return self._request(verb, url, *arguments, **options)
        finally:
            self._is_busy.release()

    def _request_on_another(
        self, verb: str, url: str, *arguments: Any, **options: Any
    ) -> tuple[int, dict[str, Any], str]:
        try:
            other = self._others.pop()
        except IndexError:
            other = TypedRequester(**self.kwargs)
        other.is_read_only = self.is_read_only
        try:
            return other.requestJson(verb, url, *arguments, **options)
        finally:
            self._others.append(other)

    def _request(self, verb: str, url: str, *arguments: Any, **options: Any) -> tuple[int, dict[str, Any], str]:
        path = urlsplit(url).path
        if self.is_read_only and verb != "GET":
            raise Refused(f"{verb} {path} is a write to GitHub, and only reads are allowed", reason=Reason.READ_ONLY)
        try:
            status, headers, text = super().requestJson(verb, url, *arguments, **options)
        except (requests.RequestException, GithubException):
            raise
        except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            # PyGithub cannot read the headers, or it was redirected to another host.
            raise malformed_answer(verb, expected_answer(verb, path)[0], 0, type(error).__name__) from None
        if status >= 400:
            return status, headers, refusal_body(text)
        check_answer(verb, path, status, text)
        return status, headers, text

"""PyGithub's transport, so that its objects only ever hold answers of the shape that is expected."""

import re
from typing import Any
from urllib.parse import urlsplit

import requests
from github import GithubException
from github.Requester import Requester

from ops.github.answers import check, expected_answer, malformed_answer, refusal_body

_HOST = re.compile(r"https?://[^/]+(?:/api/v3)?(?=/)")
"""github.com answers at the root of its own host, an Enterprise Server below /api/v3."""


class TypedRequester(Requester):
    """Raises ProviderError, or Unclear for a write, where an answer has another shape.

    An answer may name addresses on another host, as behind a proxy. Every request goes to the configured API: the
    token is for that host alone.
    """

    def requestJsonAndCheck(  # noqa: N802  PyGithub's name
        self, verb: str, url: str, *arguments: Any, **options: Any
    ) -> tuple[dict[str, Any], Any]:
        return super().requestJsonAndCheck(verb, _HOST.sub("", url, count=1), *arguments, **options)

    def requestJson(  # noqa: N802  PyGithub's name
        self, verb: str, url: str, *arguments: Any, **options: Any
    ) -> tuple[int, dict[str, Any], str]:
        path = urlsplit(url).path
        try:
            status, headers, text = super().requestJson(verb, url, *arguments, **options)
        except (requests.RequestException, GithubException):
            raise
        except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            # Headers that PyGithub cannot read, or a redirect to another host.
            raise malformed_answer(verb, expected_answer(verb, path)[0], 0, type(error).__name__) from None
        if status >= 400:
            return status, headers, refusal_body(text)
        check(verb, path, status, text)
        return status, headers, text

"""PyGithub's transport with a check of each response."""

import re
from copy import copy
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import requests
from github import GithubException
from github.Requester import HTTPRequestsConnectionClass, HTTPSRequestsConnectionClass, Requester

from ops.core.client_guards import is_loopback
from ops.core.errors import Reason, Refused
from ops.github.answers import check_answer, expected_answer, malformed_answer, refusal_body

_HOST = re.compile(r"https?://[^/]+(?:/api/v3)?(?=/)")
"""github.com serves the API at the root of its host, an Enterprise Server below /api/v3."""


class TypedRequester(Requester):
    """A transport that rejects responses with an unexpected shape.

    A response may contain URLs on another host, for instance behind a proxy. Every request still goes to the configured
    API, because the token is for that host only.

    PyGithub keeps a request in its connection until it sends it, so that two threads would get each other's answers.
    Here each request gets a connection object of its own; they share the open sockets.

    Raises:
        Refused: `is_read_only` is set, and the request is no GET.
        ProviderError: the response to a read has an unexpected shape.
        UnclearWrite: the response to a write has one.
    """

    is_read_only = False

    @cached_property
    def _connection(self) -> HTTPRequestsConnectionClass | HTTPSRequestsConnectionClass:
        parts, options = urlsplit(self.base_url), self.kwargs
        kind = HTTPSRequestsConnectionClass if parts.scheme == "https" else HTTPRequestsConnectionClass
        given = {name: options[name] for name in ("timeout", "retry", "pool_size", "verify")}
        connection = kind(self.hostname, parts.port, **given)
        session = connection.session
        # Otherwise requests reads proxies and certificates from the environment for each request, which takes a quarter
        # of its CPU time. Neither applies to a sandbox on loopback.
        if not is_loopback(self.base_url):
            found = session.merge_environment_settings(self.base_url, {}, None, connection.verify, None)
            session.proxies, connection.verify = found["proxies"], found["verify"]
        session.trust_env = False
        return connection

    def close(self) -> None:
        super().close()
        self._connection.close()

    def requestJsonAndCheck(  # noqa: N802  PyGithub's name
        self, verb: str, url: str, *arguments: Any, **options: Any
    ) -> tuple[dict[str, Any], Any]:
        return super().requestJsonAndCheck(verb, _HOST.sub("", url, count=1), *arguments, **options)

    def requestJson(  # noqa: N802, PLR0917  PyGithub's name and order
        self,
        verb: str,
        url: str,
        parameters: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
        input: Any | None = None,  # noqa: A002
        cnx: HTTPRequestsConnectionClass | HTTPSRequestsConnectionClass | None = None,
        follow_302_redirect: bool = False,  # noqa: FBT001, FBT002
    ) -> tuple[int, dict[str, Any], str]:
        path = urlsplit(url).path
        if self.is_read_only and verb != "GET":
            raise Refused(f"{verb} {path} is a write to GitHub, and only reads are allowed", reason=Reason.READ_ONLY)
        try:
            status, found, text = super().requestJson(
                verb, url, parameters, headers, input, cnx or copy(self._connection), follow_302_redirect
            )
        except (requests.RequestException, GithubException):
            raise
        except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            # PyGithub cannot read the headers, or it was redirected to another host.
            raise malformed_answer(verb, expected_answer(verb, path)[0], 0, type(error).__name__) from None
        if status >= 400:
            return status, found, refusal_body(text)
        check_answer(verb, path, status, text)
        return status, found, text

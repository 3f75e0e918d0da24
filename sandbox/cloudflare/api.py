"""The Cloudflare API: route, authorize and handle a request, and fill the envelope.

Handlers run under the account's lock, apart from those that run SQL.
"""

import json
import random
import re
from collections.abc import Mapping
from contextlib import nullcontext
from email.utils import format_datetime
from typing import Any

from sandbox.cloudflare.access import api as access
from sandbox.cloudflare.account import FakeAccount
from sandbox.cloudflare.analytics import api as analytics
from sandbox.cloudflare.analytics import telemetry
from sandbox.cloudflare.audit import api as audit
from sandbox.cloudflare.audit.state import ACTIONS
from sandbox.cloudflare.call import BASE, CloudflareAnswer, CloudflareCall, CloudflareRefusal, NoRouteRefusal, Route
from sandbox.cloudflare.codes import UNREADABLE, UNREADABLE_BY, product_of
from sandbox.cloudflare.d1 import api as d1
from sandbox.cloudflare.d1 import transfers
from sandbox.cloudflare.kv import api as kv
from sandbox.cloudflare.pages import api as pages
from sandbox.cloudflare.pages import uploads
from sandbox.cloudflare.r2 import api as r2
from sandbox.cloudflare.rate_limit import Headers, RateLimit
from sandbox.cloudflare.tokens import api as tokens
from sandbox.cloudflare.tokens.state import FakeCloudflareToken
from sandbox.cloudflare.workers import assets, deployments, scripts, settings, versions
from sandbox.cloudflare.zones import api as zones
from sandbox.permissions import CallPermission
from sandbox.routing import Router
from sandbox.server import HttpRequest, HttpResponse

_MODULES = (
    deployments,
    versions,
    scripts,
    assets,
    settings,
    zones,
    kv,
    d1,
    transfers,
    r2,
    access,
    tokens,
    audit,
    analytics,
    telemetry,
    pages,
    uploads,
)
_READS = {analytics.PATH, kv.BULK_GET, telemetry.PATH}
"""Routes that read by POST; they add no entry to the audit log."""
_UNLOCKED = {d1.QUERY, d1.RAW, d1.RESTORE}
"""Routes that hold the lock of their database instead of the account's."""
ROUTER = Router(module.ROUTES for module in _MODULES)


class FakeCloudflareApi:
    def __init__(self, account: FakeAccount) -> None:
        self._account = account
        self._limit = RateLimit(account.clock, account.switches)

    def answer(self, request: HttpRequest) -> HttpResponse:
        ray = _ray()
        try:
            answer, more = self._handle(request, ray)
        except CloudflareRefusal as error:
            status, envelope, more = error.status, _failure(error, request.path), error.headers
        else:
            if isinstance(answer, HttpResponse):
                answer.headers += [*more, ("server", "cloudflare"), ("cf-ray", ray), self._date()]
                return answer
            status, envelope = 200, _success(answer)
        headers = [*_HEADERS, *more, ("cf-ray", ray), self._date()]
        return HttpResponse(status=status, headers=headers, body=json.dumps(envelope).encode())

    def _date(self) -> tuple[str, str]:
        return "date", format_datetime(self._account.clock.now(), usegmt=True)

    def _handle(self, request: HttpRequest, ray: str) -> tuple[CloudflareAnswer | HttpResponse, Headers]:
        """Return the answer, and the headers about the rate limit."""
        found = match(request)
        if found is None:
            raise _unmatched(request)
        route, parameters = found
        token = self._authorize(request, route.access, parameters.get("account"))
        with self._account.lock:
            limits = self._limit.count(token, is_graphql=route.template == analytics.PATH)
        call = CloudflareCall(account=self._account, token=token, request=request, parameters=parameters)
        with nullcontext() if route.template in _UNLOCKED else self._account.lock:
            try:
                answer = route.handler(call)
            except CloudflareRefusal as error:
                self._log(call, route, error.status, ray)
                raise
            self._log(call, route, 200, ray)
            return answer, limits

    def _log(self, call: CloudflareCall, route: Route, status: int, ray: str) -> None:
        if call.request.method in ACTIONS and route.template not in _READS:
            self._account.audit.append(audit.make_entry(call, route, status=status, ray=ray))

    def knows(self, request: HttpRequest) -> bool:
        """Return whether there is a route with that method and path."""
        return match(request) is not None

    def _authorize(self, request: HttpRequest, access: CallPermission, account: str | None) -> FakeCloudflareToken:
        """Return the token of the request.

        A token that is missing, unknown, expired, of another account or without the permission gets the same response:
        developers.cloudflare.com/fundamentals/api/troubleshooting. Only the details of the user have a code of their
        own: cloudflare/workers-sdk, packages/wrangler/src/user/whoami.ts

        Raises:
            CloudflareRefusal: the request is not authorized.
        """
        if account is not None and not re.fullmatch("[0-9a-f]{32}", account):
            raise NoRouteRefusal(request.path)
        if access is uploads.UPLOADS:
            return uploads.authorize(self._account, request)
        if access is assets.UPLOADS:
            return assets.authorize(self._account, request)
        if access is transfers.SIGNED:
            return transfers.authorize(self._account, request)
        token = self._account.tokens.find(request.headers.get("authorization"))
        if token and access.needs == "User Details Read" and not token.may(access.needs):
            raise CloudflareRefusal(9109, "Unauthorized to access requested resource", status=403)
        if token is None or not self._is_allowed(token, access) or account not in {None, self._account.id}:
            raise CloudflareRefusal(10000, "Authentication error", status=self._account.switches.auth_error_status)
        return token

    def _is_allowed(self, token: FakeCloudflareToken, access: CallPermission) -> bool:
        """Where no measurement shows which of two permissions is enough, a switch decides."""
        is_enough = bool(access.switch) and getattr(self._account.switches, access.switch)
        return token.may(access.needs) or (is_enough and token.may(access.perhaps))


def match(request: HttpRequest) -> tuple[Route, Mapping[str, str]] | None:
    """Return the route and the parameters of the path; None if no route matches."""
    path = _below_base(request)
    return None if path is None else ROUTER.match(request.method, path)


def _unmatched(request: HttpRequest) -> CloudflareRefusal:
    path = _below_base(request)
    if path is not None and ROUTER.methods(path):
        return CloudflareRefusal(7001, f"Method {request.method} not available for that URI.", status=405)
    return NoRouteRefusal(request.path if path is None else path)


def _below_base(request: HttpRequest) -> str | None:
    return request.path.removeprefix(BASE) if request.path.startswith(f"{BASE}/") else None


_HEADERS = [("content-type", "application/json"), ("server", "cloudflare")]


def _ray() -> str:
    """Return an ID as in the header cf-ray: sixteen hex digits and an airport."""
    return f"{random.getrandbits(64):016x}-LHR"


def _success(answer: CloudflareAnswer) -> dict[str, Any]:
    envelope = {"success": True, "errors": [], "messages": answer.messages, "result": answer.result}
    return envelope if answer.result_info is None else {**envelope, "result_info": answer.result_info}


def _failure(error: CloudflareRefusal, path: str) -> dict[str, Any]:
    code = UNREADABLE_BY.get(product_of(path), UNREADABLE) if error.code == UNREADABLE else error.code
    errors = [{"code": code, "message": error.message}]
    return {"success": False, "errors": errors, "messages": [], "result": None}

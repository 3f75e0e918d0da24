"""API tokens of a user or the account: verify, list, create, roll, disable, delete.

A value is shown only once. developers.cloudflare.com/api/resources/user/subresources/tokens and
…/accounts/subresources/tokens
"""

import hashlib
from collections.abc import Callable
from typing import Any

from sandbox.cloudflare.account import FakeAccount
from sandbox.cloudflare.call import (
    CloudflareAnswer,
    CloudflareCall,
    CloudflareRefusal,
    Routes,
    fields,
    invalid,
    json_body,
)
from sandbox.cloudflare.tokens.state import FakeCloudflareToken, Owner
from sandbox.permissions import permission_groups

ROUTES = Routes()


@ROUTES.add("GET", "/user/tokens/verify")
def verify_user_token(call: CloudflareCall) -> CloudflareAnswer:
    # developers.cloudflare.com/api/resources/user/subresources/tokens/methods/verify
    return _verify(call, "user")


@ROUTES.add("GET", "/accounts/{account}/tokens/verify")
def verify_account_token(call: CloudflareCall) -> CloudflareAnswer:
    # developers.cloudflare.com/api/resources/accounts/subresources/tokens/methods/verify
    return _verify(call, "account")


def _verify(call: CloudflareCall, owner: Owner) -> CloudflareAnswer:
    """Return the status of the token. Each of the two endpoints knows only its own kind of token."""
    if call.token.owner != owner:
        raise CloudflareRefusal(1000, "Invalid API Token", status=401)
    valid = {"code": 10000, "message": "This API Token is valid and active", "type": None}
    end = {"expires_on": call.token.expires_on} if call.token.expires_on else {}
    return CloudflareAnswer({"id": call.token.id, "status": "active", **end}, messages=(valid,))


@ROUTES.add("GET", "/user")
def get_user(call: CloudflareCall) -> CloudflareAnswer:
    # developers.cloudflare.com/api/resources/user/methods/get
    return CloudflareAnswer({"id": call.token.id, "email": call.token.email})


@ROUTES.add("GET", "/accounts")
def list_accounts(call: CloudflareCall) -> CloudflareAnswer:
    """List the accounts that know the token.

    developers.cloudflare.com/api/resources/accounts/methods/list
    """
    token = call.request.headers.get("authorization")
    rows = [_account(each) for each in call.account.visible if each.tokens.find(token)]
    return CloudflareAnswer(rows, result_info={**_ONE, "count": len(rows), "total_count": len(rows)})


@ROUTES.add("GET", "/memberships")
def list_memberships(call: CloudflareCall) -> CloudflareAnswer:
    # developers.cloudflare.com/api/resources/memberships/methods/list
    account = {"account": _account(call.account)}
    membership = {"id": call.account.id, "status": "accepted", "roles": ["Administrator"]}
    return CloudflareAnswer([membership | account], result_info=_ONE)


_ONE = {"page": 1, "per_page": 20, "count": 1, "total_count": 1, "total_pages": 1}


def _account(account: FakeAccount) -> dict[str, Any]:
    return {"id": account.id, "name": account.name, "type": "standard"}


def _add_routes(owner: Owner, base: str) -> None:
    """Add the routes for tokens of one kind of owner. Each kind lists only its own tokens."""
    table: tuple[tuple[str, str, Callable[[CloudflareCall, Owner], CloudflareAnswer]], ...] = (
        ("GET", "/permission_groups", _list_groups),
        ("GET", "", _list),
        ("POST", "", _create),
        ("GET", "/{token}", _get),
        ("PUT", "/{token}", _update),
        ("PUT", "/{token}/value", _roll),
        ("DELETE", "/{token}", _delete),
    )
    for method, path, handler in table:
        ROUTES.add(method, base + path)(lambda call, h=handler: h(call, owner))  # type: ignore[misc]


def _list_groups(_: CloudflareCall, owner: Owner) -> CloudflareAnswer:
    """Return the permission groups. Their IDs are stable; clients must not rely on their names."""
    return CloudflareAnswer(
        [
            {"id": _group_id(name), "name": name, "scopes": [f"com.cloudflare.api.{owner}"]}
            for name in permission_groups()
        ]
    )


def _list(call: CloudflareCall, owner: Owner) -> CloudflareAnswer:
    rows = [_to_json(token) for token in call.account.tokens if token.owner == owner]
    return CloudflareAnswer(rows, result_info={"page": 1, "per_page": 20, "count": len(rows), "total_count": len(rows)})


def _create(call: CloudflareCall, owner: Owner) -> CloudflareAnswer:
    body = fields(json_body(call.request), required={"name": str, "policies": list}, optional={})
    secret = f"sandbox-{call.account.new_id().hex}"
    permissions = _permissions(body["policies"])
    token = FakeCloudflareToken(
        secret=secret, permissions=permissions, owner=owner, email=call.token.email, name=body["name"]
    )
    call.account.tokens.add(token)
    return CloudflareAnswer({**_to_json(token), "value": secret})


def _get(call: CloudflareCall, owner: Owner) -> CloudflareAnswer:
    return CloudflareAnswer(_to_json(_find_token(call, owner)))


def _update(call: CloudflareCall, owner: Owner) -> CloudflareAnswer:
    """Replace the whole token; `status` is `active` or `disabled`."""
    token = _find_token(call, owner)
    required = {"name": str, "policies": list, "status": str}
    body = fields(json_body(call.request), required=required, optional={"id": str})
    if body["status"] not in {"active", "disabled"}:
        raise invalid("body.status", 'must be "active" or "disabled"')
    token.name, token.permissions = body["name"], _permissions(body["policies"])
    token.disabled = body["status"] == "disabled"
    return CloudflareAnswer(_to_json(token))


def _roll(call: CloudflareCall, owner: Owner) -> CloudflareAnswer:
    """Give the token a new value. The previous value ends at once.

    developers.cloudflare.com/fundamentals/api/how-to/roll-token
    """
    token = _find_token(call, owner)
    fields(json_body(call.request), required={}, optional={})
    call.account.tokens.roll(token, f"sandbox-{call.account.new_id().hex}")
    return CloudflareAnswer(token.secret)


def _delete(call: CloudflareCall, owner: Owner) -> CloudflareAnswer:
    token = _find_token(call, owner)
    call.account.tokens.remove(token)
    return CloudflareAnswer({"id": token.id})


def _find_token(call: CloudflareCall, owner: Owner) -> FakeCloudflareToken:
    found = (token for token in call.account.tokens if token.id == call.parameters["token"] and token.owner == owner)
    token = next(found, None)
    if token is None:
        raise CloudflareRefusal(1001, "API Token not found", status=404)
    return token


def _permissions(policies: list[Any]) -> frozenset[str]:
    """Return the permissions named by the groups' IDs. `resources` is ignored because there is only one account."""
    known = {_group_id(name): name for name in permission_groups()}
    names: set[str] = set()
    for index, policy in enumerate(policies):
        at = f"body.policies[{index}]"
        given = fields(
            policy, required={"effect": str, "permission_groups": list, "resources": dict}, optional={"id": str}, at=at
        )
        ids = [str(group.get("id")) if isinstance(group, dict) else "" for group in given["permission_groups"]]
        if unknown := [each for each in ids if each not in known]:
            raise invalid(f"{at}.permission_groups", f"names an unknown group: {unknown[0]}")
        names |= {known[each] for each in ids}
    return frozenset(names)


def _to_json(token: FakeCloudflareToken) -> dict[str, Any]:
    groups = [{"id": _group_id(name), "name": name} for name in sorted(token.permissions)]
    status = "expired" if token.expired else "disabled" if token.disabled else "active"
    policy = {"id": token.id, "effect": "allow", "permission_groups": groups, "resources": {}}
    return {"id": token.id, "name": token.name, "status": status, "policies": [policy] if groups else []}


def _group_id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]


_add_routes("user", "/user/tokens")
_add_routes("account", "/accounts/{account}/tokens")

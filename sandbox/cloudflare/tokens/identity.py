"""Who the token is: verification, the user, the accounts, as `wrangler whoami` and a careful client ask."""

from typing import Any, Literal

from sandbox.cloudflare.routes import Answer, ApiError, Call, Routes

ROUTES = Routes()


@ROUTES.add("GET", "/user/tokens/verify", None)
def verify_user_token(call: Call) -> Answer:
    # developers.cloudflare.com/api/resources/user/subresources/tokens/methods/verify
    return _verified(call, "user")


@ROUTES.add("GET", "/accounts/{account}/tokens/verify", None)
def verify_account_token(call: Call) -> Answer:
    # developers.cloudflare.com/api/resources/accounts/subresources/tokens/methods/verify
    return _verified(call, "account")


def _verified(call: Call, owner: Literal["user", "account"]) -> Answer:
    """Each of the two knows its own kind of token alone."""
    if call.token.owner != owner:
        raise ApiError(1000, "Invalid API Token", status=401)
    valid = {"code": 10000, "message": "This API Token is valid and active", "type": None}
    return Answer({"id": call.token.id, "status": "active"}, messages=(valid,))


@ROUTES.add("GET", "/user", None)
def get_user(call: Call) -> Answer:
    # developers.cloudflare.com/api/resources/user/methods/get
    return Answer({"id": call.token.id, "email": call.token.email})


@ROUTES.add("GET", "/accounts", None)
def list_accounts(call: Call) -> Answer:
    # developers.cloudflare.com/api/resources/accounts/methods/list
    return Answer([_account(call)], result_info=_ONE)


@ROUTES.add("GET", "/memberships", None)
def list_memberships(call: Call) -> Answer:
    # developers.cloudflare.com/api/resources/memberships/methods/list
    membership = {"id": call.account.id, "status": "accepted", "roles": ["Administrator"], "account": _account(call)}
    return Answer([membership], result_info=_ONE)


_ONE = {"page": 1, "per_page": 20, "count": 1, "total_count": 1, "total_pages": 1}


def _account(call: Call) -> dict[str, Any]:
    return {"id": call.account.id, "name": "Sandbox", "type": "standard"}

"""Tokens of an account: its API token, and the service tokens of Access that probes send.

developers.cloudflare.com/api/resources/user/subresources/tokens, …/accounts/subresources/tokens, …/accounts and
…/zero_trust/subresources/access/subresources/service_tokens
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ops.cloudflare.client import CloudflareClient, paginate_by_total, reads
from ops.cloudflare.response import (
    HEX_ID,
    CloudflareApiError,
    CloudflareResponse,
    ErrorKind,
    answer_text_or_empty,
    parse_result,
    require_answer_id,
    require_answer_text,
)
from ops.cloudflare.types.inventory import NamedResource, ServiceToken
from ops.cloudflare.types.records import VerifiedToken
from ops.core.clock import parse_utc
from ops.core.errors import ProviderError

TOKENS_PAGE = "dash.cloudflare.com → Manage account → API tokens"
_ACCOUNT = "com.cloudflare.api.account."


@reads("GET /user/tokens/verify", "GET /accounts/{account}/tokens/verify")
def verify_token(client: CloudflareClient, account_id: str) -> VerifiedToken:
    """Verify the client's own token. User tokens and account tokens have different endpoints, so both are tried."""
    try:
        return _parse_verification(client.read("/user/tokens/verify"), "user")
    except CloudflareApiError:
        return _parse_verification(client.read(f"/accounts/{account_id}/tokens/verify"), "account")


def _parse_verification(answer: CloudflareResponse, kind: str) -> VerifiedToken:
    def build_verified_token() -> VerifiedToken:
        row = answer.result
        return VerifiedToken(str(row["id"]), kind, str(row["status"]), answer_text_or_empty(row.get("expires_on")))

    return parse_result(answer, "the verification of the token", build_verified_token)


def explain_refusal(client: CloudflareClient, account_id: str, name: str) -> tuple[str, str] | None:
    """Return why Cloudflare refuses the token `name`, and what to do; None if that cannot be read either.

    Reads answer alike for an expired, a deleted and a foreign token: only its verification tells them apart.
    """
    try:
        token = verify_token(client, account_id)
    except CloudflareApiError as error:
        if error.kind != ErrorKind.AUTH:
            return None
        why = f"It is expired, disabled, deleted or mistyped, or a token of another account than {account_id}."
        return f"Cloudflare does not accept the token {name}", f"{why} Copy it again, or create one at {TOKENS_PAGE}."
    except ProviderError:
        return None
    if token.status != "active":
        way = "Enable it" if token.status == "disabled" else "Extend it"
        return f"the token {name} is {token.status}", f"{way}, or create a new one at {TOKENS_PAGE}."
    return (
        f"the token {name} is active, but may not read account {account_id}",
        "Compare `account_id` in ops.yml with the dashboard. `ops doctor` lists what the token may not do.",
    )


@reads("GET /user/tokens/{token}", "GET /accounts/{account}/tokens/{token}")
def read_permission_groups(client: CloudflareClient, account_id: str, token: VerifiedToken) -> frozenset[str]:
    """Return the permission groups of the token in this account, such as "Workers Scripts Write".

    Few tokens may read this: it needs API Tokens Read. Raises ProviderError.
    """
    owner = "/user" if token.kind == "user" else f"/accounts/{account_id}"
    answer = client.read(f"{owner}/tokens/{token.id}")
    return parse_result(
        answer, "the policies of the token", lambda: _permission_groups(answer.result["policies"], account_id)
    )


def _permission_groups(policies: Iterable[Mapping[str, Any]], account_id: str) -> frozenset[str]:
    """Return the allowed groups without the denied ones, of the policies that include the account."""
    groups: dict[str, set[str]] = {"allow": set(), "deny": set()}
    for policy in policies:
        if _includes_account(policy.get("resources") or {}, account_id):
            groups[policy["effect"]] |= {str(group["name"]) for group in policy["permission_groups"]}
    return frozenset(groups["allow"] - groups["deny"])


def _includes_account(resources: Mapping[str, Any], account_id: str) -> bool:
    """Return whether a policy may apply to the account. A policy for zones counts: their account is not named."""
    accounts = {name.removeprefix(_ACCOUNT) for name in resources if name.startswith(_ACCOUNT)}
    return not accounts or bool(accounts & {"*", account_id}) or any(name.startswith("zone.") for name in accounts)


def dashboard_name(group: str) -> str:
    """Return the permission group as Cloudflare's dashboard writes it: `Workers Scripts: Edit`."""
    area, _, right = group.rpartition(" ")
    area = "Cloudflare Pages" if area == "Pages" else area
    return f"{area}: {'Edit' if right == 'Write' else right}" if right in {"Read", "Write"} else group


class AccountsApi:
    """Accounts of one token."""

    def __init__(self, client: CloudflareClient) -> None:
        self._client = client

    @reads("GET /accounts")
    def list_accounts(self) -> tuple[NamedResource, ...]:
        page = self._client.list_reader("/accounts", "the accounts", _parse_account)
        return tuple(paginate_by_total(page))


def _parse_account(row: Mapping[str, Any]) -> NamedResource:
    return NamedResource(require_answer_id(row["id"], HEX_ID), require_answer_text(row["name"]))


SERVICE_TOKENS_PERMISSION = "Access: Service Tokens Read"


@reads("GET /accounts/{account}/access/service_tokens")
def list_service_tokens(client: CloudflareClient, account_id: str) -> tuple[ServiceToken, ...]:
    """Return the service tokens of the account, without their secrets. Raises ProviderError."""
    path = f"/accounts/{account_id}/access/service_tokens"
    page = client.list_reader(path, "the service tokens", _service_token)
    return tuple(paginate_by_total(page))


def _service_token(row: Mapping[str, Any]) -> ServiceToken:
    expires_at = answer_text_or_empty(row.get("expires_at"))
    return ServiceToken(require_answer_text(row["client_id"]), parse_utc(expires_at) if expires_at else None)

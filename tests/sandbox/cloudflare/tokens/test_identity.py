"""Token verification, user and account in the API."""

import pytest

from tests.sandbox.conftest import Api


def test_valid_token_is_active_without_permissions(api: Api) -> None:
    token = api.sandbox.add_token("powerless")
    assert api.get("/user/tokens/verify", token=token).result["status"] == "active"


@pytest.mark.parametrize("token", ["unknown", "expired"])
def test_unknown_or_expired_token_is_refused(api: Api, token: str) -> None:
    api.sandbox.add_token("expired", {"Workers Scripts Write"}, expired=True)
    assert api.get("/user/tokens/verify", token=token).error == (403, 10000)


def test_account_token_is_verified_only_by_account(api: Api) -> None:
    api.sandbox.add_token("owned", owner="account")
    path = f"/accounts/{api.sandbox.account_id}/tokens/verify"
    assert api.get(path, token="owned").result["status"] == "active"
    assert api.get("/user/tokens/verify", token="owned").error == (401, 1000)
    assert api.get(path).error == (401, 1000)


def test_user_and_account_are_returned(api: Api) -> None:
    api.sandbox.add_token("person", {"User Details Read", "Memberships Read"})
    assert api.get("/user", token="person").result["email"] == "ci@example.com"
    assert [account["id"] for account in api.get("/accounts").result] == [api.sandbox.account_id]
    assert api.get("/memberships", token="person").result[0]["account"]["id"] == api.sandbox.account_id


def test_token_of_a_job_reads_no_user(api: Api) -> None:
    assert api.get("/user").error == (403, 9109)
    assert api.get("/memberships").error == (403, 10000)

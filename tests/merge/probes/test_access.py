"""Probes of a service behind Cloudflare Access, with a service token. Not for FortuneT.

developers.cloudflare.com/cloudflare-one/identity/service-tokens
"""

from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest

from sandbox.cloudflare.access.state import ServiceToken
from tests.conftest import Outcome, World
from tests.support import shop
from tests.support.commands import ended
from tests.support.shop import Shop

HOST = "web.shop.example"
HEADERS = "request_headers: {CF-Access-Client-Id: ACCESS_ID, CF-Access-Client-Secret: ACCESS_SECRET}"


@dataclass(frozen=True)
class ProtectedShop:
    shop: Shop
    token: ServiceToken

    def rollback(self, **given: str) -> Outcome:
        sent = {"ACCESS_ID": self.token.client_id, "ACCESS_SECRET": self.token.client_secret, **given}
        command = ("rollback-worker", "--service", "web", "--environment", "live", "--json", "--yes")
        return self.shop.ops(*command, **sent)


@pytest.fixture
def protected(world: World) -> ProtectedShop:
    opened = shop.open_shop(world)
    world.edit_config("path: /cart, status: 200", f"path: /cart, status: 200, {HEADERS}")
    world.sandbox.switches.propagation_seconds = 0
    world.sandbox.account.access.hosts.add(HOST)
    return ProtectedShop(opened, world.sandbox.account.access.add_token("probes"))


def test_service_token_lets_probes_through_and_is_shown_nowhere(protected: ProtectedShop) -> None:
    outcomes = [protected.rollback() for _ in range(3)]

    assert [ended(each)[1] for each in outcomes] == ["recovered", "nothing_to_do", "nothing_to_do"]
    files = [path.read_text() for path in (protected.shop.folder / ".ops").rglob("*") if path.is_file()]
    shown = [*files, *(text for each in outcomes for text in (each.out, each.err))]
    assert [text for text in shown if protected.token.client_secret in text or protected.token.client_id in text] == []


@pytest.mark.parametrize("refuses", [False, True], ids=["login", "refusal"])
@pytest.mark.parametrize("trouble", ["expired", "another secret"])
def test_service_token_that_access_rejects_is_no_evidence(
    protected: ProtectedShop, trouble: str, refuses: bool
) -> None:
    sandbox = protected.shop.world.sandbox
    sandbox.switches.edge_access_refuses = refuses
    if trouble == "expired":
        sandbox.clock.advance(timedelta(hours=8760).total_seconds())
    given = {"ACCESS_SECRET": "another"} if trouble == "another secret" else {}

    outcome = protected.rollback(**given)

    assert ended(outcome)[:2] == (8, "no_evidence"), outcome.err
    assert "service token" in outcome.result["hint"]
    assert protected.shop.live == {protected.shop.good: 100}


def test_probe_may_want_the_refusal_of_access(protected: ProtectedShop) -> None:
    """It shows that the service is still protected."""
    protected.shop.world.edit_config(
        f"path: /cart, status: 200, {HEADERS}, version: version", "path: /cart, status: 403"
    )
    protected.shop.world.edit_config("deadline: 1s", "deadline: 1m")
    protected.shop.world.sandbox.switches.edge_access_refuses = True

    outcomes = [protected.rollback() for _ in range(2)]

    assert [ended(each)[:2] for each in outcomes] == [(0, "healthy_as_before"), (0, "nothing_to_do")]


def test_next_press_after_a_refreshed_token_proves_the_recovery(protected: ProtectedShop) -> None:
    stopped = protected.rollback(ACCESS_SECRET="another")
    again = protected.rollback()

    assert [ended(each)[:2] for each in (stopped, again)] == [(8, "no_evidence"), (0, "nothing_to_do")]


@pytest.mark.parametrize("sent", [True, False])
def test_sandbox_admits_only_a_valid_token(world: World, protected: ProtectedShop, sent: bool) -> None:
    token = protected.token
    given = {"CF-Access-Client-Id": token.client_id, "CF-Access-Client-Secret": token.client_secret} if sent else {}

    answer = httpx.get(f"{world.sandbox.edge_url}/cart", headers={"host": HOST, **given})

    is_login = "cloudflareaccess.com" in answer.headers.get("location", "")
    assert (answer.status_code, is_login) == ((500, False) if sent else (302, True))

"""Lists of accounts, Workers, bindings, Pages projects, databases and namespaces."""

from collections.abc import Iterator

import pytest

from ops.cloudflare.client import CloudflareClient
from ops.cloudflare.d1 import D1Api
from ops.cloudflare.kv import KvApi
from ops.cloudflare.pages import PagesApi
from ops.cloudflare.response import MalformedCloudflareResponse
from ops.cloudflare.tokens import AccountsApi
from ops.cloudflare.types.inventory import ListedWorker, NamedResource, WorkerBinding
from ops.cloudflare.workers import WorkersApi
from sandbox import Sandbox
from tests.conftest import ACCOUNT

OTHER = "4c" * 16


@pytest.fixture
def other(sandbox: Sandbox) -> Iterator[Sandbox]:
    with Sandbox(account_id=OTHER) as other:
        sandbox.add_account(other)
        yield other


@pytest.mark.slow
def test_accounts_of_one_token_are_listed(client: CloudflareClient, other: Sandbox) -> None:
    other.rename_account("Shop EU")

    assert AccountsApi(client).list_accounts() == (NamedResource(ACCOUNT, "Sandbox"), NamedResource(OTHER, "Shop EU"))


def test_second_account_has_its_own_resources(client: CloudflareClient, sandbox: Sandbox, other: Sandbox) -> None:
    sandbox.upload("shop-web")
    other.upload("shop-eu")

    assert [each.name for each in WorkersApi(client, ACCOUNT).list_workers()] == ["shop-web"]
    assert [each.name for each in WorkersApi(client, OTHER).list_workers()] == ["shop-eu"]


@pytest.mark.parametrize("listed", [True, False])
def test_workers_are_listed_with_assets_and_routes(client: CloudflareClient, sandbox: Sandbox, listed: bool) -> None:
    sandbox.switches.has_assets_listed = listed
    sandbox.upload("shop-web", assets=True)
    sandbox.upload("shop-api")
    sandbox.zones.add_route(sandbox.zones.all[sandbox.zones.add("shop.example")], "shop.example/*", "shop-web")

    assert WorkersApi(client, ACCOUNT).list_workers() == (
        ListedWorker("shop-web", True if listed else None, ("shop.example/*",) if listed else None),
        ListedWorker("shop-api", False if listed else None, () if listed else None),
    )


def test_bindings_have_no_values(client: CloudflareClient, sandbox: Sandbox) -> None:
    bound = [
        {"type": "d1", "name": "DB", "id": "11111111-2222-4333-8444-555555555555"},
        {"type": "durable_object_namespace", "name": "ROOM", "class_name": "Room", "script_name": "rooms"},
        {"type": "kv_namespace", "name": "CACHE", "namespace_id": "ab" * 16},
    ]
    sandbox.upload("shop-web", bindings=bound, secrets={"API_KEY": "hidden"}, vars={"MODE": "live"})

    assert set(WorkersApi(client, ACCOUNT).list_bindings("shop-web")) == {
        WorkerBinding("d1", "DB", "11111111-2222-4333-8444-555555555555"),
        WorkerBinding("durable_object_namespace", "ROOM", "Room", "rooms"),
        WorkerBinding("kv_namespace", "CACHE", "ab" * 16),
        WorkerBinding("secret_text", "API_KEY"),
        WorkerBinding("plain_text", "MODE"),
        WorkerBinding("version_metadata", "CF_VERSION_METADATA"),
    }


def test_every_page_of_a_list_is_read(client: CloudflareClient, sandbox: Sandbox) -> None:
    for number in range(120):
        sandbox.pages.add_project(f"site-{number}")
        sandbox.d1.add(f"data-{number}")
        sandbox.kv.add(f"{number:032x}")

    assert [each.name for each in PagesApi(client, ACCOUNT).list_projects()] == [f"site-{n}" for n in range(120)]
    assert [each.name for each in D1Api(client, ACCOUNT).list_databases()] == [f"data-{n}" for n in range(120)]
    assert [each.id for each in KvApi(client, ACCOUNT).list_namespaces()] == [f"{n:032x}" for n in range(120)]


@pytest.mark.sampled
@pytest.mark.parametrize("result", ['[{"id": "no-id", "name": "x"}]', '{"id": 1}', "[1]"])
def test_malformed_list_is_an_error(client: CloudflareClient, sandbox: Sandbox, result: str) -> None:
    body = f'{{"success": true, "errors": [], "messages": [], "result": {result}}}'
    sandbox.fault(path="/accounts", times=None, body=body, content_type="application/json")

    with pytest.raises(MalformedCloudflareResponse, match="accounts"):
        AccountsApi(client).list_accounts()

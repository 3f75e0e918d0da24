"""Cloudflare routes used by the public commands, validated with the official Python SDK."""

import re
from collections.abc import Iterator
from datetime import timedelta
from itertools import chain
from typing import Literal

import httpx
import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter

from ops.cloudflare.client import DECLARED_READS, CloudflareClient
from ops.cloudflare.d1 import D1Api
from ops.cloudflare.r2 import R2Api
from ops.cloudflare.tokens import SERVICE_TOKENS_PERMISSION, list_service_tokens
from ops.cloudflare.types.d1 import SqlStatement
from ops.core.clock import SandboxClock
from ops.core.redaction import Secret
from sandbox.cloudflare.pages.state import git_source
from tests.conftest import ACCOUNT, SITE, WORKER, Incident, World
from tests.evidence.test_evidence import ALL, collect, recorded
from tests.support import limits, offline, switches
from tests.support.adoption import ACTIONS, EVERY_READ
from tests.support.claims import case_world, run
from tests.support.scenarios import all_cases, cases
from tests.support.sdk import (
    EXCUSED,
    MODELS,
    WITHOUT_MODEL,
    Exchange,
    Recording,
    fill,
    problems,
    readable,
    unfit,
)

__all__ = ["recorded"]


@pytest.fixture
def sandbox() -> Iterator[Recording]:
    with Recording(account_id=ACCOUNT, virtual_clock=True) as running:
        yield running


DATABASE = "11111111-2222-4333-8444-555555555555"
ASKED = (f"scripts/{WORKER}/content/v2", f"workers/{WORKER}")
"""Paths that only the client's methods or wrangler read, and no command."""


def evidence(recorded: Incident) -> Iterator[World]:
    """Collect evidence with a user token and with an account token."""
    recorded.world.sandbox.add_token("of-the-account", ALL, owner="account")
    for token in ("sandbox-collecting", "of-the-account"):
        assert collect(recorded, CLOUDFLARE_API_TOKEN=token).code in {0, 4}
    yield recorded.world


def runbooks() -> Iterator[World]:
    """Run each runbook in a separate world."""
    for case in all_cases():
        with case_world(case, Recording) as world:
            outcome = run(world, case).outcome
            assert outcome.code == 0, outcome.err
            yield world


def site_from_git() -> Iterator[World]:
    """Roll back a site that Cloudflare builds from Git."""
    case, *_ = cases("rollback-pages")
    with case_world(case, Recording) as world:
        world.sandbox.pages.projects[SITE].source = git_source("acme/site", "main")
        assert run(world, case).outcome.code == 0
        yield world


def offline_and_back() -> Iterator[World]:
    """Close and reopen all ingress paths of a Worker with several types of bindings."""
    bound = [
        {"type": "d1", "name": "DB", "id": DATABASE},
        {"type": "durable_object_namespace", "name": "ROOM", "class_name": "Room"},
        {"type": "kv_namespace", "name": "CACHE", "namespace_id": switches.NAMESPACE},
    ]
    with case_world(None, Recording) as world, offline.prepared(world) as place:
        sandbox = world.sandbox
        sandbox.kv.add(switches.NAMESPACE)
        world.release(timedelta(0), code="bound", bindings=bound, durable_objects=["Room"], secrets={"KEY": "1"})
        for arguments in (["--path", "/api/ai"], []):
            assert place.on(*arguments).code == place.off(*arguments).code == 0
        token = {"Authorization": f"Bearer {sandbox.environ()['CLOUDFLARE_API_TOKEN']}"}
        for path in ASKED:
            httpx.get(f"{sandbox.api_url}/accounts/{ACCOUNT}/workers/{path}", headers=token).raise_for_status()
        yield world


def limits_and_status() -> Iterator[World]:
    with case_world(None, Recording) as world:
        assert limits.limits_world(world).apply().code == 0
        where = ["--environment", "production", "--config", str(world.config)]
        assert world.ops("status", *where).code == 4  # the site of ops.yml is not there
        yield world


def adoption() -> Iterator[World]:
    """Describe an application in a new operations repository, and check it with a user token and an account token."""
    with case_world(None, Recording) as world:
        sandbox = world.sandbox
        sandbox.d1.add("shop")
        sandbox.kv.add(switches.NAMESPACE)
        sandbox.zones.add("shop.example")
        world.release(timedelta(hours=2))
        world.site(timedelta(hours=2), "home")
        sandbox.set_subdomain(WORKER, enabled=True)
        sandbox.add_token("reader", EVERY_READ)
        arguments = ["init", str(world.folder / "operations"), "--actions", ACTIONS]
        assert world.ops(*arguments, CLOUDFLARE_API_TOKEN="reader", CLOUDFLARE_ACCOUNT_ID=None).code == 0
        where = ["--config", str(world.folder / "operations" / "ops.yml")]
        sandbox.add_token("of-the-user", {*EVERY_READ, "API Tokens Read"})
        sandbox.add_token("of-the-account", {*EVERY_READ, "Account API Tokens Read"}, owner="account")
        for token in ("of-the-user", "of-the-account"):
            assert world.ops("doctor", *where, CLOUDFLARE_API_TOKEN=token).code == 2
        yield world


def databases() -> Iterator[World]:
    """Query a database, and restore it."""
    with case_world(None, Recording) as world:
        sandbox = world.sandbox
        database = sandbox.d1.add("bakery", DATABASE)
        clock = SandboxClock(sandbox.clock_url)
        client = CloudflareClient(sandbox.api_url, Secret(sandbox.token), token_name="TOKEN", clock=clock)
        d1 = D1Api(client, ACCOUNT)
        empty = d1.read_bookmark(database)
        with client.writing():
            d1.run_batch(database, [SqlStatement("CREATE TABLE loaves (flour TEXT)")])
            d1.restore(database, empty)
        assert d1.query(database, [SqlStatement("PRAGMA table_list")])[0].rows
        assert d1.read_database(database).name == "bakery"
        client.close()
        yield world


def buckets() -> Iterator[World]:
    """Write an object of a bucket, and read its list and domains."""
    with case_world(None, Recording) as world:
        sandbox = world.sandbox
        sandbox.add_token("rows", ["Workers R2 Storage Write"])
        sandbox.account.r2.add("rows").domains["rows.shop.example"] = True
        clock = SandboxClock(sandbox.clock_url)
        client = CloudflareClient(sandbox.api_url, Secret("rows"), token_name="TOKEN", clock=clock)
        bucket = R2Api(client, ACCOUNT, "rows", "default")
        with client.writing():
            bucket.put_object("a.sql", b"rows")
        assert bucket.has_object("a.sql", b"rows")
        assert bucket.list_public_domains() == ("rows.shop.example",)
        client.close()
        yield world


def service_tokens() -> Iterator[World]:
    """List the service tokens of Access."""
    with case_world(None, Recording) as world:
        sandbox = world.sandbox
        sandbox.add_token("reader", [SERVICE_TOKENS_PERMISSION])
        made = sandbox.account.access.add_token("probes")
        clock = SandboxClock(sandbox.clock_url)
        client = CloudflareClient(sandbox.api_url, Secret("reader"), token_name="TOKEN", clock=clock)
        assert [each.client_id for each in list_service_tokens(client, ACCOUNT)] == [made.client_id]
        client.close()
        yield world


def test_responses_match_official_sdk_models(recorded: Incident) -> None:
    used_by_commands = chain(runbooks(), site_from_git(), offline_and_back(), limits_and_status(), adoption())
    worlds = chain(evidence(recorded), used_by_commands, databases(), buckets(), service_tokens())
    seen = [exchange for world in worlds for exchange in exchanges(world)]
    used = {each.route for each in seen}
    told = {(each.route, problem) for each in seen if each.route in MODELS for problem in problems(each)}
    excuses = {excuse for excuse in EXCUSED for _, problem in told if re.fullmatch(excuse, problem)}

    assert readable() - used == set(), "no command reads these"
    known = MODELS.keys() | WITHOUT_MODEL.keys()
    assert known - used == set(), "no command sends these"
    assert {route for route in used - known if route.startswith("GET ") or route in readable()} == set()
    assert [each for each in sorted(told) if not any(re.fullmatch(excuse, each[1]) for excuse in EXCUSED)] == []
    assert EXCUSED.keys() - excuses == set(), "these excuse nothing any more"


@pytest.mark.slow
def test_declared_reads_match_known_routes() -> None:
    """A read without a route would not be checked above."""
    paths = [(name.partition(" ")[0], fill(name.partition(" ")[2])) for name in readable()]
    for (method, template), pattern in DECLARED_READS.items():
        assert any(verb == method and pattern.fullmatch(path) for verb, path in paths), template


class Row(BaseModel):
    model_config = ConfigDict(extra="allow")
    id: str
    kind: Literal["a", "b"] | None = None
    rows: list["Row"] = []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"id": "1", "kind": "a", "rows": [{"id": "2"}]}', []),
        ('{"rows": []}', ["id: Field required"]),
        ('{"id": 1}', ["id: Input should be a valid string"]),
        ('{"id": null}', ["id: null"]),
        ('{"id": "1", "kind": "c"}', ["kind: Input should be 'a' or 'b'"]),
        ('{"id": "1", "rows": [{"id": "2", "more": 1}]}', ["Row.more: not in the model"]),
    ],
)
def test_model_mismatch_is_named(text: str, said: list[str]) -> None:
    assert list(unfit(TypeAdapter(Row), text)) == said


def exchanges(world: World) -> list[Exchange]:
    assert isinstance(world.sandbox, Recording)
    return world.sandbox.exchanges

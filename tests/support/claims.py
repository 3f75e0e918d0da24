"""Every runbook in a small world where it has something to do, and what a run claims held against what took effect.

The sandbox keeps of each request what became of it before any fault spoiled the answer (`Record.effect`). People act on
the sandbox itself, so that whatever stands among its requests is the run's own.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sandbox import Sandbox
from sandbox.records import Record
from tests.conftest import ACCOUNT, ROOT, SITE, WORKER, Outcome, World
from tests.support import limits, offline, switches
from tests.support.site_repository import BUILD, repository

READ_BY_POST = ("/bulk/get", "/observability/telemetry/query", "/graphql")
TOKEN = "all-rights"
RIGHTS = (
    *("Workers Scripts Write", "Pages Write", "Workers Routes Write", "Zone Read"),
    "Workers KV Storage Write",
)
LEAKED, FRESH = "gsk-leaked-0123456789", "gsk-fresh-0123456789"
ROTATING = {"NEW_GROQ_API_KEY": FRESH, "OLD_GROQ_API_KEY": LEAKED, "GH_SECRETS_TOKEN": "ghs_rotator"}
ADMIN = "admin-0123456789"
WELL = {"recovered", "healthy_as_before", "nothing_to_do"}


@dataclass(frozen=True)
class Scenario:
    """`strangers` are changes by people, at any moment; `reached` tells whether the world is as the run wants it."""

    arguments: tuple[str, ...]
    prepare: Callable[[World], None]
    reached: Callable[[World], bool]
    strangers: tuple[Callable[[World], object], ...]
    writes: tuple[tuple[str, str], ...] = (("cloudflare", "POST"),)
    """Part and method of its writes."""
    environ: Mapping[str, str] = field(default_factory=dict)
    is_slow: bool = False
    """It builds something, which takes seconds."""
    counts: Callable[[Record], bool] = lambda _: True
    """Whether a write of this kind is a change of the plan, and not a part of one."""


def _hotfix(world: World) -> None:
    by = "dana@example.com"
    world.sandbox.deploy(WORKER, world.sandbox.upload(WORKER, code="hotfix", author=by), author=by)


def _secret(world: World) -> None:
    world.sandbox.put_secret(WORKER, "OTHER", "new", author="dana@example.com")


def _worker(world: World) -> None:
    world.release(timedelta(hours=2), code="good", tag="good")
    world.release(timedelta(minutes=10), code="bad", tag="bad", behaviour={"status": 500})


def _serves_good(world: World) -> bool:
    worker = world.sandbox._account.workers[WORKER]
    (version,) = worker.live
    return worker.versions[version].upload.modules[0].content == b"good"


def _site(world: World) -> None:
    world.edit_config("content-type: text/html\n", "content-type: text/html\n              body: good\n")
    world.site(timedelta(hours=2), "good", commit="a" * 40)
    world.site(timedelta(minutes=10), "bad", commit="b" * 40)


def _site_is_good(world: World) -> bool:
    live = world.sandbox.pages.projects[SITE].live
    return live is not None and live.commit_hash == "a" * 40


def _leaked(world: World) -> None:
    groq = world.sandbox.providers["groq"]
    groq.add_key(FRESH)
    works = {"paths": {"/health/ai/groq": {"upstream": {"provider": "groq", "secret": "GROQ_API_KEY"}}}}
    secrets = {"GROQ_API_KEY": LEAKED, "OTHER": "kept"}
    world.release(timedelta(hours=3), code="good", behaviour=works, secrets=secrets)
    world.edit_config("fortunet/fortunet", world.sandbox.github.repository)
    world.sandbox.github.add_environment("production")
    world.sandbox.github.add_user("rotator[bot]", "admin", "Bot")
    world.sandbox.github.add_token("ghs_rotator", "rotator[bot]", ["environments:write"])


def _has_fresh_key(world: World) -> bool:
    (version,) = world.sandbox.live(WORKER)
    copy = world.sandbox.github.secrets("production").get("GROQ_API_KEY")
    return world.sandbox.deployments(WORKER)[0].secrets[version]["GROQ_API_KEY"] == FRESH == copy


def _leaked_beside_an_upload(world: World) -> None:
    """Cloudflare edits secrets of the latest upload alone, so that the version which serves is rebuilt."""
    _leaked(world)
    world.sandbox.upload(WORKER, code="bad")


def _rotated(world: World) -> None:
    _leaked(world)
    world.sandbox.put_secret(WORKER, "GROQ_API_KEY", FRESH)


def _is_marked_as_revoked(world: World) -> bool:
    return " revoked=" in world.sandbox.deployments(WORKER)[0].annotations.get("workers/message", "")


def _stuck(world: World) -> None:
    admin = {"ADMIN_TOKEN": ADMIN}
    objects: dict[str, Any] = {"objects": {"ai-mutex": {}}}
    world.release(timedelta(hours=2), code="good", secrets=admin, durable_objects=["AiMutexDO"], behaviour=objects)


def _is_reset(world: World) -> bool:
    message = world.sandbox.deployments(WORKER)[0].annotations.get("workers/message", "")
    return " reset=" in message


def _switched(world: World) -> None:
    place = switches.prepared(world)
    place.put("ai", state="groq", incident=42)
    world.sandbox.clock.advance(60)  # a key takes one write a second


def _state(world: World, name: str) -> str:
    text = world.sandbox.kv.get(switches.NAMESPACE, f"ops/switch/{name}")
    return str(json.loads(text)["state"]) if text else ""


def _set(name: str, world: World) -> None:
    switches.Switches(world).put(name, state="groq" if name == "ai" else "on", owner="dana")


def _routed(world: World) -> None:
    world.release(timedelta(hours=2), code="good")
    sandbox = world.sandbox
    zone = sandbox.zones.all[sandbox.zones.add("fortunet.example")]
    sandbox.zones.add_route(zone, "api.fortunet.example/*", WORKER)
    sandbox.zones.add_route(zone, "api.fortunet.example/old/*", WORKER)
    sandbox.deploy(offline.OFFICE, sandbox.upload(offline.OFFICE, vars={"RUN": "prepared"}))


def _is_off(world: World) -> bool:
    (zone,) = world.sandbox.zones.all.values()
    return {route.script for route in zone.routes.values()} == {offline.OFFICE}


def _off(world: World) -> None:
    _routed(world)
    assert run(world, "maintenance").outcome.code == 0


def _is_open(world: World) -> bool:
    (zone,) = world.sandbox.zones.all.values()
    return {route.script for route in zone.routes.values()} == {WORKER}


def _path_is_off(world: World) -> bool:
    (zone,) = world.sandbox.zones.all.values()
    return "api.fortunet.example/api/ai*" in {r.pattern for r in zone.routes.values() if r.script == offline.OFFICE}


def _reroute(world: World) -> None:
    (zone,) = world.sandbox.zones.all.values()
    first = next(iter(zone.routes.values()))
    zone.routes[first.id] = replace(first, script=None)


def _limited(world: World) -> None:
    place = limits.place(world)
    place.github.switches.actions_may_create_pull_requests = True


def _is_proposed(world: World) -> bool:
    return any(issue.pull and issue.state == "open" for issue in world.sandbox.github._repository.threads.values())


def _merge(world: World) -> None:
    world.sandbox.github.add_commit("Limits", "alice", files={"limits.yml": limits.changed(45)})


def _committed(world: World) -> None:
    """A good commit that was never deployed, before the bad one that serves."""
    world.edit_config("content-type: text/html\n", "content-type: text/html\n              body: good\n")
    found = repository(world)
    found.commit("good", page_html="<h1>good</h1>", build_sh=BUILD)
    world.site(timedelta(minutes=10), "bad", commit=found.commit("bad", page_html="<h1>bad</h1>"))


def _shows_good(world: World) -> bool:
    live = world.sandbox.pages.projects[SITE].live
    return live is not None and b"good" in live.files["/index.html"].content


SCENARIOS: dict[str, Scenario] = {
    "rollback-worker": Scenario(("--service", "api"), _worker, _serves_good, (_hotfix, _secret)),
    "rollback-worker, with the current secrets": Scenario(
        ("--service", "api", "--current-secrets"), _worker, _serves_good, (_hotfix, _secret)
    ),
    "rollback-pages": Scenario(
        ("--service", "frontend"),
        _site,
        _site_is_good,
        (lambda world: world.site(timedelta(0), "hotfix", commit="c" * 40),),
    ),
    "rotate-secrets": Scenario(
        ("--service", "api", "--only", "GROQ_API_KEY"),
        _leaked,
        _has_fresh_key,
        (_hotfix, _secret),
        (("cloudflare", "PATCH"), ("github", "PUT")),
        ROTATING,
    ),
    "rotate-secrets, by a rebuild": Scenario(
        ("--service", "api", "--only", "GROQ_API_KEY", "--inherit-latest", "OTHER"),
        _leaked_beside_an_upload,
        _has_fresh_key,
        (_hotfix,),
        environ=ROTATING,
    ),
    "rotate-secrets, its end": Scenario(
        ("--service", "api", "--confirm-revoked", "GROQ_API_KEY"),
        _rotated,
        _is_marked_as_revoked,
        (_hotfix, _secret),
        environ=ROTATING,
    ),
    "maintenance": Scenario(
        ("--service", "api", "--state", "on"),
        _routed,
        _is_off,
        (_hotfix, _reroute),
        (("cloudflare", "POST"), ("cloudflare", "PUT")),
    ),
    "maintenance, a path": Scenario(
        ("--service", "api", "--state", "on", "--path", "/api/ai"), _routed, _path_is_off, (_hotfix, _reroute)
    ),
    "maintenance, off": Scenario(
        ("--service", "api", "--state", "off"),
        _off,
        _is_open,
        (_hotfix, _reroute),
        (("cloudflare", "POST"), ("cloudflare", "PUT")),
    ),
    "feature": Scenario(
        ("--name", "session-do", "--state", "off"),
        _switched,
        lambda world: _state(world, "session-do") == "off",
        (partial(_set, "session-do"),),
        (("cloudflare", "PUT"),),
    ),
    "ai-failover": Scenario(
        ("--to", "cerebras"),
        _switched,
        lambda world: _state(world, "ai") == "cerebras",
        (partial(_set, "ai"),),
        (("cloudflare", "PUT"),),
    ),
    "all-clear": Scenario(
        ("--incident", "42"),
        _switched,
        lambda world: _state(world, "ai") == "auto",
        (partial(_set, "ai"),),
        (("cloudflare", "PUT"),),
    ),
    "reset-durable-object": Scenario(
        ("--service", "api"), _stuck, _is_reset, (_hotfix, _secret), environ={"FORTUNET_ADMIN_TOKEN": ADMIN}
    ),
    "redeploy-pages": Scenario(
        ("--service", "frontend"),
        _committed,
        _shows_good,
        (lambda world: world.site(timedelta(0), "hotfix", commit="c" * 40),),
        is_slow=True,
        counts=lambda each: each.path.endswith("/deployments"),
    ),
    "propose-limits": Scenario((), _limited, _is_proposed, (_merge,), (("github", "POST"), ("github", "PUT"))),
}


@contextmanager
def a_world(scenario: Scenario, kind: type[Sandbox] = Sandbox) -> Iterator[World]:
    with kind(account_id=ACCOUNT, virtual_clock=True) as sandbox, TemporaryDirectory() as folder:
        config = (ROOT / "ops.yml").read_text().replace("deadline: 2m", "deadline: 10s")
        (Path(folder) / "ops.yml").write_text(config)
        world = World(sandbox, Path(folder))
        sandbox.add_token(TOKEN, RIGHTS)
        scenario.prepare(world)
        yield world


@dataclass(frozen=True)
class Ran:
    outcome: Outcome
    effects: list[Record]
    """The run's own writes that took effect."""


def runbook_of(name: str) -> str:
    """What stands behind the comma is another way of the same runbook."""
    return name.partition(",")[0]


def run(world: World, name: str, *, journal: bool = False) -> Ran:
    """`journal`: with a GITHUB_TOKEN, so that the run is published on an incident."""
    sandbox, scenario = world.sandbox, SCENARIOS[name]
    before = len(sandbox.requests), len(sandbox.github.requests)
    where = ["--environment", "production", "--config", str(world.config), "--yes", "--json"]
    given = {**scenario.environ, "CLOUDFLARE_API_TOKEN": TOKEN, "OPS_SOURCE": str(world.folder / "app")}
    github = sandbox.github.environ()
    if name != "propose-limits" and not journal:
        github |= {"GITHUB_TOKEN": ""}
    outcome = world.ops(runbook_of(name), *scenario.arguments, *where, **{**github, **given})
    sent = [*sandbox.requests[before[0] :], *sandbox.github.requests[before[1] :]]
    writes = [each for each in sent if each.method != "GET" and not each.path.endswith(READ_BY_POST)]
    writes = [each for each in writes if "/issues" not in each.path]  # the journal of the run
    return Ran(
        outcome, [each for each in writes if each.effect is not None and each.effect < 300 and scenario.counts(each)]
    )


def assert_claims_hold(ran: Ran) -> dict[str, Any]:
    """What the result says of the changes is what took effect; the result."""
    outcome = ran.outcome
    assert outcome.code not in {1, 2}, outcome.err
    assert "Traceback" not in outcome.err + outcome.out
    result = outcome.result
    told = result["outcome"]
    said = f"{result['message']} {result['hint']}".lower()
    made = {(each.method, each.path) for each in ran.effects}
    story = f"{result['decision']} {result['reason']}: {result['message']}; {told}; took effect: {sorted(made)}"
    certain = len(told["changed"]) + len(told["replaced"])
    assert certain <= len(made) <= certain + len(told["unknown"]), story
    assert not made or result["wrote"] or told["unknown"], story
    assert made or not result["wrote"] or told["unknown"], story
    assert not ("nothing was changed" in said and made), story
    if result["decision"] in WELL:
        assert told["unknown"] == told["replaced"] == told["not_changed"] == [], story
    return result

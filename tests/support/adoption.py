"""Applications of teams that adopt Backout, in sandboxes: a shop, a blog, a game in two accounts, a tram in three."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sandbox import Sandbox
from tests.conftest import Outcome, World

ACTIONS = f"acme/backout@{'5ea1' * 10}"
"""Release of Backout that the teams use."""
READER = "reads-only"
EVERY_READ = (
    *("Workers Scripts Read", "Workers Routes Read", "Workers KV Storage Read", "D1 Read", "Pages Read", "Zone Read"),
    "Account Settings Read",
)
SHOP, BLOG, GAME, GAME_STAGING = "1a" * 16, "2b" * 16, "3c" * 16, "4d" * 16
TRAM, TRAM_REHEARSAL, TRAM_LABS = "6a" * 16, "7b" * 16, "8c" * 16
NAMESPACE = "5e" * 16


@dataclass(frozen=True)
class Team:
    """A team with an application in the sandbox, and a folder for its operations repository."""

    world: World

    @property
    def folder(self) -> Path:
        return self.world.folder / "operations"

    @property
    def config(self) -> Path:
        return self.folder / "ops.yml"

    def init(self, *arguments: str, **environ: str | None) -> Outcome:
        """Run `ops init` with a token that can only read."""
        given = {"CLOUDFLARE_API_TOKEN": READER, "CLOUDFLARE_ACCOUNT_ID": None, **environ}
        return self.world.ops("init", str(self.folder), "--actions", ACTIONS, *arguments, **given)

    def ops(self, *arguments: str, **environ: str | None) -> Outcome:
        return self.world.ops(*arguments, "--config", str(self.config), **environ)

    def files(self) -> dict[str, str]:
        """Return path → text of each file in the folder."""
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.read_text() for path in found}


@contextmanager
def team(account: str, folder: Path) -> Iterator[Team]:
    with Sandbox(account_id=account, virtual_clock=True) as sandbox:
        sandbox.add_token(READER, EVERY_READ)
        yield Team(World(sandbox, folder))


def releases(sandbox: Sandbox, worker: str, **upload: object) -> None:
    """Release two good versions."""
    for hours in (30, 5):
        release(sandbox, worker, timedelta(hours=hours), code=f"release {hours} h ago", **upload)


def release(sandbox: Sandbox, worker: str, ago: timedelta, **upload: object) -> str:
    """Upload a version and give it all traffic `ago`; return its ID."""
    at = sandbox.clock.now() - ago
    version = sandbox.upload(worker, at=at, **upload)  # type: ignore[arg-type]
    sandbox.deploy(worker, version, at=at)
    return version


def build_shop(sandbox: Sandbox) -> None:
    """Two Workers: one with assets on a custom domain, one behind a route of a path; and a third that is not public."""
    zone = sandbox.zones.all[sandbox.zones.add("shopdesk.example")]
    bound = [{"type": "kv_namespace", "name": "CARTS", "namespace_id": NAMESPACE}]
    sandbox.kv.add(NAMESPACE)
    releases(sandbox, "shop-web", assets=True, secrets={"STRIPE_KEY": "1"}, bindings=bound)
    releases(sandbox, "shop-api", behaviour={"status": 200})
    release(sandbox, "shop-mailer", timedelta(hours=5))
    sandbox.zones.add_domain(zone, "www.shopdesk.example", "shop-web")
    sandbox.zones.add_route(zone, "shopdesk.example/api/*", "shop-api")
    sandbox.set_subdomain("shop-mailer", enabled=False)


def build_blog(sandbox: Sandbox) -> None:
    """A Pages site with two deployments, and a feed in each."""
    sandbox.pages.add_project("notes", domains=["notes.example"])
    now = sandbox.clock.now()
    for hours, text in ((30, b"<h1>First</h1>"), (2, b"<h1>Second</h1>")):
        sandbox.pages.add_deployment(
            "notes", files={"index.html": text, "feed.xml": b"<rss>" + text}, at=now - timedelta(hours=hours)
        )


def build_game(sandbox: Sandbox) -> None:
    """A Worker with Durable Objects, on workers.dev."""
    rooms = [{"type": "durable_object_namespace", "name": "ROOM", "class_name": "Room", "namespace_id": "1"}]
    releases(sandbox, "game", behaviour={"status": 200}, durable_objects=["Room"], bindings=rooms)
    sandbox.set_subdomain("game", enabled=True)


def build_tram(sandbox: Sandbox) -> None:
    """A site, a Worker with a database, one with static assets alone, and one that only a cron trigger runs."""
    zone = sandbox.zones.all[sandbox.zones.add("tram.example")]
    database = sandbox.d1.add("Rides_v2")
    bound = [{"type": "d1", "name": "DB", "id": database}]
    releases(sandbox, "rides", behaviour={"status": 200}, bindings=bound)
    releases(sandbox, "map", assets=True, behaviour={"status": 200, "body": "<h1>Map", "content_type": "text/html"})
    releases(sandbox, "nightly", behaviour={"status": 200})
    sandbox.account.workers["nightly"].schedules = [{"cron": "0 3 * * *"}]
    sandbox.set_subdomain("nightly", enabled=False)
    sandbox.zones.add_domain(zone, "rides.tram.example", "rides")
    sandbox.zones.add_domain(zone, "map.tram.example", "map")
    build_blog(sandbox)


def build_tram_labs(sandbox: Sandbox) -> None:
    """A Worker on workers.dev with a database."""
    bound = [{"type": "d1", "name": "DB", "id": sandbox.d1.add("sensors")}]
    releases(sandbox, "sensors", behaviour={"status": 200}, bindings=bound)
    sandbox.set_subdomain("sensors", enabled=True)

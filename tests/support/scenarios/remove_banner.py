"""A banner of an incident that is publicly resolved."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from ops.core.public_update import PublicState, PublicUpdate
from ops.core.run_record import RunRecord, embed_record
from ops.github.comments import BOT
from tests.conftest import World
from tests.support import switches
from tests.support.scenarios import Given, Scenario, state_of
from tests.support.switches import DECLARED

BANNER = {"normal": "off", "on_unknown": "off"}
STATES = '{states: ["off", investigating, identified, in-progress], longest: 2h}'
SESSIONS = "        session-do:\n          states"


def declare_banner(world: World) -> None:
    """Give the application and ops.yml of production the switch."""
    config = world.config.read_text()
    world.config.write_text(config.replace(SESSIONS, f"        banner: {STATES}\n{SESSIONS}", 1))
    switches.deploy(world, {**DECLARED, "switches": {**DECLARED["switches"], "banner": BANNER}})


def publish(world: World, incident: int, state: str, at: datetime | None = None) -> None:
    """Record a public update on the incident, as the bot does."""
    hub = world.sandbox.github
    run = hub.add_run("publish-update.yml", conclusion="success")
    moment = at or world.sandbox.clock.now().replace(microsecond=0)
    written = PublicUpdate(f"{run:012x}"[-12:], f"{incident:012x}", PublicState(state), (), "An update.", moment, run)
    hub.comment(
        incident, embed_record("An update.", RunRecord(f"{run}.1-abcd", source="update", update=written.to_json())), BOT
    )


def _prepare(world: World, given: Given) -> None:
    place = switches.prepared(world)
    declare_banner(world)
    hub = world.sandbox.github
    hub.add_user("alice")
    while hub.open_issue("Orders fail", "", ["incident"], "alice") < given.incident:
        pass
    publish(world, given.incident, "resolved")
    ends = world.sandbox.clock.now() + timedelta(hours=1)
    place.put(
        "banner", state="identified", message="Known.", incident=given.incident, until=f"{ends:%Y-%m-%dT%H:%M:%SZ}"
    )
    world.sandbox.clock.advance(60)  # KV accepts one write per key and second


def _environ(world: World) -> Mapping[str, str]:
    """Return the variables of a job, with the token that the test added last."""
    hub = world.sandbox.github
    return {**hub.environ(), "GITHUB_TOKEN": hub.describe()["tokens"][-1]["token"]}


def _set_again(world: World) -> None:
    switches.SwitchWorld(world).put("banner", state="investigating", message="New.", owner="dana", incident=None)


SCENARIOS = {
    "": Scenario(
        _prepare,
        lambda world: state_of(world, "banner") == "off",
        (_set_again,),
        reads_github=True,
        is_like_another=True,
        environ=_environ,
    )
}

"""From an empty folder to a recovered application, for three teams that never saw Backout."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops.tools import own_program
from sandbox import Sandbox
from sandbox.actions import Runner
from tests.conftest import World
from tests.support.actions import conclusions, read_bodies
from tests.support.adoption import (
    ACTIONS,
    BLOG,
    EVERY_READ,
    GAME,
    READER,
    SHOP,
    Team,
    build_blog,
    build_game,
    build_shop,
    release,
)

ADMIN = "ghp_admin"
ACTING = ("Workers Scripts Write", "Workers Routes Write", "Workers KV Storage Write", "Pages Write", "Zone Read")
PLACES = ("--token-location", "the safe", "--contact", "Dana: +44 20 7946 0000", "--owner", "@acme/on-call")
CPU_SECONDS = 30
"""Limit for the whole way from `init` to the recovery. On two idle cores it takes less than 60 s."""
ROLLED_BACK = {"newest-release"}
"""What doctor finds after a rollback of a Worker, until the next release."""


@dataclass(frozen=True)
class Adoption:
    """A team, and the way of its application from healthy to broken."""

    account: str
    build: Callable[[Sandbox], None]
    break_it: Callable[[Sandbox], Callable[[], bool]]
    """Releases something bad. Returns a function that tells whether the good release serves again."""
    label: str = ""
    flags: tuple[str, ...] = ()
    plan: str = "team"
    token: str = "CLOUDFLARE_API_TOKEN"
    environment: str = "production"


def break_worker(sandbox: Sandbox, worker: str) -> Callable[[], bool]:
    good = dict(sandbox.live(worker))
    release(sandbox, worker, timedelta(minutes=1), code="bad", behaviour={"status": 500})
    return lambda: sandbox.live(worker) == good


def break_site(sandbox: Sandbox) -> Callable[[], bool]:
    good = sandbox.pages.live("notes")
    at = sandbox.clock.now() - timedelta(minutes=1)
    sandbox.pages.add_deployment("notes", files={"feed.xml": b"without a home page"}, at=at)
    return lambda: sandbox.pages.live("notes") == good


TEAMS = {
    "shop": Adoption(
        SHOP,
        build_shop,
        lambda sandbox: break_worker(sandbox, "shop-web"),
        flags=("--token-name", "SHOPDESK_CLOUDFLARE_TOKEN"),
        token="SHOPDESK_CLOUDFLARE_TOKEN",
    ),
    "blog": Adoption(BLOG, build_blog, break_site, "recover:notes", plan="free"),
    "game": Adoption(
        GAME,
        build_game,
        lambda sandbox: break_worker(sandbox, "game"),
        "recover:game",
        ("--account", f"live={GAME}"),
        environment="live",
    ),
}


def cpu_seconds() -> float:
    """Return the CPU time of this process and its ended children. The load of the machine hardly changes it."""
    return sum(os.times()[:4])


@contextmanager
def adopted(team: Adoption, folder: Path) -> Iterator[tuple[Team, dict[str, str | None]]]:
    """Set up the operations repository as its first user does. Yields the team and the variables of its laptop."""
    with Sandbox(account_id=team.account, repository="acme/operations") as sandbox:
        hub = sandbox.github
        sandbox.clock.longest_sleep = 0.0  # the watch after the recovery takes half an hour
        hub.switches.plan = team.plan  # type: ignore[assignment]
        hub.add_user("alice", "admin")
        hub.add_token(ADMIN, "alice")
        sandbox.add_token(READER, EVERY_READ)
        acting = sandbox.add_token("acts", ACTING)
        team.build(sandbox)
        found = Team(World(sandbox, folder))
        laptop = {**hub.environ(), "GITHUB_TOKEN": ADMIN, "CLOUDFLARE_API_TOKEN": None, team.token: acting}

        outcome = found.init(*PLACES, *team.flags)
        assert outcome.code == 0, outcome.err
        set_up = found.ops("setup", "github", "--yes", "--json", **laptop)
        assert set_up.code == 0, set_up.out + set_up.err
        for secret in set_up.result["secrets"]:
            hub.put_secret(secret["name"], acting, secret["github_environment"] or None)
        hub.add_commit("Set up", "alice", files={name: text.encode() for name, text in found.files().items()})
        assert wrong(found, laptop) == set()
        yield found, laptop


def wrong(team: Team, laptop: Mapping[str, str | None]) -> set[str]:
    """Return the IDs of doctor's checks with a wrong answer."""
    outcome = team.ops("doctor", "--json", **laptop)
    return {each["id"] for each in outcome.result["checks"] if each["answer"] == "wrong"}


def run(team: Team, tmp_path: Path, pip_cache: Path, request: Callable[[int], object]) -> tuple[int, str]:
    """Open an incident, request a recovery, and return the issue's number and the log."""
    hub = team.world.sandbox.github
    own_program.write_program(tmp_path / "program")
    number = hub.open_issue("The application is broken", labels=["incident", "drill"], author="alice")
    environ = {k: v for k, v in team.world.sandbox.environ().items() if k != "CLOUDFLARE_API_TOKEN"}
    with Runner(hub, environ, pip_cache=pip_cache, actions={ACTIONS.partition("@")[0]: tmp_path / "program"}) as runner:
        request(number)
        runner.wait()
        return number, "\n".join(runner.log(hub.runs[-1].id))


def reports(team: Team, number: int) -> list[Any]:
    events = team.world.sandbox.github.issue(number).events
    return [e.source for e in events if e.source is not None and e.source.find_label("post-incident")]


@pytest.mark.parametrize(("name", "found_after"), [("blog", set()), ("game", ROLLED_BACK)])
def test_team_recovers_by_label(name: str, found_after: set[str], tmp_path: Path, pip_cache: Path) -> None:
    began = cpu_seconds()
    with adopted(TEAMS[name], tmp_path) as (team, laptop):
        is_recovered = TEAMS[name].break_it(team.world.sandbox)
        hub = team.world.sandbox.github

        number, log = run(team, tmp_path, pip_cache, lambda number: hub.label(number, TEAMS[name].label, "alice"))

        assert cpu_seconds() - began <= CPU_SECONDS
        assert_adopted(team, laptop, number, log, is_recovered=is_recovered(), found_after=found_after)
        ended = conclusions(hub.runs[-1])
        started = {name: end for name, end in ended.items() if end != "skipped"}
        jobs = ("gate", f"recovery-{TEAMS[name].environment}", "report", "watch")
        assert started == dict.fromkeys(jobs, "success"), log
        *_, watched = read_bodies(hub, number)
        assert f"in {TEAMS[name].environment} is mitigated: healthy since" in watched
        assert "xychart-beta" in watched


def test_team_recovers_by_button(tmp_path: Path, pip_cache: Path) -> None:
    started = cpu_seconds()
    with adopted(TEAMS["shop"], tmp_path) as (team, laptop):
        is_recovered = TEAMS["shop"].break_it(team.world.sandbox)
        hub = team.world.sandbox.github

        def press(number: int) -> None:
            fields = {"environment": "production", "service": "shop-web", "incident": str(number)}
            hub.dispatch("rollback-worker.yml", fields, "alice")

        number, log = run(team, tmp_path, pip_cache, press)

        assert cpu_seconds() - started <= CPU_SECONDS
        assert conclusions(hub.runs[-1])["watch"] == "success", log
        assert_adopted(team, laptop, number, log, is_recovered=is_recovered(), found_after=ROLLED_BACK)


def assert_adopted(
    team: Team, laptop: Mapping[str, str | None], number: int, log: str, *, is_recovered: bool, found_after: set[str]
) -> None:
    assert is_recovered, log
    assert len(reports(team, number)) == 1
    assert wrong(team, laptop) == found_after
    assert team.world.sandbox.github.unknown_requests == []

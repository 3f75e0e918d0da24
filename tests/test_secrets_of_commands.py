"""Secrets never leave commands that set up, check or look: init, doctor, setup, versions, last, incident.

A hostile account, application or GitHub repeats the secrets in every encoding. The tests search all output for them.
"""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Outcome, World
from tests.core.test_redaction import SPELLINGS
from tests.setup.test_github_setup import REPOSITORY
from tests.setup.test_github_setup import shop as github_shop  # noqa: F401  a fixture
from tests.support import marks
from tests.support.adoption import EVERY_READ, SHOP, Team, build_shop, team
from tests.support.bakery import PERMISSIONS, Bakery, bakery
from tests.support.marks import leaks, on_disk, sent

CLOUDFLARE, GITHUB = marks.secret("cloudflare"), marks.secret("github")
SHOUT = " ".join(
    spell(secret) for secret in (CLOUDFLARE, GITHUB) for name, spell in SPELLINGS.items() if "shell" not in name
)
ERROR: dict[str, Any] = {"path": "/**", "status": 403, "code": 10000, "message": SHOUT, "times": None}
ANSWERS: dict[str, list[dict[str, Any]]] = {
    "all well": [],
    "errors": [ERROR],
    "errors of a server": [{**ERROR, "status": 500}],
    "HTML": [{"path": "/**", "body": f"<html>{SHOUT}", "times": None}],
}


def found_in(outcome: Outcome, folder: Path, requests: list[Any], hub: Any) -> list[str]:
    """Return the leaks of a finished command."""
    lines = [line for line in outcome.err.splitlines() if not line.startswith("::add-mask::")]
    return leaks(
        {
            "stdout": outcome.out,
            "stderr": "\n".join(lines),
            **on_disk(folder),
            **sent(requests, "Cloudflare"),
            **(sent(hub.requests, "GitHub") if hub else {}),
        }
    )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Bakery]:
    with bakery(tmp_path) as made:
        made.sandbox.add_token(CLOUDFLARE, PERMISSIONS)
        made.sandbox.github.add_token(GITHUB, "dana", ["repo"])
        made.environ |= {"BAKERY_TOKEN": CLOUDFLARE, "GITHUB_TOKEN": GITHUB}
        yield made


def ops(world: Bakery, *arguments: str) -> Outcome:
    environ = {**world.sandbox.github.environ(), **world.environ, "CLOUDFLARE_API_TOKEN": None}
    return World(world.sandbox, world.folder).ops(*arguments, "--config", str(world.config), **environ)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("rules", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("options", [[], ["--json"], ["--collect", "--issue"]], ids=["text", "JSON", "issue"])
def test_doctor_hides_secrets(world: Bakery, rules: list[dict[str, Any]], options: list[str]) -> None:
    world.release(ago=timedelta(minutes=5), behaviour={"status": 500, "body": SHOUT}, message=SHOUT, author=SHOUT)
    for rule in rules:
        world.sandbox.fault(**rule)
    job = {"GITHUB_STEP_SUMMARY": str(world.folder / "summary.md"), "GITHUB_ACTIONS": "true"}
    if "--collect" in options:
        needs = {"recovery-live": {"result": "failure", "outputs": {}}}
        world.environ |= {**job, "NEEDS": json.dumps(needs), "GITHUB_REPOSITORY": world.sandbox.github.repository}

    outcome = world.doctor(*options)

    assert outcome.code == 2, outcome.err
    assert found_in(outcome, world.folder, world.sandbox.requests, world.sandbox.github) == []


def test_doctor_of_a_job_passes_no_secrets_on(world: Bakery) -> None:
    world.release(ago=timedelta(minutes=5), behaviour={"status": 500, "body": SHOUT}, message=SHOUT, author=SHOUT)
    world.sandbox.fault(**ERROR)
    world.environ |= {"GITHUB_OUTPUT": str(world.folder / "output"), "GITHUB_ACTIONS": "true"}

    outcome = world.doctor("--environment", "live", "--github-environment", "recovery")

    assert outcome.code == 0, outcome.err
    assert "results<<" in (world.folder / "output").read_text()
    assert found_in(outcome, world.folder, world.sandbox.requests, world.sandbox.github) == []


LOOKS = (
    ("versions", "shop", "--json"),
    ("versions", "shop"),
    ("versions", "blog"),
    ("targets",),
    ("targets", "--json"),
    ("targets", "--markdown"),
    ("hand-over",),
    ("hand-over", "--json"),
    ("hand-over", "--markdown"),
    ("stats",),
    ("stats", "--json"),
    ("stats", "--markdown"),
    ("last",),
    ("last", "--json"),
    ("status", "--json"),
    ("check-outage", "shop", "--json"),
    ("check-outage", "shop"),
    ("watch", "--service", "shop", "--for", "2m", "--incident", "1"),
)


@pytest.mark.slow
@pytest.mark.parametrize("command", LOOKS, ids=" ".join)
@pytest.mark.parametrize("rules", ANSWERS.values(), ids=ANSWERS)
def test_commands_that_look_hide_secrets(world: Bakery, rules: list[dict[str, Any]], command: tuple[str, ...]) -> None:
    world.release(ago=timedelta(minutes=5), message=CLOUDFLARE, author=GITHUB)
    hub = world.sandbox.github
    hub.open_issue(SHOUT, SHOUT, ["incident"], "dana")
    for rule in rules:
        world.sandbox.fault(**rule)
        hub.fault(**{**rule, "path": "/repos/**"})

    outcome = ops(world, *command)

    assert outcome.code in {0, 3, 4, 5, 7, 8}, outcome.err
    assert found_in(outcome, world.folder, world.sandbox.requests, None) == []


@pytest.mark.sampled(3)
@pytest.mark.parametrize("rules", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize(
    "command",
    [
        ("list",),
        ("open", "--service", "shop", "--severity", "sev1", "--title", SHOUT),
        ("close", "NUMBER", SHOUT),
    ],
    ids=lambda command: command[0],
)
def test_incident_commands_hide_secrets(
    world: Bakery, rules: list[dict[str, Any]], command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.folder)
    hub = world.sandbox.github
    number = hub.open_issue("It fails", "", ["incident"], "dana")
    for rule in rules:
        hub.fault(**{**rule, "path": "/repos/**"})

    arguments = [str(number) if each == "NUMBER" else each for each in command]
    environ = {**hub.environ(), **world.environ, "CLOUDFLARE_API_TOKEN": None}
    outcome = World(world.sandbox, world.folder).ops("incident", *arguments, **environ)

    assert outcome.code in {0, 2, 3, 4, 5}, outcome.err
    assert found_in(outcome, world.folder, world.sandbox.requests, hub) == []


@pytest.fixture
def adopter(tmp_path: Path) -> Iterator[Team]:
    with team(SHOP, tmp_path) as found:
        build_shop(found.world.sandbox)
        found.world.sandbox.add_token(CLOUDFLARE, EVERY_READ)
        yield found


@pytest.mark.sampled(3)
@pytest.mark.parametrize("rules", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "JSON"])
def test_init_hides_the_token(adopter: Team, rules: list[dict[str, Any]], options: tuple[str, ...]) -> None:
    sandbox = adopter.world.sandbox
    sandbox.kv.add(SHOUT)
    for rule in rules:
        sandbox.fault(**rule)

    outcome = adopter.init(*options, CLOUDFLARE_API_TOKEN=CLOUDFLARE)

    assert outcome.code in {0, 2}, outcome.err
    assert found_in(outcome, adopter.world.folder, sandbox.requests, None) == []


@pytest.mark.sampled(3)
@pytest.mark.parametrize("rules", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("options", [("--yes",), ("--json", "--yes")], ids=["text", "JSON"])
def test_setup_hides_the_token(github_shop: Any, rules: list[dict[str, Any]], options: tuple[str, ...]) -> None:  # noqa: F811
    hub = github_shop.github
    hub.add_token(GITHUB, "dana")
    for rule in rules:
        hub.fault(**{**rule, "path": "/repos/**"})

    for names in ({"GITHUB_TOKEN": GITHUB}, {"GITHUB_TOKEN": None, "GH_TOKEN": GITHUB}):
        outcome = github_shop.setup(*options, GITHUB_REPOSITORY=REPOSITORY, **names)

        assert outcome.code in {0, 2, 4, 5}, outcome.err
        assert found_in(outcome, github_shop.folder, [], hub) == []

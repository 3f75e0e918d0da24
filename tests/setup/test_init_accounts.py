"""`ops init` of several accounts with a token each, none of them called production; a second run; forty Workers."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from ops.setup.init.command import InitTarget, init_repository
from ops.setup.init.discovery import InitRequest
from ops.setup.init.questions import MAX_QUESTIONS, Questions
from sandbox import Sandbox
from tests.setup.test_init import config, services, shop
from tests.setup.test_init_questions import Person
from tests.support.adoption import (
    ACTIONS,
    EVERY_READ,
    SHOP,
    TRAM,
    TRAM_LABS,
    TRAM_REHEARSAL,
    Team,
    build_tram,
    build_tram_labs,
    release,
    releases,
    team,
)

__all__ = ["shop"]

LIVE, REHEARSAL, LABS = "reads-live", "reads-rehearsal", "reads-labs"
TOKENS = {"CLOUDFLARE_API_TOKEN": None, "LIVE_CLOUDFLARE_API_TOKEN": LIVE, "LABS_CLOUDFLARE_API_TOKEN": LABS}
ALL = {
    **TOKENS,
    "CLOUDFLARE_API_TOKEN_REHEARSAL": REHEARSAL,
    "CLOUDFLARE_API_TOKEN_FILE": "/run/secrets/token",  # no token: the path of a file
}
ACCOUNTS = ("--account", f"live={TRAM}", "--account", f"rehearsal={TRAM_REHEARSAL}", "--account", f"labs={TRAM_LABS}")


@pytest.fixture
def tram(tmp_path: Path) -> Iterator[Team]:
    """A tram company with three accounts. Each token reads one of them."""
    with team(TRAM, tmp_path) as found, ExitStack() as ending:
        live = found.world.sandbox
        live.add_token(LIVE, EVERY_READ)
        live.rename_account("Tram Live")
        build_tram(live)
        for account, name, token in ((TRAM_REHEARSAL, "Tram Stage", REHEARSAL), (TRAM_LABS, "Labs", LABS)):
            other = ending.enter_context(Sandbox(account_id=account, virtual_clock=True))
            other.add_token(token, EVERY_READ)
            other.rename_account(name)
            build_tram_labs(other)
            live.add_account(other)
        yield found


def test_three_accounts_with_a_token_each(tram: Team) -> None:
    outcome = tram.init(*ACCOUNTS, "--label", "rides", **ALL)

    assert outcome.code == 0, outcome.err
    found = config(tram)["environments"]
    assert {name: (each["account_id"], each["token"], set(each["services"])) for name, each in found.items()} == {
        "live": (TRAM, "LIVE_CLOUDFLARE_API_TOKEN", {"rides", "map", "nightly", "notes"}),
        "rehearsal": (TRAM_REHEARSAL, "CLOUDFLARE_API_TOKEN_REHEARSAL", {"sensors"}),
        "labs": (TRAM_LABS, "LABS_CLOUDFLARE_API_TOKEN", {"sensors"}),
    }
    assert config(tram)["labels"]["recover:rides"]["environment"] == "live"
    assert tram.ops("config", "check").code == 0
    assert tram.ops("workflows", "sync", "--check").code == 0
    form = tram.files()[".github/ISSUE_TEMPLATE/incident.yml"]
    assert "production" not in form
    assert all(f"- {name}" in form for name in ("live", "rehearsal", "labs"))
    assert not [token for token in (LIVE, REHEARSAL, LABS) if token in outcome.out]


def test_proposals_promise_no_more_than_they_show(tram: Team) -> None:
    """A cron trigger has no address; a static asset is healthy beside broken code; a restore needs its own token."""
    outcome = tram.init(*ACCOUNTS, **ALL)

    text = tram.config.read_text()
    assert services(tram, "live")["nightly"] == {"worker": "nightly"}
    assert "nightly: no url and no probe" in outcome.out
    assert "# Cron triggers: 0 3 * * *. " in text
    assert "map: / may be a static asset" in outcome.out
    assert "databases of live, to restore Rides_v2: " in outcome.out
    assert all(
        f"  {key}" in outcome.out for key in ("labels:", "notify:", "approval ", "github.branch:", "github.runs_on:")
    )

    lines = [
        line.replace("    # ", "    ", 1) if "# databases:" in line or "{id: " in line else line
        for line in text.splitlines()
    ]
    tram.config.write_text("\n".join(lines) + "\n")
    assert tram.ops("config", "check").code == 0
    assert config(tram)["environments"]["live"]["databases"]["rides_v2"]["services"] == ["rides"]
    assert config(tram)["environments"]["labs"]["databases"]["sensors"]["services"] == ["sensors"]


def test_service_outside_production_recovers(tram: Team) -> None:
    sandbox = tram.world.sandbox
    assert tram.init(*ACCOUNTS, **ALL).code == 0
    good = dict(sandbox.live("rides"))
    release(sandbox, "rides", timedelta(minutes=1), code="bad", behaviour={"status": 500})
    acting = sandbox.add_token("acts", ("Workers Scripts Write", "Workers Routes Write", "Zone Read"))

    where = ("--service", "rides", "--environment", "live", "--yes")
    done = tram.ops("rollback-worker", *where, LIVE_CLOUDFLARE_API_TOKEN=acting, CLOUDFLARE_API_TOKEN=None)

    assert (done.code, dict(sandbox.live("rides"))) == (0, good), done.out + done.err
    assert tram.ops("drill", "rollback-worker", "--environment", "live").code == 0


@pytest.mark.parametrize("times", [1, 2])
def test_second_run_adds_an_account_and_keeps_the_others(tram: Team, times: int) -> None:
    """The token of the second run reads the new account alone."""
    assert tram.init("--account", f"live={TRAM}", **TOKENS).code == 0
    former = tram.config.read_text().replace("status: 200", "status: 204", 1) + "# ours\n"
    tram.config.write_text(former)
    (tram.folder / ".gitignore").write_text("ours\n")

    outcome = [tram.init(CLOUDFLARE_API_TOKEN=LABS) for _ in range(times)][-1]

    found = config(tram)["environments"]
    assert {name: each["account_id"] for name, each in found.items()} == {"live": TRAM, "labs": TRAM_LABS}
    assert found["labs"]["token"] == "LABS_CLOUDFLARE_API_TOKEN"
    assert set(former.splitlines()) <= set(tram.config.read_text().splitlines())
    assert config(tram)["labels"]["recover:sensors-labs"]["environment"] == "labs"
    assert ("extended: ops.yml" in outcome.out) is (times == 1)
    assert [line for line in outcome.out.splitlines() if line.startswith("kept: ")] == ["kept: .gitignore"]
    assert tram.ops("workflows", "sync", "--check").code == 0


def test_name_of_an_account_stays(tram: Team) -> None:
    assert tram.init("--account", f"live={TRAM}", **TOKENS).code == 0
    before = tram.files()

    renamed = tram.init("--account", f"live={TRAM_LABS}", **TOKENS)
    forced = tram.init("--account", f"labs={TRAM_LABS}", "--force", "ops.yml", **TOKENS)

    assert (renamed.code, f"live is account {TRAM}" in renamed.err) == (2, True)
    assert (forced.code, f"--account live={TRAM}" in forced.err) == (2, True)
    assert tram.files() == before


def test_text_of_another_form_is_not_touched(tram: Team) -> None:
    tram.folder.mkdir()
    own = f"environments: {{live: {{account_id: {TRAM}, services: {{rides: {{worker: rides}}}}}}}}\n"
    tram.config.write_text(own)

    outcome = tram.init("--account", f"labs={TRAM_LABS}", **TOKENS)

    assert (outcome.code, "labs cannot be added" in outcome.err) == (2, True)
    assert list(tram.files().values()) == [own]


def test_token_that_cannot_read_its_account_is_named(tram: Team) -> None:
    outcome = tram.init(*ACCOUNTS, **{**ALL, "LABS_CLOUDFLARE_API_TOKEN": REHEARSAL})

    assert outcome.code == 2
    assert "LABS_CLOUDFLARE_API_TOKEN" in outcome.err
    assert "Workers Scripts Read" in outcome.err
    assert not tram.folder.exists()


def test_pasted_tokens_propose_an_environment_for_each_account(tram: Team) -> None:
    """Names come from the names of the accounts, so none is called production by its place in the list."""
    person = Person([])
    numbered = {"CLOUDFLARE_API_TOKEN_2": REHEARSAL, "CLOUDFLARE_API_TOKEN_3": LABS}
    pasted = {"CLOUDFLARE_API_TOKEN": LIVE, **numbered}
    environ = {**tram.world.sandbox.environ(), **pasted, "CLOUDFLARE_ACCOUNT_ID": ""}

    target = InitTarget(tram.folder, actions=ACTIONS)
    init_repository(InitRequest(), target, Questions(person), environ, lambda _: None)

    assert len(person.questions) <= MAX_QUESTIONS
    assert {name: each["account_id"] for name, each in config(tram)["environments"].items()} == {
        "production": TRAM,
        "staging": TRAM_REHEARSAL,
        "labs": TRAM_LABS,
    }


def test_proposed_accounts_are_options_that_work(tram: Team) -> None:
    """The first account has the name that the fourth one would get by its number."""
    first = tram.world.sandbox
    first.rename_account("Account 4")
    with Sandbox(account_id="9a" * 16, virtual_clock=True) as fourth:
        fourth.add_token("reads-fourth", EVERY_READ)
        fourth.rename_account("A name that is too long for an environment")
        build_tram_labs(fourth)
        first.add_account(fourth)

        tokens = {**ALL, "SPARE_CLOUDFLARE_API_TOKEN": "reads-fourth"}
        refused = tram.init(**tokens)
        options = re.findall(r"--account \S+=[0-9a-f]{32}", refused.err)
        done = tram.init(*" ".join(options).split(), **tokens)

    assert (refused.code, len(options), done.code) == (2, 4, 0), done.err


def test_forty_workers(shop: Team) -> None:
    sandbox = shop.world.sandbox
    zone = sandbox.zones.all[sandbox.zones.add("forty.example")]
    for number in range(38):
        releases(sandbox, f"part-{number}", behaviour={"status": 200})
        sandbox.zones.add_domain(zone, f"part-{number}.forty.example", f"part-{number}")

    outcome = shop.init("--account", f"live={SHOP}")

    assert outcome.code == 0, outcome.err
    assert len(services(shop, "live")) == 40
    assert "labels" not in config(shop)
    assert len(shop.files()) <= 25
    assert (shop.ops("config", "check").code, shop.ops("workflows", "sync", "--check").code) == (0, 0)
    assert (shop.init("--account", f"live={SHOP}").code, shop.init().code) == (0, 0)

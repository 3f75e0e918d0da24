"""`ops init`: services and settings for applications other than the reference one."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox import Sandbox
from tests.support import plain_yaml
from tests.support.adoption import (
    BLOG,
    EVERY_READ,
    GAME,
    GAME_STAGING,
    NAMESPACE,
    READER,
    SHOP,
    Team,
    build_blog,
    build_game,
    build_shop,
    release,
    team,
)
from tests.support.commands import set_origin

MOST_FILES = 25
LONGEST_LABEL = 50
"""Limit of GitHub."""
PLACE = "1Password: cloudflare-recovery"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Team]:
    with team(SHOP, tmp_path) as found:
        build_shop(found.world.sandbox)
        yield found


@pytest.fixture
def blog(tmp_path: Path) -> Iterator[Team]:
    with team(BLOG, tmp_path) as found:
        build_blog(found.world.sandbox)
        yield found


@pytest.fixture
def game(tmp_path: Path) -> Iterator[Team]:
    """A game with production in one account and staging in another; one token reads both."""
    with team(GAME, tmp_path) as found, Sandbox(account_id=GAME_STAGING, virtual_clock=True) as staging:
        for sandbox in (found.world.sandbox, staging):
            build_game(sandbox)
        staging.add_token(READER, EVERY_READ)
        found.world.sandbox.add_account(staging)
        yield found


def config(team: Team) -> Any:
    return plain_yaml.load(team.config.read_text())


def services(team: Team, environment: str = "production") -> Any:
    return config(team)["environments"][environment]["services"]


# Proposals


@pytest.mark.slow
def test_worker_with_assets_and_own_token_name(shop: Team) -> None:
    outcome = shop.init("--token-name", "SHOPDESK_CLOUDFLARE_TOKEN")

    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == (
        "Next: commit and push the folder to a private repository on GitHub. Then run in it: `ops setup github`, "
        "`ops drill rollback-worker --config ops.yml`, `ops doctor`."
    )
    readme = (shop.folder / "README.md").read_text()
    assert readme.startswith("# Operations of shop-web, shop-api\n")
    assert readme.endswith(".\n")
    assert config(shop)["environments"]["production"]["token"] == "SHOPDESK_CLOUDFLARE_TOKEN"
    assert services(shop)["shop-web"] == {
        "worker": "shop-web",
        "url": "https://www.shopdesk.example",
        "probes": [
            {
                "name": "health",
                "http": {"path": "/health", "status": 200, "json": {"status": "ok"}, "version": "version.id"},
            }
        ],
    }
    assert services(shop)["shop-api"]["url"] == "https://shopdesk.example"
    assert services(shop)["shop-api"]["probes"][0]["http"]["path"] == "/api/"
    assert "# Secrets: STRIPE_KEY. To rotate" in shop.config.read_text()
    assert "1" not in shop.config.read_text().split("# Secrets")[1].split("\n")[0]


@pytest.mark.slow
def test_labels_are_those_that_the_team_asks_for(shop: Team) -> None:
    unknown = shop.init("--label", "shop-wbe")
    assert (unknown.code, shop.folder.exists()) == (2, False)
    assert all(name in unknown.err for name in ("shop-wbe", "shop-api", "shop-web"))

    assert shop.init().code == 0
    assert "labels" not in config(shop)
    assert shop.init("--label", "shop-web", "--force", "ops.yml", "--force", "README.md").code == 0
    assert config(shop)["labels"] == {
        "recover:shop-web": {
            "runbook": "rollback-worker",
            "environment": "production",
            "params": {"service": "shop-web"},
        }
    }


def test_service_without_address_is_left_out_and_named(shop: Team) -> None:
    outcome = shop.init()

    assert set(services(shop)) == {"shop-web", "shop-api"}
    assert "shop-mailer: no public address is known" in outcome.out
    assert "--url shop-mailer=URL" in outcome.out


def test_pages_site_is_compared_at_two_paths(blog: Team) -> None:
    assert blog.init().code == 0

    assert services(blog) == {
        "notes": {
            "pages": "notes",
            "url": "https://notes.example",
            "compare": ["/", "/feed.xml"],
            "probes": [
                {"name": "home", "http": {"path": "/", "status": 200, "headers": {"content-type": "text/html"}}}
            ],
        }
    }
    assert config(blog)["labels"] == {
        "recover:notes": {"runbook": "rollback-pages", "environment": "production", "params": {"service": "notes"}}
    }
    assert 7 <= len(blog.config.read_text().splitlines()) <= 40


def test_second_release_is_found_behind_failed_builds(blog: Team) -> None:
    """Cloudflare lists at most 25 deployments of a project on a page, failed ones among them."""
    for _ in range(23):
        blog.world.sandbox.pages.add_deployment("notes", files={}, status="failure")

    assert blog.init().code == 0

    assert services(blog)["notes"]["compare"] == ["/", "/feed.xml"]


@pytest.mark.parametrize("names", [["a" * 36], ["b" * 35 + "1", "b" * 35 + "2"]], ids=["one", "two alike"])
def test_services_with_long_names_have_a_label_in_each_environment(tmp_path: Path, names: list[str]) -> None:
    """A label of GitHub has at most 50 characters."""
    with team(GAME, tmp_path) as found, ExitStack() as stack:
        accounts = {"production": GAME, "staging-asia": GAME_STAGING, "staging-europe": "5d" * 16}
        others = [Sandbox(account_id=each, virtual_clock=True) for each in [*accounts.values()][1:]]
        for sandbox in (found.world.sandbox, *map(stack.enter_context, others)):
            for name in names:
                sandbox.pages.add_project(name)
                sandbox.pages.add_deployment(name, files={"index.html": name.encode()})
        for other in others:
            other.add_token(READER, EVERY_READ)
            found.world.sandbox.add_account(other)

        options = [text for each in accounts.items() for text in ("--account", "=".join(each))]
        outcome = found.init(*options, *(text for name in names for text in ("--label", name)))

        assert outcome.code == 0, outcome.err
        labels = config(found)["labels"]
        started = {(each["environment"], each["params"]["service"]): label for label, each in labels.items()}
        assert started.keys() == {(environment, name) for environment in accounts for name in names}
        assert max(map(len, labels)) == LONGEST_LABEL
        for (environment, name), label in started.items():
            assert label.endswith(name if environment == "production" else f"-{environment}")
        assert found.ops("config", "check").code == 0


@pytest.mark.slow
def test_two_accounts_become_two_environments(game: Team) -> None:
    outcome = game.init("--account", f"production={GAME}", "--account", f"staging={GAME_STAGING}")

    assert outcome.code == 0, outcome.err
    found = config(game)["environments"]
    assert {name: (each["account_id"], each.get("token")) for name, each in found.items()} == {
        "production": (GAME, None),
        "staging": (GAME_STAGING, "STAGING_CLOUDFLARE_API_TOKEN"),
    }
    assert services(game)["game"]["url"] == services(game, "staging")["game"]["url"]
    assert set(config(game)["labels"]) == {"recover:game", "recover:game-staging"}
    assert "# Durable Objects: Room." in game.config.read_text()


def test_several_accounts_need_a_choice(game: Team) -> None:
    outcome = game.init()

    assert outcome.code == 2
    assert GAME in outcome.err
    assert GAME_STAGING in outcome.err
    assert "--account" in outcome.err
    assert not game.folder.exists()


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (("--contact", "x" * 201), "200"),
        (("--wrangler", "."), "wrangler.jsonc"),
    ],
)
def test_unusable_option_is_refused(shop: Team, arguments: tuple[str, ...], fact: str) -> None:
    outcome = shop.init(*arguments)

    assert outcome.code == 2
    assert fact in outcome.err
    assert not shop.folder.exists()


def test_account_without_services_is_refused(shop: Team) -> None:
    for account in shop.world.sandbox.account.visible:
        account.workers.clear()
        account.pages.projects.clear()

    outcome = shop.init()

    assert (outcome.code, "--worker NAME" in outcome.err) == (2, True)
    assert not shop.folder.exists()


@pytest.mark.slow
def test_account_without_services_is_left_out_and_named(game: Team) -> None:
    game.world.sandbox.account.visible[1].workers.clear()

    outcome = game.init("--account", f"production={GAME}", "--account", f"staging={GAME_STAGING}")

    assert set(config(game)["environments"]) == {"production"}
    assert "staging: no service, so it was left out" in outcome.out


def test_environment_name_with_account_and_url(game: Team) -> None:
    accounts = ["--account", f"production={GAME}", "--account", f"staging={GAME_STAGING}"]

    outcome = game.init(*accounts, "--worker", "arena=game", "--url", "staging/arena=https://staging.arena.example")

    assert outcome.code == 0, outcome.err
    assert services(game)["arena"]["url"] == "https://game.sandbox.workers.dev"
    assert services(game, "staging")["arena"]["url"] == "https://staging.arena.example"


@pytest.mark.slow
def test_names_that_are_not_production_are_left_out(shop: Team) -> None:
    release(shop.world.sandbox, "shop-web-staging", timedelta(hours=1))

    outcome = shop.init()

    assert "shop-web-staging" not in services(shop)
    assert "Worker shop-web-staging: left out; pass --worker to include it" in outcome.out


@pytest.mark.slow
def test_names_of_worker_and_site_are_kept_apart(shop: Team) -> None:
    build_blog(shop.world.sandbox)
    release(shop.world.sandbox, "notes", timedelta(hours=1))

    assert shop.init("--url", "notes=https://notes-api.example").code == 0
    assert {name: each.get("pages") for name, each in services(shop).items() if "notes" in name} == {
        "notes": None,
        "notes-2": "notes",
    }


# Tokens and wrangler files


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "unread"),
    [
        ("D1 Read", "D1 databases"),
        ("Workers KV Storage Read", "KV namespaces"),
        ("Zone Read", "zones"),
        ("Workers Routes Read", "routes of shopdesk.example"),
        ("Pages Read", "Pages projects"),
    ],
)
def test_list_without_permission_is_named(shop: Team, missing: str, unread: str) -> None:
    shop.world.sandbox.add_token("weak", {*EVERY_READ} - {missing})

    outcome = shop.init(CLOUDFLARE_API_TOKEN="weak")

    assert outcome.code == 0, outcome.err
    (line,) = (each for each in outcome.out.splitlines() if each.strip().startswith(f"{unread}: "))
    assert f'"{missing}"' in line or unread.startswith("routes")
    assert "shop-web" in services(shop)


def test_token_that_can_list_nothing_is_refused(shop: Team) -> None:
    shop.world.sandbox.add_token("weak", {"D1 Read"})

    outcome = shop.init(CLOUDFLARE_API_TOKEN="weak")

    assert outcome.code == 2
    assert re.search(r'CLOUDFLARE_API_TOKEN [\s\S]* hint: .*"Workers Scripts Read".*"Pages Read"', outcome.err)
    assert "weak" not in outcome.err
    assert not shop.folder.exists()


def test_without_token_flags_and_wrangler_files_are_enough(shop: Team, tmp_path: Path) -> None:
    web, api = tmp_path / "web", tmp_path / "api"
    for folder in (web, api):
        folder.mkdir()
    (web / "wrangler.jsonc").write_text(
        f'{{"name": "shop-web", "account_id": "{SHOP}", // production\n'
        ' "routes": [{"pattern": "www.shopdesk.example", "custom_domain": true}], "assets": {"directory": "x"},}'
    )
    (api / "wrangler.toml").write_text(
        'name = "shop-api"\nroute = "shopdesk.example/api/*"\n[[d1_databases]]\nbinding = "DB"\ndatabase_name = "carts"'
    )

    outcome = shop.init("--wrangler", str(web), "--wrangler", str(api / "wrangler.toml"), CLOUDFLARE_API_TOKEN=None)

    assert outcome.code == 0, outcome.err
    assert services(shop)["shop-web"]["url"] == "https://www.shopdesk.example"
    assert services(shop)["shop-web"]["probes"][0]["http"]["version"] == "version.id"
    assert services(shop)["shop-api"]["probes"][0]["http"]["path"] == "/api/"
    assert "# Data: D1 carts. A rollback does not change it." in shop.config.read_text()
    assert "CLOUDFLARE_API_TOKEN is not set, so no name was compared with the account" in outcome.out
    assert shop.world.sandbox.requests == []


def test_flags_alone_are_enough(shop: Team) -> None:
    flags = ["--account", SHOP, "--worker", "web=shop-web", "--url", "web=https://www.shopdesk.example"]

    outcome = shop.init(*flags, "--repository", "shopdesk/shop", CLOUDFLARE_API_TOKEN=None)

    assert outcome.code == 0, outcome.err
    assert services(shop)["web"]["worker"] == "shop-web"
    assert services(shop)["web"]["repository"] == "shopdesk/shop"


def test_production_of_a_wrangler_file_is_an_environment(shop: Team, tmp_path: Path) -> None:
    (tmp_path / "wrangler.toml").write_text(
        f'name = "shop"\naccount_id = "{SHOP}"\n[env.production]\nname = "shop-web"\nroute = "www.shopdesk.example/*"\n'
    )

    assert shop.init("--wrangler", str(tmp_path), CLOUDFLARE_API_TOKEN=None).code == 0
    assert set(services(shop)) == {"shop-web"}


def test_wrangler_file_chooses_the_services(shop: Team, tmp_path: Path) -> None:
    (tmp_path / "wrangler.toml").write_text('name = "shop-api"\n')

    outcome = shop.init("--wrangler", str(tmp_path))

    assert set(services(shop)) == {"shop-api"}
    assert "Worker shop-web: left out; pass --worker to include it" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (["--worker", "shop-wbe"], '"shop-wbe".*"shop-web"'),
        (["--account", "1a"], '"1a"'),
        (["--account", f"production={SHOP}", "--account", f"staging={SHOP}"], SHOP),
        (["--account", f"Prod={SHOP}"], '"Prod"'),
        (["--url", "web=https://x.example"], '"web"'),
        (["--url", "shop-web"], '"shop-web".* SERVICE=URL'),
        (["--url", "shop-web=http://x.example"], "shop-web .*https"),
        (["--token-name", "staging=X"], '--token-name: .*"staging"'),
        (["--token-name", "cfut_0123456789abcdef0123456789"], "--token-name: (?!.*0123456789)"),
        (["--owner", "acme"], '"acme" .*CODEOWNERS'),
        (["--repository", "shop"], "--repository "),
        (["--wrangler", "missing.toml"], r"missing\.toml "),
        (["--worker", "Web=shop-web"], '"Web"'),
        (["--worker", "a b"], '"a b"'),
        (["--actions", "acme/backout@main"], "--actions .*acme/backout@SHA"),
    ],
)
def test_wrong_flag_writes_nothing(shop: Team, arguments: list[str], fact: str) -> None:
    outcome = shop.init(*arguments)

    assert outcome.code == 2
    assert re.match(f"error: .*{fact}", outcome.err)
    assert not shop.folder.exists()


# Hostile texts


HOSTILE = "x\n  y: ${{ secrets.TOKEN }} \x1b[31m\u202e # <!-- @all"


def test_hostile_names_stay_comments(shop: Team) -> None:
    sandbox = shop.world.sandbox
    sandbox.rename_account(HOSTILE)
    sandbox.kv.namespaces[NAMESPACE].title = HOSTILE
    sandbox.upload(f"shop\n{HOSTILE}")
    sandbox.pages.add_project("notes${{ 1 }}", domains=["evil.example\n- x"])
    sandbox.put_secret("shop-web", HOSTILE, "1")

    outcome = shop.init()

    assert outcome.code == 0, outcome.err
    assert set(services(shop)) == {"shop-web", "shop-api"}
    assert shop.ops("config", "check").code == 0
    assert "\x1b" not in outcome.out
    assert "\u202e" not in "".join([outcome.out, *shop.files().values()])
    assert all("secrets.TOKEN" not in text for name, text in shop.files().items() if name != "ops.yml")


def test_worker_without_a_zone_gets_no_maintenance(game: Team) -> None:
    """Cloudflare owns the zone of workers.dev, so no token can change routes there."""
    assert game.init("--account", f"production={GAME}").code == 0
    folder = ".github/workflows"

    assert f"{folder}/rollback-worker.yml" in game.files()
    assert f"{folder}/maintenance.yml" not in game.files()
    assert "security" not in game.files()[f"{folder}/recover.yml"]

    game.config.write_text(game.config.read_text().replace("game.sandbox.workers.dev", "arena.example"))
    assert game.ops("workflows", "sync").code == 0
    assert f"{folder}/maintenance.yml" in game.files()


@pytest.mark.slow
@pytest.mark.parametrize("host", ["git.parcel.example", "parcel.ghe.com", "gitlab.com"])
def test_clone_of_another_server_is_refused_before_anything_is_read(shop: Team, host: str) -> None:
    """The folder is new; the clone around it tells where it would be pushed."""
    set_origin(shop.world.folder, f"git@{host}:parcel/operations.git")

    refused = shop.init()

    assert (refused.code, shop.folder.exists(), shop.world.sandbox.requests) == (2, False, [])
    assert re.match(rf"error: .*\bgithub\.com\b.* {re.escape(host)} \(GITHUB_SERVER_URL\b", refused.err)
    assert shop.init(GITHUB_SERVER_URL="https://github.com").code == 0  # its host is an alias of ssh


def test_wrangler_file_without_a_name_is_refused(shop: Team, tmp_path: Path) -> None:
    for text in ("{}", "[]"):
        (tmp_path / "wrangler.json").write_text(text)

        outcome = shop.init("--wrangler", str(tmp_path / "wrangler.json"))

        assert outcome.code == 2
        assert "wrangler.json" in outcome.err


def test_named_worker_without_an_address_gets_no_url_and_no_probe(shop: Team) -> None:
    """A cron trigger or a queue may run it."""
    outcome = shop.init("--worker", "shop-mailer")

    assert outcome.code == 0, outcome.err
    assert services(shop) == {"shop-mailer": {"worker": "shop-mailer"}}
    assert "shop-mailer: no url and no probe" in outcome.out
    assert shop.init("--worker", "shop-mailer").code == 0


def test_only_workers_without_an_address_are_refused(shop: Team, tmp_path: Path) -> None:
    """The file names a Worker, and nobody says that it has no address."""
    (tmp_path / "wrangler.toml").write_text('name = "shop-mailer"\n')

    outcomes = [shop.init("--wrangler", str(tmp_path)) for _ in range(2)]

    for outcome in outcomes:
        assert outcome.code == 2
        assert "--url NAME=" in outcome.err
    assert not shop.config.exists()


def test_default_branch_of_the_clone_is_written(shop: Team) -> None:
    hub = shop.world.sandbox.github
    hub._repository.git.default_branch = "trunk"
    shop.folder.mkdir()
    given = {**hub.environ(), "GITHUB_REPOSITORY": None}
    set_origin(shop.folder, f"{given['GITHUB_SERVER_URL']}/acme/operations.git")

    found = shop.init(**given)

    assert found.code == 0, found.err
    assert config(shop)["github"]["branch"] == "trunk"
    assert "branches: [trunk]" in (shop.folder / ".github/workflows/ops-check.yml").read_text().replace('"', "")
    assert "github.branch" not in found.out

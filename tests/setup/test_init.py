"""`ops init`: services, probes and files for applications other than the reference one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ops.core.errors import ConfigError, Refused
from ops.setup.init.command import READS, InitResult, InitTarget, read_only_token_url, run
from ops.setup.init.discovery import InitRequest
from ops.setup.init.questions import MAX_QUESTIONS, Questions
from sandbox import Sandbox
from tests.conftest import ROOT
from tests.support import plain_yaml
from tests.support.adoption import (
    ACTIONS,
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
from tests.support.commands import Terminal

MOST_FILES = 25
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


def test_names_that_are_not_production_are_left_out(shop: Team) -> None:
    release(shop.world.sandbox, "shop-web-staging", timedelta(hours=1))

    outcome = shop.init()

    assert "shop-web-staging" not in services(shop)
    assert "Worker shop-web-staging: left out; pass --worker to include it" in outcome.out


def test_names_of_worker_and_site_are_kept_apart(shop: Team) -> None:
    build_blog(shop.world.sandbox)
    release(shop.world.sandbox, "notes", timedelta(hours=1))

    assert shop.init("--url", "notes=https://notes-api.example").code == 0
    assert {name: each.get("pages") for name, each in services(shop).items() if "notes" in name} == {
        "notes": None,
        "notes-2": "notes",
    }


# Probes


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status": 500}, "answers with status 500"),
        ({"status": 404}, "answers with status 404"),
        ({"status": 302, "headers": {"location": "https://evil.example/x"}}, "redirects to evil.example"),
        (
            {"status": 302, "headers": {"location": "https://team.cloudflareaccess.com/login"}},
            "a login page of Cloudflare Access answered",
        ),
        ({"status": 403, "headers": {"cf-mitigated": "challenge"}}, "a Cloudflare bot challenge answered"),
    ],
)
def test_no_probe_is_claimed_for_another_answer(blog: Team, answer: dict[str, Any], reason: str) -> None:
    blog.world.sandbox.edge_fault(times=None, body="{}", content_type="application/json", **answer)

    outcome = blog.init()

    assert outcome.code == 0, outcome.err
    assert "probes" not in services(blog)["notes"]
    assert reason in outcome.out
    assert f"# No probe yet: https://notes.example/ {reason}" in blog.config.read_text().replace("/: ", "/ ")


def test_failing_site_is_not_compared(blog: Team) -> None:
    blog.world.sandbox.edge_fault(times=None, status=503)
    compared = blog.world.sandbox.edge_fault(path="/sitemap.xml", times=None)

    assert "compare was not proved" in blog.init().out
    assert compared.hits == 0


def test_unreachable_url_has_no_probe(blog: Team) -> None:
    blog.world.sandbox.edge_fault(times=None, lost="before")

    assert "could not be reached (" in blog.init().out
    assert "probes" not in services(blog)["notes"]


@pytest.mark.parametrize(
    ("document", "probe"),
    [
        ('{"release": "LIVE"}', {"version": "release"}),
        ('{"a": {"b": {"id": "LIVE"}}, "version": "5c3f0000-0000-4000-8000-000000000000"}', {"version": "a.b.id"}),
        ('{"version": "5c3f0000-0000-4000-8000-000000000000"}', {}),
        ('{"${{ secrets.X }}": "LIVE", "a b": "LIVE", "ok": true}', {"json": {"ok": True}}),
        ('{"status": "OK"}', {"json": {"status": "OK"}}),
        ('{"status": "degraded"}', {}),
        ("not JSON", None),
    ],
)
def test_version_and_values_are_proposed_only_if_they_are_right(
    game: Team, document: str, probe: dict[str, Any] | None
) -> None:
    live = next(iter(game.world.sandbox.live("game")))
    game.world.sandbox.edge_fault(
        times=None, path="/health", body=document.replace("LIVE", live), content_type="application/json"
    )

    assert game.init("--account", GAME).code == 0
    found = services(game)["game"]["probes"][0]
    assert found["name"] == ("health" if probe is not None else "answer")
    if probe is not None:
        rest = {key: value for key, value in found["http"].items() if key not in {"path", "status", "headers"}}
        assert rest == probe


# Compared paths


def deploy(team: Team, files: dict[str, bytes]) -> None:
    team.world.sandbox.clock.advance(60)
    team.world.sandbox.pages.add_deployment("notes", files=files)
    team.world.sandbox.clock.advance(60)


def test_path_that_differs_replaces_an_equal_home_page(blog: Team) -> None:
    home = b'<script src="/app.js"></script><a href="/about">x</a>'
    deploy(blog, {"index.html": home, "app.js": b"1"})
    deploy(blog, {"index.html": home, "app.js": b"2"})

    assert blog.init().code == 0
    assert services(blog)["notes"]["compare"] == ["/app.js"]


def test_home_page_with_hashed_assets_is_enough(blog: Team) -> None:
    for name in ("app-3fa81c9d.js", "app-77b0e2d1.js"):
        deploy(blog, {"index.html": f'<script src="/{name}"></script>'.encode(), name: b"x"})

    assert blog.init().code == 0
    assert "compare" not in services(blog)["notes"]
    assert "# A release without / is not recognized: add a file of every release" in blog.config.read_text()


def test_unproven_compare_is_named(blog: Team) -> None:
    for _ in range(2):
        deploy(blog, {"index.html": b"equal"})

    outcome = blog.init()

    assert "compare was not proved: no path is stable and differs between the two newest deployments" in outcome.out
    assert "# compare was not proved" in blog.config.read_text()
    assert "compare:" not in blog.config.read_text()


def test_access_before_deployments_is_named(blog: Team) -> None:
    blog.world.sandbox.switches.edge_access_before_deployments = True

    assert "compare was not proved: https://" in (out := blog.init().out)
    assert "a login page of Cloudflare Access" in out


def test_single_deployment_is_not_compared(blog: Team) -> None:
    sandbox = blog.world.sandbox
    sandbox.pages.projects["notes"].deployments.pop(0)

    assert "compare was not checked: the site has no second deployment" in blog.init().out


# Tokens and wrangler files


@pytest.mark.parametrize(
    ("missing", "line"),
    [
        ("D1 Read", 'D1 databases: the token may not read this; it needs "D1 Read"'),
        ("Workers KV Storage Read", 'KV namespaces: the token may not read this; it needs "Workers KV Storage Read"'),
        ("Zone Read", 'zones: the token may not read this; it needs "Zone Read"'),
        ("Workers Routes Read", "routes of shopdesk.example: the token may not read this"),
        ("Pages Read", 'Pages projects: the token may not read this; it needs "Pages Read"'),
    ],
)
def test_list_without_permission_is_named(shop: Team, missing: str, line: str) -> None:
    shop.world.sandbox.add_token("weak", {*EVERY_READ} - {missing})

    outcome = shop.init(CLOUDFLARE_API_TOKEN="weak")

    assert outcome.code == 0, outcome.err
    assert line in outcome.out
    assert "shop-web" in services(shop)


def test_token_that_can_list_nothing_is_refused(shop: Team) -> None:
    shop.world.sandbox.add_token("weak", {"D1 Read"})

    outcome = shop.init(CLOUDFLARE_API_TOKEN="weak")

    assert outcome.code == 2
    assert "can list neither Workers nor Pages projects" in outcome.err
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
    ("arguments", "message"),
    [
        (["--worker", "shop-wbe"], 'no Worker "shop-wbe" in the account; did you mean "shop-web"?'),
        (["--account", "1a"], '"1a" is not an account ID'),
        (["--account", f"production={SHOP}", "--account", f"staging={SHOP}"], f"account {SHOP} is given twice"),
        (["--account", f"Prod={SHOP}"], '"Prod" is not a name of an environment'),
        (["--url", "web=https://x.example"], 'the URL of "web": no such service'),
        (["--url", "shop-web"], '"shop-web" is not SERVICE=URL'),
        (["--url", "shop-web=http://x.example"], "the URL of shop-web is not an https URL"),
        (["--token-name", "staging=X"], '--token-name: no environment "staging"'),
        (["--token-name", "cfut_0123456789abcdef0123456789"], "is not a name of a variable"),
        (["--owner", "acme"], '"acme" is not an owner for CODEOWNERS'),
        (["--repository", "shop"], "--repository is not a repository"),
        (["--wrangler", "missing.toml"], "missing.toml cannot be read"),
        (["--worker", "Web=shop-web"], '"Web" is not a name of a service'),
        (["--worker", "a b"], '"a b" is not a name of a Worker'),
        (["--actions", "acme/backout@main"], "--actions is not acme/backout@SHA"),
    ],
)
def test_wrong_flag_writes_nothing(shop: Team, arguments: list[str], message: str) -> None:
    outcome = shop.init(*arguments)

    assert outcome.code == 2
    assert message in outcome.err
    assert not shop.folder.exists()


# Questions


@dataclass
class Person:
    """Answers in order; Enter for the rest."""

    answers: list[str]
    questions: list[str] = field(default_factory=list)

    def __call__(self, question: str, default: str) -> str:
        self.questions.append(question)
        return (self.answers.pop(0) if self.answers else "") or default


def ask(
    team: Team, answers: list[str], *, request: InitRequest | None = None, **repository: Any
) -> tuple[Person, InitResult]:
    person = Person(answers)
    environ = {**team.world.sandbox.environ(), "CLOUDFLARE_API_TOKEN": READER}
    target = InitTarget(team.folder, actions=ACTIONS, **repository)
    result = run(request or InitRequest(), target, Questions(person), environ, lambda _: None)
    return person, result


def test_unknown_commit_of_the_actions_is_refused_before_the_questions(shop: Team) -> None:
    person = Person([])
    target = InitTarget(shop.folder, actions="acme/backout@main")

    with pytest.raises(ConfigError, match="full commit SHA"):
        run(InitRequest(), target, Questions(person), shop.world.sandbox.environ(), lambda _: None)

    assert person.questions == []


def test_person_answers_every_question(game: Team) -> None:
    answers = [
        "live=1, try=2",
        "arena=1, arena=2",
        "live/arena=https://arena.example",
        "@acme/on-call",
        "the safe",
        "Dana: +44 20 7946 0000",
        "yes",
    ]

    person, result = ask(game, answers)

    assert len(person.questions) == MAX_QUESTIONS
    assert "2. game (Worker in try)" in person.questions[1]
    assert services(game, "live")["arena"]["url"] == "https://arena.example"
    assert services(game, "try")["arena"]["url"] == "https://game.sandbox.workers.dev"
    assert "\n* @acme/on-call\n" in game.files()[".github/CODEOWNERS"]
    assert {each["token_location"] for each in config(game)["environments"].values()} == {"the safe"}
    assert config(game)["contacts"][0]["contact"] == "Dana: +44 20 7946 0000"
    assert result.exit_code == 0


def test_enter_accepts_every_proposal(shop: Team) -> None:
    person, _ = ask(shop, [])

    assert "1. shop-web (Worker)" in person.questions[0]
    assert "shop-mailer: no address known" in person.questions[1]
    assert set(services(shop)) == {"shop-web", "shop-api"}


def test_wrong_answer_repeats_the_question(shop: Team) -> None:
    person, _ = ask(shop, ["9", "1", "web=x"])

    assert person.questions[1].startswith('"9" is not a row of the list. Write numbers from 1 to 3')
    assert person.questions[3].startswith('the URL of "web": no such service')
    assert set(services(shop)) == {"shop-web"}


def test_no_writes_nothing(shop: Team) -> None:
    with pytest.raises(Refused, match="nothing was written"):
        ask(shop, ["", "", "", "", "", "no"])
    assert not shop.folder.exists()


def test_answer_names_the_files_to_overwrite(written: Team) -> None:
    for name in ("README.md", ".gitignore"):
        (written.folder / name).write_text("Ours\n")

    person, result = ask(written, ["", "", "", "", "", "README.md"])

    assert "names of files to overwrite too: README.md, .gitignore" in person.questions[-1]
    assert result.files == {"README.md": "overwritten", ".gitignore": "kept"}


@pytest.mark.slow
def test_questions_on_a_terminal(shop: Team) -> None:
    ours, theirs = os.openpty()
    environ = {"PATH": os.environ["PATH"], **shop.world.sandbox.environ(), "PYTHONPATH": str(ROOT)}
    del environ["CLOUDFLARE_API_TOKEN"]
    command = [sys.executable, "-m", "ops", "init", str(shop.folder), "--actions", ACTIONS]

    with subprocess.Popen(
        command, text=True, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, cwd=ROOT, start_new_session=True
    ) as process:
        os.close(theirs)
        person = Terminal(process, ours)
        person.until("Enter to type names and URLs: ")
        person.type(f"{READER}\n")
        person.until("Numbers to include")
        person.type("1\n\n@acme/on-call\n\n\nyes\n")
        assert person.end() == 0, person.shown
    os.close(ours)

    assert "permissionGroupKeys=" in person.shown
    assert READER not in person.shown
    assert "written: ops.yml" in person.shown
    assert set(services(shop)) == {"shop-web"}


def test_link_of_the_token_has_every_permission_to_read() -> None:
    assert set(READS) == set(EVERY_READ)
    assert read_only_token_url().count("%22key%22") == len(READS)
    assert "&accountId=*&" in read_only_token_url()


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


def test_hostile_account_of_a_wrangler_file_is_not_shown(shop: Team, tmp_path: Path) -> None:
    (tmp_path / "wrangler.json").write_text(json.dumps({"name": "shop-web", "account_id": HOSTILE}))

    person, _ = ask(shop, [], request=InitRequest(wrangler=(tmp_path / "wrangler.json",)))

    assert person.questions
    assert all(line.isprintable() for question in person.questions for line in question.split("\n"))


# Files


@pytest.fixture
def written(shop: Team) -> Team:
    outcome = shop.init("--owner", "@shopdesk/on-call", "--token-location", PLACE)
    assert outcome.code == 0, outcome.err
    return shop


def test_repository_is_small_and_valid(written: Team) -> None:
    assert len(written.files()) <= MOST_FILES
    checked = written.ops("config", "check")
    assert (checked.code, "token_location" in checked.err) == (0, False)
    assert written.ops("workflows", "sync", "--check").code == 0
    assert {"ops.yml", "README.md", ".gitignore", ".github/CODEOWNERS", ".github/dependabot.yml"} < {*written.files()}
    assert "schedule:" not in "".join(text for name, text in written.files().items() if "workflows/" in name)
    assert "\n* @shopdesk/on-call\n" in written.files()[".github/CODEOWNERS"]
    assert "limits.yml" not in written.files()


def test_token_is_refused_as_its_place(shop: Team) -> None:
    outcome = shop.init("--token-location", "x" * 40)
    assert (outcome.code, "looks like a token" in outcome.err) == (2, True)
    assert "x" * 40 not in outcome.out + outcome.err


def test_readme_fits_on_a_screen(written: Team) -> None:
    readme = written.files()["README.md"]

    assert len(readme.splitlines()) <= 40
    for text in ("recover:shop-web", "rollback-worker", "`CLOUDFLARE_API_TOKEN`: 1Password: cloudflare-recovery"):
        assert text in readme
    assert config(written)["environments"]["production"]["token_location"] == "1Password: cloudflare-recovery"


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["actionlint", "-no-color", "-oneline"],
        ["zizmor", "--offline", "--no-progress", "-q", ".github"],
    ],
    ids=lambda command: command[0],
)
def test_files_pass_linters(written: Team, command: list[str]) -> None:
    (written.folder / ".git").mkdir()  # actionlint looks for the root of a repository
    program = Path(sys.executable).parent / command[0]

    done = subprocess.run([program, *command[1:]], cwd=written.folder, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_second_run_changes_nothing(written: Team) -> None:
    before = {path: path.stat().st_mtime_ns for path in written.folder.rglob("*")}

    outcome = written.init()

    assert (outcome.code, outcome.out.splitlines()[-1]) == (0, "Every file is up to date.")
    assert {path: path.stat().st_mtime_ns for path in written.folder.rglob("*")} == before


def test_changed_file_is_shown_and_kept(written: Team) -> None:
    written.config.write_text(written.config.read_text().replace("status: 200", "status: 204"))
    (written.folder / "README.md").write_text("Ours\n")
    (written.folder / ".gitignore").unlink()

    outcome = written.init()

    assert outcome.code == 2
    assert "kept: ops.yml" in outcome.out
    assert "kept: README.md" in outcome.out
    assert "written: .gitignore" in outcome.out
    assert "-              status: 204" in outcome.out
    assert "To overwrite: --force ops.yml --force README.md" in outcome.out
    assert "status: 204" in written.config.read_text()
    assert (written.folder / "README.md").read_text() == "Ours\n"


def test_force_overwrites_only_the_named_file(written: Team) -> None:
    written.config.write_text(written.config.read_text().replace("status: 200", "status: 204"))
    (written.folder / "README.md").write_text("Ours\n")

    outcome = written.init("--force", "README.md")

    assert "overwritten: README.md" in outcome.out
    assert "recover:shop-web" in written.files()["README.md"]
    assert "status: 204" in written.config.read_text()


def test_other_files_follow_the_kept_configuration(written: Team) -> None:
    """A service that the team removed from ops.yml is in no other file."""
    text = written.config.read_text()
    kept = text[: text.index("      shop-api:")] + text[text.index("\nlabels:") : text.index("  recover:shop-api")]
    written.config.write_text(kept + "\n" + text[text.index("github:") :])
    (written.folder / "README.md").unlink()

    assert written.init().code == 2
    assert "shop-api" not in written.files()["README.md"]


def test_broken_configuration_is_not_overwritten(written: Team) -> None:
    written.config.write_text("environments: 1\n")

    outcome = written.init()

    assert outcome.code == 2
    assert "ops.yml has 1 problem" in outcome.err
    assert written.config.read_text() == "environments: 1\n"


@pytest.mark.parametrize("link", [".github", ".github/workflows", ".github/workflows/incident.yml"])
def test_link_out_of_the_folder_is_refused(shop: Team, tmp_path: Path, link: str) -> None:
    (shop.folder / link).parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (shop.folder / link).symlink_to(tmp_path / "elsewhere" / ("new.yml" if link.endswith(".yml") else ""))

    outcome = shop.init()

    assert outcome.code == 2
    assert "is a link to a place outside of" in outcome.err
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_copy_of_backout_keeps_its_own_files(shop: Team) -> None:
    for name in ("ops/__init__.py", "templates/workflows/x.j2", "README.md"):
        (shop.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (shop.folder / name).write_text("Ours\n")

    arguments = ["init", str(shop.folder), "--owner", "@shopdesk/on-call"]
    outcome = shop.world.ops(*arguments, CLOUDFLARE_API_TOKEN=READER, CLOUDFLARE_ACCOUNT_ID=None)

    assert outcome.code == 0, outcome.err
    assert "actions" not in config(shop).get("github", {})
    assert "`./run ops config check`" in shop.config.read_text()
    assert "uses: ./.github/actions/run" in shop.files()[".github/workflows/rollback-worker.yml"]
    assert {name for name in shop.files() if not name.startswith((".github/", "ops/", "templates/"))} == {
        "README.md",
        "ops.yml",
    }


def test_result_as_json(shop: Team) -> None:
    result = shop.init("--json").result

    assert result["environments"]["production"]["services"]["shop-web"] == {
        "worker": "shop-web",
        "url": "https://www.shopdesk.example",
        "probe": "/health",
    }
    assert result["files"]["ops.yml"] == "written"
    assert result["exit_code"] == 0
    assert any(line.startswith("shop-mailer:") for line in result["unchecked"])


def test_reads_only(shop: Team) -> None:
    assert shop.init().code == 0
    assert {request.method for request in shop.world.sandbox.requests} == {"GET"}
    assert shop.world.sandbox.unknown_requests == []


def test_worker_without_a_zone_gets_no_maintenance(game: Team) -> None:
    """Cloudflare owns the zone of workers.dev, so no token can change routes there."""
    assert game.init("--account", f"production={GAME}").code == 0
    folder = ".github/workflows"

    assert "rollback-worker" in game.files()[f"{folder}/incident.yml"]
    assert f"{folder}/maintenance.yml" not in game.files()
    assert "maintenance" not in game.files()[f"{folder}/incident.yml"]

    game.config.write_text(game.config.read_text().replace("game.sandbox.workers.dev", "arena.example"))
    assert game.ops("workflows", "sync").code == 0
    assert f"{folder}/maintenance.yml" in game.files()

"""`ops adopt` joins init, repository, push, settings, token, doctor and drill, for the shop and the game."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from ops.core.errors import ConfigError, Reason
from ops.core.redaction import Redactor
from ops.setup.adopt.adoption import TITLES
from ops.setup.adopt.person import person_environ
from sandbox.github.server import GitHubRepository
from tests.conftest import REFERENCE, Outcome
from tests.support.adoption import ACTIONS, EVERY_READ, READER, SHOP, Team, build_shop, team
from tests.support.bakery import PERMISSIONS
from tests.support.commands import set_origin
from tests.support.message_sheet import is_shown
from tests.support.write_kills import Killed

PERSON = "ghp_secretofdana"
TOKEN = "cfut_new-token-of-recovery"
REPOSITORY = "dana/operations"
TAKEN = "ops/setup/adopt/own_repository.py repository_name_taken ConfigError"


@contextmanager
def shop_of_dana(folder: Path) -> Iterator[Team]:
    """Two Workers of a shop. dana has an account on Team, and no repository."""
    with team(SHOP, folder) as made:
        build_shop(made.world.sandbox)
        github = made.world.sandbox.github
        github.switches.plan = "team"
        github.add_user("dana", None)
        github.add_token(PERSON, "dana", ["repo", "workflow"])
        made.world.sandbox.add_token(TOKEN, set(PERMISSIONS) - {"API Tokens Read"})
        yield made
        assert github.unknown_requests == []


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Team]:
    with shop_of_dana(tmp_path) as made:
        yield made


def adopt(shop: Team, *arguments: str, **environ: str | None) -> Outcome:
    return adopt_and_drill(shop, "--no-drill", *arguments, **environ)


def adopt_and_drill(shop: Team, *arguments: str, folder: str | None = None, **environ: str | None) -> Outcome:
    """Adopt. `folder`: "" for the default of the command."""
    given: dict[str, str | None] = {
        "CLOUDFLARE_API_TOKEN": READER,
        "CLOUDFLARE_ACCOUNT_ID": None,
        **shop.world.sandbox.github.environ(),
        "GITHUB_REPOSITORY": None,
        "GITHUB_TOKEN": PERSON,
        "OPS_RECOVERY_TOKEN": TOKEN,
        **environ,
    }
    options = ("--actions", ACTIONS, *arguments)
    place = str(shop.folder) if folder is None else folder
    return shop.world.ops("adopt", *filter(None, [place]), *options, **given)


def steps(outcome: Outcome) -> list[str]:
    return [each["state"] for each in outcome.result["steps"]]


def repository(shop: Team) -> GitHubRepository:
    return shop.world.sandbox.github.open_repository(REPOSITORY)


def written(shop: Team) -> dict[str, str]:
    """Return the files of the folder, without those of git and the record."""
    found = (path for path in shop.folder.rglob("*") if path.is_file())
    names = {path.relative_to(shop.folder).as_posix(): path.read_bytes() for path in found}
    return {name: text.decode() for name, text in names.items() if not name.startswith((".git/", ".ops/"))}


def state(shop: Team) -> dict[str, Any]:
    """Return everything that the command makes on GitHub, and its files."""
    made = repository(shop)
    return {
        "files": written(shop),
        "branch": made._repository.git.head("main").files,  # type: ignore[union-attr]
        "environments": {name: rules.branches for name, rules in made.environments.items()},
        "labels": sorted(made.labels),
        "rulesets": [each.name for each in made.rulesets],
        "secrets": {name: made.secrets(name) for name in made.environments},
    }


def writes(shop: Team) -> int:
    return sum(one.method != "GET" and one.path != "/graphql" for one in shop.world.sandbox.github.requests)


def test_one_command_makes_everything_once(shop: Team) -> None:
    first = adopt(shop, "--yes", "--json")

    assert (first.code, first.result["decision"]) == (0, "done"), first.out + first.err
    assert first.result["repository"] == REPOSITORY
    made = state(shop)
    assert made["branch"].keys() == made["files"].keys()
    assert len(made["files"]) <= 20
    assert repository(shop).switches.private
    assert made["secrets"]["recovery"] == {"CLOUDFLARE_API_TOKEN": TOKEN}
    assert [name for name, values in made["secrets"].items() if values] == ["recovery"]
    assert PERSON not in "".join(made["files"].values()) + (shop.folder / ".git/config").read_text()
    sent = writes(shop)
    for _ in range(2):
        again = adopt(shop, "--yes", "--json", OPS_RECOVERY_TOKEN=None)
        assert (again.code, again.result["decision"]) == (0, "nothing_to_do")
        assert steps(again) == ["already done"] * 5 + ["checked", "skipped"]
    assert (writes(shop), state(shop)) == (sent, made)


def test_the_end_names_what_is_open_and_links_no_token_of_a_later_recovery(shop: Team) -> None:
    done = adopt(shop, "--yes")

    assert done.code == 0, done.err
    end = done.out[done.out.rindex(f"{REPOSITORY} is set up.") :]
    assert "Still open: " in end
    assert "secrets not stored: `ops setup github` lists them" in end
    assert "gh secret set" not in done.out


def test_other_token_after_a_kill_leaves_the_new_repository_its_own(shop: Team) -> None:
    def end() -> None:
        raise Killed

    shop.world.sandbox.github.fault(method="POST", path="/user/repos", after=end, is_prompt=True)
    with pytest.raises(Killed):
        adopt(shop, "--yes", "--json")
    shop.world.sandbox.github.add_user("eve", None)
    shop.world.sandbox.github.add_token("ghp_secretofeve", "eve", ["repo", "workflow"])

    refused = adopt(shop, "--yes", GITHUB_TOKEN="ghp_secretofeve")
    done = adopt(shop, "--yes", "--json")

    assert (refused.code, done.code) == (4, 0), refused.err + done.err
    assert (done.result["repository"], steps(done)[1]) == (REPOSITORY, "already done")


@pytest.mark.parametrize("lost", ["before", "after"])
def test_lost_answer_to_the_creation_makes_no_second_repository(shop: Team, lost: Literal["before", "after"]) -> None:
    shop.world.sandbox.github.fault(method="POST", path="/user/repos", lost=lost)

    done = adopt(shop, "--yes", "--json")

    assert done.code == 0, done.err
    assert steps(done)[1] == "done"


def test_dry_run_names_every_step_and_writes_nothing(shop: Team) -> None:
    shown = adopt_and_drill(shop, "--dry-run")
    implicit = adopt(shop, "--json")

    assert (shown.code, implicit.code) == (0, 9), shown.err + implicit.err
    assert implicit.result["decision"] == "planned"
    for text in (
        "would write 17 files",
        f"would create the private repository {REPOSITORY}",
        "recover:shop-web",
        "gh secret set CLOUDFLARE_API_TOKEN --env recovery",
        "would recover a broken release",
        "Nothing was changed.",
    ):
        assert text in shown.out
    assert not shop.folder.exists()
    assert writes(shop) == 0


def test_installation_without_the_sandbox_skips_the_drill(shop: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "multipart", None)  # Python: the package is not installed

    for decision in ("done", "nothing_to_do"):
        done = adopt_and_drill(shop, "--yes", "--json")
        assert (done.code, done.result["decision"], steps(done)[-1]) == (0, decision, "skipped"), done.err
        assert "`ops drill rollback-worker --trigger label --config" in done.result["steps"][-1]["details"]


def test_dry_run_of_an_adopted_folder_shows_only_what_is_missing(shop: Team) -> None:
    adopt(shop, "--yes")
    del repository(shop)._repository.labels["recover:shop-web"]
    sent = writes(shop)

    shown = adopt(shop, "--dry-run", "--json", OPS_RECOVERY_TOKEN=None)

    found = {each["title"]: (each["state"], each["details"]) for each in shown.result["steps"]}
    assert found == dict.fromkeys(TITLES, ("already done", "")) | {
        "Set up GitHub": ("planned", "create label recover:shop-web"),
        "Check the set-up": ("planned", "read the settings and the account with `ops doctor`"),
        "Drill the first label": ("skipped", ""),
    }
    assert writes(shop) == sent


def test_name_in_use_is_refused_with_another_way(shop: Team) -> None:
    shop.world.sandbox.github.add_repository("dana/operations")

    shop.world.sandbox.github.add_repository("dana/shop").add_user("dana", "admin")

    planned = adopt(shop, "--dry-run", "--repo", "dana/shop")
    assert (planned.code, is_shown(planned.err, TAKEN)) == (2, True)
    assert adopt(shop, "--dry-run", "--repo", "operations").code == 2
    refused = adopt(shop, "--yes")
    other = adopt(shop, "--yes", "--json", "--repo", "dana/recovery")

    assert refused.code == 2
    assert is_shown(refused.err, TAKEN)
    assert "`ops adopt --repo OWNER/NAME`" in refused.err
    assert (other.code, other.result["repository"]) == (0, "dana/recovery")
    third = adopt(shop, "--yes", "--repo", "dana/others")
    assert is_shown(third.err, "ops/setup/adopt/own_repository.py choose_own_repository ConfigError")


def test_person_who_may_not_create_repositories_gets_the_next_step(shop: Team) -> None:
    shop.world.sandbox.github.add_token("ghp_narrow", "dana", ["repo"])

    stranger = adopt(shop, "--yes", "--repo", "acme/recovery")
    unscoped = adopt(shop, "--yes", "--repo", "dana/recovery", GITHUB_TOKEN="ghp_narrow")

    assert stranger.code == 4
    assert "may not create repositories of acme" in stranger.err
    assert "gh auth refresh" in unscoped.err
    assert adopt(shop, "--yes", "--json").code == 0


def test_plan_without_environments_pushes_the_changed_files(shop: Team) -> None:
    shop.world.sandbox.github.switches.plan = "free"

    done = adopt(shop, "--yes", "--json")

    assert done.code == 0, done.out + done.err
    files = state(shop)["branch"]
    assert b"environments: false" in files["ops.yml"]
    assert b"environment: recovery" not in files[".github/workflows/recover.yml"]
    assert repository(shop).secrets() == {"RECOVERY_CLOUDFLARE_API_TOKEN": TOKEN}
    assert adopt(shop, "--yes", "--json").result["decision"] == "nothing_to_do"


def test_other_servers_jobs_and_missing_tokens_are_refused_before_a_question(shop: Team, tmp_path: Path) -> None:
    answers = [
        adopt(shop, GITHUB_API_URL="", GITHUB_SERVER_URL="https://git.shopdesk.example"),
        adopt(shop, GITHUB_ACTIONS="true"),
        adopt(shop, GITHUB_TOKEN=None, PATH=str(tmp_path)),
        adopt(shop, CLOUDFLARE_API_BASE_URL=""),
        adopt(shop, "--repo", "operations", "--yes"),
    ]

    texts = ("github.com", "GitHub Actions", "#token_missing", "`ops sandbox`", "OWNER/NAME")
    assert [(each.code, text in each.err) for text, each in zip(texts, answers, strict=True)] == [(2, True)] * 5
    assert writes(shop) == 0


@pytest.mark.parametrize(
    ("fault", "text", "command"),
    [
        ({"path": "/user", "status": 403}, "GitHub answered 403", "not that of a GitHub App"),
        ({"path": "/user/repos", "status": 404}, "is no organization", "`workflow`"),
        ({"path": "/user/repos", "status": 422}, "the plan does not allow", "`workflow`"),
        ({"path": "/user/repos", "method": "POST", "lost": "before", "times": 2}, "does not exist", "`ops adopt`"),
        ({"path": "**/git-receive-pack", "status": 500}, "git push to dana/operations failed", "Contents"),
        ({"path": "/repos/*/*/environments/report", "method": "PUT", "status": 422}, "", "`ops adopt`"),
        ({"path": "/repos/*/*/environments/*/secrets/*", "method": "PUT", "status": 403}, "", "`ops adopt`"),
    ],
)
def test_obstacle_names_the_next_step_and_the_same_command_goes_on(
    shop: Team, fault: dict[str, Any], text: str, command: str
) -> None:
    shop.world.sandbox.github.fault(**fault)

    first = adopt(shop, "--yes")

    assert first.code in {2, 4}
    assert text in first.err
    assert command in first.out + first.err
    second = adopt(shop, "--yes", "--json")
    assert second.code == 0, second.out + second.err
    assert state(shop)["secrets"]["recovery"]


def test_token_that_does_not_fit_or_is_missing_leaves_one_step(shop: Team) -> None:
    shop.world.sandbox.add_token("cfut_for-pages", ["Pages Write"])

    wrong = adopt(shop, "--yes", OPS_RECOVERY_TOKEN="cfut_for-pages")
    echo = shop.world.sandbox.fault(path="**/tokens/verify", status=400, message=f"no token {TOKEN}", times=None)
    unproved = adopt(shop, "--yes")
    echo.remove()
    quoted = adopt(shop, "--yes", OPS_RECOVERY_TOKEN='"cfut_of-the-shop"')
    missing = adopt(shop, "--yes", "--json", OPS_RECOVERY_TOKEN=None)
    right = adopt(shop, "--yes", "--json")

    assert wrong.code == 2
    assert "stopped in step 5. Correct the error below first." in wrong.out
    assert ("OPS_RECOVERY_TOKEN " in quoted.err, "U+0022" in quoted.err) == (True, True)
    assert "the token in OPS_RECOVERY_TOKEN is not stored" in wrong.err
    assert (unproved.code, "no token " in unproved.err, TOKEN in unproved.err) == (2, True, False)
    assert (missing.code, missing.result["decision"], steps(missing)[4]) == (4, "incomplete", "failed")
    assert (right.code, steps(right)[4]) == (0, "done")


def test_read_only_token_of_a_named_variable_is_redacted(shop: Team) -> None:
    shop.world.sandbox.add_token("cfut_of-the-shop", EVERY_READ)
    shop.world.sandbox.fault(path="**/pages/projects", status=400, message="no cfut_of-the-shop", times=None)
    named = ("--token-name", "production=SHOP_READS")

    shown = adopt(shop, "--dry-run", *named, CLOUDFLARE_API_TOKEN=None, SHOP_READS="cfut_of-the-shop")

    assert "Pages projects: Cloudflare answered" in shown.out
    assert "cfut_of-the-shop" not in shown.out + shown.err


def test_folder_of_another_repository_is_refused(shop: Team, tmp_path: Path) -> None:
    set_origin(shop.world.folder, "https://github.com/shopdesk/web.git")
    inside = adopt(shop, "--yes")
    assert not shop.folder.exists()
    shop.folder.mkdir()
    set_origin(shop.folder, "https://github.com/shopdesk/web.git")
    other = adopt(shop, "--yes")
    assert writes(shop) == 0
    (shop.folder / ".ops").mkdir(exist_ok=True)
    (shop.folder / ".ops" / "adopt.json").write_text("{")
    broken = adopt(shop, "--yes")
    shutil.rmtree(shop.folder / ".ops")
    (shop.folder / ".ops" / "adopt.new").mkdir(parents=True)
    unwritable = adopt(shop, "--yes", "--repo", "shopdesk/web")

    assert is_shown(inside.err, "ops/setup/adopt/git_folder.py require_adopt_folder ConfigError")
    assert is_shown(other.err, "ops/setup/adopt/git_folder.py GitFolder.has_own_origin ConfigError")
    assert ".ops/adopt.json" in broken.err
    assert is_shown(unwritable.err, "ops/setup/adopt/record.py AdoptRecord.save ConfigError")
    assert [each.code for each in (inside, other, broken, unwritable)] == [2] * 4


@pytest.mark.parametrize("has_example", [True, False])
def test_in_a_clone_the_repository_begins_beside_it(
    shop: Team, monkeypatch: pytest.MonkeyPatch, *, has_example: bool
) -> None:
    clone = shop.world.folder / "clone"
    (clone / "src").mkdir(parents=True)
    set_origin(clone, "https://github.com/shopdesk/web.git")
    if has_example:
        shutil.copy(REFERENCE / "ops.yml", clone / "ops.yml")
    monkeypatch.chdir(clone if has_example else clone / "src")
    before = sorted(clone.rglob("*"))

    shown = adopt_and_drill(shop, "--dry-run", "--no-drill", folder="")
    done = adopt_and_drill(shop, "--yes", "--json", "--no-drill", folder="")
    again = adopt_and_drill(shop, "--yes", "--json", "--no-drill", folder="")

    assert (shown.code, done.code, again.result["decision"]) == (0, 0, "nothing_to_do"), done.err
    assert sorted(clone.rglob("*")) == before
    assert (shop.folder / ".ops" / "adopt.json").exists()


def test_missing_git_and_archived_repository_name_the_next_step(shop: Team, tmp_path: Path) -> None:
    without_git = adopt(shop, "--yes", PATH=str(tmp_path))
    repository(shop)._repository.is_archived = True
    archived = adopt(shop, "--yes")

    assert "git is not on PATH" in without_git.err
    assert "dana/operations is archived" in archived.err


def test_token_of_gh_is_used_for_the_real_server_only(tmp_path: Path) -> None:
    gh = tmp_path / "gh"
    gh.write_text('#!/bin/sh\n[ "$*" = "auth token --hostname github.com" ] && echo gho_of-dana\n')
    gh.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "GITHUB_SERVER_URL": "https://github.com"}
    redactor = Redactor()

    assert person_environ(environ, tmp_path, redactor)["GITHUB_TOKEN"] == "gho_of-dana"
    assert redactor.redact_text("gho_of-dana") != "gho_of-dana"
    sandbox = {"GITHUB_API_URL": "http://127.0.0.1:9", "CLOUDFLARE_API_BASE_URL": "http://127.0.0.1:9"}
    with pytest.raises(ConfigError) as refused:
        person_environ({**environ, **sandbox}, tmp_path, redactor)
    assert refused.value.reason == Reason.TOKEN_MISSING


def test_settings_of_the_application_repository_are_proposed(shop: Team) -> None:
    """Found in one round of reads, and written as comments: a person decides."""
    hub = shop.world.sandbox.github
    made, options = hub.add_repository("shopdesk/shop"), ("--repository", "shopdesk/shop", "--repo", REPOSITORY)
    for login, role in (("dana", "read"), ("rita", "write")):
        made.add_user(login, role)  # type: ignore[arg-type]
    made.add_team("on-call", ["rita"])
    made.add_environment("production", reviewers=["rita"], teams=["on-call"])
    made.add_runner("box", "gpu")
    made.put_secret("SLACK_WEBHOOK_URL", "https://hooks.slack.example")
    made.put_secret("STRIPE_KEY", "sk")

    reader = adopt(shop, "--dry-run", *options)
    made.add_user("dana", "admin")
    shown = adopt(shop, "--dry-run", *options)
    done = adopt(shop, "--yes", *options)

    assert "not read in shopdesk/shop with this token: runners, secrets" in reader.out
    assert (shown.code, done.code) == (0, 0), shown.err + done.err
    chat = "notify: no chat gets notices. shopdesk/shop has the secrets SLACK_WEBHOOK_URL: write `notify: {slack: "
    people = "the reviewers rita, shopdesk/on-call for production: write `approval: [security]`, then "
    ways = "`ops setup github --reviewer rita --reviewer shopdesk/on-call`", "write `runs_on: [gpu, linux, "
    for text in (f"{chat}{{webhook: SLACK_WEBHOOK_URL}}}}`", people + ways[0], ways[1]):
        assert text in shown.out
        assert text in written(shop)["ops.yml"]
    assert "hooks.slack" not in shown.out + done.out + "".join(written(shop).values())
    assert "STRIPE" not in shown.out.partition("Not set")[2]
    assert adopt(shop, "--yes", "--json", *options).result["decision"] == "nothing_to_do"

"""`ops setup github` on each GitHub plan, for the shop of tests/support/configurations/one_worker."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from ops import cli
from ops.app import registry
from ops.app.configuration import choose_repository, read_config
from ops.core.errors import ConfigError
from ops.core.redaction import Redactor
from ops.evidence import tables
from ops.evidence.tables import EvidenceTable
from ops.setup.github_environments import EVIDENCE, needed_environments
from ops.setup.github_secrets import TOKEN_PAGE, token_url
from ops.setup.github_setup import RULESET, default_branch_ruleset, satisfies_setup_rules
from sandbox.clock import FakeClock
from sandbox.github import GitHub
from tests.conftest import ROOT, Outcome
from tests.support.commands import Terminal, set_origin
from tests.support.configurations import CONFIGURATIONS
from tests.support.workflows import add_actions

SHOP = next(path for path in CONFIGURATIONS if path.parent.name == "one_worker")
REPOSITORY = "shopdesk/operations"
TOKEN = "ghp_secretofdana"
ENVIRONMENTS = {"evidence", "recovery", "report", "security"}


@dataclass
class Shop:
    """The shop's operations repository on GitHub and on a laptop. dana is its admin."""

    github: GitHub
    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "ops.yml"

    def edit(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))

    def setup(self, *arguments: str, **environ: str | None) -> Outcome:
        scrubbed = {name: None for name in os.environ if name.startswith(("GITHUB_", "GH_", "CLOUDFLARE_", "OPS_"))}
        self.github.catch_up()  # people start commands seconds apart
        own = {**self.github.environ(), "GITHUB_TOKEN": TOKEN, **environ}
        with CliRunner().isolation(env={**scrubbed, **own}) as (out, err, _):
            code = cli.run(["setup", "github", "--config", str(self.config), *arguments])
            outcome = Outcome(code, out.getvalue().decode(), err.getvalue().decode())
        assert TOKEN not in outcome.out + outcome.err
        return outcome

    def result(self, *arguments: str) -> dict[str, Any]:
        return self.setup("--yes", "--json", *arguments).result

    def writes(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.github.requests if one.method != "GET"]

    def branches(self) -> dict[str, tuple[str, ...]]:
        return {name: rules.branches for name, rules in self.github.environments.items()}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A private repository on Free: what a new one usually is."""
    github = GitHub(FakeClock(virtual=True), repository=REPOSITORY)
    github.start()
    github.add_user("dana", "admin")
    github.add_user("omar")
    github.add_user("rita", "read")
    github.add_token(TOKEN, "dana")
    text = SHOP.read_text()
    (tmp_path / "ops.yml").write_text(text.replace("of its repository is `trunk`", "is main"))
    add_actions(tmp_path)
    yield Shop(github, tmp_path)
    assert github.unknown_requests == []
    github.stop()


def kinds(result: dict[str, Any]) -> list[str]:
    return [change["kind"] for change in result["changes"] if change["done"]]


@pytest.mark.slow
@pytest.mark.parametrize(("plan", "private"), [("free", False), ("team", True), ("enterprise", True)])
def test_environments_labels_and_ruleset_are_created_once(shop: Shop, plan: Any, private: bool) -> None:
    shop.github.switches.plan, shop.github.switches.private = plan, private

    first = shop.result()

    assert (first["decision"], first["exit_code"]) == ("done", 0)
    assert set(kinds(first)) == {"environment", "label", "ruleset"}
    assert shop.branches() == dict.fromkeys(ENVIRONMENTS, ("main",))
    (made,) = shop.github.rulesets
    assert satisfies_setup_rules(made.rules)
    sent = len(shop.writes())
    second = shop.setup("--yes")
    assert (second.code, "nothing to do" in second.out) == (0, True)
    assert len(shop.writes()) == sent


@pytest.mark.slow
@pytest.mark.parametrize("lists_rules", [True, False])
def test_private_repository_on_free_gets_secrets_of_the_repository(shop: Shop, lists_rules: bool) -> None:
    shop.github.switches.free_plan_lists_branch_rules = lists_rules
    before = shop.config.read_text()

    result = shop.result()

    assert (result["decision"], set(kinds(result))) == ("done", {"file", "label"})
    assert shop.config.read_text() == before + "\ngithub:\n  environments: false\n"
    assert "environment: recovery" not in (shop.folder / ".github/workflows/recover.yml").read_text()
    assert (shop.github.environments, shop.github.rulesets) == ({}, [])
    assert any("everyone who can push reads every secret" in text for text in result["notices"])
    assert "gh secret set RECOVERY_SHOPDESK_CLOUDFLARE_TOKEN --repo shopdesk/operations" in {
        secret["command"] for secret in result["secrets"]
    }
    again = shop.result()
    assert (again["decision"], again["changes"]) == ("nothing_to_do", [])


@pytest.mark.parametrize(("plan", "private"), [("free", False), ("team", True)])
def test_change_of_plan_or_visibility_names_the_steps_to_environments(shop: Shop, plan: Any, private: bool) -> None:
    shop.result()
    shop.github.switches.plan, shop.github.switches.private = plan, private

    result = shop.result()

    (notice,) = [text for text in result["notices"] if "environments: false" in text]
    assert "`workflows sync`" in notice
    assert shop.github.environments == {}


def test_workflow_that_a_person_changed_is_kept_and_named(shop: Shop) -> None:
    shop.result()
    called = shop.folder / ".github/workflows/recover.yml"
    called.write_text(own := called.read_text().replace("ubuntu-latest", "ubuntu-slim"))
    shop.edit("environments: false", "environments: true")

    outcome = shop.setup("--yes")

    assert (outcome.code, called.read_text()) == (4, own)
    assert "NOT changed file ops.yml: a person changed a workflow" in outcome.err


@pytest.mark.slow
def test_plan_and_run_end_with_what_is_not_possible(shop: Shop) -> None:
    shop.github.switches.plan = "team"
    shop.github.add_user("dana", "write")

    planned, done = shop.setup("--dry-run"), shop.setup("--yes")

    shop.github.add_user("dana", "read")
    reader = shop.setup("--yes")
    assert (planned.code, done.code, reader.code) == (4, 4, 4)
    assert "nothing to do" not in reader.out
    for heading, each in (("Not possible:", planned), ("Not done:", done), ("Not done:", reader)):
        assert "only an admin of shopdesk/operations may do it" in each.out.partition(f"\n{heading}\n")[2]
        assert each.out.splitlines()[-1].endswith(" again.")


@pytest.mark.slow
def test_writer_gets_labels_only(shop: Shop) -> None:
    shop.github.switches.plan = "team"
    shop.github.add_user("dana", "write")

    result = shop.result()

    assert (result["decision"], set(kinds(result))) == ("incomplete", {"label"})
    assert len([text for text in result["impossible"] if "only an admin of shopdesk/operations" in text]) == 5


def test_token_of_an_app_is_tried_because_github_does_not_say_what_it_may(shop: Shop) -> None:
    """GitHub leaves the permissions of a person out of its answer, and this token may write issues."""
    before = set(shop.folder.rglob("*"))

    outcome = shop.setup("--yes", GITHUB_TOKEN=shop.github.token)

    assert (outcome.code, "not possible" in outcome.out) == (0, False)
    assert "created label incident" in outcome.out
    commands = [line for line in outcome.out.splitlines() if line.startswith("Commit and push: ")]
    written = {path.relative_to(shop.folder).as_posix() for path in set(shop.folder.rglob("*")) - before}
    listed = set(commands[0].partition("git add ")[2].partition(" &&")[0].split())
    assert listed == {"ops.yml", *(name for name in written if name.endswith((".yml", ".py")))}


def test_reader_changes_nothing(shop: Shop) -> None:
    shop.github.switches.plan = "team"
    shop.github.add_user("dana", "read")
    outcome = shop.setup("--yes")
    assert (outcome.code, shop.writes()) == (4, [])
    assert "not possible: labels" in outcome.out
    assert "may not read names of secrets" in outcome.out


def test_fine_grained_token_without_administration_is_tried_once_for_each_kind(shop: Shop) -> None:
    shop.github.switches.plan = "team"
    own = ["issues:write", "actions:read", "environments:read"]
    shop.github.add_token("github_pat_x", "dana", own)

    outcome = shop.setup("--yes", GITHUB_TOKEN="github_pat_x")

    assert outcome.code == 4
    assert outcome.err.count("Use a token with Administration") == 5
    assert [path for path in shop.writes() if "/labels" not in path] == [
        "PUT /repos/shopdesk/operations/environments/evidence",
        "POST /repos/shopdesk/operations/rulesets",
    ]


def test_dry_run_and_run_without_terminal_change_nothing(shop: Shop) -> None:
    shop.github.switches.plan = "team"
    planned, implicit = shop.setup("--dry-run"), shop.setup()
    assert (planned.code, implicit.code, shop.writes()) == (0, 9, [])
    assert "create environment recovery: branch main only" in planned.out
    assert "gh secret set SHOPDESK_CLOUDFLARE_TOKEN --env recovery --repo shopdesk/operations" in planned.out
    assert f"{TOKEN_PAGE}?permissionGroupKeys=" in planned.out
    assert planned.out.index("--env recovery") < planned.out.index("--env evidence")
    assert "`SHOPDESK_CLOUDFLARE_TOKEN`: 1Password: shopdesk-cloudflare-token" in planned.out
    assert "add --yes" in implicit.out


def test_rules_of_a_person_are_kept(shop: Shop) -> None:
    shop.github.switches.plan = "enterprise"
    shop.github.add_environment("recovery", reviewers=["rita"], prevent_self_review=True, wait_timer=5)
    shop.github.add_environment("report", branches=["main", "release/*"])
    shop.github.add_ruleset("Own", [*default_branch_ruleset()["rules"], {"type": "required_signatures"}])

    result = shop.result()

    rules = shop.github.environments["recovery"]
    assert ([one.login for one in rules.reviewers], rules.prevents_self_review, rules.wait_timer) == (["rita"], True, 5)
    assert shop.branches() == dict.fromkeys(ENVIRONMENTS, ("main",))
    assert len(shop.github.rulesets) == 1
    assert any("`recovery` has required reviewers" in text for text in result["notices"])


def test_invalid_code_owners_are_named(shop: Shop) -> None:
    shop.github.switches.plan = "team"
    shop.github.add_commit("Own", "dana", files={".github/CODEOWNERS": "* @dana\n/ops.yml @left-long-ago\n"})
    notices = shop.result()["notices"]
    assert any("GitHub ignores lines of CODEOWNERS: line 2: Unknown owner." in text for text in notices)


@pytest.mark.slow
def test_disabled_ruleset_is_turned_on_again(shop: Shop) -> None:
    shop.github.switches.plan = "team"
    shop.github.add_ruleset(RULESET, [], enforcement="disabled")
    shop.result()
    (own,) = shop.github.rulesets
    assert (own.enforcement, satisfies_setup_rules(own.rules)) == ("active", True)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/repos/*/*/environments/recovery"),
        ("POST", "/repos/*/*/environments/recovery/deployment-branch-policies"),
        ("POST", "/repos/*/*/rulesets"),
        ("POST", "/repos/*/*/labels"),
    ],
)
@pytest.mark.parametrize("applied", [True, False])
def test_lost_answer_is_settled_by_reading(shop: Shop, method: str, path: str, applied: bool) -> None:
    shop.github.switches.plan = "team"
    fault = shop.github.fault(method=method, path=path, status=502, applied=applied)

    result = shop.result()

    assert (result["decision"], fault.hits) == ("done", 1)
    assert shop.branches() == dict.fromkeys(ENVIRONMENTS, ("main",))
    assert len(shop.github.rulesets) == 1


@pytest.mark.slow
def test_lasting_failure_is_unclear(shop: Shop) -> None:
    shop.github.switches.plan = "team"
    shop.github.fault(method="POST", path="/repos/*/*/rulesets", status=502, times=None)
    result = shop.result()
    assert (result["decision"], result["exit_code"]) == ("incomplete", 5)


@pytest.mark.slow
def test_enterprise_server_has_everything(shop: Shop) -> None:
    shop.github.switches.enterprise_server = True
    shop.edit("    services:\n", "    approval: [security]\n    services:\n")
    shop.config.write_text(shop.config.read_text() + "\ngithub:\n  enterprise_server: true\n")
    result = shop.result()
    assert (result["decision"], "ruleset" in kinds(result)) == ("done", True)
    assert [one.login for one in shop.github.environments["approve-live"].reviewers] == ["dana", "omar"]


def test_other_server_is_refused_before_the_plan(shop: Shop) -> None:
    done = shop.setup("--repo", REPOSITORY, "--dry-run", GITHUB_SERVER_URL="https://git.shopdesk.example")

    assert (done.code, shop.github.requests) == (2, [])
    assert re.match(r"error: .*\bgithub\.com\b.*\bgit\.shopdesk\.example \(GITHUB_SERVER_URL\b", done.err)


def test_unreadable_repository_is_explained(shop: Shop) -> None:
    missing = shop.setup("--repo", "shopdesk/none")
    shop.github.add_token("github_pat_y", "dana", ["issues:write"])
    shop.github.switches.plan = "team"
    unreadable = shop.setup(GITHUB_TOKEN="github_pat_y")
    assert [outcome.code for outcome in (missing, unreadable)] == [4, 4]
    assert "GitHub answered 404" in missing.err
    assert "GitHub answered 403" in unreadable.err
    assert all("that the token may read it" in outcome.err for outcome in (missing, unreadable))


@pytest.mark.slow
def test_present_secrets_are_left_out(shop: Shop) -> None:
    shop.github.switches.plan = "team"
    shop.github.add_environment("recovery")
    shop.github.put_secret("SHOPDESK_CLOUDFLARE_TOKEN", "x", "recovery")
    listed = {(one["github_environment"], one["name"]): one for one in shop.result()["secrets"]}
    assert ("recovery", "SHOPDESK_CLOUDFLARE_TOKEN") not in listed
    assert listed["security", "SHOPDESK_CLOUDFLARE_TOKEN"]["about"].startswith(
        "Cloudflare token for maintenance, rotate-secrets: Workers Scripts: Edit"
    )
    assert not any(name.startswith(("NEW_", "OLD_", "vars.")) for _, name in listed)
    assert ("security", "GH_SECRETS_TOKEN") in listed


def test_it_refuses_to_run_in_a_job_without_token_or_on_another_branch(shop: Shop) -> None:
    in_job, no_token = shop.setup(GITHUB_ACTIONS="true"), shop.setup(GITHUB_TOKEN=None)
    shop.config.write_text(shop.config.read_text() + "\ngithub:\n  branch: trunk\n")
    other = shop.setup()
    assert [outcome.code for outcome in (in_job, no_token, other)] == [2, 2, 2]
    assert re.match("error: .*GitHub Actions", in_job.err)
    assert re.match("error: .*GITHUB_TOKEN .*GH_TOKEN", no_token.err)
    assert re.match(r"error: .*\bshopdesk/operations .*\bmain\b.*\btrunk\b", other.err)
    assert shop.setup("--dry-run", GITHUB_TOKEN=None, GH_TOKEN=TOKEN).code == 2


@pytest.mark.parametrize(
    "address",
    [
        "https://github.com/shopdesk/operations.git",
        "https://x-access-token:abc@github.com/shopdesk/operations",
        "git@github.com:shopdesk/operations.git",
        "ssh://git@ssh.github.com:443/shopdesk/operations.git",
    ],
)
def test_repository_is_the_origin_of_git(tmp_path: Path, address: str) -> None:
    set_origin(tmp_path, address)
    environ = {"PATH": os.environ["PATH"]}
    assert choose_repository("", environ, tmp_path, Redactor()) == REPOSITORY
    assert choose_repository("a/b", {**environ, "GITHUB_REPOSITORY": "c/d"}, tmp_path, Redactor()) == "a/b"


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("https://gitlab.com/shopdesk/operations", r"\bapi\.github\.com: .* gitlab\.com "),
        ("https://github.com.example/a/b", r"\bapi\.github\.com: .* github\.com\.example "),
        ("/srv/x", "^(?!.*github)"),
    ],
)
def test_origin_of_another_host_is_not_used(tmp_path: Path, address: str, problem: str) -> None:
    set_origin(tmp_path, address)
    with pytest.raises(ConfigError, match=problem):
        choose_repository("", {"PATH": os.environ["PATH"]}, tmp_path, Redactor())


def test_token_page_has_permissions_and_account() -> None:
    url = token_url(["Workers Scripts Write", "Pages Read"], "0" * 32, "Backout recovery")
    keys = json.dumps([{"key": "workers_scripts", "type": "edit"}, {"key": "page", "type": "read"}])
    assert url.count("%22key%22") == 2
    assert f"accountId={'0' * 32}&zoneId=all&name=Backout%20recovery" in url
    assert keys.replace(" ", "").replace('"', "%22").replace(":", "%3A").replace(",", "%2C") in (
        url.replace("%5B", "[").replace("%5D", "]").replace("%7B", "{").replace("%7D", "}")
    )
    assert token_url(["Something Else"], "0" * 32, "x") == TOKEN_PAGE


@pytest.mark.slow
def test_token_of_evidence_has_a_link_with_the_permissions_of_its_tables(shop: Shop) -> None:
    shop.github.switches.plan = "team"
    named = " ".join(each.permission for each in vars(tables).values() if isinstance(each, EvidenceTable))
    (token,) = [one for one in shop.result()["secrets"] if one["github_environment"] == "evidence"]

    assert set(re.findall(r"(?:[A-Z]\w+ )+?(?:Read|Write)\b", named)) == set(EVIDENCE)
    assert "Account Settings: Read, Workers Scripts: Read" in token["about"]
    assert token["about"].endswith("(not in the link, add it there: Workers Observability: Edit)")
    assert token["url"].count("%22key%22") == len(EVIDENCE) - 1


@pytest.mark.slow
def test_person_names_reviewers_and_confirms(shop: Shop) -> None:
    shop.github.switches.plan = "enterprise"
    shop.edit("    services:\n", "    approval: [security]\n    services:\n")
    ours, its = pty.openpty()
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **shop.github.environ(), "GITHUB_TOKEN": TOKEN}
    argv = [sys.executable, "-m", "ops", "setup", "github"]
    with subprocess.Popen(argv, env=environ, cwd=shop.folder, text=True, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        terminal = Terminal(process, ours)
        terminal.until("Reviewers of approve-live (GitHub logins or ORGANIZATION/TEAM, comma-separated) [dana, omar]")
        terminal.type("@rita\n")
        terminal.until(f'Type "{REPOSITORY}" to go on')
        assert shop.writes() == []
        terminal.type(f"{REPOSITORY}\n")
        code = terminal.end()
    os.close(ours)
    assert code == 0, terminal.shown
    assert [one.login for one in shop.github.environments["approve-live"].reviewers] == ["rita"]


@pytest.mark.slow
@pytest.mark.parametrize(("plan", "made"), [("free", {"file", "label"}), ("team", {"environment", "label", "ruleset"})])
def test_admin_of_a_served_sandbox_sets_repository_up(tmp_path: Path, plan: str, made: set[str]) -> None:
    """The JSON line of `ops sandbox --json` has all that a person needs."""
    (tmp_path / "ops.yml").write_text(SHOP.read_text())
    shutil.copytree(ROOT / ".github" / "actions", tmp_path / ".github" / "actions")
    argv = [sys.executable, "-m", "ops", "sandbox", "--json"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as sandbox:
        assert sandbox.stdout is not None
        github = json.loads(sandbox.stdout.readline())["github"]
        httpx.post(f"{github['control_url']}/switches", json={"plan": plan}, verify=False).raise_for_status()
        (admin,) = [user["login"] for user in github["users"] if user["role"] == "admin"]
        (token,) = [each["token"] for each in github["tokens"] if each["login"] == admin]
        environ = {"GITHUB_API_URL": github["api_url"], "GITHUB_REPOSITORY": github["repository"]}
        environ |= {"GITHUB_TOKEN": token, "GITHUB_SERVER_URL": github["api_url"], "PATH": os.environ["PATH"]}
        command = ["setup", "github", "--config", str(tmp_path / "ops.yml"), "--yes", "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "ops", *command], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
        )
        sandbox.kill()

    result = json.loads(done.stdout)
    assert (result["decision"], set(kinds(result))) == ("done", made), done.stderr


@pytest.mark.parametrize(
    "path", [ROOT / "examples/fortunet/ops.yml", *CONFIGURATIONS], ids=lambda path: path.parent.name
)
def test_only_one_github_environment_may_write_databases(path: Path) -> None:
    config = read_config(path, labels=None)[0]

    found = needed_environments(config, registry.button_runbooks())

    assert [each.name for each in found if "D1 Write" in each.permissions] in ([], ["database"])


@pytest.mark.slow
@pytest.mark.parametrize("written", ["branch", "reviewers"])
def test_rule_that_github_refuses_is_explained(shop: Shop, written: str) -> None:
    shop.github.switches.plan = "enterprise"
    shop.edit("environments:\n  live:\n", "environments:\n  live:\n    approval: [recovery]\n")
    path = "/repos/*/*/environments/approve-live"
    shop.github.fault(method="PUT", path=path, status=422, skip=["branch", "reviewers"].index(written))

    result = shop.result()

    assert (result["decision"], result["exit_code"]) == ("incomplete", 4)
    (refused,) = [each for each in result["changes"] if not each["done"]]
    assert refused["name"] == "approve-live"
    assert {"branch": "environments: false", "reviewers": "`approval`"}[written] in refused["problem"]

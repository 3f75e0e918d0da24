"""Two repositories of one GitHub: people are the same, and everything else is apart.

docs.github.com/actions/concepts/security/github_token: the token of a job is limited to the repository of its workflow.
"""

import httpx
import pytest

from sandbox.github import GitHub, GitHubRepository
from sandbox.github.repository import Delivery
from tests.sandbox.github.conftest import Api

OTHER = "/repos/acme/application"
OWN = "/repos/acme/operations"


@pytest.fixture
def application(github: GitHub) -> GitHubRepository:
    made = github.add_repository("acme/application")
    made.add_user("alice", "write")
    return made


def test_token_of_a_job_knows_no_other_private_repository(
    api: Api, github: GitHub, application: GitHubRepository
) -> None:
    number = github.open_issue("Down", author="alice")
    for path in (OTHER, f"{OTHER}/contents/README.md", f"{OTHER}/issues"):
        assert api.refusal("GET", path) == (404, "Not Found")
    assert api.refusal("POST", f"{OTHER}/issues", json={"title": "Down"}) == (404, "Not Found")
    token = application.token
    assert api.get(OTHER, token=token)["full_name"] == "acme/application"
    assert api.refusal("GET", f"{OWN}/issues/{number}", token=token) == (404, "Not Found")
    assert api.refusal("POST", f"{OWN}/issues/{number}/labels", token=token, json=["hold:lifted"])[0] == 404
    query = {
        "query": 'query { repository(owner: "acme", name: "operations") { issue(number: 1) { comments(first: 1) } } }'
    }
    assert api.ok("POST", "/graphql", token=token, json=query)["errors"][0]["type"] == "NOT_FOUND"


def test_everybody_reads_a_public_repository_and_no_other_token_writes(
    api: Api, github: GitHub, application: GitHubRepository
) -> None:
    github.switches.private = False
    number = application.open_issue("Down", author="alice")
    narrow = github.add_workflow_token("ghs_nothing", {})

    assert api.get(f"{OTHER}/issues/{number}", token=narrow)["title"] == "Down"
    assert api.refusal("POST", f"{OTHER}/issues/{number}/comments", json={"body": "on it"}) == (
        403,
        "Resource not accessible by integration",
    )


def test_token_of_a_person_reaches_the_repositories_that_it_names(
    api: Api, github: GitHub, application: GitHubRepository
) -> None:
    """A fine-grained token names one. A classic token reaches all of its user, who is a stranger in some."""
    fine = application.add_token("github_pat_alice", "alice", ["issues:write"])
    classic = github.add_token("ghp_alice", "alice")
    tina = github.add_token("ghp_tina", "tina")

    assert [api("GET", path, token=fine).status_code for path in (OTHER, OWN)] == [200, 404]
    assert [api("GET", path, token=classic).status_code for path in (OTHER, OWN)] == [200, 200]
    assert [api("GET", path, token=tina).status_code for path in (OTHER, OWN)] == [404, 200]
    assert api("GET", "/repos/acme/nothing", token=classic).status_code == 404


def test_contents_and_roles_are_apart_and_people_are_the_same(
    api: Api, github: GitHub, application: GitHubRepository
) -> None:
    heard: list[Delivery] = []
    application.listen_to(heard.append)
    application.add_user("tina", "admin")
    sha = application.add_commit("Add the cart", "alice", files={"cart.js": "1"})
    classic = application.add_token("ghp_alice", "alice")
    first, second = (api.ok("POST", f"{path}/issues", token=classic, json={"title": "Down"}) for path in (OWN, OTHER))

    assert (first["number"], second["number"], first["id"] == second["id"]) == (1, 1, False)
    assert first["user"]["id"] == second["user"]["id"]
    assert [api.get(f"{path}/collaborators/tina/permission", token=classic)["role_name"] for path in (OWN, OTHER)] == [
        "triage",
        "admin",
    ]
    assert api("GET", f"{OWN}/commits/{sha}", token=classic).status_code == 422
    assert api.get(f"{OTHER}/commits/{sha}", token=classic)["sha"] == sha
    assert {each.payload["repository"]["full_name"] for each in heard} == {"acme/application"}
    assert [each.event for each in heard] == ["push", "issues"]
    assert first["html_url"].endswith("/acme/operations/issues/1")


def test_created_repository_is_empty_and_an_archived_one_is_read_only(github: GitHub) -> None:
    """docs.github.com/rest/repos/repos#create-a-repository-for-the-authenticated-user"""
    github.add_user("dana", None)
    token = github.add_token("ghp_dana", "dana", ["repo"])
    calls = httpx.Client(base_url=github.api_url, headers={"authorization": f"Bearer {token}", "user-agent": "test"})
    body = {"name": "operations", "private": True}

    with calls:
        made = calls.post("/user/repos", json=body)
        again = calls.post("/user/repos", json=body)
        others = calls.post("/orgs/acme/repos", json=body)
        commits = calls.get("/repos/dana/operations/commits/main")
        archived = calls.patch("/repos/dana/operations", json={"archived": True})
        label = calls.post("/repos/dana/operations/labels", json={"name": "bug"})
        read = calls.get("/repos/dana/operations")

    assert [each.status_code for each in (made, again, others, commits)] == [201, 422, 403, 409]
    assert again.json()["errors"][0]["message"] == "name already exists on this account"
    assert (archived.status_code, label.status_code, read.json()["archived"]) == (200, 403, True)

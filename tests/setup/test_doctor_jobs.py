"""`ops doctor` in the jobs of its workflow: results of each job, and the issue that the last one keeps."""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from ops.setup.github_secrets import TOKEN_PAGE
from sandbox.github.issues.state import FakeIssue
from tests.conftest import Outcome
from tests.support.bakery import ACCOUNT, PERMISSIONS, TOKEN, Bakery, add_branches, bakery

WITHOUT_DATABASE = f"""\
environments:
  test:
    account_id: {ACCOUNT}
    token: BAKERY_TOKEN
    services:
      shop:
        worker: shop-test
        url: https://shop-test.bakery.example
        probes: [{{name: health, http: {{path: /health}}}}]
"""

READING = {
    "D1 Read",
    "Account Settings Read",
    "Account Analytics Read",
    "Analytics Read",
    "Workers Observability Write",
}
READS = {
    "report": (
        *(
            "Workers Scripts Read",
            "Pages Read",
            "Workers KV Storage Read",
            "D1 Read",
            "Zone Read",
            "Workers Routes Read",
        ),
        *("Account Analytics Read", "Analytics Read"),
    ),
    "evidence": (
        *("Workers Scripts Read", "Pages Read", "Zone Read", "Account Analytics Read", "Analytics Read"),
        *("Account Settings Read", "Workers Observability Write"),
    ),
}
"""GitHub environment → what its token must read, as docs/reference/permissions.md lists it."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Bakery]:
    with bakery(tmp_path) as made:
        yield made


class Workflow:
    """The jobs of the workflow *doctor*, one after the other, and the outputs that they pass on."""

    def __init__(self, world: Bakery) -> None:
        self.world, self.needs = world, dict[str, dict[str, object]]()
        world.environ |= {"GITHUB_ACTIONS": "true", "GITHUB_TOKEN": world.sandbox.github.token}

    def check(self, github_environment: str, rights: Collection[str] = ()) -> Outcome:
        file = self.world.folder / "output"
        file.write_text("")
        own = {*PERMISSIONS, *READING} - ({"D1 Write"} if github_environment != "database" else set())
        self.world.sandbox.add_token(TOKEN, rights or own)
        self.world.environ["GITHUB_OUTPUT"] = str(file)
        outcome = self.world.doctor("--github-environment", github_environment)
        outputs = {"results": file.read_text().splitlines()[1]}
        self.needs[github_environment] = {"result": "success", "outputs": outputs}
        return outcome

    @property
    def rows(self) -> dict[str, list[dict[str, str]]]:
        """GitHub environment → the results that its job passed on."""
        return {name: json.loads(job["outputs"]["results"]) for name, job in self.needs.items()}  # type: ignore[index]

    def collect(self, *options: str) -> Outcome:
        self.world.environ["NEEDS"] = json.dumps(self.needs)
        return self.world.doctor("--collect", "--issue", *options)

    @property
    def issues(self) -> list[FakeIssue]:
        found = self.world.sandbox.github.issues
        return [each for each in found if any(label.name == "backout-doctor" for label in each.labels)]


@pytest.mark.slow
def test_job_checks_its_own_secrets_and_leaves_the_verdict_to_the_last_job(world: Bakery) -> None:
    jobs = Workflow(world)
    world.environ["BAKERY_TOKEN"] = None

    outcome = jobs.check("recovery")

    assert outcome.code == 0
    assert "✘ token (live): BAKERY_TOKEN is not set" in outcome.out
    assert "fix: gh secret set BAKERY_TOKEN --env recovery" in outcome.out
    assert "labels" not in outcome.out


def test_last_job_keeps_one_issue_until_nothing_is_wrong(world: Bakery) -> None:
    jobs = Workflow(world)
    world.environ["BAKERY_TOKEN"] = None
    world.sandbox.github.rulesets[0].enforcement = "disabled"
    jobs.check("recovery")
    jobs.needs["security"] = {"result": "failure", "outputs": {}}

    first = jobs.collect()
    (body,) = [each.body or "" for each in jobs.issues]

    assert first.code == 2
    assert "✘ job (security): it ended with failure before its first check" in first.out
    assert "### ✘ `token`" in body
    assert "- recovery-live: BAKERY_TOKEN is not set" in body
    assert f"[Open the page]({world.sandbox.github.urls.html}/acme/operations/settings/rules)" in body
    assert "gh secret set BAKERY_TOKEN" in body

    jobs.check("security")
    jobs.collect()
    assert [(each.state, "`job`" in (each.body or "")) for each in jobs.issues] == [("open", False)]

    world.environ["BAKERY_TOKEN"] = TOKEN
    world.sandbox.github.rulesets[0].enforcement = "active"
    jobs.check("recovery")
    jobs.check("security")
    last = jobs.collect()

    assert last.code == 0
    assert [each.state for each in jobs.issues] == ["closed"]


def test_secret_whose_value_is_a_common_word_spoils_no_id(world: Bakery) -> None:
    jobs = Workflow(world)
    world.environ["OLD_MAIL_KEY"] = "secret"

    jobs.check("recovery")
    last = jobs.collect("--json")

    assert last.code == 0, last.err
    found = {(each["id"], each["subject"]): each["answer"] for each in json.loads(last.out)["checks"]}
    assert found["worker-secrets", "live/shop"] == "right"


def test_laptop_checks_the_token_of_an_environment_without_a_job(world: Bakery) -> None:
    lacking = world.doctor("--github-environment", "evidence")
    world.sandbox.add_token(TOKEN, {*PERMISSIONS, *READING} - {"D1 Write"})
    complete = world.doctor("--github-environment", "evidence")

    assert (lacking.code, complete.code) == (2, 0), complete.out
    assert "BAKERY_TOKEN lacks Account Analytics Read" in lacking.out


@pytest.mark.parametrize("github_environment", ["recovery", "report", "database"])
def test_only_the_token_for_databases_may_write_them(world: Bakery, github_environment: str) -> None:
    outcome = Workflow(world).check(github_environment, rights={*PERMISSIONS, *READING})

    text = f"✘ token-writes (live): BAKERY_TOKEN of {github_environment} has D1 Write"
    is_wrong = github_environment != "database"
    assert (text in outcome.out) is is_wrong
    assert ("`database`" in outcome.out) is is_wrong


@pytest.mark.slow
@pytest.mark.parametrize("right", ["D1 Write", "D1 Read"])
def test_token_that_hides_its_policies_may_write_databases_if_it_may_query_them(world: Bakery, right: str) -> None:
    rights = {*PERMISSIONS} - {"API Tokens Read", "D1 Write"} | {right}

    outcome = Workflow(world).check("recovery", rights=rights)

    found = re.search(r"^\? token-writes \(live\): BAKERY_TOKEN .*\bD1\b", outcome.out, re.MULTILINE)
    assert bool(found) is (right == "D1 Write")  # the sandbox accepts a query by D1 Write only


def test_job_with_a_read_only_token_checks_no_service(world: Bakery) -> None:
    jobs = Workflow(world)

    jobs.check("report")

    assert {row["subject"] for row in jobs.rows["report"]} == {"report-live"}
    assert {row["answer"] for row in jobs.rows["report"]} == {"right"}


@pytest.mark.parametrize("missing", [(name, right) for name, rights in READS.items() for right in rights], ids=str)
def test_job_names_the_missing_right_of_its_token(world: Bakery, missing: tuple[str, str]) -> None:
    name, right = missing
    before = len(world.sandbox.requests)

    outcome = Workflow(world).check(name, rights=[*READS[name], "API Tokens Read"])
    poor = Workflow(world).check(name, rights=[each for each in READS[name] if each != right])

    assert "✘ token-reads" not in outcome.out
    assert f"✘ token-reads (live): BAKERY_TOKEN lacks {right}" in poor.out
    assert TOKEN_PAGE in poor.out
    sent = world.sandbox.requests[before:]
    assert {each.method for each in sent if not each.path.endswith(("/graphql", "/telemetry/query", "/query"))} == {
        "GET"
    }


def test_right_of_a_read_left_open_is_enough_if_it_is_answered(world: Bakery) -> None:
    world.sandbox.switches.telemetry_read_is_enough = True
    rights = ["Workers Observability Read", *(each for each in READS["evidence"] if "Observability" not in each)]

    outcome = Workflow(world).check("evidence", rights=rights)

    assert "token-reads" not in outcome.out


def test_right_on_a_zone_without_a_service_is_not_asked_for(world: Bakery) -> None:
    """The account has an older zone, on which the token has no right but to see it."""
    zones = world.sandbox.zones
    other = zones.add("another.example")
    zones.all = {other: zones.all.pop(other), **zones.all}
    for refused in ({"path": f"**/zones/{other}/**"}, {"path": "**/graphql", "sends": other}):
        world.sandbox.fault(**refused, status=403, code=10000, times=None)

    outcome = Workflow(world).check("report", rights=[*READS["report"], "API Tokens Read"])

    assert "✘ token-reads" not in outcome.out


def test_zone_of_a_service_that_the_token_does_not_see_is_named(world: Bakery) -> None:
    jobs = Workflow(world)
    (zone,) = world.sandbox.zones.all.values()
    zone.name = "another.example"

    jobs.check("report", rights=[each for each in READS["report"] if each != "Analytics Read"])

    rows = [each for each in jobs.rows["report"] if each["id"] == "token-reads" and "zone" in each["text"]]
    assert [(each["answer"], "shop.bakery.example" in each["text"]) for each in rows] == [("not_provable", True)]
    assert "blog.bakery.example" in rows[0]["text"]


def test_optional_right_is_named_as_such(world: Bakery) -> None:
    jobs = Workflow(world)

    jobs.check("report", rights=[*READS["report"], "API Tokens Read"])

    (row,) = [each for each in jobs.rows["report"] if each["id"] == "token-reads" and each["answer"] != "right"]
    assert row["answer"] == "not_provable"
    assert "Account Settings Read" in row["text"]


def test_job_checks_the_environments_whose_secrets_it_has(world: Bakery) -> None:
    world.edit("environments:\n", WITHOUT_DATABASE)
    jobs = Workflow(world)

    jobs.check("recovery")
    jobs.check("database")

    places = {name: {row["subject"] for row in rows if row["id"] == "token"} for name, rows in jobs.rows.items()}
    assert places == {"recovery": {"recovery-test", "recovery-live"}, "database": {"database-live"}}


def test_results_of_many_services_fit_one_variable(world: Bakery) -> None:
    """Linux starts no program with a variable of 128 kB: execve(2), MAX_ARG_STRLEN."""
    add_branches(world, 8)
    world.environ["BAKERY_TOKEN"] = None
    jobs = Workflow(world)

    jobs.check("recovery")

    of_environment = 2 * len(json.dumps(json.dumps(jobs.needs["recovery"]["outputs"])))  # and security
    assert of_environment * 3 < 128 * 1024
    assert "more checks need a right answer to token first" in jobs.collect().out


def test_outputs_that_are_no_results_are_refused(world: Bakery) -> None:
    jobs = Workflow(world)
    world.environ["NEEDS"] = "[]"

    outcome = world.doctor("--collect", "--only", "contacts")

    assert outcome.code == 2
    assert "error: NEEDS " in outcome.err
    assert jobs.issues == []

"""`ops adopt --remove` takes back what it made, and leaves the rest as it was."""

from dataclasses import replace

from tests.conftest import Outcome
from tests.setup.test_adopt import REPOSITORY, adopt, repository, shop, state, steps, writes
from tests.support.adoption import Team
from tests.support.message_sheet import is_shown
from tests.support.whole_state import account_states

__all__ = ["shop"]


def remove(shop: Team, *arguments: str) -> Outcome:
    return adopt(shop, "--remove", *arguments)


def test_environment_stays_if_its_secrets_are_unknown(shop: Team) -> None:
    adopt(shop, "--yes")
    made = repository(shop)
    made.put_secret("CLOUDFLARE_API_TOKEN", "cfut_for-reports", environment="report")
    shop.world.sandbox.github.fault(method="GET", path="/repos/*/*/environments/report/secrets", status=403)

    done = remove(shop, "--yes")

    assert done.code == 0, done.err
    assert "kept: environment report: " in done.out
    assert state(shop)["secrets"] == {"report": {"CLOUDFLARE_API_TOKEN": "cfut_for-reports"}}


def test_removal_takes_back_what_adopt_made_and_nothing_else(shop: Team) -> None:
    before = account_states(shop.world.sandbox)
    adopt(shop, "--yes")
    made = repository(shop)
    made.put_secret("CLOUDFLARE_API_TOKEN", "cfut_for-reports", environment="report")
    made.add_environment("theirs")
    made._repository.labels["theirs"] = replace(made._repository.labels["incident"], name="theirs")
    incident = made.open_issue("Checkout fails", "dana", labels=["incident"])

    planned = remove(shop, "--dry-run")
    sent = writes(shop)
    done = remove(shop, "--yes", "--json")

    assert (planned.code, done.code, done.result["decision"]) == (0, 0, "done"), planned.err + done.err
    assert "archive the repository dana/operations" in planned.out
    assert f"gh repo delete {REPOSITORY}" in done.result["to_delete"]
    assert made._repository.is_archived
    left = state(shop)
    assert set(left["environments"]) == {"report", "theirs"}
    assert "theirs" in left["labels"]
    assert set(left["labels"]) <= {"theirs", "incident"}
    assert left["rulesets"] == []
    assert left["secrets"] == {"report": {"CLOUDFLARE_API_TOKEN": "cfut_for-reports"}, "theirs": {}}
    assert [issue.number for issue in made.issues] == [incident]
    assert account_states(shop.world.sandbox) == before
    assert shop.world.writes() == []
    taken = writes(shop)
    assert taken > sent
    for _ in range(2):
        again = remove(shop, "--yes", "--json")
        assert (again.code, again.result["decision"]) == (0, "nothing_to_do")
    assert writes(shop) == taken
    assert "dana/operations is archived" in adopt(shop, "--yes").err


def test_token_that_cannot_read_the_repository_loses_no_record(shop: Team) -> None:
    adopt(shop, "--yes")
    github = shop.world.sandbox.github
    github.add_user("eve", None)
    github.add_token("ghp_secretofeve", "eve", ["repo", "workflow"])
    record = (shop.folder / ".ops" / "adopt.json").read_text()

    for options in (["--yes"], ["--remove", "--dry-run"], ["--remove", "--yes"]):
        refused = adopt(shop, *options, GITHUB_TOKEN="ghp_secretofeve")
        assert refused.code == 2, options
        assert is_shown(refused.err, "ops/setup/adopt/own_repository.py find_own ConfigError")
    assert (shop.folder / ".ops" / "adopt.json").read_text() == record
    assert adopt(shop, "--yes", "--json").result["decision"] == "nothing_to_do"
    assert remove(shop, "--yes", "--json").result["decision"] == "done"
    assert state(shop)["secrets"] == {}


def test_deleted_repository_is_made_again_without_the_record(shop: Team) -> None:
    adopt(shop, "--yes")
    made = state(shop)
    del repository(shop)._repository.host.repositories[REPOSITORY]

    refused = adopt(shop, "--yes")
    (shop.folder / ".ops" / "adopt.json").unlink()
    done = adopt(shop, "--yes", "--json")

    assert f"delete {shop.folder / '.ops' / 'adopt.json'}" in refused.err
    assert (done.code, steps(done)[2]) == (0, "done"), done.err
    assert state(shop) == made


def test_removal_of_a_repository_that_a_colleague_archived_says_so(shop: Team) -> None:
    adopt(shop, "--yes")
    repository(shop)._repository.is_archived = True

    refused = remove(shop, "--yes")
    repository(shop)._repository.is_archived = False
    done = remove(shop, "--yes", "--json")

    assert (refused.code, done.code) == (2, 0), done.err
    assert "archived" in refused.err
    assert state(shop)["secrets"] == {}


def test_removal_on_a_plan_without_environments_deletes_the_secret_of_the_repository(shop: Team) -> None:
    shop.world.sandbox.github.switches.plan = "free"
    adopt(shop, "--yes")

    done = remove(shop, "--yes", "--json")

    assert (done.code, done.result["kept"]) == (0, {}), done.err
    assert repository(shop).secrets() == {}
    assert repository(shop)._repository.is_archived
    assert remove(shop, "--yes", "--json").result["decision"] == "nothing_to_do"


def test_removal_without_an_adoption_or_a_confirmation_changes_nothing(shop: Team) -> None:
    nothing = remove(shop, "--yes")
    adopt(shop, "--yes")
    sent = writes(shop)
    implicit = remove(shop)

    assert (nothing.code, implicit.code) == (0, 9)
    assert f"Nothing to do: {shop.folder / '.ops' / 'adopt.json'} records nothing" in nothing.out
    assert writes(shop) == sent
    made = repository(shop)._repository
    described, made.description = made.description, "Ours"
    assert is_shown(remove(shop, "--yes").err, "ops/setup/adopt/own_repository.py find_own ConfigError 2")
    made.description = described
    assert remove(shop, "--yes", "--json").result["decision"] == "done"


def test_lost_answer_to_a_removal_is_repeated(shop: Team) -> None:
    adopt(shop, "--yes")
    github = shop.world.sandbox.github
    github.fault(method="DELETE", path="/repos/*/*/environments/recovery", lost="after")
    github.fault(method="PATCH", path="/repos/*/*", status=502)

    done = remove(shop, "--yes", "--json")

    assert (done.code, done.result["decision"]) == (0, "done"), done.err
    assert repository(shop)._repository.is_archived

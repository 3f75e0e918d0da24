"""On GitHub, names that are not its own are never written, and a killed run leaves nothing that stays."""

import json
import signal
from itertools import cycle

import pytest
import requests
from hypothesis import strategies as st

from ops.core.errors import Refused
from ops.github.own_writes import OwnWrites
from ops.platform.github_cleanup import QUIET_LOOKS
from tests.platform.test_own_writes import FOREIGN, OWN, genuine
from tests.support.in_process import answered_in_process
from tests.support.properties import holds_for
from tests.support.verification import (
    REPOSITORY,
    WORKFLOW_FILE,
    MeasuredRepository,
    is_write,
    measured_repository,
)
from tests.support.whole_state import repository_states

NAME, OTHER = genuine("0123abcd"), "backout-verify-old-shop"
API = "https://api.github.com"
ROOT = f"/repos/{REPOSITORY}"
TREE = {"path": WORKFLOW_FILE, "mode": "100644", "type": "blob", "content": "x"}


@pytest.fixture
def guard() -> OwnWrites:
    made = OwnWrites(API, "/graphql", REPOSITORY)
    made.own_issue(7, NAME)
    made.own_comment(70, 7)
    made.own_pull(8, f"{NAME}-workflow")
    made.own_run(9, NAME)
    made.open_pulls_into("main")
    return made


def prepare(method: str, path: str, body: object = None, api: str = API) -> requests.PreparedRequest:
    data = None if body is None else json.dumps(body)
    return requests.Request(method, f"{api}{path}", data=data).prepare()


Sent = tuple[str, str, object]
PERMITTED: tuple[Sent, ...] = (
    ("GET", ROOT, None),
    ("GET", "/user", None),
    ("GET", f"{ROOT}/contents/.github/workflows/verify-platform.yml?ref=main", None),
    ("POST", "/graphql", {"query": "query($n: Int!) { repository { issue(number: $n) { body } } }"}),
    ("POST", f"{ROOT}/git/trees", {"base_tree": "a", "tree": [TREE]}),
    ("POST", f"{ROOT}/git/commits", {"message": "m", "tree": "t", "parents": []}),
    ("POST", f"{ROOT}/git/refs", {"ref": f"refs/heads/{NAME}-removal", "sha": "a"}),
    ("PATCH", f"{ROOT}/git/refs/heads/{NAME}", {"sha": "a"}),
    ("DELETE", f"{ROOT}/git/refs/heads/{NAME}-workflow", None),
    ("PUT", f"{ROOT}/environments/{NAME}", {}),
    ("PUT", f"{ROOT}/environments/{NAME}/secrets/BACKOUT_VERIFY", {}),
    ("DELETE", f"{ROOT}/environments/{NAME}", None),
    ("POST", f"{ROOT}/labels", {"name": NAME}),
    ("DELETE", f"{ROOT}/labels/{NAME}", None),
    ("POST", f"{ROOT}/issues", {"title": NAME, "body": "x"}),
    ("PATCH", f"{ROOT}/issues/7", {"state": "closed"}),
    ("POST", f"{ROOT}/issues/7/comments", {"body": "x"}),
    ("PATCH", f"{ROOT}/issues/comments/70", {"body": "x"}),
    ("POST", f"{ROOT}/issues/7/labels", {"labels": [NAME.upper()]}),
    ("DELETE", f"{ROOT}/issues/7/labels/{NAME}", None),
    ("POST", f"{ROOT}/pulls", {"head": f"{NAME}-workflow", "base": "main", "title": "x"}),
    ("PATCH", f"{ROOT}/pulls/8", {"state": "closed"}),
    ("POST", f"{ROOT}/actions/workflows/verify-platform.yml/dispatches", {"ref": NAME}),
    ("POST", f"{ROOT}/actions/runs/9/cancel", None),
)
REFUSED: tuple[Sent, ...] = (
    ("GET", "/repos/acme/other", None),
    ("GET", f"{ROOT}-other/issues", None),
    ("GET", f"{ROOT}/../other/issues", None),
    ("GET", f"{ROOT}/%2e%2e/other/issues", None),
    ("GET", "/user/emails", None),
    ("GET", "/orgs/acme/members", None),
    ("POST", "/graphql", {"query": 'mutation { deleteIssue(input: {issueId: "I"}) { clientMutationId } }'}),
    ("POST", "/graphql", {"query": "query A { viewer { login } } mutation B { x }"}),
    ("POST", "/graphql", None),
    ("POST", "/user/repos", {"name": NAME}),
    ("POST", f"{ROOT}/git/trees", {"base_tree": "a", "tree": [TREE | {"path": "README.md"}]}),
    ("POST", f"{ROOT}/git/trees", {"base_tree": "a", "tree": [TREE | {"path": f"{WORKFLOW_FILE}/../ci.yml"}]}),
    ("POST", f"{ROOT}/git/trees", {"tree": [TREE]}),
    ("POST", f"{ROOT}/git/refs", {"ref": f"refs/heads/{OTHER}", "sha": "a"}),
    ("POST", f"{ROOT}/git/refs", {"ref": f"refs/tags/{NAME}", "sha": "a"}),
    ("PATCH", f"{ROOT}/git/refs/heads/main", {"sha": "a"}),
    ("DELETE", f"{ROOT}/git/refs/heads/{NAME}-more", None),
    ("DELETE", f"{ROOT}/git/refs/tags/{NAME}", None),
    ("PUT", f"{ROOT}/contents/{WORKFLOW_FILE}", {"branch": NAME}),
    ("PUT", f"{ROOT}/environments/production", {}),
    ("PUT", f"{ROOT}/environments/{NAME}/secrets/TOKEN", {}),
    ("PUT", f"{ROOT}/actions/secrets/BACKOUT_VERIFY", {}),
    ("DELETE", f"{ROOT}/environments/{OTHER}", None),
    ("POST", f"{ROOT}/labels", {"name": OTHER}),
    ("DELETE", f"{ROOT}/labels/bug", None),
    ("POST", f"{ROOT}/issues", {"title": OTHER}),
    ("POST", f"{ROOT}/issues", {"title": NAME, "assignees": ["x"]}),
    ("POST", f"{ROOT}/issues", {"title": NAME, "labels": ["bug"]}),
    ("PATCH", f"{ROOT}/issues/8", {"state": "closed"}),
    ("PATCH", f"{ROOT}/issues/7", {"title": OTHER}),
    ("PATCH", f"{ROOT}/issues/7", {"labels": []}),
    ("POST", f"{ROOT}/issues/70/comments", {"body": "x"}),
    ("POST", f"{ROOT}/issues/7/labels", {"labels": [NAME, "bug"]}),
    ("PATCH", f"{ROOT}/issues/comments/7", {"body": "x"}),
    ("DELETE", f"{ROOT}/issues/comments/70", None),
    ("POST", f"{ROOT}/pulls", {"head": "fix", "base": "main"}),
    ("POST", f"{ROOT}/pulls", {"head": NAME, "base": "production"}),
    ("POST", f"{ROOT}/pulls", {"head": NAME, "base": "main", "issue": 5}),
    ("PATCH", f"{ROOT}/pulls/8", {"base": "production"}),
    ("PATCH", f"{ROOT}/pulls/7", {"state": "closed"}),
    ("PUT", f"{ROOT}/pulls/8/merge", {}),
    ("POST", f"{ROOT}/merges", {"base": "main", "head": NAME}),
    ("POST", f"{ROOT}/actions/workflows/deploy.yml/dispatches", {"ref": NAME}),
    ("POST", f"{ROOT}/actions/workflows/verify-platform.yml/dispatches", {"ref": "main"}),
    ("POST", f"{ROOT}/actions/runs/10/cancel", None),
    ("DELETE", f"{ROOT}/actions/runs/9", None),
    ("DELETE", ROOT, None),
    ("PATCH", ROOT, {"private": False}),
    ("POST", f"{ROOT}/rulesets", {"name": NAME}),
)


@pytest.mark.parametrize(("method", "path", "body"), PERMITTED, ids=lambda value: str(value)[-40:])
def test_own_things_may_be_written(guard: OwnWrites, method: str, path: str, body: object) -> None:
    guard.check(prepare(method, path, body))

    assert guard.sent == 1


@pytest.mark.parametrize(("method", "path", "body"), REFUSED, ids=lambda value: str(value)[-40:])
def test_everything_else_is_refused(guard: OwnWrites, method: str, path: str, body: object) -> None:
    with pytest.raises(Refused):
        guard.check(prepare(method, path, body))

    assert guard.sent == 0


@pytest.mark.parametrize(
    "api", ["https://api.github.com.example", "http://api.github.com", "https://api.github.com:444"]
)
def test_other_host_gets_nothing(guard: OwnWrites, api: str) -> None:
    with pytest.raises(Refused):
        guard.check(prepare("GET", ROOT, api=api))


def test_only_own_names_become_writable(guard: OwnWrites) -> None:
    with pytest.raises(ValueError, match=OTHER):
        guard.own_name(OTHER)
    with pytest.raises(ValueError, match=OTHER):
        guard.own_issue(1, OTHER)
    with pytest.raises(ValueError, match="#1"):
        guard.own_comment(1, 1)
    with pytest.raises(ValueError, match=OTHER):
        guard.own_pull(1, OTHER)
    with pytest.raises(ValueError, match="main"):
        guard.own_run(1, "main")


def foreign_state(measured: MeasuredRepository, foreign: list[str]) -> list[object]:
    """Return everything that belongs to others, with its content."""
    github = measured.sandbox.github
    return [
        sorted((name, sha) for name, sha in github.branches.items() if name in {*foreign, "main"}),
        sorted((name, str(rules)) for name, rules in github.environments.items() if name in foreign),
        sorted(name for name in github.labels if name in foreign),
        [
            (each.number, each.title, each.state, [label.name for label in each.labels], len(each.comments), each.body)
            for each in github.issues
            if each.title in foreign
        ],
        sorted(number for number in github.open_pulls() if github.pull_branches(number)[0] in foreign),
    ]


@holds_for(
    5,
    500,
    foreign=st.lists(FOREIGN, max_size=4, unique_by=str.lower),
    left=st.lists(OWN, max_size=2, unique=True),
    is_whole=st.sampled_from([False] * 9 + [True]),
)
def test_other_names_are_never_written(foreign: list[str], left: list[str], is_whole: bool) -> None:
    """Leftovers are deleted by --cleanup alone, so a run spares those of a colleague's run."""
    with measured_repository() as measured:
        for name in (*foreign, *left):
            measured.add(name)
        before = foreign_state(measured, [*foreign, *(left if is_whole else [])])

        outcome = measured.verify("--yes") if is_whole else measured.verify("--cleanup", "--yes")

        assert outcome.code == 0, outcome.err
        assert foreign_state(measured, [*foreign, *(left if is_whole else [])]) == before
        assert {*measured.left()} == ({*left} if is_whole else set())


WRITES = 50
"""Of a run."""


@pytest.fixture(scope="module")
def writes() -> list[int]:
    """Return the numbers of the requests of a run that write."""
    with answered_in_process(), measured_repository() as measured:
        measured.merge_on_request()
        measured.verify("--yes")
        return [at for at, each in enumerate(measured.sandbox.github.requests) if is_write(each)]


def rest_of(measured: MeasuredRepository) -> list[str]:
    """Return what is left, without the pull request that removes the workflow, if that is on the default branch."""
    is_there = WORKFLOW_FILE in measured.sandbox.github.files()
    return [name for name in measured.left() if not (is_there and name.endswith("-removal"))]


MERGED = 12
"""Write before which a person merges the pull request of the workflow. No other state differs between two writes."""
KILLS = [(0, "before"), (MERGED, "before"), *((number, "after") for number in range(WRITES))]


@pytest.mark.slow
def test_kills_meet_each_state_of_a_run() -> None:
    with measured_repository() as measured:
        measured.merge_on_request()

        states = measured.states_around_writes(repository_states)

    assert len(states) == 2 * WRITES, "some are not tried, or twice"
    assert [at for at in range(1, WRITES) if states[2 * at - 1] != states[2 * at]] == [MERGED]


@pytest.mark.sampled(20)
@pytest.mark.parametrize(("number", "moment"), KILLS)
def test_cleanup_leaves_only_the_removal_after_a_killed_run(writes: list[int], number: int, moment: str) -> None:
    assert len(writes) == WRITES, "some are not tried, or twice"
    with measured_repository() as measured:
        measured.merge_on_request()
        measured.verify_killed(writes[number], moment)
        measured.sandbox.clock.on_sleep = lambda: None

        outcome = measured.verify("--cleanup", "--yes")

        assert outcome.code == 0, outcome.err
        assert rest_of(measured) == []
        assert all(each.state == "closed" for each in measured.sandbox.github.issues)
        measured.merge_all()
        assert measured.verify("--cleanup", "--yes").code == 0
        assert measured.left() == []
        assert measured.names()["files"] == ["README.md"]


@pytest.mark.sampled
@pytest.mark.parametrize("number", range(0, WRITES, 10))
def test_cleanup_leaves_only_the_removal_after_a_lost_connection(writes: list[int], number: int) -> None:
    request = writes[number]
    with measured_repository() as measured:
        github = measured.sandbox.github
        measured.merge_on_request()
        github.fault(when=lambda _: len(github.requests) == request + 1, lost="after", times=1)
        gone = github.fault(when=lambda _: len(github.requests) > request + 1, lost="before", times=None)
        failed = measured.verify("--yes")
        gone.remove()
        measured.sandbox.clock.on_sleep = lambda: None

        outcome = measured.verify("--cleanup", "--yes")

        assert failed.code != 0
        assert outcome.code == 0, outcome.err
        assert rest_of(measured) == []


def test_cleanup_deletes_what_a_list_shows_late() -> None:
    """A list may be behind a creation: a branch appears before the last look."""
    looks: list[str] = []
    with measured_repository() as measured:

        def appear() -> None:
            looks.append("quiet")
            if len(looks) == QUIET_LOOKS - 1:
                measured.add(NAME)

        measured.sandbox.clock.on_sleep = appear

        outcome = measured.verify("--cleanup", "--yes")

        assert outcome.code == 0, outcome.err
        assert len(looks) >= 2 * QUIET_LOOKS - 1
        assert measured.left() == []


SIGNALS = cycle([signal.SIGINT, signal.SIGTERM])
"""In turn, because one handler serves both."""


@pytest.mark.sampled
@pytest.mark.parametrize(("number", "sent"), [*zip(range(0, WRITES, 5), SIGNALS, strict=False)])
def test_signal_ends_a_run_without_a_rest(writes: list[int], number: int, sent: signal.Signals) -> None:
    request = writes[number]
    with measured_repository() as measured:
        measured.merge_on_request()
        seen = measured.sandbox.github.requests
        measured.sandbox.github.fault(
            when=lambda _: len(seen) == request + 1, before=lambda: signal.raise_signal(sent), is_prompt=True
        )

        outcome = measured.verify("--yes")

        assert outcome.code == 130, outcome.err
        assert rest_of(measured) == []
        assert not measured.output.exists()

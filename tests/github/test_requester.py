"""Malformed GitHub answers: a typed error with its exit code, never a traceback."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import strategies as st

from ops.core.errors import ProviderError, UnclearWrite
from ops.core.run_record import RunRecord, embed_record
from ops.github.requester import ROUTES, check_answer, expected_answer
from sandbox import Sandbox
from sandbox.github import GitHub
from tests.conftest import REFERENCE, Outcome, World
from tests.gate.support import workflow_file
from tests.gate.test_button import BUTTON
from tests.support.limits import changed, limits_world
from tests.support.properties import holds_for

FOREIGN = {
    "empty": "",
    "null": "null",
    "list": "[]",
    "list of null": "[null]",
    "list of lists": "[[]]",
    "object": "{}",
    "HTML": "<!DOCTYPE html><html><body>Sign in to the proxy</body></html>",
    "truncated": '{"id": 1, "number": 1, "html_url": "https://git',
    "text": '"OK"',
    "number": "1",
    "nested": "[" * 100_000,
    "wrong types": json.dumps({name: {"x": 1} for name in ("id", "number", "body", "user", "login", "sha", "key")}),
    "a list of wrong types": json.dumps(
        [{"id": "x", "body": [], "user": "x", "event": "labeled", "name": 1, "state": 1}]
    ),
}
EMPTY_IS_RIGHT = {
    "GET": {"empty", "null"},
    "DELETE": {"empty", "null"},
    "PUT": {"empty", "null", "object", "wrong types"},
    "POST": {"empty", "null", "object", "wrong types"},
}
"""Answers that GitHub also gives with success: 204, as to a dispatch, or to a write 201 with an empty object."""


def assert_typed(method: str, path: str, body: str) -> None:
    with pytest.raises(ProviderError) as caught:
        check_answer(method, path, 200, body)
    assert isinstance(caught.value, UnclearWrite) == (method != "GET")
    assert caught.value.exit_code == 4
    assert len(caught.value.message) < 300


@pytest.mark.sampled
@pytest.mark.usefixtures("without_collection")
@pytest.mark.parametrize("kind", FOREIGN)
def test_malformed_body_is_a_typed_error_on_each_route(kind: str) -> None:
    for method, pattern, what, shape in ROUTES:
        path = "/repos/acme/operations" + pattern.replace(r"\d+", "7").replace("[^/]+", "x").replace(".+", "x/y")
        path = path.replace(".*", "/environments/production")
        assert expected_answer(method, path) == (what, shape)
        takes_lists = isinstance(shape, list) or (isinstance(shape, tuple) and isinstance(shape[0], list))
        may_be_empty = shape is None or (isinstance(shape, tuple) and method != "GET")
        if kind in EMPTY_IS_RIGHT.get(method, ()) and may_be_empty:
            continue
        if not (takes_lists and kind == "list") and not (takes_lists and "contents" in path and kind.startswith("a ")):
            assert_typed(method, path, FOREIGN[kind])


VALUES: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just([]) | st.just({}) | st.just([None])
)


@holds_for(30, 500, data=st.data())
def test_almost_valid_body_raises_only_provider_errors(data: Any) -> None:
    method, pattern, _, shape = data.draw(st.sampled_from(ROUTES))
    body = json.dumps(data.draw(like(shape)))
    path = "/repos/acme/operations" + pattern.replace(r"\d+", "7").replace("[^/]+", "x").replace(".+", "x")
    with suppress(ProviderError):
        check_answer(method, path.replace(".*", ""), 200, body)


def like(shape: Any) -> st.SearchStrategy[Any]:
    """Generate values near a shape, each part of which may be something else."""
    match shape:
        case tuple():
            near = st.one_of([like(one) for one in shape])
        case list():
            near = st.lists(like(shape[0]), max_size=2)
        case Mapping():
            near = st.fixed_dictionaries({}, optional={name: like(one) for name, one in shape.items()})
        case _:
            near = VALUES
    return st.one_of(near, near, near, VALUES)


# Routes, each by the public command that uses it


@dataclass(frozen=True)
class Scene:
    world: World
    number: int

    @property
    def github(self) -> GitHub:
        return self.world.sandbox.github

    def ops(self, *arguments: str, **environ: str | None) -> Outcome:
        return self.world.ops(*arguments, "--config", self.config, **{**self.github.environ(), **environ})

    @property
    def config(self) -> str:
        return str(self.world.config)

    def runbook(self, name: str, *arguments: str, **environ: str | None) -> Outcome:
        return self.ops(name, "--environment", "production", "--yes", "--json", *arguments, **environ)

    def job(self, event: str, payload: Mapping[str, Any]) -> dict[str, str | None]:
        path = self.world.folder / "event.json"
        path.write_text(json.dumps(payload))
        return {
            **self.github.environ(),
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": event,
            "GITHUB_EVENT_PATH": str(path),
            "GITHUB_OUTPUT": str(self.world.folder / "output"),
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_RUN_ID": "7",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_TRIGGERING_ACTOR": "alice",
            "GITHUB_WORKFLOW_REF": f"{self.github.repository}/{workflow_file(payload)}@refs/heads/main",
        }


def release_bad_version(world: World) -> None:
    world.release(timedelta(hours=2), code="good", tag="a" * 40)
    world.release(timedelta(minutes=10), code="bad", tag="b" * 40, behaviour={"status": 500})


def journal(scene: Scene) -> Outcome:
    release_bad_version(scene.world)
    return scene.runbook("rollback-worker", "--service", "api", "--incident", str(scene.number))


def opening(scene: Scene) -> Outcome:
    release_bad_version(scene.world)
    return scene.runbook("rollback-worker", "--service", "api")


def show(scene: Scene) -> Outcome:
    scene.ops("incident", "note", str(scene.number), "2026-11-24 13:05 called")
    scene.github.comment(scene.number, embed_record("x", RunRecord("note-1", source="note")), "alice")
    return scene.ops("incident", "show", str(scene.number))


def note(scene: Scene) -> Outcome:
    scene.ops("incident", "note", str(scene.number), "2026-11-24 13:05 called")
    return scene.ops("incident", "note", str(scene.number), "2026-11-24 13:05 called")


def opened(scene: Scene) -> Outcome:
    return scene.ops("incident", "open", "--service", "api", "--severity", "sev1", "--title", "500")


def report(scene: Scene) -> Outcome:
    release_bad_version(scene.world)
    scene.world.edit_config("repository: fortunet/fortunet", "repository: acme/operations")
    scene.github.add_commit("the button", "alice", files={".github/workflows/incident.yml": "on: issues\n"})
    run = scene.github.start_run("incident.yml", "issues", {}, "alice")
    job = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": str(run.id), "GITHUB_ACTOR": "alice"}
    scene.runbook("rollback-worker", "--service", "api", "--incident", str(scene.number), **job)
    scene.ops("incident", "report", str(scene.number))
    scene.github.close(scene.number, "alice")
    return scene.ops("incident", "report", str(scene.number))


def labels(scene: Scene) -> Outcome:
    scene.ops("labels", "sync")
    scene.world.edit_config("recover:rollback-api:", "recover:other-api:")
    scene.world.edit_config("environment: production", "environment:  production")
    return scene.ops("labels", "sync")


def gate_label(scene: Scene) -> Outcome:
    payload = scene.github.label(scene.number, "recover:rollback-api", "alice")
    return scene.ops("gate", **scene.job("issues", payload))


def gate_button(scene: Scene) -> Outcome:
    scene.github.add_commit("the button", "alice", files={".github/workflows/rollback-worker.yml": BUTTON})
    inputs = {"service": "api", "incident": str(scene.number)}
    run = scene.github.dispatch("rollback-worker.yml", inputs, by="alice")
    return scene.ops("gate", **{**scene.job("workflow_dispatch", run.payload), "GITHUB_RUN_ID": str(run.id)})


def propose(scene: Scene) -> Outcome:
    scene.github.switches.actions_may_create_pull_requests = True
    limits_world(scene.world)
    return scene.runbook("propose-limits", "--incident", str(scene.number), CLOUDFLARE_API_TOKEN=None)


def apply(scene: Scene) -> Outcome:
    found = limits_world(scene.world)
    found.merge(found.pull(changed(40)))
    return found.apply()


def drift(scene: Scene) -> Outcome:
    found = limits_world(scene.world)
    found.put({"limits": {}})
    return found.reconcile()


def leak(scene: Scene) -> Outcome:
    said = {"secret": "CLOUDFLARE_API_TOKEN"}
    payload = {
        "action": "secret-leak",
        "client_payload": said,
        "repository": {"full_name": "acme/operations", "default_branch": "main"},
        "sender": {"login": "alice", "type": "User"},
    }
    environ = scene.job("repository_dispatch", payload)
    scene.ops("incident", "leak", **environ)
    return scene.ops("incident", "leak", **environ)


ISSUE, LIST = "/repos/*/*/issues/*", "/repos/*/*/issues"
STRIKES: tuple[tuple[Callable[[Scene], Outcome], str, str], ...] = (
    (journal, "POST", f"{ISSUE}/comments"),
    (journal, "GET", "/repos/*/*/issues/comments/*"),
    (journal, "PATCH", "/repos/*/*/issues/comments/*"),
    (opening, "POST", LIST),
    (opening, "POST", f"{ISSUE}/comments"),
    (show, "GET", f"{ISSUE}/comments"),
    (note, "GET", "/user"),
    (note, "GET", f"{ISSUE}/comments"),
    (opened, "POST", LIST),
    (opened, "POST", f"{ISSUE}/comments"),
    (report, "GET", ISSUE),
    (report, "GET", f"{ISSUE}/timeline"),
    (report, "GET", LIST),
    (report, "POST", LIST),
    (report, "PATCH", ISSUE),
    (report, "GET", "/repos/*/*/actions/runs/*"),
    (report, "GET", "/repos/*/*/actions/runs/*/attempts/*/jobs"),
    (show, "GET", "/repos/*/*/collaborators/*/permission"),
    (report, "GET", "/repos/*/*/compare/*"),
    (labels, "GET", "/repos/*/*/labels"),
    (labels, "POST", "/repos/*/*/labels"),
    (gate_label, "GET", "/repos/*/*/collaborators/*/permission"),
    (gate_label, "DELETE", f"{ISSUE}/labels/*"),
    (gate_button, "GET", "/repos/*/*/actions/runs/*"),
    (gate_button, "GET", ISSUE),
    (propose, "GET", "/repos/*/*"),
    (propose, "GET", "/repos/*/*/contents/*"),
    (propose, "GET", "/repos/*/*/git/ref/**"),
    (propose, "GET", "/repos/*/*/pulls"),
    (propose, "POST", "/repos/*/*/git/refs"),
    (propose, "PUT", "/repos/*/*/contents/*"),
    (propose, "POST", "/repos/*/*/pulls"),
    (apply, "GET", "/repos/*/*/commits"),
    (apply, "GET", "/repos/*/*/commits/*/pulls"),
    (drift, "GET", LIST),
    (drift, "POST", LIST),
    (leak, "GET", LIST),
)
QUICK = {(propose, "/repos/*/*/contents/*"), (report, f"{ISSUE}/timeline"), (opening, LIST)}
KINDS = tuple(FOREIGN)


def run_with_answer(scenario: Callable[[Scene], Outcome], method: str, path: str, body: str, world: World) -> Outcome:
    """Run the scenario in its own sandbox, whose GitHub answers each request of that route with the body."""
    with Sandbox(account_id=world.sandbox.account_id, virtual_clock=True) as sandbox:
        (world.folder / "ops.yml").write_text(
            (REFERENCE / "ops.yml").read_text().replace("deadline: 2m", "deadline: 10s")
        )
        github = sandbox.github
        github.add_user("alice")
        scene = Scene(World(sandbox, world.folder), github.open_issue("500", "x", ["incident"], "alice"))
        fault = github.fault(method=method, path=path, times=None, applied=True, status=200, body=body)
        outcome = scenario(scene)
        assert fault.hits, f"{scenario.__name__} never asks {method} {path}"
        return outcome


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("kinds", "scenario", "method", "path"),
    [
        pytest.param(("HTML",), *strike)
        if (strike[0], strike[2]) in QUICK
        else pytest.param((KINDS[number % len(KINDS)], "HTML", "empty"), *strike, marks=pytest.mark.slow)
        for number, strike in enumerate(STRIKES)
    ],
    ids=[f"{scenario.__name__} {method} {path}" for scenario, method, path in STRIKES],
)
def test_command_ends_without_traceback_for_any_answer(
    world: World, kinds: tuple[str, ...], scenario: Callable[[Scene], Outcome], method: str, path: str
) -> None:
    for kind in kinds:
        outcome = run_with_answer(scenario, method, path, FOREIGN[kind], world)
        assert outcome.code != 1, f"{kind}: {outcome.out}{outcome.err}"
        assert "Traceback" not in outcome.out + outcome.err

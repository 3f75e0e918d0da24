"""Secrets never appear in output, records, messages or tracebacks.

The canary tests run every runbook down every failure path with recognizable secrets, and search everything that the run
printed, wrote, sent and left on disk for them, in every encoding.
"""

import json
import os
import signal
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from ops import cli
from ops.cli.runbook_command import runbook_command
from ops.engine.context import Context
from ops.engine.step import StepPlan
from ops.runbooks.rollback_worker import RollbackWorker
from sandbox.server import HttpResponse
from tests.conftest import Incident, Outcome, Releases, World
from tests.core.test_redaction import BASE64, SPELLINGS
from tests.evidence.test_evidence import audit_entry as logged
from tests.support import marks, switches
from tests.support.commands import JSON
from tests.support.marks import leaks, on_disk, sent
from tests.support.scenarios import Case, Given, all_cases, cases, options_of, switched, writes_to
from tests.support.webhooks import Receiver, receiving

TOKEN = "cfut_marked/token+with=signs-0123456789"
WEBHOOK = "https://hooks.example.com/services/T0/B0/marked-webhook-0123456789"
SECRETS = {
    "CLOUDFLARE_API_TOKEN": TOKEN,
    "STAGING_CLOUDFLARE_API_TOKEN": "marked-staging-token-0123456789",
    "SLACK_WEBHOOK_URL": WEBHOOK,
    "DISCORD_WEBHOOK_URL": f"{WEBHOOK}-discord",
}
ECHO = " ".join([*SECRETS.values(), urllib.parse.quote(TOKEN, safe="")])
"""Text that Cloudflare returns in these tests."""


class Broken(RollbackWorker):
    """Broken."""

    name = "broken"

    def plan(self, ctx: Context[RollbackWorker.Params]) -> StepPlan:
        raise RuntimeError(f"in the midst of {ECHO} {SHOUT}")


@pytest.fixture
def broken() -> Iterator[str]:
    cli.cli.add_command(runbook_command(Broken()))
    yield Broken.name
    del cli.cli.commands[Broken.name]


CANARY = {
    "CLOUDFLARE_API_TOKEN": marks.secret("cloudflare"),
    "STAGING_CLOUDFLARE_API_TOKEN": marks.secret("staging", signs="%&<\"'>"),
    "GITHUB_TOKEN": marks.secret("github"),
    "GH_SECRETS_TOKEN": marks.secret("app"),
    "GH_SECRETS_APP_KEY": marks.secret("appkey"),
    "NEW_GROQ_API_KEY": marks.secret("new", signs="~^&"),
    "OLD_GROQ_API_KEY": marks.secret("former", signs="$%{}"),
    "FORTUNET_ADMIN_TOKEN": marks.secret("application", signs="~^&"),
    "LOGIN": marks.secret("login", signs="\n\\ é\t"),
    "PASS": marks.secret("pass", signs="&%\"'"),
}
PROBES = """          - {name: program, command: {run: [sh, -c, PROGRAM], timeout: 10s}}
          - {name: page, browser: {path: /none, required: false, steps: [{fill: {field: a, variable: LOGIN}}]}}
          - {name: passed, http: {path: /health, request_headers: {X-Pass: PASS}}}
"""
"""No browser is there to be started, but what it would type is a secret all the same."""
TEXTS = [spell(secret) for secret in CANARY.values() for name, spell in SPELLINGS.items() if "shell" not in name]
"""Hints quote Cloudflare's text once for a shell."""
WITHIN = [before + secret for secret in CANARY.values() for before in ("", "u", "u:")]
SHOUT = " ".join([*TEXTS, *(spell(text.encode()).decode() for text in WITHIN for spell in BASE64.values())])
"""Every secret in every encoding, as a hostile service could echo them."""
FAILS: dict[str, Any] = {"status": 500, "message": SHOUT, "times": None}
READS: list[dict[str, Any]] = [
    {"method": "GET", "path": "/**"},
    {"method": "POST", "path": "/accounts/*/storage/kv/namespaces/*/bulk/get"},
    {"method": "POST", "path": "/accounts/*/d1/database/*/query"},
]
OF_A_SITE, OF_A_WORKER = "    # Secrets that rotate-secrets replaces", "          # A program can be a probe too."
"""Lines of ops.yml before which the probes of its services end."""


def last_probe(case: Case) -> str:
    """Return the line of ops.yml that follows the probes of the runbook's service."""
    return OF_A_SITE if case.runbook.kinds[0] == "pages" else OF_A_WORKER


@dataclass(frozen=True)
class Ending:
    """The end of a run. `read` and `write` are Cloudflare faults, `github` a GitHub fault, `hooks` an answer."""

    decisions: set[str]
    read: dict[str, Any] | None = None
    write: dict[str, Any] | None = None
    then_reads_fail: bool = False
    """Fault that starts with the write."""
    github: dict[str, Any] | None = None
    hooks: HttpResponse | None = None
    program: str = "exit 0"
    arguments: tuple[str, ...] = ()


GOOD = {"recovered", "healthy_as_before"}
CHANGED = f"The following secrets have changed: {SHOUT}"
CANARY_ENDINGS = {
    "success": Ending(GOOD),
    "failed": Ending({"failed"}, write={"code": 10021, "message": SHOUT}),
    "a reason that holds them": Ending(GOOD, arguments=("--reason", SHOUT)),
    "planned": Ending({"planned"}, arguments=("--dry-run",)),
    "reads fail": Ending({"failed"}, read=FAILS),
    "refused": Ending({"refused", "failed"}, write={"code": 10220, "message": CHANGED}),
    "an unclear write": Ending({"failed", "unknown_outcome"}, write=FAILS),
    "unknown_outcome": Ending({"unknown_outcome"}, write={"lost": "after"}, then_reads_fail=True),
    "interrupted": Ending({"interrupted"}, write={"before": lambda: os.kill(os.getpid(), signal.SIGINT)}),
    "a program prints them": Ending({"still_unhealthy"}, program="cat shout; exit 1"),
    "a program prints half of one": Ending(
        {"still_unhealthy"}, program=f"head -c 90000 /dev/zero | tr '\\0' x; tail -c {len(SHOUT) - 20} shout; exit 1"
    ),
    "GitHub fails": Ending(GOOD, github={"status": 500, "body": json.dumps({"message": SHOUT}), **JSON}),
    "GitHub refuses": Ending(GOOD, github={"status": 403, "body": SHOUT}),
    "GitHub does not answer": Ending(GOOD, github={"lost": "before"}),
    "a webhook fails": Ending(GOOD, hooks=HttpResponse(status=500, body=SHOUT.encode())),
    "a webhook redirects": Ending(GOOD, hooks=HttpResponse(status=302, headers=[("location", "/k4n4ry")])),
}
FEW = ("success", "failed", "unknown_outcome", "interrupted", "a program prints them", "GitHub refuses")
IN_TEXT = (*FEW, "planned")
"""Endings that are also shown as text. The others show the same events and kinds of results by the same functions."""
OF_CLOUDFLARE = [case for case in all_cases() if writes_to(case.runbook, "cloudflare")]


def endings() -> "Iterator[Any]":
    """Yield runbook, ending, and whether the result is JSON."""
    for case in OF_CLOUDFLARE:
        few = case.scenario.is_slow or case.scenario.is_like_another
        quick = "failed" if case.scenario.proves_by_probes else "success"
        for ending in FEW if few else CANARY_ENDINGS:
            if not options_of(case.runbook.name).issuperset(CANARY_ENDINGS[ending].arguments[:1]):
                continue
            for as_json in [True] if few or ending not in IN_TEXT else [True, False]:
                is_quick = case.runbook.kinds[0] == "worker" and not case.variant and ending == quick and as_json
                told = f"{case}, {ending}, {'JSON' if as_json else 'text'}"
                marks_of = () if is_quick else pytest.mark.slow
                yield pytest.param(case, CANARY_ENDINGS[ending], as_json, id=told, marks=marks_of)


@pytest.mark.sampled
@pytest.mark.parametrize(("case", "ending", "as_json"), list(endings()))
def test_canaries_stay_hidden_for_every_ending(incident: Incident, case: Case, ending: Ending, as_json: bool) -> None:
    (incident.world.folder / "shout").write_text(SHOUT)
    with receiving() as receiver:
        environ = prepare_ending(incident, case, ending, receiver)
        number = None if case.scenario.by_a_person else incident.number
        given = [*case.arguments, *ending.arguments]
        outcome = start_run(incident, case.runbook.name, *given, number=number, **environ, as_json=as_json)

    also = further_decisions(case, ending)
    if ending.github and case.scenario.reads_github:
        assert outcome.code == 4  # no run starts
    else:
        assert decision(incident) in ending.decisions | also, outcome.err
    assert leaks(collect_output(incident, receiver, outcome)) == []


def further_decisions(case: Case, ending: Ending) -> set[str]:
    """Return further decisions of builds, runs without service probes, and failed GitHub copies."""
    also = {"recovered", "failed", "unknown_outcome", "no_evidence", "interrupted"} if case.scenario.is_slow else set()
    also |= set() if case.scenario.proves_by_probes else GOOD
    needs_github = bool(ending.github) and case.runbook.permissions.github
    return also | ({"failed", "unknown_outcome"} if needs_github else set())


COLLECTED = {
    "all well": [],
    "errors": [{"path": "/**", "status": 403, "code": 10000, "message": SHOUT, "times": None}],
    "HTML": [{"path": "/**", "body": f"<html>{SHOUT}", "times": None}],
    "an error of GraphQL": [{"path": "/graphql", "body": json.dumps({"errors": [{"message": SHOUT}]}), **JSON}],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "rules", [pytest.param(r, id=n, marks=() if not r else pytest.mark.slow) for n, r in COLLECTED.items()]
)
def test_canaries_stay_hidden_in_evidence(incident: Incident, rules: list[dict[str, Any]]) -> None:
    """The repository is private, so that nothing is shortened."""
    world, hub = incident.world, incident.github
    world.sandbox.add_token(
        CANARY["CLOUDFLARE_API_TOKEN"], ["Workers Scripts Read", "Pages Read", "Account Settings Read"]
    )
    hub.add_workflow_token(CANARY["GITHUB_TOKEN"])
    end = OF_A_WORKER
    world.edit_config(end, PROBES.replace("PROGRAM", '"true"') + end)
    world.release(timedelta(hours=1), message=SHOUT, author=SHOUT)
    world.site(timedelta(hours=1), "good", message=SHOUT)
    entry = {"uri": f"/{SHOUT}", "user_agent": SHOUT, "email": SHOUT, "token_name": SHOUT}
    world.sandbox.audit.append(logged(world.sandbox.clock.now() - timedelta(hours=1), **entry))
    for rule in rules:
        world.sandbox.fault(**{"path": "/**"} | rule)
    page, file = world.folder / "summary.md", world.folder / "evidence.json"
    where = ["--environment", "production", "--config", str(world.config), "--incident", str(incident.number)]
    environ = {**hub.environ(), **CANARY, "GITHUB_STEP_SUMMARY": str(page), "GITHUB_ACTIONS": "true"}
    outcome = world.ops("evidence", "--since", "24h", "--json", str(file), *where, **environ)

    assert outcome.code == 0, outcome.err
    assert page.exists()
    assert file.exists()
    assert leaks(collect_output(incident, Receiver(), outcome)) == []


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "JSON"])
def test_canaries_stay_hidden_in_status(incident: Incident, as_json: list[str]) -> None:
    """Other people put the secret into a message, a switch or an answer."""
    world = incident.world
    switched(world, Given())
    end = OF_A_WORKER
    world.edit_config(end, PROBES.replace("PROGRAM", '"true"') + end)
    permissions = ["Workers Scripts Read", "Workers KV Storage Read"]
    world.sandbox.add_token(CANARY["CLOUDFLARE_API_TOKEN"], permissions)
    world.release(timedelta(hours=1), message=SHOUT, author=SHOUT)
    switches.SwitchWorld(world).put("ai", state="off", owner=SHOUT, message=SHOUT, paths=[f"/{SHOUT}"])
    world.sandbox.fault(path="/accounts/*/pages/**", code=10021, message=SHOUT, status=400, times=None)

    outcome = world.ops("status", "--environment", "production", "--config", str(world.config), *as_json, **CANARY)

    assert outcome.code == 4, outcome.err  # the site could not be read
    assert leaks(collect_output(incident, Receiver(), outcome)) == []


@pytest.mark.parametrize("private", [True, False])
def test_canaries_stay_hidden_in_a_leak_incident(incident: Incident, private: bool) -> None:
    """Neither a registered secret nor an unknown key in any field of the report."""
    world, hub = incident.world, incident.github
    hub.switches.private = private
    hub.add_workflow_token(CANARY["GITHUB_TOKEN"])
    key = marks.secret("unknown", signs="/+=")
    event = world.folder / "shout"
    job = {"GITHUB_EVENT_NAME": "repository_dispatch", "GITHUB_EVENT_PATH": str(event), "GITHUB_REF": "refs/heads/main"}
    who = {"GITHUB_RUN_ATTEMPT": "1", "GITHUB_ACTOR": "alice", "GITHUB_ACTIONS": "true"}
    where = {"full_name": "acme/operations", "default_branch": "main"}
    outcomes = []
    for said in (SHOUT, key, f"({key}),", f"https://ci.example/{key}/x?k={key}"):
        sent_ = dict.fromkeys(("secret", "seen", "url", "source", key), said)
        event.write_text(json.dumps({"action": "secret-leak", "client_payload": sent_, "repository": where}))
        environ = {**hub.environ(), **CANARY, **job, **who}
        outcomes.append(world.ops("incident", "leak", "--config", str(world.config), **environ))

    assert [outcome.code for outcome in outcomes] == [0] * 4
    for outcome in outcomes:
        assert leaks(collect_output(incident, Receiver(), outcome)) == []


@pytest.mark.sampled(2)
@pytest.mark.parametrize("as_json", [True, False], ids=["JSON", "text"])
def test_canaries_stay_hidden_in_a_bug(incident: Incident, broken: str, as_json: bool) -> None:
    with receiving() as receiver:
        environ = prepare_ending(incident, cases("rollback-worker")[0], Ending(set()), receiver)
        given, number = ["--service", "api"], incident.number
        outcome = start_run(incident, broken, *given, number=number, **environ, as_json=as_json)

    assert outcome.code == 1
    assert "in the midst of" in outcome.err
    assert leaks(collect_output(incident, receiver, outcome)) == []


SERVICE, WHERE = ("--service", "api"), ("--environment", "production")
PASTED = {
    "as a command": lambda secret: [secret],
    "as an option": lambda secret: ["rollback-worker", f"--{secret}"],
    "as a service": lambda secret: ["rollback-worker", "--service", secret, *WHERE],
    "as an environment": lambda secret: ["rollback-worker", *SERVICE, "--environment", secret],
    "as a target": lambda secret: ["rollback-worker", *SERVICE, *WHERE, "--to", secret],
    "as an incident": lambda secret: ["rollback-worker", *SERVICE, *WHERE, "--incident", secret],
    "as a file": lambda secret: ["rollback-worker", *SERVICE, *WHERE, "--config", secret],
}


@pytest.mark.slow
@pytest.mark.parametrize("typed", PASTED.values(), ids=PASTED)
@pytest.mark.parametrize("name", ["CLOUDFLARE_API_TOKEN", "GITHUB_TOKEN"])
@pytest.mark.parametrize(
    "options", [pytest.param([], id="text"), pytest.param(["--json"], id="JSON", marks=pytest.mark.slow)]
)
def test_canaries_stay_hidden_in_wrong_arguments(
    world: World, releases: Releases, monkeypatch: pytest.MonkeyPatch, typed: Any, name: str, options: list[str]
) -> None:
    monkeypatch.chdir(world.folder)
    world.sandbox.add_token(CANARY["CLOUDFLARE_API_TOKEN"], ["Workers Scripts Write"])

    outcome = world.ops(*typed(CANARY[name]), *options, **CANARY)

    assert outcome.code in {2, 3}
    requests = sent(world.sandbox.requests, "Cloudflare")
    assert leaks({"stdout": outcome.out, "stderr": outcome.err, **on_disk(world.folder), **requests}) == []


OF_GITHUB_ALONE = [case for case in all_cases() if not writes_to(case.runbook, "cloudflare")]
ON_GITHUB: dict[str, list[dict[str, Any]]] = {
    "success": [],
    "GitHub's reads fail": [{"method": "GET", "path": "/repos/**", "status": 500, "message": SHOUT, "times": None}],
    "GitHub's writes fail": [{"method": "POST", "path": "/repos/**", "status": 500, "message": SHOUT, "times": None}],
    "GitHub refuses": [
        {"method": method, "path": path, "status": 403, "message": SHOUT}
        for method, path in dict.fromkeys(case.writes[-1] for case in OF_GITHUB_ALONE)
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("rules", ON_GITHUB.values(), ids=ON_GITHUB)
@pytest.mark.parametrize("case", OF_GITHUB_ALONE, ids=str)
def test_canaries_stay_hidden_in_runs_on_github(incident: Incident, case: Case, rules: list[dict[str, Any]]) -> None:
    """The run writes its reason to GitHub."""
    hub = incident.github
    with receiving() as receiver:
        environ = prepare_ending(incident, case, Ending(GOOD), receiver)
        for rule in rules:
            hub.fault(**rule)

        reason = ("--reason", SHOUT) if "--reason" in options_of(case.runbook.name) else ()
        given, number = [*case.arguments, *reason], incident.number
        outcome = start_run(incident, case.runbook.name, *given, number=number, **environ, as_json=True)

    assert decision(incident) in ({"failed", "unknown_outcome"} if rules else {"planned", *GOOD}), outcome.err
    assert leaks(collect_output(incident, receiver, outcome)) == []


@pytest.mark.slow
def test_unregistered_canary_is_detected(incident: Incident) -> None:
    with receiving() as receiver:
        environ = prepare_ending(incident, cases("rollback-worker")[0], Ending(GOOD), receiver)
        unknown = ("--reason", marks.secret("unknown"))
        given, number = ["--service", "api", *unknown], incident.number
        outcome = start_run(incident, "rollback-worker", *given, number=number, **environ, as_json=True)

    found = "\n".join(leaks(collect_output(incident, receiver, outcome)))
    for place in ("stderr", ".ops/runs/", "github_step_summary", "Cloudflare request", "GitHub request", "webhook"):
        assert place in found


def prepare_ending(incident: Incident, case: Case, ending: Ending, receiver: Receiver) -> dict[str, str]:
    """Prepare the sandbox for the ending, and return the variables of the run in a job."""
    world, hub, scenario = incident.world, incident.github, case.scenario
    world.sandbox.add_token(CANARY["CLOUDFLARE_API_TOKEN"], case.runbook.permissions.cloudflare)
    hub.add_workflow_token(CANARY["GITHUB_TOKEN"])
    scenario.prepare(world, Given(CANARY, incident.number))
    probes, end = PROBES.replace("PROGRAM", json.dumps(ending.program)), last_probe(case)
    config = world.config.read_text().replace(end, probes + end, 1)
    world.config.write_text(config.replace("deadline: 10s", "deadline: 1s"))  # each round shows the same secrets
    write: dict[str, Any] = {**case.write_rule}
    if ending.then_reads_fail:
        world.sandbox.fault(**write, before=lambda: [world.sandbox.fault(**read, **FAILS) for read in READS])
    if ending.write:
        world.sandbox.fault(**write, **ending.write)
    if ending.read:
        for read in READS:
            world.sandbox.fault(**read, **ending.read)
    if ending.github:
        hub.fault(path="/repos/**", times=None, **ending.github)
    receiver.answers = {"marked": ending.hooks} if ending.hooks else {}
    job = {name: str(world.folder / name.lower()) for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")}
    tmp = world.folder / "tmp"
    tmp.mkdir()
    is_on_laptop = scenario.is_slow or case.runbook.incident_use.needs_approval  # a job waits for a second person
    there = {"TMPDIR": str(tmp), **({"OPS_SOURCE": "app"} if is_on_laptop else {"GITHUB_ACTIONS": "true"})}
    held = {scenario.refuses_together.get(name, name): value for name, value in CANARY.items()}
    return {**hub.environ(), **held, **receiver.environ, **job, **there, **scenario.environ(world)}


def start_run(
    incident: Incident, runbook: str, *arguments: str, as_json: bool, number: int | None, **environ: str
) -> Outcome:
    where = ["--environment", "production", "--config", str(incident.world.config)]
    where += ["--incident", str(number)] if number and "--incident" in options_of(runbook) else []
    shown = ["--json"] if as_json else []
    return incident.world.ops(*runbook.split(), *where, *arguments, "--yes", *shown, **environ)


def decision(incident: Incident) -> str:
    (path,) = incident.world.folder.glob(".ops/runs/*/timeline.jsonl")
    events = [json.loads(line) for line in path.read_text().splitlines()]
    return next(str(event["text"]) for event in events if event["kind"] == "ended")


def must_contain_secrets(request: Any) -> bool:
    """Whether the body of the request must contain secrets."""
    where = request.path.rpartition("/")[2]
    return (request.method, where) in {("PATCH", "secrets-bulk"), ("POST", "versions")}


def collect_output(incident: Incident, receiver: Receiver, outcome: Outcome) -> dict[str, str]:
    """Return all that a run leaves, except mask commands, webhook addresses and authorization headers."""
    world = incident.world
    hooks = [replace(request, target="/") for request in receiver.requests]
    for request in hooks:
        del request.headers["host"]
    lines = [line for line in outcome.err.splitlines() if not line.startswith("::add-mask::")]
    return {
        "stdout": outcome.out,
        "stderr": "\n".join(lines),
        **on_disk(world.folder, but=frozenset({"shout", "shout.txt", "ops.yml"})),
        **sent([request for request in world.sandbox.requests if not must_contain_secrets(request)], "Cloudflare"),
        **sent(incident.github.requests, "GitHub"),
        **sent(hooks, "webhook"),
    }

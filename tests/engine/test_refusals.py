"""Refusals and failures without a change: message, hint and exit code."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import ACCOUNT, WORKER, Outcome, Releases, World
from tests.support.commands import JSON, LIST, LISTED_VERSIONS, ONE_VERSION, Command, ended, texts
from tests.support.configurations import ONE_WORKER
from tests.support.scenarios import cases

BASE = ("--environment", "production", "--service", "api")


def assert_refused(world: World, outcome: Outcome) -> dict[str, Any]:
    """Check that nothing was changed; return the result, whose exit code is that of the process."""
    assert world.writes() == []
    assert not texts(outcome, "ended") or outcome.result["message"].startswith("nothing was changed: ")
    assert outcome.result["exit_code"] == outcome.code
    assert outcome.result.get("undo", []) == []
    return outcome.result


# Names and options


def run_with_text_output(world: World, *arguments: str, **environ: str | None) -> Outcome:
    """Run the command with text output and --yes."""
    return world.ops("rollback-worker", "--yes", "--config", str(world.config), *arguments, **environ)


NAMES: dict[str, tuple[tuple[str, ...], int, str, str]] = {
    "service": (
        ("--service", "apy"),
        2,
        'no service "apy" in production; did you mean "api"?',
        "Name one of: api, frontend.",
    ),
    "environment": (
        ("--environment", "prod"),
        2,
        'no environment "prod" in ops.yml; did you mean "production"?',
        "Name one of: production, staging.",
    ),
    "a name that is near none": (
        ("--service", "zzz"),
        2,
        'no service "zzz" in production',
        "Name one of: api, frontend.",
    ),
    "a secret in the wrong place": (
        ("--service", "k3y" * 12),
        2,
        'no service "(hidden)"',
        "Name one of: api, frontend.",
    ),
    "three shares": (("--to", "a@50,b@25,c@25"), 2, "a deployment has at most two versions", "A@90,B@10"),
    "shares of 90": (("--to", "{good}@80,{bad}@10"), 2, "the shares add up to 90, not 100", "A@90,B@10"),
    "no percentage": (("--to", "{good}@x,{bad}@10"), 2, '"x" is not a percentage', "A@90,B@10"),
    "one version twice": (("--to", "{good}@50,{good}@50"), 2, "both shares name the same version", "A@90,B@10"),
}


@pytest.mark.sampled
@pytest.mark.parametrize(("arguments", "code", "said", "hint"), NAMES.values(), ids=NAMES)
def test_unknown_name_lists_the_known_names(
    world: World, releases: Releases, arguments: tuple[str, ...], code: int, said: str, hint: str
) -> None:
    typed = [argument.format(good=releases.good, bad=releases.bad) for argument in arguments]

    outcome = world.rollback(*typed)

    result = assert_refused(world, outcome)
    assert outcome.code == code
    assert said in result["message"]
    assert hint in result["hint"]
    assert result["decision"] == "refused"
    assert result["reason"] == "unknown_name"


@pytest.mark.slow
def test_unknown_version_suggests_the_nearest(world: World, releases: Releases) -> None:
    typed = "f" + releases.good[1:]

    outcome = world.rollback("--to", typed)

    result = assert_refused(world, outcome)
    assert ended(outcome) == (3, "refused", "unknown_name")
    assert f'did you mean "{releases.good}"?' in result["message"]


def test_unknown_service_is_refused_on_the_terminal(world: World, releases: Releases) -> None:
    outcome = run_with_text_output(world, "--environment", "production", "--service", "apy")

    assert outcome.code == 2
    assert '✖ REFUSED  nothing was changed: no service "apy" in production; did you mean "api"?' in outcome.out
    assert "next step: Name one of: api, frontend." in outcome.out


# Tokens


TOKENS: dict[str, tuple[str | None, str, str, str]] = {
    "missing": (None, "token_missing", "CLOUDFLARE_API_TOKEN ", "`export CLOUDFLARE_API_TOKEN=…`"),
    "in a job": (None, "token_missing", "CLOUDFLARE_API_TOKEN ", "GitHub environment, `recovery` (Settings"),
    "empty": ("", "token_missing", "CLOUDFLARE_API_TOKEN ", '"Workers Scripts: Edit"'),
    "a newline": ("{token}\n", "token_malformed", "U+000A, at position 30 of 30", "CLOUDFLARE_API_TOKEN"),
    "a space": (" {token}", "token_malformed", "U+0020, at position 1 of 30", "CLOUDFLARE_API_TOKEN"),
    "smart quotes": ("\u201c{token}\u201d", "token_malformed", "U+201C, at position 1 of 31", "CLOUDFLARE_API_TOKEN"),
    "an ellipsis": ("{token}\u2026", "token_malformed", "U+2026, at position 30 of 30", "CLOUDFLARE_API_TOKEN"),
    "another alphabet": ("\u0455{token}", "token_malformed", "U+0455, at position 1", "CLOUDFLARE_API_TOKEN"),
    "a control character": ("{token}\x7f", "token_malformed", "U+007F", "CLOUDFLARE_API_TOKEN"),
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("value", "reason", "said", "hint"), TOKENS.values(), ids=TOKENS)
def test_invalid_token_is_refused_before_any_request(
    world: World, releases: Releases, value: str | None, reason: str, said: str, hint: str
) -> None:
    token = value and value.format(token=world.sandbox.token)

    outcome = world.rollback(CLOUDFLARE_API_TOKEN=token)

    result = assert_refused(world, outcome)
    assert (outcome.code, result["reason"]) == (2, reason)
    assert said in result["message"]
    assert hint in result["hint"]
    assert world.sandbox.token not in outcome.out + outcome.err
    assert world.sandbox.requests == []


RIGHTS = {
    "limits apply": ('"Workers KV Storage: Edit"', "`limits`"),
    "rollback-pages": ('"Cloudflare Pages: Edit"', "`recovery`"),
    "rotate-secrets": ('"Workers Scripts: Edit"', "`security`"),
    "restore-database": ('"D1: Edit"', "`database`"),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", RIGHTS)
def test_missing_token_hint_names_right_and_environment_of_the_runbook(world: World, name: str) -> None:
    case = cases(name)[0]
    where = ["--environment", "production", "--config", str(world.config), "--yes", "--json"]

    outcome = world.ops(*case.command, *case.arguments, *where, CLOUDFLARE_API_TOKEN=None)

    assert (outcome.code, outcome.result["reason"]) == (2, "token_missing")
    right, environment = RIGHTS[name]
    assert right in outcome.result["hint"]
    assert f"its GitHub environment, {environment} (Settings" in outcome.result["hint"]


def test_missing_token_hint_names_secret_of_repository_without_environments(world: World, releases: Releases) -> None:
    world.edit_config("environments:\n", "github:\n  environments: false\nenvironments:\n")

    hint = world.rollback(CLOUDFLARE_API_TOKEN=None).result["hint"]

    assert "add RECOVERY_CLOUDFLARE_API_TOKEN to the repository's secrets" in hint
    assert "GitHub environment" not in hint


@pytest.mark.parametrize("command", ["versions api", "hold check --service api", "status"])
def test_hint_is_the_same_for_a_command_that_only_reads(world: World, releases: Releases, command: str) -> None:
    world.edit_config("environments:\n", "github:\n  environments: false\nenvironments:\n")

    where = ("--environment", "production", "--config", str(world.config))
    done = world.ops(*command.split(), *where, CLOUDFLARE_API_TOKEN=None)

    assert "add RECOVERY_CLOUDFLARE_API_TOKEN" in (said := " ".join(f"{done.out} {done.err}".split()))
    assert "its GitHub environment" not in said


@pytest.mark.slow
@pytest.mark.parametrize("status", [401, 403])
def test_expired_token_error_names_the_permission(world: World, releases: Releases, status: int) -> None:
    world.sandbox.switches.auth_error_status = status
    token = world.sandbox.add_token("expired-expired", ["Workers Scripts Write"], expired=True)

    outcome = world.rollback(CLOUDFLARE_API_TOKEN=token)

    result = assert_refused(world, outcome)
    assert ended(outcome) == (4, "failed", "not_authorised")
    assert f"HTTP {status}, code 10000" in result["message"]
    assert "cf-ray" in result["message"]
    assert "CLOUDFLARE_API_TOKEN" in result["hint"]
    assert '"Workers Scripts Read"' in result["hint"]


@pytest.mark.slow
def test_read_only_token_can_plan_but_not_write(world: World, releases: Releases) -> None:
    token = world.sandbox.add_token("read-only-token", ["Workers Scripts Read"])

    planned = world.rollback("--dry-run", CLOUDFLARE_API_TOKEN=token)
    outcome = world.rollback(CLOUDFLARE_API_TOKEN=token)

    assert ended(planned) == (0, "planned", "dry_run")
    assert ended(outcome) == (4, "failed", "not_authorised")
    assert '"Workers Scripts Write"' in outcome.result["hint"]
    assert outcome.result["message"].endswith("; this was not applied")
    assert len(world.writes()) == 1
    assert world.live == {releases.bad: 100}


# Sandbox addresses


PLACES: dict[str, tuple[dict[str, str | None], tuple[str, ...], str]] = {
    "another machine's API": (
        {"CLOUDFLARE_API_BASE_URL": "https://api.example/client/v4"},
        ("CLOUDFLARE_API_BASE_URL",),
        "`unset CLOUDFLARE_API_BASE_URL`",
    ),
    "user information": (
        {"CLOUDFLARE_API_BASE_URL": "http://127.0.0.1@api.example"},
        ("CLOUDFLARE_API_BASE_URL",),
        "`unset CLOUDFLARE_API_BASE_URL`",
    ),
    "another machine's edge": (
        {"OPS_EDGE_URL": "https://edge.example"},
        ("OPS_EDGE_URL",),
        "`unset OPS_EDGE_URL`",
    ),
    "another machine's clock": (
        {"OPS_CLOCK_URL": "http://203.0.113.7/clock"},
        ("OPS_CLOCK_URL",),
        "`unset OPS_CLOCK_URL`",
    ),
    "the API alone": (
        {"OPS_EDGE_URL": None, "OPS_CLOCK_URL": None},
        ("CLOUDFLARE_API_BASE_URL", "OPS_EDGE_URL", "OPS_CLOCK_URL"),
        "`unset CLOUDFLARE_API_BASE_URL`",
    ),
    "the edge alone": (
        {"CLOUDFLARE_API_BASE_URL": None, "OPS_CLOCK_URL": None},
        ("OPS_EDGE_URL", "CLOUDFLARE_API_BASE_URL", "OPS_CLOCK_URL"),
        "`unset OPS_EDGE_URL`",
    ),
    "the clock alone": (
        {"CLOUDFLARE_API_BASE_URL": None, "OPS_EDGE_URL": None},
        ("OPS_CLOCK_URL", "CLOUDFLARE_API_BASE_URL", "OPS_EDGE_URL"),
        "`unset OPS_CLOCK_URL`",
    ),
    "an empty API": (
        {"CLOUDFLARE_API_BASE_URL": ""},
        ("OPS_EDGE_URL", "OPS_CLOCK_URL", "CLOUDFLARE_API_BASE_URL"),
        "`unset OPS_EDGE_URL OPS_CLOCK_URL`",
    ),
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("environ", "named", "command"), PLACES.values(), ids=PLACES)
def test_incomplete_or_remote_sandbox_is_refused(
    world: World, releases: Releases, environ: dict[str, str | None], named: tuple[str, ...], command: str
) -> None:
    outcome = world.rollback(**environ)

    result = assert_refused(world, outcome)
    assert (outcome.code, result["reason"]) == (2, "not_loopback")
    assert tuple(re.findall(r"(?:CLOUDFLARE|OPS)_\w+", result["message"])) == named
    assert command in result["hint"]
    assert world.sandbox.requests == []


def test_unreachable_sandbox_is_reported(world: World, releases: Releases) -> None:
    gone = "http://127.0.0.1:9/sandbox/clock"

    outcome = world.rollback(OPS_CLOCK_URL=gone)

    assert outcome.code == 2
    assert gone in assert_refused(world, outcome)["message"]


# ops.yml


def test_missing_ops_yml_suggests_config_option(world: World) -> None:
    world.config.unlink()

    outcome = world.rollback()

    assert outcome.code == 2
    assert re.search(r"ops\.yml .*\(No such file or directory\)", assert_refused(world, outcome)["message"])
    assert "--config PATH" in outcome.result["hint"]


@pytest.mark.slow
def test_invalid_ops_yml_lists_every_problem_in_json(world: World) -> None:
    world.edit_config("worker: fortunet-api #", "wroker: fortunet-api #")
    world.edit_config("successes: 1", "succeses: 1")

    outcome = world.rollback()

    result = assert_refused(world, outcome)
    assert (outcome.code, result["reason"]) == (2, "config_invalid")
    assert len(result["problems"]) >= 2
    assert any("ops.yml:" in problem and "worker" in problem for problem in result["problems"])
    assert world.sandbox.requests == []


# State at Cloudflare


@pytest.mark.slow
def test_unknown_worker_is_named(world: World) -> None:
    outcome = world.rollback()

    result = assert_refused(world, outcome)
    assert ended(outcome) == (4, "failed", "provider_refused")
    assert f"/workers/scripts/{WORKER}/" in result["message"]
    assert "HTTP 404, code 10007" in result["message"]
    assert "there is no such Worker" in result["hint"]


def test_worker_without_deployment_has_no_target(world: World) -> None:
    world.release(timedelta(hours=1), deploy=False)

    outcome = world.rollback()

    result = assert_refused(world, outcome)
    assert ended(outcome) == (3, "refused", "no_target")
    assert WORKER in result["message"]
    assert result["hint"]


def test_first_deployment_has_no_target_and_suggests_to(world: World) -> None:
    world.release(timedelta(hours=1))

    outcome = world.rollback()

    assert ended(outcome) == (3, "refused", "no_target")
    assert "Cloudflare listed 1 deployment, back to" in assert_refused(world, outcome)["message"]
    assert "--to VERSION" in outcome.result["press"]
    assert outcome.result["press_button"].endswith("; to = VERSION")


READS = {"deployments": LIST, "versions": LISTED_VERSIONS, "one version": ONE_VERSION}
EACH_READ = [pytest.param(v, id=k, marks=pytest.mark.slow if k == "versions" else ()) for k, v in READS.items()]
RAY = {"headers": {"cf-ray": "8f0c0ffee-LHR"}}
UNREADABLE: dict[str, tuple[dict[str, Any], str]] = {
    "HTML": ({"body": "<html>", **RAY}, "an HTML page (HTTP 200, cf-ray 8f0c0ffee-LHR)"),
    "empty": ({"body": "", **RAY}, "an empty body (HTTP 200, cf-ray 8f0c0ffee-LHR)"),
    "cut off": ({"body": '{"success": tr', **JSON, **RAY}, "truncated JSON (HTTP 200, cf-ray 8f0c0ffee-LHR)"),
    "another shape": (
        {"body": '{"success": true, "result": [{"id": 7}]}', **JSON, **RAY},
        "unexpected JSON (HTTP 200, cf-ray 8f0c0ffee-LHR)",
    ),
    "another shape inside": (
        {
            "body": '{"success": true, "result": {"deployments": [{"id": 7}], "items": [{"id": 7}], "id": 7}}',
            **JSON,
            **RAY,
        },
        "unexpected JSON (HTTP 200, cf-ray 8f0c0ffee-LHR)",
    ),
    "HTML of a gateway": ({"status": 502, "body": "<html>", **RAY}, "an HTML page (HTTP 502, cf-ray 8f0c0ffee-LHR)"),
    "a connection that breaks": ({"truncate": 5}, "failed with RemoteProtocolError"),
}


@pytest.mark.slow
@pytest.mark.sampled(4)
@pytest.mark.parametrize(("rule", "said"), UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("read", EACH_READ)
def test_unreadable_read_answer_is_reported(
    world: World, releases: Releases, read: dict[str, str], rule: dict[str, Any], said: str
) -> None:
    world.sandbox.fault(**read, **rule, times=None)

    outcome = world.rollback()

    result = assert_refused(world, outcome)
    assert outcome.code == 4
    assert result["reason"] in {"malformed_answer", "provider_unavailable"}
    assert said in result["message"]
    assert "cloudflarestatus.com" in result["hint"]


@pytest.mark.slow
@pytest.mark.parametrize("rule", [{"status": 429}, {"status": 503}, {"lost": "before"}], ids=["429", "503", "lost"])
def test_transient_read_failures_are_retried(world: World, releases: Releases, rule: dict[str, Any]) -> None:
    for read in READS.values():
        world.sandbox.fault(**read, **rule, times=2)

    outcome = world.rollback()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err


# Confirmation


@pytest.mark.slow
def test_run_without_yes_or_terminal_is_a_dry_run(world: World, releases: Releases) -> None:
    outcome = run_with_text_output(world, *BASE, "--dry-run")
    unasked = world.ops("rollback-worker", *BASE, "--config", str(world.config))

    assert (outcome.code, unasked.code) == (0, 9)
    assert "✔ PLANNED  dry run: nothing was changed" in outcome.out
    assert "Add --yes to make these changes" in unasked.out
    assert world.writes() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "typed",
    [
        "y\n",
        pytest.param("fortunet-api\n", marks=pytest.mark.slow, id="the Worker"),
        pytest.param("\n", marks=pytest.mark.slow, id="nothing"),
        pytest.param("\x04", marks=pytest.mark.slow, id="the end"),
    ],
)
def test_wrong_confirmation_refuses_the_run(world: World, releases: Releases, typed: str) -> None:
    with Command(world).on_terminal() as terminal:
        terminal.until('Type "api" to go on')
        terminal.type(typed)
        code = terminal.end()

    assert code == 3, terminal.shown
    assert re.search('REFUSED  nothing was changed: .*"api"', terminal.shown)
    assert world.writes() == []


@pytest.mark.slow
def test_json_run_prints_only_events_on_stderr(world: World, releases: Releases) -> None:
    outcome = world.rollback()

    assert [json.loads(line)["number"] for line in outcome.err.splitlines()] == list(range(1, len(outcome.events) + 1))
    assert outcome.result["timeline"] == outcome.events
    assert texts(outcome, "ended") == ["recovered"]


@pytest.mark.slow
def test_hostile_text_cannot_move_the_cursor(world: World) -> None:
    hostile = "\x1b[2Jfine\r\u202e \x07"
    world.release(timedelta(hours=2), code="good", message=hostile, author=hostile)
    world.release(timedelta(minutes=10), code="bad", behaviour={"status": 500}, message=hostile, author=hostile)
    where = ["--service", "api", "--environment", "production", "--config", str(world.config)]
    planned = world.ops("rollback-worker", *where)
    world.sandbox.fault(method="GET", path="**/versions", status=400, code=10026, message=hostile)

    refused = world.ops("rollback-worker", *where)

    assert "fine" in planned.out
    assert "fine" in refused.out
    for printed in (planned.out, refused.out, refused.err):
        assert not [c for c in printed if not c.isprintable() and c != "\n"]


@pytest.mark.slow
def test_unknown_command_suggests_the_nearest(world: World) -> None:
    outcome = world.ops("rollback-wroker")

    assert outcome.code == 2
    assert re.search('"rollback-wroker".*"rollback-worker"', outcome.err)


def test_command_prefix_suggests_all_matches(world: World) -> None:
    outcome = world.ops("rollback")

    assert outcome.code == 2
    assert re.search('"rollback".*"rollback-worker".*"rollback-pages"', outcome.err)


@pytest.mark.parametrize("typed", ["rolback", "rolllback"])
def test_misspelled_first_word_suggests_all_matches(typed: str, world: World) -> None:
    outcome = world.ops(typed)

    assert re.search(f'"{typed}".*"rollback-pages".*"rollback-worker"', outcome.err)


@pytest.mark.slow
def test_inaccessible_account_is_suggested_as_a_cause(world: World, releases: Releases) -> None:
    world.edit_config(ACCOUNT, "e0" * 16)

    outcome = world.rollback()

    assert ended(outcome) == (4, "failed", "not_authorised")
    assert "Check the token CLOUDFLARE_API_TOKEN" in outcome.result["hint"]
    assert f"Check also `account_id` in ops.yml: {'e0' * 16}." in outcome.result["hint"]


def test_other_kind_of_service_names_only_runbooks_that_fit(world: World) -> None:
    world.config.write_text(ONE_WORKER.read_text())
    where = ["--service", "desk", "--environment", "live", "--config", str(world.config)]

    outcome = world.ops("rollback-pages", *where, SHOPDESK_CLOUDFLARE_TOKEN="cf-shopdesk")

    assert (outcome.code, "Name one of" in outcome.out, "incident import" in outcome.out) == (2, False, False)
    assert "For desk there is `ops" in outcome.out

"""AI failover through the switch `ai`, and failback to the preferred provider."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from ops.core.runtime_contract import ProviderOutcomes
from ops.core.verdict import KeyAnswer, KeyVerdict
from ops.runbooks.ai_failover import PROVIDERS_SECTION
from ops.switches import ai_providers
from ops.switches.ai_providers import ProviderHealth
from tests.conftest import WORKER, Outcome, World
from tests.support import switches
from tests.support.commands import ended, texts
from tests.support.switches import SwitchWorld

ORDER = ("iflow", "groq", "cerebras")
DOWN, WELL = {"ok": 0, "failed": 7}, {"ok": 5, "failed": 0}
KEYS = {f"NEW_{name}_API_KEY": f"{name}-fresh-0123456789" for name in ("IFLOW", "GROQ", "CEREBRAS")}


@pytest.fixture
def place(world: World) -> SwitchWorld:
    found = switches.prepared(world)
    found.put("ai", state="auto", incident=None)
    world.sandbox.clock.advance(60)  # a key takes one write a second
    return found


def failover(place: SwitchWorld, to: str, *arguments: str, **environ: str) -> Outcome:
    return place.ops("ai-failover", "--to", to, *arguments, **environ)


def set_outcomes(place: SwitchWorld, **outcomes: dict[str, int]) -> None:
    place.world.sandbox.set_outcomes(WORKER, outcomes)


def request_counts(place: SwitchWorld) -> dict[str, int]:
    """Return the number of requests to each provider."""
    return {name: len(place.world.sandbox.providers[name].requests) for name in ORDER}


@pytest.mark.slow
def test_auto_chooses_by_application_outcomes_without_probes(place: SwitchWorld) -> None:
    set_outcomes(place, iflow=DOWN, groq=WELL, cerebras=WELL)

    outcome = failover(place, "auto", "--incident", "42", **KEYS)

    assert ended(outcome) == (0, "healthy_as_before", "verified")
    assert place.shown["switches"]["ai"]["state"] == "groq"
    assert place.shown["ai"]["order"][0] == "groq"
    assert outcome.result["plan"]["sections"][PROVIDERS_SECTION] == [
        "iflow: down (0 answered, 7 failed)",
        "groq: healthy (5 answered, 0 failed)",
        "cerebras: healthy (5 answered, 0 failed)",
    ]
    assert request_counts(place) == dict.fromkeys(ORDER, 0)
    before, *_, after = texts(outcome, "probed")
    assert "runtime healthy: status 200" in before  # no value is requested yet
    assert "runtime as requested: status 200" in after


def logged(outcome: Outcome) -> list[str]:
    """Return the section of the plan about the logs of the last 15 minutes."""
    (found,) = [lines for title, lines in outcome.result["plan"]["sections"].items() if title.endswith(" 15 min")]
    return list(found)


def test_plan_queries_last_errors_without_a_tail(place: SwitchWorld) -> None:
    sandbox, now = place.world.sandbox, place.world.sandbox.clock.now()
    sandbox.add_token("reads-logs", ["Workers Scripts Read", "Workers KV Storage Write", "Workers Observability Write"])
    for minutes, error in (
        (1, "iflow: timeout\nfor ada@example.com"),
        (2, "iflow: timeout\nfor ada@example.com"),
        (3, "x" * 999),
    ):
        sandbox.analytics.add_error(WORKER, error, at=now - timedelta(minutes=minutes))
    sandbox.analytics.add_error(WORKER, "long ago", at=now - timedelta(minutes=16))
    sandbox.analytics.add_error("another", "not ours", at=now - timedelta(minutes=1))

    outcome = failover(place, "groq", "--dry-run", CLOUDFLARE_API_TOKEN="reads-logs")

    assert logged(outcome) == [
        "in 2 requests: iflow: timeout for a…@example.com",
        f"in 1 requests: {'x' * 160}…",
    ]
    assert not [request for request in sandbox.requests if "tails" in request.path]


def test_unreadable_logs_do_not_stop_the_run(place: SwitchWorld) -> None:
    place.world.sandbox.add_token("no-logs", ["Workers Scripts Read", "Workers KV Storage Write"])

    outcome = failover(place, "groq", CLOUDFLARE_API_TOKEN="no-logs")

    assert outcome.code == 0
    (said,) = logged(outcome)
    assert said.startswith("unknown: ")
    assert said.endswith('the token needs "Workers Observability Write" for it')


CHOICES = [
    ({"iflow": DOWN, "groq": DOWN, "cerebras": WELL}, "cerebras"),
    ({"iflow": DOWN, "groq": DOWN}, "cerebras"),
    ({"iflow": DOWN}, "groq"),
    ({"iflow": DOWN, "cerebras": WELL}, "cerebras"),
    ({"iflow": {"ok": 1, "failed": 90}, "groq": WELL}, "groq"),
    ({"iflow": {"ok": 9, "failed": 4}, "groq": WELL}, "iflow"),
    ({}, "iflow"),
    (dict.fromkeys(ORDER, DOWN), "off"),
]


@pytest.mark.sampled
@pytest.mark.parametrize(("outcomes", "chosen"), CHOICES)
def test_choice_prefers_healthy_then_unknown_then_off(outcomes: dict[str, Any], chosen: str) -> None:
    found = {
        name: ai_providers.judge_health(ProviderOutcomes(**outcomes[name]) if name in outcomes else None)
        for name in ORDER
    }

    assert ai_providers.choose_provider(ORDER, found) == chosen


def test_probe_outweighs_outcomes_unless_key_is_refused() -> None:
    down = ProviderOutcomes(0, 7)

    assert ai_providers.judge_health(down, KeyAnswer(KeyVerdict.ACCEPTED, "")) == ProviderHealth.HEALTHY
    assert (
        ai_providers.judge_health(ProviderOutcomes(5, 0), KeyAnswer(KeyVerdict.UNCLEAR, "status 503"))
        == ProviderHealth.DOWN
    )
    assert ai_providers.judge_health(down, KeyAnswer(KeyVerdict.REFUSED, "")) == ProviderHealth.DOWN
    assert ai_providers.judge_health(None, KeyAnswer(KeyVerdict.REFUSED, "")) == ProviderHealth.UNKNOWN


def test_healthy_preferred_provider_needs_no_change(place: SwitchWorld) -> None:
    set_outcomes(place, iflow=WELL)

    assert ended(failover(place, "auto")) == (0, "nothing_to_do", "already_set")
    assert place.puts == []


def test_all_down_turns_ai_off_with_status_page_text(place: SwitchWorld) -> None:
    set_outcomes(place, **dict.fromkeys(ORDER, DOWN))

    outcome = failover(place, "auto", "--incident", "42")

    assert outcome.code == 0
    answer = place.get("/api/ai/interpret")
    assert answer.status_code == 503
    assert "AI interpretations temporarily unavailable" in answer.text
    assert place.get("/health").status_code == 200
    banner, page = outcome.result["plan"]["tasks"]
    assert '"AI interpretations temporarily unavailable"' in banner
    assert page.startswith('Post on the status page: "AI interpretations temporarily unavailable.')
    assert "while it is off: interpretations answer 503" in outcome.result["plan"]["follows"][0]


@pytest.mark.slow
def test_restore_resets_the_normal_order(place: SwitchWorld) -> None:
    failover(place, "off", "--incident", "42")

    outcome = failover(place, "restore", "--incident", "42")

    assert ended(outcome) == (0, "recovered", "verified")
    assert place.shown["switches"]["ai"]["state"] == "auto"
    assert place.get("/api/ai/interpret").status_code != 503
    place.world.sandbox.clock.advance(30)
    assert ended(failover(place, "restore")) == (0, "nothing_to_do", "already_set")


@pytest.mark.slow
def test_named_provider_that_is_down_gets_a_warning(place: SwitchWorld) -> None:
    set_outcomes(place, cerebras=DOWN)

    outcome = failover(place, "cerebras", "--until", "1h")

    assert outcome.code == 0
    assert place.shown["ai"]["order"][0] == "cerebras"
    assert "health of cerebras: down" in outcome.result["plan"]["warnings"]


def test_probe_sends_one_request_per_provider(place: SwitchWorld) -> None:
    sandbox = place.world.sandbox
    set_outcomes(place, iflow=WELL)
    for name in ORDER:
        sandbox.providers[name].add_key(KEYS[f"NEW_{name.upper()}_API_KEY"])
    sandbox.providers["iflow"].down = True

    outcome = failover(place, "auto", "--probe", **KEYS)

    assert place.shown["switches"]["ai"]["state"] == "groq"
    assert request_counts(place) == dict.fromkeys(ORDER, 1)
    lines = outcome.result["plan"]["sections"][PROVIDERS_SECTION]
    assert lines[0] == "iflow: down (5 answered, 0 failed; probe with our key: unclear, status 503)"
    assert lines[1].startswith("groq: healthy (no requests; probe with our key: accepted")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--to", "grok"], '"grok".*"groq"'),
        (["--to", "restore", "--until", "1h"], "`--until` "),
        (["--to", "off", "--until", "13h"], r"\bai\b.* 12 h\b"),
    ],
)
def test_invalid_options_are_errors(place: SwitchWorld, arguments: list[str], told: str) -> None:
    outcome = place.ops("ai-failover", *arguments)

    assert outcome.code == 2
    assert re.search(told, outcome.result["message"])
    assert place.puts == []


def test_auto_is_refused_without_health(place: SwitchWorld) -> None:
    place.world.sandbox.edge_fault(path="/__ops/runtime", status=500, times=None)

    outcome = failover(place, "auto")

    assert ended(outcome) == (3, "refused", "no_evidence")
    assert "returned HTTP 500" in outcome.result["message"]
    assert "ai-failover --environment production --to off" in outcome.result["press"]


def failback(place: SwitchWorld, **environ: str) -> Outcome:
    where = ["--environment", "production", "--config", str(place.world.config)]
    return place.world.ops("ai-failback", "--yes", *where, **{"CLOUDFLARE_API_TOKEN": "switching", **environ})


def switch_state(place: SwitchWorld) -> str:
    value = place.value("ai")
    assert value
    return str(value["state"])


@pytest.fixture
def override(place: SwitchWorld) -> SwitchWorld:
    """Set an override twenty minutes ago."""
    set_outcomes(place, iflow=DOWN, groq=WELL)
    assert failover(place, "auto", "--incident", "42").code == 0
    place.world.sandbox.clock.advance(20 * 60)
    return place


@pytest.mark.slow
def test_failback_removes_override_of_healthy_provider(override: SwitchWorld) -> None:
    set_outcomes(override, iflow=WELL)

    outcome = failback(override)

    assert outcome.code == 0
    assert "remove the override: iflow answered all 5 requests of the last minutes" in outcome.out
    value = override.value("ai")
    assert value
    assert (value["state"], value["incident"]) == ("auto", 42)
    (record,) = [
        path
        for path in override.world.folder.glob(".ops/runs/*/timeline.jsonl")
        if json.loads(path.read_text().splitlines()[0])["data"]["runbook"] == "ai-failback"
    ]
    assert json.loads(record.read_text().splitlines()[0])["data"]["incident"] == 42
    override.world.sandbox.clock.advance(30)
    assert "no override" in failback(override).out


@pytest.mark.slow
def test_schedule_keeps_override_in_an_outage_of_cloudflare(override: SwitchWorld) -> None:
    set_outcomes(override, iflow=WELL)
    sandbox = override.world.sandbox
    sandbox.switches.status_pages_lag_seconds = 0
    sandbox.status_pages.begin_incident("cloudflare", "API errors", {"API": "major_outage"})

    paused = failback(override, GITHUB_EVENT_NAME="schedule")

    assert (paused.code, switch_state(override)) == (0, "groq")
    assert re.search(r"PAUSED|paused", paused.out)
    sandbox.status_pages.cloudflare.incidents.clear()
    sandbox.providers.change({"provider": "groq", "down": True})
    assert failback(override, GITHUB_EVENT_NAME="schedule").code == 0
    assert switch_state(override) == "auto"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outcomes", "told"),
    [
        ({"iflow": {"ok": 50, "failed": 1}}, "iflow failed 1 of 51 times"),
        ({"iflow": DOWN}, "iflow failed 7 of 7 times"),
        ({}, "no key is available to probe it; it ends automatically at"),
    ],
)
def test_failback_keeps_override_while_health_is_unknown(
    override: SwitchWorld, outcomes: dict[str, Any], told: str
) -> None:
    set_outcomes(override, **outcomes)

    outcome = failback(override)

    assert (outcome.code, switch_state(override)) == (0, "groq")
    assert told in outcome.out
    assert len(list(override.world.folder.glob(".ops/runs/*"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("is_down", [True, False])
def test_failback_probes_unused_provider_once(override: SwitchWorld, is_down: bool) -> None:
    set_outcomes(override, groq=WELL)
    override.world.sandbox.providers["iflow"].add_key(KEYS["NEW_IFLOW_API_KEY"])
    override.world.sandbox.providers["iflow"].down = is_down

    outcome = failback(override, **KEYS)

    assert (outcome.code, switch_state(override)) == (0, "groq" if is_down else "auto")
    assert request_counts(override)["groq"] == 0
    assert request_counts(override)["iflow"] == 1


def test_failback_keeps_new_override_or_one_without_incident(place: SwitchWorld) -> None:
    set_outcomes(place, iflow=WELL)
    failover(place, "groq", "--incident", "42")
    place.world.sandbox.clock.advance(60)

    young = failback(place)
    place.put("ai", state="groq", incident=None)
    nameless = failback(place)

    assert (young.code, nameless.code, switch_state(place)) == (0, 0, "groq")
    assert "stays for at least 15 min" in young.out
    assert "the override belongs to no incident" in nameless.out


def test_failback_dry_run_covers_environments_with_token(override: SwitchWorld) -> None:
    set_outcomes(override, iflow=WELL)

    outcome = override.world.ops(
        "ai-failback", "--config", str(override.world.config), CLOUDFLARE_API_TOKEN="switching"
    )

    assert (outcome.code, switch_state(override)) == (9, "groq")
    assert outcome.out.startswith("production: remove the override: iflow answered all 5 requests")
    assert "Add --yes to make these changes" in outcome.out
    assert "staging" not in outcome.out


@pytest.mark.slow
def test_unreadable_environment_does_not_stop_others(override: SwitchWorld) -> None:
    """Both use the account of this sandbox, which has only production's namespace."""
    set_outcomes(override, iflow=WELL)
    override.world.edit_config("0fedcba00fedcba00fedcba00fedcba0", "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f")
    tokens = {"CLOUDFLARE_API_TOKEN": "switching", "STAGING_CLOUDFLARE_API_TOKEN": "switching"}

    outcome = override.world.ops("ai-failback", "--yes", "--config", str(override.world.config), **tokens)

    assert (outcome.code, switch_state(override)) == (4, "auto"), outcome.err
    assert "namespace not found" in outcome.err


@pytest.mark.slow
def test_failback_refuses_a_newer_override(override: SwitchWorld) -> None:
    set_outcomes(override, iflow=WELL)
    newer = {"state": "cerebras", "revision": "000000000000", "incident": 43}
    override.world.sandbox.fault(**switches.READ, after=lambda: override.put("ai", **newer))

    outcome = failback(override)

    assert (outcome.code, switch_state(override)) == (3, "cerebras")
    assert "nothing was changed: " in outcome.out


def test_failback_refuses_override_unknown_to_kv(override: SwitchWorld) -> None:
    """Another person set it a moment ago, and KV's API still shows the previous value."""
    set_outcomes(override, iflow=WELL)
    value = {**(override.value("ai") or {}), "state": "cerebras", "revision": "000000000000", "incident": 43}
    override.world.sandbox.kv.put(switches.NAMESPACE, "ops/switch/ai", json.dumps(value), by_api=True)

    outcome = failback(override)

    assert (outcome.code, switch_state(override)) == (3, "cerebras")
    assert "nothing was changed: " in outcome.out

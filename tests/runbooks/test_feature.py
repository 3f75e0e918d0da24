"""Feature switches: set for a limited time, verify and undo."""

import re
import signal
from datetime import timedelta
from typing import Any

import pytest

from ops.core.clock import parse_utc
from tests.conftest import World
from tests.support import switches
from tests.support.commands import Command, ended, texts, unwrapped
from tests.support.switches import PUT, READ, SwitchWorld

LOST = {"lost": "after"}


@pytest.fixture
def place(world: World) -> SwitchWorld:
    found = switches.prepared(world)
    found.put(state="on", incident=None)
    world.sandbox.clock.advance(60)  # a key takes one write a second
    return found


@pytest.mark.slow
def test_switch_is_set_verified_and_ends_automatically(place: SwitchWorld) -> None:
    outcome = place.feature("off", "--incident", "42", "--reason", "errors", GITHUB_ACTOR="alice")

    assert ended(outcome) == (0, "recovered", "verified")
    value, now = place.value(), place.world.sandbox.clock.now()
    assert value
    assert (value["state"], value["owner"], value["incident"]) == ("off", "alice", 42)
    assert timedelta(hours=3, minutes=59) < parse_utc(value["until"]) - now <= timedelta(hours=4)
    assert place.shown["switches"]["session-do"] == {k: value[k] for k in ("state", "revision", "until")}
    assert place.puts == ["session-do"]
    plan = outcome.result["plan"]
    assert plan["follows"][0].startswith("while it is off: sessions are checked by signature")
    assert "sign-out and revocation have no effect" in plan["follows"][0]
    assert "seen from FRA; the probes are healthy; other locations may take a minute" in outcome.result["message"]
    assert outcome.result["service"] == "api"
    (undo,) = outcome.result["undo"]
    assert undo.startswith("ops feature --environment production --incident 42 --name session-do --state on ")

    place.world.sandbox.clock.advance(4 * 3600)

    assert place.shown["switches"]["session-do"]["state"] == "on"


@pytest.mark.slow
def test_undo_command_resets_the_switch(place: SwitchWorld) -> None:
    place.feature("off", "--incident", "42")

    outcome = place.feature("on", "--incident", "42")

    assert ended(outcome) == (0, "recovered", "verified")
    value = place.value()
    assert value
    assert (value["state"], value["until"]) == ("on", None)


@pytest.mark.slow
def test_only_a_new_end_or_owner_is_a_change(place: SwitchWorld) -> None:
    place.feature("off", "--until", "1h", "--incident", "42")
    first = place.value()
    assert first
    place.world.sandbox.clock.advance(30)

    again = place.feature("off", "--until", "1h", "--incident", "42")
    later = place.feature("off", "--until", "2h")
    place.world.sandbox.clock.advance(30)
    without = place.feature("off")
    second = place.value()
    place.world.sandbox.clock.advance(30)
    other = place.feature("off", "--incident", "43")

    assert ended(again) == ended(without) == (0, "nothing_to_do", "already_set")
    assert ended(later)[1] == ended(other)[1] == "healthy_as_before"
    assert second
    assert (second["incident"], second["since"]) == (42, first["since"])
    assert parse_utc(second["until"]) - parse_utc(first["until"]) > timedelta(minutes=59)
    third = place.value()
    assert third
    assert [each["incident"] for each in third["owners"]] == [42, None, 43]
    assert parse_utc(third["until"]) == parse_utc(first["since"]) + timedelta(hours=4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--name", "session-do", "--state", "off", "--until", "5h"], r"\bsession-do\b.*\boff\b.* 4 h\b"),
        (["--name", "session-do", "--state", "on", "--until", "1h"], r"\bon\b.*\bsession-do\b"),
        (["--name", "session-do", "--state", "of"], r'\bsession-do\b.*"of"'),
        (["--name", "session", "--state", "off"], '"session".*"session-do"'),
        (["--name", "ai", "--state", "off"], r"\bai\b(?!.*\boff\b)"),
        (["--name", "session-do", "--state", "off", "--until", "soon"], '"soon"'),
    ],
)
def test_invalid_switch_options_are_errors_before_reads(place: SwitchWorld, arguments: list[str], told: str) -> None:
    outcome = place.ops("feature", *arguments)

    assert outcome.code == 2
    assert re.search(told, outcome.result["message"])
    assert place.world.sandbox.requests == []


def test_missing_runtime_names_the_setting(place: SwitchWorld) -> None:
    text = place.world.config.read_text()
    runtime = text[text.index("    # Values that the application reads") : text.index("  # The same application")]
    place.world.config.write_text(text.replace(runtime, ""))

    outcome = place.feature("off")

    assert outcome.code == 2
    assert "production " in outcome.result["message"]
    assert "`runtime`" in outcome.result["hint"]


@pytest.mark.slow
def test_missing_key_is_created_with_a_warning(place: SwitchWorld) -> None:
    place.world.sandbox.kv.delete(switches.NAMESPACE, "ops/switch/session-do")

    outcome = place.feature("off")

    assert ended(outcome) == (0, "recovered", "verified")
    assert "on: never set" in outcome.result["plan"]["changes"][0]["before"]
    assert any("`ops switches prepare`" in warning for warning in outcome.result["plan"]["warnings"])


@pytest.mark.parametrize("text", ['{"version": 2, "state": "off"}', "of", "[]", '{"version": 1}'])
def test_malformed_value_is_refused_with_a_hint(place: SwitchWorld, text: str) -> None:
    place.world.sandbox.kv.put(switches.NAMESPACE, "ops/switch/session-do", text)

    outcome = place.feature("off")

    assert ended(outcome) == (3, "refused", "unknown_value")
    assert "ops/switch/session-do" in outcome.result["message"]
    assert place.puts == []


@pytest.mark.slow
def test_concurrent_writes_of_two_switches_both_apply(place: SwitchWorld) -> None:
    place.world.sandbox.fault(**PUT, before=lambda: place.put("ai", state="groq"))

    outcome = place.feature("off")

    assert outcome.code == 0
    shown = place.shown["switches"]
    assert (shown["session-do"]["state"], shown["ai"]["state"]) == ("off", "groq")


@pytest.mark.slow
def test_concurrent_writes_of_one_switch_are_reported(place: SwitchWorld) -> None:
    place.world.sandbox.fault(**PUT, after=lambda: place.put(state="off", owner="bob", incident=8))

    outcome = place.feature("off", "--incident", "42")

    assert ended(outcome) == (4, "failed", "world_moved")
    assert "session-do is off, by bob" in outcome.result["message"]
    assert place.shown["switches"]["session-do"]["revision"] == "5d41402abc4b"
    assert place.puts == ["session-do"]


@pytest.mark.slow
def test_lost_answer_is_resolved_by_read_back(place: SwitchWorld) -> None:
    place.world.sandbox.switches.kv_api_staleness_seconds = 0
    place.world.sandbox.fault(**PUT, **LOST)

    outcome = place.feature("off")

    assert ended(outcome) == (0, "recovered", "verified")
    assert place.puts == ["session-do"]
    assert len(texts(outcome, "written")) == 1


@pytest.mark.slow
def test_lost_write_is_repeated_once(place: SwitchWorld) -> None:
    place.world.sandbox.fault(**PUT, lost="before")

    outcome = place.feature("off")

    assert ended(outcome) == (0, "recovered", "verified")
    assert len(place.puts) == 2


@pytest.mark.slow
def test_unreadable_kv_prevents_writes(place: SwitchWorld) -> None:
    place.world.sandbox.fault(**READ, times=None, status=503)

    outcome = place.feature("off")

    assert outcome.code == 4
    assert outcome.result["message"].startswith("nothing was changed: ")
    assert place.puts == []


@pytest.mark.slow
def test_missing_kv_permission_is_named(place: SwitchWorld) -> None:
    place.world.sandbox.add_token("poor", ["Workers Scripts Write"])

    outcome = place.feature("off", CLOUDFLARE_API_TOKEN="poor")

    assert "Workers KV Storage" in outcome.result["message"] + outcome.result["hint"]


@pytest.mark.slow
def test_no_success_before_kv_is_consistent(place: SwitchWorld) -> None:
    """A location that read just before the write keeps that value for a minute."""
    place.world.sandbox.switches.kv_staleness_seconds = 60
    assert place.shown["switches"]["session-do"]["state"] == "on"
    began = place.world.sandbox.clock.now()

    outcome = place.feature("off")

    assert ended(outcome) == (0, "recovered", "verified")
    first = next(e for e in outcome.events if e["kind"] == "probed" and "after, 1 of" in e["text"])
    assert parse_utc(first["at"]) - began >= timedelta(seconds=59)
    assert place.shown["switches"]["session-do"]["state"] == "off"


@pytest.mark.slow
def test_invisible_value_is_still_unhealthy(place: SwitchWorld) -> None:
    switches.deploy(place.world, {"switches": {}})

    outcome = place.feature("off")

    assert ended(outcome) == (6, "still_unhealthy", "still_unhealthy")
    assert outcome.result["message"].startswith("changed, but the probes do not confirm: session-do is off")


HOSTILE = ["\u202eevil\n::set-output name=x::y", "<script>alert(1)</script>", "`rm -rf /` | x", "x" * 5000]


@pytest.mark.slow
@pytest.mark.parametrize("text", HOSTILE)
def test_untrusted_value_is_shortened_to_one_line(place: SwitchWorld, text: str) -> None:
    place.put(state="off", owner=text, message=text, paths=[f"/{text}"])
    where = ["--environment", "production", "--config", str(place.world.config), "--dry-run"]

    outcome = place.world.ops(
        *("feature", "--name", "session-do", "--state", "on", "--incident", "7"),
        *where,
        CLOUDFLARE_API_TOKEN="switching",
    )

    assert outcome.code == 0
    assert "\u202e" not in outcome.out
    assert not any(line.startswith("::") for line in outcome.out.splitlines())
    assert "x" * 100 not in outcome.out


KILLS: dict[str, tuple[str, dict[str, Any], str]] = {
    "before the plan": ("api", READ, "recovered"),
    "at the write": ("api", PUT, "nothing_to_do"),
    "at the read back": ("api", READ | {"skip": 1}, "nothing_to_do"),
    "at the application's endpoint": ("edge", {"path": "/__ops/runtime", "skip": 2}, "nothing_to_do"),
}


@pytest.mark.slow
@pytest.mark.parametrize("step", KILLS)
def test_killed_run_repeats_no_write(place: SwitchWorld, step: str) -> None:
    where, rule, then = KILLS[step]
    command = Command(
        place.world,
        "feature",
        "",
        more=("--name", "session-do", "--state", "off", "--incident", "42"),
        environ={"CLOUDFLARE_API_TOKEN": "switching"},
    )
    fault = place.world.sandbox.fault if where == "api" else place.world.sandbox.edge_fault
    fault(**rule, after=command.send(signal.SIGKILL))

    killed = command.run()
    place.world.sandbox.clock.advance(60)
    again = command.run()

    assert killed.code == -signal.SIGKILL
    assert ended(again)[:2] == (0, then)
    assert place.shown["switches"]["session-do"]["state"] == "off"
    assert place.puts == ["session-do"]


def test_repeated_request_adds_missing_end(place: SwitchWorld) -> None:
    place.put(state="off", until=None)
    place.world.sandbox.clock.advance(2)

    assert place.feature("off", "--incident", "7").code == 0

    value = place.value()
    assert value
    assert value["until"]


@pytest.mark.slow
def test_run_without_incident_opens_one_with_its_command(place: SwitchWorld) -> None:
    github = place.world.sandbox.github

    outcome = place.feature("off", "--reason", "a <secret> reason", **github.environ())

    (issue,) = github.issues
    assert outcome.result["incident"] == issue.number
    assert issue.title == "feature on api in production: Recovered"
    again = f"ops feature --name session-do --state off --environment production --incident {issue.number}"
    assert again in unwrapped(issue.comments[-1].body)


@pytest.mark.slow
def test_switch_takes_effect_within_two_seconds(place: SwitchWorld) -> None:
    """Measured without a cached value, by the run's clock, up to the first healthy round."""
    outcome = place.feature("off")

    first = next(e for e in outcome.events if e["kind"] == "probed" and "after, 1 of" in e["text"])
    assert first["seconds"] - outcome.events[0]["seconds"] <= 2


@pytest.mark.slow
def test_switch_probes_run_only_for_their_switch(place: SwitchWorld) -> None:
    switches.deploy(place.world, paths={"/health/sessions": {"status": 503}})

    outcome = place.feature("off", "--incident", "42")

    assert ended(outcome) == (6, "still_unhealthy", "still_unhealthy")
    assert any("sessions unhealthy: status 503" in text for text in texts(outcome, "probed"))
    place.world.sandbox.clock.advance(60)
    assert ended(place.ops("ai-failover", "--to", "off")) == (0, "recovered", "verified")
    assert ended(place.ops("all-clear", "--incident", "42")) == (0, "healthy_as_before", "verified")


BANNER = {"normal": "off", "on_unknown": "off"}
PAGE = """\
status_page:
  url: https://status.fortunet.example
  title: FortuneT
  components: [{name: Charts, services: [api]}]
messages:
  identified: {banner: "{components}: we know the cause. {url}"}
responders:"""


@pytest.mark.parametrize(
    ("section", "state", "text"),
    [
        (PAGE, "identified", "Charts: we know the cause. https://status.fortunet.example"),
        (PAGE, "in-progress", "Charts"),
        ("responders:", "investigating", "some of our services"),
    ],
)
def test_banner_shows_the_standard_text_of_its_state(world: World, section: str, state: str, text: str) -> None:
    world.edit_config("responders:", section)
    states = '{states: ["off", investigating, identified, in-progress], longest: 2h}'
    world.edit_config(
        "        session-do:\n          states", f"        banner: {states}\n        session-do:\n          states"
    )
    place = switches.prepared(world)
    switches.deploy(world, {**switches.DECLARED, "switches": {**switches.DECLARED["switches"], "banner": BANNER}})

    outcome = place.feature(state, "--incident", "42", name="banner")

    assert ended(outcome) == (0, "recovered", "verified")
    value = place.value("banner")
    assert value
    shown = place.shown["banner"]
    assert (shown["text"], shown["until"]) == (value["message"], value["until"])
    assert shown["level"] == ("info" if state == "in-progress" else "warning")
    assert text in shown["text"]
    world.sandbox.clock.advance(30)
    assert ended(place.feature(state, "--incident", "42", name="banner")) == (0, "nothing_to_do", "already_set")

    assert place.feature("off", "--incident", "42", name="banner").code == 0

    assert place.shown["banner"] is None


def test_lost_write_that_a_colleague_replaced_opens_an_incident(place: SwitchWorld) -> None:
    """It may have been in effect for a while, so people must know of it."""
    github = place.world.sandbox.github
    place.world.sandbox.fault(**PUT, **LOST, after=lambda: place.put(state="on", owner="bob", incident=7))

    outcome = place.feature("off", **github.environ())

    assert ended(outcome) == (4, "failed", "world_moved")
    assert [issue.title for issue in github.issues] == ["feature on api in production: Failed"]

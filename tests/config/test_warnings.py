"""Warnings about a valid `ops.yml`."""

import re

import pytest

from ops.config import parse_config
from tests.config.test_config import ENVIRONMENT, SERVICE, SMALL, problems, warnings_of

WARNINGS = [
    ("TBD as text", 'contacts: [{role: On call, contact: "[TBD]", availability: TBD}]',
     ["11 contacts[0].contact: still a placeholder; write what a person on call needs",
      "11 contacts[0].availability: still a placeholder; write what a person on call needs"]),
    ("TBD as a list, as in the procedure's table", "contacts: [{role: On call, contact: [TBD], availability: 24/7}]",
     ["11 contacts[0].contact: still a placeholder; write what a person on call needs"]),
    ("a lead who is no responder", "responders: [ann]\ngithub: {leads: [Ann, ben]}",
     ["12 github.leads[1]: not one of the responders, so this person can lead no incident"]),
    ("action items without a schedule", "action_items: {required_from: sev1}",
     ["11 action_items.required_from: nothing reminds without a schedule; add doctor to github.schedules"]),
    ("action items with a schedule",
     "action_items: {required_from: sev1}\ngithub: {schedules: {doctor: 7d}}", []),
    ("TBD among the responders", "responders: [TBD]", ["11 responders[0]: still a placeholder; write a GitHub login"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in WARNINGS], ids=[row[0] for row in WARNINGS])
def test_placeholders_are_warnings(text: str, expected: list[str]) -> None:
    warnings = warnings_of(SMALL + text)
    assert [warning.removeprefix("ops.yml:") for warning in warnings] == expected


def test_unquoted_placeholder_stays_text() -> None:
    config, _ = parse_config(
        SMALL + "contacts: [{role: a, contact: [TBD], availability: [Provider docs]}]", path="ops.yml"
    )
    assert (config.contacts[0].contact, config.contacts[0].availability) == ("[TBD]", "[Provider docs]")


@pytest.mark.parametrize("token", ["", "    token: CLOUDFLARE_API_TOKEN\n"])
def test_shared_token_is_a_warning(token: str) -> None:
    staging = SMALL.replace("environments:\n", "").replace("production", "staging").replace("0f", "1f")
    warnings = warnings_of(SMALL + staging.replace("    services:", f"{token}    services:"))

    (warning,) = warnings
    assert "environments.staging.token: same token as production" in warning


def test_shared_account_is_a_warning() -> None:
    staging = SMALL.replace("environments:\n", "").replace("production", "staging")
    warnings = warnings_of(SMALL + staging)
    reason = "same account as production; a mistake here affects both, so use a separate account"
    assert warnings == (f"ops.yml:12 environments.staging.account_id: {reason}",)


def test_service_without_probes_is_a_warning() -> None:
    warnings = warnings_of(SMALL[: SMALL.index("        probes:")])
    reason = "no probes; without one no recovery of this service can be proved"
    assert warnings == (f"ops.yml:5 {SERVICE}: {reason}",)


def test_rehearsal_without_a_version_in_a_probe_is_a_warning() -> None:
    rehearses = SMALL.replace("        probes:", "        rehearse: true\n        probes:")
    line = rehearses.splitlines().index("        rehearse: true") + 1
    reason = "no http probe has version, so no rollback is rehearsed; set it in a probe"

    assert warnings_of(rehearses) == (f"ops.yml:{line} {SERVICE}.rehearse: {reason}",)
    assert warnings_of(rehearses.replace("{path: /health}", "{path: /health, version: id}")) == ()


def test_deadline_that_no_proof_without_a_version_meets_is_a_warning() -> None:
    short = SMALL.replace("        probes:", "        verify: {deadline: 30s}\n        probes:")
    line = short.splitlines().index("        verify: {deadline: 30s}") + 1

    (warning,) = warnings_of(short)

    assert warning.startswith(f"ops.yml:{line} {SERVICE}.verify: ")
    assert re.search(r"\b32\b.*\b31\b", warning)
    assert warnings_of(short.replace("30s", "45s")) == ()
    assert warnings_of(short.replace("{path: /health}", "{path: /health, version: id}")) == ()
    assert warnings_of(short.replace("worker:", "pages:")) == ()
    assert warnings_of(short.replace("http: {path: /health}", "command: {run: [check]}")) == ()


def test_missing_place_of_a_token_is_a_warning() -> None:
    objects = "        durable_objects: {till: {class: Till, reset: /reset, token: TILL_KEY%s}}\n        probes:"
    unknown = SMALL.replace("        probes:", objects % "")
    assert [one for one in parse_config(unknown, path="ops.yml")[1] if "no token_location" in one] == [
        f"ops.yml:2 {ENVIRONMENT}: no token_location; write where people find CLOUDFLARE_API_TOKEN for a laptop",
        f"ops.yml:8 {SERVICE}.durable_objects.till: no token_location; write where people find TILL_KEY for a laptop",
    ]
    known = SMALL.replace("        probes:", objects % ", token_location: the safe")
    config, warnings = parse_config(
        known.replace("    services:", "    token_location: the vault\n    services:"), path=""
    )
    production = config.environment("production")
    assert warnings == ()
    assert production.laptop_variables() == "`CLOUDFLARE_API_TOKEN`: the vault"
    assert production.laptop_variables("api") == "`CLOUDFLARE_API_TOKEN`: the vault; `TILL_KEY`: the safe"


def test_place_of_a_token_holds_no_value() -> None:
    text = SMALL.replace("    services:", f"    token_location: {'x' * 40}\n    services:")
    assert problems(text)[0].startswith(f"4 {ENVIRONMENT}.token_location: perhaps a value")

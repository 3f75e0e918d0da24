"""Databases and Durable Objects in ops.yml: valid values, errors, and their probes."""

import re

import pytest

from ops.config import durable_object_token_names, parse_config
from tests.config.problems import assert_explained
from tests.config.test_config import SMALL, problems

ID = "1b0a0da8-0000-4000-8000-00000000b00c"
KEY = "environments.production.services.api.durable_objects.mutex"
WHOLE = "class: Mutex, reset: /reset, state: /state, token: ADMIN, proof: a.b, keeps: c"


def with_database(probe: str) -> str:
    """And a service with a probe named health."""
    return f"{SMALL}    databases: {{orders: {{id: {ID}, services: [api], probes: [{probe}]}}}}\n"


def test_first_service_of_a_database_gets_its_probes() -> None:
    steps = "steps: [{fill: {field: a, variable: LOGIN}}]"
    config, _ = parse_config(with_database(f"{{name: orders, browser: {{{steps}}}}}"), path="ops.yml")
    environment = config.environment("production")
    database, service = environment.database("orders"), environment.service("api")

    assert [probe.name for probe in service.database_probes(database)] == ["health", "orders"]
    assert config.login_variables == {"LOGIN"}


@pytest.mark.parametrize(
    ("probe", "says"),
    [
        ("{name: health, http: {path: /}}", "[0].name: another probe of this service has this name"),
        (
            "{name: a, command: {run: [x], environment: [CLOUDFLARE_API_TOKEN]}}",
            "[0].command.environment[0]: a secret of the run, which no probe's command may get",
        ),
        (
            "{name: a, http: {path: /, request_headers: {x-pass: GITHUB_PASS}}}",
            '[0].http.request_headers.x-pass: "GITHUB_PASS" is reserved in a job',
        ),
    ],
)
def test_invalid_probe_of_a_database_is_explained(probe: str, says: str) -> None:
    (line,) = problems(with_database(probe))

    assert f"environments.production.databases.orders.probes{says}" in line


def test_two_names_of_one_database_are_an_error() -> None:
    text = f"{SMALL}    databases: {{orders: {{id: {ID}, services: [api]}}, sales: {{id: {ID}, services: [api]}}}}\n"

    (line,) = problems(text)

    assert "databases.sales.id: same id as orders; keep one of them" in line


def with_object(text: str, name: str = "mutex") -> str:
    return SMALL.replace("        probes:", f"        durable_objects: {{{name}: {{{text}}}}}\n        probes:", 1)


@pytest.mark.slow
def test_parse_every_key_of_an_object() -> None:
    config, _ = parse_config(with_object(WHOLE), path="ops.yml")
    (found,) = config.environment("production").service("api").durable_objects.values()
    assert (found.class_, found.reset, found.state, found.token) == ("Mutex", "/reset", "/state", "ADMIN")
    assert (found.proof, found.keeps, set(durable_object_token_names(config))) == ("a.b", "c", {"ADMIN"})


WRONG = [
    ("without a class", "token: T"),
    ("no class", "class: ai-mutex"),
    ("an endpoint without a token", "class: A, reset: /r"),
    ("a state without a proof", "class: A, state: /s, token: T"),
    ("what is kept without a state", "class: A, keeps: a"),
    ("another host", "class: A, reset: //evil.example/r, token: T"),
    ("the token itself", "class: A, reset: /r, token: s3cret-value"),
    ("the run's own token", "class: A, reset: /r, token: CLOUDFLARE_API_TOKEN"),
    ("GitHub's token", "class: A, reset: /r, token: GITHUB_TOKEN"),
]


@pytest.mark.parametrize(("name", "text"), WRONG, ids=[row[0] for row in WRONG])
def test_invalid_object_is_explained(name: str, text: str, update_golden: bool) -> None:
    found = problems(with_object(text))

    assert [line.partition(" ")[2].startswith(KEY) for line in found] == [True]
    assert_explained(f"durable object: {name}", found, update=update_golden)


def test_command_probe_cannot_get_an_application_token() -> None:
    command = "\n          - {name: c, command: {run: [x], environment: [ADMIN]}}\n"
    text = with_object(WHOLE).rstrip() + command
    (line,) = problems(text)
    assert "a secret of the run, which no probe's command may get; leave it out" in line


def test_pages_site_cannot_have_durable_objects() -> None:
    text = (
        "      site: {pages: site, url: https://a.example, probes: [{name: a, http: {path: /}}], durable_objects: {}}\n"
    )
    (line,) = problems(SMALL + text)
    assert line.endswith("durable_objects: only a service with worker has it; leave it out")


TWICE = "another probe of this service has this name; write a different one"


def with_switch(text: str, name: str = "beta") -> str:
    """And a service with a probe named health and an object with one named ai."""
    inner = f"service: api, namespace: {'c' * 32}, switches: {{{name}: {{states: ['off', 'on'], probes: [{text}]}}}}"
    runtime = f"    runtime: {{{inner}}}\n"
    return with_object(f"{WHOLE}, probes: [{{name: ai, http: {{path: /}}}}]") + runtime


def test_parse_probes_of_objects_and_switches() -> None:
    steps = "steps: [{fill: {field: a, variable: LOGIN}}]"
    config, _ = parse_config(with_switch(f"{{name: ai, browser: {{{steps}}}}}"), path="ops.yml")
    environment = config.environment("production")
    service = environment.service("api")
    assert [probe.name for probe in service.probes] == ["health"]
    assert [probe.name for probe in service.probes_with(["mutex", "other"])] == ["health", "ai"]
    assert [probe.name for probe in environment.require_runtime().switches["beta"].probes] == ["ai"]
    assert config.login_variables == {"LOGIN"}


def test_states_of_the_banner_are_those_of_the_contract() -> None:
    (line,) = problems(with_switch("", "banner"))
    assert "switches.banner.states: wrong states for banner" in line
    assert "investigating, identified, monitoring, scheduled, in-progress" in line
    parse_config(with_switch("", "banner").replace("'off', 'on'", "'off', identified, in-progress"), path="ops.yml")


WRONG_PROBES = [
    ("the name of a service's", "{name: health, http: {path: /}}", "beta", f".name: {TWICE}"),
    ("the token of an application", "{name: a, command: {run: [x], environment: [ADMIN]}}", "beta",
     ".command.environment[0]: a secret of the run, which no probe's command may get; leave it out"),
    ("of the switch maintenance", "{name: a, http: {path: /}}", "maintenance",
     ": never run, because a closed service is not healthy; leave them out"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "name", "said"), [row[1:] for row in WRONG_PROBES], ids=[r[0] for r in WRONG_PROBES])
def test_invalid_switch_probe_is_explained(text: str, name: str, said: str) -> None:
    (line,) = problems(with_switch(text, name))
    assert f"environments.production.runtime.switches.{name}.probes" in line
    assert line.endswith(said)


def test_duplicate_probe_names_of_objects_are_an_error() -> None:
    (line,) = problems(with_object(f"{WHOLE}, probes: [{', '.join(['{name: ai, http: {path: /}}'] * 2)}]"))
    assert line.endswith(f"{KEY}.probes[1].name: {TWICE}")


WITHOUT_URL = f"""\
environments:
  live:
    account_id: {"0f" * 16}
    services:
      cron:
        worker: mill-cron
        maintenance: switch
        durable_objects: {{oven: {{class: Oven, reset: /oven/reset, state: /oven}}}}
        probes: [{{name: home, http: {{path: /}}}}, {{name: own, command: {{run: [./check]}}}}]
      site: {{pages: mill-site}}
    runtime: {{service: cron, namespace: {"ab" * 16}, path: /runtime}}
    databases:
      orders: {{id: 11111111-2222-3333-4444-555555555555, services: [cron], probes: [{{name: x, http: {{path: /}}}}]}}
    secrets:
      KEY: {{rotate: provided, consumers: [cron], proofs: {{cron: [{{path: /}}]}}}}
"""


def test_each_part_that_sends_requests_needs_a_url() -> None:
    found = [line for line in problems(WITHOUT_URL) if "url" in line]

    named = {re.sub(r"^.*?(environments[^:]*):.*", r"\1", line) for line in found}
    live = "environments.live"
    assert named == {
        f"{live}.services.cron.probes[0]",
        f"{live}.services.cron.durable_objects",
        f"{live}.services.cron.maintenance",
        f"{live}.services.site.url",
        f"{live}.runtime.service",
        f"{live}.databases.orders.probes[0]",
        f"{live}.secrets.KEY.proofs.cron",
    }

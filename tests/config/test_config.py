"""Parsing of `ops.yml`: problems, defaults, labels and reserved names."""

import json
from functools import cache
from typing import Any

import jsonschema
import pytest
import yaml

from ops.config import Config, config_schema, parse_config
from ops.core.clock import parse_duration, unparse_duration
from ops.core.errors import ConfigError, Reason
from ops.core.names import nearest_name, quote_name
from tests.config.problems import assert_explained
from tests.conftest import REFERENCE

SHIPPED = (REFERENCE / "ops.yml").read_text(encoding="utf-8")
SMALL = """\
environments:
  production:
    account_id: 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f
    services:
      api:
        worker: fortunet-api
        url: https://api.fortunet.example
        probes:
          - name: health
            http: {path: /health}
"""
ENVIRONMENT = "environments.production"
SERVICE = f"{ENVIRONMENT}.services.api"
PROBE = f"{SERVICE}.probes[0]"
DATABASE = "id: 0c0de000-0000-4000-8000-0000000005d1, services: [api]"


def warnings_of(text: str) -> tuple[str, ...]:
    """Return the warnings besides those about the places of tokens."""
    return tuple(one for one in parse_config(text, path="ops.yml")[1] if "no token_location" not in one)


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, path="ops.yml")
    assert caught.value.reason is Reason.CONFIG_INVALID
    assert caught.value.exit_code == 2
    return [problem.removeprefix("ops.yml:") for problem in caught.value.problems]


def edited(old: str, new: str) -> str:
    assert old in SMALL
    return SMALL.replace(old, new)


BOT_WITHOUT_ID = 'notify: {slack_bot: {token: BOT, channel: "#ops"}}'


def webhook(body: str, **headers: str) -> str:
    given = {"name": "ntfy", "url": "HOOK", "body": body, "headers": headers}
    return f"notify: {{webhooks: [{json.dumps(given)}]}}\nenvironments:\n"


def probe(**http: Any) -> str:
    return edited("{path: /health}", json.dumps({"path": "/health"} | http))


@pytest.mark.slow
def test_shipped_file_warns_only_about_placeholders() -> None:
    config, warnings = parse_config(SHIPPED, path="ops.yml")[0], warnings_of(SHIPPED)
    assert list(config.environments) == ["production", "staging"]
    first, second, third = (SHIPPED[: SHIPPED.index(role)].count("\n") + 2 for role in ("Primary", "Backup", "AI Prov"))
    assert warnings == (
        f"ops.yml:{first} contacts[0].contact: still a placeholder; write what a person on call needs",
        f"ops.yml:{second} contacts[1].contact: still a placeholder; write what a person on call needs",
        f"ops.yml:{third} contacts[3].contact: still a placeholder; write what a person on call needs",
    )


@pytest.mark.slow
def test_shipped_environments_differ_only_in_identifiers() -> None:
    environments = parse_config(SHIPPED, path="ops.yml")[0].model_dump()["environments"]
    for environment in environments.values():
        del environment["account_id"], environment["token"], environment["runtime"]["namespace"]
        for service in environment["services"].values():
            del service["url"]
            service["durable_objects"] = {n: {**o, "token": ""} for n, o in service["durable_objects"].items()}
        for secret in environment["secrets"].values():
            del secret["github"]
        for database in environment["databases"].values():
            del database["id"]
    assert environments["production"] == environments["staging"]


def test_misspelled_nested_key_suggests_the_right_one() -> None:
    proof = "- path: /health/ai/iflow\n              version"
    line = SHIPPED[: SHIPPED.index(proof)].count("\n") + 2

    with pytest.raises(ConfigError) as raised:
        parse_config(SHIPPED.replace(proof, proof.replace("version", "ersion"), 1), path="ops.yml")

    where = f"ops.yml:{line} environments.production.secrets.IFLOW_API_KEY.proofs.api[0]"
    assert f'{where}.ersion: unknown key; did you mean "version"?' in raised.value.problems


@pytest.mark.slow
def test_defaults_are_filled_in_and_durations_are_seconds() -> None:
    config, _ = parse_config(SMALL, path="ops.yml")
    environment = config.environment("production")
    service = environment.service("api")
    assert (environment.name, service.name, environment.token) == ("production", "api", "CLOUDFLARE_API_TOKEN")
    assert (service.min_served, service.static_assets, service.repository) == (600.0, None, None)
    assert (service.verify.successes, service.verify.interval, service.verify.deadline) == (3, 1.0, 120.0)
    assert (config.responders, config.contacts, config.labels, config.notify.slack) == ((), (), {}, None)
    assert warnings_of(SMALL) == ()


@pytest.mark.slow
def test_parse_every_assertion_of_a_probe() -> None:
    wanted = {"checks.0.status": "ok", "ready": True, "count": 3, "ratio": 0.5, "error": None}
    text = probe(json=wanted, headers={"content-type": "json"}, body="^{", latency="500ms", version="version.id")
    http = parse_config(text, path="ops.yml")[0].environment("production").service("api").probes[0].http
    assert http is not None
    assert http.json_ == wanted
    assert [type(value) for value in http.json_.values()] == [str, bool, int, float, type(None)]
    assert (http.headers, http.body, http.latency, http.version) == ({"content-type": "json"}, "^{", 0.5, "version.id")


@pytest.mark.slow
def test_parse_command_probe() -> None:
    text = edited("http: {path: /health}", "command: {run: [./scripts/verify-deployment.sh], environment: [REGION]}")
    command = parse_config(text, path="ops.yml")[0].environment("production").service("api").probes[0].command
    assert command is not None
    assert (command.run, command.timeout, command.environment) == (
        ("./scripts/verify-deployment.sh",),
        30.0,
        ("REGION",),
    )


def test_parse_label_parameters_of_every_type() -> None:
    params = "{service: api, force: true, limit: 20, names: [A, B]}"
    text = SMALL + f"labels: {{recover:x: {{runbook: some-runbook, environment: production, params: {params}}}}}\n"
    label = parse_config(text, path="ops.yml")[0].labels["recover:x"]
    assert label.params == {"service": "api", "force": True, "limit": 20, "names": ("A", "B")}


VALUES = [
    ("an unknown key names its neighbour", "worker:", "wroker:"),
    ("a key in another spelling names the right one", "url:", "static-assets: true\n        url:"),
    ("a key near nothing lists what there is", "path: /health", "path: /health, zzz: 1"),
    ("an unknown key at the top is found", "environments:\n", "contcats: []\nenvironments:\n"),
    ("a mapping where text belongs", "worker: fortunet-api", "worker: {a: b}"),
    ("a number where text belongs", "worker: fortunet-api", "worker: 24"),
    ("true where text belongs", "worker: fortunet-api", "worker: true"),
    ("nothing where text belongs", "worker: fortunet-api", "worker:"),
    ("both kinds at once", "url:", "pages: site\n        url:"),
    ("a key of the other kind", "url:", "compare: [/]\n        url:"),
    ("a key of a Worker at a site", "worker: fortunet-api", "pages: site\n        rehearse: true"),
    ("the name of a site in another spelling", "worker: fortunet-api", "pages: My_Site"),
    ("a site under a name that is near", "worker: fortunet-api", "page: site"),
    ("nothing to compare", "worker: fortunet-api", "pages: site\n        compare: []"),
    ("nothing where a value is optional", "worker:", "repository:\n        worker:"),
    ("text where a mapping belongs", "{path: /health}", "/health"),
    ("text where named mappings belong", "environments:\n", "labels: none\nenvironments:\n"),
    ("a mapping where a list belongs", "environments:\n", "responders: {a: b}\nenvironments:\n"),
    ("text where a command's list belongs", "http: {path: /health}", "command: {run: ./verify.sh}"),
    ("a command without a program", "http: {path: /health}", "command: {run: []}"),
    ("an empty text", "http: {path: /health}", "command: {run: ['']}"),
    ("a text that is too long", "http: {path: /health}", f"command: {{run: [{'x' * 201}]}}"),
    ("quotes around a number", "path: /health", "path: /health, status: '200'"),
    ("a decimal where a whole number belongs", "path: /health", "path: /health, status: 200.0"),
    ("a status below 100", "path: /health", "path: /health, status: 20"),
    ("a status above 599", "path: /health", "path: /health, status: 2000"),
    ("text where true or false belongs", "worker:", "static_assets: maybe\n        worker:"),
    ("yes where true or false belongs", "worker:", "static_assets: yes\n        worker:"),
    ("off where text belongs", "worker: fortunet-api", "worker: Off"),
    ("an unknown method", "path: /health", "path: /health, method: POST"),
    ("HEAD with a look at the body", "path: /health", "path: /health, method: HEAD, body: ok"),
    ("a path without a slash", "path: /health", "path: health"),
    ("a path that is another host", "path: /health", "path: //evil.example/health"),
    ("a list as the expected JSON value", "path: /health", "path: /health, json: {a: [1]}"),
    ("a path into JSON with a gap", "path: /health", "path: /health, json: {a..b: 1}"),
    ("a header that is none", "path: /health", "path: /health, headers: {a b: c}"),
    ("a pattern that does not compile", "path: /health", "path: /health, body: '(a'"),
    ("a pattern that Python will read differently", "path: /health", "path: /health, body: '[[a]'"),
    ("a pattern that is too large", "path: /health", "path: /health, body: 'a{99999999999}'"),
    ("neither http nor command", "http: {path: /health}", ""),
    ("both http and command", "{path: /health}", "{path: /health}\n            command: {run: [a]}"),
    ("two probes of one name", "{path: /health}", "{path: /health}\n          - {name: health, http: {path: /}}"),
    ("a page probe of no page", "http: {path: /health}", "page: {paths: []}"),
    ("a step of two verbs", "http: {path: /health}", "browser: {steps: [{goto: /, wait: 1s}]}"),
    (
        "a login by its value",
        "{path: /health}",
        "{path: /health}\n          - {name: b, browser: {steps: [{fill: {field: a, variable: hunter2}}]}}",
    ),
    (
        "a secret for a page",
        "{path: /health}",
        "{path: /health}\n          - {name: b, browser: {steps: [{fill: {field: a, variable: GITHUB_TOKEN}}]}}",
    ),
    ("a secret for a command", "http: {path: /health}", "command: {run: [a], environment: [CLOUDFLARE_API_TOKEN]}"),
    ("a duration without a unit", "path: /health", "path: /health, latency: 2"),
    ("a decimal duration", "path: /health", "path: /health, latency: 1.5s"),
    ("a list for a duration", "path: /health", "path: /health, latency: [1s]"),
    ("an interval of nothing", "worker:", "verify: {interval: 0s}\n        worker:"),
    ("a deadline too short for the successes", "worker:", "verify: {successes: 5, deadline: 4s}\n        worker:"),
    ("plain http", "https://", "http://"),
    ("a url on loopback", "https://api.fortunet.example", "https://127.0.0.1:8443"),
    ("a url with a path", "fortunet.example", "fortunet.example/health"),
    ("a url with a user", "https://api", "https://user:pw@api"),
    ("a repository without an owner", "worker:", "repository: fortunet\n        worker:"),
    ("a Worker's name with a slash", "worker: fortunet-api", "worker: a/b"),
    ("a short account id", "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", "0f0f"),
    ("an account id that is a number to YAML", "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", "00000000000000000000000000000007"),
    ("a service's name in capitals", "      api:", "      Api:"),
    ("an environment without services", "    services:", "    services: {}\nx:\n  z:"),
    ("a token in place of its name", "    services:", "    token: v1.0-abcdef0123456789\n    services:"),
    ("a key of capitals in place of its name", "    services:", "    token: AKIAIOSFODNN7EXAMPLE\n    services:"),
    (
        "a webhook's URL in place of its name",
        "environments:\n",
        "notify: {slack: {webhook: https://hooks.example/T0/B0}}\nenvironments:\n",
    ),
    (
        "a webhook's URL as a key",
        "environments:\n",
        'notify: {slack: {"https://hooks.example/T0": W}}\nenvironments:\n',
    ),
    ("a channel's name in place of its id", "environments:\n", f"{BOT_WITHOUT_ID}\nenvironments:\n"),
    ("a body that is no JSON", "environments:\n", webhook("text")),
    ("a body that is a list", "environments:\n", webhook("[1]")),
    ("a body with an unknown placeholder", "environments:\n", webhook('{"text": "{txt}"}')),
    ("a body with a key", "environments:\n", webhook(f'{{"key": "{"a1" * 16}"}}')),
    ("a header with an unknown placeholder", "environments:\n", webhook("{}", authorization="{token}")),
    ("a login with @", "environments:\n", "responders: ['@mona']\nenvironments:\n"),
    (
        "a recovery target in the wrong place",
        "environments:\n",
        "recovery_targets: {rollback-worker: 5m}\nenvironments:\n",
    ),
    (
        "a recovery target of a name that is none",
        "environments:\n",
        "recovery_targets: {Rollback: {recovery: 5m}}\nenvironments:\n",
    ),
    ("a watch without quotes around off", "environments:\n", "watch: off\nenvironments:\n"),
    ("a watch that is too short", "environments:\n", "watch: 1m\nenvironments:\n"),
    ("a watch that is too long", "environments:\n", "watch: {for: 3h}\nenvironments:\n"),
    ("a watch that is on", "environments:\n", "watch: true\nenvironments:\n"),
    ("an empty watch", "environments:\n", "watch:\nenvironments:\n"),
    ("a watch with an unknown step", "environments:\n", "watch: {on_relapse: nxt}\nenvironments:\n"),
    ("a watch without steps", "environments:\n", "watch: {on_relapse: next, max_steps: 0}\nenvironments:\n"),
    ("a misspelled key of a watch", "environments:\n", "watch: {fro: 1h}\nenvironments:\n"),
    (
        "a label for an unknown environment",
        "environments:\n",
        "labels: {recover:x: {runbook: rollback-worker, environment: prod}}\nenvironments:\n",
    ),
    (
        "a label for an unknown service",
        "environments:\n",
        "labels: {recover:x: {runbook: a, environment: production, params: {service: apii}}}\nenvironments:\n",
    ),
    (
        "a label for a service near nothing",
        "environments:\n",
        "labels: {recover:x: {runbook: a, environment: production, params: {service: zzz}}}\nenvironments:\n",
    ),
    (
        "a decimal parameter",
        "environments:\n",
        "labels: {recover:x: {runbook: a, environment: production, params: {limit: 1.5}}}\nenvironments:\n",
    ),
    (
        "a parameter in another spelling",
        "environments:\n",
        "labels: {recover:x: {runbook: a, environment: production, params: {dry-run: true}}}\nenvironments:\n",
    ),
    (
        "a pattern with which wrangler applies the down files",
        "    services:",
        f"    databases: {{lib: {{{DATABASE}, migrations: ., migrations_pattern: '**/*.sql'}}}}\n    services:",
    ),
    (
        "a pattern that is not known",
        "    services:",
        f"    databases: {{lib: {{{DATABASE}, migrations_pattern: '[0-9]*.sql'}}}}\n    services:",
    ),
    (
        "a label of 51 characters",
        "environments:\n",
        f"labels: {{{'x' * 51}: {{runbook: a, environment: production}}}}\nenvironments:\n",
    ),
    ("a number as a runner", "environments:\n", "github: {runs_on: 7}\nenvironments:\n"),
    ("a number as labels of runners", "environments:\n", "github: {runs_on: {labels: 7}}\nenvironments:\n"),
    ("a label of runners with a space", "environments:\n", "github: {runs_on: a b}\nenvironments:\n"),
    ("a group with an expression", "environments:\n", "github: {runs_on: {group: '${{ a }}'}}\nenvironments:\n"),
]


@pytest.mark.parametrize(("name", "old", "new"), VALUES, ids=[row[0] for row in VALUES])
def test_invalid_value_is_explained(name: str, old: str, new: str, update_golden: bool) -> None:
    assert_explained(name, problems(edited(old, new)), update=update_golden)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("rollback", "a label that starts a runbook needs the prefix recover:; add it"),
        ("recover:", "a label that starts a runbook needs the prefix recover:; add it"),
        ("Recover:x", "a label that starts a runbook needs the prefix recover:; add it"),
        ("approve:x", "the prefix approve: is reserved; start the name with recover:"),
        ("OPS:x", "the prefix ops: is reserved; start the name with recover:"),
        ("recover:wor\u212aer", "has letters outside ASCII, which may look like others; use ASCII letters only"),
    ],
)
def test_label_that_cannot_start_a_runbook_is_an_error(label: str, said: str) -> None:
    text = SMALL + f'labels: {{"{label}": {{runbook: a, environment: production}}}}\n'

    assert [each.partition(label + ": ")[2] for each in problems(text)] == [said]


def test_labels_equal_except_for_case_are_an_error() -> None:
    label = "{runbook: a, environment: production}"

    (problem,) = problems(SMALL + f"labels: {{recover:api: {label}, recover:API: {label}}}\n")

    assert "labels.recover:API: equal to recover:api on GitHub, which ignores case" in problem


@pytest.mark.parametrize(
    "name", ["GITHUB_TOKEN", "GITHUB_CLOUDFLARE", "GH_SECRETS_TOKEN", "ACTIONS_X", "OPS_BUILT", "PATH", "PYTHONPATH"]
)
def test_token_with_reserved_name_is_an_error(name: str) -> None:
    text = SMALL.replace("    services:", f"    token: {name}\n    services:")

    (problem,) = problems(text)

    assert f'token: "{name}" is reserved in a job' in problem


@pytest.mark.sampled
@pytest.mark.parametrize(
    "probe",
    [
        "http: {path: /, request_headers: {x-key: PYTHONPATH}}",
        "page: {request_headers: {x-key: PYTHONPATH}}",
        "command: {run: [a], environment: [PYTHONPATH]}",
    ],
)
def test_probe_variable_with_reserved_name_is_an_error(probe: str) -> None:
    (problem,) = problems(edited("http: {path: /health}", probe))

    assert '"PYTHONPATH" is reserved in a job' in problem


def test_all_problems_are_reported_in_file_order() -> None:
    text = SMALL.replace("worker:", "wroker:").replace("{path: /health}", "{path: health, status: yes}")
    text = text.replace("account_id: 0f", "account_id: 0F").replace("    services:", "    account_id: x\n    services:")
    assert [
        problem.split(":")[0] for problem in problems(text + "labels: {recover:x: {environment: production}}\n")
    ] == [
        f"3 {ENVIRONMENT}.account_id",
        f"4 {ENVIRONMENT}.account_id",
        f"6 {SERVICE}.worker",
        f"7 {SERVICE}.wroker",
        f"11 {PROBE}.http.status",
        f"11 {PROBE}.http.path",
        "12 labels.recover",
    ]


@pytest.mark.slow
def test_error_counts_problems_and_gives_a_hint() -> None:
    with pytest.raises(ConfigError, match=r"^conf/ops\.yml has 1 problem$") as caught:
        parse_config(SMALL + "zzz: 1\n", path="conf/ops.yml")
    assert caught.value.problems[0].startswith("conf/ops.yml:11 zzz: unknown key")
    assert "`ops config check`" in caught.value.hint
    with pytest.raises(ConfigError, match=r"^ops\.yml has 2 problems$"):
        parse_config(SMALL + "yyy: 1\nzzz: 1\n", path="ops.yml")


@pytest.mark.parametrize("line", ["- x\n", "- yes\n"], ids=["found by the models", "found by the reader"])
def test_problem_list_is_limited_to_100(line: str) -> None:
    found = problems(SMALL + "contacts:\n" + line * 500)
    assert len(found) == 101
    assert found[-1].endswith(": too many problems; the rest is not listed")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 1800),
        ("watch: 5m\n", 300),
        ("watch: {}\n", 1800),
        ("watch: {for: 2h}\n", 7200),
        ("watch: 'off'\n", None),
        ("watch: false\n", None),
    ],
)
def test_watch_has_a_short_and_a_long_form(text: str, seconds: float | None) -> None:
    found, _ = parse_config(text + SMALL, path="ops.yml")

    validator().validate(yaml.safe_load(text + SMALL))
    assert (found.watch.duration if found.watch else None) == seconds


def test_unknown_environment_or_service_suggests_nearest() -> None:
    config, _ = parse_config(SHIPPED, path="ops.yml")
    with pytest.raises(ConfigError) as unknown_environment:
        config.environment("prodution")
    assert unknown_environment.value.message == 'no environment "prodution" in ops.yml; did you mean "production"?'
    assert unknown_environment.value.hint == "Name one of: production, staging."
    with pytest.raises(ConfigError) as unknown_service:
        config.environment("staging").service("zzz")
    assert unknown_service.value.message == 'no service "zzz" in staging'
    assert unknown_service.value.hint == "Name one of: api, frontend."
    assert unknown_service.value.reason is unknown_environment.value.reason is Reason.UNKNOWN_NAME


def test_nearest_name_ignores_case_and_distant_names() -> None:
    assert nearest_name("Rollback_Worker", ["rollback-pages", "rollback-worker"]) == "rollback-worker"
    assert nearest_name("zzz", ["rollback-worker"]) == nearest_name("", []) == ""


def test_quote_name_is_one_short_line_without_secrets() -> None:
    assert quote_name("a\nb\u202e") == "a�b�"
    assert quote_name("é" * 70) == "é" * 59 + "…"
    assert quote_name("https://hooks.example/x") == quote_name("v1_0123456789abcdef0123456789") == "(hidden)"
    for token in ("Sn3lZJTBX6kkg7OdcBUAxOO963GEIyGQqyFTOFYY", "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "a1" * 12):
        assert quote_name(token) == quote_name(f"is {token}.sql") == "(hidden)"
    for name in (
        "0002_create_customer_addresses.sql",
        "20261126103000_addPriceToOrders_v2.sql",
        "0013_a_an_of_the_many.sql",
    ):
        assert quote_name(name) == name
    assert quote_name("recover:rollback-the-api-of-production-2") == "recover:rollback-the-api-of-production-2"


def test_durations_round_trip() -> None:
    for text, value in {"500ms": 0.5, "0s": 0.0, "1s": 1.0, "90s": 90.0, "10m": 600.0, "2h": 7200.0}.items():
        assert parse_duration(text) == value
        assert unparse_duration(value) == text
    assert unparse_duration(parse_duration("120s")) == "2m"


@cache
def validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(config_schema())
    return jsonschema.Draft202012Validator(config_schema())


def test_config_is_frozen() -> None:
    config, _ = parse_config(SMALL, path="ops.yml")
    with pytest.raises(ValueError, match="frozen"):
        config.responders = ("mallory",)  # type: ignore[misc]
    assert isinstance(config, Config)

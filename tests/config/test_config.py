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
from ops.core.suggestions import nearest_name, quote_name
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
    ("an unknown key names its neighbour", "worker:", "wroker:",
     [f'6 {SERVICE}.wroker: unknown key; did you mean "worker"?', f"5 {SERVICE}.worker: missing; add it, or pages for a site of Pages"]),
    ("a key in another spelling names the right one", "url:", "static-assets: true\n        url:",
     [f'7 {SERVICE}.static-assets: unknown key; did you mean "static_assets"?']),
    ("a key near nothing lists what there is", "path: /health", "path: /health, zzz: 1",
     [f"10 {PROBE}.http.zzz: unknown key; known: body, cache_buster, headers, json, latency, method, path, request_headers, status, version"]),
    ("an unknown key at the top is found", "environments:\n", "contcats: []\nenvironments:\n",
     ['1 contcats: unknown key; did you mean "contacts"?']),
    ("a mapping where text belongs", "worker: fortunet-api", "worker: {a: b}",
     [f"6 {SERVICE}.worker: a mapping; write text"]),
    ("a number where text belongs", "worker: fortunet-api", "worker: 24",
     [f"6 {SERVICE}.worker: a number; put quotes around it"]),
    ("true where text belongs", "worker: fortunet-api", "worker: true",
     [f"6 {SERVICE}.worker: true or false; put quotes around it"]),
    ("nothing where text belongs", "worker: fortunet-api", "worker:",
     [f"6 {SERVICE}.worker: empty; write a value, or leave the key out"]),
    ("both kinds at once", "url:", "pages: site\n        url:",
     [f"7 {SERVICE}.pages: both worker and pages; keep one of them"]),
    ("a key of the other kind", "url:", "compare: [/]\n        url:",
     [f"7 {SERVICE}.compare: only a service with pages has it; leave it out"]),
    ("a key of a Worker at a site", "worker: fortunet-api", "pages: site\n        min_served: 1m",
     [f"7 {SERVICE}.min_served: only a service with worker has it; leave it out"]),
    ("the name of a site in another spelling", "worker: fortunet-api", "pages: My_Site",
     [f"6 {SERVICE}.pages: not a Pages project; write its name as Cloudflare shows it, such as fortunet-frontend"]),
    ("a site under a name that is near", "worker: fortunet-api", "page: site",
     [f'6 {SERVICE}.page: unknown key; did you mean "pages"?',
      f"5 {SERVICE}.worker: missing; add it, or pages for a site of Pages"]),
    ("nothing to compare", "worker: fortunet-api", "pages: site\n        compare: []",
     [f"7 {SERVICE}.compare: empty; write at least one"]),
    ("nothing where a value is optional", "worker:", "repository:\n        worker:",
     [f"6 {SERVICE}.repository: empty; write a value, or leave the key out"]),
    ("text where a mapping belongs", "{path: /health}", "/health",
     [f'10 {PROBE}.http: text; write a mapping of "key: value" lines']),
    ("text where named mappings belong", "environments:\n", "labels: none\nenvironments:\n",
     ['1 labels: text; write a mapping of "key: value" lines']),
    ("a mapping where a list belongs", "environments:\n", "responders: {a: b}\nenvironments:\n",
     ["1 responders: a mapping; write a list, such as [one, two]"]),
    ("text where a command's list belongs", "http: {path: /health}", "command: {run: ./verify.sh}",
     [f"10 {PROBE}.command.run: text; write a list, such as [one, two]"]),
    ("a command without a program", "http: {path: /health}", "command: {run: []}",
     [f"10 {PROBE}.command.run: empty; write at least one"]),
    ("an empty text", "http: {path: /health}", "command: {run: ['']}",
     [f"10 {PROBE}.command.run[0]: empty; write text"]),
    ("a text that is too long", "http: {path: /health}", f"command: {{run: [{'x' * 201}]}}",
     [f"10 {PROBE}.command.run[0]: too long; write at most 200 characters"]),
    ("quotes around a number", "path: /health", "path: /health, status: '200'",
     [f"10 {PROBE}.http.status: text; write a whole number without quotes"]),
    ("a decimal where a whole number belongs", "path: /health", "path: /health, status: 200.0",
     [f"10 {PROBE}.http.status: a number; write a whole number without quotes"]),
    ("a status below 100", "path: /health", "path: /health, status: 20",
     [f"10 {PROBE}.http.status: too small; write 100 or more"]),
    ("a status above 599", "path: /health", "path: /health, status: 2000",
     [f"10 {PROBE}.http.status: too large; write 599 or less"]),
    ("text where true or false belongs", "worker:", "static_assets: maybe\n        worker:",
     [f"6 {SERVICE}.static_assets: text; write true or false without quotes"]),
    ("yes where true or false belongs", "worker:", "static_assets: yes\n        worker:",
     [f"6 {SERVICE}.static_assets: yes without quotes is true to some YAML readers; quote it, or write true"]),
    ("off where text belongs", "worker: fortunet-api", "worker: Off",
     [f"6 {SERVICE}.worker: Off without quotes is false to some YAML readers; quote it, or write false"]),
    ("an unknown method", "path: /health", "path: /health, method: POST",
     [f"10 {PROBE}.http.method: unknown value; write GET or HEAD"]),
    ("HEAD with a look at the body", "path: /health", "path: /health, method: HEAD, body: ok",
     [f"10 {PROBE}.http: an answer to HEAD has no body; write GET to check json, body or version"]),
    ("a path without a slash", "path: /health", "path: health",
     [f"10 {PROBE}.http.path: not a path; begin with one / and leave out host, spaces and #: /health"]),
    ("a path that is another host", "path: /health", "path: //evil.example/health",
     [f"10 {PROBE}.http.path: not a path; begin with one / and leave out host, spaces and #: /health"]),
    ("a list as the expected JSON value", "path: /health", "path: /health, json: {a: [1]}",
     [f"10 {PROBE}.http.json.a: a list; write one value"]),
    ("a path into JSON with a gap", "path: /health", "path: /health, json: {a..b: 1}",
     [f"10 {PROBE}.http.json.a..b: not a path into JSON; write keys joined by dots, such as version.id"]),
    ("a header that is none", "path: /health", "path: /health, headers: {a b: c}",
     [f"10 {PROBE}.http.headers.a b: not a header's name; write letters, digits and hyphens, such as content-type"]),
    ("a pattern that does not compile", "path: /health", "path: /health, body: '(a'",
     [f"10 {PROBE}.http.body: not a regular expression (missing ), unterminated subpattern at position 0); write one for Python"]),
    ("a pattern that Python will read differently", "path: /health", "path: /health, body: '[[a]'",
     [f"10 {PROBE}.http.body: not a regular expression (Possible nested set at position 1); write one for Python"]),
    ("a pattern that is too large", "path: /health", "path: /health, body: 'a{99999999999}'",
     [f"10 {PROBE}.http.body: not a regular expression (the repetition number is too large); write one for Python"]),
    ("neither http nor command", "http: {path: /health}", "",
     [f"9 {PROBE}: a probe is one of http, page, browser and command; write exactly one of them"]),
    ("both http and command", "{path: /health}", "{path: /health}\n            command: {run: [a]}",
     [f"9 {PROBE}: a probe is one of http, page, browser and command; write exactly one of them"]),
    ("two probes of one name", "{path: /health}", "{path: /health}\n          - {name: health, http: {path: /}}",
     [f"11 {SERVICE}.probes[1].name: another probe of this service has this name; write a different one"]),
    ("a page probe of no page", "http: {path: /health}", "page: {paths: []}",
     [f"10 {PROBE}.page.paths: empty; write at least one"]),
    ("a step of two verbs", "http: {path: /health}", "browser: {steps: [{goto: /, wait: 1s}]}",
     [f"8 {SERVICE}.probes: only browser probes, which start after all others are healthy; add an http or page probe",
      f"10 {PROBE}.browser.steps[0]: a step is one of goto, fill, click, expect and wait; write exactly one of them"]),
    ("a login by its value", "{path: /health}", "{path: /health}\n          - {name: b, browser: {steps: [{fill: {field: a, variable: hunter2}}]}}",
     [f"11 {SERVICE}.probes[1].browser.steps[0].fill.variable: not a variable's name; write the NAME of the secret, such as CLOUDFLARE_API_TOKEN, never its value"]),
    ("a secret for a page", "{path: /health}", "{path: /health}\n          - {name: b, browser: {steps: [{fill: {field: a, variable: GITHUB_TOKEN}}]}}",
     [f"11 {SERVICE}.probes[1].browser.steps[0].fill.variable: a secret of the run, which no page may get; name the variable of a test login"]),
    ("a secret for a command", "http: {path: /health}", "command: {run: [a], environment: [CLOUDFLARE_API_TOKEN]}",
     [f"10 {PROBE}.command.environment[0]: a secret of the run, which no probe's command may get; leave it out"]),
    ("a duration without a unit", "path: /health", "path: /health, latency: 2",
     [f"10 {PROBE}.http.latency: a number without a unit; write 10s or 10m"]),
    ("a decimal duration", "path: /health", "path: /health, latency: 1.5s",
     [f"10 {PROBE}.http.latency: not a duration; write a whole number and ms, s, m or h, such as 500ms or 10m"]),
    ("a list for a duration", "path: /health", "path: /health, latency: [1s]",
     [f"10 {PROBE}.http.latency: not a duration; write a whole number and ms, s, m or h, such as 500ms or 10m"]),
    ("an interval of nothing", "worker:", "verify: {interval: 0s}\n        worker:",
     [f"6 {SERVICE}.verify.interval: 0s is out of range; write 10ms to 1m"]),
    ("a deadline too short for the successes", "worker:", "verify: {successes: 5, deadline: 4s}\n        worker:",
     [f"6 {SERVICE}.verify: 5 successes 1s apart do not fit in 4s; write a deadline of at least 5s"]),
    ("plain http", "https://", "http://",
     [f"7 {SERVICE}.url: not an https origin; write https:// and a host, without user, path or query: https://api.example.com"]),
    ("a url on loopback", "https://api.fortunet.example", "https://127.0.0.1:8443",
     [f"7 {SERVICE}.url: not an https origin; write https:// and a host, without user, path or query: https://api.example.com"]),
    ("a url with a path", "fortunet.example", "fortunet.example/health",
     [f"7 {SERVICE}.url: not an https origin; write https:// and a host, without user, path or query: https://api.example.com"]),
    ("a url with a user", "https://api", "https://user:pw@api",
     [f"7 {SERVICE}.url: not an https origin; write https:// and a host, without user, path or query: https://api.example.com"]),
    ("a repository without an owner", "worker:", "repository: fortunet\n        worker:",
     [f"6 {SERVICE}.repository: not a repository; write owner/name"]),
    ("a Worker's name with a slash", "worker: fortunet-api", "worker: a/b",
     [f"6 {SERVICE}.worker: not a Worker's name; write it as Cloudflare shows it, such as fortunet-api"]),
    ("a short account id", "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", "0f0f",
     [f"3 {ENVIRONMENT}.account_id: not an account id; write the 32 hexadecimal digits that Cloudflare's dashboard shows, in lower case"]),
    ("an account id that is a number to YAML", "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", "00000000000000000000000000000007",
     [f"3 {ENVIRONMENT}.account_id: a number, date or time that YAML readers take differently; quote it, or write a plain number"]),
    ("a service's name in capitals", "      api:", "      Api:",
     [f"5 {ENVIRONMENT}.services.Api: not a name for this; write lower-case letters, digits, - and _, beginning with a letter"]),
    ("an environment without services", "    services:", "    services: {}\nx:\n  z:",
     [f"4 {ENVIRONMENT}.services: empty; write at least one",
      "5 x: unknown key; known: contacts, environments, github, labels, notify, recovery_targets, responders, watch"]),
    ("a token in place of its name", "    services:", "    token: v1.0-abcdef0123456789\n    services:",
     [f"4 {ENVIRONMENT}.token: not a variable's name; write the NAME of the secret, such as CLOUDFLARE_API_TOKEN, never its value"]),
    ("a key of capitals in place of its name", "    services:", "    token: AKIAIOSFODNN7EXAMPLE\n    services:",
     [f"4 {ENVIRONMENT}.token: not a variable's name; write the NAME of the secret, such as CLOUDFLARE_API_TOKEN, never its value"]),
    ("a webhook's URL in place of its name", "environments:\n",
     "notify: {slack: {webhook: https://hooks.example/T0/B0}}\nenvironments:\n",
     ["1 notify.slack.webhook: not a variable's name; write the NAME of the secret, such as CLOUDFLARE_API_TOKEN, never its value"]),
    ("a webhook's URL as a key", "environments:\n", 'notify: {slack: {"https://hooks.example/T0": W}}\nenvironments:\n',
     ["1 notify.slack.(hidden): unknown key; known: webhook", "1 notify.slack.webhook: missing; add it"]),
    ("a login with @", "environments:\n", "responders: ['@mona']\nenvironments:\n",
     ["1 responders[0]: not a GitHub login; write it without @"]),
    ("a recovery target in the wrong place", "environments:\n", "recovery_targets: {rollback-worker: 5m}\nenvironments:\n",
     ['1 recovery_targets.rollback-worker: text; write a mapping of "key: value" lines']),
    ("a recovery target of a name that is none", "environments:\n",
     "recovery_targets: {Rollback: {recovery: 5m}}\nenvironments:\n",
     ["1 recovery_targets.Rollback: not a runbook's name; write lower-case words with hyphens, such as rollback-worker"]),
    ("a watch without quotes around off", "environments:\n", "watch: off\nenvironments:\n",
     ["1 watch: off without quotes is false to some YAML readers; quote it, or write false"]),
    ("a watch that is too short", "environments:\n", "watch: 1m\nenvironments:\n",
     ["1 watch.for: 1m is out of range; write 2m to 2h"]),
    ("a watch that is too long", "environments:\n", "watch: {for: 3h}\nenvironments:\n",
     ["1 watch.for: 3h is out of range; write 2m to 2h"]),
    ("a watch that is on", "environments:\n", "watch: true\nenvironments:\n",
     ['1 watch: true or false; write a duration such as 30m, or "off"']),
    ("an empty watch", "environments:\n", "watch:\nenvironments:\n",
     ["1 watch: empty; write a value, or leave the key out"]),
    ("a watch with an unknown step", "environments:\n", "watch: {on_relapse: nxt}\nenvironments:\n",
     ["1 watch.on_relapse: unknown value; write notify or next"]),
    ("a watch without steps", "environments:\n", "watch: {on_relapse: next, max_steps: 0}\nenvironments:\n",
     ["1 watch.max_steps: too small; write 1 or more"]),
    ("a misspelled key of a watch", "environments:\n", "watch: {fro: 1h}\nenvironments:\n",
     ['1 watch.fro: unknown key; did you mean "for"?']),
    ("a label for an unknown environment", "environments:\n",
     "labels: {recover:x: {runbook: rollback-worker, environment: prod}}\nenvironments:\n",
     ['1 labels.recover:x.environment: no environment "prod"; did you mean "production"?']),
    ("a label for an unknown service", "environments:\n",
     "labels: {recover:x: {runbook: a, environment: production, params: {service: apii}}}\nenvironments:\n",
     ['1 labels.recover:x.params.service: no service "apii" in production; did you mean "api"?']),
    ("a label for a service near nothing", "environments:\n",
     "labels: {recover:x: {runbook: a, environment: production, params: {service: zzz}}}\nenvironments:\n",
     ['1 labels.recover:x.params.service: no service "zzz" in production; known: api']),
    ("a decimal parameter", "environments:\n",
     "labels: {recover:x: {runbook: a, environment: production, params: {limit: 1.5}}}\nenvironments:\n",
     ["1 labels.recover:x.params.limit: a number; write text, a whole number, true, false or a list of texts"]),
    ("a parameter in another spelling", "environments:\n",
     "labels: {recover:x: {runbook: a, environment: production, params: {dry-run: true}}}\nenvironments:\n",
     ["1 labels.recover:x.params.dry-run: not a parameter's name; write lower-case words with underscores, such as service"]),
    ("a pattern with which wrangler applies the down files", "    services:",
     f"    databases: {{lib: {{{DATABASE}, migrations: ., migrations_pattern: '**/*.sql'}}}}\n    services:",
     [f"4 {ENVIRONMENT}.databases.lib: migrations_pattern **/*.sql matches the down file down/0001_x.sql, which wrangler would apply; move the migrations into a folder of their own, or narrow migrations_pattern to *.sql"]),
    ("a pattern that is not known", "    services:",
     f"    databases: {{lib: {{{DATABASE}, migrations_pattern: '[0-9]*.sql'}}}}\n    services:",
     [f"4 {ENVIRONMENT}.databases.lib.migrations_pattern: has signs besides *, **, ? and {{a,b}}; write a pattern such as *.sql"]),
    ("a label of 51 characters", "environments:\n",
     f"labels: {{{'x' * 51}: {{runbook: a, environment: production}}}}\nenvironments:\n",
     [f"1 labels.{'x' * 51}: not a label; write 1 to 50 characters without spaces around them"]),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), [row[1:] for row in VALUES], ids=[row[0] for row in VALUES])
def test_invalid_value_is_explained(old: str, new: str, expected: list[str]) -> None:
    assert sorted(problems(edited(old, new))) == sorted(expected)


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
    assert caught.value.hint == "Correct every line named here, then run `ops config check`."
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

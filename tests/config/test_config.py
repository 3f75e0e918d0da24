"""Parsing of ops.yml: problems, warnings, defaults and the JSON schema."""

import json
import time
from functools import cache
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import strategies as st

from ops.config import Config, config_schema, parse_config
from ops.config.strict_yaml import read_yaml
from ops.core.clock import parse_duration, unparse_duration
from ops.core.errors import ConfigError, Reason
from ops.core.suggestions import nearest_name, quote_name
from tests.conftest import REFERENCE
from tests.support.properties import holds_for

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


def test_shipped_file_warns_only_about_placeholders() -> None:
    config, warnings = parse_config(SHIPPED, path="ops.yml")[0], warnings_of(SHIPPED)
    assert list(config.environments) == ["production", "staging"]
    first, second, third = (SHIPPED[: SHIPPED.index(role)].count("\n") + 2 for role in ("Primary", "Backup", "AI Prov"))
    assert warnings == (
        f"ops.yml:{first} contacts[0].contact: still a placeholder; write what a person on call needs",
        f"ops.yml:{second} contacts[1].contact: still a placeholder; write what a person on call needs",
        f"ops.yml:{third} contacts[3].contact: still a placeholder; write what a person on call needs",
    )


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


def test_defaults_are_filled_in_and_durations_are_seconds() -> None:
    config, _ = parse_config(SMALL, path="ops.yml")
    environment = config.environment("production")
    service = environment.service("api")
    assert (environment.name, service.name, environment.token) == ("production", "api", "CLOUDFLARE_API_TOKEN")
    assert (service.min_served, service.static_assets, service.repository) == (600.0, None, None)
    assert (service.verify.successes, service.verify.interval, service.verify.deadline) == (3, 1.0, 120.0)
    assert (config.responders, config.contacts, config.labels, config.notify.slack) == ((), (), {}, None)
    assert warnings_of(SMALL) == ()


def test_parse_every_assertion_of_a_probe() -> None:
    wanted = {"checks.0.status": "ok", "ready": True, "count": 3, "ratio": 0.5, "error": None}
    text = probe(json=wanted, headers={"content-type": "json"}, body="^{", latency="500ms", version="version.id")
    http = parse_config(text, path="ops.yml")[0].environment("production").service("api").probes[0].http
    assert http is not None
    assert http.json_ == wanted
    assert [type(value) for value in http.json_.values()] == [str, bool, int, float, type(None)]
    assert (http.headers, http.body, http.latency, http.version) == ({"content-type": "json"}, "^{", 0.5, "version.id")


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
     [f"10 {PROBE}.http.zzz: unknown key; known: body, headers, json, latency, method, path, request_headers, status, version"]),
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


DOUBT = "a number, date or time that YAML readers take differently; quote it, or write a plain number"
OUT_OF_PLACE = "out of place; check the quotes, and align it with its neighbours"
TEXTS = [
    ("an empty file", "", ["1: an empty file; write environments"]),
    ("only comments", "# nothing\n", ["1: an empty file; write environments"]),
    ("a list at the top", "- a\n", ['1: a list; write a mapping of "key: value" lines']),
    ("a text at the top", "hello\n", ['1: text; write a mapping of "key: value" lines']),
    ("a tab in the indentation", "a:\n\tb: 1\n\tc: 2\n",
     ["2: a tab; indent with spaces", "3: a tab; indent with spaces"]),
    ("a byte order mark", "\ufeffa: 1\n", ["1: a byte order mark; save the file as UTF-8 without one"]),
    ("bytes that are not UTF-8", b"a: 1\nb: \xff\n".decode(errors="surrogateescape"),
     ["2: not UTF-8; save the file as UTF-8"]),
    ("a control character", "a: 1\nb: \x07\n", ["2: a control character (U+0007); delete it"]),
    ("a mark that turns the writing direction", "a: \u202e1\n", ["1: a control character (U+202E); delete it"]),
    ("a lone carriage return", "a: 1\rb: 2\n", ["1: a control character (U+000D); delete it"]),
    ("a file that is too large", "#" + "x" * 1_000_000, ["1: larger than 1 MB; keep only what the recovery needs"]),
    ("too many values", "a:\n" + "- 1\n" * 20_000,
     ["20000 a[19998]: more than 20,000 values; keep only what the recovery needs"]),
    ("a list nested too deep", "a: " + "[" * 30 + "]" * 30,
     [f"1 a{'[0]' * 19}: nested more than 20 deep; write it flatter"]),
    ("a list nested much too deep", "a: " + "[" * 100_000, ["1: nested more than 20 deep; write it flatter"]),
    ("a second document", SMALL + "---\na: 1\n", ["11: a second document; keep one per file"]),
    ("a bracket that is not closed", "a: 1\nb: [1, 2\nc: 3\n", ["2: a list in brackets that does not end; close it with ]"]),
    ("a brace that is not closed", "a: 1\nb: {c: 2\nd: 3\n", ["2: a mapping in braces that does not end; close it with }"]),
    ("a quote that is not closed", "a: 1\nb: 'c\nd: 3\n", ["2: a quote that is not closed; close it"]),
    ("a colon in the text", "a: b: c\n",
     ['1: a ":" where none fits; put quotes around the text, or check the indentation']),
    ("an indentation that does not fit", "a: 1\n b: 2\n",
     ['2: a ":" where none fits; put quotes around the text, or check the indentation']),
    ("a list item among keys", "- a\nb: 1\n", [f"2: {OUT_OF_PLACE}"]),
    ("text after a quote", "a: 'b' c\n", [f"1: {OUT_OF_PLACE}"]),
    ("a key without a colon", "a: 1\nbcd\n", ['3: text where a key belongs; write "key: value"']),
    ("a value that begins with @", "a: @x\n", ["1: a character that cannot start a value; put quotes around the text"]),
    ("an impossible escape", 'a: "\\UFFFFFFFF"\n', ["1: an unknown escape in double quotes; use single quotes"]),
    ("an unknown escape", 'a: "\\q"\n', ["1: an unknown escape in double quotes; use single quotes"]),
    ("a star that is no alias", "a: * b\n", ["1: not YAML; check the quotes and the indentation here and on the line above"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in TEXTS], ids=[row[0] for row in TEXTS])
def test_unreadable_file_is_explained(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


PLAINNESS: list[tuple[Any, ...]] = [
    ("a key given twice", "a: 1\nb: 2\na: 3\n", (3, ("a",), "given twice, first on line 1; keep one")),
    ("a problem in the second value of a key", "a: {b: 1}\nc: 2\n'a': {b: yes}\n",
     (3, ("a",), "given twice, first on line 1; keep one"),
     (3, ("a (again)", "b"), "yes without quotes is true to some YAML readers; quote it, or write true")),
    ("an escaped control character", 'a: "b\\0"\n',
     (1, ("a",), "an escape for a control character (U+0000); leave it out")),
    ("an anchor", "a: &x 1\n", (1, ("a",), "an anchor (&); write the value without it")),
    ("an anchor on a key", "b: 2\n&x a: 1\n", (2, ("a",), "an anchor (&); write the value without it")),
    ("an alias", "a: *x\n", (1, ("a",), "an alias (*); write the value out")),
    ("a merge key", "<<: {a: 1}\n", (1, ("<<",), "a merge key; write the values out")),
    ("a tag", "a: !!python/name:os.system x\n", (1, ("a",), "a tag (!); write the value without it")),
    ("a key that is a number", "1: a\n", (1, ("1",), "a key that is not text; quote it")),
    ("a key that is nothing", "~: a\n", (1, ("~",), "a key that is not text; quote it")),
    ("a key that is a list", "? [a]\n: b\n", (1, (), "a key that is not text; write a plain name")),
    ("a key that is on", "on: a\n", (1, ("on",), "on without quotes is true to some YAML readers; quote it")),
    *(
        (f"{text} without quotes", f"a:\n- {text}\n", (2, ("a", 0), DOUBT))
        for text in ("007", "1e3", "1_000", "+5", ".5", "5.", "0x1F", "0o7", "08:30", "2024-01-02", ".inf", ".NaN")
    ),
    *(
        (f"{text} without quotes", f"a:\n- {text}\n",
         (2, ("a", 0), f"{text} without quotes is {meaning} to some YAML readers; quote it, or write {meaning}"))
        for text, meaning in {"yes": "true", "No": "false", "ON": "true", "y": "true", "True": "true", "NULL": "null"}.items()
    ),
]  # fmt: skip


@pytest.mark.parametrize("loader", {yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)})
@pytest.mark.parametrize(
    ("text", "expected"), [(row[1], row[2:]) for row in PLAINNESS], ids=[row[0] for row in PLAINNESS]
)
def test_ambiguous_yaml_is_refused(text: str, expected: tuple[Any, ...], loader: type[Any]) -> None:
    assert read_yaml(text, loader=loader).problems == expected


def test_plain_yaml_values_have_the_obvious_type() -> None:
    text = "[true, false, null, ~, 0, -7, 10, 1.50, 10m, '007', \"yes\", 24/7, 1.2.3, v1, text with: colons:in]"
    values = read_yaml(text.replace("with: ", "with ")).data
    assert values == (
        True, False, None, None, 0, -7, 10, 1.5, "10m", "007", "yes", "24/7", "1.2.3", "v1", "text with colons:in",
    )  # fmt: skip


@pytest.mark.parametrize("text", [SHIPPED, SMALL, *(row[1] for row in TEXTS if len(row[1]) < 1000)])
def test_both_yaml_parsers_return_the_same_document(text: str) -> None:
    fast = read_yaml(text, loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    assert read_yaml(text, loader=yaml.SafeLoader) == fast


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


WARNINGS = [
    ("TBD as text", 'contacts: [{role: On call, contact: "[TBD]", availability: TBD}]',
     ["11 contacts[0].contact: still a placeholder; write what a person on call needs",
      "11 contacts[0].availability: still a placeholder; write what a person on call needs"]),
    ("TBD as a list, as in the procedure's table", "contacts: [{role: On call, contact: [TBD], availability: 24/7}]",
     ["11 contacts[0].contact: still a placeholder; write what a person on call needs"]),
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


@pytest.mark.slow
def test_schema_accepts_the_shipped_file() -> None:
    validator().validate(yaml.safe_load(SHIPPED.replace("24/7", "'24/7'")))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("worker:", "wroker:"),
        ("account_id: 0f", "account_id: 0F"),
        ("https://", "http://"),
        ("http: {path: /health}", "http: {path: /health}\n            command: {run: [a]}"),
        ("http: {path: /health}", ""),
        ("      api:", "      API:"),
        ("{path: /health}", "{path: /health, latency: 2}"),
        ("{path: /health}", "{path: /health, latency: null}"),
        ("    services:", "    token: not-a-name\n    services:"),
        ("environments:\n", "watch: true\nenvironments:\n"),
        ("environments:\n", "watch: soon\nenvironments:\n"),
    ],
)
def test_schema_rejects_an_invalid_file(old: str, new: str) -> None:
    validator().validate(yaml.safe_load(SMALL))
    with pytest.raises(jsonschema.ValidationError):
        validator().validate(yaml.safe_load(edited(old, new)))


def test_schema_describes_every_key() -> None:
    described = config_schema()
    for model in [described, *described["$defs"].values()]:
        assert all(field.get("description") for field in model["properties"].values())


def test_schema_shows_human_readable_defaults() -> None:
    service = config_schema()["$defs"]["Service"]["properties"]
    assert (service["min_served"]["default"], service["min_served"]["type"]) == ("10m", "string")


@cache
def validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(config_schema())
    return jsonschema.Draft202012Validator(config_schema())


def test_config_is_frozen() -> None:
    config, _ = parse_config(SMALL, path="ops.yml")
    with pytest.raises(ValueError, match="frozen"):
        config.responders = ("mallory",)  # type: ignore[misc]
    assert isinstance(config, Config)


def outcome(text: str) -> str:
    """Everything that `parse` says of `text`; nothing but a ConfigError may come out, and soon."""
    began = time.process_time()
    try:
        said = "\n".join(parse_config(text, path="ops.yml")[1])
    except ConfigError as error:
        said = "\n".join([str(error), error.hint, *error.problems])
        chained = error.__context__ or error.__cause__
    else:
        chained = None
    assert time.process_time() - began < 2
    assert chained is None, "a chained exception may show what was in the file"
    return said


PIECES = st.sampled_from(
    [*"abz019\n\n  -:?,[]{}#&*!|>'\"%@`~.=\\\t\r", "---", "...", "<<", ": ", "- ", "  ", "yes", "1e3", "!!", "&a", "*a",
     "environments", "labels", "json", "[TBD]", "\ud800", "\ufeff", "\u2028", "é", "𝕏", "null", "\n    "]
)  # fmt: skip


@holds_for(40, 1000, text=st.lists(PIECES, max_size=60).map("".join) | st.text(max_size=60))
def test_any_text_parses_or_raises_config_error(text: str) -> None:
    outcome(text)
    read_yaml(text, loader=yaml.SafeLoader)


@holds_for(8, 1000, data=st.data())
def test_damaged_file_parses_or_raises_config_error(data: st.DataObject) -> None:
    text = SHIPPED
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.integers(0, 12))
        text = text[:start] + data.draw(st.lists(PIECES, max_size=4).map("".join)) + text[end:]
    outcome(text)
    read_yaml(text, loader=yaml.SafeLoader)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "text",
    ["a:\n" * 300_000, "[" * 500_000, "{a: " * 200_000, "- " * 400_000, "? " * 400_000, "\t\n" * 400_000, "\n" * 999_000,
     "a: " + "x" * 900_000, "x" * 900_000 + ": a", "a: [" + "&a x, " * 150_000 + "]", "---\n" * 200_000,
     "environments:\n  p:\n    services:\n" + "".join(f"      s{n}: {{v: 1, w: 2}}\n" for n in range(6000)),
     pytest.param(
         "labels:\n" + "".join(f"  l{n}: {{environment: e{n}}}\n" for n in range(6000)) + "environments:\n"
         + "".join(f"  a{n}: {{}}\n" for n in range(3000)), marks=pytest.mark.slow)],
    ids=lambda text: text[:20].encode("unicode_escape").decode(),
)  # fmt: skip
def test_large_text_is_parsed_quickly(text: str) -> None:
    outcome(text)


SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=20, max_size=60).filter(
    lambda text: any(character in text for character in "abcdefghijklmnopqrstuvwxyz0123456789")
)
SECRET_PLACES = [
    "environments: {production: {token: SECRET}}",
    "environments: {production: {token: [SECRET, SECRET]}}",
    "environments: {production: {token: {value: SECRET, value: SECRET}}}",
    "notify: {slack: {webhook: SECRET}}",
    "notify: {slack: SECRET, discord: {webhok: SECRET}}",
    "environments: {p: {services: {s: {probes: [{name: a, command: {run: [a], environment: [SECRET]}}]}}}}",
]


@holds_for(40, 1000, secret=SECRETS, place=st.sampled_from(SECRET_PLACES), quoted=st.booleans())
def test_secret_in_place_of_a_name_is_hidden(secret: str, place: str, quoted: bool) -> None:
    value = "'" + secret.replace("'", "''") + "'" if quoted else secret
    assert secret not in outcome(place.replace("SECRET", value) + "\n")

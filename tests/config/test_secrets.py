"""The secrets of an environment in ops.yml: valid values and their errors."""

import pytest

from ops.config import parse_config
from tests.config.test_config import SMALL, problems

KEY = "environments.production.secrets.KEY"


def test_secret_rotation_is_off_by_default() -> None:
    config, _ = parse_config(f"{SMALL}    secrets: {{KEY: {{}}}}\n", path="ops.yml")
    rule = config.environment("production").secrets["KEY"]
    assert (rule.rotate, rule.consumers, rule.min_length, rule.length, len(rule.alphabet)) == ("never", (), 16, 64, 62)


@pytest.mark.slow
def test_parse_every_key_of_a_secret() -> None:
    text = """{rotate: provided, consumers: [api], effect: e, min_length: 20, page: https://a.example/keys,
        provider: {url: https://a.example/v1, chat: m, timeout: 2s}, github: {repository: a/b, environment: prod},
        proofs: {api: [{path: /ai, version: version.id}]}, usage: https://a.example}"""
    config, _ = parse_config(f"{SMALL}    secrets: {{KEY: {text}}}\n", path="ops.yml")
    rule = config.environment("production").secrets["KEY"]
    assert rule.provider
    assert rule.github
    assert (rule.provider.timeout, rule.provider.chat, rule.github.environment) == (2.0, "m", "prod")
    assert rule.proofs["api"][0].version == "version.id"


OTHER = "not an address; write https://, a host and a path, without / at its end, query or #"
WRONG = [
    ("without consumers", "rotate: provided", ["no consumers; list the services with this secret, or write rotate: never"]),
    ("an unknown way", "rotate: always", [".rotate: unknown value; write provided, generate or never"]),
    ("a consumer that is near", "consumers: [apii]", ['.consumers[0]: no service "apii" in production; did you mean "api"?']),
    ("a consumer twice", "consumers: [api, api]", [".consumers[1]: api is listed twice; keep one"]),
    ("only a site", "rotate: provided, consumers: [site]",
     [".consumers: no consumer has a worker, so no run can rotate it; write rotate: never"]),
    ("a generated value of a site", "rotate: generate, consumers: [api, site]",
     [".rotate: no person can set a generated value in site; write rotate: provided"]),
    ("a proof of a site", "consumers: [api, site], proofs: {site: [{path: /, version: v}]}",
     [".proofs.site: site has no worker, and a proof echoes a Worker's version; leave it out"]),
    ("a proof of no consumer", "consumers: [api], proofs: {apy: [{path: /, version: v}]}",
     ['.proofs.apy: no consumer "apy" of this secret; did you mean "api"?']),
    ("a proof without a version", "consumers: [api], proofs: {api: [{path: /}]}",
     [".proofs.api[0]: a proof without version; write the JSON path where the answer echoes the Worker's version"]),
    ("a length of what is provided", "rotate: provided, consumers: [api], length: 40",
     [".length: only a secret with rotate: generate has it; leave it out"]),
    ("a least length of what is made", "rotate: generate, consumers: [api], min_length: 40",
     [".min_length: only a secret with rotate: provided has it; leave it out"]),
    ("a provider of what is made", "rotate: generate, consumers: [api], provider: {url: https://a.example}",
     [": a provider does not accept generated keys; write rotate: provided, or leave provider out"]),
    ("a poor alphabet", "rotate: generate, consumers: [api], alphabet: abcabcabcabcabcabc",
     [".alphabet: too few; write at least 16 different ASCII characters"]),
    ("a space in an alphabet", "rotate: generate, consumers: [api], alphabet: abcdefgh ijklmnopq",
     [".alphabet: contains a space; leave it out"]),
    ("a provider in clear text", "provider: {url: http://a.example/v1}", [f".provider.url: {OTHER}"]),
    ("a page with a query", "page: 'https://a.example/?a=b'", [f".page: {OTHER}"]),
    ("a key of a proof that is near", "consumers: [api], proofs: {api: [{path: /, version: v, statsu: 200}]}",
     ['.proofs.api[0].statsu: unknown key; did you mean "status"?']),
    ("a key that is near", "rotat: never", ['.rotat: unknown key; did you mean "rotate"?']),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "said"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_invalid_secret_is_explained(rule: str, said: list[str]) -> None:
    site = "      site: {pages: site, url: https://a.example, probes: [{name: a, http: {path: /}}]}\n"
    wanted = [f"12 {KEY}{text if text[0] in '.:' else ': ' + text}" for text in said]
    assert problems(f"{SMALL}{site}    secrets: {{KEY: {{{rule}}}}}\n") == wanted


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["CLOUDFLARE_API_TOKEN", "GITHUB_TOKEN", "GH_SECRETS_TOKEN", "HOOK", "TOKEN"])
def test_secret_of_the_run_is_refused_for_a_worker(name: str) -> None:
    text = f"notify: {{slack: {{webhook: HOOK}}}}\n{SMALL}    token: NEW_TOKEN\n    secrets: {{{name}: {{}}}}\n"
    said = "a secret of the run, which no Worker may have; rename the Worker's secret"
    assert problems(text) == [f"13 environments.production.secrets.{name}: {said}"]

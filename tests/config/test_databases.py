"""Databases in ops.yml: their probes."""

import pytest

from ops.config import parse_config
from tests.config.test_config import SMALL, problems

ID = "1b0a0da8-0000-4000-8000-00000000b00c"


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

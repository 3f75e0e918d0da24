"""JSON Schema of `ops.yml`."""

import jsonschema
import pytest
import yaml

from ops.config import config_schema
from tests.config.test_config import SHIPPED, SMALL, edited, validator


@pytest.mark.slow
def test_schema_accepts_the_shipped_file() -> None:
    validator().validate(yaml.safe_load(SHIPPED.replace("24/7", "'24/7'")))


@pytest.mark.slow
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


@pytest.mark.slow
def test_schema_describes_every_key() -> None:
    described = config_schema()
    for model in [described, *described["$defs"].values()]:
        assert all(field.get("description") for field in model["properties"].values())


def test_schema_shows_human_readable_defaults() -> None:
    service = config_schema()["$defs"]["Service"]["properties"]
    assert (service["min_served"]["default"], service["min_served"]["type"]) == ("10m", "string")

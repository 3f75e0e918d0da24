"""The issue form offers the services of ops.yml; the rest of it belongs to the team."""

from pathlib import Path
from typing import Any

import pytest

from ops.app.configuration import read_config
from ops.config import Config
from ops.render import TEMPLATES
from ops.setup.sync import FORM_PATH, rewrite_issue_form
from tests.conftest import ACCOUNT, ROOT
from tests.support import plain_yaml, team_files
from tests.support.configurations import CONFIGURATIONS

FORMER = """\
name: Outage
labels: [incident]
body:
  - type: markdown
    attributes:
      # generated from ops.yml by `ops workflows sync`
      value: |
        Open the issue, then start a recovery with one of these. Text in this form starts nothing.

        - **api in production.** A bad release: the label `recover:api` on the issue
  - type: input
    id: service
    attributes:
      label: Service
      description: Name in ops.yml
      placeholder: api
    validations:
      required: true
  - type: input
    id: room # the team's own
    attributes:
      label: Room
"""


def service_field(text: str) -> dict[str, Any]:
    form: dict[str, Any] = plain_yaml.load(text)
    (field,) = [each for each in form["body"] if each.get("id") == "service"]
    return dict(field)


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.parent.name)
def test_former_form_offers_the_services_and_keeps_the_rest(path: Path) -> None:
    config, _ = read_config(path)

    text = rewrite_issue_form(FORMER, config)

    field = service_field(text)
    assert (field["type"], field["validations"]) == ("dropdown", {"required": True})
    assert field["attributes"]["options"] == [*config.service_names, "not sure"]
    assert ("default" in field["attributes"]) == (len(config.service_names) == 1)
    assert "recover:" not in text
    assert text.startswith("name: Outage\n")
    assert text.endswith("    id: room # the team's own\n    attributes:\n      label: Room\n")
    assert rewrite_issue_form(text, config) == text


def test_services_of_another_configuration_replace_the_former_ones() -> None:
    few, many = ({path.parent.name: path for path in CONFIGURATIONS}[name] for name in ("one_url", "ten_services"))
    text = rewrite_issue_form(FORMER, read_config(many)[0])

    field = service_field(rewrite_issue_form(text, read_config(few)[0]))

    assert field["attributes"] == {"label": "Service", "options": ["hello", "not sure"], "default": 0}


def test_form_of_this_repository_is_the_one_that_init_writes() -> None:
    if not team_files.readme():
        pytest.skip("the form of a copy belongs to its team")
    template = (TEMPLATES / "repository" / FORM_PATH.name).read_text()

    with team_files.allowed():
        config, _ = read_config(ROOT / "ops.yml")
        assert (ROOT / FORM_PATH).read_text() == rewrite_issue_form(template, config)


def shop(services: int, *environments: str) -> Config:
    """Return a configuration with so many Workers in each environment."""
    workers = {f"checkout-{number:02}": {"worker": f"checkout-{number:02}"} for number in range(services)}
    place = {"account_id": ACCOUNT, "token": "SHOP_TOKEN", "services": workers}
    return Config.model_validate({"environments": dict.fromkeys(environments, place)})


def fields(text: str) -> list[str]:
    return [each["id"] for each in plain_yaml.load(text)["body"] if "id" in each]


def test_name_of_one_of_many_services_is_typed() -> None:
    text = rewrite_issue_form(FORMER, shop(21, "live"))

    field = service_field(text)

    assert (field["type"], field["validations"]) == ("input", {"required": True})
    assert field["attributes"] == {"label": "Service", "placeholder": "checkout-00, or: not sure"}
    assert rewrite_issue_form(text, shop(21, "live")) == text
    assert rewrite_issue_form(text, shop(20, "live")) == rewrite_issue_form(FORMER, shop(20, "live"))
    assert service_field(rewrite_issue_form(text, shop(20, "live")))["type"] == "dropdown"


def test_form_asks_for_one_of_several_environments() -> None:
    text = rewrite_issue_form(FORMER, shop(2, "live", "staging"))

    assert fields(text) == ["service", "environment", "room"]
    asked = plain_yaml.load(text)["body"][2]
    assert (asked["type"], asked["attributes"]["options"]) == ("dropdown", ["live", "staging", "not sure"])
    assert rewrite_issue_form(text, shop(2, "live", "staging")) == text
    assert rewrite_issue_form(text, shop(2, "live")) == rewrite_issue_form(FORMER, shop(2, "live"))
    own = text.replace(
        "      # generated from ops.yml by `ops workflows sync`\n      options:\n        - live",
        "      options:\n        - here",
    )
    assert fields(rewrite_issue_form(own, shop(2, "live", "staging"))) == ["service", "environment", "room"]

"""Sections `status_page` and `messages`: names that everybody reads, services, keys of a provider, templates."""

import json
from typing import Any

import pytest

from ops.config import parse_config
from tests.config.problems import assert_explained
from tests.config.test_config import problems

PAGE = {
    "url": "https://status.bakery.example",
    "title": "Bakery status",
    "components": [{"name": "Shop", "services": ["shop", "site"]}, {"name": "Orders", "services": ["orders"]}],
}
TEAM_PAGE = {"provider": "statuspage", "page_id": "kctbh9vrtdwd", "token": "STATUS_PAGE_TOKEN"}


def bakery(messages: Any = None, **page: Any) -> str:
    """Return a bakery with two environments; a key of the page that is None is left out."""
    services = {
        "shop": {"worker": "bakery-shop", "url": "https://shop.bakery.example"},
        "site": {"pages": "bakery-site", "url": "https://bakery.example"},
        "orders": {"worker": "bakery-orders"},
    }
    data: dict[str, Any] = {
        "environments": {
            "live": {"account_id": "3e" * 16, "token": "BAKERY_TOKEN", "services": services},
            "trial": {"account_id": "4e" * 16, "token": "TRIAL_TOKEN", "services": {"shop": services["shop"]}},
        },
        "status_page": {key: value for key, value in {**PAGE, **page}.items() if value is not None},
    }
    if messages is not None:
        data["messages"] = messages
    return json.dumps(data, indent=1)


def component(name: str, *services: str, **more: str) -> dict[str, Any]:
    return {"name": name, "services": [*services], **more}


def test_components_are_those_of_the_services() -> None:
    config = parse_config(bakery(), path="ops.yml")[0]
    assert config.status_page is not None
    assert config.status_page.component_names == ("Shop", "Orders")
    assert config.status_page.names_of(["orders", "site", "unknown"]) == ("Shop", "Orders")
    assert config.status_page.names_of(["site"]) == ("Shop",)
    assert config.messages.texts == {}


def test_given_texts_are_kept_as_typed() -> None:
    given = {"identified": {"status_page": "We found it. {components}", "email": "Hello,\n\n{time}"}}
    assert parse_config(bakery(given), path="ops.yml")[0].messages.texts == given


def test_page_of_a_provider_names_its_parts() -> None:
    components = [component("Shop", "shop", id="8kbf7d35c070"), component("Orders", "orders", id="vtnh60py4yd7")]
    page = parse_config(bakery(components=components, **TEAM_PAGE), path="ops.yml")[0].status_page
    assert page is not None
    assert (page.has_own_page, page.token, [each.id for each in page.components]) == (
        False,
        "STATUS_PAGE_TOKEN",
        ["8kbf7d35c070", "vtnh60py4yd7"],
    )


PROBLEMS = [
    ("a page without https", bakery(url="http://status.bakery.example")),
    ("a page in no environment", bakery(environment="lve")),
    ("a component of an unknown service", bakery(components=[component("Shop", "shpo")])),
    ("a component of another environment's service", bakery(environment="trial")),
    ("a component without services", bakery(components=[component("Shop")])),
    ("a page without components", bakery(components=[])),
    ("two components of one name", bakery(components=[component("Shop", "shop"), component("shop", "site")])),
    ("a service in two components", bakery(components=[component("Shop", "shop"), component("Site", "shop")])),
    ("a service twice in a component", bakery(components=[component("Shop", "shop", "shop")])),
    ("a component that turns the text", bakery(components=[component("Sh\u200bop", "shop")])),
    ("a component with a long name", bakery(components=[component("Shop " * 13, "shop")])),
    ("a component with the number of an issue", bakery(components=[component("Shop (#42)", "shop")])),
    ("a component that the button would split", bakery(components=[component("Shop, site", "shop")])),
    ("a page with an unknown provider", bakery(provider="cachet")),
    ("a provider without its keys", bakery(provider="instatus", components=[component("Shop", "shop")])),
    ("keys of a provider without one", bakery(page_id="kctbh9vrtdwd", token="STATUS_PAGE_TOKEN")),
    ("an id of a component without a provider", bakery(components=[component("Shop", "shop", id="8kbf7d35c070")])),
    (
        "one id for two components",
        bakery(
            components=[component("Shop", "shop", id="8kbf7d35c070"), component("Site", "site", id="8kbf7d35c070")],
            **TEAM_PAGE,
        ),
    ),
    (
        "a regular build of a provider's page",
        bakery(rebuilt="15m", components=[component("Shop", "shop", id="8kbf7d35c070")], **TEAM_PAGE),
    ),
    ("a regular build every minute", bakery(rebuilt="1m")),
    ("a page with the token of Cloudflare", bakery(token="GITHUB_TOKEN", provider="instatus", page_id="a" * 9)),
    ("a text with an unknown placeholder", bakery({"resolved": {"team": "Fixed in {version}"}})),
    ("a text of an unknown state", bakery({"fixed": {"team": "Fixed"}})),
    ("a text for nobody", bakery({"resolved": {"twitter": "Fixed"}})),
    ("a public text with a login", bakery({"resolved": {"status_page": "Fixed by @anna"}})),
    ("a public text that is too long", bakery({"resolved": {"status_page": "Fixed. " * 200}})),
]


@pytest.mark.parametrize(("name", "text"), PROBLEMS, ids=[row[0] for row in PROBLEMS])
def test_problem_names_its_line(name: str, text: str, update_golden: bool) -> None:
    found = problems(text)
    assert all(" status_page" in each or " messages" in each for each in found)
    assert_explained(name, found, update=update_golden)


def test_label_of_a_public_state_is_reserved() -> None:
    labels = {"status:resolved": {"runbook": "rollback-worker", "environment": "live", "params": {"service": "shop"}}}
    data = json.loads(bakery()) | {"labels": labels}
    (problem,) = problems(json.dumps(data))
    assert " labels.status:resolved" in problem

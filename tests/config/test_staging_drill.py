"""Section `staging_drill`: a drill breaks only what cannot be production's."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from ops.config import parse_config
from tests.config.problems import assert_explained
from tests.config.test_config import SHIPPED, problems


def shop(*, web: Mapping[str, Any] | None = None, account: str = "2f" * 16, **drill: Any) -> str:
    """Return a shop with two accounts whose Workers have one name. `web` are keys of the Worker of staging."""
    live = {"worker": "shop-web", "url": "https://shop.example", "probes": [{"name": "up", "http": {"path": "/up"}}]}
    staging = {**live, "url": "https://staging.shop.example", **(web or {})}
    site = {"pages": "shop-site", "url": "https://site.staging.shop.example"}
    environments = {
        "shop-live": {"account_id": "1f" * 16, "token": "LIVE_TOKEN", "services": {"web": live}},
        "staging": {"account_id": account, "token": "STAGING_TOKEN", "services": {"web": staging, "site": site}},
    }
    section = {"environment": "staging", "service": "web", **drill}
    return json.dumps({"environments": environments, "staging_drill": section}, indent=1)


def test_drill_of_another_account_is_allowed_with_the_same_worker_name() -> None:
    drill = parse_config(shop(), path="ops.yml")[0].staging_drill
    assert drill is not None
    assert (drill.environment, drill.service, drill.schedule, drill.unattended) == ("staging", "web", None, False)


@pytest.mark.slow
def test_shipped_file_takes_the_section() -> None:
    section = SHIPPED + 'staging_drill: {environment: staging, service: api, schedule: "0 9 1 * *"}\n'
    assert parse_config(section, path="ops.yml")[0].staging_drill is not None


PROBLEMS = [
    ("a drill in no environment", shop(environment="stagin")),
    ("a drill in production by its name", shop(environment="shop-live")),
    ("a drill of an unknown service", shop(service="wep")),
    ("a drill of a site", shop(service="site")),
    ("a drill of a service without probes", shop(web={"probes": []})),
    ("a drill at the url of production", shop(web={"url": "https://shop.example"})),
    ("a drill of production's Worker", shop(account="1f" * 16)),
    ("a drill every hour", shop(schedule="0 * * * *")),
    ("a drill on the 31st", shop(schedule="0 9 31 * *")),
    ("a drill with results nowhere", shop(tracking_issue=0)),
    ("a drill with a misspelled key", shop(unatended=True)),
]


@pytest.mark.parametrize(("name", "text"), PROBLEMS, ids=[row[0] for row in PROBLEMS])
def test_drill_that_may_break_production_is_a_problem(name: str, text: str, update_golden: bool) -> None:
    found = problems(text)
    assert len(found) == 1
    assert " staging_drill" in found[0]
    assert_explained(name, found, update=update_golden)


def test_only_environment_is_no_place_for_a_drill() -> None:
    only = json.loads(shop())
    del only["environments"]["shop-live"]
    (problem,) = problems(json.dumps(only))
    assert " staging_drill.environment" in problem


@pytest.mark.parametrize("schedule", ["0 9 1 * *", "17 23 28 * *", "5 6 * * 1"])
def test_schedules_once_a_month_or_week(schedule: str) -> None:
    parsed = parse_config(shop(schedule=schedule), path="ops.yml")[0].staging_drill
    assert parsed is not None
    assert parsed.schedule == schedule

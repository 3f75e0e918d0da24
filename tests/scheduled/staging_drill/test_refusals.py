"""A staging drill that may hurt anything is refused before it writes anything."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from ops.cloudflare.marks import DRILL_BREAK, DeploymentMark
from ops.core.runtime_contract import DRILL_VARIABLE
from tests.support.staging_drill import KNOWS_DRILLS, LIVE_ACCOUNT, NAMESPACE, PLAIN, WORKER, DrillWorld


def _reach_production(place: DrillWorld) -> None:
    place.sandbox.account.visible.append(place.live.account)


def _swap_accounts(place: DrillWorld) -> None:
    place.sandbox.account.visible[:] = [place.live.account]


def _open_incident(place: DrillWorld) -> None:
    place.sandbox.github.add_user("alice")
    place.sandbox.github.open_issue("It is down", "It answers 500", ["incident"], "alice")


def _stop_recoveries(place: DrillWorld) -> None:
    hub = place.sandbox.github
    hub.add_user("mai")
    number = hub.open_issue("Rows are repaired by hand", "", [], "mai")
    hub.label(number, "ops:stopped", "github-actions[bot]")


def _deploy_lately(place: DrillWorld) -> None:
    at = place.sandbox.clock.now() - timedelta(minutes=2)
    place.sandbox.deploy(WORKER, place.sandbox.upload(WORKER, code="new", behaviour=PLAIN, at=at), at=at)


def _split(place: DrillWorld) -> None:
    place.sandbox.deploy(WORKER, {place.good: 90, place.sandbox.upload(WORKER, behaviour=PLAIN): 10})


def _break_staging(place: DrillWorld) -> None:
    at = place.sandbox.clock.now() - timedelta(hours=1)
    place.sandbox.deploy(WORKER, place.sandbox.upload(WORKER, behaviour={"status": 500}, at=at), at=at)


def _break_production(place: DrillWorld) -> None:
    place.live.deploy(WORKER, place.live.upload(WORKER, behaviour={"status": 500}))


def _use_static_assets(place: DrillWorld) -> None:
    at = place.sandbox.clock.now() - timedelta(hours=1)
    bound = [{"type": "assets", "name": "ASSETS"}]
    version = place.sandbox.upload(WORKER, behaviour=PLAIN, bindings=bound, assets=True, at=at)
    place.sandbox.deploy(WORKER, version, at=at)


def _keep_the_variable_secret(place: DrillWorld) -> None:
    at = place.sandbox.clock.now() - timedelta(hours=1)
    bound = [
        {"type": "kv_namespace", "name": "OPS_RUNTIME", "namespace_id": NAMESPACE},
        {"type": "secret_text", "name": DRILL_VARIABLE, "text": "of the application"},
    ]
    version = place.sandbox.upload(WORKER, behaviour=KNOWS_DRILLS, bindings=bound, at=at)
    place.sandbox.deploy(WORKER, version, at=at)


def _leave_the_bad_version(place: DrillWorld) -> None:
    at = place.sandbox.clock.now() - timedelta(hours=1)
    bad = place.sandbox.upload(WORKER, behaviour=PLAIN, at=at)
    mark = DeploymentMark(incident=None, run="20261201T100000-1a2b", blames=None, text=DRILL_BREAK)
    place.sandbox.deploy(WORKER, bad, message=str(mark), at=at)


REFUSALS: dict[str, tuple[Callable[[DrillWorld], None], str]] = {
    "a token that reaches production too": (_reach_production, "not_authorised"),
    "a token of production": (_swap_accounts, "not_authorised"),
    "an open incident": (_open_incident, "run_open"),
    "a stop of all recoveries": (_stop_recoveries, "stopped"),
    "a version that no rollback returns to": (_deploy_lately, "no_target"),
    "a split": (_split, "world_moved"),
    "staging that is broken": (_break_staging, "still_unhealthy"),
    "production that fails": (_break_production, "still_unhealthy"),
    "a version that cannot be uploaded again": (_use_static_assets, "not_rebuildable"),
    "a secret with the name of the drill's variable": (_keep_the_variable_secret, "not_rebuildable"),
    "the bad version of an earlier drill": (_leave_the_bad_version, "world_moved"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_drill_that_may_hurt_is_refused_before_a_write(place: DrillWorld, name: str) -> None:
    arrange, reason = REFUSALS[name]
    arrange(place)
    served = place.served, place.live.live(WORKER)

    refused = place.run()

    assert refused.code == 3, refused.err
    assert f"reasons.md#{reason}" in refused.err
    assert (place.served, place.live.live(WORKER)) == served
    assert place.world.writes() == []
    assert place.issues == []


@pytest.mark.parametrize(("change", "key"), [("account", "service"), ("url", "service")])
def test_what_equals_production_is_a_problem_of_the_configuration(place: DrillWorld, change: str, key: str) -> None:
    own = place.sandbox.account_id if change == "account" else "https://shop-staging.example"
    place.world.edit_config(own, LIVE_ACCOUNT if change == "account" else "https://shop.example")

    refused = place.run()

    assert (refused.code, place.world.writes()) == (2, [])
    assert f"staging_drill.{key}" in refused.err


def test_dry_run_checks_and_changes_nothing(place: DrillWorld) -> None:
    checked = place.ops("staging-drill", "run", "--dry-run")

    assert checked.code == 0, checked.err
    assert place.sandbox.account_id in checked.out
    assert (place.world.writes(), place.issues) == ([], [])


def test_drill_without_yes_is_a_dry_run(place: DrillWorld) -> None:
    assert place.ops("staging-drill", "run", "--json").code == 9
    assert (place.world.writes(), place.issues) == ([], [])


def test_configuration_without_the_section_has_no_drill(place: DrillWorld) -> None:
    config = json.loads(place.world.config.read_text())
    del config["staging_drill"]
    place.world.config.write_text(json.dumps(config))

    refused = place.run()

    assert (refused.code, place.world.writes()) == (2, [])
    assert "staging_drill" in refused.err

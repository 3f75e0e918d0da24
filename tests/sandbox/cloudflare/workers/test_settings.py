"""Worker settings and cron triggers in the API."""

import json
from typing import Any

import pytest

from tests.sandbox.conftest import WORKER, Answer, Api, Releases


def _patch(api: Api, **settings: Any) -> Answer:
    return api.script("PATCH", "settings", files={"settings": (None, json.dumps(settings))})


def test_settings_combine_latest_version_and_script(api: Api, releases: Releases) -> None:
    api.script("PATCH", "script-settings", json={"logpush": True, "tags": ["a"]})
    settings = api.script("GET", "settings").result
    assert settings["compatibility_date"] == "2026-09-01"
    assert settings["usage_model"] == "standard"
    assert (settings["logpush"], settings["tags"], settings["tail_consumers"]) == (True, ["a"], [])
    assert settings["observability"] == {"enabled": False}


def test_settings_change_deploys_version_with_same_code(api: Api, releases: Releases) -> None:
    api.sandbox.put_secret(WORKER, "KEY", "1")
    inherited = [{"type": "inherit", "name": "KEY"}, {"type": "plain_text", "name": "MODE", "text": "prod"}]
    changed = _patch(
        api,
        bindings=inherited,
        compatibility_date="2026-10-01",
        compatibility_flags=["nodejs_compat"],
        limits={"cpu_ms": 50},
        placement={"mode": "smart"},
    ).result
    assert changed["compatibility_flags"] == ["nodejs_compat"]
    (version,) = api.sandbox.live(WORKER)
    made, bad = (api.script("GET", f"versions/{id_}").result["resources"] for id_ in (version, releases.bad))
    assert made["script"]["etag"] == bad["script"]["etag"]
    assert made["script"]["placement_mode"] == "smart"
    assert made["script_runtime"]["limits"] == {"cpu_ms": 50}
    assert {(b["type"], b["name"]) for b in made["bindings"]} == {("secret_text", "KEY"), ("plain_text", "MODE")}
    assert api.sandbox.deployments(WORKER)[0].secrets[version] == {"KEY": "1"}


def test_script_level_setting_creates_no_version(api: Api, releases: Releases) -> None:
    _patch(api, observability={"enabled": True})
    assert api.sandbox.live(WORKER) == {releases.bad: 100}
    assert api.script("GET", "script-settings").result == {"observability": {"enabled": True}}


def test_settings_cannot_be_changed_after_rollback(api: Api, releases: Releases) -> None:
    api.deploy(releases.good)
    assert _patch(api, compatibility_date="2026-10-01").error == (400, 10214)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"surprise": 1}, 10026),
        ({"bindings": [{"type": "inherit", "name": "NONE"}]}, 10057),
        ({"bindings": [{"type": "inherit", "name": "SANDBOX_BEHAVIOUR", "version_id": "x"}]}, 10057),
    ],
)
def test_invalid_settings_are_refused(api: Api, releases: Releases, settings: dict[str, Any], code: int) -> None:
    assert _patch(api, **settings).error == (400, code)
    assert api.script("PATCH", "settings", files={"other": (None, "{}")}).error == (400, 10026)


def test_cron_triggers_are_replaced_and_survive_rollback(api: Api, releases: Releases) -> None:
    assert api.script("GET", "schedules").result == {"schedules": []}
    api.script("PUT", "schedules", json=[{"cron": "*/5 * * * *"}, {"cron": "0 3 * * *"}])
    api.deploy(releases.good)
    crons = [entry["cron"] for entry in api.script("GET", "schedules").result["schedules"]]
    assert crons == ["*/5 * * * *", "0 3 * * *"]
    assert api.script("PUT", "schedules", json=[]).result == {"schedules": []}
    assert api.script("PUT", "schedules", json={"cron": "* * * * *"}).error == (400, 10026)

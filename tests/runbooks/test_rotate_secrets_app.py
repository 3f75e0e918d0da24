"""`ops rotate-secrets` with a GitHub App: permissions, revocation and errors of its token."""

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from sandbox.github import GitHub
from tests.conftest import ACCOUNT, WORKER, Outcome, World
from tests.runbooks.test_rotate_secrets import BULK, FRESH, KEY, REPOSITORY, Leak, leak
from tests.support.apps import APP_ID, add_app, key_pair, valid_tokens
from tests.support.commands import ended, texts

__all__ = ["leak"]
TOKENS = {"method": "POST", "path": "/app/installations/*/access_tokens"}
BAKERY = f"""
environments:
  live:
    account_id: {ACCOUNT}
    services:
      shop:
        worker: bakery-shop
        url: https://shop.bakery.example
        probes: [{{name: health, http: {{path: /health}}}}]
    secrets:
      BAKERY_KEY: {{rotate: provided, consumers: [shop], github: {{repository: REPOSITORY, environment: live}}}}
      OVEN_KEY: {{rotate: provided, consumers: [shop], github: {{repository: REPOSITORY, environment: live}}}}
"""
REVOKE = {"method": "DELETE", "path": "/installation/token"}


@pytest.fixture
def hub(leak: Leak) -> GitHub:
    found: GitHub = leak.world.sandbox.github
    leak.world.edit_config(REPOSITORY, found.repository)
    return found


def requests_to(hub: GitHub, method: str, end: str) -> list[Any]:
    return [record for record in hub.requests if record.method == method and record.path.endswith(end)]


@pytest.mark.slow
def test_copy_uses_and_revokes_a_repository_token(leak: Leak, hub: GitHub) -> None:
    outcome = leak.rotate_one(**add_app(hub))

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert hub.secrets("production") == {KEY: FRESH}
    (made,) = requests_to(hub, "POST", "/access_tokens")
    assert made.body == {"repositories": ["operations"], "permissions": {"environments": "write"}}
    assert [record.status for record in requests_to(hub, "DELETE", "/installation/token")] == [204]
    assert valid_tokens(hub) == []


@pytest.mark.slow
def test_two_copies_share_one_token(world: World) -> None:
    """Its key is one line with \\n, as some tools store it."""
    hub: GitHub = world.sandbox.github
    names = ("NEW_BAKERY_KEY", "NEW_OVEN_KEY")
    hub.add_environment("live")
    world.config.write_text(BAKERY.replace("REPOSITORY", hub.repository))
    world.sandbox.deploy("bakery-shop", world.sandbox.upload("bakery-shop"))
    environ = add_app(hub)
    environ["GH_SECRETS_APP_KEY"] = environ["GH_SECRETS_APP_KEY"].replace("\n", "\\n")

    where = ["--service", "shop", "--environment", "live", "--config", str(world.config), "--yes", "--json"]
    outcome = world.ops("rotate-secrets", *where, **environ, **{name: f"{FRESH}-{name}" for name in names})

    assert outcome.result["decision"] == "no_evidence", outcome.err  # nothing proves them
    assert outcome.code == 8
    assert hub.secrets("live") == {name.removeprefix("NEW_"): f"{FRESH}-{name}" for name in names}
    assert len(requests_to(hub, "POST", "/access_tokens")) == 1
    assert valid_tokens(hub) == []


def test_run_without_copies_requests_no_token(leak: Leak, hub: GitHub) -> None:
    environ = add_app(hub)

    outcome = leak.world.rollback(**environ)

    assert outcome.code in {0, 3}
    assert requests_to(hub, "GET", "/installation") == requests_to(hub, "POST", "/access_tokens") == []


@pytest.mark.parametrize("rule", [{"code": 10021}, {"before": lambda: os.kill(os.getpid(), signal.SIGINT)}])
def test_token_is_revoked_after_failure_or_interruption(leak: Leak, hub: GitHub, rule: dict[str, Any]) -> None:
    leak.world.sandbox.fault(**BULK, **rule)

    outcome = leak.rotate_one(**add_app(hub))

    assert outcome.result["decision"] in {"failed", "interrupted"}
    assert requests_to(hub, "POST", "/access_tokens")
    assert valid_tokens(hub) == []


@pytest.mark.parametrize("rule", [{"status": 502}, {"lost": "before"}])
def test_failed_token_revocation_is_a_warning(leak: Leak, hub: GitHub, rule: dict[str, Any]) -> None:
    hub.fault(**REVOKE, **rule, times=None)

    outcome = leak.rotate_one(**add_app(hub))

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    (warned,) = [text for text in texts(outcome, "warning") if "is not revoked" in text]
    assert f"App {APP_ID} for {hub.repository}" in warned
    assert "expires within an hour" in warned
    assert warned in str(outcome.result["timeline"])


@pytest.mark.slow
def test_invalid_token_needs_no_revocation(leak: Leak, hub: GitHub) -> None:
    hub.fault(**REVOKE, status=401)

    outcome = leak.rotate_one(**add_app(hub))

    assert not [text for text in texts(outcome, "warning") if "revoked" in text]


# Errors of an App


def assert_copy_left_to_a_person(leak: Leak, outcome: Outcome) -> str:
    """Check that the new value is live and the copy is left to a person; return the plan's warning."""
    assert ended(outcome)[:2] == (4, "failed"), outcome.err
    assert leak.values()[KEY] == FRESH
    assert f"gh secret set {KEY} --env production" in outcome.result["hint"]
    (warned,) = [text for text in outcome.result["plan"]["warnings"] if f"GitHub's copy of {KEY} cannot be" in text]
    return str(warned)


@pytest.mark.slow
def test_wrong_app_key_is_named(leak: Leak, hub: GitHub) -> None:
    warned = assert_copy_left_to_a_person(
        leak, leak.rotate_one(**add_app(hub) | {"GH_SECRETS_APP_KEY": key_pair(1)[0]})
    )

    assert f"GitHub does not take GH_SECRETS_APP_KEY as the key of App {APP_ID}" in warned
    assert "gh secret set GH_SECRETS_APP_KEY " in warned


def test_unknown_app_id_is_named(leak: Leak, hub: GitHub) -> None:
    warned = assert_copy_left_to_a_person(leak, leak.rotate_one(**add_app(hub) | {"GH_SECRETS_APP_ID": "31415"}))

    assert "GitHub knows no App 31415. Copy the App ID" in warned


@pytest.mark.slow
def test_missing_app_installation_is_named(leak: Leak, hub: GitHub) -> None:
    warned = assert_copy_left_to_a_person(leak, leak.rotate_one(**add_app(hub, installed=False)))

    assert f"App {APP_ID} is not installed on {hub.repository}. Install it there" in warned


@pytest.mark.sampled
@pytest.mark.parametrize("permissions", [{"secrets": "write"}, {"environments": "read"}])
def test_missing_permission_is_named(leak: Leak, hub: GitHub, permissions: dict[str, str]) -> None:
    """Access to repository secrets does not include environment secrets."""
    warned = assert_copy_left_to_a_person(leak, leak.rotate_one(**add_app(hub, permissions=permissions)))

    assert f"App {APP_ID} has no permission Environments: write on {hub.repository}" in warned


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule", [{"status": 502}, {"body": "<html>"}, {"body": '{"token": 1}', "content_type": "application/json"}]
)
def test_failed_token_request_fails_the_copy(leak: Leak, hub: GitHub, rule: dict[str, Any]) -> None:
    hub.fault(**TOKENS, **rule, times=None)

    assert_copy_left_to_a_person(leak, leak.rotate_one(**add_app(hub)))


def test_value_is_not_generated_if_the_copy_cannot_be_written(leak: Leak, hub: GitHub) -> None:
    outcome = leak.rotate("--only", "JWT_SECRET", **add_app(hub, installed=False))

    assert ended(outcome) == (3, "refused", "values_unusable")
    assert f"App {APP_ID} is not installed on {hub.repository}" in outcome.result["message"]
    assert leak.world.writes() == []


# Errors of the variables


def short_key() -> str:
    return "\n".join(key_pair(0)[0].splitlines()[:-4])


ONLY_ID, ONLY_KEY = "GH_SECRETS_APP_ID (?!.*GH_SECRETS)", "GH_SECRETS_APP_KEY (?!.*GH_SECRETS)"


@pytest.mark.parametrize(
    ("changed", "said", "hint"),
    [
        ({"GH_SECRETS_TOKEN": "github_pat_x"}, "GH_SECRETS_TOKEN .*GH_SECRETS_APP_KEY ", "gh secret del"),
        ({"GH_SECRETS_APP_ID": ""}, "GH_SECRETS_APP_KEY .*GH_SECRETS_APP_ID ", "gh variable set"),
        ({"GH_SECRETS_APP_KEY": " "}, "GH_SECRETS_APP_ID .*GH_SECRETS_APP_KEY ", "< FILE.pem"),
        ({"GH_SECRETS_APP_ID": "my app"}, ONLY_ID, ""),
        ({"GH_SECRETS_APP_KEY": "SHA256:abcdef"}, ONLY_KEY, "< FILE.pem"),
        ({"GH_SECRETS_APP_KEY": short_key}, ONLY_KEY, "< FILE.pem"),
        ({"GH_SECRETS_APP_KEY": lambda: key_pair(0)[1]}, ONLY_KEY, "< FILE.pem"),
    ],
)
def test_invalid_app_variables_are_refused(
    leak: Leak, hub: GitHub, changed: dict[str, Any], said: str, hint: str
) -> None:
    changes = {name: value() if callable(value) else value for name, value in changed.items()}

    outcome = leak.rotate_one(**add_app(hub) | changes)

    assert outcome.code == 2
    assert re.search(said, outcome.result["message"])
    assert hint in outcome.result["hint"]
    assert leak.world.writes() == []
    assert hub.requests == []


@pytest.mark.parametrize("is_copied", [True, False], ids=["of two secrets one is copied", "none is copied"])
def test_invalid_app_variables_are_refused_only_if_a_secret_is_copied(world: World, is_copied: bool) -> None:
    hub: GitHub = world.sandbox.github
    without = BAKERY.replace(", github: {repository: REPOSITORY, environment: live}", "", 1 if is_copied else 2)
    world.config.write_text(without.replace("REPOSITORY", hub.repository))
    world.sandbox.deploy("bakery-shop", world.sandbox.upload("bakery-shop"))
    environ = add_app(hub) | {
        "GH_SECRETS_APP_ID": "my app",
        "NEW_BAKERY_KEY": f"{FRESH}-1",
        "NEW_OVEN_KEY": f"{FRESH}-2",
    }

    where = ["--service", "shop", "--environment", "live", "--config", str(world.config), "--yes", "--json"]
    outcome = world.ops("rotate-secrets", *where, **environ)

    if is_copied:
        assert ended(outcome) == (2, "refused", "config_invalid")
        assert re.search(ONLY_ID, outcome.result["message"])
        assert world.writes() == []
    else:
        assert ended(outcome) == (8, "no_evidence", "no_evidence"), outcome.err  # nothing proves them
        assert [write.method for write in world.writes()] == ["PATCH", "POST"]


def test_other_runbooks_ignore_app_variables(leak: Leak, hub: GitHub) -> None:
    environ = add_app(hub) | {"GH_SECRETS_TOKEN": "github_pat_x", "GH_SECRETS_APP_KEY": "nonsense"}

    assert leak.world.rollback(**environ).code in {0, 3}


@pytest.mark.slow
def test_app_key_and_tokens_stay_hidden(leak: Leak, hub: GitHub, tmp_path: Path) -> None:
    """GitHub echoes both in each rejected write."""
    key = key_pair(0)[0]
    made: list[str] = []
    hub.fault(**REVOKE, status=500, message=key, times=None)
    hub.fault(method="PUT", path="/repos/**", status=403, message=key, times=None)
    hub.fault(**TOKENS, after=lambda: made.extend(valid_tokens(hub)))

    outcome = leak.rotate_one("--reason", key, **add_app(hub), GITHUB_ACTIONS="true")

    assert made
    assert outcome.code == 4, outcome.err
    shown = "".join(line for line in outcome.err.splitlines() if not line.startswith("::add-mask::")) + outcome.out
    shown += "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    shown += str(leak.world.sandbox.deployments(WORKER)[0].annotations)
    for secret in (*key.splitlines()[1:-1], *made):
        assert secret not in shown
    assert f"::add-mask::{made[0]}" in outcome.err

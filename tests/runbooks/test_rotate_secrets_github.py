"""`ops rotate-secrets`: generated values, and copies of values in secrets on GitHub."""

from typing import Any

import pytest

from tests.conftest import WORKER, Outcome
from tests.runbooks.test_rotate_secrets import BULK, FRESH, KEY, REPOSITORY, Leak, leak, rotate_generated, with_token
from tests.support.commands import JSON, ended

__all__ = ["leak"]


def test_generated_value_is_copied_to_github_and_hidden(leak: Leak) -> None:
    outcome = rotate_generated(leak)

    assert ended(outcome)[0] == 0, outcome.err
    made = leak.values()["JWT_SECRET"]
    assert len(made) == 64
    assert leak.world.sandbox.github.secrets("production") == {"JWT_SECRET": made}
    assert made not in outcome.out + outcome.err
    assert "JWT_SECRET: a new value signs everybody out" in outcome.result["plan"]["warnings"]


@pytest.mark.slow
def test_each_generated_value_is_new(leak: Leak) -> None:
    rotate_generated(leak)
    first = leak.values()["JWT_SECRET"]

    leak.rotate("--only", "JWT_SECRET", **with_token(leak))

    assert leak.values()["JWT_SECRET"] not in {first, None}


@pytest.fixture
def copied(leak: Leak) -> Leak:
    leak.world.edit_config(REPOSITORY, leak.world.sandbox.github.describe()["repository"])
    return leak


@pytest.mark.slow
def test_github_copy_is_written_after_verification(copied: Leak) -> None:
    outcome = copied.rotate_one(**with_token(copied))

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert copied.world.sandbox.github.secrets("production") == {KEY: FRESH}
    assert not [task for task in outcome.result["plan"]["tasks"] if task.startswith("`gh secret set")]


@pytest.mark.slow
def test_unverified_value_is_not_copied_to_github(copied: Leak) -> None:
    copied.world.sandbox.fault(**BULK, after=lambda: copied.world.sandbox.providers["groq"].revoke(FRESH))

    outcome = copied.rotate_one(**with_token(copied))

    assert outcome.code == 6
    assert copied.world.sandbox.github.secrets("production") == {}


@pytest.mark.slow
def test_token_without_secret_permission_fails_the_copy(copied: Leak) -> None:
    outcome = copied.rotate_one(**with_token(copied, "issues:write"))

    assert_copy_is_left(copied, outcome)


@pytest.mark.parametrize(("path", "times"), [(f"secrets/{KEY}", None), ("secrets/public-key", 3)])
def test_unreadable_copy_is_written_or_fails_the_run(copied: Leak, path: str, times: int | None) -> None:
    """Reads of GitHub are tried three times, so three failures affect only the plan."""
    environ, github = with_token(copied), copied.world.sandbox.github
    github.fault(method="GET", path=f"/repos/*/*/environments/*/{path}", status=502, times=times)
    if times is None:
        github.fault(method="PUT", path="/repos/**", status=403, body="{}", **JSON)

    outcome = copied.rotate_one(**environ)

    assert any(f"GitHub's copy of {KEY} cannot be read" in text for text in outcome.result["plan"]["warnings"])
    if times is None:
        assert_copy_is_left(copied, outcome)
    else:
        assert ended(outcome)[:2] == (0, "recovered"), outcome.err
        assert github.secrets("production") == {KEY: FRESH}


def assert_copy_is_left(copied: Leak, outcome: Outcome) -> None:
    """Check that the new value is live and that the result reports the old copy on GitHub."""
    assert ended(outcome)[:2] == (4, "failed"), outcome.err
    assert f"mark of Worker {WORKER}; not changed: GitHub secret {KEY} of production" in outcome.result["message"]
    assert f"gh secret set {KEY} --env production" in outcome.result["hint"]
    assert copied.values()[KEY] == FRESH
    assert copied.world.sandbox.github.secrets("production") == {}


@pytest.mark.slow
def test_missing_github_token_reports_the_old_copy(leak: Leak) -> None:
    outcome = leak.rotate_one()

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert f"GitHub's copy of {KEY} still has the previous value" in outcome.result["message"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("rule", [{"status": 502}, {"lost": "before"}])
def test_unanswered_copy_is_retried_once(copied: Leak, rule: dict[str, Any]) -> None:
    environ = with_token(copied)
    copied.world.sandbox.github.fault(method="PUT", path="/repos/**", **rule)

    outcome = copied.rotate_one(**environ)

    assert ended(outcome)[:2] == (0, "recovered"), outcome.err
    assert copied.world.sandbox.github.secrets("production") == {KEY: FRESH}


@pytest.mark.slow
def test_rejected_copy_is_reported(copied: Leak) -> None:
    environ = with_token(copied)
    copied.world.sandbox.github.fault(method="PUT", path="/repos/**", status=403, body="{}", **JSON)

    outcome = copied.rotate_one(**environ)

    assert ended(outcome) == (4, "failed", "provider_refused")
    assert f"mark of Worker {WORKER}; not changed: GitHub secret {KEY} of production" in outcome.result["message"]
    assert f"gh secret set {KEY} --env production" in outcome.result["hint"]

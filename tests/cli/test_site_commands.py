"""`ops site build`: refuse secrets in the job that runs the code of an old commit."""

import re

import pytest

from tests.conftest import Outcome, World

BUILD = ["site", "build", "--service", "frontend", "--environment", "production", "--commit", "a" * 40]


def build(world: World, **environ: str | None) -> Outcome:
    folder = world.folder
    where = ["--branch", "main", "--tree", str(folder / "tree.tar"), "--into", str(folder / "built")]
    given: dict[str, str | None] = dict.fromkeys(["CLOUDFLARE_API_TOKEN", "GITHUB_TOKEN"])
    return world.ops(*BUILD, *where, "--config", str(world.config), **{**given, **environ})


@pytest.mark.sampled
@pytest.mark.parametrize(
    "name",
    [
        "CLOUDFLARE_API_TOKEN",
        "STAGING_CLOUDFLARE_API_TOKEN",
        "GITHUB_TOKEN",
        "GH_TOKEN",
        "CF_API_KEY",
        "SLACK_WEBHOOK_URL",
        "DEMO_PASSWORD",
    ],
)
def test_build_with_secret_is_refused(world: World, name: str) -> None:
    """Secrets are tokens, webhooks, and values that a browser probe fills into a form."""
    steps = "[{goto: /}, {fill: {field: input, variable: DEMO_PASSWORD}}]"
    world.edit_config(
        "          - name: site # the page and all its scripts, styles, images and links\n            page:\n"
        "              paths: [/]\n    # Secrets",
        f"          - name: visit\n            browser:\n              steps: {steps}\n    # Secrets",
    )

    outcome = build(world, **{name: "a secret value"})

    assert outcome.code == 2
    assert re.match(f"error: .* {name}\\b", outcome.err)
    assert "a secret value" not in outcome.err


def test_build_ignores_empty_secret(world: World) -> None:
    """GitHub passes a missing secret as an empty text."""
    outcome = build(world, CLOUDFLARE_API_TOKEN="")

    assert "CLOUDFLARE_API_TOKEN" not in outcome.err
    assert ".tar" in outcome.err  # the error of the next step: there is no such file

"""A leaked key in a Worker, before each step of its rotation."""

from tests.conftest import WORKER, World
from tests.support.scenarios import Given, Scenario, deploy_hotfix, edit_secret, leaked


def _beside_an_upload(world: World, given: Given) -> None:
    """Prepare a newer upload: Cloudflare edits only secrets of the latest upload, so the live version is rebuilt."""
    leaked(world, given)
    world.sandbox.upload(WORKER, code="bad")


def _rotated(world: World, given: Given) -> None:
    leaked(world, given)
    world.sandbox.put_secret(WORKER, "GROQ_API_KEY", given.secrets["NEW_GROQ_API_KEY"])


def _has_fresh_key(world: World) -> bool:
    (version,) = world.sandbox.live(WORKER)
    served = world.sandbox.deployments(WORKER)[0].secrets[version]["GROQ_API_KEY"]
    copy = world.sandbox.github.secrets("production").get("GROQ_API_KEY")
    return served in world.sandbox.providers["groq"].keys and served == copy


def _is_marked_as_revoked(world: World) -> bool:
    return " revoked=" in world.sandbox.deployments(WORKER)[0].annotations.get("workers/message", "")


REFUSED = {"GH_SECRETS_APP_KEY": "OLD_JWT_SECRET"}
SCENARIOS = {
    "": Scenario(leaked, _has_fresh_key, refuses_together=REFUSED),
    "by a rebuild": Scenario(
        _beside_an_upload,
        _has_fresh_key,
        (deploy_hotfix,),
        {"inherit_latest": ("OTHER",)},
        ("POST", "/accounts/*/workers/scripts/*/versions"),
        is_like_another=True,
        refuses_together=REFUSED,
    ),
    "its end": Scenario(
        _rotated,
        _is_marked_as_revoked,
        (deploy_hotfix, edit_secret),
        {"only": (), "confirm_revoked": ("GROQ_API_KEY",)},
        ("POST", "/accounts/*/workers/scripts/*/deployments"),
        is_like_another=True,
        refuses_together=REFUSED,
    ),
}

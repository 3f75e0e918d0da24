"""Another application than FortuneT: one environment with a Worker and a site, and a token of its own."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.conftest import ACCOUNT, Outcome, World

WORKER, SITE = "shop-web", "shop-docs"
WEB_YML = f"""\
environments:
  live:
    account_id: {ACCOUNT}
    token: SHOP_TOKEN
    services:
      web:
        worker: {WORKER}
        url: https://web.shop.example
        verify: {{successes: 1, interval: 500ms, deadline: 1s}}
        probes:
          - name: cart
            http: {{path: /cart, status: 200, version: version}}
"""
"""The environment with the Worker."""
OPS_YML = f"""{WEB_YML}\
      docs:
        pages: {SITE}
        url: https://docs.shop.example
        verify: {{successes: 1, interval: 500ms, deadline: 1s}}
        probes:
          - name: home
            http: {{path: /, status: 200, body: docs}}
"""
STAGING = """\
  staging:
    account_id: 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f
    token: SHOP_STAGING_TOKEN
    services:
      web:
        worker: shop-web-staging
        url: https://web.staging.shop.example
"""


def answering(status: int = 200) -> dict[str, Any]:
    """Return the behaviour of a version that names itself in each response."""
    return {"status": status, "body": {"version": "{{version}}"}}


RELEASES = (
    (60, "old", 200, "cart: first"),
    (30, "good", 200, "cart: sum up"),
    (1, "bad", 500, "cart: new tax rule"),
)
"""Hours ago, code, status of each response, and message of the version."""


@dataclass(frozen=True)
class Shop:
    """A shop in a world: a Worker with two good releases and a bad one, and a site with two deployments."""

    world: World
    old: str
    good: str
    bad: str

    @property
    def folder(self) -> Path:
        return self.world.folder

    @property
    def live(self) -> dict[str, float]:
        return self.world.sandbox.live(WORKER)

    def environ(self, **more: Any) -> dict[str, Any]:
        return {"SHOP_TOKEN": self.world.sandbox.token, "CLOUDFLARE_API_TOKEN": None, **more}

    def ops(self, *arguments: str, **environ: Any) -> Outcome:
        return self.world.ops(*arguments, "--config", str(self.world.config), **self.environ(**environ))


def open_shop(world: World, *, staging: bool = False) -> Shop:
    """Write the shop's ops.yml, and deploy the releases of Worker and site."""
    world.config.write_text(OPS_YML + (STAGING if staging else ""))
    now, sandbox = world.sandbox.clock.now(), world.sandbox
    sandbox.route("web.shop.example", WORKER)
    versions = []
    for hours, code, status, message in RELEASES:
        at = now - timedelta(hours=hours)
        versions.append(
            sandbox.upload(
                WORKER, code=code, behaviour=answering(status), message=message, author="mai@shop.example", at=at
            )
        )
        sandbox.deploy(WORKER, versions[-1], author="mai@shop.example", at=at)
    sandbox.pages.add_project(SITE, domains=["docs.shop.example"], at=now - timedelta(days=9))
    for hours, text in ((40, "docs"), (2, "lost")):
        sandbox.pages.add_deployment(
            SITE,
            files={"index.html": text.encode()},
            message=f"write {text}",
            commit=text[0] * 40,
            at=now - timedelta(hours=hours),
        )
    return Shop(world, *versions)

"""`ops guard` prints and publishes no secret, also if Cloudflare or a deployment repeats one."""

import pytest

from sandbox.faults import Fault
from tests.support import marks
from tests.support.marks import leaks, on_disk, sent
from tests.support.shop import WORKER, Shop, answering
from tests.watch.test_guard import RIGHTS, shop

__all__ = ["shop"]
CLOUDFLARE, GITHUB = marks.secret("cloudflare"), marks.secret("github")


@pytest.mark.parametrize("fails", [False, True], ids=["hostile deployment", "hostile answers"])
def test_guard_of_a_bad_deployment_leaks_no_secret(shop: Shop, fails: bool) -> None:
    sandbox = shop.world.sandbox
    sandbox.add_token(CLOUDFLARE, RIGHTS)
    sandbox.github.add_token(GITHUB, "mai", ["issues:write"])
    said = f"{CLOUDFLARE} {GITHUB}"
    version = sandbox.upload(WORKER, code="new", behaviour={**answering(500), "body": said}, message=said, author=said)
    sandbox.deploy(WORKER, version, author=said, message=said)
    if fails:
        sandbox.faults.add(Fault(path="/graphql", status=500, message=said, times=None))
        sandbox.github.faults.add(Fault(method="POST", path="/repos/**", status=403, message=said, times=None))
    github = {**sandbox.github.environ(), "GITHUB_TOKEN": GITHUB}

    done = shop.ops("guard", "--service", "web", SHOP_TOKEN=CLOUDFLARE, **github)

    assert done.code == 6, done.err
    texts = {"stdout": done.out, "stderr": done.err, **on_disk(shop.folder)}
    found = leaks({**texts, **sent(sandbox.requests, "Cloudflare"), **sent(sandbox.github.requests, "GitHub")})
    assert found == []

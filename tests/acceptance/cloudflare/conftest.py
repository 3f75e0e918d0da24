"""Real clients of Cloudflare stand on what the sandbox's own tests stand on."""

from tests.sandbox.conftest import api, deployed, edge, releases, sandbox

__all__ = ["api", "deployed", "edge", "releases", "sandbox"]

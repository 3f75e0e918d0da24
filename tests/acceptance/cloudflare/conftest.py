"""Fixtures of the sandbox's own tests, reused for real Cloudflare clients."""

from tests.sandbox.conftest import api, deployed, edge, releases, sandbox

__all__ = ["api", "deployed", "edge", "releases", "sandbox"]

"""A local Cloudflare: an API as strict as the real one, for the real wrangler, and an edge that serves what it deploys.

It imports nothing else of `ops`: a stand-in that shares the client's constants shares its mistakes.
"""

from ops.sandbox.sandbox import Sandbox
from ops.sandbox.switches import Switches

__all__ = ["Sandbox", "Switches"]

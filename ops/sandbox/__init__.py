"""A local Cloudflare and a local GitHub: APIs as strict as the real ones, and an edge that serves what is deployed.

It imports nothing else of `ops`: a stand-in that shares the client's constants shares its mistakes.
"""

from ops.sandbox.sandbox import Sandbox
from ops.sandbox.switches import Switches

__all__ = ["Sandbox", "Switches"]

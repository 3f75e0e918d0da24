"""A local Cloudflare and a local GitHub: APIs as strict as the real ones, and an edge that serves what is deployed.

It imports nothing of `ops` but the finder of Node: a stand-in that shares the client's constants shares its mistakes.
"""

from sandbox.sandbox import Sandbox
from sandbox.switches import Switches

__all__ = ["Sandbox", "Switches"]

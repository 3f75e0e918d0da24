"""A local Cloudflare and a local GitHub, with an edge that serves the deployed versions.

The APIs are as strict as the real ones. The package imports nothing of `ops` except `ops.tools.node`: a fake that
shares constants with the client would share its mistakes.
"""

from sandbox.sandbox import Sandbox
from sandbox.switches import Switches

__all__ = ["Sandbox", "Switches"]

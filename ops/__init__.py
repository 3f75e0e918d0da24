"""Backout: recovery as code for applications on Cloudflare."""

import time

__version__ = "0.1.0"

STARTED = time.monotonic()
"""When this process began, as near as Python can say it: the trigger of a command typed by hand."""

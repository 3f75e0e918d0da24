"""Backout: recovery as code for applications on Cloudflare."""

import sys
import time

STARTED = time.monotonic()
"""When this process began, as near as Python can say it: the trigger of a command typed by hand."""

# httpx imports a command line of its own, which takes 70 ms where `rich` happens to be installed, as in a developer's
# environment. Without the module httpx goes on, as it does without `rich`.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]

"""Serve a sandbox until SIGINT, SIGTERM or SIGHUP: `python -m sandbox` and `ops sandbox`."""

import json
import signal
import threading
from collections.abc import Callable, Mapping

from sandbox.permissions import permission_groups
from sandbox.sandbox import Sandbox

ALL_RIGHTS = "sandbox-all-rights"
"""Token in the output of `--json` that every route accepts. The default token has only the permissions of a
recovery."""
ADMIN = "mia"
ADMIN_TOKEN = "sandbox-github-admin"  # noqa: S105
"""Token in the output of `--json` of a person who is an admin of the repository on its GitHub."""

NO_MORE: Mapping[str, str] = {}


def serve(
    sandbox: Sandbox, *, edge: str, as_json: bool, echo: Callable[[str], None], environ: Mapping[str, str] = NO_MORE
) -> None:
    """Print the addresses and tokens, then serve until a signal. The signal handlers stay installed.

    `environ`: variables to print besides those of Cloudflare.
    """
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
            continue  # started by `nohup`
        signal.signal(number, lambda *_: stopped.set())
    with sandbox as running:
        if as_json:
            running.add_token(ALL_RIGHTS, permission_groups())
            running.github.add_user(ADMIN, "admin")
            running.github.add_token(ADMIN_TOKEN, ADMIN)
            echo(json.dumps(running.describe()))
        else:
            exports = "\n".join(f"  export {name}={value}" for name, value in {**running.environ(), **environ}.items())
            echo(f"A local Cloudflare is running ({edge} edge). In another terminal:\n{exports}")
            echo("Then wrangler and ops work against it. Ctrl-C stops it, and all that is in it is gone.")
        stopped.wait()

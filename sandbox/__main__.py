"""Start a local Cloudflare and a local GitHub: `python -m sandbox`.

`ops sandbox --faults` also reads a file of faults.
"""

import argparse
import sys
from functools import partial
from typing import get_args

from ops.tools import node
from sandbox import switches
from sandbox.command import serve
from sandbox.sandbox import RuntimeName, Sandbox


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="Start a local Cloudflare and GitHub")
    edge = get_args(RuntimeName)
    parser.add_argument("--edge", choices=edge, default=edge[0], help="Runtime of the Workers (default: embedded)")
    parser.add_argument(
        "--switch", action="append", default=[], metavar="NAME=VALUE", help="Set a switch; can be repeated"
    )
    parser.add_argument("--port", type=int, default=0, help="Port of the API (default: a free port)")
    parser.add_argument("--json", action="store_true", help="Print all addresses and tokens as one line of JSON")
    given = parser.parse_args(arguments)
    try:
        if given.edge == "workerd":
            node.install_packages()
        made = Sandbox(edge=given.edge, port=given.port, switches=switches.parse(given.switch))
    except (node.MissingTool, ValueError, OSError, OverflowError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    serve(made, edge=given.edge, as_json=given.json, echo=partial(print, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

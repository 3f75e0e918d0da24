"""Start a local Cloudflare and a local GitHub: `python -m sandbox`. Fault files are read by `ops sandbox --faults`."""

import argparse
import sys
from functools import partial
from typing import get_args

from ops.tools import node
from sandbox import switches
from sandbox.command import serve
from sandbox.sandbox import RuntimeName, Sandbox


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    edge = get_args(RuntimeName)
    parser.add_argument("--edge", choices=edge, default=edge[0], help="runtime of the Workers (default: embedded)")
    parser.add_argument("--switch", action="append", default=[], metavar="NAME=VALUE", help="repeat for more than one")
    parser.add_argument("--port", type=int, default=0, help="port of the API (default: a free one)")
    parser.add_argument("--json", action="store_true", help="print one line with every address and token")
    given = parser.parse_args(arguments)
    try:
        if given.edge == "workerd":
            node.install_packages()
        made = Sandbox(edge=given.edge, port=given.port, switches=switches.parse(given.switch))
    except (node.MissingTool, ValueError, OSError, OverflowError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    serve(made, edge=given.edge, as_json=given.json, say=partial(print, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Run `ops` with the runbook of a file outside the repository.

python -m tests.support.outside_runbook FILE …
"""

import sys
from pathlib import Path

from ops import cli
from ops.app import registry

if __name__ == "__main__":
    name = registry.add_runbook_file(Path(sys.argv.pop(1)))
    cli.cli.add_runbook(name, registry.find_runbook_file(name))
    cli.main()

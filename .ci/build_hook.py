"""Record in the wheel and the source archive which commit on GitHub a job built them from.

`ops init` and `ops workflows sync` of an installed wheel pin the actions of that commit. Elsewhere nothing is recorded:
the commit of a laptop may be on no server. hatch.pypa.io/latest/plugins/build-hook/custom and
docs.github.com/actions/reference/workflows-and-actions/variables
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "release.json"
PLACES = {"wheel": f"ops/program/{NAME}", "sdist": NAME}
"""Target → path of the file in it."""


class CustomBuildHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file: that of the source archive, else of the job whose checkout this is.

        A job of another repository, in which pip builds Backout, has a checkout of its own.
        """
        path = Path(self.root) / NAME
        checkout = os.environ.get("GITHUB_WORKSPACE")
        is_checkout = checkout is not None and Path(checkout).resolve() == Path(self.root).resolve()
        if not path.is_file() and os.environ.get("GITHUB_ACTIONS") == "true" and is_checkout:
            path = Path(tempfile.mkdtemp()) / NAME
            release = {"repository": os.environ["GITHUB_REPOSITORY"], "sha": os.environ["GITHUB_SHA"]}
            path.write_text(json.dumps(release) + "\n")
        if version == "standard" and path.is_file():
            build_data["force_include"][str(path)] = PLACES[self.target_name]

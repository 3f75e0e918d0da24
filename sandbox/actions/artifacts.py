"""Replace upload-artifact and download-artifact: artifacts are files of this machine.

github.com/actions/upload-artifact, github.com/actions/download-artifact
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

UPLOAD, DOWNLOAD = "actions/upload-artifact", "actions/download-artifact"
_STORE = "${{ github.run_id }}/${{ inputs.name }}"
_SAVE = """\
if [ ! -e "$FROM" ]; then
  echo "No files were found with the provided path: $FROM. No artifacts will be uploaded."
  [ "$MISSING" != error ]
  exit
fi
mkdir -p "$STORE"
if [ -d "$FROM" ]; then cp -R "$FROM/." "$STORE"; else cp "$FROM" "$STORE"; fi
"""
_LOAD = """\
if [ ! -d "$STORE" ]; then echo "Artifact not found for name: $NAME"; exit 1; fi
mkdir -p "$INTO"
cp -R "$STORE/." "$INTO"
"""


def write_artifact_actions(folder: Path) -> dict[str, Path]:
    """Write both actions, and return each with its folder. They know one name, and one path without wildcards."""
    store = str(folder / "artifacts" / _STORE)
    path = "${{ inputs.path }}"
    upload = {"FROM": path, "STORE": store, "MISSING": "${{ inputs.if-no-files-found }}"}
    download = {"INTO": path, "STORE": store, "NAME": "${{ inputs.name }}"}
    return {
        UPLOAD: _write(folder / "upload", _SAVE, upload, ("name", "path", "if-no-files-found", "retention-days")),
        DOWNLOAD: _write(folder / "download", _LOAD, download, ("name", "path")),
    }


def _write(folder: Path, run: str, environ: Mapping[str, str], inputs: tuple[str, ...]) -> Path:
    step: dict[str, Any] = {"shell": "sh -e {0}", "env": dict(environ), "run": run}
    action = {"name": folder.name, "inputs": {name: {"required": False} for name in inputs}}
    folder.mkdir(parents=True)
    (folder / "action.yml").write_text(json.dumps({**action, "runs": {"using": "composite", "steps": [step]}}))
    return folder

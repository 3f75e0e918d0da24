"""Files in place of checkout, upload-artifact and download-artifact.

github.com/actions/upload-artifact, github.com/actions/download-artifact
"""

import json
import subprocess
from collections.abc import Callable, Mapping
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


class NotACheckout(Exception):
    """The folder is not a git repository."""


def tracked_files(folder: Path, *, is_excluded: Callable[[str], bool] = lambda _: False) -> dict[str, bytes]:
    """Return path → current content of the files that git tracks.

    Files for which `is_excluded` returns true are not read.

    Raises:
        NotACheckout: git lists no files in the folder.
    """
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise NotACheckout(f"{folder} is not a git repository") from None
    files = {name: folder / name for name in listed.stdout.split("\0") if name and not is_excluded(name)}
    return {name: path.read_bytes() for name, path in files.items() if path.is_file()}


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write a git repository with one commit and few files, because act copies each file.

    A file that starts with `#!` becomes executable.
    """
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if content.startswith(b"#!"):
            path.chmod(0o755)
    who = ["-c", "user.name=sandbox", "-c", "user.email=sandbox@example.com", "-c", "core.excludesFile=/dev/null"]
    # git puts a file of at least this size into one pack with the others, uncompressed: git-scm.com/docs/git-config
    packs = ["-c", "core.bigFileThreshold=1", "-c", "core.compression=0"]
    commands = (
        ["init", "-q", "-b", "main", "--template="],
        ["add", "-A", "-f"],
        ["commit", "-q", "--no-gpg-sign", "-m", "all"],
    )
    for command in commands:
        subprocess.run(["git", *who, *packs, *command], cwd=folder, check=True, capture_output=True)


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

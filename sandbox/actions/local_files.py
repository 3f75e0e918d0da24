"""Files in place of checkout, and of the actions for artifacts and GitHub Pages.

github.com/actions/upload-artifact, github.com/actions/download-artifact, github.com/actions/upload-pages-artifact,
github.com/actions/deploy-pages
"""

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

UPLOAD, DOWNLOAD = "actions/upload-artifact", "actions/download-artifact"
UPLOAD_SITE, DEPLOY_SITE = "actions/upload-pages-artifact", "actions/deploy-pages"
SITE_ARTIFACT = "github-pages"
ID_TOKEN = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"  # noqa: S105
"""Variable that a job with `id-token: write` has. Here it holds the OIDC token itself."""
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
_SAVE_SITE = """\
if [ ! -d "$FROM" ]; then echo "tar: $FROM: Cannot open: No such file or directory"; exit 2; fi
mkdir -p "$STORE"
cp -RL "$FROM/." "$STORE"
find "$STORE" -mindepth 1 -name '.*' -prune -exec rm -rf {} +
"""
_DEPLOY_SITE = """\
import json, os, sys, time, urllib.error, urllib.request
e = os.environ
at = e["GITHUB_API_URL"] + "/repos/" + e["GITHUB_REPOSITORY"] + "/pages/deployments"
if not e.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
    sys.exit("Error: Ensure GITHUB_TOKEN has permission \\"id-token: write\\".")
def send(method, url, body=None):
    said = {"Authorization": "Bearer " + e["TOKEN"], "User-Agent": "deploy-pages", "Accept": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, said, method=method)) as answer:
            return json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        sys.exit("Error: Failed to create deployment (status: %s): %s" % (error.code, error.read().decode()))
made = send("POST", at, {
    "artifact_id": int(e["GITHUB_RUN_ID"]), "pages_build_version": e["GITHUB_SHA"],
    "oidc_token": e["ACTIONS_ID_TOKEN_REQUEST_TOKEN"],
})
while (status := send("GET", at + "/" + made["id"])["status"]) == "deployment_in_progress":
    print("Current status: " + status)
    time.sleep(0.05)
if status != "succeed":
    sys.exit("Error: " + status)
print("Reported success!")
with open(e["GITHUB_OUTPUT"], "a") as file:
    file.write("page_url=" + made["page_url"] + "\\n")
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
    """Write the actions, and return each with its folder. They know one name, and one path without wildcards."""
    store = str(folder / "artifacts" / _STORE)
    path = "${{ inputs.path }}"
    upload = {"FROM": path, "STORE": store, "MISSING": "${{ inputs.if-no-files-found }}"}
    download = {"INTO": path, "STORE": store, "NAME": "${{ inputs.name }}"}
    return {
        UPLOAD: _write(folder / "upload", _SAVE, upload, ("name", "path", "if-no-files-found", "retention-days")),
        DOWNLOAD: _write(folder / "download", _LOAD, download, ("name", "path")),
        UPLOAD_SITE: _write(
            folder / "upload-site",
            _SAVE_SITE,
            {"FROM": path, "STORE": str(_site_folder(folder, "${{ github.run_id }}"))},
            ("path", "retention-days", "include-hidden-files"),
        ),
        DEPLOY_SITE: _write(
            folder / "deploy-site",
            _DEPLOY_SITE,
            {"TOKEN": "${{ github.token }}"},
            ("timeout", "error_count", "reporting_interval"),
            program="python3 {0}",
            output="page_url",
        ),
    }


def _site_folder(folder: Path, run: str) -> Path:
    return folder / "artifacts" / run / SITE_ARTIFACT


def find_artifacts(folder: Path, run: int) -> dict[str, int]:
    """Return the artifacts that a run uploaded: name → size in bytes."""
    found = folder / "artifacts" / str(run)
    return {
        each.name: sum(file.stat().st_size for file in each.rglob("*") if file.is_file())
        for each in (sorted(found.iterdir()) if found.is_dir() else ())
    }


def find_site(folder: Path, run: int) -> Path | None:
    """Return the folder of the site that a run uploaded; its number stands for the one of the artifact."""
    found = _site_folder(folder, str(run))
    return found if found.is_dir() else None


def _write(
    folder: Path,
    run: str,
    environ: Mapping[str, str],
    inputs: tuple[str, ...],
    *,
    program: str = "sh -e {0}",
    output: str = "",
) -> Path:
    step: dict[str, Any] = {"id": "main", "shell": program, "env": dict(environ), "run": run}
    action: dict[str, Any] = {"name": folder.name, "inputs": {name: {"required": False} for name in inputs}}
    if output:
        action["outputs"] = {output: {"value": f"${{{{ steps.main.outputs.{output} }}}}"}}
    folder.mkdir(parents=True)
    (folder / "action.yml").write_text(json.dumps({**action, "runs": {"using": "composite", "steps": [step]}}))
    return folder

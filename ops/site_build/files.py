"""Files of a built site, and the committed wrangler configuration.

The configuration is never one that a build wrote.
"""

import base64
import json
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from ops.cloudflare.types.site_config import (
    CONFIGURATION_FILES,
    MAX_BYTES,
    NO_CONFIGURATION,
    REDIRECT_FILE,
    SiteConfiguration,
    parse_configuration,
)
from ops.core.errors import Reason, Refused
from ops.core.names import GitCommit, quote_name
from ops.tools import git
from ops.tools.source_files import load_from_earlier_job, save_for_later_job

OUTPUT = "output"
MAX_FILE_BYTES = 25 * 1024 * 1024
"""Largest file, in bytes (developers.cloudflare.com/pages/platform/limits)."""
NOT_UPLOADED = {
    "_worker.js",
    "_redirects",
    "_headers",
    "_routes.json",
    "functions",
    ".DS_Store",
    "node_modules",
    ".git",
}
"""Names that wrangler does not upload as files of the site."""
LFS_POINTER_PREFIX = b"version https://git-lfs.github.com/spec/v1\n"
NOTHING_SENT = "Nothing was sent to Cloudflare."
SAVED = "OPS_CONFIGURATION"
CONFIGURATION_PATHS = (*CONFIGURATION_FILES, REDIRECT_FILE)
ConfigurationFiles = Mapping[str, bytes]
"""File name → content of the existing configuration files in the built folder."""


def copy_prebuilt(given: Path, into: Path) -> None:
    """Copy only the output folder, so that wrangler sees no other file of the artifact. Raises Refused."""
    if not (given / OUTPUT).is_dir():
        raise unusable_build(f"{given} has no folder {OUTPUT}")
    copy_built_files(given / OUTPUT, into / OUTPUT)


def check_complete(repository: git.GitRepository, commit: GitCommit) -> None:
    """Refuse a commit with submodules or Git LFS files, since only its own files are packed."""
    submodules, pointers = repository.list_submodules(commit.sha), repository.list_lfs_pointers(commit.sha)
    for what, paths in (("submodules", submodules), ("files in Git LFS", pointers)):
        if paths:
            named = ", ".join(quote_name(path) for path in paths[:5]) + (", …" if paths[5:] else "")
            raise Refused(
                f"commit {commit.short} has {what}, which are not fetched: {named}",
                reason=Reason.BUILD_UNUSABLE,
                hint=f"{NOTHING_SENT} Deploy that commit with the site's own pipeline, or pass another commit.",
            )


def copy_built_files(source: Path, target: Path) -> None:
    """Copy plain files only, since a link could point to any file of this machine."""
    for folder, _, names in os.walk(source):
        into = target / Path(folder).relative_to(source)
        into.mkdir(parents=True, exist_ok=True)
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                shutil.copyfile(path, into / name)


def count_files(output: Path) -> int:
    """Return the number of uploaded files. Raises Refused for no file, a large file or a Git LFS pointer."""
    count = 0
    for folder, folders, names in os.walk(output):
        folders[:] = [name for name in folders if name not in NOT_UPLOADED]
        for name in names:
            path = Path(folder, name)
            if name in NOT_UPLOADED:
                continue
            count += 1
            size = path.stat().st_size
            if size <= git.LFS_LARGEST and path.read_bytes().startswith(LFS_POINTER_PREFIX):
                raise unusable_build(f"{path.relative_to(output)} is a Git LFS pointer instead of a file")
            if size > MAX_FILE_BYTES:
                raise unusable_build(
                    f"{path.relative_to(output)} has {size} bytes, but Cloudflare's limit is {MAX_FILE_BYTES}"
                )
    if count == 0:
        raise unusable_build("the build produced no file")
    return count


def folder_within(tree: Path, folder: Path) -> Path | None:
    """Return the resolved folder; None if it is missing or outside the tree."""
    resolved = folder.resolve()
    return resolved if resolved.is_dir() and resolved.is_relative_to(tree.resolve()) else None


def unusable_build(text: str) -> Refused:
    hint = f"{NOTHING_SENT} Correct `build` in ops.yml, or pass another commit."
    return Refused(text, reason=Reason.BUILD_UNUSABLE, hint=hint)


def check_not_exposed(why: str) -> None:
    """Refuse if others could read the packed source. `why`: the reason, or empty."""
    hint = (
        f"{NOTHING_SENT} Make the operations repository private, or run `ops redeploy-pages` on a laptop. If the site "
        "is in the operations repository itself, remove `repository` of its service in ops.yml."
    )
    if why:
        raise Refused(
            f"others could read the source of the site, which this job hands to the next: {why}",
            reason=Reason.BUILD_UNUSABLE,
            hint=hint,
        )


def read_committed(repository: git.GitRepository, sha: str, folder: str) -> ConfigurationFiles:
    """Read the configuration files of a commit. Raises Refused if one is not a plain file."""
    files = {}
    for name in CONFIGURATION_PATHS:
        path = name if folder == "." else f"{folder}/{name}"
        mode = repository.file_mode(sha, path)
        if mode is None:
            continue
        text = repository.read_file(sha, path) if mode in git.PLAIN else None
        if text is None:
            raise _refused_build(f"{path} of commit {sha[:12]} is a link or a folder", "Commit a plain file")
        files[name] = text.encode("utf-8", "surrogateescape")
    return files


def choose_configuration(files: ConfigurationFiles) -> SiteConfiguration:
    """Return the configuration that wrangler would use. Raises Refused."""
    if REDIRECT_FILE in files:
        raise _refused_build(
            f"the commit has {REDIRECT_FILE}, which redirects to another configuration", "Remove it from the repository"
        )
    name = next((name for name in CONFIGURATION_FILES if name in files), None)
    return NO_CONFIGURATION if name is None else parse_configuration(name, files[name])


def read_configuration_files(folder: Path) -> ConfigurationFiles:
    """Read the configuration files of a folder. A large file or a link gets a placeholder as content."""
    files = {}
    for name in CONFIGURATION_PATHS:
        try:
            about = (folder / name).lstat()
        except OSError:
            continue
        plain = stat.S_ISREG(about.st_mode) and about.st_size <= MAX_BYTES
        files[name] = (folder / name).read_bytes() if plain else b"\0no plain file, or too large"
    return files


def check_configuration_unchanged(before: ConfigurationFiles, now: ConfigurationFiles) -> None:
    """Refuse if a build added, changed or removed a configuration file."""
    if names := [name for name in CONFIGURATION_PATHS if before.get(name) != now.get(name)]:
        raise _refused_build(
            f"the build changed {', '.join(names)}, but only the committed file may set bindings",
            "Commit the file that the build writes",
        )


def save_for_deployment(files: ConfigurationFiles, into: Path) -> str:
    """Save the files for the job that deploys, and return their digest."""
    return save_for_later_job({name: base64.b64encode(raw).decode() for name, raw in sorted(files.items())}, into)


def load_for_deployment(environ: Mapping[str, str]) -> ConfigurationFiles:
    """Load the files that the fetching job saved. Raises ConfigError if they are missing or changed."""
    saved = load_from_earlier_job(SAVED, environ)
    return {name: base64.b64decode(raw) for name, raw in saved.items()}


def write_configuration(configuration: SiteConfiguration, project: str, into: Path) -> None:
    """Write wrangler.json, which wrangler looks for first in each folder. It is written without settings too."""
    settings = {**configuration.settings, "name": project} if configuration.settings else {}
    (into / "wrangler.json").write_text(json.dumps(settings))


def _refused_build(text: str, what: str) -> Refused:
    return Refused(text, reason=Reason.BUILD_UNUSABLE, hint=f"{NOTHING_SENT} {what}, or pass another commit.")

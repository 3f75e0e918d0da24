"""Copy the files of a built site, and check them against Cloudflare's limits."""

import os
import shutil
from pathlib import Path

from ops.core.errors import Reason, Refused
from ops.core.names import GitCommit, quote_name
from ops.tools import git

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


def copy_prebuilt(given: Path, into: Path) -> None:
    """Copy only the output folder, so that wrangler sees no other file of the artifact. Raises Refused."""
    if not (given / OUTPUT).is_dir():
        raise unusable_build(f"{given} has no folder {OUTPUT}")
    copy_files(given / OUTPUT, into / OUTPUT)


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


def copy_files(source: Path, target: Path) -> None:
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
    found = 0
    for folder, folders, names in os.walk(output):
        folders[:] = [name for name in folders if name not in NOT_UPLOADED]
        for name in names:
            path = Path(folder, name)
            if name in NOT_UPLOADED:
                continue
            found += 1
            size = path.stat().st_size
            if size <= git.LFS_LARGEST and path.read_bytes().startswith(LFS_POINTER_PREFIX):
                raise unusable_build(f"{path.relative_to(output)} is a Git LFS pointer instead of a file")
            if size > MAX_FILE_BYTES:
                raise unusable_build(
                    f"{path.relative_to(output)} has {size} bytes, but Cloudflare's limit is {MAX_FILE_BYTES}"
                )
    if found == 0:
        raise unusable_build("the build produced no file")
    return found


def folder_within(tree: Path, folder: Path) -> Path | None:
    """Return the resolved folder; None if it is missing or outside the tree."""
    found = folder.resolve()
    return found if found.is_dir() and found.is_relative_to(tree.resolve()) else None


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

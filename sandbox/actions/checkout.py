"""The files of a repository: out of a real checkout into the sandbox, and out of a commit into a folder for act."""

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path


class NotACheckout(Exception):
    """The folder is no checkout of a git repository."""


def tracked_files(folder: Path, *, is_excluded: Callable[[str], bool] = lambda _: False) -> dict[str, bytes]:
    """Return path → content of the files that git knows, as they stand now. Files for which `but` is true are not read.

    Raises NotACheckout.
    """
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise NotACheckout(f"{folder} is no checkout of a git repository") from None
    files = {name: folder / name for name in listed.stdout.split("\0") if name and not is_excluded(name)}
    return {name: path.read_bytes() for name, path in files.items() if path.is_file()}


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write a git repository of one commit, in few files: act copies each. A file with `#!` can be executed."""
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

"""Read the files of a real checkout, and write the files of a commit for act."""

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path


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

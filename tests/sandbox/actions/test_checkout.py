"""Checkout for act: a commit as a complete repository in few files."""

import subprocess
from pathlib import Path

from sandbox.actions.local_files import write_files


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_checkout_is_a_repository_with_one_pack(tmp_path: Path) -> None:
    files = {f"data/{number}.txt": f"content {number}\n".encode() for number in range(200)}
    folder = tmp_path / "repository"

    write_files({**files, "go": b"#!/bin/sh\n", "empty": b"", ".gitignore": b"data\n"}, folder)

    git(folder, "fsck", "--strict")
    assert git(folder, "status", "--porcelain") == ""
    assert git(folder, "show", "HEAD:data/7.txt") == "content 7\n"
    assert git(folder, "ls-files", "--stage", "go").startswith("100755")
    assert len(git(folder, "ls-files").splitlines()) == 203
    assert len([path for path in (folder / ".git").rglob("*") if path.is_file()]) < 20

"""Files that Git tracks: no installable packages and no large binaries."""

from pathlib import Path

from tests.conftest import ROOT
from tests.support.tracked import tracked

LARGE = 200_000
"""Bytes."""
GIT_BINARY_CHECK = 8_000
"""Bytes that Git searches for a zero byte to detect a binary file (`buffer_is_binary` in xdiff-interface.c)."""


def is_binary(path: Path) -> bool:
    with path.open("rb") as file:
        return b"\0" in file.read(GIT_BINARY_CHECK)


def test_no_package_file_is_tracked() -> None:
    packages = (".whl", ".egg", ".tar.gz", ".tgz", ".deb", ".rpm")

    assert [path.name for path in tracked() if path.name.endswith(packages)] == []


def test_no_large_binary_is_tracked() -> None:
    assert [path.name for path in tracked() if path.stat().st_size > LARGE and is_binary(path)] == []
    assert is_binary(ROOT / "tests/support/webhook_examples.json.gz")

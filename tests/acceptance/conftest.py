"""Shared fixtures of the tests with real clients."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def pip_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which wheels are downloaded only once."""
    return tmp_path_factory.mktemp("pip")

"""Shared fixtures of the tests with real clients."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def pip_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which wheels are downloaded, and modules compiled, only once by all workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "pip"
    folder.mkdir(exist_ok=True)
    return folder

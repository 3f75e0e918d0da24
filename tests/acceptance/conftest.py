"""Shared fixtures of the tests with real clients."""

from pathlib import Path

import pytest

from tests.support import forked_jobs


@pytest.fixture(scope="session")
def pip_cache() -> Path:
    """Return a folder for runners. Commands of their jobs are forks of one process with imported modules."""
    return forked_jobs.job_cache()


@pytest.fixture(scope="session")
def plain_pip_cache() -> Path:
    """Return a folder for runners whose jobs start Python themselves."""
    return forked_jobs.shared_cache()

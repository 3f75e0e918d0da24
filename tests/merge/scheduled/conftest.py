"""Fixtures of the staging drill."""

from tests.scheduled.staging_drill.conftest import live, place

__all__ = ["live", "place"]

"""Fixture of the gate."""

from tests.gate.conftest import job

__all__ = ["job"]

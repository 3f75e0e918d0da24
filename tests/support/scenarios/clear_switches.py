"""An API with two switches set by the incident."""

from tests.support.scenarios.all_clear import SCENARIOS

__all__ = ["SCENARIOS"]

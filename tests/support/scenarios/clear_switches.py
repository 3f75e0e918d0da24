"""An API with two switches that the incident has set."""

from tests.support.scenarios.all_clear import SCENARIOS

__all__ = ["SCENARIOS"]

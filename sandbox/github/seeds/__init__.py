"""What fills the repository from Python. It asks no permission and refuses only what could not be."""

from sandbox.github.seeds.actions import ActionsSeeds
from sandbox.github.seeds.git import GitSeeds
from sandbox.github.seeds.issues import IssueSeeds
from sandbox.github.seeds.people import PeopleSeeds

__all__ = ["Seeds"]


class Seeds(PeopleSeeds, IssueSeeds, GitSeeds, ActionsSeeds):
    """`at` dates back without moving the clock. Whoever does something must have been added first."""

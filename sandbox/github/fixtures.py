"""What fills the repository from Python. It asks no permission and refuses only what could not be."""

from sandbox.github.actions.fixtures import ActionsSeeds
from sandbox.github.git.fixtures import GitSeeds
from sandbox.github.issues.fixtures import IssueSeeds
from sandbox.github.users.fixtures import PeopleSeeds

__all__ = ["Seeds"]


class Seeds(PeopleSeeds, IssueSeeds, GitSeeds, ActionsSeeds):
    """`at` dates back without moving the clock. Whoever does something must have been added first."""

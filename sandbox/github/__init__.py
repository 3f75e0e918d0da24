"""A local GitHub: one repository behind a strict REST API, for PyGithub, Octokit and the real `gh`."""

from sandbox.github.server import GitHub
from sandbox.github.switches import Switches

__all__ = ["GitHub", "Switches"]

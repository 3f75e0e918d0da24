"""A local GitHub: one repository behind a strict REST API, for PyGithub, Octokit and the real `gh`."""

from sandbox.github.server import GitHub

__all__ = ["GitHub"]

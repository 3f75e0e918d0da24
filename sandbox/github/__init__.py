"""Local GitHub: one repository behind a strict REST API, for PyGithub, Octokit and `gh`."""

from sandbox.github.server import GitHub

__all__ = ["GitHub"]

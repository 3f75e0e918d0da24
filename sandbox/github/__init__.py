"""Local GitHub: repositories behind a strict REST API, for PyGithub, Octokit and `gh`."""

from sandbox.github.server import GitHub, GitHubRepository

__all__ = ["GitHub", "GitHubRepository"]

"""Fixtures of the sandbox's own tests, reused for real GitHub clients."""

from tests.sandbox.conftest import sandbox
from tests.sandbox.github.conftest import alice, api, github, incident, repository, workflow

__all__ = ["alice", "api", "github", "incident", "repository", "sandbox", "workflow"]

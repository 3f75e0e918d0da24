"""Real clients of GitHub stand on what the sandbox's own tests stand on."""

from tests.sandbox.conftest import sandbox
from tests.sandbox.github.conftest import alice, api, github, incident, repository, workflow

__all__ = ["alice", "api", "github", "incident", "repository", "sandbox", "workflow"]

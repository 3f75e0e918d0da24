"""Secrets of environments on GitHub: one can read when they were written, and write values, sealed with their key.

docs.github.com/rest/actions/secrets; GITHUB_TOKEN can never write one.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops.github.client import failures, repository, write_failures
from ops.model.door import Door
from ops.model.errors import Reason, Refused
from ops.model.loopback import is_one_world
from ops.model.redact import Secret

if TYPE_CHECKING:
    from github.Environment import Environment
    from github.Repository import Repository

TOKEN = "GH_SECRETS_TOKEN"  # noqa: S105  the name of a variable
HINT = "Check GH_SECRETS_TOKEN: a fine-grained token with Environments: write on that repository, not expired."


class EnvironmentSecrets(Door):
    """Of any repository that the token reaches. It can only read but while somebody has entered `writing`."""

    def __init__(self, connect: "Callable[[str], Repository] | None") -> None:
        """`connect` opens a repository by its name; None where there is no token for it."""
        self._connect = connect

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "EnvironmentSecrets":
        """By the token in the environment; never from a sandbox's run to the real GitHub."""
        if not (token := environ.get(TOKEN, "")) or not is_one_world(environ):
            return cls(None)
        return cls(lambda name: repository(environ, token, name))

    @property
    def has_token(self) -> bool:
        return self._connect is not None

    def updated_at(self, repository: str, environment: str, name: str) -> datetime | None:
        """None where it was never written. Raises ProviderError, also where the key to seal with cannot be read."""
        from github import UnknownObjectException

        with failures(HINT):
            holder = self._environment(repository, environment)
            holder.get_public_key()
            try:
                return holder.get_secret(name).updated_at.astimezone(UTC)
            except UnknownObjectException:
                return None

    def put(self, repository: str, environment: str, name: str, value: Secret) -> None:
        """Sent once. Raises Unclear and ProviderError."""
        if not self._may_write:
            raise Refused("a secret of GitHub is no read, and nothing may be written yet", reason=Reason.READ_ONLY)
        with write_failures(HINT):
            self._environment(repository, environment).create_secret(name, value.reveal())

    def _environment(self, repository: str, environment: str) -> "Environment":
        assert self._connect is not None
        return self._connect(repository).get_environment(environment)

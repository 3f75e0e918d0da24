"""Read when environment secrets on GitHub were written, and write sealed values.

docs.github.com/rest/actions/secrets; GITHUB_TOKEN can never write a secret.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops.core.client_guards import WriteGuard, uses_one_sandbox
from ops.core.clock import Clock
from ops.core.errors import ConfigError, Reason, Refused
from ops.core.redaction import Redactor, Secret
from ops.github import app_tokens
from ops.github.client import api_url, provider_errors, repository, write_errors

if TYPE_CHECKING:
    from github.Environment import Environment
    from github.Repository import Repository

TOKEN = "GH_SECRETS_TOKEN"  # noqa: S105  the name of a variable
NO_TOKEN = f"{TOKEN} is not set (or {app_tokens.APP_ID} and {app_tokens.APP_KEY} of a GitHub App)"
HINT = "Check GH_SECRETS_TOKEN: a fine-grained token with Environments: write on that repository, not expired."


def write_secret(target: "Repository", environment: str, name: str, value: Secret) -> None:
    """Write a secret of the environment, or of the repository if it is "". Raises ProviderError, UnclearWrite."""
    with write_errors("Use a token with Secrets and Environments: write, or the scope `repo`."):
        if environment:
            target.get_environment(environment).create_secret(name, value.reveal())
        else:
            target.create_secret(name, value.reveal())


class EnvironmentSecrets(WriteGuard):
    """Environment secrets of every repository that the token reaches. Read-only outside `with secrets.writing():`."""

    def __init__(
        self,
        connect: "Callable[[str], Repository] | None",
        *,
        apps: app_tokens.AppTokens | None = None,
        misconfigured: ConfigError | None = None,
        why_missing: str = NO_TOKEN,
    ) -> None:
        """`connect` opens a repository by name. It is None if no token is configured, or none may be sent."""
        self._connect = connect
        self.why_missing = why_missing
        self._apps = apps
        self._misconfigured = misconfigured

    @classmethod
    def of(cls, environ: Mapping[str, str], redactor: Redactor, clock: Clock) -> "EnvironmentSecrets":
        """Return secrets by a token or by an App of the environment; no sandbox run reaches the real GitHub."""
        if not uses_one_sandbox(environ):
            return cls(None)
        try:
            app_tokens.check_one_credential(environ, TOKEN)
        except ConfigError as error:
            return cls(None, misconfigured=error)
        token = environ.get(TOKEN, "")
        if not (token or environ.get(app_tokens.APP_KEY, "").strip()):
            return cls(None)
        try:
            api_url(environ)
        except ConfigError as error:  # a copy by hand, with the printed command, stops no rotation
            return cls(None, why_missing=f"{error.message}. {error.hint.rstrip('.')}")
        if token:
            return cls(lambda name: repository(environ, token, name))
        apps = app_tokens.AppTokens(environ, redactor, clock)
        return cls(lambda name: repository(environ, apps.token(name), name), apps=apps)

    @property
    def has_token(self) -> bool:
        return self._connect is not None

    def check_configuration(self) -> None:
        """Raise ConfigError if the credentials are incomplete, given twice or malformed. Sends nothing."""
        if self._misconfigured is not None:
            raise self._misconfigured
        if self._apps is not None:
            self._apps.check_key()

    def revoke_tokens(self, warn: Callable[[str], object]) -> None:
        """Revoke the tokens of this run. `warn` gets one sentence for each token that may still be valid."""
        if self._apps is not None:
            self._apps.revoke(warn)

    def updated_at(self, repository: str, environment: str, name: str) -> datetime | None:
        """Return when the secret was written last, or None if it never was.

        It also reads the public key that a write needs. Raises ProviderError.
        """
        from github import UnknownObjectException

        target = self._environment(repository, environment)
        with provider_errors(self._hint):
            target.get_public_key()
            try:
                return target.get_secret(name).updated_at.astimezone(UTC)
            except UnknownObjectException:
                return None

    def put(self, repository: str, environment: str, name: str, value: Secret) -> None:
        """Write the secret. It is sent once. Raises UnclearWrite and ProviderError."""
        if not self._may_write:
            raise Refused("a secret on GitHub may not be written before the plan is confirmed", reason=Reason.READ_ONLY)
        target = self._environment(repository, environment)
        with write_errors(self._hint):
            target.create_secret(name, value.reveal())

    @property
    def _hint(self) -> str:
        return HINT if self._apps is None else "Check https://www.githubstatus.com/ and `github` in ops.yml."

    def _environment(self, repository: str, environment: str) -> "Environment":
        """Return a handle of the environment. Sends no request, but an App may create a token."""
        assert self._connect is not None
        return self._connect(repository).get_environment(environment)

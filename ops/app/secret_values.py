"""Values of secrets for a rotation, from environment variables or generated; all are masked."""

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ops.core.names import NEW_PREFIX, OLD_PREFIX
from ops.core.redaction import Redactor, Secret
from ops.github import actions
from ops.github.secrets import APP_KEY, TOKEN

if TYPE_CHECKING:
    from ops.config import Config


def secret_variables(config: "Config") -> frozenset[str]:
    """Return the variables that may hold a value of a secret or a token for secrets on GitHub."""
    names = {name for environment in config.environments.values() for name in environment.secrets}
    return frozenset({TOKEN, APP_KEY, *(prefix + name for prefix in (NEW_PREFIX, OLD_PREFIX) for name in names)})


class ProcessSecretValues:
    """Reads the variables that `secret_variables` names, whose values the redactor knows."""

    def __init__(self, environ: Mapping[str, str], redactor: Redactor, config: "Config") -> None:
        self._environ, self._redactor, self._names = environ, redactor, secret_variables(config)

    def value(self, variable: str) -> Secret | None:
        """Return the value of a variable; None if it is missing or empty."""
        found = self._environ.get(variable, "") if variable in self._names else ""
        return Secret(found) if found else None

    def generate(self, length: int, alphabet: str) -> Secret:
        """Return random characters of the alphabet from the system's secure source; they are masked first."""
        made = "".join(secrets.choice(alphabet) for _ in range(length))
        self._redactor.add_secret(made)
        actions.mask_command(self._environ, made)
        return Secret(made)

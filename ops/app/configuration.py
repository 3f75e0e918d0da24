"""Read ops.yml: its values, its secrets, and how people start the program with it."""

import functools
import secrets
import shlex
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app import registry
from ops.app.choices import DEFAULT_CONFIG, find_config
from ops.core.errors import ConfigError
from ops.core.names import NEW_PREFIX, OLD_PREFIX
from ops.core.next_step import replace_checkout
from ops.core.redaction import Redactor, Secret
from ops.github import actions
from ops.github.secrets import APP_KEY, TOKEN
from ops.tools import process

if TYPE_CHECKING:
    from ops.config import CheckedConfig, Config
    from ops.config.probes import Probe


def read_config(path: Path, *, labels: Collection[str] | None = ()) -> "tuple[Config, tuple[str, ...]]":
    """Return the configuration and its warnings.

    `labels` names the labels that the caller needs; None: all. A problem in another label removes only that label, so
    that it cannot stop a recovery.

    Raises:
        ConfigError: with every problem at once.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        hint = "Run the command in the checkout of the operations repository, or add --config PATH."
        raise ConfigError(f"{path} cannot be read ({error.strerror})", hint=hint) from None
    needed = None if labels is None else frozenset(name.casefold() for name in labels)
    return check_text(text, needed).require_valid(str(path))


def load_config(path: Path, environ: Mapping[str, str], redactor: Redactor) -> "Config":
    """Return the configuration after registering the values of its secrets. Raises ConfigError like `read_config`."""
    config, _ = read_config(path)
    register_secrets(environ, config, redactor)
    return config


@functools.lru_cache(maxsize=4)
def check_text(text: str, labels: frozenset[str] | None) -> "CheckedConfig":
    """Check the text. Cached, because schedules, labels and drills read the same file for each run."""
    from ops import config

    return config.check_config(text, rules=registry.label_rules(), labels=labels)


def register_secrets(environ: Mapping[str, str], config: "Config", redactor: Redactor) -> frozenset[str]:
    """Register the values of all secret variables of ops.yml for redaction, and return their names."""
    from ops.config import durable_object_token_names

    tokens = {environment.token for environment in config.environments.values()}
    names = frozenset({"GITHUB_TOKEN", *tokens, *config.notify.webhooks.values()}) | secret_variables(config)
    names |= durable_object_token_names(config)
    of_workers = {name for environment in config.environments.values() for name in environment.secrets}
    for name in names | config.login_variables | of_workers:
        redactor.add_secret(environ.get(name, ""))
        actions.mask_command(environ, environ.get(name, ""))
    return names


def probe_environ(environ: Mapping[str, str], never: frozenset[str]) -> "Callable[[Probe], Mapping[str, str]]":
    """Return a function from a probe to its environment: the variables that it names, except those in `never`."""

    def environ_of(probe: "Probe") -> Mapping[str, str]:
        return process.clean_environment(environ, names=probe.variables, never=never)

    return environ_of


def program_name(environ: Mapping[str, str]) -> str:
    """Return the start of suggested commands: `ops`, or the way in which `./run` was called.

    A job suggests commands for a laptop with a checkout, where `ops` is not installed.
    """
    return environ.get("OPS_PROGRAM") or ("./run ops" if actions.is_job(environ) else "ops")


def command_prefix(environ: Mapping[str, str], config: Path) -> tuple[str, ...]:
    """Return the program name, and the option that a suggested command needs to use the same ops.yml."""
    is_default = config in {DEFAULT_CONFIG, find_config()}
    return (program_name(environ), *(() if is_default else (f"--config {shlex.quote(str(config))}",)))


def published_prefix(environ: Mapping[str, str], path: Path, config: "Config") -> tuple[str, ...]:
    """Return `command_prefix` for other people's laptops: without the path of a checkout on this one."""
    program, *extra = command_prefix(environ, path)
    return (replace_checkout(f"{program} ", config.github.laptop_program).strip(), *extra)


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

"""Read what a command starts with: ops.yml, its secrets, and the login to GitHub.

On a laptop, git and `gh` keep the operations repository and a token.
"""

import dataclasses
import functools
import secrets
import shlex
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ops.app import registry
from ops.app.scope import DEFAULT_CONFIG, find_config, fitting_services
from ops.core.client_guards import is_loopback, uses_one_sandbox
from ops.core.errors import ConfigError
from ops.core.names import NEW_PREFIX, OLD_PREFIX
from ops.core.next_step import replace_checkout
from ops.core.redaction import Redactor, Secret
from ops.github import actions, client
from ops.github.secrets import APP_KEY, TOKEN
from ops.tools import process
from ops.tools.git import GITHUB, GitError, GitRepository, parse_github_remote, remote_host

if TYPE_CHECKING:
    from ops.config import CheckedConfig, Config, Environment
    from ops.config.probes import Probe


TOKENS = ("GITHUB_TOKEN", "GH_TOKEN", TOKEN, APP_KEY)
"""Variables whose values are sent to GitHub."""


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
    return check_config_text(text, needed).require_valid(str(path))


def load_config(path: Path, environ: Mapping[str, str], redactor: Redactor) -> "Config":
    """Return the configuration after registering the values of its secrets. Raises ConfigError like `read_config`."""
    config, _ = read_config(path)
    register_secrets(environ, config, redactor)
    return config


@functools.lru_cache(maxsize=32)
def check_config_text(text: str, labels: frozenset[str] | None) -> "CheckedConfig":
    """Check the text. Cached, because schedules, labels and drills read the same file for each run."""
    from ops import config

    def fitting_environments(environment: "Environment", runbook: str) -> tuple[str, ...]:
        return fitting_services(environment, registry.load_runbook(runbook))

    rules = dataclasses.replace(registry.label_rules(), fitting=fitting_environments)
    return config.check_config(text, rules=rules, labels=labels)


def register_secrets(environ: Mapping[str, str], config: "Config", redactor: Redactor) -> frozenset[str]:
    """Register the values of all secret variables of ops.yml for redaction, and return their names."""
    from ops.config import durable_object_token_names
    from ops.config.status_page import page_keys

    tokens = {environment.token for environment in config.environments.values()}
    names = frozenset({"GITHUB_TOKEN", *tokens, *config.notify.secret_names}) | secret_variables(config)
    names |= durable_object_token_names(config) | {*page_keys(config.status_page)}
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


class SecretVariables:
    """Reads the variables that `secret_variables` names, whose values the redactor knows."""

    def __init__(self, environ: Mapping[str, str], redactor: Redactor, config: "Config") -> None:
        self._environ, self._redactor, self._names = environ, redactor, secret_variables(config)

    def value(self, variable: str) -> Secret | None:
        """Return the value of a variable; None if it is missing or empty."""
        secret = self._environ.get(variable, "") if variable in self._names else ""
        return Secret(secret) if secret else None

    def generate(self, length: int, alphabet: str) -> Secret:
        """Return random characters of the alphabet from the system's secure source; they are masked first."""
        made = "".join(secrets.choice(alphabet) for _ in range(length))
        self._redactor.add_secret(made)
        actions.mask_command(self._environ, made)
        return Secret(made)


def add_server(environ: Mapping[str, str], folder: Path, redactor: Redactor) -> Mapping[str, str]:
    """Return the variables with GITHUB_SERVER_URL, for `client.api_url`: as given, else of the remote origin.

    Without an origin it is github.com, for which `gh` also takes GITHUB_TOKEN and GH_TOKEN (cli.github.com/manual,
    "gh help environment"). An origin elsewhere may be no GitHub at all, so the API stays that of github.com, and
    `api_url` refuses the two.
    """
    if actions.is_job(environ) or environ.get("GITHUB_SERVER_URL") or is_loopback(environ.get("GITHUB_API_URL", "")):
        return environ
    host = remote_host(_read_git_origin(environ, folder, redactor)) or GITHUB
    api = environ.get("GITHUB_API_URL") or ("" if client.is_github_host(host) else client.API)
    return {**environ, "GITHUB_SERVER_URL": f"https://{host}", "GITHUB_API_URL": api}


def choose_repository(given: str, environ: Mapping[str, str], folder: Path, redactor: Redactor) -> str:
    """Return owner/name: as given, of GITHUB_REPOSITORY, or of the remote origin of the folder.

    Raises ConfigError if there is none, or if the origin is on another server than the token.
    """
    if name := given or environ.get("GITHUB_REPOSITORY", ""):
        return name
    environ = add_server(environ, folder, redactor)
    client.api_url(environ)
    if name := parse_github_remote(_read_git_origin(environ, folder, redactor), environ):
        return name
    raise ConfigError("the repository on GitHub is not known", hint="Add `--repo OWNER/NAME`.")


def _read_git_origin(environ: Mapping[str, str], folder: Path, redactor: Redactor) -> str:
    try:
        return GitRepository(folder, environ, redactor).origin() or ""
    except GitError:
        return ""


def find_person_token(environ: Mapping[str, str]) -> str:
    """Return the person's token: of GITHUB_TOKEN, else of GH_TOKEN, as `gh` names it; empty without one."""
    return environ.get("GITHUB_TOKEN") or environ.get("GH_TOKEN", "")


def add_github(environ: Mapping[str, str], folder: Path, redactor: Redactor) -> dict[str, str]:
    """Return the variables with server, token and repository of GitHub as far as they are known, else empty."""
    environ = add_server(environ, folder, redactor)
    try:
        repository = choose_repository("", environ, folder, redactor)
    except ConfigError:
        repository = ""
    return {**environ, "GITHUB_TOKEN": find_person_token(environ), "GITHUB_REPOSITORY": repository}


def log_in_to_github(environ: Mapping[str, str], folder: Path, redactor: Redactor) -> tuple[Mapping[str, str], str]:
    """Return the variables for a command on a laptop, and a line that names what was found; empty if nothing was.

    `folder` is that of ops.yml. Nothing is looked for in a job or without a token, and no repository for a sandbox of
    Cloudflare alone.
    """
    environ = actions.use_operations_repository(environ)
    if actions.is_job(environ) or not any(environ.get(name) for name in TOKENS):
        return environ, ""
    environ = add_server(environ, folder, redactor)
    if client.is_configured(environ) or not find_person_token(environ) or not uses_one_sandbox(environ):
        return environ, ""
    token_environ = add_github(environ, folder, redactor)
    if not client.is_configured(token_environ):
        return environ, ""
    source = "GITHUB_REPOSITORY" if environ.get("GITHUB_REPOSITORY") else "the origin of this checkout"
    token = "GITHUB_TOKEN" if environ.get("GITHUB_TOKEN") else "GH_TOKEN"
    return token_environ, f"using {token_environ['GITHUB_REPOSITORY']} on GitHub ({source}) with {token}"
